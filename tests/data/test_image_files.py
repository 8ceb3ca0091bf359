"""Files: whatever a user has becomes the one form the networks take, or one clear line; nothing is half written."""

import contextlib
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_cases import ALPHA, GREY, RGB, H, W, one_line, small_images
from PIL import ExifTags, Image, ImageCms, features

from ca_numpy.data import load_image, load_mask, load_pixels, read_photo, save_image, to_float, to_uint8
from ca_numpy.data.images import READABLE
from ca_numpy.errors import UserError


def as_levels(image):
    """An image in [-1, 1] on the scale 0..255, not rounded."""
    return (np.asarray(image, np.float64) + 1) * 127.5


def grey_rgb(levels):
    return np.repeat(np.asarray(levels, np.float64)[..., None], 3, axis=-1)


def on_white(levels, alpha):
    opacity = np.asarray(alpha, np.float64)[..., None] / 255
    return np.asarray(levels, np.float64) * opacity + 255 * (1 - opacity)


# -- every kind of file -----------------------------------------------------------------------------------


def palette_image(*, transparent=None):
    """Four colours; optionally one of them transparent."""
    index = (GREY % 4).astype(np.uint8)
    colours = np.array([[255, 0, 0], [0, 255, 0], [10, 20, 30], [200, 100, 50]], np.uint8)
    image = Image.frombytes("P", (W, H), index.tobytes())
    image.putpalette(colours.tobytes())
    expected = colours[index].astype(float)
    if transparent is not None:
        image.info["transparency"] = transparent
        expected[index == transparent] = 255
    return image, expected


def rgb_from_cmyk(cmyk):
    ink = cmyk.astype(float) / 255
    return 255 * (1 - ink[..., :3]) * (1 - ink[..., 3:])


DEEP = np.random.default_rng(3).integers(0, 65536, (H, W), dtype=np.uint16)
DEEP[0, 0] = 65535
CMYK = np.random.default_rng(4).integers(0, 256, (H, W, 4), dtype=np.uint8)

MODES = {
    # name: (picture, file name, expected RGB on the scale 0..255, how far off it may be)
    "1": (Image.fromarray(GREY > 99), "x.png", grey_rgb(255.0 * (GREY > 99)), 0),
    "1 tiff": (Image.fromarray(GREY > 99), "x.tif", grey_rgb(255.0 * (GREY > 99)), 0),
    "1 pbm": (Image.fromarray(GREY > 99), "x.pbm", grey_rgb(255.0 * (GREY > 99)), 0),
    "L": (Image.fromarray(GREY), "x.png", grey_rgb(GREY), 0),
    "L bmp": (Image.fromarray(GREY), "x.BMP", grey_rgb(GREY), 0),
    "LA": (Image.fromarray(np.dstack([GREY, ALPHA])), "x.png", on_white(grey_rgb(GREY), ALPHA), 1e-3),
    "P": (palette_image()[0], "x.png", palette_image()[1], 0),
    "P gif": (palette_image()[0], "x.gif", palette_image()[1], 0),
    "P transparent": (palette_image(transparent=2)[0], "x.png", palette_image(transparent=2)[1], 0),
    "P gif transparent": (palette_image(transparent=2)[0], "x.gif", palette_image(transparent=2)[1], 0),
    "RGB": (Image.fromarray(RGB), "x.png", RGB, 0),
    "RGB tiff": (Image.fromarray(RGB), "x.tiff", RGB, 0),
    "RGB ppm": (Image.fromarray(RGB), "x.ppm", RGB, 0),
    "RGB tga": (Image.fromarray(RGB), "x.tga", RGB, 0),
    "RGBA": (Image.fromarray(np.dstack([RGB, ALPHA])), "x.png", on_white(RGB, ALPHA), 1e-3),
    "RGBA tiff": (Image.fromarray(np.dstack([RGB, ALPHA])), "x.tif", on_white(RGB, ALPHA), 1e-3),
    "CMYK": (Image.fromarray(CMYK, "CMYK"), "x.tif", rgb_from_cmyk(CMYK), 1.5),
    "I;16": (Image.fromarray(DEEP), "x.png", grey_rgb(DEEP / 257.0), 1e-3),
    "I;16 tiff": (Image.fromarray(DEEP), "x.tif", grey_rgb(DEEP / 257.0), 1e-3),
    "I of 8 bits": (Image.fromarray(GREY.astype(np.int32)), "x.tif", grey_rgb(GREY), 1e-3),
    "I of 16 bits": (Image.fromarray(DEEP.astype(np.int32)), "x.tif", grey_rgb(DEEP / 257.0), 1e-3),
    "F of 0..1": (Image.fromarray(GREY.astype(np.float32) / 255), "x.tif", grey_rgb(GREY), 1e-3),
    "F of 0..255": (Image.fromarray(GREY.astype(np.float32)), "x.tif", grey_rgb(GREY), 1e-3),
    "F a little over 1": (
        Image.fromarray(np.linspace(-0.02, 1.03, H * W, dtype=np.float32).reshape(H, W)),
        "x.tif",
        grey_rgb(255 * np.clip(np.linspace(-0.02, 1.03, H * W), 0, 1).reshape(H, W)),
        1e-3,
    ),
}


