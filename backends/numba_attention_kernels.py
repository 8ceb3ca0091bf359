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
from .numba_gemm import WIDTH, multiply, sum_of_lines

COLUMNS = 512  # background positions per task in `divide_by_norm_vjp`, and per part of a row in `softmax`


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
def window_sums(source, slot, wanted, window, grids, factor, out, lower, upper):
    """out[x, x'] = factor[x'] · Σ_δ source[x + δ, x' + δ] for δ from window[0] to window[1] on both axes

    For x in `wanted`, which are rows 0, 1, 2, … of `out`.
    """
    h, w, h2, w2 = grids
    low, high = window
    source, length = source.reshape(-1), h2 * w2
    for k in range(lower, upper):
        y, x = wanted[k] // w, wanted[k] % w
        places, lefts, rights = _lines((high - low + 1) ** 2)
        for y2 in range(h2):
            n = 0
            for dy in range(max(low, -y, -y2), min(high, h - 1 - y, h2 - 1 - y2) + 1):
                for dx in range(max(low, -x), min(high, w - 1 - x) + 1):
                    kept = slot[(y + dy) * w + x + dx]
                    if kept >= 0:
                        places[n] = kept * length + (y2 + dy) * w2 + dx
                        lefts[n], rights[n] = max(0, -dx), min(w2, w2 - dx)
                        n += 1
            sum_of_lines(out[k], y2 * w2, w2, source, places, lefts, rights, n)
        for j in range(length):
            out[k, j] *= factor[j]


@serial(fastmath={"contract", "reassoc", "nsz"})
def _dot(a, b):
    total = a[0] * b[0]
    for j in range(1, len(a)):
        total += a[j] * b[j]
    return total


@parallel(fastmath=FASTMATH)
def propagate(scores, slot, y, steps, grids, runs, out, lower, upper):
    """Z on picture row y of the foreground.

    Runs may continue past the ends of lines where no step of the walk leaves the column.
    """
    h, w, h2, w2 = grids
    low, high = steps
    scores, length = scores.reshape(-1), h2 * w2
    for k in range(lower, upper):
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
            sum_of_lines(out[k], y2 * w2 + x2, run, scores, places, lefts, rights, n)


@parallel(fastmath=FASTMATH)
def softmax(logits, rows, valid, scale, least, lower, upper):
    """A = softmax(scale · valid · Z) · valid in place, on these rows of a matrix.

    Logits more than −least below the largest are treated as −∞.
    """
    number = logits.dtype.type
    length = logits.shape[1]
    for k in range(lower, upper):
        row = logits[rows[k]]
        tops, sums = np.empty(COLUMNS, row.dtype), np.empty(COLUMNS, row.dtype)  # of each column, over all parts
        for j in range(COLUMNS):
            tops[j], sums[j] = -np.inf, 0
        for start in range(0, length, COLUMNS):
            line, mask = row[start : start + COLUMNS], valid[start : start + COLUMNS]
            for j in range(len(line)):
                line[j] *= mask[j] * scale
                tops[j] = tops[j] if tops[j] > line[j] else line[j]
        largest, total = tops[0], number(0)  # loops compile sooner than `max` and `sum`
        for j in range(1, COLUMNS):
            largest = largest if largest > tops[j] else tops[j]
        for start in range(0, length, COLUMNS):
            line = row[start : start + COLUMNS]
            for j in range(len(line)):
                below_largest = line[j] - largest
                line[j] = number(0) if below_largest < least else _exp(below_largest)
                sums[j] += line[j]
        for j in range(COLUMNS):
            total += sums[j]
        factor = number(1) / total
        for j in range(length):
            row[j] *= valid[j] * factor


@serial(fastmath=FASTMATH)
def _scale(x, start, factor, factor_start, n):
    """x[start + i] *= factor[factor_start + i]"""
    a, b = x[start : start + n], factor[factor_start : factor_start + n]
    for i in range(n):
        a[i] *= b[i]


@serial(fastmath=FASTMATH)
def _sum_at(source, places, shift, n):
    """Σ_k source[places[k] + shift],   k < n"""
    total = source.dtype.type(0)
    for k in range(n):
        total += source[places[k] + shift]
    return total


@serial()
def _move(places, n, by):
    for k in range(n):
        places[k] += by


