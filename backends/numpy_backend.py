"""The textbook: every kernel in plain NumPy, written to be read. All other backends are tested against it.

The contract, `ca_numpy/backend.py`, gives the equations and shapes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy import machine
from ca_numpy.backend import Backend, promoted
from ca_numpy.geometry import AttentionGeometry, ConvGeometry, nearest_index

from . import numpy_attention, numpy_conv, numpy_patches

Array = NDArray[Any]


class NumpyBackend(Backend):
    """NumPy arrays on the CPU, one call at a time."""

    name = "numpy"

    # ---- arrays ----
    def asarray(self, x: Any, *, dtype: Any = None) -> Array:
        return np.asarray(self.to_numpy(x), dtype=dtype)

    def to_numpy(self, x: Array) -> Array:
        return x.get() if hasattr(x, "get") else x  # a GPU array of another backend is copied to the host

    def describe(self) -> str:
        blas = machine.blas()
        threads = f" on {blas.threads} threads" if blas.threads else ""
        return f"NumPy {np.__version__} with {blas.name} {blas.version}, {blas.kernels} kernels{threads}"

    # ---- elementwise ----
    def add(self, a: Array, b: Array) -> Array:
        return np.add(a, b)

    def sub(self, a: Array, b: Array) -> Array:
        return np.subtract(a, b)

    def mul(self, a: Array, b: Array) -> Array:
        return np.multiply(a, b)

    def div(self, a: Array, b: Array) -> Array:
        return np.divide(a, b)

    def power(self, x: Array, *, exponent: float) -> Array:
        return np.power(x, exponent)

    def exp(self, x: Array) -> Array:
        return np.exp(x)

    def log(self, x: Array) -> Array:
        return np.log(x)

    def abs(self, x: Array) -> Array:
        return np.abs(x)

    def sign(self, x: Array) -> Array:
        return np.sign(x)

    def clip(self, x: Array, *, low: float | None, high: float | None) -> Array:
        return np.clip(x, low, high)

    def clip_vjp(self, g: Array, x: Array, *, low: float | None, high: float | None) -> Array:
        gx: Array = g * np.equal(x, self.clip(x, low=low, high=high)).astype(x.dtype)
        return gx

    # ---- activations ----
    def elu(self, x: Array) -> Array:
        # (e^min(x, 0) − 1) + max(x, 0): one of the terms is 0. Unlike expm1, NumPy's exp is vectorised.
        y = np.exp(np.minimum(x, 0))
        y -= 1
        y += np.maximum(x, 0)
        return y

    def elu_vjp(self, g: Array, y: Array) -> Array:
        gx: Array = g * (np.minimum(y, 0) + 1)
        return gx

    def not_positive(self, y: Array) -> Array:
        return (y <= 0).astype(y.dtype)

    def relu(self, x: Array) -> Array:
        return np.maximum(x, 0)

    def leaky_relu(self, x: Array, *, alpha: float) -> Array:
        return np.maximum(x, alpha * x)

    def leaky_relu_vjp(self, g: Array, y: Array, *, alpha: float) -> Array:
        gx: Array = g * np.where(y > 0, 1, alpha).astype(y.dtype)
        return gx

    def softmax(self, x: Array) -> Array:
        e: Array = np.exp(x - x.max(axis=-1, keepdims=True))  # the largest exponent is 0: nothing overflows
        e /= e.sum(axis=-1, keepdims=True)
        return e

    # ---- sums and shapes ----
    def sum_to(self, x: Array, *, shape: tuple[int, ...]) -> Array:
        lead = x.ndim - len(shape)
        axes = (*range(lead), *(lead + i for i, n in enumerate(shape) if n == 1 != x.shape[lead + i]))
        return x.sum(axis=axes, keepdims=True).reshape(shape) if axes else x

    def broadcast_to(self, x: Array, *, shape: tuple[int, ...]) -> Array:
        return np.broadcast_to(x, shape)

    def reshape(self, x: Array, *, shape: tuple[int, ...]) -> Array:
        return x.reshape(shape)

    def transpose(self, x: Array, *, axes: tuple[int, ...]) -> Array:
        return x.transpose(axes)

    def getitem(self, x: Array, *, index: Any) -> Array:
        y: Array = x[index]
        return y

    def put(self, g: Array, *, index: Any, shape: tuple[int, ...]) -> Array:
        x = np.zeros(shape, g.dtype)
        if is_basic(index):
            x[index] = g
        else:
            np.add.at(x, index, g)  # an index array may contain duplicates
        return x

    def concat(self, *xs: Array, axis: int) -> Array:
        return np.concatenate(xs, axis)

    def gather(self, x: Array, *, index: NDArray[np.intp], axis: int) -> Array:
        return np.take(x, index, axis)

    def scatter_add(self, g: Array, *, index: NDArray[np.intp], axis: int, length: int) -> Array:
        x = np.zeros((*g.shape[:axis], length, *g.shape[axis + 1 :]), g.dtype)
        to, source = np.moveaxis(x, axis, 0), np.moveaxis(g, axis, 0)
        for i, target in enumerate(index):
            to[target] += source[i]
        return x

    def crop(self, x: Array, *, corners: tuple[tuple[int, int], ...], size: tuple[int, int]) -> Array:
        h, w = size
        return np.stack([image[t : t + h, l : l + w] for image, (t, l) in zip(x, corners, strict=True)])

    def uncrop(self, g: Array, *, corners: tuple[tuple[int, int], ...], size: tuple[int, int]) -> Array:
        x = np.zeros((len(g), *size, g.shape[3]), g.dtype)
        for image, part, (t, l) in zip(x, g, corners, strict=True):
            image[t : t + len(part), l : l + part.shape[1]] = part
        return x

    def resize_nearest(self, x: Array, *, size: tuple[int, int], align_corners: bool) -> Array:
        rows, columns = nearest_pixels(x.shape[1:3], size, align_corners=align_corners)
        return x[:, rows[:, None], columns]

    def resize_nearest_adjoint(self, g: Array, *, size: tuple[int, int], align_corners: bool) -> Array:
        rows, columns = nearest_pixels(size, g.shape[1:3], align_corners=align_corners)
        g = self.scatter_add(g, index=rows, axis=1, length=size[0])
        return self.scatter_add(g, index=columns, axis=2, length=size[1])

    # ---- patches and products ----
    def unfold(self, x: Array, *, ksize: tuple[int, int], geometry: ConvGeometry) -> Array:
        return np.ascontiguousarray(numpy_conv.windows(numpy_conv.zero_pad(x, geometry.pads), ksize, geometry))

    def fold(self, g: Array, *, size: tuple[int, int], geometry: ConvGeometry) -> Array:
        return numpy_conv.fold(g, size, geometry)

    def matmul(self, a: Array, b: Array) -> Array:
        y: Array = np.matmul(a, b)
        return y

    def conv2d(self, x: Array, w: Array, *, geometry: ConvGeometry) -> Array:
        return numpy_conv.conv2d(x, w, geometry)

    def conv2d_dx(self, g: Array, w: Array, *, size: tuple[int, int], geometry: ConvGeometry) -> Array:
        return numpy_conv.conv2d_dx(g, w, size, geometry)

    def conv2d_dw(self, g: Array, x: Array, *, ksize: tuple[int, int], geometry: ConvGeometry) -> Array:
        return numpy_conv.conv2d_dw(g, x, ksize, geometry)

    def conv2d_dw_db(
        self, g: Array, x: Array, *, ksize: tuple[int, int], geometry: ConvGeometry
    ) -> tuple[Array, Array]:
        g, x = promoted(g, x)
        return self.conv2d_dw(g, x, ksize=ksize, geometry=geometry), self.sum_to(g, shape=g.shape[3:])

    def conv_bias_elu(self, x: Array, w: Array, b: Array, *, geometry: ConvGeometry) -> Array:
        x, w, b = promoted(x, w, b)
        z = numpy_conv.conv2d(x, w, geometry)
        z += b
        return self.elu(z)

    def conv_bias_leaky_relu(self, x: Array, w: Array, b: Array, *, alpha: float, geometry: ConvGeometry) -> Array:
        x, w, b = promoted(x, w, b)
        z = self.conv2d(x, w, geometry=geometry)
        z += b
        return self.leaky_relu(z, alpha=alpha)

    def upsample_conv_bias_elu(self, x: Array, w: Array, b: Array, *, geometry: ConvGeometry) -> Array:
        large = self.resize_nearest(x, size=(2 * x.shape[1], 2 * x.shape[2]), align_corners=False)
        return self.conv_bias_elu(large, w, b, geometry=geometry)

    # ---- the paper's attention ----
    def contextual_attention(self, f: Array, b: Array, valid: Array, *, geometry: AttentionGeometry) -> Array:
        return numpy_attention.forward(f, b, valid, geometry)

    def contextual_attention_vjp(
        self, g: Array, f: Array, b: Array, valid: Array, *, geometry: AttentionGeometry
    ) -> tuple[Array, Array]:
        return numpy_attention.backward(g, f, b, valid, geometry)

    # ---- PatchMatch, in a module that other backends replace ----
    _patches: Any = numpy_patches

    def patch_distance(
        self, z: Array, guide: Array, weight: Array, places: Array, field: Array, *, radius: int
    ) -> Array:
        z, guide, weight = promoted(z, guide, weight)
        found: Array = self._patches.patch_distance(z, guide, weight, places, field, radius)
        return found

    def improve_field(
        self, z: Array, guide: Array, weight: Array, source: Array, places: Array, number: Array, field: Array,
        distance: Array, offsets: Array, *, radius: int, jump: int,
    ) -> tuple[Array, Array]:  # fmt: skip
        z, guide, weight, distance = promoted(z, guide, weight, distance)
        found: tuple[Array, Array] = self._patches.improve_field(
            z, guide, weight, source, places, number, field, distance, offsets, radius, jump
        )
        return found

    def patch_vote(self, z: Array, pixels: Array, number: Array, field: Array, weight: Array, *, radius: int) -> Array:
        z, weight = promoted(z, weight)
        colours: Array = self._patches.patch_vote(z, pixels, number, field, weight, radius)
        return colours

    def patch_source(self, pixels: Array, number: Array, field: Array, weight: Array, *, radius: int) -> Array:
        chosen: Array = self._patches.patch_source(pixels, number, field, weight, radius)
        return chosen

    # ---- optimiser ----
    def adam(
        self, p: Array, g: Array, m: Array, v: Array, *, rate: float, beta1: float, beta2: float, eps: float
    ) -> tuple[Array, Array, Array]:
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        return p - rate * m / (np.sqrt(v) + eps), m, v


def is_basic(index: Any) -> bool:
    """Whether `index` contains no arrays, and therefore selects no element twice."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is Ellipsis or isinstance(part, (int, slice)) for part in parts)


def nearest_pixels(size: tuple[int, ...], new_size: tuple[int, ...], *, align_corners: bool) -> tuple[Array, Array]:
    """The source rows and columns of nearest-neighbour resizing."""
    rows, columns = (nearest_index(n, m, align_corners=align_corners) for n, m in zip(size, new_size, strict=True))
    return rows, columns
