"""Compiled loops of contextual attention: each task computes one row of the result.

`numba_attention`, which calls these, gives the equations. Rows of a matrix are foreground positions, of which only some
are stored: slot[x] is the row of position x, −1 if none. grids is (h, w, h', w').
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from ca_numpy.jit import parallel, serial

from .numba_elementwise import FASTMATH, exp_nonpositive
from .numba_gemm import sum_of_lines

COLUMNS = 512  # background positions per task in `divide_by_norm_vjp`


def _exp(x: Any) -> Any:
    """eˣ for x ≤ 0 in compiled code: `exp_nonpositive` in float32, NumPy's in float64."""
    raise NotImplementedError


@overload(_exp)
def _compiled_exp(x):
    if x == types.float32:
        return lambda x: exp_nonpositive(x)
    return lambda x: np.exp(x)


@serial(fastmath=FASTMATH)
def _add(to, start, source, source_start, n):
    """to[start + i] += source[source_start + i]"""
    a, b = to[start : start + n], source[source_start : source_start + n]
    for i in range(n):
        a[i] += b[i]


@serial()
def _lines(n):
    """Uninitialised arguments of `sum_of_lines` for n lines: places, lefts and rights."""
    return np.empty(n, np.intp), np.empty(n, np.intp), np.empty(n, np.intp)


@serial()
def _down(y, x, t, h):
    """The position t steps down a column-major walk; its column may be outside."""
    y += t
    while y < 0:
        y, x = y + h, x - 1
    while y >= h:
        y, x = y - h, x + 1
    return y, x


