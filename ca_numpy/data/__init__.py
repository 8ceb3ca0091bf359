"""Pictures, masks and batches. Images are RGB float32 in [-1, 1]; masks have 1 = hole."""

from ca_numpy.data.datasets import (
    Concat,
    Dataset,
    ImageFolder,
    Images,
    Photographs,
    Subset,
    Textures,
    split,
)
from ca_numpy.data.images import (
    check_image,
    check_mask,
    crop_window,
    load_image,
    load_mask,
    load_pixels,
    resize,
    save_image,
    to_float,
    to_uint8,
)
from ca_numpy.data.loader import Loader, validation_crops, validation_windows
from ca_numpy.data.masks import (
    BoundingBox,
    MaskSampler,
    box_mask,
    free_form,
    random_box,
    several_boxes,
)
from ca_numpy.data.pairs import Pairs, draw_hole, load_pairs, make_pairs

__all__ = [
    "BoundingBox",
    "Concat",
    "Dataset",
    "ImageFolder",
    "Images",
    "Loader",
    "MaskSampler",
    "Pairs",
    "Photographs",
    "Subset",
    "Textures",
    "box_mask",
    "check_image",
    "check_mask",
    "crop_window",
    "draw_hole",
    "free_form",
    "load_image",
    "load_mask",
    "load_pairs",
    "load_pixels",
    "make_pairs",
    "random_box",
    "resize",
    "save_image",
    "several_boxes",
    "split",
    "to_float",
    "to_uint8",
    "validation_crops",
    "validation_windows",
]
