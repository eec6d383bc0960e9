import math

import torch

from pipelines.model.networks.positions import MAX_WAVELENGTH, MIN_WAVELENGTH, grid_encoding


def test_the_grid_encoding_holds_sines_and_cosines_of_both_coordinates():
    x, y = 3.0, -2.5
    encoding = grid_encoding(torch.tensor([[x, y]]), 8)[0]
    expected = [
        function(2 * math.pi * value / wavelength)
        for value in (x, y)
        for function in (math.sin, math.cos)
        for wavelength in (MIN_WAVELENGTH, MAX_WAVELENGTH)
    ]
    torch.testing.assert_close(encoding, torch.tensor(expected), atol=1e-6, rtol=1e-6)


def test_neighboring_tiles_have_different_encodings_and_distant_ones_differ_more():
    positions = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [40.0, 40.0]])
    distance = torch.cdist(grid_encoding(positions, 512), grid_encoding(positions, 512))
    assert distance[0, 1] > 2  # the released encoding keeps all tiles of a slide within 2.66
    assert distance[1, 2] > 2
    assert distance[0, 3] > distance[0, 1]
