"""float32 beside float64: every kernel of every backend gives the dtype and the values that the NumPy backend gives."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca_numpy import functional as F
from ca_numpy import tensor
from ca_numpy.backend import Backend, promoted
from ca_numpy.registry import current_backend, use_backend
from ca_numpy.testing import CASES, Case, Problem
from ca_numpy.testing.strategies import problems


def takes_several_arrays(case: Case) -> bool:
    """By the contract arrays are positional, and parameters are keywords."""
    kinds = [p.kind for p in inspect.signature(getattr(Backend, case.name)).parameters.values()]
    return kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD) > 2 or inspect.Parameter.VAR_POSITIONAL in kinds


SEVERAL = [case for case in CASES.values() if takes_several_arrays(case)]


def floats(problem: Problem) -> list[int]:
    """The inputs that are neither integers nor flags."""
    return [i for i, x in enumerate(problem.inputs) if x.dtype.kind == "f"]


def mixed(problem: Problem, wide: set[int]) -> list[Any]:
    """The inputs, these in float64 and the other floats in float32."""
    pairs = zip(problem.inputs, problem.astype(np.float32).inputs, strict=True)
    return [x if i in wide else narrow for i, (x, narrow) in enumerate(pairs)]


def results(name: str, inputs: list[Any], params: dict[str, Any]) -> list[Any]:
    backend = current_backend()
    y = getattr(backend, name)(*map(backend.asarray, inputs), **params)
    return [backend.to_numpy(part) for part in (y if isinstance(y, tuple) else (y,))]


def test_the_kernels_that_meet_two_arrays_are_seen() -> None:
    names = {case.name for case in SEVERAL}
    assert {"add", "concat", "matmul", "conv2d", "conv2d_dx", "conv2d_dw", "contextual_attention", "adam"} < names
    assert not {"elu", "sum_to", "fold"} & names


@pytest.mark.parametrize("case", SEVERAL, ids=str)
@given(data=st.data())
def test_any_operand_may_be_float64(case: Case, data: Any, backend: str) -> None:
    problem = data.draw(problems(case))
    number = len(floats(problem))
    inputs = mixed(
        problem, data.draw(st.sets(st.sampled_from(floats(problem)), min_size=1, max_size=max(number - 1, 1)))
    )
    found = results(case.name, inputs, problem.params)
    with use_backend("numpy"):
        wanted = results(case.name, inputs, problem.params)
    for y, right in zip(found, wanted, strict=True):
        assert y.dtype == right.dtype
        np.testing.assert_allclose(y, right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", [case for case in SEVERAL if case.name != "adam"], ids=str)
@given(data=st.data())
def test_the_result_is_float64_where_any_operand_is(case: Case, data: Any) -> None:
    problem = data.draw(problems(case))
    inputs = mixed(problem, {data.draw(st.sampled_from(floats(problem)))})
    with use_backend("numpy"):
        assert all(y.dtype in (np.float64, np.int32) for y in results(case.name, inputs, problem.params))


def test_a_float32_kernel_on_a_float64_picture_is_the_convolution_in_float64(
    backend: str, rng: np.random.Generator
) -> None:
    x, w = rng.standard_normal((1, 6, 6, 2)), rng.standard_normal((3, 3, 2, 2)).astype(np.float32)
    y = F.conv2d(tensor(x), tensor(w))
    np.testing.assert_allclose(y.numpy(), F.conv2d(tensor(x), tensor(w.astype(np.float64))).numpy(), rtol=1e-12)


def test_arrays_of_one_dtype_are_not_copied() -> None:
    x, y = np.ones(2, np.float32), np.ones(3, np.float32)
    same_x, nothing, same_y = promoted(x, None, y)
    assert same_x is x
    assert nothing is None
    assert same_y is y
