"""Generators in files: ours, the released TensorFlow checkpoints, and the PyTorch ports'."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Literal

from ca_numpy import weights
from ca_numpy.errors import UserError
from ca_numpy.models.architectures import BaseGenerator, Learnt, architecture, learnt_from
from ca_numpy.models.critic import PAPER_SIZE
from ca_numpy.models.generator import Generator
from ca_numpy.models.variants import Variant

GENERATOR = "generator.safetensors"
CHECKPOINT = "checkpoint.safetensors"
#: The weights that come with the package; what they were trained on, and their licence, lie beside them.
SHIPPED = Path(__file__).parent / "pretrained" / "scenes.safetensors"
#: What `load`, and a run that begins with them, call these weights.
SHIPPED_NAME = "shipped"


def save(path: str | PathLike[str], generator: BaseGenerator, *, dtype: Literal["float16"] | None = None) -> None:
    """Write a generator's weights and what it is (`BaseGenerator.describe`) as `.safetensors`; whole or not at all.

    dtype   "float16" halves the file: 7 MB for the paper's generator. `load` widens it again. None keeps what they are
    """
    arrays = generator.arrays()
    if dtype is not None:
        arrays = {name: a.astype(dtype) for name, a in arrays.items()}
    weights.write(path, arrays, metadata=generator.describe())


def load(path: str | PathLike[str] | None = None) -> BaseGenerator:
    """The generator in a file or folder, ready for `inpaint`; "shipped", or none, is the package's own.

    Takes a training run's folder, a `.safetensors` or `.npz` file, a released TensorFlow checkpoint (its prefix,
    such as "snap-0") or a PyTorch port's `.pth`. Architecture, variant and what the weights were trained on stand in
    our own files' metadata; width, attention and input channels are read off the arrays. Weights for BGR images
    (`weights.channel_order`) are turned to RGB; half precision is widened to float32.

    Raises UserError if there is nothing there, or nothing that can be read as a generator.
    """
    path = SHIPPED if path is None or str(path) == SHIPPED_NAME else Path(path)
    if path.is_dir():
        path = next((path / name for name in (GENERATOR, CHECKPOINT) if (path / name).is_file()), path)
    arrays = weights.read(path)
    arrays = {name: a.astype("float32") if a.dtype == "float16" else a for name, a in arrays.items()}
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
    """A generator, or the one in what `load` takes, with its weights where the current backend computes."""
    generator = model if isinstance(model, BaseGenerator) else load(model)
    generator.to_current_backend()
    return generator
