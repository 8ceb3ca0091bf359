"""Loading and saving generators: our files, the released TensorFlow checkpoints, and PyTorch ports."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np

from ca_numpy import weights
from ca_numpy.errors import UserError
from ca_numpy.models.architectures import BaseGenerator, Learnt, architecture, learnt_from
from ca_numpy.models.critic import PAPER_SIZE
from ca_numpy.models.generator import Generator
from ca_numpy.models.variants import Variant

GENERATOR = "generator.safetensors"
CHECKPOINT = "checkpoint.safetensors"
#: The weights included in the package, with their description and licence in the same folder.
SHIPPED = Path(__file__).parent / "pretrained" / "scenes.safetensors"
#: Their name for `load` and `TrainConfig.init`.
SHIPPED_NAME = "shipped"


def save(path: str | PathLike[str], generator: BaseGenerator, *, dtype: Literal["float16"] | None = None) -> None:
    """Write a generator's weights and description (`BaseGenerator.describe`) as `.safetensors`, atomically.

    dtype   "float16" halves the file, to 7 MB for the paper's generator; `load` converts back. None keeps the dtype
    """
    arrays = generator.arrays()
    if dtype is not None:
        arrays = {name: a.astype(dtype) for name, a in arrays.items()}
    weights.write(path, arrays, metadata=generator.describe())


def load(path: str | PathLike[str] | None = None, *, dtype: Literal["float32", "float64"] = "float32") -> BaseGenerator:
    """Load a generator from a file or folder; "shipped", the default, is the package's own.

    dtype   of the weights, and so of all computations; those of other floating-point types are converted

    Accepts a training run's folder, a `.safetensors` or `.npz` file, a released TensorFlow checkpoint (its prefix,
    such as "snap-0") or a PyTorch port's `.pth`. Architecture, variant and training data are read from the metadata of
    our files; width, attention and input channels from the arrays. Weights for BGR images (`weights.channel_order`) are
    converted to RGB. Raises UserError for a path that cannot be read as a generator of finite weights.
    """
    path = SHIPPED if path is None or str(path) == SHIPPED_NAME else Path(path)
    if path.is_dir():
        path = next((path / name for name in (GENERATOR, CHECKPOINT) if (path / name).is_file()), path)
    arrays = weights.read(path)
    with np.errstate(over="ignore"):  # infinities are reported below
        arrays = {name: a.astype(dtype, copy=False) if a.dtype.kind == "f" else a for name, a in arrays.items()}
    metadata = weights.read_metadata(path)
    try:
        variant = Variant.from_json(metadata["variant"]) if "variant" in metadata else None
        kind, order = architecture(metadata.get("architecture", Generator.architecture)), weights.channel_order(path)
        generator = kind.from_tf(arrays, variant=variant, channel_order=order)
        generator.learnt = learnt_from(metadata)
    except UserError as e:
        raise UserError(f"{str(path)!r} holds no generator that can be loaded: {e}") from e
    if not metadata and (order == "bgr" or weights.origin(path) == "daa233"):  # released: trained as the paper's
        generator.learnt = Learnt(hole=PAPER_SIZE["local"], size=PAPER_SIZE["global"])
    return generator


def opened(model: str | PathLike[str] | BaseGenerator | None) -> BaseGenerator:
    """A generator, or one loaded by `load`, on the current backend."""
    generator = model if isinstance(model, BaseGenerator) else load(model)
    generator.to_current_backend()
    return generator
