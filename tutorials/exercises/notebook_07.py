"""Exercises of notebook 07, from GANs to WGAN-GP: a distance, the penalty in the hole, and where a critic converges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy import functional as F
from ca_numpy.engine.autograd import grad
from ca_numpy.engine.tensor import Tensor, tensor
from exercises.exercise import Exercise
from exercises.notebook_02 import must_be_tensor

Array = NDArray[Any]


# ---- the distance on a line --------------------------------------------------------------------------------------
def _distance(real: Array, fake: Array) -> float:
    """Repeat each sample as often as the other set has samples: then both are equally large, and sorting pairs them."""
    return float(np.abs(np.sort(np.repeat(real, len(fake))) - np.sort(np.repeat(fake, len(real)))).mean())


def _by_gaps(
    *, counts: bool = False, absolute: bool = True, root: bool = False, before: bool = False
) -> Callable[[Array, Array], float]:
    """The solution's method, with variations that are mistakes."""

    def answer(real: Array, fake: Array) -> float:
        places = np.sort(np.concatenate([real, fake]))
        left = [
            (x < places[:-1, None] if before else x <= places[:-1, None]).sum(1) / (1 if counts else len(x))
            for x in (real, fake)
        ]
        more = np.abs(left[1] - left[0]) if absolute else left[1] - left[0]
        more = more**2 if root else more
        return float((more * np.diff(places)).sum())

    return answer


def _distance_inputs() -> dict[str, tuple[Any, ...]]:
    rng = np.random.default_rng(5)
    return {
        "equally many of both": (np.array([0.0, 1.0, 5.0]), np.array([7.0, 2.0, 3.0])),
        "one fake in the middle": (np.array([-1.0, 1.0]), np.array([0.0])),
        "more fakes than real ones": (rng.standard_normal(4), rng.standard_normal(7) + 1),
        "equal samples": (np.array([2.0, 2.0, 3.0]), np.array([2.0, 3.0])),
    }


# ---- the penalty in the hole -------------------------------------------------------------------------------------
def _penalty_by_rows(critic: Callable[[Tensor], Tensor], real: Array, fake: Array, mask: Array, t: Array) -> Tensor:
    total: Any = 0.0
    for n in range(len(real)):
        x = tensor((real[n] + t[n] * (fake[n] - real[n]))[None])
        g = grad(critic(x).sum(), x, create_graph=True)[0]
        inside = [g[i] for i in range(len(mask[n])) if mask[n, i]]
        total = total + (sum((i * i for i in inside[1:]), start=inside[0] * inside[0]) ** 0.5 - 1) ** 2
    result: Tensor = total / len(real)
    return result


def _masked(
    *,
    masked: str = "slope",
    swap: bool = False,
    graph: bool = True,
    axis: int | None = 1,
    mean: bool = True,
    of_mean: bool = False,
) -> Callable[..., Tensor]:
    def answer(critic: Callable[[Tensor], Tensor], real: Array, fake: Array, mask: Array, t: Array) -> Tensor:
        t = 1 - t if swap else t
        x = tensor(((1 - t) * real + t * fake) * (mask if masked == "point" else 1.0))
        scores = critic(x)
        g = grad(scores.mean() if of_mean else scores.sum(), x, create_graph=graph)
        weight = {"slope": mask, "known": 1 - mask}.get(masked, np.ones_like(mask))
        rows = ((g * g * weight).sum(axis) ** 0.5 - 1) ** 2
        return rows.mean() if mean else rows.sum()

    return answer


def _masked_and_gradient(
    answer: Callable[..., Any], w: Array, real: Array, fake: Array, mask: Array, t: Array
) -> tuple[Any, ...]:
    weights = tensor(w)

    def critic(x: Any) -> Tensor:
        return F.elu(x @ weights).sum(1, keepdims=True)

    p = must_be_tensor(answer(critic, real, fake, mask, t), "the penalty")
    if p.shape != ():
        return p, np.zeros(w.shape)
    return p, grad(p, weights)


def _masked_inputs() -> dict[str, tuple[Any, ...]]:
    rng = np.random.default_rng(6)
    w, real, fake = rng.standard_normal((4, 3)), *rng.standard_normal((2, 5, 4))
    t = rng.random((5, 1))
    hole = np.tile([0.0, 1.0, 1.0, 0.0], (5, 1))
    each = np.array([[1, 0, 0, 0], [0, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 1], [0, 1, 0, 1]], float)
    return {
        "one picture": (w, real[:1], fake[:1], hole[:1], t[:1]),
        "five pictures, one hole": (w, real, fake, hole, t),
        "another hole for each picture": (w, real, fake, each, t),
    }


