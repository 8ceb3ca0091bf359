"""What goes into a file comes out of it: only the hole changes. Files are written and read back by other libraries."""

import imagecodecs
import numpy as np
import pytest
import tifffile
from image_cases import one_line
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

import ca_numpy
from ca_numpy.data import load_image
from ca_numpy.data.photo import photo_of, read_photo
from ca_numpy.errors import UserError
from ca_numpy.filling import inpaint_details, inpaint_photo

SIZES = [(1, 2), (2, 3), (15, 17), (16, 16), (31, 37), (3, 4096)]
#: Mode of the samples: number of channels, dtype.
MODES = {
    "1": (1, bool), "L": (1, np.uint8), "LA": (2, np.uint8), "RGB": (3, np.uint8), "RGBA": (4, np.uint8),
    "L16": (1, np.uint16), "LA16": (2, np.uint16), "RGB16": (3, np.uint16), "RGBA16": (4, np.uint16),
    "float": (1, np.float32), "RGBfloat": (3, np.float32),
}  # fmt: skip
FORMATS = {
    ".png": [mode for mode in MODES if "float" not in mode],
    ".tif": list(MODES),
    ".webp": ["RGB", "RGBA"],
    ".bmp": ["1", "L", "RGB"],
    ".ppm": ["L", "RGB"],
}
CASES = [(suffix, mode) for suffix, modes in FORMATS.items() for mode in modes]


