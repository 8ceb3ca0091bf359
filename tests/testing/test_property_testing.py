"""docs/property_testing.md does what it says: its tests pass on somebody else's layer, and find the planted mistake.

With the page's PyTorch where that is installed, and always with a layer and an engine in NumPy (`stand_ins/`).
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "property_testing.md").read_text(encoding="utf-8")
THEIRS, TEST_THEIRS, PLANTED, ENGINE, TEST_ENGINE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
#: The same examples in each run: whether and how a failure shrinks must not depend on luck.
CONFTEST = """from hypothesis import settings

settings.register_profile("same", derandomize=True)
settings.load_profile("same")
"""
#: The line that the mistake replaces.
RIGHT = {"torch": "return x[:, :, rows][:, :, :, columns]", "numpy": "return x[:, rows][:, :, columns]"}
WRONG = {"torch": PLANTED.strip(), "numpy": "return x[:, ::rate, ::rate]"}

by = pytest.mark.parametrize(
    "by",
    [
        "numpy",
        pytest.param(
            "torch", marks=pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch")
        ),
    ],
)
pytestmark = pytest.mark.slow


def run(folder: Path, by: str, *tests: str, planted: bool = False) -> str:
    """What pytest prints of the page's tests in a folder with these files."""
    for name, text in (("theirs", THEIRS), ("engine", ENGINE)):
        if by == "torch":
            (folder / f"{name}.py").write_text(text, encoding="utf-8")
        else:
            shutil.copy(Path(__file__).parent / "stand_ins" / f"{name}.py", folder)
    for name, text in (("conftest", CONFTEST), ("test_theirs", TEST_THEIRS), ("test_engine", TEST_ENGINE)):
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    if planted:
        theirs = (folder / "theirs.py").read_text(encoding="utf-8")
        assert theirs.count(RIGHT[by]) == 1
        (folder / "theirs.py").write_text(theirs.replace(RIGHT[by], WRONG[by]), encoding="utf-8")
    paths = os.pathsep.join([str(folder), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": paths, "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", *tests]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8").stdout


def outcomes(said: str, outcome: str) -> set[str]:
    return set(re.findall(rf"^{outcome} \S+::(\w+)", said, re.MULTILINE))


TESTS = set(re.findall(r"^def (test_\w+)", TEST_THEIRS, re.MULTILINE))


@by
def test_the_layer_and_the_engine_pass(tmp_path: Path, by: str) -> None:
    said = run(tmp_path, by, "test_theirs.py", "test_engine.py")
    assert outcomes(said, "PASSED") == TESTS | {"test_an_operation_and_its_gradient"}, said
    assert not outcomes(said, "FAILED")


@by
def test_the_planted_mistake_is_found_and_shrinks_to_what_the_page_shows(tmp_path: Path, by: str) -> None:
    said = run(tmp_path, by, "test_theirs.py", planted=True)
    assert outcomes(said, "FAILED") == {
        "test_it_is_the_released_attention", "test_its_gradients_are_those_of_the_equations",
    }, said  # fmt: skip
    assert outcomes(said, "PASSED") == TESTS - outcomes(said, "FAILED")
    (shown,) = re.findall(r"^ {4}(AssertionError: .*)…$", PAGE, re.MULTILINE)
    assert shown in said
