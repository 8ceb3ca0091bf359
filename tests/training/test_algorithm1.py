"""Algorithm 1, line by line: which batch is drawn, whose weights change, and along which gradient."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ca_numpy import grad, tensor
from ca_numpy.data import MaskSampler
from ca_numpy.engine.tensor import Tensor
from ca_numpy.models import Critic
from ca_numpy.nn.optim import Adam
from ca_numpy.training import TrainConfig, train
from ca_numpy.training.algorithm1 import complete, update_critics, update_generator
from ca_numpy.training.batches import Batch
from ca_numpy.training.system import System, new_system

Array = np.ndarray[Any, Any]
TINY = TrainConfig(
    width=4, critic_width=4, size=32, box=16, max_shrink=2, batch=2, steps=3, pretrain=1, validate_every=100,
    pictures_every=100, checkpoint_every=100,
)  # fmt: skip
STEP = 1e-6


class Recorder(Adam):
    """An Adam that only remembers along which gradient it was to go."""

    def step(self, gradients: Any, *, rate: float | None = None) -> None:
        self.gradients = [g.numpy() for g in gradients]


def draw_system(*, recording: bool = False) -> tuple[System, list[Batch]]:
    """A small system in float64, and the list of the batches that it has drawn."""
    rng, drawn = np.random.default_rng(0), list[Batch]()
    sampler = MaskSampler("box", image_size=TINY.size, box_size=TINY.box, max_shrink=TINY.max_shrink, per_batch=False)

    def next_batch() -> Batch:
        drawn.append(Batch(rng.uniform(-1, 1, (2, TINY.size, TINY.size, 3)), *sampler(rng, 2)))
        return drawn[-1]

    system = new_system(TINY, np.random.default_rng(1), np.random.default_rng(2), next_batch)
    for network in system.networks.values():
        for p in network.parameters().values():
            p.data = p.numpy().astype(np.float64)
    if recording:
        system.optimisers.update({name: Recorder(a.parameters) for name, a in system.optimisers.items()})
    return system, drawn


def boxes_of(x: Array, batch: Batch) -> Array:
    return np.stack([x[n, t : t + h, l : l + w] for n, (t, l, h, w) in enumerate(batch.boxes)])


def check_gradient(objective: Callable[[], float], parameters: dict[str, Tensor], gradients: list[Array]) -> None:
    """The gradients are the objective's slope along a random direction."""
    rng = np.random.default_rng(3)
    ps = list(parameters.values())
    before = [p.numpy() for p in ps]
    directions = [rng.standard_normal(p.shape) for p in ps]
    ends = []
    for step in (STEP, -STEP):
        for p, start, d in zip(ps, before, directions, strict=True):
            p.data = start + step * d
        ends.append(objective())
    slope = (ends[0] - ends[1]) / (2 * STEP)
    assert abs(slope) > 1e-3
    assert sum((g * d).sum() for g, d in zip(gradients, directions, strict=True)) == pytest.approx(slope, rel=1e-4)


# ---- the lines -------------------------------------------------------------------------------------------------------
def test_a_completion_is_the_picture_with_the_refined_result_in_its_hole() -> None:
    system, _ = draw_system()
    images, masks, _ = system.next_batch()
    _, refined, filled = (y.numpy() for y in complete(system.generator, images, masks))
    hole = np.broadcast_to(masks == 1, images.shape)
    assert np.array_equal(filled[~hole], images[~hole])
    assert np.array_equal(filled[hole], refined[hole])
    assert not np.array_equal(filled[hole], images[hole])
    others = np.where(hole, -images, images)  # z = x ⊙ (1 − m): what lies in the hole is not seen
    assert np.array_equal(complete(system.generator, others, masks)[1].numpy(), refined)


def test_every_update_draws_a_batch_of_its_own() -> None:
    system, drawn = draw_system()
    for number, update in enumerate([update_critics, update_critics, update_generator], start=1):
        options: dict[str, Any] = {"rate": 1e-4, "adversarial": True} if update is update_generator else {}
        update(system, TINY, **options)
        assert len(drawn) == number
    images, masks = ([batch[i] for batch in drawn] for i in range(2))
    for different in (images, masks):
        assert not any(np.array_equal(different[i], different[i - 1]) for i in range(3))


