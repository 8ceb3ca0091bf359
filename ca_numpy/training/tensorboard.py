"""TensorBoard files from a run's log."""

from __future__ import annotations

import os
from typing import Any

from ca_numpy.errors import UserError


class TensorBoard:
    """A callback for `train(on_record=…)` that writes every number of the log as a scalar for TensorBoard.

        train(data="my/pictures", on_record=TensorBoard("runs/tensorboard"))

    Files are flushed at every validation. A resumed run repeats the steps after its last checkpoint, and each stage of
    `train_in_stages` starts at step 0: give a folder for each. Raises UserError without the extra `tensorboard`.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as e:
            raise UserError("TensorBoard files need tensorboardX: pip install 'ca-numpy[tensorboard]'") from e
        self._writer = SummaryWriter(os.fspath(folder))

    def __call__(self, record: dict[str, Any]) -> None:
        for name, value in record.items():
            if name != "step":
                self._writer.add_scalar(name, value, record["step"])
        if "rate" not in record:  # a validation
            self._writer.flush()

    def close(self) -> None:
        """Write what is left, and close the files."""
        self._writer.close()
