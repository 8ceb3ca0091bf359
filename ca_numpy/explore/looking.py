"""What the network attended to, at a position in the hole and over all of it (figure 4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ca_numpy.attention import AttentionOptions
from ca_numpy.engine.tensor import Tensor
from ca_numpy.errors import UserError
from ca_numpy.explore.rows import AttentionRows
from ca_numpy.filling.inpainting import View
from ca_numpy.filling.patchmatch import Copies
from ca_numpy.registry import current_backend

#: Left, top, width, height in pixels of the picture; a side may lie between two pixels.
Box = tuple[float, float, float, float]
Colours = NDArray[np.float64]


class Patch(NamedTuple):
    """A background patch: its place in the background grid, the pixels it copies, and the numbers of `Rows`."""

    row: int
    column: int
    box: Box
    score: float
    propagated: float
    weight: float


class Look(NamedTuple):
    """The attention of one position.

    cell      (row, column) in the attention's grid
    box       the pixels of the cell
    weights   h' w', the row of the attention over the background grid
    area      the pixels that the background grid covers
    top       the patches of largest weight, the largest first
    """

    cell: tuple[int, int]
    box: Box
    weights: NDArray[np.float32]
    area: Box
    top: list[Patch]


class Attention:
    """The attention of one fill.

    view             what the network was given, mirrored to multiples of `multiple` pixels
    features, hole   N H/4 W/4 C and N H/4 W/4 1, as `Generator.branches` gives them
    options          of the attention
    before           another, whose patches are used again if they are the same

    backend          the one that the features are on, to be used for all of this
    """

    def __init__(
        self, view: View, features: Tensor, hole: Tensor, options: AttentionOptions, *,
        multiple: int, before: Attention | None = None,
    ) -> None:  # fmt: skip
        self._view, self._features, self._hole, self._options = view, features, hole, options
        self._size = [-(-n // multiple) * multiple for n in view.window.size]
        self._made: AttentionRows | None = None
        later = {name: getattr(options, name) for name in ("softmax_scale", "fuse_k", "fuse")}
        if before is not None and before._features is features and before._options._replace(**later) == options:
            self._made = before._made and before._made.changed(options)
        self.backend = current_backend().name

    @property
    def rows(self) -> AttentionRows:
        """Any rows of it; prepared at the first use."""
        if self._made is None:
            self._made = AttentionRows(self._features, self._features, self._hole, options=self._options)
        return self._made

    def look(self, x: float, y: float, *, top: int = 5) -> Look:
        """The attention at a pixel of the picture. Raises UserError outside the network's view."""
        rows, (left, up, width, height) = self.rows, self._area()
        (h, w), (h2, w2) = rows.grid, rows.background
        row, column = int((y - up) / height * h // 1), int((x - left) / width * w // 1)
        if not (0 <= row < h and 0 <= column < w):
            raise UserError(f"({x:g}, {y:g}) is outside the part of the picture that the network was given")
        score, propagated, weight = (a[0] for a in rows.rows([row * w + column]))
        best = [int(n) for n in np.argsort(-weight, kind="stable")[:top] if weight[n] > 0]
        return Look(
            (row, column),
            (left + column * width / w, up + row * height / h, width / w, height / h),
            np.asarray(weight.reshape(h2, w2), np.float32),
            self._area(),
            [
                Patch(
                    n // w2, n % w2, self._copied(n // w2, n % w2), *(float(a[n]) for a in (score, propagated, weight))
                )
                for n in best
            ],
        )

    def map(self, *, progress: Callable[[float], None] | None = None) -> tuple[Colours, Box]:
        """The attention colours at the hole's positions, h w 4 in [0, 1], opacity last, and the pixels they cover."""
        from ca_numpy.viz.attention import checked_offsets, offset_colours  # slow to import

        (h, w), (h2, w2) = self.rows.grid, self.rows.background
        cells = np.zeros((h, w), np.bool_)
        y, x = np.nonzero(self._view.hole[..., 0] > 0.5)
        cells[y * h // self._size[0], x * w // self._size[1]] = True
        index = np.arange(h)[:, None] * h2 // h * w2 + np.arange(w) * w2 // w
        index[cells] = self.rows.most_attended(np.flatnonzero(cells), progress=progress)
        colours = offset_colours(*checked_offsets(index, (h2, w2)), background=(h2, w2))
        return np.concatenate([colours, cells[..., None]], axis=-1), self._area()

    def _area(self) -> Box:
        """The pixels that the grids cover: the view, and a little beyond its right and bottom if it is mirrored."""
        (top, bottom), (left, right) = ((n.start, n.stop) for n in self._view.window.place)
        (height, width), (h, w) = self._size, self._view.window.size
        return float(left), float(top), (right - left) * width / w, (bottom - top) * height / h

    def _copied(self, row: int, column: int) -> Box:
        """The pixels pasted where the attention chooses this patch (`ca_numpy.attention.rebuild`), within the area."""
        area, rate = self._area(), self._options.rate
        raw = self._options.choices.rebuild == "raw"
        before, side = (rate // 2 / rate, 2) if raw else (1, 3)  # in cells of the background grid
        h, w = self.rows.background
        (x0, x1), (y0, y1) = (
            (max(n - before, 0), min(n - before + side, cells)) for n, cells in ((column, w), (row, h))
        )
        cell = area[2] / w, area[3] / h
        return area[0] + x0 * cell[0], area[1] + y0 * cell[1], (x1 - x0) * cell[0], (y1 - y0) * cell[1]


def copies_map(copies: Copies, shape: tuple[int, ...]) -> tuple[Colours, tuple[int, int, int, int]]:
    """The same colours for where each pixel of a picture H W was copied from; and the pixels that they cover."""
    from ca_numpy.viz.attention import offset_colours  # slow to import

    pixels, sources = copies
    (top, left), (bottom, right) = pixels.min(0), pixels.max(0)
    colours = np.zeros((bottom + 1 - top, right + 1 - left, 4))
    place = pixels[:, 0] - top, pixels[:, 1] - left
    colours[(*place, slice(3))] = offset_colours(
        *(sources - pixels).astype(np.float64).T, background=(shape[0], shape[1])
    )
    colours[(*place, 3)] = 1
    return colours, (int(left), int(top), colours.shape[1], colours.shape[0])
