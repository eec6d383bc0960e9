"""CPU time to read tiles of 256 px at 20x from a 40x slide: OpenSlide, our reader, and the decoder alone.

All methods read the same tissue tiles on one thread from a warm file cache, alternating every few
tiles. "decoding only" is a lower limit: it decodes the stored tiles under each tile from memory
and does nothing else. Tiles are aligned with the stored tiles, or shifted by 100 px. Shifted
neighbors share stored tiles, and the limit then decodes a shared tile once.

Example: python -m tests.benchmarks.reading slide.svs --tiles 500
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import openslide

from pipelines.slides import open_slide
from pipelines.slides.readers.stored_tiles import StoredLevel, stored_levels
from pipelines.synthetic.slide_file import write_pyramidal_slide
from pipelines.synthetic.stains import Stain
from pipelines.synthetic.tissue import draw_tissue

SIZE, SIZE_LEVEL0 = 256, 512
"""Edge of a tile in pixels: as returned, and at level 0."""
TURN = 20
"""Tiles that one method reads before the next method continues."""
TISSUE_SATURATION = 12
"""Minimum mean difference between the largest and the smallest color channel of a tissue tile."""

Corner = tuple[int, int]
ReadTile = Callable[[Corner], object]


def drawn_slide(path: Path) -> Path:
    """Write a synthetic slide of about 8,000 px that repeats one piece of tissue, and return its path."""
    rng = np.random.default_rng(1)
    rgb = draw_tissue(rng, "glands", 0.8, Stain.draw(rng)).rgb
    repeats = max(1, 8000 // rgb.shape[0])
    write_pyramidal_slide(path, np.tile(rgb, (repeats, repeats, 1)), 0.25)
    return path


def tissue_corners(slide: openslide.OpenSlide, offset: int, number: int) -> list[Corner]:
    """Return the level-0 corners of ``number`` consecutive tissue tiles in the middle of the slide, row by row."""
    width, height = slide.dimensions
    columns, rows = (width - offset) // SIZE_LEVEL0, (height - offset) // SIZE_LEVEL0
    small = np.asarray(slide.get_thumbnail((width // 64, height // 64)).convert("RGB"))
    saturation = cv2.resize(small.max(2) - small.min(2), (columns, rows), interpolation=cv2.INTER_AREA)
    tissue = np.argwhere(saturation > TISSUE_SATURATION)
    first = max(0, (len(tissue) - number) // 2)
    return [(int(x) * SIZE_LEVEL0 + offset, int(y) * SIZE_LEVEL0 + offset) for y, x in tissue[first : first + number]]


def openslide_loop(slide: openslide.OpenSlide) -> ReadTile:
    """Return the usual way to read a tile: a PIL region, converted to RGB and resized."""

    def read(corner: Corner) -> object:
        region = np.asarray(slide.read_region(corner, 0, (SIZE_LEVEL0, SIZE_LEVEL0)).convert("RGB"))
        return cv2.resize(region, (SIZE, SIZE), interpolation=cv2.INTER_AREA)

    return read


def decode_only(path: Path, level: StoredLevel, corners: Sequence[Corner], reduction: int) -> ReadTile:
    """Return a function that decodes the stored tiles under a corner; tiles shared by corners are decoded once."""
    seen: set[int] = set()
    data: dict[Corner, list[bytes]] = {}
    with path.open("rb") as stream:
        for x, y in corners:
            rows = range(y // level.tile_height, (y + SIZE_LEVEL0 - 1) // level.tile_height + 1)
            columns = range(x // level.tile_width, (x + SIZE_LEVEL0 - 1) // level.tile_width + 1)
            under = [row * level.columns + column for row in rows for column in columns]
            data[x, y] = []
            for index in (index for index in under if index not in seen):
                stream.seek(level.offsets[index])
                data[x, y].append(stream.read(level.byte_counts[index]))
            seen.update(under)

    def read(corner: Corner) -> object:
        return [level.codec.decode(stored, reduction) for stored in data[corner]]

    return read


def seconds_in_turn(methods: dict[str, ReadTile], corners: Sequence[Corner]) -> dict[str, float]:
    """Return the CPU seconds of each method over all ``corners``, alternating between methods."""
    spent = dict.fromkeys(methods, 0.0)
    for start in range(0, len(corners), TURN):
        for name, read in methods.items():
            before = time.process_time()
            for corner in corners[start : start + TURN]:
                read(corner)
            spent[name] += time.process_time() - before
    return spent


def compare(path: Path, offset: int, number: int) -> None:
    """Print the CPU seconds per 1,000 tiles of every method, with ratios."""
    with ExitStack() as stack:
        reference = stack.enter_context(openslide.OpenSlide(path))
        ours = stack.enter_context(open_slide(path, mpp=0.25))
        levels = stored_levels(path, reference.level_dimensions)
        corners = tissue_corners(reference, offset, number)
        loop: ReadTile = openslide_loop(reference)
        methods = {"OpenSlide loop": loop, "five": lambda corner: ours.read_tile(*corner, SIZE_LEVEL0, SIZE)}
        for reduction in (1, 2) if levels else ():
            if reduction in levels[0].codec.reductions:
                methods[f"decoding only, 1/{reduction}"] = decode_only(path, levels[0], corners, reduction)
        spent = seconds_in_turn(methods, corners)
        sample = corners[:: max(1, len(corners) // 50)]
        differences = [np.abs(np.subtract(loop(c), methods["five"](c), dtype=np.int16)).mean() for c in sample]
    print(f"{path.name}: {len(corners)} tiles, shifted by {offset} px from the stored tiles")
    print(f"  {'':<20} {'CPU s / 1,000':>14} {'OpenSlide / this':>16} {'this / five':>12}")
    for name, seconds in spent.items():
        ratios = f"{spent['OpenSlide loop'] / seconds:>16.2f} {seconds / spent['five']:>12.2f}"
        print(f"  {name:<20} {seconds / len(corners) * 1000:>14.2f} {ratios}")
    print(f"  gray-level difference from OpenSlide: mean {np.mean(differences):.2f}, worst tile {max(differences):.2f}")


def main() -> None:
    """Compare the methods on the given slide or on a synthetic one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "slide", type=Path, nargs="?", help="slide at about 0.25 microns per pixel (default: a synthetic slide)"
    )
    parser.add_argument("--tiles", type=int, default=500, help="number of tiles to read")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        slide = arguments.slide or drawn_slide(Path(folder) / "drawn.svs")
        for offset in (0, 100):
            compare(slide, offset, arguments.tiles)


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main()
