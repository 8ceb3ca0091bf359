"""PatchMatch completion: the paper's classical baseline, which copies patches from the same image.

Wexler, Shechtman and Irani (2007) require every patch in the hole to resemble a known patch, and alternate, from coarse
to fine, between searching the nearest known patch of each patch that touches the hole, and setting every hole pixel to
a vote of the patches that contain it. Barnes et al. (2009) make the search fast by random sampling and propagation of
good matches to neighbours.

    field[p] = argmin_q Σ_δ ‖z[p + δ] − z[q + δ]‖²         q: patches without hole pixels
    z[x]     = Σ_p w(p) z[field[p] + x − p] / Σ_p w(p)      p: patches around x

z is the image and two texture channels, its horizontal and vertical variation. Averaged in the coarser levels, they
distinguish grass from a flat green of the same mean.

The coarsest level is initialised from the hole's boundary inwards. Levels upsample the field, not the image, so that
the finer image is sharp at once. Compiled by Numba.
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

#: Iterations of search and vote per level, coarsest first, where they are cheapest.
TURNS = (60, 40, 20, 10, 4)
#: Sweeps of the field per iteration, one in each direction, starting from the previous field.
SWEEPS = 2
#: Minimum shorter side, in pixels, and number of source patches of the coarsest level.
SMALLEST_SIDE, FEWEST_SOURCES = 32, 64
#: Maximum number of source patches for the initial guess.
MOST_GUESSED = 4096
#: A patch's vote weight falls by this factor per pixel of depth in the hole.
TRUST = 1.3
#: Weight of the two texture channels relative to the three colour channels.
VARIATION = 3.0


class _Level(NamedTuple):
    """A pyramid level: z H W 5, 0 in the hole, and hole H W. Each level has half the size of the previous."""

    z: Floats
    hole: Flags


def complete(
    image: NDArray[Any], mask: NDArray[Any], *, rng: np.random.Generator | None = None, radius: int = 3
) -> Floats:
    """Fill the holes of an image by PatchMatch: H W 3 in [-1, 1], with known pixels unchanged.

    image    H W 3, uint8 or float in [-1, 1]
    mask     H W or H W 1, 1 = hole; any number of holes of any shape
    rng      random generator of the search, default_rng(0) by default; results are reproducible
    radius   patches are 2 · radius + 1 pixels wide, or smaller if no such patch is known

    A hole of 256×256 in 512×512 pixels takes about 5 s of CPU time over all cores, plus 15 s for the first call.
    Raises UserError for an invalid image, an empty or full mask, or if Numba is not installed.
    """
    x = check_image(image)
    hole = check_mask(mask, x)[..., 0] > 0.5
    if radius < 0:
        raise UserError(f"radius={radius}: give 0 or more pixels, typically 3")
    rng = rng or np.random.default_rng(0)
    radius = min(radius, (min(hole.shape) - 1) // 2)
    while not sources(hole, radius=radius).any():
        radius -= 1  # stops at 0, since some pixel is known
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
    """An approximately nearest known patch for each patch that touches the hole: Barnes et al.'s randomised search.

    z       H W C, with the current guess in the hole; hole: H W
    sweeps  alternately downwards and upwards

    -> the field, H W 2, (row, column) of the match's centre, and its distance, H W; valid where `touching`
    Raises UserError for a radius below 0, or if Numba is not installed.
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
    """Centres of patches without hole pixels: H W."""
    found = np.zeros_like(hole)
    inner = _inner(radius)
    found[inner, inner] = ~sliding_window_view(hole, (2 * radius + 1, 2 * radius + 1)).any((2, 3))
    return found


def touching(hole: Flags, *, radius: int) -> Flags:
    """Centres of patches inside the image that touch the hole: H W."""
    found = np.zeros_like(hole)
    inner = _inner(radius)
    found[inner, inner] = ~sources(hole, radius=radius)[inner, inner]
    return found


# ---- levels ------------------------------------------------------------------------------------------------------


