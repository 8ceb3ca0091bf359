"""The levels on which PatchMatch works, and which patches of a level are holes, or sources."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from ca_numpy.filling.pyramid import FEWEST_SOURCES, SMALLEST_SIDE, VARIATION, pyramid, sources, touching, variation
from ca_numpy.filling.windows import surroundings


def holes(height, width, seed):
    rng = np.random.default_rng(seed)
    return rng.random((height, width)) < rng.uniform(0, 0.4)


@given(st.integers(1, 16), st.integers(1, 16), st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_a_patch_inside_the_image_is_a_source_or_touches_the_hole(height, width, radius, seed):
    """Patch by patch; those that reach beyond the image are neither."""
    hole = holes(height, width, seed)
    source, touched = sources(hole, radius=radius), touching(hole, radius=radius)
    for y, x in np.ndindex(height, width):
        inside = radius <= y < height - radius and radius <= x < width - radius
        unknown = hole[max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1].any()
        assert source[y, x] == (inside and not unknown)
        assert touched[y, x] == (inside and unknown)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_variation_is_the_mean_step_to_the_known_neighbours(height, width, seed):
    grey = np.random.default_rng(seed).uniform(-1, 1, (height, width)).astype(np.float32)
    hole = holes(height, width, seed)
    found = variation(grey, hole)
    for y, x in np.argwhere(~hole):
        for channel, steps in enumerate([[(0, -1), (0, 1)], [(-1, 0), (1, 0)]]):
            near = [(y + v, x + u) for v, u in steps if 0 <= y + v < height and 0 <= x + u < width]
            steps = [abs(grey[y, x] - grey[at]) for at in near if not hole[at]]
            assert found[y, x, channel] == pytest.approx(np.mean(steps) if steps else 0, abs=1e-6)
    assert (found[hole] == 0).all()


def test_averaged_in_the_coarser_levels_a_texture_is_not_a_flat_area():
    """Stripes of one pixel average to the grey beside them; the channels of variation keep them apart."""
    image = np.zeros((128, 128, 3), np.float32)
    image[:, :64] = np.where(np.arange(64) % 2, 0.5, -0.5)[None, :, None]
    coarse = pyramid(image, np.zeros((128, 128), bool), radius=3)[-1].z
    stripes, flat = coarse[10, 10], coarse[10, -10]
    assert_allclose(stripes[:3], flat[:3], atol=1e-5)
    assert_allclose(stripes[3:], [VARIATION, 0], atol=1e-5)
    assert_allclose(flat[3:], 0, atol=1e-5)


@given(st.integers(8, 150), st.integers(8, 150), st.integers(0, 2**32 - 1))
def test_each_level_halves_the_one_before_down_to_the_smallest(height, width, seed):
    """A pixel is a hole if any of the four that it stands for is; the rest is one colour if the known pixels are."""
    rng = np.random.default_rng(seed)
    hole = np.zeros((height, width), bool)
    for _ in range(3):
        top, left = rng.integers(height), rng.integers(width)
        hole[top : top + rng.integers(1, 9), left : left + rng.integers(1, 9)] = True
    image = np.where(hole[..., None], np.float32(0.9), np.float32([0.2, -0.4, 0.6]))
    levels = pyramid(image, hole, radius=3)
    assert_array_equal(levels[0].hole, hole)
    for fine, coarse in pairwise(levels):
        assert coarse.hole.shape == tuple(-(-n // 2) for n in fine.hole.shape)
        assert min(coarse.hole.shape) >= SMALLEST_SIDE
        assert np.count_nonzero(sources(coarse.hole, radius=3)) >= FEWEST_SOURCES
        for y, x in np.ndindex(coarse.hole.shape):
            assert coarse.hole[y, x] == fine.hole[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].any()
    for level in levels:
        assert (level.z[level.hole] == 0).all()
        assert_allclose(
            level.z[~level.hole], np.broadcast_to([0.2, -0.4, 0.6, 0, 0], (np.sum(~level.hole), 5)), atol=1e-5
        )


# -- the surroundings of the holes ----------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 20), st.integers(0, 2**32 - 1))
def test_surroundings_hold_every_hole_with_a_margin_of_at_least_the_widest(height, width, least, seed):
    rng = np.random.default_rng(seed)
    hole = np.zeros((height, width), bool)
    for _ in range(2):
        top, left = rng.integers(height), rng.integers(width)
        hole[top : top + rng.integers(1, 12), left : left + rng.integers(1, 12)] = True
    place = surroundings(hole, least=least)
    inside = np.zeros_like(hole)
    inside[place] = True
    assert inside[hole].all()
    if hole.all():
        assert inside.all()
        return
    known = np.argwhere(~hole)
    widest = 2 * max(np.sqrt(((known - pixel) ** 2).sum(1)).min() for pixel in np.argwhere(hole))
    for axis, n in enumerate(hole.shape):
        first, last = np.argwhere(hole).min(0)[axis], np.argwhere(hole).max(0)[axis]
        margin = max(least, round(widest))
        start, stop, _ = place[axis].indices(n)
        assert (start, stop) == (max(first - margin, 0), min(last + 1 + margin, n))


def test_without_a_hole_or_without_a_known_pixel_the_surroundings_are_the_whole_image():
    for hole in (np.zeros((300, 200), bool), np.ones((300, 200), bool)):
        assert surroundings(hole) == (slice(None), slice(None))
