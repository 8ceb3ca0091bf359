"""Exercises of notebook 05, ELU, padding and colour: a slope from its output, a shift, and a reversed kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exercises.exercise import Exercise

Array = NDArray[Any]


# ---- ELU's gradient ----------------------------------------------------------------------------------------------
def _elu_gradient(g: Array, y: Array) -> Array:
    """Via the input."""
    x = np.where(y > 0, y, np.log1p(np.minimum(y, 0)))
    return np.asarray(g * np.exp(np.minimum(x, 0)))


def _outputs() -> dict[str, tuple[Array, Array]]:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((3, 4))
    y = np.where(x > 0, x, np.expm1(np.minimum(x, 0)))
    return {
        "outputs above 0": (rng.standard_normal(5), rng.uniform(0.1, 3, 5)),
        "outputs below 0": (rng.standard_normal(5), rng.uniform(-0.99, -0.01, 5)),
        "an output of exactly 0": (np.array([2.0]), np.array([0.0])),
        "both signs": (rng.standard_normal((3, 4)), y),
    }


# ---- the shift of symmetric padding ------------------------------------------------------------------------------
def _before(n: int, k: int, stride: int, dilation: int) -> int:
    """SAME's leading zeros, by adding one at a time, trailing first, until ⌈n/s⌉ windows fit."""
    before = after = 0
    reach = (len(range(0, n, stride)) - 1) * stride + (k - 1) * dilation + 1
    while before + n + after < reach:
        before, after = (before, after + 1) if before == after else (before + 1, after)
    return before


def _shift(n: int, k: int, stride: int, dilation: int) -> int:
    return (k - 1) * dilation // 2 - _before(n, k, stride, dilation)


def _layers() -> dict[str, tuple[int, int, int, int]]:
    return {
        "stride 1": (16, 3, 1, 1),
        "stride 1, dilation 4": (16, 3, 1, 4),
        "stride 2, an even size": (16, 3, 2, 1),
        "stride 2, an odd size": (15, 3, 2, 1),
        "stride 2, five taps": (16, 5, 2, 1),
        "stride 2, five taps, an odd size": (15, 5, 2, 1),
        "stride 2, dilation 2": (16, 3, 2, 2),
        "stride 3": (17, 5, 3, 1),
        "stride 4, a window that needs no zeros": (9, 1, 4, 1),
        "stride 4, no padding needed": (16, 3, 4, 1),
        "stride 4, dilation 2": (16, 3, 4, 2),
    }


def _total(n: int, k: int, stride: int, dilation: int) -> int:
    return (-(-n // stride) - 1) * stride + (k - 1) * dilation + 1 - n


# ---- a kernel for RGB --------------------------------------------------------------------------------------------
def _to_rgb(kernel: Array) -> Array:
    """Channel by channel."""
    turned = np.empty_like(kernel)
    for to, source in enumerate((2, 1, 0, 3, 4)):
        turned[:, :, to] = kernel[:, :, source]
    return turned


def _kernels() -> dict[str, tuple[Array]]:
    rng = np.random.default_rng(7)
    return {
        "one pixel, one output": (rng.standard_normal((1, 1, 5, 1)),),
        "5 × 5 to four channels": (rng.standard_normal((5, 5, 5, 4)),),
        "5 × 5 to five channels": (rng.standard_normal((5, 5, 5, 5)),),
    }


EXERCISES = [
    Exercise(
        "05.elu_gradient",
        "Compute the gradient of ELU's input from its output.",
        right=_elu_gradient,
        inputs=_outputs,
        mistakes={
            "This treats y as x: where y ≤ 0, eˣ is y + 1, not e to the y.": lambda g, y: g * np.exp(np.minimum(y, 0)),
            "y + 1 is the slope only below 0: above 0 it is 1.": lambda g, y: g * (y + 1),
            "Below 0 the slope is y + 1, not y: y = eˣ − 1.": lambda g, y: g * np.where(y > 0, 1, y),
            "This is ReLU's slope: ELU's is not 0 below 0.": lambda g, y: g * (y > 0),
            "This is the slope itself: the gradient g has to be multiplied by it.": lambda g, y: np.minimum(y, 0) + 1,
            "The two sides are swapped: the slope is 1 above 0, and y + 1 below.": lambda g, y: (
                g * np.where(y > 0, y + 1, 1)
            ),
            "1 − y exceeds 1 below 0, where ELU flattens: the slope is 1 + y.": lambda g, y: g * (1 - np.minimum(y, 0)),
        },
    ),
    Exercise(
        "05.shift",
        "Compute by how many pixels a port with symmetric zeros is shifted.",
        right=_shift,
        inputs=_layers,
        mistakes={
            "The sign is reversed: more leading zeros move the windows to the left.": lambda n, k, s, d: (
                -_shift(n, k, s, d)
            ),
            "The odd zero comes first here: SAME puts it last.": lambda n, k, s, d: (
                (k - 1) * d // 2 - -(-max(_total(n, k, s, d), 0) // 2)
            ),
            "This counts all of SAME's zeros as leading: half of them are trailing.": lambda n, k, s, d: (
                (k - 1) * d // 2 - max(_total(n, k, s, d), 0)
            ),
            "These are SAME's leading zeros: the shift is how many more the port has.": _before,
            "These are the port's leading zeros: SAME has some too, and the shift is the difference.": (
                lambda n, k, s, d: (k - 1) * d // 2
            ),
            "SAME's zeros depend on the size and the stride: at stride 1 the rules agree, at others not always.": (
                lambda n, k, s, d: 0
            ),
            "The number of zeros is never negative: is max(…, 0) missing?": lambda n, k, s, d: (
                (k - 1) * d // 2 - _total(n, k, s, d) // 2
            ),
            "The dilation is missing: a window spans (k − 1)·d + 1 pixels.": lambda n, k, s, d: _shift(n, k, s, 1),
            "The windows move by stride pixels for each output: the shift is in pixels, not in outputs.": (
                lambda n, k, s, d: _shift(n, k, s, d) / s
            ),
            "The number of outputs is ⌈n/s⌉, rounded up.": lambda n, k, s, d: (
                (k - 1) * d // 2 - max((n // s - 1) * s + (k - 1) * d + 1 - n, 0) // 2
            ),
        },
    ),
    Exercise(
        "05.to_rgb",
        "Convert a first kernel for BGR into one for RGB.",
        right=_to_rgb,
        inputs=_kernels,
        mistakes={
            "All five channels are reversed: ones and mask stay where they are.": lambda kernel: kernel[:, :, ::-1],
            "Ones and mask are lost: only three channels are left.": lambda kernel: kernel[:, :, 2::-1],
            "The outputs are reversed too: they are features, not colours.": lambda kernel: _to_rgb(kernel)[..., ::-1],
            "Nothing is reversed.": lambda kernel: kernel,
            "The channels are rotated: red and blue should be swapped, and green should stay.": lambda kernel: kernel[
                :, :, [1, 2, 0, 3, 4]
            ],
            "The kernel is flipped in space too: reverse only its colours.": lambda kernel: _to_rgb(kernel)[::-1, ::-1],
        },
    ),
]
