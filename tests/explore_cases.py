"""A small picture, hole and generator for the tests of `ca_numpy.explore`."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from ca_numpy.data.photo import Photo, photo_of
from ca_numpy.models import Generator

SIZE = (70, 101)  # which the network sees mirrored to 72 × 104


def picture() -> np.ndarray:
    """H W 3 uint8: smooth, with noise."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    waves = 128 + 60 * np.sin(x / 9)[..., None] * np.cos(y / 7)[..., None] * np.array([1.0, 0.6, -0.8])
    return (waves + np.random.default_rng(0).normal(0, 8, (*SIZE, 3))).clip(0, 255).astype(np.uint8)


def pixels() -> np.ndarray:
    """The same in [-1, 1], 1 H W 3."""
    return picture()[None].astype(np.float32) / 127.5 - 1


def photo() -> Photo:
    return photo_of(picture())


def hole() -> np.ndarray:
    """H W, not a rectangle."""
    marked = np.zeros(SIZE, np.bool_)
    marked[24:44, 40:70] = True
    marked[44:50, 52:64] = True
    return marked


def generator(**options: object) -> Generator:
    """Untrained, so that its attention is spread out."""
    return Generator(width=4, rng=np.random.default_rng(3), **options)


def file_of(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def bits_of(marked: np.ndarray) -> tuple[list[int], bytes]:
    """A hole as the front end sends it: its box, and the bits in it."""
    rows, columns = (np.flatnonzero(marked.any(axis)) for axis in (1, 0))
    box = [int(n) for n in (columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1)]
    left, top, width, height = box
    return box, np.packbits(marked[top : top + height, left : left + width]).tobytes()


def fill_request(method: str = "network", **settings: object) -> tuple[dict[str, object], list[bytes]]:
    box, bits = bits_of(hole())
    return {"kind": "fill", "method": method, "settings": settings, "hole": {"box": box}}, [bits]
