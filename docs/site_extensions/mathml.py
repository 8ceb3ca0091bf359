"""Equations as MathML, which browsers draw themselves: no script, no font, nothing to fetch."""

from __future__ import annotations

import html
import re
from typing import Any
from xml.etree import ElementTree

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

logger = logging.getLogger(__name__)

#: Fences that are enlarged by \big and the like, as characters: of their names the converter knows nothing there.
FENCES = {"langle": "⟨", "rangle": "⟩", "lVert": "‖", "rVert": "‖", "Vert": "‖", "|": "‖", "lvert": "|", "rvert": "|",
          "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈", "rceil": "⌉"}  # fmt: skip
#: What else the converter does not know, by what it knows.
SYNONYMS = {
    r"\mathrel": "",
    r"\arg": r"\mathrm{arg}\,",
    r"\begin{aligned}": r"\begin{align*}",
    r"\end{aligned}": r"\end{align*}",
    "−": "-",
    "×": r"\times ",
    "·": r"\cdot ",
}


def mathml(tex: str, *, block: bool) -> str:
    """LaTeX as MathML. Raises ValueError for what cannot be translated."""
    known = tex
    for theirs, ours in SYNONYMS.items():
        known = known.replace(theirs, ours)
    known = re.sub(
        r"\\([bB]igg?)([lrm]?)\s*\\(\||[A-Za-z]+)",
        lambda m: rf"\{m[1]}{m[2]}" + FENCES.get(m[3], rf"\{m[3]}"),
        known,
    )
    try:
        result = convert(known.strip(), display="block" if block else "inline")
        left = [text for text in ElementTree.fromstring(result).itertext() if "\\" in text]
    except Exception as error:  # of its own kinds the converter has a dozen
        raise ValueError(str(error) or type(error).__name__) from error
    if left:
        raise ValueError(f"{left[0]} is not known")
    return result


def _drawn(node: nodes.Element, *, block: bool) -> str:
    """What cannot be translated is shown as it is, and warned of."""
    try:
        return mathml(node.astext(), block=block)
    except ValueError as error:
        logger.warning("no MathML for %r: %s", node.astext(), error, location=node)
        return f"<code>{html.escape(node.astext())}</code>"


def visit_math(self: Any, node: nodes.Element) -> None:
    self.body.append(_drawn(node, block=False))
    raise nodes.SkipNode


def visit_math_block(self: Any, node: nodes.Element) -> None:
    self.body.append(self.starttag(node, "div", CLASS="math"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})</span>')
    self.body.append(_drawn(node, block=True) + "</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
