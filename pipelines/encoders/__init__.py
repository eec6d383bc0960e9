"""Image encoders, which turn tiles into feature vectors."""
