"""Exercises of notebook 15, writing kernels: leaky ReLU in any layout, a direct convolution, resizing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exercises.exercise import Exercise

Array = NDArray[Any]


# ---- leaky ReLU --------------------------------------------------------------------------------------------------
def _leaky_relu(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, x.dtype.type(alpha) * x)


def _with_its_type(answer: Callable[..., Any], x: Array, alpha: float) -> tuple[Any, Any]:
    rows, y = np.array(x, order="C"), answer(x, alpha)
    if y is not None and x.flags.fnc and np.any(y) and not np.array_equal(y, answer(rows, alpha)):
        # The contents of an unwritten array vary from run to run, so no mistake below can match them.
        raise ValueError(
            "the same numbers in row-major order give a different result. Was this one written? `empty_like` keeps the "
            "layout, and then `reshape(-1)` is a copy"
        )
    return y, None if y is None else np.asarray(y).dtype.itemsize


def _flat_loop(prepare: Callable[[Array], Array]) -> Callable[[Array, float], Array]:
    """A loop over the flat array, whose result has the input's layout."""

    def answer(x: Array, alpha: float) -> Array:
        x = prepare(x)
        y = np.zeros_like(x)
        flat, out = x.reshape(-1), y.reshape(-1)
        for i in range(flat.size):
            out[i] = flat[i] if flat[i] > 0 else alpha * flat[i]
        return y

    return answer


def _leaky_relu_inputs() -> dict[str, tuple[Any, ...]]:
    rng = np.random.default_rng(15)
    return {
        "row by row": (rng.standard_normal((3, 4)), 0.2),
        "column by column": (np.asfortranarray(rng.standard_normal((3, 4))), 0.2),
        "every second number, backwards": (rng.standard_normal((6, 5))[::-2], 0.1),
        "a single number": (np.array(-1.5), 0.2),
        "float32": (rng.standard_normal((2, 2, 2)).astype(np.float32), 0.25),
    }


# ---- convolution -------------------------------------------------------------------------------------------------
def _conv(x: Array, w: Array, size: tuple[int, int], stride: int, dilation: int, top: int, left: int) -> Array:
    """Position by position and tap by tap."""
    y = np.zeros((*size, w.shape[3]))
    for i, j, u, v in np.ndindex(*size, *w.shape[:2]):
        r, q = i * stride + u * dilation - top, j * stride + v * dilation - left
        if 0 <= r < x.shape[0] and 0 <= q < x.shape[1]:
            y[i, j] += x[r, q] @ w[u, v]
    return y


def _conv_with(change: Callable[..., tuple[Any, ...]]) -> Callable[..., Array]:
    """The right answer for changed arguments."""

    def answer(x: Array, w: Array, size: tuple[int, int], stride: int, dilation: int, top: int, left: int) -> Array:
        return _conv(x, *change(w, size, stride, dilation, top, left))

    return answer


def _wrapping(x: Array, w: Array, size: tuple[int, int], stride: int, dilation: int, top: int, left: int) -> Array:
    """Negative indices count from the end, as in Python."""
    y = np.zeros((*size, w.shape[3]))
    for i, j, u, v in np.ndindex(*size, *w.shape[:2]):
        r, q = i * stride + u * dilation - top, j * stride + v * dilation - left
        if r < x.shape[0] and q < x.shape[1]:
            y[i, j] += x[r, q] @ w[u, v]
    return y


def _conv_inputs() -> dict[str, tuple[Any, ...]]:
    rng = np.random.default_rng(16)

    def drawn(h: int, w: int, k: tuple[int, int], *rest: Any) -> tuple[Any, ...]:
        return rng.standard_normal((h, w, 2)), rng.standard_normal((*k, 2, 3)), *rest

    return {
        "one tap": drawn(3, 4, (1, 1), (3, 4), 1, 1, 0, 0),
        "no padding": drawn(5, 6, (3, 2), (3, 5), 1, 1, 0, 0),
        "more zeros above than left": drawn(5, 6, (3, 3), (6, 5), 1, 1, 2, 0),
        "stride 2": drawn(7, 8, (3, 3), (3, 4), 2, 1, 0, 1),
        "dilation 2": drawn(7, 8, (3, 3), (7, 8), 1, 2, 2, 2),
    }


# ---- resizing ----------------------------------------------------------------------------------------------------
def _by_rows(index: Callable[[int, int], list[int]]) -> Callable[[Array, tuple[int, int]], Array]:
    def answer(x: Array, size: tuple[int, int]) -> Array:
        return np.array([[x[r, q] for q in index(x.shape[1], size[1])] for r in index(x.shape[0], size[0])])

    return answer


