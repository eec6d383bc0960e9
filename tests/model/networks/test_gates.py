import pytest
import torch

from pipelines.model.networks.gates import MEANING_SHARPNESS, SHARPNESS, Gates


@pytest.fixture
def gates():
    """Return gates of two directions: channel 1, whose standard deviation is 3, then channel 2, with 2."""
    fitted = Gates(2, 3)
    fitted.fit(torch.diag(torch.tensor([1.0, 9.0, 4.0])))
    return fitted


TILES = torch.tensor([[5.0, 3.0, 0.0], [5.0, 0.0, 2.0], [5.0, -3.0, -2.0], [5.0, 0.0, 0.0]])
"""Tiles whose mean is 0 in the channels 1 and 2."""


def test_directions_are_the_main_axes_divided_by_their_standard_deviation(gates):
    expected = torch.tensor([[0, 1 / 3, 0], [0, 0, 1 / 2]])
    torch.testing.assert_close(gates.directions, expected)


def test_an_axis_between_channels_is_found():
    fitted = Gates(1, 2)
    fitted.fit(torch.tensor([[5.0, 4.0], [4.0, 5.0]]))  # variance 9 along (1, 1), 1 along (1, -1)
    torch.testing.assert_close(fitted.directions.abs(), torch.full((1, 2), 0.5**0.5 / 3))
    assert fitted.directions[0, 0] * fitted.directions[0, 1] > 0


def test_there_is_a_uniform_gate_and_one_gate_for_each_end_of_each_direction(gates):
    first, second = torch.tensor([1.0, 0, -1, 0]), torch.tensor([0, 1.0, -1, 0])
    expected = [torch.full((4,), 0.25)]
    for projection in (first, second):
        expected += [(SHARPNESS * projection).softmax(dim=0), (-SHARPNESS * projection).softmax(dim=0)]
    assert gates.count == 5
    torch.testing.assert_close(gates(TILES), torch.stack(expected))


def test_rows_sum_to_one_for_any_number_of_tiles(gates):
    for number in (1, 2, 1000):
        attention = gates(100 * torch.randn(number, 3, generator=torch.Generator().manual_seed(0)))
        torch.testing.assert_close(attention.sum(dim=1), torch.ones(5))


def test_what_all_tiles_share_does_not_count(gates):
    torch.testing.assert_close(gates(TILES + torch.tensor([3.0, -2.0, 9.0])), gates(TILES))


def test_the_order_of_tiles_does_not_matter(gates):
    order = [2, 0, 3, 1]
    torch.testing.assert_close(gates(TILES[order]), gates(TILES)[:, order])


@pytest.mark.parametrize("covariance", [torch.zeros(3, 3), torch.full((3, 3), 1e-14)])
def test_tiles_that_do_not_vary_give_uniform_gates(covariance):
    fitted = Gates(2, 3)
    fitted.fit(covariance)
    torch.testing.assert_close(fitted(TILES), torch.full((5, 4), 0.25))


def test_a_direction_without_variation_gives_uniform_gates():
    fitted = Gates(2, 3)
    fitted.fit(torch.diag(torch.tensor([0.0, 4.0, 0.0])))
    attention = fitted(TILES)
    torch.testing.assert_close(attention[3:], torch.full((2, 4), 0.25))
    assert attention[1].argmax() == 0


def test_gates_that_are_not_fitted_are_uniform():
    torch.testing.assert_close(Gates(2, 3)(TILES), torch.full((5, 4), 0.25))


def with_question(vectors):
    """Return gates of one direction and one question, whose answers have these vectors; features are scaled by 2."""
    fitted = Gates(1, 3, 1)
    fitted.look_for(0, torch.tensor(vectors), torch.tensor([1.0, 0, 0]), torch.tensor([2.0, 2, 2]))
    return fitted


def test_the_own_gate_of_a_question_attends_to_tiles_similar_to_any_answer():
    gates = with_question([[0.0, 1, 0], [0.0, 0, 1]])
    raw = torch.tensor([[9.0, 1, 0], [9.0, 0, 3], [9.0, -5, -5]])  # similarities: 1 to the first, 3 to the second, -5
    found = gates((raw - torch.tensor([1.0, 0, 0])) / 2)
    torch.testing.assert_close(found[3], (MEANING_SHARPNESS * torch.tensor([1.0, 3, -5])).softmax(dim=0))
    assert (gates.count, gates.of_question(0)) == (4, [0, 1, 2, 3])


def test_similarities_have_a_standard_deviation_of_one_within_the_slides():
    gates = with_question([[0.0, 1, 0]])
    slides = [torch.tensor([[0.0, 0, 0], [0, 4, 0]]), torch.tensor([[7.0, 1, 0], [0, 9, 0]])]
    before = torch.stack([gates.similarities(each)[:, 0] for each in slides])  # 0 and 8; 2 and 18
    assert before.tolist() == [[0, 8], [2, 18]]
    gates.set_spread(slides)
    after = torch.stack([gates.similarities(each)[:, 0] for each in slides])
    torch.testing.assert_close(after, before / ((4**2 + 8**2) / 2) ** 0.5)


def test_the_gate_of_a_question_without_answers_is_uniform():
    torch.testing.assert_close(Gates(1, 3, 2)(TILES)[3:], torch.full((2, 4), 0.25))
