"""Convolution and its kin against SciPy and NumPy, at sizes that loops cannot reach; and its paddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca_numpy import functional as F
from ca_numpy import grad, tensor
from ca_numpy.backends import numpy_conv
from ca_numpy.geometry import ConvGeometry
from ca_numpy.testing import CASES, RandomChooser, gradcheck
from ca_numpy.testing.backend_suite import check_kernel
from ca_numpy.testing.generators import ConvProblem
from ca_numpy.testing.strategies import conv_problems

signal = pytest.importorskip("scipy.signal")


def by_scipy(x: np.ndarray, w: np.ndarray, geometry: ConvGeometry) -> np.ndarray:
    """A dilated kernel is one with zeros between its taps; a stride drops outputs."""
    kh, kw, inputs, outputs = w.shape
    stride, dilation = geometry.stride, geometry.dilation
    spread = np.zeros(((kh - 1) * dilation + 1, (kw - 1) * dilation + 1, inputs, outputs))
    spread[::dilation, ::dilation] = w
    x = np.pad(x, ((0, 0), *geometry.pads, (0, 0)))
    y = [
        [signal.correlate(image, spread[..., o], mode="valid")[::stride, ::stride, 0] for o in range(outputs)]
        for image in x
    ]
    return np.moveaxis(np.array(y), 1, -1)


@given(p=conv_problems(large=True), seed=st.integers(0, 100))
def test_convolution_is_scipys_cross_correlation(p: ConvProblem, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, w = rng.standard_normal((*p.x[:3], 2)), rng.standard_normal((*p.w[:2], 2, 3))
    y = CASES["conv2d"].op(x, w, geometry=p.geometry)
    np.testing.assert_allclose(y.numpy(), by_scipy(x, w, p.geometry), atol=1e-10)


@pytest.mark.parametrize("name", ["conv2d", "conv2d_dx", "conv2d_dw", "conv_bias_elu"])
def test_the_width_of_a_band_changes_no_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_conv, "BAND_BYTES", 1)  # one row of outputs at a time
    for seed in range(10):
        problem = CASES[name].draw(RandomChooser(np.random.default_rng(seed)))
        check_kernel("numpy", CASES[name], problem)


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    k=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 4),
    padding=st.sampled_from(["same", "reflect", "symmetric"]),
)
def test_every_padding_but_valid_gives_one_output_per_stride(
    size: Any, k: Any, stride: int, dilation: int, padding: Any
) -> None:
    x, w = np.ones((1, *size, 1)), np.ones((*k, 1, 1))
    y = F.conv2d(x, w, stride=stride, dilation=dilation, padding=padding)
    assert y.shape == (1, -(-size[0] // stride), -(-size[1] // stride), 1)
    if padding != "same":  # a mirror shows nothing but ones
        assert np.allclose(y.numpy(), k[0] * k[1])


def test_valid_gives_the_positions_at_which_the_kernel_fits() -> None:
    x, w = np.ones((1, 7, 6, 1)), np.ones((3, 2, 1, 1))
    assert F.conv2d(x, w, padding="valid").shape == (1, 5, 5, 1)
    assert F.conv2d(x, w, padding="valid", stride=2).shape == (1, 3, 3, 1)
    assert F.conv2d(x, w, padding="valid", dilation=3).shape == (1, 1, 3, 1)


def test_on_even_sizes_a_strided_convolution_pads_behind() -> None:
    corners = np.zeros((1, 4, 4, 1))
    corners[0, 0, 0], corners[0, 3, 3] = 1, 10
    y = F.conv2d(corners, np.ones((3, 3, 1, 1)), stride=2).numpy()[0, :, :, 0]
    assert np.array_equal(y, [[1, 0], [0, 10]])
    x = np.arange(16.0).reshape(1, 4, 4, 1)
    first = F.conv2d(x, np.pad([[[[1.0]]]], ((0, 2), (0, 2), (0, 0), (0, 0))), stride=2)  # picks the upper left tap
    assert np.array_equal(first.numpy()[0, :, :, 0], [[0, 2], [8, 10]])


@given(
    pads=st.tuples(*2 * [st.tuples(*2 * [st.integers(0, 5)])]),
    size=st.tuples(*2 * [st.integers(2, 4)]),
    mode=st.sampled_from(["constant", "reflect", "symmetric"]),
)
def test_pad_is_numpys_pad_however_wide(pads: Any, size: Any, mode: Any) -> None:
    x = np.arange(2.0 * size[0] * size[1] * 3).reshape(2, *size, 3)
    assert np.array_equal(F.pad(x, pads, mode=mode).numpy(), np.pad(x, ((0, 0), *pads, (0, 0)), mode=mode))


@pytest.mark.parametrize("padding", ["same", "valid", "reflect", "symmetric"])
@pytest.mark.parametrize("activation", [None, "elu"])
def test_derivatives_of_every_padding(padding: Any, activation: Any, rng: np.random.Generator) -> None:
    w = rng.standard_normal((3, 2, 2, 3)) / 4
    bias = np.full(3, 3.0)  # keeps what ELU sees positive, away from its kink

    def fn(x: Any, w: Any, b: Any) -> Any:
        return F.conv2d(x, w, b, stride=2, dilation=2, padding=padding, activation=activation)

    gradcheck(fn, [rng.uniform(-1, 1, (2, 6, 5, 2)), w, bias], rng=rng)


def test_a_fused_elu_is_the_elu_of_the_convolution(rng: np.random.Generator) -> None:
    x, w, b = rng.standard_normal((2, 6, 5, 3)), rng.standard_normal((3, 3, 3, 4)), rng.standard_normal(4)
    np.testing.assert_allclose(
        F.conv2d(x, w, b, activation="elu").numpy(), F.elu(F.conv2d(x, w, b)).numpy(), atol=1e-12
    )
    np.testing.assert_allclose(F.conv2d(x, w, activation="elu").numpy(), F.elu(F.conv2d(x, w)).numpy(), atol=1e-12)


def test_no_pixel_knows_of_the_other_pictures_in_its_batch(rng: np.random.Generator) -> None:
    x, w = rng.standard_normal((3, 6, 5, 2)), rng.standard_normal((3, 3, 2, 4))
    together = F.conv2d(x, w, stride=2).numpy()
    for n in range(3):
        np.testing.assert_allclose(together[n : n + 1], F.conv2d(x[n : n + 1], w, stride=2).numpy(), atol=1e-12)


def test_doubling_repeats_each_pixel(rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 3, 4, 2))
    assert np.array_equal(F.upsample(x).numpy(), x.repeat(2, axis=1).repeat(2, axis=2))
    t = tensor(x)
    assert np.array_equal(grad(F.upsample(t), t).numpy(), np.full(x.shape, 4.0))


@pytest.mark.parametrize("boxes", [[(1, 2, 3, 2), (0, 0, 3, 2)], [(1, 2, 3, 2), (1, 2, 3, 2)]])
def test_crop_boxes_cuts_a_box_out_of_each_picture(boxes: Any, rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 5, 4, 3))
    right = np.stack([image[t : t + h, l : l + w] for image, (t, l, h, w) in zip(x, boxes, strict=True)])
    assert np.array_equal(F.crop_boxes(x, boxes).numpy(), right)
