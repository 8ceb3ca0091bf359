"""Training in stages: small crops first, larger ones later, each stage beginning with the weights of the one before."""

from __future__ import annotations

import dataclasses
import sys
import time
from os import PathLike
from pathlib import Path
from typing import Any

from ca_numpy.data import open_split, resolved
from ca_numpy.errors import UserError
from ca_numpy.models.files import CHECKPOINT
from ca_numpy.train.checkpoint import load_checkpoint
from ca_numpy.train.config import RESUMABLE, TrainConfig, configured
from ca_numpy.train.loop import TrainResult, train

_SCENES = TrainConfig(
    data="scenes:scenes",
    validation=0.02,
    width=32,
    critic_width=32,
    discount="distance",
    l1_weight=2.0,
    known_weight=0.6,
    pictures_every=500,
    checkpoint_every=200,
)
#: Adds the textures made by program, which are small: not to the largest crops.
_MIXED = dataclasses.replace(_SCENES, data="scenes:scenes+textures")

#: How the weights that ship were trained (docs/model_card.md). What a crop of 64 pixels teaches costs a sixteenth of
#: what it costs at 256.
STAGES: dict[str, tuple[TrainConfig, ...]] = {
    "scenes": (
        dataclasses.replace(
            _MIXED, size=64, box=32, max_shrink=4, batch=8, smallest_window=0.3, largest_window=1.0,
            steps=2_000, pretrain=2_000, rate=5e-4, final_rate=0.3, validate_every=200, seed=1,
        ),
        dataclasses.replace(
            _MIXED, size=128, box=64, max_shrink=8, batch=4, smallest_window=0.36, largest_window=1.0,
            steps=1_800, pretrain=1_800, rate=4e-4, final_rate=0.15, validate_every=200, seed=2,
        ),
        dataclasses.replace(
            _SCENES, size=256, box=128, max_shrink=16, batch=2, smallest_window=0.5, largest_window=1.0,
            steps=400, pretrain=400, rate=2e-4, final_rate=0.05, validate_every=100, seed=3,
        ),
    ),
}  # fmt: skip


def train_in_stages(
    name: str,
    *,
    out: str | PathLike[str] | None = None,
    backend: str = "auto",
    minutes: float | None = None,
    quiet: bool = False,
    **overrides: Any,
) -> TrainResult:
    """Train by the stages of `STAGES[name]`, one run after the other, each beginning with what the last one learnt.

        train_in_stages("scenes", data="scenes:my/scenes", out="runs/scenes")

    out         holds a run for each stage, `1-64`, `2-128`, …; `runs/NAME` if not given. The same call goes on where
                an interrupted one was, and passes over stages that are finished
    minutes     stop with a checkpoint after this time
    overrides   fields of `TrainConfig`, in all stages; not those in which the stages differ, except `data`: what
                stands first in the stages' data is exchanged, what they add to it stays

    Returns the last stage's result, or that of the stage it stopped in. Raises UserError as `train` does, and where
    `out` has stages with other options.
    """
    stages = with_overrides(name, overrides)
    for stage in stages:  # what is wrong with the last is told before the first
        stage.check()
        open_split(stage.data, validation=stage.validation)
    folder = Path("runs") / name if out is None else Path(out)
    began, before = time.monotonic(), stages[0].init
    for number, stage in enumerate(stages, 1):
        part = folder / f"{number}-{stage.size}"
        config = configured(stage, {"data": resolved(stage.data), "init": before and str(Path(before).resolve())})
        last = number == len(stages)
        before = str(part)
        if not last and _done(part, config):
            continue
        if not quiet:
            print(f"stage {number} of {len(stages)}: {stage.size}×{stage.size} crops", file=sys.stderr, flush=True)
        left = None if minutes is None else max(minutes - (time.monotonic() - began) / 60, 0.0)
        options: dict[str, Any] = {"backend": backend, "minutes": left, "quiet": quiet}
        if _there(part, config):
            changed = {field: getattr(config, field) for field in RESUMABLE}
            result = train(resume=part, **options, **changed)
        else:
            result = train(config, out=part, **options)
        if not result.finished:
            break
    return result


def with_overrides(name: str, overrides: dict[str, Any]) -> tuple[TrainConfig, ...]:
    """The stages with these fields changed in each. Raises UserError for fields in which the stages differ."""
    if name not in STAGES:
        raise UserError(f"there are no stages {name!r}: choose from {', '.join(STAGES)}")
    stages, changes = STAGES[name], dict(overrides)
    data = changes.pop("data", None)
    for field in changes:
        if len({getattr(stage, field, None) for stage in stages}) > 1:
            raise UserError(f"the stages of {name!r} set {field} themselves: leave it out, or train by another preset")
    if data is None:
        return tuple(configured(stage, changes) for stage in stages)
    adds = ("+".join([str(data), *stage.data.split("+")[1:]]) for stage in stages)
    return tuple(configured(stage, changes | {"data": each}) for stage, each in zip(stages, adds, strict=True))


def _there(part: Path, config: TrainConfig) -> bool:
    """Whether this stage has begun. Raises UserError where it has with other options."""
    if not (part / CHECKPOINT).is_file():
        return False
    same = {field: getattr(config, field) for field in RESUMABLE}
    if dataclasses.replace(load_checkpoint(part)[2], **same) != config:
        raise UserError(f"{str(part)!r} was trained with other options: give another folder with --out")
    return True


def _done(part: Path, config: TrainConfig) -> bool:
    """Whether this stage is finished."""
    return _there(part, config) and load_checkpoint(part)[1]["step"] >= config.steps
