"""Data-parallel training over MPI: every rank takes a part of each batch, and all take the mean of their gradients.

    g = Σ_k w_k g_k,   w_k = pictures of rank k / pictures of the batch

All ranks draw the random numbers of the whole batch, so that neither they nor checkpoints depend on their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.engine.tensor import Tensor, tensor
from ca_numpy.errors import UserError
from ca_numpy.filling import ranks
from ca_numpy.registry import current_backend

#: Values are sent in buffers of about this many bytes, while the next one is filled.
BUCKET = 8 << 20


@dataclass(frozen=True)
class Ranks:
    """This process's part of a batch, and what all ranks do together. Without a communicator the part is the whole.

    comm    of mpi4py, or None
    batch   pictures in the whole batch

    Raises UserError if there are more ranks than pictures.
    """

    comm: Any = None
    batch: int = 0

    def __post_init__(self) -> None:
        if self.comm is not None and self.comm.size > self.batch:
            raise UserError(f"{self.comm.size} ranks cannot share a batch of {self.batch}: give a larger --batch")

    @property
    def rank(self) -> int:
        return 0 if self.comm is None else int(self.comm.rank)

    @property
    def part(self) -> slice:
        """This rank's pictures of a batch."""
        if self.comm is None:
            return slice(None)
        return slice(self.rank * self.batch // self.comm.size, (self.rank + 1) * self.batch // self.comm.size)

    def uniform(self, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """One number in [0, 1) for each of this rank's `count` pictures, of those drawn for the whole batch."""
        return rng.random(count if self.comm is None else self.batch)[self.part]

    def mean(self, values: Sequence[Tensor]) -> list[Tensor]:
        """The means over all pictures, given those over this rank's: any shapes, the same on all ranks.

        Every rank gets the same bits. Arrays on a GPU go through the host's memory.
        """
        if self.comm is None:
            return list(values)
        backend, (start, stop) = current_backend(), (self.part.start, self.part.stop)
        sent = []
        for bucket in _buckets(values):
            mine = np.concatenate([backend.to_numpy(value.data).ravel() for value in bucket])
            mine *= (stop - start) / self.batch
            total = np.empty_like(mine)
            sent.append((bucket, mine, total, self.comm.Iallreduce(mine, total)))
        means: list[Tensor] = []
        for bucket, _, total, request in sent:
            request.Wait()
            flat = backend.asarray(total)
            ends = np.cumsum([value.size for value in bucket]).tolist()
            means += [tensor(flat[end - v.size : end].reshape(v.shape)) for v, end in zip(bucket, ends, strict=True)]
        return means

    def mean_of(self, value: Tensor) -> Tensor:
        """`mean` of one value."""
        return self.mean([value])[0]

    def largest(self, *numbers: int) -> list[int]:
        """The largest of all ranks' numbers, one by one."""
        if self.comm is None:
            return list(numbers)
        return [max(column) for column in zip(*self.comm.allgather(numbers), strict=True)]

    def first(self, work: Callable[[], object]) -> None:
        """Do this on rank 0, while the others wait. Raises its UserError on all."""
        with ranks.agreeing(self.comm):
            if self.rank == 0:
                work()

    def refuse_different(self, value: object) -> None:
        """Raises UserError, on all ranks, unless all have the same position in the same pictures."""
        if self.comm is not None and any(other != value for other in self.comm.allgather(value)):
            raise UserError("the ranks read different pictures: let all see the same files")


def _buckets(values: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The values in order, in lists of one dtype and about `BUCKET` bytes."""
    bucket: list[Tensor] = []
    for value in values:
        full = sum(v.size for v in bucket) * value.dtype.itemsize >= BUCKET
        if bucket and (full or value.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(value)
    if bucket:
        yield bucket
