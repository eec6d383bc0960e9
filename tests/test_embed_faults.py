"""Killed runs leave no incomplete files, and the next run resumes."""

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
encoder, last, calls = STAND_INS["mean-color"], int(sys.argv[3]), 0
color = encoder._color

def kills_process(tiles):
    global calls
    calls += 1
    if calls == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return color(tiles)

encoder._color = kills_process
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
@pytest.mark.parametrize("batches", [2, 6], ids=["within the first slide", "within the second slide"])
def test_a_killed_run_is_resumed(tmp_path, monkeypatch, batches):
    tiles, out = tile_slides(tmp_path, ["a", "b", "c"]), tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(tiles), str(out), str(batches)]
    assert subprocess.run(command, check=False, env={**os.environ, "PYTHONPATH": str(Path.cwd())}).returncode == -9
    complete = [path for path in out.glob("*.h5") if not path.name.startswith(".")]
    assert len(complete) == (0 if batches == 2 else 1)
    kept = {path: path.stat().st_mtime_ns for path in complete}

    use_stand_ins(monkeypatch)
    summary = embed(EmbedInputs(tiles), out, EmbedSettings(), resources=EmbedResources(batch_size=20))
    outcomes = [result.outcome for result in summary.results]
    assert outcomes == [Outcome.KEPT] * len(complete) + [Outcome.DONE] * (3 - len(complete))
    assert {path: path.stat().st_mtime_ns for path in complete} == kept
    embed(EmbedInputs(tiles), tmp_path / "uninterrupted", EmbedSettings(), resources=EmbedResources(batch_size=20))
    for name in "abc":
        one, two = (read_bag(folder / f"{name}.h5") for folder in (out, tmp_path / "uninterrupted"))
        assert np.array_equal(one.features, two.features)
        assert np.array_equal(one.coords, two.coords)
    pictures = [f"patches/{path.stem}.zip" for path in complete]
    assert [name for name in files(out) if not name.startswith((".locks", "patches/five"))] == sorted(
        ["a.h5", "b.h5", "c.h5", "five.json", "slides.parquet", *pictures]
    )


def test_an_encoder_error_fails_one_slide_and_the_run_continues(tmp_path, monkeypatch):
    tiles, out = tile_slides(tmp_path, ["a", "b"]), tmp_path / "out"
    use_stand_ins(monkeypatch)
    encoder, calls = STAND_INS["mean-color"], []
    color = encoder._color

    def fails_once(tiles):
        calls.append(len(tiles))
        if len(calls) == 2:
            raise RuntimeError("an illegal memory access was encountered")
        return color(tiles)

    monkeypatch.setattr(encoder, "_color", fails_once)
    summary = embed(EmbedInputs(tiles), out, EmbedSettings(), resources=EmbedResources(batch_size=20))
    assert [result.outcome for result in summary.results] == [Outcome.FAILED, Outcome.DONE]
    assert "illegal memory access" in summary.failures[0].error
    assert not (out / "a.h5").exists()
    assert embed(EmbedInputs(tiles), out, EmbedSettings()).counts["done"] == 1
