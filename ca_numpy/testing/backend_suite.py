"""The test suite for backends. Needs `pip install 'ca-numpy[test]'` (pytest and hypothesis).

    from ca_numpy.testing.backend_suite import BackendSuite

    class TestMine(BackendSuite):
        backend = "mine"

runs every row of the `Case` table on the backend of that name: values in float64 and float32, every memory layout,
large arrays, derivatives of all orders, adjoints, fused operations. Each check is also a function for a single problem.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ca_numpy.engine.autograd import grad
from ca_numpy.engine.tensor import Tensor, tensor
from ca_numpy.registry import use_backend, why_unavailable
from ca_numpy.testing.adjoint import check_adjoint, on_host
from ca_numpy.testing.cases import CASES, Case
from ca_numpy.testing.finite_differences import gradcheck, gradient_of
from ca_numpy.testing.generators import Problem, relaid
from ca_numpy.testing.strategies import generators, layouts, problems

Array = NDArray[Any]

#: Tolerance for float64 results, relative to the sum of absolute values.
FLOAT64_TOLERANCE = 1e-10
#: Additional float32 roundings, a few in each elementary function.
FEW_ROUNDINGS = 16


# ---- the checks --------------------------------------------------------------------------------------------------
def check_kernel(
    backend: str,
    case: Case,
    problem: Problem,
    *,
    dtype: Any = np.float64,
    layout: str = "contiguous",
    expected: Callable[..., Any] | None = None,
) -> None:
    """Check one call of one kernel: its values, dtype and shape, and that its inputs are unchanged.

    layout    memory layout of the inputs, one of `LAYOUTS`
    expected  reference to compare with, by default the case's oracle; called with the same inputs in float64

    float64 agrees to 1e-10; float32 to as many roundings as the longest sum has terms. Raises AssertionError.
    """
    expected = expected or case.oracle
    with use_backend(backend) as device:
        arrays = [relaid(x, layout, to=device.asarray) for x in problem.astype(dtype).inputs]
        before = [on_host(x).copy() for x in arrays]
        results = [on_host(y) for y in _tuple(getattr(device, case.name)(*arrays, **problem.params))]
        after = [on_host(x) for x in arrays]
    what = f"{case} of {backend}, {np.dtype(dtype)}, {layout} arrays, {problem}"
    for i, (x, then) in enumerate(zip(after, before, strict=True)):
        if not np.array_equal(x, then):
            raise AssertionError(f"{what}: input {i} was changed")
    inputs = Problem(tuple(before)).astype(np.float64).inputs
    wanted = _tuple(expected(*inputs, **problem.params))
    bounds = _bounds(case, problem, inputs, wanted, expected, dtype=np.dtype(dtype))
    for y, right, bound in zip(results, wanted, bounds, strict=True):
        if y.dtype != (dtype if right.dtype.kind == "f" else right.dtype):
            raise AssertionError(f"{what}: gives {y.dtype}")
        assert_close(y, right, bound, what)


def check_derivatives(backend: str, case: Case, problem: Problem, *, rng: np.random.Generator) -> None:
    """Check all derivatives of the operation against finite differences, to 1e-6."""
    with use_backend(backend):
        fn, inputs = _as_function(case.op, case, problem)
        gradcheck(fn, inputs, rng=rng, order=case.order)


def check_gradients_keep_dtype(backend: str, case: Case, problem: Problem, *, rng: np.random.Generator) -> None:
    """Check that float32 stays float32 in the result and in the gradients of every order."""
    with use_backend(backend):
        fn, inputs = _as_function(case.op, case, problem.astype(np.float32))
        for order in range(1, case.order + 1):
            xs = [tensor(x) for x in inputs]
            y = fn(*xs)
            seed = rng.standard_normal(y.shape).astype(np.float32)
            for i, t in enumerate([y, *grad(y, xs, seed=seed)]):
                if t.dtype != np.float32:
                    what = "the result" if i == 0 else f"the gradient of input {i - 1}"
                    raise AssertionError(f"{case} of {backend}, order {order}: {what} is {t.dtype}, of float32 inputs")
            fn = gradient_of(fn, [rng.uniform(-1, 1, x.shape).astype(np.float32) for x in inputs])
            inputs = [*inputs, seed]


def check_adjoints(backend: str, case: Case, problem: Problem, *, rng: np.random.Generator) -> None:
    """Check ⟨Ax, y⟩ = ⟨x, Aᵀy⟩ for every input in which the operation is linear, and that Aᵀ is the right operation."""
    with use_backend(backend):
        for k, i in enumerate(case.linear):
            xs = list(problem.inputs)

            def result(x: Any, i: int = i, xs: Sequence[Any] = xs) -> Tensor:
                return case.op(*xs[:i], x, *xs[i + 1 :], **problem.params)

            def linear_part(x: Array, f: Callable[..., Tensor] = result) -> Tensor:
                return f(x) - f(np.zeros_like(x))

            def adjoint(y: Array, x: Array = xs[i], f: Callable[..., Tensor] = result) -> Tensor:
                t = tensor(x)
                return grad(f(t), t, seed=tensor(y), create_graph=True)

            y = rng.standard_normal(result(xs[i]).shape)
            check_adjoint(linear_part, adjoint, xs[i], y)
            made_by = adjoint(y).op
            if case.adjoint and (made_by is None or made_by.name != case.adjoint[k]):
                raise AssertionError(f"the adjoint of {case} in input {i} is {made_by} instead of {case.adjoint[k]}")


def check_fused(backend: str, case: Case, problem: Problem, *, rng: np.random.Generator) -> None:
    """Check that a fused operation equals its `reference` in its value and all its derivatives, to 1e-10."""
    reference = case.op.reference
    if reference is None:
        raise ValueError(f"{case} has no reference to compare with")
    with use_backend(backend):
        fused, inputs = _as_function(case.op, case, problem)
        composite, _ = _as_function(reference, case, problem)
        for order in range(1, case.order + 1):
            xs = [tensor(x) for x in inputs]
            y, right = fused(*xs), composite(*xs)
            seed = rng.standard_normal(right.shape)
            pairs = zip([y, *grad(y, xs, seed=seed)], [right, *grad(right, xs, seed=seed)], strict=True)
            for i, (a, b) in enumerate(pairs):
                what = f"order {order - 1}" if i == 0 else f"order {order}, input {i - 1}"
                scale = FLOAT64_TOLERANCE * (1 + np.abs(b.numpy()).max(initial=0))
                assert_close(a.numpy(), b.numpy(), scale, f"{case} of {backend} and its reference, {what}, {problem}")
            directions = [rng.uniform(-1, 1, x.shape) for x in inputs]
            fused, composite = gradient_of(fused, directions), gradient_of(composite, directions)
            inputs = [*inputs, seed]


def assert_close(y: Array, right: Array, bound: Array | float, what: str) -> None:
    """Raise AssertionError unless y has the shape of `right` and differs from it by at most `bound`."""
    if y.shape != right.shape:
        raise AssertionError(f"{what}: has shape {y.shape}, should have {right.shape}")
    excess = np.abs(y - right) - bound
    if excess.size and not (excess <= 0).all():
        at = np.unravel_index(int(np.argmax(np.where(np.isnan(excess), np.inf, excess))), excess.shape)
        allowed = np.broadcast_to(bound, y.shape)[at]
        place = tuple(map(int, at))
        raise AssertionError(f"{what}: at {place} is {y[at]!r}, should be {right[at]!r}, give or take {allowed:.2g}")


def by_numpy(case: Case) -> Callable[..., Any]:
    """The NumPy backend's kernel, as a reference where the oracle's loops would take too long."""

    def kernel(*arrays: Array, **params: Any) -> Any:
        with use_backend("numpy") as backend:
            return getattr(backend, case.name)(*arrays, **params)

    return kernel


def _bounds(
    case: Case, problem: Problem, inputs: Sequence[Array], wanted: Sequence[Array], expected: Callable[..., Any], *,
    dtype: np.dtype[Any],
) -> list[Any]:  # fmt: skip
    """Error bounds for each result.

    The error of a sum of n products is at most n roundings of Σ |products|, and that of other values a few roundings of
    their size. Where errors grow (a softmax of large scores), the bound is the effect of perturbing the inputs as much.
    """
    sizes: Sequence[Any] = [np.abs(y) for y in wanted]
    if case.terms and not case.conditioned:
        sizes = _tuple(expected(*map(np.abs, inputs), **problem.params))
    if dtype == np.float64:
        return [FLOAT64_TOLERANCE * (1 + size) for size in sizes]
    roundings = float((case.terms(problem) if case.terms else 0) + FEW_ROUNDINGS) * np.finfo(dtype).eps
    bounds = [roundings * (1 + size) for size in sizes]
    if case.conditioned:
        rng, kernel = np.random.default_rng(0), by_numpy(case)
        for _ in range(3):
            moved = [x * (1 + roundings * rng.uniform(-1, 1, x.shape)) for x in inputs]
            others = _tuple(kernel(*moved, **problem.params))
            bounds = [b + np.abs(y - right).max() for b, y, right in zip(bounds, others, wanted, strict=True)]
    return bounds


def _as_function(op: Callable[..., Tensor], case: Case, problem: Problem) -> tuple[Callable[..., Tensor], list[Array]]:
    """The operation as a function of the differentiated inputs, and these inputs."""
    variable = [i for i in range(len(problem.inputs)) if i not in case.constant]

    def fn(*xs: Tensor) -> Tensor:
        every: list[Any] = list(problem.inputs)
        for i, x in zip(variable, xs, strict=True):
            every[i] = x
        return op(*every, **problem.params)

    return fn, [problem.inputs[i] for i in variable]


def _tuple(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)


# ---- the suite ---------------------------------------------------------------------------------------------------
def _each(choose: Callable[[Case], bool]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [case for case in CASES.values() if choose(case)], ids=str)


# One suite serves many backends, each a subclass: do not let Hypothesis complain.
_settings = settings(suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow], deadline=None)


class BackendSuite:
    """All checks of one backend, for pytest. Subclass it and set the backend's name."""

    backend: str

    def setup_method(self) -> None:
        reason = why_unavailable(self.backend)
        if reason is not None:
            pytest.skip(reason)

    def test_arrays_come_back_as_they_went(self) -> None:
        with use_backend(self.backend) as device:
            for x in (np.arange(6.0).reshape(2, 3)[:, ::-1], np.float32(3), np.ones((0, 2), np.float32)):
                back = on_host(device.asarray(x))
                assert back.dtype == x.dtype
                assert np.array_equal(back, x)
            assert on_host(device.asarray([1, 2], dtype=np.float32)).dtype == np.float32

    def test_it_says_what_it_is_in_one_line(self) -> None:
        with use_backend(self.backend) as device:
            assert device.name == self.backend
            assert device.describe().strip()
            assert "\n" not in device.describe()

    @_each(lambda case: True)
    @_settings
    @given(data=st.data(), layout=layouts())
    def test_a_kernel_computes_its_equation_in_any_memory_layout(self, case: Case, data: Any, layout: str) -> None:
        check_kernel(self.backend, case, data.draw(problems(case)), layout=layout)

    @_each(lambda case: True)
    @_settings
    @given(data=st.data(), layout=layouts())
    def test_float32_stays_float32_and_loses_no_more_than_rounding(self, case: Case, data: Any, layout: str) -> None:
        check_kernel(self.backend, case, data.draw(problems(case)), dtype=np.float32, layout=layout)

    @_each(lambda case: True)
    @_settings
    @given(data=st.data(), layout=layouts(), dtype=st.sampled_from([np.float64, np.float32]))
    def test_large_arrays_give_what_numpy_gives(self, case: Case, data: Any, layout: str, dtype: Any) -> None:
        problem = data.draw(problems(case, large=True))
        check_kernel(self.backend, case, problem, dtype=dtype, layout=layout, expected=by_numpy(case))

    @_each(lambda case: case.order > 0)
    @_settings
    @given(data=st.data(), rng=generators())
    def test_derivatives_of_all_orders_meet_finite_differences(
        self, case: Case, data: Any, rng: np.random.Generator
    ) -> None:
        check_derivatives(self.backend, case, data.draw(problems(case)), rng=rng)

    @_each(lambda case: case.order > 0)
    @_settings
    @given(data=st.data(), rng=generators())
    def test_gradients_of_float32_are_float32(self, case: Case, data: Any, rng: np.random.Generator) -> None:
        check_gradients_keep_dtype(self.backend, case, data.draw(problems(case)), rng=rng)

    @_each(lambda case: bool(case.linear))
    @_settings
    @given(data=st.data(), rng=generators())
    def test_a_linear_operation_and_its_adjoint_meet(self, case: Case, data: Any, rng: np.random.Generator) -> None:
        check_adjoints(self.backend, case, data.draw(problems(case)), rng=rng)

    @_each(lambda case: case.order > 0 and case.op.reference is not None)
    @_settings
    @given(data=st.data(), rng=generators())
    def test_a_fused_operation_equals_its_composite_and_so_do_its_derivatives(
        self, case: Case, data: Any, rng: np.random.Generator
    ) -> None:
        check_fused(self.backend, case, data.draw(problems(case)), rng=rng)

    @_each(lambda case: case.order == 1)
    @_settings
    @given(data=st.data())
    def test_an_operation_without_second_derivative_says_so(self, case: Case, data: Any) -> None:
        with use_backend(self.backend):
            fn, inputs = _as_function(case.op, case, data.draw(problems(case)))
            x = tensor(inputs[0])
            y = fn(x, *map(tensor, inputs[1:]))
            with pytest.raises(NotImplementedError, match="second derivative"):
                grad(y, x, create_graph=True)
