"""Training in stages: small crops first, larger ones later, each stage beginning with the weights of the one before."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any

from ca_numpy.data import open_split
from ca_numpy.errors import UserError
from ca_numpy.models.io import CHECKPOINT
from ca_numpy.training.checkpoint import load_checkpoint
from ca_numpy.training.config import RESUMABLE, TrainConfig, configured
from ca_numpy.training.log import OnRecord
from ca_numpy.training.loop import TrainResult, train
from ca_numpy.training.presets import STAGES
from ca_numpy.training.run import with_whole_paths


def train_in_stages(
    name: str,
    *,
    out: str | PathLike[str] | None = None,
    backend: str = "auto",
    minutes: float | None = None,
    quiet: bool = False,
    on_record: OnRecord | None = None,
    **overrides: Any,
) -> TrainResult:
    """Train by the stages of `STAGES[name]`, one run after the other, each beginning with what the last one learnt.

        train_in_stages("scenes", data="scenes:my/scenes", out="runs/scenes")

    out         holds a run for each stage, `1-64`, `2-128`, …; `runs/NAME` if not given. The same call goes on where
                an interrupted one was, and passes over stages that are finished
    minutes     stop with a checkpoint after this time
    on_record   as for `train`; steps begin anew with each stage
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
        config = with_whole_paths(configured(stage, {"init": before}))
        last = number == len(stages)
        before = str(part)
        reached = _step_reached(part, config)
        if not last and reached == config.steps:
            continue
        if not quiet:
            print(f"stage {number} of {len(stages)}: {stage.size}×{stage.size} crops", file=sys.stderr, flush=True)
        left = None if minutes is None else max(minutes - (time.monotonic() - began) / 60, 0.0)
        options: dict[str, Any] = {"backend": backend, "minutes": left, "quiet": quiet, "on_record": on_record}
        if reached is not None:
            changed = {field: getattr(config, field) for field in RESUMABLE}
            result = train(resume=part, **options, **changed)
        else:
            result = train(config, out=part, **options)
        if result.interrupted or not result.finished:
            if not quiet:
                print("the same command goes on from here, with all stages", file=sys.stderr, flush=True)
            break
    return result


def with_overrides(name: str, overrides: dict[str, Any]) -> tuple[TrainConfig, ...]:
    """The stages with these fields changed in each. Raises UserError for fields in which the stages differ."""
    if name not in STAGES:
        raise UserError(f"there are no stages {name!r}: choose from {', '.join(STAGES)}")
    stages, changes = STAGES[name], dict(overrides)
    data = changes.pop("data", None)
    refuse_set(name, changes)
    if data is None:
        return tuple(configured(stage, changes) for stage in stages)
    adds = ("+".join([str(data), *stage.data.split("+")[1:]]) for stage in stages)
    return tuple(configured(stage, changes | {"data": each}) for stage, each in zip(stages, adds, strict=True))


def refuse_set(name: str, fields: Iterable[str]) -> None:
    """Raises UserError for a field in which the stages differ, but for `data`."""
    for field in fields:
        if field != "data" and len({getattr(stage, field, None) for stage in STAGES[name]}) > 1:
            raise UserError(f"the stages of {name!r} set {field} themselves: leave it out, or train by another preset")


def _step_reached(part: Path, config: TrainConfig) -> int | None:
    """The step of this stage's checkpoint; None if it has none. Raises UserError where that has other options."""
    if not (part / CHECKPOINT).is_file():
        return None
    _, state, saved = load_checkpoint(part)
    if dataclasses.replace(saved, **{field: getattr(config, field) for field in RESUMABLE}) != config:
        raise UserError(f"{str(part)!r} was trained with other options: give another folder with --out")
    return int(state["step"])
