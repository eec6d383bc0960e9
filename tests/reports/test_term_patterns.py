import pytest

from pipelines.reports.term_patterns import compile_terms, find_terms


@pytest.mark.parametrize(
    ("term", "text"),
    [
        ("inva*", "tumor INVADES it"),
        ("chest wall", "the chest\n wall"),
        ("chest wall", "the chest. wall"),
        ("well differentiated", "well-differentiated"),
        ("*vascular*", "lymphovascular invasion"),
        ("G2", "grade (G2)"),
        ("+", "pleura: +"),
        (r"/R ?0\b/", "margins R 0"),
    ],
)
def test_a_term_finds(term, text):
    assert compile_terms((term,)).found_in(text)


@pytest.mark.parametrize(("term", "text"), [("rib", "describe"), ("G2", "G20"), ("pleura", "pleural"), ("a*b", "axyc")])
def test_a_term_finds_whole_words_only(term, text):
    assert not compile_terms((term,)).found_in(text)


def test_no_terms_find_nothing():
    assert find_terms((), "anything") == []


def test_the_longest_term_wins():
    assert find_terms(("not", "not involved"), "is not involved") == [(3, 15)]
