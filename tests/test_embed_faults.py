"""Runs that are killed leave nothing half written, and the next run ends what they began."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.core.batch import Outcome
from pipelines.core.feature_file import read_bag
from pipelines.core.resources import EmbedResources
from pipelines.core.settings import EmbedSettings
from pipelines.embed import EmbedInputs, embed
from tests.embedding import STAND_INS, tile_slides, use_stand_ins

KILLED = """
import os, signal, sys
from pathlib import Path
import pytest
from pipelines.core.resources import EmbedResources
from pipelines.core.settings import EmbedSettings, PictureSettings
from pipelines.embed import EmbedInputs, embed
from tests.embedding import STAND_INS, use_stand_ins

use_stand_ins(pytest.MonkeyPatch())
encoder, last, calls = STAND_INS["mean-colour"], int(sys.argv[3]), 0
colour = encoder._colour

def deadly(tiles):
    global calls
    calls += 1
    if calls == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return colour(tiles)

encoder._colour = deadly
embed(
    EmbedInputs(Path(sys.argv[1])),
    Path(sys.argv[2]),
    EmbedSettings(),
    resources=EmbedResources(batch_size=20),
    pictures=PictureSettings("jpg"),
)
"""


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
@pytest.mark.parametrize("batches", [2, 6], ids=["within the first slide", "within the second"])
def test_a_killed_run_is_taken_up_where_it_was(tmp_path, monkeypatch, batches):
    tiles, out = tile_slides(tmp_path, ["a", "b", "c"]), tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(tiles), str(out), str(batches)]
    assert subprocess.run(command, check=False, env={**os.environ, "PYTHONPATH": str(Path.cwd())}).returncode == -9
    whole = [path for path in out.glob("*.h5") if not path.name.startswith(".")]
    assert len(whole) == (0 if batches == 2 else 1)
    kept = {path: path.stat().st_mtime_ns for path in whole}

    use_stand_ins(monkeypatch)
    summary = embed(EmbedInputs(tiles), out, EmbedSettings(), resources=EmbedResources(batch_size=20))
    outcomes = [result.outcome for result in summary.results]
    assert outcomes == [Outcome.KEPT] * len(whole) + [Outcome.DONE] * (3 - len(whole))
    assert {path: path.stat().st_mtime_ns for path in whole} == kept
    embed(EmbedInputs(tiles), tmp_path / "undisturbed", EmbedSettings(), resources=EmbedResources(batch_size=20))
    for name in "abc":
        one, two = (read_bag(folder / f"{name}.h5") for folder in (out, tmp_path / "undisturbed"))
        assert np.array_equal(one.features, two.features)
        assert np.array_equal(one.coords, two.coords)
    pictures = [f"patches/{path.stem}.zip" for path in whole]
    assert [name for name in files(out) if not name.startswith((".locks", "patches/five"))] == sorted(
        ["a.h5", "b.h5", "c.h5", "five.json", "slides.parquet", *pictures]
    )


def test_an_encoder_that_breaks_down_midway_fails_its_slide_and_the_rest_goes_on(tmp_path, monkeypatch):
    tiles, out = tile_slides(tmp_path, ["a", "b"]), tmp_path / "out"
    use_stand_ins(monkeypatch)
    encoder, calls = STAND_INS["mean-colour"], []
    colour = encoder._colour

    def breaks_down(tiles):
        calls.append(len(tiles))
        if len(calls) == 2:
            raise RuntimeError("an illegal memory access was encountered")
        return colour(tiles)

    monkeypatch.setattr(encoder, "_colour", breaks_down)
    summary = embed(EmbedInputs(tiles), out, EmbedSettings(), resources=EmbedResources(batch_size=20))
    assert [result.outcome for result in summary.results] == [Outcome.FAILED, Outcome.DONE]
    assert "illegal memory access" in summary.failures[0].error
    assert not (out / "a.h5").exists()
    assert embed(EmbedInputs(tiles), out, EmbedSettings()).counts["done"] == 1
