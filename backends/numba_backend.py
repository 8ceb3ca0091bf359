"""The fast CPU backend: the expensive kernels of the NumPy backend compiled by Numba, with the same equations.

It overrides convolution (`numba_conv.py`), contextual attention (`numba_attention.py`), PatchMatch
(`numba_patches.py`), activations, resizing and Adam (`numba_elementwise.py`), and inherits the rest. Large results
reuse memory (`numba_memory.py`).
"""

from __future__ import annotations

import copy
import threading
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from ca_numpy.backend import Backend
from ca_numpy.geometry import AttentionGeometry, ConvGeometry
from ca_numpy.jit import mark_of
from ca_numpy.threads import get_num_threads

from . import numba_amx, numba_attention, numba_conv, numba_elementwise, numba_patches
from .numba_gemm import WIDTH
from .numba_memory import POOL
from .numpy_backend import NumpyBackend, nearest_pixels

Array = NDArray[Any]
LARGE = 1 << 16
_blas, _blas_lock = ThreadpoolController(), threading.Lock()


class NumbaBackend(NumpyBackend):
    """NumPy arrays; kernels are compiled on first use and cached on disk.

    `precision` of the products of convolutions: "float32", or "bf16" on processors with a matrix unit.
    """

    name = "numba"
    _patches = numba_patches

    def __init__(self) -> None:
        self.precisions = ("float32", "bf16") if numba_amx.supported() else ("float32",)
        self._convolution: Any = numba_conv

    def at(self, precision: str) -> Backend:
        if precision == self.precision:
            return self
        other = copy.copy(self)
        other.name, other.precision = f"{type(self).name}:{precision}", precision
        other._convolution = numba_conv
        if precision == "bf16":
            from . import numba_bf16  # not before it is asked for: it has kernels of its own to load

            other._convolution = numba_bf16
        return other

    @property
    def compiled_mark(self) -> Path | None:  # type: ignore[override]
        return mark_of(__name__)

    def describe(self) -> str:
        threads = get_num_threads()
        tiles = ", tiles of bfloat16" if "bf16" in self.precisions else ""
        return (
            f"Numba {numba.__version__} on {threads} threads, vectors of {WIDTH} numbers{tiles}; {super().describe()}"
        )

    def release_memory(self) -> None:
        POOL.release()

    def elu(self, x: Array) -> Array:
        return numba_elementwise.elu(x)

    def elu_vjp(self, g: Array, y: Array) -> Array:
        return numba_elementwise.elu_vjp(g, y) if large(g) and large(y) else super().elu_vjp(g, y)

    def relu(self, x: Array) -> Array:
        return np.maximum(x, 0, out=_result(x, x))

    def leaky_relu(self, x: Array, *, alpha: float) -> Array:
        return numba_elementwise.leaky_relu(x, alpha) if large(x) else super().leaky_relu(x, alpha=alpha)

    def leaky_relu_vjp(self, g: Array, y: Array, *, alpha: float) -> Array:
        both = large(g) and large(y)
        return numba_elementwise.leaky_relu_vjp(g, y, alpha) if both else super().leaky_relu_vjp(g, y, alpha=alpha)

    def add(self, a: Array, b: Array) -> Array:
        return np.add(a, b, out=_result(a, b))

    def sub(self, a: Array, b: Array) -> Array:
        return np.subtract(a, b, out=_result(a, b))

    def mul(self, a: Array, b: Array) -> Array:
        if large(a) and large(b) and a.shape == b.shape:
            return numba_elementwise.multiply(a, b)
        return np.multiply(a, b, out=_result(a, b))

    def concat(self, *xs: Array, axis: int) -> Array:
        shape = list(xs[0].shape)
        shape[axis] = sum(x.shape[axis] for x in xs)
        return np.concatenate(xs, axis, out=POOL.empty(tuple(shape), np.result_type(*xs)))

    def resize_nearest(self, x: Array, *, size: tuple[int, int], align_corners: bool) -> Array:
        if not large(x):
            return super().resize_nearest(x, size=size, align_corners=align_corners)
        return numba_elementwise.gather_pixels(x, *nearest_pixels(x.shape[1:3], size, align_corners=align_corners))

    def resize_nearest_adjoint(self, g: Array, *, size: tuple[int, int], align_corners: bool) -> Array:
        if not large(g):
            return super().resize_nearest_adjoint(g, size=size, align_corners=align_corners)
        rows, columns = nearest_pixels(size, g.shape[1:3], align_corners=align_corners)
        return numba_elementwise.scatter_pixels(g, rows, columns, size)

    def matmul(self, a: Array, b: Array) -> Array:
        """On one core, because the order in which BLAS sums depends on the number of threads."""
        with _blas_lock, _blas.limit(limits=1, user_api="blas"):
            return super().matmul(a, b)

    def conv2d(self, x: Array, w: Array, *, geometry: ConvGeometry) -> Array:
        y: Array = self._convolution.conv2d(x, w, geometry)
        return y

    def conv2d_dx(self, g: Array, w: Array, *, size: tuple[int, int], geometry: ConvGeometry) -> Array:
        y: Array = self._convolution.conv2d_dx(g, w, size, geometry)
        return y

    def conv2d_dw(self, g: Array, x: Array, *, ksize: tuple[int, int], geometry: ConvGeometry) -> Array:
        y: Array = self._convolution.conv2d_dw(g, x, ksize, geometry)
        return y

    def conv_bias_elu(self, x: Array, w: Array, b: Array, *, geometry: ConvGeometry) -> Array:
        y: Array = self._convolution.conv_bias_elu(x, w, b, geometry)
        return y

    def upsample_conv_bias_elu(self, x: Array, w: Array, b: Array, *, geometry: ConvGeometry) -> Array:
        y: Array = self._convolution.upsample_conv_bias_elu(x, w, b, geometry)
        return y

    def attention_numbers(self, h: int, w: int) -> int:
        return numba_attention.numbers_at_once(h, w)

    def contextual_attention(self, f: Array, b: Array, valid: Array, *, geometry: AttentionGeometry) -> Array:
        return numba_attention.forward(f, b, valid, geometry)

    def contextual_attention_vjp(
        self, g: Array, f: Array, b: Array, valid: Array, *, geometry: AttentionGeometry
    ) -> tuple[Array, Array]:
        return numba_attention.backward(g, f, b, valid, geometry)

    def adam(
        self, p: Array, g: Array, m: Array, v: Array, *, rate: float, beta1: float, beta2: float, eps: float
    ) -> tuple[Array, Array, Array]:
        if p.size == 0 or not (p.dtype == g.dtype == m.dtype == v.dtype):
            return super().adam(p, g, m, v, rate=rate, beta1=beta1, beta2=beta2, eps=eps)
        return numba_elementwise.adam(p, g, m, v, rate, beta1, beta2, eps)


def large(x: Array) -> bool:
    """Whether multithreading pays off."""
    return bool(x.dtype == np.float32 and x.size >= LARGE)


def _result(a: Array, b: Array) -> Array | None:
    if not large(a) and not large(b):
        return None
    return POOL.empty(np.broadcast_shapes(a.shape, b.shape), np.result_type(a, b))
