"""Which source of microns per pixel is believed, and what is refused."""

from pathlib import Path

import pytest

from pipelines.core.errors import MissingMppError, SlideError
from pipelines.slides.mpp import RecordedMpp, resolve_mpp

PATH = Path("a.svs")
METADATA = RecordedMpp("metadata", 0.25, 0.25)
TAGS = RecordedMpp("tiff-tags", 0.5, 0.5)
ABSURD = RecordedMpp("tiff-tags", 352.8, 352.8)


def used(recorded, **further):
    found = resolve_mpp(PATH, recorded, **further)
    return found.x, found.source


def test_the_cohort_comes_before_the_file_and_the_file_before_the_flag():
    assert used([METADATA, TAGS], cohort=0.23, flag=1.0) == (0.23, "cohort")
    assert used([METADATA, TAGS], flag=1.0) == (0.25, "metadata")
    assert used([TAGS], flag=1.0) == (0.5, "tiff-tags")
    assert used([], flag=1.0) == (1.0, "flag")


def test_an_absurd_tag_is_passed_over():
    assert used([ABSURD], flag=0.5) == (0.5, "flag")


def test_nothing_usable_is_an_error_that_names_the_flag_and_the_column():
    with pytest.raises(MissingMppError) as raised:
        resolve_mpp(PATH, [])
    assert "a.svs" in raised.value.message
    assert "--mpp" in raised.value.hint
    assert "'mpp'" in raised.value.hint


def test_an_absurd_value_is_quoted_when_nothing_else_is_known():
    with pytest.raises(MissingMppError, match=r"352\.8"):
        resolve_mpp(PATH, [ABSURD])


def test_an_absurd_value_of_the_cohort_is_an_error_and_not_passed_over():
    with pytest.raises(SlideError, match="250"):
        resolve_mpp(PATH, [METADATA], cohort=250)


def test_sources_more_than_five_percent_apart_are_in_conflict():
    assert resolve_mpp(PATH, [METADATA], cohort=0.5).conflict == "cohort 0.5, metadata 0.25"
    assert resolve_mpp(PATH, [METADATA], cohort=0.26).conflict is None


def test_axes_that_differ_are_in_conflict():
    assert resolve_mpp(PATH, [RecordedMpp("metadata", 0.25, 0.5)]).conflict == "metadata 0.25 x 0.5"


def test_the_flag_is_in_conflict_with_nothing():
    assert resolve_mpp(PATH, [METADATA], flag=1.0).conflict is None
