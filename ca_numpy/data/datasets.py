"""Sources of training pictures: folders, scikit-image's photographs, generated textures, arrays.

A dataset names its pictures and returns them one at a time, RGB and of any size:

    len(dataset), dataset.names[i], dataset[i]      float32 in [-1, 1], H W 3
    dataset.pixels(i)                               the same as uint8: a quarter of the memory

To add a source, derive from `Dataset` and define `names` and `pixels`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import operator
import os
import threading
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from ca_numpy.data import claims
from ca_numpy.data.images import check_image, load_pixels, quoted, to_float, to_uint8
from ca_numpy.data.textures import KINDS, texture
from ca_numpy.errors import UserError

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff"),
    *(".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".tga", ".avif", ".heic", ".heif", ".jxl"),
)

#: How training crops are cut: windows of many sizes; the whole shorter side; unscaled pixels.
Crops = Literal["windows", "whole", "pixels"]

CACHE_BYTES = 1 << 29  # half a gibibyte: about 2700 pictures of 256 × 256


class Dataset(ABC):
    """Pictures indexed from 0 to len − 1, each with a name."""

    names: tuple[str, ...]

    def crops(self, index: int) -> Crops:
        """How training crops are cut from picture `index`; see `loader.Loader`."""
        return "windows"

    @abstractmethod
    def pixels(self, index: int) -> NDArray[np.uint8]:
        """Picture `index`: RGB uint8, H W 3. It may be shared: do not modify it."""

    def shape(self, index: int) -> tuple[int, int]:
        """Rows and columns of picture `index`, where possible from its header: decoded, it may turn out different."""
        rows, columns = self.pixels(index).shape[:2]
        return rows, columns

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> NDArray[np.float32]:
        """Picture `index`: RGB float32 in [-1, 1], H W 3. Raises `IndexError` if it is out of range."""
        return to_float(self.pixels(self._position(index)))

    def _position(self, index: int) -> int:
        """The index as a non-negative number."""
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"there is no picture {index} in a dataset of {len(self)}")
        return position % len(self)


class Images(Dataset):
    """Pictures given as arrays: float in [-1, 1] or uint8, H W 3, of any sizes.

    Raises `UserError` for an array that is not an image, an empty list, or the wrong number of names.
    """

    def __init__(self, images: Sequence[NDArray[Any]], *, names: Sequence[str] | None = None) -> None:
        if len(images) == 0:
            raise UserError("a dataset needs at least one image")
        self.names = tuple(names) if names is not None else tuple(f"image-{i}" for i in range(len(images)))
        if len(self.names) != len(images):
            raise UserError(f"{len(images)} images have {len(self.names)} names; give each image one name")
        self._pixels = tuple(
            to_uint8(check_image(image, name=name)) for image, name in zip(images, self.names, strict=True)
        )

    def pixels(self, index: int) -> NDArray[np.uint8]:
        return self._pixels[self._position(index)]


class _Cache:
    """A thread-safe LRU cache of decoded pictures, limited in bytes.

    Pictures are decoded outside the lock, so no thread waits for another's.
    """

    def __init__(self, limit: int) -> None:
        if limit < 0:
            raise UserError(f"cache_bytes={limit}; it must be 0 (no cache) or more")
        self.limit = limit
        self.used = 0
        self._kept: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, index: int, make: Callable[[int], NDArray[np.uint8]]) -> NDArray[np.uint8]:
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
        pixels = make(index)
        pixels.flags.writeable = False  # it is shared
        with self._lock:
            if pixels.nbytes <= self.limit and index not in self._kept:
                self._kept[index] = pixels
                self.used += pixels.nbytes
                while self.used > self.limit:
                    self.used -= self._kept.popitem(last=False)[1].nbytes
        return pixels


class _Made(Dataset):
    """A dataset whose pictures are made on demand and cached."""

    def __init__(self, names: Sequence[str], *, cache_bytes: int) -> None:
        self.names = tuple(names)
        self._cache = _Cache(cache_bytes)

    @abstractmethod
    def _make(self, index: int) -> NDArray[np.uint8]:
        """Decode or draw picture `index`."""

    def pixels(self, index: int) -> NDArray[np.uint8]:
        return self._cache.get(self._position(index), self._make)


class ImageFolder(_Made):
    """Every picture in a folder and its subfolders, sorted by name.

    Files are selected by suffix (`SUFFIXES`, in either case); hidden files and folders are ignored. Files are opened
    on first access, and up to `cache_bytes` of decoded pixels are cached. Names are paths relative to the folder,
    with forward slashes. Pixels deeper than 8 bits are rounded to 8. `names` selects these pictures, in this order,
    without checking that they exist.

    Raises `UserError` for a folder that is missing, unreadable or without pictures; and, when a picture is first
    accessed, for a file that cannot be read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        names: Sequence[str] | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            problem = "is a file" if self.path.exists() else "does not exist"
            raise UserError(f"{quoted(path)} {problem}; give a folder of images")
        names = sorted(walk(self.path)) if names is None else names
        if not names:
            raise UserError(f"{quoted(path)} has no images; their names must end in {', '.join(SUFFIXES)}")
        super().__init__(names, cache_bytes=cache_bytes)

    def _make(self, index: int) -> NDArray[np.uint8]:
        return load_pixels(self.path / self.names[index])

    def shape(self, index: int) -> tuple[int, int]:
        return claims.shape(self.path / self.names[self._position(index)]) or super().shape(index)

    def check(self, *, at_most: int = 500) -> None:
        """Check that the folder has a readable picture, before training starts.

        Single unreadable pictures are left to the loader, which skips them. Raises `UserError` with the first problem
        if none of the first `at_most` pictures can be read.
        """
        problem = ""
        for index in range(min(at_most, len(self))):
            try:
                self.pixels(index)
            except UserError as error:
                problem = problem or str(error)
            else:
                return
        others = f", nor can the {min(at_most, len(self)) - 1} after it" if len(self) > 1 else ""
        raise UserError(f"{problem}{others}; repair or remove them, or give another folder")


