"""Exercises of notebook 18, evaluation: TV in a hole, PSNR of the whole from the hole's, a paired comparison."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from exercises.exercise import Exercise

Array = NDArray[Any]


# ---- total variation ---------------------------------------------------------------------------------------------
def _tv(x: Array, hole: Array) -> float:
    """Pair by pair."""
    total, pairs = 0.0, 0
    for i, j in np.argwhere(hole):
        for i2, j2 in ((i + 1, j), (i, j + 1)):
            if i2 < hole.shape[0] and j2 < hole.shape[1] and hole[i2, j2]:
                total += float(np.abs(x[i2, j2] - x[i, j]).sum())
                pairs += x.shape[2]
    return 100 * total / pairs


def _tv_with(
    *,
    both: Callable[[Array, Array], Array] = np.logical_and,
    wrap: bool = False,
    percent: float = 100.0,
    apart: Callable[[list[float]], float] | None = None,
    axes: tuple[int, ...] = (0, 1),
) -> Callable[[Array, Array], float]:
    def answer(x: Array, hole: Array) -> float:
        sums, counts = [], []
        for axis in axes:
            n = x.shape[axis]
            first, second = (range(n), range(-1, n - 1)) if wrap else (range(1, n), range(n - 1))
            counted = both(hole.take(first, axis), hole.take(second, axis))
            difference = np.abs(x.take(first, axis) - x.take(second, axis))
            sums.append(float((difference * counted[..., None]).sum()))
            counts.append(x.shape[2] * int(counted.sum()))
        if apart:
            return float(percent * apart([s / c for s, c in zip(sums, counts, strict=True)]))
        return float(percent * sum(sums) / sum(counts))

    return answer


def _tv_inputs() -> dict[str, tuple[Any, ...]]:
    rng = np.random.default_rng(18)
    box, two = np.zeros((7, 6), bool), np.zeros((6, 8), bool)
    box[2:6, 1:5] = True
    two[:2, :3] = two[4:, 2:7] = True
    return {
        "a hole in the middle": (rng.random((7, 6, 3)), box),
        "two holes at the border": (rng.random((6, 8, 3)), two),
        "nothing known": (rng.random((3, 5, 1)), np.ones((3, 5), bool)),
    }


# ---- from the hole to the whole ----------------------------------------------------------------------------------
def _whole(psnr: float, share: float) -> float:
    """Via the errors: those of the hole, spread over the whole picture."""
    return float(-10 * np.log10(10 ** (-psnr / 10) * share))


def _whole_inputs() -> dict[str, tuple[Any, ...]]:
    return {"a quarter": (18.0, 0.25), "all of it": (20.0, 1.0), "a hundredth": (15.5, 0.01)}


# ---- a paired comparison -----------------------------------------------------------------------------------------
def _compare(a: Array, b: Array, picture: Array) -> tuple[float, float]:
    """Sums and squares written out."""
    values = []
    for name in sorted(set(picture.tolist())):
        mine = [float(x - y) for x, y, p in zip(a, b, picture, strict=True) if p == name]
        values.append(sum(mine) / len(mine))
    n = len(values)
    mean = sum(values) / n
    variance = sum((v - mean) ** 2 for v in values) / (n - 1)
    return mean, float(stdtrit(n - 1, 0.975)) * math.sqrt(variance / n)


def _compare_with(
    *,
    pictures: bool = True,
    paired: bool = True,
    ddof: int = 1,
    normal: bool = False,
    degrees: int = 1,
    root: bool = True,
    weighted: bool = False,
) -> Callable[[Array, Array, Array], tuple[float, float]]:
    def answer(a: Array, b: Array, picture: Array) -> tuple[float, float]:
        def sample(x: Array) -> Array:
            return np.array([x[picture == p].mean() for p in np.unique(picture)]) if pictures else x

        d, n = sample(a - b), len(sample(a))
        variance = d.var(ddof=ddof) if paired else sample(a).var(ddof=ddof) + sample(b).var(ddof=ddof)
        t = 1.96 if normal else float(stdtrit(n - degrees, 0.975))
        half = t * np.sqrt(variance) / (np.sqrt(n) if root else 1.0)
        return float((a - b).mean() if weighted else d.mean()), float(half)

    return answer


def _compare_inputs() -> dict[str, tuple[Any, ...]]:
    rng = np.random.default_rng(19)

    def drawn(picture: list[int]) -> tuple[Any, ...]:
        hard = rng.normal(18, 4, max(picture) + 1)[picture]
        return hard + rng.normal(1, 0.5, len(picture)), hard + rng.normal(0, 0.5, len(picture)), np.array(picture)

    return {
        "a crop from each picture": drawn([0, 1, 2, 3, 4]),
        "two crops from each": drawn([0, 0, 1, 1, 2, 2, 3, 3]),
        "more crops from one than from others": drawn([0, 1, 1, 1, 1, 2]),
    }


EXERCISES = [
    Exercise(
        "18.tv",
        "Compute 100 times the mean |difference| of neighbours that both lie in the hole.",
        right=_tv,
        inputs=_tv_inputs,
        mistakes={
            "Pairs with one pixel in the hole are counted: both have to lie in it.": _tv_with(both=np.logical_or),
            "The picture wraps around: `np.roll` makes the first and last rows neighbours.": _tv_with(wrap=True),
            "This is not a percentage: multiply by 100.": _tv_with(percent=1.0),
            "The two directions' means are added here: take one mean over all pairs.": _tv_with(apart=sum),
            "The two directions' means are averaged here: take one mean over all pairs.": _tv_with(
                apart=lambda means: sum(means) / 2
            ),
            "Known pixels are counted as 0 here: leave out pairs that are not in the hole.": (
                lambda x, hole: _tv(x * hole[..., None], np.ones_like(hole))
            ),
            "Horizontal pairs are missing.": _tv_with(axes=(0,)),
            "Vertical pairs are missing.": _tv_with(axes=(1,)),
            "The mask is missing: only pairs in the hole count.": lambda x, hole: _tv(x, np.ones_like(hole)),
        },
    ),
    Exercise(
        "18.whole",
        "Compute the PSNR over the whole picture.",
        right=_whole,
        inputs=_whole_inputs,
        mistakes={
            "The sign is wrong: over the whole picture the error is smaller, and PSNR higher.": (
                lambda psnr, share: psnr + 10 * math.log10(share)
            ),
            "The factor is 10, not 20: PSNR already uses squares.": (lambda psnr, share: psnr - 20 * math.log10(share)),
            "Decibels use logarithms to the base 10.": lambda psnr, share: psnr - 10 * math.log(share),
            "PSNR is a logarithm: errors scale with share, PSNR does not.": lambda psnr, share: psnr / share,
        },
    ),
    Exercise(
        "18.compare",
        "Compute the mean of a − b and half of its 95 % interval, paired and by picture.",
        right=_compare,
        inputs=_compare_inputs,
        results=("the mean", "the half width"),
        mistakes={
            "Crops of one picture are treated as separate pictures here: first average each picture's differences.": (
                _compare_with(pictures=False)
            ),
            "The pairing is lost: use the spread of the differences, not of a and b.": _compare_with(paired=False),
            "The standard deviation divides by n here: divide by n − 1, `ddof=1`.": _compare_with(ddof=0),
            "1.96 is for very many values: use Student's factor for few.": _compare_with(normal=True),
            "n values have n − 1 degrees of freedom.": _compare_with(degrees=0),
            "This is the spread of single pictures: that of their mean is smaller by √n.": _compare_with(root=False),
            "The mean is over crops: pictures with more crops get more weight.": _compare_with(weighted=True),
        },
    ),
]
