"""Shared by all blocks: settings, schemas, cohort, questions, metrics, batches, locks, files, errors."""