def test_an_update_of_the_critics_leaves_the_generator_alone_and_the_other_way_round() -> None:
    system, _ = draw_system()
    networks = system.networks
    updates: list[tuple[Callable[[], Any], set[str]]] = [
        (lambda: update_critics(system, TINY), {"local_critic", "global_critic"}),
        (lambda: update_generator(system, TINY, rate=1e-4, adversarial=True), {"generator"}),
    ]
    for update, learns in updates:
        before = {name: {k: a.copy() for k, a in n.arrays().items()} for name, n in networks.items()}
        update()
        for name, network in networks.items():
            changed = {k for k, a in network.arrays().items() if not np.array_equal(a, before[name][k])}
            # A critic's last bias counts for real and fake alike, so that it cancels.
            able = {k for k in before[name] if not k.endswith("_fc/bias")}
            assert changed == (able if name in learns else set())


def test_the_critics_step_is_along_the_gradient_of_their_losses_and_penalties() -> None:
    """Σ over both critics of mean(fake − real) + 10·mean((‖∇ at x̂, in the hole‖ − 1)²)"""
    system, drawn = draw_system(recording=True)
    values = update_critics(system, TINY)
    (batch,) = drawn
    images, masks, _ = batch
    fake = complete(system.generator, images, masks)[2].numpy()
    draws = np.random.default_rng(2)  # as the system's own: for the whole picture first, then for the box
    whole_t, local_t = draws.random((2, 1, 1, 1)), draws.random((2, 1, 1, 1))
    cut = [boxes_of(a, batch) for a in (images, fake, masks)]

    def parts(critic: Critic, x: Array, made: Array, mask: Array, t: Array) -> tuple[float, float]:
        between = tensor((1 - t) * x + t * made)
        slope = grad(critic(between), between).numpy()
        norms = np.sqrt((slope**2 * mask).sum((1, 2, 3)))
        return float((critic(made).numpy() - critic(x).numpy()).mean()), float(((norms - 1) ** 2).mean())

    def both() -> tuple[float, float]:
        found = [
            parts(system.global_critic, images, fake, masks, whole_t),
            parts(system.local_critic, cut[0], cut[1], cut[2], local_t),
        ]
        return found[0][0] + found[1][0], found[0][1] + found[1][1]

    scored, penalty = both()
    assert float(values["wasserstein"]) == pytest.approx(-scored)
    assert float(values["penalty"]) == pytest.approx(penalty)

    def objective() -> float:
        scored, penalty = both()
        return scored + 10 * penalty

    adam: Any = system.optimisers["critics"]
    check_gradient(objective, adam.parameters, adam.gradients)


@pytest.mark.parametrize("adversarial", [True, False])
def test_the_generators_step_is_along_the_gradient_of_its_weighted_losses(adversarial: bool) -> None:
    """1.2·ℓ1 + 1.2·known, of each 1.2·coarse + refined, and 0.001 of both critics' scores with their sign turned"""
    system, drawn = draw_system(recording=True)
    update_generator(system, TINY, rate=1e-4, adversarial=adversarial)
    (batch,) = drawn
    images, masks, _ = batch
    side = TINY.box
    weight = np.array(
        [[max(0.9 ** min(i, side - i), 0.9 ** min(j, side - j)) for j in range(side)] for i in range(side)]
    )[:, :, None]
    known = 1 - masks

    def objective() -> float:
        coarse, refined, fake = (y.numpy() for y in complete(system.generator, images, masks))
        total = 0.0
        for y, share in ((coarse, 1.2), (refined, 1.0)):
            error = np.abs(images - y)
            total += 1.2 * share * (boxes_of(error, batch) * weight).mean()
            total += 1.2 * share * (error * known).mean() / known.mean()
        if adversarial:
            scores = system.global_critic(fake).numpy(), system.local_critic(boxes_of(fake, batch)).numpy()
            total -= 0.001 * (scores[0].mean() + scores[1].mean())
        return float(total)

    adam: Any = system.optimisers["generator"]
    check_gradient(objective, adam.parameters, adam.gradients)


def test_the_loop_is_five_updates_of_the_critics_and_one_of_the_generator(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = importlib.import_module("ca_numpy.training.loop")
    calls = ""

    def critics(system: System, config: TrainConfig) -> dict[str, Tensor]:
        nonlocal calls
        calls += "D"
        return {}

    def generator(system: System, config: TrainConfig, *, rate: float, adversarial: bool) -> dict[str, Tensor]:
        nonlocal calls
        calls += "G" if adversarial else "g"
        return {}

    monkeypatch.setattr(loop, "update_critics", critics)
    monkeypatch.setattr(loop, "update_generator", generator)
    for name in ("draw_pictures", "draw_curves", "draw_photograph"):
        monkeypatch.setattr(loop, name, lambda *_: [])
    train(TINY, out=tmp_path / "run", backend="numpy", quiet=True)
    assert calls == "g" + "DDDDDG" * 2  # the first by reconstruction alone
