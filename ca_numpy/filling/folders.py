"""Filling many pictures: pairs by name, from where it stopped, and nothing overwritten."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, cast

from tqdm import tqdm

from ca_numpy.atomic import remove_leftovers, write_text
from ca_numpy.data.datasets import walk
from ca_numpy.data.images import quoted
from ca_numpy.data.photo import read_photo, result_suffix
from ca_numpy.errors import UserError
from ca_numpy.filling import ranks
from ca_numpy.filling.inpainting import COMPILED, inpaint_photo
from ca_numpy.filling.soon import soonest
from ca_numpy.models.io import opened
from ca_numpy.registry import current_backend, use_backend


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
    comm: Any = None,
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
    comm        a communicator of mpi4py, whose ranks share the pictures. All ranks call this, and get the same report
    options     as for `inpaint_photo`

    Each result is written atomically. A picture that cannot be filled does not stop the others; it is in the report.
    What an earlier run was writing when it was killed is removed. Raises UserError for folders that do not exist, or
    are the same, and for a method, model or backend that cannot be used.
    """
    images, out, jobs = Path(images), Path(out), list[_Job]()
    with ranks.together(comm), ranks.divided_cores(comm), ExitStack() as context:
        backend = options.get("backend", "auto")
        if comm is not None and len(set(comm.allgather((str(images), str(masks), str(out))))) > 1:
            raise UserError("the ranks were given different folders: share one, or start each process without mpiexec")
        with ranks.agreeing(comm):
            if comm is None or comm.rank == 0:
                jobs = _jobs(images, masks, out)
                out.mkdir(parents=True, exist_ok=True)
                remove_leftovers(out)
                # A hole of 128² and a margin each.
                around = 150_000 if options.get("method", "guided") in COMPILED else 0
                context.enter_context(soonest(backend, pixels=around * len(jobs)))
        if comm is not None and backend == "auto":  # the same for all
            backend = comm.bcast(current_backend().name)
        with ranks.agreeing(comm):
            if comm is not None and comm.rank:
                context.enter_context(use_backend(backend))
            if options.get("method", "guided") in ("guided", "network"):
                options["model"] = opened(options.get("model"))  # once for all
        work = partial(_fill, images, out, overwrite, options)
        bar = tqdm(total=len(jobs), desc="pictures", disable=quiet or bool(comm and comm.rank) or None)
        results = []
        for result in ranks.shared(jobs, work, comm):
            results.append(result)
            bar.update()
        bar.close()
        report = Report()
        for name, fate, text, lost in sorted(results):
            getattr(report, fate)[name] = text
            if lost:
                report.notes[name] = lost
        return report if comm is None else cast("Report", comm.bcast(report))


class _Job(NamedTuple):
    name: str
    mask: Path | UserError | None
    base: str
    """The result's name without its suffix."""


def _jobs(images: Path, masks: str | PathLike[str] | None, out: Path) -> list[_Job]:
    if not images.is_dir():
        raise UserError(f"{quoted(images)} is no folder of pictures; check the path")
    if out.resolve() == images.resolve():
        raise UserError(f"{quoted(out)} holds the pictures: give another folder for the results")
    names = sorted(walk(images))
    names = [name for name in names if out.resolve() not in (images / name).resolve().parents]  # results of before
    if not names:
        raise UserError(f"{quoted(images)} has no pictures")
    by_stem = _by_stem(Path(masks)) if masks is not None and Path(masks).is_dir() else None
    stems, jobs = Counter(_stem(name).casefold() for name in names), []
    for name in names:
        base = name if stems[_stem(name).casefold()] > 1 else _stem(name)
        try:
            jobs.append(_Job(name, _mask_of(name, by_stem, masks), base))
        except UserError as error:
            jobs.append(_Job(name, error, base))
    return jobs


def _fill(images: Path, out: Path, overwrite: bool, options: dict[str, Any], job: _Job) -> tuple[str, str, str, str]:
    """The picture's name, a field of the report, its text there, and what the result could not keep."""
    try:
        if isinstance(job.mask, UserError):
            raise job.mask
        image, most = images / job.name, options.get("max_pixels")
        result = f"{job.base}{result_suffix(image, max_pixels=most)}"
        if (out / result).exists() and not overwrite:
            return job.name, "there", result, ""
        photo = inpaint_photo(read_photo(image, max_pixels=most), job.mask, **options)
        (out / result).parent.mkdir(parents=True, exist_ok=True)
        return job.name, "filled", result, "; ".join(photo.lost + photo.save(out / result))
    except UserError as error:
        return job.name, "failed", str(error), ""


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
