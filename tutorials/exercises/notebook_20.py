"""Exercises of notebook 20, copying, hard and soft: weights at a temperature, votes, and coherence."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exercises.exercise import Exercise

Array = NDArray[Any]


# ---- weights -----------------------------------------------------------------------------------------------------
def _weights(d: Array, temperature: float) -> Array:
    """Row by row."""
    out = np.empty(d.shape)
    for i, row in enumerate(d):
        powers = np.exp((row.min() - row) / temperature)
        out[i] = powers / powers.sum()
    return out


def _distances() -> dict[str, tuple[Array, float]]:
    rng = np.random.default_rng(20)
    return {
        "warm": (rng.uniform(0, 4, (3, 5)), 0.7),
        "hot": (rng.uniform(0, 4, (4, 3)), 20.0),
        "cold, and far from everything": (900 + rng.uniform(0, 1, (3, 4)), 0.01),
        "one candidate": (rng.uniform(0, 4, (3, 1)), 1.3),
    }


# ---- votes -------------------------------------------------------------------------------------------------------
def _votes(z: Array, field: Array) -> Array:
    """Pixel by pixel."""
    h, w = field.shape[:2]
    out = np.zeros((h + 2, w + 2))
    for y, x in np.ndindex(out.shape):
        copies = [
            z[field[i, j, 0] + y - 1 - i, field[i, j, 1] + x - 1 - j]
            for i, j in np.ndindex(h, w)
            if abs(y - 1 - i) <= 1 and abs(x - 1 - j) <= 1
        ]
        out[y, x] = np.mean(copies)
    return out


def _pasted(z: Array, field: Array, *, add: bool = True) -> tuple[Array, Array]:
    """Sums and counts; or, without `add`, the last patch of each pixel."""
    total, times = np.zeros(np.add(field.shape[:2], 2)), np.zeros(np.add(field.shape[:2], 2))
    for i, j in np.ndindex(field.shape[:2]):
        v, u = field[i, j]
        patch = z[v - 1 : v + 2, u - 1 : u + 2]
        total[i : i + 3, j : j + 3] = patch + (total[i : i + 3, j : j + 3] if add else 0)
        times[i : i + 3, j : j + 3] += 1
    return total, times


def _from_the_corner(z: Array, field: Array) -> Array:
    return _votes(np.pad(z, ((0, 2), (0, 2))), field + 1)


def _fields() -> dict[str, tuple[Array, Array]]:
    rng = np.random.default_rng(21)

    def field(h: int, w: int, rows: int, columns: int) -> Array:
        return np.stack([rng.integers(1, rows - 1, (h, w)), rng.integers(1, columns - 1, (h, w))], axis=2)

    whole = np.stack(np.mgrid[2:5, 3:7], axis=2)
    return {
        "a field at random": (rng.standard_normal((8, 9)), field(4, 5, 8, 9)),
        "one piece": (rng.standard_normal((7, 9)), whole),
        "one patch": (rng.standard_normal((5, 4)), field(1, 1, 5, 4)),
        "a strip": (rng.standard_normal((6, 6)), field(1, 6, 6, 6)),
    }


# ---- coherence ---------------------------------------------------------------------------------------------------
def _coherent(field: Array) -> float:
    """Pair by pair."""
    h, w = field.shape[:2]
    found = [
        tuple(field[i + down, j + right] - field[i, j]) == (down, right)
        for i, j in np.ndindex(h, w)
        for down, right in ((0, 1), (1, 0))
        if i + down < h and j + right < w
    ]
    return float(np.mean(found))


def _moved(field: Array) -> Array:
    """How far each copies from: the same for neighbours that copy neighbours."""
    return field - np.stack(np.indices(field.shape[:2]), axis=2)


def _pairs(field: Array, *, right: tuple[int, int] = (0, 1), down: tuple[int, int] = (1, 0)) -> list[Array]:
    return [(np.diff(field, axis=1) == right).all(axis=2), (np.diff(field, axis=0) == down).all(axis=2)]


def _share(flags: list[Array]) -> float:
    return float(np.mean(np.concatenate([f.ravel() for f in flags])))


def _coherent_fields() -> dict[str, tuple[Array]]:
    rng = np.random.default_rng(22)
    whole = np.stack(np.mgrid[3:8, 10:16], axis=2)
    two = whole.copy()
    two[:, 4:] += (7, -3)
    turned = whole[:, ::-1]
    rows = whole.copy()
    rows[2:, :, 1] += rng.integers(5, 9)
    return {
        "one piece": (whole,),
        "two pieces": (two,),
        "a piece that is reversed": (turned,),
        "the same place everywhere": (np.full((4, 3, 2), 5),),
        "pieces that are strips": (rows,),
        "at random": (rng.integers(0, 3, (6, 7, 2)),),
    }


EXERCISES = [
    Exercise(
        "20.weights",
        "Turn distances into the weights of a soft copy, at any temperature.",
        right=_weights,
        inputs=_distances,
        mistakes={
            "The sign is wrong: the *nearest* patch gets the largest weight.": lambda d, t: _weights(-d, t),
            "This multiplies by the temperature: a high one should mix more, not less.": (
                lambda d, t: _weights(d, 1 / t)
            ),
            "The temperature has no effect here.": lambda d, t: _weights(d, 1.0),
            "These sum to 1 over the first axis: each patch to be filled shares out its weight along the second.": (
                lambda d, t: _weights(d.T, t).T
            ),
            "The powers are not divided by their sum.": lambda d, t: np.exp((d.min(1, keepdims=True) - d) / t),
            "The smallest distance of *all* rows was subtracted: take each row's own.": (
                lambda d, t: np.exp((d.min() - d) / t) / np.exp((d.min() - d) / t).sum()
            ),
        },
    ),
    Exercise(
        "20.votes",
        "Average what all patches copy to each pixel.",
        right=_votes,
        inputs=_fields,
        mistakes={
            "These are sums: divide each by the number of patches that cover the pixel.": (
                lambda z, field: _pasted(z, field)[0]
            ),
            "Divided by 9 everywhere: near the border fewer patches cover a pixel.": (
                lambda z, field: _pasted(z, field)[0] / 9
            ),
            "Each patch overwrites those before it: add them up, and divide at the end.": (
                lambda z, field: _pasted(z, field, add=False)[0]
            ),
            "Only the patches' centres are copied.": lambda z, field: z[field[..., 0], field[..., 1]],
            "`field` has the patches' centres; this takes them for the top left corners.": _from_the_corner,
            "Rows and columns of the field are exchanged.": lambda z, field: _votes(z, field[..., ::-1]),
        },
    ),
    Exercise(
        "20.coherent",
        "Count the neighbours that copy neighbours.",
        right=_coherent,
        inputs=_coherent_fields,
        mistakes={
            "This counts neighbours that copy the *same* place: neighbours should copy places that are neighbours.": (
                lambda field: _share(_pairs(field, right=(0, 0), down=(0, 0)))
            ),
            "The last axis is (row, column): a step to the right is (0, 1), a step down (1, 0).": (
                lambda field: _share(_pairs(field, right=(1, 0), down=(0, 1)))
            ),
            "Only pairs side by side are counted.": lambda field: float(_pairs(field)[0].mean()),
            "Only pairs below one another are counted.": lambda field: float(_pairs(field)[1].mean()),
            "One coordinate is enough here: both must move along.": (
                lambda field: _share([(np.diff(_moved(field), axis=a) == 0).any(axis=2) for a in (1, 0)])
            ),
            "This is a count: divide it by the number of pairs.": (
                lambda field: sum(int(flags.sum()) for flags in _pairs(field))
            ),
            "The mean of two shares: horizontal and vertical pairs are not equally many, so average over all pairs.": (
                lambda field: float(np.mean([flags.mean() for flags in _pairs(field)]))
            ),
        },
    ),
]
