"""Generative image inpainting with contextual attention, from NumPy up: to understand, run and train.

ca_numpy.train(data="my/pictures")                      learn by Algorithm 1 of the paper
ca_numpy.inpaint("photo.jpg", "mask.png")               fill a hole
ca_numpy.evaluate(model)                                Table 1
ca_numpy.tensor, grad, functional, models, losses       the parts
"""

from ca_numpy import functional, metrics, models
from ca_numpy.engine import ops
from ca_numpy.engine.autograd import grad, no_grad
from ca_numpy.engine.tensor import Tensor, tensor
from ca_numpy.errors import UserError
from ca_numpy.evaluation import evaluate
from ca_numpy.filling import inpaint
from ca_numpy.models.io import load
from ca_numpy.registry import available_backends, use_backend
from ca_numpy.training import PRESETS, TrainConfig, losses, train

__version__ = "0.1.0"

__all__ = [
    "PRESETS",
    "Tensor",
    "TrainConfig",
    "UserError",
    "available_backends",
    "evaluate",
    "functional",
    "grad",
    "inpaint",
    "load",
    "losses",
    "metrics",
    "models",
    "no_grad",
    "ops",
    "tensor",
    "train",
    "use_backend",
]
