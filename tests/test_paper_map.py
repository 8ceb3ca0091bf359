"""The map of the paper leads somewhere and lacks no row; the mathematics names every operation, and can be read."""

from __future__ import annotations

import ast
import importlib
import math
import pkgutil
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from matplotlib.mathtext import MathTextParser

from ca_numpy import ops
from ca_numpy.engine.autograd import Op
from ca_numpy.testing import all_ops

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MAP, MATHEMATICS = ((DOCS / name).read_text(encoding="utf-8") for name in ("paper_map.md", "mathematics.md"))
HEADER = ["here", "tests", "read"]
PAGES_OWN = "tests/test_paper_map.py"  # the pages link to this file

#: What the paper has: sections and their parts; displayed formulas, lines of Algorithm 1, figures, tables; appendices.
#: And departures, statements, and what it builds on, as the page numbers them.
SECTIONS = ["1", "2.1", "2.2", "3", "4.1", "4.2", "5", "5.1", "6"]
PARTS = {
    "3": ["coarse to fine", "Wasserstein GANs", "discounted loss"],
    "4.1": ["match and attend", "rebuild", "propagation", "memory"],
    "4.2": ["training"],
    "5.1": ["attention modules", "GAN losses", "reconstruction loss", "other losses"],
}
#: Sections that have no row beside those of their parts.
WHOLLY_PARTS = ("4.1", "5.1")
COUNTS = {"Eq. ": 6, "Alg. 1, line ": 13, "Fig. ": 16, "Table ": 1, "D": 17, "S": 6, "B": 7}
APPENDICES = "ABCD"


class Row(NamedTuple):
    """One row: what of the paper, and where it is here."""

    paper: str
    what: str
    here: str
    tests: str
    read: str


def rows(page: str) -> list[Row]:
    """The rows of all tables whose last columns are here, tests, read."""
    found, inside = list[Row](), False
    for line in page.splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if cells[-3:] == HEADER:
            inside = True
        elif inside and not set(line) <= set("|- "):
            found.append(Row(*cells))
    return found


ROWS = rows(MAP)


def identity(row: Row) -> str:
    return row.paper.replace("†", "").strip()


