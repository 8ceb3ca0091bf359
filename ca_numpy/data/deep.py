"""Decoding and encoding of what Pillow cannot hold: 16-bit colour, floats in colour, and TIFF in separate planes.

Pillow reduces 16-bit colour to 8 bits, and decodes uncompressed 16-bit TIFF in planes wrongly (13.0). Here PNG goes
through imagecodecs, and TIFF through tifffile.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ca_numpy.data.claims import MOST_EXPANDED
from ca_numpy.data.quiet import quiet_libraries
from ca_numpy.errors import UserError

Array = NDArray[Any]

#: TIFF tags.
_BITS, _PLANAR, _TILE_WIDTH, _TILE_LENGTH, _SAMPLE_FORMAT = 258, 284, 322, 323, 339
#: Chunks of a PNG that hold the picture itself.
_PICTURE = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


class Tiff(Image.Image):
    """A TIFF whose samples Pillow does not know, for `decoded`. Raises ValueError for a file that is none."""

    format = "TIFF"

    def __init__(self, stream: IO[bytes]) -> None:
        import tifffile

        super().__init__()
        stream.seek(0)
        with tifffile.TiffFile(stream) as file:
            page: Any = file.pages[0]
            self._size = int(page.imagewidth), int(page.imagelength)
            self.tag_v2: dict[int, Any] = {_BITS: (16,)}
            if page.is_tiled:
                self.tag_v2 |= {_TILE_WIDTH: int(page.tilewidth), _TILE_LENGTH: int(page.tilelength)}
            if page.iccprofile:
                self.info["icc_profile"] = page.iccprofile
        self.fp = stream


def is_tiff(stream: IO[bytes]) -> bool:
    """Whether a file begins as a TIFF."""
    stream.seek(0)
    return stream.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def decoded(image: Image.Image) -> Array | None:
    """The samples of a file that Pillow has opened, H W C, alpha last; or None where Pillow decodes them all.

    C is 1, 2, 3 or 4: grey or colour, with or without alpha. Raises UserError for samples without such a meaning, and
    ImportError without imagecodecs.
    """
    stream: IO[bytes] = getattr(image, "fp")  # noqa: B009 (not declared)
    if image.format == "PNG":
        at = stream.tell()
        stream.seek(24)
        bits = stream.read(1)
        stream.seek(at)
        if bits != b"\x10":
            return None
        import imagecodecs

        stream.seek(0)
        with quiet_libraries():
            return _channels(imagecodecs.png_decode(stream.read()))
    if image.format == "TIFF" and hasattr(image, "tag_v2"):
        tags = image.tag_v2
        bits, formats = tags.get(_BITS, (1,)), tags.get(_SAMPLE_FORMAT, (1,))
        if max(bits) > 8 or (tags.get(_PLANAR, 1) == 2 and len(bits) > 1) or set(formats) != {1}:
            return _tiff(stream, image.size)
    return None


def _channels(samples: Array) -> Array:
    return samples[..., None] if samples.ndim == 2 else samples


def _tiff(stream: IO[bytes], size: tuple[int, int]) -> Array:
    import tifffile  # slow to import

    stream.seek(0)
    with tifffile.TiffFile(stream) as file:
        page: Any = file.pages[0]
        if page.photometric.name not in ("RGB", "MINISBLACK", "MINISWHITE"):
            raise UserError(f"its colours are {page.photometric.name}: save it as RGB or grey")
        axes, channels = page.axes, page.samplesperpixel
        if axes not in ("YX", "YXS", "SYX") or sorted((page.imagewidth, page.imagelength)) != sorted(size):
            raise UserError(f"it has the axes {axes}: save it as one picture")
        if channels > 4:
            raise UserError(f"it has {channels} channels: save it as RGB or grey, with or without transparency")
        if page.nbytes > MOST_EXPANDED * stream.seek(0, io.SEEK_END):
            raise UserError(f"it is truncated or damaged: {page.nbytes} bytes of samples cannot be in it")
        with quiet_libraries():
            samples = np.asarray(page.asarray())
    samples = _channels(np.moveaxis(samples, 0, -1) if axes == "SYX" else samples)
    if page.photometric.name == "MINISWHITE":
        whitest = 1 if samples.dtype.kind == "f" else np.iinfo(samples.dtype).max
        samples = np.concatenate([whitest - samples[..., :1], samples[..., 1:]], axis=-1)
    if samples.dtype == np.float16:
        samples = samples.astype(np.float32)
    return samples.astype(samples.dtype.newbyteorder("="))


def encoded_png(samples: Array, like: bytes) -> bytes:
    """A 16-bit PNG of samples H W C, uint16, with the notes of another PNG: its profile, EXIF, text and resolution."""
    import imagecodecs

    plain = bytes(imagecodecs.png_encode(np.ascontiguousarray(samples[..., 0] if samples.shape[-1] == 1 else samples)))
    chunks = list(_chunks(plain))
    notes = [(kind, content) for kind, content in _chunks(like) if kind not in _PICTURE]
    return plain[:8] + b"".join(_chunk(*chunk) for chunk in (chunks[0], *notes, *chunks[1:]))


def _chunks(png: bytes) -> Any:
    """Type and content of every chunk of an intact PNG."""
    at = 8
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        yield kind, png[at + 8 : at + 8 + length]
        at += 12 + length


def _chunk(kind: bytes, content: bytes | bytearray) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def encoded_tiff(samples: Array, *, alpha: bool, profile: bytes | None, resolution: Any) -> bytes:
    """A TIFF of samples H W C of any depth, alpha last if there is one, compressed without loss."""
    import tifffile

    out = io.BytesIO()
    grey = samples.shape[-1] < 3
    options: dict[str, Any] = {"extrasamples": ["unassalpha"]} if alpha else {}
    if resolution:
        options |= {"resolution": resolution, "resolutionunit": "INCH"}
    tifffile.imwrite(
        out, samples[..., 0] if samples.shape[-1] == 1 else samples, photometric="minisblack" if grey else "rgb",
        planarconfig="contig" if samples.shape[-1] > 1 else None, iccprofile=profile, compression="zlib",
        metadata=None, **options,
    )  # fmt: skip
    return out.getvalue()
