"""Arrays: bytes and floats, what a caller may pass as a picture or a mask, and other sizes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from image_cases import RGB, one_line, small_images

from ca_numpy.data import check_image, check_mask, crop_window, resize, to_float, to_uint8

# -- the two ranges ---------------------------------------------------------------------------------------


def test_bytes_survive_the_way_to_floats_and_back():
    every = np.arange(256, dtype=np.uint8)
    floats = to_float(every)
    assert floats.dtype == np.float32
    assert floats[0] == -1
    assert floats[-1] == 1
    np.testing.assert_allclose(floats, every / 127.5 - 1, atol=1e-7)
    np.testing.assert_array_equal(to_uint8(floats), every)


@given(hnp.arrays(np.float64, 8, elements=st.floats(-50, 50)))
def test_to_uint8_rounds_to_the_nearest_level_and_clips(x):
    levels = to_uint8(x).astype(float)
    assert (np.abs(levels - np.clip((x + 1) * 127.5, 0, 255)) <= 0.5 + 1e-9).all()


def test_the_ranges_cannot_be_mixed_up():
    with one_line("uint8", "float32"):
        to_float(np.zeros((2, 2, 3), np.float32))
    with one_line("uint8"):
        to_uint8(np.zeros((2, 2, 3), np.uint8))


# -- arrays from a caller ---------------------------------------------------------------------------------


@given(small_images)
def test_check_image_takes_bytes_and_floats_alike(pixels):
    floats = to_float(pixels)
    np.testing.assert_array_equal(check_image(pixels), floats)
    for dtype in (np.float32, np.float64):
        checked = check_image(floats.astype(dtype))
        assert checked.dtype == np.float32
        np.testing.assert_array_equal(checked, floats)


def test_check_image_forgives_rounding_but_keeps_to_the_range():
    assert np.abs(check_image(np.full((2, 2, 3), 1 + 1e-6))).max() == 1


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((4, 4)), "grey"),
        (np.zeros((4, 4, 1)), "grey"),
        (np.zeros((4, 4, 4)), "(4, 4, 4)"),
        (np.zeros((1, 4, 4, 3)), "(height, width, 3)"),
        (np.zeros((0, 4, 3)), "(0, 4, 3)"),
        (np.zeros((4, 4, 3), np.int64), "int64"),
        (np.zeros((4, 4, 3), complex), "complex"),
        (np.full((4, 4, 3), np.nan), "not finite"),
        (np.full((4, 4, 3), 200.0), "x / 127.5 - 1"),
    ],
)
def test_check_image_says_what_is_wrong(image, said):
    with one_line("photo", said):
        check_image(image, name="photo")


@given(
    hnp.arrays(bool, st.tuples(st.integers(1, 5), st.integers(2, 5))).filter(lambda m: m.any() and not m.all()),
    st.sampled_from([(bool, 1), (np.uint8, 1), (np.uint8, 255), (np.int64, 255), (np.uint16, 65535), (np.float32, 1)]),
    st.booleans(),
)
def test_check_mask_reads_every_usual_form_alike(hole, form, with_channel):
    dtype, white = form
    mask = hole.astype(dtype) * np.asarray(white, dtype)
    checked = check_mask(mask[..., None] if with_channel else mask, np.zeros((*hole.shape, 3)))
    assert checked.dtype == np.float32
    np.testing.assert_array_equal(checked[..., 0], hole)


def test_check_mask_cuts_in_the_middle():
    image = np.zeros((1, 2, 3))
    np.testing.assert_array_equal(check_mask(np.array([[127, 128]], np.uint8), image)[0, :, 0], [0, 1])
    np.testing.assert_array_equal(check_mask(np.array([[0.5, 0.51]]), image)[0, :, 0], [0, 1])


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.zeros((4, 4, 3)), "(4, 4, 3)"),
        (np.zeros((5, 4)), "5 x 4 (height x width) and the image 4 x 4; resize the mask"),
        (np.zeros((4, 4)), "nothing to fill"),
        (np.ones((4, 4)), "nothing is known"),
        (np.full((4, 4), np.nan), "not finite"),
        (np.full((4, 4), 255.0), "255"),
        (np.full((4, 4), -1.0), "-1"),
        (np.full((4, 4), 1j), "complex"),
        (np.full((4, 4), "hole"), "pass bool"),
    ],
)
def test_check_mask_says_what_is_wrong(mask, said):
    with one_line("the mask of photo.png", said):
        check_mask(mask, np.zeros((4, 4, 3)), name="the mask of photo.png")


# -- sizes ------------------------------------------------------------------------------------------------


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4)),
               elements=st.floats(-1, 1, width=32)),
    st.integers(1, 20),
    st.integers(1, 20),
)  # fmt: skip
def test_resize_gives_the_size_and_keeps_the_range(image, height, width):
    resized = resize(image, (height, width))
    assert resized.shape == (height, width, image.shape[-1])
    assert resized.dtype == image.dtype
    assert resized.min() >= image.min()
    assert resized.max() <= image.max()


@given(st.floats(-1, 1), st.integers(1, 9), st.integers(1, 9))
def test_resize_leaves_a_flat_picture_flat(value, height, width):
    flat = np.full((4, 6, 3), value)
    np.testing.assert_allclose(resize(flat, (height, width)), value, atol=1e-6)


def test_shrinking_averages_instead_of_picking():
    stripes = np.zeros((64, 64, 3), np.float32)
    stripes[:, ::2] = 1
    np.testing.assert_allclose(resize(stripes, (8, 8))[:, 1:-1], 0.5, atol=0.02)


@given(small_images, st.data())
def test_crop_window_without_resizing_is_a_slice(pixels, data):
    rows, columns = pixels.shape[:2]
    side = data.draw(st.integers(1, min(rows, columns)))
    top, left = data.draw(st.integers(0, rows - side)), data.draw(st.integers(0, columns - side))
    for image in (pixels, to_float(pixels)):
        crop = crop_window(image, top=top, left=left, height=side, width=side, size=side)
        np.testing.assert_array_equal(crop, to_float(pixels)[top : top + side, left : left + side])
        assert not np.shares_memory(crop, image)


def test_crop_window_resizes_to_a_square():
    assert crop_window(RGB, top=1, left=2, height=3, width=5, size=4).shape == (4, 4, 3)


@pytest.mark.parametrize(("side", "size"), [(30, 48), (60, 16), (96, 7)])
def test_bytes_and_floats_give_nearly_the_same_crop(side, size):
    rows, columns = np.mgrid[:100, :120]
    photo = np.dstack([2 * rows, 2 * columns, 100 + 60 * np.sin(rows / 9) * np.cos(columns / 7)]).astype(np.uint8)
    window = {"top": 2, "left": 5, "height": side, "width": side, "size": size}
    difference = crop_window(photo, **window) - crop_window(to_float(photo), **window)
    assert np.abs(difference).max() < 3 / 127.5


@pytest.mark.parametrize(("top", "left", "height", "width"), [(-1, 0, 2, 2), (0, 0, 6, 2), (0, 6, 2, 2), (0, 0, 0, 2)])
def test_crop_window_stays_inside(top, left, height, width):
    with one_line("not inside"):
        crop_window(RGB, top=top, left=left, height=height, width=width, size=4)


def test_no_size_below_one_pixel():
    with one_line("at least 1 pixel"):
        resize(np.zeros((4, 4, 3), np.float32), (0, 3))
