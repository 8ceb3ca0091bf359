"""The front end's requests, checked and answered.

A message is a JSON object with buffers of bytes, whatever carries it. Requests have a `kind`:

    start      -> the photograph, if one is open, and what can be chosen
    open       name; buffer: the file                              -> the photograph
    fill       method, settings, hole; buffer: the hole's bits     -> the filled part as PNG, what can be looked at
    look       x, y                                                -> numbers of the best patches; buffer: the weights
    map        of: "attention" or "copies"                         -> PNG with transparency, and the pixels it covers
    legend                                                         -> PNG of the colours' legend
    download   what: "picture", or "mask" with hole and bits       -> name and type; buffer: the file

A hole is {"box": [left, top, width, height]} with one bit per pixel of the box, by rows, the highest bit first.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ca_numpy.data.claims import most_pixels
from ca_numpy.data.images import WRITABLE
from ca_numpy.data.photo import Photo, read_photo
from ca_numpy.errors import UserError
from ca_numpy.explore.looking import Look
from ca_numpy.explore.session import Progress, Session
from ca_numpy.explore.settings import Settings
from ca_numpy.filling.baselines import why_unavailable

Buffers = Sequence[bytes | memoryview]
Reply = tuple[dict[str, Any], list[bytes]]

#: Pictures of more pixels are shown as JPEG, which encodes ten times as fast as PNG.
LARGE = 2_000_000
TYPES = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".bmp": "image/bmp",
    ".tif": "image/tiff", ".tiff": "image/tiff", ".ppm": "image/x-portable-pixmap",
}  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """Of uploaded pictures: bytes of the file, and pixels, by default as for `read_photo`. Raises UserError."""

    bytes: int = 64 * 2**20
    pixels: int = field(default_factory=most_pixels)


class Desk:
    """Answers the requests of one front end. Raises UserError for those that it cannot answer.

    session   what is asked about
    name      of the file of its photograph, for downloads
    limits    of uploads
    """

    def __init__(self, session: Session, *, name: str = "picture.png", limits: Limits | None = None) -> None:
        self.session, self.name, self.limits = session, name, limits or Limits()

    def answer(self, message: Mapping[str, Any], buffers: Buffers, progress: Progress) -> Reply:
        """The reply and its buffers. `progress` as for `Session.fill`. Raises UserError."""
        kinds: dict[str, Callable[[Mapping[str, Any], Buffers, Progress], Reply]] = {
            "start": self._start, "open": self._open, "fill": self._fill, "look": self._look,
            "map": self._map, "legend": self._legend, "download": self._download,
        }  # fmt: skip
        kind = message.get("kind")
        if not isinstance(kind, str) or kind not in kinds:
            raise UserError(f"there is no request {kind!r:.40}")
        return kinds[kind](message, buffers, progress)

    def _start(self, message: Mapping[str, Any], buffers: Buffers, progress: Progress) -> Reply:
        telea = why_unavailable("telea")
        choices = {"missing": {} if telea is None else {"telea": telea}, "limits": dataclasses.asdict(self.limits)}
        if not self.session.is_open:
            return choices, []
        reply, shown = self._photo()
        return choices | reply, shown

    def _open(self, message: Mapping[str, Any], buffers: Buffers, progress: Progress) -> Reply:
        name = PurePath(_text(message, "name", most=200).replace("\\", "/")).name or "picture"
        contents = bytes(_one(buffers))
        if len(contents) > self.limits.bytes:
            raise UserError(f"{name!r} is larger than {self.limits.bytes / 2**20:g} MiB; make it smaller")
        self.session.open(read_photo(io.BytesIO(contents), max_pixels=self.limits.pixels))
        self.name = name
        return self._photo()

    def _photo(self) -> Reply:
        photo = self.session.photo
        height, width = photo.samples.shape[:2]
        kind, shown = encoded(shown_as(photo))
        return {"width": width, "height": height, "name": self.name, "type": kind, "notes": list(photo.lost)}, [shown]

    def _fill(self, message: Mapping[str, Any], buffers: Buffers, progress: Progress) -> Reply:
        given = message.get("settings", {})
        names = {field.name for field in dataclasses.fields(Settings)}
        if not isinstance(given, Mapping) or not set(given) <= names:
            raise UserError(f"settings are {', '.join(sorted(names))}")
        self.session.set_hole(self._hole(message, buffers))
        filled = self.session.fill(message.get("method", "guided"), Settings(**given), progress=progress)
        reply = {
            "box": filled.box,
            "attention": filled.attention is not None,
            "copies": filled.copies is not None,
            "settings": dataclasses.asdict(Settings(**given)),
        }
        return reply, [png(shown_as(filled.photo, filled.box))]

    def _look(self, message: Mapping[str, Any], buffers: Buffers, progress: Progress) -> Reply:
        x, y = (_number(message, name) for name in ("x", "y"))
        reply: dict[str, Any] = {"from": self.session.copied_from(int(x // 1), int(y // 1))}
        if self.session.filled.attention is None:
            return reply, []
        look = self.session.look(x, y)
        return reply | _looked(look), [np.ascontiguousarray(look.weights, "<f4").tobytes()]

    def _map(self, message: Mapping[str, Any], buffers: Buffers, progress: Progress) -> Reply:
        if message.get("of") == "copies":
            colours, area = self.session.copies_map()
            return {"area": area}, [png(_bytes(colours))]
        colours, covered = self.session.attention_map(progress=progress)
        return {"area": covered}, [png(_bytes(colours))]

    def _legend(self, message: Mapping[str, Any], buffers: Buffers, progress: Progress) -> Reply:
        return {}, [legend()]

    def _download(self, message: Mapping[str, Any], buffers: Buffers, progress: Progress) -> Reply:
        stem = PurePath(self.name).stem
        if message.get("what") == "mask":
            hole = self._hole(message, buffers)
            return {"name": f"{stem}-mask.png", "type": "image/png", "notes": []}, [png(np.uint8(255) * hole)]
        photo = self.session.filled.photo
        own = PurePath(self.name).suffix.lower()
        suffix = own if own in WRITABLE and WRITABLE[own][0] == photo.kind else photo.suffix
        contents, lost = photo.encoded(suffix)
        notes = [*photo.lost, *lost]
        return {"name": f"{stem}-inpainted{suffix}", "type": TYPES[suffix], "notes": notes}, [contents]

    def _hole(self, message: Mapping[str, Any], buffers: Buffers) -> NDArray[np.bool_]:
        """The hole H W of a request."""
        size = self.session.photo.samples.shape[:2]
        hole = np.zeros(size, np.bool_)
        given = message.get("hole")
        box = given.get("box") if isinstance(given, Mapping) else None
        if not isinstance(box, list) or len(box) != 4 or not all(type(n) is int for n in box):
            raise UserError("a hole is given as its box: left, top, width, height")
        if not (0 <= box[0] <= box[0] + box[2] <= size[1] and 0 <= box[1] <= box[1] + box[3] <= size[0]):
            raise UserError("the hole's box is not within the picture")
        left, top, width, height = box
        bits = np.unpackbits(np.frombuffer(_one(buffers), np.uint8))
        if len(bits) != -(-width * height // 8) * 8:
            raise UserError(f"the hole has {len(bits)} bits, but its box has {width * height} pixels")
        hole[top : top + height, left : left + width] = bits[: width * height].reshape(height, width)
        return hole


def _looked(look: Look) -> dict[str, Any]:
    return {
        "cell": look.cell,
        "box": look.box,
        "area": look.area,
        "grid": look.weights.shape,
        "top": [patch._asdict() for patch in look.top],
    }


def shown_as(photo: Photo, box: tuple[int, int, int, int] | None = None) -> NDArray[np.uint8]:
    """The picture, or a part of it, as a screen shows it: sRGB uint8, H W 3, over white."""
    if box is not None:
        part = np.s_[box[1] : box[1] + box[3], box[0] : box[0] + box[2]]
        alpha = None if photo.alpha is None else photo.alpha[part]
        photo = dataclasses.replace(photo, samples=photo.samples[part], alpha=alpha)
    elif photo.samples.dtype == np.uint8 and photo.alpha is None and photo.space is None:
        return np.ascontiguousarray(np.broadcast_to(photo.samples, (*photo.samples.shape[:2], 3)))
    colours, space = photo.colours(), photo.space
    unit = ((space.to_srgb(colours) if space else colours) + 1) * 127.5
    return np.asarray(np.rint(unit).clip(0, 255), np.uint8)


def encoded(pixels: NDArray[np.uint8]) -> tuple[str, bytes]:
    """Its type and a file: PNG, or JPEG of quality 95 if it is large."""
    if pixels.shape[0] * pixels.shape[1] <= LARGE:
        return "image/png", png(pixels)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=95, subsampling=0)
    return "image/jpeg", out.getvalue()


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file of uint8 pixels H W, H W 3 or H W 4, quickly compressed."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()


@cache
def legend() -> bytes:
    """The legend of the attention colours as a PNG file."""
    from ca_numpy.viz.attention import attention_legend  # slow to import

    out = io.BytesIO()
    attention_legend().savefig(out, format="png", dpi=100, metadata={"Software": None})
    return out.getvalue()


def _bytes(colours: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(255 * colours), np.uint8)


def _one(buffers: Buffers) -> bytes | memoryview:
    if len(buffers) != 1:
        raise UserError(f"the request has {len(buffers)} buffers, not one")
    return buffers[0]


def _text(message: Mapping[str, Any], name: str, *, most: int) -> str:
    value = message.get(name)
    if not isinstance(value, str) or len(value) > most:
        raise UserError(f"{name} is not a text of at most {most} characters")
    return value


def _number(message: Mapping[str, Any], name: str) -> float:
    value = message.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e6:
        raise UserError(f"{name} is not a number")
    return value
