"""Speed and memory of ``five embed``, compared with the model alone, the reader alone, a fast device and other tools.

The compared methods run alternately, several times. The medians of wall time and of the CPU time of all
threads are printed. Other work on the machine disturbs wall times: the model uses one thread, and reading
ahead needs a second, idle core. CPU times show what reading costs in addition to the model.

Other tools ("peers") are given as commands, because this project does not depend on them. In a command,
``{slide}`` is replaced by the slide, ``{trident}`` and ``{clam}`` by an HDF5 file with the tile coordinates in the
format of that tool, ``{model}`` by a TorchScript file (input of 224 px, normalized as for ImageNet), and ``{out}`` by
an output folder. Each command runs on a few tiles and on many. The difference gives the cost per tile without
start-up.

Example: python -m tests.benchmarks.embedding --peer 'clam=python clam_loop.py --slide {slide} --coords
{clam} --model {model} --out {out}'
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

from tests.benchmarks.processes import usage_of
from tests.benchmarks.tiling import draw_slide, parse_peer

VIT = "vit_small_patch16_224"
"""A timm model."""
DEVICE_RATE = 2000
"""Tiles per second of the simulated device."""
PYTHON = [sys.executable, "-c"]

PREPARE = """
import sys, timm, torch
from safetensors.torch import save_file
torch.manual_seed(0)
network = timm.create_model(sys.argv[1], pretrained=False, num_classes=0).eval()
save_file(network.state_dict(), sys.argv[2] + ".safetensors")
tiny = torch.nn.Sequential(torch.nn.Conv2d(3, 32, 16, 16), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
for name, module in ((sys.argv[1], network), ("tiny", tiny)):
    with torch.inference_mode():
        torch.jit.trace(module, torch.zeros(2, 3, 224, 224)).save(f"{sys.argv[2]}-{name}.pt")
"""
"""Script that writes a timm model with random weights, and TorchScript files of it and of a tiny network."""


def in_turn(methods: Mapping[str, Callable[[], object]], runs: int) -> dict[str, tuple[float, float]]:
    """Return the median wall and CPU seconds of each method; the methods alternate."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in methods}
    for _ in range(runs):
        for name, method in methods.items():
            wall, cpu = time.perf_counter(), time.process_time()
            method()
            spent[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {name: (median(wall for wall, _ in runs), median(cpu for _, cpu in runs)) for name, runs in spent.items()}


class Tiled:
    """``number`` tiles of a slide, in the files that ``five embed`` and the other tools read."""

    def __init__(self, folder: Path, slide: Path, tile_size: int, number: int, *, stride: int | None = None) -> None:
        import h5py
        import numpy as np

        from pipelines.core.files import canonical_json
        from pipelines.core.provenance import Provenance
        from pipelines.core.schemas import TILED_SLIDES, TILES
        from pipelines.core.settings import TileSettings
        from pipelines.core.tiled_slide import TiledSlide
        from pipelines.slides import open_slide

        size = 2 * tile_size
        with open_slide(slide, mpp=0.25) as opened:
            width, height = opened.dimensions
        step = stride or size
        columns = (width - size) // step + 1
        cell = np.arange(number) % (columns * ((height - size) // step + 1))
        self.corners = np.stack([cell % columns, cell // columns], axis=1) * step
        row = {"slide_id": "slide", "path": str(slide.absolute()), "status": "ok", "n_tiles": number}
        row |= {"width": width, "height": height, "mpp_x": 0.25, "mpp_y": 0.25}
        row |= {"tile_size": tile_size, "target_mpp": 0.5, "tile_size_level0": size}
        provenance = Provenance.of(TileSettings(tile_size=tile_size))
        self.folder, self.coords = folder, {name: folder / f"{name}.h5" for name in ("trident", "clam")}
        self.slide = TiledSlide("slide", None, folder / "slide.parquet", str(number))
        if self.slide.table.exists():
            return
        TILED_SLIDES.write(folder / "slides.parquet", [row], provenance)
        tiles = [{"x": x, "y": y, "keep": True} for x, y in self.corners.tolist()]
        TILES.write(folder / "slide.parquet", tiles, provenance, notes={"five.row": canonical_json(row)})
        trident = {"patch_size": tile_size, "level0_magnification": 40, "target_magnification": 20}
        attributes = {"trident": trident, "clam": {"patch_size": size, "patch_level": 0}}
        for name, path in self.coords.items():
            with h5py.File(path, "w") as h5:
                h5["coords"] = self.corners
                h5["coords"].attrs.update(attributes[name])


class FixedRate:
    """Simulate an encoder on a device that processes ``rate`` tiles per second (0: instantly) and uses no CPU."""

    fingerprint, device, precision, largest_batch = "stub", "cpu", "fp32", None

    def __init__(self, rate: float, dim: int = 384) -> None:
        from pipelines.encoders.preset import Preset

        self.rate, self.dim, self.preset = rate, dim, Preset("stub", "none", dim)

    def __call__(self, tiles):
        import numpy as np

        if self.rate:
            time.sleep(len(tiles) / self.rate)
        return np.repeat(tiles[:, :1, 0, 0].astype(np.float32), self.dim, axis=1)


def run_stage(tiled: Tiled, out: Path, encoder: object, threads: int, batch: int = 64) -> None:
    """Run the stage with an encoder that is already loaded."""
    from pipelines.core.batch import run_with
    from pipelines.core.batch.on_devices import OnDevices
    from pipelines.core.provenance import Provenance
    from pipelines.core.settings import EmbedSettings
    from pipelines.encoders.feature_folder import FeatureFolder, FeatureOutput
    from pipelines.slides.tile_pass import ReadOptions, TilePass

    class Loaded(FeatureFolder):
        def load(self, device: str) -> FeatureOutput:
            return FeatureOutput(self, encoder)  # type: ignore[arg-type]

    shutil.rmtree(out, ignore_errors=True)
    settings = EmbedSettings()
    folder = Loaded(out, settings, encoder.preset, Provenance.of(settings))  # type: ignore[attr-defined]
    runner = OnDevices(["cpu"], TilePass([folder], ReadOptions(batch, threads)))
    result = run_with(runner, [tiled.slide], folder=out)[0]
    if result.error:
        raise RuntimeError(result.error)


def read_only(tiled: Tiled, threads: int, batch: int = 64) -> None:
    """Read the tiles and discard them."""
    from pipelines.slides.tile_stream import TileStream, kept_tiles

    tiles = [kept_tiles(tiled.slide.table)[0]]
    with TileStream(tiles.__getitem__, batch_size=batch, threads=threads) as stream:
        for _ in stream.batches(0):
            pass


def prepare(work: Path) -> None:
    """Write the networks in another process, so that this process stays small."""
    subprocess.run([*PYTHON, PREPARE, VIT, str(work / "model")], check=True, capture_output=True)


def pipeline(slide: Path, work: Path, n_model: int, runs: int) -> None:
    """Print the speed of the stage relative to the model alone, the reader alone, and a fast device."""
    import torch

    from pipelines.encoders.encoder import load_encoder
    from pipelines.encoders.find_preset import find_preset
    from pipelines.slides.tile_stream import TileStream, kept_tiles

    torch.set_num_threads(1)
    prepare(work)
    vit = load_encoder(find_preset(f"timm:{VIT}"), weights=work / "model.safetensors")
    small, many = Tiled(work / "small", slide, 224, n_model), Tiled(work / "many", slide, 224, 3000)
    with TileStream([kept_tiles(small.slide.table)[0]].__getitem__, batch_size=64, threads=1) as stream:
        batches = [batch.pixels for batch in stream.batches(0)]

    def model_alone() -> None:
        for batch in batches:
            vit(batch)

    out = work / "out"
    spent = in_turn({"alone": model_alone, "stage": lambda: run_stage(small, out, vit, 1)}, runs)
    print(f"\n{VIT} on one thread, one reader thread: {n_model / spent['alone'][0]:.1f} tiles/s by the model alone")
    wall, cpu = (spent["alone"][kind] / spent["stage"][kind] for kind in (0, 1))
    print(f"  five embed: {wall:.3f} of this speed (target 0.95); by CPU time {cpu:.3f}")
    fast, paced = FixedRate(0), FixedRate(DEVICE_RATE)
    for threads in (1, 2):
        methods = {
            "read": lambda threads=threads: read_only(many, threads),
            "stage": lambda threads=threads: run_stage(many, out, fast, threads),
            "paced": lambda threads=threads: run_stage(many, out, paced, threads),
        }
        spent = in_turn(methods, runs)
        rates = {name: 3000 / wall for name, (wall, _) in spent.items()}
        wall, cpu = (spent["read"][kind] / spent["stage"][kind] for kind in (0, 1))
        print(f"reader alone, {threads} thread(s): {rates['read']:.0f} tiles/s")
        print(f"  five embed with an instant encoder: {wall:.3f} of this speed (target 0.9); by CPU time {cpu:.3f}")
        slower = min(DEVICE_RATE, rates["read"])
        share = rates["paced"] / slower
        print(f"  five embed, device at {DEVICE_RATE}/s: {rates['paced']:.0f} tiles/s, {share:.3f} of the slower part")


TILE = """
import sys
from pathlib import Path
from tests.benchmarks.embedding import Tiled
Tiled(Path(sys.argv[3]) / "tiles", Path(sys.argv[1]), 64, int(sys.argv[2]), stride=16)
"""
MEMORY = """
import resource, sys, time
from pathlib import Path
from tests.benchmarks.embedding import FixedRate, Tiled, run_stage
number, work = int(sys.argv[2]), Path(sys.argv[3])
tiled = Tiled(work / "tiles", Path(sys.argv[1]), 64, number, stride=16)  # written by an earlier process
started = time.perf_counter()
run_stage(tiled, work / "out", FixedRate(0, 1024), 2)
seconds = time.perf_counter() - started
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(f"{after * 1024 / 1e6:.0f} {number / seconds:.0f}")
"""


def memory(slide: Path, work: Path, numbers: Sequence[int]) -> None:
    """Print the peak memory of the process for few and for many tiles."""
    print("\npeak memory of five embed, tiles of 64 px, 1,024 channels (target: the sizes differ by less than 100 MB)")
    for number in numbers:
        folder = work / f"memory-{number}"
        subprocess.run([*PYTHON, TILE, str(slide), str(number), str(folder)], check=True)
        finished = subprocess.run(
            [*PYTHON, MEMORY, str(slide), str(number), str(folder)], check=True, capture_output=True
        )
        peak, rate = finished.stdout.split()
        print(f"  {number:>7} tiles: {int(peak)} MB, {int(rate)} tiles/s", flush=True)
        shutil.rmtree(folder)


def writing(work: Path, n_tiles: int = 100_000, dim: int = 1024) -> None:
    """Print the speed of writing features and of reading random rows."""
    import numpy as np

    from pipelines.core.feature_file import CoordsAttributes, FeatureInfo, read_bag
    from pipelines.core.feature_writer import feature_writer
    from pipelines.core.provenance import Provenance

    rng, path = np.random.default_rng(0), work / "large.h5"
    batch = rng.standard_normal((64, dim)).astype(np.float16)
    corners = np.zeros((64, 2), np.int64)
    metadata = {
        "info": FeatureInfo("large", "stub", "0", 0.25, 0.25, 0.5),
        "coords_attributes": CoordsAttributes(224, 448, 40.0, 20.0, 0, "large", 1, 1),
        "provenance": Provenance({}),
    }
    started, cpu = time.perf_counter(), time.process_time()
    with feature_writer(path, n_tiles=n_tiles, dim=dim, dtype="float16", **metadata) as writer:  # type: ignore[arg-type]
        for start in range(0, n_tiles, 64):
            rows = min(64, n_tiles - start)
            writer.add(batch[:rows], corners[:rows])
    seconds, cpu, size = time.perf_counter() - started, time.process_time() - cpu, n_tiles * dim * 2 / 1e6
    print(f"\nwriting {n_tiles} x {dim} float16: {size / seconds:.0f} MB/s (target 200), {size / cpu:.0f} MB per CPU s")
    read_bag(path)  # warm the file cache
    seconds_per_read = []
    for _ in range(9):
        rows = np.sort(rng.choice(n_tiles, 2048, replace=False))
        started = time.perf_counter()
        read_bag(path, rows)
        seconds_per_read.append(time.perf_counter() - started)
    print(f"  reading 2,048 random rows, warm cache: {median(seconds_per_read) * 1000:.0f} ms (target 50)")
    path.unlink()


def against_peers(slide: Path, peers: Mapping[str, str], work: Path, runs: int) -> None:
    """Print the cost per additional tile of ``five embed`` and of every peer, with a large and with a tiny model."""
    prepare(work)
    run = shlex.join([*PYTHON, "import torch; torch.set_num_threads(1); from fivecli.app import main; main()"])
    own = f"{run} embed {{tiles}} -o {{out}} --encoder torchscript:{{model}} --device cpu --allow-mismatch"
    for model, numbers, target in ((VIT, (32, 160), 1.3), ("tiny", (300, 2100), 5)):
        tiled = [Tiled(work / f"{model}-{number}", slide, 224, number) for number in numbers]
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ("five embed", *peers)}
        for _ in range(runs):
            for name, command in {"five embed": own, **peers}.items():
                used = []
                for tiles in tiled:
                    shutil.rmtree(work / "peer", ignore_errors=True)
                    (work / "peer").mkdir()
                    paths = {"slide": slide.absolute(), "tiles": tiles.folder, **tiles.coords}
                    paths |= {"out": work / "peer", "model": work / f"model-{model}.pt"}
                    used.append(usage_of([part.format(**paths) for part in shlex.split(command)]))
                thousands = (numbers[1] - numbers[0]) / 1000
                spent[name].append(((used[1].wall - used[0].wall) / thousands, (used[1].cpu - used[0].cpu) / thousands))
        costs = {name: [median(run[kind] for run in each) for kind in (0, 1)] for name, each in spent.items()}
        print(f"\n{model}, one thread: cost per additional tile (target: peers at least {target} x)")
        for name, (wall, cpu) in costs.items():
            ratios = wall / costs["five embed"][0], cpu / costs["five embed"][1]
            print(f"  {name:<14} {wall:7.2f} ms ({ratios[0]:.2f} x), {cpu:7.2f} CPU ms ({ratios[1]:.2f} x)", flush=True)


def main() -> None:
    """Run the selected parts, all by default; peers only if they are given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "slide", type=Path, nargs="?", help="slide at 0.25 microns per pixel (default: a synthetic slide)"
    )
    parser.add_argument(
        "--peer", type=parse_peer, action="append", default=[], metavar="NAME=COMMAND", help="another tool"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS], help="parts to measure")
    parser.add_argument("--runs", type=int, default=3, help="runs of each method")
    parser.add_argument("--tiles", type=int, default=128, help="number of tiles for the model alone")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        slide = arguments.slide or draw_slide(work / "drawn.svs", 8_000)
        if "memory" in arguments.parts:
            memory(slide, work, (5_000, 200_000))
        if "writing" in arguments.parts:
            writing(work)
        if "pipeline" in arguments.parts:
            pipeline(slide, work, arguments.tiles, arguments.runs)
        if "peers" in arguments.parts and arguments.peer:
            against_peers(slide, dict(arguments.peer), work, arguments.runs)


PARTS = ("memory", "writing", "pipeline", "peers")

if __name__ == "__main__":
    main()
