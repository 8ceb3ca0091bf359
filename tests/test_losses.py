"""What the networks are trained towards, against loops and finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ca_numpy import Tensor, grad, no_grad, tensor
from ca_numpy import functional as F
from ca_numpy.models import Critic
from ca_numpy.training.losses import (
    adversarial_loss,
    critic_loss,
    discount_by_box,
    discount_by_distance,
    discounted_l1,
    gradient_penalty,
    known_l1,
    l1,
)

Array = NDArray[np.float64]
seeds = st.integers(0, 2**16)


def draw_pair(seed: int, shape: tuple[int, ...] = (2, 5, 6, 3)) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, shape), rng.uniform(-1, 1, shape)


def draw_mask(seed: int, n: int, h: int, w: int) -> Array:
    """A box of hole in each sample, all different."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((n, h, w, 1))
    for sample in mask:
        top, left = rng.integers(0, (h - 1, w - 1))
        sample[top : top + rng.integers(1, h), left : left + rng.integers(1, w)] = 1
    return mask


# ---- ℓ1 --------------------------------------------------------------------------------------------------------------
@given(seed=seeds)
def test_l1_is_the_mean_weighted_distance(seed: int) -> None:
    x, y = draw_pair(seed)
    weight = np.random.default_rng(seed + 1).random((2, 5, 6, 1))
    distances = [abs(x[i] - y[i]) * weight[*i[:3], 0] for i in np.ndindex(x.shape)]
    assert float(l1(x, y, weight)) == pytest.approx(sum(distances) / len(distances))
    assert float(l1(x, y)) == pytest.approx(sum(abs(x - y).ravel()) / x.size)


@given(seed=seeds)
def test_known_l1_is_the_mean_over_the_known_pixels(seed: int) -> None:
    x, y = draw_pair(seed)
    mask = draw_mask(seed, 2, 5, 6)
    known = [abs(x[i] - y[i]) for i in np.ndindex(x.shape) if mask[*i[:3], 0] == 0]
    assert float(known_l1(x, y, mask)) == pytest.approx(sum(known) / max(len(known), 1))


def test_known_l1_of_a_picture_that_is_all_hole_is_zero() -> None:
    x, y = draw_pair(0)
    prediction = tensor(x)
    loss = known_l1(prediction, y, np.ones((2, 5, 6, 1)))
    assert float(loss) == 0
    assert not grad(loss, prediction).numpy().any()


def test_known_l1_does_not_pull_at_the_hole() -> None:
    x, y = draw_pair(0)
    mask = draw_mask(0, 2, 5, 6)
    prediction = tensor(x)
    pull = abs(grad(known_l1(prediction, y, mask), prediction).numpy())
    assert not (pull * mask).any()
    assert np.all(pull[np.broadcast_to(mask == 0, x.shape)] > 0)


