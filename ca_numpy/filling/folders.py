"""Filling many pictures: pairs by name, from where it stopped, and nothing overwritten."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm.auto import tqdm

from ca_numpy.atomic import write_text
from ca_numpy.data.datasets import walk
from ca_numpy.data.images import quoted
from ca_numpy.data.photo import read_photo
from ca_numpy.errors import UserError
from ca_numpy.filling.inpainting import inpaint_photo
from ca_numpy.filling.soon import soonest
from ca_numpy.models.io import opened


@dataclass
class Report:
    """What became of each picture of a folder; names are relative to it."""

    filled: dict[str, str] = field(default_factory=dict)
    """The name of the result."""
    there: dict[str, str] = field(default_factory=dict)
    """Results that were there before."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why not."""
    notes: dict[str, str] = field(default_factory=dict)
    """What a result could not keep of its picture."""

    def save(self, path: str | PathLike[str]) -> None:
        """Write it as JSON, atomically. Raises UserError if the folder does not exist or is not writable."""
        try:
            write_text(Path(path), json.dumps(asdict(self), indent=1) + "\n")
        except OSError as error:
            raise UserError(f"cannot write {quoted(path)}: {error.strerror or error}") from error


def inpaint_folder(
    images: str | PathLike[str],
    masks: str | PathLike[str] | None,
    out: str | PathLike[str],
    *,
    overwrite: bool = False,
    quiet: bool = True,
    **options: Any,
) -> Report:
    """Fill every picture of a folder and its subfolders, and write the results under the same names to another.

    images      a folder; links to folders are followed, and each picture is taken once
    masks       a folder with a mask of the same name, whatever its suffix, for each picture; one file for all pictures;
                or None with `boxes`
    out         a folder, made if it does not exist. A result has the suffix of its picture where that format loses
                nothing, else .png; pictures whose names differ in the suffix alone keep it: a.jpg.png
    overwrite   fill again what is there; otherwise a run that was stopped goes on where it was
    quiet       show no progress bar
    options     as for `inpaint_photo`

    Each result is written atomically. A picture that cannot be filled does not stop the others; it is in the report.
    Raises UserError for folders that do not exist, or are the same, and for a method, model or backend that cannot be
    used.
    """
    images, out = Path(images), Path(out)
    if not images.is_dir():
        raise UserError(f"{quoted(images)} is no folder of pictures; check the path")
    if out.resolve() == images.resolve():
        raise UserError(f"{quoted(out)} holds the pictures: give another folder for the results")
    names = sorted(walk(images))
    names = [name for name in names if out.resolve() not in (images / name).resolve().parents]  # results of before
    if not names:
        raise UserError(f"{quoted(images)} has no pictures")
    by_stem = _by_stem(Path(masks)) if masks is not None and Path(masks).is_dir() else None
    stems, report = Counter(_stem(name).casefold() for name in names), Report()
    out.mkdir(parents=True, exist_ok=True)
    with soonest(options.get("backend", "auto"), pixels=150_000 * len(names)):  # a hole of 128² and a margin each
        if options.get("method", "guided") in ("guided", "network"):
            options["model"] = opened(options.get("model"))  # once for all
        for name in tqdm(names, desc="pictures", disable=quiet or None):
            base = name if stems[_stem(name).casefold()] > 1 else _stem(name)
            try:
                mask = _mask_of(name, by_stem, masks)
                _fill(images / name, mask, out, base, name, report, overwrite, options)
            except UserError as error:
                report.failed[name] = str(error)
    return report


def _fill(
    image: Path,
    mask: Path | None,
    out: Path,
    base: str,
    name: str,
    report: Report,
    overwrite: bool,
    options: dict[str, Any],
) -> None:
    photo = read_photo(image, max_pixels=options.get("max_pixels"))
    target = out / f"{base}{photo.suffix}"
    if target.exists() and not overwrite:
        report.there[name] = target.relative_to(out).as_posix()
        return
    photo = inpaint_photo(photo, mask, **options)
    target.parent.mkdir(parents=True, exist_ok=True)
    if lost := photo.lost + photo.save(target):
        report.notes[name] = "; ".join(lost)
    report.filled[name] = target.relative_to(out).as_posix()


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()


def _by_stem(folder: Path) -> Mapping[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for name in sorted(walk(folder)):
        found.setdefault(_stem(name), []).append(folder / name)
    return found


def _mask_of(name: str, by_stem: Mapping[str, list[Path]] | None, masks: str | PathLike[str] | None) -> Path | None:
    if by_stem is None:
        return None if masks is None else Path(masks)
    found = by_stem.get(_stem(name), [])
    if len(found) > 1:  # a.jpg has the mask a.jpg, or else a.jpg.png
        found = [mask for mask in found if mask.name == PurePosixPath(name).name] or found
    if whole := by_stem.get(name):
        found = whole
    if len(found) != 1:
        what = "no mask" if not found else f"{len(found)} masks"
        raise UserError(f"{what} named {_stem(name)}.* in {quoted(masks)}")  # type: ignore[arg-type]
    return found[0]
