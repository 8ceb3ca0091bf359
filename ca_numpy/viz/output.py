"""Creating and saving figures."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ca_numpy.atomic import replacing
from ca_numpy.errors import UserError


def figure_of(ax: Axes) -> Figure:
    """The root figure of the axes."""
    figure = ax.get_figure(root=True)
    if figure is None:
        raise UserError("ax: it no longer belongs to a figure; pass axes of an existing figure, or none")
    return figure


def label_axes(ax: Axes, unit: str) -> None:
    """Label the axes "column (unit)" and "row (unit)", with integer ticks."""
    ax.set_xlabel(f"column ({unit})", fontsize=8)
    ax.set_ylabel(f"row ({unit})", fontsize=8)
    ax.locator_params(integer=True, nbins=6)
    ax.tick_params(labelsize=7)


@dataclass(frozen=True)
class Place:
    """An area in which axes are placed by fractions, from the lower left: a whole figure, or the area of some axes."""

    parent: Figure | Axes

    @property
    def figure(self) -> Figure:
        """The figure that it belongs to."""
        return self.parent if isinstance(self.parent, Figure) else figure_of(self.parent)

    def add_axes(self, box: tuple[float, float, float, float]) -> Axes:
        """Add axes in a part of the area: left, bottom, width, height."""
        return self.parent.add_axes(box) if isinstance(self.parent, Figure) else self.parent.inset_axes(box)

    def text(self, x: float, y: float, words: str, **style: Any) -> None:
        """Add text at a point of the area."""
        if isinstance(self.parent, Figure):
            self.parent.text(x, y, words, **style)
        else:
            self.parent.text(x, y, words, transform=self.parent.transAxes, **style)


def place_of(ax: Axes | None, *, width: float, height: float, dpi: float) -> Place:
    """A new figure of that size in inches; or the area of `ax`, emptied, with the same aspect ratio."""
    if ax is None:
        return Place(Figure(figsize=(width, height), dpi=dpi))
    ax.set_axis_off()
    ax.set_box_aspect(height / width)
    return Place(ax)


def settle(figure: Figure) -> None:
    """Repeat the layout until it is stable: legends that scale with their axes take several rounds."""
    places = _places(figure)
    for _ in range(6 if figure.get_layout_engine() is not None else 0):
        figure.draw_without_rendering()
        before, places = places, _places(figure)
        if np.abs(places - before).max(initial=0.0) < 1e-3:  # of the figure's size
            break


def _places(figure: Figure) -> NDArray[np.float64]:
    return np.array([ax.get_position().extents for ax in figure.axes])


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write the figure atomically as a PNG file.

    It contains no date or version, so the same figure gives the same bytes.

    Raises UserError if the name does not end in .png, or the folder does not exist.
    """
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise UserError(f"{target}: figures are saved as PNG; end the name in .png")
    if not target.parent.is_dir():
        raise UserError(f"{target}: the folder {target.parent} does not exist; create it first")
    settle(figure)
    with replacing(target) as temporary:
        figure.savefig(temporary, format="png", dpi="figure", metadata={"Software": None})
