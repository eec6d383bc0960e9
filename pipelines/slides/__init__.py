"""Slides: open them, place them on a micron scale, find tissue, cut tiles, judge their quality."""

from pipelines.slides.slide import Slide, Thumbnail, open_slide

__all__ = ["Slide", "Thumbnail", "open_slide"]
