import numpy as np
import pytest

from pipelines.core.errors import SettingsError
from pipelines.model.networks.zero_shot.text_vectors import alternatives, mean_vector, refuse_long_texts
from tests.text_towers import WordTower

TOWER = WordTower(["round", "spindle", "normal"], context_length=5)


def test_a_class_has_the_normalized_mean_of_the_vectors_of_its_texts():
    found = alternatives("", {"a": ["round", "round", "spindle"], "b": ["normal"]}, TOWER, "classes.yaml")
    assert found.names == ("a", "b")
    assert found.vectors[0, :3] == pytest.approx(np.array([2, 1, 0]) / np.sqrt(5))
    assert found.vectors[1, :3].tolist() == [0, 0, 1]
    assert found.vectors.dtype == np.float32


def test_texts_that_cancel_out_give_a_vector_of_zeros():
    assert mean_vector(np.array([[1, 0], [-1, 0]], np.float32)).tolist() == [0, 0]


def test_two_classes_with_one_vector_are_refused_with_their_names():
    texts = {"a": ["round cells"], "b": ["normal"], "c": ["round growth"]}  # the tower does not know cells and growth
    with pytest.raises(SettingsError, match=r"classes\.yaml: the texts of 'a' and 'c' have the same vector in words"):
        alternatives("", texts, TOWER, "classes.yaml")


def test_texts_that_are_too_long_are_counted_with_their_tokens():
    texts = {"a": ["round " * 5, "round " * 6], "b": ["normal " * 8]}
    with pytest.raises(SettingsError) as caught:
        alternatives("", texts, TOWER, "classes.yaml")
    assert caught.value.message == (
        "classes.yaml: 2 of 3 texts have more than the 5 tokens that the text tower reads: 'a' with 6, 'b' with 8"
    )


def test_an_error_names_a_few_of_many_long_texts():
    with pytest.raises(SettingsError, match=r"7 of 7 texts .*: 'a' with 6, 'a' with 6, 'a' with 6 and 4 more"):
        refuse_long_texts({"a": ["round " * 6] * 7}, TOWER, "classes.yaml")
