"""Lists of images and holes, as files that make an evaluation reproducible.

An entry names an image (a file, or one included in the library), the SHA-256 of its file, the window that is resized to
the crop size, and the hole: a box or polygons in pixels of the crop, or the seed that draws it.

    {"file": "pictures/cat.jpg", "sha256": "…", "window": [0, 20, 300, 300],
     "hole": {"kind": "centre", "box": [64, 64, 128, 128]}}
    {"photograph": "astronaut", …, "hole": {"kind": "free-form", "seed": [0, 1], "sha256": "…"}}
    {"file": "pictures/dog.jpg", …, "hole": {"kind": "polygon", "points": [[[10, 20], [10, 90], [80, 55.5]]]}}

Windows and boxes are (top, left, height, width). Paths are relative to the list's folder, and lead to files in it, or
in a folder that the reader of the list names. A procedural texture's hash
is that of its RGB pixels in row-major order, a drawn hole's that of its pixels as bytes 0 and 1. `points` lists one or
more polygons, each a list of (row, column), whole numbers at the centres of pixels; the hole is their union, as in
`polygon_mask`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ca_numpy import machine
from ca_numpy.atomic import write_text
from ca_numpy.data.datasets import Concat, Crops, Dataset, ImageFolder, Images, Photographs, Subset, Textures
from ca_numpy.data.images import crop_window, load_pixels, quoted
from ca_numpy.data.loader import validation_windows
from ca_numpy.data.masks import KINDS, BoundingBox, MaskSampler
from ca_numpy.errors import UserError
from ca_numpy.schemas import PairEntry, PairsFile, content, parsed

FORMAT = "ca-numpy pairs 1"
#: A larger picture, in bytes, is not read for its hash.
LARGEST_FILE = 1 << 30
#: Tests of a polygon's edge against a pixel, in a hole: a few seconds.
MOST_TESTS = 10**9
Polygon = tuple[tuple[float, float], ...]
HOLE_KINDS = ("centre", *KINDS)
if TYPE_CHECKING:
    Holes: TypeAlias = str
else:
    Holes = Literal[(*HOLE_KINDS, "mixed")]  # the command line reads the choices from the type


class Hole(NamedTuple):
    """A rectangle `box`, or `polygons`, or a hole drawn from `seed` whose pixels have the hash `sha256`."""

    kind: str
    box: BoundingBox | None = None
    seed: tuple[int, ...] = ()
    sha256: str = ""
    polygons: tuple[Polygon, ...] = ()


class Pair(NamedTuple):
    """An image, by source and name, with its hash, a window of it, and a hole.

    source   "file", "photograph", "texture"; or "array", whose name is its number
    """

    source: str
    name: str
    sha256: str
    window: BoundingBox
    hole: Hole


class Pairs(NamedTuple):
    """Crops of `size` × `size` pixels with their holes.

    arrays   the images of the source "array"
    """

    size: int
    pairs: tuple[Pair, ...]
    arrays: Images | None = None

    @property
    def names(self) -> list[str]:
        """Labels of the images."""
        return [Path(pair.name).stem for pair in self.pairs]

    def read(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Crops, N size size 3 in [-1, 1], and masks, N size size 1, 1 = hole.

        Raises UserError for an image that is missing or has changed.
        """
        needed, there = 16 * len(self.pairs) * self.size**2, machine.memory()
        if there is not None and needed > 0.5 * there:
            raise UserError(
                f"{len(self.pairs)} pictures of {self.size}×{self.size} pixels need {needed / 2**30:.0f} GiB of memory "
                f"of {there / 2**30:.0f}: evaluate fewer"
            )
        opened: dict[tuple[str, str], NDArray[np.uint8]] = {}
        crops, masks = [], []
        for pair in self.pairs:
            key = pair.source, pair.name
            if key not in opened:
                array = None if self.arrays is None else self.arrays.pixels(int(pair.name))
                opened = {key: _checked(pair) if array is None else array}  # one at a time, to save memory
            crops.append(crop_window(opened[key], **pair.window._asdict(), size=self.size))
            masks.append(_hole_mask(pair, self.size))
        return np.stack(crops), np.stack(masks)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the list as JSON, one entry per line. Raises UserError for arrays, and if it cannot be written."""
        if self.arrays is not None:
            raise UserError("a list of pairs names files, which arrays are not in: save them to a folder and use that")
        lines = [json.dumps(_entry(pair, Path(path).resolve().parent)) for pair in self.pairs]
        head = f'{{"format": {json.dumps(FORMAT)}, "size": {self.size}, "pairs": [\n  '
        try:
            write_text(Path(path), head + ",\n  ".join(lines) + "\n]}\n")
        except OSError as e:
            raise UserError(f"cannot write {quoted(path)} ({e.strerror}): give another path") from e


def make_pairs(
    dataset: Dataset,
    *,
    size: int,
    count: int,
    window: float = 0.75,
    holes: Holes = "centre",
    seed: int = 0,
    crops: Crops | Literal["auto"] = "auto",
) -> Pairs:
    """`count` crops of a dataset, as in `validation_crops`, each with its hole; deterministic.

    holes   "centre": a square of half the side; "box", "boxes", "free-form": drawn from (seed, crop number);
            "mixed": all kinds in turn

    Raises UserError for numbers out of range, or images that are not in files.
    """
    if holes not in (*HOLE_KINDS, "mixed"):
        raise UserError(f"there are no holes {holes!r}: choose from {', '.join(HOLE_KINDS)}, mixed")
    pairs = []
    arrays = dataset if isinstance(dataset, Images) else None
    hashes: dict[tuple[str, str], str] = {}
    for number, (index, view) in enumerate(
        validation_windows(dataset, size=size, count=count, window=window, crops=crops)
    ):
        source, name = _source(dataset, index) if arrays is None else ("array", str(index))
        if arrays is None and (source, name) not in hashes:
            hashes[source, name] = _hash(_content(source, name))
        kind = HOLE_KINDS[number % len(HOLE_KINDS)] if holes == "mixed" else holes
        mask = draw_hole(kind, size=size, seed=(seed, number))
        box = _box_of(mask) if kind in ("centre", "box") else None
        hole = Hole(kind, box, (seed, number), _hash(mask.astype(np.uint8).tobytes()))
        if source == "file":
            view = _on_file(view, dataset.pixels(index).shape, load_pixels(name).shape)
        pairs.append(Pair(source, name, hashes.get((source, name), ""), view, hole))
    return Pairs(size, tuple(pairs), arrays)


def _on_file(view: BoundingBox, size: tuple[int, ...], on_file: tuple[int, ...]) -> BoundingBox:
    """A window of an image resized by its dataset, in the coordinates of its file."""
    if size == on_file:
        return view
    down, right = on_file[0] / size[0], on_file[1] / size[1]
    edges = (view.top * down, view.left * right, (view.top + view.height) * down, (view.left + view.width) * right)
    top, left, bottom, end = (round(edge) for edge in edges)
    return BoundingBox(top, left, max(bottom - top, 1), max(end - left, 1))


def load_pairs(path: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None) -> Pairs:
    """Read a list written by `Pairs.save` or by hand.

    root   a folder that its pictures may be in, besides the list's own

    Raises UserError for an invalid file, and for pictures elsewhere.
    """
    shown = quoted(path)
    read = parsed(content(path), PairsFile, f"{shown} is not a list of pairs: recreate it with `ca-numpy evaluate`")
    if read.format != FORMAT:
        raise UserError(f"{shown} has the format {read.format!r}, expected {FORMAT!r}")
    if not read.pairs:
        raise UserError(f"{shown} lists no pairs")
    folders = [Path(path).resolve().parent, *([] if root is None else [Path(root).resolve()])]
    return Pairs(read.size, tuple(_pair(entry, folders, read.size, shown) for entry in read.pairs))


def draw_hole(kind: str, *, size: int, seed: Sequence[int]) -> NDArray[np.float32]:
    """A mask size size 1, 1 = hole, of the given kind, determined by `seed`.

    "centre" is a square of half the side. Raises UserError for a kind that is not in `HOLE_KINDS`.
    """
    if kind == "centre":
        mask = np.zeros((size, size, 1), np.float32)
        mask[size // 4 : size - size // 4, size // 4 : size - size // 4] = 1
        return mask
    if kind not in KINDS:
        raise UserError(f"there is no kind of hole {kind!r}: choose from {', '.join(HOLE_KINDS)}")
    sampler = MaskSampler(kind, image_size=size, box_size=size // 2, max_shrink=size // 16)
    return np.asarray(sampler(np.random.default_rng(list(seed)), 1)[0][0])


def polygon_mask(polygon: Polygon, *, size: int) -> NDArray[np.float32]:
    """A mask size size 1, 1 = hole: the pixels whose centres are inside the polygon, by the even-odd rule.

    Pixel (i, j) has its centre at (row, column) = (i, j). A centre on the boundary is inside if the polygon lies to its
    right, or below a horizontal edge: polygons that share an edge share no pixel.
    """
    row, column = np.mgrid[:size, :size]
    inside = np.zeros((size, size), bool)
    for edge in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        (r0, c0), (r1, c1) = sorted(edge)
        inside ^= (r0 <= row) & (row < r1) & ((column - c0) * (r1 - r0) < (row - r0) * (c1 - c0))
    return inside[..., None].astype(np.float32)


# ---- pictures ----------------------------------------------------------------------------------------------------


def _source(dataset: Dataset, index: int) -> tuple[str, str]:
    """The source and name of a dataset's image."""
    if isinstance(dataset, Subset):
        return _source(dataset.dataset, dataset.indices[index])
    if isinstance(dataset, Concat):
        for part in dataset.datasets:
            if index < len(part):
                return _source(part, index)
            index -= len(part)
    if isinstance(dataset, ImageFolder):
        return "file", str((dataset.path / dataset.names[index]).resolve())
    if isinstance(dataset, Photographs):
        return "photograph", dataset.names[index]
    if isinstance(dataset, Textures) and (dataset.size, dataset.seed) == (256, 0):
        return "texture", dataset.names[index]
    raise UserError(f"picture {dataset.names[index]!r} is not in a file: save it to a folder and use that")


