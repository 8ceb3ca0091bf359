"""Benchmarks of the parts of the system: all backends, and PyTorch, in turn in one process.

On machines whose speed drifts, only ratios of consecutive runs are meaningful. Each round therefore runs every
contender once, and the median of the rounds' ratios is reported.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from ca_numpy import machine
from ca_numpy.backend import wall_clock
from ca_numpy.bench.workloads import GROUPS, Run, Work, works
from ca_numpy.errors import UserError
from ca_numpy.registry import load_backend, use_backend

__all__ = ["GROUPS", "Report", "Timing", "bench", "turn"]

PEER = {"PyTorch": False, "PyTorch, channels last": True}
#: Seconds before each contender's turn, and the minimum duration of a turn.
PAUSE, TURN = 0.2, 0.2
#: Runs longer than this, in seconds, are not repeated: they count for all rounds. Only the peer is ever so slow.
LONG = 20.0
#: The peer's attention stores about twenty matrices of all pairs of positions.
PEER_MATRICES = 20


@dataclass
class Timing:
    """One benchmark: seconds of every round by contender, or why it was skipped."""

    group: str
    title: str
    count: int = 1
    seconds: dict[str, list[float]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def median(self, name: str) -> float | None:
        """The contender's median time, in seconds; None if it was not measured."""
        return statistics.median(self.seconds[name]) if self.seconds.get(name) else None

    def peer(self) -> str | None:
        """The peer's better memory format."""
        formats = [name for name in PEER if self.seconds.get(name)]
        return min(formats, key=lambda name: statistics.median(self.seconds[name])) if formats else None

    def ratio(self, slower: str, faster: str) -> float | None:
        """Median over the rounds of slower / faster: the speed-up of the second."""
        if not (self.seconds.get(slower) and self.seconds.get(faster)):
            return None
        return statistics.median(a / b for a, b in zip(self.seconds[slower], self.seconds[faster], strict=True))


@dataclass
class Report:
    """The timings and the machine."""

    names: list[str]
    timings: list[Timing]
    machine: dict[str, Any]

    def to_markdown(self) -> str:
        """One row for each benchmark and for the sum of each size's layers; ms, and ratios to the last backend."""
        peer, best = any(t.peer() for t in self.timings), self.names[-1]
        others = [name for name in self.names if name != best]
        head = ["work", *(f"{name}, ms" for name in self.names), *(["PyTorch, ms"] if peer else [])]
        head += [f"{best}'s speed / {name}'s" for name in [*others, *(["PyTorch"] if peer else [])]]
        rows = [self._row(t, others, best, peer=peer) for t in [*self.timings, *self.sums()]]
        lines = [head, ["---"] * len(head), *rows]
        notes = [f"{t.title}: {name} {why}" for t in self.timings for name, why in t.skipped.items()]
        notes += [f"Compared with {self.machine['peer']}."] if "peer" in self.machine else []
        return "\n".join(["| " + " | ".join(line) + " |" for line in lines] + [f"\n{note}" for note in notes])

    def sums(self) -> list[Timing]:
        """The sum over the layers of each size, each counted as often as it occurs."""
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
        """The machine, the contenders and every measured time, in seconds, as plain dicts and lists."""
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


class Contender(NamedTuple):
    """What to run for one contender, and its clock."""

    run: Run
    elapsed: Callable[[Run], float] = wall_clock


class Peer(NamedTuple):
    """PyTorch as a contender: its memory formats, and its device."""

    formats: dict[str, bool]
    device: str


