"""A run's log, its progress bar, and the signals that stop it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from tqdm import tqdm

from ca_numpy.atomic import write_text
from ca_numpy.errors import UserError, printable
from ca_numpy.schemas import content, log_record
from ca_numpy.training.config import TrainConfig

#: A longer log, in bytes, is not read: a record has about 300.
LONGEST = 1 << 30
#: A callback for each record of the log: `step`, and numbers by name.
OnRecord = Callable[[dict[str, Any]], object]


class Log:
    """One JSON object per line, for each step and each validation. `on_record` is called with each record."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.on_record: OnRecord | None = None

    @property
    def records(self) -> list[dict[str, Any]]:
        """All records, read from the file: a long run does not hold them. Raises UserError for a damaged file."""
        *lines, _ = content(self.path, at_most=LONGEST).split(b"\n") if self.path.exists() else [b""]
        try:  # what follows the last end of a line was cut by a crash, after the checkpoint
            return [log_record(line, f"line {n} is no record") for n, line in enumerate(lines, 1)]
        except UserError as e:
            raise UserError(f"{str(self.path)!r} is damaged: {e}; move it away and resume again") from e

    def truncate(self, *, before: int) -> None:
        """Remove the records from this step on, which will be repeated. Raises UserError for a damaged file."""
        # A validation at step s follows s updates; the training record of step s is update number s, from 0.
        kept = [r for r in self.records if r["step"] < before or (r["step"] == before > 0 and "rate" not in r)]
        write_text(self.path, "".join(json.dumps(r) + "\n" for r in kept))

    def append(self, record: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        if self.on_record:
            self.on_record(dict(record))


class Progress:
    """A progress bar with the losses and the time left; not on a terminal, one line per validation."""

    def __init__(self, config: TrainConfig, *, first: int, quiet: bool) -> None:
        self.quiet, self.config = quiet, config
        self.bar = tqdm(
            total=config.steps, initial=first, unit="step", dynamic_ncols=True,
            disable=quiet or sys.stderr is None or not sys.stderr.isatty(),
        )  # fmt: skip

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        with self._unheard():
            self.bar.close()

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if not self.quiet and sys.stderr is not None:
            with self._unheard():
                tqdm.write(printable(line), file=sys.stderr)
                sys.stderr.flush()

    @contextlib.contextmanager
    def _unheard(self) -> Iterator[None]:
        """Say nothing any more when nobody listens: the terminal is closed, or the program that read has ended."""
        try:
            yield
        except (OSError, ValueError):
            self.quiet = self.bar.disable = True
            with contextlib.suppress(OSError, ValueError):  # what is buffered cannot be written either
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())

    def step(self, record: dict[str, Any]) -> None:
        """Advance the bar by one step."""
        phase = "Algorithm 1" if "adversarial" in record else "reconstruction"
        names = {"l1": "l1_refined", "W": "wasserstein", "gp": "penalty", "critic": "critic"}
        shown = {short: record.get(name) for short, name in names.items()}
        self.bar.set_description(phase, refresh=False)
        self.bar.set_postfix_str(", ".join(f"{k} {v:.3f}" for k, v in shown.items() if v is not None), refresh=False)
        with self._unheard():
            self.bar.update()

    def validated(self, record: dict[str, Any], *, averages: Iterable[str] = ()) -> None:
        """Print the validation measurements of the generator and its averages of these names."""
        line = f"step {record['step']:>4}/{self.config.steps}  held out: coarse {record['validation_l1_coarse']:5.2f} %"
        for title, kind in (("refined", "validation"), *((name, f"validation_{name}") for name in averages)):
            line += f"  {title} {record[f'{kind}_l1_refined']:5.2f} %  {record[f'{kind}_psnr']:5.2f} dB"
        self.say(line)


class StopSignal:
    """The first Ctrl-C, SIGTERM, SIGHUP or SIGUSR1 requests a stop after the current step; a second interrupts it.

    `number` is the signal's, or 0. `quiet` prints nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.number, self.quiet = 0, quiet
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")  # Windows has two of them
            known = [getattr(signal, name) for name in names if hasattr(signal, name)]
            heard = (s for s in known if signal.getsignal(s) != signal.SIG_IGN)  # as background jobs and nohup do
            self._before = {s: signal.signal(s, self._hear) for s in heard}
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            raise KeyboardInterrupt
        self.number = number
        if self.quiet:
            return
        with contextlib.suppress(OSError):  # not by print: it may have been interrupted; the reader may have ended, too
            os.write(2, b"\nfinishing this step, then saving; press again to stop immediately\n")
