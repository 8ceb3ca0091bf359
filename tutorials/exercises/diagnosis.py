"""Describe what is wrong with an array: its shape, its sign, a factor, an off-by-one shift.

Every explanation has to hold on *all* inputs where the answer is wrong; the first that does is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Results = tuple[Array, ...]
Pairs = Sequence[tuple[Array, Array]]  # found, wanted


def close(found: Array, wanted: Array, tolerance: float) -> bool:
    """Equal in shape, and in values to `tolerance` of the largest wanted."""
    if found.shape != wanted.shape:
        return False
    return bool(np.all(abs(found - wanted) <= tolerance * _size(wanted)))


def _size(x: Array) -> float:
    """The largest value; at least 1e-3, so that rounding errors around 0 count as 0."""
    return max(float(abs(x).max(initial=0.0)), 1e-3)


def differences(pairs: Sequence[tuple[Results, Results]], *, names: Sequence[str], tolerance: float) -> str:
    """One or more sentences on what differs, naming each wrong result."""
    counts = {(len(found), len(wanted)) for found, wanted in pairs}
    for n_found, n_wanted in counts:
        if n_found != n_wanted:
            return f"There should be {n_wanted} results ({', '.join(names)}), but there are {n_found}."
    if len(names) > 1 and all(_are_swapped(f, w, tolerance) for f, w in pairs):
        return f"The results are in the wrong order: it should be {', '.join(names)}."
    sentences = []
    for i in range(len(pairs[0][1])):
        wrong = [(f[i], w[i]) for f, w in pairs if not close(f[i], w[i], tolerance)]
        if wrong:
            which = f"{names[i]}: " if names else ""
            sentences.append(which + _explain(wrong, tolerance))
    return " ".join(sentences)


def _are_swapped(found: Results, wanted: Results, tolerance: float) -> bool:
    return all(close(f, w, tolerance) for f, w in zip(found, reversed(wanted), strict=True))


def first_difference(found: Results, wanted: Results, *, names: Sequence[str], tolerance: float) -> str:
    """The position of the first wrong number, its value and the right value."""
    for i, (f, w) in enumerate(zip(found, wanted, strict=False)):
        if close(f, w, tolerance):
            continue
        what = f"{names[i]} " if names else "the answer "
        if f.shape != w.shape:
            return f"{what}has the shape {f.shape}, but should have {w.shape}."
        wrong = ~(abs(f - w) <= tolerance * _size(w))
        place = tuple(int(k) for k in np.argwhere(wrong)[0])
        at = f"at {place if len(place) > 1 else place[0]} " if place else ""
        return f"{what}{at}is {f[place]:.6g}, but should be {w[place]:.6g}."
    return "the number of results differs."


def _explain(pairs: Pairs, tolerance: float) -> str:
    shapes = [(f, w) for f, w in pairs if f.shape != w.shape]
    if shapes:
        return _about_shape(shapes)
    message = _reason(pairs, tolerance)
    if message:
        return message
    wrong = sum(int(np.sum(~(abs(f - w) <= tolerance * _size(w)))) for f, w in pairs)
    together = f", over {len(pairs)} inputs" if len(pairs) > 1 else ""
    counted = f"The shape is right, but {wrong} of {sum(w.size for _, w in pairs)} values are wrong{together}."
    message = _reason(pairs[:1], tolerance) if pairs[0][1].size > 1 else None
    return f"{counted} On the first of these inputs alone: {message}" if message else counted


def _reason(pairs: Pairs, tolerance: float) -> str | None:
    """The first reason that explains all pairs."""
    return next((message for reason in REASONS if (message := reason(pairs, tolerance))), None)


# ---- shapes ------------------------------------------------------------------------------------------------------
def _about_shape(pairs: Pairs) -> str:
    pairs = sorted(pairs, key=lambda pair: pair[0].size == pair[1].size)  # most informative first
    found, wanted = pairs[0][0].shape, pairs[0][1].shape
    if found and found != wanted and sorted(found) == sorted(wanted):
        return "The shape is wrong: its axes are in the wrong order."
    if len(found) == len(wanted):
        off = {(axis, f.shape[axis] - w.shape[axis]) for f, w in pairs for axis in range(len(w.shape))}
        off = {(axis, by) for axis, by in off if by}
        if {by for _, by in off} in ({1}, {-1}):
            more = "one too many" if {by for _, by in off} == {1} else "one too few"
            axes = " and ".join(str(axis) for axis in sorted({axis for axis, _ in off}))
            return f"The shape is off by one: {more} along axis {axes}."
        axes = ", ".join(str(axis) for axis in sorted({axis for axis, _ in off}))
        return f"The shape is wrong along axis {axes}."
    if pairs[0][0].size == pairs[0][1].size:
        return "The shape is wrong: the same number of values with different axes; is a reshape or `keepdims` missing?"
    summed = "is a sum over some axes missing" if pairs[0][0].size > pairs[0][1].size else "is something summed twice"
    return f"The shape is wrong: it has {len(found)} axes, but should have {len(wanted)}; {summed}?"


# ---- values ------------------------------------------------------------------------------------------------------
def _not_finite(pairs: Pairs, tolerance: float) -> str | None:
    if all(np.isfinite(f).all() for f, _ in pairs):
        return None
    return "Some values are not finite: a division by zero, or an invalid logarithm or root?"


def _zero(pairs: Pairs, tolerance: float) -> str | None:
    return "Everything is zero." if all(not f.any() for f, _ in pairs) else None


def _sign(pairs: Pairs, tolerance: float) -> str | None:
    if all(close(-f, w, tolerance) for f, w in pairs):
        return "The sign is wrong: everything is −1 times what it should be."
    if all(close(abs(f), abs(w), tolerance) for f, w in pairs):
        return "The sign is wrong in places: the magnitudes are right."
    return None


def _factor(pairs: Pairs, tolerance: float) -> str | None:
    """c where found = c · wanted: one number, or one for each input."""
    factors = []
    for f, w in pairs:
        square = float(np.vdot(w, w))
        if square < 1e-24:
            return None
        c = float(np.vdot(w, f)) / square
        if c == 0 or not close(f, c * w, tolerance * max(1.0, abs(c))):
            return None
        factors.append(c)
    if np.ptp(factors) <= 1e-6 * abs(factors[0]):
        return f"A factor is wrong: everything is {factors[0]:.6g} times what it should be."
    if all(w.size == 1 for _, w in pairs):
        return None  # any two numbers differ by a factor
    return (
        "A factor is wrong, a different one for each input: "
        + ", ".join(f"{c:.6g}" for c in factors[:4])
        + ". Is a sum taken for a mean, or a mean for a sum?"
    )


def _offset(pairs: Pairs, tolerance: float) -> str | None:
    offsets = [float((f - w).flat[0]) for f, w in pairs]
    if not all(close(f, w + by, tolerance) for (f, w), by in zip(pairs, offsets, strict=True)):
        return None
    if not np.ptp(offsets) <= tolerance * max(map(abs, offsets)):
        return None
    by = offsets[0]
    if abs(abs(by) - 1) < 1e-9 and all(_is_whole(f) and _is_whole(w) for f, w in pairs):
        return f"Off by one: everything is 1 too {'large' if by > 0 else 'small'}."
    return f"Everything is {abs(by):.6g} too {'large' if by > 0 else 'small'}: is a term missing, or one too many?"


def _is_whole(x: Array) -> bool:
    return bool(np.all(x == np.rint(x)))


def _reversed(pairs: Pairs, tolerance: float) -> str | None:
    for axes in _axis_sets(pairs):
        if all(close(np.flip(f, axes), w, tolerance) for f, w in pairs):
            return f"The values run backwards along axis {' and '.join(map(str, axes))}: something is flipped."
    return None


def _swapped_axes(pairs: Pairs, tolerance: float) -> str | None:
    for a, b in combinations(range(min(f.ndim for f, _ in pairs)), 2):
        if all(close(np.swapaxes(f, a, b), w, tolerance) for f, w in pairs):
            return f"Axes {a} and {b} are swapped: is a transpose missing, or one too many?"
    return None


def _shifted(pairs: Pairs, tolerance: float) -> str | None:
    for axis in range(min(f.ndim for f, _ in pairs)):
        if min(f.shape[axis] for f, _ in pairs) < 3:
            continue
        front, back = ((slice(None),) * axis + (s,) for s in (slice(1, None), slice(None, -1)))
        for mine, theirs, way in ((front, back, "late"), (back, front, "early")):
            if all(close(f[mine], w[theirs], tolerance) for f, w in pairs):
                return f"Off by one: every value is one place too {way} along axis {axis}."
    return None


def _border_only(pairs: Pairs, tolerance: float) -> str | None:
    """Right inside, wrong within one place of the ends of some axes."""
    for axes in _axis_sets(pairs):
        if any(f.shape[axis] < 3 for f, _ in pairs for axis in axes):
            continue
        inside = [tuple(slice(1, -1) if a in axes else slice(None) for a in range(f.ndim)) for f, _ in pairs]
        if all(close(f[i], w[i], tolerance) for (f, w), i in zip(pairs, inside, strict=True)):
            return f"Right inside but wrong at the border, along axis {' and '.join(map(str, axes))}."
    return None


def _axis_sets(pairs: Pairs) -> Iterator[tuple[int, ...]]:
    """Each axis, then each pair of axes."""
    axes = range(min(f.ndim for f, _ in pairs))
    yield from ((axis,) for axis in axes)
    yield from combinations(axes, 2)


REASONS: tuple[Callable[[Pairs, float], str | None], ...] = (
    _not_finite,
    _zero,
    _sign,
    _factor,
    _offset,
    _reversed,
    _swapped_axes,
    _shifted,
    _border_only,
)
