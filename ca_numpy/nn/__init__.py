"""Layers and modules with parameters."""

from ca_numpy.nn.layers import Conv2d, Linear
from ca_numpy.nn.module import Module, glorot_uniform
from ca_numpy.nn.vgg import Vgg16
from ca_numpy.nn.warps import AppearanceFlow, SpatialTransformer, Warp

__all__ = ["AppearanceFlow", "Conv2d", "Linear", "Module", "SpatialTransformer", "Vgg16", "Warp", "glorot_uniform"]
