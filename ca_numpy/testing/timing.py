"""How long something takes, as far as a notebook needs to know it; `ca_numpy.bench` measures with more care."""

from __future__ import annotations

import time
from collections.abc import Callable


def seconds_of(run: Callable[[], object], *, rounds: int = 5) -> float:
    """The shortest of a few runs, in seconds: what else the machine does can only make a run longer."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)
