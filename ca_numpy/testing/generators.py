"""Drawing the inputs of tests: small, of odd shapes, well scaled, and away from kinks.

Every draw goes through a `Chooser`: a plain random generator, or the one in `strategies` that uses Hypothesis, so that
a failure shrinks to the smallest geometry that still fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ca_numpy.geometry import AttentionGeometry, ConvGeometry

Array = NDArray[Any]
T = TypeVar("T")

#: Distance of inputs from kinks (where a derivative jumps), so that finite differences do not straddle one.
MARGIN = 0.1


class Chooser(Protocol):
    """The source of choices. `large` requests arrays bigger than a cache line, a tile or a block of threads."""

    @property
    def rng(self) -> np.random.Generator:
        """Generator for values that are not chosen one by one."""
        ...

    @property
    def large(self) -> bool:
        """Whether arrays should be bigger than a cache line, a tile or a block of threads."""
        ...

    def integer(self, low: int, high: int) -> int:
        """An integer in [low, high], both included; simplest is low."""
        ...

    def choice(self, options: Sequence[T]) -> T:
        """One of the options; simplest is the first."""
        ...


@dataclass(frozen=True)
class RandomChooser:
    """Choices from a random generator."""

    rng: np.random.Generator
    large: bool = False

    def integer(self, low: int, high: int) -> int:
        """A uniform integer in [low, high]."""
        return int(self.rng.integers(low, high + 1))

    def choice(self, options: Sequence[T]) -> T:
        """One of the options, uniformly."""
        return options[self.integer(0, len(options) - 1)]


@dataclass(frozen=True)
class Problem:
    """The arguments of a kernel: arrays by position, parameters by keyword."""

    inputs: tuple[Array, ...]
    params: dict[str, Any] = field(default_factory=dict)

    def astype(self, dtype: Any) -> Problem:
        """The problem with floating-point inputs of another dtype; integers, flags and parameters are the same."""
        return Problem(tuple(x.astype(dtype) if x.dtype.kind == "f" else x for x in self.inputs), self.params)

    def __repr__(self) -> str:
        arrays = ", ".join(f"{x.dtype}{list(x.shape)}" for x in self.inputs)
        return f"Problem({arrays}, {self.params})"


# ---- shapes ------------------------------------------------------------------------------------------------------
def draw_side(pick: Chooser) -> int:
    """Height or width, from 1."""
    return pick.integer(1, 37) if pick.large else pick.integer(1, 6)


def draw_channels(pick: Chooser) -> int:
    return pick.integer(1, 40) if pick.large else pick.integer(1, 3)


def draw_images_shape(pick: Chooser) -> tuple[int, int, int, int]:
    """N H W C"""
    return pick.integer(1, 3), draw_side(pick), draw_side(pick), draw_channels(pick)


def draw_shape(pick: Chooser, *, least: int = 0) -> tuple[int, ...]:
    """`least` to four axes; none is a scalar."""
    return tuple(draw_side(pick) for _ in range(pick.integer(least, 4 if not pick.large else 3)))


def draw_broadcastable(pick: Chooser, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape that broadcasts to `shape`: some axes of length 1, some leading axes missing."""
    kept = shape[pick.integer(0, len(shape)) :]
    return tuple(pick.choice([n, 1]) for n in kept)


# ---- values ------------------------------------------------------------------------------------------------------
def draw_normal(pick: Chooser, shape: tuple[int, ...]) -> Array:
    """Standard normal values, none beyond ±3."""
    return np.clip(pick.rng.standard_normal(shape), -3, 3)


def draw_away_from(pick: Chooser, shape: tuple[int, ...], *kinks: float, low: float = -2.5, high: float = 2.5) -> Array:
    """Values in [low, high], none nearer than `MARGIN` to a kink. Kinks are at least 4·MARGIN apart."""
    x = np.asarray(pick.rng.uniform(low, high, shape))
    for kink in kinks:
        distance = MARGIN * pick.rng.uniform(1, 2, shape)
        x = np.where(abs(x - kink) < MARGIN, kink + np.where(x < kink, -distance, distance), x)
    return x


