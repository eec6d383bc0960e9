"""Synthetic slides and reports for the demo and the tests; no patient is behind them."""
