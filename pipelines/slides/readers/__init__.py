"""Readers of slide files, one file per reader; `opening` chooses the reader of a file."""
