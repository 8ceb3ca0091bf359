"""Grids of pictures, pixel for pixel."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from ca_numpy.errors import UserError
from ca_numpy.viz.attention import attention_colours, attention_legend, draw_arrows
from ca_numpy.viz.output import place_of

Bytes = NDArray[np.uint8]

# All in figure pixels. With an integer number of figure pixels per picture pixel, nothing is blurred.
_DPI = 128  # a power of two, so that inches × dpi is exact
_MARGIN, _GAP, _TITLE, _LABEL, _KEY = 10, 6, 20, 20, 180
_SMALL, _LARGE = 256, 1024
_AGG_LIMIT = 2**16


def picture_grid(
    rows: Sequence[Sequence[ArrayLike]],
    *,
    titles: Sequence[str],
    row_labels: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw a grid of pictures with column titles and, optionally, row labels.

    A cell is a float image (H, W, 3) in [-1, 1], or uint8 (H, W, 3), shown as it is; pass attention colours as
    `np.rint(255 * colours).astype(np.uint8)`. Small pictures are enlarged by an integer factor, to at most 256 pixels
    or the largest picture's size; those above 1024 pixels are reduced by an integer factor. With `ax` they share its
    area, and are scaled with it.

    Raises UserError for rows that do not match the titles, and for cells that are not such images.
    """
    return _grid(rows, titles, row_labels, key_width=0, ax=ax)[0].figure


