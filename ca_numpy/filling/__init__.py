"""Filling holes: by a network, by PatchMatch, and by other baselines."""

from ca_numpy.filling.baselines import METHODS, fill, why_unavailable
from ca_numpy.filling.blending import blend
from ca_numpy.filling.folders import inpaint_folder
from ca_numpy.filling.inpainting import Inpainted, inpaint, inpaint_details, inpaint_photo, read_pair
from ca_numpy.filling.patchmatch import complete, nearest_field

__all__ = [
    "METHODS",
    "Inpainted",
    "blend",
    "complete",
    "fill",
    "inpaint",
    "inpaint_details",
    "inpaint_folder",
    "inpaint_photo",
    "nearest_field",
    "read_pair",
    "why_unavailable",
]
