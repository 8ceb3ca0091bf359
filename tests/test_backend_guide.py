"""The example in docs/backend_guide.md is what it says: it installs, passes the suite, and its mistake is found."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="pip install 'ca-numpy[numba]'")

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "backend_guide.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the guide's files, and what an installation would write: the entry point."""
    folder = tmp_path_factory.mktemp("onepass")
    backend, suite, mistake = blocks("python")
    (settings,) = (tomllib.loads(text) for text in blocks("toml"))
    for name, text in (("onepass", backend), ("test_onepass", suite), ("careless", mistake)):
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    announced = settings["project"]["entry-points"]["ca_numpy.backends"] | {"careless": "careless:CarelessBackend"}
    (folder / "test_careless.py").write_text(suite.replace("onepass", "careless"), encoding="utf-8")
    info = folder / "ca_numpy_onepass-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ca-numpy-onepass\nVersion: 0.1\n")
    lines = [f"{name} = {value}" for name, value in announced.items()]
    (info / "entry_points.txt").write_text("[ca_numpy.backends]\n" + "\n".join(lines) + "\n")
    return folder


def run(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """A module run as a program, with the folder's packages as if they were installed."""
    paths = os.pathsep.join([str(folder), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": paths, "PYTHONIOENCODING": "utf-8"}
    return subprocess.run([sys.executable, "-m", *args], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_the_backend_is_found_and_says_what_it_is(installed: Path) -> None:
    listed = run(installed, "ca_numpy", "backends").stdout
    assert re.search(r"^onepass +works: +NumPy \S+, Adam by Numba", listed, re.MULTILINE)


@pytest.mark.slow
def test_the_backend_passes_the_suite(installed: Path) -> None:
    done = run(installed, "pytest", "-p", "no:cacheprovider", "test_onepass.py", "-k", "adam or says or come")
    assert done.returncode == 0, done.stdout
    passed = re.search(r" (\d+) passed", done.stdout, re.MULTILINE)
    assert passed
    assert int(passed[1]) >= 5


@pytest.mark.slow
def test_the_mistake_is_found_and_told_as_the_guide_says(installed: Path) -> None:
    done = run(installed, "pytest", "-p", "no:cacheprovider", "test_careless.py", "-k", "any_memory and adam")
    assert done.returncode == 1, done.stdout
    (told,) = re.findall(r"^ {4}AssertionError: (.*)…(.*)$", GUIDE, re.MULTILINE)
    assert re.search(f"AssertionError: {re.escape(told[0])}.*{re.escape(told[1])}", done.stdout)


@pytest.mark.slow
def test_the_benchmark_has_a_column_for_it(installed: Path) -> None:
    options = ["--what", "attention", "--sizes", "64", "--rounds", "1", "--no-peer"]
    done = run(installed, "ca_numpy", "bench", "--backend", "numpy", "onepass", *options)
    assert done.returncode == 0, done.stderr
    assert "| onepass, ms |" in done.stdout
