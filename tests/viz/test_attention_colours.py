"""Attention colours: what figure 4 of the paper promises, at every position."""

import colorsys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver
from numpy.testing import assert_allclose, assert_array_equal

from ca_numpy.errors import UserError
from ca_numpy.viz import attended_region, attention_colours, attention_legend, attention_map

sides = st.integers(1, 12)
seeds = st.integers(0, 2**32 - 1)


def identity(h, w):
    return np.arange(h * w).reshape(h, w)


def colour_of_offset(down, right, *, side=41):
    """The colour of a position in the middle of a grid that attends to that offset."""
    middle = side // 2
    index = identity(side, side)
    index[middle, middle] = (middle + down) * side + middle + right
    return attention_colours(index, background=(side, side))[middle, middle]


def hue_and_saturation(colour):
    hue, saturation, _ = colorsys.rgb_to_hsv(*colour)
    return 360 * hue, saturation


@given(sides, sides, seeds)
def test_white_means_itself_and_nothing_else(h, w, seed):
    index = np.random.default_rng(seed).integers(0, h * w, (h, w))
    colours = attention_colours(index, background=(h, w))
    assert_array_equal((colours == 1).all(axis=-1), index == identity(h, w))
    shown = np.rint(255 * colours)
    assert_array_equal((shown == 255).all(axis=-1), index == identity(h, w))


@given(sides, sides, st.tuples(sides, sides), seeds)
def test_colours_are_numbers_between_0_and_1_for_grids_of_any_two_sizes(h, w, background, seed):
    index = np.random.default_rng(seed).integers(0, background[0] * background[1], (h, w))
    colours = attention_colours(index, background=background)
    assert colours.shape == (h, w, 3)
    assert colours.dtype == np.float64
    assert colours.min() >= 0
    assert colours.max() <= 1


@given(st.integers(1, 20))
def test_pink_is_bottom_left_and_green_is_top_right(distance):
    hue, _ = hue_and_saturation(colour_of_offset(distance, -distance))
    assert 310 < hue < 345  # between magenta (300) and red (360)
    hue, _ = hue_and_saturation(colour_of_offset(-distance, distance))
    assert 120 <= hue < 160


def test_the_four_diagonals_are_easily_told_apart():
    corners = [colour_of_offset(20 * down, 20 * right) for down in (-1, 1) for right in (-1, 1)]
    apart = [np.linalg.norm(a - b) for i, a in enumerate(corners) for b in corners[:i]]
    assert min(apart) > 0.4


@given(st.floats(0, 2 * np.pi), st.integers(2, 20))
def test_the_farther_the_more_saturated(angle, distance):
    near = np.rint(distance / 2 * np.array([np.sin(angle), np.cos(angle)])).astype(int)
    if not near.any():
        near = np.array([0, 1])
    assert hue_and_saturation(colour_of_offset(*near))[1] < hue_and_saturation(colour_of_offset(*(2 * near)))[1]


def test_colour_changes_smoothly_all_the_way_around():
    offsets = [np.rint(50 * np.array([np.sin(a), np.cos(a)])).astype(int) for a in np.linspace(0, 2 * np.pi, 91)]
    ring = np.array([colour_of_offset(*offset, side=101) for offset in offsets])
    steps = np.linalg.norm(np.diff(ring, axis=0), axis=1)
    assert_allclose(ring[0], ring[-1])
    assert steps.max() < 0.08  # no jump: going around is about three units long, in 90 steps
    assert steps.min() > 0.005  # and no direction without a colour of its own


@given(st.integers(-20, 20), st.integers(-20, 20))
def test_opposite_directions_never_share_a_colour(down, right):
    there, back = colour_of_offset(down, right), colour_of_offset(-down, -right)
    assert np.allclose(there, back) == (down == right == 0)


