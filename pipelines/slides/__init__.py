"""Open a slide, find its microns per pixel and its tissue, cut and judge tiles."""
