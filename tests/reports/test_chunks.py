from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.reports.chunks import LEAST, OVERLAP, parts, size_that_fits

SENTENCE = "The tumor is large and firm. "  # 29 characters


@given(st.text(st.sampled_from("ab .\n:DIAGNOSIS"), max_size=3000), st.integers(LEAST, 900))
@settings(max_examples=60, deadline=None)
def test_parts_cover_every_character_in_order_and_none_is_too_long(report, size):
    spans = parts(report, size)
    assert spans[0][0] == 0
    assert spans[-1][1] == len(report)
    assert all(end - start <= size for start, end in spans)
    for (start, end), (next_start, next_end) in pairwise(spans):
        assert start < next_start <= end < next_end


def test_a_report_that_fits_is_one_part():
    assert parts(SENTENCE * 10, 290) == [(0, 290)]


def test_a_cut_is_made_where_a_section_starts_and_nothing_is_repeated_there():
    diagnosis, gross = "Final diagnosis: " + SENTENCE * 8, "Gross description: " + SENTENCE * 8
    assert parts(diagnosis + gross, 400) == [(0, len(diagnosis)), (len(diagnosis), len(diagnosis + gross))]


def test_a_paragraph_is_a_better_place_than_the_last_sentence():
    first = SENTENCE * 8 + "\n\n"
    assert parts(first + SENTENCE * 8, 400)[0] == (0, len(first))


def test_after_a_cut_between_sentences_whole_sentences_are_repeated():
    report = SENTENCE * 100
    (_, end), (start, _) = parts(report, 1500)[:2]
    assert end % len(SENTENCE) == start % len(SENTENCE) == 0
    assert OVERLAP - len(SENTENCE) <= end - start <= OVERLAP


def test_text_without_any_place_to_cut_is_cut_all_the_same():
    assert parts("x" * 1000, 400)[:2] == [(0, 400), (400, 800)]


@pytest.mark.parametrize(
    ("tokens", "overhead", "room", "size"),
    [
        (11_000, 1000, 3000, 7200),
        (11_000, 1000, 1000, 0),
        (11_000, 1000, None, 22_000),
        (11_000, 1000, 12_000, 22_000),
    ],
    ids=["a fifth fits, with a margin of a tenth", "the questions fill it", "room unknown", "tokens estimated too low"],
)
def test_the_size_of_a_part_follows_from_the_tokens(tokens, overhead, room, size):
    assert size_that_fits(40_000, tokens, overhead, room) == size