@parallel(fastmath=FASTMATH)
def match_tile(f, b, inverse, window, steps, grids, rows, strip, held, products, scores, slot, out, lower, upper):
    """Z on picture rows rows[0] … rows[1] − 1 of a strip, one diagonal y' − y of pairs of picture rows per task.

    f and b are extended by the ends of neighbouring rows, b in panels; inverse[x'] = 1 / ‖patch b‖, 0 before and after
    the background. All terms of a sum lie on one diagonal: products and scores hold the last rows of each, and held
    says which: the last one scored, then pairs y, y' of products. strip is the columns of Z and of scores, and where
    products begin in f.
    """
    h, w, h2, w2 = grids
    (low, high), (back, ahead), (x0, x1, first, end, edge) = window, steps, strip
    n_products, n_scores = high - low + 1, ahead - back + 1
    gap, channels, wide, s_wide = max(-low, high), f.shape[2], b.shape[1] * WIDTH, w2 + ahead - back
    p_block, s_block = products.shape[1] // n_products, scores.shape[1] // n_scores
    places, lefts, rights = _lines(max(n_products, n_scores) ** 2)
    flat_f, flat_b, flat_out = f.reshape(-1), b.reshape(-1), out.reshape(-1)
    for d in range(lower, upper):
        p, s, diagonal = products[d], scores[d], held[d]
        for v in range(max(rows[0] + back, diagonal[0] + 1), rows[1] + ahead):
            y, y2 = v % h, (v + d) % h2
            n, diagonal[0] = 0, v
            for dy in range(low, high + 1):
                r, r2 = y + dy, y2 + dy
                if min(r, r2) < -1 or r > h or r2 > h2 or (r < 0 and end <= w) or (r == h and first >= 0):
                    continue
                place = (r + n_products) % n_products
                if diagonal[2 * place + 1] != r or diagonal[2 * place + 2] != r2:
                    f_start, b_start = ((r + 1) * f.shape[1] + edge) * channels, (r2 + 1) * wide * channels
                    multiply(p, place * p_block, wide, flat_f, f_start, channels, 1, flat_b, b_start, WIDTH,
                             channels * WIDTH, p_block // wide, wide, channels, False)  # fmt: skip
                    diagonal[2 * place + 1], diagonal[2 * place + 2] = r, r2
                for dx in range(low, high + 1):
                    places[n] = place * p_block + (dx - low) * wide + dx
                    n += 1
            for j in range(len(lefts)):
                lefts[j], rights[j] = 0, w2
            for x in range(first, end):
                start, m = v % n_scores * s_block + (x - first) * s_wide, n if 0 <= y * w + x < h * w else 0
                for j in range(-back):
                    s[start + j] = _sum_at(p, places, j - low, m)
                for j in range(ahead):
                    s[start - back + w2 + j] = _sum_at(p, places, j - back - low + w2 + 2 * gap, m)
                _move(places, n, gap - back - low)
                sum_of_lines(s, start - back, w2, p, places, lefts, rights, m)
                _move(places, n, low + back - gap + wide * (1 + (gap if x == -1 or x == w - 1 else 0)))
                _scale(s, start, inverse, y2 * w2, s_wide)
            u = v - ahead
            if u < rows[0]:
                continue
            y2 = (u + d) % h2
            for x in range(x0, x1):
                if x0 < x != 1 and x != w - 1:
                    _move(places, n, s_wide)  # no step enters or leaves the picture
                else:
                    n = 0
                    for t in range(back, ahead + 1):
                        _, x_down = _down(u, x, t, h)
                        _, right = _down(y2, 0, t, h2)
                        for step in range(back, ahead + 1 if 0 <= x_down < w else back):
                            row = (u + t) % n_scores * s_block + (x_down + step - first) * s_wide
                            places[n], lefts[n], rights[n] = (
                                row + step - back + right,
                                max(0, -right),
                                min(w2, w2 - right),
                            )
                            n += 1
                sum_of_lines(flat_out, slot[u * w + x] * (h2 * w2) + y2 * w2, w2, s, places, lefts, rights, n)


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
def corner_sums(attention, slot, cells, corners, columns, grids, runs, out, lower, upper):
    """Q on rows corners[0] … corners[1] − 1 of corners, on columns likewise, from A on rows cells[0] … cells[1] − 1.

    Only x' in `runs`.

    The sum of the attention of the four cells that meet at a corner, each at its place around it.
    """
    _, w, h2, w2 = grids
    source = attention.reshape(-1)
    for k in range(lower, upper):
        y, x = corners[0] + k // (columns[1] - columns[0]), columns[0] + k % (columns[1] - columns[0])
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
def from_blocks(blocks, corner, rate, factor, out, lower, upper):
    """The adjoint of `to_blocks`, times a factor, for some of the blocks, the first at that corner."""
    height, width, channels = out.shape
    top, left = corner
    for k in range(lower, upper):
        for x in range(blocks.shape[1]):
            block = blocks[k, x]
            for in_y in range(rate):
                i = (top + k) * rate - rate // 2 + in_y
                for in_x in range(rate):
                    j = (left + x) * rate - rate // 2 + in_x
                    if 0 <= i < height and 0 <= j < width:
                        start = (in_y * rate + in_x) * channels
                        for c in range(channels):
                            out[i, j, c] = factor * block[start + c]
