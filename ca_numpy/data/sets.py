"""The paper's five data sets, and the open scenes, on disk: their layouts, splits and rules for crops.

Each set is one function from its folder to a `Layout`; `SETS` lists them with the rule for crops. The split into
training and validation is the set's own. Only `scenes` can be downloaded from here (`data.scenes`): the terms of the
others ask for each user's consent. docs/data.md has the layouts, sources and licences.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ca_numpy.data.datasets import Crops, ImageFolder, walk
from ca_numpy.data.images import quoted
from ca_numpy.errors import UserError
from ca_numpy.schemas import content, inside


class Layout(NamedTuple):
    """The training and validation pictures of a set, by their names relative to `root`."""

    root: Path
    train: Sequence[str]
    validation: Sequence[str]


class Recipe(NamedTuple):
    """How to find a set in its folder, and how to cut crops from it (appendix A and section 5; docs/data.md).

    crops     the rule of `Loader`: "windows" of many sizes, the "whole" shorter side, or unscaled "pixels"
    resized   size of every picture before cropping, (height, width) in pixels
    """

    title: str
    layout: Callable[[Path], Layout]
    crops: Crops
    resized: tuple[int, int] | None = None


class SetPictures(ImageFolder):
    """Pictures of a set, resized and cropped according to its recipe."""

    def __init__(self, root: Path, names: Sequence[str], recipe: Recipe) -> None:
        super().__init__(root, names=names)
        self.recipe = recipe

    def crops(self, index: int) -> Crops:
        return self.recipe.crops

    def shape(self, index: int) -> tuple[int, int]:
        return self.recipe.resized or super().shape(index)

    def _make(self, index: int) -> NDArray[np.uint8]:
        pixels = super()._make(index)
        if self.recipe.resized is None:
            return pixels
        height, width = self.recipe.resized
        return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def open_set(name: str, path: str | os.PathLike[str]) -> tuple[SetPictures, SetPictures]:
    """The training and the validation pictures of the set `name` (one of `SETS`) in a folder.

    Raises `UserError` for an incomplete layout, for a list that names a missing file, and for a picture in both parts.
    """
    recipe, folder = SETS[name], Path(path)
    if not folder.is_dir():
        raise UserError(f"{quoted(folder)} is not a folder: give the one that holds {recipe.title}, as {name}:FOLDER")
    root, train, validation = recipe.layout(folder)
    for part, names in (("train", train), ("validation", validation)):
        if not names:
            raise UserError(f"{recipe.title} in {quoted(folder)} has no pictures for {part}: {_SEE_PAGE}")
        for file in (names[0], names[len(names) // 2], names[-1]):  # checking a million would take minutes
            if not (root / file).is_file():
                raise UserError(f"{recipe.title} lists {quoted(file)}, which is not in {quoted(root)}: unpack it there")
    shared = set(train).intersection(validation)
    if shared:
        raise UserError(f"{recipe.title} in {quoted(folder)} has {quoted(min(shared))} in both parts: {_SEE_PAGE}")
    return SetPictures(root, train, recipe), SetPictures(root, validation, recipe)


_SEE_PAGE = "docs/data.md shows the layout"


# -- finding files ----------------------------------------------------------------------------------------


def _first(folder: Path, names: Iterable[str], *, what: str, optional: bool = False) -> Path | None:
    """The first of these files or folders that exists. If none does, raises `UserError` unless `optional`."""
    tried = list(names)
    found = next((folder / name for name in tried if (folder / name).exists()), None)
    if found is None and not optional:
        raise UserError(f"{what}: {quoted(folder)} has none of {', '.join(tried)}; {_SEE_PAGE}")
    return found


def _need(folder: Path, *names: str, what: str) -> Path:
    found = _first(folder, names, what=what)
    assert found is not None
    return found


def _lines(path: Path) -> list[list[str]]:
    """The words of each line of a list. Raises `UserError` if it cannot be read."""
    try:
        text = content(path, at_most=1 << 30).decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise UserError(f"cannot read the list {quoted(path)} ({e}): get it again") from e
    return [line.replace(",", " ").split() for line in text.splitlines() if line.strip()]


def _listed(path: Path, *, under: str = "", suffix: str = "") -> list[str]:
    """The first word of each line as a name, with `suffix` appended where it is missing.

    Raises `UserError` for a name outside the folder.
    """
    names = []
    for words in _lines(path):
        name = inside(words[0].lstrip("/"), quoted(path))  # Places2's begin with one
        names.append(under + (name if not suffix or name.lower().endswith(suffix.lower()) else name + suffix))
    return names


def _below(root: Path, folder: Path) -> list[str]:
    """Every picture below a folder, named relative to `root`."""
    prefix = folder.relative_to(root).as_posix() + "/"
    return [prefix + name for name in sorted(walk(folder))]


# -- the layouts ------------------------------------------------------------------------------------------


def _places2(folder: Path) -> Layout:
    """Places365-Standard or -Challenge, large or small: data_… and val_…, and the lists if they exist."""
    train = _need(folder, "data_large", "data_large_standard", "data_256", "data_256_standard", what="Places2 (train)")
    validation = _need(folder, "val_large" if "large" in train.name else "val_256", what="Places2 (validation)")
    lists = ("places365_train_standard.txt", "places365_train_challenge.txt")
    parts = []
    for part, names in ((train, lists), (validation, ("places365_val.txt",))):
        file = _first(folder, names, what="Places2", optional=True)
        parts.append(_listed(file, under=f"{part.name}/") if file else _below(folder, part))
    return Layout(folder, parts[0], parts[1])


def _partition(folder: Path, *, what: str) -> dict[str, int]:
    """CelebA's own split: file -> 0 train, 1 validation, 2 test."""
    path = _need(
        folder, "list_eval_partition.txt", "list_eval_partition.csv", "Eval/list_eval_partition.txt", what=what
    )
    lines = (words for words in _lines(path) if len(words) == 2 and words[1] in ("0", "1", "2"))
    partition = {inside(words[0], quoted(path)): int(words[1]) for words in lines}
    if not partition:
        raise UserError(f"{quoted(path)} has no lines with a file and 0, 1 or 2: get CelebA's list again")
    return partition


