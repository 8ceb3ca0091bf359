"""A shift that is smooth in the hole and meets the known pixels at its edge."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca_numpy.filling.blending import EDGE, blend, joined
from ca_numpy.filling.patchmatch import Copies

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


# -- copies, joined ----------------------------------------------------------------------------------------


def copies_case(height, width, seed):
    """An image, a hole of any shape, a known source for each of its pixels, and colours to keep to."""
    image, colours, mask = case(height, width, seed)
    hole = mask[:, :, 0] > 0.5
    hole[0, 0] = True
    hole[-1, -1] = False
    rng = np.random.default_rng(seed)
    pixels, known = np.argwhere(hole), np.argwhere(~hole)
    return image, hole, Copies(pixels, known[rng.integers(len(known), size=len(pixels))]), colours


def least_squares(image, hole, copies, colours, kept):
    """The minimum that `joined` states, from a dense list of its squares: a row for each."""
    pixels = [tuple(p) for p in copies.pixels]
    number, source = {p: i for i, p in enumerate(pixels)}, dict(zip(pixels, copies.sources, strict=True))
    rows, right = [], []

    def step(p, by):
        """The copied step from the pixel `by` away to p itself, or None if the source has no such neighbour."""
        there = tuple(source[p] + by)
        if not (0 <= there[0] < hole.shape[0] and 0 <= there[1] < hole.shape[1]) or hole[there]:
            return None
        return image[tuple(source[p])] - image[there]

    for a in pixels:
        for b in neighbours(*a, hole.shape):
            if hole[b] and b < a:
                continue  # each pair once
            row, by = np.zeros(len(pixels)), np.subtract(b, a)
            forth, back = step(a, by), step(b, -by) if hole[b] else None
            steps = [s for s in (forth, None if back is None else -back) if s is not None]
            value = np.mean(steps, axis=0) if steps else np.zeros(3)
            if hole[b]:
                jump = image[tuple(source[a])] - image[tuple(source[b])]
                value = jump + (value - jump) * np.exp(-((jump - value) ** 2).sum() / EDGE**2)
            row[number[a]] = 1
            if hole[b]:
                row[number[b]] = -1
            else:
                value = value + image[b]
            rows.append(row)
            right.append(value)
        row = np.zeros(len(pixels))
        row[number[a]] = np.sqrt(kept)
        rows.append(row)
        right.append(np.sqrt(kept) * colours[a])
    rows, right = np.array(rows), np.array(right)
    return np.linalg.solve(rows.T @ rows, rows.T @ right)


@given(sides, sides, seeds, st.floats(0.01, 1))
def test_joined_copies_are_the_minimum_of_the_stated_squares(height, width, seed, kept):
    """Holes of any shape, at the border too; sources beside the border and the hole lack some steps."""
    image, hole, copies, colours = copies_case(height, width, seed)
    result = joined(image, hole, copies, colours, kept=kept)
    expected = least_squares(image, hole, copies, colours, kept).clip(-1, 1)
    np.testing.assert_allclose(result[hole], expected, atol=1 / 127.5)
    np.testing.assert_array_equal(result[~hole], image[~hole].astype(np.float32))


def shifted_case():
    """A texture that repeats after 16 columns, and a hole whose pixels are copied from there."""
    tile = np.random.default_rng(0).uniform(-0.4, 0.4, (20, 16, 3)).astype(np.float32)
    truth = np.tile(tile, (1, 2, 1))
    hole = np.zeros((20, 32), bool)
    hole[6:14, 3:11] = True
    pixels = np.argwhere(hole)
    return truth, hole, Copies(pixels, pixels + np.array([0, 16]))


def test_a_copy_by_one_shift_that_fits_stays_as_it_is():
    truth, hole, copies = shifted_case()
    image = np.where(hole[..., None], 9, truth)
    np.testing.assert_allclose(joined(image, hole, copies, truth, kept=0.01), truth, atol=1e-6)


def test_a_copy_that_is_lighter_by_a_constant_takes_the_light_of_its_new_place():
    truth, hole, copies = shifted_case()
    image = truth.copy()
    image[:, 16:] += 0.3
    pasted = image.copy()
    pasted[hole] = image[tuple(copies.sources.T)]
    np.testing.assert_allclose(joined(image, hole, copies, pasted, kept=1e-6)[hole], truth[hole], atol=1 / 127.5)


def test_a_large_step_between_copies_is_an_edge_and_stays():
    """One half of the hole is copied from the left, the other from the right; within each all is of one colour."""
    image = np.full((12, 24, 3), -1, np.float32)
    image[:, 12:] = 1
    hole = np.zeros((12, 24), bool)
    hole[3:9, 9:15] = True
    pixels = np.argwhere(hole)
    copies = Copies(pixels, pixels + np.where(pixels[:, 1:] < 12, [0, -6], [0, 6]))
    np.testing.assert_allclose(joined(image, hole, copies, image, kept=0.01), image, atol=0.06)  # of a step of 2


def test_the_more_is_kept_the_nearer_the_result_is_to_the_colours():
    truth, hole, copies = shifted_case()
    away = [np.abs(joined(truth, hole, copies, truth + 0.3, kept=k) - truth - 0.3)[hole].mean() for k in (0.01, 1, 100)]
    assert away[0] > away[1] > away[2]
    assert away[2] < 0.02


def test_joined_copies_stay_in_the_range_and_the_contents_of_the_hole_do_not_matter():
    image, hole, copies, colours = copies_case(12, 10, 3)
    image = np.sign(image)
    result = joined(image, hole, copies, colours, kept=0.01)
    assert np.abs(result).max() == 1
    other = np.where(hole[..., None], 9, image)
    np.testing.assert_array_equal(joined(other, hole, copies, colours, kept=0.01), result)