def walk(folder: Path) -> list[str]:
    """The paths of all pictures below a folder, relative to it; links are followed, but each picture is taken once."""

    def refuse(error: OSError) -> NoReturn:
        raise UserError(f"cannot list {quoted(error.filename)}: {error.strerror}") from error

    found, seen = [], {os.path.realpath(folder)}

    def new(path: str) -> bool:
        real = os.path.realpath(path)
        known = real in seen
        seen.add(real)
        return not known

    for parent, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and new(os.path.join(parent, name)))
        for name in sorted(files):
            path = os.path.join(parent, name)
            if not name.startswith(".") and name.lower().endswith(SUFFIXES) and new(path):
                found.append(Path(path).relative_to(folder).as_posix())
    return found


class Photographs(_Made):
    """Seven photographs included in scikit-image, so nothing is downloaded.

    Four in colour: astronaut (Eileen Collins; NASA, public domain), coffee (Rachel Michetti, CC0), chelsea (a cat;
    Stéfan van der Walt, CC0), rocket (SpaceX, released into the public domain). Three grey textures:
    brick and gravel (CC0Textures, CC0), grass (linolafett on DeviantArt, CC0). 300 to 640 pixels a side.

    Raises `UserError` if scikit-image, or one of the files, is not installed.
    """

    FILES = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "brick.png", "grass.png", "gravel.png")

    def __init__(self, *, cache_bytes: int = CACHE_BYTES) -> None:
        # Do not import skimage.data: it would offer to download missing files.
        package = importlib.util.find_spec("skimage")
        places = (package.submodule_search_locations if package else None) or ()
        folders = [Path(place) / "data" for place in places]
        self._folder = next((f for f in folders if all((f / file).is_file() for file in self.FILES)), None)
        if self._folder is None:
            raise UserError("scikit-image and its photographs are not fully installed: pip install scikit-image")
        super().__init__([Path(file).stem for file in self.FILES], cache_bytes=cache_bytes)

    def file(self, index: int) -> Path:
        """The path of photograph `index`."""
        assert self._folder is not None
        return self._folder / self.FILES[self._position(index)]

    def _make(self, index: int) -> NDArray[np.uint8]:
        return load_pixels(self.file(index))


