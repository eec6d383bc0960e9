"""Metrics with bootstrap intervals over patients."""
