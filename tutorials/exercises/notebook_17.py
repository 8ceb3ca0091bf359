"""Exercises of notebook 17, properties of attention: a property, a metamorphic relation, and shrinking."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exercises.exercise import Exercise

Array = NDArray[Any]
Attend = Callable[[Array, Array], Array]
Fails = Callable[[list[int]], bool]


# ---- a property --------------------------------------------------------------------------------------------------
def _softmax(s: Array, axis: int = 1) -> Array:
    e = np.exp(s - s.max(axis, keepdims=True))
    return np.asarray(e / e.sum(axis, keepdims=True))


def _unit(x: Array) -> Array:
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


def _attends() -> dict[str, tuple[Attend, Array, Array]]:
    def by_largest(f: Array, b: Array) -> Array:
        """For each patch the index and sign of its largest number, which no factor changes, not even by rounding."""
        largest = np.abs(b) == np.abs(b).max(axis=1, keepdims=True)
        return _softmax(f @ (largest * np.sign(b)).T)

    rng = np.random.default_rng(17)
    f, b = rng.standard_normal((5, 4)), rng.standard_normal((6, 4))
    return {
        "a right attention": (lambda f, b: _softmax(10 * f @ _unit(b).T), f, b),
        "the paper's cosine, which is right too": (lambda f, b: _softmax(10 * _unit(f) @ _unit(b).T), f, b),
        "another right one, which uses only each patch's largest number": (by_largest, f, b),
        "b is not normalised": (lambda f, b: _softmax(10 * f @ b.T), f, b),
        "f is normalised instead of b": (lambda f, b: _softmax(10 * _unit(f) @ b.T), f, b),
        "all of b is divided by its largest norm": (
            lambda f, b: _softmax(10 * f @ (b / np.linalg.norm(b, axis=1).max()).T),
            f,
            b,
        ),
        "norms are squared": (lambda f, b: _softmax(10 * f @ (b / np.sum(b * b, axis=1, keepdims=True)).T), f, b),
        "each patch is divided by its own size plus 1 %": (
            lambda f, b: _softmax(10 * f @ (b / (np.linalg.norm(b, axis=1, keepdims=True) + 0.01)).T),
            f,
            b,
        ),
    }


def _each_patch_scaled(attend: Attend, f: Array, b: Array) -> bool:
    factors = np.random.default_rng(0).uniform(0.1, 10, (len(b), 1))
    return bool(np.allclose(attend(f, factors * b), attend(f, b), rtol=1e-9, atol=1e-12))


# ---- hiding ------------------------------------------------------------------------------------------------------
def _hide(a: Array, hidden: Array) -> Array:
    """Entry by entry: each weight over its row's total for known patches."""
    out = np.zeros(a.shape)
    for x, z in np.ndindex(*a.shape):
        if not hidden[z]:
            out[x, z] = a[x, z] / sum(a[x, i] for i in range(a.shape[1]) if not hidden[i])
    return out


def _share(a: Array, axis: int | None) -> Array:
    return np.asarray(a / np.maximum(a.sum(axis, keepdims=True), 1e-300))


def _hidden() -> dict[str, tuple[Array, Array]]:
    rng = np.random.default_rng(18)

    def rows(n: int, m: int) -> Array:
        return _softmax(2 * rng.standard_normal((n, m)))

    return {
        "one patch hidden": (rows(3, 4), np.array([False, True, False, False])),
        "nothing hidden": (rows(2, 3), np.zeros(3, bool)),
        "half of them hidden": (rows(4, 6), np.array([True, False, True, False, True, False])),
        "all but one hidden": (rows(3, 5), np.arange(5) != 2),
    }


# ---- shrinking ---------------------------------------------------------------------------------------------------
def _shrink_with(
    order: Callable[[list[list[int]], list[list[int]]], list[list[int]]] = lambda left_out, moved: left_out + moved,
    move: Callable[[int], int] = lambda n: n - int(np.sign(n)),
) -> Callable[[Fails, list[int]], list[int]]:
    def answer(fails: Fails, numbers: list[int]) -> list[int]:
        while True:
            left_out = [numbers[:i] + numbers[i + 1 :] for i in range(len(numbers))]
            moved = [[*numbers[:i], move(n), *numbers[i + 1 :]] for i, n in enumerate(numbers) if n != 0]
            failing = [candidate for candidate in order(left_out, moved) if fails(candidate)]
            if not failing:
                return numbers
            numbers = failing[0]

    return answer


def _removed_once(fails: Fails, numbers: list[int]) -> list[int]:
    """One pass from left to right, without looking again."""
    i = 0
    while i < len(numbers):
        shorter = numbers[:i] + numbers[i + 1 :]
        numbers, i = (shorter, i) if fails(shorter) else (numbers, i + 1)
    return numbers


def _lowered(fails: Fails, numbers: list[int], *, towards: Callable[[int], int]) -> list[int]:
    numbers, i = list(numbers), 0
    while i < len(numbers):
        lower = [*numbers[:i], towards(numbers[i]), *numbers[i + 1 :]]
        numbers, i = (lower, i) if lower != numbers and fails(lower) else (numbers, i + 1)
    return numbers


