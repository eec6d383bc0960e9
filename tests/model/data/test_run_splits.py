import pytest

from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import SettingsError
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import SPLITS
from pipelines.core.settings import TrainSettings
from pipelines.model.data.splits import run_splits

SLIDES = [CohortSlide(f"s{k}", patient_id=f"p{k}", label="AB"[k % 2]) for k in range(20)]


@pytest.fixture
def first(tmp_path):
    """Return the folder of a run that held out fold 1 of 4."""
    rows = run_splits(SLIDES, TrainSettings(folds=4, fold=1), given=None, init=None)
    SPLITS.write(tmp_path / "splits.parquet", rows, Provenance({}))
    return tmp_path


def parts(rows):
    return {row["slide_id"]: row["split"] for row in rows}


def test_a_run_to_start_from_may_be_given_with_the_fold_that_it_held_out(first):
    without = run_splits(SLIDES, TrainSettings(), given=None, init=first)
    named = run_splits(SLIDES, TrainSettings(folds=4, fold=1), given=None, init=first)
    assert parts(named) == parts(without)


@pytest.mark.parametrize("asked", [{"folds": 4, "fold": 2}, {"folds": 5, "fold": 1}])
def test_another_fold_than_that_of_the_run_to_start_from_is_refused(first, asked):
    with pytest.raises(SettingsError, match=r"fold . of . asked for, but .* fold 1 of 4"):
        run_splits(SLIDES, TrainSettings(**asked), given=None, init=first)


def test_folds_beside_a_file_of_one_split_are_refused(first):
    with pytest.raises(SettingsError, match="fold 2 of 4 asked for"):
        run_splits(SLIDES, TrainSettings(folds=4, fold=2), given=first / "splits.parquet", init=None)
