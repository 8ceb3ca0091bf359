"""Data-parallel training over MPI: every rank takes a part of each batch, and all take the mean of their gradients.

    g = Σ_k w_k g_k,   w_k = pictures of rank k / pictures of the batch

All ranks draw the random numbers of the whole batch, so that neither they nor checkpoints depend on their number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ca_numpy.engine.autograd import grad
from ca_numpy.engine.tensor import Tensor, tensor
from ca_numpy.errors import UserError
from ca_numpy.filling import ranks
from ca_numpy.registry import current_backend

Found = TypeVar("Found")
#: Values are sent in buckets of about this many bytes.
BUCKET = 1 << 20


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

        Every rank gets the same bits.
        """
        if self.comm is None:
            return list(values)
        means = _Means(self)
        for i, value in enumerate(values):
            means.add(i, value)
        return means.finished()

    def grad(self, loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Gradients of the mean over all pictures, given that over this rank's.

        They are sent while those of earlier layers are computed.
        """
        if self.comm is None:
            return grad(loss, parameters)
        means = _Means(self)
        grad(loss, parameters, ready=means.add)
        return means.finished()

    def mean_of(self, value: Tensor) -> Tensor:
        """`mean` of one value."""
        return self.mean([value])[0]

    def largest(self, *numbers: int) -> list[int]:
        """The largest of all ranks' numbers, one by one."""
        if self.comm is None:
            return list(numbers)
        return [max(column) for column in zip(*self.comm.allgather(numbers), strict=True)]

    def union(self, found: dict[int, Found]) -> dict[int, Found]:
        """All ranks' entries in one dictionary; of two for a key, that of the higher rank. Empty for one process."""
        parts: list[dict[int, Found]] = [] if self.comm is None else self.comm.allgather(found)
        return {key: value for part in parts for key, value in part.items()}

    def first(self, work: Callable[[], object]) -> None:
        """Do this on rank 0, while the others wait. Raises its UserError on all."""
        with ranks.agreeing(self.comm):
            if self.rank == 0:
                work()

    def refuse_different(self, value: object) -> None:
        """Raises UserError, on all ranks, unless all have the same position in the same pictures."""
        digest = hashlib.sha256(repr(value).encode()).digest()  # short: a thousand ranks exchange them
        if self.comm is not None and any(other != digest for other in self.comm.allgather(digest)):
            raise UserError("the ranks read different pictures: let all see the same files")


class _Means:
    """Means over all pictures of values that are given one by one, in the same order on all ranks.

    They are sent in buckets of one dtype, each as soon as it is full. From and to a GPU a bucket is one copy.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._comm, part = ranks.comm, ranks.part
        self._share = (part.stop - part.start) / ranks.batch
        self._bucket: dict[int, Tensor] = {}
        self._sent: list[tuple[dict[int, Tensor], NDArray[Any], NDArray[Any], Any]] = []

    def add(self, i: int, value: Tensor) -> None:
        """Value number i. Messages advance only while MPI is called: at each value, too."""
        if self._bucket and value.dtype != next(iter(self._bucket.values())).dtype:
            self._send()
        self._bucket[i] = value
        if sum(v.size for v in self._bucket.values()) * value.dtype.itemsize >= BUCKET:
            self._send()
        for *_, request in self._sent:
            request.Test()

    def finished(self) -> list[Tensor]:
        """The means, by their numbers."""
        self._send()
        means: dict[int, Tensor] = {}
        for bucket, _, total, request in self._sent:
            request.Wait()
            flat, end = current_backend().asarray(total), 0
            for i, value in bucket.items():
                end += value.size
                means[i] = tensor(flat[end - value.size : end].reshape(value.shape))
        return [means[i] for i in range(len(means))]

    def _send(self) -> None:
        if self._bucket:
            backend = current_backend()
            flat = [backend.reshape(value.data, shape=(-1,)) for value in self._bucket.values()]
            mine = backend.to_host(backend.concat(*flat, axis=0))
            mine *= self._share
            total = np.empty_like(mine)
            self._sent.append((self._bucket, mine, total, self._comm.Iallreduce(mine, total)))
            self._bucket = {}
