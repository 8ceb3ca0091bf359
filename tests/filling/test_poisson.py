"""The equation of blending and joining, against a dense solver, and on holes too large for one."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca_numpy.filling import poisson
from ca_numpy.filling.poisson import solved


def residual(hole, u, kept):
    """(degree + kept) u − Σ u of the neighbours in the hole, by shifting whole images."""
    image = np.zeros((*hole.shape, u.shape[1]))
    image[hole] = u
    inside = np.pad(np.ones(hole.shape), 1)
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    total = kept * image
    for rows, columns in ((slice(2, None), slice(1, -1)), (slice(-2), slice(1, -1)), (slice(1, -1), slice(2, None)),
                          (slice(1, -1), slice(-2))):  # fmt: skip
        total += inside[rows, columns][..., None] * image - padded[rows, columns]
    return total[hole]


@given(st.integers(1, 30), st.integers(2, 30), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1e-3, 0.5]))
def test_it_solves_the_equation_for_holes_of_any_shape(height, width, seed, kept):
    rng = np.random.default_rng(seed)
    hole = rng.random((height, width)) < rng.uniform(0, 1)
    hole[rng.integers(height), rng.integers(width)] = False
    wanted = rng.uniform(-1, 1, (np.count_nonzero(hole), 3))
    right = residual(hole, wanted, kept)
    u = solved(hole, right, kept=kept, start=np.zeros_like(right))
    assert u.shape == wanted.shape
    assert u.dtype == right.dtype
    np.testing.assert_allclose(u, wanted, atol=0.02)
    np.testing.assert_allclose(residual(hole, u, kept), right, atol=poisson.TOLERANCE * 3 * len(u) ** 0.5 + 1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", ["square", "lines", "noise", "snake"])
def test_a_large_hole_takes_few_steps_and_memory_of_its_size(shape, dtype, monkeypatch):
    side, rng = 600, np.random.default_rng(0)
    hole = np.zeros((side, side), bool)
    if shape == "square":
        hole[1:, 1:] = True
    elif shape == "lines":
        hole[::3] = hole[:, ::3] = True
        hole[5, 5] = False
    elif shape == "noise":
        hole[:] = rng.random(hole.shape) < 0.6
    else:  # one pixel wide, and longer than any step of the iteration reaches
        hole[::2] = True
        hole[1::4, -1] = hole[3::4, 0] = True
    rows, columns = np.nonzero(hole)
    wanted = np.stack([np.sin(rows / 90), np.cos(columns / 70), rows * columns / side**2], axis=-1).astype(dtype)
    right = residual(hole, wanted, 0).astype(dtype)
    monkeypatch.setattr(poisson, "MOST_STEPS", 40)
    tracemalloc.start()
    try:
        u = solved(hole, right, kept=0, start=np.zeros_like(right))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert u.dtype == dtype
    np.testing.assert_allclose(u, wanted, atol=2 / 127.5)
    assert peak < 800 * len(u)  # bytes


def test_nothing_to_solve_is_no_error_and_the_exact_start_stays():
    hole = np.zeros((4, 4), bool)
    assert solved(hole, np.zeros((0, 3)), kept=0, start=np.zeros((0, 3))).shape == (0, 3)
    hole[1:3, 1:3] = True
    start = np.full((4, 1), 0.25)
    np.testing.assert_array_equal(solved(hole, residual(hole, start, 0.1), kept=0.1, start=start), start)
