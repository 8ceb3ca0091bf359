"""Algorithm 1 of the paper.

while G has not converged:
    for five critic updates:
        draw images x, masks m; erase: z; predict: x̃ = z ⊙ (1 − m) + G(z, m) ⊙ m
        draw t, interpolate x̂ = (1 − t)·x + t·x̃
        update both critics by their Wasserstein losses and gradient penalties
    draw images x, masks m
    update the generator by the discounted ℓ1 and both critics' scores

The first line of the five updates is done for all of them at once, by `draw`: G does not change meanwhile.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ca_numpy import functional as F
from ca_numpy.data import BoundingBox
from ca_numpy.engine.autograd import as_tensors, no_grad
from ca_numpy.engine.tensor import Tensor
from ca_numpy.training import losses
from ca_numpy.training.config import TrainConfig
from ca_numpy.training.system import System


class Drawn(NamedTuple):
    """Images x and masks m, the completed images x̃, and the boxes around the holes, on the current backend."""

    images: Tensor
    masks: Tensor
    fake: Tensor
    boxes: list[BoundingBox]


def draw(system: System, *, updates: int = 1) -> list[Drawn]:
    """Batches for so many critic updates, completed by the generator in one pass."""
    batches = [system.next_batch() for _ in range(updates)]
    images, masks = as_tensors([np.concatenate([batch[i] for batch in batches]) for i in (0, 1)])  # to a GPU once
    with no_grad():
        fake = system.generator.complete(images, masks).result
        drawn: list[Drawn] = []
        for end, (_, _, boxes) in zip(
            np.cumsum([len(batch.images) for batch in batches]).tolist(), batches, strict=True
        ):
            part = slice(end - len(boxes), end)
            drawn.append(Drawn(images[part], masks[part], fake[part], boxes))
    return drawn


def update_critics(system: System, config: TrainConfig, drawn: Drawn | None = None) -> dict[str, Tensor]:
    """One update of both critics, with a new batch unless one is `drawn`.

    Returns the `wasserstein` estimate and the `penalty`, summed over both critics; for the other kinds of critics
    (section 5.1) their loss as `critic`; and the norm of the gradient over all their weights, `gradient_critics`.
    """
    images, masks, made, boxes = draw(system)[0] if drawn is None else drawn
    real, fake = slice(0, len(images)), slice(len(images), None)
    both = F.concat([images, made], axis=0)  # scored as one batch
    whole = both, masks
    local = F.crop_boxes(both, 2 * boxes), F.crop_boxes(masks, boxes)
    scored, penalty = [], []
    for critic, (x, mask) in ((system.global_critic, whole), (system.local_critic, local)):
        scores = critic(x)
        scored.append(losses.critic_loss(scores[real], scores[fake], kind=config.adversarial))
        if config.adversarial == "wgan-gp":
            t = system.ranks.uniform(system.rngs["penalty"], len(images))[:, None, None, None].astype(images.dtype)
            penalty.append(losses.gradient_penalty(critic, x[real], x[fake], mask, t))
    # The backward pass takes terms in this order. The penalty's leaves every gradient incomplete, so it is first; then
    # the local critic's, whose gradients are the larger, so that they are sent while the global critic's are computed.
    loss = score = scored[1] + scored[0]
    values = {"critic": score}
    if penalty:
        total = penalty[0] + penalty[1]
        loss, values = total * config.penalty_weight + score, {"wasserstein": -score, "penalty": total}
    values["gradient_critics"] = system.minimise(loss, "critics")
    return {name: value.detach() for name, value in values.items()}  # not floats, which would wait for the GPU


def update_generator(system: System, config: TrainConfig, *, rate: float, adversarial: bool) -> dict[str, Tensor]:
    """One update of the generator. Without `adversarial`, the critics' scores are not part of the loss.

    Returns the terms of the loss, before they are weighted, and the norm of its gradient, `gradient_generator`.
    """
    batch = system.next_batch()
    images, masks = as_tensors([batch.images, batch.masks])
    coarse, refined, fake = system.generator.complete(images, masks)
    weights = losses.discount_weights(batch.masks, batch.boxes, discount=config.discount, gamma=config.gamma)
    truth, *guesses = (F.crop_boxes(x, batch.boxes) for x in (images, coarse, refined))
    l1_coarse, l1_refined = (losses.l1(truth, x, weights) for x in guesses)
    part = system.ranks.mean_of((1.0 - masks).mean())
    known_coarse, known_refined = (losses.known_l1(images, x, masks, part=part) for x in (coarse, refined))
    l1, known = l1_coarse * config.coarse_weight, known_coarse * config.coarse_weight
    if config.refine_l1:
        l1, known = l1 + l1_refined, known + known_refined
    loss = l1 * config.l1_weight + known * config.known_weight
    values = {"l1_coarse": l1_coarse, "l1_refined": l1_refined, "known_refined": known_refined}
    filled = F.crop_boxes(fake, batch.boxes)
    for name, value in (_compared(system, config, images, fake) | _texture(system, config, truth, filled)).items():
        values[name], loss = value, loss + value * getattr(config, f"{name}_weight")
    if adversarial:
        scores = system.global_critic(fake), system.local_critic(filled)
        whole, local = (losses.adversarial_loss(score, kind=config.adversarial) for score in scores)
        values["adversarial"] = whole + local
        loss = loss + values["adversarial"] * config.adversarial_weight
    values["gradient_generator"] = system.minimise(loss, "generator", rate=rate)
    return {name: value.detach() for name, value in values.items()}


def _compared(system: System, config: TrainConfig, images: Tensor, fake: Tensor) -> dict[str, Tensor]:
    """The additional losses of section 5.1 that have a weight; the paper's system has none of them."""
    found: dict[str, Tensor] = {}
    if config.tv_weight:
        found["tv"] = losses.total_variation(fake)
    if system.vgg is not None:
        features, truth = system.vgg(fake), system.vgg(images)
        if config.perceptual_weight:
            found["perceptual"] = losses.perceptual_loss(features, truth, average=system.ranks.mean_of)
        if config.style_weight:
            found["style"] = losses.style_loss(features, truth, average=system.ranks.mean_of)
    return found


def _texture(system: System, config: TrainConfig, truth: Tensor, filled: Tensor) -> dict[str, Tensor]:
    """The texture loss over the boxes, in new random directions, if it has a weight."""
    if not config.texture_weight:
        return {}
    return {"texture": losses.sliced_wasserstein(filled, truth, losses.directions(system.rngs["texture"]))}
