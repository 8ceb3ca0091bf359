"""Holes: binary, inside their window, never nothing and never everything, and a matter of the generator alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ca_numpy.data import BoundingBox, MaskSampler, box_mask, free_form, random_box, several_boxes
from ca_numpy.data.masks import KINDS
from ca_numpy.errors import UserError
from ca_numpy.evaluation.pairs import draw_hole

seeds = st.integers(0, 2**32 - 1)
kinds = st.sampled_from([*KINDS, "mixed"])


def assert_is_mask(mask, image_size):
    assert mask.shape == (image_size, image_size, 1)
    assert mask.dtype == np.float32
    assert set(np.unique(mask)) == {0, 1}  # binary, and neither empty nor full


def outside(mask, box):
    """How many hole pixels lie outside of the box."""
    rest = mask.copy()
    rest[box.top : box.top + box.height, box.left : box.left + box.width] = 0
    return rest.sum()


# -- the window -------------------------------------------------------------------------------------------


@given(seeds, st.integers(1, 40), st.integers(0, 40))
def test_a_window_is_a_square_within_the_image(seed, box_size, more):
    box = random_box(np.random.default_rng(seed), image_size=box_size + more, box_size=box_size)
    assert box.height == box.width == box_size
    assert 0 <= box.top <= max(more - 1, 0)
    assert 0 <= box.left <= max(more - 1, 0)


def test_the_corner_takes_every_place_from_0_to_127_and_no_other():
    rng = np.random.default_rng(0)
    corners = np.array([random_box(rng, image_size=256, box_size=128)[:2] for _ in range(4000)])
    for axis in (0, 1):
        assert set(corners[:, axis]) == set(range(128))
        # Uniform: 128 cells of expectation 31.25; chi-squared with 127 degrees of freedom has deviation 16.
        counts = np.bincount(corners[:, axis], minlength=128)
        assert ((counts - 31.25) ** 2 / 31.25).sum() < 127 + 5 * 16


def test_crop_shows_the_window_of_one_image_and_of_a_batch():
    box = BoundingBox(top=1, left=2, height=3, width=4)
    batch = np.arange(2 * 6 * 8 * 3).reshape(2, 6, 8, 3)
    np.testing.assert_array_equal(box.crop(batch), batch[:, 1:4, 2:6, :])
    np.testing.assert_array_equal(box.crop(batch[0]), batch[0, 1:4, 2:6, :])


@pytest.mark.parametrize("box_size", [0, 257])
def test_a_window_has_to_fit(box_size):
    with pytest.raises(UserError, match="does not fit"):
        random_box(np.random.default_rng(0), image_size=256, box_size=box_size)


# -- the kinds of hole ------------------------------------------------------------------------------------


@given(seeds, st.integers(1, 6))
def test_the_box_is_shrunk_alike_on_opposite_sides(seed, max_shrink):
    rng = np.random.default_rng(seed)
    box = random_box(rng, image_size=40, box_size=16)
    mask = box_mask(rng, box, image_size=40, max_shrink=max_shrink)
    assert_is_mask(mask, 40)
    rows, columns = np.flatnonzero(mask.any(axis=(1, 2))), np.flatnonzero(mask.any(axis=(0, 2)))
    assert mask.sum() == len(rows) * len(columns)  # a rectangle
    above, below = rows[0] - box.top, box.top + box.height - 1 - rows[-1]
    before, after = columns[0] - box.left, box.left + box.width - 1 - columns[-1]
    assert 0 <= above == below <= max_shrink
    assert 0 <= before == after <= max_shrink


def test_the_shrinking_takes_every_value_and_differs_between_the_axes():
    rng = np.random.default_rng(0)
    box = BoundingBox(100, 50, 128, 128)
    masks = [box_mask(rng, box, image_size=256, max_shrink=16)[..., 0] for _ in range(400)]
    heights = [(128 - mask.any(axis=1).sum()) // 2 for mask in masks]
    widths = [(128 - mask.any(axis=0).sum()) // 2 for mask in masks]
    assert set(heights) == set(widths) == set(range(17))
    assert abs(np.corrcoef(heights, widths)[0, 1]) < 0.25


@pytest.mark.parametrize("max_shrink", [-1, 8, 100])
def test_shrinking_leaves_something(max_shrink):
    with pytest.raises(UserError, match="max_shrink"):
        box_mask(np.random.default_rng(0), BoundingBox(0, 0, 16, 20), image_size=32, max_shrink=max_shrink)


@given(seeds, st.integers(2, 24), st.integers(1, 30), st.data())
def test_several_boxes_are_never_nothing_and_never_everything(seed, image_size, count, data):
    max_side = data.draw(st.integers(1, image_size - 1))
    min_side = data.draw(st.integers(1, max_side))
    rng = np.random.default_rng(seed)
    mask = several_boxes(rng, image_size=image_size, count=count, min_side=min_side, max_side=max_side)
    assert_is_mask(mask, image_size)
    assert min_side**2 <= mask.sum() <= count * max_side**2


@pytest.mark.parametrize(("count", "min_side", "max_side"), [(0, 2, 4), (1, 0, 4), (1, 5, 4), (1, 2, 16)])
def test_several_boxes_need_sensible_sides(count, min_side, max_side):
    with pytest.raises(UserError, match="min_side <= max_side < image_size"):
        several_boxes(np.random.default_rng(0), image_size=16, count=count, min_side=min_side, max_side=max_side)


@settings(deadline=None)
@given(seeds, st.integers(8, 48), st.floats(0.25, 0.9), st.integers(1, 20))
def test_strokes_are_never_nothing_and_stay_below_the_largest_area(seed, image_size, max_area, strokes):
    rng = np.random.default_rng(seed)
    mask = free_form(rng, image_size=image_size, strokes=(1, strokes), width=(0.0, 0.25), max_area=max_area)
    assert_is_mask(mask, image_size)
    assert mask.mean() <= max_area


@settings(deadline=None)
@given(seeds)
def test_one_stroke_hangs_together(seed):
    ndimage = pytest.importorskip("scipy.ndimage")
    mask = free_form(np.random.default_rng(seed), image_size=64, strokes=(1, 1))
    assert ndimage.label(mask[..., 0], structure=np.ones((3, 3)))[1] == 1


def test_strokes_are_wider_with_a_wider_brush():
    def area(width):
        rng = np.random.default_rng(0)
        return np.mean([free_form(rng, image_size=64, strokes=(1, 1), width=width).mean() for _ in range(50)])

    assert area((0.03, 0.05)) < area((0.1, 0.12))


@pytest.mark.parametrize(
    "wrong",
    [
        {"image_size": 7},
        {"strokes": (0, 2)},
        {"strokes": (3, 2)},
        {"segments": (-1, 2)},
        {"length": (0.5, 1.5)},
        {"width": (0.1, 0.5)},
        {"max_area": 1.0},
        {"max_area": 0.1},
    ],
)
def test_strokes_need_sensible_numbers(wrong):
    with pytest.raises(UserError):
        free_form(np.random.default_rng(0), **{"image_size": 32} | wrong)


# -- a batch of them --------------------------------------------------------------------------------------


@settings(deadline=None)
@given(seeds, kinds, st.integers(8, 30), st.integers(1, 30), st.integers(1, 4), st.booleans())
def test_a_batch_of_masks_lies_within_its_windows(seed, kind, box_size, more, batch, per_batch):
    image_size = box_size + more
    sampler = MaskSampler(kind, image_size=image_size, box_size=box_size, max_shrink=box_size // 4, per_batch=per_batch)
    masks, boxes = sampler(np.random.default_rng(seed), batch)
    assert masks.shape == (batch, image_size, image_size, 1)
    assert len(boxes) == batch
    for mask, box in zip(masks, boxes, strict=True):
        assert_is_mask(mask, image_size)
        assert outside(mask, box) == 0
        assert box.height == box.width == box_size
        assert box.crop(mask).shape == (box_size, box_size, 1)


@given(seeds, kinds, st.booleans())
@settings(deadline=None, max_examples=20)
def test_the_generator_alone_decides(seed, kind, per_batch):
    sampler = MaskSampler(kind, image_size=48, box_size=24, max_shrink=4, per_batch=per_batch)
    first, second = (sampler(np.random.default_rng(seed), 3) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    assert first[1] == second[1]


@pytest.mark.parametrize("kind", [*KINDS, "mixed"])
def test_each_image_has_its_own_mask_unless_one_for_the_batch_is_asked_for(kind):
    def distinct(per_batch):
        masks, boxes = MaskSampler(kind, per_batch=per_batch)(np.random.default_rng(0), 6)
        return len({mask.tobytes() for mask in masks}), len(set(boxes))

    assert distinct(per_batch=False) == (6, 6)
    assert distinct(per_batch=True) == (1, 1)


def test_every_other_mixed_mask_is_one_rectangle_as_large_as_a_box_and_the_others_are_not():
    sampler = MaskSampler("mixed", image_size=64, box_size=32, max_shrink=4)
    masks, boxes = sampler(np.random.default_rng(0), 400)
    inside = np.stack([box.crop(mask) for mask, box in zip(masks, boxes, strict=True)])
    rectangles = inside[:, 4:-4, 4:-4].all((1, 2, 3))
    assert 0.42 < rectangles.mean() < 0.58
    corners = {tuple(box[:2]) for box, whole in zip(boxes, rectangles, strict=True) if whole}
    assert len(corners) > 100  # at many places


def test_another_kind_of_hole_is_one_entry_in_the_table(monkeypatch):
    def dot(rng, size, max_shrink):
        mask = np.zeros((size, size, 1), np.float32)
        mask[tuple(rng.integers(0, size, 2))] = 1
        return mask

    monkeypatch.setitem(KINDS, "dot", dot)
    masks, boxes = MaskSampler("dot", image_size=32, box_size=16)(np.random.default_rng(0), 20)
    assert all(mask.sum() == box.crop(mask).sum() == 1 for mask, box in zip(masks, boxes, strict=True))
    mixed, _ = MaskSampler("mixed", image_size=32, box_size=16, max_shrink=2)(np.random.default_rng(0), 60)
    assert any(mask.sum() == 1 for mask in mixed)
    assert draw_hole("dot", size=32, seed=(0, 1)).sum() == 1
    with pytest.raises(UserError, match="no kind of hole 'ring': choose from centre, box, boxes, free-form"):
        draw_hole("ring", size=32, seed=(0, 1))


def test_masks_of_one_batch_do_not_share_memory():
    masks, _ = MaskSampler(image_size=32, box_size=16, max_shrink=2, per_batch=True)(np.random.default_rng(0), 2)
    before = masks[1].copy()
    masks[0] = 1
    np.testing.assert_array_equal(masks[1], before)


def test_the_defaults_are_the_authors():
    sampler = MaskSampler()
    assert (sampler.kind, sampler.image_size, sampler.box_size, sampler.max_shrink) == ("box", 256, 128, 16)


@pytest.mark.parametrize(
    ("kind", "sizes", "said"),
    [
        ("circle", {}, "'circle'; choose one of box, boxes, free-form, mixed"),
        ("box", {"box_size": 256}, "box_size=256"),
        ("box", {"box_size": 0}, "box_size=0"),
        ("box", {"max_shrink": 64}, "max_shrink=64"),
        ("boxes", {"box_size": 4}, "box_size=4"),
        ("free-form", {"box_size": 4}, "box_size=4"),
        ("mixed", {"box_size": 4}, "box_size=4"),
        ("mixed", {"max_shrink": 64}, "max_shrink=64"),
    ],
)
def test_a_sampler_says_at_once_what_cannot_work(kind, sizes, said):
    with pytest.raises(UserError, match=said):
        MaskSampler(kind, **sizes)


def test_a_batch_has_at_least_one_mask():
    with pytest.raises(UserError, match="batch=0"):
        MaskSampler()(np.random.default_rng(0), 0)
