"""What is entered in a `System` is saved, checked and resumed with the rest; files from before it are read as ever."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_cases import loader_of

from ca_numpy import tensor, weights
from ca_numpy.engine.tensor import Tensor
from ca_numpy.errors import UserError
from ca_numpy.models.io import CHECKPOINT
from ca_numpy.nn import Linear, Module
from ca_numpy.nn.optim import Adam
from ca_numpy.training import TrainConfig, train
from ca_numpy.training.batches import Batch
from ca_numpy.training.checkpoint import load_checkpoint, save_checkpoint
from ca_numpy.training.lock import FolderLock
from ca_numpy.training.run import resume_run, start_run
from ca_numpy.training.system import System, new_system

pytestmark = pytest.mark.usefixtures("undrawn")

TINY = TrainConfig(
    width=2, critic_width=2, size=16, box=11, max_shrink=1, batch=1, steps=3, pretrain=1,
    critic_steps=1, ema=0.9, texture_weight=0.5,
)  # fmt: skip
Snapshot = tuple[dict[str, Any], dict[str, Any]]


class Scaled(Module):
    """A third network: a layer, and a vector that no optimiser changes."""

    def __init__(self) -> None:
        self.layer = Linear("scaled/layer", 3, 2, rng=np.random.default_rng(0))
        self.scale = tensor(np.ones(2, np.float32))

    def buffers(self) -> dict[str, Tensor]:
        return super().buffers() | {"scaled/scale": self.scale}


def no_batch() -> Batch:
    raise AssertionError("nothing is trained here")


def enter_third(system: System) -> Scaled:
    """Everything that a new network takes to be saved and resumed."""
    network = Scaled()
    system.networks["scaled"] = network
    system.optimisers["scaled"] = Adam(network.parameters())
    system.rngs["noise"] = np.random.default_rng(5)
    return network


def draw_system() -> System:
    system = new_system(TINY, np.random.default_rng(1), np.random.default_rng(2), no_batch)
    enter_third(system)
    return system


def snapshot(system: System) -> Snapshot:
    return {name: a.copy() for name, a in system.arrays().items()}, copy.deepcopy(system.state())


def same(a: Snapshot, b: Snapshot) -> bool:
    arrays = a[0].keys() == b[0].keys() and all(np.array_equal(x, b[0][name]) for name, x in a[0].items())
    return arrays and a[1] == b[1]


def all_else(value: Any, rng: np.random.Generator) -> Any:
    """The same nested dictionaries with every number in them another, random generators' states as a whole."""
    if not isinstance(value, dict):
        return value + int(rng.integers(1, 100))
    if "bit_generator" in value:
        return np.random.default_rng(rng.integers(2**32)).bit_generator.state
    return {name: all_else(v, rng) for name, v in value.items()}


# ---- there and back --------------------------------------------------------------------------------------------------
@given(seed=st.integers(0, 2**32 - 1))
def test_whatever_arrays_and_state_say_restore_brings_back(seed: int) -> None:
    """Each array and each number on its own: none is forgotten, none is taken for another."""
    rng, system = np.random.default_rng(seed), draw_system()
    before = snapshot(system)
    wanted = {name: a + rng.uniform(1, 2, a.shape).astype(a.dtype) for name, a in before[0].items()}
    state = json.loads(json.dumps(all_else(before[1], rng)))  # a checkpoint holds it as text
    system.restore(wanted, state)
    assert same(snapshot(system), (wanted, state))
    assert not any(np.array_equal(a, before[0][name]) for name, a in system.arrays().items())
    system.restore(*before)
    assert same(snapshot(system), before)


def test_a_network_is_in_the_checkpoint_by_being_entered(tmp_path: Path) -> None:
    """With its parameters, its buffers, its optimiser's moments and clock, and a random generator."""
    old, new = (new_system(TINY, np.random.default_rng(1), np.random.default_rng(2), no_batch) for _ in range(2))
    network, fresh = enter_third(old), enter_third(new)
    network.scale.data = np.array([3, 4], np.float32)
    ones = [tensor(np.ones(p.shape, np.float32)) for p in network.parameters().values()]
    old.optimisers["scaled"].step(ones, rate=0.5)
    old.rngs["noise"].random()
    save_checkpoint(tmp_path, old, {"step": 1, "loader": loader_of(TINY).state()}, TINY)
    arrays, state, *_ = load_checkpoint(tmp_path)
    assert not same(snapshot(new), snapshot(old))
    new.restore(arrays, state)
    assert same(snapshot(new), snapshot(old))
    assert np.array_equal(fresh.scale.numpy(), [3, 4])
    assert np.array_equal(fresh.layer.kernel.numpy(), network.layer.kernel.numpy())
    assert new.optimisers["scaled"].clock.t == 1


def test_what_diverges_in_any_part_is_not_saved(tmp_path: Path) -> None:
    run = start_run(TINY, {}, out=tmp_path / "run", lock=FolderLock())
    network = enter_third(run.system)
    run.save()
    saved = (tmp_path / "run" / CHECKPOINT).read_bytes()
    network.scale.data = np.array([1, np.nan], np.float32)
    with pytest.raises(UserError, match="scaled/scale is not finite"):
        run.save()
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == saved


def test_two_arrays_of_one_name_are_not_silently_one() -> None:
    system = draw_system()
    system.networks["another"] = Scaled()
    with pytest.raises(ValueError, match="scaled/layer"):
        system.arrays()


def test_an_optimiser_changes_its_own_network_and_no_buffer() -> None:
    system = draw_system()
    third: Any = system.networks["scaled"]
    before, _ = snapshot(system)
    system.minimise((third.layer(tensor(np.ones((1, 3), np.float32))) * third.scale).sum(), "scaled", rate=0.1)
    changed = {name for name, a in system.arrays().items() if not np.array_equal(a, before[name])}
    own = set(third.parameters())
    assert changed == own | {f"adam/scaled/{moment}/{name}" for moment in "mv" for name in own}


def _as_then(state: dict[str, Any]) -> dict[str, Any]:
    """Without what was not in a state then: the backend, and which pictures."""
    loader = {name: value for name, value in state["loader"].items() if name != "names"}
    return {name: value for name, value in state.items() if name != "backend"} | {"loader": loader}


# ---- files from before -----------------------------------------------------------------------------------------------
def test_a_checkpoint_from_before_networks_had_names_is_resumed(tmp_path: Path) -> None:
    """`older_checkpoint.json` lists what was in one: names, shapes and metadata. The numbers do not matter here."""
    older = json.loads(Path(__file__).with_name("older_checkpoint.json").read_text(encoding="utf-8"))
    assert "ema" not in json.loads(older["metadata"]["config"])
    rng = np.random.default_rng(0)
    arrays = {name: rng.uniform(0, 0.1, shape).astype(np.float32) for name, shape in older["arrays"].items()}
    weights.write(tmp_path / CHECKPOINT, arrays, metadata=older["metadata"])
    with FolderLock() as lock:
        run = resume_run(tmp_path, {}, config=None, out=None, lock=lock)
        state = {"step": run.step} | run.batches.state() | run.system.state()
        assert same((run.system.arrays(), _as_then(state)), (arrays, json.loads(older["metadata"]["state"])))
        run.save()
    saved = json.loads(weights.read_metadata(tmp_path / CHECKPOINT)["state"])
    assert _as_then(saved) == json.loads(older["metadata"]["state"])
    done = train(resume=tmp_path, backend="numpy", quiet=True)
    assert done.finished
    assert done.records[-2]["step"] == 4
