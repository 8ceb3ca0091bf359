"""Figures in a notebook, with alternative text."""

import base64
import io
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from ca_numpy.errors import UserError
from ca_numpy.viz.output import settle


class Shown:
    """A figure with its text below, displayed as the last expression of a notebook cell."""

    def __init__(self, png: bytes, alt: str) -> None:
        self.png, self.alt = png, alt

    def __repr__(self) -> str:
        return self.alt

    def bundles(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """(contents by MIME type, their metadata) of the picture and of the text.

        The text is shown below the picture because JupyterLab ignores alternative text.
        """
        picture = {"image/png": base64.b64encode(self.png).decode(), "text/plain": self.alt}
        return [(picture, {"image/png": {"alt": self.alt}}), ({"text/markdown": f"*{self.alt}*"}, {})]

    def _ipython_display_(self) -> None:
        from IPython.display import display  # only called by IPython

        for contents, metadata in self.bundles():
            display(contents, metadata=metadata, raw=True)


def show(figure: Figure, *, alt: str, colours: int | None = None) -> Shown:
    """Render the figure for display at the end of a notebook cell.

    alt: a description in a sentence or two: the alternative text, also shown below the figure. No Markdown.
    colours: reduce to this many, which makes a notebook of many pictures a third as large; None keeps all.
    The same figure gives the same bytes. Raises UserError if the number of colours is not in 2..256.
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
    return Shown(_small(drawn), alt)


def _small(png: io.BytesIO) -> bytes:
    """The picture with a single channel if it is grey and opaque, which is about half the size."""
    with Image.open(png) as picture:
        pixels, dpi = np.asarray(picture.convert("RGBA")), picture.info.get("dpi")
    grey = pixels[..., 0]
    if np.any(pixels[..., :3] != grey[..., None]) or np.any(pixels[..., 3] != 255):
        return png.getvalue()
    small = io.BytesIO()
    Image.fromarray(grey).save(small, "PNG", dpi=dpi)
    return small.getvalue()
