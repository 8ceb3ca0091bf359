"""Opening the pictures named by `data="…"`, and splitting them into training and validation."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ca_numpy.data.datasets import Concat, Dataset, ImageFolder, Photographs, Textures, split
from ca_numpy.data.images import quoted
from ca_numpy.data.sets import SETS, open_set
from ca_numpy.errors import UserError

NAMED: dict[str, Callable[[], Dataset]] = {
    "photographs": Photographs,
    "textures": lambda: Textures(64, size=256, seed=0),
}


class Parts(NamedTuple):
    """Training pictures and validation pictures."""

    train: Dataset
    validation: Dataset


def open_dataset(data: str | os.PathLike[str], *, held_out: bool = False) -> Dataset:
    """Open the pictures named by `TrainConfig.data`: a folder, "photographs", "textures", SET:FOLDER, joined by "+".

    With `held_out`, a set with its own split gives only its validation pictures.
    Raises UserError for a missing or empty folder, and for a set with an incomplete layout.
    """
    free, own = _opened(data)
    parts = [part for pair in own for part in (pair[1:] if held_out else pair)]
    return _joined([*free, *parts])


def open_split(data: str | os.PathLike[str], *, validation: float) -> Parts:
    """As `open_dataset`, split into training and held-out pictures.

    Sets with their own split keep it; of all other pictures the fraction `validation` is held out by name (`split`).
    Raises UserError as `open_dataset` does.
    """
    free, own = _opened(data)
    sides = [Parts(*split(_joined(free), validation=validation)), *own] if free else own
    return Parts(_joined([side.train for side in sides]), _joined([side.validation for side in sides]))


def resolved(data: str) -> str:
    """`data` with absolute paths, to be opened from any folder. Raises UserError for an empty name."""
    return "+".join(_resolved(part) for part in _words(data))


def _resolved(word: str) -> str:
    name, colon, path = word.partition(":")
    if colon and name in SETS:
        return f"{name}:{os.path.realpath(path)}"
    return word if word in NAMED or not Path(word).is_dir() else os.path.realpath(word)


def _words(data: str) -> list[str]:
    """The parts joined by "+". Folder names may contain one, so the longest existing name wins."""
    if "\0" in data or max(len(os.fsencode(part)) for part in data.split(os.sep)) > 255:  # no file system has them
        raise UserError(f"there is no folder {data[:80]!r}: check the path")
    pieces, words = data.split("+"), list[str]()
    while pieces:
        lengths = range(len(pieces), 1, -1)
        length = next((n for n in lengths if _folder("+".join(pieces[:n])).is_dir()), 1)
        words.append("+".join(pieces[:length]))
        pieces = pieces[length:]
    if "" in words:
        raise UserError(f"data={data!r} has an empty name: give folders and sets, joined by a single +")
    return words


def _folder(word: str) -> Path:
    name, _, path = word.partition(":")
    return Path(path if name in SETS else word)


def _refuse_overlap(words: list[str]) -> None:
    """A picture under two names could be in both the training and the validation part."""
    folders = [(word, Path(os.path.realpath(_folder(word)))) for word in words if word not in NAMED]
    for (one, outer), (other, inner) in itertools.permutations(folders, 2):
        if inner.is_relative_to(outer):
            raise UserError(f"{quoted(other)} and {quoted(one)} share pictures: omit one of them")
    named = [word for word in words if word in NAMED]
    if len(set(named)) < len(named):
        raise UserError(f"{'+'.join(words)!r} names the same pictures twice: omit one")


def _opened(data: str | os.PathLike[str]) -> tuple[list[Dataset], list[Parts]]:
    """Datasets to be split by name, and those with their own split."""
    free: list[Dataset] = []
    own: list[Parts] = []
    words = _words(os.fspath(data))
    _refuse_overlap(words)
    for word in words:
        name, colon, path = word.partition(":")
        if word in NAMED:
            free.append(NAMED[word]())
        elif colon and name in SETS:
            own.append(Parts(*open_set(name, path)))
        elif colon and "/" not in name and not Path(word).exists() and len(name) > 1:  # C:\… is a folder on Windows
            raise UserError(f"there is no set {name!r}: choose from {', '.join(SETS)}, or give a folder")
        else:
            free.append(ImageFolder(word))
    for part in (*free, *(side for pair in own for side in pair)):
        if isinstance(part, ImageFolder):
            part.check()
    return free, own


def _joined(parts: list[Dataset]) -> Dataset:
    return parts[0] if len(parts) == 1 else Concat(*parts)