@pytest.mark.filterwarnings("ignore:.*mode.*parameter:DeprecationWarning")
@pytest.mark.parametrize("kind", MODES)
def test_every_mode_becomes_rgb_in_minus_one_to_one(kind, tmp_path):
    picture, name, expected, tolerance = MODES[kind]
    picture.save(tmp_path / name)
    image = load_image(tmp_path / name)
    assert image.dtype == np.float32
    assert image.shape == (H, W, 3)
    np.testing.assert_allclose(as_levels(image), expected, atol=tolerance + 1e-4)
    np.testing.assert_array_equal(load_pixels(tmp_path / name), to_uint8(image))


def test_ycbcr_becomes_rgb(tmp_path):
    Image.fromarray(RGB).convert("YCbCr").save(tmp_path / "x.tif")
    try:
        with Image.open(tmp_path / "x.tif") as image:
            image.load()
    except OSError:
        pytest.skip("this Pillow cannot read the YCbCr file that it wrote")
    np.testing.assert_allclose(as_levels(load_image(tmp_path / "x.tif")), RGB, atol=3)


@pytest.mark.skipif(not features.check("littlecms2"), reason="this Pillow has no colour management")
def test_lab_becomes_rgb(tmp_path):
    flat = np.full((H, W, 3), (180, 90, 60), np.uint8)
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    ImageCms.profileToProfile(Image.fromarray(flat), srgb, lab, outputMode="LAB").save(tmp_path / "x.tif")
    np.testing.assert_allclose(as_levels(load_image(tmp_path / "x.tif")), flat, atol=4)


#: Each channel rises or falls its own way: what is turned, mirrored or exchanged is not nearly the same.
DOWN, ACROSS = np.mgrid[:32, :32] / 31
SMOOTH = np.stack([40 + 170 * ACROSS, 60 + 150 * DOWN, 200 - 60 * (ACROSS + DOWN)], -1).round().astype(np.uint8)


@pytest.mark.parametrize("name", ["x.jpg", "x.webp"])
def test_lossy_files_come_back_nearly(name, tmp_path):
    """A few levels off, and neither lighter nor darker."""
    Image.fromarray(SMOOTH).save(tmp_path / name, quality=95)
    error = as_levels(load_image(tmp_path / name)) - SMOOTH
    assert np.abs(error).max() < 8
    assert np.abs(error).mean() < 1.5
    assert np.abs(error.mean((0, 1))).max() < 0.5


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(to_uint8(load_image(tmp_path / "x.gif"))[0, 0], (255, 0, 0))


