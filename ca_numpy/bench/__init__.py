"""How long the parts of the system take: backend beside backend, and beside PyTorch, turn by turn in one process.

On machines whose speed drifts only ratios of neighbouring runs mean something. So each round runs every contender once,
and what is reported is the median of the rounds' ratios.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ca_numpy import machine
from ca_numpy.bench.works import GROUPS, Run, Work, works
from ca_numpy.errors import UserError
from ca_numpy.registry import load_backend, use_backend

__all__ = ["GROUPS", "Report", "Timing", "bench", "turn"]

PEER = {"PyTorch": False, "PyTorch, channels last": True}
#: Seconds before each contender's turn, and those that a turn takes at least.
PAUSE, TURN = 0.2, 0.2
#: Seconds after which a run is not repeated: it stands for all rounds. Only the peer at large sizes takes so long.
LONG = 20.0
#: The peer's attention holds about twenty matrices of all pairs of positions.
PEER_MATRICES = 20


@dataclass
class Timing:
    """One work: seconds of every round by contender, or why it was left out."""

    group: str
    title: str
    count: int = 1
    seconds: dict[str, list[float]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def median(self, name: str) -> float | None:
        return statistics.median(self.seconds[name]) if self.seconds.get(name) else None

    def peer(self) -> str | None:
        """The peer's better memory format."""
        formats = [name for name in PEER if self.seconds.get(name)]
        return min(formats, key=lambda name: statistics.median(self.seconds[name])) if formats else None

    def ratio(self, slower: str, faster: str) -> float | None:
        """Median over the rounds of slower / faster: how many times as fast the second is."""
        if not (self.seconds.get(slower) and self.seconds.get(faster)):
            return None
        return statistics.median(a / b for a, b in zip(self.seconds[slower], self.seconds[faster], strict=True))


@dataclass
class Report:
    """What was measured, and where."""

    names: list[str]
    timings: list[Timing]
    machine: dict[str, Any]

    def to_markdown(self) -> str:
        """One row for each work and for the sum of each network's layers; ms, and ratios to the last backend."""
        peer, best = any(t.peer() for t in self.timings), self.names[-1]
        others = [name for name in self.names if name != best]
        head = ["work", *(f"{name}, ms" for name in self.names), *(["PyTorch, ms"] if peer else [])]
        head += [f"{best}'s speed / {name}'s" for name in [*others, *(["PyTorch"] if peer else [])]]
        rows = [self._row(t, others, best, peer=peer) for t in [*self.timings, *self.sums()]]
        lines = [head, ["---"] * len(head), *rows]
        notes = [f"{t.title}: {name} {why}" for t in self.timings for name, why in t.skipped.items()]
        return "\n".join(["| " + " | ".join(line) + " |" for line in lines] + [f"\n{note}" for note in notes])

    def sums(self) -> list[Timing]:
        """The layers of each size, each as often as it occurs."""
        sizes: dict[str, list[Timing]] = {}
        for t in self.timings:
            if t.group == "layers":
                sizes.setdefault(t.title.split(":")[0], []).append(t)
        found = []
        for size, parts in sizes.items():
            total = Timing("layers", f"{size}: all {sum(t.count for t in parts)} convolutions")
            for name in [*self.names, *PEER]:
                if all(t.seconds.get(name) for t in parts):
                    rounds = zip(*(t.seconds[name] for t in parts), strict=True)
                    total.seconds[name] = [sum(t.count * s for t, s in zip(parts, one, strict=True)) for one in rounds]
            found.append(total)
        return found

    def to_json(self) -> dict[str, Any]:
        return {"machine": self.machine, "contenders": [*self.names, *PEER], "works": [asdict(t) for t in self.timings]}

    @staticmethod
    def _row(t: Timing, others: Sequence[str], best: str, *, peer: bool) -> list[str]:
        def ms(name: str | None) -> str:
            seconds = t.median(name) if name else None
            return "–" if seconds is None else f"{1000 * seconds:.3g}" if seconds < 1 else f"{1000 * seconds:.0f}"

        def times(name: str | None) -> str:
            ratio = t.ratio(name, best) if name else None
            return "–" if ratio is None else f"{ratio:.2f}"

        title = t.title + (f" ({t.count} times)" if t.count > 1 else "")
        ours = [*others, best]
        return [title, *map(ms, ours), *([ms(t.peer())] if peer else []), *map(times, others),
                *([times(t.peer())] if peer else [])]  # fmt: skip


