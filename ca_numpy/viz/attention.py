"""Where each position attends: the attention colours of figure 4, and the attended regions of figure 16."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from ca_numpy.errors import UserError
from ca_numpy.viz.output import figure_of, label_axes

Floats = NDArray[np.float64]

# The colours of the four diagonals at full strength, of about equal lightness: in greyscale, darkness shows the
# distance and the arrows the direction. All mixtures are in [0, 1].
TOP_RIGHT = np.array([0x22, 0xAA, 0x4A]) / 255  # green
BOTTOM_RIGHT = np.array([0xCC, 0x8A, 0x1C]) / 255  # orange
BOTTOM_LEFT = np.array([0xE8, 0x48, 0x9A]) / 255  # pink
TOP_LEFT = np.array([0x4A, 0x7F, 0xF0]) / 255  # blue

INK = "0.15"

_SIDES = (
    (0.0, 1.06, "above", "center", "bottom"),
    (0.0, -1.06, "below", "center", "top"),
    (-1.08, 0.0, "left", "right", "center"),
    (1.08, 0.0, "right", "left", "center"),
    (0.0, -1.42, "white, dot: itself", "center", "top"),
)


def attention_colours(index: ArrayLike, *, background: tuple[int, int]) -> Floats:
    """Encode the direction from each position to its most attended background patch as a colour (figure 4).

    White is the position itself, green the top right, pink the bottom left, blue the top left, orange the bottom
    right, with smooth transitions; colours are stronger for farther patches, relative to the largest possible offset.
    The paper gives white, pink and green, and scales each picture differently (section 4.2); the other directions, one
    scale for all, and the square root of the strength, which keeps small offsets visible, are ours.

    index: (H, W) integers, the row-major index of a patch in the background grid, for each position of the attention's
    grid. background: the patches' grid, (rows, columns). Grids of different sizes are superimposed; a position attends
    to itself if one cell contains the other. Returns (H, W, 3) float64 in [0, 1].
    Raises UserError for an invalid index.
    """
    return offset_colours(*checked_offsets(index, background), background=background)


def offset_colours(down: Floats, right: Floats, *, background: tuple[int, int]) -> Floats:
    """The attention colours of offsets down and to the right, in background patches: (…, 3) float64 in [0, 1]."""
    return _wheel_colours(down, right, strength=_strength(down, right, background))


def attention_legend(ax: Axes | None = None) -> Figure:
    """Legend of the attention colours: a wheel with the position itself at the centre."""
    if ax is None:
        ax = Figure(figsize=(2.4, 2.8)).add_axes((0.15, 0.2, 0.7, 0.6))
        ax.set_title("the most attended\npatch lies", fontsize=8, pad=14)
    right, up = np.meshgrid(np.linspace(-1, 1, 401), np.linspace(1, -1, 401))
    distance = np.hypot(right, up)
    wheel = np.ones((*distance.shape, 4))
    wheel[..., :3] = _wheel_colours(-up, right, strength=np.sqrt(np.minimum(distance, 1.0)))
    wheel[..., 3] = np.clip((1.0 - distance) * 200, 0, 1)  # soft edge, one pixel wide
    ax.imshow(wheel, extent=(-1, 1, -1, 1), interpolation="bilinear")
    ax.add_patch(Circle((0, 0), 1, fill=False, edgecolor=INK, linewidth=0.8))
    for angle in np.arange(0, 2 * np.pi, np.pi / 4):
        x, y = np.cos(angle), np.sin(angle)
        style = {"arrowstyle": "-|>,head_width=0.15,head_length=0.3", "color": INK, "linewidth": 0.7}
        ax.annotate("", xy=(0.8 * x, 0.8 * y), xytext=(0.22 * x, 0.22 * y), arrowprops=style)
    ax.plot(0, 0, "o", color=INK, markersize=2.5)
    figure = figure_of(ax)
    inches = ax.get_window_extent().width / figure.dpi
    for x, y, label, horizontal, vertical in _SIDES:
        ax.text(x, y, label, fontsize=7 * min(1.0, max(0.5, inches / 0.7)), color=INK, ha=horizontal, va=vertical)
    ax.set_axis_off()
    return figure


def attention_map(index: ArrayLike, *, background: tuple[int, int], ax: Axes | None = None) -> Figure:
    """Plot the attention colours, with arrows towards the attended patches and the colour wheel (figure 4).

    Each arrow points from a position towards its most attended patch, and is longer for farther ones; a dot is the
    position itself. index (h, w), background, and errors as for `attention_colours`.
    """
    colours = attention_colours(index, background=background)
    height, width = np.array(colours.shape[:2]) / max(colours.shape[:2])
    if ax is None:
        inches_wide, inches_high = 3 * width + 2.4, 3 * height + 0.9
        place = (0.6 / inches_wide, 0.5 / inches_high, 3 * width / inches_wide, 3 * height / inches_high)
        ax = Figure(figsize=(inches_wide, inches_high)).add_axes(place)
    ax.imshow(colours, interpolation="nearest")
    draw_arrows(ax, index, background=background)
    ax.set_title("most attended patch", fontsize=9)
    label_axes(ax, "patches")
    attention_legend(ax.inset_axes((1 + 0.14 / width, 1 - 0.38 / height, 0.3 / width, 0.3 / height)))
    return figure_of(ax)


def draw_arrows(ax: Axes, index: ArrayLike, *, background: tuple[int, int], across: int = 12) -> None:
    """Draw arrows towards the attended patches on an attention map in `ax`, about `across` along its longer side."""
    down, right = checked_offsets(index, background)
    spacing = max(1, round(max(down.shape) / across))
    rows, columns = np.mgrid[spacing // 2 : down.shape[0] : spacing, spacing // 2 : down.shape[1] : spacing]
    down, right = down[rows, columns], right[rows, columns]
    distance = np.hypot(down, right)
    length = 0.95 * spacing * _strength(down, right, background) / np.where(distance > 0, distance, 1.0)
    ax.quiver(
        columns,
        rows,
        right * length,
        down * length,
        angles="xy",
        scale_units="xy",
        scale=1,
        pivot="middle",
        units="dots",
        width=1.1,
        headwidth=4,
        headlength=4,
        headaxislength=3.6,
        minlength=1.5,
        color=INK,
    )


def attended_region(
    image: ArrayLike, index: ArrayLike, *, background: tuple[int, int], mask: ArrayLike | None = None
) -> NDArray[Any]:
    """Dim the image except for the parts that the hole attends to (figure 16).

    A patch covers 3 x 3 background positions; its brightness grows with the number of positions that attend to it most.

    image: (H, W, 3) in [-1, 1]. mask: (H, W, 1), 1 = hole: use only these positions; None: all. index and background as
    for `attention_colours`; both grids are stretched over the image. Returns (H, W, 3) in [-1, 1], dtype kept.
    Raises UserError for mismatched shapes.
    """
    picture, attended = checked_image(image), checked_index(index, background)
    asked = of_hole(mask, picture.shape, attended.shape)
    light = over_pixels(_attended(attended[asked], background), picture.shape[:2])
    return ((picture + 1.0) * (0.25 + 0.75 * light[..., None]) - 1.0).astype(picture.dtype)


def of_hole(mask: ArrayLike | None, shape: tuple[int, ...], grid: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which positions of a grid over an image of that shape are in its hole: (h, w); without a mask, all.

    mask: (H, W, 1), 1 = hole. Raises UserError for a mask of another size than the image.
    """
    asked = np.ones((grid[0], grid[1]), bool)
    if mask is not None:
        if np.shape(mask) != (*shape[:2], 1):
            raise UserError(f"mask: shape {np.shape(mask)} does not fit the image; give {(*shape[:2], 1)}, 1 = hole")
        rows, columns = np.nonzero(np.asarray(mask)[..., 0] > 0.5)
        asked[:] = False
        asked[_cell(rows, shape[0], grid[0]), _cell(columns, shape[1], grid[1])] = True
    return asked