def test_a_telephone_s_jpeg_of_two_pictures_gives_its_first(tmp_path):
    frames = [Image.new("RGB", (16, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "x.jpg", format="MPO", save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(as_levels(load_image(tmp_path / "x.jpg"))[0, 0], (255, 0, 0), atol=3)


# Where the stored picture's first pixel has to go, from the EXIF standard's table of orientations.
FROM_STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


@pytest.mark.parametrize("orientation", FROM_STORED)
@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("mode", ["RGB", "I;16"])
def test_pictures_are_turned_upright(orientation, suffix, mode, tmp_path):
    stored, levels = (RGB, RGB) if mode == "RGB" else (DEEP, grey_rgb(DEEP / 257.0))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    file = tmp_path / f"x.{suffix}"
    Image.fromarray(stored).save(file, exif=exif)
    np.testing.assert_allclose(as_levels(load_image(file)), FROM_STORED[orientation](levels), atol=1e-3)


def test_a_picture_with_damaged_notes_is_read_without_a_word(tmp_path):
    file = tmp_path / "x.jpg"
    Image.new("RGB", (W, H), (255, 0, 0)).save(file, exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    assert load_image(file).shape == (H, W, 3)


def test_a_picture_whose_notes_cannot_be_written_again_is_turned_all_the_same(tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(RGB).save(tmp_path / "x.png", exif=exif)

    def refuse(self, offset=8):
        raise ValueError("a field that Pillow cannot write")

    monkeypatch.setattr(Image.Exif, "tobytes", refuse)
    np.testing.assert_array_equal(load_pixels(tmp_path / "x.png"), FROM_STORED[6](RGB))


# -- files that are no pictures ---------------------------------------------------------------------------


@pytest.mark.parametrize("load", [load_image, load_mask, read_photo])
class TestOneClearLine:
    def test_for_a_file_that_is_missing(self, load, tmp_path):
        with one_line("nothing.png", "does not exist"):
            load(tmp_path / "nothing.png")

    def test_for_a_folder(self, load, tmp_path):
        (tmp_path / "pictures.png").mkdir()
        with one_line("pictures.png", "is a folder"):
            load(tmp_path / "pictures.png")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
    def test_for_a_pipe_instead_of_waiting(self, load, tmp_path):
        os.mkfifo(tmp_path / "pipe.png")
        with one_line("pipe.png", "is not a file"):
            load(tmp_path / "pipe.png")

    @pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
    def test_for_what_is_no_image(self, load, content, tmp_path):
        (tmp_path / "notes.png").write_bytes(content)
        with one_line("notes.png"):
            load(tmp_path / "notes.png")

    @pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "gif", "ppm", "webp"])
    def test_for_a_file_cut_short(self, load, suffix, tmp_path):
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        file = tmp_path / f"half.{suffix}"
        Image.fromarray(noise).save(file)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with one_line("half.", "truncated or damaged"):
            load(file)

    def test_for_a_damaged_file(self, load, tmp_path):
        file = tmp_path / "scratched.png"
        Image.fromarray(RGB).save(file)
        content = bytearray(file.read_bytes())
        at = content.index(b"IDAT") + 8
        content[at : at + 8] = b"\xff" * 8
        file.write_bytes(content)
        with one_line("scratched.png", "damaged"):
            load(file)

    def test_for_a_decompression_bomb(self, load, tmp_path):
        def chunk(kind, body):
            return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

        for side in (10_000, 60_000):  # above Pillow's limit for a warning, and for an error
            header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
            (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b""))
            with one_line("bomb.png", "pixels"):
                load(tmp_path / "bomb.png")

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_for_values_that_are_not_finite(self, load, value, tmp_path):
        floats = np.zeros((H, W), np.float32)
        floats[2, 3] = value
        Image.fromarray(floats).save(tmp_path / "nan.tif")
        with one_line("nan.tif", "not finite"):
            load(tmp_path / "nan.tif")

    def test_for_values_without_a_scale(self, load, tmp_path):
        Image.fromarray(np.full((H, W), -7, np.int32)).save(tmp_path / "below.tif")
        with one_line("below.tif", "-7"):
            load(tmp_path / "below.tif")

    @pytest.mark.skipif(os.name == "nt", reason="no such names there")
    def test_even_where_the_name_has_two_lines(self, load, tmp_path):
        with one_line("first\\nsecond.png"):
            load(tmp_path / "first\nsecond.png")


def test_nothing_that_runs_a_program_is_read():
    assert "EPS" not in READABLE


@settings(deadline=None)  # the first example also loads Pillow's readers
@given(st.binary(max_size=80), st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"BM", b"II*\0"]))
def test_no_bytes_whatever_raise_anything_but_a_user_error(tmp_path_factory, content, start):
    file = tmp_path_factory.getbasetemp() / "any-bytes"
    file.write_bytes(start + content)
    with contextlib.suppress(UserError):
        assert load_image(file).shape[-1] == 3


# -- writing ----------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(small_images, st.sampled_from([".png", ".bmp", ".tif", ".tiff", ".ppm", ".webp", ".PNG"]))
def test_what_is_saved_without_loss_comes_back_exactly(tmp_path_factory, pixels, suffix):
    file = tmp_path_factory.getbasetemp() / f"round-trip{suffix}"
    save_image(file, pixels)
    np.testing.assert_array_equal(to_uint8(load_image(file)), pixels)
    save_image(file, to_float(pixels))
    np.testing.assert_array_equal(load_image(file), to_float(pixels))


def test_a_saved_jpeg_is_near(tmp_path):
    """Nearer than Pillow's own settings would save it: these are off by up to 11 levels."""
    save_image(tmp_path / "x.jpeg", to_float(SMOOTH))
    error = as_levels(load_image(tmp_path / "x.jpeg")) - SMOOTH
    assert np.abs(error).max() < 4
    assert np.abs(error.mean((0, 1))).max() < 0.2


