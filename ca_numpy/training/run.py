"""A training run: system, data and folder, started or resumed."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ca_numpy.atomic import is_temporary, remove_leftovers, write_text
from ca_numpy.backend import Backend
from ca_numpy.data import open_split, resolved
from ca_numpy.errors import UserError, reason
from ca_numpy.filling.ranks import agreeing
from ca_numpy.models.io import CHECKPOINT, GENERATOR, SHIPPED_NAME, load, save
from ca_numpy.registry import current_backend
from ca_numpy.schemas import content
from ca_numpy.training.batches import Batches
from ca_numpy.training.checkpoint import CONFIG, LOG, REPORT, load_checkpoint, save_checkpoint
from ca_numpy.training.config import RESUMABLE, TrainConfig, configured
from ca_numpy.training.lock import LOCK, WRITER, FolderLock
from ca_numpy.training.log import Log
from ca_numpy.training.parallel import Ranks
from ca_numpy.training.system import new_system
from ca_numpy.training.validation import Validation

#: The generator, or its average, of the best validation.
BEST = "generator-best.safetensors"


class Run:
    """A run's system, data, folder, current step, and backend by name, with its precision.

    damage   why newer checkpoints were passed over, or empty
    comm     of the ranks that share each batch
    """

    def __init__(self, config: TrainConfig, *, damage: str = "", comm: Any = None) -> None:
        config.check()
        self.ranks = Ranks(comm, config.batch)
        train_set, held_out = open_split(config.data, validation=config.validation)
        crop_rng, mask_rng, penalty_rng, weight_rng = np.random.default_rng(config.seed).spawn(4)
        self.config, self.step, self.damage = config, 0, damage
        self.backend = _name_for_training(current_backend(), config.precision)
        #: The step and ℓ1 of the best validation.
        self.best: dict[str, float] = {}
        self.batches = Batches(train_set, config, crop_rng=crop_rng, mask_rng=mask_rng, ranks=self.ranks)
        self.system = new_system(config, weight_rng, penalty_rng, self.batches, ranks=self.ranks)
        self.validation = Validation(held_out, config)

    def keep_in(self, folder: Path) -> None:
        """Set the run's folder, and create it if necessary."""
        (folder / "pictures").mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
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
        state = {"step": self.step, "backend": self.backend} | self.batches.state()
        save_checkpoint(self.folder, self.system, state | ({"best": self.best} if self.best else {}), self.config)

    def keep_best(self, record: dict[str, float]) -> None:
        """Write `generator-best.safetensors` if no validation before had a lower ℓ1; of an average, if there is one."""
        for name, average in self.system.averages.items():
            l1, generator = record[f"validation_{name}_l1_refined"], average.generator
            break
        else:
            l1, generator = record["validation_l1_refined"], self.system.generator
        if not self.best or l1 < self.best["l1"]:
            self.best = {"step": self.step, "l1": l1}
            save(self.folder / BEST, generator)

    def restore(self, arrays: dict[str, Any], state: dict[str, Any]) -> None:
        """Restore a checkpoint, and truncate the log to it."""
        self.system.restore(arrays, state)
        self.batches.restore(state)
        self.step, self.best = state["step"], state.get("best", {})
        self.log.truncate(before=self.step)

    def refuse_divergence(self, record: dict[str, float]) -> None:
        """Raises UserError for values that are not finite, before they are saved."""
        bad = [name for name, value in record.items() if not np.isfinite(value)]
        if bad:
            arrays = self.system.arrays()
            lost = [name for name, array in arrays.items() if not np.isfinite(array).all()]
            where = f", nor are {len(lost)} of {len(arrays)} arrays, the first {lost[0]}" if lost else ""
            kept = (self.folder / CHECKPOINT).exists()
            past = "the previous checkpoint is kept" if kept else "there is no checkpoint yet"
            raise UserError(
                f"training diverged at step {self.step} ({bad[0]} is not finite{where}; {past}): "
                "start again with a smaller rate"
            )


