"""CPU time and memory of ``five tile``, as whole processes: against limits, peers and itself.

Parts: one slide (with and without the filters that read pixels; imports alone; bare OpenSlide,
OpenCV and h5py as the limit), the cost of a slide in a batch of tiny ones, two workers against
one, and memory over many slides. All ways of a table run in turn, and medians are printed. Other
work on the machine changes CPU times little, but wall times much: two workers need two idle cores.

Peers are commands, since this project does not depend on them; ``{slide}`` stands for the slide,
``{folder}`` for a folder that holds only it, ``{out}`` for a folder to write.

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

from tests.benchmarks.processes import Usage, middle, print_table, usage_of

FIVE = "five tile"
NO_PIXELS = ["--min-focus", "0", "--min-contrast", "0"]
"""Options with which no filter reads pixels of the tiles."""
WITHOUT_PIXELS = " ".join([FIVE, *NO_PIXELS])
PYTHON = [sys.executable, "-c"]
TILE = [*PYTHON, "from fivecli.app import main; main()", "tile"]
"""The command ``five tile`` of the interpreter that runs the benchmark."""

DRAW = """
import sys, numpy as np
from pathlib import Path
from pipelines.synthetic.slide_file import write_pyramidal_slide
from pipelines.synthetic.stains import Stain
from pipelines.synthetic.tissue import draw_tissue
rng = np.random.default_rng(1)
rgb = draw_tissue(rng, "glands", 0.8, Stain.draw(rng))
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
"""What cannot be spared: a thumbnail at 16 um/px (of a slide at 0.25), a threshold, coordinates in a file."""

RESIDENT = """
import sys
from pathlib import Path
from pipelines.core.settings import TileSettings
from pipelines.tile import TileInputs, tile
found = []
def note(result):
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    found.append(pages * 4096 / 1e6)
tile(TileInputs(Path(sys.argv[1])), Path(sys.argv[2]), TileSettings(), on_result=note)
print(*(f"{found[round(len(found) * part) - 1]:.1f}" for part in (0.1, 0.25, 0.5, 0.75, 1)))
"""


def one_slide(slide: Path, peers: Mapping[str, str], runs: int, work: Path) -> None:
    """Print what tiling ``slide`` costs in every way."""
    folder = work / "only" / slide.stem
    folder.mkdir(parents=True)
    (folder / slide.name).symlink_to(slide.absolute())
    out = work / "out"
    places = {"slide": str(slide.absolute()), "folder": str(folder), "out": str(out)}
    ways = {
        WITHOUT_PIXELS: [*TILE, str(slide), "-o", str(out), *NO_PIXELS],
        f"{FIVE}, with filters": [*TILE, str(slide), "-o", str(out)],
        "imports of the stage": [*PYTHON, "import pipelines.tile"],
        "five --version": [*TILE[:-1], "--version"],
        "bare OpenSlide, OpenCV, h5py": [*PYTHON, BARE, str(slide), str(work / "bare.h5")],
        **{name: [part.format(**places) for part in shlex.split(peer)] for name, peer in peers.items()},
    }
    found: dict[str, list[Usage]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, command in ways.items():
            shutil.rmtree(out, ignore_errors=True)
            found[name].append(usage_of(command))
    title = f"{slide.name}: median of {runs} runs, x = CPU time / that of the first way"
    print_table(title, {name: middle(used) for name, used in found.items()}, WITHOUT_PIXELS)


def batches(slide: Path, count: int, runs: int, work: Path, *, filters: bool) -> dict[str, Usage]:
    """Return what first run, rerun and two workers cost over ``count`` slides, and one slide alone."""
    many, one = linked(slide, count, work / f"many-{slide.stem}"), linked(slide, 1, work / f"one-{slide.stem}")
    out, options = work / "out", [] if filters else NO_PIXELS
    found: dict[str, list[Usage]] = {}
    for _ in range(runs):
        for name, folder, more in (
            ("1 slide", one, []),
            (f"{count} slides", many, []),
            (f"{count} slides again, all kept", many, []),
            (f"{count} slides, 2 workers", many, ["--workers", "2"]),
        ):
            if "again" not in name:
                shutil.rmtree(out, ignore_errors=True)
            found.setdefault(name, []).append(usage_of([*TILE, str(folder), "-o", str(out), *options, *more]))
    return {name: middle(used) for name, used in found.items()}


def print_batches(title: str, found: Mapping[str, Usage], count: int) -> None:
    """Print the table of `batches` and what follows from it."""
    one, first, again, two = found.values()
    print_table(f"{title}: x = CPU time / that of one slide", found, "1 slide")
    for name, used in (("each further slide", first), ("each further slide again", again)):
        print(f"  {name}: {(used.cpu - one.cpu) / (count - 1) * 1000:.1f} CPU ms")
    print(f"  2 workers: {first.wall / two.wall:.2f} times as fast, {two.cpu / first.cpu:.2f} times the CPU time")


def resident_memory(slide: Path, count: int, work: Path) -> None:
    """Print the memory of one process in the course of ``count`` slides."""
    folder, out = linked(slide, count, work / "memory"), work / "out"
    shutil.rmtree(out, ignore_errors=True)
    run = subprocess.run([*PYTHON, RESIDENT, str(folder), str(out)], check=True, capture_output=True, text=True)
    print(f"\nresident MB after 10, 25, 50, 75, 100 % of {count} slides: {run.stdout.strip()}")


def linked(slide: Path, count: int, folder: Path) -> Path:
    """Return a folder with ``slide`` under ``count`` names."""
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number:05}{slide.suffix}").symlink_to(slide.absolute())
    return folder


def drawn(path: Path, edge: int) -> Path:
    """Draw a slide in another process, whose memory is not ours."""
    subprocess.run([*PYTHON, DRAW, str(path), str(edge)], check=True)
    return path


def peer(text: str) -> tuple[str, str]:
    """Read NAME=COMMAND."""
    name, equals, command = text.partition("=")
    if not (name and equals and command):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=COMMAND")
    return name, command


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slides", type=Path, nargs="*", help="slides at 0.25 microns per pixel; drawn if left out")
    parser.add_argument("--peer", type=peer, action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--runs", type=int, default=5, help="runs of each way on one slide; 0 leaves them out")
    parser.add_argument("--batch", type=int, default=100, help="slides of a batch; 0 leaves batches out")
    parser.add_argument("--batch-runs", type=int, default=3, help="runs of each batch")
    parser.add_argument("--many", type=int, default=300, help="slides for the memory (say 2000); 0 leaves it out")
    return parser.parse_args(arguments)


def main() -> None:
    """Draw what is not given, and print one table after the other."""
    wanted = read_arguments()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        slides = wanted.slides or [drawn(work / "drawn.svs", 16_000)]
        for slide in slides if wanted.runs else []:
            one_slide(slide, dict(wanted.peer), wanted.runs, work)
        tiny = drawn(work / "tiny.svs", 600)
        if wanted.batch:
            found = batches(tiny, wanted.batch, wanted.batch_runs, work, filters=False)
            print_batches("slides of 600 px, without focus: the cost of a slide in a batch", found, wanted.batch)
            found = batches(slides[0], wanted.batch, wanted.batch_runs, work, filters=True)
            print_batches(f"copies of {slides[0].name}, with filters", found, wanted.batch)
        if wanted.many:
            resident_memory(tiny, wanted.many, work)


if __name__ == "__main__":
    main()
