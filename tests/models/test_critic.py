"""The two Wasserstein critics: their tables of layers, their sizes, their weights by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracles
import pytest
from numpy.typing import NDArray

from ca_numpy import grad, no_grad, tensor
from ca_numpy.errors import UserError
from ca_numpy.models import Critic
from ca_numpy.testing import gradcheck

Array = NDArray[Any]
WIDTHS = {"local": (1, 2, 4, 8), "global": (1, 2, 4, 4)}


def shapes(which: str, *, width: int = 64, positions: int) -> dict[str, tuple[int, ...]]:
    """The authors' variable names and their shapes; `positions` remain after four halvings."""
    found: dict[str, tuple[int, ...]] = {}
    channels = [3, *(n * width for n in WIDTHS[which])]
    for n in (1, 2, 3, 4):
        found[f"discriminator/discriminator_{which}/conv{n}/kernel"] = (5, 5, channels[n - 1], channels[n])
        found[f"discriminator/discriminator_{which}/conv{n}/bias"] = (channels[n],)
    found[f"discriminator/dout_{which}_fc/kernel"] = (positions * channels[-1], 1)
    found[f"discriminator/dout_{which}_fc/bias"] = (1,)
    return found


def draw_weights(
    which: str, *, width: int = 2, positions: int = 1, seed: int = 0, dtype: Any = np.float64
) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    table = shapes(which, width=width, positions=positions)
    return {name: rng.normal(scale=0.3, size=shape).astype(dtype) for name, shape in table.items()}


def test_both_critics_have_the_authors_variables_and_as_many_numbers() -> None:
    local, whole = Critic("local"), Critic("global")
    assert {n: p.shape for n, p in local.parameters().items()} == shapes("local", positions=8 * 8)
    assert {n: p.shape for n, p in whole.parameters().items()} == shapes("global", positions=16 * 16)
    assert local.parameters()["discriminator/dout_local_fc/kernel"].shape == (32768, 1)
    assert whole.parameters()["discriminator/dout_global_fc/kernel"].shape == (65536, 1)
    assert local.count() + whole.count() == 7_072_770
    assert not set(local.parameters()) & set(whole.parameters())  # one file may hold both


@pytest.mark.parametrize("which", ["local", "global"])
@pytest.mark.parametrize("size", [(16, 16), (13, 30), (32, 16)])
def test_a_critic_is_its_table_of_layers(backend: str, which: Any, size: tuple[int, int]) -> None:
    positions = -(-size[0] // 16) * -(-size[1] // 16)
    weights = draw_weights(which, positions=positions)
    x = np.random.default_rng(1).uniform(-1, 1, (2, *size, 3))
    scores = Critic.from_tf(weights, which, size=size)(x)
    assert scores.shape == (2, 1)
    expected = [[oracles.critic(weights, sample, which)] for sample in x]
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-10, atol=1e-12)


def test_one_images_score_does_not_depend_on_the_others() -> None:
    critic = Critic("local", size=32, width=2, dtype=np.float64)
    x = tensor(np.random.default_rng(0).uniform(-1, 1, (3, 32, 32, 3)))
    g = grad(critic(x), x, seed=np.array([[0.0], [1.0], [0.0]])).numpy()
    assert abs(g[1]).min() > 0
    assert not g[[0, 2]].any()


