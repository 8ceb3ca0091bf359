"""Where training pictures come from: a folder, photographs that are already installed, textures, arrays.

A dataset names its pictures and hands out one at a time, RGB and of any size:

    len(dataset), dataset.names[i], dataset[i]      float32 in [-1, 1], H W 3
    dataset.pixels(i)                               the same as uint8: a quarter of the memory

To add a source of your own, derive from `Dataset` and write `names` and `pixels`.
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

from ca_numpy.data.images import check_image, load_pixels, quoted, to_float, to_uint8
from ca_numpy.data.textures import KINDS, texture
from ca_numpy.errors import UserError

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff"),
    *(".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".tga"),
)

#: How training crops are cut from a picture: windows of many sizes; as much as there is; pixels as they are.
Crops = Literal["windows", "whole", "pixels"]

CACHE_BYTES = 1 << 29  # half a gibibyte: about 2700 pictures of 256 × 256


class Dataset(ABC):
    """Pictures by number, from 0 to len − 1, each with a name."""

    names: tuple[str, ...]

    def crops(self, index: int) -> Crops:
        """The rule by which training crops are cut from picture `index`; `loader.Loader` says what each does."""
        return "windows"

    @abstractmethod
    def pixels(self, index: int) -> NDArray[np.uint8]:
        """Picture `index`: RGB uint8, H W 3. It may be shared: do not write into it."""

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> NDArray[np.float32]:
        """Picture `index`: RGB float32 in [-1, 1], H W 3. Raises `IndexError` outside −len … len − 1."""
        return to_float(self.pixels(self._position(index)))

    def _position(self, index: int) -> int:
        """The index, counted from the front."""
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"there is no picture {index} in a dataset of {len(self)}")
        return position % len(self)


class Images(Dataset):
    """Pictures that are already arrays: float in [-1, 1] or uint8, H W 3, of any sizes.

    Raises `UserError` for an array that is no image, none at all, or a number of names that does not match.
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
    """Decoded pictures, the least recently used dropped first, so that together they stay below a limit.

    Several threads may ask at once: each decodes outside of the lock, so that none waits for another's picture.
    """

    def __init__(self, limit: int) -> None:
        if limit < 0:
            raise UserError(f"cache_bytes={limit}; give 0 (keep nothing) or more")
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
        pixels.flags.writeable = False  # it is handed out again: nobody may paint on it
        with self._lock:
            if pixels.nbytes <= self.limit and index not in self._kept:
                self._kept[index] = pixels
                self.used += pixels.nbytes
                while self.used > self.limit:
                    self.used -= self._kept.popitem(last=False)[1].nbytes
        return pixels


class _Made(Dataset):
    """A dataset whose pictures are made when asked for, and kept as long as there is room."""

    def __init__(self, names: Sequence[str], *, cache_bytes: int) -> None:
        self.names = tuple(names)
        self._cache = _Cache(cache_bytes)

    @abstractmethod
    def _make(self, index: int) -> NDArray[np.uint8]:
        """Decode or draw picture `index`."""

    def pixels(self, index: int) -> NDArray[np.uint8]:
        return self._cache.get(self._position(index), self._make)


class ImageFolder(_Made):
    """Every picture in a folder and the folders below it, in the order of their names.

    A file counts by its suffix (`SUFFIXES`, capitals or not); hidden files and folders do not. Files are opened
    when first asked for, and up to `cache_bytes` of decoded pixels are kept. Names are the paths within
    the folder, with forward slashes. Pixels deeper than 8 bits are rounded to 8. With `names`, only these pictures, in
    this order; they are not looked for before they are asked for.

    Raises `UserError` for a folder that is missing, unreadable or without pictures; and where a picture is first
    asked for, for a file that cannot be read.
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
            raise UserError(f"{quoted(path)} {problem}; name a folder of images")
        names = sorted(walk(self.path)) if names is None else names
        if not names:
            raise UserError(f"{quoted(path)} has no images; files count that end in {', '.join(SUFFIXES)}")
        super().__init__(names, cache_bytes=cache_bytes)

    def _make(self, index: int) -> NDArray[np.uint8]:
        return load_pixels(self.path / self.names[index])

    def check(self, *, at_most: int = 500) -> None:
        """Read pictures until one is good, so that a folder of nothing but bad ones is known now and not later.

        A single bad picture is left to the loader, which goes on to the next. Raises `UserError` with the first
        problem where none of the first `at_most` pictures can be read.
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
        raise UserError(f"{problem}{others}; mend or remove what is bad, or name another folder")


def walk(folder: Path) -> list[str]:
    """The paths of all pictures below a folder, relative to it."""

    def refuse(error: OSError) -> NoReturn:
        raise UserError(f"cannot look into {quoted(error.filename)}: {error.strerror}") from error

    found = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and name.lower().endswith(SUFFIXES):
                found.append((Path(parent) / name).relative_to(folder).as_posix())
    return found


