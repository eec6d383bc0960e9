"""Missing or damaged outlines and pictures are made again. Outlines that the user edited are not overwritten."""

import json
from dataclasses import replace

import pytest

from pipelines.core.batch import Outcome
from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import ChangedSettingsError
from pipelines.core.geojson import read_features
from pipelines.core.schemas import TILED_SLIDES
from pipelines.core.selection import Selection
from pipelines.tile import TileInputs, plan, tile
from tests.slide_files import write_lossless_slide
from tests.tiling import SETTINGS, TISSUE, outcomes, rows_of

FILES = ["tissue/g/a.geojson", "qc/g/a.jpg", "qc/g/a.dropped.jpg"]
OVERWRITE = Selection(overwrite=True)


@pytest.fixture
def slide(tmp_path):
    rgb = TISSUE.copy()
    rgb[112:320, 224:448] = (20, 130, 70)  # ink, so that there is a contact sheet
    return CohortSlide("g/a", write_lossless_slide(tmp_path / "slides/a.tif", rgb, 0.5))


@pytest.fixture
def out(slide, tmp_path):
    tile(TileInputs([slide]), tmp_path / "out", SETTINGS)
    return tmp_path / "out"


def content(out):
    return {name: (out / name).read_bytes() for name in FILES if (out / name).exists()}


def move(data):
    """Return outlines whose first corner is moved."""
    collection = json.loads(data)
    collection["features"][0]["geometry"]["coordinates"][0][1][0] += 8
    return json.dumps(collection).encode()


def add_property(data):
    collection = json.loads(data)
    collection["features"][0]["properties"]["name"] = "mine"
    return json.dumps(collection).encode()


def delete_all(_):
    return b'{"type": "FeatureCollection", "features": []}'


def export(data):
    """Return a list of features, as other programs write."""
    return json.dumps(json.loads(data)["features"], indent=1).encode()


DAMAGES = {
    "missing": None,
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "flipped": lambda data: b"\x00" + data[1:],
}
EDITS = {function.__name__: function for function in (move, add_property, delete_all, export)}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_damaged_file_is_made_again_and_the_tiles_stay_the_same(slide, out, name, damage):
    before, tiles = content(out), rows_of(out)["g/a"]["tiles_fingerprint"]
    if damage == "missing":
        (out / name).unlink()
    else:
        (out / name).write_bytes(DAMAGES[damage](before[name]))
    assert plan(TileInputs([slide]), out, SETTINGS)["to_do"] == 1
    assert outcomes(tile(TileInputs([slide]), out, SETTINGS)) == [Outcome.DONE]
    assert content(out) == before
    assert rows_of(out)["g/a"]["tiles_fingerprint"] == tiles
    assert outcomes(tile(TileInputs([slide]), out, SETTINGS)) == [Outcome.KEPT]


