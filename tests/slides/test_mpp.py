"""Which source of microns per pixel is used, and which values are refused."""

from pathlib import Path

import pytest

from pipelines.core.errors import MissingMppError, SlideError
from pipelines.slides.mpp import RecordedMpp, resolve_mpp

PATH = Path("a.svs")
METADATA = RecordedMpp("metadata", 0.25, 0.25)
TAGS = RecordedMpp("tiff-tags", 0.5, 0.5)
ABSURD = RecordedMpp("tiff-tags", 352.8, 352.8)


def used(recorded, **further):
    mpp = resolve_mpp(PATH, recorded, **further)
    return mpp.x, mpp.source


def test_the_cohort_takes_precedence_over_the_file_and_the_file_over_the_flag():
    assert used([METADATA, TAGS], cohort=0.23, flag=1.0) == (0.23, "cohort")
    assert used([METADATA, TAGS], flag=1.0) == (0.25, "metadata")
    assert used([TAGS], flag=1.0) == (0.5, "tiff-tags")
    assert used([], flag=1.0) == (1.0, "flag")


def test_an_implausible_tag_is_ignored():
    assert used([ABSURD], flag=0.5) == (0.5, "flag")


def test_without_a_usable_value_the_error_names_the_flag_and_the_column():
    with pytest.raises(MissingMppError) as raised:
        resolve_mpp(PATH, [])
    assert "a.svs" in raised.value.message
    assert "--mpp" in raised.value.hint
    assert "'mpp'" in raised.value.hint


def test_an_implausible_value_is_quoted_in_the_error_if_there_is_no_other():
    with pytest.raises(MissingMppError, match=r"352\.8"):
        resolve_mpp(PATH, [ABSURD])


def test_an_implausible_value_in_the_cohort_is_an_error():
    with pytest.raises(SlideError, match="250"):
        resolve_mpp(PATH, [METADATA], cohort=250)


def test_sources_that_differ_by_more_than_5_percent_are_in_conflict():
    assert resolve_mpp(PATH, [METADATA], cohort=0.5).conflict == "cohort 0.5, metadata 0.25"
    assert resolve_mpp(PATH, [METADATA], cohort=0.26).conflict is None


def test_axes_that_differ_are_in_conflict():
    assert resolve_mpp(PATH, [RecordedMpp("metadata", 0.25, 0.5)]).conflict == "metadata 0.25 x 0.5"


def test_the_flag_is_never_in_conflict():
    assert resolve_mpp(PATH, [METADATA], flag=1.0).conflict is None
