"""Training: Algorithm 1 of the paper, its configuration, and checkpoints from which a run continues exactly."""

from ca_numpy.train.config import PRESETS, STAGES, TrainConfig
from ca_numpy.train.loop import TrainResult, train
from ca_numpy.train.stages import train_in_stages

__all__ = ["PRESETS", "STAGES", "TrainConfig", "TrainResult", "train", "train_in_stages"]