def test_a_critics_gradients_are_finite_differences_twice() -> None:
    weights = draw_weights("local", width=1)
    names = list(weights)
    x = np.random.default_rng(2).uniform(-1, 1, (1, 8, 8, 3))

    def score(x: Any, *values: Any) -> Any:
        critic = Critic("local", size=8, width=1, dtype=np.float64)
        for layer in (*critic.layers.values(), critic.score):
            layer.kernel, layer.bias = (values[names.index(name)] for name in layer.parameters())
        return critic(x)

    # Biases far from zero keep every unit away from the kink of its leaky ReLU.
    arrays = [0.05 * a if n.endswith("kernel") else 3 * np.sign(a) for n, a in weights.items()]
    gradcheck(score, [x, *arrays], rng=np.random.default_rng(0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("which", ["local", "global"])
def test_from_tf_reads_width_size_and_dtype_off_the_arrays(which: Any, dtype: Any) -> None:
    weights = draw_weights(which, width=3, positions=9, dtype=dtype)
    critic = Critic.from_tf(weights, which)
    assert (critic.which, critic.width, critic.size) == (which, 3, (48, 48))
    assert critic.arrays().keys() == weights.keys()
    for name, a in critic.arrays().items():
        assert a.dtype == dtype
        assert np.array_equal(a, weights[name])
    assert critic(np.zeros((1, 48, 48, 3), dtype)).dtype == dtype


def test_one_mapping_serves_both_critics() -> None:
    both = draw_weights("local", positions=1) | draw_weights("global", positions=4)
    assert Critic.from_tf(both, "local").size == (16, 16)
    assert Critic.from_tf(both, "global").size == (32, 32)


def test_an_oblong_critic_needs_its_size_said() -> None:
    weights = draw_weights("global", positions=2)
    assert Critic.from_tf(weights, "global", size=(16, 32)).size == (16, 32)
    with pytest.raises(UserError, match="dout_global_fc/kernel"):
        Critic.from_tf(weights, "global")


@pytest.mark.parametrize(
    "part", ["discriminator_local/conv1/kernel", "dout_local_fc/kernel", "discriminator_local/conv3/bias"]
)
def test_a_missing_variable_is_named(part: str) -> None:
    weights = draw_weights("local")
    del weights[f"discriminator/{part}"]
    with pytest.raises(UserError, match=part) as error:
        Critic.from_tf(weights, "local")
    assert "\n" not in str(error.value)


def test_a_variable_of_a_wrong_shape_is_named() -> None:
    name = "discriminator/discriminator_local/conv2/kernel"
    with pytest.raises(UserError, match=name):
        Critic.from_tf(draw_weights("local") | {name: np.zeros((3, 3, 2, 4))}, "local")


@pytest.mark.parametrize("shape", [(1, 16, 16, 3), (1, 32, 48, 3), (1, 32, 32, 1), (1, 32, 32, 4), (32, 32, 3)])
def test_images_of_another_size_are_refused_in_one_line(shape: tuple[int, ...]) -> None:
    critic = Critic("local", size=32, width=2)
    with pytest.raises(ValueError, match="needs N 32 32 3") as error:
        critic(np.zeros(shape, np.float32))
    assert "\n" not in str(error.value)


def test_a_critic_is_local_or_global() -> None:
    with pytest.raises(UserError, match="local"):
        Critic("middle")  # type: ignore[arg-type]


def test_initial_weights_are_drawn_from_the_given_generator_only() -> None:
    def drawn(seed: int) -> Array:
        critic = Critic("local", size=16, width=2, rng=np.random.default_rng(seed))
        return critic.arrays()["discriminator/dout_local_fc/kernel"]

    assert np.array_equal(drawn(3), drawn(3))
    assert not np.array_equal(drawn(3), drawn(4))


def test_without_a_tape_the_score_is_the_same() -> None:
    critic = Critic("global", size=32, width=2)
    x = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    taped = critic(x)
    with no_grad():
        bare = critic(x)
    assert np.array_equal(taped.numpy(), bare.numpy())
    assert bare.op is None


@pytest.mark.parametrize("shape", [(5, 5, 3, 100_000), (5, 5, 3), (5, 5, 3, 0)])
def test_a_width_that_the_other_weights_lack_takes_no_memory(shape: tuple[int, ...]) -> None:
    first = "discriminator/discriminator_local/conv1/kernel"
    with pytest.raises(UserError, match=first):
        Critic.from_tf(draw_weights("local", width=1, positions=1) | {first: np.zeros(shape)}, "local")
