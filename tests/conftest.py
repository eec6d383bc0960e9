"""Fixtures shared by several test folders."""

import pytest
from hypothesis import settings

settings.register_profile("five", deadline=None)  # the speed of a machine fails no test
settings.register_profile("long", deadline=None, max_examples=2_000)  # --hypothesis-profile=long
settings.load_profile("five")


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory):
    """Return a folder with a two-layer BERT with random weights and its tokenizer."""
    from tests.synthetic_features import write_tiny_bert

    return write_tiny_bert(tmp_path_factory.mktemp("text") / "bert")
