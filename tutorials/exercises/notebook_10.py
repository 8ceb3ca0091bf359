"""Exercises of notebook 10, attention as style transfer: nearest patches, matched colours, and a count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exercises.exercise import Exercise

Array = NDArray[Any]


# ---- the nearest patch -------------------------------------------------------------------------------------------
def _nearest(pf: Array, pb: Array) -> list[int]:
    """Pair by pair."""
    return [min(range(len(pb)), key=lambda z: float(np.sum((x - pb[z]) ** 2))) for x in pf]


def _farthest(pf: Array, pb: Array) -> list[int]:
    return [max(range(len(pb)), key=lambda z: float(np.sum((x - pb[z]) ** 2))) for x in pf]


def _patch_rows() -> dict[str, tuple[Array, Array]]:
    rng = np.random.default_rng(10)
    strengths = np.array([[0.2], [3.0], [0.5], [1.0], [2.0], [0.1], [4.0]])
    pb = strengths * rng.standard_normal((7, 4))
    return {
        # Powers of two: by direction many are tied, and rounding must not decide among them.
        "one-number patches": (
            rng.standard_normal((5, 1)),
            np.array([[0.5, -1, 2, -0.25, 4, -2]]).T,
        ),
        "faint and strong patches": (rng.standard_normal((9, 4)), pb),
        "one patch and its multiples": (rng.standard_normal((3, 2)), np.array([[1.0, 1.0], [2.0, 2.0], [0.25, 0.25]])),
        "more patches than positions": (rng.standard_normal((4, 9)), rng.standard_normal((12, 9))),
        "light pictures": (3 + 0.2 * rng.standard_normal((6, 5)), 3 + 0.2 * rng.standard_normal((8, 5))),
    }


# ---- colours -----------------------------------------------------------------------------------------------------
def _recoloured(content: Array, style: Array) -> Array:
    """Channel by channel."""
    out = np.zeros(content.shape)
    for c in range(content.shape[2]):
        mine, theirs = content[:, :, c], style[:, :, c]
        out[:, :, c] = theirs.mean() + (mine - mine.mean()) * (theirs.std() / mine.std())
    return out


def _recoloured_by(
    mean: Callable[[Array], Any] = lambda x: x.mean((0, 1)), spread: Callable[[Array], Any] = lambda x: x.std((0, 1))
) -> Callable[[Array, Array], Array]:
    def answer(content: Array, style: Array) -> Array:
        return np.asarray(mean(style) + (content - mean(content)) * (spread(style) / spread(content)))

    return answer


def _colour_pictures() -> dict[str, tuple[Array, Array]]:
    rng = np.random.default_rng(11)

    def picture(h: int, w: int, means: list[float], spreads: list[float]) -> Array:
        return np.asarray(means + np.array(spreads) * rng.standard_normal((h, w, 3)))

    return {
        "of one size": (
            picture(4, 5, [0.1, 0.0, -0.2], [0.3, 0.2, 0.1]),
            picture(4, 5, [-0.5, 0.2, 0.4], [0.1, 0.5, 0.4]),
        ),
        "a style of a different size": (
            picture(6, 4, [0.0, 0.3, 0.1], [0.5, 0.4, 0.2]),
            picture(3, 7, [0.6, -0.1, 0.0], [0.2, 0.1, 0.6]),
        ),
        "a faint content": (
            picture(5, 5, [0.2, 0.2, 0.2], [0.01, 0.02, 0.01]),
            picture(4, 4, [-0.2, 0.1, 0.0], [0.4, 0.3, 0.5]),
        ),
    }


# ---- uses --------------------------------------------------------------------------------------------------------
def _uses(best: Array, n: int) -> list[int]:
    """Patch by patch."""
    return [sum(1 for i in best.ravel() if i == z) for z in range(n)]


def _maps() -> dict[str, tuple[Array, int]]:
    rng = np.random.default_rng(12)
    return {
        "each patch once": (rng.permutation(6).reshape(2, 3), 6),
        "some patches many times": (rng.integers(0, 5, (6, 7)), 5),
        "the last patches never": (rng.integers(0, 4, (3, 4)), 9),
        "one patch everywhere": (np.full((3, 3), 2), 4),
    }


EXERCISES = [
    Exercise(
        "10.nearest",
        "Find the nearest background patch of each foreground patch.",
        right=_nearest,
        inputs=_patch_rows,
        mistakes={
            "These are inner products, not distances: a strong patch wins nearly everywhere.": (
                lambda pf, pb: (pf @ pb.T).argmax(1)
            ),
            "These are directions, as attention's scores are: a patch and its multiple are not equally near.": (
                lambda pf, pb: (pf @ (pb / np.linalg.norm(pb, axis=1, keepdims=True)).T).argmax(1)
            ),
            "A half is missing: ‖f − b‖² = ‖f‖² − 2⟨f, b⟩ + ‖b‖².": (
                lambda pf, pb: (np.sum(pb * pb, axis=1) - pf @ pb.T).argmin(1)
            ),
            "The sign of ‖b‖² is wrong: ‖f − b‖² = ‖f‖² − 2⟨f, b⟩ + ‖b‖².": (
                lambda pf, pb: (2 * pf @ pb.T + np.sum(pb * pb, axis=1)).argmax(1)
            ),
            "The norms of b are not squared.": lambda pf, pb: (np.linalg.norm(pb, axis=1) - 2 * pf @ pb.T).argmin(1),
            "This is the farthest: is there an argmax instead of an argmin?": _farthest,
            "This is reversed: it gives the row of pf nearest to each row of pb.": (lambda pf, pb: _nearest(pb, pf)),
            "These are the distances: return the row with the smallest.": (
                lambda pf, pb: ((pf[:, None] - pb) ** 2).sum(2).min(1)
            ),
        },
    ),
    Exercise(
        "10.recoloured",
        "Match the mean and the standard deviation of each channel of the content to the style.",
        right=_recoloured,
        inputs=_colour_pictures,
        mistakes={
            "One mean and one deviation for all channels: each channel has its own.": _recoloured_by(np.mean, np.std),
            "The means are per channel, but the deviation is of all channels together.": _recoloured_by(spread=np.std),
            "Only the mean is shifted: the standard deviation has to change too.": _recoloured_by(
                spread=lambda x: np.ones(3)
            ),
            "These are variances, not standard deviations: take their roots.": _recoloured_by(
                spread=lambda x: x.var((0, 1))
            ),
            "The content keeps its own deviation as a factor: divide by it first.": (
                lambda content, style: style.mean((0, 1)) + (content - content.mean((0, 1))) * style.std((0, 1))
            ),
            "The deviations divide by n − 1 here: divide by n, the default of `std`.": (
                _recoloured_by(spread=lambda x: x.std((0, 1), ddof=1))
            ),
            "The ratio of the deviations is inverted.": _recoloured_by(spread=lambda x: 1 / x.std((0, 1))),
            "This is reversed: it is the style in the content's colours.": (
                lambda content, style: _recoloured(style, content)
            ),
            "The style's mean is missing: add it after subtracting the content's.": (
                lambda content, style: _recoloured(content, style) - style.mean((0, 1))
            ),
            "The content's mean is not subtracted before scaling.": (
                lambda content, style: style.mean((0, 1)) + content * (style.std((0, 1)) / content.std((0, 1)))
            ),
            "Each column has its own mean here: take one per channel, over axes 0 and 1.": (
                lambda content, style: (
                    style.mean((0, 1)) + (content - content.mean(0)) * (style.std((0, 1)) / content.std(0))
                )
            ),
        },
    ),
    Exercise(
        "10.uses",
        "Count the positions that copy each patch.",
        right=_uses,
        inputs=_maps,
        mistakes={
            "Every patch used counts only once: counts[best] += 1 adds once even if an index is repeated. "
            "Use np.bincount or np.add.at.": lambda best, n: np.isin(np.arange(n), best),
            "Unused patches are missing at the end: np.bincount has a `minlength`.": (
                lambda best, n: np.bincount(best.ravel())
            ),
            "Unused patches are missing: their count is 0.": lambda best, n: np.unique(best, return_counts=True)[1],
            "`best` is h × w, but np.bincount takes one dimension: use `best.ravel()`.": (
                lambda best, n: np.bincount(best, minlength=n)
            ),
            "These are fractions: return the counts.": lambda best, n: np.array(_uses(best, n)) / best.size,
            "Counted per row of `best`: count all positions together.": lambda best, n: np.array(
                [_uses(row, n) for row in best]
            ),
        },
    ),
]