def draw_positive(pick: Chooser, shape: tuple[int, ...]) -> Array:
    """Values in [½, 2]"""
    return np.asarray(pick.rng.uniform(0.5, 2, shape))


def draw_nonzero(pick: Chooser, shape: tuple[int, ...]) -> Array:
    """Values of both signs with magnitude in [½, 2]."""
    return np.asarray(draw_positive(pick, shape) * pick.rng.choice([-1.0, 1.0], shape))


# ---- memory layouts ----------------------------------------------------------------------------------------------
def _same(x: Any) -> Any:
    return x


#: Memory layouts for the same values. "repeated" has only the first entry's, with stride 0; integers, which may be
#: indices, keep theirs.
LAYOUTS = ("contiguous", "fortran", "reversed", "strided", "repeated")


def relaid(x: Array, layout: str, *, to: Callable[[Array], Any] = _same) -> Any:
    """The values of x in the memory layout `layout`; `to` copies a contiguous array to a backend.

    A backend's arrays should support slicing, transposing and `np.broadcast_to` as NumPy's do.

    contiguous   row-major            strided    every second value of a larger array, NaN or 0 between them
    fortran      column-major         repeated   the first entry along the first axis, repeated without a copy
    reversed     backwards in memory
    """
    backwards: Any = (..., *x.ndim * [slice(None, None, -1)])  # the ellipsis keeps a scalar an array
    every_second: Any = (..., *x.ndim * [slice(None, None, 2)])
    if layout == "fortran":
        return to(np.array(x.T, order="C")).T
    if layout == "reversed":
        return to(np.array(x[backwards], order="C"))[backwards]
    if layout == "strided":
        base = np.full([2 * n for n in x.shape], np.nan if x.dtype.kind == "f" else 0, x.dtype)
        base[every_second] = x
        return to(base)[every_second]
    if layout == "repeated" and x.size and x.dtype.kind == "f":
        return np.broadcast_to(to(np.array(x[:1] if x.ndim else x, order="C")), x.shape)
    return to(np.array(x, order="C"))


# ---- convolution, attention and PatchMatch -----------------------------------------------------------------------
@dataclass(frozen=True)
class ConvProblem:
    """A convolution that fits: x N H W I, w KH KW I O, y N OH OW O."""

    x: tuple[int, int, int, int]
    w: tuple[int, int, int, int]
    geometry: ConvGeometry

    @property
    def y(self) -> tuple[int, int, int, int]:
        return self.x[0], *self.geometry.output_size(self.x[1:3], self.w[:2]), self.w[3]


def draw_conv(pick: Chooser) -> ConvProblem:
    """Kernels 1–5 a side, even and not square ones too; stride 1–3; dilation 1–4; TensorFlow's zeros, none, or any."""
    n, h, w, c = draw_images_shape(pick)
    k = pick.integer(1, 5), pick.integer(1, 5)
    geometry = ConvGeometry(stride=pick.integer(1, 3), dilation=pick.integer(1, 4))
    kind = pick.choice(["same", "none", "any"])
    if kind == "same":
        geometry = geometry.same((h, w), k)
    elif kind == "any":
        pads = (pick.integer(0, 3), pick.integer(0, 3)), (pick.integer(0, 3), pick.integer(0, 3))
        geometry = replace(geometry, pads=pads)
    spans = ((taps - 1) * geometry.dilation + 1 - sum(pad) for taps, pad in zip(k, geometry.pads, strict=True))
    h, w = (max(size, span, 1) for size, span in zip((h, w), spans, strict=True))
    return ConvProblem((n, h, w, c), (*k, c, draw_channels(pick)), geometry)


@dataclass(frozen=True)
class AttentionProblem:
    """Features of fore- and background N H W C, a mask N H' W' 1 with 1 = hole, and the attention's geometry."""

    f: Array
    b: Array
    mask: Array
    geometry: AttentionGeometry

    @property
    def options(self) -> dict[str, Any]:
        """The geometry as keywords of `functional.contextual_attention`."""
        g = self.geometry
        return {"ksize": g.ksize, "rate": g.rate, "softmax_scale": g.softmax_scale,
                "fuse": g.fuse_k is not None, "fuse_k": g.fuse_k or 3}  # fmt: skip

    def __repr__(self) -> str:
        holes = float(self.mask.mean())
        return f"AttentionProblem(f {self.f.shape}, b {self.b.shape}, {holes:.0%} hole, {self.geometry})"