def bench(
    names: Sequence[str],
    *,
    groups: Sequence[str] = GROUPS,
    sizes: Sequence[int] = (256, 512, 1024),
    batch: int = 2,
    rounds: int = 5,
    peer: bool | None = None,
    peer_device: str = "auto",
    width: int = 32,
    training_size: int = 256,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Time these groups of benchmarks on these backends, and on PyTorch if it is installed (or required by `peer`).

    names        backends, optionally with a precision: "cupy:tf32". Each is timed by its own clock
    groups       of "layers", "attention", "forward" (each at all `sizes`), "critic", "iteration" (at `training_size`,
                 in batches)
    peer_device  "cpu" or "cuda"; "auto" is CUDA if PyTorch has it and one of the backends is CuPy's
    progress     called with the title of each benchmark before it starts; Ctrl-C stops and keeps the results so far
    Raises UserError for an unknown group or backend, and if PyTorch (or its CUDA) is required and missing.
    """
    for name in groups:
        if name not in GROUPS:
            raise UserError(f"unknown benchmark {name!r}: choose from {', '.join(GROUPS)}")
    there = importlib.util.find_spec("torch") is not None
    if peer and not there:
        raise UserError("PyTorch is not installed: pip install torch, or omit --peer")
    names = [load_backend(name).name for name in names]
    report = Report(list(names), [], machine.describe())
    report.machine["backends"] = {name: load_backend(name).describe() for name in names}
    with ExitStack() as stack:
        theirs = _peer(names, peer_device, report, stack) if there and peer is not False else None
        try:
            for work in works(tuple(groups), sizes=tuple(sizes), batch=batch, width=width, training_size=training_size):
                if progress:
                    progress(f"{work.group} {work.title}")
                report.timings.append(_time(work, names, theirs, rounds=rounds))
        except KeyboardInterrupt:
            print("stopped: the results so far follow", file=sys.stderr)
    return report


def _peer(names: Sequence[str], choice: str, report: Report, stack: ExitStack) -> Peer:
    from ca_numpy.bench import peer

    device = peer.device_for(choice, names)
    stack.enter_context(peer.on(device))
    report.machine["peer"] = peer.describe(device)
    return Peer(PEER, device)


def _time(work: Work, names: Sequence[str], theirs: Peer | None, *, rounds: int) -> Timing:
    timing, contenders = Timing(work.group, work.title, work.count), dict[str, Contender]()
    for name in names:  # memory cached by one contender is not available to another on the same device
        load_backend(name).release_memory()
    for name in names:
        with use_backend(name) as backend, _or_left_out(timing, name):
            numbers = backend.attention_numbers(*work.positions) if work.positions else 0
            if _fits(timing, name, 4 * numbers, backend.memory()):
                contenders[name] = Contender(_within(name, work.ours()), backend.elapsed)
    if theirs:
        _add_peer(timing, contenders, work, theirs)
    first: dict[str, float] = {}
    for name, contender in contenders.items():
        with _or_left_out(timing, name):
            seconds = turn(contender.run, long=True, elapsed=contender.elapsed)
            on_cpu = name in PEER and theirs and theirs.device == "cpu"
            if seconds > 10 * TURN and not on_cpu:  # it may have been compiling, or searching for algorithms
                seconds = turn(contender.run, long=True, elapsed=contender.elapsed)
            first[name] = seconds
    timing.seconds = {name: [s] * rounds if s > LONG else [] for name, s in first.items()}
    for _ in range(rounds):
        for name, seconds in first.items():
            if seconds <= LONG:
                run, elapsed = contenders[name]
                timing.seconds[name].append(turn(run, long=seconds > 10 * TURN, elapsed=elapsed))
    return timing


def _add_peer(timing: Timing, contenders: dict[str, Contender], work: Work, theirs: Peer) -> None:
    from ca_numpy.bench import peer

    peer.release_memory(theirs.device)
    there = peer.memory(theirs.device) if theirs.device != "cpu" else load_backend("numpy").memory()
    pairs = (work.positions[0] * work.positions[1]) ** 2 if work.positions else 0
    for name, channels_last in theirs.formats.items():
        if _fits(timing, name, 4 * PEER_MATRICES * pairs, there):
            contenders[name] = Contender(work.theirs(channels_last, theirs.device), peer.elapsed(theirs.device))


def turn(run: Run, *, long: bool = False, elapsed: Callable[[Run], float] = wall_clock) -> float:
    """Median seconds of `run` over a fifth of a second, after a pause and a warm-up run.

    Without the pause, the previous contender's threads would still spin on the cores; the warm-up run wakes our own.
    With `long` neither matters, and a single run is timed. `elapsed` is the clock: for a GPU, the GPU's own.
    """
    time.sleep(PAUSE)
    seconds: list[float] = []
    if not long:
        elapsed(run)
    while not seconds or (not long and sum(seconds) < TURN):
        seconds.append(elapsed(run))
    return statistics.median(seconds)


def _within(name: str, run: Run) -> Run:
    def inside() -> object:
        with use_backend(name):
            return run()

    return inside


@contextmanager
def _or_left_out(timing: Timing, name: str) -> Iterator[None]:
    """Skip a contender that runs out of memory or cannot run this benchmark, and record why."""
    try:
        yield
    except (MemoryError, UserError) as e:
        timing.skipped[name] = f"failed: {' '.join(str(e).split())}"


def _fits(timing: Timing, name: str, needed: float, there: int | None) -> bool:
    """Whether the contender's device has `needed` bytes; if not, record why it is skipped."""
    if there is not None and needed > 0.95 * there:
        have = f"its device has {there / 2**30:.0f}"
        timing.skipped[name] = f"needs about {needed / 2**30:.0f} GiB of memory, {have}"
        return False
    return True
