"""Compiled loops of PatchMatch: patch distance, search, vote, and the initial guess.

A patch is identified by its centre and has radius `r`. The distance of two patches is

    d(p, q) = Σ_δ ‖z[p + δ] − z[q + δ]‖²        δ from −r to r along both axes

`wanted` marks patches that touch the hole, `source` patches without hole pixels. field[p] = (y, x) is the nearest
source found so far for the wanted patch p, cost[p] its distance.

Rows are processed in bands of `BAND`, each with its own random state, whatever the number of cores: results are
bitwise identical for any number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from ca_numpy.jit import parallel, serial

#: Rows that one task sweeps in order. Matches propagate between bands one sweep later.
BAND = 16
#: Sums may be reassociated, for vector instructions.
_FASTMATH = {"contract", "reassoc", "nsz"}


@serial(fastmath=_FASTMATH)
def _distance(z, y, x, y2, x2, r, limit):
    """d((y, x), (y2, x2)), or a partial sum once one exceeds `limit`."""
    width, n = z.shape[1] * z.shape[2], (2 * r + 1) * z.shape[2]
    numbers = z.reshape(-1)
    a, b = (y - r) * width + (x - r) * z.shape[2], (y2 - r) * width + (x2 - r) * z.shape[2]
    total = np.float32(0)
    for _ in range(2 * r + 1):
        line = np.float32(0)
        for i in range(n):  # a patch row is contiguous
            e = numbers[np.uint64(a + i)] - numbers[np.uint64(b + i)]
            line += e * e
        total += line
        if total > limit:
            return total
        a, b = a + width, b + width
    return total


@serial()
def _random(states, band):
    """The next 31 random bits of a band: xorshift64* without its weak low bits."""
    s = states[band]
    s ^= s >> np.uint64(12)
    s ^= s << np.uint64(25)
    s ^= s >> np.uint64(27)
    states[band] = s
    return np.int64((s * np.uint64(2685821657736338717)) >> np.uint64(33))


@serial()
def _try(z, source, field, cost, y, x, y2, x2, r):
    """Set the field at (y, x) to (y2, x2) if that is a nearer source."""
    if 0 <= y2 < source.shape[0] and 0 <= x2 < source.shape[1] and source[y2, x2]:
        d = _distance(z, y, x, y2, x2, r, cost[y, x])
        if d < cost[y, x]:
            cost[y, x] = d
            field[y, x, 0], field[y, x, 1] = y2, x2


@parallel()
def measure(z, wanted, field, r, cost):
    """cost[p] = d(p, field[p]), after a change of z."""
    for y in prange(wanted.shape[0]):
        for x in range(wanted.shape[1]):
            if wanted[y, x]:
                cost[y, x] = _distance(z, y, x, field[y, x, 0], field[y, x, 1], r, np.float32(np.inf))


@parallel()
def sweep(z, wanted, source, field, cost, r, step, states):
    """One sweep of Barnes et al.'s search, downwards and to the right (step 1) or back (step −1).

    Propagation: if p − step maps to q, try q + step for p, along both axes. Random search: around the best match so
    far, in windows that halve from the whole image to a pixel.
    """
    height, width = wanted.shape
    before = field.copy()
    for band in prange((height + BAND - 1) // BAND):
        first, last = band * BAND, min((band + 1) * BAND, height)
        for i in range(last - first):
            y = first + i if step > 0 else last - 1 - i
            inside = first <= y - step < last
            for j in range(width):
                x = j if step > 0 else width - 1 - j
                if not wanted[y, x]:
                    continue
                if 0 <= x - step < width and wanted[y, x - step]:
                    _try(z, source, field, cost, y, x, field[y, x - step, 0], field[y, x - step, 1] + step, r)
                if 0 <= y - step < height and wanted[y - step, x]:
                    # Rows of another band may be changing: use their values from before the sweep.
                    above = field[y - step, x] if inside else before[y - step, x]
                    _try(z, source, field, cost, y, x, above[0] + step, above[1], r)
                reach = max(height, width)
                while reach >= 1:
                    y2 = field[y, x, 0] - reach + _random(states, band) % (2 * reach + 1)
                    x2 = field[y, x, 1] - reach + _random(states, band) % (2 * reach + 1)
                    _try(z, source, field, cost, y, x, y2, x2, r)
                    reach //= 2


@parallel()
def vote(z, hole, wanted, field, cost, trust, r, sharp, out):
    """out[p] = Σ_q w(q) z[field[q] + p − q] / Σ_q w(q) for p in the hole, over the wanted patches q that contain p

        w(q) = trust[q] exp(−cost[q] / 2σ²)        σ²: the mean of these costs

    With `sharp`, only the q of largest weight votes: a copy instead of a mean. Outside the hole out is not written.
    """
    height, width = hole.shape
    for y in prange(height):
        total = np.empty(z.shape[2], np.float32)
        for x in range(width):
            if not hole[y, x]:
                continue
            n, mean, least = 0, np.float32(0), np.float32(np.inf)
            for qy in range(max(0, y - r), min(height, y + r + 1)):
                for qx in range(max(0, x - r), min(width, x + r + 1)):
                    if wanted[qy, qx]:
                        mean += cost[qy, qx]
                        least = min(least, cost[qy, qx])
                        n += 1
            spread = 2 * max(mean / n, np.float32(1e-12))
            total[:] = 0
            weights, heaviest = np.float32(0), np.float32(-1)
            for qy in range(max(0, y - r), min(height, y + r + 1)):
                for qx in range(max(0, x - r), min(width, x + r + 1)):
                    if wanted[qy, qx]:
                        w = trust[qy, qx] * np.exp((least - cost[qy, qx]) / spread)
                        y2, x2 = field[qy, qx, 0] + y - qy, field[qy, qx, 1] + x - qx
                        if sharp:
                            if w > heaviest:
                                heaviest = w
                                weights = np.float32(1)
                                for c in range(z.shape[2]):
                                    total[c] = z[y2, x2, c]
                        else:
                            weights += w
                            for c in range(z.shape[2]):
                                total[c] += w * z[y2, x2, c]
            for c in range(z.shape[2]):
                out[y, x, c] = total[c] / weights


@serial()
def depth(hole):
    """Chessboard distance of each pixel to the nearest known pixel: H W."""
    height, width = hole.shape
    out = np.where(hole, height + width, 0)
    for turn in range(2):  # from above and the left, then from below and the right
        s = 1 if turn == 0 else -1
        for i in range(height):
            y = i if s > 0 else height - 1 - i
            for j in range(width):
                x = j if s > 0 else width - 1 - j
                for dy, dx in ((0, -s), (-s, -1), (-s, 0), (-s, 1)):
                    if 0 <= y + dy < height and 0 <= x + dx < width:
                        out[y, x] = min(out[y, x], out[y + dy, x + dx] + 1)
    return out


@parallel()
def peel(z, layers, layer, sources, r):
    """Fill the pixels of one layer of the hole, each with the centre of the best source, of (n, 2).

    Patches are compared on their pixels in earlier layers only.
    """
    height, width, channels = z.shape
    for y in prange(height):
        for x in range(width):
            if layers[y, x] != layer:
                continue
            best, by, bx = np.float32(np.inf), 0, 0
            for k in range(len(sources)):
                y2, x2 = sources[k, 0], sources[k, 1]
                d = np.float32(0)
                for dy in range(max(-r, -y), min(r, height - 1 - y) + 1):
                    for dx in range(max(-r, -x), min(r, width - 1 - x) + 1):
                        if layers[y + dy, x + dx] < layer:
                            for c in range(channels):
                                e = z[y + dy, x + dx, c] - z[y2 + dy, x2 + dx, c]
                                d += e * e
                    if d >= best:
                        break
                if d < best:
                    best, by, bx = d, y2, x2
            for c in range(channels):
                z[y, x, c] = z[by, bx, c]
