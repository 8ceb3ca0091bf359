"""The training loop around Algorithm 1: steps, validation, pictures, checkpoints."""

from __future__ import annotations

import time
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from ca_numpy.data import skipped_summary
from ca_numpy.engine.tensor import Tensor
from ca_numpy.errors import UserError, quoted
from ca_numpy.filling import ranks
from ca_numpy.machine import peak_memory
from ca_numpy.models import BaseGenerator
from ca_numpy.registry import is_chosen, load_backend, use_backend
from ca_numpy.training.algorithm1 import draw, update_critics, update_generator
from ca_numpy.training.checkpoint import saved_state
from ca_numpy.training.config import TrainConfig
from ca_numpy.training.lock import FolderLock
from ca_numpy.training.log import OnRecord, Progress, StopSignal
from ca_numpy.training.pictures import draw_curves, draw_photograph, draw_pictures
from ca_numpy.training.run import Run, resume_run, shared_run, start_run

#: Maximum time between checkpoints.
SAVE_SECONDS = 300


class TrainResult(NamedTuple):
    """The trained generator, its run, and the images that could not be read, {name: reason}."""

    generator: BaseGenerator
    folder: Path
    config: TrainConfig
    records: list[dict[str, Any]]
    finished: bool
    skipped: dict[str, str]
    signal: int = 0
    """The number of the signal that stopped it."""

    @property
    def interrupted(self) -> bool:
        """Whether a signal stopped the run, such as Ctrl-C."""
        return self.signal != 0


def train(
    config: TrainConfig | None = None,
    *,
    backend: str = "auto",
    out: str | PathLike[str] | None = None,
    resume: str | PathLike[str] | None = None,
    stop_after: int | None = None,
    minutes: float | None = None,
    quiet: bool = False,
    on_record: OnRecord | None = None,
    comm: Any = None,
    **overrides: Any,
) -> TrainResult:
    """Train the whole system by Algorithm 1, and save the run in one folder.

        ca_numpy.train(data="my/pictures", steps=2000, backend="auto")

    config       the configuration, `TrainConfig()` by default; its fields may also be given as keyword arguments
    backend      "numpy", "numba" or another installed backend; "auto" selects the fastest available, or, to resume, the
                 one before
    out          new folder of the run; by default the next free `runs/001`, `runs/002`, …
    resume       folder of an interrupted run, which continues exactly as if it had not been interrupted
    stop_after, minutes   stop with a checkpoint after this step or time; `resume` continues from there
    quiet        print nothing
    on_record    called with each record of the log, a dict of numbers, after it is written. An exception ends the run;
                 resumed from its last checkpoint, it repeats the later records
    comm         a communicator of mpi4py, whose ranks share each batch. All call this; rank 0 writes and validates

    The folder holds `config.json`, `log.jsonl` (one record per step), `checkpoint.safetensors`,
    `generator.safetensors`, with `ema` `generator-ema.safetensors`, `generator-best.safetensors` of the lowest ℓ1 in
    validation, `pictures/` and `curves.png`. Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 finish the step, save, and stop; a
    second one stops immediately. Raises UserError for bad input, or if another process trains in the folder; never
    overwrites a run.
    """
    first = comm is None or comm.rank == 0
    with ranks.together(comm), ranks.divided_cores(comm), FolderLock() as lock, ExitStack() as chosen:
        with ranks.agreeing(comm):
            if first and resume is not None and backend == "auto" and not is_chosen():
                backend = _backend_of(Path(resume))
        backend = backend if comm is None else comm.bcast(backend)
        run = None
        with ranks.agreeing(comm):
            plain = chosen.enter_context(use_backend(backend))
            if first and resume is not None:
                run = resume_run(Path(resume), overrides, config=config, out=out, lock=lock, comm=comm)
            elif first:
                run = start_run(config, overrides, out=out, lock=lock, comm=comm)
        if comm is not None:
            run = shared_run(run, comm)
        assert run is not None
        run.log.on_record = on_record
        with (
            use_backend(run.backend),
            Progress(run.config, first=run.step, quiet=quiet or not first) as progress,
            StopSignal(quiet=not first) as signal,
            run.batches.loader,
        ):
            if run.damage:
                progress.say(f"goes on from step {run.step}: {run.damage}")
            progress.say(
                f"{run.system.generator.count():,} parameters on {run.backend}; pictures: {run.config.data}; "
                f"the run is kept in {run.folder}"
            )
            progress.say(
                f"measured: mean |error| in the hole of held-out crops, in % of the range, and the refined PSNR; "
                f"filling in the mean colour gives {run.validation.mean_colour:.2f} %"
            )
            finished = _loop(run, progress, signal, stop_after=stop_after, minutes=minutes)
            skipped = run.validation.skipped | run.batches.loader.skipped
            if skipped:
                progress.say(skipped_summary(skipped))
            if finished and first:
                shown = draw_photograph(
                    run.folder / "pictures", run.system.generator, run.validation.dataset, run.config
                )
                for path in (*shown, run.folder / "curves.png"):
                    progress.say(f"look at  {path}")
            elif not finished:
                progress.say(f"stopped after step {run.step}: continue with  ca-numpy train --resume {run.folder}")
        plain.release_memory()
    run.system.generator.to_current_backend()
    return TrainResult(run.system.generator, run.folder, run.config, run.log.records, finished, skipped, signal.number)


