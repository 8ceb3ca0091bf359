"""Exercises of notebook 03, convolution and its two gradients: positions, taps, and what is flipped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.geometry import ConvGeometry
from ca_numpy.testing import oracles
from exercises.exercise import Exercise

Array = NDArray[Any]


# ---- how many places ---------------------------------------------------------------------------------------------
def _output_size(n: int, k: int, stride: int, before: int, after: int) -> int:
    """By trial."""
    return sum(1 for start in range(0, n + before + after, stride) if start + k <= n + before + after)


def _sizes() -> dict[str, tuple[int, ...]]:
    return {
        "a window at every pixel": (8, 1, 1, 0, 0),
        "three pixels": (8, 3, 1, 0, 0),
        "a window as long as the line": (5, 5, 1, 0, 0),
        "zeros at both ends": (8, 3, 1, 1, 1),
        "zeros at the end only": (8, 2, 1, 0, 1),
        "stride 2, nothing left over": (9, 3, 2, 0, 0),
        "stride 2, a pixel left over": (10, 3, 2, 0, 0),
        "stride 3, with zeros": (10, 5, 3, 1, 2),
    }


# ---- dw, tap by tap ----------------------------------------------------------------------------------------------
def _dw(g: Array, x: Array, ksize: tuple[int, int], stride: int) -> Array:
    return oracles.conv2d_dw(g, x, ksize, ConvGeometry(stride=stride))


def _dw_inputs() -> dict[str, tuple[Any, ...]]:
    rng = np.random.default_rng(5)

    def draw(n: int, size: tuple[int, int], c: int, o: int, k: tuple[int, int], stride: int) -> tuple[Any, ...]:
        places = [_output_size(m, j, stride, 0, 0) for m, j in zip(size, k, strict=True)]
        return rng.standard_normal((n, *places, o)), rng.standard_normal((n, *size, c)), k, stride

    return {
        "one channel": draw(1, (5, 5), 1, 1, (2, 2), 1),
        "two channels to three": draw(1, (5, 5), 2, 3, (2, 2), 1),
        "two pictures": draw(2, (5, 5), 2, 2, (2, 2), 1),
        "a kernel that is not square": draw(1, (5, 6), 2, 2, (3, 2), 1),
        "stride 2": draw(1, (7, 7), 2, 2, (3, 3), 2),
        "stride 2, a pixel left over": draw(1, (8, 6), 2, 2, (3, 3), 2),
    }


def _dw_variant(change: Callable[[Array, Array, Array], Any], *, step: bool = True) -> Callable[..., Array]:
    """A wrong dw: change(window's pixels N OH OW C, g N OH OW O, the right product) -> C O."""

    def answer(g: Array, x: Array, ksize: tuple[int, int], stride: int) -> Array:
        dw = np.zeros((*ksize, x.shape[3], g.shape[3]))
        by = stride if step else 1
        for u, v in np.ndindex(*ksize):
            seen = x[:, u : u + by * g.shape[1] : by, v : v + by * g.shape[2] : by]
            dw[u, v] = change(seen, g, np.tensordot(seen, g, axes=([0, 1, 2], [0, 1, 2])))
        return dw

    return answer


def _slices_to_the_end(g: Array, x: Array, ksize: tuple[int, int], stride: int) -> Array:
    """As a matrix product; the error says only that the shapes do not match."""
    dw = np.zeros((*ksize, x.shape[3], g.shape[3]))
    for u, v in np.ndindex(*ksize):
        seen = x[:, u::stride, v::stride].reshape(-1, x.shape[3])
        dw[u, v] = seen.T @ g.reshape(-1, g.shape[3])
    return dw


# ---- dx, by a convolution ----------------------------------------------------------------------------------------
def _conv(x: Array, w: Array) -> Array:
    return oracles.conv2d(x, w, ConvGeometry())


def _ask_dx(answer: Callable[..., Any], g: Array, w: Array) -> Any:
    calls = []

    def conv(x: Array, w: Array) -> Array:
        if np.ndim(x) != 4 or np.ndim(w) != 4 or np.shape(x)[3] != np.shape(w)[2]:
            raise ValueError(f"conv needs N H W C and KH KW C O with the same C, got {np.shape(x)} and {np.shape(w)}")
        calls.append(1)
        return _conv(np.asarray(x), np.asarray(w))

    dx = answer(conv, g, w)
    if dx is not None and len(calls) != 1:
        raise ValueError(f"conv was called {len(calls)} times, but must be called once")
    return dx


def _dx(conv: Callable[[Array, Array], Array], g: Array, w: Array) -> Array:
    """By the definition; one call, because the exercise requires one."""
    conv(np.zeros((1, *w.shape[:3])), w)
    size = g.shape[1] + w.shape[0] - 1, g.shape[2] + w.shape[1] - 1
    return oracles.conv2d_dx(g, w, size, ConvGeometry())


def _dx_inputs() -> dict[str, tuple[Any, ...]]:
    rng = np.random.default_rng(6)
    return {
        "a window of one pixel": (rng.standard_normal((1, 3, 3, 2)), rng.standard_normal((1, 1, 2, 2))),
        "a 3 × 3 kernel": (rng.standard_normal((1, 4, 5, 2)), rng.standard_normal((3, 3, 2, 2))),
        "two channels to three": (rng.standard_normal((1, 4, 4, 3)), rng.standard_normal((3, 3, 2, 3))),
        "a 2 × 3 kernel": (rng.standard_normal((2, 4, 4, 2)), rng.standard_normal((2, 3, 2, 2))),
    }


def _padded(g: Array, rows: int, columns: int) -> Array:
    return np.pad(g, ((0, 0), (rows, rows), (columns, columns), (0, 0)))


def _by_conv(
    *, turn: tuple[int, ...] = (0, 1), swap: bool = True, zeros: Callable[[int], int] = lambda k: k - 1
) -> Callable[..., Array]:
    def answer(conv: Callable[[Array, Array], Array], g: Array, w: Array) -> Array:
        kernel = np.flip(w, turn)
        return conv(_padded(g, zeros(w.shape[0]), zeros(w.shape[1])), kernel.transpose(0, 1, 3, 2) if swap else kernel)

    return answer


EXERCISES = [
    Exercise(
        "03.output_size",
        "Count the positions of a window.",
        right=_output_size,
        inputs=_sizes,
        mistakes={
            "Off by one: the window can move n − k times, and its start counts too.": lambda n, k, s, b, a: (
                (n + b + a - k) // s
            ),
            "The window's own length is missing: it must lie entirely inside.": lambda n, k, s, b, a: (n + b + a) // s,
            "The zeros are missing: the line is n + before + after long.": lambda n, k, s, b, a: (n - k) // s + 1,
            "The zeros of one end are counted twice: the ends need not have the same number.": lambda n, k, s, b, a: (
                (n + 2 * b - k) // s + 1
            ),
            "Rounded up: a step that does not fit entirely is not taken.": lambda n, k, s, b, a: (
                -(-(n + b + a - k) // s) + 1
            ),
            "The stride is missing: only every stride-th position is taken.": lambda n, k, s, b, a: n + b + a - k + 1,
            "The first position is divided too: divide (n + before + after − k), then add 1.": (
                lambda n, k, s, b, a: (n + b + a - k + 1) // s
            ),
            "This is not an integer: a step that does not fit is not taken, so divide with //.": lambda n, k, s, b, a: (
                (n + b + a - k) / s + 1
            ),
        },
    ),
    Exercise(
        "03.dw",
        "Compute the gradient of the weights, one tap of the kernel at a time.",
        right=_dw,
        inputs=_dw_inputs,
        mistakes={
            "The stride is missing: neighbouring values of g belong to pixels `stride` apart.": _dw_variant(
                lambda seen, g, right: right, step=False
            ),
            "The slices run to the end of the picture: they need as many rows and columns as g.": _slices_to_the_end,
            "This is the mean over the pictures: their gradients are summed.": _dw_variant(
                lambda seen, g, right: right / len(g)
            ),
            "This is the mean over the positions: their contributions are summed.": _dw_variant(
                lambda seen, g, right: right / g[..., 0].size
            ),
            "Only the last picture counts: is there an = instead of a +=?": _dw_variant(
                lambda seen, g, right: np.tensordot(seen[-1], g[-1], axes=([0, 1], [0, 1]))
            ),
            "The kernel is flipped: tap (u, v) sees the pixels from (u, v) on.": lambda g, x, ksize, stride: _dw(
                g, x, ksize, stride
            )[::-1, ::-1],
            "Channels were summed before the product: each pair c, o has its own weights.": _dw_variant(
                lambda seen, g, right: np.full(right.shape, np.sum(seen.sum(-1) * g.sum(-1)))
            ),
        },
    ),
    Exercise(
        "03.dx_by_conv",
        "Compute the gradient of the picture with one call of conv.",
        right=_dx,
        inputs=_dx_inputs,
        ask=_ask_dx,
        mistakes={
            "The kernel has to be flipped along both axes.": _by_conv(turn=()),
            "The kernel is flipped only vertically: flip it horizontally too.": _by_conv(turn=(0,)),
            "The kernel is flipped only horizontally: flip it vertically too.": _by_conv(turn=(1,)),
            "The channel axes must be swapped: g's channels are the kernel's last axis, dx's the one before.": _by_conv(
                swap=False
            ),
            "g needs zeros around it: a corner pixel is seen by only one window.": _by_conv(zeros=lambda k: 0),
            "There are too many zeros around g: with k − 1, the corner window just touches it.": _by_conv(
                zeros=lambda k: k
            ),
            "There are too few zeros around g: these keep the size, but dx is larger than g by k − 1.": _by_conv(
                zeros=lambda k: k // 2
            ),
        },
    ),
]