def _photograph(name: str) -> Path:
    photographs = Photographs()
    if name not in photographs.names:
        raise UserError(f"there is no photograph {name!r}: there are {', '.join(photographs.names)}")
    return photographs.file(photographs.names.index(name))


def _texture(name: str) -> NDArray[np.uint8]:
    number = name.rpartition("-")[2]
    textures = Textures(int(number) + 1 if re.fullmatch("[0-9]{5}", number) else 1)
    if textures.names[-1] != name:
        raise UserError(f"there is no texture {name!r}: the last name before it is {textures.names[-1]!r}")
    return textures.pixels(-1)


def _content(source: str, name: str) -> bytes:
    """The bytes that an image's hash is computed from."""
    if source == "texture":
        return _texture(name).tobytes()
    return content(name if source == "file" else _photograph(name), at_most=LARGEST_FILE)


def _checked(pair: Pair) -> NDArray[np.uint8]:
    """An image's pixels, H W 3. Raises UserError if it has changed."""
    if _hash(_content(pair.source, pair.name)) != pair.sha256:
        raise UserError(
            f"the {pair.source} {quoted(pair.name)} is not the one in the list of pairs: its SHA-256 differs; restore "
            "the original, or make a new list"
        )
    readers: dict[str, Callable[[str], NDArray[np.uint8]]] = {
        "file": load_pixels, "photograph": lambda name: load_pixels(_photograph(name)), "texture": _texture,
    }  # fmt: skip
    return readers[pair.source](pair.name)


