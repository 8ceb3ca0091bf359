"""Generators in files: ours, the released TensorFlow checkpoints, and the PyTorch ports'."""

from __future__ import annotations

import dataclasses
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ca_numpy import weights
from ca_numpy.errors import UserError
from ca_numpy.models.generator import Generator
from ca_numpy.models.variants import OFFICIAL, Variant

GENERATOR = "generator.safetensors"
CHECKPOINT = "checkpoint.safetensors"
#: The weights that come with the package; what they were trained on, and their licence, lie beside them.
SHIPPED = Path(__file__).parent / "pretrained" / "scenes.safetensors"
#: What `load`, and a run that begins with them, call these weights.
SHIPPED_NAME = "shipped"


def save(path: str | PathLike[str], generator: Generator, *, dtype: Literal["float16"] | None = None) -> None:
    """Write a generator's weights and how it was built as `.safetensors`; whole or not at all.

    dtype   "float16" halves the file: 7 MB for the paper's generator. `load` widens it again. None keeps what they are
    """
    metadata = {"variant": generator.variant.to_json(), "channel_order": generator.variant.channel_order}
    arrays = generator.arrays()
    if dtype is not None:
        arrays = {name: a.astype(dtype) for name, a in arrays.items()}
    weights.write(path, arrays, metadata=metadata)


def load(path: str | PathLike[str] | None = None) -> Generator:
    """The generator in a file or folder, ready for `inpaint`; "shipped", or none, is the package's own.

    Takes a training run's folder, a `.safetensors` or `.npz` file, a released TensorFlow checkpoint (its prefix,
    such as "snap-0") or a PyTorch port's `.pth`. Width, attention and input channels are read off the weights. The
    order of colours is `weights.channel_order`'s; half precision is widened to float32.

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
        if variant is None and weights.channel_order(path) == "bgr":
            variant = dataclasses.replace(OFFICIAL, channel_order="bgr")
        return Generator.from_tf(arrays, variant=variant)
    except UserError as e:
        raise UserError(f"{str(path)!r} holds no generator that can be loaded: {e}") from e


def with_colours_swapped(generator: Generator) -> dict[str, NDArray[Any]]:
    """The weights of the generator that does with RGB what this one does with BGR, and the reverse.

    Every convolution that sees the picture takes its first three channels in the other order; every last one gives
    them so.
    """
    arrays = dict(generator.arrays())
    for name, layer in generator.layers.items():
        kernel, bias = f"{layer.name}/kernel", f"{layer.name}/bias"
        if name in ("conv1", "xconv1", "pmconv1"):
            k = arrays[kernel]
            arrays[kernel] = np.concatenate([k[:, :, 2::-1], k[:, :, 3:]], axis=2)
        elif name in ("conv17", "allconv17"):
            arrays[kernel], arrays[bias] = arrays[kernel][..., ::-1], arrays[bias][::-1]
    return arrays


def opened(model: str | PathLike[str] | Generator | None) -> Generator:
    """A generator, or the one in what `load` takes, with its weights where the current backend computes."""
    generator = model if isinstance(model, Generator) else load(model)
    generator.to_current_backend()
    return generator
