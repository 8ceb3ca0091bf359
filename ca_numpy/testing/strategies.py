"""Hypothesis strategies for the library's arrays and kernels. Needs `pip install hypothesis`.

They draw as `generators` and the `Case` table do, but Hypothesis makes the choices: a failing example shrinks to the
smallest shapes and simplest options that still fail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from ca_numpy.testing.cases import Case
from ca_numpy.testing.generators import (
    LAYOUTS,
    AttentionProblem,
    ConvProblem,
    Problem,
    draw_attention,
    draw_conv,
    draw_images_shape,
    draw_shape,
    relaid,
)

T = TypeVar("T")


class HypothesisChooser:
    """Choices made, stored and shrunk by Hypothesis; array values come from one drawn seed."""

    def __init__(self, draw: st.DrawFn, *, large: bool = False) -> None:
        self.draw, self.large = draw, large
        self.rng = np.random.default_rng(draw(st.integers(0, 2**16)))

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def choice(self, options: Sequence[T]) -> T:
        return self.draw(st.sampled_from(options))


@st.composite
def _drawn_by(draw: st.DrawFn, function: Callable[..., T], large: bool, options: dict[str, Any]) -> T:
    return function(HypothesisChooser(draw, large=large), **options)


def problems(case: Case, *, large: bool = False) -> st.SearchStrategy[Problem]:
    """Inputs and parameters of one kernel; `large` ones exceed a tile, a block of threads or a cache line."""
    return _drawn_by(case.draw, large, {})


def generators() -> st.SearchStrategy[np.random.Generator]:
    """Seeded random generators."""
    return st.integers(0, 2**16).map(np.random.default_rng)


def shapes(*, least: int = 0) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes of `least` to four axes, with lengths from 1."""
    return _drawn_by(draw_shape, False, {"least": least})


def image_shapes() -> st.SearchStrategy[tuple[int, int, int, int]]:
    """N H W C: batches of 1 to 3, pictures from 1 × 1 up."""
    return _drawn_by(draw_images_shape, False, {})


def layouts() -> st.SearchStrategy[str]:
    """Memory layouts: see `relaid`."""
    return st.sampled_from(LAYOUTS)


@st.composite
def arrays(draw: st.DrawFn, shape: tuple[int, ...], *, dtype: Any = np.float64) -> NDArray[Any]:
    """Standard normal values within ±3, in any memory layout: column-major, backwards, with gaps, repeated."""
    values = np.clip(draw(generators()).standard_normal(shape), -3, 3).astype(dtype)
    return np.asarray(relaid(values, draw(layouts())))


def conv_problems(*, large: bool = False) -> st.SearchStrategy[ConvProblem]:
    """Convolutions that fit: kernels 1–5 a side, stride 1–3, dilation 1–4, any zeros around."""
    return _drawn_by(draw_conv, large, {})


def attention_problems(*, divisible: bool = True, large: bool = False) -> st.SearchStrategy[AttentionProblem]:
    """Features and masks for contextual attention; with `divisible`, sizes that the fused kernel takes."""
    return _drawn_by(draw_attention, large, {"divisible": divisible})