def _aligned(n: int, m: int) -> list[int]:
    """⌊i (n − 1)/(m − 1) + ½⌋ in whole numbers."""
    return [(2 * i * (n - 1) + m - 1) // (2 * (m - 1)) if m > 1 else 0 for i in range(m)]


def _resize_inputs() -> dict[str, tuple[Any, ...]]:
    rng = np.random.default_rng(17)
    return {
        "unchanged size": (rng.standard_normal((3, 4, 2)), (3, 4)),
        "doubled": (rng.standard_normal((3, 4, 2)), (6, 8)),
        "halved": (rng.standard_normal((6, 8, 2)), (3, 4)),
        "two to three, one row": (rng.standard_normal((4, 2, 2)), (1, 3)),
    }


EXERCISES = [
    Exercise(
        "15.leaky_relu",
        "Return x where x > 0 and alpha · x elsewhere, for any layout and type.",
        right=_leaky_relu,
        inputs=_leaky_relu_inputs,
        ask=_with_its_type,
        results=("the values", "the bytes per number"),
        tolerance=1e-7,
        mistakes={
            "The result of a column-major array was never written: `zeros_like` and `empty_like` keep its layout, and "
            "then `reshape(-1)` is a copy.": _flat_loop(lambda x: x),
            "A scalar, of shape (), became an array of one: `np.ascontiguousarray` does that, `np.require` does "
            "not.": _flat_loop(np.ascontiguousarray),
            "x is a whole array: test each number, in a loop or with `np.where`.": (
                lambda x, alpha: x if x > 0 else alpha * x
            ),
            "The sides are swapped: alpha belongs where x is not positive.": lambda x, alpha: np.where(
                x > 0, x.dtype.type(alpha) * x, x
            ),
            "The type is lost: float32 in, float32 out.": lambda x, alpha: np.where(x > 0, x, alpha * x.astype(float)),
        },
    ),
    Exercise(
        "15.conv",
        "Compute y[i, j, o], the sum over u, v and c.",
        right=_conv,
        inputs=_conv_inputs,
        mistakes={
            "The dilation is missing: tap u lies u · dilation further down.": _conv_with(
                lambda w, size, s, d, top, left: (w, size, s, 1, top, left)
            ),
            "The stride is missing: output i lies i · stride further down.": _conv_with(
                lambda w, size, s, d, top, left: (w, size, 1, d, top, left)
            ),
            "Stride and dilation are swapped: outputs are a stride apart, taps a dilation.": _conv_with(
                lambda w, size, s, d, top, left: (w, size, d, s, top, left)
            ),
            "`top` and `left` are swapped: `top` is for rows.": _conv_with(
                lambda w, size, s, d, top, left: (w, size, s, d, left, top)
            ),
            "`top` and `left` are added: leading zeros shift the picture, so subtract them.": _conv_with(
                lambda w, size, s, d, top, left: (w, size, s, d, -top, -left)
            ),
            "The leading zeros are missing: subtract `top` and `left`.": _conv_with(
                lambda w, size, s, d, top, left: (w, size, s, d, 0, 0)
            ),
            "The kernel is flipped: here tap u meets row i · stride + u · dilation − top.": _conv_with(
                lambda w, size, s, d, top, left: (w[::-1, ::-1], size, s, d, top, left)
            ),
            "A negative index counts from the end in Python: outside x is 0, on all four sides.": _wrapping,
        },
    ),
    Exercise(
        "15.resize",
        "Resize the picture by nearest neighbour, with the outer pixels aligned.",
        right=_by_rows(_aligned),
        inputs=_resize_inputs,
        mistakes={
            "The half is missing: without it this always rounds down.": _by_rows(
                lambda n, m: [i * (n - 1) // (m - 1) if m > 1 else 0 for i in range(m)]
            ),
            "These are ⌊i H / OH⌋, without aligned corners: the last row should be the last of x.": _by_rows(
                lambda n, m: [i * n // m for i in range(m)]
            ),
            "NumPy and Python round a half to the nearest *even* number: here ½ goes up, ⌊ … + ½⌋.": _by_rows(
                lambda n, m: [round(i * (n - 1) / (m - 1)) if m > 1 else 0 for i in range(m)]
            ),
            "A single row or column in the result makes OH − 1 zero: take row 0 then.": _by_rows(
                lambda n, m: [min(int(i * (n - 1) / (m - 1) + 0.5), n - 1) for i in range(m)]
            ),
            "`size` is (rows, columns).": lambda x, size: _by_rows(_aligned)(x, size[::-1]),
        },
    ),
]
