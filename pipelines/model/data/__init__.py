"""Model inputs: bags of tile features, batches, descriptions and splits."""
