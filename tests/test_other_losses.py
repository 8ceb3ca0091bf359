"""The losses that section 5.1 compares with, and texture's, against closed forms, loops and finite differences."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, stats

from ca_numpy import functional as F
from ca_numpy import grad, tensor
from ca_numpy.testing import gradcheck
from ca_numpy.training.losses import (
    adversarial_loss,
    critic_loss,
    directions,
    gram,
    l1,
    perceptual_loss,
    sliced_wasserstein,
    style_loss,
    total_variation,
)

scores = st.lists(st.floats(-30, 30), min_size=1, max_size=5)


def column(values: Any) -> Any:
    return tensor(np.array(values, float).reshape(-1, 1))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


# ---- adversarial -----------------------------------------------------------------------------------------------------
@given(real=scores, fake=scores)
def test_dcgans_losses_are_cross_entropies(real: list[float], fake: list[float]) -> None:
    """Real pictures are to be called real, made ones made; the generator wants its own called real."""
    critic = -np.mean([math.log(sigmoid(r)) for r in real]) - np.mean([math.log(sigmoid(-f)) for f in fake])
    assert float(critic_loss(column(real), column(fake), kind="dcgan")) == pytest.approx(critic, rel=1e-9)
    generator = -np.mean([math.log(sigmoid(f)) for f in fake])
    assert float(adversarial_loss(column(fake), kind="dcgan")) == pytest.approx(generator, rel=1e-9)


@given(real=scores, fake=scores)
def test_lsgans_losses_are_least_squares(real: list[float], fake: list[float]) -> None:
    critic = sum((r - 1) ** 2 for r in real) / len(real) / 2 + sum(f**2 for f in fake) / len(fake) / 2
    assert float(critic_loss(column(real), column(fake), kind="lsgan")) == pytest.approx(critic)
    generator = sum((f - 1) ** 2 for f in fake) / len(fake) / 2
    assert float(adversarial_loss(column(fake), kind="lsgan")) == pytest.approx(generator)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy_neither_overflows_nor_loses_its_slope(dtype: Any) -> None:
    """Where the critic is sure of a fake the generator still has slope −1, where it is fooled none is left."""
    sure = tensor(np.array([[-1e4], [0.0], [1e4]], dtype))
    with np.errstate(over="raise", invalid="raise"):
        y = F.softplus(-sure)
        slope = grad(y.sum(), sure).numpy()
    assert y.dtype == dtype
    np.testing.assert_allclose(y.numpy().ravel(), [1e4, math.log(2), 0], rtol=1e-6)
    np.testing.assert_allclose(slope.ravel(), [-1, -0.5, 0])


@pytest.mark.parametrize("kind", ["wgan-gp", "dcgan", "lsgan"])
def test_adversarial_losses_have_their_derivatives(backend: str, kind: Any, rng: np.random.Generator) -> None:
    real, fake = (rng.uniform(0.2, 3, (4, 1)) * rng.choice([-1, 1], (4, 1)) for _ in range(2))
    gradcheck(lambda a, b: critic_loss(a, b, kind=kind), [real, fake], rng=rng)
    gradcheck(lambda a: adversarial_loss(a, kind=kind), [fake], rng=rng)


@pytest.mark.parametrize("kind", ["wgan-gp", "dcgan", "lsgan"])
def test_critics_and_generator_pull_in_opposite_directions(kind: Any) -> None:
    """From undecided scores, a critic's descent lowers a fake's score and the generator's raises it."""
    real, fake = column([0.5, 0.5]), column([0.5, 0.5])
    down, up = grad(critic_loss(real, fake, kind=kind), fake), grad(adversarial_loss(fake, kind=kind), fake)
    assert (down.numpy() > 0).all()
    assert (up.numpy() < 0).all()
    assert (grad(critic_loss(real, fake, kind=kind), real).numpy() < 0).all()


def test_an_unknown_kind_is_refused() -> None:
    kind: Any = "gan"
    for loss in (
        lambda: critic_loss(column([0]), column([0]), kind=kind),
        lambda: adversarial_loss(column([0]), kind=kind),
    ):
        with pytest.raises(ValueError, match="lsgan"):
            loss()


# ---- total variation -------------------------------------------------------------------------------------------------
@given(h=st.integers(2, 5), w=st.integers(2, 5), seed=st.integers(0, 2**16))
def test_total_variation_is_the_mean_step_between_neighbours(h: int, w: int, seed: int) -> None:
    x = np.random.default_rng(seed).uniform(-1, 1, (2, h, w, 3))
    down = [abs(x[n, i + 1, j, c] - x[n, i, j, c]) for n, i, j, c in np.ndindex(2, h - 1, w, 3)]
    right = [abs(x[n, i, j + 1, c] - x[n, i, j, c]) for n, i, j, c in np.ndindex(2, h, w - 1, 3)]
    assert float(total_variation(x)) == pytest.approx(sum(down) / len(down) + sum(right) / len(right))


