"""PatchMatch completion: the paper's classical baseline, which copies patches from the same image.

Wexler, Shechtman and Irani (2007) require every patch in the hole to resemble a known patch, and alternate, from coarse
to fine, between searching the nearest known patch of each patch that touches the hole, and setting every hole pixel to
a vote of the patches that contain it. Barnes et al. (2009) make the search fast by random sampling and propagation of
good matches to neighbours.

    field[p] = argmin_q d(p, q)                             q: patches without hole pixels
    z[x]     = Σ_p w(p) z[field[p] + x − p] / Σ_p w(p)      p: patches around x
    w(p)     = TRUST^−depth(p) exp(−d(p, field[p]) / 2 s(p))    s(p): the mean distance of the patches around p

z is the image with two texture channels (`pyramid.py`). Search, distances and votes are kernels of the backend. Votes
average; the last ones at each of the two finest levels copy the patch of largest weight, so that the next search sees,
and extends, exact copies. Levels upsample the field, not the image, so that the finer image is sharp at once.

With a `guess` of the hole's contents, its low-pass guides the search: see `guided.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ca_numpy.backend import Backend
from ca_numpy.data import check_image, check_mask, resize
from ca_numpy.errors import UserError
from ca_numpy.filling.pyramid import Flags, Floats, Level, pyramid, sources, touching
from ca_numpy.filling.windows import surroundings
from ca_numpy.registry import use_backend

Places = NDArray[np.int32]
#: Called with the share of the work done, 0 to 1; an exception from it ends the work.
Progress = Callable[[float], None]

#: Iterations of search and vote per level, coarsest first, where they are cheapest.
TURNS = (40, 30, 16, 6, 3, 2)
#: How many of them copy, at the two finest levels.
COPYING_TURNS = 3
#: Rounds of search in an iteration, by the distance of the neighbours whose matches are tried; three kinds in turn.
JUMPS = ((8, 1), (4, 1), (2, 1))
#: Random search reaches this far, in pixels, at all but the coarsest level: far matches come from there.
REACH = 16
#: A patch's vote weight falls by this factor per pixel of depth in the hole.
TRUST = 1.3
#: Where votes copy, distances count this much more: a choice, not a mean.
SHARPNESS = 100.0
#: Weight of the guide per level, coarsest first; the last one for all finer levels.
GUIDANCE = (1.0, 0.1)


class Copies(NamedTuple):
    """The pixels of a hole, m 2, and the known pixels that are copied to them, m 2: rows and columns."""

    pixels: Places
    sources: Places


def complete(
    image: NDArray[Any],
    mask: NDArray[Any],
    *,
    rng: np.random.Generator | None = None,
    radius: int = 3,
    quiet: bool = True,
) -> Floats:
    """Fill the holes of an image by PatchMatch: H W 3 in [-1, 1], with known pixels unchanged.

    image    H W 3, uint8 or float in [-1, 1]
    mask     H W or H W 1, 1 = hole; any number of holes of any shape
    rng      random generator of the search, default_rng(0) by default; results are reproducible
    radius   patches are 2 · radius + 1 pixels wide, or smaller if no such patch is known
    quiet    show no progress bar

    Runs on the current backend, or the fastest one. Patches are copied from the surroundings, as far from the holes as
    the widest hole is wide. Raises UserError for an invalid image, an empty or full mask, or a negative radius.
    """
    return complete_with_copies(image, mask, rng=rng, radius=radius, quiet=quiet)[0]


def complete_with_copies(image: NDArray[Any], mask: NDArray[Any], **options: Any) -> tuple[Floats, Copies]:
    """As `complete`, and where each pixel was copied from. Options as for `copied`. Raises UserError."""
    x = check_image(image)
    hole = check_mask(mask, x)[..., 0] > 0.5
    place = surroundings(hole)
    copies = moved(copied(x[place], hole[place], **options), place)
    filled = x.copy()
    filled[tuple(copies.pixels.T)] = x[tuple(copies.sources.T)]
    return filled, copies


def copied(
    x: Floats,
    hole: Flags,
    *,
    guess: Floats | None = None,
    low: Floats | None = None,
    rng: np.random.Generator | None = None,
    radius: int = 3,
    quiet: bool = True,
    progress: Progress | None = None,
) -> Copies:
    """Which known pixel to copy to each pixel of the hole.

    x       H W 3 in [-1, 1]; arbitrary in the hole
    hole    H W
    guess   h w 3, the whole image with a first guess in the hole, at any size
    low     h w 3, the guide: the guess without its details
    progress   called with the share of the work done, 0 to 1; an exception from it ends the work

    Raises UserError for a negative radius, or a mask without hole or known pixels.
    """
    if radius < 0:
        raise UserError(f"radius={radius}: give 0 or more pixels, typically 3")
    rng = rng or np.random.default_rng(0)
    radius = min(radius, (min(hole.shape) - 1) // 2)
    while not sources(hole, radius=radius).any():
        radius -= 1  # stops at 0, since some pixel is known
    levels = pyramid(x, hole, radius=radius)[::-1]
    turns = [TURNS[min(n, len(TURNS) - 1)] for n in range(len(levels))]
    before = None
    with use_backend("auto") as device, tqdm(total=sum(turns), desc="copying", disable=quiet or None) as bar:
        for n, level in enumerate(levels):
            guidance = GUIDANCE[min(n, len(GUIDANCE) - 1)]
            search = _Search(level, device, rng, radius, low, guidance, whole=before is None)
            if before is None:
                search.begin(guess)
            else:
                search.upsample(before)
            for turn in range(turns[n]):
                search.improve(JUMPS[turn % len(JUMPS)])
                finest = n >= len(levels) - 2
                search.vote(copying=finest and turn >= turns[n] - COPYING_TURNS)
                bar.update()
                if progress is not None:  # a turn costs four times as much at the next level
                    progress((4.0**n * (turn + 1) * 3 / turns[n] + 4.0**n - 1) / (4.0 ** len(levels) - 1))
            before = search
        return Copies(search.pixels, search.best_sources())


def moved(copies: Copies, place: tuple[slice, slice]) -> Copies:
    """Copies within the part of an image at `place`, as rows and columns of the image."""
    corner = np.array([n.start or 0 for n in place], np.int32)
    return Copies(copies.pixels + corner, copies.sources + corner)


class _Search:
    """The field of one level and the features z, which its votes change."""

    def __init__(
        self,
        level: Level,
        device: Backend,
        rng: np.random.Generator,
        radius: int,
        low: Floats | None = None,
        guidance: float = 0.0,
        *,
        whole: bool = True,
    ) -> None:
        self.device, self.rng, self.radius = device, rng, radius
        self.z, self.hole = level.z.copy(), level.hole
        self.source = sources(self.hole, radius=radius)
        wanted = touching(self.hole, radius=radius)
        self.places, self.pixels = _places(wanted), _places(self.hole)
        self.number = np.full(self.hole.shape, -1, np.int32)
        self.number[wanted] = np.arange(len(self.places))
        self.known = _places(self.source)
        size = self.hole.shape
        self.guide = np.zeros((*size, 0), np.float32) if low is None else resize(low, size)
        self.weight = np.full(len(self.places), guidance * (2 * radius + 1) ** 2, np.float32)
        # Votes' weights are computed on the patches' bounding box.
        self.box = tuple(slice(low, high + 1) for low, high in zip(self.places.min(0), self.places.max(0), strict=True))
        self.inside = wanted[self.box]
        self.nearby = self._mean_around(np.ones(len(self.places), np.float32))
        self.trust = TRUST ** -np.minimum(_depth(self.hole)[tuple(self.places.T)], 200)  # float32 underflows beyond
        self.field = self.drawn(len(self.places))
        self.distance = np.zeros(len(self.places), np.float32)
        self.reach = max(size) / 2 if whole else REACH

    def drawn(self, count: int) -> Places:
        """Random sources."""
        return self.known[self.rng.integers(len(self.known), size=count)]

    def begin(self, guess: Floats | None) -> None:
        """The coarsest level: colours of the guess, or of the nearest known pixels, find the first matches."""
        colours = self.z[..., :3].copy()
        if guess is None:
            from scipy.ndimage import distance_transform_edt  # slow to import

            nearest = distance_transform_edt(self.hole, return_distances=False, return_indices=True)
            colours = colours[tuple(nearest)]
        else:
            colours[self.hole] = resize(guess, self.hole.shape)[self.hole]
        features, self.z = self.z, np.ascontiguousarray(colours)
        for jump in (8, 4, 2, 1) * 2:
            self.improve((jump,))
        self.z = features
        self.vote()

    def upsample(self, coarse: _Search) -> None:
        """The field of the level before: if p maps to q there, 2 p maps to 2 q. Redraws matches that are no sources."""
        size = np.array(self.hole.shape, np.int32)
        inner = np.clip(self.places // 2, self.radius, np.array(coarse.hole.shape) - 1 - self.radius)
        index = coarse.number[tuple(inner.T)]
        field = self.places + 2 * (coarse.field[index] - coarse.places[index])
        field = np.clip(field, self.radius, size - 1 - self.radius).astype(np.int32)
        good = self.source[tuple(field.T)]
        field[~good] = self.drawn(int(np.count_nonzero(~good)))
        worst = 4 * coarse.distance.max() + 1  # makes their vote negligible
        self.field, self.distance = field, np.where(good, coarse.distance[index], worst).astype(np.float32)
        self.vote()

    def improve(self, jumps: tuple[int, ...]) -> None:
        """Measure the matches, since z has changed, and search."""
        device, radius = self.device, self.radius
        z, guide, weight, source, places, number, field = map(
            device.asarray, (self.z, self.guide, self.weight, self.source, self.places, self.number, self.field)
        )
        distance = device.patch_distance(z, guide, weight, places, field, radius=radius)
        for n, jump in enumerate(jumps):
            last = n == len(jumps) - 1  # random search once an iteration: propagation finds more
            offsets = device.asarray(self.offsets() if last else np.zeros((0, len(self.places), 2), np.int32))
            field, distance = device.improve_field(
                z, guide, weight, source, places, number, field, distance, offsets, radius=radius, jump=jump
            )
        self.field, self.distance = device.to_numpy(field), device.to_numpy(distance)

    def offsets(self) -> Places:
        """Random offsets K n 2, in squares that halve from `reach` to a pixel."""
        reach = self.reach * 0.5 ** np.arange(max(1, int(np.log2(max(self.reach, 1))) + 1), dtype=np.float32)
        random = self.rng.random((len(reach), len(self.places), 2), np.float32)
        random -= np.float32(0.5)
        random *= 2 * reach[:, None, None]
        return random.astype(np.int32)

    def vote(self, *, copying: bool = False) -> None:
        """Set the hole's pixels from the field."""
        pixels = tuple(self.pixels.T)
        if copying:
            self.z[pixels] = self.z[tuple(self.best_sources().T)]
            return
        arrays = self.z, self.pixels, self.number, self.field, self._weights()
        voted = self.device.patch_vote(*map(self.device.asarray, arrays), radius=self.radius)
        self.z[pixels] = self.device.to_numpy(voted)

    def best_sources(self) -> Places:
        """The known pixels to copy to `pixels`."""
        arrays = self.pixels, self.number, self.field, self._weights(SHARPNESS)
        return self.device.to_numpy(self.device.patch_source(*map(self.device.asarray, arrays), radius=self.radius))

    def _weights(self, sharpness: float = 1.0) -> Floats:
        spread = 2 * self._mean_around(self.distance) / self.nearby + np.float32(1e-9)
        closeness = np.exp(np.maximum(-sharpness * self.distance / spread, -60))
        return np.asarray(self.trust * closeness + 1e-30, np.float32)

    def _mean_around(self, values: Floats) -> Floats:
        """Mean of the patches' values over a patch's width, with 0 where there are none."""
        from scipy.ndimage import uniform_filter

        spread = np.zeros(self.inside.shape, np.float32)
        spread[self.inside] = values
        return np.asarray(uniform_filter(spread, 2 * self.radius + 1, mode="constant")[self.inside])


