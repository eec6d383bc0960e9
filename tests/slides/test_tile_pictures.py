"""Archives of tile images: damage to any of them is noticed, so that `five embed` makes them again."""

import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines.core.settings import PictureSettings
from pipelines.slides.tile_pictures import PictureFolder
from tests.damage import cuts, flips, zeroed

SLIDE = SimpleNamespace(slide_id="a", fingerprint="0123")
N_TILES = 6


@pytest.fixture
def folder(tmp_path):
    made = PictureFolder(tmp_path, PictureSettings("jpg"))
    pixels = np.random.default_rng(0).integers(0, 256, (N_TILES, 16, 16, 3), np.uint8)
    with made.writing(SLIDE, {}, N_TILES) as writer:
        writer.add(pixels, np.arange(2 * N_TILES).reshape(-1, 2))
    return made


def content_of(path):
    with zipfile.ZipFile(path) as archive:
        return {"comment": archive.comment, **{name: archive.read(name) for name in archive.namelist()}}


def test_a_complete_archive_is_current(folder):
    assert folder.is_current(SLIDE)
    assert not folder.is_current(SimpleNamespace(slide_id="a", fingerprint="4567"))
    assert len(content_of(folder.folder / "a.zip")) == N_TILES + 1


@pytest.mark.parametrize(
    "damage", [lambda content: flips(content, 2_000), cuts, zeroed], ids=["flips", "cuts", "zeros"]
)
def test_an_archive_with_a_damaged_picture_or_comment_is_not_current(folder, damage):
    path = folder.folder / "a.zip"
    content, expected, noticed = path.read_bytes(), content_of(path), 0
    for other in damage(content):
        path.write_bytes(other)
        if folder.is_current(SLIDE):
            assert content_of(path) == expected
        else:
            noticed += 1
    assert noticed > 0
