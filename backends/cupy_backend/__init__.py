"""The GPU backend: CuPy arrays, and our own kernels in CUDA C++, which also run without a GPU.

Convolution is in `conv.py`, contextual attention in `attention.py`, PatchMatch in `patches.py`, everything else here,
the kernels in `kernels/*.cu`, and the device in `device.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.backend import Backend, promoted
from ca_numpy.geometry import AttentionGeometry, ConvGeometry, nearest_index

from ..numpy_backend import NumpyBackend, is_basic
from .attention import Attention
from .conv import ELU, LEAKY_RELU, Activation, Convolution
from .device import C_NAMES, Device, cuda_device
from .launch import Launcher
from .patches import PatchMatch

Array = Any
#: Numbers per block of the Adam kernel, as in `kernels/adam.cu`.
CHUNK = 1024
#: Adam's results begin at multiples of this many numbers, so that kernels can load several at once.
ALIGNED = 64


class CupyBackend(NumpyBackend):
    """Arrays on a GPU. `precision` of float32 products: "float32", or on its tensor cores "tf32" or "bf16"."""

    name = "cupy"

    def __init__(self, device: Device | None = None) -> None:
        self._device = Launcher(device or cuda_device())
        self.xp, self.precisions = self._device.xp, self._device.precisions
        self.training_precision = "tf32" if "tf32" in self.precisions else "float32"
        self._last_corners: tuple[tuple[tuple[int, int], ...], Array] = ((), None)
        self._attention = Attention(self._device, self, self.precision)
        self._patches = PatchMatch(self._device)
        self._convolution = Convolution(self._device, self.precision)

    def at(self, precision: str) -> Backend:
        other = copy.copy(self)
        other.name, other.precision = f"{type(self).name}:{precision}", precision
        other._convolution = Convolution(self._device, precision)
        other._attention = Attention(self._device, self, precision)
        return other

    # ---- arrays ----
    def asarray(self, x: Any, *, dtype: Any = None) -> Array:
        if isinstance(x, (int, float)):  # constants in formulas: transferred once
            return self._device.once(("number", repr(x), str(dtype)), lambda: self.xp.asarray(x, dtype=dtype))
        return self.xp.asarray(x, dtype=dtype)

    def to_numpy(self, x: Array) -> NDArray[Any]:
        y: NDArray[Any] = self.xp.asnumpy(x)
        return y

    def to_host(self, x: Array) -> NDArray[Any]:
        return self._device.kernels.to_host(x)

    def describe(self) -> str:
        return self._device.kernels.describe()

    def memory(self) -> int:
        return self._device.kernels.memory()

    def release_memory(self) -> None:
        self._device.release_memory()

    def elapsed(self, run: Callable[[], object]) -> float:
        return self._device.kernels.elapsed(run)

    # ---- elementwise ----
    def add(self, a: Array, b: Array) -> Array:
        return self.xp.add(a, b)

    def sub(self, a: Array, b: Array) -> Array:
        return self.xp.subtract(a, b)

    def mul(self, a: Array, b: Array) -> Array:
        return self.xp.multiply(a, b)

    def div(self, a: Array, b: Array) -> Array:
        return self.xp.divide(a, b)

    def power(self, x: Array, *, exponent: float) -> Array:
        return self.xp.power(x, x.dtype.type(exponent))

    def exp(self, x: Array) -> Array:
        return self.xp.exp(x)

    def log(self, x: Array) -> Array:
        return self.xp.log(x)

    def abs(self, x: Array) -> Array:
        return self.xp.abs(x)

    def sign(self, x: Array) -> Array:
        return self.xp.sign(x)

    def clip(self, x: Array, *, low: float | None, high: float | None) -> Array:
        return self._activation("clip", x, *_limits(x, low, high))

    def clip_vjp(self, g: Array, x: Array, *, low: float | None, high: float | None) -> Array:
        g, x = promoted(g, x)
        return self._activation("clip_vjp", g, x, *_limits(x, low, high))

    # ---- activations ----
    def _activation(self, kernel: str, x: Array, *parameters: Any) -> Array:
        y = self._device.empty(x.shape, x.dtype)
        numbers = (x, *parameters, y, np.int64(x.size))
        self._device.elementwise("activations.cu", kernel, x.size, x.dtype, *numbers)
        return y

    def elu(self, x: Array) -> Array:
        return self._activation("elu", x)

    def elu_vjp(self, g: Array, y: Array) -> Array:
        return self._activation("elu_vjp", *promoted(g, y))

    def leaky_relu(self, x: Array, *, alpha: float) -> Array:
        return self._activation("leaky_relu", x, x.dtype.type(alpha))

    def leaky_relu_vjp(self, g: Array, y: Array, *, alpha: float) -> Array:
        g, y = promoted(g, y)
        return self._activation("leaky_relu_vjp", g, y, g.dtype.type(alpha))

    def not_positive(self, y: Array) -> Array:
        return self.xp.less_equal(y, 0).astype(y.dtype)

    def relu(self, x: Array) -> Array:
        return self.xp.maximum(x, x.dtype.type(0))

    def softmax(self, x: Array) -> Array:
        e = self.xp.exp(x - x.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    # ---- sums and shapes ----
    def sum_to(self, x: Array, *, shape: tuple[int, ...]) -> Array:
        """The sums of training, over all axes (losses) or all but the last (biases), have a kernel of their own."""
        columns = int(np.prod(shape, dtype=int))
        leading = columns == 1 or (x.ndim > 0 and shape and shape[-1] == columns == x.shape[-1])
        if x.size == 0 or x.size == columns or not leading:
            return super().sum_to(x, shape=shape)
        return self._device.sum_rows(x.reshape(-1, columns)).reshape(shape)

    def broadcast_to(self, x: Array, *, shape: tuple[int, ...]) -> Array:
        return self.xp.broadcast_to(x, shape)

    def getitem(self, x: Array, *, index: Any) -> Array:
        return x[self._index(index)]

    def put(self, g: Array, *, index: Any, shape: tuple[int, ...]) -> Array:
        if isinstance(index, slice) and index.step in (None, 1) and g.size and str(g.dtype) in C_NAMES:
            x, start = self._device.empty(shape, g.dtype), index.indices(shape[0])[0]  # rows in zeros: one launch
            corner = self._device.once(("corner", start), lambda: self._device.table([start, 0]))
            self._pixels("uncrop", g, corner, 1, shape[0], 1, g.size // len(g), len(g), 1, x)
            return x
        x = self.xp.zeros(shape, g.dtype)
        if is_basic(index):
            x[index] = g
        else:
            self.xp.add.at(x, self._index(index), g)  # an index array may contain duplicates
        return x

    def _index(self, index: Any) -> Any:
        """The index with its arrays on the device."""
        parts = index if isinstance(index, tuple) else (index,)
        moved = tuple(self.xp.asarray(p) if isinstance(p, (list, np.ndarray)) else p for p in parts)
        return moved if isinstance(index, tuple) else moved[0]

    def concat(self, *xs: Array, axis: int) -> Array:
        return self.xp.concatenate(xs, axis=axis)

    def gather(self, x: Array, *, index: NDArray[np.intp], axis: int) -> Array:
        return self.xp.take(x, self.xp.asarray(index), axis=axis)

    def scatter_add(self, g: Array, *, index: NDArray[np.intp], axis: int, length: int) -> Array:
        shape = (*g.shape[:axis], length, *g.shape[axis + 1 :])
        x = self._device.empty(shape, g.dtype)
        order, first = np.argsort(index, kind="stable"), np.searchsorted(np.sort(index), np.arange(length + 1))
        tables = self._device.table(order), self._device.table(first)
        outer, inner = (int(np.prod(part, dtype=int)) for part in (g.shape[:axis], g.shape[axis + 1 :]))
        self._pixels("scatter_add", g, *tables, outer, length, len(index), inner, x)
        return x

    # ---- pixels ----
    def _pixels(self, kernel: str, *arguments: Any) -> None:
        result = arguments[-1]
        self._device.elementwise("pixels.cu", kernel, result.size, result.dtype, *arguments)

    def crop(self, x: Array, *, corners: tuple[tuple[int, int], ...], size: tuple[int, int]) -> Array:
        y = self._device.empty((len(x), *size, x.shape[3]), x.dtype)
        self._pixels("crop", x, self._corners(corners), *x.shape, *size, y)
        return y

    def uncrop(self, g: Array, *, corners: tuple[tuple[int, int], ...], size: tuple[int, int]) -> Array:
        x = self._device.empty((len(g), *size, g.shape[3]), g.dtype)
        self._pixels("uncrop", g, self._corners(corners), *x.shape, *g.shape[1:3], x)
        return x

    def _corners(self, corners: tuple[tuple[int, int], ...]) -> Array:
        """On the device, perhaps with more behind them: kept for the other crops of a batch and their adjoints."""
        if self._last_corners[0][: len(corners)] != corners:
            self._last_corners = corners, self._device.table(corners)
        return self._last_corners[1]

    def resize_nearest(self, x: Array, *, size: tuple[int, int], align_corners: bool) -> Array:
        y = self._device.empty((len(x), *size, x.shape[3]), x.dtype)
        tables = (self._nearest(n, m, align_corners)[0] for n, m in zip(x.shape[1:3], size, strict=True))
        self._pixels("resize", x, *tables, *x.shape, *size, y)
        return y

    def resize_nearest_adjoint(self, g: Array, *, size: tuple[int, int], align_corners: bool) -> Array:
        x = self._device.empty((len(g), *size, g.shape[3]), g.dtype)
        tables = (self._nearest(n, m, align_corners)[1] for n, m in zip(size, g.shape[1:3], strict=True))
        self._pixels("resize_adjoint", g, *tables, len(g), *size, g.shape[3], *g.shape[1:3], x)
        return x

    def _nearest(self, n: int, m: int, align_corners: bool) -> tuple[Array, Array]:
        """The source among n of each of m positions; and for each of the n, the first position from it or beyond."""

        def make() -> tuple[Array, Array]:
            place = nearest_index(n, m, align_corners=align_corners)
            # Sources are non-decreasing: those equal to r are neighbours, from first[r] to first[r + 1] − 1.
            return self._device.table(place), self._device.table(np.searchsorted(place, np.arange(n + 1)))

        return self._device.once(("nearest", n, m, align_corners), make)

    def unfold(self, x: Array, *, ksize: tuple[int, int], geometry: ConvGeometry) -> Array:
        size = geometry.output_size(x.shape[1:3], ksize)
        y = self._device.empty((len(x), *size, *ksize, x.shape[3]), x.dtype)
        self._pixels("unfold", x, *x.shape, *size, *ksize, *geometry.numbers, y)
        return y

    def fold(self, g: Array, *, size: tuple[int, int], geometry: ConvGeometry) -> Array:
        n, rows, columns, kh, kw, channels = g.shape
        x = self._device.empty((n, *size, channels), g.dtype)
        self._pixels("fold", g, *x.shape, rows, columns, kh, kw, *geometry.numbers, x)
        return x

    # ---- products ----
    def matmul(self, a: Array, b: Array) -> Array:
        return self.xp.matmul(a, b)

    def conv2d(self, x: Array, w: Array, *, geometry: ConvGeometry) -> Array:
        return self._convolution.forward(x, w, geometry)

    def conv2d_dx(self, g: Array, w: Array, *, size: tuple[int, int], geometry: ConvGeometry) -> Array:
        return self._convolution.dx(g, w, size, geometry)

    def conv2d_dw(self, g: Array, x: Array, *, ksize: tuple[int, int], geometry: ConvGeometry) -> Array:
        return self._convolution.dw(g, x, ksize, geometry)

    def conv2d_dw_db(
        self, g: Array, x: Array, *, ksize: tuple[int, int], geometry: ConvGeometry
    ) -> tuple[Array, Array]:
        return self._convolution.dw_db(g, x, ksize, geometry)

    def conv_bias_elu(self, x: Array, w: Array, b: Array, *, geometry: ConvGeometry) -> Array:
        return self._convolution.forward(x, w, geometry, Activation(b, ELU))

    def conv_bias_leaky_relu(self, x: Array, w: Array, b: Array, *, alpha: float, geometry: ConvGeometry) -> Array:
        return self._convolution.forward(x, w, geometry, Activation(b, LEAKY_RELU, alpha))

    def upsample_conv_bias_elu(self, x: Array, w: Array, b: Array, *, geometry: ConvGeometry) -> Array:
        return self._convolution.upsampled(x, w, b, geometry)

    # ---- the paper's attention ----
    def attention_numbers(self, h: int, w: int) -> int:
        return min(3 * h, 20) * w * h * w  # whole matrices, or bands of a row

    def contextual_attention(self, f: Array, b: Array, valid: Array, *, geometry: AttentionGeometry) -> Array:
        return self._attention.forward(f, b, valid, geometry)

    def contextual_attention_vjp(
        self, g: Array, f: Array, b: Array, valid: Array, *, geometry: AttentionGeometry
    ) -> tuple[Array, Array]:
        return self._attention.backward(g, f, b, valid, geometry)

    # ---- optimiser ----
    def adam(
        self, p: Array, g: Array, m: Array, v: Array, *, rate: float, beta1: float, beta2: float, eps: float
    ) -> tuple[Array, Array, Array]:
        if not (p.dtype == g.dtype == m.dtype == v.dtype):
            return super().adam(p, g, m, v, rate=rate, beta1=beta1, beta2=beta2, eps=eps)
        p2, m2, v2 = self.adam_all([p], [g], [m], [v], rate=rate, beta1=beta1, beta2=beta2, eps=eps)
        return p2[0], m2[0], v2[0]

    def adam_all(
        self, ps: list[Array], gs: list[Array], ms: list[Array], vs: list[Array], *,
        rate: float, beta1: float, beta2: float, eps: float,
    ) -> tuple[list[Array], list[Array], list[Array]]:  # fmt: skip
        """One launch for all tensors; the results are views of three long arrays."""
        dtype = ps[0].dtype
        if any(x.dtype != dtype for xs in (ps, gs, ms, vs) for x in xs):
            return super().adam_all(ps, gs, ms, vs, rate=rate, beta1=beta1, beta2=beta2, eps=eps)
        shapes = tuple(p.shape for p in ps)
        sizes = [int(p.size) for p in ps]
        places, tables = self._device.once(("adam", shapes), lambda: self._adam_tables(sizes))
        laid = [self._device.laid(x) for four in zip(ps, gs, ms, vs, strict=True) for x in four]
        pointers = self._pointers(laid)
        out = [self._device.empty((places[-1],), dtype) for _ in range(3)]
        settings = (dtype.type(a) for a in (rate, beta1, beta2, eps))
        self._device.launch(
            "adam.cu", f"adam<{C_NAMES[str(dtype)]}>", (len(tables[-1]),), pointers, *tables, *settings, *out,
        )  # fmt: skip
        parts = [(slice(i, i + n), shape) for i, n, shape in zip(places, sizes, shapes, strict=False)]
        p2, m2, v2 = ([flat[part].reshape(shape) for part, shape in parts] for flat in out)
        return p2, m2, v2

    def norm(self, xs: list[Array]) -> Array:
        """One launch for all tensors."""
        dtype, sizes = xs[0].dtype, [int(x.size) for x in xs]
        if any(x.dtype != dtype for x in xs) or not any(sizes):
            return super().norm(xs)
        _, (_, *tables) = self._device.once(("adam", tuple(x.shape for x in xs)), lambda: self._adam_tables(sizes))
        laid = [self._device.laid(x) for x in xs]
        finished = self._device.once(("finished",), lambda: self._device.table([0]))
        parts, result = (self._device.empty(shape, np.float64) for shape in ((len(tables[-1]),), ()))
        name, pointers = f"norm<{C_NAMES[str(dtype)]}>", self._pointers(laid)
        self._device.launch("adam.cu", name, parts.shape, pointers, *tables, parts, finished, result)
        return result

    def _pointers(self, laid: list[Array]) -> Array:
        return self.xp.asarray(np.array(self._device.addresses(*laid), np.uint64))

    def _adam_tables(self, sizes: list[int]) -> tuple[list[int], tuple[Array, ...]]:
        """Offsets of the tensors' results; and the kernel's tables: offsets, sizes, each block's tensor and chunk."""
        places = [0, *np.cumsum([-(-n // ALIGNED) * ALIGNED for n in sizes]).tolist()]
        chunks = [-(-n // CHUNK) for n in sizes]
        blocks = np.repeat(np.arange(len(sizes)), chunks), np.concatenate([np.arange(n) for n in chunks])
        longs = (self.xp.asarray(np.array(numbers, np.int64)) for numbers in (places, sizes))
        return places, (*longs, *(self._device.table(numbers) for numbers in blocks))


def _limits(x: Array, low: float | None, high: float | None) -> tuple[Any, Any]:
    """Numbers of x's type; infinite on an open side."""
    number = x.dtype.type
    return number(-np.inf if low is None else low), number(np.inf if high is None else high)
