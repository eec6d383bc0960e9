"""Networks on tensors: FiVE, its closed form and the baselines, and how they are built and saved."""