class Textures(_Made):
    """`count` generated textures, `size` × `size` pixels, cycling through `textures.KINDS`.

    Texture i depends only on `seed` and i, not on `count` or on the order of access.

    Raises `UserError` for a count below 1, a size below 8, or a negative seed.
    """

    def __init__(self, count: int, *, size: int = 256, seed: int = 0, cache_bytes: int = CACHE_BYTES) -> None:
        if count < 1 or size < 8 or seed < 0:
            raise UserError(f"Textures({count}, size={size}, seed={seed}): needs count >= 1, size >= 8, seed >= 0")
        self.size, self.seed = size, seed
        kinds = tuple(KINDS)
        super().__init__([f"{kinds[i % len(kinds)]}-{i:05d}" for i in range(count)], cache_bytes=cache_bytes)

    def _make(self, index: int) -> NDArray[np.uint8]:
        kind = tuple(KINDS)[index % len(KINDS)]
        return texture(np.random.default_rng([self.seed, index]), kind=kind, size=self.size)

    def shape(self, index: int) -> tuple[int, int]:
        return self.size, self.size


class Subset(Dataset):
    """Some pictures of another dataset, in the order of `indices`.

    Raises `UserError` for an index out of range.
    """

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self.dataset = dataset
        wrong = [i for i in indices if not 0 <= i < len(dataset)]
        if wrong:
            raise UserError(f"there is no picture {wrong[0]} for the subset: the dataset has 0 to {len(dataset) - 1}")
        self.indices = tuple(int(i) for i in indices)
        self.names = tuple(dataset.names[i] for i in self.indices)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        return self.dataset.pixels(self.indices[self._position(index)])

    def shape(self, index: int) -> tuple[int, int]:
        return self.dataset.shape(self.indices[self._position(index)])

    def crops(self, index: int) -> Crops:
        return self.dataset.crops(self.indices[self._position(index)])


class Concat(Dataset):
    """The pictures of several datasets, one after the other."""

    def __init__(self, *datasets: Dataset) -> None:
        self.datasets = datasets
        self.names = tuple(name for dataset in datasets for name in dataset.names)
        self._ends = list(accumulate(len(dataset) for dataset in datasets))

    def pixels(self, index: int) -> NDArray[np.uint8]:
        dataset, position = self._part(index)
        return dataset.pixels(position)

    def shape(self, index: int) -> tuple[int, int]:
        dataset, position = self._part(index)
        return dataset.shape(position)

    def crops(self, index: int) -> Crops:
        dataset, position = self._part(index)
        return dataset.crops(position)

    def _part(self, index: int) -> tuple[Dataset, int]:
        """The dataset that holds a picture, and its index there."""
        position = self._position(index)
        which = bisect_right(self._ends, position)
        return self.datasets[which], position - (self._ends[which - 1] if which else 0)


def split(dataset: Dataset, *, validation: float) -> tuple[Subset, Subset]:
    """Split into training and validation pictures, with about the fraction `validation` in the latter.

    The split depends only on each picture's name: it is a validation picture if its SHA-256 hash, as a fraction, is
    below `validation`. So a picture stays on its side when others are added or removed, on every machine. Each side
    gets at least one picture: if no hash is below, the lowest is taken. A single picture is on both sides.

    Raises `UserError` for an empty dataset and unless 0 < validation < 1.
    """
    if not 0 < validation < 1:
        raise UserError(f"validation={validation}; give the fraction to hold out, between 0 and 1, such as 0.1")
    if len(dataset) == 0:
        raise UserError("an empty dataset cannot be split")
    if len(dataset) == 1:
        return Subset(dataset, [0]), Subset(dataset, [0])
    places = [_place(name) for name in dataset.names]
    by_place = sorted(range(len(dataset)), key=lambda i: places[i])
    held_out = {i for i in by_place if places[i] < validation} - {by_place[-1]} | {by_place[0]}
    train = [i for i in range(len(dataset)) if i not in held_out]
    return Subset(dataset, train), Subset(dataset, sorted(held_out))


def _place(name: str) -> float:
    """A number in [0, 1) from a name, the same on every machine."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2.0**48
