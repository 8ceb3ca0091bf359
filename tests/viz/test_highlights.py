"""What is drawn over the picture: the attended part bright (figure 16), and arrows that end where the index says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.patches import FancyArrowPatch, Rectangle
from numpy.testing import assert_allclose, assert_array_equal

from ca_numpy.errors import UserError
from ca_numpy.viz import attention_arrows, attention_highlight

sides = st.integers(1, 7)
seeds = st.integers(0, 2**32 - 1)


def weights_of(grid, background, seed=0):
    a = np.random.default_rng(seed).exponential(size=(grid[0] * grid[1], background[0] * background[1]))
    return a / a.sum(axis=1, keepdims=True)


def hole_in(height, width, rows, columns):
    mask = np.zeros((height, width, 1))
    mask[rows, columns] = 1
    return mask


def shown(figure):
    return np.asarray(figure.axes[0].images[0].get_array())


def frames(ax):
    """(left, top, width, height) of each frame: the most attended patch, then the one that asks."""
    return [patch.get_bbox().bounds for patch in ax.patches if isinstance(patch, Rectangle)]


# ---- the highlight -----------------------------------------------------------------------------------------------
def light_by_loops(row, background, size):
    """The definition, pixel by pixel and patch by patch."""
    total = np.zeros(size)
    for y, x in np.ndindex(*size):
        i, j = y * background[0] // size[0], x * background[1] // size[1]
        for i2, j2 in np.ndindex(*background):
            if abs(i - i2) <= 1 and abs(j - j2) <= 1:
                total[y, x] += row[i2 * background[1] + j2]
    return np.sqrt(total / total.max())


@settings(max_examples=20, deadline=None)
@given(sides, sides, sides, sides, st.integers(7, 12), st.integers(7, 12), seeds)
def test_the_light_is_the_attention_of_the_patches_that_cover_a_pixel(h, w, rows, columns, height, width, seed):
    rng = np.random.default_rng(seed)
    attention = weights_of((h, w), (rows, columns), seed)
    at = int(rng.integers(h)), int(rng.integers(w))
    image = rng.uniform(-1, 1, (height, width, 3))
    figure = attention_highlight(image, attention, at=at, grid=(h, w), background=(rows, columns))
    light = light_by_loops(attention[at[0] * w + at[1]], (rows, columns), (height, width))
    assert_allclose(shown(figure), (image + 1) / 2 * (0.25 + 0.75 * light[..., None]), atol=1e-12)


def test_all_attention_on_one_patch_leaves_that_patch_bright_and_framed():
    image = np.full((32, 40, 3), 0.5)
    attention = np.zeros((80, 80))
    attention[3 * 10 + 7, 5 * 10 + 2] = 1
    figure = attention_highlight(image, attention, at=(3, 7), grid=(8, 10))
    bright = shown(figure)[..., 0] > 0.7
    assert_array_equal(np.argwhere(bright)[[0, -1]], [[16, 4], [27, 15]])  # 3 × 3 positions, 4 pixels each
    assert bright.sum() == 12 * 12
    assert frames(figure.axes[0]) == [(3.5, 15.5, 12, 12), (23.5, 7.5, 12, 12)]
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["most attended: (5, 2)", "asks: (3, 7)"]
    assert "100%" in figure.axes[0].get_legend().get_title().get_text()


def test_a_frame_is_cut_at_the_pictures_border():
    attention = np.zeros((16, 16))
    attention[0, 15] = 1
    figure = attention_highlight(np.zeros((8, 8, 3)), attention, at=(0, 0), grid=(4, 4))
    assert frames(figure.axes[0]) == [(3.5, 3.5, 4, 4), (-0.5, -0.5, 4, 4)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image": np.zeros((8, 8, 1))}, "image: float64 of shape"),
        ({"image": np.zeros((8, 8, 3), np.uint8)}, "image: uint8"),
        ({"attention": np.ones((16, 15))}, r"weights \(16, 16\)"),
        ({"attention": np.ones((16, 16), int)}, "attention: int64"),
        ({"attention": np.zeros((16, 16))}, "not positive numbers"),
        ({"attention": np.full((16, 16), np.nan)}, "not positive numbers"),
        ({"attention": np.eye(16) - 0.1}, "not positive numbers"),
        ({"at": (4, 0)}, "outside the grid"),
        ({"at": (0, -1)}, "outside the grid"),
        ({"background": (4, 5)}, r"weights \(16, 20\)"),
    ],
)
def test_a_highlight_of_what_does_not_fit_is_refused(change, words):
    given = {"image": np.zeros((8, 8, 3)), "attention": np.full((16, 16), 1 / 16), "at": (1, 2), "grid": (4, 4)}
    given |= change
    with pytest.raises(UserError, match=words):
        attention_highlight(given.pop("image"), given.pop("attention"), **given)


# ---- arrows ------------------------------------------------------------------------------------------------------
def arrows(ax):
    """(start, end) of each arrow, (row, column) in pixels."""
    found = [patch._posA_posB for patch in ax.patches if isinstance(patch, FancyArrowPatch)]
    return [((a[1], a[0]), (b[1], b[0])) for a, b in found]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), sides, sides, st.integers(1, 9), seeds)
def test_every_arrow_ends_at_the_patch_of_its_position(h, w, rows, columns, across, seed):
    index = np.random.default_rng(seed).integers(0, rows * columns, (h, w))
    image = np.zeros((18, 27, 3))
    (ax,) = attention_arrows(image, index, background=(rows, columns), across=across).axes
    for (y, x), (y2, x2) in arrows(ax):
        i, j = int((y + 0.5) * h / 18), int((x + 0.5) * w / 27)
        i2, j2 = divmod(int(index[i, j]), columns)
        assert_allclose((y2, x2), ((i2 + 0.5) * 18 / rows - 0.5, (j2 + 0.5) * 27 / columns - 0.5))


def test_only_the_hole_asks_and_about_as_often_as_told():
    index = np.zeros((16, 16), int)
    mask = hole_in(64, 64, slice(16, 48), slice(24, 40))
    (ax,) = attention_arrows(np.zeros((64, 64, 3)), index, background=(16, 16), mask=mask, across=4).axes
    starts = {start for start, _ in arrows(ax)}
    assert len(starts) == 4 * 2  # 8 × 4 positions, every second
    assert all(16 <= y < 48 and 24 <= x < 40 for y, x in starts)
    assert ax.get_title() == "where 8 of 32 positions look"


def test_who_looks_at_himself_gets_a_dot_and_no_arrow():
    index = np.arange(16).reshape(4, 4)
    index[0, 0] = 5
    (ax,) = attention_arrows(np.zeros((16, 16, 3)), index, background=(4, 4), across=4).axes
    assert len(arrows(ax)) == 1
    (dots,) = (line for line in ax.lines if line.get_label() == "copies itself")
    assert len(dots.get_xdata()) == 15


def test_a_hole_that_the_lattice_misses_still_gets_an_arrow():
    mask = np.zeros((9, 9, 1))
    mask[0, :] = mask[8, :] = mask[:, 0] = mask[:, 8] = 1  # a ring: its middle, where one arrow would start, is known
    (ax,) = attention_arrows(np.zeros((9, 9, 3)), np.full((9, 9), 40), background=(9, 9), mask=mask, across=1).axes
    assert arrows(ax) == [((0, 0), (4, 4))]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mask": np.zeros((8, 8, 1))}, "no hole"),
        ({"mask": np.zeros((4, 4, 1))}, "mask: shape"),
        ({"across": 0}, "at least 1"),
        ({"image": np.zeros((8, 8))}, "image"),
        ({"index": np.zeros((4, 4))}, "index"),
        ({"index": np.full((4, 4), 16)}, "index"),
    ],
)
def test_arrows_over_what_does_not_fit_are_refused(change, words):
    given = {"image": np.zeros((8, 8, 3)), "index": np.zeros((4, 4), int), "background": (4, 4)} | change
    with pytest.raises(UserError, match=words):
        attention_arrows(given.pop("image"), given.pop("index"), **given)
