"""Exercises of notebook 12, the two-stage network: what layers learn, what they cost, and a paste backwards."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exercises.exercise import Exercise

Array = NDArray[Any]
Layers = list[tuple[int, int]]  # kernel, channels
Costs = list[tuple[int, int, int, int]]  # kernel, stride, up, channels


# ---- parameters --------------------------------------------------------------------------------------------------
def _parameters(channels_in: int, layers: Layers) -> int:
    """As many as arrays of these shapes hold."""
    before = [channels_in, *(channels for _, channels in layers)]
    shapes = [((k, k, i, o), (o,)) for i, (k, o) in zip(before, layers, strict=False)]
    return sum(math.prod(shape) for pair in shapes for shape in pair)


def _counted(
    layer: Callable[[int, int, int], int], *, chained: bool = True, backwards: bool = False
) -> Callable[[int, Layers], int]:
    """A count of layer(k, in, out); not chained: every layer takes the network's input."""

    def answer(channels_in: int, layers: Layers) -> int:
        total, channels = 0, channels_in
        for k, out in layers[::-1] if backwards else layers:
            total += layer(k, channels, out)
            channels = out if chained else channels_in
        return total

    return answer


def _chains() -> dict[str, tuple[Any, ...]]:
    return {
        "no layer": (5, []),
        "one layer": (5, [(3, 4)]),
        "a kernel of 5": (2, [(5, 3)]),
        "one pixel, one channel": (1, [(1, 1)]),
        "three layers": (3, [(3, 4), (3, 6), (1, 2)]),
        "the first three of stage one": (5, [(5, 32), (3, 64), (3, 64)]),
    }


# ---- multiplications ---------------------------------------------------------------------------------------------
def _starts(n: int, stride: int) -> int:
    return len(range(0, n, stride))


def _products(
    *,
    outputs: Callable[[int, int, int], int] = lambda n, s, up: _starts(n * up, s),
    area: Callable[[int, int], int] = lambda before, after: after**2,
    layer: Callable[[int, int, int], int] = lambda k, i, o: k * k * i * o,
) -> Callable[[int, int, Costs], int]:
    """Σ area(side before, side after) · layer(k, in, out)."""

    def answer(side: int, channels_in: int, layers: Costs) -> int:
        total, channels = 0, channels_in
        for k, s, up, out in layers:
            after = outputs(side, s, up)
            total += area(side, after) * layer(k, channels, out)
            side, channels = after, out
        return total

    return answer


_multiplications = _products()


def _cost_inputs() -> dict[str, tuple[Any, ...]]:
    return {
        "no layer": (8, 3, []),
        "one layer": (8, 3, [(3, 1, 1, 4)]),
        "a kernel of 5": (6, 2, [(5, 1, 1, 3)]),
        "stride 2": (8, 3, [(3, 2, 1, 4)]),
        "stride 2, an odd size": (9, 3, [(3, 2, 1, 4)]),
        "doubled first": (4, 6, [(3, 1, 2, 2)]),
        "down and up": (10, 3, [(5, 1, 1, 4), (3, 2, 1, 8), (3, 1, 1, 8), (3, 1, 2, 4)]),
        "down twice from an odd size": (11, 3, [(3, 2, 1, 4), (3, 2, 1, 8), (3, 1, 2, 4)]),
    }


# ---- the paste ---------------------------------------------------------------------------------------------------
def _paste_gradients(g: Array, x1: Array, z: Array, m: Array) -> tuple[Array, Array, Array]:
    """Pixel by pixel, from what z̃ = z + m·(x₁ − z) does when one number changes."""
    by_x1, by_z, by_m = np.zeros(x1.shape), np.zeros(z.shape), np.zeros(m.shape)
    for place in np.ndindex(*g.shape):
        here = (*place[:3], 0)
        by_x1[place] = g[place] * m[here]
        by_z[place] = g[place] - g[place] * m[here]
        by_m[here] += g[place] * (x1[place] - z[place])
    return by_x1, by_z, by_m


def _changed(
    *,
    x1: Callable[[Array, Array], Array] = lambda g, m: g * m,
    z: Callable[[Array, Array], Array] = lambda g, m: g * (1 - m),
    m: Callable[[Array], Array] = lambda by_m: by_m.sum(axis=3, keepdims=True),
    difference: Callable[[Array, Array], Array] = lambda a, b: a - b,
) -> Callable[[Array, Array, Array, Array], tuple[Array, Array, Array]]:
    def answer(g: Array, a: Array, b: Array, mask: Array) -> tuple[Array, Array, Array]:
        return x1(g, mask), z(g, mask), m(g * difference(a, b))

    return answer


