"""How long something takes, as far as a notebook needs to know it; `ca_numpy.bench` measures with more care."""

from __future__ import annotations

from collections.abc import Callable

from ca_numpy.backend import wall_clock


def seconds_of(run: Callable[[], object], *, rounds: int = 5) -> float:
    """The shortest of a few runs, in seconds: what else the machine does can only make a run longer."""
    return min(wall_clock(run) for _ in range(rounds))
