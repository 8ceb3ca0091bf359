"""Pictures, masks and batches. Images are RGB float32 in [-1, 1]; masks have 1 = hole."""

from ca_numpy.data.background import BackgroundLoader
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
from ca_numpy.data.drawn import load_mask
from ca_numpy.data.images import (
    check_image,
    check_mask,
    crop_window,
    load_image,
    load_pixels,
    resize,
    save_image,
    to_float,
    to_uint8,
)
from ca_numpy.data.loader import Loader, readable, skipped_summary, validation_crops, validation_windows
from ca_numpy.data.masks import (
    BoundingBox,
    MaskSampler,
    box_mask,
    free_form,
    random_box,
    several_boxes,
)
from ca_numpy.data.photo import Photo, read_photo
from ca_numpy.data.sets import SETS, open_set
from ca_numpy.data.sources import open_dataset, open_split, resolved

__all__ = [
    "SETS",
    "BackgroundLoader",
    "BoundingBox",
    "Concat",
    "Dataset",
    "ImageFolder",
    "Images",
    "Loader",
    "MaskSampler",
    "Photo",
    "Photographs",
    "Subset",
    "Textures",
    "box_mask",
    "check_image",
    "check_mask",
    "crop_window",
    "free_form",
    "load_image",
    "load_mask",
    "load_pixels",
    "open_dataset",
    "open_set",
    "open_split",
    "random_box",
    "read_photo",
    "readable",
    "resize",
    "resolved",
    "save_image",
    "several_boxes",
    "skipped_summary",
    "split",
    "to_float",
    "to_uint8",
    "validation_crops",
    "validation_windows",
]
