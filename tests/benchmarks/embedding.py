"""Speed and memory of ``five embed``: against the model alone, the reader alone, a fast device, and peers' loops.

Ways that are compared run in turn, several times, and medians are printed, of wall time and of CPU time of all
threads. Other work on the machine disturbs wall times: the model is given one thread, and reading ahead
needs a second, idle core. CPU times then tell what reading costs besides the model.

Peers are commands, since this project does not depend on them. ``{slide}`` stands for the slide, ``{trident}``
and ``{clam}`` for HDF5 files with the tiles' corners as these projects write them, ``{model}`` for a TorchScript
file (pixels of 224 with ImageNet's mean), ``{out}`` for a folder to write. Each runs over few tiles and over
many; the difference is what a tile costs, without imports.

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
from tests.benchmarks.tiling import drawn, peer

VIT = "vit_small_patch16_224"
"""A network of timm."""
DEVICE_RATE = 2000
"""Tiles a second of the simulated device."""
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
"""Writes a network of timm with random weights, and TorchScript files of it and of one that costs next to nothing."""


def in_turn(ways: Mapping[str, Callable[[], object]], runs: int) -> dict[str, tuple[float, float]]:
    """Return the median wall and CPU seconds of each way, the ways taking turns."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            way()
            found[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {name: (median(wall for wall, _ in runs), median(cpu for _, cpu in runs)) for name, runs in found.items()}


class Tiled:
    """Tiles of a slide, as many as asked for, in the files that ``five embed`` and its peers read."""

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
        place = np.arange(number) % (columns * ((height - size) // step + 1))
        self.corners = np.stack([place % columns, place // columns], axis=1) * step
        row = {"slide_id": "slide", "path": str(slide.absolute()), "status": "ok", "n_tiles": number}
        row |= {"width": width, "height": height, "mpp_x": 0.25, "mpp_y": 0.25}
        row |= {"tile_size": tile_size, "target_mpp": 0.5, "tile_size_level0": size}
        made = Provenance.of(TileSettings(tile_size=tile_size))
        self.folder, self.coords = folder, {name: folder / f"{name}.h5" for name in ("trident", "clam")}
        self.slide = TiledSlide("slide", None, folder / "slide.parquet", str(number))
        if self.slide.table.exists():
            return
        TILED_SLIDES.write(folder / "slides.parquet", [row], made)
        tiles = [{"x": x, "y": y, "keep": True} for x, y in self.corners.tolist()]
        TILES.write(folder / "slide.parquet", tiles, made, notes={"five.row": canonical_json(row)})
        trident = {"patch_size": tile_size, "level0_magnification": 40, "target_magnification": 20}
        attributes = {"trident": trident, "clam": {"patch_size": size, "patch_level": 0}}
        for name, path in self.coords.items():
            with h5py.File(path, "w") as h5:
                h5["coords"] = self.corners
                h5["coords"].attrs.update(attributes[name])


class FixedRate:
    """Stands in for an encoder on a device that takes ``rate`` tiles a second, without using the processor."""

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
    """Embed with a loaded encoder, as the stage does."""
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
    """Read the tiles and do nothing with them."""
    from pipelines.slides.tile_stream import TileStream, kept_tiles

    tiles = [kept_tiles(tiled.slide.table)[0]]
    with TileStream(tiles.__getitem__, batch_size=batch, threads=threads) as stream:
        for _ in stream.batches(0):
            pass


def prepare(work: Path) -> None:
    """Write the networks in another process, whose memory is not ours."""
    subprocess.run([*PYTHON, PREPARE, VIT, str(work / "model")], check=True, capture_output=True)


def pipeline(slide: Path, work: Path, n_model: int, runs: int) -> None:
    """Print how near the stage comes to the model alone, the reader alone, and a fast device."""
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
    found = in_turn({"alone": model_alone, "stage": lambda: run_stage(small, out, vit, 1)}, runs)
    print(f"\n{VIT} on one thread, one reader: {n_model / found['alone'][0]:.1f} tiles/s alone")
    wall, cpu = (found["alone"][kind] / found["stage"][kind] for kind in (0, 1))
    print(f"  five embed: {wall:.3f} of that (bar 0.95), {cpu:.3f} by CPU time of both")
    fast, paced = FixedRate(0), FixedRate(DEVICE_RATE)
    for threads in (1, 2):
        ways = {
            "read": lambda threads=threads: read_only(many, threads),
            "stage": lambda threads=threads: run_stage(many, out, fast, threads),
            "paced": lambda threads=threads: run_stage(many, out, paced, threads),
        }
        found = in_turn(ways, runs)
        rates = {name: 3000 / wall for name, (wall, _) in found.items()}
        wall, cpu = (found["read"][kind] / found["stage"][kind] for kind in (0, 1))
        print(f"{threads} reader(s) alone: {rates['read']:.0f} tiles/s")
        print(f"  five embed, an encoder that costs nothing: {wall:.3f} of that (bar 0.9), {cpu:.3f} by CPU time")
        slower = min(DEVICE_RATE, rates["read"])
        print(f"  a device of {DEVICE_RATE} tiles/s: {rates['paced']:.0f}, {rates['paced'] / slower:.3f} of the slower")


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
    """Print the peak memory of whole processes over few tiles and over many."""
    print("\nlargest resident memory of a process, tiles of 64 px, 1,024 channels (bar: within 100 MB)")
    for number in numbers:
        place = work / f"memory-{number}"
        subprocess.run([*PYTHON, TILE, str(slide), str(number), str(place)], check=True)
        done = subprocess.run([*PYTHON, MEMORY, str(slide), str(number), str(place)], check=True, capture_output=True)
        peak, rate = done.stdout.split()
        print(f"  {number:>7} tiles: {int(peak)} MB, {int(rate)} tiles/s", flush=True)
        shutil.rmtree(place)


def writing(work: Path, n_tiles: int = 100_000, dim: int = 1024) -> None:
    """Print how fast features are written, and random rows read."""
    import numpy as np

    from pipelines.core.feature_file import CoordsAttributes, FeatureInfo, feature_writer, read_bag
    from pipelines.core.provenance import Provenance

    rng, path = np.random.default_rng(0), work / "large.h5"
    batch = rng.standard_normal((64, dim)).astype(np.float16)
    corners = np.zeros((64, 2), np.int64)
    about = {
        "info": FeatureInfo("large", "stub", "0", 0.25, 0.25, 0.5),
        "coords_attributes": CoordsAttributes(224, 448, 40.0, 20.0, 0, "large", 1, 1),
        "provenance": Provenance({}),
    }
    started, cpu = time.perf_counter(), time.process_time()
    with feature_writer(path, n_tiles=n_tiles, dim=dim, dtype="float16", **about) as writer:  # type: ignore[arg-type]
        for start in range(0, n_tiles, 64):
            rows = min(64, n_tiles - start)
            writer.add(batch[:rows], corners[:rows])
    seconds, cpu, size = time.perf_counter() - started, time.process_time() - cpu, n_tiles * dim * 2 / 1e6
    print(
        f"\n{n_tiles} x {dim} float16: written at {size / seconds:.0f} MB/s (bar 200), {size / cpu:.0f} per CPU second"
    )
    read_bag(path)  # warms the cache
    took = []
    for _ in range(9):
        rows = np.sort(rng.choice(n_tiles, 2048, replace=False))
        started = time.perf_counter()
        read_bag(path, rows)
        took.append(time.perf_counter() - started)
    print(f"  2,048 random rows, warm: {median(took) * 1000:.0f} ms (bar 50)")
    path.unlink()


def against_peers(slide: Path, peers: Mapping[str, str], work: Path, runs: int) -> None:
    """Print what a further tile costs ``five embed`` and every peer, with a large model and with a tiny one."""
    prepare(work)
    run = shlex.join([*PYTHON, "import torch; torch.set_num_threads(1); from fivecli.app import main; main()"])
    own = f"{run} embed {{tiles}} -o {{out}} --encoder torchscript:{{model}} --device cpu --allow-mismatch"
    for model, numbers, bar in ((VIT, (32, 160), 1.3), ("tiny", (300, 2100), 5)):
        tiled = [Tiled(work / f"{model}-{number}", slide, 224, number) for number in numbers]
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in ("five embed", *peers)}
        for _ in range(runs):
            for name, command in {"five embed": own, **peers}.items():
                used = []
                for tiles in tiled:
                    shutil.rmtree(work / "peer", ignore_errors=True)
                    (work / "peer").mkdir()
                    places = {"slide": slide.absolute(), "tiles": tiles.folder, **tiles.coords}
                    places |= {"out": work / "peer", "model": work / f"model-{model}.pt"}
                    used.append(usage_of([part.format(**places) for part in shlex.split(command)]))
                more = (numbers[1] - numbers[0]) / 1000
                found[name].append(((used[1].wall - used[0].wall) / more, (used[1].cpu - used[0].cpu) / more))
        costs = {name: [median(run[kind] for run in each) for kind in (0, 1)] for name, each in found.items()}
        print(f"\n{model}, one thread: what a further tile costs (bar: {bar} x)")
        for name, (wall, cpu) in costs.items():
            ratios = wall / costs["five embed"][0], cpu / costs["five embed"][1]
            print(f"  {name:<14} {wall:7.2f} ms ({ratios[0]:.2f} x), {cpu:7.2f} CPU ms ({ratios[1]:.2f} x)", flush=True)


def main() -> None:
    """Run the parts asked for, all by default; peers where they are given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide", type=Path, nargs="?", help="a slide at 0.25 microns per pixel; drawn if left out")
    parser.add_argument("--peer", type=peer, action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS], help="what to measure")
    parser.add_argument("--runs", type=int, default=3, help="runs of each way")
    parser.add_argument("--tiles", type=int, default=128, help="tiles for the model alone")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        slide = wanted.slide or drawn(work / "drawn.svs", 8_000)
        if "memory" in wanted.parts:
            memory(slide, work, (5_000, 200_000))
        if "writing" in wanted.parts:
            writing(work)
        if "pipeline" in wanted.parts:
            pipeline(slide, work, wanted.tiles, wanted.runs)
        if "peers" in wanted.parts and wanted.peer:
            against_peers(slide, dict(wanted.peer), work, wanted.runs)


PARTS = ("memory", "writing", "pipeline", "peers")

if __name__ == "__main__":
    main()
