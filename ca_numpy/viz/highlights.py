"""Attention drawn on the picture: one patch's weights (figure 16), and arrows to the attended patches."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.patheffects import withStroke
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from ca_numpy.errors import UserError
from ca_numpy.viz.attention import checked_image, checked_index, of_hole, over_pixels
from ca_numpy.viz.output import figure_of, label_axes

Floats = NDArray[np.float64]

# White with a dark outline is visible on bright and dark pictures, and in greyscale.
LIGHT, DARK = "1.0", "0.1"
HALO = [withStroke(linewidth=3.0, foreground=DARK)]


def attention_highlight(
    image: ArrayLike,
    attention: ArrayLike,
    *,
    at: tuple[int, int],
    grid: tuple[int, int],
    background: tuple[int, int] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Dim the picture except for what one patch attends to (figure 16).

        light(p) = √ min(1, Σ a[at, x'] / its maximum)          summed over patches x' whose 3 × 3 positions contain p

    A dashed frame marks the querying patch, a solid one its most attended patch.

    image: (H, W, 3) in [-1, 1]. attention: (L, L') non-negative weights, L = h·w positions by L' = h'·w' patches, one
    sample of `ca_numpy.attention.attention_scores`. at: (row, column) of the querying position in the grid. grid:
    (h, w). background: (h', w'), by default grid; both are stretched over the image. Raises UserError for mismatched
    shapes, a position outside the grid, and one that attends to nothing.
    """
    picture = checked_image(image)
    background = background or grid
    weights = _row(attention, at, grid, background)
    covered = sliding_window_view(np.pad(weights.reshape(background), 1), (3, 3)).sum(axis=(2, 3))
    light = over_pixels(np.sqrt(covered / covered.max()), picture.shape[:2])
    dimmed = (picture + 1.0) * (0.25 + 0.75 * light[..., None]) - 1.0
    best = divmod(int(weights.argmax()), background[1])

    ax = _picture_axes(dimmed, ax)
    _frame(ax, best, background, picture.shape, "-", f"most attended: {best}")
    _frame(ax, at, grid, picture.shape, (0, (2, 1.5)), f"asks: {at}")
    share = weights.max() / weights.sum()
    ax.set_title(f"attention of the patch at {at}", fontsize=9)
    _legend(ax, title=f"bright: attended\nlargest weight {share:.0%}")
    return figure_of(ax)


def attention_arrows(
    image: ArrayLike,
    index: ArrayLike,
    *,
    background: tuple[int, int],
    mask: ArrayLike | None = None,
    across: int = 5,
    ax: Axes | None = None,
) -> Figure:
    """Draw arrows on the picture from positions in the hole to their most attended patches.

    Each arrow runs from the centre of a position to the centre of its patch; a dot attends to itself. About `across`
    arrows are drawn along the hole's longer side, evenly spaced.

    image: (H, W, 3) in [-1, 1]. index: (h, w) integers and background: (h', w'), as for `attention_colours`. mask:
    (H, W, 1), 1 = hole: draw only its positions; None draws all. Raises UserError for mismatched shapes, a mask without
    a hole, and `across` below 1.
    """
    picture, attended = checked_image(image), checked_index(index, background)
    if across < 1:
        raise UserError(f"across: {across} arrows along the hole; give at least 1")
    asked = of_hole(mask, picture.shape, attended.shape)
    if not asked.any():
        raise UserError("mask: it has no hole, 1 = hole; give None to draw all positions")
    places = _spread(asked, across)
    start = _middle(places, attended.shape, picture.shape)
    patches = np.stack(np.unravel_index(attended[places[:, 0], places[:, 1]], background), axis=1)
    end = _middle(patches, background, picture.shape)

    ax = _picture_axes(picture, ax)
    if mask is not None:
        hole = np.asarray(mask)[..., 0] > 0.5
        ax.contour(hole, levels=[0.5], colors=LIGHT, linewidths=1.2, linestyles="--").set(path_effects=HALO)
        ax.plot([], [], "--", color=LIGHT, linewidth=1.2, path_effects=HALO, label="hole")
    itself = np.hypot(*(end - start).T) < 0.5
    for (y, x), (y2, x2) in zip(start[~itself], end[~itself], strict=True):
        ax.add_patch(_arrow((x, y), (x2, y2)))
    ax.plot([], [], color=LIGHT, marker=">", markeredgecolor=DARK, path_effects=HALO, label="to the patch it copies")
    if itself.any():
        y, x = start[itself].T
        ax.plot(x, y, "o", color=LIGHT, markeredgecolor=DARK, markersize=4, label="copies itself")
    ax.set_title(f"where {len(places)} of {np.count_nonzero(asked)} positions look", fontsize=9)
    _legend(ax)
    return figure_of(ax)


