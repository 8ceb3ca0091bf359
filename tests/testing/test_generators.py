"""What is drawn for the tests is what they need: odd shapes that fit, any memory layout, no kink nearby."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca_numpy.testing import CASES, LAYOUTS, Case, RandomChooser, oracles, relaid
from ca_numpy.testing.generators import MARGIN, AttentionProblem, ConvProblem, draw_away_from
from ca_numpy.testing.strategies import (
    arrays,
    attention_problems,
    conv_problems,
    generators,
    image_shapes,
    layouts,
    problems,
    shapes,
)


@given(shape=shapes(), layout=layouts(), rng=generators())
def test_a_layout_changes_where_values_lie_and_not_the_values(
    shape: tuple[int, ...], layout: str, rng: np.random.Generator
) -> None:
    x = rng.standard_normal(shape)
    y = relaid(x, layout)
    assert isinstance(y, np.ndarray)
    assert y.shape == x.shape
    if layout == "repeated":
        x = np.broadcast_to(x[:1] if shape else x, shape)
    assert np.array_equal(x, y)


def test_layouts_are_what_they_are_called() -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    strides = {layout: relaid(x, layout).strides for layout in LAYOUTS}
    assert strides == {
        "contiguous": (96, 32, 8),
        "fortran": (8, 16, 48),
        "reversed": (-96, -32, -8),
        "strided": (768, 128, 16),
        "repeated": (0, 32, 8),
    }


@given(small=conv_problems(), large=conv_problems(large=True))
def test_a_drawn_convolution_fits(small: ConvProblem, large: ConvProblem) -> None:
    for p in (small, large):
        assert min(*p.x, *p.w, *p.y) >= 1
        assert p.x[3] == p.w[2]
        assert p.y[1:3] == oracles.positions(p.x[1:3], p.w[:2], p.geometry)


def test_drawn_convolutions_are_of_every_kind() -> None:
    rng = np.random.default_rng(0)
    seen = [CASES["conv2d"].draw(RandomChooser(rng)) for _ in range(300)]
    kernels = {p.inputs[1].shape[:2] for p in seen}
    assert {k for kernel in kernels for k in kernel} == {1, 2, 3, 4, 5}
    assert any(h != w for h, w in kernels)
    geometries = [p.params["geometry"] for p in seen]
    assert {g.stride for g in geometries} == {1, 2, 3}
    assert {g.dilation for g in geometries} == {1, 2, 3, 4}
    assert any(top != bottom for g in geometries for top, bottom in g.pads)
    assert {p.inputs[0].shape[0] for p in seen} == {1, 2, 3}
    assert any(1 in p.inputs[0].shape[1:3] for p in seen)


@given(problem=attention_problems(), other=attention_problems(divisible=False))
def test_a_drawn_attention_fits(problem: AttentionProblem, other: AttentionProblem) -> None:
    for p in (problem, other):
        assert p.f.shape[0] == p.b.shape[0] == p.mask.shape[0]
        assert p.f.shape[3] == p.b.shape[3]
        assert p.mask.shape == (*p.b.shape[:3], 1)
        assert set(np.unique(p.mask)) <= {0, 1}
    assert all(n % problem.geometry.rate == 0 for n in (*problem.f.shape[1:3], *problem.b.shape[1:3]))


def test_drawn_masks_have_no_hole_only_hole_or_some() -> None:
    rng = np.random.default_rng(0)
    known = [CASES["contextual_attention"].draw(RandomChooser(rng)).inputs[2].mean() for _ in range(60)]
    assert 0 in known
    assert 1 in known
    assert any(0 < share < 1 for share in known)


@given(rng=generators(), kinks=st.sampled_from([(0.0,), (-1.0, 1.0), (0.5,), ()]))
def test_values_keep_their_distance_from_kinks(rng: np.random.Generator, kinks: tuple[float, ...]) -> None:
    x = draw_away_from(RandomChooser(rng), (50,), *kinks)
    assert all((abs(x - kink) >= MARGIN * (1 - 1e-12)).all() for kink in kinks)
    assert abs(x).max() <= 2.5


@given(problem=problems(CASES["conv_bias_elu"]))
def test_what_a_fused_elu_sees_keeps_its_distance_from_zero(problem: Any) -> None:
    x, w, b = problem.inputs
    assert abs(oracles.conv2d(x, w, **problem.params) + b).min() >= MARGIN


@given(x=shapes().flatmap(lambda shape: arrays(shape, dtype=np.float32)), shape=image_shapes())
def test_drawn_arrays_are_well_scaled(x: np.ndarray, shape: tuple[int, ...]) -> None:
    assert x.dtype == np.float32
    assert np.isfinite(x).all()
    assert (abs(x) <= 3).all()
    assert len(shape) == 4
    assert min(shape) >= 1


@pytest.mark.parametrize("case", CASES.values(), ids=str)
def test_the_same_seed_draws_the_same_problem(case: Case) -> None:
    one, two = (case.draw(RandomChooser(np.random.default_rng(7))) for _ in range(2))
    assert repr(one) == repr(two)
    assert all(np.array_equal(a, b) for a, b in zip(one.inputs, two.inputs, strict=True))
