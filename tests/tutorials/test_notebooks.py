"""Every notebook runs, is in step with its pair, and its committed figures are what the code prints today."""

from __future__ import annotations

import json
import math
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ca_numpy.backends.cupy_backend.emulation.kernels import compiler
from ca_numpy.errors import UserError
from ca_numpy.registry import why_unavailable

jupytext = pytest.importorskip("jupytext", reason="pip install 'ca-numpy[tutorials]'")
nbformat = pytest.importorskip("nbformat", reason="pip install 'ca-numpy[tutorials]'")
pytest.importorskip("nbclient", reason="pip install 'ca-numpy[tutorials]'")

from tutorials.test_exercises import EXERCISES, load  # noqa: E402

TUTORIALS = Path(__file__).parents[2] / "tutorials"
tool = load(TUTORIALS / "run.py")
NOTEBOOKS: list[Path] = tool.notebooks()
#: Notebooks that also run on another backend, where it is there.
ON_ANOTHER_BACKEND = {"01": "numba", "02": "numba"}
#: Notebooks that compile kernels: by a C++ compiler, by Numba.
NEEDS_COMPILER = ("16",)
NEEDS_NUMBA = ("15",)
TOLERANCE = 1e-6

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def committed(path: Path) -> Any:
    return nbformat.read(path.with_suffix(".ipynb"), as_version=4)


@cache
def quick(path: Path, backend: str) -> Any:
    """The notebook as it runs today, in its small sizes."""
    variables = {"CA_NUMPY_QUICK": "1", "CA_NUMPY_BACKEND": backend, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    if "PYTEST_XDIST_WORKER" in os.environ:  # tests that run side by side have one core each
        variables |= {"OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    return tool.execute(tool.as_notebook(path), variables=variables)


def figures(notebook: Any) -> dict[str, Any]:
    """The one line of JSON that the cell tagged figures-that-matter prints."""
    (cell,) = [c for c in notebook.cells if "figures-that-matter" in c.metadata.get("tags", [])]
    (output,) = cell.outputs
    assert output.name == "stdout"
    (line,) = output.text.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def assert_same_figures(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert list(found) == list(wanted)
    different = {
        name: (found[name], wanted[name]) for name in wanted if not _same(found[name], wanted[name])
    }  # fmt: skip
    assert not different, f"(now, committed): {different}; if this is meant, python tutorials/run.py"


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b or (isinstance(a, float) and isinstance(b, float) and math.isclose(a, b, rel_tol=TOLERANCE))


@pytest.mark.slow
@every_notebook
def test_it_runs_and_gives_the_committed_figures(path: Path) -> None:
    if path.name.startswith(NEEDS_COMPILER):
        try:
            compiler()
        except UserError as e:
            pytest.skip(str(e))
    if path.name.startswith(NEEDS_NUMBA):
        pytest.importorskip("numba", reason="pip install 'ca-numpy[numba]'")
    assert_same_figures(figures(quick(path, "numpy")), figures(committed(path)))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "backend"), ON_ANOTHER_BACKEND.items())
def test_it_gives_the_same_on_another_backend(number: str, backend: str) -> None:
    reason = why_unavailable(backend)
    if reason is not None:
        pytest.skip(reason)
    (path,) = [p for p in NOTEBOOKS if p.name.startswith(number)]
    assert_same_figures(figures(quick(path, backend)), figures(committed(path)))


@every_notebook
def test_the_pair_is_in_step(path: Path) -> None:
    written, kept = tool.as_notebook(path), committed(path)
    cells = [[(c.cell_type, c.source, c.metadata.get("tags", [])) for c in n.cells] for n in (written, kept)]
    for i, (in_py, in_ipynb) in enumerate(zip(*cells, strict=True)):
        assert in_py == in_ipynb, f"cell {i} differs: edit the .py, then python tutorials/run.py {path.name[:2]}"


@every_notebook
def test_it_was_run_from_top_to_bottom_before_it_was_committed(path: Path) -> None:
    code = [c for c in committed(path).cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    assert not [o for c in code for o in c.outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert len(figures(committed(path))) >= 3
    assert path.with_suffix(".ipynb").stat().st_size < 500_000


@every_notebook
def test_every_picture_has_an_alt_text(path: Path) -> None:
    outputs = [o for c in committed(path).cells if c.cell_type == "code" for o in c.outputs if "data" in o]
    pictures = [o for o in outputs if "image/png" in o.data]
    assert pictures
    for picture in pictures:
        alt = picture.metadata["image/png"]["alt"]
        assert len(alt) >= 40
        assert any(o.data.get("text/markdown") == f"*{alt}*" for o in outputs)


@every_notebook
def test_it_keeps_to_the_pattern(path: Path) -> None:
    notebook = committed(path)
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    tags = {tag for c in notebook.cells for tag in c.metadata.get("tags", [])}
    number = path.name[:2]
    assert text.startswith(f"# {number} · ")
    for part in ("**One idea:**", "## The problem", "quation", "oops", "**Predict, then run.**", "## Exercises", "$$"):
        assert part in text, part
    assert tags == {"predict", "timed", "figures-that-matter"}
    asked = {c.source.split('check("')[1].split('"')[0] for c in notebook.cells if 'check("' in c.source}
    assert asked == {name for name in EXERCISES if name.startswith(number)}


@every_notebook
def test_its_links_lead_somewhere(path: Path) -> None:
    for cell in committed(path).cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#\s]+)", cell.source):
                assert "://" in target or (TUTORIALS / target).exists(), target


def test_a_changed_figure_is_reported() -> None:
    with pytest.raises(AssertionError, match=r"'size': \(1\.001, 1\.0\)"):
        assert_same_figures({"size": 1.001, "count": 3}, {"size": 1.0, "count": 3})
    assert_same_figures({"size": [1.0 + 1e-9, 2.0]}, {"size": [1.0, 2.0]})


def test_the_list_names_every_notebook_that_exists() -> None:
    listed = re.findall(r"\]\((\d\d_\w+\.ipynb)\)", (TUTORIALS / "README.md").read_text(encoding="utf-8"))
    assert listed == [p.with_suffix(".ipynb").name for p in NOTEBOOKS]
