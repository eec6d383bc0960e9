"""What enters a model: bags of tiles, batches, descriptions, splits."""
