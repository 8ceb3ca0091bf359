"""What a picture file claims is checked before it is decoded, and decoders say nothing beside the one line."""

import io
import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tifffile
from PIL import Image, TiffImagePlugin

from ca_numpy.cli import main
from ca_numpy.data import (
    ImageFolder,
    Photographs,
    Textures,
    claims,
    load_image,
    load_mask,
    load_pixels,
    open_split,
    read_photo,
)
from ca_numpy.data.claims import MOST_PIXELS
from ca_numpy.errors import UserError
from ca_numpy.filling import inpaint, inpaint_folder

READERS = {"image": load_image, "mask": load_mask, "photo": read_photo}


def png(width, height, *, bits=8, colour=0, pixels=b""):
    def chunk(kind, content):
        return struct.pack(">I4s", len(content), kind) + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize(("bits", "colour"), [(1, 0), (8, 0), (8, 2), (8, 3), (16, 0), (16, 6)])
def test_a_png_whose_bytes_cannot_hold_its_pixels_is_refused(tmp_path, read, bits, colour):
    """117 bytes that claim 9450² pixels took 4 GB."""
    (tmp_path / "a.png").write_bytes(png(8900, 8900, bits=bits, colour=colour))
    with pytest.raises(UserError, match=r"a\.png.*cannot be in \d+ bytes"):
        read(tmp_path / "a.png")


def test_a_flat_picture_is_not_taken_for_a_bomb(tmp_path):
    Image.new("1", (6000, 6000), 1).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 20_000
    assert read_photo(tmp_path / "a.png").samples.shape == (6000, 6000, 1)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "bmp", "gif"])
def test_more_pixels_than_allowed_are_refused_and_the_way_is_named(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", (30, 20)).save(path)
    for read in (lambda: read_photo(path, max_pixels=599), lambda: inpaint(path, boxes=[(1, 1, 2, 2)], max_pixels=599)):
        with pytest.raises(UserError, match=r"30×20 pixels, more than 599.*allow 600 by max_pixels \(--max-pixels"):
            read()
    assert read_photo(path, max_pixels=600).samples.shape == (20, 30, 3)
    monkeypatch.setenv("CA_NUMPY_MAX_PIXELS", "5_99")
    with pytest.raises(UserError, match="CA_NUMPY_MAX_PIXELS"):
        load_image(path)
    monkeypatch.setenv("CA_NUMPY_MAX_PIXELS", "many")
    with pytest.raises(UserError, match="number of pixels"):
        load_image(path)


def test_the_mask_and_every_picture_of_a_folder_are_limited_too(tmp_path):
    for folder, size in (("pictures", (30, 20)), ("masks", (31, 20))):
        (tmp_path / folder).mkdir()
        Image.new("RGB", size).save(tmp_path / folder / "a.png")
    report = inpaint_folder(tmp_path / "pictures", tmp_path / "masks", tmp_path / "out", method="mean", max_pixels=600)
    assert "31×20 pixels, more than 600" in report.failed["a.png"]
    report = inpaint_folder(tmp_path / "pictures", tmp_path / "masks", tmp_path / "out", method="mean", max_pixels=599)
    assert "30×20 pixels, more than 599" in report.failed["a.png"]


def test_a_telephones_108_megapixels_are_a_choice(tmp_path):
    assert MOST_PIXELS < 108_000_000
    header = png(12_000, 9000)
    (tmp_path / "a.png").write_bytes(header)
    with pytest.raises(UserError, match=r"more than 80000000.*allow 108000000"):
        read_photo(tmp_path / "a.png")
    before = Image.MAX_IMAGE_PIXELS
    (tmp_path / "a.png").write_bytes(png(30_000, 9000))
    with pytest.raises(UserError, match="cannot be in"):  # past the limit, and Pillow's own
        read_photo(tmp_path / "a.png", max_pixels=10**9)
    assert before == Image.MAX_IMAGE_PIXELS


def progressive(scans, size):
    """A JPEG with its last scan repeated, which changes nothing."""
    out = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), 128, np.uint8)).save(out, "JPEG", progressive=True)
    whole = out.getvalue()
    start, end = whole.rindex(b"\xff\xda"), whole.rindex(b"\xff\xd9")
    return whole[:end] + whole[start:end] * (scans - whole.count(b"\xff\xda")) + whole[end:]


