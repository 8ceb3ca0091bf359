"""Modules gather, hand out and take over their parameters by name."""

from __future__ import annotations

import numpy as np
import pytest

from ca_numpy import Tensor, tensor
from ca_numpy.errors import UserError
from ca_numpy.nn import Linear, Module, glorot_uniform


class Pair(Module):
    """Two layers, one as an attribute and one in a dictionary; and things that are no modules."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.title = "pair"
        self.sizes = {"in": 3, "out": 2}
        self.first = Linear("first", 3, 4, rng=rng)
        self.rest = {"second": Linear("second", 4, 2, rng=rng)}


def test_parameters_are_gathered_by_name_in_the_order_they_were_made() -> None:
    assert list(Pair().parameters()) == ["first/kernel", "first/bias", "second/kernel", "second/bias"]


def test_parameters_are_the_modules_own_tensors() -> None:
    pair = Pair()
    assert pair.parameters()["first/kernel"] is pair.first.kernel


def test_count_is_how_many_numbers_are_learnt() -> None:
    assert Pair().count() == (3 * 4 + 4) + (4 * 2 + 2)


def test_arrays_taken_from_one_module_make_another_its_equal() -> None:
    a, b = Pair(), Pair()
    for p in a.parameters().values():
        p.data = p.data + 1
    b.load_arrays(a.arrays())
    assert all(np.array_equal(x, y) for x, y in zip(a.arrays().values(), b.arrays().values(), strict=True))


def test_loading_changes_the_tensors_that_an_optimiser_already_holds() -> None:
    pair = Pair()
    held = pair.parameters()["first/bias"]
    pair.load_arrays(pair.arrays() | {"first/bias": np.full(4, 7.0, np.float32)})
    assert np.array_equal(held.numpy(), np.full(4, 7.0))


def test_loading_takes_the_dtype_of_the_arrays() -> None:
    pair = Pair()
    pair.load_arrays({name: a.astype(np.float64) for name, a in pair.arrays().items()})
    assert {p.dtype for p in pair.parameters().values()} == {np.dtype(np.float64)}


def test_buffers_are_saved_and_restored_with_the_parameters_but_not_learnt() -> None:
    class Counting(Linear):
        def __init__(self) -> None:
            super().__init__("counting", 3, 4, rng=np.random.default_rng(0))
            self.mean = tensor(np.zeros(4))

        def buffers(self) -> dict[str, Tensor]:
            return {"counting/mean": self.mean}

    outer, other = Pair(), Pair()
    outer.rest["third"], other.rest["third"] = Counting(), Counting()
    assert list(outer.buffers()) == ["counting/mean"]
    assert "counting/mean" not in outer.parameters()
    outer.buffers()["counting/mean"].data = np.arange(4.0)
    other.load_arrays(outer.arrays())
    assert np.array_equal(other.rest["third"].mean.numpy(), np.arange(4))
    with pytest.raises(UserError, match="counting/mean"):
        other.load_arrays({name: a for name, a in outer.arrays().items() if "mean" not in name})


def test_names_of_other_networks_are_passed_over() -> None:
    pair = Pair()
    pair.load_arrays(pair.arrays() | {"another/kernel": np.zeros(3)})
    assert "another/kernel" not in pair.parameters()


@pytest.mark.parametrize("wrong", ["missing", "shape"])
def test_after_a_refused_file_nothing_has_changed(wrong: str) -> None:
    pair = Pair()
    before = pair.arrays()
    weights = {name: a + 1 for name, a in before.items()}
    if wrong == "missing":
        del weights["second/bias"]
    else:
        weights["second/bias"] = np.zeros(3, np.float32)
    with pytest.raises(UserError, match="second/bias") as error:
        pair.load_arrays(weights)
    assert "\n" not in str(error.value)
    assert all(np.array_equal(a, before[name]) for name, a in pair.arrays().items())


def test_the_message_for_a_wrong_shape_names_both_shapes() -> None:
    pair = Pair()
    with pytest.raises(UserError, match=r"\(5,\).*\(4,\)"):
        pair.load_arrays(pair.arrays() | {"first/bias": np.zeros(5, np.float32)})


@pytest.mark.parametrize(
    ("shape", "fans"), [((300, 500), 800), ((5, 5, 64, 128), 25 * 192), ((3, 3, 1, 8000), 9 * 8001)]
)
def test_glorot_uniform_fills_the_interval_that_the_fans_give(shape: tuple[int, ...], fans: int) -> None:
    """The weights are uniformly distributed, by the Kolmogorov–Smirnov test."""
    w = glorot_uniform(np.random.default_rng(0), shape)
    limit = np.sqrt(6 / fans)
    assert w.shape == shape
    assert w.dtype == np.float32
    assert 0.999 * limit < np.abs(w).max() <= limit * (1 + 1e-6)
    below = (np.sort(w, axis=None) / limit + 1) / 2
    assert np.abs(below - np.linspace(0, 1, w.size)).max() < 2 / np.sqrt(w.size)  # by chance once in 1500


def test_the_same_generator_state_gives_the_same_weights() -> None:
    a, b = (glorot_uniform(np.random.default_rng(3), (4, 5)) for _ in range(2))
    assert np.array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_linear_is_a_matrix_product_and_a_bias(dtype: type) -> None:
    layer = Linear("score", 6, 2, rng=np.random.default_rng(0), dtype=dtype)
    layer.bias.data = np.array([0.5, -1], dtype)
    x = np.random.default_rng(1).normal(size=(3, 6)).astype(dtype)
    y = layer(tensor(x))
    expected = [
        [sum(x[n, i] * layer.kernel.numpy()[i, o] for i in range(6)) + (0.5, -1)[o] for o in range(2)] for n in range(3)
    ]
    assert isinstance(y, Tensor)
    assert y.dtype == dtype
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-5)


def test_layers_begin_without_bias() -> None:
    assert not Linear("score", 6, 2, rng=np.random.default_rng(0)).bias.numpy().any()
