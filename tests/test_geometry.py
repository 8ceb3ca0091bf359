"""Geometry: TensorFlow's SAME rule, nearest neighbours, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca_numpy.geometry import AttentionGeometry, ConvGeometry, nearest_index


# ---- TensorFlow's SAME rule --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("n", "k", "stride", "dilation", "pads"),
    [  # total = max((⌈n/s⌉ − 1)·s + (k − 1)·d + 1 − n, 0), worked out by hand
        (8, 3, 1, 1, (1, 1)),  # 7 + 3 − 8 = 2
        (8, 3, 2, 1, (0, 1)),  # 6 + 3 − 8 = 1: even size, 3 × 3, stride 2
        (7, 3, 2, 1, (1, 1)),  # 6 + 3 − 7 = 2
        (8, 5, 2, 1, (1, 2)),  # 6 + 5 − 8 = 3: the critics' 5 × 5
        (256, 5, 2, 1, (1, 2)),  # 254 + 5 − 256 = 3
        (7, 5, 2, 1, (2, 2)),  # 6 + 5 − 7 = 4
        (8, 4, 2, 1, (1, 1)),  # 6 + 4 − 8 = 2: raw patches of the attention, rate 2
        (6, 6, 3, 1, (1, 2)),  # 3 + 6 − 6 = 3: and rate 3
        (8, 4, 1, 1, (1, 2)),  # 7 + 4 − 8 = 3
        (8, 2, 1, 1, (0, 1)),  # 7 + 2 − 8 = 1
        (64, 3, 1, 16, (16, 16)),  # 63 + 33 − 64 = 32: the deepest dilation
        (9, 3, 2, 2, (2, 2)),  # 8 + 5 − 9 = 4
        (10, 3, 3, 1, (1, 1)),  # 9 + 3 − 10 = 2
        (6, 2, 3, 1, (0, 0)),  # 3 + 2 − 6 < 0: pixels are skipped, none is added
        (5, 1, 2, 1, (0, 0)),
        (1, 3, 1, 1, (1, 1)),  # 0 + 3 − 1 = 2
        (1, 5, 2, 1, (2, 2)),  # 0 + 5 − 1 = 4
    ],
)
def test_same_padding_is_tensorflows(n: int, k: int, stride: int, dilation: int, pads: tuple[int, int]) -> None:
    geometry = ConvGeometry(stride=stride, dilation=dilation)
    assert geometry.same((n, 1), (k, 1)).pads[0] == pads
    assert geometry.same((1, n), (1, k)).pads[1] == pads


@given(n=st.integers(1, 300), k=st.integers(1, 7), stride=st.integers(1, 5), dilation=st.integers(1, 16))
def test_same_padding_gives_one_output_per_stride_and_puts_the_odd_zero_behind(
    n: int, k: int, stride: int, dilation: int
) -> None:
    geometry = ConvGeometry(stride=stride, dilation=dilation).same((n, n), (k, k))
    assert geometry.output_size((n, n), (k, k)) == (math.ceil(n / stride),) * 2
    before, behind = geometry.pads[0]
    assert behind - before in (0, 1)


# ---- nearest neighbour -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("n", [2, 3, 4, 7, 16, 32, 64, 128, 341, 1024])
def test_doubling_is_repetition(n: int) -> None:
    for align_corners in (True, False):
        assert np.array_equal(nearest_index(n, 2 * n, align_corners=align_corners), np.arange(2 * n) // 2)


@pytest.mark.parametrize("n", [2, 4, 8, 16, 64, 128, 256, 512])
def test_halving_takes_the_even_rows_of_the_first_half_and_the_odd_rows_of_the_second(n: int) -> None:
    i = np.arange(n)
    right = np.where(i < n // 2, 2 * i, 2 * i + 1)
    assert np.array_equal(nearest_index(2 * n, n, align_corners=True), right)
    assert np.array_equal(nearest_index(2 * n, n, align_corners=False), 2 * i)


def test_halving_eight_by_hand() -> None:
    # i·7/3 + ½ = 0.5, 2.83, 5.17, 7.5
    assert nearest_index(8, 4, align_corners=True).tolist() == [0, 2, 5, 7]


@given(n=st.integers(1, 20), m=st.integers(1, 20))
def test_aligned_corners_round_the_exact_position(n: int, m: int) -> None:
    exact = [min((2 * i * (n - 1) + m - 1) // (2 * (m - 1)), n - 1) if m > 1 else 0 for i in range(m)]
    assert nearest_index(n, m, align_corners=True).tolist() == exact


@given(n=st.integers(1, 600), m=st.integers(2, 600))
def test_aligned_corners_meet_and_no_row_is_out_of_order(n: int, m: int) -> None:
    index = nearest_index(n, m, align_corners=True)
    assert (index[0], index[-1]) == (0, n - 1)
    assert (np.diff(index) >= 0).all()


# ---- validation --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("options", [{"stride": 0}, {"dilation": -1}])
def test_stride_and_dilation_are_at_least_one(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1, got stride="):
        ConvGeometry(**options)


@pytest.mark.parametrize("options", [{"ksize": 0}, {"rate": 0}, {"fuse_k": 2}, {"fuse_k": 0}])
def test_ksize_and_rate_are_positive_and_fuse_k_is_odd(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be positive and fuse_k odd, got ksize="):
        AttentionGeometry(**options)


def test_a_geometry_is_a_value() -> None:
    one, two = ConvGeometry(stride=2, pads=((0, 1), (0, 1))), ConvGeometry(stride=2).same((8, 8), (3, 3))
    assert one == two
    assert {one: "found"}[two] == "found"
    with pytest.raises(AttributeError):
        one.stride = 3  # type: ignore[misc]
