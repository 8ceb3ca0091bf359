"""The pictures of docs/mathematics.md.

python tests/benchmarks/mathematics_pictures.py [--out docs/pictures/mathematics]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ca_numpy import functional as F
from ca_numpy import losses, tensor, viz
from ca_numpy.attention import propagate
from ca_numpy.engine.tensor import Tensor

OUT = Path(__file__).parents[2] / "docs" / "pictures" / "mathematics"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    out = parser.parse_args(arguments).out
    out.mkdir(parents=True, exist_ok=True)
    for name, draw in {"fields": fields, "propagation": propagation, "discount": discount}.items():
        viz.save(draw(), out / f"{name}.png")


def fields() -> Figure:
    """What one output of four 3×3 convolutions sees: plain, and with dilations 1, 2, 4, 8."""
    figure = Figure(figsize=(8.2, 3.9), dpi=90)
    x = np.random.default_rng(0).standard_normal((1, 41, 41, 1))
    for ax, dilations in zip(figure.subplots(1, 2), [(1, 1, 1, 1), (1, 2, 4, 8)], strict=True):
        viz.receptive_field(stack(dilations), x, ax=ax)
        ax.set_title("dilations " + ", ".join(map(str, dilations)), fontsize=9)
    figure.subplots_adjust(left=0.07, right=0.9, bottom=0.2, top=0.92, wspace=0.5)
    return figure


def stack(dilations: Sequence[int]) -> Callable[[Tensor], Tensor]:
    rng = np.random.default_rng(1)
    kernels = [tensor(rng.standard_normal((3, 3, 1 if n == 0 else 4, 4))) for n in range(len(dilations))]

    def apply(x: Tensor) -> Tensor:
        for kernel, dilation in zip(kernels, dilations, strict=True):
            x = F.conv2d(x, kernel, dilation=dilation)
        return x

    return apply


def propagation() -> Figure:
    """The scores of a 4×4 grid against itself, in which two pairs match, before and after both passes."""
    scores = np.zeros((1, 16, 16))
    scores[0, 5, 6] = scores[0, 10, 1] = 1
    passed = propagate(tensor(scores), (4, 4), (4, 4), wrap=False).numpy()
    figure = Figure(figsize=(7.6, 3.5), dpi=90)
    for ax, matrix, title in zip(figure.subplots(1, 2), (scores, passed), ("scores", "propagated"), strict=True):
        heat(ax, matrix[0], title=title)
        ax.set(xlabel="background position x′", ylabel="foreground position x")
        ax.set_xticks(np.arange(0, 16, 4) - 0.5, map(str, range(0, 16, 4)))
        ax.set_yticks(np.arange(0, 16, 4) - 0.5, map(str, range(0, 16, 4)))
        ax.grid(color="0.7", linewidth=0.5)
    figure.tight_layout()
    return figure


def discount() -> Figure:
    """Weights of the discounted ℓ1 in a hole of 128×128: the paper's, and the released code's."""
    mask = np.zeros((1, 130, 130, 1))
    mask[:, 1:-1, 1:-1] = 1
    paper = losses.discount_by_distance(mask)[0, 1:-1, 1:-1, 0]
    code = losses.discount_by_box((128, 128)).reshape(128, 128)
    figure = Figure(figsize=(7.6, 3.3), dpi=90)
    titles = "paper: γ = 0.99, distance to the known", "released code: γ = 0.9, to the box’s sides"
    for ax, weights, title in zip(figure.subplots(1, 2), (paper, code), titles, strict=True):
        figure.colorbar(heat(ax, weights, title=title), ax=ax)
    figure.tight_layout()
    return figure


def heat(ax: Axes, matrix: NDArray[Any], *, title: str) -> Any:
    ax.set_title(title, fontsize=9)
    return ax.imshow(matrix, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")


if __name__ == "__main__":
    main()
