"""Simple timing for notebooks; `ca_numpy.bench` measures more carefully."""

from __future__ import annotations

from collections.abc import Callable

from ca_numpy.backend import wall_clock


def seconds_of(run: Callable[[], object], *, rounds: int = 5) -> float:
    """The shortest of several runs, in seconds: other load can only make a run longer."""
    return min(wall_clock(run) for _ in range(rounds))
