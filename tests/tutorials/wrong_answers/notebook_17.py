"""Common wrong answers, and part of the message each one gets."""

import numpy as np


def removes_only(fails, numbers):
    for i in range(len(numbers)):
        shorter = numbers[:i] + numbers[i + 1 :]
        if fails(shorter):
            return removes_only(fails, shorter)
    return numbers


def by_order(fails, numbers, order, move=lambda n: n - 1 if n > 0 else n + 1):
    left_out = [numbers[:i] + numbers[i + 1 :] for i in range(len(numbers))]
    moved = [[*numbers[:i], move(n), *numbers[i + 1 :]] for i, n in enumerate(numbers) if n]
    for simpler in order(left_out, moved):
        if fails(simpler):
            return by_order(fails, simpler, order, move)
    return numbers


def goes_on_with_what_passes(fails, numbers):
    while len(numbers) > 1:
        numbers = numbers[1:]
    return numbers


def turns_in_circles(fails, numbers):
    while fails(numbers):
        numbers = numbers[::-1]
    return numbers


WRONG = {
    "17.scaled": [
        (lambda attend, f, b: np.allclose(attend(f, 5 * b), attend(f, b)), "One factor for all patches"),
        (lambda attend, f, b: np.allclose(attend(2 * f, b), attend(f, b)), "This scales the foreground"),
        (lambda attend, f, b: np.allclose(attend(f, b).sum(1), 1), "compare the attention itself"),
        (lambda attend, f, b: (attend(f, np.arange(1, 7)[:, None] * b) == attend(f, b)).all(), "== is too strict"),
        (
            lambda attend, f, b: np.allclose(attend(f, np.cos(np.arange(6))[:, None] * b), attend(f, b)),
            "is each factor positive",
        ),
        (
            lambda attend, f, b: np.allclose(attend(f, np.arange(1, 25).reshape(6, 4) ** 2 * b), attend(f, b)),
            "the same for all numbers of its patch",
        ),
        (lambda attend, f, b: attend(f, 5 * b) - attend(f, b), "axes"),
        (lambda attend, f, b: print(end=""), "is a `return` missing?"),
    ],
    "17.hide": [
        (lambda a, hidden: np.where(hidden, 0, a), "The rows sum to less than 1"),
        (lambda a, hidden: a[:, ~hidden] / a[:, ~hidden].sum(1, keepdims=True), "columns are missing"),
        (lambda a, hidden: a * ~hidden / (a * ~hidden).sum(1).mean(), "One factor for all rows"),
        (
            lambda a, hidden: np.exp(a) * ~hidden / np.sum(np.exp(a) * ~hidden, 1, keepdims=True),
            "This is a second softmax",
        ),
        (lambda a, hidden: -a * ~hidden / (a @ ~hidden)[:, None], "The sign is wrong"),
    ],
    "17.shrink": [
        (removes_only, "never moved towards 0"),
        (lambda *a: by_order(*a, lambda left_out, moved: moved + left_out), "Moves are tried before removals"),
        (lambda *a: by_order(*a, lambda left_out, moved: left_out[::-1] + moved), "from right to left"),
        (lambda *a: by_order(*a, lambda left_out, moved: left_out + moved, move=lambda n: 0), "in one step"),
        (goes_on_with_what_passes, "continue only with a list that fails"),
        (turns_in_circles, "called 10 000 times"),
        (lambda fails, numbers: numbers, "Nothing is simplified"),
    ],
}
