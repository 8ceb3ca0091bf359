"""Compiled elementwise and pixelwise kernels, with an exponential that vectorises.

Numba compiles `math.exp` to one call per number. LLVM vectorises a range reduction and a polynomial instead:

    eˣ = 2ⁿ · eᶠ,   n = ⌊x / ln 2 + ½⌋,   f = x − n·ln 2,   |f| ≤ ½ ln 2
    eᶠ − 1 = f + f²·p(f),   p of degree 5,   error below 1.2e-8

2ⁿ is made by writing n into the exponent bits of a float. ln 2 is split into two terms; the first has so few digits
that its product with n is exact, so x − n·ln 2 is accurate to all digits of x.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import DTypeLike, NDArray

from ca_numpy.jit import parallel, serial

from .numba_memory import POOL

Array = NDArray[Any]

#: The only fast-math flag that preserves NaN and infinity: a·b + c may be rounded once.
FASTMATH = {"contract"}
#: Elements per task: 64 KiB of float32, so that the inputs and outputs of a task fit the second-level cache.
BLOCK = 1 << 14

#: Pixels whose bias and ELU are one loop.
REPEATS = 16

_LOG2_E = np.float32(1.44269504)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_P0, _P1, _P2 = np.float32(5.0000001201e-1), np.float32(1.6666665459e-1), np.float32(4.1665795894e-2)
_P3, _P4, _P5 = np.float32(8.3334519073e-3), np.float32(1.3981999507e-3), np.float32(1.9875691500e-4)
#: e⁻⁸⁷ is about the smallest normal float32. Smaller arguments are clipped to this.
_LEAST = np.float32(-87.0)
_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)


def frozen(x: Array) -> Array:
    """x as a row-major, read-only array, copied only if necessary.

    A single argument type means a single compilation, and a kernel that writes to its input fails to compile.
    """
    x = np.require(x, requirements=("C", "A")).view()
    x.flags.writeable = False
    return x


# ---- the exponential ---------------------------------------------------------------------------------------------
@serial(fastmath=FASTMATH)
def _reduced(x: Any) -> tuple[Any, Any]:
    """(2ⁿ, eᶠ − 1) with eˣ = 2ⁿ·eᶠ, for float32 −87 ≤ x ≤ 0."""
    n = np.floor(x * _LOG2_E + _HALF)
    f = x - n * _LN2_HIGH - n * _LN2_LOW
    p = ((((_P5 * f + _P4) * f + _P3) * f + _P2) * f + _P1) * f + _P0
    exponent_bits = np.int32(np.int32(n) + np.int32(127)) << np.int32(23)
    return np.int32(exponent_bits).view(np.float32), p * f * f + f


@serial(fastmath=FASTMATH)
def exp_nonpositive(x: Any) -> Any:
    """eˣ for one float32 x ≤ 0, to call in compiled loops: absolute error at most 1e-7, NaN for NaN.

    x is clipped to [−87, 0]; e⁻⁸⁷ ≈ 1.6e-38.
    """
    scale, q = _reduced(min(max(x, _LEAST), _ZERO))
    return x if x != x else scale * q + scale


@serial(fastmath=FASTMATH)
def elu_one(x: Any) -> Any:
    """ELU of one float32, to call in compiled loops: absolute error at most 1e-7, NaN for NaN.

    2ⁿ·eᶠ − 1 = 2ⁿ·(eᶠ − 1) + (2ⁿ − 1) avoids the cancellation of eˣ − 1 near 0.
    """
    scale, q = _reduced(min(max(x, _LEAST), _ZERO))
    return scale * q + (scale - _ONE) if x <= _ZERO else x


@intrinsic  # type: ignore[untyped-decorator]
def _use_widest_vectors(typing_context: Any) -> Any:
    """Have LLVM vectorise the loops of the calling function with AVX-512 where the processor has it.

    For some processors it takes vectors of half that width otherwise, for the sake of programs with few of them.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')  # llvmlite's own `add` takes no strings
        return context.get_dummy_value()

    return types.void(), emit