def nearest_field(
    z: Floats, hole: Flags, *, rng: np.random.Generator, radius: int = 3, sweeps: int = 6
) -> tuple[Places, Floats]:
    """An approximately nearest known patch for each patch that touches the hole: Barnes et al.'s randomised search.

    z       H W C, with the current guess in the hole; hole: H W
    sweeps  rounds of propagation and random search; propagation jumps 1, 2, 4 and 8 pixels in turn

    -> the field, H W 2, (row, column) of the match's centre, and its distance, H W; valid where `touching`
    Raises UserError for a radius below 0.
    """
    if radius < 0:
        raise UserError(f"radius={radius}: give 0 or more pixels, typically 3")
    with use_backend("auto") as device:
        search = _Search(Level(np.asarray(z, np.float32), hole), device, rng, radius)
        search.improve(())
        for n in range(sweeps):
            search.improve((2 ** (n % 4),))
    field, distance = np.zeros((*hole.shape, 2), np.int32), np.zeros(hole.shape, np.float32)
    places = tuple(search.places.T)
    field[places], distance[places] = search.field, search.distance
    return field, distance


def _places(flags: Flags) -> Places:
    """Rows and columns of the true values: n 2."""
    return np.argwhere(flags).astype(np.int32)


def _depth(hole: Flags) -> Floats:
    """Distance of each pixel to the nearest known pixel: H W."""
    from scipy.ndimage import distance_transform_edt

    return np.asarray(distance_transform_edt(hole), np.float32)
