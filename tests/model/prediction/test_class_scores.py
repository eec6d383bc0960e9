import pytest

from pipelines.model.prediction.class_scores import patient_rows


def row(patient, label, probability):
    return {"patient_id": patient, "label": label, "split": "test", "prob_A": probability, "prob_B": 1 - probability}


@pytest.mark.parametrize(
    ("labels", "label", "conflict"),
    [(["A", "A"], "A", None), (["A", None], "A", None), ([None, None], None, None), (["B", "A", None], None, "A, B")],
)
def test_the_label_of_a_patient_is_that_of_its_labeled_slides_unless_they_differ(labels, label, conflict):
    rows = patient_rows([row("p", one, 0.25) for one in labels], ["A", "B"])
    assert [(r["label"], r["label_conflict"], r["n_slides"]) for r in rows] == [(label, conflict, len(labels))]


def test_the_probability_of_a_patient_is_the_mean_over_its_slides():
    (patient,) = patient_rows([row("p", "A", 0.25), row("p", "A", 0.75), row("p", "A", 0.8)], ["A", "B"])
    assert patient["prob_A"] == pytest.approx(0.6)
    assert patient["predicted"] == "A"