def _failures() -> dict[str, tuple[Fails, list[int]]]:
    return {
        "fails for any non-empty list": (lambda x: len(x) > 0, [4, 0, -7]),
        "fails from 5 up": (lambda x: any(n >= 5 for n in x), [1, 9, 3, 6]),
        "fails below −2": (lambda x: any(n < -2 for n in x), [8, -9, 5]),
        "fails where two are equal": (lambda x: len(set(x)) < len(x), [3, 7, 3, 7, 1]),
        "fails where two or more numbers sum to more than 6": (lambda x: len(x) > 1 and sum(x) > 6, [5, 4, 3, 2]),
        "fails where a smaller one follows": (
            lambda x: any(a > b for a, b in pairwise(x)),
            [2, 9, 4, 6],
        ),
    }


def _ask_shrink(answer: Callable[..., Any], fails: Fails, numbers: list[int]) -> Any:
    calls = 0

    def counted(candidate: Any) -> bool:
        nonlocal calls
        calls += 1
        if calls > 10_000:
            raise RuntimeError("`fails` was called 10 000 times: does every step make the list simpler?")
        return fails(list(candidate))

    found = answer(counted, list(numbers))
    if found is not None and not fails(list(found)):
        raise ValueError(f"the test passes for {list(found)}: continue only with a list that fails")
    return found


EXERCISES = [
    Exercise(
        "17.scaled",
        "Test whether an attention is unchanged when each background patch is scaled by its own factor.",
        right=_each_patch_scaled,
        inputs=_attends,
        mistakes={
            "Two ways to compute the same value differ by rounding, so == is too strict. Use np.allclose.": (
                lambda attend, f, b: np.array_equal(
                    attend(f, 3.1 * np.sqrt(1 + np.arange(len(b)))[:, None] * b), attend(f, b)
                )
            ),
            "This rejects a right attention: is each factor positive, and the same for all numbers of its "
            "patch? (`np.arange` starts at 0.)": (lambda attend, f, b: False),
            "One factor for all patches: an attention that divides all by one number passes. Use one per patch.": (
                lambda attend, f, b: np.allclose(attend(f, 3 * b), attend(f, b), rtol=1e-9)
            ),
            "This scales the foreground: that may change the attention, as a temperature does.": (
                lambda attend, f, b: np.allclose(attend(3 * f, b), attend(f, b), rtol=1e-9)
            ),
            "Row sums are 1 for all of these: compare the attention itself.": (
                lambda attend, f, b: np.allclose(attend(f, 3 * b).sum(1), attend(f, b).sum(1))
            ),
        },
    ),
    Exercise(
        "17.hide",
        "Compute the attention once some patches are hidden and only the others compete.",
        right=_hide,
        inputs=_hidden,
        mistakes={
            "The rows sum to less than 1: the hidden patches' weight goes to the known ones.": (
                lambda a, hidden: a * ~hidden
            ),
            "The hidden patches' weight is distributed evenly: it should go in proportion, as in a softmax.": (
                lambda a, hidden: (a + (a @ hidden)[:, None] / np.sum(~hidden)) * ~hidden
            ),
            "The columns sum to 1: each *row* should, since a row is one position's attention.": (
                lambda a, hidden: _share(a * ~hidden, 0)
            ),
            "One factor for all rows: each row has its own.": lambda a, hidden: len(a) * _share(a * ~hidden, None),
            "These are the hidden patches' weights: `hidden` is true for those that get no weight.": (
                lambda a, hidden: _share(a * hidden, 1)
            ),
            "The hidden patches' columns are missing: keep them, with zeros.": (
                lambda a, hidden: _share(a[:, ~hidden], 1)
            ),
            "This is a second softmax: `a` holds weights, not scores.": lambda a, hidden: _share(
                np.exp(a) * ~hidden, 1
            ),
        },
    ),
    Exercise(
        "17.shrink",
        "Make a failing list as simple as possible.",
        right=_shrink_with(),
        inputs=_failures,
        ask=_ask_shrink,
        mistakes={
            "Numbers are removed, but never moved towards 0.": _removed_once,
            "Numbers are moved towards 0, but never removed.": lambda fails, numbers: _lowered(
                fails, numbers, towards=lambda n: n - int(np.sign(n))
            ),
            "Moves are tried before removals: try removals first.": _shrink_with(
                lambda left_out, moved: moved + left_out
            ),
            "Numbers are removed from right to left: start with the first.": _shrink_with(
                lambda left_out, moved: left_out[::-1] + moved
            ),
            "A number is moved to 0 in one step: move it by 1 at a time.": _shrink_with(move=lambda n: 0),
            "This is only one step: continue from the simpler list until none of its neighbours fails.": (
                lambda fails, numbers: next(
                    (c for c in (numbers[:i] + numbers[i + 1 :] for i in range(len(numbers))) if fails(c)), numbers
                )
            ),
            "Negative numbers are not moved: towards 0 means up for them.": lambda fails, numbers: _lowered(
                fails, _removed_once(fails, numbers), towards=lambda n: n - 1 if n > 0 else n
            ),
            "Nothing is simplified.": lambda fails, numbers: numbers,
        },
    ),
]
