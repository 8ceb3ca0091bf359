"""The state of a run in one file, written atomically: weights, optimisers, random generators and data order.

The newest is `checkpoint.safetensors`; those before it have their step in their names.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ca_numpy import weights
from ca_numpy.atomic import replacing, write_text
from ca_numpy.errors import UserError, quoted, reason
from ca_numpy.models.io import CHECKPOINT, GENERATOR, save
from ca_numpy.schemas import run_state
from ca_numpy.training.config import TrainConfig
from ca_numpy.training.system import System

Found = TypeVar("Found")
CONFIG = "config.json"
LOG = "log.jsonl"
REPORT = "report.html"


class Checkpoint(NamedTuple):
    """A run's arrays, state and configuration; `damage` is why newer checkpoints were passed over, or empty."""

    arrays: dict[str, Any]
    state: dict[str, Any]
    config: TrainConfig
    damage: str = ""


def save_checkpoint(folder: Path, system: System, state: dict[str, Any], config: TrainConfig) -> None:
    """Write `checkpoint.safetensors`, with the system's arrays, and the states of system and run as metadata.

    Also writes `generator.safetensors`, `generator-NAME.safetensors` for each of its averages, and `config.json`. The
    checkpoint before becomes `checkpoint-STEP.safetensors`; `config.checkpoints` are kept in all.
    """
    metadata = {
        "config": config.to_json(),
        "state": json.dumps(state | system.state(), sort_keys=True),
        **system.generator.describe(),
    }
    save(folder / GENERATOR, system.generator)
    for name, average in system.averages.items():
        save(folder / f"generator-{name}.safetensors", average.generator)
    write_text(folder / CONFIG, config.to_json())
    if config.checkpoints > 1:
        _keep(folder / CHECKPOINT, before=state["step"])
    weights.write(folder / CHECKPOINT, system.arrays(), metadata=metadata)  # last, so that the other files exist
    for path in _older(folder)[config.checkpoints - 1 :]:
        path.unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> Checkpoint:
    """The newest checkpoint of the run in a folder that can be read. Raises UserError for a missing or damaged one."""
    (arrays, state, config), damage = _newest(folder, _read)
    return Checkpoint(arrays, state, config, damage)


def saved_state(folder: Path) -> tuple[dict[str, Any], TrainConfig]:
    """State and configuration of the newest checkpoint, without reading its arrays. Raises UserError as above."""
    return _newest(folder, _described)[0]


def _newest(folder: Path, read: Callable[[Path], Found]) -> tuple[Found, str]:
    """What is read from the newest checkpoint from which it can be, and why newer ones were passed over."""
    paths = [path for path in (folder / CHECKPOINT, *_older(folder)) if path.is_file()]
    if not paths:
        begun = (folder / CONFIG).is_file()
        todo = "repeat the command that started it" if begun else "start one with `ca-numpy train`"
        raise UserError(f"no run to resume in {quoted(folder)}: it has no {CHECKPOINT}; {todo}")
    damage: list[UserError] = []
    for path in paths:
        try:
            return read(path), str(damage[0]) if damage else ""
        except (KeyError, UserError) as e:
            why = f"{str(path)!r} is not a checkpoint of a training run ({reason(e)})"
            damage.append(UserError(f"{why}: resume from another folder"))
    raise damage[0]


def _older(folder: Path) -> list[Path]:
    """The checkpoints before the newest, the last one first."""
    found = (path for path in folder.glob("checkpoint-*.safetensors") if path.stem.partition("-")[2].isdecimal())
    return sorted(found, key=lambda path: int(path.stem.partition("-")[2]), reverse=True)


def _keep(path: Path, *, before: int) -> None:
    """Give the checkpoint that is about to be replaced a name of its own, if it is of an earlier step and intact."""
    with suppress(KeyError, UserError, OSError):
        step = run_state(weights.read_metadata(path)["state"], "its state is damaged")["step"]
        kept = path.with_name(f"checkpoint-{step:06d}.safetensors")
        if step < before and not kept.exists():
            try:
                os.link(path, kept)
            except OSError:  # no links here
                with replacing(kept) as temporary:
                    shutil.copyfile(path, temporary)


def _described(path: Path) -> tuple[dict[str, Any], TrainConfig]:
    """State and configuration. Raises KeyError, UserError."""
    metadata = weights.read_metadata(path)
    return run_state(metadata["state"], "its state is damaged"), TrainConfig.from_json(metadata["config"])


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any], TrainConfig]:
    """Arrays, state and configuration. Raises KeyError, UserError."""
    state, config = _described(path)
    arrays = weights.read(path)
    # Before memory is taken: networks of these widths have more numbers than this.
    least = 100 * (config.width**2 + config.critic_width**2) + config.critic_width * (config.size // 16) ** 2
    if sum(array.size for array in arrays.values()) < least:
        raise UserError("its configuration is of larger networks")
    return arrays, state, config
