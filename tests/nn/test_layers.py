"""The convolution layer against plain loops: TensorFlow's zeros, mirrors, strides, dilation, activations."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca_numpy import functional as F
from ca_numpy import grad, tensor
from ca_numpy.nn import Conv2d, layers

ACTIVATIONS = {
    "linear": lambda x: x,
    "elu": oracles.elu,
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.2 * x),
}


@st.composite
def geometries(
    draw: st.DrawFn, paddings: tuple[str, ...] = ("same", "reflect", "symmetric", "valid")
) -> dict[str, Any]:
    geometry = {
        "ksize": draw(st.integers(1, 5)),
        "stride": draw(st.integers(1, 3)),
        "dilation": draw(st.integers(1, 3)),
        "padding": draw(st.sampled_from(paddings)),
    }
    smallest = (geometry["ksize"] - 1) * geometry["dilation"] + 1 if geometry["padding"] == "valid" else 1
    side = st.integers(smallest, smallest + 7)
    return geometry | {"size": draw(st.tuples(side, side)), "seed": draw(st.integers(0, 2**16))}


def build(geometry: dict[str, Any], **options: Any) -> tuple[Conv2d, np.ndarray]:
    """A layer with a bias, in float64, and two pictures for it."""
    rng = np.random.default_rng(geometry["seed"])
    shape = {k: v for k, v in geometry.items() if k not in ("size", "seed")}
    layer = Conv2d("conv1", 2, 3, **shape, **options, rng=rng, dtype=np.float64)
    layer.bias.data = rng.normal(size=3)
    return layer, rng.normal(size=(2, *geometry["size"], 2))


@given(geometry=geometries(), activation=st.sampled_from(sorted(ACTIVATIONS)))
def test_a_convolution_layer_is_its_equation(geometry: dict[str, Any], activation: Any) -> None:
    layer, x = build(geometry, activation=activation)
    options = {k: geometry[k] for k in ("stride", "dilation", "padding")}
    expected = [
        ACTIVATIONS[activation](oracles.conv2d(sample, layer.kernel.numpy(), layer.bias.numpy(), **options))
        for sample in x
    ]
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-10, atol=1e-10)


def test_another_activation_is_one_entry_and_an_unknown_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    geometry = {"ksize": 3, "size": (5, 6), "seed": 0}
    with pytest.raises(ValueError, match=r"'square'.*leaky_relu"):
        build(geometry, activation="square")
    monkeypatch.setitem(layers.ACTIVATIONS, "square", lambda y: y * y)
    layer, x = build(geometry, activation="square")
    plain, _ = build(geometry, activation="linear")
    np.testing.assert_array_equal(layer(x).numpy(), plain(x).numpy() ** 2)


@given(geometry=geometries())
def test_every_parameter_of_a_layer_gets_its_gradient(geometry: dict[str, Any]) -> None:
    layer, x = build(geometry, activation="linear")
    image = tensor(x)
    y = layer(image)
    kernel, bias = layer.kernel.numpy(), layer.bias.numpy()
    dx, dw, db = grad(y, [image, layer.kernel, layer.bias], seed=y.data)
    # A linear map without bias is its own derivative: ⟨∂⟨y, s⟩/∂x, x⟩ = ⟨y − b, s⟩ and the same for the kernel.
    without_bias = ((y.numpy() - bias) * y.numpy()).sum()
    assert (dx.numpy() * x).sum() == pytest.approx(without_bias, rel=1e-9, abs=1e-9)
    assert (dw.numpy() * kernel).sum() == pytest.approx(without_bias, rel=1e-9, abs=1e-9)
    np.testing.assert_allclose(db.numpy(), y.numpy().sum((0, 1, 2)), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("n", "k", "before"), [(8, 3, 0), (7, 3, 1), (8, 5, 1), (7, 5, 2)])
def test_same_padding_with_a_stride_puts_the_odd_zero_behind(n: int, k: int, before: int) -> None:
    kernel = np.zeros((k, 1, 1, 1))
    kernel[before] = 1  # the tap that sees the first pixel from the first position
    x = np.arange(1.0, n + 1).reshape(1, n, 1, 1)
    y = F.conv2d(x, kernel, stride=2).numpy().ravel()
    assert np.array_equal(y, x.ravel()[::2])


def test_a_layer_owns_its_two_parameters_under_its_name() -> None:
    layer = Conv2d("inpaint_net/conv1", 5, 8, ksize=5, rng=np.random.default_rng(0))
    assert {name: p.shape for name, p in layer.parameters().items()} == {
        "inpaint_net/conv1/kernel": (5, 5, 5, 8),
        "inpaint_net/conv1/bias": (8,),
    }
    assert not layer.bias.numpy().any()


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_a_float32_layer_keeps_float32(activation: Any) -> None:
    layer = Conv2d("conv1", 2, 3, activation=activation, rng=np.random.default_rng(0))
    y = layer(np.ones((1, 5, 5, 2), np.float32))
    assert y.dtype == np.float32
    assert [g.dtype for g in grad(y, list(layer.parameters().values()))] == [np.float32] * 2


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (np.ones((1, 5, 5, 3)), {}, "same I"),
        (np.ones((5, 5, 2)), {}, "N H W I"),
        (np.ones((1, 5, 5, 2)), {"padding": "full"}, "padding must be"),
        (np.ones((1, 5, 5, 2)), {"stride": 0}, "at least 1"),
        (np.ones((1, 5, 5, 2)), {"dilation": 0}, "at least 1"),
        (np.ones((1, 2, 5, 2)), {"padding": "valid"}, "does not fit"),
    ],
)
def test_what_does_not_fit_a_convolution_is_refused_in_one_line(x: Any, options: dict[str, Any], message: str) -> None:
    layer = Conv2d("conv1", 2, 3, **options, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match=message) as error:
        layer(x)
    assert "\n" not in str(error.value)
