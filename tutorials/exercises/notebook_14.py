"""Exercises of notebook 14, reading attention maps: offsets, the share that is right, and the light of figure 16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exercises.exercise import Exercise

Array = NDArray[Any]
Grid = tuple[int, int]


# ---- offsets -----------------------------------------------------------------------------------------------------
def _offsets(
    index: Array,
    background: Grid,
    *,
    place: Callable[[int, Grid, Grid], tuple[float, float]] = lambda n, background, grid: divmod(n, background[1]),
    sign: int = 1,
    start: int = 1,
    swapped: bool = False,
) -> Array:
    """Position by position; `place` gives the row and column of patch n."""
    d = np.zeros((*index.shape, 2))
    for i, j in np.ndindex(*index.shape):
        row, column = place(int(index[i, j]), background, (index.shape[0], index.shape[1]))
        pair = sign * (row - start * i), sign * (column - start * j)
        d[i, j] = pair[::-1] if swapped else pair
    return d


def _scaled(n: int, background: Grid, grid: Grid) -> tuple[float, float]:
    row, column = divmod(n, background[1])
    return row * grid[0] / background[0], column * grid[1] / background[1]


def _index_inputs() -> dict[str, tuple[Any, ...]]:
    rng = np.random.default_rng(14)

    def drawn(grid: Grid, background: Grid) -> tuple[Any, ...]:
        return rng.integers(0, background[0] * background[1], grid), background

    return {
        "one line": drawn((1, 6), (1, 6)),
        "a square": drawn((5, 5), (5, 5)),
        "a wide picture": drawn((4, 7), (4, 7)),
        "a background of a different size": drawn((6, 8), (3, 4)),
        "a larger, tall background": drawn((3, 4), (9, 5)),
    }


# ---- the share that is right -------------------------------------------------------------------------------------
def _share(
    rule: Callable[[int, int, int, int], bool], *, among: Callable[[int, int], bool] = lambda down, right: True
) -> Callable[[Array, Grid], float]:
    """The share of positions, among those counted, whose offset and period satisfy the rule."""

    def answer(d: Array, period: Grid) -> float:
        pairs = [(int(down), int(right)) for down, right in d.reshape(-1, 2)]
        asked = [pair for pair in pairs if among(*pair)]
        return sum(rule(*pair, *period) for pair in asked) / max(1, len(asked))

    return answer


def _whole(down: int, right: int, p: int, q: int) -> bool:
    return down % p == 0 and right % q == 0


def _offset_inputs() -> dict[str, tuple[Any, ...]]:
    rng = np.random.default_rng(141)

    def drawn(shape: Grid, period: Grid, *, whole: float, itself: float) -> tuple[Any, ...]:
        d = rng.integers(-9, 10, (*shape, 2))
        kind = rng.uniform(size=(*shape, 1))
        d = np.where(kind < whole, np.array(period) * rng.integers(-2, 3, (*shape, 2)), d)
        return np.where(kind < itself, 0, d), period

    return {
        "all attend to themselves": (np.zeros((3, 4, 2), int), (3, 5)),
        "one period away": (np.array([[[0, 4], [-3, 0], [3, 4], [3, 3]]]), (3, 4)),
        "two periods away": (np.array([[[6, -8], [-6, 4], [0, 8], [1, 8]]]), (3, 4)),
        "a square period": drawn((6, 5), (4, 4), whole=0.5, itself=0.2),
        "a non-square period": drawn((7, 8), (2, 6), whole=0.6, itself=0.3),
        "hardly any right": drawn((8, 8), (6, 8), whole=0.1, itself=0.05),
    }


# ---- the light ---------------------------------------------------------------------------------------------------
def _light(
    weights: Array,
    *,
    steps: range = range(-1, 2),
    cross: bool = False,
    rolled: bool = False,
    join: Callable[[list[float]], float] = sum,
) -> Array:
    """Position by position, the weights of the patches around it."""
    h, w = weights.shape
    light = np.zeros((h, w))
    for i, j in np.ndindex(h, w):
        near = [(i + u, j + v) for u in steps for v in steps if not (cross and u and v)]
        if not rolled:
            near = [(r, c) for r, c in near if 0 <= r < h and 0 <= c < w]
        light[i, j] = join([float(weights[r % h, c % w]) for r, c in near])
    return light


def _mean_of_those_there(values: list[float]) -> float:
    return sum(values) / len(values)


def _weight_inputs() -> dict[str, tuple[Any, ...]]:
    rng = np.random.default_rng(142)
    middle, corner = np.zeros((5, 6)), np.zeros((4, 5))
    middle[2, 3], corner[0, 4] = 1, 1
    return {
        "one position": (np.array([[0.5]]),),
        "all on one patch": (middle,),
        "all on a patch in the corner": (corner,),
        "equal weights": (np.full((4, 6), 1 / 24),),
        "drawn": (rng.dirichlet(np.full(35, 0.3)).reshape(5, 7),),
    }


EXERCISES = [
    Exercise(
        "14.offsets_between",
        "Compute how far down and right each position's patch lies.",
        right=_offsets,
        inputs=_index_inputs,
        mistakes={
            "The index is decoded with the foreground's rows here, not the background's.": lambda index, background: (
                _offsets(index, background, place=lambda n, b, grid: divmod(n, grid[1]))
            ),
            "The index is read down the columns: a row of the background is `background[1]` long.": (
                lambda index, background: _offsets(index, background, place=lambda n, b, grid: divmod(n, b[0]))
            ),
            "Rows and columns of the patch are swapped: indices run along rows first.": lambda index, background: (
                _offsets(index, background, place=lambda n, b, grid: (n % b[0], n // b[0]))
            ),
            "This is reversed: it gives the position relative to its patch.": lambda index, background: _offsets(
                index, background, sign=-1
            ),
            "Right comes first here: the order is down, right.": lambda index, background: _offsets(
                index, background, swapped=True
            ),
            "Do not scale: a step in one grid is as long as a step in the other.": lambda index, background: _offsets(
                index, background, place=_scaled
            ),
            "This is where the patch lies: subtract the position itself.": lambda index, background: _offsets(
                index, background, start=0
            ),
        },
    ),
    Exercise(
        "14.share_right",
        "Compute the share of positions that attend whole periods away, and not to themselves.",
        right=_share(lambda down, right, p, q: _whole(down, right, p, q) and (down, right) != (0, 0)),
        inputs=_offset_inputs,
        mistakes={
            "Positions that attend to themselves are counted: 0 is a multiple of everything.": _share(_whole),
            "Only exactly one period counts here, but two are also right.": _share(
                lambda down, right, p, q: abs(down) in (0, p) and abs(right) in (0, q) and (down, right) != (0, 0)
            ),
            "One axis is enough here: both have to be a multiple of their period.": _share(
                lambda down, right, p, q: (down % p == 0 or right % q == 0) and (down, right) != (0, 0)
            ),
            "An offset of 0 on one axis is rejected here: the patch may lie directly below or beside.": _share(
                lambda down, right, p, q: _whole(down, right, p, q) and down != 0 and right != 0
            ),
            "The periods are swapped: the first is down.": _share(
                lambda down, right, p, q: _whole(down, right, q, p) and (down, right) != (0, 0)
            ),
            "The share is among all positions, including those that attend to themselves.": _share(
                _whole, among=lambda down, right: (down, right) != (0, 0)
            ),
            "This is a number of positions: return their share.": lambda d, period: (
                _share(lambda down, right, p, q: _whole(down, right, p, q) and (down, right) != (0, 0))(d, period)
                * d[..., 0].size
            ),
            "Only offsets down and to the right are counted: the opposite directions are also right.": _share(
                lambda down, right, p, q: (
                    _whole(down, right, p, q) and down >= 0 and right >= 0 and (down, right) != (0, 0)
                )
            ),
        },
    ),
    Exercise(
        "14.light",
        "Sum the weights of all patches that cover a position.",
        right=_light,
        inputs=_weight_inputs,
        mistakes={
            "These are the weights themselves: a patch lights nine positions.": lambda weights: 1.0 * weights,
            "This is the mean of nine: the weights should be summed.": lambda weights: _light(weights) / 9,
            "This is the mean of the existing patches: the weights should be summed.": lambda weights: _light(
                weights, join=_mean_of_those_there
            ),
            "This is the largest weight around: they should be summed.": lambda weights: _light(weights, join=max),
            "Values wrap around from one side to the other: there are no patches outside.": lambda weights: _light(
                weights, rolled=True
            ),
            "The corners are missing: a patch is a square, not a cross.": lambda weights: _light(weights, cross=True),
            "The patch is off-centre: its position is its middle, so steps run from −1 to 1.": lambda weights: _light(
                weights, steps=range(3)
            ),
            "The patch reaches too far: 3 × 3 is one step to each side.": lambda weights: _light(
                weights, steps=range(-2, 3)
            ),
        },
    ),
]
