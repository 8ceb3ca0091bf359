"""Training in stages of increasing crop size, each initialised with the weights of the previous one."""

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
from ca_numpy.training.checkpoint import saved_state
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
    comm: Any = None,
    **overrides: Any,
) -> TrainResult:
    """Train by the stages of `STAGES[name]`, each a run initialised with the weights of the previous one.

        train_in_stages("scenes", data="scenes:my/scenes", out="runs/scenes")

    out         folder of the stages' runs, `1-64`, `2-128`, …; `runs/NAME` by default. Repeating the call resumes an
                interrupted stage and skips finished ones
    minutes     stop with a checkpoint after this time
    on_record   as for `train`; steps restart with each stage
    comm        as for `train`
    overrides   fields of `TrainConfig` for all stages, except those in which the stages differ; `data` replaces the
                first part of each stage's data

    Returns the result of the last stage run. Raises UserError as `train` does, and if `out` has stages with other
    options.
    """
    stages = with_overrides(name, overrides)
    for stage in stages:  # report errors of all stages before the first starts
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
        options["comm"] = comm
        if reached is not None:
            changed = {field: getattr(config, field) for field in RESUMABLE}
            result = train(resume=part, **options, **changed)
        else:
            result = train(config, out=part, **options)
        if result.interrupted or not result.finished:
            if not quiet:
                print("repeat the command to continue", file=sys.stderr, flush=True)
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
    """Raises UserError for a field other than `data` in which the stages differ."""
    for field in fields:
        if field != "data" and len({getattr(stage, field, None) for stage in STAGES[name]}) > 1:
            raise UserError(f"the stages of {name!r} set {field} themselves: leave it out, or train by another preset")


def _step_reached(part: Path, config: TrainConfig) -> int | None:
    """The step of this stage's checkpoint, or None. Raises UserError if the checkpoint has other options."""
    if not (part / CHECKPOINT).is_file():
        return None
    state, saved = saved_state(part)
    if dataclasses.replace(saved, **{field: getattr(config, field) for field in RESUMABLE}) != config:
        raise UserError(f"{str(part)!r} was trained with other options: give another folder with --out")
    return int(state["step"])