def _pyramid(x: Floats, hole: Flags, radius: int) -> list[_Level]:
    """The image pyramid, down to SMALLEST_SIDE and FEWEST_SOURCES."""
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
    """Mean |difference| to the known horizontal, and vertical, neighbours: H W 2."""
    channels = []
    for g, unknown in ((grey, hole), (grey.T, hole.T)):
        both = ~(unknown[:, 1:] | unknown[:, :-1])
        step = np.abs(np.diff(g)) * both
        left, right = ((0, 0), (1, 0)), ((0, 0), (0, 1))
        pairs = np.pad(both, left) + np.pad(both, right).astype(np.float32)
        channels.append((np.pad(step, left) + np.pad(step, right)) / np.maximum(pairs, 1))
    return np.stack([channels[0], channels[1].T], axis=-1)


def _halved(level: _Level) -> _Level:
    """Half the size: a pixel is a hole if any of its 2 × 2 is, else a weighted mean of the known ones in 4 × 4."""
    hole = np.pad(level.hole, [(0, n % 2) for n in level.hole.shape], mode="edge")
    known = ~level.hole[..., None]
    weight = _smoothed(known.astype(np.float32))
    half: Flags = np.any(hole.reshape(len(hole) // 2, 2, -1, 2), axis=(1, 3))
    z = _smoothed(level.z) / np.maximum(weight, 1e-6)
    return _Level(np.where(half[..., None], 0, z).astype(np.float32), half)


def _smoothed(a: Floats) -> Floats:
    """Convolution with (1 3 3 1) / 8 along both axes and stride 2: H W C -> ⌈H/2⌉ ⌈W/2⌉ C."""
    for axis in (0, 1):
        pads = [(0, 0)] * 3
        pads[axis] = (1, 1 + a.shape[axis] % 2)
        lines = np.moveaxis(np.pad(a, pads, mode="edge"), axis, 0)
        n = len(lines) - 2
        half = (lines[0:n:2] + 3 * lines[1 : n + 1 : 2] + 3 * lines[2::2] + lines[3::2]) / 8
        a = np.asarray(np.moveaxis(half, 0, axis), np.float32)
    return a


def _guess(level: _Level, rng: np.random.Generator, radius: int) -> tuple[Floats, Field, Floats]:
    """The coarsest level filled from the boundary inwards, and a random field."""
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
    """The next finer level, filled by votes of the upsampled field: if p maps to q, 2 p maps to 2 q."""
    source = sources(level.hole, radius=radius)
    places = np.indices(level.hole.shape)
    lowest, highest = radius, np.array(field.shape[:2]).reshape(2, 1, 1) - 1 - radius
    coarse = np.clip(places // 2, lowest, highest)  # patches stay inside the image
    aims = places + 2 * (np.moveaxis(field[coarse[0], coarse[1]], -1, 0) - coarse)
    aims = np.clip(aims, radius, np.array(level.hole.shape).reshape(2, 1, 1) - 1 - radius)
    good = source[aims[0], aims[1]]
    fine = np.where(good[..., None], np.moveaxis(aims, 0, -1), _drawn(source, rng))
    # Invalid matches are redrawn, with a cost that makes their vote negligible.
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
    """Alternate search and vote; modifies field and cost. `sharp`: the last vote copies instead of averaging."""
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
    trust = TRUST ** -np.minimum(kernels.depth(hole), 200).astype(np.float32)  # beyond, float32 underflows
    out = z.copy()
    kernels.vote(z, hole, touching(hole, radius=radius), field, cost, trust, radius, sharp, out)
    return out


# ---- small parts -------------------------------------------------------------------------------------------------


def _inner(radius: int) -> slice:
    return slice(radius, -radius or None)


def _drawn(source: Flags, rng: np.random.Generator) -> Field:
    """A random field of source patches."""
    places = np.argwhere(source)
    return places[rng.integers(len(places), size=source.shape)]


def _states(hole: Flags, rng: np.random.Generator) -> NDArray[np.uint64]:
    """Random states for the bands, none of them 0, a fixed point of xorshift."""
    bands: int = -(-len(hole) // _kernels().BAND)
    return rng.integers(1, 2**63, size=bands, dtype=np.uint64)


def _kernels() -> Any:
    try:
        from ca_numpy.filling import patchmatch_kernels
    except ImportError as e:
        raise UserError("PatchMatch needs Numba: pip install 'ca-numpy[numba]'") from e
    return patchmatch_kernels
