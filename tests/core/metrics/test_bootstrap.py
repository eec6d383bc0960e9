import numpy as np
import pytest

from pipelines.core.metrics.bootstrap import draw_patients, interval


def test_a_resample_draws_as_many_patients_as_there_are_each_as_often_on_average():
    times, patient_of = draw_patients(["b", "a", "b", "c"], 4000, 0)
    assert times.shape == (4000, 3)
    assert (times.sum(axis=1) == 3).all()
    assert times.mean(axis=0) == pytest.approx([1, 1, 1], abs=0.05)  # 0.013 is the standard deviation of the mean
    assert patient_of.tolist() == [1, 0, 1, 2]


def test_the_seed_decides_who_is_drawn():
    patients = list("abcdefgh")
    assert np.array_equal(draw_patients(patients, 5, 1)[0], draw_patients(patients, 5, 1)[0])
    assert not np.array_equal(draw_patients(patients, 5, 1)[0], draw_patients(patients, 5, 2)[0])


def test_the_interval_leaves_out_a_fortieth_on_either_side():
    assert interval(np.arange(1001.0)) == (25.0, 975.0)


def test_resamples_that_do_not_define_the_figure_are_left_out_unless_they_are_many():
    drawn = np.append(np.arange(1001.0), np.full(100, np.nan))
    assert interval(drawn) == (25.0, 975.0)
    assert interval(np.append(drawn, np.full(100, np.nan))) is None
    assert interval(np.array([])) is None