# ---- the trap ----------------------------------------------------------------------------------------------------
def _says_downhill(d: float, lam: float, start: float) -> float:
    """Walk."""
    s, rate = start, 0.1 / lam
    for _ in range(2000):
        s -= rate * (-d + 2 * lam * (abs(s) - 1) * np.sign(s))
    return float(s * d)


def _says(*, trap: str = "held", half: float = 2.0, slope_only: bool = False) -> Callable[[float, float, float], float]:
    def answer(d: float, lam: float, start: float) -> float:
        s = 1 + d / (half * lam)
        if start < 0 and trap == "always":
            s = d / (half * lam) - 1
        if start < 0 and trap == "held" and d < half * lam:
            s = d / (half * lam) - 1
        if start < 0 and trap == "mirrored" and d < half * lam:
            s = -s
        if start < 0 and trap == "mirrored always":
            s = -s
        return s if slope_only else s * d

    return answer


def _trap_inputs() -> dict[str, tuple[Any, ...]]:
    return {
        "a good start": (2.0, 10.0, 0.3),
        "a bad start": (2.0, 10.0, -0.3),
        "a bad start far away": (30.0, 10.0, -0.3),
        "a weak penalty": (3.0, 0.5, -2.0),
    }


EXERCISES = [
    Exercise(
        "07.distance",
        "Compute the Wasserstein distance between any two arrays of numbers.",
        right=_distance,
        inputs=_distance_inputs,
        mistakes={
            "Fractions, not counts: divide the number to the left by the size of the set.": _by_gaps(counts=True),
            "Gaps with more real samples to the left count as negative here: take the absolute value.": _by_gaps(
                absolute=False
            ),
            "The difference of the fractions is squared: each gap is weighted by the difference itself.": _by_gaps(
                root=True
            ),
            "The sample at which a gap begins lies to its left too: count with <=, not <.": _by_gaps(before=True),
            "This is the distance between the means: there, samples on both sides cancel, but here they do not.": (
                lambda real, fake: abs(real.mean() - fake.mean())
            ),
        },
    ),
    Exercise(
        "07.masked_penalty",
        "Return the mean of (‖slope in the hole‖ − 1)² as a Tensor.",
        right=_penalty_by_rows,
        inputs=_masked_inputs,
        ask=_masked_and_gradient,
        results=("the penalty", "its gradient w.r.t. the weights"),
        mistakes={
            "The mask is inverted: 1 is the hole, where the slope counts.": _masked(masked="known"),
            "The mask is applied to the point: the critic must see the whole picture; mask its slope.": _masked(
                masked="point"
            ),
            "The mask is missing: slopes along known pixels count too.": _masked(masked="none"),
            "The interpolation is reversed: t = 0 is real, t = 1 is fake.": _masked(swap=True),
            "The penalty is right, but off the tape: pass create_graph=True.": _masked(graph=False),
            "The norm is over the whole batch: each row has its own norm (axis 1).": _masked(axis=None),
            "This is the sum over the rows, not their mean.": _masked(mean=False),
            "These are slopes of the critic's mean, smaller by the number of rows: differentiate its sum.": _masked(
                of_mean=True
            ),
        },
    ),
    Exercise(
        "07.trap",
        "Compute the critic's estimate of the distance after convergence.",
        right=_says_downhill,
        inputs=_trap_inputs,
        mistakes={
            "There is a second minimum: below 0 the penalty pulls towards −1.": _says(trap="none"),
            "The trap does not always hold: if d is large enough, s passes through 0.": _says(trap="always"),
            "The second minimum is not a mirror image: d pulls it to the right of −1.": _says(trap="mirrored"),
            "Not a mirror image: d pulls s to the right of −1 and, if large enough, through 0.": _says(
                trap="mirrored always"
            ),
            "The penalty alone would stop at s = 1, but d keeps pulling.": lambda d, lam, start: d,
            "The derivative of (|s| − 1)² has a factor 2.": _says(half=1.0),
            "This is the slope: the estimated distance is s·d.": _says(slope_only=True),
        },
        tolerance=1e-6,
    ),
]
