"""What a stranger's file says of its picture is written to every format, or left out and told; it never fails."""

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from ca_numpy.data import read_photo
from ca_numpy.data.images import WRITABLE

PIXELS = np.arange(8 * 9 * 3, dtype=np.uint8).reshape(8, 9, 3)


def saved(path, **options):
    Image.fromarray(PIXELS).save(path, **options)
    return read_photo(path)


def saved_everywhere(photo, folder):
    """What each format could not keep."""
    lost = {suffix: "; ".join(photo.save(folder / f"out{suffix}")) for suffix in WRITABLE}
    for suffix in (".png", ".tif", ".webp", ".bmp", ".ppm"):
        with Image.open(folder / f"out{suffix}") as written:
            np.testing.assert_array_equal(np.asarray(written), PIXELS)
    return lost


def test_more_exif_than_a_jpeg_holds_is_told(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "x" * 100_000
    lost = saved_everywhere(saved(tmp_path / "a.png", exif=exif), tmp_path)
    assert "its EXIF notes: JPEG holds 64 kB" in lost[".jpg"]
    assert "EXIF" not in lost[".png"]
    with Image.open(tmp_path / "out.png") as written:
        assert len(written.getexif()[0x010E]) == 100_000


@pytest.mark.parametrize("dpi", [1e-30, 1e8, 4e9])
def test_a_resolution_that_no_format_can_write_is_none(tmp_path, dpi):
    photo = saved(tmp_path / "a.tif", resolution=dpi)
    assert photo.resolution is None
    saved_everywhere(photo, tmp_path)


def test_texts_that_are_no_png_s_are_left_out_and_told(tmp_path):
    notes = PngImagePlugin.PngInfo()
    for key in (b"title", b"", b"k" * 200, "ключ".encode()):
        notes.add(b"tEXt", key + b"\0a value")
    notes.add(b"iTXt", b"of two parts\0\0\0\0\0a\0b")
    photo = saved(tmp_path / "a.png", pnginfo=notes)
    assert photo.text["title"] == "a value"
    assert photo.lost == ("texts that are no PNG's",)
    saved_everywhere(photo, tmp_path)
    with Image.open(tmp_path / "out.png") as written:
        assert written.text == photo.text


@pytest.mark.parametrize("number", [0, 300, 65_535])
def test_quantisation_that_a_baseline_jpeg_cannot_have_is_not_taken_over(tmp_path, capfd, number):
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", qtables=[[50] * 64])
    data = (tmp_path / "a.jpg").read_bytes()
    at = data.index(b"\xff\xdb")
    table = b"\xff\xdb" + (2 + 129).to_bytes(2) + b"\x10" + number.to_bytes(2) * 64
    (tmp_path / "a.jpg").write_bytes(data[:at] + table + data[at + 2 + int.from_bytes(data[at + 2 : at + 4]) :])
    photo = read_photo(tmp_path / "a.jpg")
    assert not photo.encoding
    photo.save(tmp_path / "out.jpg")
    assert not capfd.readouterr().err