def test_total_variation_has_its_derivative(rng: np.random.Generator) -> None:
    distinct = rng.permutation(2 * 4 * 3 * 2).reshape(2, 4, 3, 2) / 3.0
    gradcheck(total_variation, [distinct], rng=rng)


# ---- features --------------------------------------------------------------------------------------------------------
def draw_features(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in ((2, 4, 3, 2), (2, 2, 2, 3))]


def by_loops(x: np.ndarray) -> np.ndarray:
    n, h, w, c = x.shape
    g = np.zeros((n, c, c))
    for k, i, j, a, b in np.ndindex(n, h, w, c, c):
        g[k, a, b] += x[k, i, j, a] * x[k, i, j, b] / (h * w * c)
    return g


@given(seed=st.integers(0, 2**16))
def test_perceptual_and_style_losses_are_relative_distances(seed: int) -> None:
    xs, ys = draw_features(seed), draw_features(seed + 1)
    distance = sum(sum((x - y).ravel() ** 2) / sum(y.ravel() ** 2) for x, y in zip(xs, ys, strict=True))
    tensors = [tensor(x) for x in xs], [tensor(y) for y in ys]
    assert float(perceptual_loss(*tensors)) == pytest.approx(distance)
    grams = [(by_loops(x), by_loops(y)) for x, y in zip(xs, ys, strict=True)]
    np.testing.assert_allclose(gram(tensors[0][0]).numpy(), grams[0][0])
    distance = sum(sum((g - h).ravel() ** 2) / sum(h.ravel() ** 2) for g, h in grams)
    assert float(style_loss(*tensors)) == pytest.approx(distance)


@pytest.mark.parametrize("loss", [perceptual_loss, style_loss])
def test_features_of_the_truth_cost_nothing_and_the_scale_does_not_matter(loss: Any) -> None:
    xs, ys = ([tensor(x) for x in draw_features(seed)] for seed in (0, 1))
    assert float(loss(ys, ys)) == 0
    larger = [[x * 1000.0 for x in features] for features in (xs, ys)]
    assert float(loss(*larger)) == pytest.approx(float(loss(xs, ys)))
    assert np.isfinite(float(loss([x * 0.0 for x in xs], [x * 0.0 for x in xs])))


def test_style_forgets_where_things_are() -> None:
    (x, _) = draw_features(0)
    moved = np.roll(x, 1, axis=1)
    assert float(style_loss([tensor(moved)], [tensor(x)])) == pytest.approx(0, abs=1e-25)
    assert float(perceptual_loss([tensor(moved)], [tensor(x)])) > 0.1


@pytest.mark.parametrize("loss", [perceptual_loss, style_loss])
def test_feature_losses_have_their_derivatives(loss: Any, rng: np.random.Generator) -> None:
    ys = [tensor(y) for y in draw_features(1)]
    gradcheck(lambda *xs: loss(xs, ys), draw_features(0), rng=rng)


# ---- texture ---------------------------------------------------------------------------------------------------------
def draw_directions(channels: int, count: int = 16) -> np.ndarray:
    return directions(np.random.default_rng(5), count=count, channels=channels).astype(np.float64)


def blurred(x: np.ndarray) -> np.ndarray:
    return ndimage.gaussian_filter(x, (0, 3, 3, 0), mode="wrap")


