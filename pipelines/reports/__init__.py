"""Pathology reports in, answers to clinical questions out, with quotes."""
