"""A figure in a notebook, with a text for those who do not see it."""

import base64
import io
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from ca_numpy.errors import UserError
from ca_numpy.viz.output import settle


class Shown:
    """A figure that a notebook displays, its text below it: as the last expression of a cell."""

    def __init__(self, png: bytes, alt: str) -> None:
        self.png, self.alt = png, alt

    def __repr__(self) -> str:
        return self.alt

    def bundles(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """(contents by MIME type, their metadata) of the picture and of the text.

        The text stands below the picture since JupyterLab reads a picture's alternative text from nowhere.
        """
        picture = {"image/png": base64.b64encode(self.png).decode(), "text/plain": self.alt}
        return [(picture, {"image/png": {"alt": self.alt}}), ({"text/markdown": f"*{self.alt}*"}, {})]

    def _ipython_display_(self) -> None:
        from IPython.display import display  # whoever calls this has it

        for contents, metadata in self.bundles():
            display(contents, metadata=metadata, raw=True)


def show(figure: Figure, *, alt: str, colours: int | None = None) -> Shown:
    """The figure, drawn, for the end of a notebook's cell.

    alt: what there is to see, in a sentence or two: alternative text, and shown below the figure. No Markdown.
    colours: keep that many, at most 256, which makes a notebook of many pictures a third as large; None keeps all.
    The same figure gives the same bytes. Raises UserError for a number of colours that is not in 2..256.
    """
    if colours is not None and not 2 <= colours <= 256:
        raise UserError(f"colours: {colours} is not a number from 2 to 256; give None to keep all")
    drawn = io.BytesIO()
    settle(figure)
    figure.savefig(drawn, format="png", dpi="figure", metadata={"Software": None})
    if colours is not None:
        few = Image.open(drawn).convert("RGB").quantize(colours, dither=Image.Dither.NONE)
        drawn = io.BytesIO()
        few.save(drawn, format="png", optimize=True)
    return Shown(drawn.getvalue(), alt)