def comparison(
    image: ArrayLike,
    mask: ArrayLike,
    coarse: ArrayLike | None,
    result: ArrayLike,
    truth: ArrayLike | None = None,
    *,
    index: ArrayLike | None = None,
    background: tuple[int, int] | None = None,
    row_labels: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw a row for each sample, as in figure 7: input, coarse, result, truth, attention.

    The input has its hole hatched, the result is pasted: result · mask + image · (1 − mask). Columns without data are
    omitted.

    image, coarse, result, truth: (N, H, W, 3) or (H, W, 3) in [-1, 1]. mask: (N, H, W, 1), 1 = hole. index: (N, h, w),
    see `attention_colours`; background is its grid, by default (h, w). With `ax` the grid fills its area. Raises
    UserError for mismatched shapes, and for images that are not floats.
    """
    pictures = _batch(image, "image", None)
    holes = _holes(mask, "mask", pictures)
    columns = [("input", _hatched(pictures, holes))]
    if coarse is not None:
        columns.append(("coarse", list(_batch(coarse, "coarse", pictures.shape))))
    pasted = np.where(holes > 0.5, _batch(result, "result", pictures.shape), pictures)
    columns.append(("result", list(pasted)))
    if truth is not None:
        columns.append(("truth", list(_batch(truth, "truth", pictures.shape))))
    if index is None:
        return _grid(_transposed(columns), [name for name, _ in columns], row_labels, key_width=0, ax=ax)[0].figure

    indices = np.asarray(index) if np.ndim(index) == 3 else np.asarray(index)[None]
    if len(indices) != len(pictures):
        raise UserError(f"index: {len(indices)} samples for {len(pictures)} images; give (N, h, w)")
    grid = background or (indices.shape[1], indices.shape[2])
    colours = [np.rint(255 * attention_colours(one, background=grid)).astype(np.uint8) for one in indices]
    columns.append(("attention", colours))
    canvas, axes = _grid(_transposed(columns), [name for name, _ in columns], row_labels, key_width=_KEY, ax=ax)
    for row, one in zip(axes, indices, strict=True):
        draw_arrows(row[-1], one, background=grid)
        _frame(row[-1])
    _add_key(canvas, beside=len(axes[0]) - 1)
    return canvas.figure


def before_after(
    before: ArrayLike,
    after: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    across: int = 2,
    row_labels: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw pairs of pictures, before and after, with `across` pairs per row.

    before, after: (N, H, W, 3) or (H, W, 3) in [-1, 1]. mask: (N, H, W, 1), 1 = hole, or None: the hole is hatched
    before; after is shown as it is. With `ax` the grid fills its area. Raises UserError for mismatched shapes, for
    images that are not floats, and for `across` below 1.
    """
    if across < 1:
        raise UserError(f"across: {across} pairs per row; give at least 1")
    pictures = _batch(before, "before", None)
    results = _batch(after, "after", pictures.shape)
    if mask is not None:
        pictures = np.stack(_hatched(pictures, _holes(mask, "mask", pictures)))
    across = min(across, len(pictures))
    blank = [np.ones_like(pictures[0])] * (-len(pictures) % across)
    cells = [cell for pair in zip([*pictures, *blank], [*results, *blank], strict=True) for cell in pair]
    rows = [cells[start : start + 2 * across] for start in range(0, len(cells), 2 * across)]
    return picture_grid(rows, titles=["before", "after"] * across, row_labels=row_labels, ax=ax)


def method_sheet(
    images: ArrayLike,
    masks: ArrayLike,
    results: Mapping[str, ArrayLike],
    *,
    row_labels: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw a row for each picture: the input with its hole hatched, then each method's result, in order.

    images: (N, H, W, 3) in [-1, 1]. masks: (N, H, W, 1), 1 = hole. results: name -> (N, H, W, 3), shown as they are.
    With `ax` the grid fills its area. Raises UserError for mismatched shapes, and for images that are not floats.
    """
    pictures = _batch(images, "images", None)
    columns = [("input", _hatched(pictures, _holes(masks, "masks", pictures)))]
    columns += [(name, list(_batch(result, name, pictures.shape))) for name, result in results.items()]
    return picture_grid(_transposed(columns), titles=[name for name, _ in columns], row_labels=row_labels, ax=ax)


#: Height of the wheel and its labels, in pixels from the top.
_KEY_HEIGHT = 240


class _Canvas:
    """An area with coordinates in pixels from its top left."""

    def __init__(self, width: int, height: int, ax: Axes | None) -> None:
        self.width, self.height = width, height
        self.place = place_of(ax, width=width / _DPI, height=height / _DPI, dpi=_DPI)
        self.boxes: list[tuple[float, float, float, float]] = []  # left, top, width, height of all axes so far

    @property
    def figure(self) -> Figure:
        return self.place.figure

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Add axes without decorations."""
        self.boxes.append((left, top, width, height))
        bottom = 1 - (top + height) / self.height
        ax = self.place.add_axes((left / self.width, bottom, width / self.width, height / self.height))
        ax.set_axis_off()
        return ax

    def text(self, x: float, y: float, words: str, **style: Any) -> None:
        self.place.text(x / self.width, 1 - y / self.height, words, **style)


def _grid(
    rows: Sequence[Sequence[ArrayLike]],
    titles: Sequence[str],
    row_labels: Sequence[str] | None,
    *,
    key_width: int,
    ax: Axes | None,
) -> tuple[_Canvas, list[list[Axes]]]:
    """Draw the grid; return its canvas, and the axes by row and column. `key_width` pixels stay free on the right."""
    cells = _checked_cells(rows, titles, row_labels)
    side = max(_SMALL, *(max(cell.shape[:2]) for row in cells for cell in row))
    sizes = np.array([[_shown_size(cell, side) for cell in row] for row in cells])  # (rows, columns, 2)
    heights, widths = sizes[..., 0].max(axis=1), sizes[..., 1].max(axis=0)

    left = _MARGIN + (_LABEL if row_labels is not None else 0)
    lefts = left + np.cumsum([0, *(widths + _GAP)])
    tops = _MARGIN + _TITLE + np.cumsum([0, *(heights + _GAP)])
    width, height = lefts[-1] - _GAP + _MARGIN + key_width, tops[-1] - _GAP + _MARGIN
    height = max(height, _KEY_HEIGHT if key_width else 0)
    if max(width, height) >= _AGG_LIMIT:
        raise UserError(f"rows: the grid would take {width} x {height} pixels; draw fewer or smaller pictures")
    canvas = _Canvas(width, height, ax)

    for column, title in enumerate(titles):
        middle = lefts[column] + widths[column] / 2
        canvas.text(middle, _MARGIN + _TITLE - 6, title, ha="center", fontsize=7.5)
    for row, label in enumerate(row_labels or ()):
        middle = tops[row] + heights[row] / 2
        canvas.text(left - 5, middle, label, ha="right", va="center", rotation=90, fontsize=6.5)

    axes: list[list[Axes]] = [[] for _ in cells]
    for (row, column), (h, w) in zip(np.ndindex(sizes.shape[:2]), sizes.reshape(-1, 2), strict=True):
        from_left = lefts[column] + (widths[column] - w) // 2
        from_top = tops[row] + (heights[row] - h) // 2
        cell_ax = canvas.axes(from_left, from_top, w, h)
        cell_ax.imshow(cells[row][column], interpolation="nearest", aspect="auto")
        axes[row].append(cell_ax)
    return canvas, axes


def _frame(ax: Axes) -> None:
    """Draw a hairline around an attention map, most of which may be white."""
    ax.set_axis_on()
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(color="0.7", linewidth=0.6)


def _add_key(canvas: _Canvas, *, beside: int) -> None:
    """Draw the wheel of attention colours in the free space to the right of these axes."""
    left, top, width, _ = canvas.boxes[beside]
    wheel = 100
    ax = canvas.axes(left + width + _GAP + (_KEY - wheel) / 2, top + 52, wheel, wheel)
    attention_legend(ax)
    ax.set_title("the most attended\npatch lies", fontsize=6.5, pad=16)


def _checked_cells(
    rows: Sequence[Sequence[ArrayLike]], titles: Sequence[str], row_labels: Sequence[str] | None
) -> list[list[Bytes]]:
    if not rows or not titles:
        raise UserError("rows: nothing to draw; give at least one row of one picture")
    for number, row in enumerate(rows):
        if len(row) != len(titles):
            raise UserError(f"rows: row {number} has {len(row)} pictures for {len(titles)} titles; give one per title")
    if row_labels is not None and len(row_labels) != len(rows):
        raise UserError(f"row_labels: {len(row_labels)} labels for {len(rows)} rows; give one per row")
    return [[_as_bytes(cell) for cell in row] for row in rows]


def _as_bytes(cell: ArrayLike) -> Bytes:
    """A picture as uint8, at most `_LARGE` pixels long."""
    array: NDArray[Any] = np.asarray(cell)
    if array.ndim != 3 or array.shape[-1] != 3 or not array.size:
        raise UserError(f"rows: a picture has shape {array.shape}; give RGB pictures (H, W, 3)")
    if array.dtype != np.uint8:
        if not np.issubdtype(array.dtype, np.floating):
            raise UserError(f"rows: a picture has dtype {array.dtype}; give floats in [-1, 1], or uint8")
        visible = np.nan_to_num(np.clip(array, -1, 1), nan=-1.0)  # draw diverged models too
        array = np.rint((visible + 1) * 127.5).astype(np.uint8)
    factor = -(-max(array.shape) // _LARGE)
    return np.asarray(Image.fromarray(array).reduce(factor)) if factor > 1 else array


def _shown_size(cell: Bytes, side: int) -> tuple[int, int]:
    zoom = max(1, side // max(cell.shape[:2]))
    return cell.shape[0] * zoom, cell.shape[1] * zoom


def _hatched(pictures: NDArray[Any], holes: NDArray[Any]) -> list[NDArray[Any]]:
    """The pictures with their holes in pale diagonal stripes."""
    height, width = pictures.shape[1:3]
    stripe = max(2, max(height, width) // 64)
    stripes = np.add.outer(np.arange(height), np.arange(width)) // stripe % 2
    return list(np.where(holes > 0.5, np.where(stripes, 0.9, 0.6)[..., None], pictures))


def _holes(mask: ArrayLike, name: str, pictures: NDArray[Any]) -> NDArray[Any]:
    return _batch(np.asarray(mask, np.float32), name, (*pictures.shape[:3], 1))


def _batch(array: ArrayLike, name: str, shape: tuple[int, ...] | None) -> NDArray[Any]:
    """The array as a batch (N, H, W, C), checked against `shape` if given."""
    batch: NDArray[Any] = np.asarray(array)
    batch = batch if batch.ndim == 4 else batch[None]
    if batch.ndim != 4 or (shape is not None and batch.shape != shape):
        wanted = shape or "(N, H, W, 3) or (H, W, 3)"
        raise UserError(f"{name}: shape {np.shape(array)} does not fit; give {wanted}")
    if not np.issubdtype(batch.dtype, np.floating):
        raise UserError(f"{name}: dtype {batch.dtype} is not a float; scale images to [-1, 1] first, as x / 127.5 - 1")
    return batch


def _transposed(columns: list[tuple[str, list[NDArray[Any]]]]) -> list[list[NDArray[Any]]]:
    return [list(row) for row in zip(*(pictures for _, pictures in columns), strict=True)]