def code(text: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", text)


def resolve(name: str) -> Any:
    """The object of a full name: of a module, a class, or a dataclass's field. Raises LookupError if there is none."""
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError as e:
            if e.name is None or not name.startswith(e.name):
                raise  # something that it imports is missing, not itself
            continue
        for part in parts[n:]:
            if part in getattr(found, "__dataclass_fields__", {}):
                found = found.__dataclass_fields__[part]
            elif hasattr(found, part):
                found = getattr(found, part)
            else:
                raise LookupError(f"there is no {part!r} in {found!r}, for {name!r}")
        return found
    raise LookupError(f"there is no module for {name!r}")


@cache
def defined_in(path: str) -> frozenset[str]:
    """The tests that a file defines, methods as Class::test."""
    body = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    names = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    methods = {f"{c.name}::{f.name}" for c in classes for f in c.body if isinstance(f, ast.FunctionDef)}
    return frozenset(name for name in names | methods if name.split("::")[-1].startswith("test_"))


def check_test(name: str) -> None:
    path, _, test = name.partition("::")
    assert (ROOT / path).is_file(), f"there is no file {path!r}"
    assert test in defined_in(path), f"there is no test {test!r} in {path}"


# ---- the map: every row leads somewhere ------------------------------------------------------------------------------
@pytest.mark.parametrize("row", ROWS, ids=identity)
def test_a_row_names_what_can_be_imported_and_tests_that_exist(row: Row) -> None:
    if row.here.startswith("none: "):
        assert len(row.here.split()) > 4, "say why there is nothing"
        assert row.tests == "none"
        return
    names = [name for name in code(row.here) if name.startswith("ca_numpy")]
    assert names, "name what can be imported, or say none: and why"
    for name in names:
        resolve(name)
    assert code(row.tests), "name a test"
    for name in code(row.tests):
        check_test(name)


@pytest.mark.parametrize("row", ROWS, ids=identity)
def test_a_row_names_a_notebook_or_a_page_that_exists(row: Row) -> None:
    assert row.read, "name a tutorial or a page"
    for item in row.read.split(", "):
        page = re.fullmatch(r"\[[^]]+\]\(([^)]+)\)", item)
        if page:
            assert (DOCS / page[1]).is_file()
        else:
            assert re.fullmatch(r"\d\d", item), f"{item!r} is neither a tutorial's number nor a link"
            assert len(list((ROOT / "tutorials").glob(f"{item}_*.ipynb"))) == 1, f"there is no notebook {item}"


# ---- the map: no row is missing --------------------------------------------------------------------------------------
def test_every_section_equation_line_figure_and_table_has_its_row_once() -> None:
    wanted = [f"§ {section}" for section in SECTIONS if section not in WHOLLY_PARTS]
    wanted += [f"§ {section}, {part}" for section, parts in PARTS.items() for part in parts]
    wanted += [f"{kind}{n}" for kind, count in COUNTS.items() for n in range(1, count + 1)]
    wanted += [f"App. {letter}" for letter in APPENDICES]
    assert sorted(map(identity, ROWS)) == sorted(wanted)


def test_the_departures_are_those_of_their_page() -> None:
    page = (DOCS / "departures.md").read_text(encoding="utf-8")
    numbers = re.findall(r"^\| (\d+) \|", page, re.MULTILINE)
    assert [f"D{n}" for n in numbers] == [identity(row) for row in ROWS if re.match(r"D\d", row.paper)]


def test_a_departures_row_names_the_choice_that_its_page_names() -> None:
    page = (DOCS / "departures.md").read_text(encoding="utf-8")
    for number, choice in re.findall(r"^\| (\d+) \|.*\| ([^|]*) \|$", page, re.MULTILINE):
        (row,) = [row for row in ROWS if identity(row) == f"D{number}"]
        for field in re.findall(r"`[AVT]\.(\w+)`", choice):
            assert f".{field}`" in row.here, f"departure {number} is chosen by {field}, which its row does not name"


def test_what_the_code_says_of_the_paper_has_a_row() -> None:
    """Sections and figures that docstrings and some pages name: a row is missing where one is not in the map."""
    known = {identity(row) for row in ROWS}
    files = [*(ROOT / "ca_numpy").rglob("*.py"), *(ROOT / "backends").rglob("*.py")]
    files += [DOCS / f"{page}.md" for page in ("ablations", "data", "departures", "mathematics")]
    kinds = {"section": "§ ", "figure": "Fig. "}
    mentions = 0
    for path in files:
        text = path.read_text(encoding="utf-8")
        for word, kind in kinds.items():
            for numbers in re.findall(rf"\b{word}s? (\d+(?:\.\d)?(?:(?:, | and | to )\d+(?:\.\d)?)*)", text):
                for number in re.findall(r"\d+(?:\.\d)?", numbers):
                    named = f"{kind}{number}"
                    mentions += 1
                    there = any(k == named or k.startswith((f"{named}, ", f"{named}.")) for k in known)
                    assert there, f"{path.relative_to(ROOT)} names {word} {number}, which has no row"
    assert mentions > 30


def test_every_notebook_has_a_place_in_the_map() -> None:
    named = {number for row in ROWS for number in re.findall(r"\b\d\d\b", row.read)}
    assert {path.name[:2] for path in (ROOT / "tutorials").glob("[0-9][0-9]_*.ipynb")} - named == set()


# ---- the mathematics -------------------------------------------------------------------------------------------------
def homes(op: Op) -> set[str]:
    """The names under which the modules of `ops` hold an operation, as module.name."""
    modules = [importlib.import_module(f"{ops.__name__}.{m.name}") for m in pkgutil.iter_modules(ops.__path__)]
    return {f"{m.__name__.split('.')[-1]}.{name}" for m in modules for name, o in vars(m).items() if o is op}


@pytest.mark.parametrize("name", sorted(all_ops()))
def test_the_mathematics_names_every_operation_that_has_a_rule(name: str) -> None:
    op = all_ops()[name]
    assert op.rules, "an operation without defvjp"
    named = {f"`ops.{home}`" for home in homes(op)}
    assert any(name in MATHEMATICS for name in named), f"docs/mathematics.md has no rule of {' or '.join(named)}"


@pytest.mark.parametrize("name", sorted({n for n in code(MATHEMATICS) if re.match(r"(ca_numpy|ops)\.[\w.]+$", n)}))
def test_what_the_mathematics_names_exists(name: str) -> None:
    resolve(name if name.startswith("ca_numpy") else f"ca_numpy.{name}")


@pytest.mark.parametrize("name", sorted({n for n in code(MATHEMATICS) if re.search(r"\btest_", n)} - {PAGES_OWN}))
def test_the_tests_that_the_mathematics_names_exist(name: str) -> None:
    suite = re.fullmatch(r"BackendSuite\.(test_\w+)", name)
    if suite:
        check_test(f"ca_numpy/testing/backend_suite.py::BackendSuite::{suite[1]}")
    elif name.startswith("tests/") and "::" in name:
        check_test(name)
    else:
        pytest.fail(f"{name!r} does not say which file its test is in")


def test_the_penalty_worked_by_hand_is_what_the_code_gives() -> None:
    (block,) = [b for b in re.findall(r"```python\n(.*?)```", MATHEMATICS, re.DOTALL) if "gradient_penalty" in b]
    names: dict[str, Any] = {}
    exec(block, names)
    w = np.array([3.0, 4.0])
    for hole, (penalty, pull) in names["found"].items():
        norm = math.hypot(*(w * hole))
        assert penalty == pytest.approx((norm - 1) ** 2)
        np.testing.assert_allclose(pull, 2 * (norm - 1) * w * hole / norm)
        by_hand = rf"\$P = {penalty:.0f}\$,\s+\$\\bar w = [^$]*\({pull[0]:g}, {pull[1]:g}\)\$"
        assert re.search(by_hand, MATHEMATICS), f"the page has other numbers for the hole {hole}"


# ---- formulas read alike wherever the pages are shown ----------------------------------------------------------------
def formulas(page: str) -> tuple[list[str], list[str]]:
    """Displayed and inline formulas."""
    text = re.sub(r"```.*?```|`[^`]*`", "", page, flags=re.DOTALL)
    displayed = re.findall(r"\$\$(.*?)\$\$", text, re.DOTALL)
    rest = re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL)
    assert rest.count("$") % 2 == 0, "a formula does not end"
    return displayed, re.findall(r"\$([^$]*)\$", rest)


@pytest.mark.parametrize("page", [MAP, MATHEMATICS], ids=["paper_map", "mathematics"])
def test_every_formula_can_be_read(page: str) -> None:
    """By Matplotlib's parser, which knows no more than the pages' two renderers do."""
    parser = MathTextParser("path")
    displayed, inline = formulas(page)
    assert inline
    for formula in [*displayed, *inline]:
        parser.parse(f"${' '.join(formula.split())}$")


@pytest.mark.parametrize("page", [MAP, MATHEMATICS], ids=["paper_map", "mathematics"])
def test_no_formula_depends_on_who_reads_markdown_first(page: str) -> None:
    """GitHub takes a backslash before a sign of punctuation, and underscores between such signs, for its own."""
    displayed, inline = formulas(page)
    assert [f for f in [*displayed, *inline] if re.search(r"\\[^a-zA-Z]", f)] == []
    assert [f for f in inline if re.search(r"[^\w\s]_|\n|\*", f)] == []
