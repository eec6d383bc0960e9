"""Measure the filters of ``five tile`` on real tissue: precision, recall, and sound tiles dropped.

You provide images of sound tiles; `tile_defects` adds defects to some of them. The tiles are placed at
random on slides, which are written as JPEG pyramids and processed by the stage itself. Images with
similar stain are placed on the same slide, and most tiles of a slide are sound. A hash of its source
assigns an image to the development part, for tuning thresholds, or to the held-out part.

Columns of the tables:

* ``recall``: share of the tiles with a defect that are dropped for this defect.
* ``dropped``: share of these tiles that are dropped for any reason.
* ``flagged``: number of tiles dropped for a reason, of which ``sound tiles`` are sound.
* ``precision``: share of the tiles dropped for a reason that have this defect. It depends on the mix of
  tiles: per source one tile with each defect, and every image in four rotations.

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
"""Edge of a tile in pixels; number of tiles along the edge of a slide."""
DEVELOPMENT_PERCENT = 50
NO_TISSUE = "background"
"""Reason used for a tile that is missing from the table because it has no tissue."""


@dataclass(frozen=True)
class Sample:
    """A tile that is sound or has one defect."""

    image: Path
    source: str
    class_name: str
    defect: Defect | None
    other: Path
    """Another image of the same source, for folds."""
    turn: int = 0
    """Rotation in quarter turns."""


def in_part(source: str, part: str) -> bool:
    """Return whether the images of a source belong to ``part``: develop, held-out or all."""
    in_development = int(hashlib.sha256(source.encode()).hexdigest(), 16) % 100 < DEVELOPMENT_PERCENT
    return part == "all" or in_development == (part == "develop")


def find_images(folder: Path, table: Path | None) -> list[tuple[Path, str, str]]:
    """Return path, source and class of every image; without a table every image is its own source."""
    if table is None:
        suffixes = (".png", ".jpg", ".jpeg")
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
        return [(path, str(path.relative_to(folder)), path.parent.name) for path in paths]
    with table.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return [(folder / row["path"], row["source_image"], row.get("class", "")) for row in rows]


def draw_samples(images: Sequence[tuple[Path, str, str]], rng: np.random.Generator) -> list[Sample]:
    """Return every image in four rotations and, per source, one with each defect; similar stains are neighbors."""
    by_source: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path, source, class_name in images:
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
    """Return the absorbance of blue light relative to that of green light."""
    _, green, blue = (-np.log(np.maximum(channel, 1) / 255).mean() for channel in np.moveaxis(rgb, 2, 0))
    return float(blue / max(green, 0.01))


def load(path: Path) -> Rgb:
    """Return an image as (EDGE, EDGE, 3) uint8 RGB."""
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise SystemExit(f"{path}: cannot be read as an image")
    if bgr.shape[:2] != (EDGE, EDGE):
        bgr = cv2.resize(bgr, (EDGE, EDGE), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def write_slides(samples: Sequence[Sample], folder: Path, rng: np.random.Generator) -> Iterator[Sequence[Sample]]:
    """Write slides of SIDE x SIDE samples, row by row, and yield the samples of each slide."""
    for number, start in enumerate(range(0, len(samples), SIDE * SIDE)):
        on_slide = samples[start : start + SIDE * SIDE]
        rgb = np.full((SIDE * EDGE, SIDE * EDGE, 3), 242, np.uint8)
        for index, sample in enumerate(on_slide):
            row, col = divmod(index, SIDE)
            pixels = np.rot90(load(sample.image), sample.turn)
            if sample.defect:
                pixels = sample.defect.make(rng, pixels, load(sample.other))
            rgb[row * EDGE : (row + 1) * EDGE, col * EDGE : (col + 1) * EDGE] = pixels
        write_pyramidal_slide(folder / f"{number:03}.svs", rgb, MPP)
        yield on_slide


def drop_reasons(on_slides: Sequence[Sequence[Sample]], slides: Path, out: Path, settings: TileSettings) -> list[str]:
    """Tile the slides and return why each sample was dropped; an empty string if it was kept."""
    tile(TileInputs(read_cohort(slides)), out, settings)
    reasons: list[str] = []
    for number, samples in enumerate(on_slides):
        rows = {(row["row"], row["col"]): row["reason"] or "" for row in TILES.read_rows(out / f"{number:03}.parquet")}
        reasons += [rows.get(divmod(index, SIDE), NO_TISSUE) for index in range(len(samples))]
    return reasons


def print_defects(samples: Sequence[Sample], reasons: Sequence[str]) -> None:
    """Print recall and other reasons for every defect."""
    print(f"\n{'filter':<14} {'defect':<34} {'n':>5} {'recall':>7} {'dropped':>8}  other reasons")
    pairs = [(sample.defect, reason) for sample, reason in zip(samples, reasons, strict=True) if sample.defect]
    for defect in defects():
        results = [(other, reason) for other, reason in pairs if other.name == defect.name]
        wrong = Counter(reason for _, reason in results if reason and not defect.is_named(reason))
        names = ", ".join(f"{reason} {n}" for reason, n in wrong.most_common(3))
        print(f"{defect.filter:<14} {defect.name:<34} {_recall(results)}  {names}")


def print_filters(samples: Sequence[Sample], reasons: Sequence[str]) -> None:
    """Print recall and precision of every filter."""
    print(
        f"\n{'filter':<14} {'n':>5} {'recall':>7} {'dropped':>8}   {'flagged':>7} {'precision':>10} {'sound tiles':>12}"
    )
    pairs = [(sample.defect, reason) for sample, reason in zip(samples, reasons, strict=True)]
    for name in dict.fromkeys(defect.filter for defect in defects()):
        with_defect = [(defect, reason) for defect, reason in pairs if defect and defect.filter == name]
        flagged = [defect for defect, reason in pairs if reason == name]
        right = sum(defect is not None and defect.is_named(name) for defect in flagged)
        precision = f"{right / len(flagged):>10.3f}" if flagged else f"{'-':>10}"
        print(f"{name:<14} {_recall(with_defect)}   {len(flagged):>7} {precision} {flagged.count(None):>12}")


def _recall(results: Sequence[tuple[Defect, str]]) -> str:
    """Return the columns n, recall and dropped."""
    recall = sum(defect.is_named(reason) for defect, reason in results) / len(results)
    return f"{len(results):>5} {recall:>7.3f} {sum(reason != '' for _, reason in results) / len(results):>8.3f}"


def print_sound(samples: Sequence[Sample], reasons: Sequence[str]) -> None:
    """Print the percentage of sound tiles that are dropped, by class and reason."""
    print(f"\n{'sound tiles':<14} {'n':>6} {'dropped':>8}  reasons (% of tiles)")
    classes: Mapping[str, list[str]] = defaultdict(list)
    for sample, reason in zip(samples, reasons, strict=True):
        if sample.defect is None:
            classes["all"].append(reason)
            classes[sample.class_name].append(reason)
    for name, of_class in sorted(classes.items(), key=lambda item: item[0] != "all"):
        dropped = Counter(reason for reason in of_class if reason)
        shares = ", ".join(f"{reason} {100 * n / len(of_class):.2f}" for reason, n in dropped.most_common())
        print(f"{name:<14} {len(of_class):>6} {100 * sum(dropped.values()) / len(of_class):>7.2f}%  {shares}")


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=Path, required=True, help="folder of images of sound tissue at 0.5 um/px")
    parser.add_argument("--csv", type=Path, help="table with columns path, source_image and optionally class")
    parser.add_argument("--part", choices=["develop", "held-out", "all"], default="develop")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--work", type=Path, help="folder for slides and tiles; it is kept (default: a temporary folder)"
    )
    for field in fields(TileSettings):
        if field.name.startswith(("max_", "min_")):
            flag = "--" + field.name.replace("_", "-")
            parser.add_argument(flag, type=float, default=field.default, dest=f"setting_{field.name}")
    return parser.parse_args()


def main() -> None:
    """Write the slides, tile them and print the tables."""
    arguments = read_arguments()
    settings = TileSettings(
        **{
            name.removeprefix("setting_"): value
            for name, value in vars(arguments).items()
            if name.startswith("setting_")
        }
    )
    images = [image for image in find_images(arguments.tiles, arguments.csv) if in_part(image[1], arguments.part)]
    rng = np.random.default_rng(arguments.seed)
    samples = draw_samples(images, rng)
    sources = len({source for _, source, _ in images})
    print(f"{arguments.part}: {len(images)} images from {sources} sources; {len(samples)} tiles, including defects")
    with tempfile.TemporaryDirectory() as name:
        work = arguments.work or Path(name)
        (work / "slides").mkdir(parents=True)
        on_slides = list(write_slides(samples, work / "slides", rng))
        reasons = drop_reasons(on_slides, work / "slides", work / "tiles", settings)
    print_defects(samples, reasons)
    print_filters(samples, reasons)
    print_sound(samples, reasons)


if __name__ == "__main__":
    main()
