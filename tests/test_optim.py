"""Adam against one number at a time, by TensorFlow's formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca_numpy import grad, tensor
from ca_numpy.errors import UserError
from ca_numpy.nn.optim import Adam, Clock

numbers = st.floats(-3, 3).map(lambda x: round(x, 3))


def two(dtype: Any = np.float64) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {"kernel": tensor(rng.normal(size=(2, 3)).astype(dtype)), "bias": tensor(np.zeros(3, dtype))}


def some_gradients(parameters: dict[str, Any], seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [tensor(rng.normal(size=p.shape).astype(p.dtype)) for p in parameters.values()]


@given(
    start=numbers,
    gradients=st.lists(numbers, min_size=1, max_size=6),
    rate=st.sampled_from([1e-4, 0.1]),
    betas=st.sampled_from([(0.5, 0.9), (0.9, 0.999), (0.0, 0.0)]),
    eps=st.sampled_from([1e-8, 1e-3]),
)
def test_every_step_is_tensorflows(
    backend: str, start: float, gradients: list[float], rate: float, betas: tuple[float, float], eps: float
) -> None:
    p = tensor(np.array([[start]]))
    adam = Adam({"p": p}, rate=rate, betas=betas, eps=eps)
    for g in gradients:
        adam.step([tensor(np.array([[g]]))])
    expected = oracles.adam(
        start, gradients, rate=rate, beta1=betas[0], beta2=betas[1], eps=eps, times=range(1, len(gradients) + 1)
    )
    assert p.numpy()[0, 0] == pytest.approx(expected, rel=1e-12, abs=1e-14)


def test_the_papers_settings_are_the_default() -> None:
    adam = Adam({})
    assert (adam.rate, adam.betas, adam.eps) == (1e-4, (0.5, 0.9), 1e-8)


def test_the_first_step_is_as_long_as_the_rate_whatever_the_gradient() -> None:
    p = tensor(np.zeros(3))
    Adam({"p": p}, rate=0.01).step([tensor(np.array([5.0, -0.02, 0.0]))])
    np.testing.assert_allclose(p.numpy(), [-0.01, 0.01, 0], rtol=1e-5)


def test_epsilon_is_added_before_the_bias_is_corrected() -> None:
    p = tensor(np.zeros(1))
    Adam({"p": p}, rate=1.0, betas=(0.5, 0.9), eps=1.0).step([tensor(np.ones(1))])
    before = -(0.1**0.5) / 0.5 * 0.5 / (0.1**0.5 + 1)  # TensorFlow's
    after = -1 / (1 + 1)  # the paper of Kingma and Ba
    assert p.numpy()[0] == pytest.approx(before)
    assert before != pytest.approx(after)


def test_elements_do_not_mix() -> None:
    parameters = two()
    before = {name: p.numpy().copy() for name, p in parameters.items()}
    adam = Adam(parameters, rate=0.1)
    steps = [some_gradients(parameters, seed) for seed in (1, 2, 3)]
    for gradients in steps:
        adam.step(gradients)
    for k, (name, p) in enumerate(parameters.items()):
        for index in np.ndindex(p.shape):
            along = [float(gradients[k].numpy()[index]) for gradients in steps]
            expected = oracles.adam(
                before[name][index], along, rate=0.1, beta1=0.5, beta2=0.9, eps=1e-8, times=(1, 2, 3)
            )
            assert p.numpy()[index] == pytest.approx(expected, rel=1e-12)


def test_a_shared_clock_advances_at_every_step_of_either() -> None:
    clock = Clock()
    critic, generator = tensor(np.zeros(1)), tensor(np.zeros(1))
    critics, generators = (Adam({"p": p}, rate=0.1, clock=clock) for p in (critic, generator))
    for _ in range(2):  # five critic updates, then one of the generator, as in Algorithm 1
        for _ in range(5):
            critics.step([tensor(np.array([0.3]))])
        generators.step([tensor(np.array([-0.7]))])
    assert clock.t == 12
    settings = {"rate": 0.1, "beta1": 0.5, "beta2": 0.9, "eps": 1e-8}
    times = (1, 2, 3, 4, 5, 7, 8, 9, 10, 11)
    assert critic.numpy()[0] == pytest.approx(oracles.adam(0, [0.3] * 10, **settings, times=times))
    assert generator.numpy()[0] == pytest.approx(oracles.adam(0, [-0.7] * 2, **settings, times=(6, 12)))


def test_on_a_shared_clock_the_generators_first_steps_are_longer_than_the_rate() -> None:
    """Under a constant gradient a step is as long as the rate; what the clock makes of it: docs/mathematics.md."""
    clock = Clock()
    p = tensor(np.zeros(1))
    generator, lengths = Adam({"p": p}, rate=0.1, clock=clock), []
    for _ in range(40):
        clock.t += 5  # the critics' steps
        before = p.numpy()[0]
        generator.step([tensor(np.array([-0.7]))])
        lengths.append((p.numpy()[0] - before) / 0.1)
    np.testing.assert_allclose([lengths[k - 1] for k in (1, 2, 3, 10, 40)], [1.10, 1.46, 1.55, 1.24, 1.01], atol=0.005)


def test_two_optimisers_have_clocks_of_their_own_unless_told() -> None:
    a, b = Adam(two()), Adam(two())
    a.step(some_gradients(a.parameters, 0))
    assert (a.clock.t, b.clock.t) == (1, 0)


def test_a_rate_given_with_a_step_holds_for_that_step() -> None:
    p = tensor(np.zeros(1))
    adam = Adam({"p": p}, rate=0.1)
    adam.step([tensor(np.ones(1))], rate=0.0)
    assert p.numpy()[0] == 0
    assert adam.rate == 0.1
    adam.step([tensor(np.ones(1))])
    assert p.numpy()[0] == pytest.approx(-0.1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parameters_keep_their_dtype_and_gradients_are_left_alone(dtype: Any) -> None:
    parameters = two(dtype)
    adam = Adam(parameters)
    gradients = some_gradients(parameters, 1)
    before = [g.numpy().copy() for g in gradients]
    adam.step(gradients)
    assert {p.dtype for p in parameters.values()} == {np.dtype(dtype)}
    assert {a.dtype for a in adam.arrays("adam").values()} == {np.dtype(dtype)}
    assert all(np.array_equal(g.numpy(), b) for g, b in zip(gradients, before, strict=True))


def test_arrays_that_someone_took_before_a_step_do_not_change() -> None:
    parameters = two()
    adam = Adam(parameters)
    taken = [p.numpy() for p in parameters.values()]
    copies = [a.copy() for a in taken]
    adam.step(some_gradients(parameters, 1))
    assert all(np.array_equal(a, b) for a, b in zip(taken, copies, strict=True))


def test_a_checkpoint_resumes_as_if_nothing_had_happened() -> None:
    straight, halved = two(), two()
    whole, first = Adam(straight, rate=0.1), Adam(halved, rate=0.1)
    for seed in range(6):
        whole.step(some_gradients(straight, seed))
    for seed in range(3):
        first.step(some_gradients(halved, seed))
    saved = first.arrays("adam/generator")
    assert set(saved) == {f"adam/generator/{k}/{name}" for k in "mv" for name in halved}
    second = Adam(halved, rate=0.1)
    second.load_arrays("adam/generator", saved)
    second.clock.t = first.clock.t
    for seed in range(3, 6):
        second.step(some_gradients(halved, seed))
    for name, p in straight.items():
        assert np.array_equal(p.numpy(), halved[name].numpy())
    assert all(
        np.array_equal(a, b) for a, b in zip(whole.arrays("x").values(), second.arrays("x").values(), strict=True)
    )


def test_a_checkpoint_that_lacks_a_moment_is_refused_in_one_line() -> None:
    adam = Adam(two())
    saved = adam.arrays("adam")
    del saved["adam/v/bias"]
    with pytest.raises(UserError, match="adam/v/bias") as error:
        adam.load_arrays("adam", saved)
    assert "\n" not in str(error.value)


def test_a_checkpoint_of_another_shape_is_refused() -> None:
    adam = Adam(two())
    with pytest.raises(UserError, match="adam/m/bias"):
        adam.load_arrays("adam", adam.arrays("adam") | {"adam/m/bias": np.zeros(5)})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_checkpoint_whose_moments_are_not_finite_is_refused(value: float) -> None:
    adam = Adam(two())
    saved = {name: a.copy() for name, a in adam.arrays("adam").items()}
    saved["adam/v/bias"].flat[0] = value
    with pytest.raises(UserError, match=r"adam/v/bias.*NaN or infinity"):
        adam.load_arrays("adam", saved)


def test_after_a_refused_checkpoint_nothing_has_changed() -> None:
    adam = Adam(two())
    adam.step(some_gradients(adam.parameters, 0))
    before = adam.arrays("adam")
    incomplete = {name: a + 1 for name, a in before.items() if name != "adam/v/bias"}
    with pytest.raises(UserError):
        adam.load_arrays("adam", incomplete)
    assert all(np.array_equal(a, before[name]) for name, a in adam.arrays("adam").items())


def test_a_gradient_for_each_parameter_is_asked_for() -> None:
    parameters = two()
    with pytest.raises(ValueError, match="shorter"):
        Adam(parameters).step(some_gradients(parameters, 0)[:1])


def test_adam_finds_the_least_of_a_bowl() -> None:
    p, target = tensor(np.array([3.0, -2.0])), np.array([1.0, 0.5])
    adam = Adam({"p": p}, rate=0.05)
    for _ in range(300):
        adam.step([grad(((p - target) ** 2).sum(), p)])
    np.testing.assert_allclose(p.numpy(), target, atol=1e-2)
