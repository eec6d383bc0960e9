import pytest

from tests.synthetic_features import write_cohort
from tests.training_runs import small_settings


@pytest.fixture
def cohort(tmp_path):
    """Return a small cohort that a test may change."""
    return write_cohort(tmp_path / "cohort", n_patients=12)


@pytest.fixture
def settings(tiny_bert):
    return small_settings(tiny_bert)
