"""Accuracy, F1, AUC and kappa with bootstrap confidence intervals over patients."""