def over_pixels(values: Floats, size: tuple[int, ...]) -> Floats:
    """Stretch a grid's values (h', w') over an image: (H, W), each pixel with the value of its cell."""
    cells = (_cell(np.arange(n), n, cells) for n, cells in zip(size, values.shape, strict=True))
    return np.asarray(values[np.ix_(*cells)])


def checked_image(image: ArrayLike) -> NDArray[Any]:
    """The image (H, W, 3) as an array. Raises UserError if it is not a float RGB image."""
    picture: NDArray[Any] = np.asarray(image)
    if picture.ndim != 3 or picture.shape[-1] != 3 or not np.issubdtype(picture.dtype, np.floating):
        raise UserError(f"image: {picture.dtype} of shape {picture.shape}; give one RGB image (H, W, 3) in [-1, 1]")
    return picture


def _attended(chosen: NDArray[np.int64], background: tuple[int, int]) -> Floats:
    """The attention on each background position, 0 to 1, for patches of 3 x 3 positions."""
    votes = np.bincount(chosen, minlength=background[0] * background[1]).reshape(background)
    covered = sliding_window_view(np.pad(votes, 1), (3, 3)).sum(axis=(2, 3))
    usual = covered[covered > 0].mean() if chosen.size else 1.0
    return np.asarray(np.sqrt(np.minimum(covered / usual, 1.0)))


