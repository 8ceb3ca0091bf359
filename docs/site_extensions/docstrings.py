"""From the docstrings' plain text to reStructuredText, which they are not written in.

Indented lines are shown as they are. Lines of the kind

    name    what it means, which may
            go on

become a list of definitions, also inside of one another. In everything else only `code` is markup.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from ca_numpy import ops
from ca_numpy.backend import Backend
from ca_numpy.engine.autograd import Op

DEFINITION = re.compile(r"(?P<name>\S(?:\S| (?! )){0,40}?[^\s.;:,])(?P<gap> {2,})(?P<text>\S.*)")
CODE = re.compile(r"`([^`]+)`")
ARRAY = re.compile(r"[\w~.]*ndarray\[tuple\[[\w~.]*Any, \.\.\.\], [\w~.]*dtype\[([^\[\]]*(?:\[[^\[\]]*\])?)\]\]")
NAME = re.compile(r"[A-Za-z_][\w.]*")


def to_rst(lines: list[str], *, has_summary: bool = True) -> list[str]:
    """A docstring's lines, without their common indentation, as reStructuredText. A summary is a sentence."""
    blocks = [list(block) for is_text, block in groupby(lines, lambda line: bool(line.strip())) if is_text]
    return [line for i, block in enumerate(blocks) for line in (*_block(block, definitions=i or not has_summary), "")]


def _block(block: list[str], *, definitions: object) -> Iterator[str]:
    """Lines between two empty ones."""
    if definitions and DEFINITION.fullmatch(block[0]):
        yield from _definitions(block)
        return
    for indented, part in groupby(block, lambda line: line[0] == " "):
        if indented:
            yield from ("", "::", "", *("   " + line for line in part), "")
        else:
            yield from (_inline(line) for line in part)


def _definitions(block: list[str]) -> Iterator[str]:
    column = 0
    entries: list[tuple[str, list[str]]] = []
    for line in block:
        found = DEFINITION.fullmatch(line)
        if found:
            column = found.start("text")
            entries.append((found["name"], [found["text"]]))
        else:  # what goes on; never further left than where the text began
            entries[-1][1].append(line[min(column, len(line) - len(line.lstrip())) :])
    for name, text in entries:
        yield f"``{name}``"
        yield from ("   " + line for line in to_rst(text, has_summary=False))
        yield ""


def _inline(text: str) -> str:
    r"""Everything literally, but for `code`, which leads to what it names if that has a page.

    An escaped space, "\ ", ends markup where a letter follows.
    """
    parts = CODE.split(text)
    return "".join(_code(part) if i % 2 else re.sub(r"([\\*|_`])", r"\\\1", part) for i, part in enumerate(parts))


def _code(text: str) -> str:
    markup = f":py:obj:`{text}`" if NAME.fullmatch(text) else f"``{text}``"
    return rf"\ {markup}\ "


def translate(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Sphinx's hook for every docstring."""
    lines[:] = to_rst([line.rstrip() for line in lines])


def shorten(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Types as they are written in the source, and not as Python spells them out; no list of dozens of fields."""
    if dataclasses.is_dataclass(obj) and len(dataclasses.fields(obj)) > 12:
        signature = "(**fields)"

    def short(text: str | None) -> str | None:
        return text and ARRAY.sub(r"NDArray[\1]", text)

    return short(signature), short(returned)


def skip(app: Sphinx, what: str, name: str, obj: Any, skipped: bool, options: Any) -> bool | None:
    """Fields of a named tuple are explained in its docstring; Python's own words for them say nothing."""
    return True if (inspect.getdoc(obj) or "").startswith("Alias for field number") else None


class Operations(SphinxDirective):
    """The operations of `ops`, each with the signature and the equation of its kernel: objects have no docstring."""

    def run(self) -> list[nodes.Node]:
        lines = [".. py:currentmodule:: ca_numpy.ops", ""]
        for name in sorted(ops.__all__):
            op = getattr(ops, name)
            if isinstance(op, Op):
                kernel = getattr(Backend, op.name)
                parameters = list(inspect.signature(kernel).parameters.values())[1:]
                signature = inspect.Signature([p.replace(annotation=p.empty) for p in parameters])
                text = to_rst((inspect.getdoc(kernel) or "").splitlines())
                lines += [f".. py:function:: {name}{signature}", "", *("   " + line for line in text), ""]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("operations", Operations)
    app.connect("autodoc-process-docstring", translate)
    app.connect("autodoc-process-signature", shorten)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
