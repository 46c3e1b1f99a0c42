import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiqe.images import sliding_positions
from mpiqe.scoring.blending import blend

SIZE = 32


def sampled(function, positions, *, cells):
    """The grids (K, cells, cells) of a function of a place on the canvas, taken in the middle of each cell."""
    middles = (np.arange(cells) + 0.5) * SIZE / cells
    x = positions[:, 0, None, None] + middles[None, None, :]
    y = positions[:, 1, None, None] + middles[None, :, None]
    return function(x, y).astype(np.float32)


@settings(deadline=None)
@given(
    width=st.integers(SIZE, 200),
    height=st.integers(SIZE, 200),
    most=st.integers(1, 40),
    cells=st.sampled_from([1, 3, 4, 7]),
    scale=st.sampled_from([0.1, 0.37, 1, 3]),
)
def test_every_pixel_of_a_map_is_covered_and_a_constant_stays_exactly_constant(width, height, most, cells, scale):
    positions = sliding_positions(width, height, size=SIZE, most=most)
    shape = max(1, round(height * scale)), max(1, round(width * scale))
    grids = np.full((len(positions), cells, cells), 0.7, np.float32)
    found = blend(grids, positions, size=SIZE, canvas=(width, height), shape=shape)
    assert found.shape == shape
    assert found.dtype == np.float32
    assert (found == np.float32(0.7)).all()


@pytest.mark.parametrize("most", [1, 1000])  # seven eighths of a crop apart, and half of one
@pytest.mark.parametrize(("width", "height"), [(32, 32), (150, 47), (33, 160), (201, 130)])
def test_a_slope_comes_back_without_a_seam(width, height, most):
    positions = sliding_positions(width, height, size=SIZE, most=most)
    grids = sampled(lambda x, y: 2 * x + 3 * y, positions, cells=8)
    found = blend(grids, positions, size=SIZE, canvas=(width, height), shape=(height, width))
    y, x = np.mgrid[:height, :width] + 0.5
    half = SIZE / 8 / 2  # a cell speaks for its middle alone: at the photo's edge the map is level for half a cell
    assert np.abs(found - (2 * x + 3 * y)).max() < (2 + 3) * half
    inner = slice(4, -4)
    tolerance = 0.05 if most > 1 else 0.75  # an eighth of a crop is little overlap for two crops' outer cells
    assert np.abs(found - (2 * x + 3 * y))[inner, inner].max(initial=0) < (2 + 3) * tolerance
    for axis, slope in ((1, 2), (0, 3)):  # no step where a crop begins or ends
        steps = np.diff(found.astype(np.float64), axis=axis)
        assert steps.min() > -1e-3
        assert steps.max() < slope * 1.5


def test_between_the_middles_of_two_cells_a_map_is_linear():
    grids = np.array([[[0.0, 1.0], [0.0, 1.0]]], np.float32)
    found = blend(grids, np.array([[0, 0]]), size=4, canvas=(4, 4), shape=(4, 4))
    # cells have their middles at 1 and 3 of 4; pixels at 0.5, 1.5, 2.5 and 3.5
    np.testing.assert_allclose(found, [[0, 0.25, 0.75, 1]] * 4, atol=1e-7)


def test_where_crops_overlap_the_one_whose_middle_is_nearer_counts_more():
    grids = np.array([[[0.0]], [[1.0]]], np.float32)
    found = blend(grids, np.array([[0, 0], [2, 0]]), size=4, canvas=(6, 4), shape=(4, 6))
    sines = np.sin(np.pi * np.array([0.5, 1.5, 2.5, 3.5]) / 4) ** 2
    weights = 0.001 + 0.999 * sines
    by_hand = weights[:2] / (weights[:2] + weights[2:])
    np.testing.assert_allclose(found[0], [0, 0, *by_hand, 1, 1], atol=1e-6)


def test_a_map_may_be_smaller_or_larger_than_what_the_crops_were_cut_from():
    positions = sliding_positions(160, 96, size=SIZE, most=1000)
    grids = sampled(lambda x, y: x + 0 * y, positions, cells=8)
    for shape in ((9, 16), (192, 320)):
        found = blend(grids, positions, size=SIZE, canvas=(160, 96), shape=shape)
        expected = (np.arange(shape[1]) + 0.5) * 160 / shape[1]
        np.testing.assert_allclose(found, np.broadcast_to(expected, shape), atol=2)
