"""A figure in a notebook, with a text for those who do not see it."""

import io
from typing import Any

from matplotlib.figure import Figure


class Shown:
    """A figure that a notebook displays: as the last expression of a cell."""

    def __init__(self, png: bytes, alt: str) -> None:
        self.png, self.alt = png, alt

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return {"image/png": self.png, "text/plain": self.alt}, {"image/png": {"alt": self.alt}}


def show(figure: Figure, *, alt: str) -> Shown:
    """The figure, drawn, for the end of a notebook's cell.

    alt: what there is to see, in a sentence or two, for screen readers, terminals and readers of the notebook as text.
    The same figure gives the same bytes.
    """
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi="figure", metadata={"Software": None})
    return Shown(drawn.getvalue(), alt)