def _row(attention: ArrayLike, at: tuple[int, int], grid: tuple[int, int], background: tuple[int, int]) -> Floats:
    """The checked weights of the querying position: (L',)."""
    array = np.asarray(attention)
    shape = grid[0] * grid[1], background[0] * background[1]
    if array.shape != shape or not np.issubdtype(array.dtype, np.floating):
        found = f"{array.dtype} of shape {array.shape}"
        raise UserError(f"attention: {found}; give one sample's weights {shape}, for grids {grid} and {background}")
    if not all(0 <= place < cells for place, cells in zip(at, grid, strict=True)):
        raise UserError(f"at: {at} is outside the grid {grid}; give (row, column) in positions, not in pixels")
    weights: Floats = array[at[0] * grid[1] + at[1]].astype(np.float64)
    if not (weights >= 0).all() or not 0 < weights.sum() < np.inf:
        raise UserError(f"attention: the weights of {at} are not positive numbers; does every patch touch the hole?")
    return weights


def _spread(asked: NDArray[np.bool_], across: int) -> NDArray[np.int64]:
    """(row, column) of the chosen positions on an even lattice; the first position if there are none."""
    rows, columns = np.nonzero(asked)
    spacing = max(1, round(max(np.ptp(rows) + 1, np.ptp(columns) + 1) / across))
    on = (rows - rows.min()) % spacing == spacing // 2
    on &= (columns - columns.min()) % spacing == spacing // 2
    places = np.stack([rows, columns], axis=1)
    return places[on] if on.any() else places[:1]


def _middle(places: NDArray[np.int64], grid: tuple[int, ...], shape: tuple[int, ...]) -> Floats:
    """The centre of each cell, (row, column) in pixels, for a grid over the picture."""
    return np.asarray((places + 0.5) * np.array(shape[:2]) / np.array(grid) - 0.5)


def _picture_axes(picture: NDArray[Any], ax: Axes | None) -> Axes:
    """Axes with the picture, rows and columns in pixels; on a new figure unless `ax` is given."""
    if ax is None:
        height, width = 3.4 * np.array(picture.shape[:2]) / max(picture.shape[:2])
        inches_wide, inches_high = width + 2.6, max(height, 1.2) + 0.9
        place = (0.65 / inches_wide, 0.5 / inches_high, width / inches_wide, height / inches_high)
        ax = Figure(figsize=(inches_wide, inches_high)).add_axes(place)
    ax.imshow(np.clip((picture + 1.0) / 2, 0, 1), interpolation="nearest")
    label_axes(ax, "pixels")
    return ax


def _frame(
    ax: Axes, place: tuple[int, int], grid: tuple[int, int], shape: tuple[int, ...], style: Any, label: str
) -> None:
    """Draw a frame around the 3 × 3 positions of a patch, clipped at the picture's border."""
    first = np.maximum(np.array(place) - 1, 0)
    last = np.minimum(np.array(place) + 2, grid)
    cell = np.array(shape[:2]) / np.array(grid)
    (y, x), (height, width) = first * cell - 0.5, (last - first) * cell
    look: dict[str, Any] = {"fill": False, "edgecolor": LIGHT, "linewidth": 1.4, "linestyle": style}
    ax.add_patch(Rectangle((x, y), width, height, path_effects=HALO, clip_on=False, **look))
    ax.plot([], [], color=LIGHT, linewidth=1.4, linestyle=style, path_effects=HALO, label=label)


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> FancyArrowPatch:
    return FancyArrowPatch(
        start,
        end,
        arrowstyle="simple,head_width=5,head_length=6,tail_width=1.2",
        shrinkA=0,
        shrinkB=0,
        facecolor=LIGHT,
        edgecolor=DARK,
        linewidth=0.7,
    )


def _legend(ax: Axes, *, title: str | None = None) -> None:
    """Draw the legend to the right of the picture, on grey, since its symbols are white."""
    handles = [line for line in ax.lines if isinstance(line, Line2D) and not str(line.get_label()).startswith("_")]
    look: dict[str, Any] = {"facecolor": "0.85", "edgecolor": "none", "fontsize": 7, "title_fontsize": 7}
    legend = ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.02, 1), title=title, **look)
    legend.set_alignment("left")
