import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.reports.layout import lay_out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("LVI: [ ] Present [x] Absent", "LVI: Absent"),
        ("LVI: [x] Present [ ] Absent.", "LVI: Present ."),
        ("LVI: present [ ] absent [X]", "LVI: absent"),
        ("LVI [ ] Present [X] Absent", "LVI: Absent"),
        ("LVI\n___ Present\n_X_ Absent\nMargins free", "LVI: Absent Margins free"),
        ("LVI: [ ] Present [ ] Absent", "LVI:"),
        ("LVI: ___ Present ___ Absent", "LVI:"),
        ("seen by ____ and ____ in this room", "seen by ____ and ____ in this room"),
        ("LVI\tabsent\nMargins\tfree", "LVI:absent Margins:free"),
        ("LVI    absent", "LVI : absent"),
        ("| LVI | absent |", "LVI : absent"),
        ("| LVI | absent | 3 |", "LVI : absent , 3"),
        ("The margin is free.  The pleura is free.", "The margin is free. The pleura is free."),
        ("Blood pressure (x) and (y)", "Blood pressure: and (y)"),
    ],
)
def test_options_cells_and_labels(text, expected):
    assert " ".join(lay_out(text).split()) == expected


@given(st.text(alphabet="[]xX_() |\t\n:.aB☐☒-", max_size=60))
def test_no_character_is_moved(text):
    laid_out = lay_out(text)
    assert len(laid_out) == len(text)
    assert all(new in (old, " ", ":", ",") for old, new in zip(text, laid_out, strict=True))
