"""Microns per pixel in OpenSlide's properties."""

import pytest

from pipelines.slides.mpp import RecordedMpp
from pipelines.slides.readers.openslide_reader import openslide_mpp


def test_resolution_tags_are_converted_from_their_unit():
    properties = {"openslide.vendor": "hamamatsu", "tiff.XResolution": "40000", "tiff.YResolution": "20000"}
    assert openslide_mpp({**properties, "tiff.ResolutionUnit": "centimeter"}) == [RecordedMpp("tiff-tags", 0.25, 0.5)]
    assert openslide_mpp({**properties, "tiff.ResolutionUnit": "inch"}) == [RecordedMpp("tiff-tags", 0.635, 1.27)]
    assert openslide_mpp(properties) == []


def test_the_mpp_of_a_generic_tiff_counts_as_a_tag_because_openslide_computes_it_from_tags():
    properties = {
        "openslide.vendor": "generic-tiff",
        "openslide.mpp-x": "0.5",
        "openslide.mpp-y": "0.5",
        "tiff.XResolution": "20000",
        "tiff.YResolution": "20000",
        "tiff.ResolutionUnit": "centimeter",
    }
    assert [value.source for value in openslide_mpp(properties)] == ["tiff-tags"]
    assert [value.source for value in openslide_mpp({**properties, "openslide.vendor": "aperio"})] == [
        "metadata",
        "tiff-tags",
    ]


@pytest.mark.parametrize("text", ["", "unknown", "0", "-1", "nan", "inf"])
def test_a_value_that_is_not_a_positive_number_is_ignored(text):
    assert openslide_mpp({"openslide.vendor": "aperio", "openslide.mpp-x": text, "openslide.mpp-y": "0.5"}) == []
