"""The loop around Algorithm 1: data in, steps, measurements, pictures, checkpoints."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ca_numpy.atomic import write_text
from ca_numpy.backend import Backend
from ca_numpy.data import BackgroundLoader, Loader, MaskSampler, open_split, resolved, skipped_summary
from ca_numpy.engine.tensor import Tensor
from ca_numpy.errors import UserError
from ca_numpy.models import BaseGenerator, Critic, Learnt, architecture
from ca_numpy.models.io import CHECKPOINT, SHIPPED_NAME, load
from ca_numpy.models.variants import variant_of
from ca_numpy.nn import Vgg16
from ca_numpy.nn.optim import Adam, Clock
from ca_numpy.registry import use_backend
from ca_numpy.training.algorithm1 import Batch, System, update_critics, update_generator
from ca_numpy.training.checkpoint import CONFIG, LOG, load_checkpoint, restore, save_checkpoint
from ca_numpy.training.config import RESUMABLE, TrainConfig, configured
from ca_numpy.training.log import Log, Progress, StopSignal
from ca_numpy.training.pictures import draw_curves, draw_photograph, draw_pictures
from ca_numpy.training.validation import Validation

#: A checkpoint at least this often, however long a step takes.
SAVE_SECONDS = 300


class TrainResult(NamedTuple):
    """What `train` returns.

    The trained generator, the run's folder, its configuration and its log's records; whether it came to its end; and
    the pictures that could not be read, each with what is wrong with it.
    """

    generator: BaseGenerator
    folder: Path
    config: TrainConfig
    records: list[dict[str, Any]]
    finished: bool
    skipped: dict[str, str]
    interrupted: bool = False


def train(
    config: TrainConfig | None = None,
    *,
    backend: str = "auto",
    out: str | PathLike[str] | None = None,
    resume: str | PathLike[str] | None = None,
    stop_after: int | None = None,
    minutes: float | None = None,
    quiet: bool = False,
    **overrides: Any,
) -> TrainResult:
    """Train the whole system by Algorithm 1, and keep everything about the run in one folder.

        ca_numpy.train(data="my/pictures", steps=2000, backend="auto")

    config       the configuration; `TrainConfig()` if not given. Any of its fields may be given as an option too
    backend      "numpy", "numba" or another that is installed; "auto" takes the best that works here and says which
    out          folder of the run, made anew; the next free `runs/001`, `runs/002`, … if not given
    resume       folder of an interrupted run: goes on exactly as if it had not been interrupted
    stop_after, minutes   stop (with a checkpoint) after this step, or after this time; `resume` goes on from there
    quiet        print nothing

    The folder holds `config.json`, `log.jsonl` (a record per step), `checkpoint.safetensors`, `generator.safetensors`,
    `pictures/` and `curves.png`. Ctrl-C finishes the step, saves, and stops; a second one stops at once.

    Raises UserError for bad input, one line each; nothing that was there is written over.
    """
    with use_backend(backend) as plain:
        run = _resumed(Path(resume), overrides, config, out) if resume is not None else _started(config, overrides, out)
        with (
            use_backend(_name_for_training(plain, run.config.precision)) as device,
            Progress(run.config, first=run.step, quiet=quiet) as progress,
            StopSignal() as signal,
            run.loader,
        ):
            progress.say(
                f"{run.system.generator.count():,} parameters on {device.name}; the run is kept in {run.folder}"
            )
            progress.say(
                f"measured: mean |error| in the hole of held-out crops, in % of the range, and the refined PSNR; "
                f"filling in the mean colour gives {run.validation.mean_colour:.2f} %"
            )
            finished = _loop(run, progress, signal, stop_after=stop_after, minutes=minutes)
            skipped = run.validation.skipped | run.loader.skipped
            if skipped:
                progress.say(skipped_summary(skipped))
            if finished:
                shown = draw_photograph(
                    run.folder / "pictures", run.system.generator, run.validation.dataset, run.config
                )
                for path in (*shown, run.folder / "curves.png"):
                    progress.say(f"look at  {path}")
            else:
                progress.say(f"stopped after step {run.step}: go on with  ca-numpy train --resume {run.folder}")
        plain.release_memory()
    run.system.generator.to_current_backend()
    interrupted = signal.given
    return TrainResult(run.system.generator, run.folder, run.config, run.log.records, finished, skipped, interrupted)


def _name_for_training(backend: Backend, precision: str) -> str:
    """The backend's name with the precision that is asked for, or that was chosen with it, or that it trains in."""
    plain, _, chosen = backend.name.partition(":")
    wanted = (chosen or backend.training_precision) if precision == "auto" else precision
    return plain if wanted == "float32" else f"{plain}:{wanted}"


