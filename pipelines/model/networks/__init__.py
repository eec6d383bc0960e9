"""Models as tensors only: FiVE, its closed form, baselines, and how they are built and stored."""
