"""The CPU's fast backend: the textbook's hot kernels compiled by Numba, each with the same equation.

What is overridden, and where it stands: convolution (`numba_conv.py`), contextual attention in bands
(`numba_attention.py`), ELU (`numba_math.py`), Adam (here). Everything else is the textbook's.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from ca_numpy.backend import Pads
from ca_numpy.backends import numba_attention, numba_conv, numba_math
from ca_numpy.backends.numpy_attention import Geometry
from ca_numpy.backends.numpy_backend import NumpyBackend

Array = NDArray[Any]


class NumbaBackend(NumpyBackend):
    """NumPy arrays; kernels compiled on first use, and kept on disk from then on."""

    name = "numba"

    def describe(self) -> str:
        threads = numba.config.NUMBA_NUM_THREADS
        return f"Numba {numba.__version__} on {threads} threads; {super().describe()}"

    def elu(self, x: Array) -> Array:
        return numba_math.elu(x)

    def conv2d(self, x: Array, w: Array, *, stride: int, dilation: int, pads: Pads) -> Array:
        return numba_conv.conv2d(x, w, stride, dilation, pads)

    def conv2d_dx(self, g: Array, w: Array, *, size: tuple[int, int], stride: int, dilation: int, pads: Pads) -> Array:
        return numba_conv.conv2d_dx(g, w, size, stride, dilation, pads)

    def conv2d_dw(self, g: Array, x: Array, *, ksize: tuple[int, int], stride: int, dilation: int, pads: Pads) -> Array:
        return numba_conv.conv2d_dw(g, x, ksize, stride, dilation, pads)

    def conv_bias_elu(self, x: Array, w: Array, b: Array, *, stride: int, dilation: int, pads: Pads) -> Array:
        return numba_conv.conv_bias_elu(x, w, b, stride, dilation, pads)

    def contextual_attention(
        self, f: Array, b: Array, valid: Array, *, ksize: int, rate: int, fuse_k: int, softmax_scale: float, fuse: bool
    ) -> Array:
        return numba_attention.forward(f, b, valid, Geometry(ksize, rate, fuse_k if fuse else None, softmax_scale))

    def contextual_attention_vjp(
        self, g: Array, f: Array, b: Array, valid: Array, *,
        ksize: int, rate: int, fuse_k: int, softmax_scale: float, fuse: bool,
    ) -> tuple[Array, Array]:  # fmt: skip
        geometry = Geometry(ksize, rate, fuse_k if fuse else None, softmax_scale)
        return numba_attention.backward(g, f, b, valid, geometry)

    def adam(
        self, p: Array, g: Array, m: Array, v: Array, *, rate: float, beta1: float, beta2: float, eps: float
    ) -> tuple[Array, Array, Array]:
        if p.size == 0 or not (p.dtype == g.dtype == m.dtype == v.dtype):
            return super().adam(p, g, m, v, rate=rate, beta1=beta1, beta2=beta2, eps=eps)
        flat = [np.ascontiguousarray(a).ravel() for a in (p, g, m, v)]
        as_type = p.dtype.type
        out = _adam(*flat, as_type(rate), as_type(beta1), as_type(beta2), as_type(eps))
        return out[0].reshape(p.shape), out[1].reshape(p.shape), out[2].reshape(p.shape)


@njit(parallel=True, cache=True, error_model="numpy")
def _adam(p, g, m, v, rate, beta1, beta2, eps):  # type: ignore[no-untyped-def]
    """One pass over memory in place of six."""
    one = type(rate)(1)
    p2, m2, v2 = np.empty_like(p), np.empty_like(p), np.empty_like(p)
    for i in prange(p.size):
        m2[i] = beta1 * m[i] + (one - beta1) * g[i]
        v2[i] = beta2 * v[i] + (one - beta2) * g[i] * g[i]
        p2[i] = p[i] - rate * m2[i] / (np.sqrt(v2[i]) + eps)
    return p2, m2, v2
