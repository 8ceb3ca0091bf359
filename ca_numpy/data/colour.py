"""Colour profiles: between the colours of a file and sRGB, which networks were trained on."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Floats = NDArray[np.float32]


class ColourSpace:
    """The space of an ICC profile. Colours are H W 3 in [-1, 1]; those of grey profiles have three equal channels.

    Conversions are relative colorimetric, through 8 bits a channel, and clip what the other space cannot show.
    """

    def __init__(self, profile: bytes) -> None:
        """Raises ValueError for a profile that cannot be used."""
        try:
            own: Any = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            self.mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}[own.profile.xcolor_space.strip()]
            srgb = ImageCms.createProfile("sRGB")
            self._to = self._transform(own, srgb, self.mode, "RGB")
            self._from = self._transform(srgb, own, "RGB", self.mode) if self.mode != "CMYK" else None
        except (ImageCms.PyCMSError, KeyError, OSError, TypeError, ValueError) as error:
            raise ValueError("its colour profile cannot be used") from error

    @staticmethod
    def _transform(a: Any, b: Any, a_mode: str, b_mode: str) -> Any:
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        return ImageCms.buildTransform(a, b, a_mode, b_mode, renderingIntent=intent)

    def srgb(self, picture: Image.Image) -> Image.Image:
        """A picture of this space, in its mode, in sRGB."""
        converted: Any = ImageCms.applyTransform(picture, self._to)
        return converted  # type: ignore[no-any-return]

    @property
    def is_srgb(self) -> bool:
        """Whether no colour of a sample differs from sRGB by more than a level."""
        levels = np.arange(0, 256, 15, dtype=np.uint8)
        cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(len(levels), -1, 3)
        if self.mode != "RGB":
            cube = np.repeat(cube[..., :1], 3, axis=-1)
        image = (cube / 127.5 - 1).astype(np.float32)
        return bool(np.abs(self.to_srgb(image) - image).max() * 127.5 <= 1.5)

    def to_srgb(self, image: Floats) -> Floats:
        """Colours of this space in sRGB."""
        return self._converted(image, self._to, self.mode)

    def from_srgb(self, image: Floats) -> Floats:
        """sRGB in colours of this space."""
        return self._converted(image, self._from, "RGB")

    @staticmethod
    def _converted(image: Floats, transform: Any, mode: str) -> Floats:
        levels = np.rint((image + 1) * 127.5).clip(0, 255).astype(np.uint8)
        picture = Image.fromarray(np.ascontiguousarray(levels[..., 0] if mode == "L" else levels))
        result: Any = ImageCms.applyTransform(picture, transform)
        values = np.asarray(result, np.float32) / np.float32(127.5) - 1
        return np.repeat(values[..., None], 3, axis=-1) if values.ndim == 2 else values
