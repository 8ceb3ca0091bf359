"""Sampling between pixels, and what predicts where: against SciPy's interpolation, loops and finite differences."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from ca_numpy import functional as F
from ca_numpy import grad, tensor
from ca_numpy.nn import AppearanceFlow, SpatialTransformer, Warp
from ca_numpy.testing import gradcheck

Array = NDArray[Any]
sizes = st.tuples(st.integers(1, 6), st.integers(1, 6))


def by_scipy(x: Array, positions: Array) -> Array:
    """Bilinear interpolation, the border's pixels repeated outside."""
    samples = []
    for image, where in zip(x, positions, strict=True):
        at = np.moveaxis(where, -1, 0)
        channels = [map_coordinates(image[:, :, c], at, order=1, mode="nearest") for c in range(image.shape[2])]
        samples.append(np.stack(channels, axis=-1))
    return np.stack(samples)


def away_from_pixels(rng: np.random.Generator, shape: tuple[int, ...], size: tuple[int, int]) -> Array:
    """Positions in the picture and two pixels around it, at least 0.15 from any whole number."""
    whole = np.stack([rng.integers(-2, n + 1, shape) for n in size], axis=-1)
    return whole + rng.uniform(0.15, 0.85, whole.shape)


# ---- sampling --------------------------------------------------------------------------------------------------------
@given(size=sizes, seed=st.integers(0, 2**16))
def test_sampling_is_bilinear_interpolation(size: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, where = rng.normal(size=(2, *size, 3)), away_from_pixels(rng, (2, 3, 4), size)
    np.testing.assert_allclose(F.bilinear_sample(x, where).numpy(), by_scipy(x, where), rtol=1e-12, atol=1e-12)


def test_every_backend_samples_alike(backend: str, rng: np.random.Generator) -> None:
    x, where = rng.normal(size=(2, 5, 6, 3)), away_from_pixels(rng, (2, 4, 4), (5, 6))
    xs = [tensor(x.astype(np.float32)), tensor(where.astype(np.float32))]
    y = F.bilinear_sample(*xs)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.numpy(), by_scipy(x, where), rtol=1e-4, atol=1e-5)
    expected = grad(F.bilinear_sample(*(pair := [tensor(x), tensor(where)])).sum(), pair)
    for g, wanted in zip(grad(y.sum(), xs), expected, strict=True):
        np.testing.assert_allclose(g.numpy(), wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_on_a_pixel_lies_that_pixel_exactly(rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 4, 5, 3)).astype(np.float32)
    where = np.broadcast_to(np.moveaxis(np.indices((4, 5)), 0, -1), (2, 4, 5, 2)).astype(np.float32)
    np.testing.assert_allclose(F.bilinear_sample(x, where).numpy(), x, rtol=1e-6)


@pytest.mark.parametrize("size", [(4, 5), (1, 4), (3, 1)])
def test_sampling_has_all_derivatives_between_pixels(size: tuple[int, int], rng: np.random.Generator) -> None:
    """By the picture and by the positions; outside the border the positions' is zero."""
    where = away_from_pixels(rng, (2, 3, 3), size)
    gradcheck(F.bilinear_sample, [rng.normal(size=(2, *size, 2)), where], rng=rng, order=2)


def test_on_the_last_pixel_the_slope_is_that_towards_the_one_before() -> None:
    x, where = np.array([1.0, 4.0]).reshape(1, 1, 2, 1), tensor(np.array([0.0, 1.0]).reshape(1, 1, 1, 2))
    assert grad(F.bilinear_sample(x, where), where).numpy().ravel().tolist() == [0.0, 3.0]


