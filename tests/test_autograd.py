"""What `grad` promises: right gradients of every order, no state, no leaks, no recursion."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca_numpy import Tensor, functional, grad, no_grad, ops, tensor
from ca_numpy.engine.recording import is_recording
from ca_numpy.testing import gradcheck


def leaf(*values: float) -> Tensor:
    return tensor(np.array(values))


def tape(*ends: Tensor) -> list[Tensor]:
    """All tensors that the ends were computed from, the ends included."""
    found: dict[int, Tensor] = {}
    stack = list(ends)
    while stack:
        t = stack.pop()
        if id(t) not in found:
            found[id(t)] = t
            stack.extend(t.inputs)
    return list(found.values())


def critic(image: Any, weights: list[Tensor]) -> Tensor:
    """A small critic: two strided convolutions and a linear layer."""
    x = functional.leaky_relu(functional.conv2d(image, weights[0], stride=2))
    x = functional.conv2d(x, weights[1], weights[2], stride=2, activation="elu")
    return x.reshape(len(x), -1) @ weights[3]


@pytest.fixture
def critic_weights(rng: np.random.Generator) -> list[Tensor]:
    shapes = [(3, 3, 2, 4), (3, 3, 4, 3), (3,), (12, 1)]
    return [tensor(rng.standard_normal(shape) / 3) for shape in shapes]


# ---- right gradients ---------------------------------------------------------------------------------------------
def test_the_gradient_of_a_product() -> None:
    x, y = leaf(2, 3), leaf(5, 7)
    gx, gy = grad(x * y, [x, y])
    assert np.array_equal(gx.numpy(), [5, 7])
    assert np.array_equal(gy.numpy(), [2, 3])


def test_one_tensor_gives_one_gradient_and_a_sequence_a_list() -> None:
    x = leaf(2)
    assert isinstance(grad(x * x, x), Tensor)
    for xs in ([x], (x,), [x, x], []):
        gradients = grad(x * x, xs)
        assert isinstance(gradients, list)
        assert [float(g.sum()) for g in gradients] == [4] * len(xs)


def test_paths_that_meet_again_are_added_up() -> None:
    x = leaf(3)
    a = x * 2
    y = a * a + x * a  # 6x²
    assert float(grad(y.sum(), x).sum()) == 36


def test_a_ladder_of_diamonds_is_walked_once_per_rung() -> None:
    x = y = leaf(1)
    for _ in range(200):
        y = y + y  # 2^200 paths
    assert float(grad(y, x).sum()) == 2.0**200


def test_what_y_does_not_depend_on_gets_zeros_of_its_own_shape_and_dtype() -> None:
    x, unused = leaf(1), tensor(np.ones((2, 3), np.float32))
    _, g = grad(x * 2, [x, unused])
    assert (g.shape, g.dtype) == ((2, 3), np.float32)
    assert not g.numpy().any()


def test_y_itself_has_the_gradient_one() -> None:
    x = leaf(2, 3)
    y = x * x
    gy, gx = grad(y, [y, x])
    assert np.array_equal(gy.numpy(), [1, 1])
    assert np.array_equal(gx.numpy(), [4, 6])
    assert np.array_equal(grad(x, x).numpy(), [1, 1])


def test_a_gradient_is_ready_as_soon_as_it_is_complete() -> None:
    rng = np.random.default_rng(0)
    x, first, twice, last, unused = (tensor(rng.standard_normal((3, 3))) for _ in range(5))
    middle = x @ first @ twice
    y = (middle @ twice @ last).sum()
    told: dict[int, Any] = {}

    def ready(i: int, g: Tensor) -> None:
        assert i not in told
        told[i] = g.numpy().copy()

    asked = [first, twice, last, unused, middle, y]
    result = grad(y, asked, ready=ready)
    assert list(told) == [2, 4, 1, 0, 3, 5], "from the last layer to the first; then what no path leads to"
    for i, g in enumerate(result):
        np.testing.assert_array_equal(told[i], g.numpy())
    for one, other in zip(result, grad(y, asked), strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_a_result_on_the_way_has_a_gradient_as_an_input_has() -> None:
    x = leaf(2)
    h = x * 3
    gx, gh = grad(h * h, [x, h])
    assert float(gh.sum()) == 12
    assert float(gx.sum()) == 36


def test_the_gradient_of_many_numbers_is_that_of_their_sum() -> None:
    x = leaf(1, 2, 3)
    assert np.array_equal(grad(x * x, x).numpy(), grad((x * x).sum(), x).numpy())


def test_a_seed_weighs_the_outputs() -> None:
    x = leaf(1, 2, 3)
    for seed in (np.array([1.0, 0.0, -2.0]), leaf(1, 0, -2)):
        assert np.array_equal(grad(x * x, x, seed=seed).numpy(), [2, 0, -12])


@pytest.mark.parametrize("shape", [(), (4, 3)])
def test_a_seed_of_another_shape_than_y_is_refused(shape: tuple[int, ...]) -> None:
    x = leaf(1, 2, 3)
    with pytest.raises(ValueError, match="seed"):
        grad(x * 2, x, seed=np.ones(shape))


def test_a_gradient_has_the_dtype_of_its_input_whatever_it_was_mixed_with() -> None:
    x = tensor(np.ones(3, np.float32))
    assert grad(x * np.ones(3), x).dtype == np.float32


# ---- orders ------------------------------------------------------------------------------------------------------
@given(x=st.floats(-3, 3), n=st.integers(1, 6))
def test_every_derivative_of_a_power(x: float, n: int) -> None:
    t = tensor(np.array(x))
    y, right = t**n, [float(n)]
    for order in range(1, n + 2):
        y = grad(y, t, create_graph=True)
        factor = np.prod([n - k for k in range(order)])
        right = factor * x ** max(n - order, 0)
        assert float(y) == pytest.approx(right, abs=1e-12)


def test_the_third_derivative_of_x_to_the_fifth_is_60_x_squared() -> None:
    x = leaf(1, 2)
    d = x**5
    for _ in range(3):
        d = grad(d, x, create_graph=True)
    assert np.array_equal(d.numpy(), [60, 240])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_derivative_of_x_to_the_zeroth_is_0_at_0_too() -> None:
    x = leaf(0, 1)
    assert np.array_equal(grad(x**0, x).numpy(), [0, 0])


def test_every_derivative_of_the_exponential_is_itself() -> None:
    x = leaf(0.5, -1)
    y = ops.exp(x)
    for _ in range(4):
        y = grad(y, x, create_graph=True)
        np.testing.assert_allclose(y.numpy(), np.exp([0.5, -1]), rtol=1e-14)


def test_mixed_derivatives_do_not_depend_on_their_order() -> None:
    x, y = leaf(2), leaf(3)
    z = x**2 * y**3 + ops.exp(x * y / 4)
    gx, gy = grad(z, [x, y], create_graph=True)
    assert float(grad(gx, y).sum()) == pytest.approx(float(grad(gy, x).sum()))


def test_the_third_order_through_a_critic(critic_weights: list[Tensor], rng: np.random.Generator) -> None:
    image = rng.uniform(-1, 1, (1, 5, 5, 2))
    arrays = [image, *(w.numpy() for w in critic_weights)]

    def squares(image: Tensor, *weights: Tensor) -> Tensor:
        x = functional.conv2d(image, weights[0], stride=2)  # without the kinks of its activation
        x = ops.exp(functional.conv2d(x, weights[1], weights[2], stride=1, padding="valid") * 0.2)
        return (x.reshape(1, -1) @ weights[3][:3]) ** 2

    gradcheck(squares, arrays, rng=rng, order=3)


def test_the_wgan_gp_penalty_reaches_the_weights(critic_weights: list[Tensor], rng: np.random.Generator) -> None:
    image = rng.standard_normal((2, 8, 8, 2))

    def penalty(*weights: Tensor) -> Tensor:
        x = tensor(image)
        g = grad(critic(x, list(weights)), x, create_graph=True)
        norms = ops.power((g * g).sum((1, 2, 3)), exponent=0.5)
        return ((norms - 1.0) ** 2).mean()

    gradcheck(penalty, [w.numpy() for w in critic_weights], rng=rng, order=1)


def test_without_create_graph_a_gradient_is_a_constant() -> None:
    x = leaf(2)
    g = grad(x**3, x)
    assert not g.tracked
    assert g.op is None
    assert not grad(g, x).numpy().any()
    assert grad(x**3, x, create_graph=True).tracked


# ---- state -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("create_graph", [False, True])
def test_grad_writes_to_no_tensor(create_graph: bool, critic_weights: list[Tensor], rng: np.random.Generator) -> None:
    y = critic(rng.standard_normal((2, 8, 8, 2)), critic_weights)
    tensors = tape(y)
    before = [(t.data, t.data.copy(), t.op, t.inputs, dict(t.params), t.tracked) for t in tensors]
    grad(y, critic_weights, create_graph=create_graph)
    for t, (data, values, op, inputs, params, tracked) in zip(tensors, before, strict=True):
        assert t.data is data
        assert np.array_equal(data, values)
        assert t.op is op
        assert t.inputs is inputs
        assert t.params == params
        assert t.tracked == tracked


def test_asking_twice_gives_the_same(critic_weights: list[Tensor], rng: np.random.Generator) -> None:
    y = critic(rng.standard_normal((2, 8, 8, 2)), critic_weights)
    for a, b in zip(grad(y, critic_weights), grad(y, critic_weights), strict=True):
        assert np.array_equal(a.numpy(), b.numpy())


def test_only_paths_to_the_inputs_asked_for_are_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Tensor:
        raise AssertionError("this path does not lead to x")

    monkeypatch.setattr(ops.exp, "rules", (refuse,))
    x, other = leaf(2), leaf(3)
    assert float(grad(x * ops.exp(other), x).sum()) == pytest.approx(np.exp(3))


def test_nothing_is_remembered_of_constants() -> None:
    y = Tensor(np.ones(2), tracked=False) * 2 + 1
    assert y.op is None
    assert y.inputs == ()


def test_in_no_grad_nothing_is_remembered_and_afterwards_it_is() -> None:
    x = leaf(2)
    with no_grad():
        assert not is_recording()
        y = x * x
    assert y.op is None
    assert not y.tracked
    assert is_recording()
    assert (x * x).op is not None


def test_no_grad_ends_with_its_block_even_by_an_exception() -> None:
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert is_recording()


def test_no_grad_nests() -> None:
    with no_grad():
        with no_grad():
            pass
        assert not is_recording()
    assert is_recording()


def test_a_failing_rule_leaves_recording_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Tensor:
        raise KeyError("rule")

    monkeypatch.setattr(ops.exp, "rules", (fail,))
    x = leaf(1)
    y = ops.exp(x)
    with pytest.raises(KeyError, match="rule"):
        grad(y, x)
    assert is_recording()


def test_gradients_can_be_taken_inside_no_grad() -> None:
    x = leaf(3)
    y = x**2
    with no_grad():
        assert float(grad(y, x).sum()) == 6
        assert not is_recording()


def test_no_grad_in_one_thread_does_not_stop_another() -> None:
    x = leaf(2)
    inside, done = threading.Event(), threading.Event()
    made: list[Tensor] = []

    def other() -> None:
        inside.wait(10)
        made.append(x * x)
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with no_grad():
        inside.set()
        assert done.wait(10)
    thread.join(10)
    assert made[0].op is not None


# ---- memory ------------------------------------------------------------------------------------------------------
@contextmanager
def without_collector() -> Iterator[None]:
    """Reference counting alone frees memory in this block."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize("create_graph", [False, True])
