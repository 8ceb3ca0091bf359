"""What broadcasting repeats, the gradient adds up again: a gradient has the shape of its input, always."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest

from ca_numpy import grad, ops, tensor
from ca_numpy.testing import gradcheck

SHAPES = [
    ((), (3, 2)), ((1,), (3, 2)), ((2,), (3, 2)), ((3, 1), (3, 2)), ((3, 1), (1, 2)), ((4, 1, 2), (3, 1)), ((1, 1), ()),
    ((), ()), ((1,), ()), ((0, 2), (2,)),
]  # fmt: skip


def added_up(g: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """g summed over what was repeated, in two plain steps: leading axes, then those one long."""
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    return g.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True)


@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_the_gradient_of_a_repeated_input_is_the_sum_over_its_repetitions(
    a: tuple[int, ...], b: tuple[int, ...], rng: np.random.Generator
) -> None:
    x, y = rng.standard_normal(a), rng.uniform(1, 2, b)
    seed = rng.standard_normal(np.broadcast_shapes(a, b))
    everywhere: dict[Any, tuple[Any, Any]] = {
        operator.add: (seed, seed),
        operator.sub: (seed, -seed),
        operator.mul: (seed * y, seed * x),
        operator.truediv: (seed / y, -seed * x / y**2),
    }
    for op, (dx, dy) in everywhere.items():
        tx, ty = tensor(x), tensor(y)
        gx, gy = grad(op(tx, ty), [tx, ty], seed=seed)
        assert (gx.shape, gy.shape) == (a, b)
        np.testing.assert_allclose(gx.numpy(), added_up(np.asarray(dx), a), atol=1e-13)
        np.testing.assert_allclose(gy.numpy(), added_up(np.asarray(dy), b), atol=1e-13)


def test_a_number_may_meet_a_picture() -> None:
    picture, number = tensor(np.ones((2, 4, 4, 3))), tensor(np.array(2.0))
    assert float(grad(picture * number, number)) == 2 * 4 * 4 * 3
    assert grad(number * picture, number).shape == ()


def test_a_bias_meets_every_pixel_of_every_picture() -> None:
    bias = tensor(np.zeros(3))
    assert np.array_equal(grad(tensor(np.ones((2, 4, 5, 3))) + bias, bias).numpy(), [40, 40, 40])


@pytest.mark.parametrize(("a", "b"), [((2, 3), (5, 3, 4)), ((5, 1, 2, 3), (6, 3, 4)), ((1, 2, 3), (5, 3, 1))])
def test_matrices_repeated_over_a_batch_get_summed_gradients(
    a: tuple[int, ...], b: tuple[int, ...], rng: np.random.Generator
) -> None:
    gradcheck(ops.matmul, [rng.standard_normal(a), rng.standard_normal(b)], rng=rng)


@pytest.mark.parametrize("ndim", [(1, 1), (2, 1), (1, 2), (3, 1), (1, 3)])
def test_vectors_in_a_product_get_gradients_that_are_vectors(ndim: tuple[int, int], rng: np.random.Generator) -> None:
    a, b = {1: (3,), 2: (2, 3), 3: (5, 2, 3)}[ndim[0]], {1: (3,), 2: (3, 4), 3: (5, 3, 4)}[ndim[1]]
    gradcheck(ops.matmul, [rng.standard_normal(a), rng.standard_normal(b)], rng=rng)
