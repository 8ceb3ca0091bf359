"""The receptive field of one output position, by gradient."""

from collections.abc import Callable

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from ca_numpy.engine.autograd import as_tensors, grad
from ca_numpy.engine.tensor import Tensor, tensor
from ca_numpy.errors import UserError
from ca_numpy.viz.output import figure_of, label_axes

Floats = NDArray[np.float64]

#: Starts at light grey, so that the weakest dependence differs from white, which is none.
GREYS = ListedColormap(colormaps["gray_r"](np.linspace(0.18, 1, 256)), "light to black")


def receptive_field(
    function: Callable[[Tensor], Tensor],
    x: ArrayLike,
    *,
    at: tuple[int, int] | None = None,
    decades: float = 3.0,
    ax: Axes | None = None,
) -> Figure:
    """Plot which input pixels one output position depends on, and how strongly.

        strength(p) = ‖∂/∂x[0, p] Σ_o r_o · y[0, i, j, o]‖          r_o standard normal, y = function(x)

    White pixels have no influence; the others range from light grey to black over `decades` powers of ten below the
    strongest, and weaker ones are light grey too. The dashed frame is the bounding box of all pixels with influence.

    function: a network, (1, H, W, C) -> (1, h, w, O), of differentiable operations. x: (1, H, W, C) floats, where the
    derivative is taken: it affects the strength, but hardly the extent. at: (i, j), by default the centre.
    Raises UserError for other shapes, for a position outside the output, and if it depends on no pixel.
    """
    strength, at, size = _strength(function, x, at)
    with np.errstate(divide="ignore"):
        power = np.log10(strength / strength.max())
    shown = np.ma.masked_where(strength == 0, np.maximum(power, -decades))
    top, left, height, width = _extent(strength)

    if ax is None:
        ax = Figure(figsize=(4.9, 4.1)).add_axes((0.13, 0.19, 0.62, 0.71))
    image = ax.imshow(shown, cmap=GREYS, vmin=-decades, vmax=0, interpolation="nearest")
    frame = Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor="0.1", linestyle="--")
    frame.set_label(f"all that is seen, {height} × {width}")
    ax.add_patch(frame)
    row, column = ((place + 0.5) * n / cells - 0.5 for place, n, cells in zip(at, strength.shape, size, strict=True))
    ax.plot(column, row, "o", color="1.0", markeredgecolor="0.1", markersize=5, label=f"output {at}")
    ax.set_title(f"what output {at} of {size[0]} × {size[1]} sees", fontsize=9)
    label_axes(ax, "pixels")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False, fontsize=7)
    figure = figure_of(ax)
    ticks = np.arange(-np.floor(decades), 1)
    bar = figure.colorbar(image, cax=ax.inset_axes((1.04, 0, 0.05, 1)), ticks=ticks)
    bar.set_label("strength, power of ten of the largest; white: none", fontsize=7)
    bar.ax.tick_params(labelsize=7)
    return figure


def _strength(
    function: Callable[[Tensor], Tensor], x: ArrayLike, at: tuple[int, int] | None
) -> tuple[Floats, tuple[int, int], tuple[int, int]]:
    """Norm of the gradient at each pixel, H W; the position; and the output's rows and columns."""
    array = np.asarray(x)
    if array.ndim != 4 or len(array) != 1 or not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"x: {array.dtype} of shape {array.shape}; give floats (1, H, W, C)")
    leaf = tensor(array)
    y = function(leaf)
    if not isinstance(y, Tensor) or y.ndim != 4 or y.shape[0] != 1:
        found = y.shape if isinstance(y, Tensor) else type(y).__name__
        raise UserError(f"function: it returns {found}; it must return a Tensor (1, h, w, O)")
    size = y.shape[1], y.shape[2]
    at = (size[0] // 2, size[1] // 2) if at is None else at
    if not all(0 <= place < n for place, n in zip(at, size, strict=True)):
        raise UserError(f"at: {at} is outside the output's {size[0]} × {size[1]} positions")
    # A plain sum over the channels could cancel (a softmax's is constant): use random weights instead.
    mixture = np.zeros(y.shape)
    mixture[0, at[0], at[1]] = np.random.default_rng(0).standard_normal(y.shape[3])
    gradient = grad(y, leaf, seed=as_tensors([y, mixture])[1]).numpy()[0].astype(np.float64)
    strength = np.sqrt(np.sum(gradient**2, axis=2))
    if not strength.any() or not np.isfinite(strength).all():
        what = "does not depend on x" if not strength.any() else "has a gradient that is not finite"
        raise UserError(f"function: its output at {at} {what}")
    return strength, at, size


def _extent(strength: Floats) -> tuple[int, int, int, int]:
    """First row, first column, height and width of the bounding box of all non-zero values."""
    rows, columns = np.flatnonzero(strength.any(axis=1)), np.flatnonzero(strength.any(axis=0))
    return int(rows[0]), int(columns[0]), int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
