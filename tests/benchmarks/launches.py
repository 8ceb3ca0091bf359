"""What an iteration of Algorithm 1 launches on a GPU, by part and operation, counted without one.

    python tests/benchmarks/launches.py [--size 256] [--batch 16]

The kernels themselves do not run and nothing is computed for them, so it takes seconds at any size. The width of the
networks, which does not change the counts, is small. `a + b` in the table: a launches of our kernels, and b calls of
CuPy that launch at least one of its own.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

import ca_numpy.bench.workloads as workloads
import ca_numpy.registry as registry
from ca_numpy import use_backend
from ca_numpy.backend import Backend
from ca_numpy.backends.cupy_backend import CupyBackend
from ca_numpy.backends.cupy_backend.device import FOLDER, Device
from ca_numpy.backends.cupy_backend.emulation import arrays

#: Functions that launch nothing if their result is a view, and those that never do.
VIEWS = {
    "ascontiguousarray", "astype", "broadcast_to", "moveaxis", "ravel", "reshape", "squeeze", "swapaxes", "transpose",
}  # fmt: skip
ALLOCATIONS = {"empty", "empty_like"}
OPERATIONS = {*Backend.__abstractmethods__, "adam_all", "norm"}
PARTS = {"draw": "predictions for the critics", "update_critics": "critics, 5 updates", "update_generator": "generator"}


class Counts(NamedTuple):
    """Counts of "kernels", "cupy", "to device" and "to host", and the same by operation."""

    total: Counter[str]
    by_operation: Counter[tuple[str, str]]


class NoKernels:
    """Launches nothing: results are whatever was in memory."""

    folder = FOLDER

    def launch(self, *_: Any) -> None: ...

    def product(self, *_: Any, **__: Any) -> None: ...

    def address(self, x: Any) -> int:
        return int(x.data.ptr)

    def memory(self) -> int:
        return 64 << 30


@contextmanager
def counted(kernels: Any) -> Iterator[Counts]:
    """Counts what the backend "cupy" launches and copies, on emulated arrays and these kernels."""
    found = Counts(Counter(), Counter())
    inside: list[str] = []

    def count(what: str) -> None:
        found.total[what] += 1
        found.by_operation[inside[0] if inside else "none", what] += 1

    class Watched(CupyBackend):
        def __getattribute__(self, name: str) -> Any:
            value = super().__getattribute__(name)
            if name not in OPERATIONS or inside:
                return value

            def operation(*arguments: Any, **options: Any) -> Any:
                inside.append(name)
                try:
                    return value(*arguments, **options)
                finally:
                    inside.pop()

            return operation

    def before(what: str, function: Callable[..., Any], when: Callable[..., bool] = lambda *_: True) -> Any:
        def counting(*arguments: Any, **options: Any) -> Any:
            if when(*arguments):
                count(what)
            return function(*arguments, **options)

        return counting

    def called(function: Any, *arguments: Any, **options: Any) -> Any:
        result = call(function, *arguments, **options)
        source = getattr(function, "__self__", None)
        if not isinstance(source, np.ndarray) and arguments:
            source = getattr(arguments[0], "_memory", None)
        viewed = function.__name__ in VIEWS and source is not None and np.may_share_memory(result._memory, source)
        if not viewed and function.__name__ not in ALLOCATIONS:
            count("cupy")
        return result

    def by_arrays(_: Any, index: Any) -> bool:
        return any(isinstance(part, arrays.ndarray) for part in (index if isinstance(index, tuple) else (index,)))

    call, array = arrays.call, arrays.ndarray
    with ExitStack() as stack:
        stack.enter_context(patch.object(arrays, "call", called))
        for owner, name, what, *when in (
            (arrays, "asarray", "to device", lambda x, *_: not isinstance(x, array)),
            (array, "get", "to host"),
            (array, "__getitem__", "cupy", by_arrays),
            (array, "__setitem__", "cupy"),
            (arrays.Function, "at", "cupy"),
            (kernels, "launch", "kernels"),
            (kernels, "product", "cupy"),
        ):
            stack.enter_context(patch.object(owner, name, before(what, getattr(owner, name), *when)))
        stack.enter_context(patch.dict(registry._loaded, cupy=Watched(Device(arrays, kernels))))
        yield found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="side of the pictures, in pixels")
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    print(f"{options.size}×{options.size}, batch {options.batch}\n")
    print("\n".join(table(of_an_iteration(size=options.size, batch=options.batch))))


def of_an_iteration(*, size: int, batch: int) -> dict[str, Counts]:
    """Counts of the parts of the second iteration: tables are on the device from the first."""
    found: dict[str, Counts] = {}
    with np.errstate(all="ignore"), counted(NoKernels()) as counts, use_backend("cupy"):
        (work,) = workloads.works(("iteration",), sizes=(size,), batch=batch, width=4, training_size=size)
        run = work.ours()
        run()
        with ExitStack() as stack:
            for part in PARTS:
                found[part] = Counts(Counter(), Counter())
                stack.enter_context(patch.object(workloads, part, _into(found[part], counts, getattr(workloads, part))))
            run()
    return found


def _into(part: Counts, counts: Counts, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose counts are added to those of the part."""

    def counting(*arguments: Any, **options: Any) -> Any:
        counts.total.clear(), counts.by_operation.clear()
        result = function(*arguments, **options)
        part.total.update(counts.total)
        part.by_operation.update(counts.by_operation)
        return result

    return counting


def table(found: dict[str, Counts]) -> Iterator[str]:
    """The lines of a Markdown table, a row per operation in the order of its launches."""

    def launched(part: Counts, operation: str) -> tuple[int, int]:
        return part.by_operation[operation, "kernels"], part.by_operation[operation, "cupy"]

    def row(name: str, numbers: list[tuple[int, int]]) -> str:
        summed = sum(a for a, _ in numbers), sum(b for _, b in numbers)
        return f"| {name} | " + " | ".join(f"{a} + {b}" if a or b else "" for a, b in [*numbers, summed]) + " |"

    yield f"| operation | {' | '.join(PARTS.values())} | sum |"
    yield "|--|" + "--|" * (len(PARTS) + 1)
    names = {operation for part in found.values() for operation, _ in part.by_operation}
    rows = {name: [launched(part, name) for part in found.values()] for name in names}
    for name in sorted(rows, key=lambda name: (-sum(map(sum, rows[name])), name)):
        if any(map(sum, rows[name])):
            yield row(f"`{name}`", rows[name])
    yield row("all", [(part.total["kernels"], part.total["cupy"]) for part in found.values()])
    copies = [f"{part.total['to device']} to the GPU, {part.total['to host']} back" for part in found.values()]
    yield f"| copies | {' | '.join(copies)} | |"


if __name__ == "__main__":
    main()
