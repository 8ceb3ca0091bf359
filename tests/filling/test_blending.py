"""A shift that is smooth in the hole and meets the known pixels at its edge."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca_numpy.filling.blending import blend

sides, seeds = st.integers(2, 12), st.integers(0, 2**32 - 1)


def case(height, width, seed):
    """An image, a fill, and a hole of any shape, all small enough that nothing is clipped."""
    rng = np.random.default_rng(seed)
    mask = (rng.random((height, width, 1)) < rng.uniform(0.1, 0.9)).astype(np.float32)
    mask[rng.integers(height), rng.integers(width)] = 0
    image, filled = rng.uniform(-0.3, 0.3, (2, height, width, 3))
    return image, filled, mask


def neighbours(y, x, shape):
    every = ((y, x + 1), (y, x - 1), (y + 1, x), (y - 1, x))
    return [(v, u) for v, u in every if 0 <= v < shape[0] and 0 <= u < shape[1]]


@given(sides, sides, seeds)
def test_known_pixels_stay_and_in_the_hole_the_shift_is_the_mean_of_its_neighbours(height, width, seed):
    image, filled, mask = case(height, width, seed)
    result = blend(image, filled, mask)
    hole = mask[:, :, 0] > 0.5
    np.testing.assert_array_equal(result[~hole], image[~hole].astype(np.float32))
    shift = result - filled  # on the known pixels this is image - filled
    for y, x in zip(*np.nonzero(hole), strict=True):
        around = [shift[at] for at in neighbours(y, x, hole.shape)]
        np.testing.assert_allclose(shift[y, x], np.mean(around, axis=0), atol=1e-6)


@given(sides, sides, seeds)
def test_the_shift_lies_between_the_least_and_the_greatest_at_the_edge(height, width, seed):
    image, filled, mask = case(height, width, seed)
    hole = mask[:, :, 0] > 0.5
    beside = {at for y, x in zip(*np.nonzero(hole), strict=True) for at in neighbours(y, x, hole.shape) if not hole[at]}
    shift = (blend(image, filled, mask) - filled)[hole]
    edge = np.array([(image - filled)[at] for at in beside]).reshape(-1, 3)
    if len(edge):
        assert (shift >= edge.min(0) - 1e-6).all()
        assert (shift <= edge.max(0) + 1e-6).all()


@given(seeds)
def test_a_fill_that_is_off_by_a_ramp_of_light_is_mended_wholly(seed):
    """A plane is harmonic: whoever adds one to a whole picture has added nothing that stays."""
    rng = np.random.default_rng(seed)
    image = rng.uniform(-0.2, 0.2, (12, 14, 3))
    y, x = np.indices((12, 14))[..., None]
    a, b, c = rng.uniform(-0.02, 0.02, (3, 3))
    mask = np.zeros((12, 14, 1), np.float32)
    mask[3:9, 4:11] = rng.random((6, 7, 1)) < 0.8
    np.testing.assert_allclose(blend(image, image + a + b * y + c * x, mask), image, atol=1e-6)


@given(sides, sides, seeds)
def test_what_the_image_holds_in_the_hole_does_not_matter(height, width, seed):
    image, filled, mask = case(height, width, seed)
    np.testing.assert_array_equal(blend(image, filled, mask), blend(np.where(mask > 0.5, 9.0, image), filled, mask))


def test_nothing_leaves_the_range():
    image, filled, mask = np.ones((6, 6, 3)), np.full((6, 6, 3), 0.5), np.zeros((6, 6, 1))
    filled[3, 3], mask[2:5, 2:5] = 1, 1
    assert blend(image, filled, mask).max() == 1


def test_without_a_hole_there_is_nothing_to_do_and_without_known_pixels_nothing_can_be_done():
    image = np.zeros((4, 4, 3), np.float32)
    np.testing.assert_array_equal(blend(image, image + 1, np.zeros((4, 4, 1))), image)
    with pytest.raises(ValueError, match="no boundary"):
        blend(image, image, np.ones((4, 4, 1)))