class Photographs(_Made):
    """Seven photographs that come with scikit-image: no download.

    Four in colour: astronaut (Eileen Collins; NASA, public domain), coffee (Rachel Michetti, CC0), chelsea (a cat;
    Stéfan van der Walt, CC0), rocket (SpaceX, released into the public domain). Three grey ones, textures:
    brick and gravel (CC0Textures, CC0), grass (linolafett on DeviantArt, CC0). 300 to 640 pixels a side.

    Raises `UserError` where scikit-image, or one of the files, is not installed.
    """

    FILES = ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "brick.png", "grass.png", "gravel.png")

    def __init__(self, *, cache_bytes: int = CACHE_BYTES) -> None:
        # The files are found without importing skimage.data, which would offer to download what is missing.
        package = importlib.util.find_spec("skimage")
        places = (package.submodule_search_locations if package else None) or ()
        folders = [Path(place) / "data" for place in places]
        self._folder = next((f for f in folders if all((f / file).is_file() for file in self.FILES)), None)
        if self._folder is None:
            raise UserError(
                "the photographs come with scikit-image, which is not (wholly) here: pip install scikit-image"
            )
        super().__init__([Path(file).stem for file in self.FILES], cache_bytes=cache_bytes)

    def file(self, index: int) -> Path:
        """Where photograph `index` lies."""
        assert self._folder is not None
        return self._folder / self.FILES[self._position(index)]

    def _make(self, index: int) -> NDArray[np.uint8]:
        return load_pixels(self.file(index))


class Textures(_Made):
    """`count` textures made by program, `size` × `size` pixels; the kinds (`textures.KINDS`) take turns.

    Texture i depends on `seed` and i alone, not on how many there are or in what order they are asked for.

    Raises `UserError` for fewer than one texture, below 8 pixels, or a negative seed.
    """

    def __init__(self, count: int, *, size: int = 256, seed: int = 0, cache_bytes: int = CACHE_BYTES) -> None:
        if count < 1 or size < 8 or seed < 0:
            raise UserError(f"Textures({count}, size={size}, seed={seed}): count is 1 or more, size 8, seed 0")
        self.size, self.seed = size, seed
        kinds = tuple(KINDS)
        super().__init__([f"{kinds[i % len(kinds)]}-{i:05d}" for i in range(count)], cache_bytes=cache_bytes)

    def _make(self, index: int) -> NDArray[np.uint8]:
        kind = tuple(KINDS)[index % len(KINDS)]
        return texture(np.random.default_rng([self.seed, index]), kind=kind, size=self.size)


class Subset(Dataset):
    """Some pictures of another dataset, in the order of `indices`.

    Raises `UserError` where an index is not in the dataset.
    """

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self.dataset = dataset
        wrong = [i for i in indices if not 0 <= i < len(dataset)]
        if wrong:
            raise UserError(f"a subset asks for picture {wrong[0]}, but the dataset has 0 to {len(dataset) - 1}")
        self.indices = tuple(int(i) for i in indices)
        self.names = tuple(dataset.names[i] for i in self.indices)

    def pixels(self, index: int) -> NDArray[np.uint8]:
        return self.dataset.pixels(self.indices[self._position(index)])

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

    def crops(self, index: int) -> Crops:
        dataset, position = self._part(index)
        return dataset.crops(position)

    def _part(self, index: int) -> tuple[Dataset, int]:
        """The dataset that a picture lies in, and its number there."""
        position = self._position(index)
        which = bisect_right(self._ends, position)
        return self.datasets[which], position - (self._ends[which - 1] if which else 0)


def split(dataset: Dataset, *, validation: float) -> tuple[Subset, Subset]:
    """Divide into pictures to train on and pictures to validate on, about the fraction `validation` of them.

    A picture's name alone decides, by its SHA-256 hash as a fraction: below `validation` it validates. So a
    picture stays on its side when others come and go, on every machine. Each side has at least one picture: where none
    lies below, the lowest validates, and that may change with the others. A single picture is on both sides.

    Raises `UserError` for an empty dataset and unless 0 < validation < 1.
    """
    if not 0 < validation < 1:
        raise UserError(f"validation={validation}; give the fraction to keep apart, between 0 and 1, such as 0.1")
    if len(dataset) == 0:
        raise UserError("an empty dataset cannot be split")
    if len(dataset) == 1:
        return Subset(dataset, [0]), Subset(dataset, [0])
    places = [_place(name) for name in dataset.names]
    by_place = sorted(range(len(dataset)), key=lambda i: places[i])
    kept_apart = {i for i in by_place if places[i] < validation} - {by_place[-1]} | {by_place[0]}
    train = [i for i in range(len(dataset)) if i not in kept_apart]
    return Subset(dataset, train), Subset(dataset, sorted(kept_apart))


def _place(name: str) -> float:
    """A name as a number in [0, 1), the same everywhere and for ever."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2.0**48
