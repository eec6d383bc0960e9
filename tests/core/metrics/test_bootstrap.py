import numpy as np
import pytest

from pipelines.core.metrics.bootstrap import interval, patient_weights


def test_each_resample_draws_as_many_patients_as_the_data_has_with_equal_probability():
    weights, patient_of = patient_weights(["b", "a", "b", "c"], 4000, 0)
    draws = weights[1:]
    assert draws.shape == (4000, 3)
    assert (draws.sum(axis=1) == 3).all()
    assert draws.mean(axis=0) == pytest.approx([1, 1, 1], abs=0.05)  # the standard error is 0.013
    assert patient_of.tolist() == [1, 0, 1, 2]


def test_the_first_row_of_weights_is_the_original_data():
    assert patient_weights(["b", "a", "b", "c"], 5, 0)[0][0].tolist() == [1, 1, 1]


def test_the_seed_determines_the_resamples():
    patients = list("abcdefgh")
    assert np.array_equal(patient_weights(patients, 5, 1)[0], patient_weights(patients, 5, 1)[0])
    assert not np.array_equal(patient_weights(patients, 5, 1)[0], patient_weights(patients, 5, 2)[0])


def test_the_interval_leaves_out_2_5_percent_on_either_side():
    assert interval(np.arange(1001.0)) == (25.0, 975.0)


def test_resamples_with_an_undefined_metric_are_ignored_unless_there_are_too_many():
    resampled = np.append(np.arange(1001.0), np.full(100, np.nan))
    assert interval(resampled) == (25.0, 975.0)
    assert interval(np.append(resampled, np.full(100, np.nan))) is None


def test_no_resamples_give_no_interval():
    assert interval(np.array([])) is None
