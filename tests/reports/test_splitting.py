from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.reports.splitting import MIN_PART, OVERLAP, part_size, split_report

SENTENCE = "The tumor is large and firm. "  # 29 characters


@given(st.text(st.sampled_from("ab .\n:DIAGNOSIS"), max_size=3000), st.integers(MIN_PART, 900))
@settings(max_examples=60, deadline=None)
def test_parts_cover_every_character_in_order_and_are_never_too_long(report, size):
    spans = split_report(report, size)
    assert spans[0][0] == 0
    assert spans[-1][1] == len(report)
    assert all(end - start <= size for start, end in spans)
    for (start, end), (next_start, next_end) in pairwise(spans):
        assert start < next_start <= end < next_end


def test_a_report_that_fits_is_one_part():
    assert split_report(SENTENCE * 10, 290) == [(0, 290)]


def test_a_cut_at_the_start_of_a_section_repeats_nothing():
    diagnosis, gross = "Final diagnosis: " + SENTENCE * 8, "Gross description: " + SENTENCE * 8
    assert split_report(diagnosis + gross, 400) == [(0, len(diagnosis)), (len(diagnosis), len(diagnosis + gross))]


def test_a_cut_at_a_paragraph_is_preferred_to_a_later_one_at_a_sentence():
    first = SENTENCE * 8 + "\n\n"
    assert split_report(first + SENTENCE * 8, 400)[0] == (0, len(first))


def test_after_a_cut_between_sentences_whole_sentences_are_repeated():
    report = SENTENCE * 100
    (_, end), (start, _) = split_report(report, 1500)[:2]
    assert end % len(SENTENCE) == start % len(SENTENCE) == 0
    assert OVERLAP - len(SENTENCE) <= end - start <= OVERLAP


def test_text_without_spaces_is_cut_anywhere():
    assert split_report("x" * 1000, 400)[:2] == [(0, 400), (400, 800)]


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
def test_the_size_of_parts_follows_from_the_token_counts(tokens, overhead, room, size):
    assert part_size(40_000, tokens, overhead, room) == size
