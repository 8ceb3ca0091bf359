"""Training: Algorithm 1 of the paper, its configuration, and checkpoints from which a run resumes exactly."""

from ca_numpy.training.config import TrainConfig
from ca_numpy.training.loop import TrainResult, train
from ca_numpy.training.page import report
from ca_numpy.training.presets import PRESETS, STAGES
from ca_numpy.training.stages import train_in_stages
from ca_numpy.training.tensorboard import TensorBoard

__all__ = ["PRESETS", "STAGES", "TensorBoard", "TrainConfig", "TrainResult", "report", "train", "train_in_stages"]
