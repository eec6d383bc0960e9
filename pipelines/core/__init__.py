"""Code shared by all stages: errors, settings, artifacts, batches, devices."""