def _hole_mask(pair: Pair, size: int) -> NDArray[np.float32]:
    hole = pair.hole
    if hole.box is not None:
        mask = np.zeros((size, size, 1), np.float32)
        hole.box.crop(mask)[...] = 1
    elif hole.polygons:
        mask = np.maximum.reduce([polygon_mask(polygon, size=size) for polygon in hole.polygons])
    else:
        mask = draw_hole(hole.kind, size=size, seed=hole.seed)
        if _hash(mask.astype(np.uint8).tobytes()) != hole.sha256:
            raise UserError(
                f"seed {list(hole.seed)} draws another {hole.kind!r} hole than when the list of pairs was made: "
                "use the same versions of NumPy and Pillow, or make a new list"
            )
    if not 0 < mask.mean() < 1:
        raise UserError(f"the hole of {quoted(pair.name)} is empty or covers everything: correct the list of pairs")
    return mask


def _box_of(mask: NDArray[np.float32]) -> BoundingBox:
    rows, columns = np.flatnonzero(mask.any((1, 2))), np.flatnonzero(mask.any((0, 2)))
    return BoundingBox(int(rows[0]), int(columns[0]), len(rows), len(columns))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# ---- entries -----------------------------------------------------------------------------------------------------


def _entry(pair: Pair, folder: Path) -> dict[str, Any]:
    """A pair as a JSON object."""
    name = pair.name
    if pair.source == "file":
        try:
            name = Path(os.path.relpath(name, folder)).as_posix()
        except ValueError:  # on another drive
            name = Path(name).as_posix()
    hole: dict[str, Any] = {"kind": pair.hole.kind}
    if pair.hole.box is not None:
        hole["box"] = list(pair.hole.box)
    elif pair.hole.polygons:
        hole["points"] = pair.hole.polygons
    else:
        hole.update(seed=list(pair.hole.seed), sha256=pair.hole.sha256)
    return {pair.source: name, "sha256": pair.sha256, "window": list(pair.window), "hole": hole}


def _pair(entry: PairEntry, folders: list[Path], size: int, shown: str) -> Pair:
    given = {"file": entry.file, "photograph": entry.photograph, "texture": entry.texture}
    named = [(source, name) for source, name in given.items() if name is not None]
    hole, polygons = entry.hole, tuple(map(tuple, entry.hole.points or ()))
    if len(named) != 1 or (hole.box is not None) + (hole.seed is not None) + bool(polygons) != 1:
        what = "an entry has not one of file, photograph and texture, and a hole with one of box, seed and points"
        raise UserError(f"{shown} is not a list of pairs: {what}")
    ((source, name),) = named
    if sum(map(len, polygons)) * size**2 > MOST_TESTS:
        raise UserError(f"the hole of {quoted(name)} has too many points for {size}×{size} pixels: simplify it")
    if source == "file":
        if "\0" in name:
            raise UserError(f"there is no file {quoted(name)}")
        path = Path(os.path.realpath(folders[0] / name))  # which takes links in a circle
        if not any(path.is_relative_to(folder) for folder in folders):
            raise UserError(
                f"{shown} names {quoted(name)}, which is outside its folder: if you trust it, give a folder that its "
                "pictures may be in as root (--root)"
            )
        name = str(path)
    box = None if hole.box is None else BoundingBox(*hole.box)
    kept = Hole(hole.kind, box, tuple(hole.seed or ()), hole.sha256, polygons)
    return Pair(source, name, entry.sha256, BoundingBox(*entry.window), kept)