def periodic(rng: np.random.Generator, period: int, side: int) -> np.ndarray:
    return np.tile(rng.uniform(-1, 1, (1, period, period, 2)), (1, side // period, side // period, 1))


def test_directions_are_unit_vectors_of_patches() -> None:
    kernels = directions(np.random.default_rng(0), count=1000, channels=2)
    assert kernels.shape == (7, 7, 2, 1000)
    np.testing.assert_allclose((kernels**2).sum((0, 1, 2)), 1, rtol=1e-5)
    np.testing.assert_allclose(kernels.mean(3), 0, atol=5 / math.sqrt(98 * 1000))


@pytest.mark.parametrize(("h", "w", "scales"), [(11, 12, 1), (26, 29, 2), (84, 60, 3)])
def test_the_texture_loss_is_scipys_wasserstein_distance_of_projected_patches(h: int, w: int, scales: int) -> None:
    """One for each band, picture, cell and direction; blurred and halved by SciPy, and projected by loops."""
    rng, kernels = np.random.default_rng(h), draw_directions(2, count=3)
    x, y = rng.uniform(-1, 1, (2, h, w, 2)), rng.normal(size=(2, h, w, 2))

    def bands(x: np.ndarray) -> list[np.ndarray]:
        found = []
        for _ in range(scales):
            low = x
            for axis in (1, 2):
                low = ndimage.correlate1d(low, np.array([1, 4, 6, 4, 1]) / 16, axis=axis)
            inside = np.s_[:, 2:-2, 2:-2]
            found.append((x - low)[inside])
            x = low[inside][:, ::2, ::2]
        return found

    def projected(band: np.ndarray, n: int, k: int) -> np.ndarray:
        p = np.empty((band.shape[1] - 6, band.shape[2] - 6))
        for i, j in np.ndindex(p.shape):
            p[i, j] = (band[n, i : i + 7, j : j + 7] * kernels[..., k]).sum()
        return p

    total = 0.0
    for a, b in zip(bands(x), bands(y), strict=True):
        moved, count = 0.0, 0
        for n, k in np.ndindex(2, 3):
            p, q = projected(a, n, k), projected(b, n, k)
            for i, j in itertools.product(range(0, p.shape[0], 32), range(0, p.shape[1], 32)):
                u, v = (z[i : i + 32, j : j + 32].ravel() for z in (p, q))
                moved, count = moved + u.size * stats.wasserstein_distance(u, v), count + u.size
        total += moved / count
    assert float(sliced_wasserstein(x, y, kernels)) == pytest.approx(total, rel=1e-9)


@given(seed=st.integers(0, 2**16), down=st.integers(0, 7), right=st.integers(0, 7))
def test_where_a_texture_lies_does_not_matter(seed: int, down: int, right: int) -> None:
    """A periodic picture has the same patches wherever it starts, if there are whole periods of them."""
    x = periodic(np.random.default_rng(seed), period=2, side=16)  # 6 patches a side, one band
    assert float(sliced_wasserstein(np.roll(x, (down, right), (1, 2)), x, draw_directions(2))) < 1e-12
    assert float(sliced_wasserstein(x, x, draw_directions(2))) == 0


@given(seed=st.integers(0, 2**16))
def test_the_texture_loss_prefers_a_shifted_copy_to_a_blur_and_l1_does_not(seed: int) -> None:
    """In three bands, of noise that does not repeat within the picture."""
    x = periodic(np.random.default_rng(seed), period=64, side=64)
    shifted, blur = np.roll(x, (5, 9), (1, 2)), blurred(x)
    kernels = draw_directions(2)
    assert float(sliced_wasserstein(shifted, x, kernels)) < 0.2 * float(sliced_wasserstein(blur, x, kernels))
    assert float(l1(shifted, x)) > float(l1(blur, x))


def test_the_texture_loss_has_its_derivative(backend: str, rng: np.random.Generator) -> None:
    """Its second derivative is 0; the truth is a constant."""
    x, y = rng.normal(size=(1, 18, 17, 1)), rng.normal(size=(1, 18, 17, 1))
    kernels = draw_directions(1, count=2)
    gradcheck(lambda x: sliced_wasserstein(x, y, kernels), [x], rng=rng, order=1)
    truth = tensor(y)
    assert not grad(sliced_wasserstein(x, truth, kernels), truth).numpy().any()


def test_descent_on_the_texture_loss_gives_a_blur_texture(rng: np.random.Generator) -> None:
    """As rough as the truth's, but not the truth's: ℓ1 is none the better for it."""
    truth = rng.normal(size=(1, 24, 24, 1))
    x = 0.1 * rng.normal(size=truth.shape)
    rough, distance = x.std(), float(l1(x, truth))
    for _ in range(150):
        y = tensor(x)
        x = x - 0.05 * np.sign(grad(sliced_wasserstein(y, truth, directions(rng, channels=1)), y).numpy())
    assert rough < 0.2
    assert x.std() == pytest.approx(truth.std(), rel=0.15)
    assert float(l1(x, truth)) > distance


def test_the_texture_loss_leaves_colours_to_l1(rng: np.random.Generator) -> None:
    x = rng.uniform(-1, 1, (1, 30, 30, 3))
    assert float(sliced_wasserstein(x + np.array([0.3, -0.2, 0.1]), x, draw_directions(3))) < 1e-12


def test_the_texture_loss_refuses_pictures_smaller_than_a_patch_in_one_band() -> None:
    with pytest.raises(ValueError, match="11×11"):
        sliced_wasserstein(np.zeros((1, 10, 19, 2)), np.zeros((1, 10, 19, 2)), draw_directions(2))
