"""Reading and writing pictures and masks.

Inside the library an image is RGB float32 in [-1, 1], H W 3, and a mask is float32, H W 1, 1 = hole. All knowledge
of the formats that cameras and image editors write is in this module.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ca_numpy.atomic import write_bytes
from ca_numpy.data import claims, deep, plugins
from ca_numpy.data.quiet import quiet_libraries, quiet_pillow
from ca_numpy.errors import UserError, reason
from ca_numpy.schemas import content

# Formats that are read, besides those of `plugins`. Not EPS: Pillow passes it to Ghostscript, which executes it.
READABLE = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "DIB", "TIFF", "GIF", "PPM", "JPEG2000", "ICO", "TGA", "PCX", "SGI")

# Format and options for each suffix. JPEG and AVIF have quality 95 without chroma subsampling, WebP is lossless.
WRITABLE: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"lossless": True, "exact": True}),
    ".bmp": ("BMP", {}),
    ".tif": ("TIFF", {}),
    ".tiff": ("TIFF", {}),
    ".ppm": ("PPM", {}),
    ".avif": ("AVIF", {"quality": 95, "subsampling": "4:4:4"}),
}

#: A file, or the content of one, as from standard input.
Source = str | os.PathLike[str] | io.BytesIO


def to_float(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert bytes to the networks' range: x / 127.5 − 1, float32 in [-1, 1]; any shape.

    Raises `UserError` for another dtype than uint8.
    """
    if pixels.dtype != np.uint8:
        raise UserError(f"to_float takes uint8 pixels, not {pixels.dtype}: floats need no conversion")
    image = pixels.astype(np.float32)
    image /= 127.5
    image -= 1
    return image


