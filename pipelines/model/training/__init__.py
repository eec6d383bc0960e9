"""Training: objectives, optimizer, training loop, fitters and resuming."""