def samples_of(mode, size, seed=0):
    channels, dtype = MODES[mode]
    rng, shape = np.random.default_rng(seed), (*size, channels) if channels > 1 else size
    if dtype is np.float32:
        return rng.random(shape, np.float32)
    return rng.integers(0, 2 if dtype is bool else np.iinfo(dtype).max, shape).astype(dtype)


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def wide_profile():
    """A profile of our own whose red and green are swapped and whose gamma is 1.8: far from sRGB."""
    plain = bytearray(SRGB)
    count = int.from_bytes(plain[128:132], "big")
    entries = {bytes(plain[132 + 12 * n : 136 + 12 * n]): 132 + 12 * n for n in range(count)}
    red, green = entries[b"rXYZ"], entries[b"gXYZ"]
    plain[red : red + 4], plain[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(plain)


def exif():
    notes = Image.Exif()
    notes[0x010F] = "a camera"
    notes.get_ifd(0x8769)[0x9003] = "2026:01:02 03:04:05"
    return notes


def write(path, mode, samples, **notes):
    if path.suffix == ".tif" and (samples.dtype not in (np.uint8, bool)):
        alpha = {"extrasamples": ["unassalpha"]} if samples.ndim == 3 and samples.shape[-1] in (2, 4) else {}
        grey = samples.ndim == 2 or samples.shape[-1] == 2
        planes = {"planarconfig": "contig"} if samples.ndim == 3 else {}
        kind = "minisblack" if grey else "rgb"
        tifffile.imwrite(path, samples, photometric=kind, iccprofile=notes.get("icc_profile"), **planes, **alpha)
    elif samples.dtype == np.uint16:
        path.write_bytes(imagecodecs.png_encode(samples))
    else:
        if path.suffix == ".webp":
            notes |= {"lossless": True, "exact": True}
        Image.fromarray(samples).save(path, **notes)


def raw(path):
    """The samples of a file by an independent reader."""
    content = path.read_bytes()
    if path.suffix == ".png" and content[24] == 16:
        return imagecodecs.png_decode(content)
    if path.suffix == ".tif":
        return tifffile.imread(path)
    with Image.open(path) as image:
        return np.asarray(image)


def holes(size):
    """Masks of a size that leave a pixel known: one pixel, a border, a block, and all but one pixel."""
    height, width = size
    masks = [np.zeros(size, bool) for _ in range(4)]
    masks[0][-1, -1] = True
    masks[1][:, -1] = True
    masks[2][height // 3 : 2 * height // 3 + 1, width // 3 : 2 * width // 3 + 1] = True
    masks[3][:] = True
    masks[3][0, 0] = False
    return [mask for mask in masks if not mask.all()]


@pytest.mark.parametrize(("suffix", "mode"), CASES)
def test_known_samples_are_those_of_the_file_whatever_the_mode_the_size_and_the_hole(tmp_path, suffix, mode):
    for size in SIZES:
        source = samples_of(mode, size)
        write(tmp_path / f"in{suffix}", mode, source)
        before = raw(tmp_path / f"in{suffix}")
        np.testing.assert_array_equal(before, source)
        for mask in holes(size):
            photo = inpaint_photo(tmp_path / f"in{suffix}", mask, method="mean")
            assert photo.suffix == suffix
            out = tmp_path / f"out{suffix}"
            assert photo.lost + photo.save(out) == ()
            after = raw(out)
            assert after.dtype == before.dtype
            assert after.shape == before.shape
            np.testing.assert_array_equal(after[~mask], before[~mask])
            if (suffix, mode) not in ((".tif", "LA16"), (".tif", "RGBfloat")):  # which Pillow cannot open
                with Image.open(tmp_path / f"in{suffix}") as old, Image.open(out) as new:
                    assert old.mode == new.mode
                    assert old.format == new.format


#: How a hole is given: the mask's array in its file, or None, and the options. `source` is H W 3, uint8.
MASKS = {
    "0 and 255": lambda hole, source: (hole * np.uint8(255), {}),
    "0 and 1": lambda hole, source: (hole.astype(np.uint8), {}),
    "16 bits": lambda hole, source: (hole * np.uint16(65535), {}),
    "black and white": lambda hole, source: (hole, {}),
    "inverted": lambda hole, source: (~hole * np.uint8(255), {"invert": True}),
    "erased": lambda hole, source: (np.dstack([source, ~hole * np.uint8(255)]), {"mask_kind": "transparent"}),
    "painted": lambda hole, source: (np.dstack([source * 0 + 200, hole * np.uint8(255)]), {"mask_kind": "paint"}),
    "difference": lambda hole, source: (
        np.where(hole[..., None], source ^ 255, source), {"mask_kind": "difference"},
    ),
    "boxes": lambda hole, source: (
        None, {"boxes": [(int(x), int(y), 1, 1) for y, x in zip(*np.nonzero(hole), strict=True)]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
@pytest.mark.parametrize("kind", MASKS)
def test_known_samples_and_notes_survive_whatever_marks_the_hole(tmp_path, suffix, mode, kind):
    if (kind, mode) == ("difference", "RGBA"):
        pytest.skip("the copy has no transparency to compare")
    profile = {"icc_profile": wide_profile()}
    notes = {"exif": exif().tobytes()} if suffix != ".tif" else {}
    for size in SIZES:
        source = samples_of(mode, size)
        colours = source[..., :3] & np.uint8(0x7F)
        if kind == "difference":
            source = colours.copy()
        write(tmp_path / f"in{suffix}", mode, source, **profile, **notes)
        for hole in holes(size)[:3]:
            drawn, options = MASKS[kind](hole, colours)
            mask = None if drawn is None else tmp_path / "mask.png"
            if drawn is not None:
                write(tmp_path / "mask.png", "", drawn, **(profile if kind == "difference" else {}))
            photo = inpaint_photo(tmp_path / f"in{suffix}", mask, method="mean", **options)
            assert photo.lost + photo.save(tmp_path / f"out{suffix}") == ()
            np.testing.assert_array_equal(raw(tmp_path / f"out{suffix}")[~hole], source[~hole])
            with Image.open(tmp_path / f"in{suffix}") as old, Image.open(tmp_path / f"out{suffix}") as new:
                assert (new.mode, new.size, new.format) == (old.mode, old.size, old.format)
                assert new.info["icc_profile"] == wide_profile()
                assert suffix == ".tif" or new.getexif()[0x010F] == "a camera"


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_picture_of_one_pixel_has_no_known_one_to_fill_from(tmp_path, suffix):
    write(tmp_path / f"in{suffix}", "RGB", samples_of("RGB", (1, 1)))
    with one_line("all hole"):
        inpaint_photo(tmp_path / f"in{suffix}", np.ones((1, 1), bool), method="mean")
    with one_line("no hole"):
        inpaint_photo(tmp_path / f"in{suffix}", np.zeros((1, 1), bool), method="mean")
    assert read_photo(tmp_path / f"in{suffix}").save(tmp_path / f"out{suffix}") == ()
    np.testing.assert_array_equal(raw(tmp_path / f"out{suffix}"), raw(tmp_path / f"in{suffix}"))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "L16", "RGB16", "RGBA16"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_a_profile_that_networks_do_not_know_is_kept_and_the_colours_too(tmp_path, suffix, mode):
    if mode not in FORMATS[suffix]:
        pytest.skip("the format has no such mode")
    source, mask = samples_of(mode, (20, 24)), holes((20, 24))[2]
    write(tmp_path / f"in{suffix}", mode, source, icc_profile=wide_profile())
    if source.dtype == np.uint16 and suffix == ".png":  # written again by the library itself, with the profile
        photo = read_photo(tmp_path / "in.png")
        object.__setattr__(photo, "profile", wide_profile())
        photo.save(tmp_path / "in.png")
    photo = inpaint_photo(tmp_path / f"in{suffix}", mask, method="mean")
    assert photo.save(tmp_path / f"out{suffix}") == ()
    with Image.open(tmp_path / f"out{suffix}") as image:
        assert image.info["icc_profile"] == wide_profile()
    np.testing.assert_array_equal(raw(tmp_path / f"out{suffix}")[~mask], source[~mask])


class _Seen:
    """A generator that notes what it is given, and returns red."""

    def __init__(self, model):
        self.model = model
        self.seen = None

    def __getattr__(self, name):
        return getattr(self.model, name)

    def complete(self, images, masks):
        self.seen = images
        done = self.model.complete(images, masks)
        red = np.zeros_like(images) + np.array([1, -1, -1], np.float32)
        return type(done)(*(type(y)(red) for y in done))


def test_the_network_sees_srgb_and_its_fill_is_turned_back(tmp_path, monkeypatch):
    """The profile's red is sRGB's green: what the network fills in red must be stored as green."""
    source = np.full((24, 24, 3), (255, 0, 0), np.uint8)
    write(tmp_path / "in.png", "RGB", source, icc_profile=wide_profile())
    seen = _Seen(ca_numpy.load())
    monkeypatch.setattr("ca_numpy.filling.inpainting.opened", lambda model: seen)
    mask = holes((24, 24))[2]
    result = inpaint_details(tmp_path / "in.png", mask, method="network", blend=False, backend="numpy").result
    known = seen.seen[0][~mask]
    assert (known[:, 1] > 0.9).all()
    assert (known[:, 0] < -0.9).all()
    assert (np.abs(result[mask].astype(int) - (0, 255, 0)) <= 3).all()


def test_exif_stays_without_the_orientation_and_the_thumbnail(tmp_path):
    source, notes = samples_of("RGB", (16, 24)), exif()
    for orientation in range(1, 9):
        notes[0x0112] = orientation
        for name in ("in.png", "in.webp", "in.jpg"):
            write(tmp_path / name, "RGB", source, exif=notes.tobytes())
            with Image.open(tmp_path / name) as image:
                shown = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
            mask = holes(shown.shape[:2])[2]
            photo = inpaint_photo(tmp_path / name, mask, method="mean")
            np.testing.assert_array_equal(photo.array()[~mask], shown[~mask])
            photo.save(tmp_path / f"out{photo.suffix}")
            with Image.open(tmp_path / f"out{photo.suffix}") as image:
                kept = image.getexif()
                assert 0x0112 not in kept
                assert kept[0x010F] == "a camera"
                assert kept.get_ifd(0x8769)[0x9003] == "2026:01:02 03:04:05"


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_mask_may_be_drawn_on_the_picture_as_stored_or_as_shown(tmp_path, orientation):
    notes, rng = exif(), np.random.default_rng(0)
    notes[0x0112] = orientation
    write(tmp_path / "in.png", "RGB", samples_of("RGB", (16, 24)), exif=notes.tobytes())
    stored = Image.fromarray(((rng.random((16, 24)) < 0.2) * 255).astype(np.uint8))
    stored.save(tmp_path / "stored.png")
    stored.getexif()[0x0112] = orientation
    shown = ImageOps.exif_transpose(stored)
    shown.getexif().clear()
    shown.save(tmp_path / "shown.png", exif=b"")
    results = [inpaint_photo(tmp_path / "in.png", tmp_path / f"{n}.png", method="mean") for n in ("stored", "shown")]
    np.testing.assert_array_equal(results[0].array(), results[1].array())


def test_text_and_resolution_are_kept(tmp_path):
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Author", "somebody")
    notes.add_itxt("Title", "Straße ☃")
    source, mask = samples_of("RGB", (16, 24)), holes((16, 24))[2]
    write(tmp_path / "in.png", "RGB", source, pnginfo=notes, dpi=(300, 200))
    inpaint_photo(tmp_path / "in.png", mask, method="mean").save(tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert image.text == {"Author": "somebody", "Title": "Straße ☃"}
        assert [round(float(n)) for n in image.info["dpi"]] == [300, 200]
    write(tmp_path / "in.tif", "RGB", source, dpi=(300, 200), compression="tiff_lzw")
    inpaint_photo(tmp_path / "in.tif", mask, method="mean").save(tmp_path / "out.tif")
    with Image.open(tmp_path / "out.tif") as image:
        assert image.info["compression"] == "tiff_lzw"
        assert [round(float(n)) for n in image.info["dpi"]] == [300, 200]


@pytest.mark.parametrize(("quality", "subsampling"), [(60, 2), (90, 1), (97, 0)])
def test_a_jpeg_is_written_as_it_was(tmp_path, quality, subsampling):
    write(tmp_path / "in.jpg", "RGB", samples_of("RGB", (32, 32)), quality=quality, subsampling=subsampling)
    photo = inpaint_photo(tmp_path / "in.jpg", holes((32, 32))[2], method="mean")
    assert photo.suffix == ".png"
    (lost,) = photo.save(tmp_path / "out.jpg")
    assert "loss" in lost
    with Image.open(tmp_path / "in.jpg") as old, Image.open(tmp_path / "out.jpg") as new:
        assert old.quantization == new.quantization
        assert old.layer == new.layer  # the sampling


@pytest.mark.parametrize(
    ("mode", "suffix", "said"),
    [
        ("RGBA", ".jpg", "transparency"), ("RGB16", ".jpg", "bits"), ("L16", ".webp", "bits"),
        ("RGBA", ".bmp", "white"),
        ("float", ".png", "bits"), ("RGBfloat", ".jpg", "bits"), ("RGBA16", ".ppm", "transparency"),
    ],
)  # fmt: skip
def test_what_a_format_cannot_hold_is_told_and_the_rest_is_near(tmp_path, mode, suffix, said):
    source, mask = samples_of(mode, (16, 24)), holes((16, 24))[2]
    name = tmp_path / ("in.tif" if "float" in mode else "in.png")
    write(name, mode, source)
    photo = inpaint_photo(name, mask, method="mean")
    lost = photo.save(tmp_path / f"out{suffix}")
    assert any(said in line for line in lost)
    assert all("\n" not in line for line in lost)
    if suffix != ".jpg":
        seen = load_image(tmp_path / f"out{suffix}")
        np.testing.assert_allclose(seen, photo.colours(), atol=1.01 / 127.5)


def test_a_profile_that_the_format_does_not_hold_becomes_srgb(tmp_path):
    source, mask = np.full((16, 24, 3), (255, 0, 0), np.uint8), holes((16, 24))[0]
    write(tmp_path / "in.png", "RGB", source, icc_profile=wide_profile())
    (lost,) = inpaint_photo(tmp_path / "in.png", mask, method="mean").save(tmp_path / "out.bmp")
    assert "profile" in lost
    assert (np.abs(raw(tmp_path / "out.bmp")[0, 0].astype(int) - (0, 255, 0)) <= 3).all()


def test_a_palette_becomes_colours_and_says_so(tmp_path):
    picture = Image.fromarray(samples_of("RGB", (16, 24))).quantize(16)
    picture.save(tmp_path / "in.png")
    photo = inpaint_photo(tmp_path / "in.png", holes((16, 24))[2], method="mean")
    assert "palette" in photo.lost[0]
    mask = holes((16, 24))[2]
    np.testing.assert_array_equal(photo.array()[~mask], np.asarray(picture.convert("RGB"))[~mask])


def test_cut_outs_keep_colours_under_transparency_and_their_edges_go_on_sharply(tmp_path):
    """The left half is transparent. In the hole across the edge the alpha channel is 0 or full, and no mean."""
    source = np.full((24, 24, 4), (200, 40, 40, 255), np.uint8)
    source[:, :12] = (10, 20, 30, 0)
    write(tmp_path / "in.png", "RGBA", source)
    mask = np.zeros((24, 24), bool)
    mask[8:16, 6:18] = True
    result = inpaint_photo(tmp_path / "in.png", mask, method="patchmatch").array()
    np.testing.assert_array_equal(result[~mask], source[~mask])
    alpha = result[..., 3]
    assert set(alpha[mask].tolist()) == {0, 255}
    assert (alpha[8:16, 6:9] == 0).all()
    assert (alpha[8:16, 15:18] == 255).all()
    shown = result[mask & (alpha == 255)][:, :3].astype(int)
    assert (np.abs(shown - (200, 40, 40)).max(-1) <= 2).mean() > 0.8


def test_grey_stays_grey_and_fills_have_the_luminance():
    grey = photo_of(np.zeros((2, 2), np.uint8))
    hole = np.array([[True, False], [False, False]])
    fill = np.broadcast_to(np.array([1, -1, -1], np.float32), (2, 2, 3))
    assert grey.filled(hole, fill).array().tolist() == [[76, 0], [0, 0]]  # 0.299 · 255


def test_a_tiff_in_planes_is_read_as_other_readers_do(tmp_path):
    for dtype in (np.uint8, np.uint16):
        rgb = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (3, 20, 24)).astype(dtype)
        tifffile.imwrite(tmp_path / "in.tif", rgb, photometric="rgb", planarconfig="separate")
        np.testing.assert_array_equal(read_photo(tmp_path / "in.tif").array(), rgb.transpose(1, 2, 0))
        seen = load_image(tmp_path / "in.tif")
        np.testing.assert_allclose(seen, rgb.transpose(1, 2, 0) / np.iinfo(dtype).max * 2 - 1, atol=1e-6)


# -- arrays -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(9, 11), (9, 11, 1), (9, 11, 2), (9, 11, 3), (9, 11, 4)])
def test_an_array_comes_back_with_its_shape_and_dtype(dtype, shape):
    rng = np.random.default_rng(0)
    image = rng.random(shape).astype(dtype) if np.dtype(dtype).kind == "f" else rng.integers(0, 255, shape, dtype)
    mask = holes(shape[:2])[2]
    filled = ca_numpy.inpaint(image, mask, method="mean")
    assert filled.dtype == dtype
    assert filled.shape == shape
    np.testing.assert_array_equal(filled[~mask], image[~mask])
    assert np.isfinite(filled).all()


def test_floats_and_bytes_of_the_same_picture_are_filled_alike():
    image, mask = samples_of("RGB", (24, 24)), holes((24, 24))[2]
    by_bytes = ca_numpy.inpaint(image, mask, method="mean")
    by_floats = ca_numpy.inpaint(image / 255, mask, method="mean")
    np.testing.assert_allclose(by_floats * 255, by_bytes, atol=0.51)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.full((8, 8, 3), -0.5), "(x + 1) / 2"), (np.full((8, 8, 3), 200.0), "divide"),
        (np.zeros((8, 8, 5)), "shape"),
        (np.zeros((8, 8, 3), np.int64), "int64"), (np.zeros((2, 8, 8, 3)), "one image"),
    ],
)  # fmt: skip
def test_other_arrays_are_refused_and_the_message_says_what_to_do(image, said):
    with one_line(said):
        ca_numpy.inpaint(image, holes((8, 8))[0])


def test_nan_may_mark_the_hole():
    image, mask = samples_of("RGBfloat", (12, 12)), holes((12, 12))[2]
    holed = np.where(mask[..., None], np.nan, image)
    expected = ca_numpy.inpaint(np.where(mask[..., None], 0, image), mask, method="mean")
    np.testing.assert_array_equal(ca_numpy.inpaint(holed, method="mean"), expected)
    np.testing.assert_array_equal(ca_numpy.inpaint(holed, mask, method="mean"), expected)
    with one_line("NaN"):
        ca_numpy.inpaint(holed, holes((12, 12))[0], method="mean")
    with one_line("no hole"):
        ca_numpy.inpaint(image, method="mean")


def test_damaged_notes_do_not_cost_the_picture(tmp_path):
    source, mask = samples_of("RGB", (16, 24)), holes((16, 24))[2]
    write(tmp_path / "in.png", "RGB", source, icc_profile=b"no profile at all", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    photo = inpaint_photo(tmp_path / "in.png", mask, method="mean")
    assert "profile" in photo.lost[0]
    photo.save(tmp_path / "out.png")
    np.testing.assert_array_equal(raw(tmp_path / "out.png")[~mask], source[~mask])
    with pytest.raises(UserError):
        photo.save(tmp_path / "out.unknown")
