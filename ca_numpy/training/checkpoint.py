"""The state of a run in one file, written atomically: weights, optimisers, random generators and data order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ca_numpy import weights
from ca_numpy.atomic import write_text
from ca_numpy.errors import UserError, reason
from ca_numpy.models.io import CHECKPOINT, GENERATOR, save
from ca_numpy.schemas import run_state
from ca_numpy.training.config import TrainConfig
from ca_numpy.training.system import System

CONFIG = "config.json"
LOG = "log.jsonl"


def save_checkpoint(folder: Path, system: System, state: dict[str, Any], config: TrainConfig) -> None:
    """Write `checkpoint.safetensors`, with the system's arrays, and the states of system and run as metadata.

    Also writes `generator.safetensors`, `generator-NAME.safetensors` for each of its averages, and `config.json`.
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
    weights.write(folder / CHECKPOINT, system.arrays(), metadata=metadata)  # last, so that the other files exist


def load_checkpoint(folder: Path) -> tuple[dict[str, Any], dict[str, Any], TrainConfig]:
    """(arrays, state, configuration) of the run in a folder. Raises UserError for a missing or invalid checkpoint."""
    path = folder / CHECKPOINT
    if not path.is_file():
        raise UserError(f"no run to resume in {str(folder)!r}: it has no {CHECKPOINT}; start one with `ca-numpy train`")
    metadata = weights.read_metadata(path)
    try:
        state = run_state(metadata["state"], "its state is damaged")
        config = TrainConfig.from_json(metadata["config"])
        arrays = weights.read(path)
        # Before memory is taken: networks of these widths have more numbers than this.
        least = 100 * (config.width**2 + config.critic_width**2) + config.critic_width * (config.size // 16) ** 2
        if sum(array.size for array in arrays.values()) < least:
            raise UserError("its configuration is of larger networks")
    except (KeyError, UserError) as e:
        why = f"{str(path)!r} is not a checkpoint of a training run ({reason(e)})"
        raise UserError(f"{why}: resume from another folder") from e
    return arrays, state, config
