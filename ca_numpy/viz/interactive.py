"""The page of `ca-numpy explore` in a notebook."""

from __future__ import annotations

from os import PathLike
from typing import Any

from numpy.typing import NDArray

from ca_numpy.data.photo import Photo
from ca_numpy.models import BaseGenerator


def explorer(
    model: str | PathLike[str] | BaseGenerator | None = None,
    image: str | PathLike[str] | Photo | NDArray[Any] | None = None,
    *,
    backend: str = "auto",
) -> Any:
    """A widget to paint holes into a picture, fill them, and see the attention of section 4.1 at any position.

    model     as for `ca_numpy.inpaint`: a `Generator`, a run's folder or a weight file; by default the bundled weights
    image     a file or an array as for `ca_numpy.inpaint`, or a `Photo`; without one, the widget opens files
    backend   "auto" or a backend's name

    Display it as the last expression of a cell. `.session` has the photograph, the hole and the fill as arrays
    (`ca_numpy.explore.Session`). Needs the extra `explore`. Raises UserError without it, and for an unreadable image.
    """
    from ca_numpy.explore.widget import explorer_widget  # which imports this package

    return explorer_widget(model, image, backend=backend)
