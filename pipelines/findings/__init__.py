"""From numbers to what people look at: heatmaps, contact sheets, reports."""
