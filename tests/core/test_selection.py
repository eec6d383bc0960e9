import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import SettingsError
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import TILED_SLIDES
from pipelines.core.selection import Shard, failed_ids, only
from pipelines.core.settings import TileSettings


@given(st.lists(st.integers(), max_size=40), st.integers(1, 9))
def test_shards_are_disjoint_and_together_are_all(items, count):
    parts = [Shard.parse(f"{index}/{count}").of(items) for index in range(1, count + 1)]
    assert sorted(item for part in parts for item in part) == sorted(items)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4"])
def test_a_shard_that_does_not_exist_is_refused(text):
    with pytest.raises(SettingsError, match="not INDEX/COUNT"):
        Shard.parse(text)


def test_only_failed_means_the_failed_rows_of_the_table(tmp_path):
    rows = [{"slide_id": "a", "status": "ok"}, {"slide_id": "b", "status": "failed"}]
    TILED_SLIDES.write(tmp_path / "slides.parquet", rows, Provenance.of(TileSettings()))
    ids = failed_ids(TILED_SLIDES, tmp_path / "slides.parquet")
    assert [s.slide_id for s in only([CohortSlide("a"), CohortSlide("b")], ids)] == ["b"]
