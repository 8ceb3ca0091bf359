"""Grids of pictures: the right pictures, in the right place, pixel for pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from numpy.testing import assert_array_equal

from ca_numpy.errors import UserError
from ca_numpy.viz import before_after, comparison, picture_grid


def rendered(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def pixels_of(figure, ax):
    """What the figure shows where that picture lies."""
    picture = rendered(figure)
    box = ax.get_window_extent()
    left, top = round(box.x0), picture.shape[0] - round(box.y1)
    return picture[top : top + round(box.height), left : left + round(box.width)]


def shown(ax):
    return np.asarray(ax.images[0].get_array())


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def batch(n=2, h=24, w=16, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, h, w, 3)).astype(np.float32)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**32 - 1))
def test_every_pixel_becomes_a_square_of_whole_pixels(h, w, other, seed):
    cells = [noise(h, w, 3, seed=seed), noise(other, h, 3, seed=seed + 1)]
    figure = picture_grid([cells], titles=["a", "b"])
    for ax, cell in zip(figure.axes, cells, strict=True):
        zoom = 256 // max(cell.shape[:2])
        assert_array_equal(pixels_of(figure, ax), cell.repeat(zoom, axis=0).repeat(zoom, axis=1))


@given(st.integers(1, 3), st.integers(1, 4))
def test_a_grid_has_one_picture_per_cell_one_title_per_column_one_label_per_row(rows, columns):
    cells = [[noise(8, 8, 3)] * columns] * rows
    titles = [f"title {k}" for k in range(columns)]
    labels = [f"label {k}" for k in range(rows)]
    figure = picture_grid(cells, titles=titles, row_labels=labels)
    assert len(figure.axes) == rows * columns
    assert all(len(ax.images) == 1 for ax in figure.axes)
    assert [text.get_text() for text in figure.texts] == titles + labels


def test_columns_run_left_to_right_and_rows_top_to_bottom_without_overlap():
    figure = picture_grid([[noise(20, 30, 3)] * 2, [noise(40, 20, 3)] * 2], titles=["a", "b"])
    first, second, third, fourth = (ax.get_window_extent() for ax in figure.axes)
    assert first.x1 < second.x0
    assert third.x1 < fourth.x0
    assert third.y1 < first.y0
    assert fourth.y1 < second.y0


def test_float_pictures_run_from_minus_1_black_to_1_white():
    cell = np.array([[[-1.0, 0.0, 1.0], [-7.0, np.nan, 7.0]]])
    (ax,) = picture_grid([[cell]], titles=["x"]).axes
    assert_array_equal(shown(ax), [[[0, 128, 255], [0, 0, 255]]])


def test_a_small_map_beside_large_pictures_is_enlarged_to_match():
    figure = picture_grid([[noise(300, 300, 3), noise(75, 75, 3)]], titles=["picture", "map"])
    picture, small = (ax.get_window_extent() for ax in figure.axes)
    assert round(small.width) == round(picture.width) == 300


def test_pictures_above_1024_pixels_are_reduced_to_means_of_blocks():
    large = noise(6, 2000, 3)
    (ax,) = picture_grid([[large]], titles=["x"]).axes
    means = large.reshape(3, 2, 1000, 2, 3).mean(axis=(1, 3))
    assert shown(ax).shape == means.shape
    assert np.abs(shown(ax) - means).max() <= 1


@pytest.mark.parametrize(
    ("rows", "titles", "labels", "words"),
    [
        ([], ["a"], None, "nothing to draw"),
        ([[noise(4, 4, 3)]], ["a", "b"], None, "row 0 has 1 pictures for 2 titles"),
        ([[noise(4, 4, 3)]], ["a"], ["x", "y"], "row_labels: 2"),
        ([[noise(4, 4, 1)]], ["a"], None, r"shape \(4, 4, 1\)"),
        ([[np.zeros((4, 4, 3), int)]], ["a"], None, "dtype int64"),
        ([[noise(256, 2, 3)]] * 300, ["a"], None, "fewer or smaller"),
    ],
)
def test_rows_that_make_no_grid_are_refused(rows, titles, labels, words):
    with pytest.raises(UserError, match=words):
        picture_grid(rows, titles=titles, row_labels=labels)


def test_a_comparison_shows_input_coarse_result_truth_and_attention_for_each_sample():
    images, index = batch(), np.zeros((2, 6, 4), int)
    mask = np.zeros((2, 24, 16, 1), np.float32)
    mask[:, 4:12, 4:12] = 1
    figure = comparison(images, mask, images, -images, images, index=index)
    assert [text.get_text() for text in figure.texts] == ["input", "coarse", "result", "truth", "attention"]
    assert len(figure.axes) == 2 * 5 + 1  # and the wheel


@pytest.mark.parametrize(("coarse", "truth", "columns"), [(None, None, 2), (None, 1, 3), (1, None, 3)])
def test_a_comparison_leaves_out_what_is_not_given(coarse, truth, columns):
    image, mask = batch(1)[0], np.ones((24, 16, 1))
    pick = {None: None, 1: image}
    assert len(comparison(image, mask, pick[coarse], image, pick[truth]).axes) == columns


def test_a_comparison_pastes_the_result_and_hatches_the_hole_of_the_input():
    image, result = batch(1), batch(1, seed=1)
    mask = np.zeros((1, 24, 16, 1), np.float32)
    mask[:, 4:12, 4:12] = 1
    hole = mask[0, :, :, 0] == 1
    before = image.copy()
    input_, coarse, pasted = (shown(ax) for ax in comparison(image, mask, result, result).axes)
    assert_array_equal(image, before)
    assert_array_equal(pasted[hole], coarse[hole])
    assert_array_equal(pasted[~hole], input_[~hole])
    assert len(np.unique(input_[hole])) == 2  # two greys, whatever was there
    assert input_[hole].min() > 150


def test_a_frame_and_arrows_lie_over_the_attention_map_without_moving_it():
    index = np.zeros((1, 6, 6), int)
    figure = comparison(batch(1, 24, 24), np.ones((1, 24, 24, 1)), None, batch(1, 24, 24), index=index)
    attention = figure.axes[2]
    assert attention.get_xlim() == (-0.5, 5.5)
    assert attention.get_ylim() == (5.5, -0.5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mask": np.ones((2, 24, 16, 3))}, "mask: shape"),
        ({"result": batch(1)}, "result: shape"),
        ({"truth": np.zeros((2, 24, 16, 3), np.uint8)}, "truth: dtype uint8"),
        ({"index": np.zeros((3, 6, 4), int)}, "index: 3 samples"),
    ],
)
def test_a_comparison_of_things_that_do_not_belong_together_is_refused(change, words):
    given = {"image": batch(), "mask": np.ones((2, 24, 16, 1)), "coarse": None, "result": batch()} | change
    with pytest.raises(UserError, match=words):
        comparison(**given)


@given(st.integers(1, 7), st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_pairs_stand_side_by_side_in_order(pairs, across):
    before, after = batch(pairs, 8, 8), batch(pairs, 8, 8, seed=1)
    figure = before_after(before, after, across=across)
    beside = min(across, pairs)
    assert [text.get_text() for text in figure.texts] == ["before", "after"] * beside
    cells = [shown(ax) for ax in figure.axes]
    assert len(cells) == 2 * beside * -(-pairs // beside)
    for k in range(pairs):
        assert_array_equal(cells[2 * k], np.rint((before[k] + 1) * 127.5))
        assert_array_equal(cells[2 * k + 1], np.rint((after[k] + 1) * 127.5))
    for blank in cells[2 * pairs :]:
        assert (blank == 255).all()


def test_a_pairs_hole_is_hatched_before_and_not_after():
    image, mask = batch(1), np.zeros((1, 24, 16, 1))
    mask[:, 4:12, 4:12] = 1
    first, second = (shown(ax) for ax in before_after(image, image, mask=mask).axes)
    hole = mask[0, ..., 0] == 1
    assert (first[hole] != second[hole]).any(axis=-1).all()
    assert_array_equal(first[~hole], second[~hole])


@pytest.mark.parametrize(
    ("change", "words"),
    [({"across": 0}, "across"), ({"after": batch(1)}, "after: shape"), ({"mask": np.ones((2, 24, 16))}, "mask: shape")],
)
def test_pairs_that_do_not_belong_together_are_refused(change, words):
    given = {"before": batch(), "after": batch()} | change
    with pytest.raises(UserError, match=words):
        before_after(**given)
