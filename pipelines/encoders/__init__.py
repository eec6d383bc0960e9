"""Image encoders: tiles in, feature vectors out."""
