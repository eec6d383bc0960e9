"""The library: a file here is a stage, a folder is a building block."""

__version__ = "0.1.0"
