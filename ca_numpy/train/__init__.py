"""Training: Algorithm 1 of the paper, its configuration, and checkpoints from which a run continues exactly."""

from ca_numpy.train.config import PRESETS, TrainConfig
from ca_numpy.train.loop import TrainResult, train

__all__ = ["PRESETS", "TrainConfig", "TrainResult", "train"]
