"""Contextual attention (section 4.1): composite and fused kernel against loops and finite differences; its manners."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracles
import pytest
from attention_cases import MASKS, Array, Case, by_loops, cases, close, every_choice, scores_by_loops
from hypothesis import given
from hypothesis import strategies as st

from ca_numpy import Tensor, grad, no_grad, ops, tensor
from ca_numpy.attention import (
    OFFICIAL,
    PAPER,
    AttentionChoices,
    attention_scores,
    contextual_attention,
    known_patches,
)
from ca_numpy.geometry import AttentionGeometry
from ca_numpy.testing import gradcheck


# ---- against plain loops ---------------------------------------------------------------------------------------------
@given(case=cases(strides=(1, 1, 2, 3)))
def test_the_composite_is_the_released_codes_attention(backend: str, case: Case) -> None:
    y = contextual_attention(case.f, case.b, case.mask, **case.options, fused=False)
    close(y, by_loops(case))


@given(case=cases(divisible=True))
def test_the_fused_kernel_is_the_released_codes_attention(backend: str, case: Case) -> None:
    y = contextual_attention(case.f, case.b, case.mask, **case.options, fused=True)
    close(y, by_loops(case))


@given(case=cases(strides=(1, 1, 2)), choices=every_choice)
def test_each_choice_means_what_it_says(backend: str, case: Case, choices: AttentionChoices) -> None:
    close(attention_scores(case.f, case.b, case.mask, **case.options, choices=choices), scores_by_loops(case, choices))
    y = contextual_attention(case.f, case.b, case.mask, **case.options, choices=choices)
    close(y, by_loops(case, choices))


@pytest.mark.parametrize("mask_kind", MASKS)
def test_the_papers_choices_are_its_text(mask_kind: str) -> None:
    text = AttentionChoices(
        propagate="attention", normalize="both", wrap=False, masked="exclude", rebuild="matched", downscale="foreground"
    )
    assert text == PAPER
    case = Case(f_size=(8, 6), b_size=(8, 6), mask_kind=mask_kind)
    close(contextual_attention(case.f, case.b, case.mask, choices=PAPER), by_loops(case, text))


@given(case=cases(strides=(1, 1, 2)), choices=every_choice)
def test_bands_of_rows_are_the_whole(case: Case, choices: AttentionChoices) -> None:
    """And `progress` rises from 0 in between."""
    shares: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ca_numpy.attention.BAND", 1)  # a row at a time
        options = case.options | {"choices": choices, "fused": False, "progress": shares.append}
        close(contextual_attention(case.f, case.b, case.mask, **options), by_loops(case, choices))
    rows = -(-case.f.shape[1] // case.options["rate"])
    assert shares == [n / rows for n in range(1 if choices.wrap and case.options["fuse"] else rows)]


def test_an_exception_from_progress_ends_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ca_numpy.attention.BAND", 1)
    case = Case(f_size=(8, 6), b_size=(8, 6))
    shares: list[float] = []

    def progress(share: float) -> None:
        shares.append(share)
        if share > 0:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        contextual_attention(case.f, case.b, case.mask, choices=PAPER, progress=progress)
    assert shares == [0, 0.25]


def test_the_released_codes_choices_are_the_default() -> None:
    code = AttentionChoices(
        propagate="scores", normalize="background", wrap=True, masked="zero", rebuild="raw", downscale="both"
    )
    assert code == OFFICIAL == AttentionChoices()


@given(case=cases(divisible=True))
def test_fused_and_composite_agree_when_neither_is_asked_for(case: Case) -> None:
    by_default = contextual_attention(case.f, case.b, case.mask, **case.options)
    close(by_default, contextual_attention(case.f, case.b, case.mask, **case.options, fused=False).numpy())


@given(case=cases(divisible=True))
def test_the_fused_operation_equals_the_reference_that_it_names(case: Case) -> None:
    options = case.options
    geometry = AttentionGeometry(
        ksize=options["ksize"], rate=options["rate"], fuse_k=options["fuse_k"] if options["fuse"] else None,
        softmax_scale=options["softmax_scale"],
    )  # fmt: skip
    valid = known_patches(tensor(case.b), case.mask, ksize=geometry.ksize, stride=1, rate=geometry.rate)
    reference = ops.contextual_attention.reference
    assert reference is not None
    fused = ops.contextual_attention(case.f, case.b, valid, geometry=geometry)
    close(fused, reference(case.f, case.b, valid, geometry=geometry).numpy())


# ---- derivatives -----------------------------------------------------------------------------------------------------
def weighted(case: Case, f: Tensor, b: Tensor, **options: Any) -> Tensor:
    """A scalar of the attention: its inner product with a fixed direction."""
    y = contextual_attention(f, b, case.mask, **case.options, **options)
    return (y * np.random.default_rng(case.seed + 1).normal(size=y.shape)).sum()


def check_gradients(case: Case, *, order: int = 1, **options: Any) -> None:
    def of_both(f: Tensor, b: Tensor) -> Tensor:
        return contextual_attention(f, b, case.mask, **case.options, **options)

    gradcheck(of_both, [case.f, case.b], rng=np.random.default_rng(case.seed + 2), order=order)


@given(case=cases(divisible=True))
def test_the_fused_gradients_are_those_of_the_composite(backend: str, case: Case) -> None:
    f, b = tensor(case.f), tensor(case.b)
    fused = grad(weighted(case, f, b, fused=True), [f, b])
    for actual, expected in zip(fused, grad(weighted(case, f, b, fused=False), [f, b]), strict=True):
        close(actual, expected.numpy())


@given(case=cases(divisible=True))
def test_the_fused_gradients_are_finite_differences(backend: str, case: Case) -> None:
    check_gradients(case, fused=True)


@given(case=cases(strides=(1, 2)), choices=every_choice)
def test_the_gradients_of_every_choice_are_finite_differences(case: Case, choices: AttentionChoices) -> None:
    check_gradients(case, fused=False, choices=choices)


@given(case=cases(divisible=True))
def test_one_picture_as_foreground_and_background_gets_both_gradients(case: Case) -> None:
    case = Case(case.seed, case.batch, case.b_size, case.b_size, case.channels, case.mask_kind, case.options)
    x = tensor(case.b)
    f, b = tensor(case.b), tensor(case.b)
    df, db = grad(weighted(case, f, b), [f, b])
    close(grad(weighted(case, x, x), x), df.numpy() + db.numpy())


# Of one channel the cosine is a sign: its derivatives are rounding errors, and nothing to compare.
@given(case=cases(channels=2), choices=st.sampled_from([OFFICIAL, PAPER]))
def test_the_composite_has_second_derivatives(backend: str, case: Case, choices: AttentionChoices) -> None:
    check_gradients(case, order=2, fused=False, choices=choices)


def test_the_fused_kernel_refuses_a_second_derivative_and_says_what_to_do() -> None:
    case = Case()
    f, b = tensor(case.f), tensor(case.b)
    y = weighted(case, f, b, fused=True)
    with pytest.raises(NotImplementedError, match="fused=False"):
        grad(y, f, create_graph=True)


@pytest.mark.parametrize("faint", [1e-3, 1e-5, 1e-8])
def test_a_faint_background_is_divided_by_no_less_than_the_smallest_norm(backend: str, faint: float) -> None:
    case = Case(f_size=(6, 6), b_size=(6, 6))
    f, b = 1e3 * case.f, faint * case.b
    expected = oracles.contextual_attention(f[0], b[0], case.masks()[0]) / faint
    gradients = []
    for fused in (True, False):
        tf, tb = tensor(f), tensor(b)
        y = contextual_attention(tf, tb, case.mask, fused=fused)
        close(y.numpy()[0] / faint, expected, 1e-8)
        df, db = grad(y, [tf, tb])
        gradients.append((df.numpy() * 1e3 / faint, db.numpy()))
    for fused, composite in zip(*gradients, strict=True):
        close(fused, composite, 1e-8)


def test_a_flat_black_background_has_finite_scores_and_gradients() -> None:
    f, b = tensor(Case().f), tensor(np.zeros((1, 6, 6, 2)))
    for fused in (True, False):
        y = contextual_attention(f, b, fused=fused)
        assert np.array_equal(y.numpy(), np.zeros(y.shape))
        for g in grad(y.sum(), [f, b]):
            assert np.isfinite(g.numpy()).all()


# ---- manners ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("choices", [OFFICIAL, PAPER])
@pytest.mark.parametrize("fused", [None, False])
@pytest.mark.parametrize("mask_dtype", [np.float32, np.float64, np.uint8, np.bool_])
def test_float32_features_stay_float32_whatever_the_masks_dtype(
    choices: AttentionChoices, fused: bool | None, mask_dtype: Any
) -> None:
    case = Case(mask_kind="box")
    assert case.mask is not None
    f, b = tensor(case.f.astype(np.float32)), tensor(case.b.astype(np.float32))
    y = contextual_attention(f, b, case.mask.astype(mask_dtype), choices=choices, fused=fused)
    assert y.dtype == np.float32
    assert [g.dtype for g in grad(y, [f, b])] == [np.float32, np.float32]
    close(y, by_loops(case, choices), 1e-4)


@pytest.mark.parametrize("fused", [True, False])
def test_the_inputs_are_left_as_they_were(fused: bool) -> None:
    case = Case(mask_kind="box")
    f, b, mask = case.f, case.b, case.mask
    assert mask is not None
    for x in (f, b, mask):
        x.flags.writeable = False
    tf, tb = tensor(f), tensor(b)
    grad(contextual_attention(tf, tb, mask, fused=fused), [tf, tb])  # a write would raise
    assert np.array_equal(f, case.f)
    assert np.array_equal(b, case.b)
    assert np.array_equal(mask, case.mask)  # type: ignore[arg-type]


@pytest.mark.parametrize("fused", [True, False])
def test_strided_views_are_as_good_as_contiguous_arrays(fused: bool) -> None:
    case = Case(f_size=(8, 6), b_size=(6, 8))

    def view(x: Array) -> Array:
        return np.ascontiguousarray(x.transpose(3, 2, 0, 1)).transpose(2, 3, 1, 0)

    y = contextual_attention(view(case.f), view(case.b), case.mask, fused=fused)
    close(y, contextual_attention(case.f, case.b, case.mask, fused=fused).numpy())


def test_nothing_is_remembered_inside_no_grad() -> None:
    case = Case()
    with no_grad():
        for fused in (True, False):
            assert contextual_attention(tensor(case.f), tensor(case.b), case.mask, fused=fused).op is None


def test_no_gradient_reaches_the_mask() -> None:
    case = Case(mask_kind="box")
    mask = tensor(case.mask)
    for fused in (True, False):
        y = contextual_attention(tensor(case.f), tensor(case.b), mask, fused=fused)
        assert np.array_equal(grad(y, mask).numpy(), np.zeros(mask.shape))


@pytest.mark.parametrize(
    ("options", "size"),
    [({"stride": 2}, (6, 6)), ({"choices": PAPER}, (6, 6)), ({"rate": 4}, (6, 6)), ({}, (5, 6))],
    ids=["stride", "choices", "rate", "odd size"],
)
def test_fused_is_refused_where_it_does_not_apply(options: dict[str, Any], size: tuple[int, int]) -> None:
    x = np.ones((1, *size, 2))
    with pytest.raises(ValueError, match=r"fused=True needs .* use fused=False$"):
        contextual_attention(x, x, **options, fused=True)
    assert contextual_attention(x, x, **options).shape == x.shape  # and taken silently where it does


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((np.ones((1, 4, 4, 2)), np.ones((1, 4, 4, 3))), {}, "same N and C"),
        ((np.ones((1, 4, 4, 2)), np.ones((2, 4, 4, 2))), {}, "same N and C"),
        ((np.ones((4, 4, 2)), np.ones((4, 4, 2))), {}, "N H W C"),
        ((np.ones((1, 4, 4, 2)),) * 2, {"fuse_k": 2}, "fuse_k odd"),
        ((np.ones((1, 4, 4, 2)),) * 2, {"rate": 0}, "must be positive"),
        ((np.ones((1, 4, 4, 2)),) * 2, {"ksize": 0}, "must be positive"),
        ((np.ones((1, 4, 4, 2)),) * 2, {"stride": -1}, "must be positive"),
        ((*(np.ones((1, 4, 4, 2)),) * 2, np.ones((1, 8, 8, 1))), {}, "mask must be N h w 1"),
        ((*(np.ones((1, 4, 4, 2)),) * 2, np.ones((1, 4, 4))), {}, "mask must be N h w 1"),
        ((*(np.ones((3, 4, 4, 2)),) * 2, np.ones((2, 4, 4, 1))), {}, "mask must be N h w 1"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    arguments: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    for call in (contextual_attention, attention_scores):
        with pytest.raises(ValueError, match=message) as error:
            call(*arguments, **options)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "wrong", [{"propagate": "score"}, {"normalize": "f"}, {"masked": "drop"}, {"rebuild": "matched "}]
)
def test_a_misspelt_choice_is_not_taken_for_the_default(wrong: dict[str, str]) -> None:
    x = np.ones((1, 4, 4, 2))
    with pytest.raises(ValueError, match=next(iter(wrong))):
        contextual_attention(x, x, choices=AttentionChoices(**wrong))  # type: ignore[arg-type]
