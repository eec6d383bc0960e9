"""Networks on tensors: FiVE, the published network and the baselines, and how they are built and saved."""
