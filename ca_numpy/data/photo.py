"""Photographs as files hold them: everything but the hole comes out as it went in.

    photo = read_photo("photo.tif")
    filled = photo.filled(hole, fill)        # the fill rounded to the file's own samples; all others untouched
    lost = filled.save("filled.tif")         # with profile, EXIF, resolution and text; what the format cannot hold

Networks see RGB float32 in [-1, 1] (`Photo.colours`), in sRGB (`Photo.space`).
"""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, PngImagePlugin

from ca_numpy.atomic import write_bytes
from ca_numpy.data import deep, plugins
from ca_numpy.data.colour import ColourSpace
from ca_numpy.data.images import WRITABLE, Source, full_scale, load, opened, orientation, quoted, upright
from ca_numpy.errors import UserError

Array = NDArray[Any]
Floats = NDArray[np.float32]

#: Modes of Pillow whose samples are kept as they are; others are converted to RGB.
_KEPT = ("1", "L", "LA", "RGB", "RGBA")
#: Bytes of EXIF in a segment of a JPEG.
LONGEST_EXIF = 65_533
#: The EXIF tag of the orientation.
_ORIENTATION = 0x0112
#: Formats that lose nothing, and the suffix of results from other formats.
_LOSSLESS = {"PNG": ".png", "TIFF": ".tif", "WEBP": ".webp", "BMP": ".bmp", "PPM": ".ppm"}
#: Formats that Pillow names differently by their contents.
_SAME = {"MPO": "JPEG", "DIB": "BMP"}
#: What a format holds besides 8-bit samples.
_HOLDS = {
    "PNG": {"deep", "alpha", "profile", "exif", "text", "resolution"},
    "TIFF": {"deep", "float", "alpha", "profile", "exif", "resolution"},
    "WEBP": {"alpha", "profile", "exif"},
    "AVIF": {"alpha", "profile", "exif"},
    "JPEG": {"profile", "exif", "resolution"},
    "BMP": {"resolution"},
    "PPM": set[str](),
}  # fmt: skip


