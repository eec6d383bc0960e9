"""Slides: open them, determine microns per pixel, find tissue, cut tiles and judge their quality."""

from pipelines.slides.slide import Slide, Thumbnail, open_slide

__all__ = ["Slide", "Thumbnail", "open_slide"]
