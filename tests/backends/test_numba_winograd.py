"""Winograd's matrices, and what they cost in precision on every layer of the real network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ca_numpy.geometry import ConvGeometry
from ca_numpy.models import Generator
from ca_numpy.testing.strategies import generators

pytest.importorskip("numba")

from ca_numpy.backends import numba_conv, numba_winograd, numpy_conv
from ca_numpy.backends.numba_gemm import WIDTH
from ca_numpy.backends.numba_winograd import A_TRANSPOSED, B_TRANSPOSED, G

Array = NDArray[Any]
SAME = ConvGeometry(pads=((1, 1), (1, 1)))


def test_six_products_make_four_outputs_of_three_taps() -> None:
    # y[i] = Σ_u d[i + u]·w[u], for every pair of unit vectors d, w: a bilinear identity is proved by its basis.
    for j, u in np.ndindex(6, 3):
        y = A_TRANSPOSED @ (G[:, u] * B_TRANSPOSED[:, j])
        assert y == pytest.approx(np.where(np.arange(4) + u == j, 1.0, 0.0), abs=1e-14)


# ---- precision ---------------------------------------------------------------------------------------------------
def layers() -> list[tuple[int, int, int, int]]:
    """(C, K, dilation, count) of the generator's convolutions computed by Winograd."""
    found: dict[tuple[int, int, int], int] = {}
    for layer in Generator(rng=np.random.default_rng(0)).layers.values():
        ksize, c, k = layer.kernel.shape[:2], *layer.kernel.shape[2:]
        geometry = ConvGeometry(stride=layer.stride, dilation=layer.dilation)
        if numba_conv.suits_winograd((1, 64, 64, k), ksize, geometry, (c, k)):
            found[c, k, layer.dilation] = found.get((c, k, layer.dilation), 0) + 1
    return [(*key, count) for key, count in found.items()]


def errors(c: int, k: int, dilation: int, rng: np.random.Generator) -> dict[str, float]:
    """Winograd's largest error against float64, over that of the direct sum in float32, on 64×64 pixels."""
    x, g = (rng.standard_normal((1, 64, 64, n)).astype(np.float32) for n in (c, k))
    w = (rng.standard_normal((3, 3, c, k)) / np.sqrt(9 * c)).astype(np.float32)
    geometry = ConvGeometry(dilation=dilation).same((64, 64), (3, 3))

    def results(module: Any, x: Array, w: Array, g: Array) -> dict[str, Array]:
        return {
            "forward": module.conv2d(x, w, geometry),
            "dx": module.conv2d_dx(g, w, (64, 64), geometry),
            "dw": module.conv2d_dw(g, x, (3, 3), geometry),
        }

    right = results(numpy_conv, *(a.astype(np.float64) for a in (x, w, g)))
    direct, winograd = results(numpy_conv, x, w, g), results(numba_conv, x, w, g)
    return {name: np.abs(winograd[name] - y).max() / np.abs(direct[name] - y).max() for name, y in right.items()}


def test_most_of_the_network_is_done_by_winograd() -> None:
    assert sum(count for *_, count in layers()) >= 28


@pytest.mark.parametrize(("c", "k", "dilation", "count"), layers())
def test_the_error_is_less_than_ten_times_the_direct_sums(
    c: int, k: int, dilation: int, count: int, rng: np.random.Generator
) -> None:
    for name, ratio in errors(c, k, dilation, rng).items():
        assert ratio < 10, f"{name}: {ratio:.1f} times the direct sum's error"


# ---- magnified pictures ------------------------------------------------------------------------------------------
@given(
    n=st.integers(1, 2), h=st.integers(1, 9), w=st.integers(1, 9), c=st.sampled_from([1, 5, WIDTH, 2 * WIDTH]),
    k=st.integers(1, 20), rng=generators(),
)  # fmt: skip
def test_zoom_reads_the_small_picture_as_if_each_pixel_stood_four_times(
    n: int, h: int, w: int, c: int, k: int, rng: np.random.Generator
) -> None:
    """Held to NumPy's convolution of the large picture; the bounds are those of `test_numba_conv`."""
    x, kernel = (rng.standard_normal(s).astype(np.float32) for s in ((n, h, w, c), (3, 3, c, k)))
    g = rng.standard_normal((n, 2 * h, 2 * w, k)).astype(np.float32)
    large = x.repeat(2, axis=1).repeat(2, axis=2)

    def right(x: Array, kernel: Array, g: Array) -> tuple[Array, Array]:
        return numpy_conv.conv2d(x, kernel, SAME), numpy_conv.conv2d_dw(g, x, (3, 3), SAME)

    found = numba_winograd.conv3x3(x, kernel, SAME, zoom=2), numba_winograd.conv3x3_dw(g, x, SAME, zoom=2)
    exact = [a.astype(np.float64) for a in (large, kernel, g)]
    squares = right(*(a**2 for a in exact))
    for y, wanted, square, terms in zip(found, right(*exact), squares, (9 * c, 4 * n * h * w), strict=True):
        assert np.abs(y - wanted).max() <= 8 * np.finfo(np.float32).eps * np.sqrt(terms * square.max())


def test_nan_in_one_picture_of_a_batch_stays_there(rng: np.random.Generator) -> None:
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((3, 9, 9, 16), (3, 3, 16, 16)))
    clean = numba_winograd.conv3x3(x, w, SAME)
    x[1] = np.nan
    y = numba_winograd.conv3x3(x, w, SAME)
    assert np.isnan(y[1]).all()
    assert np.array_equal(y[[0, 2]], clean[[0, 2]])