def bench(
    names: Sequence[str],
    *,
    groups: Sequence[str] = GROUPS,
    sizes: Sequence[int] = (256, 512, 1024),
    batch: int = 2,
    rounds: int = 5,
    peer: bool | None = None,
    width: int = 32,
    progress: Callable[[str], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Report:
    """Time these groups of works on these backends, and on PyTorch if it is installed (or required, with `peer`).

    groups     of "layers", "attention", "forward" (each at all `sizes`), "critic", "iteration" (at 256, in batches)
    progress   is told before each work what comes; Ctrl-C ends the measurement and keeps what there is
    Raises UserError for an unknown group or backend, and if PyTorch is required and missing.
    """
    for name in groups:
        if name not in GROUPS:
            raise UserError(f"unknown work {name!r}: choose from {', '.join(GROUPS)}")
    there = importlib.util.find_spec("torch") is not None
    if peer and not there:
        raise UserError("the comparison with PyTorch needs it: pip install torch, or leave --peer out")
    names = [load_backend(name).name for name in names]
    formats = PEER if there and peer is not False else {}
    report = Report(list(names), [], machine.describe())
    try:
        for work in works(tuple(groups), sizes=tuple(sizes), batch=batch, width=width):
            if progress:
                progress(f"{work.group} {work.title}")
            report.timings.append(_time(work, names, formats, rounds=rounds, clock=clock))
    except KeyboardInterrupt:
        print("stopped: what follows is what had been measured", file=sys.stderr)
    return report


def _time(
    work: Work, names: Sequence[str], formats: dict[str, bool], *, rounds: int, clock: Callable[[], float]
) -> Timing:
    timing, runs = Timing(work.group, work.title, work.count), dict[str, Run]()
    for name in names:
        with use_backend(name) as backend:
            numbers = backend.attention_numbers(*work.positions) if work.positions else 0
            if _fits(timing, name, 4 * numbers):
                runs[name] = _within(name, work.ours())
    for name, channels_last in formats.items():
        pairs = (work.positions[0] * work.positions[1]) ** 2 if work.positions else 0
        if _fits(timing, name, 4 * PEER_MATRICES * pairs):
            runs[name] = work.theirs(channels_last)
    first = {name: turn(run, long=True, clock=clock) for name, run in runs.items()}  # compiles, too
    for name, seconds in first.items():
        if seconds > 10 * TURN and name in names:  # perhaps it was compiling
            first[name] = turn(runs[name], long=True, clock=clock)
    timing.seconds = {name: [s] * rounds if s > LONG else [] for name, s in first.items()}
    for _ in range(rounds):
        for name, run in runs.items():
            if first[name] <= LONG:
                timing.seconds[name].append(turn(run, long=first[name] > 10 * TURN, clock=clock))
    return timing


def turn(run: Run, *, long: bool = False, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds that `run` takes, after a pause and a run that is not counted: the median over a fifth of a second.

    Without the pause, threads of whoever ran before still spin on our cores; without the first run, our own have to be
    woken. With `long` neither matters: the one run is timed.
    """
    time.sleep(PAUSE)
    seconds: list[float] = []
    if not long:
        run()
    while not seconds or (not long and sum(seconds) < TURN):
        began = clock()
        run()
        seconds.append(clock() - began)
    return statistics.median(seconds)


def _within(name: str, run: Run) -> Run:
    def inside() -> object:
        with use_backend(name):
            return run()

    return inside


def _fits(timing: Timing, name: str, needed: float) -> bool:
    """Whether `needed` bytes are there; a work that is left out says why."""
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not known on this system
        return True
    if needed > 0.95 * there:
        timing.skipped[name] = f"needs about {needed / 2**30:.0f} GiB of memory, this machine has {there / 2**30:.0f}"
        return False
    return True
