"""A run's parts, built from a configuration by hand, and Algorithm 1's losses by hand: what training is held to.

Nothing of `ca_numpy.training` but the configuration itself and the updates' types is used to build them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import oracles

from ca_numpy import grad, tensor
from ca_numpy.data import Loader, MaskSampler, open_split
from ca_numpy.engine.tensor import Tensor
from ca_numpy.models import Critic
from ca_numpy.nn import Vgg16
from ca_numpy.nn.optim import Adam
from ca_numpy.training import TrainConfig, losses
from ca_numpy.training.batches import Batch
from ca_numpy.training.system import System, new_system

Array = np.ndarray[Any, Any]
STEP = 1e-6

#: Small enough for a second or two; the critics join at step 2.
TINY = TrainConfig(
    data="photographs",
    width=4,
    critic_width=4,
    size=32,
    box=16,
    max_shrink=2,
    batch=2,
    steps=5,
    pretrain=2,
    critic_steps=2,
    validate_every=2,
    pictures_every=100,
    checkpoint_every=100,
)


# ---- what a run draws ------------------------------------------------------------------------------------------------
def generators_of(config: TrainConfig) -> list[np.random.Generator]:
    """Of crops, of masks, of the penalty's places, of the first weights."""
    return np.random.default_rng(config.seed).spawn(4)


def loader_of(config: TrainConfig) -> Loader:
    return Loader(
        open_split(config.data, validation=config.validation).train, batch=config.batch, size=config.size,
        window=(config.smallest_window, config.largest_window), flip=config.flip, crops=config.crops,
        jitter=config.jitter, rng=generators_of(config)[0],
    )  # fmt: skip


def sampler_of(config: TrainConfig) -> MaskSampler:
    return MaskSampler(
        config.masks, image_size=config.size, box_size=config.box, max_shrink=config.max_shrink,
        per_batch=config.mask_per_batch,
    )  # fmt: skip


# ---- a system in float64 ---------------------------------------------------------------------------------------------
class Recorder(Adam):
    """An Adam that only remembers along which gradient it was to go."""

    def step(self, gradients: Any, *, rate: float | None = None) -> None:
        self.gradients = [g.numpy() for g in gradients]


def draw_system(config: TrainConfig, *, recording: bool = False) -> tuple[System, list[Batch]]:
    """A system in float64 over noise, and the list of the batches that it has drawn."""
    rng, drawn, sampler = np.random.default_rng(0), list[Batch](), sampler_of(config)

    def next_batch() -> Batch:
        drawn.append(Batch(rng.uniform(-1, 1, (2, config.size, config.size, 3)), *sampler(rng, 2)))
        return drawn[-1]

    system = new_system(config, np.random.default_rng(1), np.random.default_rng(2), next_batch)
    for network in system.networks.values():
        for p in network.parameters().values():
            p.data = p.numpy().astype(np.float64)
    if recording:
        system.optimisers.update({name: Recorder(adam.parameters) for name, adam in system.optimisers.items()})
    return system, drawn


def slopes(objective: Callable[[], float], adam: Any) -> tuple[float, float]:
    """The objective's slope along a random direction: by finite differences, and by the gradients given to Adam."""
    rng = np.random.default_rng(3)
    ps = list(adam.parameters.values())
    before = [p.numpy() for p in ps]
    directions = [rng.standard_normal(p.shape) for p in ps]
    ends = []
    for step in (STEP, -STEP):
        for p, start, d in zip(ps, before, directions, strict=True):
            p.data = start + step * d
        ends.append(objective())
    for p, start in zip(ps, before, strict=True):
        p.data = start
    along = sum((g * d).sum() for g, d in zip(adam.gradients, directions, strict=True))
    return (ends[0] - ends[1]) / (2 * STEP), float(along)


# ---- the losses by hand ----------------------------------------------------------------------------------------------
def boxes_of(x: Array, batch: Batch) -> Array:
    return np.stack([x[n, t : t + h, l : l + w] for n, (t, l, h, w) in enumerate(batch.boxes)])


def discounts(config: TrainConfig, batch: Batch) -> Array:
    """What each pixel of the boxes weighs."""
    if config.discount == "none":
        return np.ones(1)
    if config.discount == "box":
        return oracles.discount_by_box(config.box, config.box, config.gamma or 0.9)[:, :, None]
    distances = np.stack([oracles.distance_to_known(mask[:, :, 0]) for mask in batch.masks])[..., None]
    return boxes_of((config.gamma or 0.99) ** distances, batch)


