"""CPU time to read tiles of 256 px at 20x from a 40x slide: OpenSlide, our reader, and the decoder alone.

Every way reads the same tissue tiles, a few at a time in turn, from a warm file cache, on
one thread. The limits decode the stored tiles under each tile from memory and do nothing
else. Tiles lie on the grid of the stored tiles, or 100 px off it, where neighbours share
stored tiles; the limits then decode a shared tile once.

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
"""Edge of a tile as read, and on the slide."""
TURN = 20
"""Tiles that one way reads before it is the next one's turn."""
TISSUE_SATURATION = 12
"""Mean difference between the largest and the smallest channel from which a tile is tissue."""

Corner = tuple[int, int]
ReadTile = Callable[[Corner], object]


def drawn_slide(path: Path) -> Path:
    """Write a synthetic slide of about 8,000 px, one drawn piece of tissue side by side several times."""
    rng = np.random.default_rng(1)
    rgb = draw_tissue(rng, "glands", 0.8, Stain.draw(rng))
    times = max(1, 8000 // rgb.shape[0])
    write_pyramidal_slide(path, np.tile(rgb, (times, times, 1)), 0.25)
    return path


def tissue_corners(slide: openslide.OpenSlide, offset: int, number: int) -> list[Corner]:
    """Return the corners of neighbouring tissue tiles from the middle of the slide, row by row."""
    width, height = slide.dimensions
    columns, rows = (width - offset) // SIZE_LEVEL0, (height - offset) // SIZE_LEVEL0
    small = np.asarray(slide.get_thumbnail((width // 64, height // 64)).convert("RGB"))
    colour = cv2.resize(small.max(2) - small.min(2), (columns, rows), interpolation=cv2.INTER_AREA)
    found = np.argwhere(colour > TISSUE_SATURATION)
    first = max(0, (len(found) - number) // 2)
    return [(int(x) * SIZE_LEVEL0 + offset, int(y) * SIZE_LEVEL0 + offset) for y, x in found[first : first + number]]


def openslide_loop(slide: openslide.OpenSlide) -> ReadTile:
    """The usual loop: a region as PIL image, converted to RGB, and resized."""

    def read(corner: Corner) -> object:
        region = np.asarray(slide.read_region(corner, 0, (SIZE_LEVEL0, SIZE_LEVEL0)).convert("RGB"))
        return cv2.resize(region, (SIZE, SIZE), interpolation=cv2.INTER_AREA)

    return read


def decode_only(path: Path, level: StoredLevel, corners: Sequence[Corner], reduction: int) -> ReadTile:
    """Return a function that decodes the stored tiles under a corner that no earlier corner had under it."""
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


def seconds_in_turn(ways: dict[str, ReadTile], corners: Sequence[Corner]) -> dict[str, float]:
    """Return the CPU seconds of each way over all ``corners``."""
    spent = dict.fromkeys(ways, 0.0)
    for start in range(0, len(corners), TURN):
        for name, read in ways.items():
            before = time.process_time()
            for corner in corners[start : start + TURN]:
                read(corner)
            spent[name] += time.process_time() - before
    return spent


def compare(path: Path, offset: int, number: int) -> None:
    """Print CPU seconds per 1,000 tiles of every way with its ratios."""
    with ExitStack() as stack:
        reference = stack.enter_context(openslide.OpenSlide(path))
        ours = stack.enter_context(open_slide(path, mpp=0.25))
        levels = stored_levels(path, reference.level_dimensions)
        corners = tissue_corners(reference, offset, number)
        loop: ReadTile = openslide_loop(reference)
        ways = {"OpenSlide loop": loop, "five": lambda corner: ours.read_tile(*corner, SIZE_LEVEL0, SIZE)}
        for reduction in (1, 2) if levels else ():
            if reduction in levels[0].codec.reductions:
                ways[f"decoding only, 1/{reduction}"] = decode_only(path, levels[0], corners, reduction)
        spent = seconds_in_turn(ways, corners)
        sample = corners[:: max(1, len(corners) // 50)]
        differences = [np.abs(np.subtract(loop(c), ways["five"](c), dtype=np.int16)).mean() for c in sample]
    print(f"{path.name}, {len(corners)} tiles, {offset} px off the stored grid")
    print(f"  {'':<20} {'CPU s / 1,000':>14} {'OpenSlide / it':>15} {'it / five':>10}")
    for name, seconds in spent.items():
        ratios = f"{spent['OpenSlide loop'] / seconds:>15.2f} {seconds / spent['five']:>10.2f}"
        print(f"  {name:<20} {seconds / len(corners) * 1000:>14.2f} {ratios}")
    print(
        f"  five against OpenSlide: {np.mean(differences):.2f} grey levels on average, {max(differences):.2f} at most"
    )


def main() -> None:
    """Compare on the given slide, or on a drawn one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "slide", type=Path, nargs="?", help="a slide at about 0.25 microns per pixel; drawn if left out"
    )
    parser.add_argument("--tiles", type=int, default=500)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        slide = arguments.slide or drawn_slide(Path(folder) / "drawn.svs")
        for offset in (0, 100):
            compare(slide, offset, arguments.tiles)


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main()
