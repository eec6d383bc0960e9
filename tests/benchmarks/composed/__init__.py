"""A cohort whose descriptions are true of its tissue, composed of tile features in seconds."""