def _celeba(folder: Path) -> Layout:
    """The aligned and cropped faces, 218 × 178, split by CelebA's list. Its test pictures are not used."""
    faces = _need(
        folder, "img_align_celeba/img_align_celeba", "img_align_celeba", "Img/img_align_celeba", what="CelebA"
    )
    partition = _partition(folder, what="CelebA (list of parts)")
    train, validation = ([name for name, part in partition.items() if part == k] for k in (0, 1))
    return Layout(faces, train, validation)


def _celeba_hq(folder: Path) -> Layout:
    """Folders train and val; or CelebAMask-HQ's faces, each on the side of its original in CelebA."""
    if (folder / "train").is_dir():
        return _two_folders(folder, what="CelebA-HQ")
    faces = _need(folder, "CelebA-HQ-img", what="CelebA-HQ")
    table = _need(folder, "CelebA-HQ-to-CelebA-mapping.txt", what="CelebA-HQ (which face is whose)")
    partition = _partition(folder, what="CelebA-HQ (CelebA's list of parts)")
    sides: dict[int, list[str]] = {0: [], 1: [], 2: []}
    for words in _lines(table)[1:]:  # idx orig_idx orig_file
        part = partition.get(words[-1])
        if part is None:
            raise UserError(
                f"{quoted(table)} names {quoted(words[-1])}, which CelebA's list lacks: get both lists again"
            )
        sides[part].append(inside(f"{words[0]}.jpg", quoted(table)))
    return Layout(faces, sides[0], sides[1])


def _dtd(folder: Path) -> Layout:
    """images/KIND/…, and the first of its ten splits: labels/train1.txt and val1.txt; or folders train and val."""
    if (folder / "train").is_dir():
        return _two_folders(folder, what="DTD")
    root = folder / "dtd" if (folder / "dtd").is_dir() else folder
    _need(root, "images", what="DTD")
    parts = [
        _listed(_need(root, f"labels/{part}1.txt", what="DTD (list)"), under="images/") for part in ("train", "val")
    ]
    return Layout(root, parts[0], parts[1])


def _imagenet(folder: Path) -> Layout:
    """ILSVRC 2012: train/n…/… and val/…; or Kaggle's layout, ILSVRC/Data/CLS-LOC with its lists."""
    root = next((f for f in (folder / "ILSVRC", folder) if (f / "Data" / "CLS-LOC").is_dir()), None)
    if root is None:
        return _two_folders(folder, what="ImageNet")
    lists, pictures = root / "ImageSets" / "CLS-LOC", root / "Data" / "CLS-LOC"
    train = _listed(_need(lists, "train_cls.txt", what="ImageNet (list)"), under="train/", suffix=".JPEG")
    validation = _listed(_need(lists, "val.txt", what="ImageNet (list)"), under="val/", suffix=".JPEG")
    return Layout(pictures, train, validation)


def _two_folders(folder: Path, *, what: str) -> Layout:
    train = _need(folder, "train", what=f"{what} (train)")
    validation = _need(folder, "val", "validation", what=f"{what} (validation)")
    return Layout(folder, _below(folder, train), _below(folder, validation))


def _scenes(folder: Path) -> Layout:
    """The folder made by `ca-numpy data scenes`."""
    what = "scenes (get them with `ca-numpy data scenes`)"
    train, validation = (_listed(_need(folder, file, what=what)) for file in ("train.txt", "validation.txt"))
    return Layout(folder, train, validation)


#: Data sets by name, as in `data="places2:FOLDER"`.
SETS: dict[str, Recipe] = {
    "places2": Recipe("Places2", _places2, "pixels"),
    "celeba": Recipe("CelebA", _celeba, "whole", resized=(315, 256)),
    "celeba-hq": Recipe("CelebA-HQ", _celeba_hq, "whole"),
    "dtd": Recipe("DTD", _dtd, "pixels"),
    "imagenet": Recipe("ImageNet", _imagenet, "pixels"),
    "scenes": Recipe("scenes", _scenes, "windows"),
}
