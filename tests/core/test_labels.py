import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.errors import CohortError
from pipelines.core.labels import patient_labels, refuse_near_equal


def test_a_patient_has_the_label_of_its_labeled_slides():
    labels = patient_labels([("p", "A"), ("p", None), ("q", None), ("r", "A"), ("r", "B"), ("r", None)])
    assert labels.label_of == {"p": "A"}
    assert labels.conflicts == {"r": "A, B"}


@given(
    name=st.text(string.ascii_letters + "0123456789+-éäß ", min_size=1),
    variant=st.sampled_from([str.upper, str.lower, str.title, " {}\t".format, "\u00a0{}".format, "{}\u200b".format]),
)
def test_a_variant_of_a_name_is_refused_and_the_name_itself_is_not(name, variant):
    refuse_near_equal([name, name], "labels", "c.csv", error=CohortError)
    if variant(name) != name:
        with pytest.raises(CohortError, match=r"^c\.csv: the labels .* differ only in case, white space or Unicode"):
            refuse_near_equal([name, variant(name)], "labels", "c.csv", error=CohortError)
