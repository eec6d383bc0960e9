"""Results as images and HTML pages: heatmaps, learning curves, reports."""
