"""What every stage shares: errors, settings, artifacts, batches, devices."""
