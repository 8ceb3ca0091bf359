"""The tutorials' exercises, and a checker that says what is wrong with an answer.

    from exercises import check

    check("03.output_size", my_function)

The two digits before the dot are the notebook's. The exercises of notebook NN are in `notebook_NN.py`, next to this
file, in a list EXERCISES; nothing else needs to be registered.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from ca_numpy.errors import UserError
from exercises.exercise import Exercise, Verdict

__all__ = ["Exercise", "Verdict", "all_exercises", "check"]


def check(name: str, answer: Any) -> Verdict:
    """Check `answer` against the exercise of that name and say what is wrong with it, if anything.

    Never raises for a wrong answer, so that a notebook continues. The verdict is true for a right answer, and prints as
    a line or two. Raises UserError for an unknown exercise.
    """
    exercises = _of_notebook(name.partition(".")[0])
    if name not in exercises:
        known = ", ".join(exercises or all_exercises())
        raise UserError(f"there is no exercise {name!r}: choose from {known}")
    return exercises[name].check(answer)


def all_exercises() -> dict[str, Exercise]:
    """Every exercise by name, in the order of the notebooks."""
    found: dict[str, Exercise] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        if module.startswith("notebook_"):
            found |= _of_notebook(module.removeprefix("notebook_"))
    return found


def _of_notebook(number: str) -> dict[str, Exercise]:
    if f"notebook_{number}" not in {m.name for m in pkgutil.iter_modules(__path__)}:
        return {}
    module = importlib.import_module(f"{__name__}.notebook_{number}")
    return {e.name: e for e in module.EXERCISES}
