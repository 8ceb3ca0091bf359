"""Where a figure comes from, and where it goes."""

import os
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ca_numpy.errors import UserError


def figure_of(ax: Axes) -> Figure:
    """The whole figure that the axes belong to."""
    figure = ax.get_figure(root=True)
    if figure is None:
        raise UserError("ax: it belongs to no figure any more; pass axes of a live figure, or none")
    return figure


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write the figure as a PNG file, whole or not at all.

    The picture goes to a temporary name in the same folder and is then moved into place. It carries no date and no
    version, so the same figure gives the same bytes.

    Raises UserError if the name does not end in .png, or if its folder does not exist.
    """
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise UserError(f"{target}: figures are saved as PNG; end the name in .png")
    if not target.parent.is_dir():
        raise UserError(f"{target}: the folder {target.parent} does not exist; create it first")
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        figure.savefig(temporary, format="png", dpi="figure", metadata={"Software": None})
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
