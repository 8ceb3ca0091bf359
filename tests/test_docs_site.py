"""The documentation site builds without a warning, its links lead somewhere, and it needs nothing from elsewhere."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import FunctionType
from urllib.parse import unquote, urlsplit

import pytest

from ca_numpy.engine.autograd import Op

pytest.importorskip("sphinx", reason="pip install 'ca-numpy[docs]'")
pytest.importorskip("myst_nb", reason="pip install 'ca-numpy[docs]'")

ROOT = Path(__file__).parents[1]

#: What the reference describes, module by module.
MODULES = (
    "functional", "engine.ops", "nn", "models", "training.losses", "metrics", "data", "training", "filling",
    "evaluation", "weights", "viz", "testing",
)  # fmt: skip

#: Where a dollar is a dollar.
CODE = ("code", "pre", "script", "style")
#: Where a page names what a browser then fetches by itself.
FETCHED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("video", "src")}


class Page(HTMLParser):
    """What a page links to, fetches and can be linked at; its pictures, and how many equations it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.ids: set[str] = set()
        self.without_alt: list[str] = []
        self.equations = 0
        self.dollars: list[str] = []
        self._inside: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload", "prefetch", "preconnect"):
            self.fetched.append(given["href"])
        self.fetched += [value for name, value in given.items() if (tag, name) in FETCHED]
        if tag == "img" and not given.get("alt"):
            self.without_alt.append(given["src"])
        self.equations += tag == "math"
        if tag in CODE:
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._inside and tag == self._inside[-1]:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if "$" in data and not self._inside:
            self.dollars.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built anew. Warnings are errors; -n warns of names that lead nowhere."""
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-d", str(out / "doctrees")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "-c", "docs", ".", str(out / "html")], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return out / "html"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def targets(path: Path, links: list[str]) -> Iterator[tuple[str, Path, str]]:
    """The links that stay on the site: as written, the file, the place in it."""
    for link in links:
        parts = urlsplit(link)
        if not parts.scheme and not parts.netloc:
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            yield link, file, unquote(parts.fragment)


@pytest.mark.slow
def test_every_page_of_the_repository_is_there(site: Path) -> None:
    sources = [*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md"), *(ROOT / "tutorials").glob("[0-9]*.ipynb")]
    missing = [s for s in sources if not (site / s.relative_to(ROOT)).with_suffix(".html").is_file()]
    assert len(sources) > 20
    assert not missing


@pytest.mark.slow
def test_every_link_leads_to_a_page_and_a_place_on_it(site: Path, pages: dict[Path, Page]) -> None:
    lost = []
    for path, page in pages.items():
        for link, file, place in targets(path, page.links):
            if not file.is_file() or (place and file in pages and place not in pages[file].ids):
                lost.append(f"{path.relative_to(site)}: {link}")
    assert not lost


@pytest.mark.slow
def test_nothing_is_fetched_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    elsewhere = {f"{p.relative_to(site)}: {f}" for p, page in pages.items() for f in page.fetched if "//" in f}
    assert not elsewhere
    missing = [f for p, page in pages.items() for f, file, _ in targets(p, page.fetched) if not file.is_file()]
    assert not missing
    for sheet in site.rglob("*.css"):
        assert "@import" not in sheet.read_text(encoding="utf-8")


@pytest.mark.slow
def test_equations_are_drawn_and_pictures_described(site: Path, pages: dict[Path, Page]) -> None:
    assert pages[site / "tutorials" / "09_contextual_attention_step_by_step.html"].equations > 10
    assert not [f"{p.relative_to(site)}: {i}" for p, page in pages.items() for i in page.without_alt]
    assert not [f"{p.relative_to(site)}: {text}" for p, page in pages.items() for text in page.dollars]


@pytest.mark.slow
def test_docstrings_keep_their_equations_and_their_lists(site: Path) -> None:
    page = (site / "docs" / "api" / "functional.html").read_text(encoding="utf-8")
    equation = "y[n, i, j, o] = b[o] + Σ_{u,v,c} x[n, i·s + u·d − top, j·s + v·d − left, c] · w[u, v, c, o]"
    assert f"<span></span>{equation}\n" in page
    assert '<dt><code class="docutils literal notranslate"><span class="pre">softmax_scale</span></code></dt>' in page


@pytest.mark.slow
def test_every_public_function_class_and_operation_is_in_the_reference(pages: dict[Path, Page], site: Path) -> None:
    ids = set().union(*(page.ids for path, page in pages.items() if path.parent == site / "docs" / "api"))
    public = []
    for name in MODULES:
        module = importlib.import_module(f"ca_numpy.{name}")
        for member, obj in vars(module).items():
            listed = member in getattr(module, "__all__", ()) or getattr(obj, "__module__", "") == module.__name__
            if listed and not member.startswith("_") and isinstance(obj, type | FunctionType | Op):
                shown = "ca_numpy.ops" if isinstance(obj, Op) else module.__name__
                public.append(f"{shown}.{member}")
    assert len(public) > 100
    at_the_root = {"ca_numpy.filling.inpaint", "ca_numpy.evaluation.evaluate"}
    assert set(public) - ids == at_the_root