# ---- the spatial discount --------------------------------------------------------------------------------------------
@given(h=st.integers(1, 12), w=st.integers(1, 12), gamma=st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_the_released_codes_discount_is_its_equation(h: int, w: int, gamma: float) -> None:
    m = discount_by_box((h, w), gamma=gamma)
    assert m.shape == (h, w, 1)
    assert m.dtype == np.float32
    np.testing.assert_allclose(m[:, :, 0], oracles.discount_by_box(h, w, gamma), rtol=1e-6)


def test_the_released_codes_discount_is_not_symmetric() -> None:
    m = discount_by_box((128, 128))[:, :, 0]
    assert m[0, 64] == 1
    assert m[127, 64] == pytest.approx(0.9)
    assert m[64, 64] == pytest.approx(0.9**64, rel=1e-5)


@given(seed=seeds, h=st.integers(2, 9), w=st.integers(2, 9), gamma=st.sampled_from([0.5, 0.9, 0.99]))
def test_the_papers_discount_is_by_distance_to_the_nearest_known_pixel(seed: int, h: int, w: int, gamma: float) -> None:
    mask = (np.random.default_rng(seed).random((2, h, w, 1)) < 0.8).astype(float)
    mask[:, seed % h, seed % w] = 0  # at least one is known
    mask[:, : seed % 3], mask[:, :, : seed % 2], mask[:, h - seed % 4 :] = 0, 0, 0  # and often a whole margin
    weights = discount_by_distance(mask, gamma=gamma)
    assert weights.shape == mask.shape
    assert weights.dtype == np.float32
    for weight, hole in zip(weights, mask, strict=True):
        expected = gamma ** oracles.distance_to_known(hole[:, :, 0])
        np.testing.assert_allclose(weight[:, :, 0], expected, rtol=1e-6)


def test_known_pixels_weigh_one_and_the_middle_of_the_hole_least() -> None:
    mask = np.zeros((1, 9, 9, 1))
    mask[:, 2:7, 2:7] = 1
    weights = discount_by_distance(mask)[0, :, :, 0]
    assert np.all(weights[mask[0, :, :, 0] == 0] == 1)
    assert np.unravel_index(weights.argmin(), weights.shape) == (4, 4)
    assert weights[4, 4] == pytest.approx(0.99**3)


def test_a_picture_that_is_all_hole_is_not_discounted() -> None:
    assert np.array_equal(discount_by_distance(np.ones((1, 4, 5, 1))), np.ones((1, 4, 5, 1)))


@pytest.mark.parametrize("kind", ["box", "distance", "none"])
@pytest.mark.parametrize("gamma", [None, 0.7])
@given(seed=seeds)
def test_discounted_l1_is_the_weighted_mean_over_the_boxes(seed: int, kind: Any, gamma: float | None) -> None:
    x, y = draw_pair(seed, (2, 7, 8, 3))
    mask = draw_mask(seed, 2, 7, 8)
    mask[:, 0, 0] = 0
    boxes = [(1, 2, 4, 5), (3, 0, 4, 5)]
    total, count = 0.0, 0
    for n, (top, left, h, w) in enumerate(boxes):
        box = oracles.discount_by_box(h, w, gamma or 0.9)
        distance = (gamma or 0.99) ** oracles.distance_to_known(mask[n, :, :, 0])
        for i, j in oracles.positions(h, w):
            weight = {"box": box[i, j], "distance": distance[top + i, left + j], "none": 1.0}[kind]
            for c in range(3):
                total += weight * abs(x[n, top + i, left + j, c] - y[n, top + i, left + j, c])
                count += 1
    loss = discounted_l1(x, y, mask, boxes, discount=kind, gamma=gamma)
    assert float(loss) == pytest.approx(total / count, rel=1e-6)


@pytest.mark.parametrize("kind", ["box", "distance", "none"])
def test_discounted_l1_pulls_inside_the_boxes_only_and_keeps_the_dtype(kind: Any) -> None:
    x, y = draw_pair(3, (2, 7, 8, 3))
    prediction = tensor(x.astype(np.float32))
    boxes = [(1, 2, 4, 5), (3, 0, 4, 5)]
    loss = discounted_l1(prediction, tensor(y.astype(np.float32)), draw_mask(3, 2, 7, 8), boxes, discount=kind)
    pull = grad(loss, prediction)
    assert (loss.dtype, pull.dtype) == (np.float32, np.float32)
    for n, (top, left, h, w) in enumerate(boxes):
        inside = np.zeros((7, 8), bool)
        inside[top : top + h, left : left + w] = True
        assert np.all(abs(pull.numpy()[n][inside]) > 0)
        assert not pull.numpy()[n][~inside].any()


@pytest.mark.parametrize(
    ("boxes", "options"),
    [
        ([(0, 0, 4, 4)], {}),  # one box for two images
        ([(0, 0, 4, 4), (0, 0, 3, 3)], {}),  # of two sizes
        ([(5, 5, 4, 4), (5, 5, 4, 4)], {}),  # over the edge
        ([(5, 5, 4, 4), (5, 5, 4, 4)], {"discount": "none"}),
        ([(0, 0, 4, 4), (1, 1, 4, 4)], {"discount": "distnace"}),
    ],
    ids=["too few", "sizes", "over the edge", "over the edge, undiscounted", "misspelt"],
)
def test_boxes_and_discounts_that_do_not_fit_are_refused_and_named(boxes: Any, options: dict[str, Any]) -> None:
    x, y = draw_pair(0, (2, 7, 8, 3))
    with pytest.raises(ValueError, match=r"box|discount") as error:
        discounted_l1(x, y, draw_mask(0, 2, 7, 8), boxes, **options)
    assert "\n" not in str(error.value)


# ---- Wasserstein -----------------------------------------------------------------------------------------------------
def test_the_critics_are_to_tell_apart_and_the_generator_to_please() -> None:
    real, fake = tensor(np.array([[1.0], [4.0]])), tensor(np.array([[2.0], [-5.0]]))
    assert float(critic_loss(real, fake)) == -1.5 - 2.5
    assert float(adversarial_loss(fake)) == 1.5
    np.testing.assert_array_equal(grad(critic_loss(real, fake), real).numpy(), [[-0.5], [-0.5]])
    np.testing.assert_array_equal(grad(critic_loss(real, fake), fake).numpy(), [[0.5], [0.5]])
    np.testing.assert_array_equal(grad(adversarial_loss(fake), fake).numpy(), [[-0.5], [-0.5]])


# ---- the gradient penalty --------------------------------------------------------------------------------------------
def linear_critic(w: Any) -> Any:
    """critic(x) = ⟨x, w⟩, whose gradient is w everywhere."""
    return lambda x: (x * w).sum((1, 2, 3)).reshape(-1, 1)


@given(seed=seeds)
def test_the_penalty_of_a_linear_critic_is_known_exactly(seed: int) -> None:
    real, fake = draw_pair(seed, (3, 4, 5, 3))
    rng = np.random.default_rng(seed)
    w, mask, t = rng.normal(size=(1, 4, 5, 3)), draw_mask(seed, 3, 4, 5), rng.random((3, 1, 1, 1))
    norms = np.sqrt((w**2 * mask).sum((1, 2, 3)))
    penalty = gradient_penalty(linear_critic(w), real, fake, mask, t)
    assert float(penalty) == pytest.approx(((norms - 1) ** 2).mean())


def test_a_critic_of_slope_one_in_the_hole_is_not_penalised() -> None:
    real, fake = draw_pair(1, (2, 4, 4, 3))
    mask = draw_mask(4, 1, 4, 4)
    w = np.random.default_rng(0).normal(size=(1, 4, 4, 3))
    outside = w * (1 - mask)
    w = w * mask / np.sqrt((w**2 * mask).sum()) + 100 * outside  # whatever it does outside
    penalty = gradient_penalty(linear_critic(w), real, fake, mask, np.full((2, 1, 1, 1), 0.5))
    assert float(penalty) == pytest.approx(0, abs=1e-20)


def test_the_gradient_is_taken_between_real_and_fake() -> None:
    real, fake = draw_pair(2, (3, 4, 4, 3))
    t = np.array([0.0, 0.25, 1.0]).reshape(3, 1, 1, 1)
    mask = np.ones((1, 4, 4, 1))
    between = np.stack([real[0], 0.75 * real[1] + 0.25 * fake[1], fake[2]])
    norms = np.sqrt((between**2).sum((1, 2, 3)))
    penalty = gradient_penalty(lambda x: (x * x).sum((1, 2, 3)) / 2.0, real, fake, mask, t)  # its gradient is x itself
    assert float(penalty) == pytest.approx(((norms - 1) ** 2).mean())


@pytest.mark.parametrize("which", ["local", "global"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_penalty_is_that_of_finite_differences(backend: str, which: Any, seed: int) -> None:
    critic = Critic(which, size=4, width=2, rng=np.random.default_rng(seed), dtype=np.float64)
    real, fake = draw_pair(seed, (2, 4, 4, 3))
    mask, t = draw_mask(seed, 2, 4, 4), np.array([0.2, 0.7]).reshape(2, 1, 1, 1)
    weights = critic.arrays()
    expected = oracles.gradient_penalty(
        lambda x: oracles.critic(weights, x, which), real, fake, mask[:, :, :, 0], t.ravel().tolist(), step=1e-6
    )
    assert float(gradient_penalty(critic, real, fake, mask, t)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("which", ["local", "global"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_penaltys_pull_on_every_weight_is_that_of_finite_differences(backend: str, which: Any, seed: int) -> None:
    critic = Critic(which, size=8, width=2, rng=np.random.default_rng(seed), dtype=np.float64)
    real, fake = draw_pair(seed, (2, 8, 8, 3))
    mask, t = draw_mask(seed, 2, 8, 8), np.array([0.2, 0.7]).reshape(2, 1, 1, 1)
    parameters = critic.parameters()
    pulls = grad(gradient_penalty(critic, real, fake, mask, t), list(parameters.values()))
    rng = np.random.default_rng(seed + 10)
    for (name, p), pull in zip(parameters.items(), pulls, strict=True):
        start, direction = p.numpy(), rng.normal(size=p.shape)
        values = []
        for e in (1e-6, -1e-6):
            p.data = tensor(start + e * direction).data
            values.append(float(gradient_penalty(critic, real, fake, mask, t)))
        p.data = tensor(start).data
        expected = (values[0] - values[1]) / 2e-6
        assert (pull.numpy() * direction).sum() == pytest.approx(expected, rel=1e-5, abs=1e-7), name


def test_a_penalty_pulls_at_kernels_but_not_at_the_last_bias() -> None:
    critic = Critic("local", size=8, width=2, dtype=np.float64)
    penalty = gradient_penalty(critic, *draw_pair(0, (2, 8, 8, 3)), np.ones((1, 8, 8, 1)), np.full((2, 1, 1, 1), 0.5))
    pulls = dict(zip(critic.parameters(), grad(penalty, list(critic.parameters().values())), strict=True))
    assert all(abs(g.numpy()).max() > 0 for name, g in pulls.items() if name.endswith("kernel"))
    assert not pulls["discriminator/dout_local_fc/bias"].numpy().any()


def test_the_penalty_is_the_critics_affair_alone() -> None:
    real, fake = (tensor(x) for x in draw_pair(0, (2, 4, 4, 3)))
    penalty = gradient_penalty(
        lambda x: (x**2).sum((1, 2, 3)), real, fake, np.ones((1, 4, 4, 1)), np.full((2, 1, 1, 1), 0.5)
    )
    for x in (real, fake):
        assert not grad(penalty, x).numpy().any()


@pytest.mark.parametrize("mask", [np.zeros((1, 4, 4, 1)), np.ones((1, 4, 4, 1))], ids=["no hole", "flat critic"])
def test_where_the_gradient_vanishes_the_penalty_is_one_and_its_pull_finite(mask: Array) -> None:
    real, fake = draw_pair(0, (2, 4, 4, 3))
    w = tensor(np.full((1, 4, 4, 3), 0.0 if mask.any() else 1.0))
    penalty = gradient_penalty(linear_critic(w), real, fake, mask, np.full((2, 1, 1, 1), 0.5))
    assert float(penalty) == pytest.approx(1)
    assert np.isfinite(grad(penalty, w).numpy()).all()


def test_one_mask_serves_a_whole_batch() -> None:
    real, fake = draw_pair(5, (3, 4, 4, 3))
    mask, t = draw_mask(1, 1, 4, 4), np.full((3, 1, 1, 1), 0.3)
    critic = Critic("local", size=4, width=2, dtype=np.float64)
    one, repeated = (gradient_penalty(critic, real, fake, m, t) for m in (mask, mask.repeat(3, 0)))
    assert float(one) == float(repeated)


def test_the_penalty_can_be_measured_without_a_tape() -> None:
    critic = Critic("local", size=8, width=2)
    real, fake = (x.astype(np.float32) for x in draw_pair(0, (2, 8, 8, 3)))
    arguments = critic, real, fake, np.ones((1, 8, 8, 1), np.float32), np.full((2, 1, 1, 1), 0.5, np.float32)
    taped = gradient_penalty(*arguments)
    with no_grad():
        bare = gradient_penalty(*arguments)
    assert float(taped) == float(bare)
    assert taped.dtype == np.float32
    assert isinstance(bare, Tensor)


# ---- boxes -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("boxes", [[(1, 2, 3, 4)] * 2, [(1, 2, 3, 4), (0, 3, 3, 4)]], ids=["one", "each its own"])
def test_crop_boxes_cuts_each_image_at_its_own_box(boxes: Any) -> None:
    x, _ = draw_pair(0, (2, 6, 8, 3))
    y = F.crop_boxes(x, boxes).numpy()
    for n, (top, left, h, w) in enumerate(boxes):
        assert np.array_equal(y[n], x[n, top : top + h, left : left + w])
