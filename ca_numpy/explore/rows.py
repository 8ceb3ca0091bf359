"""Rows of the attention on demand: `ca_numpy.attention` for a few foreground positions, without the whole matrix.

With L positions the matrix has L² entries, and a reader looks at one row at a time. Propagation sums along diagonals,
so a row needs the scores of at most fuse_k² positions around its own:

    by rows      r[y, x'] = Σ_u s[y + u, x' + u]         u along the lines
    by columns   p[x, x'] = Σ_t r[x + t, x' + t]         t along the columns
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ca_numpy.attention import AttentionOptions, downscale, known_patches, match_vectors
from ca_numpy.engine import ops
from ca_numpy.engine.autograd import as_tensors, no_grad
from ca_numpy.engine.tensor import TensorLike
from ca_numpy.errors import UserError

DEFAULT = AttentionOptions()
#: Rows that are computed at once.
BAND = 256


class Rows(NamedTuple):
    """Rows of the attention, P L' each: P foreground positions, L' background patches.

    score        of the match, before propagation
    propagated   the score after propagation; where the softmax comes first (the paper), the weight after it
    weight       of each patch in the reconstruction: 0 for patches with hole pixels
    """

    score: NDArray[Any]
    propagated: NDArray[Any]
    weight: NDArray[Any]


class AttentionRows:
    """Any rows of `attention_scores(f, b, mask, …)`, one image at a time.

    f 1 H W C, b 1 H' W' C, mask 1 H' W' 1 with 1 = hole.

    grid         (h, w) of the foreground positions, numbered by rows
    background   (h', w') of the background patches
    valid        L', whether a patch may be copied

    Raises UserError for more than one image.
    """

    def __init__(
        self,
        f: TensorLike,
        b: TensorLike,
        mask: TensorLike | None = None,
        *,
        options: AttentionOptions = DEFAULT,
    ) -> None:
        ksize, stride, rate, *_, choices = options
        with no_grad():
            f, b = as_tensors([f, b])
            if len(f) != 1 or len(b) != 1:
                raise UserError(f"rows of the attention are for one image, got {len(f)} and {len(b)}")
            b_rate = choices.b_rate(rate)
            self.valid = known_patches(b, mask, ksize=ksize, stride=stride, rate=b_rate).numpy()[0] > 0.5
            f, b = downscale(f, rate), downscale(b, b_rate)
            self.grid = (f.shape[1], f.shape[2])
            self.background = (-(-b.shape[1] // stride), -(-b.shape[2] // stride))
            self._f = match_vectors(f, ksize=ksize, unit=choices.normalize == "both")[0]
            self._b = match_vectors(b, ksize=ksize, stride=stride)[0].transpose(1, 0)
        self._choices, self._scale, self._reach = choices, options.softmax_scale, options.reach

    def changed(self, options: AttentionOptions) -> AttentionRows:
        """The same patches, with the settings `softmax_scale`, `fuse_k` and `fuse` of what follows their match."""
        made = copy(self)
        made._scale, made._reach = options.softmax_scale, options.reach
        return made

    def rows(self, positions: ArrayLike) -> Rows:
        """The rows of these positions, P numbers from 0 to h·w − 1. Raises UserError for any other."""
        wanted: NDArray[Any] = np.asarray(positions)
        count = self.grid[0] * self.grid[1]
        if wanted.ndim != 1 or wanted.dtype.kind not in "iu" or ((wanted < 0) | (wanted >= count)).any():
            raise UserError(f"positions of a {self.grid} grid are integers from 0 to {count - 1}")
        around = self._around(wanted)
        needed, at = np.unique(around[around >= 0], return_inverse=True)
        index = np.full(around.shape, -1)
        index[around >= 0] = at
        with no_grad():
            scores = (ops.gather(self._f, index=needed, axis=0) @ self._b).numpy()
        own = scores[index[:, self._reach, self._reach]]
        if self._choices.propagate == "scores":
            propagated = self._propagated(scores, index)
            return Rows(own, propagated, self._softmax(propagated) * self.valid)
        propagated = self._propagated(self._softmax(scores), index)
        return Rows(own, propagated, propagated * self.valid)

    def most_attended(self, positions: ArrayLike, *, progress: Callable[[float], None] | None = None) -> NDArray[Any]:
        """The number of the background patch of largest weight for each position: P. Raises UserError as `rows`."""
        wanted: NDArray[Any] = np.asarray(positions)
        found = []
        for start in range(0, len(wanted), BAND):
            if progress is not None:
                progress(start / len(wanted))
            found.append(self.rows(wanted[start : start + BAND]).weight.argmax(-1))
        return np.concatenate([*found, np.zeros(0, np.intp)])

    def _around(self, positions: NDArray[Any]) -> NDArray[np.intp]:
        """The positions whose scores are summed for each, P k k (t, then u), −1 beyond the border."""
        (h, w), steps = self.grid, np.arange(-self._reach, self._reach + 1)
        row, column = np.divmod(positions, w)
        row, column, there = _stepped(row[:, None], column[:, None], steps, (h, w), wrap=self._choices.wrap)
        row, column, inside = (a[..., None] for a in (row, column, there))
        column, row, there = _stepped(column, row, steps, (w, h), wrap=self._choices.wrap)
        return np.where(there & inside, row * w + column, -1)

    def _propagated(self, s: NDArray[Any], index: NDArray[Any]) -> NDArray[Any]:
        """Sums along diagonals of the rows s, N L', at index P k k -> P L'."""
        (h, w), steps = self.background, range(-self._reach, self._reach + 1)
        row, column = np.divmod(np.arange(h * w), w)
        total = np.zeros((len(index), h * w), s.dtype)
        for i, t in enumerate(steps):
            by_rows = np.zeros_like(total)
            for j, u in enumerate(steps):
                c, r, there = _stepped(column, row, u, (w, h), wrap=self._choices.wrap)
                rows = np.flatnonzero(index[:, i, j] >= 0)
                source = np.where(there, r * w + c, 0)
                by_rows[rows] += s[index[rows, i, j]][:, source] * there.astype(s.dtype)
            r, c, there = _stepped(row, column, t, (h, w), wrap=self._choices.wrap)
            total += by_rows[:, np.where(there, r * w + c, 0)] * there.astype(s.dtype)
        return total

    def _softmax(self, scores: NDArray[Any]) -> NDArray[Any]:
        """Over the background patches, as the choices treat those with hole pixels."""
        logits = np.where(self.valid, scores * scores.dtype.type(self._scale), 0)
        if self._choices.masked == "exclude" and self.valid.any():
            logits = np.where(self.valid, logits, -np.inf)
        e = np.exp(logits - logits.max(-1, keepdims=True))
        return np.asarray(e / e.sum(-1, keepdims=True), scores.dtype)


def _stepped(
    fast: NDArray[Any], slow: NDArray[Any], step: NDArray[Any] | int, size: tuple[int, int], *, wrap: bool
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Positions a step further along their lines, and whether they are inside; with `wrap` on into the next line.

    fast, slow   the place in the line, and the line; size: (places in a line, lines)
    """
    fast = fast + step
    if not wrap:
        return fast, np.broadcast_to(slow, fast.shape), (fast >= 0) & (fast < size[0])
    line, place = np.divmod(slow * size[0] + fast, size[0])
    return place, line, (line >= 0) & (line < size[1])
