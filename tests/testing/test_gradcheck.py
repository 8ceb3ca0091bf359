"""The checkers find mistakes: what is right passes, and a planted mistake is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ca_numpy import Tensor, functional, ops
from ca_numpy.testing import check_adjoint, gradcheck


def product(x: Tensor, y: Tensor) -> Tensor:
    return ops.exp(x * y).sum(0)


def abs_of_a_sum(x: Tensor) -> Tensor:
    return ops.abs_(x.sum())


@pytest.fixture
def pair(rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.standard_normal((3, 2)), rng.standard_normal(2)]


# ---- gradcheck ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("order", [1, 2, 3])
def test_right_derivatives_pass(order: int, pair: list[np.ndarray], rng: np.random.Generator) -> None:
    gradcheck(product, pair, rng=rng, order=order)


def test_steep_functions_and_large_numbers_pass(rng: np.random.Generator) -> None:
    gradcheck(lambda x: ops.softmax(x * 60), [rng.standard_normal((4, 7))], rng=rng)
    gradcheck(lambda x: x * x * 1e9 + 1e9, [rng.standard_normal(5)], rng=rng)


def test_a_function_without_slope_has_gradient_zero(rng: np.random.Generator) -> None:
    gradcheck(ops.sign, [np.array([-1.0, 0.5, 2.0])], rng=rng)


def test_a_kink_that_is_too_near_is_named(rng: np.random.Generator) -> None:
    with pytest.raises(AssertionError, match=r"do not settle .* a kink nearby"):
        gradcheck(abs_of_a_sum, [np.array([1e-4, -1e-4, 3e-4])], rng=rng)


@pytest.mark.parametrize("error", [1e-5, 1e-2, -2.0])
def test_a_wrong_first_derivative_is_found(
    error: float, pair: list[np.ndarray], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ops.exp, "rules", (lambda g, y, x: g * y * (1 + error),))
    with pytest.raises(AssertionError, match=r"order 1 with respect to input 0: grad says .* finite differences say"):
        gradcheck(product, pair, rng=rng)


def test_a_wrong_second_derivative_is_found_though_the_first_is_right(
    pair: list[np.ndarray], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ops.exp, "rules", (lambda g, y, x: g * y.detach(),))
    gradcheck(product, pair, rng=rng, order=1)
    with pytest.raises(AssertionError, match="order 2 with respect to input 0"):
        gradcheck(product, pair, rng=rng)


def test_a_gradient_that_forgets_its_seed_is_found(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops.exp, "rules", (lambda g, y, x: g.detach() * y,))
    gradcheck(ops.exp, [rng.standard_normal(3)], rng=rng, order=1)
    with pytest.raises(AssertionError, match="order 2 with respect to the seed of order 1"):
        gradcheck(ops.exp, [rng.standard_normal(3)], rng=rng)


def test_the_input_at_fault_is_named(
    pair: list[np.ndarray], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right = ops.mul.rules  # type: ignore[misc]
    monkeypatch.setattr(ops.mul, "rules", (left, lambda g, y, a, b: right(g, y, a, b) * 2.0))
    with pytest.raises(AssertionError, match="order 1 with respect to input 1"):
        gradcheck(lambda x, y: x * y, pair, rng=rng)


def test_a_gradient_of_another_shape_or_dtype_is_found(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ops.exp, "rules", (lambda g, y, x: g.sum(),))
    with pytest.raises(AssertionError, match=r"is \(\) float64, and input 0 is \(3,\) float64"):
        gradcheck(ops.exp, [rng.standard_normal(3)], rng=rng)
    monkeypatch.setattr(ops.exp, "rules", (lambda g, y, x: Tensor((g * y).numpy().astype(np.float32)),))
    with pytest.raises(AssertionError, match=r"is \(3,\) float32"):
        gradcheck(ops.exp, [rng.standard_normal(3)], rng=rng)


def test_a_function_that_changes_its_input_is_found(rng: np.random.Generator) -> None:
    def careless(x: Tensor) -> Tensor:
        y = x * 2
        x.data += 1
        return y

    with pytest.raises(AssertionError, match="input 0 was changed"):
        gradcheck(careless, [rng.standard_normal(3)], rng=rng)


def test_the_callers_arrays_are_left_alone(pair: list[np.ndarray], rng: np.random.Generator) -> None:
    before = [x.copy() for x in pair]
    gradcheck(product, pair, rng=rng)
    assert all(np.array_equal(x, y) for x, y in zip(pair, before, strict=True))


def test_float32_is_refused_since_it_could_not_be_checked(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="float64"):
        gradcheck(ops.exp, [np.ones(3, np.float32)], rng=rng)


# ---- check_adjoint -----------------------------------------------------------------------------------------------
def test_a_matrix_and_its_transpose_are_adjoint(rng: np.random.Generator) -> None:
    a = rng.standard_normal((4, 3))
    check_adjoint(lambda x: a @ x, lambda y: a.T @ y, rng.standard_normal(3), rng.standard_normal(4))


@pytest.mark.parametrize("wrong", [lambda a: a * 1.000001, lambda a: -a, lambda a: a + np.eye(3)])
def test_a_wrong_adjoint_is_found(wrong: Any, rng: np.random.Generator) -> None:
    a = rng.standard_normal((3, 3))
    with pytest.raises(AssertionError, match=r"not an adjoint: .*differ by"):
        check_adjoint(lambda x: a @ x, lambda y: wrong(a.T) @ y, rng.standard_normal(3), rng.standard_normal(3))


def test_an_adjoint_that_does_not_map_back_is_found() -> None:
    with pytest.raises(AssertionError, match=r"maps back.*\(2,\) to \(4,\)"):
        check_adjoint(lambda x: x.repeat(2), lambda y: y, np.ones(2), np.ones(4))


def test_a_function_that_gives_no_number_is_found() -> None:
    with pytest.raises(AssertionError, match="nan"):
        check_adjoint(lambda x: x * np.nan, lambda y: y, np.ones(2), np.ones(2))


def test_padding_and_cropping_are_adjoint(rng: np.random.Generator) -> None:
    check_adjoint(
        lambda x: functional.pad(x, ((1, 2), (0, 3))),
        lambda y: y[:, 1:4, :2],
        rng.standard_normal((1, 3, 2, 2)),
        rng.standard_normal((1, 6, 5, 2)),
    )