def texture_loss(x: Array, truth: Array) -> float:
    """In the directions that a new system draws first. The distance itself is tested in `test_other_losses.py`."""
    kernels = losses.directions(np.random.default_rng(2).spawn(1)[0])
    return float(losses.sliced_wasserstein(x, truth, kernels))


def generator_loss(
    system: System, config: TrainConfig, batch: Batch, *, adversarial: bool = True
) -> Callable[[], float]:
    """λ₁·ℓ1 + λₖ·known, of each λ_c·coarse + refined; TV, perceptual, style and texture losses; critics."""
    images, masks, _ = batch
    weight, known = discounts(config, batch), 1 - masks
    vgg = Vgg16.load(config.vgg) if config.vgg else None
    truth = [y.numpy() for y in vgg(images)] if vgg else []

    def distance(xs: list[Array], ys: list[Array]) -> float:
        return sum(float(((x - y) ** 2).sum() / (y**2).sum()) for x, y in zip(xs, ys, strict=True))

    def gram(x: Array) -> Array:
        return np.einsum("nijc,nijd->ncd", x, x)

    def objective() -> float:
        coarse, refined, fake = (y.numpy() for y in system.generator.complete(images, masks))
        total = 0.0
        for y, share in ((coarse, config.coarse_weight), (refined, float(config.refine_l1))):
            error = np.abs(images - y)
            total += share * config.l1_weight * (boxes_of(error, batch) * weight).mean()
            total += share * config.known_weight * (error * known).mean() / known.mean()
        across, down = np.abs(np.diff(fake, axis=2)), np.abs(np.diff(fake, axis=1))
        total += config.tv_weight * (across.mean() + down.mean())
        if config.texture_weight:
            total += config.texture_weight * texture_loss(boxes_of(fake, batch), boxes_of(images, batch))
        if vgg:
            features = [y.numpy() for y in vgg(fake)]
            total += config.perceptual_weight * distance(features, truth)
            total += config.style_weight * distance([gram(x) for x in features], [gram(y) for y in truth])
        if adversarial:
            scores = system.global_critic(fake).numpy(), system.local_critic(boxes_of(fake, batch)).numpy()
            opinion = {
                "wgan-gp": lambda s: -s,
                "dcgan": lambda s: np.log(1 + np.exp(-s)),
                "lsgan": lambda s: (s - 1) ** 2 / 2,
            }[config.adversarial]
            total += config.adversarial_weight * sum(opinion(s).mean() for s in scores)
        return float(total)

    return objective


def critics_losses(system: System, config: TrainConfig, batch: Batch) -> Callable[[], tuple[float, float]]:
    """Σ over both critics of their loss, and of the penalty mean((‖∇ at x̂, in the hole‖ − 1)²)."""
    images, masks, _ = batch
    fake = system.generator.complete(images, masks)[2].numpy()
    draws = np.random.default_rng(2)  # as the system's own: for the whole picture first, then for the box
    whole_t, local_t = draws.random((2, 1, 1, 1)), draws.random((2, 1, 1, 1))
    cut = [boxes_of(a, batch) for a in (images, fake, masks)]

    def loss(real: Array, made: Array) -> float:
        if config.adversarial == "dcgan":
            return float(np.log(1 + np.exp(-real)).mean() + np.log(1 + np.exp(made)).mean())
        if config.adversarial == "lsgan":
            return float(((real - 1) ** 2).mean() + (made**2).mean()) / 2
        return float((made - real).mean())

    def parts(critic: Critic, x: Array, made: Array, mask: Array, t: Array) -> tuple[float, float]:
        between: Tensor = tensor((1 - t) * x + t * made)
        slope = grad(critic(between), between).numpy()
        norms = np.sqrt((slope**2 * mask).sum((1, 2, 3)))
        return loss(critic(x).numpy(), critic(made).numpy()), float(((norms - 1) ** 2).mean())

    def both() -> tuple[float, float]:
        whole = parts(system.global_critic, images, fake, masks, whole_t)
        local = parts(system.local_critic, cut[0], cut[1], cut[2], local_t)
        return whole[0] + local[0], whole[1] + local[1]

    return both


def critics_loss(system: System, config: TrainConfig, batch: Batch) -> Callable[[], float]:
    """What the critics minimise: the penalty goes with Wasserstein critics only."""
    both, weight = critics_losses(system, config, batch), config.penalty_weight * (config.adversarial == "wgan-gp")

    def objective() -> float:
        scored, penalty = both()
        return scored + weight * penalty

    return objective
