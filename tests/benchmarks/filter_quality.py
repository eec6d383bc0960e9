"""Judge the filters of ``five tile`` on real tissue: precision, recall, and sound tiles lost.

Sound tiles are yours; defects are added by `tile_defects`. Both are laid out at random on slides,
which are written as JPEG pyramids and given to the stage itself. A slide has one stain: pictures
of like stain come on the same slide, and most of its tiles are sound. Pictures are split by a hash
of their source into a development part, on which thresholds may be tuned, and a held-out part.

``recall`` counts tiles dropped under the defect's own name, ``dropped`` under any. ``precision`` is
the share of the tiles of a reason that have that defect; with it goes how many sound tiles had it.
It depends on the mix: for every source one tile of each defect, and its pictures four ways round.

Example: python -m tests.benchmarks.filter_quality --tiles tiles/ --csv tiles/tiles.csv --part held-out
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np

from pipelines.core.cohort import read_cohort
from pipelines.core.schemas import TILES
from pipelines.core.settings import TileSettings
from pipelines.synthetic.slide_file import write_pyramidal_slide
from pipelines.tile import TileInputs, tile
from tests.benchmarks.tile_defects import MPP, Defect, Rgb, defects

EDGE, SIDE = 224, 32
"""Edge of a tile in pixels; tiles along the edge of a slide."""
DEVELOPMENT_PERCENT = 50
NEVER_A_TILE = "background"
"""What became of a place of the grid without any tissue: it is not in the table."""


@dataclass(frozen=True)
class Sample:
    """A tile of the mix: sound, or with one defect."""

    picture: Path
    source: str
    class_name: str
    defect: Defect | None
    other: Path
    """Another picture of the source, for folds."""
    turn: int = 0
    """Quarter turns."""


def in_part(source: str, part: str) -> bool:
    """Tell whether the pictures of a source belong to the part asked for."""
    develops = int(hashlib.sha256(source.encode()).hexdigest(), 16) % 100 < DEVELOPMENT_PERCENT
    return part == "all" or develops == (part == "develop")


def find_pictures(folder: Path, table: Path | None) -> list[tuple[Path, str, str]]:
    """Return path, source and class of every picture; without a table each is a source of its own."""
    if table is None:
        kinds = (".png", ".jpg", ".jpeg")
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in kinds)
        return [(path, str(path.relative_to(folder)), path.parent.name) for path in found]
    with table.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return [(folder / row["path"], row["source_image"], row.get("class", "")) for row in rows]


def draw_samples(pictures: Sequence[tuple[Path, str, str]], rng: np.random.Generator) -> list[Sample]:
    """Return every picture four ways round and, for each source, one with each defect; like stains together."""
    by_source: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path, source, class_name in pictures:
        by_source[source, class_name].append(path)
    samples = []
    for (source, name), paths in sorted(by_source.items(), key=lambda item: stain(load(item[1][0]))):
        samples += [Sample(path, source, name, None, path, turn) for path in paths for turn in range(4)]
        for defect in defects():
            first, second = rng.integers(len(paths), size=2)
            samples.append(Sample(paths[first], source, name, defect, paths[second]))
    cells = range(0, len(samples), SIDE * SIDE)
    return [
        samples[start + index] for start in cells for index in rng.permutation(min(SIDE * SIDE, len(samples) - start))
    ]


def stain(rgb: Rgb) -> float:
    """Return how much blue light the tissue absorbs, as a share of the green."""
    _, green, blue = (-np.log(np.maximum(channel, 1) / 255).mean() for channel in np.moveaxis(rgb, 2, 0))
    return float(blue / max(green, 0.01))


def load(path: Path) -> Rgb:
    """Return a picture as (EDGE, EDGE, 3) RGB."""
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise SystemExit(f"{path}: not a picture")
    if bgr.shape[:2] != (EDGE, EDGE):
        bgr = cv2.resize(bgr, (EDGE, EDGE), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def write_slides(samples: Sequence[Sample], folder: Path, rng: np.random.Generator) -> Iterator[Sequence[Sample]]:
    """Write slides of SIDE x SIDE samples, row by row, and yield what is on each."""
    for number, start in enumerate(range(0, len(samples), SIDE * SIDE)):
        chosen = samples[start : start + SIDE * SIDE]
        rgb = np.full((SIDE * EDGE, SIDE * EDGE, 3), 242, np.uint8)
        for index, sample in enumerate(chosen):
            row, col = divmod(index, SIDE)
            pixels = np.rot90(load(sample.picture), sample.turn)
            if sample.defect:
                pixels = sample.defect.make(rng, pixels, load(sample.other))
            rgb[row * EDGE : (row + 1) * EDGE, col * EDGE : (col + 1) * EDGE] = pixels
        write_pyramidal_slide(folder / f"{number:03}.svs", rgb, MPP)
        yield chosen


def judged(on_slides: Sequence[Sequence[Sample]], slides: Path, out: Path, settings: TileSettings) -> list[str]:
    """Tile the slides and return what became of every sample: a reason, or an empty string."""
    tile(TileInputs(read_cohort(slides)), out, settings)
    found: list[str] = []
    for number, samples in enumerate(on_slides):
        rows = {(row["row"], row["col"]): row["reason"] or "" for row in TILES.read_rows(out / f"{number:03}.parquet")}
        found += [rows.get(divmod(index, SIDE), NEVER_A_TILE) for index in range(len(samples))]
    return found


def print_defects(samples: Sequence[Sample], reasons: Sequence[str]) -> None:
    """Print what became of every defect."""
    print(f"\n{'filter':<14} {'defect':<34} {'n':>5} {'recall':>7} {'dropped':>8}  other names")
    pairs = [(sample.defect, reason) for sample, reason in zip(samples, reasons, strict=True) if sample.defect]
    for defect in defects():
        found = [(other, reason) for other, reason in pairs if other.name == defect.name]
        wrong = Counter(reason for _, reason in found if reason and not defect.is_named(reason))
        names = ", ".join(f"{reason} {n}" for reason, n in wrong.most_common(3))
        print(f"{defect.filter:<14} {defect.name:<34} {_recall(found)}  {names}")


def print_filters(samples: Sequence[Sample], reasons: Sequence[str]) -> None:
    """Print the recall and the precision of every filter."""
    print(
        f"\n{'filter':<14} {'n':>5} {'recall':>7} {'dropped':>8}   {'found':>6} {'precision':>10} {'sound tiles':>12}"
    )
    pairs = [(sample.defect, reason) for sample, reason in zip(samples, reasons, strict=True)]
    for name in dict.fromkeys(defect.filter for defect in defects()):
        spoilt = [(defect, reason) for defect, reason in pairs if defect and defect.filter == name]
        found = [defect for defect, reason in pairs if reason == name]
        right = sum(defect is not None and defect.is_named(name) for defect in found)
        precision = f"{right / len(found):>10.3f}" if found else f"{'-':>10}"
        print(f"{name:<14} {_recall(spoilt)}   {len(found):>6} {precision} {found.count(None):>12}")


def _recall(found: Sequence[tuple[Defect, str]]) -> str:
    own = sum(defect.is_named(reason) for defect, reason in found) / len(found)
    return f"{len(found):>5} {own:>7.3f} {sum(reason != '' for _, reason in found) / len(found):>8.3f}"


def print_sound(samples: Sequence[Sample], reasons: Sequence[str]) -> None:
    """Print the share of sound tiles that is dropped, by class and reason."""
    print(f"\n{'sound tiles':<14} {'n':>6} {'dropped':>8}  by reason, %")
    classes: Mapping[str, list[str]] = defaultdict(list)
    for sample, reason in zip(samples, reasons, strict=True):
        if sample.defect is None:
            classes["all"].append(reason)
            classes[sample.class_name].append(reason)
    for name, found in sorted(classes.items(), key=lambda item: item[0] != "all"):
        why = Counter(reason for reason in found if reason)
        shares = ", ".join(f"{reason} {100 * n / len(found):.2f}" for reason, n in why.most_common())
        print(f"{name:<14} {len(found):>6} {100 * sum(why.values()) / len(found):>7.2f}%  {shares}")


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=Path, required=True, help="folder of pictures of sound tissue, 0.5 um/px")
    parser.add_argument("--csv", type=Path, help="table with path, source_image and, if you like, class")
    parser.add_argument("--part", choices=["develop", "held-out", "all"], default="develop")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="folder for slides and tiles, kept afterwards")
    for field in fields(TileSettings):
        if field.name.startswith(("max_", "min_")):
            flag = "--" + field.name.replace("_", "-")
            parser.add_argument(flag, type=float, default=field.default, dest=f"setting_{field.name}")
    return parser.parse_args()


def main() -> None:
    """Write the slides, tile them, print the tables."""
    wanted = read_arguments()
    settings = TileSettings(
        **{name.removeprefix("setting_"): value for name, value in vars(wanted).items() if name.startswith("setting_")}
    )
    pictures = [found for found in find_pictures(wanted.tiles, wanted.csv) if in_part(found[1], wanted.part)]
    rng = np.random.default_rng(wanted.seed)
    samples = draw_samples(pictures, rng)
    sources = len({source for _, source, _ in pictures})
    print(f"{wanted.part}: {len(pictures)} pictures of {sources} sources; {len(samples)} tiles with the defects added")
    with tempfile.TemporaryDirectory() as name:
        work = wanted.work or Path(name)
        (work / "slides").mkdir(parents=True)
        on_slides = list(write_slides(samples, work / "slides", rng))
        reasons = judged(on_slides, work / "slides", work / "tiles", settings)
    print_defects(samples, reasons)
    print_filters(samples, reasons)
    print_sound(samples, reasons)


if __name__ == "__main__":
    main()
