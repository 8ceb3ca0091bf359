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

#: What the paper has, by its own numbers (displayed formulas in order), with words of each topic, in small letters.
#: They are read off the paper, not off the page, whose row of that number must have all of them.
PAPER = {
    "§ ": {
        "1": "introduction; copy; invent",
        "2.1": "related work; inpainting; diffusion; patches",
        "2.2": "related work; attention; spatial transformer; appearance flow",
        "3": "elu; mirror; normalisation; clipped; white; mask",
        "3, coarse to fine": "two; stages; reconstruction; critics; dilation",
        "3, Wasserstein GANs": "critic; whole; local",
        "3, discounted loss": "ℓ1; distance; nearest; known; 0.99",
        "4.1, match and attend": "3×3; equation; softmax; background",
        "4.1, rebuild": "transposed; overlaps; averaged",
        "4.1, propagation": "equation; left-right; top-down; identity",
        "4.1, memory": "stride; downscal",
        "4.2": "two; encoders; one; decoder",
        "4.2, training": "mask; random; [-1, 1]; algorithm",
        "5": "places2; celeba; celeba-hq; dtd; imagenet; post-processing",
        "5.1, attention modules": "spatial transformer; appearance flow",
        "5.1, GAN losses": "dcgan; lsgan; wgan-gp",
        "5.1, reconstruction loss": "refinement; without; ℓ1",
        "5.1, other losses": "perceptual; style; total variation",
        "6": "conclusion; high resolutions",
    },
    "Eq. ": {
        "1": r"\min_g \max_d; dual",
        "2": r"\nabla d(\hat x) \vert_2 - 1)^2; between",
        "3": r"\nabla d(\hat x) \odot (1 - m); hole; 10",
        "4": r"\inf; transport",
        "5": r"\langle f / \vert f; b / \vert b; cosine",
        "6": r"\hat s; \sum; from $-k$ to $k$; softmax",
    },
    "Alg. 1, line ": {
        "1": "while g has not converged",
        "2": "for five",
        "3": "sample; batch",
        "4": "random masks",
        "5": "z = x ⊙ m",
        "6": "x̃ = z + g(z, m) ⊙ (1 − m)",
        "7": "t uniform in [0, 1]; x̂ = (1 − t) x + t x̃",
        "8": "both critics; x̃ and x̂",
        "9": "end for",
        "10": "sample",
        "11": "random masks",
        "12": "update g; discounted ℓ1; critics",
        "13": "end while",
    },
    "Fig. ": {
        "1": "examples; scene; face; texture",
        "2": "coarse; refinement; critics",
        "3": "contextual attention; layer; convolution; softmax",
        "4": "unified; encoders; colours; white; pink; green",
        "5": "baseline; iizuka",
        "6": "baseline; full model; places2; attention maps",
        "7": "celeba; dtd; imagenet; attention map",
        "8": "spatial transformer; appearance flow; contextual attention",
        "9": "dcgan; collapsed",
        "10": "celeba-hq",
        "11": "celeba",
        "12": "imagenet",
        "13": "dtd",
        "14": "more methods",
        "15": "more methods",
        "16": "highlighted; input",
    },
    "Table ": {
        "1": "ℓ1; ℓ2; psnr; tv; patchmatch; places2; 16.1/3.9/16.62/25.0; 9.4/2.4/18.15/25.7; 8.6/2.1/18.91/25.3"
    },
    "App. ": {
        "A": "celeba; celeba-hq; dtd; imagenet; crops",
        "B": "more methods; melding; structcompletion",
        "C": "highlighted; figure 16",
        "D": "layers; kernel; dilation; stride; channels",
    },
}
#: Rows that the page numbers itself: departures, statements of the paper with their sections, and what it builds on.
COUNTS = {"D": 17, "S": 6, "B": 7}
STATEMENTS = {"S1": "§ 5", "S2": "§ 3, § 5", "S3": "§ 3, § 5", "S4": "§ 5", "S5": "§ 3", "S6": "§ 4.1, figure 3"}


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


#: The topic of every numbered thing in the paper, by the page's name for it.
FACTS = {f"{kind}{number}": words for kind, numbers in PAPER.items() for number, words in numbers.items()}


def identity(row: Row) -> str:
    return row.paper


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
    wanted = [*FACTS, *(f"{kind}{n}" for kind, count in COUNTS.items() for n in range(1, count + 1))]
    assert sorted(row.paper for row in ROWS) == sorted(wanted)


@pytest.mark.parametrize("row", [row for row in ROWS if row.paper in FACTS], ids=identity)
def test_a_row_has_the_topic_that_the_paper_has_under_its_number(row: Row) -> None:
    content = row.what.lower()
    assert [words for words in FACTS[row.paper].split("; ") if words not in content] == []


def test_figures_that_show_one_data_set_name_no_other() -> None:
    names = {"10": "CelebA-HQ", "11": "CelebA", "12": "ImageNet", "13": "DTD"}
    assert {row.paper: row.what for row in ROWS if row.paper.removeprefix("Fig. ") in names} == {
        f"Fig. {n}": f"More results, {name}" for n, name in names.items()
    }


def test_a_statement_names_the_section_that_it_is_from() -> None:
    named = {row.paper: row.what.partition(": ")[0] for row in ROWS if row.paper in STATEMENTS}
    assert named == STATEMENTS


def test_nothing_is_said_from_memory() -> None:
    pages = [*DOCS.glob("*.md"), *(ROOT / "tutorials").glob("*.py"), ROOT / "README.md"]
    assert [page.name for page in pages if "†" in page.read_text(encoding="utf-8")] == []


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
    """Sections, equations, figures and tables that docstrings, pages and notebooks name: each is the paper's."""
    files = [*(ROOT / "ca_numpy").rglob("*.py"), *(ROOT / "backends").rglob("*.py"), ROOT / "README.md"]
    files += [*(ROOT / "tutorials").glob("*.py"), *DOCS.glob("*.md")]
    kinds = {"section": "§ ", "§": "§ ", "equation": "Eq. ", "figure": "Fig. ", "table": "Table ", "appendix": "App. "}
    mentions = 0
    for path in files:
        text = path.read_text(encoding="utf-8")
        for word, kind in kinds.items():
            one = r"[A-D]\b" if word == "appendix" else r"\d+(?:\.\d)?(?!\d| ?×)"
            for numbers in re.findall(rf"(?<!\w)(?i:{word})s? ({one}(?:(?:, | and | to ){one})*)", text):
                for number in re.findall(one, numbers):
                    named = f"{kind}{number}"
                    mentions += 1
                    there = any(k == named or k.startswith((f"{named}, ", f"{named}.")) for k in FACTS)
                    assert there, f"{path.relative_to(ROOT)} names {word} {number}, which the paper does not have"
    assert mentions > 100


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
