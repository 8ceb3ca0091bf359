"""The ranks of an MPI program share a list of work: `mpiexec -n N ca-numpy inpaint FOLDER …`.

Rank 0 hands the items out, from a thread, and works itself: whoever is free takes the next. A communicator is one of
mpi4py's, or None for a process on its own.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from ca_numpy import machine
from ca_numpy.errors import UserError, reason

Item = TypeVar("Item")
Result = TypeVar("Result")


def launched() -> tuple[int, int] | None:
    """This process's rank and the number of ranks, from the variables of an MPI launcher; None if there was none."""
    for prefix in ("OMPI_COMM_WORLD_", "PMI_"):  # Open MPI; MPICH, Intel MPI, Cray, Slurm
        with contextlib.suppress(KeyError, ValueError):
            return int(os.environ[f"{prefix}RANK"]), int(os.environ[f"{prefix}SIZE"])
    with contextlib.suppress(KeyError, ValueError):
        return int(os.environ["PMIX_RANK"]), int(os.environ["SLURM_STEP_NUM_TASKS"])
    return None


def world() -> Any:
    """The communicator of all ranks that an MPI launcher started, or None if there was none.

    Raises UserError without mpi4py, and where mpi4py has another MPI than the launcher: every rank would believe to be
    alone, and do all the work.
    """
    if (started := launched()) is None:
        return None
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        if started[1] == 1:
            return None
        raise UserError(
            f"mpiexec started {started[1]} processes, which work together by mpi4py ({reason(error)}): "
            "pip install 'ca-numpy[mpi]'"
        ) from error
    if MPI.COMM_WORLD.size != started[1]:
        raise UserError(
            f"mpiexec started {started[1]} processes, but mpi4py uses another MPI "
            f"({' '.join(MPI.Get_library_version().split()[:3])}): use its mpiexec"
        )
    return MPI.COMM_WORLD


@contextlib.contextmanager
def divided_cores(comm: Any) -> Iterator[None]:
    """A block in which this rank's kernels share its cores with the other ranks of its host that are bound to them.

    The NumPy backend computes on one core then: its sums depend on the number of BLAS's threads.
    """
    if comm is None:
        yield
        return
    from mpi4py import MPI

    mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(machine.cores()))
    host = comm.Split_type(MPI.COMM_TYPE_SHARED)
    sharing = sum(bool(mine & others) for others in host.allgather(mine))
    host.Free()
    threads = max(1, len(mine) // sharing)
    os.environ.setdefault("NUMBA_NUM_THREADS", str(threads))  # read when Numba is imported
    with contextlib.ExitStack() as limits:
        if kernels := sys.modules.get("ca_numpy.threads"):
            limits.enter_context(kernels.num_threads(min(threads, kernels.get_num_threads())))
        with contextlib.suppress(ImportError):
            from threadpoolctl import threadpool_limits

            limits.enter_context(threadpool_limits(1, user_api="blas"))
        yield


@contextlib.contextmanager
def together(comm: Any) -> Iterator[None]:
    """A block in which any error but a `UserError` ends all ranks: the others would wait for this one forever."""
    try:
        yield
    except UserError:
        raise
    except BaseException as error:
        if comm is None:
            raise
        said = traceback.format_exc()
        if isinstance(error, (OSError, MemoryError)):
            said = f"ca-numpy: rank {comm.rank}: {reason(error)}\n"
        with contextlib.suppress(OSError):
            os.write(2, said.encode(errors="replace"))
        time.sleep(1)  # so that the launcher passes it on: it drops what it has not read when the ranks are ended
        comm.Abort(1)


@contextlib.contextmanager
def agreeing(comm: Any) -> Iterator[None]:
    """A block that succeeds on all ranks, or raises the same UserError on all."""
    error = None
    try:
        yield
    except UserError as caught:
        error = caught
    if comm is not None:
        error = next((other for other in comm.allgather(error) if other is not None), None)
    if error is not None:
        raise error


def shared(items: Sequence[Item], work: Callable[[Item], Result], comm: Any) -> Iterator[Result]:
    """The results of `work` for all of rank 0's items, as they are ready; on other ranks none."""
    if comm is None:
        yield from map(work, items)
        return
    if comm.rank:
        item = comm.sendrecv(None, 0, source=0)
        while item is not None:
            item = comm.sendrecv(work(item), 0, source=0)
        return
    left, results, lock, to_do = len(items), queue.SimpleQueue[Result](), threading.Lock(), iter(items)

    def following() -> Item | None:
        with lock:
            return next(to_do, None)

    def hand_out() -> None:
        from mpi4py import MPI

        status, working = MPI.Status(), comm.size - 1
        while working:
            while not comm.iprobe(status=status):  # a blocking call would keep a core busy
                time.sleep(0.005)
            result, item = comm.recv(source=status.source), following()
            if result is not None:
                results.put(result)
            working -= item is None
            comm.send(item, status.source)

    def safely() -> None:
        with together(comm):
            hand_out()

    server = threading.Thread(target=safely)
    server.start()
    while left:
        if (item := following()) is not None:
            results.put(work(item))
        for _ in range(max(1, results.qsize())):
            yield results.get()
            left -= 1
    server.join()
