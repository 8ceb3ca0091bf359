"""Whole passes by all contenders, beside PyTorch where it is installed, and a profile of each of ours.

Every contender has run before it is timed, so neither a compiler nor cuDNN's search for algorithms counts.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import asdict
from typing import Any

from ca_numpy.bench import PEER, Timing, bench
from ca_numpy.bench.workloads import works
from ca_numpy.registry import load_backend, use_backend
from gpu_plan import measures
from gpu_plan.profiles import profile
from gpu_plan.records import Plan, plan

#: {what to measure: its group of benchmarks, the option with its size}
PASSES = {"forward": ("forward", "size"), "attention": ("attention", "size"), "large": ("forward", "large"),
          "iteration": ("iteration", "training_size")}  # fmt: skip


def main(keys: list[str]) -> int:
    the = plan()
    fast = measures.fast(the.backend)
    for key in keys:
        group, size = PASSES[key][0], int(the.options[PASSES[key][1]])
        with use_backend(fast[0]) as backend:  # before the comparison, which takes longer
            (work,) = works((group,), **sizes(the, size))
            the.record("profiles", f"{key}, {fast[0]}", profile(backend, work.ours()))
        the.record("times", key, timed(the, group, size, fast, None))
        if importlib.util.find_spec("torch"):  # again, in turn with PyTorch: replaces the first, if the time suffices
            from ca_numpy.bench import peer

            device = peer.device_for("auto", [the.backend])
            with peer.on(device):
                the.record("times", key, timed(the, group, size, fast, device))
    return 0


def sizes(the: Plan, size: int) -> dict[str, Any]:
    options = the.options
    return {"sizes": (size,), "batch": options["batch"], "width": options["width"], "training_size": size}


def timed(the: Plan, group: str, size: int, names: list[str], peer_device: str | None) -> dict[str, Any]:
    """One work by all contenders, and the memory that each took at its most."""
    how = sizes(the, size)
    report = bench(names, groups=[group], rounds=the.options["rounds"], peer=peer_device is not None,
                   peer_device=peer_device or "cpu", **how)  # fmt: skip
    timing: Timing = report.timings[0]
    (work,) = works((group,), **how)
    peaks = {name: measures.peak(name, work.ours) for name in names if name in timing.seconds}
    if peer_device and (better := timing.peer()):
        peaks["PyTorch"] = measures.peer_peak(lambda: work.theirs(PEER[better], peer_device), peer_device)
    for name in names:
        load_backend(name).release_memory()
    return {**asdict(timing), "peaks": peaks}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
