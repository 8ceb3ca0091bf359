"""The product in registers and the small constant matrices, compared with NumPy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from ca_numpy.testing.strategies import generators

numba = pytest.importorskip("numba")

from ca_numpy.backends import numba_gemm  # noqa: E402  (where Numba is missing, skip)
from ca_numpy.backends.numba_gemm import ROWS, WIDTH, padded, panels  # noqa: E402
from ca_numpy.threads import num_threads  # noqa: E402

Array = NDArray[Any]
EPS = np.finfo(np.float32).eps


def normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype(np.float32)


def assert_product(found: Array, a: Array, b: Array, before: Array | float = 0.0) -> None:
    """One rounding error of Σ |terms| for each term."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    bound = (a.shape[1] + 2) * EPS * (np.abs(a) @ np.abs(b) + np.abs(before))
    assert (np.abs(found - (a @ b + before)) <= bound).all()


@given(n=st.integers(0, 300), multiple=st.integers(1, 20))
def test_padded_is_the_least_multiple_that_is_not_less(n: int, multiple: int) -> None:
    m = padded(n, multiple)
    assert m % multiple == 0
    assert n <= m < n + multiple


@given(c=st.integers(1, 9), k=st.integers(1, 3 * WIDTH), rng=generators())
def test_panels_hold_every_column_and_zeros_behind_the_last(c: int, k: int, rng: np.random.Generator) -> None:
    w = normal(rng, c, k)
    for source in (w, np.asfortranarray(w)):
        columns = panels(source).transpose(1, 0, 2).reshape(c, -1)
        assert np.array_equal(columns[:, :k], w)
        assert not columns[:, k:].any()


@numba.njit
def _multiply(c: Any, a: Any, a_row: Any, a_k: Any, b: Any, rows: Any, n: Any, onto: Any) -> None:
    columns = len(b) * WIDTH
    numba_gemm.multiply(
        c.reshape(-1), 0, columns, a, 0, a_row, a_k, b.reshape(-1), 0, WIDTH, n * WIDTH, rows, columns, n, onto
    )


@given(
    blocks=st.integers(1, 3), n=st.integers(1, 70), k=st.integers(1, 2 * WIDTH + 1), a_row=st.integers(1, 40),
    a_k=st.integers(1, 3), onto=st.booleans(), rng=generators(),
)  # fmt: skip
def test_the_rows_of_a_may_lie_at_any_distance_and_overlap(
    blocks: int, n: int, k: int, a_row: int, a_k: int, onto: bool, rng: np.random.Generator
) -> None:
    """As in a convolution, whose rows are patches; a_row = 1 is a transposed matrix."""
    rows = blocks * ROWS
    flat, b = normal(rng, (rows - 1) * a_row + (n - 1) * a_k + 1), normal(rng, n, k)
    a = as_strided(flat, (rows, n), (4 * a_row, 4 * a_k), writeable=False)
    before = normal(rng, rows, padded(k))
    c = before.copy()
    _multiply(c, flat, a_row, a_k, panels(b), rows, n, onto)
    assert_product(c[:, :k], a, b, before[:, :k] if onto else 0.0)


@given(m=st.integers(1, 3 * ROWS), depth=st.sampled_from([1, 7, 255, 256, 257, 600]), k=st.integers(1, 5 * WIDTH),
       rng=generators())  # fmt: skip
def test_matmul_of_any_size_writes_its_own_rows_and_columns_only(
    m: int, depth: int, k: int, rng: np.random.Generator
) -> None:
    a, b = normal(rng, m, depth), normal(rng, depth, k)
    memory = np.full((m + 2, k), np.float32(-7))
    numba_gemm.matmul(a, panels(b), memory[1:-1])
    assert_product(memory[1:-1], a, b)
    assert (memory[[0, -1]] == -7).all()


@given(
    m=st.integers(1, 3 * ROWS), depth=st.sampled_from([1, 40, 300]), k=st.integers(1, 2 * WIDTH),
    share=st.sampled_from([0.0, 0.02, 0.3]), rng=generators(),
)  # fmt: skip
def test_matmul_passes_over_what_is_zero_and_over_nothing_else(
    m: int, depth: int, k: int, share: float, rng: np.random.Generator
) -> None:
    """Numbers of b that are multiplied only by zeros are not read: they may be NaN."""
    a, b = normal(rng, m, depth) * (rng.random((m, depth)) < share).astype(np.float32), normal(rng, depth, k)
    right = a.astype(np.float64) @ b
    unseen = ~(a != 0).any(axis=0)
    unseen[::256] = False  # an empty sum reads the first row
    out = numba_gemm.matmul(a, panels(np.where(unseen[:, None], np.float32(np.nan), b)), np.empty((m, k), np.float32))
    assert np.abs(out - right).max() <= (depth + 2) * EPS * (np.abs(a).astype(np.float64) @ np.abs(b)).max()


def test_matmul_gives_the_same_bits_with_one_thread_and_with_two(rng: np.random.Generator) -> None:
    a, b, found = normal(rng, 30, 300), panels(normal(rng, 300, 70)), []
    for threads in (1, 2):
        with num_threads(threads):
            found.append(numba_gemm.matmul(a, b, np.empty((30, 70), np.float32)))
    assert np.array_equal(*found)


MATRICES = [
    pytest.param([[1, 0, -1], [0, 2, 0.5]], id="ones-and-zeros"),
    pytest.param([[-1, -1], [0, -3], [1, 1]], id="nothing-but-minus-one"),
    pytest.param([[0.1, 0.2, 0.3, 0.4]], id="one-row"),
]


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("vectors", [1, 3])
def test_a_linear_map_is_the_matrix_it_was_made_of(matrix: Any, vectors: int, rng: np.random.Generator) -> None:
    m, n = np.array(matrix, float), vectors * WIDTH
    apply = numba_gemm.linear_map(m)

    @numba.njit
    def run(to: Any, source: Any) -> None:
        apply(to.reshape(-1), 0, to.shape[1], source.reshape(-1), 0, source.shape[1], source.shape[1])

    source, to = normal(rng, m.shape[1], n), np.empty((m.shape[0], n), np.float32)
    run(to, source)
    assert_product(to, m.astype(np.float32), source)