@dataclass(frozen=True, eq=False)  # arrays have no one truth value
class Photo:
    """A picture in the terms of its file."""

    samples: Array
    """H W C, C = 1 grey or 3 RGB: uint8, uint16, another integer, or float."""
    alpha: Array | None = None
    """H W 1, of the same dtype, or None."""
    scale: float = 255.0
    """The sample of full white."""
    profile: bytes | None = None
    """The ICC profile."""
    kind: str = "PNG"
    """Pillow's name of the format."""
    bilevel: bool = False
    """Black and white only."""
    orientation: int = 1
    """The EXIF orientation in the file; already applied here, and reset."""
    exif: bytes | None = None
    resolution: tuple[float, float] | None = None
    text: dict[str, str] = field(default_factory=dict)
    encoding: dict[str, Any] = field(default_factory=dict)
    """Options of the source's encoder: the quality of a JPEG, the compression of a TIFF."""
    lost: tuple[str, ...] = ()
    """What reading did not keep, for the user."""

    @property
    def suffix(self) -> str:
        """The suffix of results: the source's format if it loses nothing, else PNG."""
        return ".tif" if self.samples.dtype.kind == "f" or self.scale > 65535 else _LOSSLESS.get(self.kind, ".png")

    @property
    def space(self) -> ColourSpace | None:
        """The colour space of the profile; None for sRGB, without a profile, and for one that cannot be used."""
        if self.profile is None:
            return None
        try:
            space = ColourSpace(self.profile)
        except ValueError:
            return None
        fits = space.mode == ("L" if self.samples.shape[-1] == 1 else "RGB")
        return space if fits and not space.is_srgb else None

    def colours(self) -> Floats:
        """RGB float32 in [-1, 1], H W 3, in the file's own space; transparent pixels are composited over white."""
        unit = (self.samples / np.float32(self.scale)).astype(np.float32).clip(0, 1)
        if self.alpha is not None:
            share = self.opacity()
            unit = unit * share + (1 - share)
        return np.asarray(np.broadcast_to(2 * unit - 1, (*unit.shape[:2], 3)))

    def opacity(self) -> Floats:
        """H W 1 in [0, 1]. Of pictures with an alpha channel only."""
        assert self.alpha is not None
        return np.asarray(self.alpha / np.float32(self.scale), np.float32).clip(0, 1)

    def filled(self, hole: NDArray[np.bool_], fill: Floats, *, opacity: Array | None = None) -> Photo:
        """With other samples in the hole.

        hole      H W
        fill      H W 3 in [-1, 1], in the file's own space; grey pictures take its luminance
        opacity   the hole's pixels n 1, in [0, 1], where the picture has an alpha channel; the colours are those that
                  look like the fill over white. Default: opaque
        """
        unit = (np.asarray(fill, np.float64)[hole] + 1) / 2
        alpha = None
        if self.alpha is not None:
            alpha, share = self.alpha.copy(), np.ones((len(unit), 1)) if opacity is None else opacity
            alpha[hole] = self._rounded(share)
            unit = np.where(share > 0, (unit - (1 - share)) / np.maximum(share, 1e-6), 1)
        if self.samples.shape[-1] == 1:
            unit = unit @ np.array([[0.299], [0.587], [0.114]])  # ITU-R BT.601
        samples = self.samples.copy()
        samples[hole] = self._rounded(np.rint(unit) if self.bilevel else unit)
        return replace(self, samples=samples, alpha=alpha)

    def _rounded(self, unit: Array) -> Array:
        values = unit.clip(0, 1) * self.scale
        return np.asarray(values if self.samples.dtype.kind == "f" else np.rint(values), self.samples.dtype)

    def array(self) -> Array:
        """H W for grey, H W 3 for RGB, and H W 2 or H W 4 with transparency."""
        samples = self.samples if self.alpha is None else np.concatenate([self.samples, self.alpha], axis=-1)
        return samples[..., 0] if samples.shape[-1] == 1 else samples

    # -- writing ------------------------------------------------------------------------------------------
    def save(self, path: str | os.PathLike[str]) -> tuple[str, ...]:
        """Write the picture in the format given by the suffix (`WRITABLE`), atomically.

        -> what the format could not keep, for the user. Raises UserError for an unknown suffix, and a folder that does
        not exist or is not writable.
        """
        file = Path(path)
        if file.suffix.lower() not in WRITABLE:
            raise UserError(f"unknown image format of {quoted(file)}; end the name in one of {', '.join(WRITABLE)}")
        if not file.parent.is_dir():
            raise UserError(f"cannot write {quoted(file)}: the folder {quoted(file.parent)} does not exist; create it")
        content, lost = self.encoded(file.suffix)
        try:
            write_bytes(file, content)
        except OSError as error:
            raise UserError(f"cannot write {quoted(file)}: {error.strerror or error}") from error
        return lost

    def encoded(self, suffix: str) -> tuple[bytes, tuple[str, ...]]:
        """A file's content in the format of a suffix of `WRITABLE`, and what that could not keep."""
        kind, options = WRITABLE[suffix.lower()]
        photo, lost = self._fitted(kind)
        return photo._encoded(kind, options), lost

    def _fitted(self, kind: str) -> tuple[Photo, tuple[str, ...]]:
        """The picture as this format can hold it, and what that loses."""
        photo, holds, lost = self, _HOLDS[kind], []
        if photo.alpha is not None and "alpha" not in holds:
            lost.append(f"its transparency: {kind} holds none, so it is white now")
            whitened = photo._rounded((photo.colours()[..., : photo.samples.shape[-1]] + 1) / 2)
            photo = replace(photo, samples=whitened, alpha=None)
        if photo.profile is not None and "profile" not in holds:
            if (space := photo.space) is not None:
                lost.append(f"its colour profile: {kind} holds none, so its colours are sRGB now")
                unit = (space.to_srgb(photo.colours()) + 1) / 2
                photo = replace(photo, samples=photo._rounded(unit[..., : photo.samples.shape[-1]]))
            photo = replace(photo, profile=None)
        if photo.samples.dtype != np.uint8 and not holds & {"deep", "float"}:
            lost.append(f"its {8 * photo.samples.itemsize} bits a sample: {kind} holds 8")
            photo = photo._at(np.dtype(np.uint8), 255.0)
        elif (photo.samples.dtype.kind == "f" or photo.scale > 65535) and "float" not in holds:
            lost.append(f"its {8 * photo.samples.itemsize} bits a sample: {kind} holds 16")
            photo = photo._at(np.dtype(np.uint16), 65535.0)
        elif photo.samples.dtype not in (np.uint8, np.uint16) and "float" not in holds:  # the same numbers
            photo = photo._at(np.dtype(np.uint16), 65535.0)
        for name, there in (("exif", photo.exif), ("text", photo.text), ("resolution", photo.resolution)):
            if there and name not in holds:
                lost.append(f"its {'EXIF notes' if name == 'exif' else name}")
        if kind == "JPEG" and photo.exif and len(photo.exif) > LONGEST_EXIF:
            lost.append("its EXIF notes: JPEG holds 64 kB")
            photo = replace(photo, exif=None)
        if kind in ("JPEG", "AVIF"):
            lost.append(f"exact samples: {kind} compresses with loss, also outside the hole")
        return photo, tuple(lost)

    def _at(self, dtype: np.dtype[Any], scale: float) -> Photo:
        """With samples of another dtype and full scale."""
        target = replace(self, samples=np.empty(0, dtype), scale=scale)
        samples, alpha = (
            None if a is None else target._rounded(a / np.float64(self.scale)) for a in (self.samples, self.alpha)
        )
        assert samples is not None
        return replace(target, samples=samples, alpha=alpha)

    def _encoded(self, kind: str, options: dict[str, Any]) -> bytes:
        if kind == "TIFF" and self.samples.dtype != np.uint8:
            both = self.array() if self.array().ndim == 3 else self.samples
            return deep.encoded_tiff(
                both, alpha=self.alpha is not None, profile=self.profile, resolution=self.resolution,
            )  # fmt: skip
        if self.samples.dtype != np.uint8 and (self.array().ndim == 3):
            note = Image.new("L", (1, 1))
            return deep.encoded_png(self.array().astype(np.uint16), self._written(note, "PNG", {}))
        picture = Image.fromarray(np.ascontiguousarray(self.array()))
        return self._written(picture.convert("1", dither=Image.Dither.NONE) if self.bilevel else picture, kind, options)

    def _written(self, picture: Image.Image, kind: str, options: dict[str, Any]) -> bytes:
        """Encoded by Pillow, with the notes that the format holds."""
        holds, options = _HOLDS[kind], dict(options)
        if kind == self.kind:
            options |= self.encoding
            if "qtables" in options:
                del options["quality"]  # it would scale them
        if kind == "AVIF" and picture.mode in ("L", "LA"):
            del options["subsampling"]  # it would make it RGB
        if self.profile is not None:
            options["icc_profile"] = self.profile
        if self.exif and "exif" in holds:
            options["exif"] = self.exif
        if self.resolution and "resolution" in holds:
            options["dpi"] = self.resolution
        if self.text and "text" in holds:
            options["pnginfo"] = notes = PngImagePlugin.PngInfo()
            for key, value in self.text.items():
                notes.add_itxt(key, value) if not value.isascii() else notes.add_text(key, value)
        out = io.BytesIO()
        picture.save(out, format=kind, **options)
        return out.getvalue()


