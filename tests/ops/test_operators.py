"""A Tensor reads like a NumPy array: operators, methods and indexing give the same numbers, shapes and dtypes."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca_numpy import Tensor, grad, tensor
from ca_numpy.testing.problems import draw_index
from ca_numpy.testing.strategies import HypothesisChooser, arrays, shapes

OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv]
Binary = Callable[[Any, Any], Any]


def same(y: Tensor, right: Any) -> None:
    """y is a Tensor with NumPy's shape, dtype and values."""
    assert isinstance(y, Tensor)
    right = np.asarray(right)
    assert (y.shape, y.dtype) == (right.shape, right.dtype)
    np.testing.assert_allclose(y.numpy(), right, rtol=1e-6 if right.dtype == np.float32 else 1e-13)


@st.composite
def pairs(draw: st.DrawFn, dtype: Any = np.float64) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays whose shapes broadcast; nothing near 0."""
    shape = draw(shapes())
    parts = [tuple(draw(st.sampled_from([n, 1])) for n in shape[draw(st.integers(0, len(shape))) :]) for _ in range(2)]
    a, b = (draw(arrays(part, dtype=dtype)) for part in parts)
    return a, np.asarray(np.where(abs(b) < 0.5, 1.5, b), dtype=dtype)


# ---- arithmetic --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("op", OPERATORS)
@given(ab=pairs(), dtypes=st.tuples(*2 * [st.sampled_from([np.float32, np.float64])]))
def test_operators_broadcast_and_promote_as_numpy_does(op: Binary, ab: Any, dtypes: Any) -> None:
    a, b = (x.astype(dtype) for x, dtype in zip(ab, dtypes, strict=True))
    same(op(tensor(a), tensor(b)), op(a, b))


@pytest.mark.parametrize("op", OPERATORS)
@given(ab=pairs())
def test_an_array_on_either_side_gives_a_tensor(op: Binary, ab: Any) -> None:
    a, b = ab
    same(op(a, tensor(b)), op(a, b))
    same(op(tensor(a), b), op(a, b))


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("number", [2, 2.5, True])
def test_python_numbers_leave_float32_alone_on_either_side(op: Binary, number: Any) -> None:
    x = np.array([0.5, -1.5, 3], np.float32)
    assert op(tensor(x), number).dtype == np.float32
    same(op(tensor(x), number), op(x, number))
    same(op(number, tensor(x)), op(number, x))


def test_a_constant_takes_the_dtype_of_the_tensor_beside_it() -> None:
    """Unlike in NumPy, a float64 picture or mask does not convert float32 weights to float64."""
    x = np.ones(3, np.float32)
    for constant in (np.float64(2), np.full(3, 2.0), np.full(3, 2)):
        same(tensor(x) * constant, x * np.float32(2))
        same(constant * tensor(x), x * np.float32(2))


def test_minus_and_power() -> None:
    x = np.array([[0.5, 2.0], [3.0, 4.0]], np.float32)
    same(-tensor(x), -x)
    for exponent in (2, 3, -1, 0.5, 0, 1):
        same(tensor(x) ** exponent, x**exponent)


def test_in_place_operators_make_a_new_tensor() -> None:
    x = kept = tensor(np.array([1.0, 2.0]))
    x += 1
    assert x is not kept
    assert np.array_equal(kept.numpy(), [1, 2])
    assert np.array_equal(x.numpy(), [2, 3])


# ---- products ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)),
        ((5, 1, 2, 3), (6, 3, 4)), ((5, 2, 3), (3,)), ((3,), (5, 3, 4)), ((1, 1), (1, 1)),
    ],
)  # fmt: skip
def test_matmul_takes_what_numpy_takes(a: tuple[int, ...], b: tuple[int, ...], rng: np.random.Generator) -> None:
    x, y = rng.standard_normal(a), rng.standard_normal(b)
    same(tensor(x) @ tensor(y), x @ y)
    same(x @ tensor(y), x @ y)
    same(tensor(x) @ y, x @ y)


# ---- methods -----------------------------------------------------------------------------------------------------
@given(data=st.data(), shape=shapes(), keepdims=st.booleans(), dtype=st.sampled_from([np.float32, np.float64]))
def test_sum_and_mean_over_any_axes(data: Any, shape: tuple[int, ...], keepdims: bool, dtype: Any) -> None:
    x = data.draw(arrays(shape, dtype=dtype))
    signed = st.lists(st.integers(0, max(len(shape) - 1, 0)), unique=True, max_size=len(shape))
    axes = tuple(i - len(shape) if data.draw(st.booleans()) else i for i in data.draw(signed))
    axis = data.draw(st.sampled_from([None, axes, *axes[:1]]))
    for method, function in (("sum", np.sum), ("mean", np.mean)):
        y = getattr(tensor(x), method)(axis, keepdims=keepdims)
        right = function(x, axis=axis, keepdims=keepdims)
        assert (y.shape, y.dtype) == (right.shape, right.dtype)
        np.testing.assert_allclose(y.numpy(), right, atol=1e-3 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("shape", [(6,), 6, (-1,), (2, 3), (3, -1), (1, 2, 3), (2, 1, -1, 3)])
def test_reshape_takes_what_numpy_takes(shape: Any) -> None:
    x = np.arange(6.0).reshape(2, 3)
    same(tensor(x).reshape(shape), x.reshape(shape))
    if isinstance(shape, tuple):
        same(tensor(x).reshape(*shape), x.reshape(shape))
    same(tensor(x[:1, :1]).reshape(()), x[:1, :1].reshape(()))


@pytest.mark.parametrize("axes", [(), (0, 1, 2), (2, 0, 1), (-1, 0, 1)])
def test_transpose_takes_what_numpy_takes(axes: tuple[int, ...]) -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    same(tensor(x).transpose(*axes), x.transpose(*axes))


# ---- indexing ----------------------------------------------------------------------------------------------------
@given(data=st.data(), shape=shapes(least=1))
def test_indexing_takes_what_numpy_takes(data: Any, shape: tuple[int, ...]) -> None:
    x = data.draw(arrays(shape))
    index = draw_index(data.draw(choosers()), shape)
    same(tensor(x)[index], x[index])


@st.composite
def choosers(draw: st.DrawFn) -> HypothesisChooser:
    return HypothesisChooser(draw)


INDICES: list[Any] = [
    2, -1, (1, 2), slice(None, None, -2), (slice(4, 0, -1), 0), Ellipsis, (..., -1), None, (0, None, ..., slice(1, 3)),
    np.array([0, 0, 3, 0]), (slice(None), np.array([[1, 1], [2, -1]])), (np.array([0, 0]), np.array([1, 1])),
    np.array([True, False, True, True, False]), [4, 4, 1],
]  # fmt: skip


@pytest.mark.parametrize("index", INDICES, ids=repr)
def test_the_gradient_of_indexing_counts_how_often_each_place_was_taken(index: Any) -> None:
    x = np.arange(15.0).reshape(5, 3)
    t = tensor(x)
    same(t[index], x[index])
    taken = np.asarray(np.arange(15).reshape(5, 3)[index]).ravel()
    times = np.bincount(taken, minlength=15).reshape(5, 3)
    assert np.array_equal(grad(t[index], t).numpy(), times)


# ---- a Tensor itself ---------------------------------------------------------------------------------------------
def test_a_tensor_says_what_it_is_and_where_it_came_from() -> None:
    t = tensor(np.array([1.0, 2.0], np.float32))
    assert repr(t) == "Tensor([1. 2.], float32)"
    assert repr(t * 2) == "Tensor([2. 4.], float32, from mul)"
    assert len(repr(tensor(np.zeros((100, 100))))) < 500


def test_a_tensor_has_a_shape_a_length_a_size_and_can_be_walked_through() -> None:
    t = tensor(np.arange(6.0).reshape(2, 3))
    assert (t.shape, t.ndim, t.size, len(t)) == ((2, 3), 2, 6, 2)
    assert [row.numpy().tolist() for row in t] == [[0, 1, 2], [3, 4, 5]]
    assert float(t.sum()) == 15


@pytest.mark.parametrize("x", [[1, 2], np.array([1, 2]), 3, np.array([True, False])])
def test_what_is_not_floating_point_becomes_float64(x: Any) -> None:
    same(tensor(x), np.asarray(x, np.float64))


def test_floating_point_keeps_its_dtype() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        assert tensor(np.ones(2, dtype)).dtype == dtype


def test_detached_values_are_the_same_and_gradients_stop_there() -> None:
    t = tensor(np.array([1.0, 2.0]))
    y = (t * 3).detach()
    assert np.array_equal(y.numpy(), [3, 6])
    assert y.op is None
    assert not y.tracked
    assert np.array_equal(grad((t * 3).detach() * t, t).numpy(), [3, 6])