def test_saving_needs_a_known_suffix_an_existing_folder_and_an_image(tmp_path):
    with one_line("x.doc", ".png"):
        save_image(tmp_path / "x.doc", RGB)
    with one_line("x.png", "nowhere", "does not exist"):
        save_image(tmp_path / "nowhere" / "x.png", RGB)
    with one_line("x.png", "[-1, 1]"):
        save_image(tmp_path / "x.png", RGB.astype(np.float32))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch):
    file = tmp_path / "x.png"
    save_image(file, RGB)
    before = file.read_bytes()

    def full_disk(self, content):
        with open(self, "wb") as stream:
            stream.write(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with one_line("x.png", "No space left"):
        save_image(file, 255 - RGB)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_saving_onto_a_folder_is_refused(tmp_path):
    (tmp_path / "x.png").mkdir()
    with one_line("x.png"):
        save_image(tmp_path / "x.png", RGB)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.png"]


# -- masks from files -------------------------------------------------------------------------------------

HOLE = np.zeros((24, 32), bool)
HOLE[5:15, 7:21] = True


def assert_is_hole(mask, hole=HOLE):
    assert mask.dtype == np.float32
    assert mask.shape == (*hole.shape, 1)
    np.testing.assert_array_equal(mask[..., 0], hole.astype(np.float32))


@pytest.mark.parametrize(
    ("picture", "suffix"),
    [
        pytest.param(Image.fromarray(HOLE), "png", id="one bit"),
        pytest.param(Image.fromarray(np.uint8(255) * HOLE), "png", id="grey"),
        pytest.param(Image.fromarray(np.uint8(1) * HOLE), "png", id="labels 0 and 1"),
        pytest.param(Image.fromarray(np.uint8(255) * HOLE), "jpg", id="jpeg"),
        pytest.param(Image.fromarray(np.where(HOLE, 220, 30).astype(np.uint8)), "png", id="pale and dark"),
        pytest.param(Image.fromarray(np.uint16(65535) * HOLE), "png", id="16 bits"),
        pytest.param(Image.fromarray(np.float32(1) * HOLE), "tif", id="float"),
        pytest.param(Image.fromarray(np.uint8(255) * np.dstack([HOLE] * 3)), "bmp", id="colour"),
        pytest.param(Image.fromarray(np.dstack([255 * np.uint8(HOLE)] * 3 + [np.full(HOLE.shape, 255, np.uint8)])),
                     "png", id="opaque alpha says nothing"),
        pytest.param(Image.fromarray(np.dstack([255 * np.uint8(HOLE)] * 3 + [np.full(HOLE.shape, 0, np.uint8)])),
                     "png", id="all-transparent alpha says nothing"),
        pytest.param(Image.fromarray(np.dstack([np.resize(RGB, (*HOLE.shape, 3)), 255 * np.uint8(~HOLE)])),
                     "png", id="rubbed out with an eraser"),
        pytest.param(Image.fromarray(np.dstack([np.full((*HOLE.shape, 3), (200, 0, 40), np.uint8),
                     255 * np.uint8(HOLE)])), "png", id="red paint on an empty layer"),
        pytest.param(Image.fromarray(np.dstack([np.full((*HOLE.shape, 3), 255, np.uint8), 255 * np.uint8(HOLE)])),
                     "png", id="white paint on an empty layer"),
    ],
)  # fmt: skip
def test_white_or_transparent_is_hole(picture, suffix, tmp_path):
    picture.save(tmp_path / f"mask.{suffix}")
    mask = load_mask(tmp_path / f"mask.{suffix}")
    assert_is_hole(mask)
    np.testing.assert_array_equal(load_mask(tmp_path / f"mask.{suffix}", invert=True), 1 - mask)


def test_jpeg_noise_does_not_tear_a_mask(tmp_path):
    Image.fromarray(np.uint8(255) * HOLE).save(tmp_path / "mask.jpg", quality=30)
    noisy = to_uint8(load_image(tmp_path / "mask.jpg"))
    assert len(np.unique(noisy)) > 2  # there is noise to withstand
    assert_is_hole(load_mask(tmp_path / "mask.jpg"))


def test_what_is_no_mask_or_could_mean_two_things_is_refused(tmp_path):
    """As `inpaint` refuses it: one set of rules."""
    Image.fromarray(RGB).save(tmp_path / "photo.png")
    with one_line("photo.png", "looks like a photograph"):
        load_mask(tmp_path / "photo.png")
    black = np.dstack([np.zeros((*HOLE.shape, 3), np.uint8), 255 * np.uint8(HOLE)])
    Image.fromarray(black).save(tmp_path / "black.png")
    with one_line("black.png", "paint on an empty layer, or a picture with a part erased"):
        load_mask(tmp_path / "black.png")


def test_a_mask_without_a_hole_can_be_read(tmp_path):
    Image.new("L", (W, H), 0).save(tmp_path / "black.png")
    assert_is_hole(load_mask(tmp_path / "black.png"), np.zeros((H, W), bool))