@serial(fastmath=FASTMATH)
def bias_elu(source: Any, bias: Any, activate: Any, to: Any) -> None:
    """to[:] = elu(source + bias) if `activate`, else source, to call in compiled loops."""
    _use_widest_vectors()
    if activate:
        for i in range(len(to)):
            to[i] = elu_one(source[i] + bias[i])
    else:
        for i in range(len(to)):
            to[i] = source[i]


@serial()
def write_pixels(sums: Any, start: int, count: int, bias: Any, activate: Any, row: Any, column: int, step: int) -> None:
    """sums[start …], as wide as `row` or wider, to `count` pixels of a row: `bias_elu`, with a bias of `repeated`."""
    k, wide = row.shape[1], len(bias) // REPEATS
    if k == wide and step == 1:
        flat = row.reshape(-1)
        for j in range(0, count, REPEATS):
            n, at = min(REPEATS, count - j) * k, start + j * k
            bias_elu(sums[at : at + n], bias, activate, flat[(column + j) * k : (column + j) * k + n])
    else:
        for j in range(count):
            bias_elu(sums[start + j * wide : start + j * wide + k], bias, activate, row[column + j * step])


def repeated(bias: Array | None, width: int, dtype: DTypeLike) -> Array:
    """The bias of REPEATS pixels of `width` channels, one after the other: loops over few channels do not vectorise."""
    wide = np.zeros((REPEATS, width), dtype)
    if bias is not None:
        wide[:, : bias.size] = bias
    return frozen(wide.reshape(-1))


# ---- whole arrays ------------------------------------------------------------------------------------------------
@parallel(fastmath=FASTMATH)
def _elu(x: Any, y: Any, lower: Any, upper: Any) -> None:
    for block in range(lower, upper):
        here = slice(block * BLOCK, (block + 1) * BLOCK)
        source, to = x[here], y[here]
        for i in range(len(to)):
            to[i] = elu_one(source[i])


@parallel(fastmath=FASTMATH)
def _elu_vjp(g: Any, y: Any, gx: Any, lower: Any, upper: Any) -> None:
    for block in range(lower, upper):
        here = slice(block * BLOCK, (block + 1) * BLOCK)
        gradient, source, to = g[here], y[here], gx[here]
        for i in range(len(to)):
            to[i] = gradient[i] * (_ONE if source[i] > _ZERO else source[i] + _ONE)


@parallel(fastmath=FASTMATH)
def _leaky_relu(x: Any, alpha: Any, y: Any, lower: Any, upper: Any) -> None:
    for block in range(lower, upper):
        here = slice(block * BLOCK, (block + 1) * BLOCK)
        source, to = x[here], y[here]
        for i in range(len(to)):
            to[i] = source[i] if source[i] > _ZERO else alpha * source[i]


@parallel(fastmath=FASTMATH)
def _leaky_relu_vjp(g: Any, y: Any, alpha: Any, gx: Any, lower: Any, upper: Any) -> None:
    for block in range(lower, upper):
        here = slice(block * BLOCK, (block + 1) * BLOCK)
        gradient, source, to = g[here], y[here], gx[here]
        for i in range(len(to)):
            to[i] = gradient[i] * (_ONE if source[i] > _ZERO else alpha)


@parallel(fastmath=FASTMATH)
def _multiply(a: Any, b: Any, y: Any, lower: Any, upper: Any) -> None:
    for block in range(lower, upper):
        here = slice(block * BLOCK, (block + 1) * BLOCK)
        left, right, to = a[here], b[here], y[here]
        for i in range(len(to)):
            to[i] = left[i] * right[i]


def elu(x: Array) -> Array:
    """x where x > 0, else eˣ − 1, of any shape; float32 to 1e-7 absolute, other types by NumPy."""
    if x.dtype != np.float32:
        y: Array = np.where(x > 0, x, np.expm1(np.minimum(x, 0)))
        return y
    return _elementwise(_elu, x)


def elu_vjp(g: Array, y: Array) -> Array:
    """g times ELU's derivative from its output, 1 where y > 0, else y + 1; for float32 of one shape."""
    return _elementwise(_elu_vjp, g, frozen(y).reshape(-1))


def leaky_relu(x: Array, alpha: float) -> Array:
    """x where x > 0, else alpha·x, for float32."""
    return _elementwise(_leaky_relu, x, np.float32(alpha))


