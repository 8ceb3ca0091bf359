"""One thread per front end: requests are answered in turn, with progress, and end when they are cancelled."""

from __future__ import annotations

import contextlib
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from ca_numpy.errors import UserError
from ca_numpy.explore.requests import Buffers, Desk
from ca_numpy.explore.session import Cancelled

#: Receives a reply and its buffers, in the worker's thread.
Emit = Callable[[dict[str, Any], list[bytes]], None]
#: Progress is reported when it has grown by this share.
STEP = 0.02


class Worker:
    """Answers the requests of one front end in a thread of its own."""

    def __init__(self, desk: Desk) -> None:
        self._desk: Desk | None = desk
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ca-numpy-explore")
        self._running: dict[int, threading.Event] = {}

    def submit(self, number: int, message: Mapping[str, Any], buffers: Buffers, emit: Emit) -> None:
        """Answer a request after those before it: {"progress": share} any number of times, then the reply.

        The last reply has "done"; {"error": text} or {"cancelled": true} stand for an answer. `number` is for `cancel`.
        """
        cancelled = self._running[number] = threading.Event()
        self._thread.submit(copy_context().run, self._answer, number, cancelled, message, buffers, emit)

    def cancel(self, number: int) -> None:
        """End the request of that number, if it is waiting or running."""
        if (event := self._running.get(number)) is not None:
            event.set()

    def close(self) -> None:
        """End all requests, and free the session after the last one."""
        for event in list(self._running.values()):
            event.set()
        with contextlib.suppress(RuntimeError):  # closed before, or Python is ending
            self._thread.submit(self._free)
        self._thread.shutdown(wait=False)

    def _free(self) -> None:
        if self._desk is not None:
            self._desk.session.close()
        self._desk = None

    def _answer(
        self, number: int, cancelled: threading.Event, message: Mapping[str, Any], buffers: Buffers, emit: Emit
    ) -> None:
        reported = 0.0

        def progress(share: float) -> None:
            nonlocal reported
            if cancelled.is_set():
                raise Cancelled
            if share >= reported + STEP:
                reported = share
                emit({"progress": round(share, 3)}, [])

        reply: dict[str, Any] = {}
        out: list[bytes] = []
        try:
            progress(0.0)
            assert self._desk is not None
            reply, out = self._desk.answer(message, buffers, progress)
        except Cancelled:
            reply = {"cancelled": True}
        except UserError as error:
            reply = {"error": str(error)}
        except MemoryError:
            reply = {"error": "not enough memory: use a smaller picture, or a smaller hole"}
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            reply = {"error": f"this failed unexpectedly ({type(error).__name__}); the terminal shows details"}
        finally:
            del self._running[number]
        emit({"done": True} | reply, out)
