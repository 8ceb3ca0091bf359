"""AVIF, HEIC and JPEG XL: known pixels, profile, EXIF and transparency survive; what does not is told in one line."""

import contextlib
import io
import sys

import imagecodecs
import numpy as np
import pytest
from image_cases import one_line
from PIL import Image, ImageCms

import ca_numpy
from ca_numpy.data import load_image, plugins
from ca_numpy.data.photo import read_photo
from ca_numpy.errors import UserError
from ca_numpy.filling import inpaint_folder, inpaint_photo

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MASK = np.zeros((40, 48), bool)
MASK[12:22, 10:30] = True


def picture(mode="RGB"):
    """Smooth, since two of the formats lose noise; the alpha channel has two values."""
    rows, columns = np.mgrid[:40, :48]
    layers = [rows * 5, columns * 5, rows + columns, np.where(columns < 24, 255, 40)]
    chosen = {"L": [0], "LA": [0, 3], "RGB": [0, 1, 2], "RGBA": [0, 1, 2, 3]}[mode]
    return np.stack([layers[n] for n in chosen], -1).astype(np.uint8).squeeze()


def notes():
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    return exif


@pytest.fixture
def heif():
    pillow_heif = pytest.importorskip("pillow_heif", reason="pip install 'ca-numpy[heic]'")
    pillow_heif.register_heif_opener()
    return pillow_heif


@pytest.fixture
def jxl():
    return pytest.importorskip("pillow_jxl", reason="pip install 'ca-numpy[jxl]'")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_avif_is_written_with_what_it_holds(tmp_path, mode):
    Image.fromarray(picture(mode)).save(tmp_path / "in.png", exif=notes(), icc_profile=None if mode == "L" else SRGB)
    photo = inpaint_photo(tmp_path / "in.png", MASK, method="mean")
    (lost,) = photo.save(tmp_path / "out.avif")
    assert "with loss" in lost
    again = read_photo(tmp_path / "out.avif")
    assert again.lost == ()
    assert again.array().shape == photo.array().shape
    assert np.abs(again.array().astype(int) - photo.array())[~MASK].max() <= 8
    assert again.profile == photo.profile
    with Image.open(tmp_path / "out.avif") as image:
        assert image.format == "AVIF"
        assert image.getexif()[0x010F] == "a camera"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_from_avif_and_heic_are_upright(tmp_path, heif, orientation):
    for suffix in (".avif", ".heic"):
        exif = notes()
        exif[0x0112] = orientation
        Image.fromarray(picture()).save(tmp_path / f"in{suffix}", exif=exif.tobytes(), quality=95)
        Image.fromarray(picture()).save(tmp_path / "in.png", exif=exif.tobytes())
        shown, expected = read_photo(tmp_path / f"in{suffix}"), read_photo(tmp_path / "in.png")
        assert np.abs(shown.array().astype(int) - expected.array()).max() <= 16
        assert np.abs(load_image(tmp_path / f"in{suffix}") - load_image(tmp_path / "in.png")).max() <= 16 / 127


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_heic_gives_a_png_with_its_known_pixels_and_notes(tmp_path, heif, mode):
    source = Image.fromarray(picture(mode))
    source.save(tmp_path / "in.heic", exif=notes().tobytes(), icc_profile=None if mode == "L" else SRGB, quality=95)
    with Image.open(tmp_path / "in.heic") as image:
        decoded = np.asarray(image)
    photo = inpaint_photo(tmp_path / "in.heic", MASK, method="mean")
    assert (photo.suffix, photo.lost) == (".png", ())
    assert photo.save(tmp_path / "out.png") == ()
    with Image.open(tmp_path / "out.png") as image:
        np.testing.assert_array_equal(np.asarray(image)[~MASK], decoded[~MASK])
        assert image.getexif()[0x010F] == "a camera"
        assert image.info.get("icc_profile") == (None if mode == "L" else SRGB)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_jpeg_xl_gives_a_png_with_its_pixels_and_notes(tmp_path, jxl, mode):
    source = picture(mode)
    Image.fromarray(source).save(tmp_path / "in.jxl", lossless=True, exif=notes().tobytes())
    photo = inpaint_photo(tmp_path / "in.jxl", MASK, method="mean")
    assert (photo.suffix, photo.lost) == (".png", ())
    assert photo.save(tmp_path / "out.png") == ()
    with Image.open(tmp_path / "out.png") as image:
        np.testing.assert_array_equal(np.asarray(image)[~MASK], source[~MASK])
        assert image.getexif()[0x010F] == "a camera"


