"""PatchMatch's compiled loops: comparing patches, searching the field, voting, and the first guess.

A patch is named by its centre and reaches `r` pixels each way; its distance to another is a sum of squares

    d(p, q) = Σ_δ ‖z[p + δ] − z[q + δ]‖²        δ from −r to r each way

`wanted` marks the patches to be explained (they touch the hole), `source` those that may explain them (they do not).
The field maps the first to the second: field[p] = (y, x) of the nearest source known so far, cost[p] its distance.

Rows are shared out in bands of `BAND`, whatever the number of cores, and each band draws its random numbers from a
state of its own: results are the same to the bit on one core and on several.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from ca_numpy.jit import parallel, serial

#: Rows that one task sweeps in order. What was found below or above it reaches it one sweep later.
BAND = 16
#: A sum may be taken in several parts side by side, as vector instructions do.
_FASTMATH = {"contract", "reassoc", "nsz"}


@serial(fastmath=_FASTMATH)
def _distance(z, y, x, y2, x2, r, limit):
    """d((y, x), (y2, x2)); or, once a sum of whole rows is above `limit`, that sum: the candidate has lost."""
    width, n = z.shape[1] * z.shape[2], (2 * r + 1) * z.shape[2]
    numbers = z.reshape(-1)
    a, b = (y - r) * width + (x - r) * z.shape[2], (y2 - r) * width + (x2 - r) * z.shape[2]
    total = np.float32(0)
    for _ in range(2 * r + 1):
        line = np.float32(0)
        for i in range(n):  # a row of a patch is one run of numbers
            e = numbers[np.uint64(a + i)] - numbers[np.uint64(b + i)]
            line += e * e
        total += line
        if total > limit:
            return total
        a, b = a + width, b + width
    return total


@serial()
def _random(states, band):
    """The next 31 random bits of a band: xorshift64*, whose low bits, the worse ones, are dropped."""
    s = states[band]
    s ^= s >> np.uint64(12)
    s ^= s << np.uint64(25)
    s ^= s >> np.uint64(27)
    states[band] = s
    return np.int64((s * np.uint64(2685821657736338717)) >> np.uint64(33))


@serial()
def _try(z, source, field, cost, y, x, y2, x2, r):
    """Let (y2, x2) be the field at (y, x) if it is a source and nearer."""
    if 0 <= y2 < source.shape[0] and 0 <= x2 < source.shape[1] and source[y2, x2]:
        d = _distance(z, y, x, y2, x2, r, cost[y, x])
        if d < cost[y, x]:
            cost[y, x] = d
            field[y, x, 0], field[y, x, 1] = y2, x2


@parallel()
def measure(z, wanted, field, r, cost):
    """cost[p] = d(p, field[p]): after the picture has changed."""
    for y in prange(wanted.shape[0]):
        for x in range(wanted.shape[1]):
            if wanted[y, x]:
                cost[y, x] = _distance(z, y, x, field[y, x, 0], field[y, x, 1], r, np.float32(np.inf))


@parallel()
def sweep(z, wanted, source, field, cost, r, step, states):
    """One sweep of Barnes et al.'s search, downwards and to the right (step 1) or back (step −1).

    Propagation: where p − step goes to q, p is likely to go to q + step; from the left and from above (or the right and
    below). Random search: around the best so far, in windows that halve from the whole picture to a pixel.
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
                    # A row of another band, which may be at work on it: as it was before.
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
    """out[p] = Σ_q w(q) z[field[q] + p − q] / Σ_q w(q) for p in the hole, over the wanted patches q that p lies in

        w(q) = trust[q] exp(−cost[q] / 2σ²)        σ²: the mean of these costs

    With `sharp`, the vote of the heaviest q alone: a copy in place of a mean. Elsewhere out is not written.
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
    """How many pixels deep in the hole each pixel lies, 0 outside: steps of a king to the nearest known pixel."""
    height, width = hole.shape
    out = np.where(hole, height + width, 0)
    for turn in range(2):  # distances that come from above and the left; then from below and the right
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
    """Fill the pixels of one layer from what is known of the patch around each: the hole from its rim inwards.

    A pixel takes the centre of the source, of (n, 2), that differs least where its patch lies in earlier layers.
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
