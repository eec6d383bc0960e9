import pytest

from pipelines.core.errors import CohortError, MissingMppError


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("a.csv: line 2: mpp 'µ'", "a.csv: line 2: mpp 'µ'"),
        ("two\nlines\r", r"two\nlines\r"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("half \ud800", r"half \ud800"),
        ("from right \u202eto left", r"from right \u202eto left"),
    ],
    ids=["plain", "line ends", "colors", "half a surrogate", "direction"],
)
def test_a_message_is_one_line_that_a_terminal_can_show(message, shown):
    error = CohortError(message, hint=message)
    assert (error.message, error.hint, str(error)) == (shown, shown, shown)


def test_the_middle_of_a_long_message_is_left_out():
    message = CohortError(f"a.csv: label {'x' * 100_000} appears twice").message
    assert len(message) < 1_000
    assert message.startswith("a.csv: label ")
    assert message.endswith(" appears twice")


def test_the_path_of_a_slide_is_shown_on_one_line():
    assert MissingMppError("a\nb.svs").message.startswith(r"a\nb.svs: no microns")