def test_a_jpeg_xl_is_turned_by_its_codestream_and_not_by_exif(tmp_path, jxl):
    """ISO/IEC 18181-2: EXIF's orientation does not count, except in a JPEG that was packed without loss."""
    exif = notes()
    exif[0x0112] = 6
    Image.fromarray(picture()).save(tmp_path / "in.jpg", exif=exif.tobytes())
    Image.fromarray(picture()).save(tmp_path / "pixels.jxl", lossless=True, exif=exif.tobytes())
    with Image.open(tmp_path / "in.jpg") as image:
        image.save(tmp_path / "packed.jxl", lossless_jpeg=True)
    np.testing.assert_array_equal(read_photo(tmp_path / "pixels.jxl").array(), picture())
    packed, jpeg = (read_photo(tmp_path / name).array() for name in ("packed.jxl", "in.jpg"))
    assert np.abs(packed.astype(int) - jpeg).max() <= 3
    np.testing.assert_array_equal(load_image(tmp_path / "pixels.jxl").shape, (40, 48, 3))


@pytest.mark.parametrize("bits", [10, 12])
def test_the_depth_that_readers_drop_is_told(tmp_path, heif, jxl, bits):
    deep = (picture().astype(np.uint16) << (bits - 8)) + 1
    (tmp_path / "in.avif").write_bytes(imagecodecs.avif_encode(deep, level=90, bitspersample=bits))
    (tmp_path / "in.jxl").write_bytes(imagecodecs.jpegxl_encode(deep, lossless=True, bitspersample=bits))
    heif.options.SAVE_HDR_TO_12_BIT = bits == 12
    file = heif.from_bytes("RGB;16", deep.shape[1::-1], (deep << (16 - bits)).tobytes())
    file.save(tmp_path / "in.heic", quality=95)
    heif.options.SAVE_HDR_TO_12_BIT = False
    for name in ("in.avif", "in.heic", "in.jxl"):
        photo = inpaint_photo(tmp_path / name, MASK, method="mean")
        assert photo.lost == (f"{bits - 8} of its {bits} bits a sample: its reader gives 8",)
        assert photo.array().dtype == np.uint8
        assert np.abs(photo.array().astype(int) - picture())[~MASK].max() <= 8


@pytest.mark.parametrize(
    "size", [(1, 1), (2, 3), (16, 16), (40, 48), (31, 37), (512, 512), (300, 400), (3, 4096), (600, 2)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_size_of_a_jpeg_xl_is_known_before_it_is_decoded(size, dtype):
    samples = np.zeros((*size, 3), dtype)
    content = imagecodecs.jpegxl_encode(samples, lossless=True)
    assert plugins._jxl_header(content) == (size[1], size[0], 8 * samples.itemsize)


def test_the_limit_of_pixels_holds_for_jpeg_xl_too(tmp_path, jxl, monkeypatch):
    Image.fromarray(picture()).save(tmp_path / "in.jxl", lossless=True)
    monkeypatch.setattr(jxl.JpegXLImagePlugin, "Decoder", None)  # it must not come to this
    with one_line("in.jxl", "48×40 pixels, more than 1000"):
        read_photo(tmp_path / "in.jxl", max_pixels=1000)


@pytest.mark.parametrize(
    ("content", "plugin", "extra"),
    [
        (b"\0\0\0\x18ftypheic" + bytes(50), "pillow_heif", "ca-numpy[heic]"),
        (b"\xff\x0a" + bytes(50), "pillow_jxl", "ca-numpy[jxl]"),
        (plugins._JXL_BOX + bytes(50), "pillow_jxl", "ca-numpy[jxl]"),
    ],
)
def test_a_missing_plugin_names_its_extra(tmp_path, monkeypatch, content, plugin, extra):
    (tmp_path / "in.png").write_bytes(content)
    monkeypatch.setitem(sys.modules, plugin, None)
    with one_line("in.png", f"pip install '{extra}'"):
        read_photo(tmp_path / "in.png")


@pytest.mark.parametrize("suffix", [".avif", ".heic", ".jxl"])
def test_damaged_files_raise_no_other_error(tmp_path, heif, jxl, suffix):
    good = io.BytesIO()
    Image.fromarray(picture()).save(good, {".avif": "AVIF", ".heic": "HEIF", ".jxl": "JXL"}[suffix])
    whole, rng = good.getvalue(), np.random.default_rng(0)
    for n in range(60):
        content = bytearray(whole[: rng.integers(13, len(whole))] if n % 2 else whole)
        for at in rng.integers(12, len(content), 3):
            content[at] = rng.integers(256)
        (tmp_path / f"in{suffix}").write_bytes(content)
        with contextlib.suppress(UserError):
            read_photo(tmp_path / f"in{suffix}")


def test_folders_find_them(tmp_path, heif, jxl):
    for name in ("a.avif", "b.heic", "c.jxl"):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.fromarray(picture()).save(tmp_path / "pictures" / name)
    report = inpaint_folder(tmp_path / "pictures", None, tmp_path / "out", boxes=[(4, 4, 8, 8)], method="mean")
    assert report.filled == {"a.avif": "a.png", "b.heic": "b.png", "c.jxl": "c.png"}
    assert len(ca_numpy.data.open_dataset(str(tmp_path / "pictures"))) == 3