def draw_attention(pick: Chooser, *, divisible: bool = True) -> AttentionProblem:
    """Foreground and background of different sizes; masks that are empty, full, or anything between.

    divisible   sizes are multiples of `rate`, as the fused kernel requires
    """
    rate = pick.integer(1, 3)
    n, c = pick.integer(1, 2), draw_channels(pick)
    sides = [pick.integer(1, 9 if pick.large else 4) for _ in range(4)]
    h, w, h2, w2 = (rate * side - (0 if divisible else pick.integer(0, rate - 1)) for side in sides)
    mask = np.zeros((n, h2, w2, 1))
    kind = pick.choice(["no hole", "all hole", "scattered", "box"])
    if kind == "scattered":
        mask = (pick.rng.uniform(size=mask.shape) < 0.3).astype(float)
    elif kind == "all hole":
        mask = np.ones_like(mask)
    elif kind == "box":
        mask[:, h2 // 3 : h2 // 3 + 1 + h2 // 4, w2 // 3 : w2 // 3 + 1 + w2 // 4] = 1
    return AttentionProblem(
        f=draw_normal(pick, (n, h, w, c)) / 2,
        b=draw_normal(pick, (n, h2, w2, c)) / 2,
        mask=mask,
        geometry=AttentionGeometry(
            ksize=pick.choice([3, 1, 2, 5]),
            rate=rate,
            fuse_k=pick.choice([3, 1, 5, None]),
            softmax_scale=pick.choice([10.0, 1.0]),
        ),
    )


@dataclass(frozen=True)
class Patches:
    """Patches of a picture and their matches, as in the contract; n patches, m pixels, each in one of them or more.

    Features and weights are multiples of ¼, so that distances are exact even in float32: no comparison depends on the
    order of a sum, and ties are real.
    """

    z: Array
    guide: Array
    guided: Array  # the guide's weight for each patch, 0 or more
    trust: Array  # each patch's in votes, more than 0
    source: Array
    places: Array
    number: Array
    field: Array
    pixels: Array
    radius: int


def draw_patches(pick: Chooser) -> Patches:
    """Patches of 1 to 25 pixels up to the border of the picture, from none to all, in any order."""
    radius, share = pick.integer(0, 2), pick.choice([0.5, 1.0, 0.1, 0.0])
    height, width = (2 * radius + draw_side(pick) for _ in range(2))
    inner = np.zeros((height, width), bool)
    inner[radius : height - radius, radius : width - radius] = True
    chance = pick.rng.random((2, height, width))
    source = inner & (chance[0] <= max(0.5, chance[0][inner].min()))  # one at least
    places = pick.rng.permutation(np.argwhere(inner & (chance[1] < share)).astype(np.int32))
    number, covered = np.full((height, width), -1, np.int32), np.zeros((height, width), bool)
    for i, (y, x) in enumerate(places):
        number[y, x] = i
        covered[y - radius : y + radius + 1, x - radius : x + radius + 1] = True
    sources, pixels = np.argwhere(source).astype(np.int32), np.argwhere(covered).astype(np.int32)
    n = len(places)
    return Patches(
        z=np.round(4 * draw_normal(pick, (height, width, draw_channels(pick)))) / 4,
        guide=np.round(4 * draw_normal(pick, (height, width, pick.integer(0, 3)))) / 4,
        guided=pick.rng.integers(0, 5, n) / 4,
        trust=pick.rng.integers(1, 5, n) / 4,
        source=source,
        places=places,
        number=number,
        field=sources[pick.rng.integers(0, len(sources), n)],
        pixels=pick.rng.permutation(pixels)[: pick.integer(0, 1000)],
        radius=radius,
    )
