"""Equations as MathML, which browsers draw themselves: no script, no font, nothing to fetch."""

from __future__ import annotations

import html
import re
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError, unichar2tex
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

logger = logging.getLogger(__name__)

#: What docutils does not know, by what it knows.
SYNONYMS = {
    r"\\(big|Big|bigg|Bigg)(?![A-Za-z])": r"\\\1l",
    r"\\dots(?![A-Za-z])": r"\\ldots",
    r"\\mathrel(?![A-Za-z])": "",
    r"(?<=[^{])\\textstyle(?![A-Za-z])": "",  # in the middle of a group
}


def mathml(node: nodes.Element, *, block: bool) -> str:
    """The node's LaTeX as MathML; what cannot be translated is shown as it is, and warned of."""
    tex = node.astext()
    known = tex.translate(unichar2tex.uni2tex_table)
    for pattern, replacement in SYNONYMS.items():
        known = re.sub(pattern, replacement, known)
    try:
        return str(tex2mathml(known, as_block=block))
    except MathError as error:
        logger.warning("no MathML for %r: %s", tex, error, location=node)
        return f"<code>{html.escape(tex)}</code>"


def visit_math(self: Any, node: nodes.Element) -> None:
    self.body.append(mathml(node, block=False))
    raise nodes.SkipNode


def visit_math_block(self: Any, node: nodes.Element) -> None:
    self.body.append(self.starttag(node, "div", CLASS="math"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})</span>')
    self.body.append(mathml(node, block=True) + "</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
