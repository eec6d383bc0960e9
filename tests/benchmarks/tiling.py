"""CPU time and memory of ``five tile`` as a whole process, compared with a lower limit and with other tools.

Parts:

* one slide: with and without the filters that read pixels, the imports alone, and the lower limit of
  OpenSlide, OpenCV and h5py without our code;
* batches: the cost per slide in a batch of tiny slides, and two workers compared with one;
* memory over many slides.

The methods of a table run alternately, and medians are printed. Other work on the machine changes CPU
times little but wall times a lot: two workers need two idle cores.

Other tools ("peers") are given as commands, because this project does not depend on them. In a command,
``{slide}`` is replaced by the slide, ``{folder}`` by a folder that holds only the slide, and ``{out}`` by an
output folder.

Example: python -m tests.benchmarks.tiling a.svs b.svs --peer 'clam=python create_patches_fp.py
--source {folder} --save_dir {out} --patch_size 448 --step_size 448 --seg --patch'
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.benchmarks.processes import Usage, median_usage, print_table, usage_of

FIVE = "five tile"
NO_PIXELS = ["--min-focus", "0", "--min-contrast", "0"]
"""Options that disable the filters that read tile pixels."""
WITHOUT_PIXELS = " ".join([FIVE, *NO_PIXELS])
PYTHON = [sys.executable, "-c"]
TILE = [*PYTHON, "from fivecli.app import main; main()", "tile"]
"""The command ``five tile``, run by this Python interpreter."""

DRAW = """
import sys, numpy as np
from pathlib import Path
from pipelines.synthetic.slide_file import write_pyramidal_slide
from pipelines.synthetic.stains import Stain
from pipelines.synthetic.tissue import draw_tissue
rng = np.random.default_rng(1)
rgb = draw_tissue(rng, "glands", 0.8, Stain.draw(rng)).rgb
edge = int(sys.argv[2])
times = -(-edge // rgb.shape[0])
write_pyramidal_slide(Path(sys.argv[1]), np.tile(rgb, (times, times, 1))[:edge, :edge], 0.25)
"""

BARE = """
import sys, cv2, h5py, numpy as np, openslide
slide = openslide.OpenSlide(sys.argv[1])
level = slide.get_best_level_for_downsample(64)
rgb = np.asarray(slide.read_region((0, 0), level, slide.level_dimensions[level]))[..., :3]
rgb = cv2.resize(rgb, [edge // 64 for edge in slide.dimensions], interpolation=cv2.INTER_AREA)
saturation = cv2.medianBlur(np.ascontiguousarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)[..., 1]), 5)
_, mask = cv2.threshold(saturation, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
with h5py.File(sys.argv[2], "w") as h5:
    h5["coords"] = np.argwhere(cv2.resize(mask, None, fx=1 / 7, fy=1 / 7, interpolation=cv2.INTER_AREA) > 64) * 448
"""
"""The minimum work: a thumbnail at 16 um/px (of a slide at 0.25), a threshold, and coordinates in a file."""

RESIDENT = """
import sys
from pathlib import Path
from pipelines.core.settings import TileSettings
from pipelines.tile import TileInputs, tile
resident = []
def note(result):
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    resident.append(pages * 4096 / 1e6)
tile(TileInputs(Path(sys.argv[1])), Path(sys.argv[2]), TileSettings(), on_result=note)
print(*(f"{resident[round(len(resident) * part) - 1]:.1f}" for part in (0.1, 0.25, 0.5, 0.75, 1)))
"""


def one_slide(slide: Path, peers: Mapping[str, str], runs: int, work: Path) -> None:
    """Print the cost of tiling ``slide`` with every method."""
    folder = work / "only" / slide.stem
    folder.mkdir(parents=True)
    (folder / slide.name).symlink_to(slide.absolute())
    out = work / "out"
    paths = {"slide": str(slide.absolute()), "folder": str(folder), "out": str(out)}
    methods = {
        WITHOUT_PIXELS: [*TILE, str(slide), "-o", str(out), *NO_PIXELS],
        f"{FIVE}, with filters": [*TILE, str(slide), "-o", str(out)],
        "imports of the stage": [*PYTHON, "import pipelines.tile"],
        "five --version": [*TILE[:-1], "--version"],
        "bare OpenSlide, OpenCV, h5py": [*PYTHON, BARE, str(slide), str(work / "bare.h5")],
        **{name: [part.format(**paths) for part in shlex.split(command)] for name, command in peers.items()},
    }
    usages: dict[str, list[Usage]] = {name: [] for name in methods}
    for _ in range(runs):
        for name, command in methods.items():
            shutil.rmtree(out, ignore_errors=True)
            usages[name].append(usage_of(command))
    title = f"{slide.name}: median of {runs} runs; x: CPU time relative to the first line"
    print_table(title, {name: median_usage(used) for name, used in usages.items()}, WITHOUT_PIXELS)


def batches(slide: Path, count: int, runs: int, work: Path, *, filters: bool) -> dict[str, Usage]:
    """Return the cost of one slide, and of ``count`` slides: in a first run, in a rerun, and with two workers."""
    many, one = (
        link_copies(slide, count, work / f"many-{slide.stem}"),
        link_copies(slide, 1, work / f"one-{slide.stem}"),
    )
    out, options = work / "out", [] if filters else NO_PIXELS
    usages: dict[str, list[Usage]] = {}
    for _ in range(runs):
        for name, folder, extra in (
            ("1 slide", one, []),
            (f"{count} slides", many, []),
            (f"{count} slides, rerun, all kept", many, []),
            (f"{count} slides, 2 workers", many, ["--workers", "2"]),
        ):
            if "rerun" not in name:
                shutil.rmtree(out, ignore_errors=True)
            usages.setdefault(name, []).append(usage_of([*TILE, str(folder), "-o", str(out), *options, *extra]))
    return {name: median_usage(used) for name, used in usages.items()}


def print_batches(title: str, usages: Mapping[str, Usage], count: int) -> None:
    """Print the table of `batches`, the cost per additional slide, and the speed-up of two workers."""
    one, first, again, two = usages.values()
    print_table(f"{title}; x: CPU time relative to one slide", usages, "1 slide")
    for name, used in (("each additional slide", first), ("each additional slide, rerun", again)):
        print(f"  {name}: {(used.cpu - one.cpu) / (count - 1) * 1000:.1f} CPU ms")
    print(f"  2 workers: {first.wall / two.wall:.2f} x speed, {two.cpu / first.cpu:.2f} x CPU time")


def resident_memory(slide: Path, count: int, work: Path) -> None:
    """Print the memory of one process while it tiles ``count`` slides."""
    folder, out = link_copies(slide, count, work / "memory"), work / "out"
    shutil.rmtree(out, ignore_errors=True)
    finished = subprocess.run([*PYTHON, RESIDENT, str(folder), str(out)], check=True, capture_output=True, text=True)
    print(f"\nresident memory after 10, 25, 50, 75, 100 % of {count} slides, MB: {finished.stdout.strip()}")


def link_copies(slide: Path, count: int, folder: Path) -> Path:
    """Return ``folder`` with ``count`` links to ``slide``."""
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number:05}{slide.suffix}").symlink_to(slide.absolute())
    return folder


def draw_slide(path: Path, edge: int) -> Path:
    """Write a synthetic slide of ``edge`` pixels in another process, so that this process stays small."""
    subprocess.run([*PYTHON, DRAW, str(path), str(edge)], check=True)
    return path


def parse_peer(text: str) -> tuple[str, str]:
    """Return name and command of NAME=COMMAND."""
    name, equals, command = text.partition("=")
    if not (name and equals and command):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=COMMAND")
    return name, command


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "slides", type=Path, nargs="*", help="slides at 0.25 microns per pixel (default: a synthetic slide)"
    )
    parser.add_argument(
        "--peer", type=parse_peer, action="append", default=[], metavar="NAME=COMMAND", help="another tool"
    )
    parser.add_argument("--runs", type=int, default=5, help="runs of each method on one slide; 0 skips this part")
    parser.add_argument("--batch", type=int, default=100, help="slides per batch; 0 skips this part")
    parser.add_argument("--batch-runs", type=int, default=3, help="runs of each batch")
    parser.add_argument(
        "--many", type=int, default=300, help="slides for the memory test (for example 2000); 0 skips this part"
    )
    return parser.parse_args(arguments)


def main() -> None:
    """Print all tables; draw a synthetic slide if none is given."""
    arguments = read_arguments()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        slides = arguments.slides or [draw_slide(work / "drawn.svs", 16_000)]
        for slide in slides if arguments.runs else []:
            one_slide(slide, dict(arguments.peer), arguments.runs, work)
        tiny = draw_slide(work / "tiny.svs", 600)
        if arguments.batch:
            usages = batches(tiny, arguments.batch, arguments.batch_runs, work, filters=False)
            print_batches("slides of 600 px, without the filters that read pixels", usages, arguments.batch)
            usages = batches(slides[0], arguments.batch, arguments.batch_runs, work, filters=True)
            print_batches(f"copies of {slides[0].name}, with filters", usages, arguments.batch)
        if arguments.many:
            resident_memory(tiny, arguments.many, work)


if __name__ == "__main__":
    main()
