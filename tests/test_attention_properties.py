"""What to believe of contextual attention: who is attended to, its symmetries, propagation, rebuilding."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracles
import pytest
from attention_cases import Array, Case, cases, close, every_choice
from hypothesis import given
from hypothesis import strategies as st

from ca_numpy import grad, tensor
from ca_numpy.attention import (
    AttentionChoices,
    attention_argmax,
    attention_scores,
    contextual_attention,
    downscale,
    known_patches,
    match,
    propagate,
    rebuild,
)


# ---- who is attended to ----------------------------------------------------------------------------------------------
@given(case=cases(strides=(1, 2), mask_kind="none"))
def test_attention_is_a_distribution_over_all_patches_when_nothing_is_masked(case: Case) -> None:
    a = attention_scores(case.f, case.b, case.mask, **case.options).numpy()
    assert a.min() >= 0
    close(a.sum(-1), np.ones(a.shape[:2]))


@given(case=cases(strides=(1, 2)))
def test_with_a_mask_at_most_all_attention_is_paid(case: Case) -> None:
    a = attention_scores(case.f, case.b, case.mask, **case.options).numpy()
    assert a.min() >= 0
    assert a.sum(-1).max() <= 1 + 1e-12


@given(case=cases(strides=(1, 2)), choices=every_choice)
def test_no_attention_is_paid_to_a_patch_that_touches_the_hole(case: Case, choices: AttentionChoices) -> None:
    a = attention_scores(case.f, case.b, case.mask, **case.options, choices=choices).numpy()
    rate = case.options["rate"] if choices.downscale == "both" else 1
    geometry = {"ksize": case.options["ksize"], "stride": case.options["stride"], "rate": rate}
    for sample, mask in zip(a, case.masks(), strict=True):
        may_copy = oracles.known(np.zeros(case.b_size) if mask is None else mask, **geometry)
        assert np.all(sample[:, ~np.array(may_copy)] == 0)


def test_a_patch_next_to_the_hole_is_known_and_one_that_touches_it_is_not() -> None:
    mask = np.zeros((1, 5, 5, 1))
    mask[0, 0, 0] = 1
    valid = known_patches(tensor(np.zeros((1, 5, 5, 1))), mask, ksize=3, stride=1, rate=1).numpy().reshape(5, 5)
    assert np.array_equal(valid[:2, :2], np.zeros((2, 2)))
    assert valid.sum() == 21


@given(case=cases(mask_kind="hole"), choices=every_choice)
def test_a_picture_that_is_all_hole_is_rebuilt_as_zero(case: Case, choices: AttentionChoices) -> None:
    f, b = tensor(case.f), tensor(case.b)
    y = contextual_attention(f, b, case.mask, **case.options, choices=choices)
    assert np.array_equal(y.numpy(), np.zeros(y.shape))
    for g in grad(y, [f, b]):
        assert np.isfinite(g.numpy()).all()


@given(case=cases(mask_kind="dots"), normalize=st.sampled_from(["background", "both"]))
def test_exclude_shares_the_attention_among_the_known_patches_only(case: Case, normalize: Any) -> None:
    zero, exclude = (
        attention_scores(
            case.f, case.b, case.mask, **case.options, choices=AttentionChoices(normalize=normalize, masked=masked)
        ).numpy()
        for masked in ("zero", "exclude")
    )
    total = zero.sum(-1, keepdims=True)
    # A share below 1e-100 of a number is no longer accurate after division.
    shared = np.where(total > 1e-100, zero / np.maximum(total, 1e-100), exclude)
    close(exclude, shared)
    geometry = {k: case.options[k] for k in ("ksize", "stride", "rate")}
    for sample, mask in zip(exclude, case.mask[..., 0], strict=True):  # type: ignore[index]
        any_known = any(oracles.known(mask, **geometry))
        close(sample.sum(-1), np.full(len(sample), float(any_known)))


@pytest.mark.parametrize("scale", [1.0, 1e2, 1e4, 1e6])
def test_the_only_known_patch_gets_all_attention_however_unlike_it_is(scale: float) -> None:
    case = Case(f_size=(4, 4), b_size=(4, 4))
    mask = np.ones((1, 4, 4, 1))
    mask[0, 2, 1] = 0
    a = attention_scores(
        scale * case.f, case.b, mask, ksize=1, rate=1, fuse=False, choices=AttentionChoices(masked="exclude")
    ).numpy()
    close(a, np.tile(np.arange(16) == 9, (1, 16, 1)).astype(float))


# ---- symmetries ------------------------------------------------------------------------------------------------------
@given(seed=st.integers(0, 2**16), h=st.integers(1, 4), w=st.integers(1, 4))
def test_permuting_the_backgrounds_pixels_permutes_the_attention(seed: int, h: int, w: int) -> None:
    rng = np.random.default_rng(seed)
    f, b = rng.normal(size=(2, 1, h, w, 3))
    mask = (rng.random((1, h, w, 1)) < 0.2).astype(float)
    order = rng.permutation(h * w)

    def permuted(x: Array) -> Array:
        return x.reshape(1, h * w, -1)[:, order].reshape(x.shape)

    options = {"ksize": 1, "rate": 1, "fuse": False}
    a = attention_scores(f, b, mask, **options).numpy()
    close(attention_scores(f, permuted(b), permuted(mask), **options), a[:, :, order])


@given(seed=st.integers(0, 2**16), down=st.integers(-2, 2), right=st.integers(-2, 2))
def test_moving_the_background_moves_its_scores(seed: int, down: int, right: int) -> None:
    rng = np.random.default_rng(seed)
    f, b = rng.normal(size=(1, 4, 5, 2)), np.zeros((1, 10, 10, 2))
    b[:, 3:7, 3:7] = rng.normal(size=(1, 4, 4, 2))  # far enough from the border to move without leaving
    s = match(tensor(f), tensor(b), ksize=3).numpy().reshape(20, 10, 10)
    moved = match(tensor(f), tensor(np.roll(b, (down, right), (1, 2))), ksize=3).numpy().reshape(20, 10, 10)
    close(moved, np.roll(s, (down, right), (1, 2)))


@given(case=cases(strides=(1, 2)), c=st.sampled_from([1e-2, 0.5, 3.0, 1e3]), choices=every_choice)
def test_a_brighter_background_is_attended_to_no_more(case: Case, c: float, choices: AttentionChoices) -> None:
    a = attention_scores(case.f, case.b, case.mask, **case.options, choices=choices)
    close(attention_scores(case.f, c * case.b, case.mask, **case.options, choices=choices), a.numpy(), 1e-9)


@given(case=cases(strides=(1, 2)), c=st.sampled_from([0.1, 2.0, 5.0]))
def test_a_stronger_foreground_acts_as_a_temperature(case: Case, c: float) -> None:
    hotter = case.options | {"softmax_scale": c * case.options["softmax_scale"]}
    a = attention_scores(case.f, case.b, case.mask, **hotter)
    close(attention_scores(c * case.f, case.b, case.mask, **case.options), a.numpy(), 1e-9)


@given(case=cases(strides=(1, 2)), c=st.sampled_from([0.1, 2.0, 5.0]))
def test_the_papers_cosine_does_not_mind_a_stronger_foreground(case: Case, c: float) -> None:
    choices = AttentionChoices(normalize="both")
    a = attention_scores(case.f, case.b, case.mask, **case.options, choices=choices)
    close(attention_scores(c * case.f, case.b, case.mask, **case.options, choices=choices), a.numpy(), 1e-9)


@given(case=cases(strides=(1, 2)))
def test_cosine_scores_lie_between_minus_one_and_one_and_are_one_at_home(case: Case) -> None:
    f, b = tensor(case.f), tensor(case.b)
    ksize = case.options["ksize"]
    s = match(f, b, ksize=ksize, stride=case.options["stride"], cosine=True).numpy()
    assert np.abs(s).max() <= 1 + 1e-12
    at_home = match(b, b, ksize=ksize, cosine=True).numpy()
    close(at_home.diagonal(axis1=1, axis2=2), np.ones(at_home.shape[:2]))


@given(case=cases(divisible=True), fused=st.booleans())
def test_a_batch_is_its_samples_one_by_one_each_with_its_own_mask(case: Case, fused: bool) -> None:
    case = Case(case.seed, 3, case.f_size, case.b_size, case.channels, case.mask_kind, case.options)
    together = contextual_attention(case.f, case.b, case.mask, **case.options, fused=fused).numpy()
    for n in range(3):
        mask = None if case.mask is None else case.mask[n : n + 1]
        alone = contextual_attention(case.f[n : n + 1], case.b[n : n + 1], mask, **case.options, fused=fused)
        close(together[n : n + 1], alone.numpy())


@pytest.mark.parametrize("fused", [True, False])
def test_one_mask_serves_a_whole_batch(fused: bool) -> None:
    case = Case(batch=3, mask_kind="box")
    mask = case.mask
    assert mask is not None
    one = contextual_attention(case.f, case.b, mask[:1], fused=fused).numpy()
    close(one, contextual_attention(case.f, case.b, mask[:1].repeat(3, 0), fused=fused).numpy())


# ---- propagation (section 4.1) ----
grids = st.tuples(st.integers(1, 4), st.integers(1, 4))


@given(seed=st.integers(0, 2**16), f_grid=grids, b_grid=grids, k=st.sampled_from([1, 3, 5]), wrap=st.booleans())
def test_propagation_is_linear_and_its_gradient_its_adjoint(
    seed: int, f_grid: tuple[int, int], b_grid: tuple[int, int], k: int, wrap: bool
) -> None:
    rng = np.random.default_rng(seed)
    s, u = rng.normal(size=(2, 1, f_grid[0] * f_grid[1], b_grid[0] * b_grid[1]))
    steps = {"k": k, "wrap": wrap}
    y = propagate(tensor(s), f_grid, b_grid, **steps).numpy()
    close(y[0], oracles.propagate(s[0], f_grid, b_grid, **steps))
    close(
        propagate(tensor(2 * s + u), f_grid, b_grid, **steps),
        2 * y + propagate(tensor(u), f_grid, b_grid, **steps).numpy(),
    )
    x = tensor(s)
    adjoint = grad(propagate(x, f_grid, b_grid, **steps), x, seed=u).numpy()
    assert (y * u).sum() == pytest.approx((s * adjoint).sum(), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("wrap", [True, False])
def test_one_step_of_propagation_is_none(wrap: bool) -> None:
    s = np.random.default_rng(0).normal(size=(1, 12, 20))
    assert np.array_equal(propagate(tensor(s), (3, 4), (4, 5), k=1, wrap=wrap).numpy(), s)


def test_propagation_runs_on_from_the_end_of_a_line_only_when_it_wraps() -> None:
    s = np.zeros((1, 3, 3, 3, 3))
    s[0, 0, 2, 0, 2] = 1  # both at the end of the first row
    wrapped, stopped = (
        propagate(tensor(s.reshape(1, 9, 9)), (3, 3), (3, 3), wrap=wrap).numpy().reshape(3, 3, 3, 3)
        for wrap in (True, False)
    )
    assert wrapped[1, 0, 1, 0] == 1  # one step on, both begin the second row
    assert stopped[1, 0, 1, 0] == 0
    assert stopped[0, 1, 0, 1] == wrapped[0, 1, 0, 1] == 1
    assert stopped[1, 2, 1, 2] == wrapped[1, 2, 1, 2] == 1


@given(seed=st.integers(0, 2**16), h=st.integers(3, 5), w=st.integers(3, 5))
def test_wrapping_changes_nothing_away_from_the_borders(seed: int, h: int, w: int) -> None:
    s = tensor(np.random.default_rng(seed).normal(size=(1, h * w, h * w)))
    a, b = (propagate(s, (h, w), (h, w), wrap=wrap).numpy().reshape(h, w, h, w) for wrap in (True, False))
    inner = (slice(1, h - 1), slice(1, w - 1)) * 2
    close(a[inner], b[inner])


# ---- rebuilding ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fused", [True, False])
def test_a_sharp_attention_to_itself_rebuilds_the_interior_exactly(fused: bool) -> None:
    b = np.random.default_rng(5).normal(size=(1, 8, 10, 4))  # random patches: all distinct
    y = contextual_attention(b, b, softmax_scale=1e5, fused=fused).numpy()
    close(y[:, 1:-1, 1:-1], b[:, 1:-1, 1:-1])
    # The divisor is always 4, though fewer patches overlap at the border: two along the sides, one in the corners.
    close(y[:, 0, 1:-1], b[:, 0, 1:-1] / 2)
    close(y[:, -1, -1], b[:, -1, -1] / 4)


def test_averaging_the_overlaps_exactly_rebuilds_the_border_too() -> None:
    b = np.random.default_rng(5).normal(size=(1, 6, 7, 4))
    y = contextual_attention(b, b, rate=1, softmax_scale=1e5, choices=AttentionChoices(rebuild="matched"))
    close(y, b)


def test_the_most_attended_patch_of_a_picture_in_itself_is_its_own() -> None:
    b = np.random.default_rng(7).normal(size=(2, 8, 8, 4))
    best = attention_argmax(attention_scores(b, b))
    assert best.shape == (2, 16)
    assert np.issubdtype(best.dtype, np.integer)
    assert np.array_equal(best, np.tile(np.arange(16), (2, 1)))


@given(case=cases(strides=(1, 2)), choices=every_choice)
def test_rebuilding_is_linear_in_the_attention_and_in_the_background(case: Case, choices: AttentionChoices) -> None:
    options = {k: case.options[k] for k in ("ksize", "stride", "rate")} | {"choices": choices}
    a = attention_scores(case.f, case.b, case.mask, **case.options, choices=choices)
    f, b = tensor(case.f), tensor(case.b)
    y = rebuild(a, f, b, **options).numpy()
    close(rebuild(2.0 * a, f, b, **options), 2 * y)
    close(rebuild(a, f, 3.0 * b, **options), 3 * y)


@pytest.mark.parametrize(("size", "expected"), [((7, 5), (4, 3)), ((8, 6), (4, 3)), ((1, 1), (1, 1))])
def test_odd_sizes_are_rounded_up_when_downscaled(size: tuple[int, int], expected: tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(size=(1, *size, 2))
    y = downscale(tensor(x), 2)
    assert y.shape == (1, *expected, 2)
    close(y.numpy()[0], oracles.resize(x[0], *expected))
    assert contextual_attention(x, x).shape == x.shape
    assert attention_scores(x, x).shape == (1, expected[0] * expected[1], expected[0] * expected[1])


def test_a_stride_of_two_asks_a_quarter_of_the_patches() -> None:
    case = Case(f_size=(8, 8), b_size=(8, 8))
    assert attention_scores(case.f, case.b, stride=1).shape == (1, 16, 16)
    assert attention_scores(case.f, case.b, stride=2).shape == (1, 16, 4)
