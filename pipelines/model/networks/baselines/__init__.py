"""Multiple-instance learning baselines to compare FiVE with. They learn from labels only."""
