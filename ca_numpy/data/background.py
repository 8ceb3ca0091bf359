"""The loader's batches, prepared in background threads while training computes.

    draw 1 ── draw 2 ── draw 3 ── …        one thread: order, windows, mirroring, everything random
       │         │         │
     cut 1     cut 2     cut 3             several: decoding before the draw, cropping after it

Decoding and resizing release the GIL, so they run in parallel with the arithmetic and with each other. One thread
draws all random numbers in one order, so batches are bit-identical to those of `Loader`, for any number of threads.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy import machine
from ca_numpy.data.loader import Fact, Loader
from ca_numpy.data.quiet import quiet_pillow
from ca_numpy.errors import UserError

Crop = NDArray[np.float32]


class BackgroundLoader:
    """The batches of a `Loader`, the same for the same generator, with up to `ahead` of them prepared in advance.

        with BackgroundLoader(Loader(dataset, batch=16, size=256, rng=rng)) as loader:
            images = next(loader)

    Threads start with the first batch and end with `close` or the `with` block; `workers` of them decode and crop, by
    default one per core, but at most sixteen. Do not use the `Loader` while they run. `state` is that of the last batch
    returned, not of those in the queue, so `restore` loses none.

    Raises `UserError` for numbers below 1; `next` raises what the `Loader` raises.
    """

    def __init__(self, loader: Loader, *, workers: int | None = None, ahead: int = 2) -> None:
        self.workers = min(machine.cores(), 16) if workers is None else workers
        if self.workers < 1 or ahead < 1:
            raise UserError(f"workers={workers} and ahead={ahead} must both be 1 or more")
        self.ahead = ahead
        self._loader = loader
        self._state = loader.state()
        self._running: _Running | None = None

    def __enter__(self) -> BackgroundLoader:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> BackgroundLoader:
        return self

    def __next__(self) -> Crop:
        if self._running is None:
            self._running = _Running(self._loader, workers=self.workers, ahead=self.ahead)
        try:
            images, self._state = self._running.take()
        except BaseException:  # also Ctrl-C: the next call then starts from the last batch returned
            self.close()
            raise
        return images

    @property
    def skipped(self) -> dict[str, str]:
        """Pictures that could not be read, and why."""
        return dict(self._loader.skipped)

    @property
    def surprises(self) -> dict[int, Fact]:
        """As of the `Loader`; also those of batches in the queue."""
        return dict(self._loader.surprises)

    def learn(self, surprises: dict[int, Fact], state: dict[str, Any]) -> None:
        """As `Loader.learn`, and `restore` the state."""
        self.close()
        self._loader.learn(surprises)
        self.restore(state)

    def state(self) -> dict[str, Any]:
        """As `Loader.state`, after the last batch returned."""
        return self._state

    def restore(self, state: dict[str, Any]) -> None:
        """As `Loader.restore`. Batches in the queue are discarded."""
        self.close()
        self._loader.restore(state)
        self._state = self._loader.state()

    def close(self) -> None:
        """Stop the threads, and rewind the `Loader` to the last batch returned. `next` may be called again."""
        if self._running is not None:
            self._running.stop()
            self._running = None
            self._loader.restore(self._state)


class _Running:
    """The running threads and a queue of at most `ahead` batches; one starts only when there is room."""

    def __init__(self, loader: Loader, *, workers: int, ahead: int) -> None:
        self._loader, self._ahead_of_draw = loader, 2 * workers
        self._room = threading.Semaphore(ahead)
        self._waiting: queue.SimpleQueue[tuple[list[Future[Crop]], dict[str, Any]] | BaseException] = (
            queue.SimpleQueue()
        )
        self._stopping = False
        self._decoding: dict[int, Future[NDArray[np.uint8]]] = {}
        self._quiet = contextlib.ExitStack()
        self._quiet.enter_context(quiet_pillow())
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="ca-numpy-crops")
        self._thread = threading.Thread(target=self._draw_batches, name="ca-numpy-draws", daemon=True)
        self._thread.start()

    def take(self) -> tuple[Crop, dict[str, Any]]:
        """The next batch and the loader's state after it. Re-raises errors from the threads."""
        item = self._waiting.get()
        if isinstance(item, BaseException):
            raise item
        crops, state = item
        images = np.stack([crop.result() for crop in crops])
        self._room.release()
        return images, state

    def stop(self) -> None:
        """Stop and join all threads."""
        self._stopping = True
        self._room.release()
        self._thread.join()
        self._pool.shutdown(cancel_futures=True)
        self._quiet.close()

    def _draw_batches(self) -> None:
        try:
            while True:
                self._room.acquire()
                crops = []
                for n in range(self._loader.batch):
                    if self._stopping:
                        return
                    pixels, window = self._loader.draw(n, functools.partial(self._decoded, n))
                    if pixels is not None:
                        crops.append(self._pool.submit(window.cut, pixels, self._loader.size))
                self._waiting.put((crops, self._loader.state()))
        except BaseException as error:  # re-raised by `take`
            self._waiting.put(error)

    def _decoded(self, n: int, index: int) -> NDArray[np.uint8]:
        """The picture of crop n, decoded in advance; also starts decoding the next ones.

        The order of an epoch is drawn after the last window of the previous one, so lookahead stops at its end.
        """
        for later in (index, *self._loader.upcoming(n + 1, self._ahead_of_draw)):
            if later not in self._decoding:
                self._decoding[later] = self._pool.submit(self._loader.dataset.pixels, later)
        return self._decoding.pop(index).result()
