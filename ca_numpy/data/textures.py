"""Generated textures, to train on without photographs.

A texture has three ingredients: a *field*, H W in [0, 1], the position of each pixel in the palette; a *palette*, a few
colours from dark to light; and slightly uneven light and grain, so that no area is perfectly flat. Everything is
drawn from one generator, so a seed determines a picture.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float64]


def texture(rng: np.random.Generator, *, kind: str, size: int) -> NDArray[np.uint8]:
    """A texture of one of `KINDS`: RGB uint8, H W 3, `size` pixels wide and high.

    It is drawn at twice the size and averaged over 2 × 2 pixels, for smooth edges.
    """
    field = KINDS[kind](rng, 2 * size)
    colours = _colour(np.clip(field, 0, 1), _palette(rng))
    light = 1 + 0.07 * _clouds(rng, 2 * size, slope=3.0) + 0.025 * rng.standard_normal(field.shape)
    lit = colours * np.clip(light, 0.6, 1.4)[..., None]
    smooth = lit.reshape(size, 2, size, 2, 3).mean(axis=(1, 3))
    return np.asarray(np.rint(np.clip(smooth, 0, 1) * 255), np.uint8)


# -- colour -----------------------------------------------------------------------------------------------


def _palette(rng: np.random.Generator) -> NDArray[np.float64]:
    """Four colours, RGB in [0, 1], from dark to light, with similar or opposite hues."""
    hue = rng.uniform()
    turn = rng.choice([0.05, 0.12, -0.12, 0.3, 0.5])
    strength = rng.uniform(0.15, 0.6)
    lightness = np.linspace(rng.uniform(0.15, 0.35), rng.uniform(0.75, 0.92), 4)
    hues = hue + turn * np.linspace(0, 1, 4)
    return np.array([colorsys.hls_to_rgb(h % 1, level, strength) for h, level in zip(hues, lightness, strict=True)])


def _colour(field: Field, palette: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map a field to the colours of the palette: H W 3."""
    places = np.linspace(0, 1, len(palette))
    return np.stack([np.interp(field, places, channel) for channel in palette.T], axis=-1)


# -- building blocks of the fields ------------------------------------------------------------------------


def _grid(size: int) -> tuple[Field, Field]:
    """Row and column of each pixel, as fractions of the picture from -1/2 to 1/2."""
    steps = (np.arange(size) + 0.5) / size - 0.5
    rows, columns = np.meshgrid(steps, steps, indexing="ij")
    return rows, columns