def test_equal_distance_is_about_equally_dark_in_a_grey_print():
    ring = [
        colour_of_offset(*np.rint(20 * np.array([np.sin(a), np.cos(a)])).astype(int)) for a in np.arange(0, 6.3, 0.1)
    ]
    luma = np.array(ring) @ [0.299, 0.587, 0.114]
    assert np.ptp(luma) < 0.12
    assert luma.max() < 0.8  # and clearly darker than white


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), seeds)
def test_grids_of_unlike_sizes_are_laid_over_each_other(finer_rows, finer_columns, rows, columns, seed):
    rng = np.random.default_rng(seed)
    fine, coarse = (finer_rows * rows, finer_columns * columns), (rows, columns)
    cell_of_pixel = identity(*coarse).repeat(finer_rows, axis=0).repeat(finer_columns, axis=1)

    index = rng.integers(0, rows * columns, fine)  # the background is the coarser one
    white = (attention_colours(index, background=coarse) == 1).all(axis=-1)
    assert_array_equal(white, index == cell_of_pixel)

    index = rng.integers(0, np.prod(fine), coarse)  # the foreground is
    white = (attention_colours(index, background=fine) == 1).all(axis=-1)
    assert_array_equal(white, cell_of_pixel.reshape(-1)[index] == identity(*coarse))


@pytest.mark.parametrize(
    ("index", "background"),
    [
        (np.zeros((4, 4)), (4, 4)),
        (np.zeros(16, int), (4, 4)),
        (np.full((4, 4), 16), (4, 4)),
        (np.full((4, 4), -1), (4, 4)),
        (np.zeros((0, 4), int), (4, 4)),
    ],
)
def test_an_index_that_cannot_be_is_refused(index, background):
    with pytest.raises(UserError, match="index"):
        attention_colours(index, background=background)


def test_the_map_shows_the_colours_with_arrows_and_a_wheel():
    index = identity(24, 24)
    index[8:16, 8:16] = 0
    figure = attention_map(index, background=(24, 24))
    (ax,) = figure.axes
    assert_array_equal(ax.images[0].get_array(), attention_colours(index, background=(24, 24)))
    (arrows,) = (child for child in ax.get_children() if isinstance(child, Quiver))
    x, y = arrows.X.astype(int), arrows.Y.astype(int)
    inside = (x >= 8) & (x < 16) & (y >= 8) & (y < 16)
    assert inside.any()
    assert_array_equal(np.hypot(arrows.U, arrows.V) > 0, inside)
    assert_allclose(np.arctan2(arrows.V, arrows.U)[inside], np.arctan2(-y, -x)[inside])  # towards patch 0
    assert {text.get_text() for text in ax.child_axes[0].texts} >= {"above", "below", "left", "right"}


@pytest.mark.parametrize("draw", [attention_legend, lambda ax: attention_map([[1, 0]], background=(1, 2), ax=ax)])
def test_given_axes_are_drawn_on_and_their_figure_comes_back(draw):
    figure = Figure()
    ax = figure.subfigures(1, 2)[0].add_subplot()
    assert draw(ax) is figure
    assert ax.images


def test_attended_patches_stay_bright_and_the_rest_is_dimmed():
    image = np.full((32, 32, 3), 0.5, np.float32)
    mask = np.zeros((32, 32, 1), np.float32)
    mask[:8, :8] = 1
    index = np.full((8, 8), 5 * 8 + 5)  # the hole looks at patch (5, 5),
    index[4:, :] = 0  # the known part at patch (0, 0), which must not count
    shown = attended_region(image, index, background=(8, 8), mask=mask)
    assert shown.dtype == np.float32
    assert_allclose(shown[16:28, 16:28], 0.5)  # its 3 × 3 positions, 4 pixels each
    assert (shown[:16] < -0.5).all()
    assert (shown[28:] < -0.5).all()


@given(st.integers(1, 40), st.integers(1, 40), sides, sides, seeds)
def test_attended_region_takes_any_sizes_and_stays_in_range(h, w, rows, columns, seed):
    rng = np.random.default_rng(seed)
    image = rng.uniform(-1, 1, (h, w, 3))
    index = rng.integers(0, rows * columns, (columns, rows))
    shown = attended_region(image, index, background=(rows, columns))
    assert (shown <= image + 1e-12).all()
    assert (shown >= -1).all()


def test_attended_region_refuses_what_does_not_fit():
    image, index = np.zeros((8, 8, 3)), identity(4, 4)
    with pytest.raises(UserError, match="mask"):
        attended_region(image, index, background=(4, 4), mask=np.zeros((8, 9, 1)))
    with pytest.raises(UserError, match="image"):
        attended_region(np.zeros((8, 8, 3), np.uint8), index, background=(4, 4))