def start_run(
    config: TrainConfig | None,
    overrides: dict[str, Any],
    *,
    out: str | PathLike[str] | None,
    lock: FolderLock,
    comm: Any = None,
) -> Run:
    """A new run in a new folder, locked. Raises UserError for bad input, before anything is written.

    A folder where a run was stopped before its first checkpoint is taken over.
    """
    config = with_whole_paths(configured(config or TrainConfig(), overrides))
    if out is not None:
        _refuse_used(Path(out))
    run = Run(config, comm=comm)
    if config.init:
        run.begin_with(config.init)
    folder = Path("runs") if out is None else Path(out)
    try:
        folder = _claimed(folder) if out is None else folder
        folder.mkdir(parents=True, exist_ok=True)
        lock.hold(folder)
        _refuse_used(folder)  # by a process that was faster
        run.keep_in(folder)
        write_text(folder / CONFIG, config.to_json())
    except OSError as e:
        raise UserError(f"cannot write to {str(folder)!r} ({e.strerror}): give another folder with --out") from e
    run.log.truncate(before=0)
    return run


def resume_run(
    folder: Path,
    overrides: dict[str, Any],
    *,
    config: TrainConfig | None,
    out: str | PathLike[str] | None,
    lock: FolderLock,
    comm: Any = None,
) -> Run:
    """The run in a folder, locked, at its last intact checkpoint. Raises UserError for options that cannot change.

    A damaged newest checkpoint is moved to `damaged.safetensors`, and `run.damage` says why.
    """
    if folder.is_dir():
        lock.hold(folder)
    arrays, state, saved, damage = load_checkpoint(folder)
    if out is not None or config is not None:
        raise UserError("a resumed run keeps its folder and configuration: leave out `out` and `config`")
    for name in overrides:
        if name not in RESUMABLE:
            raise UserError(f"{name!r} cannot change when a run is resumed: leave it out, or start a new run")
    run = Run(configured(saved, overrides), damage=damage, comm=comm)
    run.keep_in(folder)
    try:
        run.restore(arrays, state)
    except (KeyError, OverflowError, TypeError) as e:  # state that this configuration needs, or a generator's numbers
        raise UserError(f"the checkpoint in {str(folder)!r} is damaged ({reason(e)}): use another one") from e
    if damage and (folder / CHECKPOINT).exists():
        os.replace(folder / CHECKPOINT, folder / "damaged.safetensors")
    return run


def shared_run(run: Run | None, comm: Any) -> Run:
    """Rank 0's run on all ranks of `comm`: its weights, moments, random generators and position in the data.

    Raises UserError, on all, where a rank cannot read the data.
    """
    sent = run and (run.config, run.folder, run.step, run.system.arrays(), run.system.state() | run.batches.state())
    config, folder, step, arrays, state = comm.bcast(sent)
    with agreeing(comm):
        if run is None:
            run = Run(config, comm=comm)
            run.folder, run.log, run.step = folder, Log(folder / LOG), step
            run.system.restore(arrays, state)
            run.batches.restore(state)
    assert run is not None
    return run


def _name_for_training(backend: Backend, precision: str) -> str:
    """The backend's name with the requested precision; "auto" is that of the backend, or its default for training."""
    plain, _, chosen = backend.name.partition(":")
    wanted = (chosen or backend.training_precision) if precision == "auto" else precision
    return plain if wanted == "float32" else f"{plain}:{wanted}"


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
    if folder.exists() and not (folder.is_dir() and _only_begun(folder)):
        raise UserError(f"{str(folder)!r} is not empty: a run needs its own folder, give another with --out")


def _only_begun(folder: Path) -> bool:
    """Whether the folder has nothing, or what a run writes before its first checkpoint."""
    known = {LOCK, WRITER, CONFIG, LOG, REPORT, "pictures", GENERATOR}
    others = {path.name for path in folder.iterdir() if not is_temporary(path)} - known
    averages = {name for name in others if name.startswith("generator-") and name.endswith(".safetensors")}
    pictures = folder / "pictures"
    if others != averages or (pictures.is_dir() and any(pictures.iterdir())):
        return False
    try:
        return not (folder / CONFIG).exists() or bool(TrainConfig.from_json(content(folder / CONFIG)))
    except UserError:  # somebody else's
        return False


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
