"""The interface of all generators.

    generator.complete(image, mask) -> coarse, refined, result        RGB in, RGB out, known pixels exact

To add an architecture, add a file with a subclass of `BaseGenerator` to this folder. Weight files and
`TrainConfig.architecture` refer to it by its `architecture` name.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ca_numpy.engine import ops
from ca_numpy.engine.autograd import as_tensors
from ca_numpy.engine.tensor import Tensor, TensorLike
from ca_numpy.errors import UserError, quoted
from ca_numpy.models.variants import AttentionKind, Variant
from ca_numpy.nn import Module

T = TypeVar("T")
#: Architectures by name; subclasses register themselves.
_ARCHITECTURES: dict[str, type[BaseGenerator]] = {}


class Completion(NamedTuple):
    """Both stages' outputs, and the refined one pasted into the image: N H W 3 each, RGB in [-1, 1]."""

    coarse: Tensor
    refined: Tensor
    result: Tensor


class Learnt(NamedTuple):
    """What a generator's weights were trained on; None if unknown.

    hole      side of the largest holes, in pixels
    size      side of the images, in pixels
    licence   of the weights
    """

    hole: int | None = None
    size: int | None = None
    licence: str | None = None


class BaseGenerator(Module, ABC):
    """A network that fills holes. A subclass sets `architecture` and implements the abstract methods.

    variant, attention, width   how it was built, saved in its file
    learnt                      what its weights were trained on
    """

    #: The name in files and configurations.
    architecture: ClassVar[str]
    #: The layers need H and W to be multiples of this; `complete` takes any size.
    multiple: ClassVar[int] = 8

    variant: Variant
    attention: AttentionKind
    width: int
    learnt: Learnt = Learnt()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "architecture" in vars(cls):
            _ARCHITECTURES[cls.architecture] = cls

    @abstractmethod
    def __init__(self, **options: Any) -> None:
        """Options variant, attention, width, rng and dtype as for `Generator`."""

    @abstractmethod
    def __call__(self, image: TensorLike, mask: TensorLike) -> tuple[Tensor, Tensor]:
        """Both stages' outputs for an erased image: N H W 3 and N H W 1 -> (coarse, refined), N H W 3 each."""

    @classmethod
    @abstractmethod
    def from_tf(
        cls,
        weights: Mapping[str, Any],
        *,
        variant: str | Variant | None = None,
        channel_order: Literal["rgb", "bgr"] = "rgb",
    ) -> Self:
        """A generator with the given weights, {variable name: array}, trained on images of that channel order."""

    @abstractmethod
    def erase(self, image: TensorLike, mask: TensorLike) -> Tensor:
        """The image with its hole set to the value the layers expect: N H W 3 and N H W 1 -> N H W 3."""

    @abstractmethod
    def attention_map(self, image: TensorLike, mask: TensorLike) -> tuple[NDArray[Any], tuple[int, int]]:
        """Attended index N h w into the background grid (h', w'). Raises ValueError without attention."""

    def memory_needed(self, height: int, width: int) -> int:
        """Approximate memory to fill an image of H × W pixels, in bytes."""
        return 1500 * height * width

    def complete(self, image: TensorLike, mask: TensorLike) -> Completion:
        """Fill the holes of images of any size.

            result = refined · mask + image · (1 − mask)

        image N H W 3, RGB in [-1, 1], arbitrary in the hole; mask N H W 1 or 1 H W 1, 1 = hole, else 0.
        -> (coarse, refined, result), N H W 3 each, RGB in [-1, 1]: both stages' outputs for the whole image, and the
        image with its hole filled and its known pixels unchanged. Differentiable (Algorithm 1's x̃). Images are
        mirrored at the bottom and right to multiples of `multiple`, and results cropped. Raises ValueError for
        incompatible shapes.
        """
        image, mask, _ = as_tensors([image, mask, next(iter(self.parameters().values()))])  # the parameters' dtype
        x, m = self.framed(image, mask)
        coarse, refined = (cut(y, image) for y in self(self.erase(x, m), m))
        mask = ops.constant_like(mask, refined)
        return Completion(coarse, refined, refined * mask + image * (1.0 - mask))

    def framed(self, image: TensorLike, mask: TensorLike) -> tuple[Tensor, Tensor]:
        """Both mirrored at the bottom and right to multiples of `multiple`: N H W C -> N H' W' C.

        Raises ValueError unless both are four-dimensional.
        """
        image, mask = as_tensors([image, mask])
        if image.ndim != 4 or mask.ndim != 4:
            raise ValueError(f"images are N H W 3 and masks N H W 1, got {image.shape} and {mask.shape}")
        for axis in (1, 2):
            n = image.shape[axis]
            if n % self.multiple:
                index = np.pad(np.arange(n), (0, -n % self.multiple), mode="symmetric")
                image, mask = (ops.gather(x, index=index, axis=axis) for x in (image, mask))
        return image, mask

    def describe(self) -> dict[str, str]:
        """The model's description, for its file's metadata: {name: text}."""
        known = {name: str(value) for name, value in self.learnt._asdict().items() if value is not None}
        return {
            "architecture": self.architecture,
            "variant": self.variant.to_json(),
            "attention": self.attention,
            "width": str(self.width),
            **known,
        }


def cut(y: Tensor, image: Tensor) -> Tensor:
    """y, N H' W' C, cropped to the size of an image N H W 3."""
    h, w = image.shape[1:3]
    return y if y.shape[1:3] == (h, w) else y[:, :h, :w]


def architecture(name: str) -> type[BaseGenerator]:
    """The generator class of that name. Raises UserError for an unknown name."""
    return find(_ARCHITECTURES, name, what="architecture")


def find(table: Mapping[str, T], name: str, *, what: str) -> T:
    """The entry of that name, registered by importing the files of this folder. Raises UserError if there is none."""
    if name not in table:
        for module in pkgutil.iter_modules(sys.modules[__package__].__path__, f"{__package__}."):
            importlib.import_module(module.name)
    if name not in table:
        raise UserError(f"there is no {what} {quoted(name)}: choose from {', '.join(sorted(table))}")
    return table[name]


def learnt_from(metadata: Mapping[str, str]) -> Learnt:
    """The training data described by a file's metadata. Raises UserError for invalid sizes and long licences."""
    sizes: dict[str, int | None] = {}
    for name in ("hole", "size"):
        text = metadata.get(name)
        if text is not None and not (text.isascii() and text.isdigit() and int(text[:9]) > 0 and len(text) < 7):
            raise UserError(f"its metadata's {name} is not a number of pixels: {text[:20]!r}")
        sizes[name] = None if text is None else int(text)
    licence = metadata.get("licence")
    if licence is not None and not (licence.isprintable() and len(licence) <= 200):
        raise UserError(f"its metadata's licence is not a line of text: {quoted(licence)}")
    return Learnt(**sizes, licence=licence)
