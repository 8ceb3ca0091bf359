"""What people write instead, and words of what they are told."""

import numpy as np


def removes_only(fails, numbers):
    for i in range(len(numbers)):
        shorter = numbers[:i] + numbers[i + 1 :]
        if fails(shorter):
            return removes_only(fails, shorter)
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
        (lambda attend, f, b: np.allclose(attend(2 * f, b), attend(f, b)), "It is the foreground that is scaled"),
        (lambda attend, f, b: np.allclose(attend(f, b).sum(1), 1), "compare the attention itself"),
        (lambda attend, f, b: (attend(f, np.arange(1, 7)[:, None] * b) == attend(f, b)).all(), "== is too strict"),
        (lambda attend, f, b: attend(f, 5 * b) - attend(f, b), "axes"),
        (lambda attend, f, b: print(end=""), "is a `return` missing?"),
    ],
    "17.hide": [
        (lambda a, hidden: np.where(hidden, 0, a), "The rows sum to less than 1"),
        (lambda a, hidden: a[:, ~hidden] / a[:, ~hidden].sum(1, keepdims=True), "columns are gone"),
        (lambda a, hidden: a * ~hidden / (a * ~hidden).sum(1).mean(), "One factor for all rows"),
        (lambda a, hidden: np.exp(a) * ~hidden / np.sum(np.exp(a) * ~hidden, 1, keepdims=True), "A second softmax"),
        (lambda a, hidden: -a * ~hidden / (a @ ~hidden)[:, None], "The sign is wrong"),
    ],
    "17.shrink": [
        (removes_only, "never moved towards 0"),
        (goes_on_with_what_passes, "only go on with a list that fails"),
        (turns_in_circles, "asked 10 000 times"),
        (lambda fails, numbers: numbers, "Nothing is made simpler"),
    ],
}
