"""An exercise: the task, its inputs, the right answer, and common wrong answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy import Tensor
from exercises.diagnosis import close, differences, first_difference

Array = NDArray[Any]
Results = tuple[Array, ...]
Outcomes = Mapping[str, "Results | Exception"]


@dataclass(frozen=True)
class Verdict:
    """What `check` found. True for a right answer; prints as its message."""

    exercise: str
    right: bool
    message: str

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return f"{self.exercise}: {self.message}"


def _call(answer: Any, *inputs: Any) -> Any:
    return answer(*inputs)


@dataclass(frozen=True)
class Exercise:
    """One exercise of a notebook.

    name      "NN.what", NN the notebook's number
    task      one line, shown until there is an answer
    right     a right answer, computed differently from the notebook where possible
    inputs    {description of this input: its arguments}, created anew for each check. The names are shown: "stride
              2", "an even kernel"
    mistakes  {message: an answer that makes this mistake}, shown for an answer with the same result on every input
    ask       how to apply an answer to an input; by default, by calling it. Several results are a tuple. If the answer
              is a value: `lambda answer: answer`, and one input ()
    results   names of the results, where there are several
    tolerance relative to the largest value of a result
    """

    name: str
    task: str
    right: Any
    inputs: Callable[[], Mapping[str, tuple[Any, ...]]]
    mistakes: Mapping[str, Any] = field(default_factory=dict)
    ask: Callable[..., Any] = _call
    results: tuple[str, ...] = ()
    tolerance: float = 1e-9

    def check(self, answer: Any) -> Verdict:
        """Apply the answer to every input and compare: first with the known mistakes, then by what differs."""
        if answer is None or answer is Ellipsis:
            return self._say(f"not answered yet. {self.task}")
        wanted = {name: self._results(self.right, x) for name, x in self.inputs().items()}
        found: dict[str, Results] = {}
        for name, inputs in self.inputs().items():
            given = [np.array(x) if isinstance(x, np.ndarray) else x for x in inputs]
            try:
                found[name] = self._results(answer, inputs)
            except NotImplementedError:
                return self._say(f"not answered yet. {self.task}")
            except NothingReturned as e:
                return self._say(f"{e} on {described(name, inputs)}: is a `return` missing?")
            except Exception as e:  # an answer may raise anything, but the notebook has to continue
                message = self._known_mistake(answer, wanted)
                message = f" {message}" if message else ""
                return self._say(f"raises {type(e).__name__} on {described(name, inputs)}: {e}.{message}")
            for i, (before, after) in enumerate(zip(given, inputs, strict=True)):
                if isinstance(before, np.ndarray) and not np.array_equal(before, after, equal_nan=True):
                    return self._say(f"modifies its input number {i} on {described(name, inputs)}: work on a copy.")
        wrong = [name for name in wanted if not same(found[name], wanted[name], self.tolerance)]
        if not wrong:
            return Verdict(self.name, True, f"right, on all {len(wanted)} inputs.")
        message = self._known_mistake(answer, wanted)
        pairs = [(found[name], wanted[name]) for name in wrong]
        message = message or differences(pairs, names=self.results, tolerance=self.tolerance)
        inputs = self.inputs()[wrong[0]]
        where = first_difference(found[wrong[0]], wanted[wrong[0]], names=self.results, tolerance=self.tolerance)
        passed = [name for name in wanted if name not in wrong]
        score = f"\nRight on: {'; '.join(passed)}. Wrong on: {'; '.join(wrong)}." if passed else ""
        return self._say(f"{message}\nOn {described(wrong[0], inputs)}: {where}{score}")

    def _say(self, message: str) -> Verdict:
        return Verdict(self.name, False, message)

    def _results(self, answer: Any, inputs: tuple[Any, ...]) -> Results:
        results = self.ask(answer, *inputs)
        if not isinstance(results, tuple) or not self.results:
            results = (results,)
        if any(r is None or r is Ellipsis for r in results):
            raise NothingReturned("returns nothing" if len(results) == 1 else "returns nothing for one of its results")
        return tuple(np.asarray(r.numpy() if isinstance(r, Tensor) else r, dtype=np.float64) for r in results)

    def _known_mistake(self, answer: Any, wanted: Mapping[str, Results]) -> str | None:
        """The message for an answer that behaves like one of the mistakes on every input."""
        mine = {name: self._outcome(answer, name) for name in wanted}
        for message, mistake in self.mistakes.items():
            theirs = {name: self._outcome(mistake, name) for name in wanted}
            if self._agree(mine, theirs, wanted):
                return message
        return None

    def _agree(self, mine: Outcomes, theirs: Outcomes, wanted: Mapping[str, Results]) -> bool:
        """Equal values or kinds of error on every input; and some value is wrong, or all errors are the same."""
        same_errors = True
        for name, a in mine.items():
            b = theirs[name]
            if isinstance(a, tuple) and isinstance(b, tuple):
                if not same(a, b, self.tolerance):
                    return False
            elif type(a) is not type(b):
                return False
            else:
                same_errors = same_errors and str(a) == str(b)
        wrong = [a for name, a in mine.items() if isinstance(a, tuple) and not same(a, wanted[name], self.tolerance)]
        return bool(wrong) or same_errors

    def _outcome(self, answer: Any, name: str) -> Results | Exception:
        try:
            return self._results(answer, self.inputs()[name])
        except Exception as e:
            return e


class NothingReturned(Exception):
    """An answer returned None."""


def same(found: Results, wanted: Results, tolerance: float) -> bool:
    return len(found) == len(wanted) and all(close(f, w, tolerance) for f, w in zip(found, wanted, strict=True))


def described(name: str, inputs: tuple[Any, ...]) -> str:
    """The input's name and value: shapes of arrays, short values in full."""
    parts = [f"an array {x.shape}" if isinstance(x, np.ndarray) and x.size > 4 else repr(x) for x in inputs]
    shown = ", ".join(p for p in parts if len(p) <= 40 and " object at " not in p and "<function" not in p)
    return f"“{name}” ({shown})" if shown else f"“{name}”"
