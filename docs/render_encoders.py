"""Render the table in docs/encoders.md from the presets: ``python docs/render_encoders.py``."""

from __future__ import annotations

import re
from pathlib import Path

from pipelines.encoders.preset import Preset
from pipelines.encoders.presets import ENCODER_PRESETS

PAGE = Path(__file__).with_name("encoders.md")
HEADER = """\
| name | width | tiles, px | mpp | pixels | feature | license | weights | read in |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
"""


def table() -> str:
    """Return a Markdown table with one row per encoder."""
    return HEADER + "".join(_row(preset) for preset in ENCODER_PRESETS.values())


def _row(preset: Preset) -> str:
    paper = f", [paper]({preset.paper})" if preset.paper not in ("", preset.card) else ""
    crop = f", middle {preset.input_size}" if preset.input_size != preset.resize else ""
    sources = ", ".join(f"[{url.split('/')[-1]}]({url})" for url in preset.read_in)
    cells = (
        f"[`{preset.name}`]({preset.card}){paper}",
        str(preset.dim),
        _listed(preset.tile_sizes),
        _listed(preset.mpps),
        f"{preset.resize}{crop}, {preset.interpolation}",
        preset.embedding,
        preset.license,
        _weights(preset),
        sources,
    )
    return f"| {' | '.join(cells)} |\n"


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values) or "any"


def _weights(preset: Preset) -> str:
    if preset.package:
        return f"with the package `{preset.package}`"
    if not preset.hub:
        return f"`{preset.weights_file}`, see its page"
    return f"[{preset.hub}](https://huggingface.co/{preset.hub}) `{preset.weights_file}`{', gated' * preset.gated}"


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    found = re.sub(r"(?s)\| name \| width .*?(?=\n\n)", lambda _: table().rstrip(), page)
    PAGE.write_text(found, encoding="utf-8")
