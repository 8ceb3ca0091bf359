"""Training: Algorithm 1 of the paper, its configuration, and checkpoints from which a run continues exactly."""

from ca_numpy.train.config import PRESETS, TrainConfig
from ca_numpy.train.loop import TrainResult, train
from ca_numpy.train.stages import STAGES, train_in_stages

__all__ = ["PRESETS", "STAGES", "TrainConfig", "TrainResult", "train", "train_in_stages"]