@pytest.mark.parametrize("bit", range(8))
def test_any_flipped_bit_of_a_picture_is_noticed(slide, out, bit):
    for name in FILES[1:]:
        data = bytearray((out / name).read_bytes())
        data[len(data) // 2 + bit] ^= 1 << bit
        (out / name).write_bytes(data)
        assert outcomes(tile(TileInputs([slide]), out, SETTINGS)) == [Outcome.DONE]


def test_no_flipped_bit_of_an_outline_is_silent(slide, out):
    """It is either damaged and made again, or valid GeoJSON and reported."""
    before = (out / FILES[0]).read_bytes()
    for place in range(0, len(before), 37):
        (out / FILES[0]).write_bytes(before[:place] + bytes([before[place] ^ 1 << place % 7]) + before[place + 1 :])
        summary = tile(TileInputs([slide]), out, SETTINGS)
        made_again = outcomes(summary) == [Outcome.DONE] and (out / FILES[0]).read_bytes() == before
        assert made_again or list(summary.facts["edited_outlines"]) == ["g/a"]


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_outline_is_reported_and_the_slide_is_kept(slide, out, edit):
    path = out / FILES[0]
    path.write_bytes(edited := EDITS[edit](path.read_bytes()))
    read_features(path)
    for _ in range(2):
        summary = tile(TileInputs([slide]), out, SETTINGS)
        assert outcomes(summary) == [Outcome.KEPT]
        note = summary.facts["edited_outlines"]["g/a"]
        assert note.startswith(f"{path}: edited since it was written")
        assert f"pass --masks {out}/tissue (with --overwrite) to use it, or delete it" in note
    assert path.read_bytes() == edited


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("state", ["other settings", "other slide", "damaged tile table", "no tile table"])
def test_an_edited_outline_is_never_overwritten(slide, out, tmp_path, edit, state):
    path, settings = out / FILES[0], SETTINGS
    path.write_bytes(edited := EDITS[edit](path.read_bytes()))
    if state == "other settings":
        settings = replace(SETTINGS, overlap=8)
    elif state == "other slide":
        write_lossless_slide(slide.path, TISSUE, 0.5)
    elif state == "damaged tile table":
        (out / "g/a.parquet").write_bytes(b"damaged")
    else:
        (out / "g/a.parquet").unlink()
    for _ in range(2):
        summary = tile(TileInputs([slide]), out, settings, selection=OVERWRITE)
        assert outcomes(summary) == [Outcome.FAILED]
        assert "edited since it was written" in summary.failures[0].error
        assert path.read_bytes() == edited
    path.unlink()
    assert outcomes(tile(TileInputs([slide]), out, settings, selection=OVERWRITE)) == [Outcome.DONE]


def test_pictures_are_made_again_beside_an_edited_outline(slide, out):
    path = out / FILES[0]
    path.write_bytes(edited := move(path.read_bytes()))
    before = content(out)
    (out / FILES[1]).unlink()
    summary = tile(TileInputs([slide]), out, SETTINGS)
    assert (outcomes(summary), list(summary.facts["edited_outlines"])) == ([Outcome.DONE], ["g/a"])
    assert content(out) == before
    summary = tile(TileInputs([slide]), out, SETTINGS)
    assert (outcomes(summary), list(summary.facts["edited_outlines"])) == ([Outcome.KEPT], ["g/a"])
    assert path.read_bytes() == edited


def test_an_edited_outline_is_used_as_a_mask(slide, out):
    path = out / FILES[0]
    path.write_bytes(edited := delete_all(b""))
    masked = TileInputs([slide], masks=out / "tissue")
    with pytest.raises(ChangedSettingsError, match="masks False -> True"):
        tile(masked, out, SETTINGS)
    assert outcomes(tile(masked, out, SETTINGS, selection=OVERWRITE)) == [Outcome.EMPTY]
    assert outcomes(tile(masked, out, SETTINGS)) == [Outcome.KEPT]
    assert path.read_bytes() == edited


def test_an_outline_of_other_settings_that_nobody_edited_is_replaced(slide, out):
    other = replace(SETTINGS, min_area_mm2=1.0)  # all tissue is smaller
    before = content(out)
    tile(TileInputs([slide]), out, other, selection=OVERWRITE)
    assert read_features(out / FILES[0]) == []
    (out / FILES[0]).write_bytes(before[FILES[0]])  # as a killed run with other settings leaves it
    assert outcomes(tile(TileInputs([slide]), out, other)) == [Outcome.EMPTY]
    assert read_features(out / FILES[0]) == []


@pytest.mark.parametrize("first", [False, True])
def test_a_rerun_without_or_with_masks_is_refused_with_the_difference(slide, tmp_path, first):
    (tmp_path / "masks").mkdir()
    runs = {given: TileInputs([slide], masks=tmp_path / "masks" if given else None) for given in (False, True)}
    tile(runs[first], tmp_path / "out", SETTINGS)
    for stage in (tile, plan):
        with pytest.raises(ChangedSettingsError, match=f"masks {first} -> {not first}"):
            stage(runs[not first], tmp_path / "out", SETTINGS)
    assert json.loads((tmp_path / "out/five.json").read_text())["settings"]["masks"] is first
    assert outcomes(tile(runs[not first], tmp_path / "out", SETTINGS, selection=OVERWRITE)) == [Outcome.KEPT]
    assert outcomes(tile(runs[not first], tmp_path / "out", SETTINGS)) == [Outcome.KEPT]
    assert TILED_SLIDES.provenance(tmp_path / "out/slides.parquet").settings == SETTINGS.as_dict()
