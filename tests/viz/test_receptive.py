"""Receptive fields: what changes the output is what is drawn, and nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from ca_numpy import functional as F
from ca_numpy.engine.tensor import tensor
from ca_numpy.errors import UserError
from ca_numpy.viz import receptive_field


def layers(dilations, *, stride=1, channels=2):
    kernels = [np.random.default_rng(d).standard_normal((3, 3, channels, channels)) for d in dilations]

    def network(x):
        for kernel, d in zip(kernels, dilations, strict=True):
            x = F.conv2d(x, kernel, dilation=d)
        return x[:, ::stride, ::stride]

    return network


def drawn(figure):
    """Powers of ten; masked where nothing is seen."""
    return np.ma.asarray(figure.axes[0].images[0].get_array())


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_a_pixel_is_seen_exactly_if_changing_it_changes_the_output(dilations, stride, seed):
    network = layers(dilations, stride=stride)
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((1, 9, 8, 2))
    y = network(tensor(x)).numpy()
    at = int(rng.integers(y.shape[1])), int(rng.integers(y.shape[2]))
    changed = np.zeros((9, 8), bool)
    for i, j in np.ndindex(9, 8):
        other = x.copy()
        other[0, i, j] += 1
        changed[i, j] = np.abs(network(tensor(other)).numpy() - y)[0, at[0], at[1]].max() > 1e-12
    assert_array_equal(~np.ma.getmaskarray(drawn(receptive_field(network, x, at=at))), changed)


def test_the_strongest_is_0_the_weaker_below_it_and_the_weakest_are_cut():
    weights = np.array([1.0, 0.1, 1e-9, 0.0]).reshape(1, 1, 4, 1)
    figure = receptive_field(
        lambda x: (x * weights.reshape(1, 1, 4, 1)).sum(axis=2, keepdims=True), np.ones((1, 1, 4, 1))
    )
    assert drawn(figure).round(9).tolist() == [[0.0, -1.0, -3.0, None]]


def test_channels_that_cancel_in_a_sum_are_seen_all_the_same():
    x = np.random.default_rng(0).standard_normal((1, 3, 3, 4))
    assert drawn(receptive_field(F.softmax, x, at=(1, 1))).count() == 1


def test_the_frame_holds_all_that_is_seen_and_the_point_lies_at_the_output():
    figure = receptive_field(layers([1, 2]), np.zeros((1, 15, 20, 2)))
    ax = figure.axes[0]
    assert ax.patches[0].get_bbox().bounds == (10 - 3.5, 7 - 3.5, 7, 7)
    assert ax.lines[0].get_xydata().tolist() == [[10, 7]]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["all that is seen, 7 × 7", "output (7, 10)"]


@pytest.mark.parametrize(
    ("function", "x", "at", "words"),
    [
        (layers([1]), np.zeros((2, 4, 4, 2)), None, r"x: float64 of shape \(2, 4, 4, 2\)"),
        (layers([1]), np.zeros((1, 4, 4, 2), int), None, "x: int64"),
        (layers([1]), np.zeros((1, 4, 4, 2)), (4, 0), "outside the output's 4 × 4"),
        (lambda x: x.sum(), np.zeros((1, 4, 4, 2)), None, r"it returns \(\)"),
        (lambda x: x.numpy(), np.zeros((1, 4, 4, 2)), None, "it returns ndarray"),
        (lambda x: x * 0.0, np.zeros((1, 4, 4, 2)), None, "does not depend on x"),
        (lambda x: x * np.inf, np.zeros((1, 4, 4, 2)), None, "not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_what_has_no_receptive_field_is_refused(function, x, at, words):
    with pytest.raises(UserError, match=words):
        receptive_field(function, x, at=at)