# -- from arrays and files ------------------------------------------------------------------------------------------
def photo_of(array: Array, *, name: str = "image") -> Photo:
    """A picture given as an array: H W or H W 1 grey, H W 3 RGB, H W 2 or H W 4 with an alpha channel last.

    uint8, uint16, or float in [0, 1], as scikit-image and matplotlib have them. NaN is kept: it marks a hole. Raises
    UserError for any other array.
    """
    samples = np.asarray(array)
    if samples.ndim == 2:
        samples = samples[..., None]
    if samples.ndim != 3 or not 1 <= samples.shape[-1] <= 4 or samples.size == 0:
        raise UserError(
            f"{name} has shape {np.shape(array)}, but an image is (height, width, 3), or (height, width) if grey; "
            "pass one image, channels last"
        )
    if samples.dtype.kind == "f":
        lowest, highest = (float(f(samples, initial=0)) for f in (np.nanmin, np.nanmax))
        if not (lowest >= -1e-4 and highest <= 1 + 1e-4):
            advice = "pass (x + 1) / 2" if -1.0001 <= lowest < 0 and highest <= 1.0001 else "divide by the full scale"
            raise UserError(f"{name} has values from {lowest:g} to {highest:g}, but floats lie in [0, 1]; {advice}")
    elif samples.dtype not in (np.uint8, np.uint16):
        raise UserError(f"{name} holds {samples.dtype}; pass uint8, uint16, or floats in [0, 1]")
    scale = 1.0 if samples.dtype.kind == "f" else float(np.iinfo(samples.dtype).max)
    if samples.shape[-1] in (2, 4):
        return Photo(samples[..., :-1], samples[..., -1:], scale)
    return Photo(samples, None, scale)


def read_photo(path: Source, *, max_pixels: int | None = None) -> Photo:
    """Read a picture, its first frame, upright, of at most `max_pixels` (default: 80 million, or CA_NUMPY_MAX_PIXELS).

    Raises UserError as `load_image` does.
    """
    with opened(path, max_pixels=max_pixels) as image:
        lost = []
        if (frames := getattr(image, "n_frames", 1)) > 1:
            lost.append(f"its other {frames - 1} frames or pages: only the first is read")
        bilevel, bits = image.mode == "1", plugins.depth(image)  # which needs the file still open
        try:
            samples = deep.decoded(image)
        except ImportError:
            lost.append("8 of its 16 bits a sample: `pip install imagecodecs` to keep them")
            samples = None
        if samples is None:
            load(image)  # before its notes, which read on past damage
        notes = _notes(image, lost, bits)
        if samples is None:
            samples = _decoded(image, lost, notes)
        samples = upright(samples, notes["orientation"])
        alpha = samples[..., -1:] if samples.shape[-1] in (2, 4) else None
        colours = samples if alpha is None else samples[..., :-1]
        return Photo(colours, alpha, full_scale(colours), bilevel=bilevel, lost=tuple(lost), **notes)