def to_uint8(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Convert the networks' range to bytes: round(127.5 (x + 1)), clipped to 0..255; any shape, finite values.

    The exact inverse of `to_float`. Raises `UserError` for a dtype that is not floating.
    """
    if not np.issubdtype(image.dtype, np.floating):
        raise UserError(f"to_uint8 takes floats in [-1, 1], not {image.dtype}")
    levels: NDArray[np.floating] = np.rint((image + 1) * 127.5)
    return levels.clip(0, 255).astype(np.uint8)


# -- reading ----------------------------------------------------------------------------------------------


def load_image(path: str | os.PathLike[str]) -> NDArray[np.float32]:
    """Read a picture from a file: RGB float32 in [-1, 1], H W 3.

    All pixel formats are supported: black and white, grey, palette, RGB, CMYK, YCbCr, LAB, 16-bit, 32-bit, float.
    The EXIF orientation is applied, and transparent pixels are composited over white. Only the first frame of an
    animation is read; colour profiles are ignored. Deep pixels are scaled by the smallest usual full scale that
    holds them: integers 255, 65535 or 2³¹ − 1 (16-bit files always 65535), floats 1, 255 or 65535.

    Raises `UserError`, naming the file, if it is missing, not an image, damaged, too large or not finite.
    """
    return _on_white(*_read(path))


def load_pixels(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read a picture as bytes, RGB uint8, H W 3: as `to_uint8(load_image(path))`, but usually faster.

    Raises `UserError` as `load_image` does.
    """
    colour, alpha = _read(path)
    return colour if colour.dtype == np.uint8 and alpha is None else to_uint8(_on_white(colour, alpha))


def _on_white(colour: NDArray[Any], alpha: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """The colours as float32 in [-1, 1], composited over white."""
    image = to_float(colour) if colour.dtype == np.uint8 else colour
    return image if alpha is None else image * alpha + (1 - alpha)


def _read(path: str | os.PathLike[str]) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
    """A file's colours, H W 3, uint8 or, if deeper, float32 in [-1, 1]; and its alpha channel, float32 in [0, 1],
    H W 1, or None."""
    with opened(path) as image:
        with contextlib.suppress(ImportError):  # without imagecodecs, 8 of 16 bits have to do
            if (samples := deep.decoded(image)) is not None:
                return _split(upright(samples, orientation(image)))
        load(image)
        with contextlib.suppress(Exception):  # a picture whose notes are damaged is a picture all the same
            ImageOps.exif_transpose(image, in_place=True)  # as it was seen, not as the camera was held
        if image.mode.startswith("I;16"):
            return _grey(np.asarray(image) / 65535), None
        if image.mode in ("I", "F"):
            return _grey(_unit(np.asarray(image))), None
        if image.has_transparency_data:
            pixels = np.asarray(image.convert("RGBA"))
            return pixels[..., :3], np.asarray(pixels[..., 3:] / 255, np.float32)
        return np.asarray(image.convert("RGB")), None


def _split(samples: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
    """Samples H W C, alpha last if C is even, as `_read` returns them."""
    colours, alpha = (samples[..., :-1], samples[..., -1:]) if samples.shape[-1] in (2, 4) else (samples, None)
    scale = full_scale(colours)
    share = None if alpha is None else np.asarray((alpha / scale).clip(0, 1), np.float32)
    if samples.dtype == np.uint8:
        return np.repeat(colours, 3 // colours.shape[-1], axis=-1), share
    unit = (colours / scale).clip(0, 1)
    return np.repeat((2 * unit - 1).astype(np.float32), 3 // colours.shape[-1], axis=-1), share


def upright(samples: NDArray[Any], orientation: int) -> NDArray[Any]:
    """H W C as stored -> as shown, for an EXIF orientation 1 to 8."""
    if orientation >= 5:
        samples = samples.swapaxes(0, 1)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return np.ascontiguousarray(samples[rows, columns])


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where a file has none, or a damaged one."""
    with contextlib.suppress(Exception):
        found = image.getexif().get(0x0112, 1)
        return int(found) if found in range(1, 9) else 1
    return 1


def _grey(unit: NDArray[Any]) -> NDArray[np.float32]:
    """Grey levels in [0, 1], H W, as RGB in [-1, 1], H W 3."""
    grey = (2 * unit - 1).astype(np.float32)
    return np.repeat(grey[..., None], 3, axis=-1)


def _unit(values: NDArray[Any]) -> NDArray[np.float64]:
    """Deep grey levels of unknown full scale, scaled to [0, 1]."""
    return np.clip(values / full_scale(values), 0.0, 1.0)


def full_scale(values: NDArray[Any]) -> float:
    """The sample of full white: of 8 and 16 bits 255 and 65535; else the smallest usual one that holds the values."""
    if values.dtype in (np.uint8, np.uint16):
        return float(np.iinfo(values.dtype).max)
    floating = np.issubdtype(values.dtype, np.floating)
    if not np.isfinite(values).all():
        raise UserError("it holds values that are not finite (NaN or infinity)")
    # Sharpening and resizing overshoot: without this slack, one pixel of 1.01 would make the picture read as black.
    slack = 0.1 if floating else 0.0
    lowest, highest = float(values.min()), float(values.max())
    for scale in (1.0, 255.0, 65535.0) if floating else (255.0, 65535.0, 2.0**31 - 1):
        if -slack * scale <= lowest and highest <= (1 + slack) * scale:
            return scale
    raise UserError(f"its values range from {lowest:g} to {highest:g}; save it with values 0 to 255, or 0 to 1")


@contextlib.contextmanager
def opened(path: Source, *, max_pixels: int | None = None) -> Iterator[Image.Image]:
    """Open the file with Pillow, its claims checked; turn any error inside into one line that names the file."""
    most, shown = claims.most_pixels(max_pixels), quoted(path)
    if not isinstance(path, io.BytesIO):
        file = Path(path)
        with contextlib.suppress(OSError):  # reported by `content`
            if file.is_dir():
                raise UserError(f"{shown} is a folder; give an image file inside it")
            if not file.is_file():  # also a pipe, on which open() would block
                raise UserError(f"{shown} {'is not a file' if file.exists() else 'does not exist'}; check the path")
    Image.init()  # registers the readers of this Pillow build
    formats = [kind for kind in READABLE if kind in Image.OPEN]
    # Decoders trust lengths in files, but not beyond a buffer.
    data = path.getvalue() if isinstance(path, io.BytesIO) else content(path, at_most=claims.WIDEST * most)
    try:
        with quiet_pillow(most), np.errstate(all="ignore"), _identified(io.BytesIO(data), formats, most) as image:
            claims.check(image, data, most)
            yield image
            claims.check_size(image.size, most)  # an icon's decoder finds another size
    except UnidentifiedImageError:
        raise UserError(f"{shown} is not an image that can be read here ({', '.join(formats)})") from None
    except Image.DecompressionBombError:
        raise UserError(
            f"{shown} has more than {most} pixels: if you trust it, allow more by max_pixels (--max-pixels, or "
            f"{claims.VARIABLE} in the environment)"
        ) from None
    except UserError as error:
        raise UserError(f"{shown} cannot be used: {error}") from None
    except Exception as error:  # damaged bytes make Pillow's decoders raise nearly anything
        why = reason(error) or type(error).__name__
        raise UserError(f"{shown} cannot be read, it may be truncated or damaged: {why}") from error


def load(image: Image.Image) -> None:
    """Decode the pixels, as `Image.load`, without libtiff's messages."""
    with quiet_libraries() if image.format == "TIFF" else contextlib.nullcontext():
        image.load()


def _identified(stream: IO[bytes], formats: list[str], most: int) -> Image.Image:
    try:
        return Image.open(stream, formats=formats)
    except UnidentifiedImageError:
        image = deep.Tiff(stream) if deep.is_tiff(stream) else plugins.opened(stream, most)
        if image is None:
            raise
        return image


def quoted(path: Source) -> str:
    """A path for use in a message: quoted, on one line whatever characters it contains."""
    if isinstance(path, io.BytesIO):
        return "standard input"
    text = os.fspath(path)
    return f"'{text}'" if text.isprintable() else repr(text)


# -- writing ----------------------------------------------------------------------------------------------


def save_image(path: str | os.PathLike[str], image: NDArray[Any]) -> None:
    """Write a picture, float in [-1, 1] or uint8, H W 3, in the format given by the suffix (`WRITABLE`).

    The file is written atomically. Raises `UserError` for an unknown suffix, a folder that does not exist or is not
    writable, and an invalid image.
    """
    file = Path(path)
    if file.suffix.lower() not in WRITABLE:
        raise UserError(f"unknown image format of {quoted(file)}; end the name in one of {', '.join(WRITABLE)}")
    if not file.parent.is_dir():
        raise UserError(f"cannot write {quoted(file)}: the folder {quoted(file.parent)} does not exist; create it")
    pixels = to_uint8(check_image(image, name=f"the image for {quoted(file)}"))
    kind, options = WRITABLE[file.suffix.lower()]
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, format=kind, **options)
    try:
        write_bytes(file, encoded.getvalue())
    except OSError as error:
        raise UserError(f"cannot write {quoted(file)}: {error.strerror or error}") from error


# -- checking arguments -----------------------------------------------------------------------------------


def check_image(image: NDArray[Any], *, name: str = "image") -> NDArray[np.float32]:
    """Check an image and convert it for the networks: float32 in [-1, 1], H W 3, from uint8 or float.

    Raises `UserError` for any other shape or dtype, values that are not finite, and floats outside [-1, 1].
    """
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[-1] != 3 or array.size == 0:
        advice = "repeat the grey channel three times" if array.ndim == 2 or array.shape[-1:] == (1,) else "pass RGB"
        raise UserError(f"{name} has shape {array.shape}, but an image is (height, width, 3); {advice}")
    if array.dtype == np.uint8:
        return to_float(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"{name} holds {array.dtype}; pass uint8 in 0..255, or floats in [-1, 1]")
    if not np.isfinite(array).all():
        raise UserError(f"{name} holds values that are not finite (NaN or infinity); replace them")
    lowest, highest = float(array.min()), float(array.max())
    if max(-lowest, highest) > 1 + 1e-4:  # allow for rounding
        raise UserError(
            f"{name} has values from {lowest:g} to {highest:g}, but floats must lie in [-1, 1]; "
            "pass 0..255 as uint8, or convert by x / 127.5 - 1"
        )
    return np.asarray(array.clip(-1, 1), np.float32)


def check_mask(mask: NDArray[Any], image: NDArray[Any], *, name: str = "mask") -> NDArray[np.float32]:
    """Check a mask and convert it for the networks: float32, H W 1, every value 0 or 1, with 1 = hole.

    `mask` is H W or H W 1, with the height and width of `image`: bool, float in [0, 1], or integers whose full scale
    is the smallest of 1, 255 and 65535 that holds them. Values above half the full scale are the hole.

    Raises `UserError` for any other shape, size, dtype or range, and for an empty or full mask.
    """
    array = np.asarray(mask)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] != 1:
        raise UserError(f"{name} has shape {array.shape}, but a mask is (height, width) or (height, width, 1)")
    if array.shape[:2] != image.shape[:2]:
        (h, w), (rows, columns) = array.shape[:2], image.shape[:2]
        raise UserError(
            f"{name} is {h} x {w} (height x width) and the image {rows} x {columns}; "
            "resize the mask to the image's size"
        )
    hole = array > middle(array, name=name)
    if not hole.any():
        raise UserError(f"{name} has no hole, so there is nothing to fill; mark the hole with 1 (white)")
    if hole.all():
        raise UserError(f"{name} is all hole, so nothing is known to fill it from; mark known pixels with 0 (black)")
    return hole.astype(np.float32)


def middle(values: NDArray[Any], *, name: str = "mask") -> float:
    """Half the full scale of a mask's values."""
    if values.dtype == np.bool_:
        return 0.5
    if not np.issubdtype(values.dtype, np.number) or np.issubdtype(values.dtype, np.complexfloating):
        raise UserError(f"{name} holds {values.dtype}; pass bool, uint8 in 0..255, or floats in [0, 1]")
    if not np.isfinite(values).all():
        raise UserError(f"{name} holds values that are not finite (NaN or infinity)")
    lowest, highest = float(values.min(initial=0)), float(values.max(initial=0))
    scales = (1.0,) if np.issubdtype(values.dtype, np.floating) else (1.0, 255.0, 65535.0)
    for scale in scales:
        if lowest >= 0 and highest <= scale:
            return scale / 2
    raise UserError(
        f"{name} has values from {lowest:g} to {highest:g}; "
        "pass bool, integers in 0..255, or floats in [0, 1], with 1 = hole"
    )


# -- sizes ------------------------------------------------------------------------------------------------


def resize(image: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.floating]:
    """Resize floats, H W C, to `size` = (height, width) pixels: bicubic, antialiased when shrinking.

    The result is clipped to the input's range and has its dtype; computed in float32. Raises UserError for a side of
    less than 1 pixel.
    """
    height, width = size
    if min(height, width) < 1:
        raise UserError(f"cannot resize to {height} x {width}; a side must have at least 1 pixel")
    if image.shape[:2] == (height, width):
        return image.copy()
    channels = [
        Image.fromarray(np.ascontiguousarray(image[..., c], dtype=np.float32)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        for c in range(image.shape[-1])
    ]
    resized = np.stack([np.asarray(channel) for channel in channels], axis=-1)
    return np.asarray(resized.clip(image.min(), image.max()), image.dtype)


def crop_window(image: NDArray[Any], *, top: int, left: int, height: int, width: int, size: int) -> NDArray[np.float32]:
    """Crop a window of an image, H W C, and resize it to `size` × `size`: float32, a copy.

    `image` is float in [-1, 1], or RGB uint8, which is resized as bytes: much faster, and accurate to half a level.
    Raises `UserError` for a window that is not inside the image.
    """
    rows, columns = image.shape[:2]
    if not (0 <= top < top + height <= rows and 0 <= left < left + width <= columns):
        raise UserError(
            f"the window at ({top}, {left}) of {height} x {width} is not inside the image of {rows} x {columns}"
        )
    window = image[top : top + height, left : left + width]
    if window.dtype != np.uint8:
        return np.asarray(resize(window, (size, size)), np.float32)
    if (height, width) == (size, size):
        return to_float(window)
    # Box-averaging a large photograph to about three times the size first is several times faster.
    picture = Image.fromarray(np.ascontiguousarray(window))
    return to_float(np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0)))