@serial(fastmath=FASTMATH)
def _add_walked(to, source, t, s, to_shift, h2, w2):
    """to[m + to_shift] += source[down(m, t) + s] for all background positions m where both exist."""
    length = h2 * w2
    for turn in range(t // h2, (h2 - 1 + t) // h2 + 1):  # columns that the walk has wrapped
        first, last = max(0, turn * h2 - t), min(h2, (turn + 1) * h2 - t)
        if turn == 0:  # contiguous lines
            _add_clipped(to, first * w2 + to_shift, source, (first + t) * w2 + s, (last - first) * w2, length)
        else:
            skip, n = max(0, -turn), max(0, w2 - abs(turn))
            for y in range(first, last):
                start = (y + t - turn * h2) * w2 + skip + turn + s
                _add_clipped(to, y * w2 + skip + to_shift, source, start, n, length)


@serial(fastmath=FASTMATH)
def _add_clipped(to, start, source, source_start, n, length):
    """`_add` for those of the n positions that are in 0 … length − 1 on both sides."""
    skip = max(0, -start, -source_start)
    end = min(n, length - start, length - source_start)
    if end > skip:
        _add(to, start + skip, source, source_start + skip, end - skip)


@parallel(fastmath=FASTMATH)
def window_sums(source, slot, wanted, window, grids, runs, factor, out, lower, upper):
    """out[x, x'] = factor[x'] · Σ_δ source[x + δ, x' + δ] for δ from window[0] to window[1] on both axes

    For x in `wanted`, which are rows 0, 1, 2, … of `out`, and x' in `runs`.
    """
    h, w, h2, w2 = grids
    low, high = window
    source, length = source.reshape(-1), h2 * w2
    for k in range(lower, upper):
        y, x = wanted[k] // w, wanted[k] % w
        places, lefts, rights = _lines((high - low + 1) ** 2)
        for y2, x2, run in runs:
            n = 0
            for dy in range(max(low, -y, -y2), min(high, h - 1 - y, h2 - 1 - y2) + 1):
                for dx in range(max(low, -x), min(high, w - 1 - x) + 1):
                    kept = slot[(y + dy) * w + x + dx]
                    if kept >= 0:
                        places[n] = kept * length + (y2 + dy) * w2 + x2 + dx
                        lefts[n], rights[n] = max(0, -dx - x2), min(run, w2 - dx - x2)
                        n += 1
            start = y2 * w2 + x2
            sum_of_lines(out[k], start, run, source, places, lefts, rights, n)
            for j in range(start, start + run):
                out[k, j] *= factor[j]


@serial(fastmath={"contract", "reassoc", "nsz"})
def _dot(a, b):
    total = a[0] * b[0]
    for j in range(1, len(a)):
        total += a[j] * b[j]
    return total


@parallel(fastmath=FASTMATH)
def attend(scores, slot, y, steps, grids, runs, valid, scale, least, out, lower, upper):
    """Propagation, softmax and mask for picture row y of the foreground. Writes x' in `runs`; elsewhere A is 0.

    Z more than −least below the largest are treated as −∞. Runs may continue past the ends of lines where no step of
    the walk leaves the column.
    """
    h, w, h2, w2 = grids
    low, high = steps
    scores, length = scores.reshape(-1), h2 * w2
    number = out.dtype.type
    elsewhere, widest = number(length - runs[:, 2].sum()), 1
    for r in range(len(runs)):
        widest = max(widest, runs[r, 2])
    for k in range(lower, upper):
        row = out[k]
        tops, sums = np.full(widest, number(-np.inf)), np.zeros(widest, out.dtype)  # of each column, over all runs
        places, lefts, rights = _lines((high - low + 1) ** 2)
        for y2, x2, run in runs:
            n = 0
            for t in range(low, high + 1):
                y_down, x_down = _down(y, np.intp(k), t, h)
                below, right = _down(y2, x2, t, h2)
                m = y_down * w + x_down
                for s in range(max(low, -m), min(high, h * w - 1 - m) + 1 if 0 <= x_down < w else low):
                    start = below * w2 + right + s
                    places[n] = slot[m + s] * length + start
                    lefts[n], rights[n] = max(0, -right, -start), min(run, length - start)
                    if right != x2:  # the walk has wrapped to the next column, which may be outside
                        rights[n] = min(rights[n], w2 - right)
                    n += 1
            line = row[y2 * w2 + x2 : y2 * w2 + x2 + run]
            sum_of_lines(line, 0, run, scores, places, lefts, rights, n)
            for j in range(run):
                line[j] *= valid[y2 * w2 + x2 + j] * scale
                tops[j] = tops[j] if tops[j] > line[j] else line[j]
        largest = max(tops.max(), number(0)) if elsewhere else tops.max()  # at invalid positions Z is 0
        for y2, x2, run in runs:
            line = row[y2 * w2 + x2 : y2 * w2 + x2 + run]
            for j in range(run):
                below_largest = line[j] - largest
                line[j] = number(0) if below_largest < least else _exp(below_largest)
                sums[j] += line[j]
        factor = number(1) / (sums.sum() + elsewhere * np.exp(-largest))
        for y2, x2, run in runs:
            for j in range(y2 * w2 + x2, y2 * w2 + x2 + run):
                row[j] *= valid[j] * factor


@parallel(fastmath=FASTMATH)
def propagate_adjoint(d_logits, y0, y1, wanted, steps, grids, out, lower, upper):
    """Adjoint of the propagation in `attend`: back along the row, then up the column."""
    h, w, h2, w2 = grids
    low, high = steps
    for k in range(lower, upper):
        row = out[k]
        row[:] = 0
        for s in range(low, high + 1):
            before = wanted[k] - s
            if 0 <= before < h * w:
                for t in range(low, high + 1):
                    y, x = _down(before // w, before % w, -t, h)
                    if 0 <= x < w and y0 <= y < y1:
                        _add_walked(row, d_logits[(y - y0) * w + x], -t, 0, s, h2, w2)


@parallel(fastmath=FASTMATH)
def corner_sums(attention, slot, cells, corners, grids, runs, out, lower, upper):
    """Q on picture rows corners[0] … corners[1] − 1, from A on rows cells[0] … cells[1] − 1. Columns in `runs` only.

    The sum of the attention of the four cells that meet at a corner, each at its place around it.
    """
    _, w, h2, w2 = grids
    source = attention.reshape(-1)
    for k in range(lower, upper):
        y, x = corners[0] + k // (w + 1), k % (w + 1)
        places, lefts, rights = _lines(4)
        start = 0
        for y2, x2, length in runs:
            n = 0
            for ey in range(2):
                for ex in range(max(0, x - w + 1), min(1, x) + 1):
                    if cells[0] <= y - ey < cells[1] and 0 <= y2 - ey < h2:
                        places[n] = (slot[(y - ey) * w + x - ex] * h2 + y2 - ey) * w2 + x2 - ex
                        lefts[n], rights[n] = max(0, ex - x2), min(length, w2 + ex - x2)
                        n += 1
            sum_of_lines(out[k], start, length, source, places, lefts, rights, n)
            start += length


@parallel(fastmath=FASTMATH)
def softmax_vjp(d_weights, attention, slot, y0, grids, valid, scale, out, lower, upper):
    """dZ = scale · a · (valid · dA − Σ a · dA), with dA gathered from the gradient of the corners around each cell"""
    _, w, h2, w2 = grids
    for k in range(lower, upper):
        row, a = out[k], attention[slot[y0 * w + k]]
        row[:] = 0
        for ey in range(2):
            for ex in range(2):
                source = d_weights[(k // w + ey) * (w + 1) + k % w + ex]
                for y2 in range(h2):
                    _add(row, y2 * w2, source, (y2 + ey) * (w2 + 1) + ex, w2)
        mean = _dot(row, a)
        for j in range(len(row)):
            row[j] = scale * a[j] * (valid[j] * row[j] - mean)


@parallel(fastmath=FASTMATH)
def divide_by_norm_vjp(d_scores, scores, kept, norm, d_norm, lower, upper):
    """d_scores[x, x'] /= norm[x'], then d_norm[x'] −= Σ_x d_scores[x, x'] · scores[kept[x], x']"""
    for block in range(lower, upper):
        first, last = block * COLUMNS, min((block + 1) * COLUMNS, len(norm))
        for k in range(len(kept)):
            d, s = d_scores[k], scores[kept[k]]
            for j in range(first, last):
                d[j] /= norm[j]
                d_norm[j] -= d[j] * s[j]


@parallel()
def from_blocks(blocks, rate, factor, out, lower, upper):
    """The adjoint of `to_blocks`, times a factor: the blocks side by side, without the border."""
    width, channels = out.shape[1:]
    for i in range(lower, upper):
        y, in_y = (i + rate // 2) // rate, (i + rate // 2) % rate
        for j in range(width):
            x, in_x = (j + rate // 2) // rate, (j + rate // 2) % rate
            block, start = blocks[y, x], (in_y * rate + in_x) * channels
            for c in range(channels):
                out[i, j, c] = factor * block[start + c]
