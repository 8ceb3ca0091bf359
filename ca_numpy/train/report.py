"""What a run tells: a log, a progress bar, pictures and curves; and how it hears that it should stop."""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from ca_numpy.autograd import no_grad
from ca_numpy.data import Dataset, resize, save_image, to_float
from ca_numpy.errors import UserError
from ca_numpy.files import write_text
from ca_numpy.inpainting import inpaint_details
from ca_numpy.models import Generator
from ca_numpy.registry import current_backend
from ca_numpy.train.algorithm1 import complete
from ca_numpy.train.config import TrainConfig
from ca_numpy.train.validation import Validation

#: Rows of the pictures drawn on the way.
SHOWN = 6


class Log:
    """One JSON object per line: a record per step, and one per validation."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[dict[str, Any]] = []

    def truncate(self, *, before: int) -> None:
        """Keep what was written of steps before this one: what comes after is about to be made again."""
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True) if self.path.exists() else []
        if lines and not lines[-1].endswith("\n"):  # a crash cut it short; the checkpoint is older than that
            lines.pop()
        try:
            records = [json.loads(line) for line in lines]
        except ValueError as e:
            raise UserError(f"{str(self.path)!r} is damaged ({e}): move it away and resume again") from e
        # A validation at step s measures the network after s updates; a training record is of update number s.
        self.records = [r for r in records if r["step"] < before or (r["step"] == before > 0 and "rate" not in r)]
        write_text(self.path, "".join(json.dumps(r) + "\n" for r in self.records))

    def append(self, record: dict[str, Any]) -> None:
        self.records.append(record)
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")


class Progress:
    """A progress bar with the losses and the time left; where output goes to a file, a line per validation."""

    def __init__(self, config: TrainConfig, *, first: int, quiet: bool) -> None:
        self.quiet, self.config = quiet, config
        self.bar = tqdm(
            total=config.steps, initial=first, unit="step", dynamic_ncols=True,
            disable=quiet or not sys.stderr.isatty(),
        )  # fmt: skip

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.bar.close()

    def say(self, line: str) -> None:
        """A line of its own above the bar."""
        if not self.quiet:
            tqdm.write(line, file=sys.stderr)
            sys.stderr.flush()

    def step(self, record: dict[str, Any]) -> None:
        """One step further."""
        phase = "Algorithm 1" if "adversarial" in record else "reconstruction"
        names = {"l1": "l1_refined", "W": "wasserstein", "gp": "penalty", "critic": "critic"}
        shown = {short: record.get(name) for short, name in names.items()}
        self.bar.set_description(phase, refresh=False)
        self.bar.set_postfix_str(", ".join(f"{k} {v:.3f}" for k, v in shown.items() if v is not None), refresh=False)
        self.bar.update()

    def validated(self, record: dict[str, Any]) -> None:
        """What was measured on held-out pictures."""
        self.say(
            f"step {record['step']:>4}/{self.config.steps}  held out: coarse {record['validation_l1_coarse']:5.2f} %"
            f"  refined {record['validation_l1_refined']:5.2f} %  {record['validation_psnr']:5.2f} dB"
        )


class StopSignal:
    """Turns the first Ctrl-C (or SIGTERM) into a wish to stop after the current step; a second one acts at once."""

    def __init__(self) -> None:
        self.given = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            heard = (s for s in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(s) != signal.SIG_IGN)
            self._before = {s: signal.signal(s, self._hear) for s in heard}  # a background job ignores Ctrl-C
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.given:
            raise KeyboardInterrupt
        self.given = True
        tqdm.write("finishing this step, then saving; once more to stop at once", file=sys.stderr)


def draw_pictures(path: Path, generator: Generator, validation: Validation) -> None:
    """input | coarse | result | truth | attention, of some held-out crops."""
    from ca_numpy import viz  # matplotlib takes a second to load: only where a picture is drawn

    images, masks, boxes = validation.batch
    batch = type(validation.batch)(images[:SHOWN], masks[:SHOWN], boxes[:SHOWN])
    with no_grad():
        coarse, refined, _ = complete(generator, batch.images, batch.masks)
        attention = (
            generator.attention_map(generator.erase(batch.images, batch.masks), batch.masks)
            if generator.attention != "none"
            else None
        )
    figure = viz.comparison(
        batch.images,
        batch.masks,
        coarse.numpy(),
        refined.numpy(),
        batch.images,
        index=attention[0] if attention else None,
        background=attention[1] if attention else None,
    )
    viz.save(figure, path)


def draw_curves(path: Path, records: list[dict[str, Any]], validation: Validation) -> None:
    """The losses and measurements so far, with what filling in the mean colour would give."""
    from ca_numpy import viz

    drawn = [{k: v for k, v in r.items() if k not in ("rate", "seconds")} for r in records]
    figure = viz.loss_curves(drawn, references={"mean colour": validation.mean_colour})
    viz.save(figure, path)


def draw_photograph(folder: Path, generator: Generator, dataset: Dataset, config: TrainConfig) -> list[Path]:
    """Inpaint the first held-out picture whole, as a user would: the result, and a sheet of all its steps."""
    from ca_numpy import viz

    pixels = dataset[0]
    shrink = 2 * config.size / min(pixels.shape[:2])  # holes as large, in pixels, as those that were trained on
    image = resize(pixels, (round(pixels.shape[0] * shrink), round(pixels.shape[1] * shrink))) if shrink < 1 else pixels
    mask = np.zeros((*image.shape[:2], 1), np.float32)
    side = min(config.box, max(min(image.shape[:2]) // 2, 1))  # a small picture gets a smaller hole
    top, left = ((n - side) // 2 for n in image.shape[:2])
    mask[top : top + side, left : left + side] = 1
    done = inpaint_details(image, mask, model=generator, attention=True, backend=current_backend().name)
    paths = [folder / "photograph-inpainted.png", folder / "photograph-steps.png"]
    save_image(paths[0], done.result)
    index, background = done.attention or (None, None)
    sheet = viz.comparison(image, mask, done.coarse, to_float(done.result), image, index=index, background=background)
    viz.save(sheet, paths[1])
    return paths
