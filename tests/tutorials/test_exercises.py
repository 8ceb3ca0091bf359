"""Each exercise has a solution that passes, and wrong answers whose mistakes are named."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from exercises import Exercise, all_exercises, check

from ca_numpy.errors import UserError

HERE = Path(__file__).parent
TUTORIALS = HERE.parents[1] / "tutorials"
EXERCISES = all_exercises()


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def collected(folder: Path, table: str) -> dict[str, Any]:
    """One table by exercise, out of the files of all notebooks in a folder."""
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("notebook_*.py")):
        found |= getattr(load(path), table)
    return found


SOLUTIONS = collected(TUTORIALS / "solutions", "SOLUTIONS")
WRONG = collected(HERE / "wrong_answers", "WRONG")
WRONG_ANSWERS = [(name, answer, words) for name, answers in WRONG.items() for answer, words in answers]


def test_every_exercise_has_a_solution_and_two_wrong_answers() -> None:
    assert set(SOLUTIONS) == set(WRONG) == set(EXERCISES)
    assert not [name for name in EXERCISES if len(WRONG[name]) < 2]


@pytest.mark.parametrize("name", SOLUTIONS)
def test_the_solution_passes(name: str) -> None:
    verdict = check(name, SOLUTIONS[name])
    assert verdict, str(verdict)


@pytest.mark.parametrize(("name", "answer", "words"), WRONG_ANSWERS, ids=lambda x: x if isinstance(x, str) else "")
def test_a_wrong_answers_mistake_is_named(name: str, answer: Any, words: str) -> None:
    verdict = check(name, answer)
    assert not verdict
    assert words in str(verdict)


@pytest.mark.parametrize("name", EXERCISES)
def test_a_known_mistake_is_wrong_and_recognised(name: str) -> None:
    exercise = EXERCISES[name]
    assert exercise.name == name
    assert exercise.check(exercise.right)
    for message, mistake in exercise.mistakes.items():
        verdict = check(name, mistake)
        assert not verdict
        assert message in str(verdict)


@pytest.mark.parametrize("name", EXERCISES)
def test_an_unanswered_exercise_shows_its_task(name: str) -> None:
    def stub(*inputs: Any) -> Any:
        raise NotImplementedError

    for answer in (None, ..., stub):
        verdict = check(name, answer)
        assert not verdict
        assert "not answered yet" in str(verdict)
        assert EXERCISES[name].task in str(verdict)


@pytest.mark.parametrize("name", EXERCISES)
def test_an_answer_that_raises_is_reported_with_its_input(name: str) -> None:
    def broken(*inputs: Any) -> Any:
        raise ZeroDivisionError("division by zero")

    if callable(EXERCISES[name].right):
        assert "raises ZeroDivisionError on “" in str(check(name, broken))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: -x, "The sign is wrong: everything is −1 times"),
        (lambda x: abs(x), "the magnitudes are right"),
        (lambda x: x / 2, "everything is 0.5 times"),
        (lambda x: x * x.shape[0], "a different one for each input: 4, 5"),
        (lambda x: x + 1.5, "1.5 too large"),
        (lambda x: 0 * x, "Everything is zero"),
        (lambda x: x / 0, "not finite"),
        (lambda x: x[::-1], "backwards along axis 0"),
        (lambda x: x[::-1, ::-1], "backwards along axis 0 and 1"),
        (lambda x: x.swapaxes(0, 1), "axes are in the wrong order"),
        (lambda x: x[:-1], "off by one: one too few along axis 0"),
        (lambda x: np.pad(x, ((0, 0), (1, 0))), "off by one: one too many along axis 1"),
        (lambda x: np.concatenate([0 * x[:1], x[:-1]]), "one place too late along axis 0"),
        (lambda x: np.concatenate([x[:, 1:], x[:, :1]], axis=1), "one place too early along axis 1"),
        (lambda x: np.pad(x[1:-1], ((1, 1), (0, 0))), "wrong at the border, along axis 0"),
        (lambda x: x.reshape(-1), "is a reshape or `keepdims` missing"),
        (lambda x: x.sum(), "is something summed twice"),
        (lambda x: x * (x > 0), "values are wrong"),
    ],
)
def test_differences_are_described_in_words(change: Any, words: str) -> None:
    rng = np.random.default_rng(0)
    inputs = {"four": (rng.standard_normal((4, 6)),), "five": (rng.standard_normal((5, 7)),)}
    exercise = Exercise("00.same", "Give back what you get.", right=lambda x: x, inputs=lambda: inputs)
    with np.errstate(all="ignore"):
        assert words in str(exercise.check(change))


def test_an_answer_may_be_a_value() -> None:
    def inputs() -> dict[str, tuple[()]]:
        return {"your number": ()}

    mistakes = {"Count the pixel itself, too.": 270}
    exercise = Exercise("00.size", "How wide?", right=271, inputs=inputs, mistakes=mistakes, ask=lambda answer: answer)
    assert exercise.check(271)
    assert "Count the pixel itself" in str(exercise.check(270))
    assert "is 27, but should be 271" in str(exercise.check(27))


def test_an_unknown_exercise_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"01\.division"):
        check("01.multiplication", None)
    with pytest.raises(UserError, match=r"01\.division"):
        check("division", None)


def test_the_checker_needs_neither_pytest_nor_hypothesis() -> None:
    code = f"""
import sys
sys.path.insert(0, {str(TUTORIALS)!r})
sys.modules.update(pytest=None, hypothesis=None)
from exercises import all_exercises, check
for name in all_exercises():
    check(name, None)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
