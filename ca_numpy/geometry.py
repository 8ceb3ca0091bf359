"""Geometry of convolution, attention and nearest-neighbour resizing, shared by the operations and all backends.

`ops/` passes a kernel its geometry as one object. To add a property such as groups, add a field to `ConvGeometry`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Pads = tuple[tuple[int, int], tuple[int, int]]
NO_PADS: Pads = ((0, 0), (0, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvGeometry:
    """Stride, dilation and padding: output i reads pixel i·stride + u·dilation − before for tap u, along each axis.

    pads: ((top, bottom), (left, right)), zeros. The kernel size is given by w's shape. Raises ValueError for a stride
    or dilation below 1.
    """

    stride: int = 1
    dilation: int = 1
    pads: Pads = NO_PADS

    def __post_init__(self) -> None:
        if self.stride < 1 or self.dilation < 1:
            given = f"stride={self.stride}, dilation={self.dilation}"
            raise ValueError(f"stride and dilation must be at least 1, got {given}")

    @property
    def numbers(self) -> tuple[int, int, int, int]:
        """(stride, dilation, top, left), for compiled kernels; the size of y implies the other pads."""
        return self.stride, self.dilation, self.pads[0][0], self.pads[1][0]

    def same(self, size: Sequence[int], ksize: Sequence[int]) -> ConvGeometry:
        """A copy with TensorFlow's SAME padding, for an image (H, W) and a kernel (KH, KW): ⌈n/s⌉ outputs.

        total = max((⌈n/s⌉ − 1)·s + (k − 1)·d + 1 − n, 0);  before = ⌊total/2⌋,  after = total − before
        """

        def one(n: int, k: int) -> tuple[int, int]:
            total = max((-(-n // self.stride) - 1) * self.stride + (k - 1) * self.dilation + 1 - n, 0)
            return total // 2, total - total // 2

        return replace(self, pads=(one(size[0], ksize[0]), one(size[1], ksize[1])))

    def output_size(self, size: Sequence[int], ksize: Sequence[int]) -> tuple[int, int]:
        """Output (height, width): ⌊(n + pads − (k − 1)·d − 1) / s⌋ + 1 along each axis."""
        h, w = (
            (n + sum(p) - (k - 1) * self.dilation - 1) // self.stride + 1
            for n, k, p in zip(size, ksize, self.pads, strict=True)
        )
        return h, w


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionGeometry:
    """Options of the fused contextual attention (section 4.1).

    ksize           side of the matched patches
    rate            downscaling factor of the features before matching
    fuse_k          width of the propagation kernel, odd; None for no propagation
    softmax_scale   inverse temperature of the softmax

    Raises ValueError for a ksize or rate below 1, or an even fuse_k.
    """

    ksize: int = 3
    rate: int = 2
    fuse_k: int | None = 3
    softmax_scale: float = 10.0

    def __post_init__(self) -> None:
        steps = 1 if self.fuse_k is None else self.fuse_k
        if min(self.ksize, self.rate, steps) < 1 or steps % 2 == 0:
            given = f"ksize={self.ksize}, rate={self.rate}, fuse_k={self.fuse_k}"
            raise ValueError(f"ksize and rate must be positive and fuse_k odd, got {given}")


def nearest_index(n_in: int, n_out: int, *, align_corners: bool) -> NDArray[np.intp]:
    """Input index of each of the n_out outputs of nearest-neighbour resizing.

    align_corners   min(⌊i·(n_in − 1)/(n_out − 1) + ½⌋, n_in − 1), in float32 as in TensorFlow; halving takes 2i in
                    the first half and 2i + 1 in the second, so it is *not* x[::2]
    otherwise       ⌊i·n_in/n_out⌋
    """
    i = np.arange(n_out)
    if not align_corners:
        return i * n_in // n_out
    scale = np.float32(n_in - 1) / np.float32(n_out - 1) if n_out > 1 else np.float32(0)
    nearest: NDArray[np.float32] = np.floor(i.astype(np.float32) * scale + np.float32(0.5))
    return nearest.clip(max=n_in - 1).astype(np.intp)
