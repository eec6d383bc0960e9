import pytest
import torch

from pipelines.model.networks.gates import SHARPNESS, Gates


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
