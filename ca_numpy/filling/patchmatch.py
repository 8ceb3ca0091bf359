"""PatchMatch completion: the paper's classical baseline, which copies what it finds elsewhere in the same picture.

Wexler, Shechtman and Irani (2007) ask of a filled hole that every patch in it looks like some known patch, and work by
turns, from coarse to fine: the nearest known patch of each patch that touches the hole, then every pixel of the hole
as a vote of the patches it lies in. Barnes et al. (2009) find the nearest patches fast: good matches are rare by
chance, but many are drawn, and neighbours share them.

    field[p] = argmin_q Σ_δ ‖z[p + δ] − z[q + δ]‖²         q: patches wholly known
    z[x]     = Σ_p w(p) z[field[p] + x − p] / Σ_p w(p)      p: patches around x

z is the picture with two more channels, how much it varies from pixel to pixel across and down. Averaged over ever more
pixels in the coarser levels, they keep grass apart from a flat green that has the same mean.

The first guess, in the coarsest level, peels the hole from its rim inwards. Between levels the field is carried over,
not the picture, and the finer picture is sharp at once. Compiled by Numba.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ca_numpy.data import check_image, check_mask
from ca_numpy.errors import UserError

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]
Field = NDArray[np.int64]

#: Turns of search and vote in each level, the coarsest first: structure is settled where turns are cheap.
TURNS = (60, 40, 20, 10, 4)
#: Sweeps of the field in a turn: one each way. The field goes on from the turn before.
SWEEPS = 2
#: The coarsest level has at least this many pixels on its shorter side, and this many patches to copy from.
SMALLEST_SIDE, FEWEST_SOURCES = 32, 64
#: The first guess looks at no more patches than this.
MOST_GUESSED = 4096
#: What a patch's vote is worth falls by this factor with every pixel that it lies deeper in the hole.
TRUST = 1.3
#: How much the two channels of variation count beside the three of colour.
VARIATION = 3.0


class _Level(NamedTuple):
    """z: H W 5, the hole's pixels 0. hole: H W. Levels halve from one to the next."""

    z: Floats
    hole: Flags


