"""What owns parameters."""

from ca_numpy.nn.layers import Conv2d, Linear
from ca_numpy.nn.module import Module, glorot_uniform

__all__ = ["Conv2d", "Linear", "Module", "glorot_uniform"]