def test_the_tape_is_freed_by_reference_counting_alone(
    create_graph: bool, critic_weights: list[Tensor], rng: np.random.Generator
) -> None:
    with without_collector():
        image = tensor(rng.standard_normal((2, 8, 8, 2)))
        y = critic(image, critic_weights)
        gradients = grad(y, [image, *critic_weights], create_graph=create_graph)
        ends = [y, *gradients]
        if create_graph:
            penalty = ((gradients[0] ** 2).sum() - 1.0) ** 2
            ends += [penalty, *grad(penalty, critic_weights)]
            del penalty
        leaves = {id(w) for w in critic_weights}
        refs = [weakref.ref(t) for t in tape(*ends) if id(t) not in leaves]
        assert len(refs) > (30 if create_graph else 10)
        del y, gradients, ends, image
        assert [ref() for ref in refs if ref() is not None] == []


def test_a_tape_that_was_differentiated_holds_no_more_than_before() -> None:
    with without_collector():
        x = leaf(1, 2)
        y = ops.exp(x * x)
        size = len(tape(y))
        g = grad(y, x, create_graph=True)
        middle = [weakref.ref(t) for t in tape(g) if t not in tape(y)]
        del g
        assert all(ref() is None for ref in middle)
        assert len(tape(y)) == size


def test_a_tape_ten_thousand_deep_is_differentiated_and_freed_without_recursion() -> None:
    x = y = leaf(1.0)
    for _ in range(10_000):
        y = y * 1.0001
    assert float(grad(y, x).sum()) == pytest.approx(1.0001**10_000)
    assert float(grad(grad(y * y, x, create_graph=True), x).sum()) == pytest.approx(2 * 1.0001**20_000)
    del y