def test_a_jpeg_of_many_scans_is_refused_before_it_takes_minutes(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(progressive(1000, 1100))
    with pytest.raises(UserError, match="JPEG of 1000 scans"):
        read_photo(path)
    path.write_bytes(progressive(100, 200))
    assert read_photo(path).samples.shape == (200, 200, 3)


def test_thumbnails_and_second_pictures_are_no_scans(tmp_path):
    segment = (b"\xff\xda" * 5000)[:60_000]
    out = io.BytesIO()
    picture = Image.new("RGB", (3000, 3000))
    picture.save(out, "JPEG", comment=segment)
    (tmp_path / "a.jpg").write_bytes(out.getvalue() + segment)
    assert read_photo(tmp_path / "a.jpg").samples.shape == (3000, 3000, 3)


def test_a_tiff_of_many_channels_or_of_pixels_it_cannot_hold_is_refused(tmp_path):
    samples = np.zeros((8, 8, 500), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", samples, photometric="minisblack", planarconfig="contig")
    with pytest.raises(UserError, match="500 channels"):
        read_photo(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((8, 8), np.uint16), compression="zlib")
    data = (tmp_path / "b.tif").read_bytes()
    for tag in (256, 257):
        at = data.index(struct.pack("<H", tag)) + 8
        data = data[:at] + struct.pack("<I", 8000) + data[at + 4 :]
    (tmp_path / "b.tif").write_bytes(data)
    with pytest.raises(UserError, match="cannot be in"):
        read_photo(tmp_path / "b.tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiles_much_larger_than_the_picture_are_refused(tmp_path, dtype):
    samples = np.arange(64, dtype=dtype).reshape(8, 8)
    tifffile.imwrite(tmp_path / "a.tif", samples, compression="zlib", tile=(256, 256))
    np.testing.assert_array_equal(read_photo(tmp_path / "a.tif").samples[..., 0], samples)
    data = (tmp_path / "a.tif").read_bytes()
    at = data.index(struct.pack("<H", 322)) + 8
    (tmp_path / "a.tif").write_bytes(data[:at] + struct.pack("<I", 2**32 - 1) + data[at + 4 :])
    with pytest.raises(UserError, match="its tiles have 4294967295"):
        read_photo(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", ["tiff_deflate", "tiff_lzw"])
def test_decoders_say_nothing_beside_the_one_line(tmp_path, capfd, compression):
    path = tmp_path / "a\x1b[31m.tif"
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, compression=compression)
    data = bytearray(path.read_bytes())
    data[200:600] = b"\xff" * 400
    path.write_bytes(data)
    assert main(["inpaint", str(path), "--box", "1,2,3,4", "--method", "mean"]) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert said.rstrip("\n").isprintable()
    assert "\\x1b[31m.tif" in said


def test_decoding_in_other_threads_swallows_nothing(tmp_path, capfd, monkeypatch):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.tif", compression="tiff_lzw")
    load = TiffImagePlugin.TiffImageFile.load

    def speaking(self):
        if self.tile:  # not decoded yet
            os.write(2, b"step 7\n")
        return load(self)

    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "load", speaking)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(read_photo, tmp_path / "a.tif").result()
    assert "step 7" in capfd.readouterr().err
    read_photo(tmp_path / "a.tif")
    assert not capfd.readouterr().err


def test_a_closed_stderr_is_no_error(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.tif", compression="tiff_lzw")
    kept = os.dup(2)
    try:
        os.close(2)
        assert read_photo(tmp_path / "a.tif").samples.shape == (8, 8, 3)
    finally:
        os.dup2(kept, 2)
        os.close(kept)


# -- sizes from headers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.ppm", "a.tif", "a.gif"])
@pytest.mark.parametrize("orientation", [1, 2, 4, 5, 6, 8])
def test_a_size_in_a_header_is_that_of_the_pixels(tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {} if kind in ("a.bmp", "a.ppm", "a.gif") else {"exif": exif}
    Image.new("RGB", (30, 20), "red").save(tmp_path / kind, **options)
    known = claims.shape(tmp_path / kind)
    assert known is None if kind in ("a.tif", "a.gif") else known == load_pixels(tmp_path / kind).shape[:2]
    assert ImageFolder(tmp_path).shape(0) == load_pixels(tmp_path / kind).shape[:2]


def test_a_size_is_known_without_decoding_and_not_where_there_is_no_picture(tmp_path, monkeypatch):
    (tmp_path / "cut.png").write_bytes(png(30, 20)[:60])
    (tmp_path / "no.png").write_bytes(b"no picture")
    os.mkfifo(tmp_path / "pipe.png")
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
        assert claims.shape(tmp_path / "cut.png") == (20, 30)
    for name in ("no.png", "pipe.png", "nothing.png"):
        assert claims.shape(tmp_path / name) is None
    with pytest.raises(UserError, match=r"no\.png"):
        ImageFolder(tmp_path, names=["no.png"]).shape(0)


def test_every_dataset_knows_the_sizes_of_its_pictures():
    both = open_split("photographs+textures", validation=0.3).train
    for dataset in (Photographs(), Textures(3, size=16), both):
        for index in range(0, len(dataset), max(len(dataset) // 7, 1)):
            assert dataset.shape(index) == dataset.pixels(index).shape[:2]
