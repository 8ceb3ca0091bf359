"""The state of a run in one file: weights, optimisers, random generators and data order. Whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ca_numpy import weights
from ca_numpy.atomic import write_text
from ca_numpy.errors import UserError
from ca_numpy.models.io import CHECKPOINT, GENERATOR, save
from ca_numpy.training.algorithm1 import System
from ca_numpy.training.config import TrainConfig

CONFIG = "config.json"
LOG = "log.jsonl"


def save_checkpoint(folder: Path, system: System, state: dict[str, Any], config: TrainConfig) -> None:
    """Write `checkpoint.safetensors`: arrays by name, and the rest (plain numbers and text) as its metadata.

    Beside it, `generator.safetensors` with the generator alone and `config.json` for people to read.
    """
    arrays = system.generator.arrays() | system.local_critic.arrays() | system.global_critic.arrays()
    arrays |= system.generator_adam.arrays("adam/generator") | system.critic_adam.arrays("adam/critics")
    clocks = {"generator": system.generator_adam.clock.t, "critics": system.critic_adam.clock.t}
    state = state | {"clocks": clocks, "penalty_rng": system.penalty_rng.bit_generator.state}
    metadata = {
        "config": config.to_json(),
        "state": json.dumps(state, sort_keys=True),
        **system.generator.describe(),
    }
    save(folder / GENERATOR, system.generator)
    write_text(folder / CONFIG, config.to_json())
    weights.write(folder / CHECKPOINT, arrays, metadata=metadata)  # last: what it says is done, is done


def load_checkpoint(folder: Path) -> tuple[dict[str, Any], dict[str, Any], TrainConfig]:
    """(arrays, state, configuration) of the run in a folder.

    Raises UserError if the folder holds no checkpoint, or one that is damaged or of another kind.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        raise UserError(f"no run to resume in {str(folder)!r}: it has no {CHECKPOINT}; start one with `ca-numpy train`")
    metadata = weights.read_metadata(path)
    try:
        state, config = json.loads(metadata["state"]), TrainConfig.from_json(metadata["config"])
    except (KeyError, ValueError, TypeError) as e:
        raise UserError(f"{str(path)!r} is not a checkpoint of a training run ({e}): resume from another folder") from e
    return weights.read(path), state, config


def restore(system: System, arrays: dict[str, Any], state: dict[str, Any]) -> None:
    """Put everything that learns back to where `save_checkpoint` found it."""
    for network in (system.generator, system.local_critic, system.global_critic):
        network.load_arrays(arrays)
    system.generator_adam.load_arrays("adam/generator", arrays)
    system.critic_adam.load_arrays("adam/critics", arrays)
    system.generator_adam.clock.t, system.critic_adam.clock.t = state["clocks"]["generator"], state["clocks"]["critics"]
    system.penalty_rng.bit_generator.state = state["penalty_rng"]
