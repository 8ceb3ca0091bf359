"""A training run: system, data and folder, started or resumed."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ca_numpy.atomic import write_text
from ca_numpy.data import open_split, resolved
from ca_numpy.errors import UserError, reason
from ca_numpy.models.io import CHECKPOINT, SHIPPED_NAME, load
from ca_numpy.training.batches import Batches
from ca_numpy.training.checkpoint import CONFIG, LOG, load_checkpoint, save_checkpoint
from ca_numpy.training.config import RESUMABLE, TrainConfig, configured
from ca_numpy.training.log import Log
from ca_numpy.training.system import new_system
from ca_numpy.training.validation import Validation


class Run:
    """A run's system, data, folder, and current step."""

    def __init__(self, config: TrainConfig) -> None:
        config.check()
        train_set, held_out = open_split(config.data, validation=config.validation)
        crop_rng, mask_rng, penalty_rng, weight_rng = np.random.default_rng(config.seed).spawn(4)
        self.config, self.step = config, 0
        self.batches = Batches(train_set, config, crop_rng=crop_rng, mask_rng=mask_rng)
        self.system = new_system(config, weight_rng, penalty_rng, self.batches)
        self.validation = Validation(held_out, config)

    def keep_in(self, folder: Path) -> None:
        """Set the run's folder, and create it if necessary."""
        (folder / "pictures").mkdir(parents=True, exist_ok=True)
        self.folder, self.log = folder, Log(folder / LOG)

    def begin_with(self, path: str) -> None:
        """Initialise from a generator's weights. Raises UserError for another architecture."""
        try:
            self.system.generator.load_arrays(load(path).arrays())
        except UserError as e:
            raise UserError(f"cannot initialise from {path!r}: {e}") from e

    def save(self) -> None:
        """Write a checkpoint. Raises UserError, and keeps the previous one, if training has diverged."""
        self.refuse_divergence({name: float(np.abs(a).max()) for name, a in self.system.arrays().items()})
        save_checkpoint(self.folder, self.system, {"step": self.step} | self.batches.state(), self.config)

    def restore(self, arrays: dict[str, Any], state: dict[str, Any]) -> None:
        """Restore a checkpoint, and truncate the log to it."""
        self.system.restore(arrays, state)
        self.batches.restore(state)
        self.step = state["step"]
        self.log.truncate(before=self.step)

    def refuse_divergence(self, record: dict[str, float]) -> None:
        """Raises UserError for values that are not finite, before they are saved."""
        bad = [name for name, value in record.items() if not np.isfinite(value)]
        if bad:
            kept = (self.folder / CHECKPOINT).exists()
            past = "the previous checkpoint is kept" if kept else "there is no checkpoint yet"
            raise UserError(
                f"training diverged at step {self.step} ({bad[0]} not finite; {past}): start again with a smaller rate"
            )


def start_run(config: TrainConfig | None, overrides: dict[str, Any], *, out: str | PathLike[str] | None) -> Run:
    """A new run in a new folder. Raises UserError for bad input, before anything is written."""
    config = with_whole_paths(configured(config or TrainConfig(), overrides))
    if out is not None:
        _refuse_used(Path(out))
    run = Run(config)
    if config.init:
        run.begin_with(config.init)
    folder = Path("runs") if out is None else Path(out)
    try:
        folder = _claimed(folder) if out is None else folder
        run.keep_in(folder)
        write_text(folder / CONFIG, config.to_json())
    except OSError as e:
        raise UserError(f"cannot write to {str(folder)!r} ({e.strerror}): give another folder with --out") from e
    run.log.truncate(before=0)
    return run


def resume_run(
    folder: Path, overrides: dict[str, Any], *, config: TrainConfig | None, out: str | PathLike[str] | None
) -> Run:
    """The run in a folder, at its last checkpoint. Raises UserError for options that cannot change."""
    arrays, state, saved = load_checkpoint(folder)
    if out is not None or config is not None:
        raise UserError("a resumed run keeps its folder and configuration: leave out `out` and `config`")
    for name in overrides:
        if name not in RESUMABLE:
            raise UserError(f"{name!r} cannot change when a run is resumed: leave it out, or start a new run")
    run = Run(configured(saved, overrides))
    run.keep_in(folder)
    try:
        run.restore(arrays, state)
    except (KeyError, OverflowError, TypeError) as e:  # state that this configuration needs, or a generator's numbers
        raise UserError(f"the checkpoint in {str(folder)!r} is damaged ({reason(e)}): use another one") from e
    return run


def with_whole_paths(config: TrainConfig) -> TrainConfig:
    """The configuration with absolute paths, so that its run can be resumed from any folder."""
    paths = {"data": resolved(config.data)}
    for name in ("init", "vgg"):
        given = getattr(config, name)
        if given and given != SHIPPED_NAME and Path(given).exists():
            paths[name] = str(Path(given).resolve())
    return configured(config, paths)


def _refuse_used(folder: Path) -> None:
    if (folder / CHECKPOINT).exists():
        raise UserError(f"{str(folder)!r} already holds a run: give another folder, or continue with --resume {folder}")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{str(folder)!r} is not empty: a run needs its own folder, give another with --out")


def _claimed(parent: Path) -> Path:
    """Create the next of runs/001, runs/002, …, atomically, so that concurrent runs get different folders."""
    for n in range(1, 10**6):
        folder = parent / f"{n:03d}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise UserError(f"{str(parent)!r} is full: give a folder with --out")