def _backend_of(folder: Path) -> str:
    """The backend and precision that a run was trained with; "auto" if it does not say.

    Raises UserError if it cannot be used here.
    """
    name = str(saved_state(folder)[0].get("backend") or "auto")
    try:
        load_backend(name)
    except UserError as e:
        raise UserError(f"the run was trained with {quoted(name)}, but {e}; or choose another --backend") from e
    return name


def generator_rate(config: TrainConfig, step: int) -> float:
    """The generator's learning rate at a step: decays linearly from `rate` to `final_rate · rate`."""
    return config.rate * (1 - (1 - config.final_rate) * step / max(config.steps - 1, 1))


def _loop(run: Run, progress: Progress, signal: StopSignal, *, stop_after: int | None, minutes: float | None) -> bool:
    """Train to the end (True), or until asked to stop (False)."""
    config, began = run.config, time.monotonic()
    saved = began
    first = run.ranks.first
    if run.step == 0:
        first(run.save)  # before validating, so that a run killed meanwhile can be resumed
        first(lambda: _measure(run, progress))
    while run.step < config.steps:
        _step(run, progress)
        last = run.step == config.steps
        if run.step % config.validate_every == 0 or last:
            first(lambda: _measure(run, progress))
        if run.step % config.pictures_every == 0 or last:
            first(lambda: _draw(run))
        late = minutes is not None and time.monotonic() - began > 60 * minutes
        stop = late or (stop_after is not None and run.step >= stop_after)
        due = run.step % config.checkpoint_every == 0 or time.monotonic() - saved > SAVE_SECONDS
        signal.number, stopped, saving = run.ranks.largest(signal.number, stop, last or due)
        stop = bool(stopped or signal.number)
        if stop or saving:
            first(run.save)
            saved = time.monotonic()
        if stop and not last:
            return False
    return True


def _step(run: Run, progress: Progress) -> None:
    """One iteration of Algorithm 1, logged."""
    began = time.monotonic()
    values: dict[str, Tensor] = {}
    adversarial = run.step >= run.config.pretrain
    if adversarial:
        for drawn in draw(run.system, updates=run.config.critic_steps):
            values |= update_critics(run.system, run.config, drawn)
    rate = generator_rate(run.config, run.step)
    values |= update_generator(run.system, run.config, rate=rate, adversarial=adversarial)
    for average in run.system.averages.values():
        average.update()
    means = zip(values, run.ranks.mean(list(values.values())), strict=True)
    record: dict[str, Any] = {"step": run.step} | {name: float(value) for name, value in means}
    run.refuse_divergence(record)
    run.step += 1
    record |= {"rate": rate, "seconds": round(time.monotonic() - began, 4)}
    run.ranks.first(lambda: run.log.append(record))
    progress.step(record)


def _draw(run: Run) -> None:
    """Held-out pictures and the curves at this step."""
    draw_pictures(run.folder / "pictures" / f"step-{run.step:06d}.png", run.system.generator, run.validation)
    draw_curves(run.folder / "curves.png", run.log.records, run.validation)


def _measure(run: Run, progress: Progress) -> None:
    """Validate at this step and log it. A resumed run does not repeat this."""
    averages = run.system.averages
    record = {"step": run.step} | run.validation.measure(run.system.generator)
    for name, average in averages.items():
        measured = run.validation.measure(average.generator)
        record |= {key.replace("validation", f"validation_{name}"): value for key, value in measured.items()}
    run.refuse_divergence(record)
    record["mean_colour"] = run.validation.mean_colour
    if (memory := peak_memory()) is not None:
        record["memory"] = round(memory / 2**20)
    run.log.append(record)
    run.keep_best(record)
    progress.validated(record, averages=averages)