def complete(
    image: NDArray[Any], mask: NDArray[Any], *, rng: np.random.Generator | None = None, radius: int = 3
) -> Floats:
    """The picture with its holes filled by PatchMatch: H W 3 in [-1, 1], the known pixels untouched.

    image    H W 3, uint8 or float in [-1, 1]
    mask     H W or H W 1, 1 = hole; any number of holes of any shape
    rng      what the search draws from; the same seed, the same picture. Seed 0 if not given
    radius   patches are 2 · radius + 1 pixels wide; smaller where nowhere such a patch is wholly known

    A hole of 256×256 in 512×512 pixels takes about 5 s of processor time, shared by the cores; the first, 15 more.

    Raises UserError for what is no picture, an empty or a full mask, and where Numba is not installed.
    """
    x = check_image(image)
    hole = check_mask(mask, x)[..., 0] > 0.5
    if radius < 0:
        raise UserError(f"radius={radius}: patches reach 0 pixels or more each way, 3 is usual")
    rng = rng or np.random.default_rng(0)
    radius = min(radius, (min(hole.shape) - 1) // 2)
    while not sources(hole, radius=radius).any():
        radius -= 1  # ends at 0: some pixel is known
    levels = _pyramid(x, hole, radius)
    z, field, cost = _guess(levels[-1], rng, radius)
    for number, level in enumerate(reversed(levels)):
        if number:
            z, field, cost = _carried(level, field, cost, rng, radius)
        turns = TURNS[min(number, len(TURNS) - 1)]
        z = _improve(z, level.hole, field, cost, rng, radius, turns=turns, sharp=number == len(levels) - 1)
    return np.where(hole[..., None], z[..., :3], x)


def nearest_field(
    z: Floats, hole: Flags, *, rng: np.random.Generator, radius: int = 3, sweeps: int = 6
) -> tuple[Field, Floats]:
    """For each patch that touches the hole, a known patch that is near it: Barnes et al.'s randomised search.

    z       H W C, the hole's pixels as guessed so far; hole: H W
    sweeps  first downwards, then back, and so on

    -> the field, H W 2, (row, column) of a patch's centre, and its distances, H W; only where `touching` says so
    Raises UserError for a radius below 0, and where Numba is not installed.
    """
    kernels = _kernels()
    wanted, source = touching(hole, radius=radius), sources(hole, radius=radius)
    field, cost = _drawn(source, rng), np.zeros(hole.shape, np.float32)
    states = _states(hole, rng)
    kernels.measure(z, wanted, field, radius, cost)
    for number in range(sweeps):
        kernels.sweep(z, wanted, source, field, cost, radius, 1 - 2 * (number % 2), states)
    return field, cost


def sources(hole: Flags, *, radius: int) -> Flags:
    """Where the centres of wholly known patches are: H W."""
    found = np.zeros_like(hole)
    inner = _inner(radius)
    found[inner, inner] = ~sliding_window_view(hole, (2 * radius + 1, 2 * radius + 1)).any((2, 3))
    return found


def touching(hole: Flags, *, radius: int) -> Flags:
    """Where the centres of patches are that lie inside the picture and touch the hole: H W."""
    found = np.zeros_like(hole)
    inner = _inner(radius)
    found[inner, inner] = ~sources(hole, radius=radius)[inner, inner]
    return found


# ---- levels ------------------------------------------------------------------------------------------------------


def _pyramid(x: Floats, hole: Flags, radius: int) -> list[_Level]:
    """The picture and its halves, as far down as there is enough to look at and to copy from."""
    z = np.concatenate([x, VARIATION * _variation(x.mean(-1), hole)], axis=-1)
    levels = [_Level(np.where(hole[..., None], 0, z).astype(np.float32), hole)]
    while min(levels[-1].hole.shape) >= 2 * SMALLEST_SIDE:
        half = _halved(levels[-1])
        too_small = min(half.hole.shape) < 2 * radius + 1  # no patch fits
        if too_small or np.count_nonzero(sources(half.hole, radius=radius)) < FEWEST_SOURCES:
            break
        levels.append(half)
    return levels


def _variation(grey: Floats, hole: Flags) -> Floats:
    """Mean |difference| to the neighbours across, and to those above and below, where these are known: H W 2."""
    channels = []
    for g, unknown in ((grey, hole), (grey.T, hole.T)):
        both = ~(unknown[:, 1:] | unknown[:, :-1])
        step = np.abs(np.diff(g)) * both
        left, right = ((0, 0), (1, 0)), ((0, 0), (0, 1))
        pairs = np.pad(both, left) + np.pad(both, right).astype(np.float32)
        channels.append((np.pad(step, left) + np.pad(step, right)) / np.maximum(pairs, 1))
    return np.stack([channels[0], channels[1].T], axis=-1)


def _halved(level: _Level) -> _Level:
    """Every 2 × 2 pixels become one: a hole if one of them is, else a weighted mean of the known ones of 4 × 4."""
    hole = np.pad(level.hole, [(0, n % 2) for n in level.hole.shape], mode="edge")
    known = ~level.hole[..., None]
    weight = _smoothed(known.astype(np.float32))
    half: Flags = np.any(hole.reshape(len(hole) // 2, 2, -1, 2), axis=(1, 3))
    z = _smoothed(level.z) / np.maximum(weight, 1e-6)
    return _Level(np.where(half[..., None], 0, z).astype(np.float32), half)


def _smoothed(a: Floats) -> Floats:
    """Every second pixel of the picture convolved with (1 3 3 1) / 8 both ways: H W C -> ⌈H/2⌉ ⌈W/2⌉ C."""
    for axis in (0, 1):
        pads = [(0, 0)] * 3
        pads[axis] = (1, 1 + a.shape[axis] % 2)
        lines = np.moveaxis(np.pad(a, pads, mode="edge"), axis, 0)
        n = len(lines) - 2
        half = (lines[0:n:2] + 3 * lines[1 : n + 1 : 2] + 3 * lines[2::2] + lines[3::2]) / 8
        a = np.asarray(np.moveaxis(half, 0, axis), np.float32)
    return a


def _guess(level: _Level, rng: np.random.Generator, radius: int) -> tuple[Floats, Field, Floats]:
    """The coarsest level filled from the rim inwards, and a field drawn by chance."""
    kernels = _kernels()
    z, source = level.z.copy(), sources(level.hole, radius=radius)
    layers = kernels.depth(level.hole)
    places = np.argwhere(source)
    if len(places) > MOST_GUESSED:
        places = places[np.sort(rng.choice(len(places), MOST_GUESSED, replace=False))]
    for layer in range(1, layers.max() + 1):
        kernels.peel(z, layers, layer, places, radius)
    return z, _drawn(source, rng), np.zeros(level.hole.shape, np.float32)


def _carried(
    level: _Level, field: Field, cost: Floats, rng: np.random.Generator, radius: int
) -> tuple[Floats, Field, Floats]:
    """The next finer level, filled by the votes of the coarser one's field: where p went to q, 2 p goes to 2 q."""
    source = sources(level.hole, radius=radius)
    places = np.indices(level.hole.shape)
    lowest, highest = radius, np.array(field.shape[:2]).reshape(2, 1, 1) - 1 - radius
    coarse = np.clip(places // 2, lowest, highest)  # at the border a patch's centre keeps its distance
    aims = places + 2 * (np.moveaxis(field[coarse[0], coarse[1]], -1, 0) - coarse)
    aims = np.clip(aims, radius, np.array(level.hole.shape).reshape(2, 1, 1) - 1 - radius)
    good = source[aims[0], aims[1]]
    fine = np.where(good[..., None], np.moveaxis(aims, 0, -1), _drawn(source, rng))
    # What could not be carried is drawn anew, and hardly votes.
    costs = np.where(good, cost[coarse[0], coarse[1]], 4 * cost.max() + 1).astype(np.float32)
    return _voted(level.z, level.hole, fine, costs, radius, sharp=False), fine, costs


def _improve(
    z: Floats,
    hole: Flags,
    field: Field,
    cost: Floats,
    rng: np.random.Generator,
    radius: int,
    *,
    turns: int,
    sharp: bool,
) -> Floats:
    """Search and vote by turns. Writes into field and cost. `sharp`: the last vote copies instead of averaging."""
    kernels = _kernels()
    wanted, source = touching(hole, radius=radius), sources(hole, radius=radius)
    states = _states(hole, rng)
    for turn in range(turns):
        kernels.measure(z, wanted, field, radius, cost)
        for number in range(SWEEPS):
            kernels.sweep(z, wanted, source, field, cost, radius, 1 - 2 * (number % 2), states)
        z = _voted(z, hole, field, cost, radius, sharp=sharp and turn == turns - 1)
    return z


def _voted(z: Floats, hole: Flags, field: Field, cost: Floats, radius: int, *, sharp: bool) -> Floats:
    kernels = _kernels()
    trust = TRUST ** -np.minimum(kernels.depth(hole), 200).astype(np.float32)  # deeper down, float32 ends
    out = z.copy()
    kernels.vote(z, hole, touching(hole, radius=radius), field, cost, trust, radius, sharp, out)
    return out


# ---- small parts -------------------------------------------------------------------------------------------------


def _inner(radius: int) -> slice:
    return slice(radius, -radius or None)


def _drawn(source: Flags, rng: np.random.Generator) -> Field:
    """A field that goes anywhere: every entry one of the sources."""
    places = np.argwhere(source)
    return places[rng.integers(len(places), size=source.shape)]


def _states(hole: Flags, rng: np.random.Generator) -> NDArray[np.uint64]:
    """Random states for the bands of a picture, none of them 0, which xorshift would keep for ever."""
    bands: int = -(-len(hole) // _kernels().BAND)
    return rng.integers(1, 2**63, size=bands, dtype=np.uint64)


def _kernels() -> Any:
    try:
        from ca_numpy.filling import patchmatch_kernels
    except ImportError as e:
        raise UserError("PatchMatch is compiled by Numba, which is not here: pip install 'ca-numpy[numba]'") from e
    return patchmatch_kernels
