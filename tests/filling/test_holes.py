"""Masks as people have them: what marks the hole, and what is refused because it could mean two things."""

import numpy as np
import pytest
from PIL import Image

import ca_numpy
from ca_numpy.data.photo import photo_of
from ca_numpy.errors import UserError
from ca_numpy.filling.holes import hole_of

SIZE = (24, 32)
HOLE = np.zeros(SIZE, bool)
HOLE[6:15, 8:20] = True


@pytest.fixture(scope="module")
def picture():
    rows, columns = np.mgrid[:24, :32]
    noise = np.random.default_rng(0).integers(0, 40, (*SIZE, 3))
    return (np.stack([rows * 8, columns * 6, 200 - rows * 4], axis=-1) + noise).clip(0, 255).astype(np.uint8)


def saved(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def layer(colour, opaque):
    return np.concatenate(
        [np.broadcast_to(np.array(colour, np.uint8), (*SIZE, 3)), opaque[..., None] * np.uint8(255)], -1
    )


def found(picture, mask, **options):
    return hole_of(photo_of(picture), mask, **options)[..., 0] > 0


@pytest.mark.parametrize("full", [1, 255])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_black_and_white_in_any_depth(tmp_path, picture, full, dtype):
    path = saved(tmp_path / "mask.png", (HOLE * full).astype(dtype))
    np.testing.assert_array_equal(found(picture, path), HOLE)
    np.testing.assert_array_equal(found(picture, path, invert=True), ~HOLE)
    np.testing.assert_array_equal(found(picture, path, kind="white"), HOLE)


def test_white_in_sixteen_bits_and_as_one_bit_and_as_a_jpeg(tmp_path, picture):
    for name, array in {
        "a.png": (HOLE * 65535).astype(np.uint16),
        "b.png": HOLE,
        "c.jpg": (HOLE * 255).astype(np.uint8),
    }.items():
        np.testing.assert_array_equal(found(picture, saved(tmp_path / name, array)), HOLE)


@pytest.mark.parametrize("colour", [(255, 255, 255), (255, 0, 0), (0, 0, 180), (90, 200, 60)])
def test_paint_of_any_colour_on_an_empty_layer(tmp_path, picture, colour):
    path = saved(tmp_path / "mask.png", layer(colour, HOLE))
    np.testing.assert_array_equal(found(picture, path), HOLE)
    np.testing.assert_array_equal(found(picture, path, kind="transparent"), ~HOLE)


def test_a_copy_of_the_picture_with_a_part_erased(tmp_path, picture):
    erased = np.concatenate([picture, ~HOLE[..., None] * np.uint8(255)], -1)
    np.testing.assert_array_equal(found(picture, saved(tmp_path / "mask.png", erased)), HOLE)
    np.testing.assert_array_equal(found(picture, tmp_path / "mask.png", kind="paint"), ~HOLE)


@pytest.mark.parametrize("colour", [(0, 0, 0), "another picture"])
def test_an_alpha_channel_that_could_mean_two_things_is_refused_and_the_options_are_named(tmp_path, picture, colour):
    array = layer((0, 0, 0), HOLE)
    if colour == "another picture":
        array[..., :3] = picture[::-1, ::-1]
    path = saved(tmp_path / "mask.png", array)
    with pytest.raises(UserError, match=r"mask_kind=\"paint\" or \"transparent\""):
        found(picture, path)
    np.testing.assert_array_equal(found(picture, path, kind="paint"), HOLE)
    np.testing.assert_array_equal(found(picture, path, kind="transparent"), ~HOLE)


def test_a_copy_of_the_picture_painted_over(tmp_path, picture):
    painted = np.where(HOLE[..., None], np.uint8([250, 0, 250]), picture)
    path = saved(tmp_path / "painted.png", painted)
    np.testing.assert_array_equal(found(picture, path, kind="difference"), HOLE)
    saved(
        tmp_path / "noisy.png",
        (painted.astype(int) + np.random.default_rng(1).integers(-9, 9, painted.shape)).clip(0, 255).astype(np.uint8),
    )
    np.testing.assert_array_equal(found(picture, tmp_path / "noisy.png", kind="difference"), HOLE)


def test_a_photograph_is_no_mask_unless_one_insists(tmp_path, picture):
    photo, mask = saved(tmp_path / "photo.png", picture), saved(tmp_path / "mask.png", (HOLE * 255).astype(np.uint8))
    with pytest.raises(UserError, match=r"looks like a photograph.*second") as caught:
        ca_numpy.inpaint(mask, photo)  # the wrong way round
    assert "\n" not in str(caught.value)
    bright = picture.mean(-1) > 127.5
    np.testing.assert_array_equal(found(picture, photo, kind="white"), bright)


def test_a_soft_brush_is_a_mask(tmp_path, picture):
    from scipy.ndimage import gaussian_filter

    soft = gaussian_filter(HOLE.astype(float), 1)
    path = saved(tmp_path / "mask.png", np.rint(soft * 255).astype(np.uint8))
    np.testing.assert_array_equal(found(picture, path), soft > 0.5)


def test_boxes_with_and_without_a_mask(picture):
    box = (3, 2, 5, 4)  # left, top, width, height
    expected = np.zeros(SIZE, bool)
    expected[2:6, 3:8] = True
    np.testing.assert_array_equal(found(picture, None, boxes=[box]), expected)
    np.testing.assert_array_equal(found(picture, HOLE, boxes=[box]), expected | HOLE)
    corner = found(picture, None, boxes=[(-4, -4, 6, 7)])
    assert corner[:3, :2].all()
    assert corner.sum() == 6
    for outside in ((32, 0, 4, 4), (0, 0, 0, 4), (-9, 0, 9, 4)):
        with pytest.raises(UserError, match="outside the picture"):
            found(picture, None, boxes=[outside])
    filled = ca_numpy.inpaint(picture, boxes=[box], method="mean")
    np.testing.assert_array_equal(filled[~expected], picture[~expected])


@pytest.mark.parametrize("grow", [0, 1, 3])
def test_a_grown_hole_reaches_every_pixel_at_that_distance_and_no_other(picture, grow):
    rows, columns = np.nonzero(HOLE)
    y, x = np.mgrid[:24, :32]
    away = np.sqrt((y[..., None] - rows) ** 2 + (x[..., None] - columns) ** 2).min(-1)
    np.testing.assert_array_equal(found(picture, HOLE, grow=grow), away <= grow)


def test_what_cannot_be_a_hole_is_refused(tmp_path, picture):
    opaque = saved(tmp_path / "opaque.png", (HOLE * 255).astype(np.uint8))
    for said, mask, options in (
        ("grow=-1", HOLE, {"grow": -1}), ("no kind of mask", HOLE, {"kind": "red"}), ("all hole", HOLE, {"grow": 99}),
        ("nowhere transparent", opaque, {"kind": "paint"}), ("no hole", np.zeros(SIZE), {}),
    ):  # fmt: skip
        with pytest.raises(UserError, match=said):
            found(picture, mask, **options)


def test_a_known_rim_of_one_pixel_is_enough():
    """Also where the picture is shrunk for the network, and the rim with it."""
    photo = np.random.default_rng(0).integers(0, 255, (300, 320, 3), dtype=np.uint8)
    mask = np.zeros((300, 320), bool)
    mask[1:-1, 1:-1] = True
    filled = ca_numpy.inpaint(photo, mask, backend="numpy", method="network")
    np.testing.assert_array_equal(filled[~mask], photo[~mask])


def test_a_mask_of_another_size_is_an_error_that_names_both(tmp_path, picture):
    for array in (np.zeros((10, 12), np.uint8), layer((255, 0, 0), HOLE)[:10, :12], picture[:10, :12]):
        path = saved(tmp_path / "mask.png", array)
        for kind in ("auto", "difference"):
            with pytest.raises(UserError):
                found(picture, path, kind=kind)
