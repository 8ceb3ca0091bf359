"""Generative image inpainting with contextual attention, from NumPy up: to understand, run and train."""

from ca_numpy.autograd import grad, no_grad
from ca_numpy.backend import available_backends, use_backend
from ca_numpy.errors import UserError
from ca_numpy.tensor import Tensor, tensor

__version__ = "0.1.0"