class Run:
    """One run: what learns, where it is kept, and how far it is."""

    def __init__(self, config: TrainConfig, folder: Path) -> None:
        config.check()
        self.config, self.step = config, 0
        train_set, validation_set = open_split(config.data, validation=config.validation)
        data_rng, mask_rng, penalty_rng, weight_rng = np.random.default_rng(config.seed).spawn(4)
        window = (config.smallest_window, config.largest_window)
        self.loader = BackgroundLoader(
            Loader(
                train_set, batch=config.batch, size=config.size, window=window, flip=config.flip, crops=config.crops,
                jitter=config.jitter, rng=data_rng,
            )
        )  # fmt: skip
        self.mask_rng = mask_rng
        sampler = MaskSampler(
            config.masks,
            image_size=config.size,
            box_size=config.box,
            max_shrink=config.max_shrink,
            per_batch=config.mask_per_batch,
        )
        loader = self.loader

        def next_batch() -> Batch:
            images = next(loader)
            return Batch(images, *sampler(mask_rng, len(images)))

        self.system = new_system(config, weight_rng, penalty_rng, next_batch)
        self.validation = Validation(validation_set, config)
        self.keep_in(folder)

    def begin_with(self, path: str) -> None:
        """Take over a generator's weights. Raises UserError for one that is built differently."""
        try:
            self.system.generator.load_arrays(load(path).arrays())
        except UserError as e:
            raise UserError(f"cannot begin with {path!r}: {e}") from e

    def keep_in(self, folder: Path) -> None:
        """Where the run is kept."""
        self.folder, self.log = folder, Log(folder / LOG)

    def save(self) -> None:
        """A checkpoint of this very moment. Raises UserError, and keeps the one before, if training has diverged."""
        weights = (
            self.system.generator.arrays() | self.system.local_critic.arrays() | self.system.global_critic.arrays()
        )
        self.refuse_divergence({name: float(np.abs(w).max()) for name, w in weights.items()})
        state = {"step": self.step, "loader": self.loader.state(), "mask_rng": self.mask_rng.bit_generator.state}
        save_checkpoint(self.folder, self.system, state, self.config)

    def refuse_divergence(self, record: dict[str, float]) -> None:
        """Raises UserError for values that are not finite, before they are kept anywhere."""
        bad = [name for name, value in record.items() if not np.isfinite(value)]
        if bad:
            kept = (self.folder / CHECKPOINT).exists()
            past = "the checkpoint before it is kept" if kept else "there is no checkpoint yet"
            raise UserError(
                f"training diverged at step {self.step} ({bad[0]} not finite; {past}): start anew with a smaller rate"
            )


def new_system(
    config: TrainConfig,
    weight_rng: np.random.Generator,
    penalty_rng: np.random.Generator,
    next_batch: Callable[[], Batch],
) -> System:
    """Fresh networks and optimisers. Raises UserError for VGG weights that are asked for and cannot be read."""
    variant = dataclasses.replace(variant_of(config.variant), propagation=config.propagation)
    kind = architecture(config.architecture)
    generator = kind(variant=variant, attention=config.attention, width=config.width, rng=weight_rng)
    generator.learnt = Learnt(hole=config.box, size=config.size)
    local = Critic("local", size=config.box, width=config.critic_width, rng=weight_rng)
    whole = Critic("global", size=config.size, width=config.critic_width, rng=weight_rng)
    clock = Clock() if config.shared_clock else None
    generator_adam = Adam(generator.parameters(), rate=config.rate, betas=config.betas, clock=clock)
    critics = local.parameters() | whole.parameters()
    critic_adam = Adam(critics, rate=config.critic_rate, betas=config.betas, clock=clock)
    vgg = Vgg16.load(config.vgg) if config.vgg and (config.perceptual_weight or config.style_weight) else None
    return System(generator, local, whole, generator_adam, critic_adam, next_batch, penalty_rng, vgg)


def generator_rate(config: TrainConfig, step: int) -> float:
    """The generator's rate at a step: falls linearly from `rate` to `final_rate · rate`."""
    return config.rate * (1 - (1 - config.final_rate) * step / max(config.steps - 1, 1))


