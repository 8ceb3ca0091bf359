"""Links to files and folders of the repository lead to pages that show them."""

from __future__ import annotations

import html
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

ROOT = Path(__file__).parents[2]
PAGES = "source/"
LEXERS = {".py": "python", ".cu": "cuda", ".cuh": "cuda", ".h": "cpp", ".toml": "toml", ".md": "md"}

#: Files and folders to be shown, as paths from the root. Complete once all pages are read.
_wanted: set[str] = set()


def remember(app: Sphinx, env: Any, docnames: list[str]) -> None:
    """Pages that did not change are not read again: what they link to is kept with what else is known of them."""
    _wanted.update(getattr(env, "shown_sources", ()))
    env.shown_sources = _wanted


class SourceLinks(SphinxTransform):
    """MyST makes downloads of links to files that are no pages, and knows nothing of folders.

    Other files (tables, weights) stay downloads.
    """

    default_priority = 500

    def apply(self, **_: Any) -> None:
        links = (addnodes.download_reference, addnodes.pending_xref)
        for node in list(self.document.findall(lambda node: isinstance(node, links))):
            if node.get("reftype") != "myst":
                continue
            if node.get("refdomain") == "doc":
                path = ROOT / f"{node['reftarget']}.md"  # by its suffix a page, which it need not be
            else:
                path = (ROOT / self.env.docname).parent / node["reftarget"].partition("#")[0]
            page = self._page(path.resolve())
            if page is not None:
                link = nodes.reference(refuri=self.app.builder.get_relative_uri(self.env.docname, page))
                link += node.children
                node.replace_self(link)

    def _page(self, path: Path) -> str | None:
        if not path.is_relative_to(ROOT) or not path.exists():
            return None
        name = path.relative_to(ROOT).as_posix()
        if name.removesuffix(".md") in self.env.found_docs:
            return None
        if path.is_dir() and f"{name}/README" in self.env.found_docs:
            return f"{name}/README"
        if not path.is_dir() and path.suffix not in LEXERS:
            return None
        return _page_of(name)


def _page_of(name: str) -> str:
    _wanted.add(name)
    return PAGES + name


def linkcode_resolve(domain: str, info: dict[str, str]) -> str | None:
    """Where an object's source is shown, from a page of docs/api/."""
    obj: Any = sys.modules.get(info["module"])
    try:
        for part in info["fullname"].split("."):
            obj = getattr(obj, part)
        obj = inspect.unwrap(obj.fget if isinstance(obj, property) else obj)
        path, line = inspect.getsourcefile(obj), inspect.getsourcelines(obj)[1]
    except (AttributeError, TypeError, OSError):  # constants and fields have no place of their own
        return None
    if path is None or not Path(path).is_relative_to(ROOT):
        return None
    return f"../../{_page_of(Path(path).relative_to(ROOT).as_posix())}.html#L-{line}"


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """A page for each file and folder that is wanted, and for what is in these folders."""
    wanted = {ROOT / name for name in _wanted}
    for folder in [path for path in wanted if path.is_dir()]:
        inside = (path for path in folder.rglob("*") if "__pycache__" not in path.parts)
        wanted |= {path for path in inside if path.is_dir() or path.suffix in LEXERS}
    for path in sorted(wanted):
        name = path.relative_to(ROOT).as_posix()
        if path.is_dir():
            inside = sorted(other.name for other in wanted if other.parent == path)
            items = "".join(f'<li><a href="{path.name}/{file}.html">{file}</a></li>' for file in inside)
            shown = f"<ul>{items}</ul>"
        else:
            code = path.read_text(encoding="utf-8")
            shown = app.builder.highlighter.highlight_block(
                code, LEXERS[path.suffix], linenos="inline", lineanchors="L", location=name
            )
        yield PAGES + name, {"title": name, "body": f"<h1>{html.escape(name)}</h1>{shown}"}, "page.html"


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_transform(SourceLinks)
    app.connect("env-before-read-docs", remember)
    app.connect("html-collect-pages", source_pages)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