def _pastes() -> dict[str, tuple[Array, ...]]:
    rng = np.random.default_rng(12)

    def drawn(mask: Array) -> tuple[Array, ...]:
        shape = (*mask.shape[:3], 3)
        return (*(rng.standard_normal(shape) for _ in range(3)), mask)

    box = np.zeros((1, 4, 5, 1))
    box[:, 1:3, 2:4] = 1
    two = np.zeros((2, 3, 4, 1))
    two[0, :2, :2], two[1, 1:, 3:] = 1, 1
    return {
        "no hole": drawn(np.zeros((1, 2, 3, 1))),
        "all hole": drawn(np.ones((1, 3, 2, 1))),
        "a box": drawn(box),
        "a soft mask": drawn(rng.uniform(0.1, 0.9, (1, 3, 3, 1))),
        "two pictures, two masks": drawn(two),
    }


EXERCISES = [
    Exercise(
        "12.parameters",
        "Count what a chain of layers learns.",
        right=_parameters,
        inputs=_chains,
        mistakes={
            "The biases are missing: one for each channel that comes out.": _counted(lambda k, i, o: k * k * i * o),
            "One bias per channel, not one per layer.": _counted(lambda k, i, o: k * k * i * o + 1),
            "A kernel has k × k taps, not k.": _counted(lambda k, i, o: k * i * o + o),
            "Each layer takes what the one before gives out: the channels in change.": _counted(
                lambda k, i, o: k * k * i * o + o, chained=False
            ),
            "The biases stand at the channels that go in: they belong to those that come out.": _counted(
                lambda k, i, o: k * k * i * o + i
            ),
            "A kernel has weights for each pair of channels, in and out: they multiply.": _counted(
                lambda k, i, o: k * k * (i + o) + o
            ),
            "A bias for each tap is too many: one for each channel that comes out.": _counted(
                lambda k, i, o: k * k * (i + 1) * o
            ),
            "The chain is walked backwards: the first layer takes the network's input.": _counted(
                lambda k, i, o: k * k * i * o + o, backwards=True
            ),
        },
    ),
    Exercise(
        "12.multiplications",
        "Count the products of a chain of layers.",
        right=_multiplications,
        inputs=_cost_inputs,
        mistakes={
            "These are taken at the size that goes in: count at the size that comes out.": _products(
                area=lambda before, after: before**2
            ),
            "What a stride leaves out is not computed: count after it.": _products(
                area=lambda before, after: max(before, after) ** 2
            ),
            "A stride rounds up: ⌈n/s⌉ outputs.": _products(outputs=lambda n, s, up: n * up // s),
            "The doubling is missing: with up 2 there are four times as many outputs.": _products(
                outputs=lambda n, s, up: _starts(n, s)
            ),
            "The strides are missing: every second output only, along both axes.": _products(
                outputs=lambda n, s, up: n * up
            ),
            "A kernel has k × k taps, not k.": _products(layer=lambda k, i, o: k * i * o),
            "A bias is added, not multiplied: it is no product.": _products(layer=lambda k, i, o: (k * k * i + 1) * o),
            "The area is the square of the side.": _products(area=lambda before, after: after),
        },
    ),
    Exercise(
        "12.paste_gradients",
        "Give the three gradients of the paste.",
        right=_paste_gradients,
        inputs=_pastes,
        results=("by x1", "by z", "by m"),
        mistakes={
            "The sides are exchanged: x₁ counts where m is 1, in the hole, and z where it is 0.": _changed(
                x1=lambda g, m: g * (1 - m), z=lambda g, m: g * m
            ),
            "x₁ gets all of the gradient here: what lies outside the hole was thrown away.": _changed(
                x1=lambda g, m: g
            ),
            "z gets all of the gradient here: what was in the hole was thrown away.": _changed(z=lambda g, m: g),
            "The gradient by m has the wrong sign: where m grows, x₁ comes and z goes.": _changed(
                difference=lambda a, b: b - a
            ),
            "m has one channel, which three were multiplied by: its gradient is a sum over them.": _changed(
                m=lambda by_m: by_m
            ),
            "The gradient by m is the sum over the channels, not their mean.": _changed(
                m=lambda by_m: by_m.mean(axis=3, keepdims=True)
            ),
            "m also weighs z, by 1 − m: its gradient has a second term.": _changed(difference=lambda a, b: a),
        },
    ),
]
