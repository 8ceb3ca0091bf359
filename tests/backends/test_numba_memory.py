"""The memory pool: a buffer belongs to one array at a time, and is reused after its last view is deleted."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

numba_memory = pytest.importorskip("ca_numpy.backends.numba_memory")


deeds = st.sampled_from(["ask", "view", "forget"])
steps = st.lists(st.tuples(deeds, st.integers(1, 40), st.integers(0, 9)), max_size=60)


@settings(deadline=None)
@given(steps)
def test_no_two_arrays_that_are_held_share_memory(steps: list[tuple[str, int, int]]) -> None:
    pool, held = numba_memory.Pool(small=1), list[tuple[Any, float]]()
    for number, (what, size, which) in enumerate(steps):
        if what == "ask":
            x = pool.empty((size, 3), np.float32)
            x.fill(number)
            held.append((x, number))
        elif held and what == "view":  # from here on only a part of the array is referenced
            x, filled = held.pop(which % len(held))
            held.append((x.reshape(-1)[-2:], filled))
        elif held:
            held.pop(which % len(held))
        x = None
        assert all((x == filled).all() for x, filled in held)


def test_memory_is_used_again_when_the_last_view_is_gone() -> None:
    pool = numba_memory.Pool(small=1)
    x = pool.empty((10, 10), np.float32)
    place, corner = x.ctypes.data, x[2:, 3:].T
    del x
    assert pool.empty((10, 10), np.float32).ctypes.data != place
    del corner
    x, y = pool.empty((8, 10), np.float32), pool.empty((9, 10), np.float32)
    assert place in (x.ctypes.data, y.ctypes.data)
    assert pool.held() == 800 + 2 * numba_memory.LINE


def test_a_loop_holds_no_more_than_its_largest_turn_and_a_quarter() -> None:
    pool, most = numba_memory.Pool(small=1), 0
    for turn in range(50):
        arrays: list[Any] = []  # the previous arrays are deleted first
        arrays = [pool.empty((100 * (1 + (turn * k) % 7),), np.float32) for k in range(5)]
        most = max(most, sum(a.nbytes for a in arrays))
    del arrays
    assert pool.held() <= 1.25 * 1.5 * most  # a buffer may be 1.5 times as large as its array


def test_released_memory_is_gone_and_arrays_in_it_are_not() -> None:
    pool = numba_memory.Pool(small=1)
    x = pool.zeros((7, 5), np.float32)
    pool.release()
    gc.collect()
    assert pool.held() == 0
    assert pool.empty((7, 5), np.float32).ctypes.data != x.ctypes.data
    assert (x == 0).all()


def test_small_arrays_are_left_to_the_c_library() -> None:
    pool = numba_memory.Pool(small=1000)
    pool.empty((249,), np.float32)
    assert pool.held() == 0
    pool.empty((250,), np.float32)
    assert pool.held() == 1000 + numba_memory.LINE


@given(st.integers(1, 3000), st.sampled_from([np.uint8, np.float32, np.float64]))
def test_arrays_begin_with_a_cache_line(size: int, dtype: type) -> None:
    """Large arrays of the C library never do."""
    for _ in range(2):  # fresh, and used again
        x = numba_memory.Pool(small=1000).empty((size, 2), dtype)
        assert (x.shape, x.dtype, x.ctypes.data % 64, x.flags.c_contiguous) == ((size, 2), dtype, 0, True)


@pytest.mark.parametrize("shape", [(1,), (3, 16), (2, 5, 32)])
def test_zeros_are_zeros_and_begin_with_a_line_of_the_cache(shape: tuple[int, ...]) -> None:
    for _ in range(10):
        x = numba_memory.POOL.zeros(shape, np.float32)
        assert (x.shape, x.dtype, x.any()) == (shape, np.float32, False)
        assert x.ctypes.data % numba_memory.LINE == 0
