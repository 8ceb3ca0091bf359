"""What a picture file claims, checked before it is decoded: a few bytes can ask for gigabytes, or minutes."""

from __future__ import annotations

import contextlib
import os
import struct

from PIL import Image

from ca_numpy.data.quiet import quiet_pillow
from ca_numpy.errors import UserError

#: Pixels of a picture, unless more are allowed.
MOST_PIXELS = 80_000_000
#: The environment variable that allows more.
VARIABLE = "CA_NUMPY_MAX_PIXELS"
#: Bytes of a file per pixel allowed: four floats of double precision.
WIDEST = 32
#: Scans of a JPEG that are always decoded, and pixels in all scans of one that has more. Encoders write ten.
SCANS, SCANNED = 20, 10**9
#: Pixels of a TIFF's tile, which may be larger than a small picture.
LARGEST_TILE = 1 << 22
#: Deflate expands a byte to 1032, LZW of 12 bits to 1400 at most. TIFF's compressions by number.
MOST_EXPANDED = 1500
_EXPANDS = {1: 1, 5: MOST_EXPANDED, 8: MOST_EXPANDED, 32773: 128, 32946: MOST_EXPANDED}
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by a PNG's colour type


def most_pixels(given: int | None = None) -> int:
    """The pixels that a picture may have: as given, or CA_NUMPY_MAX_PIXELS, or 80 million. Raises UserError."""
    text = str(given) if given is not None else os.environ.get(VARIABLE, "").replace("_", "") or str(MOST_PIXELS)
    if not (text.isascii() and text.isdigit() and int(text[:19]) > 0):
        raise UserError(f"max_pixels (--max-pixels, {VARIABLE}) is a number of pixels above 0, not {text[:40]!r}")
    return int(text[:19])


def shape(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Rows and columns that a file's header claims, for the usual formats of photographs; None for others.

    Nothing is decoded, so a damaged or unusual file may turn out to be different.
    """
    with contextlib.suppress(Exception), quiet_pillow(most_pixels()):
        if os.path.isfile(path):  # not a pipe, on which open() would block
            with Image.open(path, formats=("JPEG", "PNG", "WEBP", "BMP", "PPM")) as image:
                columns, rows = image.size
                known = image.format != "PNG" or "exif" in image.info  # else Pillow would decode it to search on
                turned = known and image.getexif().get(0x0112) in (5, 6, 7, 8)
                return (columns, rows) if turned else (rows, columns)
    return None


def check_size(size: tuple[int, int], most: int) -> None:
    """Raises UserError for a picture of more pixels."""
    if size[0] * size[1] > most:
        raise UserError(
            f"it has {size[0]}×{size[1]} pixels, more than {most}: if you trust it, allow {size[0] * size[1]} by "
            f"max_pixels (--max-pixels, or {VARIABLE} in the environment)"
        )


def check(image: Image.Image, data: bytes, most: int) -> None:
    """Raises UserError for a file that Pillow opened if its claims are too large, or its bytes cannot hold them."""
    check_size(image.size, most)
    needed = 0
    if image.format == "PNG":
        width, height, bits, kind = struct.unpack(">IIBB", data[16:26])
        if (width, height) != image.size:
            raise UserError("it is damaged: it has two headers")
        needed = (width * bits * _CHANNELS.get(kind, 4) + 7) // 8 * height // MOST_EXPANDED
    elif image.format == "TIFF" and hasattr(image, "tag_v2"):
        tags = image.tag_v2
        bits = sum(tags.get(258, (1,)))
        needed = image.width * image.height * bits // 8 // _EXPANDS.get(tags.get(259, 1), 1 << 62)
        if tags.get(322, 1) * tags.get(323, 1) > max(LARGEST_TILE, 4 * image.width * image.height):
            raise UserError(f"it is damaged: its tiles have {tags[322]}×{tags[323]} pixels")
    elif image.format in ("JPEG", "MPO"):
        scans = _scans(data)
        if scans > SCANS and scans * image.width * image.height > SCANNED:
            raise UserError(f"it is a JPEG of {scans} scans, which would take minutes: save it again")
    if needed > len(data):
        raise UserError(
            f"it is truncated or damaged: {image.width}×{image.height} pixels cannot be in {len(data)} bytes"
        )


def _scans(jpeg: bytes) -> int:
    """The scans of a JPEG: its markers SOS, without those of thumbnails, which are in segments before the first."""
    at = 2
    while (marker := jpeg[at : at + 2]) not in (b"", b"\xff\xda"):
        if len(marker) < 2 or marker[0] != 0xFF:
            at += 1  # a decoder skips it too
        elif marker[1] in (0x00, 0x01, 0xFF) or 0xD0 <= marker[1] <= 0xD8:  # without a length
            at += 1 if marker[1] == 0xFF else 2
        else:
            at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    end = jpeg.find(b"\xff\xd9", at)
    return jpeg.count(b"\xff\xda", at, end if end >= 0 else len(jpeg))