def checked_index(index: ArrayLike, background: tuple[int, int]) -> NDArray[np.int64]:
    """The index (h, w) as integers. Raises UserError if it does not index patches of the background grid."""
    array: NDArray[Any] = np.asarray(index)
    patches = background[0] * background[1]
    if array.ndim != 2 or not array.size or not np.issubdtype(array.dtype, np.integer):
        raise UserError(f"index: {array.dtype} of shape {array.shape} is not (H, W) integers; give one sample's argmax")
    if array.min() < 0 or array.max() >= patches:
        raise UserError(f"index: values {array.min()}..{array.max()}; a {background} grid has patches 0..{patches - 1}")
    return array.astype(np.int64)


def checked_offsets(index: ArrayLike, background: tuple[int, int]) -> tuple[Floats, Floats]:
    """Offset of each foreground position's patch, down and to the right, in background patches.

    index and background, and errors, as for `attention_colours`.
    """
    array = checked_index(index, background)
    down = _beyond(array // background[1], axis=0, cells=background[0])
    return down, _beyond(array % background[1], axis=1, cells=background[1])


def _beyond(patch: NDArray[np.int64], *, axis: int, cells: int) -> Floats:
    """Offset of the patches from their positions along an axis; 0 if one cell contains the other.

    For grids of equal size it is the difference.
    """
    ratio = cells / patch.shape[axis]
    position = (np.arange(patch.shape[axis]) + 0.5) * ratio - 0.5
    offset = patch - np.expand_dims(position, 1 - axis)
    within = abs(ratio - 1) / 2
    return np.asarray(np.sign(offset) * np.maximum(np.abs(offset) - within, 0.0).round(9))


def _strength(down: Floats, right: Floats, background: tuple[int, int]) -> Floats:
    """Square root of the distance relative to the diagonal: 0 for the position itself, at most 1."""
    largest = max(1.0, np.hypot(background[0] - 1, background[1] - 1))
    return np.asarray(np.sqrt(np.minimum(np.hypot(down, right) / largest, 1.0)))


def _wheel_colours(down: Floats, right: Floats, *, strength: Floats) -> Floats:
    """White for strength 0; the hue of that direction for strength 1.

    With t the clockwise angle from the top right, the hue is the trigonometric curve through the four diagonals'
    colours without a sin 2t term. It is smooth, unlike the usual hue wheel, which has six corners.
    """
    t = np.arctan2(down, right)[..., None] + np.pi / 4
    hue = (TOP_RIGHT + BOTTOM_RIGHT + BOTTOM_LEFT + TOP_LEFT) / 4
    hue = hue + np.cos(t) * (TOP_RIGHT - BOTTOM_LEFT) / 2 + np.sin(t) * (BOTTOM_RIGHT - TOP_LEFT) / 2
    hue = hue + np.cos(2 * t) * (TOP_RIGHT - BOTTOM_RIGHT + BOTTOM_LEFT - TOP_LEFT) / 4
    return np.asarray(1.0 - strength[..., None] * (1.0 - hue))


def _cell(pixel: NDArray[np.int64], size: int, cells: int) -> NDArray[np.int64]:
    """The cell that contains a pixel, for `cells` cells over `size` pixels."""
    return pixel * cells // size