def leaky_relu_vjp(g: Array, y: Array, alpha: float) -> Array:
    """g where y > 0, else alpha·g, for float32 of one shape."""
    return _elementwise(_leaky_relu_vjp, g, frozen(y).reshape(-1), np.float32(alpha))


def multiply(a: Array, b: Array) -> Array:
    """a · b element by element, for float32 of one shape."""
    return _elementwise(_multiply, a, frozen(b).reshape(-1))


def _elementwise(kernel: Any, x: Array, *more: Any) -> Array:
    y = POOL.empty(x.shape, x.dtype)
    kernel(frozen(x).reshape(-1), *more, y.reshape(-1), tasks=-(-x.size // BLOCK))
    return y


@serial()
def copy_line(source: Any, to: Any) -> None:
    """to[:] = source, to call in compiled loops: the assignment takes Numba 2 s to compile, mostly for its error."""
    for i in range(len(to)):
        to[i] = source[i]


# ---- resizing ----------------------------------------------------------------------------------------------------
@parallel()
def _gather_pixels(x: Any, rows: Any, columns: Any, y: Any, lower: Any, upper: Any) -> None:
    for k in range(lower, upper):
        n, i = k // y.shape[1], k % y.shape[1]
        for j in range(y.shape[2]):
            copy_line(x[n, rows[i], columns[j]], y[n, i, j])


@parallel()
def _scatter_pixels(g: Any, rows: Any, starts: Any, columns: Any, x: Any, lower: Any, upper: Any) -> None:
    """Row r of x is the sum of rows starts[r] … starts[r + 1] − 1 of g, those with rows[i] = r."""
    for k in range(lower, upper):
        n, r = k // x.shape[1], k % x.shape[1]
        x[n, r] = 0
        for i in range(starts[r], starts[r + 1]):
            for j in range(g.shape[2]):
                to, source = x[n, r, columns[j]], g[n, i, j]
                for c in range(len(to)):
                    to[c] += source[c]


def gather_pixels(x: Array, rows: Array, columns: Array) -> Array:
    """y[n, i, j] = x[n, rows[i], columns[j]]"""
    y = POOL.empty((len(x), len(rows), len(columns), x.shape[3]), x.dtype)
    _gather_pixels(frozen(x), rows, columns, y, tasks=len(x) * len(rows))
    return y


def scatter_pixels(g: Array, rows: Array, columns: Array, size: tuple[int, int]) -> Array:
    """x[n, rows[i], columns[j]] += g[n, i, j], from zeros of `size`. `rows` must be non-decreasing."""
    x = POOL.empty((len(g), *size, g.shape[3]), g.dtype)
    starts = np.searchsorted(rows, np.arange(size[0] + 1))
    _scatter_pixels(frozen(g), rows, starts, columns, x, tasks=len(x) * size[0])
    return x


# ---- Adam --------------------------------------------------------------------------------------------------------
@parallel()
def _adam(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    rate: Any,
    beta1: Any,
    beta2: Any,
    eps: Any,
    p2: Any,
    m2: Any,
    v2: Any,
    lower: Any,
    upper: Any,
) -> None:
    """One pass over memory instead of six."""
    one = type(rate)(1)
    for block in range(lower, upper):
        for i in range(block * BLOCK, min((block + 1) * BLOCK, p.size)):
            m2[i] = beta1 * m[i] + (one - beta1) * g[i]
            v2[i] = beta2 * v[i] + (one - beta2) * g[i] * g[i]
            p2[i] = p[i] - rate * m2[i] / (np.sqrt(v2[i]) + eps)


def adam(
    p: Array, g: Array, m: Array, v: Array, rate: float, beta1: float, beta2: float, eps: float
) -> tuple[Array, Array, Array]:
    """(p, m, v) after one step, for arrays of any shape and one dtype."""
    flat = [np.ascontiguousarray(a).ravel() for a in (p, g, m, v)]
    numbers = [p.dtype.type(number) for number in (rate, beta1, beta2, eps)]
    p2, m2, v2 = (POOL.empty(p.shape, p.dtype) for _ in range(3))
    _adam(*flat, *numbers, *(a.reshape(-1) for a in (p2, m2, v2)), tasks=-(-p.size // BLOCK))
    return p2, m2, v2