def result_suffix(path: str | os.PathLike[str], *, max_pixels: int | None = None) -> str:
    """`Photo.suffix` of a file, without decoding it where its header tells. Raises UserError as `load_image` does."""
    with opened(path, max_pixels=max_pixels) as image:
        if image.format == "TIFF" or image.mode not in ("I", "F"):
            kind = str(image.format)
            return _LOSSLESS.get(_SAME.get(kind, kind), ".png")
    return read_photo(path, max_pixels=max_pixels).suffix


def _decoded(image: Image.Image, lost: list[str], notes: dict[str, Any]) -> Array:
    """The samples, H W C, of a loaded picture; modes without a counterpart become RGB."""
    mode = image.mode
    if mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)[..., None]
    if mode in ("I", "F"):
        values = np.asarray(image)[..., None]
        return values.astype(np.uint16) if mode == "I" and values.min() >= 0 and values.max() <= 65535 else values
    if mode not in _KEPT or "transparency" in image.info:
        if mode == "CMYK" and notes["profile"] is not None:
            with contextlib.suppress(ValueError):
                image = ColourSpace(notes["profile"]).srgb(image)
        grey, clear = mode in ("1", "L"), image.has_transparency_data
        if mode not in ("1", "L", "RGB", "RGBX", "RGBa", "La"):
            lost.append(f"its {'palette' if mode == 'P' else f'{mode} samples'}: the result is RGB, with the same look")
            notes["profile"] = None if mode not in ("P", "PA") else notes["profile"]
        image = image.convert(("LA" if clear else "L") if grey else ("RGBA" if clear else "RGB"))
    samples = np.asarray(image.convert("L") if image.mode == "1" else image)
    return samples[..., None] if samples.ndim == 2 else samples


def _notes(image: Image.Image, lost: list[str], bits: int) -> dict[str, Any]:
    """What a file of so many bits a sample says of its picture."""
    notes: dict[str, Any] = {
        "kind": _SAME.get(str(image.format), str(image.format)), "orientation": orientation(image), "encoding": {},
    }  # fmt: skip
    if bits > 8 and not image.mode.startswith(("I;16", "F")):
        lost.append(f"{bits - 8} of its {bits} bits a sample: its reader gives 8")
    with contextlib.suppress(Exception):  # a picture whose notes are damaged is a picture all the same
        exif = image.getexif()
        exif.pop(_ORIENTATION, None)
        # TIFF's own tags describe the pixels of the source. A thumbnail, which shows the object, is not written.
        if len(exif) and image.format != "TIFF":
            notes["exif"] = exif.tobytes()
    notes["profile"] = profile = image.info.get("icc_profile") or None
    if profile is not None:
        try:
            ColourSpace(profile)
        except ValueError as error:
            lost.append(f"the right colours: {error}")
    dpi = image.info.get("dpi")
    with contextlib.suppress(TypeError, ValueError):
        if dpi and all(0.01 <= float(number) <= 65_535 for number in dpi):  # what every format can write
            notes["resolution"] = (float(dpi[0]), float(dpi[1]))
            if notes["orientation"] >= 5:
                notes["resolution"] = notes["resolution"][::-1]
    if isinstance(image, PngImagePlugin.PngImageFile):
        texts = {str(key): str(value) for key, value in image.text.items()}
        notes["text"] = {key: value for key, value in texts.items() if _is_text(key, value)}
        if len(notes["text"]) < len(texts):
            lost.append("texts that are no PNG's")
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        with contextlib.suppress(Exception):
            tables = [number for table in image.quantization.values() for number in table]
            sound = len(tables) in (64, 128, 192, 256) and all(1 <= number <= 255 for number in tables)
            if (sampling := JpegImagePlugin.get_sampling(image)) >= 0 and sound:
                notes["encoding"] = {"qtables": image.quantization, "subsampling": sampling}
    elif image.format == "TIFF" and image.info.get("compression") in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        notes["encoding"] = {"compression": image.info["compression"]}
    return notes


def _is_text(key: str, value: str) -> bool:
    """Whether a PNG can hold the text: 1 to 79 characters of Latin-1, and any others."""
    try:
        value.encode()
        return 1 <= len(key.encode("latin-1")) <= 79 and "\0" not in key + value
    except UnicodeEncodeError:
        return False
