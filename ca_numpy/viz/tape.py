"""The tape as a graph of operations and arrays.

It is drawn in layers from top to bottom: each node is assigned a layer, then an order within it with few crossings,
then a position near its neighbours.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch
from matplotlib.path import Path
from numpy.typing import NDArray

from ca_numpy.engine.tensor import Tensor
from ca_numpy.errors import UserError
from ca_numpy.viz.layout import Layout, laid_out
from ca_numpy.viz.output import figure_of

Floats = NDArray[np.float64]

#: The drawing is unreadable with more operations than this.
MOST_OPERATIONS = 60

# In inches, at full size.
_HEIGHT, _STEP, _GAP, _MARGIN, _KEY = 0.24, 0.43, 0.18, 0.12, 1.75

_LOOKS: dict[str, dict[str, Any]] = {
    "operation": {"facecolor": "0.82", "edgecolor": "0.15", "linewidth": 0.8},
    "computed array": {"facecolor": "1.0", "edgecolor": "0.15", "linewidth": 0.8},
    "leaf: gradients may be asked": {"facecolor": "1.0", "edgecolor": "0.0", "linewidth": 2.0},
    "constant": {"facecolor": "1.0", "edgecolor": "0.15", "linewidth": 0.8, "linestyle": (0, (2, 1.5))},
}


@dataclass
class _Node:
    """An operation or an array; `sources` are the indices of its input nodes, in order."""

    kind: str
    label: str
    sources: list[int] = field(default_factory=list)

    @property
    def width(self) -> float:
        """Width of the box with the label, in inches."""
        return 0.068 * len(self.label) + 0.18


def tape_graph(y: Tensor, *, names: Mapping[str, Tensor] | None = None, ax: Axes | None = None) -> Figure:
    """Draw the recorded graph that computed y: operations as grey boxes, arrays as white ones, with their shapes.

    Time runs downwards; lines enter an operation from left to right in the order of its inputs. Leaves, for which
    gradients can be requested, have a thick edge, constants a dashed one. A scalar constant shows its value.

    y: a Tensor of any shape. names: {"w": w}, names for arrays; the default for y is "y". With `ax`, the drawing
    shrinks to fit its area. Raises UserError if y was not computed by an operation, or by more than 60.
    """
    nodes = _nodes(y, names or {})
    layout = laid_out([node.sources for node in nodes], [node.width for node in nodes], gap=_GAP)
    width, height = layout.width + 2 * _MARGIN, layout.layers * _STEP + 2 * _MARGIN
    if ax is None:
        inches_wide, inches_high = max(width, 2.6) + _KEY + 0.2, max(height, 1.3) + 0.4
        place = (0.1 / inches_wide, 0.1 / inches_high, max(width, 2.6) / inches_wide, max(height, 1.3) / inches_high)
        ax = Figure(figsize=(inches_wide, inches_high)).add_axes(place)
    box = ax.get_window_extent()
    scale = min(1.0, box.width / width / figure_of(ax).dpi, box.height / height / figure_of(ax).dpi)
    _draw(ax, nodes, layout, scale)
    ax.set(xlim=(-_MARGIN, width - _MARGIN), ylim=(height - _MARGIN, -_MARGIN), aspect="equal")
    ax.set_axis_off()
    operations = sum(node.kind == "operation" for node in nodes)
    ax.set_title(f"the tape: {operations} operations, {len(nodes) - operations} arrays", fontsize=9)
    kinds = {node.kind for node in nodes}
    keys = [Patch(label=kind, **look) for kind, look in _LOOKS.items() if kind in kinds]
    ax.legend(handles=keys, loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=7)
    return figure_of(ax)


def _nodes(y: Tensor, names: Mapping[str, Tensor]) -> list[_Node]:
    """Every array and operation that contributes to y, in topological order."""
    if not isinstance(y, Tensor) or y.op is None:
        raise UserError("y: no recorded operation computed it; give a result computed from ca_numpy.tensor")
    called = {id(y): "y"} | {id(x): name for name, x in names.items()}
    nodes: list[_Node] = []
    number: dict[int, int] = {}
    stack = [(y, False)]
    operations = 0
    while stack:  # depth first, without recursion: a tape may be deeper than Python's stack
        t, made = stack.pop()
        if id(t) in number:
            continue
        if not made:
            stack.append((t, True))
            stack.extend((x, False) for x in reversed(t.inputs))
            continue
        array = _Node(_kind(t), _label(t, called.get(id(t))))
        if t.op is not None:
            operations += 1
            if operations > MOST_OPERATIONS:
                raise UserError(f"y: more than {MOST_OPERATIONS} operations computed it; draw a smaller graph")
            nodes.append(_Node("operation", t.op.name, [number[id(x)] for x in t.inputs]))
            array.sources = [len(nodes) - 1]
        nodes.append(array)
        number[id(t)] = len(nodes) - 1
    return nodes


def _kind(t: Tensor) -> str:
    if t.op is not None:
        return "computed array"
    return "leaf: gradients may be asked" if t.tracked else "constant"


def _label(t: Tensor, name: str | None) -> str:
    """Its name and shape, or the value of a scalar constant."""
    if t.op is None and not t.tracked and t.size == 1 and name is None:
        return f"{float(t.numpy().reshape(())):.3g}"
    shape = "×".join(map(str, t.shape)) or "one number"
    return shape if name is None else f"{name}: {shape}"


def _draw(ax: Axes, nodes: list[_Node], layout: Layout, scale: float) -> None:
    """Draw boxes and lines, in inches from the top left."""
    for k, node in enumerate(nodes):
        x, y = layout.middle[k], (layout.layer[k] + 0.5) * _STEP
        for port, source in enumerate(node.sources):
            spread = min(0.12, 0.8 * node.width / max(1, len(node.sources)))
            end = x + (port - (len(node.sources) - 1) / 2) * spread, y - _HEIGHT / 2
            start = layout.middle[source], (layout.layer[source] + 0.5) * _STEP + _HEIGHT / 2
            between = [(bend, (layer + 0.5) * _STEP) for bend, layer in layout.bends[k, port]]
            ax.add_patch(_line([start, *between, end], scale))
        rounding = _HEIGHT / 2 if node.kind == "operation" else 0.0
        shape = f"round,pad=0,rounding_size={rounding}" if rounding else "square,pad=0"
        corner = x - node.width / 2, y - _HEIGHT / 2
        ax.add_patch(FancyBboxPatch(corner, node.width, _HEIGHT, boxstyle=shape, zorder=2, **_LOOKS[node.kind]))
        ax.text(x, y, node.label, ha="center", va="center", fontsize=7.5 * scale, zorder=3)


def _line(points: list[tuple[float, float]], scale: float) -> FancyArrowPatch:
    """A smooth downward line through the points, with an arrowhead."""
    vertices, codes = [points[0]], [Path.MOVETO]
    for (x, y), (x2, y2) in pairwise(points):
        vertices += [(x, (y + y2) / 2), (x2, (y + y2) / 2), (x2, y2)]
        codes += [Path.CURVE4] * 3
    head = f"-|>,head_length={3.5 * scale},head_width={1.8 * scale}"
    return FancyArrowPatch(path=Path(vertices, codes), arrowstyle=head, color="0.35", linewidth=0.8, zorder=1)
