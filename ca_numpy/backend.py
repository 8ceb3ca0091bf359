"""The backend interface: every kernel with its equation and shapes.

A backend is a class with the methods below, over its own array type. Images and features are N H W C, convolution
kernels H W I O. Kernels take arrays by position and parameters by keyword, preserve the dtype (mixed dtypes follow
NumPy's promotion), never modify an input, and do not compute derivatives: those are defined once, in `ops/`.

In the equations, i, j are spatial indices and u, v kernel taps. The stride s, dilation d and padding (`top`, `left`)
of a convolution are those of its `ConvGeometry`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ca_numpy import machine
from ca_numpy.geometry import AttentionGeometry, ConvGeometry

Array = Any


def wall_clock(run: Callable[[], object]) -> float:
    """Wall-clock time of `run` in seconds."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def promoted(*arrays: Any) -> tuple[Any, ...]:
    """Cast arrays of any backend to their common NumPy dtype, without copying where possible; None is passed through.

    For kernels compiled for one floating-point type.
    """
    dtype = np.result_type(*(x.dtype for x in arrays if x is not None))
    return tuple(x if x is None or x.dtype == dtype else x.astype(dtype) for x in arrays)


class Backend(ABC):
    """The kernels of a backend. To write one, subclass `NumpyBackend` and override what is faster."""

    name: str
    #: How float32 products may be computed: "float32" itself, or faster formats on tensor cores.
    precisions: tuple[str, ...] = ("float32",)
    #: This backend's precision, and the default for training.
    precision: str = "float32"
    training_precision: str = "float32"
    #: A file that exists once the kernels for filling are compiled and cached; None if nothing needs compiling.
    compiled_mark: Path | None = None

    def at(self, precision: str) -> Backend:
        """The same backend and device with another of its `precisions`."""
        if precision == self.precision:
            return self
        raise NotImplementedError

    # ---- arrays ----
    @abstractmethod
    def asarray(self, x: Any, *, dtype: Any = None) -> Array:
        """x as an array of this backend, copied only if necessary."""

    @abstractmethod
    def to_numpy(self, x: Array) -> np.ndarray[Any, Any]:
        """An array of this backend as a NumPy array."""

    def to_host(self, x: Array) -> np.ndarray[Any, Any]:
        """As `to_numpy`; if x is copied, to memory that is copied faster."""
        return self.to_numpy(x)

    def describe(self) -> str:
        """One line for `ca-numpy backends`: the device, and how to make it faster."""
        return self.name

    def memory(self) -> int | None:
        """Memory available for arrays, in bytes; None if unknown."""
        return machine.memory()

    def elapsed(self, run: Callable[[], object]) -> float:
        """Time of `run` in seconds, including all its kernels, by the device's clock if it has one."""
        return wall_clock(run)

    def release_memory(self) -> None:  # noqa: B027  most backends keep none
        """Free memory kept for reuse. `train` and `evaluate` call this when they finish."""

    # ---- elementwise, with NumPy's broadcasting ----
    @abstractmethod
    def add(self, a: Array, b: Array) -> Array:
        """a + b   any shapes that broadcast"""

    @abstractmethod
    def sub(self, a: Array, b: Array) -> Array:
        """a − b   any shapes that broadcast"""

    @abstractmethod
    def mul(self, a: Array, b: Array) -> Array:
        """a · b   any shapes that broadcast"""

    @abstractmethod
    def div(self, a: Array, b: Array) -> Array:
        """a / b   any shapes that broadcast"""

    @abstractmethod
    def power(self, x: Array, *, exponent: float) -> Array:
        """x^exponent, the exponent a constant; x of any shape"""

    @abstractmethod
    def exp(self, x: Array) -> Array:
        """eˣ   any shape"""

    @abstractmethod
    def log(self, x: Array) -> Array:
        """ln x   any shape"""

    @abstractmethod
    def abs(self, x: Array) -> Array:
        """|x|   any shape"""

    @abstractmethod
    def sign(self, x: Array) -> Array:
        """−1, 0 or 1   any shape"""

    @abstractmethod
    def clip(self, x: Array, *, low: float | None, high: float | None) -> Array:
        """min(max(x, low), high); None leaves a side open   any shape"""

    @abstractmethod
    def clip_vjp(self, g: Array, x: Array, *, low: float | None, high: float | None) -> Array:
        """g where low ≤ x ≤ high, else 0   any shape, the same of both"""

    # ---- activations ----
    @abstractmethod
    def elu(self, x: Array) -> Array:
        """x where x > 0, else eˣ − 1   any shape"""

    @abstractmethod
    def elu_vjp(self, g: Array, y: Array) -> Array:
        """g times ELU's derivative, from its *output*: g where y > 0, else g·(y + 1)   any shape, the same of both"""

    @abstractmethod
    def not_positive(self, y: Array) -> Array:
        """1 where y ≤ 0, else 0: the derivative of ELU's slope by its output   any shape"""

    @abstractmethod
    def relu(self, x: Array) -> Array:
        """max(x, 0)   any shape"""

    @abstractmethod
    def leaky_relu(self, x: Array, *, alpha: float) -> Array:
        """x where x > 0, else alpha·x; 0 < alpha < 1   any shape"""

    @abstractmethod
    def leaky_relu_vjp(self, g: Array, y: Array, *, alpha: float) -> Array:
        """g where y > 0, else alpha·g; y is the input or the output, whose signs agree   any shape, the same of both"""

    @abstractmethod
    def softmax(self, x: Array) -> Array:
        """exp(x − max x) / Σ exp(x − max x) over the last axis"""

    # ---- sums and shapes ----
    @abstractmethod
    def sum_to(self, x: Array, *, shape: tuple[int, ...]) -> Array:
        """Sum over the axes that broadcasting `shape` to x.shape would repeat; adjoint of broadcast_to"""

    @abstractmethod
    def broadcast_to(self, x: Array, *, shape: tuple[int, ...]) -> Array:
        """Repeat x along new axes and axes of length 1 up to `shape`"""

    @abstractmethod
    def reshape(self, x: Array, *, shape: tuple[int, ...]) -> Array:
        """The same values in row-major order"""

    @abstractmethod
    def transpose(self, x: Array, *, axes: tuple[int, ...]) -> Array:
        """Permute the axes: axis k of the result is axis axes[k] of x"""

    @abstractmethod
    def getitem(self, x: Array, *, index: Any) -> Array:
        """x[index]   any shape, NumPy's rules"""

    @abstractmethod
    def put(self, g: Array, *, index: Any, shape: tuple[int, ...]) -> Array:
        """Zeros of any `shape`, with g added at [index]; adjoint of getitem"""

    @abstractmethod
    def concat(self, *xs: Array, axis: int) -> Array:
        """Concatenate along an axis"""

    @abstractmethod
    def gather(self, x: Array, *, index: Array, axis: int) -> Array:
        """y[…, i, …] = x[…, index[i], …] along one axis; index is a NumPy array of integers"""

    @abstractmethod
    def scatter_add(self, g: Array, *, index: Array, axis: int, length: int) -> Array:
        """x[…, index[i], …] += g[…, i, …] along `axis` of zeros of that `length`; adjoint of gather"""

    @abstractmethod
    def crop(self, x: Array, *, corners: tuple[tuple[int, int], ...], size: tuple[int, int]) -> Array:
        """y[n, i, j] = x[n, top_n + i, left_n + j] with (top_n, left_n) = corners[n]: N H W C -> N h w C of `size`"""

    @abstractmethod
    def uncrop(self, g: Array, *, corners: tuple[tuple[int, int], ...], size: tuple[int, int]) -> Array:
        """x[n, top_n + i, left_n + j] = g[n, i, j] in zeros of `size`: N h w C -> N H W C; adjoint of crop"""

    @abstractmethod
    def resize_nearest(self, x: Array, *, size: tuple[int, int], align_corners: bool) -> Array:
        """y[n, i, j] = x[n, r(i), s(j)] with r, s = nearest_index along H and W: N H W C -> N h w C"""

    @abstractmethod
    def resize_nearest_adjoint(self, g: Array, *, size: tuple[int, int], align_corners: bool) -> Array:
        """x[n, r(i), s(j)] += g[n, i, j], from zeros of `size`: N h w C -> N H W C"""

    @abstractmethod
    def unfold(self, x: Array, *, ksize: tuple[int, int], geometry: ConvGeometry) -> Array:
        """Patches: y[n, i, j, u, v, c] = x[n, i·s + u·d − top, j·s + v·d − left, c], zero outside

        N H W C -> N OH OW KH KW C
        """

    @abstractmethod
    def fold(self, g: Array, *, size: tuple[int, int], geometry: ConvGeometry) -> Array:
        """Sum overlapping patches into N H W C of `size`; adjoint of unfold"""

    # ---- products: three kernels of one trilinear form, and the matrix product ----
    @abstractmethod
    def matmul(self, a: Array, b: Array) -> Array:
        """… M K times … K N; leading axes broadcast"""

    @abstractmethod
    def conv2d(self, x: Array, w: Array, *, geometry: ConvGeometry) -> Array:
        """y[n, i, j, o] = Σ_{u,v,c} x[n, i·s + u·d − top, j·s + v·d − left, c] · w[u, v, c, o], zero outside

        A cross-correlation, as is conventional. N H W I, KH KW I O -> N OH OW O
        """

    @abstractmethod
    def conv2d_dx(self, g: Array, w: Array, *, size: tuple[int, int], geometry: ConvGeometry) -> Array:
        """The x that pairs with g and w:  ⟨conv2d(x, w), g⟩ = ⟨x, conv2d_dx(g, w)⟩.   `size` is x's (H, W)"""

    @abstractmethod
    def conv2d_dw(self, g: Array, x: Array, *, ksize: tuple[int, int], geometry: ConvGeometry) -> Array:
        """The w that pairs with g and x:  ⟨conv2d(x, w), g⟩ = ⟨w, conv2d_dw(g, x)⟩.   `ksize` is w's (KH, KW)"""

    @abstractmethod
    def conv2d_dw_db(
        self, g: Array, x: Array, *, ksize: tuple[int, int], geometry: ConvGeometry
    ) -> tuple[Array, Array]:
        """conv2d_dw, and Σ_{n,i,j} g[n, i, j]: the gradients of a convolution's weights and its bias"""

    @abstractmethod
    def conv_bias_elu(self, x: Array, w: Array, b: Array, *, geometry: ConvGeometry) -> Array:
        """elu(conv2d(x, w) + b)   N H W I, KH KW I O, O -> N OH OW O"""

    @abstractmethod
    def conv_bias_leaky_relu(self, x: Array, w: Array, b: Array, *, alpha: float, geometry: ConvGeometry) -> Array:
        """leaky_relu(conv2d(x, w) + b)   N H W I, KH KW I O, O -> N OH OW O"""

    @abstractmethod
    def upsample_conv_bias_elu(self, x: Array, w: Array, b: Array, *, geometry: ConvGeometry) -> Array:
        """elu(conv2d(u, w) + b) with u[n, i, j] = x[n, ⌊i/2⌋, ⌊j/2⌋], twice as high and wide as x

        N H W I, KH KW I O, O -> N OH OW O
        """

    # ---- the paper's attention ----
    @abstractmethod
    def contextual_attention(self, f: Array, b: Array, valid: Array, *, geometry: AttentionGeometry) -> Array:
        """Match, propagate, softmax, rebuild: `functional.contextual_attention` with stride 1, in one kernel

        f N H W C, b N H' W' C, valid N L' with L' = (H'/rate)(W'/rate), 1 = a patch that may be copied -> N H W C
        """

    def attention_numbers(self, h: int, w: int) -> int:
        """Peak number of values `contextual_attention` holds for h × w positions: five full matrices of all pairs"""
        return 5 * (h * w) ** 2

    @abstractmethod
    def contextual_attention_vjp(
        self, g: Array, f: Array, b: Array, valid: Array, *, geometry: AttentionGeometry
    ) -> tuple[Array, Array]:
        """(∂/∂f, ∂/∂b) of ⟨contextual_attention(f, b, valid), g⟩"""

    # ---- PatchMatch: a nearest-neighbour field for a list of patches ----
    #
    # z H W C are the features, guide H W G further ones that are compared at the patches' centres only. The n patches
    # have their centres at `places`, n 2, (row, column); number H W is their index at their centre, −1 elsewhere.
    # field, n 2, are the centres of their matches, for which source H W is true: patches inside the image, to copy
    # from. Patches extend `radius` pixels from their centre. Integers are int32, flags bool.
    @abstractmethod
    def patch_distance(
        self, z: Array, guide: Array, weight: Array, places: Array, field: Array, *, radius: int
    ) -> Array:
        """d(p, q) = weight[p] ‖guide[p] − guide[q]‖² + Σ_δ ‖z[p + δ] − z[q + δ]‖² for p in places and q in field: n"""

    @abstractmethod
    def improve_field(
        self, z: Array, guide: Array, weight: Array, source: Array, places: Array, number: Array, field: Array,
        distance: Array, offsets: Array, *, radius: int, jump: int,
    ) -> tuple[Array, Array]:  # fmt: skip
        """A round of search (Barnes et al. 2009), in parallel for all patches: a new field and its distances.

        First field[p + δ] − δ of the neighbours δ = (±jump, 0), (0, ±jump), from before the round; then in turn each of
        offsets K n 2 around the best match so far. A candidate that is another source and nearer replaces the match.
        """

    @abstractmethod
    def patch_vote(self, z: Array, pixels: Array, number: Array, field: Array, weight: Array, *, radius: int) -> Array:
        """Σ_p weight[p] z[field[p] + x − p] / Σ_p weight[p] over the patches p around x, for x in pixels m 2: m C"""

    @abstractmethod
    def patch_source(self, pixels: Array, number: Array, field: Array, weight: Array, *, radius: int) -> Array:
        """field[p] + x − p for the patch p of largest weight > 0 around x, the first of equal ones in rows: m 2"""

    # ---- optimiser ----
    @abstractmethod
    def adam(
        self, p: Array, g: Array, m: Array, v: Array, *, rate: float, beta1: float, beta2: float, eps: float
    ) -> tuple[Array, Array, Array]:
        """m' = β₁m + (1 − β₁)g;  v' = β₂v + (1 − β₂)g²;  p' = p − rate·m' / (√v' + ε).   Returns p', m', v'"""

    def adam_all(
        self, ps: list[Array], gs: list[Array], ms: list[Array], vs: list[Array], *,
        rate: float, beta1: float, beta2: float, eps: float,
    ) -> tuple[list[Array], list[Array], list[Array]]:  # fmt: skip
        """`adam` for many tensors; backends with costly kernel launches override it with a single launch."""
        fours = zip(ps, gs, ms, vs, strict=True)
        results = [self.adam(*four, rate=rate, beta1=beta1, beta2=beta2, eps=eps) for four in fours]
        p2, m2, v2 = ([result[i] for result in results] for i in range(3))
        return p2, m2, v2

    def norm(self, xs: list[Array]) -> Array:
        """√Σ x² over all elements of all tensors, in float64"""
        return sum((x.astype("float64") ** 2).sum() for x in xs) ** 0.5
