"""Outputs of one pass over the pixels: features of several encoders, and pictures; partial runs."""

import json
import zipfile
from collections import Counter

import cv2
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from fivecli.app import app
from pipelines.core.batch import Outcome
from pipelines.core.errors import ChangedSettingsError, EncoderError, SettingsError
from pipelines.core.feature_file import read_bag, read_info
from pipelines.core.resources import EmbedResources
from pipelines.core.schemas import EMBEDDED_SLIDES
from pipelines.core.selection import Selection, Shard
from pipelines.core.settings import EmbedSettings, PictureSettings
from pipelines.embed import EmbedInputs, embed, plan
from pipelines.slides import tile_stream
from pipelines.slides.slide import Slide
from tests.embedding import STAND_INS, TISSUE, kept_corners, tile_slides, use_stand_ins

BOTH = [EmbedSettings(encoder=name, dtype="float32") for name in STAND_INS]


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    return tile_slides(tmp_path_factory.mktemp("slides"), ["a", "b", "c"])


@pytest.fixture
def stand_ins(monkeypatch):
    use_stand_ins(monkeypatch)


def forbid_loading(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("an encoder was loaded")

    monkeypatch.setattr("pipelines.encoders.encoder.load_encoder", refuse)


def table(folder):
    return {row["slide_id"]: row for row in EMBEDDED_SLIDES.read_rows(folder / "slides.parquet")}


def test_several_encoders_return_the_same_features_as_each_alone(tiles, tmp_path, stand_ins):
    embed(EmbedInputs(tiles), tmp_path / "both", BOTH, resources=EmbedResources(batch_size=7))
    for settings in BOTH:
        embed(EmbedInputs(tiles), tmp_path / settings.encoder, settings)
        together, alone = tmp_path / "both" / settings.encoder, tmp_path / settings.encoder
        for name in "abc":
            assert np.array_equal(read_bag(together / f"{name}.h5").features, read_bag(alone / f"{name}.h5").features)
            assert read_info(together / f"{name}.h5").encoder == settings.encoder
        assert {name: row["encoder"] for name, row in table(together).items()} == dict.fromkeys("abc", settings.encoder)


def test_the_folder_of_one_encoder_is_current_for_a_run_with_that_encoder_alone(tiles, tmp_path, stand_ins):
    embed(EmbedInputs(tiles), tmp_path, BOTH)
    summary = embed(EmbedInputs(tiles), tmp_path / "first-pixel", BOTH[1])
    assert {result.outcome for result in summary.results} == {Outcome.KEPT}


def test_each_tile_is_read_once_for_all_encoders_and_pictures(tiles, tmp_path, stand_ins, monkeypatch):
    read, original = Counter(), Slide.read_tile

    def counting(self, x, y, *sizes):
        read[self.path.stem, x, y] += 1
        return original(self, x, y, *sizes)

    monkeypatch.setattr(Slide, "read_tile", counting)
    embed(EmbedInputs(tiles), tmp_path, BOTH, pictures=PictureSettings("jpg"))
    assert read == {(name, x, y): 1 for name in "abc" for x, y in kept_corners(tiles, name)}


def test_only_the_encoder_whose_features_are_missing_runs(tiles, tmp_path, stand_ins, monkeypatch):
    embed(EmbedInputs(tiles), tmp_path, BOTH)
    (tmp_path / "first-pixel/b.h5").unlink()
    before = (tmp_path / "mean-color/b.h5").stat().st_mtime_ns
    loaded = []
    monkeypatch.setattr(
        "pipelines.encoders.encoder.load_encoder",
        lambda preset, **_: loaded.append(preset.name) or STAND_INS[preset.name],
    )
    summary = embed(EmbedInputs(tiles), tmp_path, BOTH)
    assert loaded == ["first-pixel"]
    assert summary.counts["done"] == 1
    assert (tmp_path / "mean-color/b.h5").stat().st_mtime_ns == before
    assert set(table(tmp_path / "mean-color")) == set("abc")


def test_no_encoder_is_loaded_if_all_features_are_current(tiles, tmp_path, stand_ins, monkeypatch):
    embed(EmbedInputs(tiles), tmp_path, BOTH)
    forbid_loading(monkeypatch)
    reported = []
    summary = embed(EmbedInputs(tiles), tmp_path, BOTH, on_result=reported.append)
    assert summary.counts["kept"] == 3
    assert [(result.item_id, result.total) for result in reported] == [("a", 3), ("b", 3), ("c", 3)]


def test_an_encoder_named_twice_is_refused(tiles, tmp_path):
    with pytest.raises(SettingsError, match="same folder twice"):
        embed(EmbedInputs(tiles), tmp_path / "out", [EmbedSettings(), EmbedSettings()])


@pytest.mark.parametrize("format", ["jpg", "webp"])
def test_pictures_show_the_tiles_and_are_named_after_their_corners(tiles, tmp_path, stand_ins, format):
    embed(EmbedInputs(tiles), tmp_path, EmbedSettings(), pictures=PictureSettings(format, quality=95))
    with zipfile.ZipFile(tmp_path / "patches/a.zip") as archive:
        corners = [f"{x}_{y}.{format}" for x, y in kept_corners(tiles, "a")]
        assert archive.namelist() == corners
        assert archive.testzip() is None
        x, y = kept_corners(tiles, "a")[5]
        picture = cv2.imdecode(np.frombuffer(archive.read(corners[5]), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    tile = TISSUE[y : y + 112, x : x + 112]
    assert picture.shape == tile.shape
    assert np.abs(picture.mean((0, 1)) - tile.mean((0, 1))).max() < 2  # red and blue are not swapped
    assert np.abs(picture.astype(int) - tile).mean() < 12  # hard edges with chroma subsampling


def test_pictures_can_be_added_later_without_loading_an_encoder(tiles, tmp_path, stand_ins, monkeypatch):
    embed(EmbedInputs(tiles), tmp_path, EmbedSettings())
    forbid_loading(monkeypatch)
    embed(EmbedInputs(tiles), tmp_path, EmbedSettings(), pictures=PictureSettings("jpg"))
    before = (tmp_path / "patches/a.zip").stat().st_mtime_ns
    summary = embed(EmbedInputs(tiles), tmp_path, EmbedSettings(), pictures=PictureSettings("jpg"))
    assert summary.counts["kept"] == 3
    assert (tmp_path / "patches/a.zip").stat().st_mtime_ns == before
    assert set(table(tmp_path)) == set("abc")


def test_another_picture_format_is_refused_before_anything_is_written(tiles, tmp_path, stand_ins):
    embed(
        EmbedInputs(tiles),
        tmp_path,
        EmbedSettings(),
        selection=Selection(shard=Shard(1, 3)),
        pictures=PictureSettings("jpg"),
    )
    with pytest.raises(ChangedSettingsError, match="'jpg' -> 'webp'"):
        embed(EmbedInputs(tiles), tmp_path, EmbedSettings(), pictures=PictureSettings("webp"))
    assert not (tmp_path / "b.h5").exists()


def test_a_truncated_archive_is_replaced(tiles, tmp_path, stand_ins):
    embed(EmbedInputs(tiles), tmp_path, EmbedSettings(), pictures=PictureSettings("jpg"))
    complete = (tmp_path / "patches/a.zip").read_bytes()
    (tmp_path / "patches/a.zip").write_bytes(complete[: len(complete) // 2])
    summary = embed(EmbedInputs(tiles), tmp_path, EmbedSettings(), pictures=PictureSettings("jpg"))
    assert [result.outcome for result in summary.results] == [Outcome.DONE, Outcome.KEPT, Outcome.KEPT]
    assert (tmp_path / "patches/a.zip").read_bytes() == complete


def test_local_copies_are_read_instead_of_the_slides_and_removed_afterwards(tiles, tmp_path, stand_ins, monkeypatch):
    opened, original = [], tile_stream.open_slide
    monkeypatch.setattr(tile_stream, "open_slide", lambda path: opened.append(path) or original(path))
    embed(EmbedInputs(tiles), tmp_path / "copied", BOTH[0], resources=EmbedResources(stage_dir=tmp_path / "fast"))
    embed(EmbedInputs(tiles), tmp_path / "in-place", BOTH[0])
    from_copies = [path for path in opened if path.is_relative_to(tmp_path / "fast")]
    assert {path.name for path in from_copies} == {"a.tif", "b.tif", "c.tif"}
    assert opened[: len(from_copies)] == from_copies
    assert list((tmp_path / "fast").iterdir()) == []
    for name in "abc":
        copied, in_place = (read_bag(tmp_path / run / f"{name}.h5").features for run in ("copied", "in-place"))
        assert np.array_equal(copied, in_place)


def test_only_the_slide_that_cannot_be_copied_fails(tmp_path, stand_ins):
    tiles = tile_slides(tmp_path, ["a", "b"])
    (tmp_path / "slides/a.tif").unlink()
    summary = embed(
        EmbedInputs(tiles), tmp_path / "out", EmbedSettings(), resources=EmbedResources(stage_dir=tmp_path / "fast")
    )
    assert [result.outcome for result in summary.results] == [Outcome.FAILED, Outcome.DONE]
    assert str(tmp_path / "slides/a.tif") in summary.failures[0].error


def test_shards_are_disjoint_and_complete(tiles, tmp_path, stand_ins):
    done = []
    for index in (1, 2):
        summary = embed(EmbedInputs(tiles), tmp_path, EmbedSettings(), selection=Selection(shard=Shard(index, 2)))
        done.append({result.item_id for result in summary.results})
    assert done == [{"a", "c"}, {"b"}]
    assert set(table(tmp_path)) == set("abc")


def test_only_failed_slides_are_redone(tiles, tmp_path, stand_ins, monkeypatch):
    encoder = STAND_INS["mean-color"]
    with monkeypatch.context() as patch:
        patch.setattr(encoder, "_color", lambda tiles: np.full((len(tiles), 3), np.nan))
        embed(EmbedInputs(tiles), tmp_path, EmbedSettings(), selection=Selection(shard=Shard(2, 2)))
    summary = embed(EmbedInputs(tiles), tmp_path, EmbedSettings(), selection=Selection(only_failed=True))
    assert [(result.item_id, result.outcome) for result in summary.results] == [("b", Outcome.DONE)]
    assert {name: row["status"] for name, row in table(tmp_path).items()} == {"b": "ok"}


def test_a_dry_run_counts_missing_slides_and_writes_nothing(tiles, tmp_path, stand_ins, monkeypatch):
    n_tiles = len(kept_corners(tiles, "a"))
    assert plan(EmbedInputs(tiles), tmp_path / "out", EmbedSettings())["seconds"] == "not known"
    assert not (tmp_path / "out").exists()
    embed(EmbedInputs(tiles), tmp_path / "out", EmbedSettings(), selection=Selection(shard=Shard(1, 3)))
    forbid_loading(monkeypatch)
    counts = plan(EmbedInputs(tiles), tmp_path / "out", EmbedSettings())
    row = table(tmp_path / "out")["a"]
    assert (counts["slides"], counts["current"], counts["to_do"], counts["tiles_to_do"]) == (3, 1, 2, 2 * n_tiles)
    assert counts["gigabytes_to_write"] == pytest.approx(2 * n_tiles * 3 * 2 / 1e9, abs=5e-4)  # 3 float16 per tile
    assert counts["seconds"] == pytest.approx(2 * row["seconds"], abs=0.06)  # two slides of this size


def test_weights_that_do_not_fit_are_refused_before_a_slide_is_opened(tiles, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a slide was opened")

    monkeypatch.setattr("pipelines.slides.tile_stream.open_slide", refuse)
    save_file({"conv1.weight": torch.zeros(1)}, tmp_path / "wrong.safetensors")
    settings = EmbedSettings(encoder="timm:test_resnet", weights=tmp_path / "wrong.safetensors")
    with pytest.raises(EncoderError, match="not the weights of timm:test_resnet"):
        embed(EmbedInputs(tiles), tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()  # so a run with the right weights needs no --overwrite


@pytest.fixture(scope="module")
def tiny_weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=0).state_dict(), path)
    return path


@pytest.mark.slow
def test_two_processes_return_the_same_features_as_one(tiles, tmp_path, tiny_weights):
    settings = EmbedSettings(encoder="timm:test_resnet", weights=tiny_weights, dtype="float32")
    embed(EmbedInputs(tiles), tmp_path / "one", settings)
    summary = embed(
        EmbedInputs(tiles),
        tmp_path / "two",
        settings,
        resources=EmbedResources(device="cpu:0,1"),
        pictures=PictureSettings("jpg"),
    )
    assert summary.counts["done"] == 3
    assert summary.facts["tiles"] == 3 * len(kept_corners(tiles, "a"))
    for name in "abc":
        one, two = (read_bag(tmp_path / run / f"{name}.h5").features for run in ("one", "two"))
        assert np.array_equal(one, two)
        assert zipfile.is_zipfile(tmp_path / f"two/patches/{name}.zip")


@pytest.mark.slow
@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (13, 3)])
def test_features_of_a_network_depend_on_batch_size_only_by_rounding(
    tiles, tmp_path, tiny_weights, batch_size, workers
):
    settings = EmbedSettings(encoder="timm:test_resnet", weights=tiny_weights, dtype="float32")
    embed(EmbedInputs(tiles), tmp_path / "one", settings, selection=Selection(shard=Shard(1, 3)))
    embed(
        EmbedInputs(tiles),
        tmp_path / "two",
        settings,
        selection=Selection(shard=Shard(1, 3)),
        resources=EmbedResources(workers=workers, batch_size=batch_size),
    )
    one, two = (read_bag(tmp_path / run / "a.h5").features for run in ("one", "two"))
    assert np.abs(one - two).max() <= 1e-5 * np.abs(one).max()


def run_command(tiles, out, *more):
    return CliRunner().invoke(app, ["embed", str(tiles), "-o", str(out), *more])


def test_the_command_accepts_several_encoders_with_their_weights(tiles, tmp_path, tiny_weights):
    encoders = ["--encoder", "timm:test_resnet", "--encoder", "efficientnet-lite0-imagenet", "--shard", "1/3"]
    result = run_command(tiles, tmp_path, *encoders, "--weights", f"timm:test_resnet={tiny_weights}", "--json")
    assert result.exit_code == 0, result.output
    n_tiles = len(kept_corners(tiles, "a"))
    assert read_bag(tmp_path / "efficientnet-lite0-imagenet/a.h5").features.shape == (n_tiles, 1280)
    assert len(read_bag(tmp_path / "timm-test_resnet/a.h5").features) == n_tiles
    report = json.loads(result.stdout)
    assert report["bounded_by"] in ("the encoder", "reading: more --workers may help")


def test_weights_without_an_encoder_name_are_refused_for_several_encoders(tiles, tmp_path):
    result = run_command(tiles, tmp_path, "--encoder", "uni", "--encoder", "uni2-h", "--weights", "uni.bin")
    assert "--weights uni=uni.bin" in str(result.exception.hint)


def test_an_encoder_and_its_weights_can_be_set_in_a_settings_file(tiles, tmp_path, tiny_weights):
    config = tmp_path / "embed.yaml"
    config.write_text(f"encoder: timm:test_resnet\nweights: {tiny_weights}\nshard: 1/3\n", encoding="utf-8")
    result = run_command(tiles, tmp_path / "out", "--config", str(config))
    assert result.exit_code == 0, result.output
    assert read_info(tmp_path / "out/a.h5").encoder == "timm:test_resnet"