def with_whole_paths(config: TrainConfig) -> TrainConfig:
    """The same configuration, so that its run can be resumed from anywhere."""
    paths = {"data": resolved(config.data)}
    for name in ("init", "vgg"):
        given = getattr(config, name)
        if given and given != SHIPPED_NAME and Path(given).exists():
            paths[name] = str(Path(given).resolve())
    return configured(config, paths)


def _started(config: TrainConfig | None, overrides: dict[str, Any], out: str | PathLike[str] | None) -> Run:
    config = with_whole_paths(configured(config or TrainConfig(), overrides))
    folder = Path() if out is None else Path(out)
    if out is not None and (folder / CHECKPOINT).exists():
        raise UserError(f"{str(folder)!r} already holds a run: give another folder, or go on with --resume {folder}")
    if out is not None and folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{str(folder)!r} is not empty: a run is kept in a folder of its own, give another with --out")
    run = Run(config, folder)  # bad input is found here, before anything is written
    if config.init:
        run.begin_with(config.init)
    try:
        if out is None:
            folder = _claim_folder()
            run.keep_in(folder)
        (folder / "pictures").mkdir(parents=True, exist_ok=True)
        write_text(folder / CONFIG, config.to_json())
    except OSError as e:
        raise UserError(f"cannot write to {str(folder)!r} ({e.strerror}): give another folder with --out") from e
    run.log.truncate(before=0)
    return run


def _resumed(
    folder: Path, overrides: dict[str, Any], config: TrainConfig | None, out: str | PathLike[str] | None
) -> Run:
    arrays, state, saved = load_checkpoint(folder)
    if out is not None or config is not None:
        raise UserError("a resumed run keeps its folder and configuration: leave out `out` and `config`")
    for name in overrides:
        if name not in RESUMABLE:
            raise UserError(f"{name!r} cannot change when a run is resumed: leave it out, or start a new run")
    run = Run(configured(saved, overrides), folder)
    restore(run.system, arrays, state)
    run.loader.restore(state["loader"])
    run.mask_rng.bit_generator.state = state["mask_rng"]
    run.step = state["step"]
    run.log.truncate(before=run.step)
    return run


def _loop(run: Run, progress: Progress, signal: StopSignal, *, stop_after: int | None, minutes: float | None) -> bool:
    """Steps until the end (True), or until asked to stop (False)."""
    config, began = run.config, time.monotonic()
    saved = began
    if run.step == 0:
        run.save()  # first: what is killed while it measures can be resumed all the same
        _measure(run, progress)
    while run.step < config.steps:
        step_began = time.monotonic()
        values: dict[str, Tensor] = {}
        adversarial = run.step >= config.pretrain
        if adversarial:
            for _ in range(config.critic_steps):
                values |= update_critics(run.system, config)
        rate = generator_rate(config, run.step)
        values |= update_generator(run.system, config, rate=rate, adversarial=adversarial)
        record: dict[str, Any] = {"step": run.step} | {name: float(value) for name, value in values.items()}
        run.refuse_divergence(record)
        run.step += 1
        record |= {"rate": rate, "seconds": round(time.monotonic() - step_began, 4)}
        run.log.append(record)
        progress.step(record)
        last = run.step == config.steps
        if run.step % config.validate_every == 0 or last:
            _measure(run, progress)
        if run.step % config.pictures_every == 0 or last:
            draw_pictures(run.folder / "pictures" / f"step-{run.step:06d}.png", run.system.generator, run.validation)
            draw_curves(run.folder / "curves.png", run.log.records, run.validation)
        late = minutes is not None and time.monotonic() - began > 60 * minutes
        stop = signal.given or late or (stop_after is not None and run.step >= stop_after)
        if last or stop or run.step % config.checkpoint_every == 0 or time.monotonic() - saved > SAVE_SECONDS:
            run.save()
            saved = time.monotonic()
        if stop and not last:
            return False
    return True


def _measure(run: Run, progress: Progress) -> None:
    """Validation at this step, into the log. A resumed run does not repeat it."""
    record = {"step": run.step} | run.validation.measure(run.system.generator)
    run.refuse_divergence(record)
    run.log.append(record)
    progress.validated(record)


def _claim_folder() -> Path:
    """The next of runs/001, runs/002, … made here and now: two runs that start together get two."""
    for n in range(1, 10**6):
        folder = Path("runs") / f"{n:03d}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise UserError("'runs' is full: give a folder with --out")
