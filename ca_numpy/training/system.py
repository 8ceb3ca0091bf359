"""The networks, optimisers and averages of a run by name, which are trained, saved and resumed together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ca_numpy.engine.tensor import Tensor
from ca_numpy.models import BaseGenerator, Critic, Learnt, architecture, critic_kind
from ca_numpy.models.variants import variant_of
from ca_numpy.nn import Module, Vgg16
from ca_numpy.nn.optim import Adam, Clock
from ca_numpy.registry import current_backend
from ca_numpy.training.averaging import ExponentialAverage
from ca_numpy.training.batches import Batch
from ca_numpy.training.config import TrainConfig
from ca_numpy.training.parallel import Ranks


class Average(Protocol):
    """A generator whose weights average those of the trained one; validated and saved with it."""

    @property
    def generator(self) -> BaseGenerator: ...
    def update(self) -> None:
        """Called after each update of the trained generator."""

    def arrays(self) -> dict[str, NDArray[Any]]: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, arrays: Mapping[str, Any], state: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True)
class System:
    """Everything that is trained, by name, with the sources of batches and random numbers.

    networks     "generator", "local_critic", "global_critic", and any other `Module`
    optimisers   "generator" and "critics"
    rngs         "penalty" draws the points between real and fake; "texture" the texture loss's directions, if used
    averages     of the generator's weights
    vgg          a fixed network for perceptual and style losses, if configured
    ranks        the processes that share each batch

    A checkpoint holds `arrays()` and `state()`. Arrays have their variables' names; an optimiser's moments are prefixed
    with `adam/<its name>/`, an average's arrays with its name.
    """

    networks: dict[str, Module]
    optimisers: dict[str, Adam]
    next_batch: Callable[[], Batch]
    rngs: dict[str, np.random.Generator]
    averages: dict[str, Average] = field(default_factory=dict)
    vgg: Vgg16 | None = None
    ranks: Ranks = field(default_factory=Ranks)

    @property
    def generator(self) -> BaseGenerator:
        return cast(BaseGenerator, self.networks["generator"])

    @property
    def local_critic(self) -> Critic:
        return cast(Critic, self.networks["local_critic"])

    @property
    def global_critic(self) -> Critic:
        return cast(Critic, self.networks["global_critic"])

    def minimise(self, loss: Tensor, optimiser: str, *, rate: float | None = None) -> Tensor:
        """One step of the named optimiser on a scalar loss, a mean over pictures: with MPI over those of all ranks.

        Returns the norm of its gradient.
        """
        adam = self.optimisers[optimiser]
        gradients = self.ranks.grad(loss, list(adam.parameters.values()))
        norm = Tensor(current_backend().norm([g.data for g in gradients]))
        adam.step(gradients, rate=rate)
        return norm

    def arrays(self) -> dict[str, NDArray[Any]]:
        """{name: NumPy array} of everything that training changes. Raises ValueError for two arrays of one name."""
        parts = [network.arrays() for network in self.networks.values()]
        parts += [adam.arrays(f"adam/{name}") for name, adam in self.optimisers.items()]
        parts += [{f"{name}/{v}": a for v, a in average.arrays().items()} for name, average in self.averages.items()]
        found: dict[str, NDArray[Any]] = {}
        for part in parts:
            if shared := found.keys() & part.keys():
                raise ValueError(f"two parts of the system have an array {min(shared)!r}: one would be lost")
            found |= part
        return found

    def state(self) -> dict[str, Any]:
        """The rest of the state, as JSON-compatible values: the optimisers' clocks and the random generators."""
        clocks = {name: adam.clock.t for name, adam in self.optimisers.items()}
        rngs = {f"{name}_rng": rng.bit_generator.state for name, rng in self.rngs.items()}
        return {"clocks": clocks} | rngs | {name: average.state() for name, average in self.averages.items()}

    def restore(self, arrays: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Restore the results of `arrays()` and `state()`, ignoring other entries.

        Raises UserError if an array is missing or has another shape.
        """
        for network in self.networks.values():
            network.load_arrays(arrays)
        for name, adam in self.optimisers.items():
            adam.load_arrays(f"adam/{name}", arrays)
            adam.clock.t = state["clocks"][name]
        for name, rng in self.rngs.items():
            rng.bit_generator.state = state[f"{name}_rng"]
        for name, average in self.averages.items():
            start = f"{name}/"
            average.restore({n.removeprefix(start): a for n, a in arrays.items() if n.startswith(start)}, state[name])


def new_system(
    config: TrainConfig,
    weight_rng: np.random.Generator,
    penalty_rng: np.random.Generator,
    next_batch: Callable[[], Batch],
    *,
    ranks: Ranks | None = None,
) -> System:
    """New networks and optimisers. Raises UserError for unreadable VGG weights."""
    variant = dataclasses.replace(variant_of(config.variant), propagation=config.propagation)
    kind = architecture(config.architecture)
    generator = kind(variant=variant, attention=config.attention, width=config.width, rng=weight_rng)
    generator.learnt = Learnt(hole=config.box, size=config.size)
    judge = critic_kind(config.critic)
    local = judge("local", size=config.box, width=config.critic_width, rng=weight_rng)
    whole = judge("global", size=config.size, width=config.critic_width, rng=weight_rng)
    clock = Clock() if config.shared_clock else None
    critics = local.parameters() | whole.parameters()
    return System(
        networks={"generator": generator, "local_critic": local, "global_critic": whole},
        optimisers={
            "generator": Adam(generator.parameters(), rate=config.rate, betas=config.betas, clock=clock),
            "critics": Adam(critics, rate=config.critic_rate, betas=config.betas, clock=clock),
        },
        next_batch=next_batch,
        rngs={"penalty": penalty_rng} | ({"texture": penalty_rng.spawn(1)[0]} if config.texture_weight else {}),
        averages={"ema": ExponentialAverage(generator, decay=config.ema)} if config.ema else {},
        vgg=Vgg16.load(config.vgg) if config.vgg and (config.perceptual_weight or config.style_weight) else None,
        ranks=ranks or Ranks(),
    )