def _turned(rng: np.random.Generator, size: int, *, warp: float) -> tuple[Field, Field]:
    """The grid rotated by a random angle and bent slightly, by `warp` of the picture's side."""
    rows, columns = _grid(size)
    angle = rng.uniform(0, np.pi)
    across = rows * np.cos(angle) - columns * np.sin(angle)
    along = rows * np.sin(angle) + columns * np.cos(angle)
    bend = warp * _clouds(rng, size, slope=3.5)
    return across + bend, along + np.roll(bend, size // 3, axis=0)


def _clouds(rng: np.random.Generator, size: int, *, slope: float) -> Field:
    """Noise whose amplitude falls as 1 / frequency^(slope/2 + 1/2), with mean 0 and standard deviation 1."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = np.inf  # no constant part
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) / frequency ** (slope / 2 + 0.5)
    noise = np.fft.irfft2(spectrum, s=(size, size))
    return np.asarray(noise / noise.std())


def _wave(phase: Field) -> Field:
    """A cosine in [0, 1] with period 1."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * phase)


def _edge(distance: Field, *, softness: float) -> Field:
    """0 on the negative side, 1 on the positive, with a linear ramp between."""
    return np.clip(distance / softness + 0.5, 0, 1)


def _shades(rng: np.random.Generator) -> Field:
    """A table of random values in [0, 1], for example one per brick of a wall; see `_shade_of`."""
    return rng.uniform(size=(64, 64))


def _shade_of(shades: Field, rows: Field, columns: Field) -> Field:
    """The table's value at a pair of integers, such as the position of a brick in its wall."""
    return np.asarray(shades[rows.astype(int) % 64, columns.astype(int) % 64])


# -- the kinds --------------------------------------------------------------------------------------------


def _stripes(rng: np.random.Generator, size: int) -> Field:
    across, _ = _turned(rng, size, warp=rng.choice([0.0, 0.01]))
    phase = across * rng.uniform(5, 16)
    sharp = _edge(_wave(phase) - rng.uniform(0.3, 0.7), softness=rng.uniform(0.1, 1.0))
    return 0.8 * sharp + 0.2 * _wave(phase * rng.integers(2, 4))


def _waves(rng: np.random.Generator, size: int) -> Field:
    across, along = _turned(rng, size, warp=0.02)
    swing = rng.uniform(0.02, 0.06) * np.sin(2 * np.pi * along * rng.uniform(2, 5))
    return _wave((across + swing) * rng.uniform(5, 12))


def _checks(rng: np.random.Generator, size: int) -> Field:
    across, along = _turned(rng, size, warp=rng.choice([0.0, 0.015]))
    count = rng.uniform(5, 11)
    rows, columns = np.floor(across * count), np.floor(along * count)
    return 0.7 * ((rows + columns) % 2) + 0.3 * _shade_of(_shades(rng), rows, columns)


def _plaid(rng: np.random.Generator, size: int) -> Field:
    across, along = _turned(rng, size, warp=0.003)
    count = rng.uniform(3, 6)
    threads = rng.uniform(size=16)
    warp, weft = (threads[np.floor(8 * count * place).astype(int) % 16] for place in (across, along))
    over = (np.floor(across * count * 16) + np.floor(along * count * 16)) % 2
    return np.asarray(0.5 * (warp + weft) + 0.1 * (over - 0.5))


def _spots(rng: np.random.Generator, size: int) -> Field:
    across, along = _turned(rng, size, warp=0.005)
    count = rng.uniform(6, 13)
    rows = np.floor(across * count)
    shifted = along * count + 0.5 * (rows % 2)
    columns = np.floor(shifted)
    radius = 0.22 + 0.2 * _shade_of(_shades(rng), rows, columns)
    distance = np.hypot(across * count - rows - 0.5, shifted - columns - 0.5)
    inside = _edge(radius - distance, softness=0.06)
    return 0.15 + inside * (0.35 + 0.5 * _shade_of(_shades(rng), rows, columns))


def _cells(rng: np.random.Generator, size: int) -> Field:
    rows, columns = _grid(size)
    nearest = np.full(rows.shape, np.inf)
    second = np.full(rows.shape, np.inf)
    shade = np.zeros(rows.shape)
    for y, x in rng.uniform(-0.6, 0.6, size=(int(rng.integers(40, 120)), 2)):
        distance = np.hypot(rows - y, columns - x)
        closer = distance < nearest
        second = np.where(closer, nearest, np.minimum(second, distance))
        shade[closer] = rng.uniform(0.35, 1)
        nearest = np.minimum(nearest, distance)
    walls = _edge(second - nearest - 0.012, softness=0.01)
    return walls * (shade - 1.5 * nearest)


def _stones(rng: np.random.Generator, size: int) -> Field:
    """Rough, rounded cells."""
    return _cells(rng, size) * (0.9 + 0.12 * _clouds(rng, size, slope=1.5))


def _cloud(rng: np.random.Generator, size: int) -> Field:
    return 0.5 + 0.22 * _clouds(rng, size, slope=rng.uniform(2.0, 3.5))


def _marble(rng: np.random.Generator, size: int) -> Field:
    across, _ = _turned(rng, size, warp=0.07)
    veins = 1 - np.abs(np.sin(np.pi * across * rng.uniform(3, 7)))
    return 0.85 - 0.75 * veins ** rng.uniform(3, 6) + 0.08 * _clouds(rng, size, slope=2.0)


def _bricks(rng: np.random.Generator, size: int) -> Field:
    rows, columns = _grid(size)
    courses = rng.uniform(7, 14)
    row = np.floor(rows * courses)
    shifted = columns * courses / rng.uniform(1.8, 3) + 0.5 * (row % 2)
    column = np.floor(shifted)
    to_side = np.minimum(shifted - column, column + 1 - shifted) * 2.4
    to_edge = np.minimum(rows * courses - row, row + 1 - rows * courses)
    brick = _edge(np.minimum(to_side, to_edge) - 0.09, softness=0.06)
    rough = 0.06 * _clouds(rng, size, slope=1.2)
    return 0.9 - brick * (0.9 - 0.15 - 0.45 * _shade_of(_shades(rng), row, column) - rough)


def _tiles(rng: np.random.Generator, size: int) -> Field:
    """Overlapping half discs, like roof tiles or fish scales."""
    rows, columns = _grid(size)
    count = rng.uniform(4, 9)
    shades = _shades(rng)
    field = np.zeros(rows.shape)
    for above in (0, 1):  # the disc of this course, then that of the course above, on top
        course = np.floor(4 * count * rows) - above
        shifted = columns * count + 0.5 * (course % 2)
        column = np.floor(shifted)
        radius = 2 * np.hypot(count * rows - course / 4, shifted - column - 0.5)
        tile = 0.35 + 0.6 * _shade_of(shades, course, column) - 0.45 * radius**3
        field = np.where(radius < 1, tile, field)
    return field


def _rings(rng: np.random.Generator, size: int) -> Field:
    rows, columns = _grid(size)
    y, x = rng.uniform(-0.5, 0.5, size=2)
    distance: Field = np.hypot(rows - y, columns - x) + 0.01 * _clouds(rng, size, slope=3.5)
    return 0.75 * _wave(distance * rng.uniform(6, 14)) + 0.25 * distance


def _wood(rng: np.random.Generator, size: int) -> Field:
    across, along = _turned(rng, size, warp=0.0)
    grain = across + 0.06 * np.sin(2 * np.pi * along * 0.7) + 0.02 * _clouds(rng, size, slope=4.0)
    fibres = np.mod(grain * rng.uniform(8, 16), 1)
    return 0.25 + 0.5 * fibres**2 + 0.04 * _clouds(rng, size, slope=1.0)


def _hills(rng: np.random.Generator, size: int) -> Field:
    """Ridges, one behind the other, under a sky that brightens towards the horizon."""
    rows, columns = _grid(size)
    field = 0.75 + 0.25 * (rows + 0.5)
    count = int(rng.integers(4, 7))
    for nearness in range(count):
        height = -0.25 + 0.7 * nearness / (count - 1)
        amounts, phases = rng.uniform(0.01, 0.06, size=4), rng.uniform(0, 2 * np.pi, size=4)
        ridge = height + sum(
            amount / (k + 1) * np.sin(2 * np.pi * (k + 1) * 1.3 * columns + phase)
            for k, (amount, phase) in enumerate(zip(amounts, phases, strict=True))
        )
        ground = rows > ridge
        field[ground] = (0.7 * (1 - nearness / count) + 0.5 * (rows - ridge))[ground]
    return field


def _gradient(rng: np.random.Generator, size: int) -> Field:
    across, along = _turned(rng, size, warp=0.04)
    return 0.5 + 0.75 * across + 0.1 * np.sin(2 * np.pi * along)


KINDS: dict[str, Callable[[np.random.Generator, int], Field]] = {
    "stripes": _stripes,
    "bricks": _bricks,
    "clouds": _cloud,
    "spots": _spots,
    "hills": _hills,
    "checks": _checks,
    "cells": _cells,
    "waves": _waves,
    "tiles": _tiles,
    "marble": _marble,
    "plaid": _plaid,
    "rings": _rings,
    "stones": _stones,
    "wood": _wood,
    "gradient": _gradient,
}
