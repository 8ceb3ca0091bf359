"""Algorithm 1, line by line: the batches drawn, the weights updated, and the gradients used."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from training_cases import critics_loss, critics_losses, draw_system, generator_loss, slopes
from vgg_cases import draw_vgg

from ca_numpy.engine.tensor import Tensor
from ca_numpy.training import TrainConfig, train
from ca_numpy.training.algorithm1 import Drawn, draw, update_critics, update_generator
from ca_numpy.training.system import System

TINY = TrainConfig(
    width=4, critic_width=4, size=32, box=16, max_shrink=2, batch=2, steps=3, pretrain=1, validate_every=100,
    pictures_every=100, checkpoint_every=100,
)  # fmt: skip
#: Every loss there is, each with a weight of its own.
EVERY_LOSS: dict[str, Any] = {
    "l1_weight": 0.7, "known_weight": 0.4, "coarse_weight": 1.9, "tv_weight": 0.3, "perceptual_weight": 0.6,
    "style_weight": 0.2, "texture_weight": 0.8, "adversarial_weight": 0.5, "penalty_weight": 3.0, "gamma": 0.8,
}  # fmt: skip
VARIATIONS: dict[str, dict[str, Any]] = {
    "as released": {},
    "every loss": EVERY_LOSS,
    "dcgan": {"adversarial": "dcgan", "adversarial_weight": 0.5},
    "lsgan": {"adversarial": "lsgan", "adversarial_weight": 0.5},
    "discounted by distance": {"discount": "distance", "gamma": 0.8},
    "nothing discounted": {"discount": "none"},
    "the critics alone teach the refinement": {"refine_l1": False, "adversarial_weight": 0.5},
}


@pytest.fixture
def config(variation: str, tmp_path: Any) -> TrainConfig:
    """TINY with the options of a variant, and a weight file if it uses features."""
    options = VARIATIONS[variation]
    if "style_weight" not in options:
        return dataclasses.replace(TINY, **options)
    np.savez(tmp_path / "vgg.npz", **draw_vgg())
    return dataclasses.replace(TINY, **options, vgg=str(tmp_path / "vgg.npz"))


# ---- the lines -------------------------------------------------------------------------------------------------------
def test_a_completion_is_the_picture_with_the_refined_result_in_its_hole() -> None:
    system, _ = draw_system(TINY)
    images, masks, _ = system.next_batch()
    _, refined, filled = (y.numpy() for y in system.generator.complete(images, masks))
    hole = np.broadcast_to(masks == 1, images.shape)
    assert np.array_equal(filled[~hole], images[~hole])
    assert np.array_equal(filled[hole], refined[hole])
    assert not np.array_equal(filled[hole], images[hole])
    others = np.where(hole, -images, images)  # z = x ⊙ (1 − m): what lies in the hole is not seen
    assert np.array_equal(system.generator.complete(others, masks)[1].numpy(), refined)


def test_every_update_draws_a_batch_of_its_own() -> None:
    system, drawn = draw_system(TINY)
    for number, update in enumerate([update_critics, update_critics, update_generator], start=1):
        options: dict[str, Any] = {"rate": 1e-4, "adversarial": True} if update is update_generator else {}
        update(system, TINY, **options)
        assert len(drawn) == number
    images, masks = ([batch[i] for batch in drawn] for i in range(2))
    for different in (images, masks):
        assert not any(np.array_equal(different[i], different[i - 1]) for i in range(3))


def test_the_generator_predicts_for_five_updates_of_the_critics_as_for_each_alone() -> None:
    system, alone = draw_system(TINY)[0], draw_system(TINY)[0]
    for drawn in draw(system, updates=5):
        ((images, masks, fake, boxes),) = draw(alone)
        assert np.array_equal(drawn.images.numpy(), images.numpy())
        assert np.array_equal(drawn.masks.numpy(), masks.numpy())
        np.testing.assert_allclose(drawn.fake.numpy(), fake.numpy(), rtol=0, atol=1e-6)
        assert drawn.boxes == boxes


def test_the_directions_of_the_texture_loss_are_a_stream_of_their_own() -> None:
    """New ones at each update of the generator; without the loss there is no such stream, and the others are equal."""
    config = dataclasses.replace(TINY, texture_weight=0.5)
    with_texture, without = draw_system(config)[0], draw_system(TINY)[0]
    seen = [with_texture.state()["texture_rng"]]
    for _ in range(2):
        update_generator(with_texture, config, rate=1e-4, adversarial=False)
        seen.append(with_texture.state().pop("texture_rng"))
    assert seen[0] != seen[1] != seen[2]
    update_generator(without, TINY, rate=1e-4, adversarial=False)
    assert with_texture.rngs["penalty"].random() == without.rngs["penalty"].random()
    assert set(without.rngs) == {"penalty"}


def test_an_update_of_the_critics_leaves_the_generator_alone_and_the_other_way_round() -> None:
    system, _ = draw_system(TINY)
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


@pytest.mark.parametrize("variation", ["as released", "every loss", "dcgan", "lsgan"])
def test_the_critics_step_is_along_the_gradient_of_their_losses_and_penalties(config: TrainConfig) -> None:
    """Σ over both critics of mean(fake − real) + λ·mean((‖∇ at x̂, in the hole‖ − 1)²), or of another loss without λ."""
    system, drawn = draw_system(config, recording=True)
    values = update_critics(system, config)
    scored, penalty = critics_losses(system, config, drawn[0])()
    if config.adversarial == "wgan-gp":
        assert float(values["wasserstein"]) == pytest.approx(-scored)
        assert float(values["penalty"]) == pytest.approx(penalty)
    else:
        assert float(values["critic"]) == pytest.approx(scored)
    slope, along = slopes(critics_loss(system, config, drawn[0]), system.optimisers["critics"])
    assert abs(slope) > 1e-3
    assert along == pytest.approx(slope, rel=1e-4)


@pytest.mark.parametrize(("variation", "adversarial"), [*((name, True) for name in VARIATIONS), ("as released", False)])
def test_the_generators_step_is_along_the_gradient_of_its_weighted_losses(
    config: TrainConfig, adversarial: bool
) -> None:
    """1.2·ℓ1 + 1.2·known, of each 1.2·coarse + refined, and 0.001 of both critics' scores with their sign turned"""
    system, drawn = draw_system(config, recording=True)
    update_generator(system, config, rate=1e-4, adversarial=adversarial)
    objective = generator_loss(system, config, drawn[0], adversarial=adversarial)
    slope, along = slopes(objective, system.optimisers["generator"])
    assert abs(slope) > 1e-3
    assert along == pytest.approx(slope, rel=1e-4)


@pytest.mark.usefixtures("undrawn")
def test_the_loop_is_five_updates_of_the_critics_and_one_of_the_generator(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = importlib.import_module("ca_numpy.training.loop")
    calls = ""

    def critics(system: System, config: TrainConfig, drawn: Drawn) -> dict[str, Tensor]:
        nonlocal calls
        calls += "D"
        return {}

    def generator(system: System, config: TrainConfig, *, rate: float, adversarial: bool) -> dict[str, Tensor]:
        nonlocal calls
        calls += "G" if adversarial else "g"
        return {}

    monkeypatch.setattr(loop, "update_critics", critics)
    monkeypatch.setattr(loop, "update_generator", generator)
    train(TINY, out=tmp_path / "run", backend="numpy", quiet=True)
    assert calls == "g" + "DDDDDG" * 2  # the first by reconstruction alone
