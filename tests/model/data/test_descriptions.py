import numpy as np
import pytest

from pipelines.model.data.descriptions import full_text, kept_questions, merge_equal, patient_answers, rebuilt_texts

PATIENTS = [("a1", "b1", None), ("a2", None, "c2"), ("a1", "b1", "c3")]


def rng(seed=0):
    return np.random.default_rng(seed)


def test_the_number_of_dropped_questions_is_uniform_up_to_the_maximum():
    generator = rng()
    kept = [len(kept_questions(6, 5, generator)) for _ in range(6000)]
    counts = np.bincount(kept, minlength=7)
    assert counts[0] == 0
    assert np.all(np.abs(counts[1:] - 1000) < 150)


def test_one_question_is_kept_even_if_all_may_be_dropped():
    generator = rng()
    assert {len(kept_questions(2, 5, generator)) for _ in range(50)} == {1, 2}


def test_texts_hold_only_the_known_answers_to_the_kept_questions():
    texts = rebuilt_texts(PATIENTS, [0, 2], rng())
    assert [sorted(text.split("; ")) for text in texts] == [["a1"], ["a2", "c2"], ["a1", "c3"]]


def test_answers_are_shuffled_in_every_step():
    assert {rebuilt_texts([("a", "b", "c")], [0, 1, 2], rng(seed))[0] for seed in range(60)} == {
        "a; b; c", "a; c; b", "b; a; c", "b; c; a", "c; a; b", "c; b; a"
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(10))
def test_patients_with_the_same_kept_answers_get_the_same_text(seed):
    texts = rebuilt_texts(PATIENTS, [0, 1], rng(seed))
    distinct, indices = merge_equal(texts)
    assert indices == [0, 1, 0]
    assert sorted(distinct[0].split("; ")) == ["a1", "b1"]


def test_a_known_answer_is_used_if_all_kept_questions_are_unknown():
    assert rebuilt_texts([("a1", None, None)], [1, 2], rng()) == ["a1"]


def test_the_full_text_keeps_the_order_of_the_questions():
    assert full_text(("a1", None, "c1")) == "a1; c1"


def test_the_first_report_that_answers_a_question_is_used_and_patients_without_answers_are_left_out():
    rows = [
        {"patient_id": "p", "question_id": "a", "status": "unknown", "description": "Unknown"},
        {"patient_id": "p", "question_id": "b", "status": "absent", "description": "no b"},
        {"patient_id": "p", "question_id": "a", "status": "value", "description": "a of report 2"},
        {"patient_id": "p", "question_id": "b", "status": "present", "description": "b of report 2"},
        {"patient_id": "q", "question_id": "a", "status": "failed", "description": "Unknown"},
    ]
    assert patient_answers(rows, ["a", "b", "c"]) == {"p": ("a of report 2", "no b", None)}
