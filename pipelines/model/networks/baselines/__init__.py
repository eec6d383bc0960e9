"""Multiple-instance baselines: what FiVE is measured against. They learn from labels alone."""