def test_no_number_as_a_position_gives_no_number_and_no_error() -> None:
    where = np.array([[np.nan, 0.0], [0.0, np.inf]]).reshape(1, 1, 2, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = F.bilinear_sample(np.ones((1, 2, 2, 1)), where).numpy().ravel()
    assert np.isnan(y[0])
    assert y[1] == 1


@pytest.mark.parametrize("positions", [(2, 3, 3, 2), (1, 3, 3, 3), (1, 3, 2)])
def test_positions_that_do_not_fit_are_refused(positions: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="positions N h w 2"):
        F.bilinear_sample(np.zeros((1, 4, 4, 3)), np.zeros(positions))


# ---- pooling ---------------------------------------------------------------------------------------------------------
@given(size=sizes.filter(lambda s: min(s) > 1), seed=st.integers(0, 2**16))
def test_pooling_takes_the_largest_of_four(size: tuple[int, int], seed: int) -> None:
    x = np.random.default_rng(seed).integers(-3, 3, (2, *size, 3)) / 7
    expected = [[x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((1, 2)) for j in range(size[1] // 2)]
                for i in range(size[0] // 2)]  # fmt: skip
    assert np.array_equal(F.max_pool(x).numpy(), np.moveaxis(np.array(expected), 2, 0))


def test_pooling_has_the_slope_of_a_choice(rng: np.random.Generator) -> None:
    distinct = rng.permutation(4 * 5 * 2).reshape(1, 4, 5, 2) / 2.0
    gradcheck(F.max_pool, [distinct], rng=rng, order=2)
    tied = tensor(np.ones((1, 2, 2, 1)))
    assert grad(F.max_pool(tied), tied).numpy().ravel().tolist() == [1, 0, 0, 0]


# ---- what predicts the positions -------------------------------------------------------------------------------------
def transformer(theta: list[float], channels: int = 2) -> SpatialTransformer:
    warp = SpatialTransformer("t", channels, rng=np.random.default_rng(0), dtype=np.float64)
    warp.fc.bias.data = np.array(theta)
    return warp


@pytest.mark.parametrize("size", [(4, 7), (1, 3)])
def test_a_transformer_begins_as_the_identity(size: tuple[int, int], rng: np.random.Generator) -> None:
    f = rng.normal(size=(2, *size, 2))
    warp = SpatialTransformer("t", 2, rng=rng, dtype=np.float64)
    np.testing.assert_allclose(warp(f).numpy(), f, rtol=1e-12, atol=1e-12)


def test_a_transformer_moves_every_position_by_one_affine_map(rng: np.random.Generator) -> None:
    theta = [0.6, -0.3, 0.2, 0.4, 0.9, -0.1]
    h, w = 5, 7
    f = rng.normal(size=(1, h, w, 2))
    where = np.empty((1, h, w, 2))
    for i in range(h):
        for j in range(w):
            y, x = 2 * i / (h - 1) - 1, 2 * j / (w - 1) - 1
            y, x = theta[0] * y + theta[1] * x + theta[2], theta[3] * y + theta[4] * x + theta[5]
            where[0, i, j] = (y + 1) / 2 * (h - 1), (x + 1) / 2 * (w - 1)
    np.testing.assert_allclose(transformer(theta).positions(f).numpy(), where)
    np.testing.assert_allclose(transformer(theta)(f).numpy(), by_scipy(f, where))


def test_a_transformers_map_depends_on_the_mean_of_its_features(rng: np.random.Generator) -> None:
    warp = transformer([1, 0, 0, 0, 1, 0])
    warp.fc.kernel.data = rng.normal(size=(2, 6))
    f = rng.normal(size=(2, 4, 6, 2))
    hidden = [oracles.elu(oracles.conv2d(x, warp.conv.kernel.numpy(), np.zeros(2), stride=2)).mean((0, 1)) for x in f]
    corner = np.array([-1.0, -1.0, 1.0])
    for n, mean in enumerate(hidden):
        theta = (np.array([1, 0, 0, 0, 1, 0]) + mean @ warp.fc.kernel.numpy()).reshape(2, 3)
        expected = (theta @ corner + 1) / 2 * np.array([3, 5])
        np.testing.assert_allclose(warp.positions(f).numpy()[n, 0, 0], expected)


def test_a_flow_adds_an_offset_to_each_position(rng: np.random.Generator) -> None:
    warp = AppearanceFlow("flow", 3, rng=rng, dtype=np.float64)
    warp.conv.bias.data = np.array([1.5, -0.25])
    f = rng.normal(size=(2, 4, 5, 3))
    offsets = np.stack([oracles.conv2d(x, warp.conv.kernel.numpy(), warp.conv.bias.numpy()) for x in f])
    where = offsets + np.array([[(i, j) for j in range(5)] for i in range(4)])
    np.testing.assert_allclose(warp(f).numpy(), by_scipy(f, where), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", [SpatialTransformer, AppearanceFlow])
def test_a_warp_has_its_derivatives_by_features_and_parameters(kind: Any, rng: np.random.Generator) -> None:
    warp = kind("w", 2, rng=rng, dtype=np.float64)
    if isinstance(warp, SpatialTransformer):
        warp.fc.kernel.data = rng.uniform(-0.2, 0.2, (2, 6))
        warp.fc.bias.data = np.array([0.71, 0.13, 0.07, -0.11, 0.67, 0.05])
    else:
        warp.conv.kernel.data = warp.conv.kernel.numpy() * 0.02
        warp.conv.bias.data = np.array([0.45, -0.55])
    parameters = warp.parameters()

    def moved(f: Any, *values: Any) -> Any:
        for p, value in zip(owners, values, strict=True):
            setattr(*p, value)
        return warp(f)

    layers = [warp.conv, warp.fc] if isinstance(warp, SpatialTransformer) else [warp.conv]
    owners = [(layer, part) for layer in layers for part in ("kernel", "bias")]
    gradcheck(moved, [rng.normal(size=(1, 4, 5, 2)), *(p.numpy() for p in parameters.values())], rng=rng, order=2)


NAMES = [
    (
        SpatialTransformer,
        {"w_conv/kernel": (3, 3, 4, 4), "w_conv/bias": (4,), "w_fc/kernel": (4, 6), "w_fc/bias": (6,)},
    ),
    (AppearanceFlow, {"w/kernel": (3, 3, 4, 2), "w/bias": (2,)}),
]


@pytest.mark.parametrize(("kind", "names"), NAMES)
def test_a_warp_owns_these_parameters_in_its_dtype(kind: Any, names: dict[str, Any]) -> None:
    warp: Warp = kind("w", 4, rng=np.random.default_rng(0))
    assert {name: p.shape for name, p in warp.parameters().items()} == names
    assert {p.dtype for p in warp.parameters().values()} == {np.dtype(np.float32)}
    assert warp(np.ones((1, 4, 4, 4), np.float32)).dtype == np.float32
