"""The command that users with pictures and masks need: ca-numpy inpaint."""

from __future__ import annotations

import io
import itertools
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional
from tyro.conf import arg as option

from ca_numpy.data.drawn import MaskKind
from ca_numpy.data.images import WRITABLE
from ca_numpy.data.photo import read_photo
from ca_numpy.errors import UserError, printable
from ca_numpy.filling import ranks
from ca_numpy.filling.folders import Report, inpaint_folder
from ca_numpy.filling.holes import Box
from ca_numpy.filling.inpainting import Method, inpaint_photo

#: Options that may be left out: in the help, without Python's None.
PathOption = Annotated[Path | None, option(help_behavior_hint="")]
IntOption = Annotated[int | None, option(help_behavior_hint="")]
#: Stands for standard input and output.
PIPE = Path("-")


@dataclass
class HoleOptions:
    """What to fill."""

    invert: bool = False
    """The hole is black, not white."""
    mask_kind: MaskKind = "auto"
    """white on black; transparent: erased; paint: of any colour, on an empty layer; difference: a copy of the picture
    with the hole painted over. auto decides among the first three, and refuses what is not clear."""
    box: Annotated[tuple[str, ...], option(metavar="BOX ...", help_behavior_hint="")] = ()
    """Rectangles LEFT,TOP,WIDTH,HEIGHT to fill, in pixels; with or without a mask."""
    grow: int = 0
    """Widen the hole by this many pixels, for masks that are too tight."""


@dataclass
class MethodOptions:
    """How to fill it."""

    method: Method = "guided"
    """guided: copied pixels, arranged by the network; network: the paper's direct output; the others use no model."""
    model: PathOption = None
    """A run folder or weight file. Default: the bundled weights."""
    largest_hole: IntOption = None
    """Largest hole, in pixels, the model was trained on. Default: as its file says. Larger holes are filled at a
    reduced size, from their surroundings alone; 0 fills the whole picture at full size."""
    blend: bool = True
    """Shift the fill to match the known pixels at the edge, so that no seam shows."""
    backend: str = "auto"
    """numpy, numba, cupy or cupy:tf32; auto picks the fastest that works. `ca-numpy backends` lists them."""


@dataclass
class OutputOptions:
    """Where the result goes."""

    out: PathOption = None
    """Output file, or folder, or - for standard output. Default: photo-inpainted.png next to photo.jpg, or the format
    of a lossless one; for a folder, FOLDER-inpainted beside it; for a picture from standard input, standard output."""
    overwrite: bool = False
    """Replace results that exist. Without it, a folder's are left as they are, and only the missing ones are made."""
    report: PathOption = None
    """Write what became of each picture as JSON."""


@dataclass
class Inpaint:
    """Fill the hole of a picture, or of every picture of a folder. The mask is white where something is missing."""

    image: Positional[Annotated[Path, option(metavar="IMAGE")]]
    """The picture, in any format that Pillow reads, HEIC or JPEG XL; - for standard input; or a folder of pictures."""
    mask: Positional[Annotated[Path | None, option(metavar="MASK", help_behavior_hint="")]] = None
    """An image of the same size, white = hole; or with the hole transparent; - for standard input. For a folder, a
    folder with masks of the same names, or one mask for all. Not needed with --box."""
    hole: OmitArgPrefixes[HoleOptions] = field(default_factory=HoleOptions)
    method: OmitArgPrefixes[MethodOptions] = field(default_factory=MethodOptions)
    output: OmitArgPrefixes[OutputOptions] = field(default_factory=OutputOptions)
    max_pixels: IntOption = None
    """Refuse larger files. Default: 80 million, or the environment variable CA_NUMPY_MAX_PIXELS."""

    def run(self) -> int:
        options = vars(self.hole) | vars(self.method) | {"max_pixels": self.max_pixels}
        options["boxes"] = [_box(text) for text in options.pop("box")]
        return self._folder(options) if self.image.is_dir() else self._file(options)

    def _file(self, options: dict[str, Any]) -> int:
        if self.image == self.mask == PIPE:
            raise UserError("- stands for standard input, which cannot be the picture and the mask")
        photo = read_photo(_piped(self.image), max_pixels=self.max_pixels)
        named = self.image.with_name(f"{self.image.stem}-inpainted{photo.suffix}")
        out = self.output.out or (PIPE if self.image == PIPE else _free(named))
        if out == PIPE:
            if sys.stdout.isatty():
                raise UserError("a picture is not text for a terminal: redirect standard output, or give --out FILE")
        elif out.resolve() in (self.image.resolve(), self.mask and self.mask.resolve()):
            raise UserError(f"{str(out)!r} would overwrite the input: give another --out")
        elif not out.parent.is_dir() or out.suffix.lower() not in WRITABLE:  # before the work, not after
            raise UserError(f"cannot write {str(out)!r}: use an existing folder and one of {', '.join(WRITABLE)}")
        elif out.exists() and not self.output.overwrite:
            raise UserError(f"{str(out)!r} exists: give another --out, or --overwrite")
        photo = inpaint_photo(photo, _piped(self.mask), quiet=False, **options)
        if out == PIPE:
            content, kept_out = photo.encoded(photo.suffix)
            sys.stdout.buffer.write(content)
        else:
            kept_out = photo.save(out)
            print(printable(str(out)) if sys.stdout.isatty() else out)
        if lost := "; ".join(photo.lost + kept_out):
            print(printable(f"ca-numpy: {out} does not keep {lost}"), file=sys.stderr)
        if self.output.report:
            name = self.image.name
            Report(filled={name: str(out)}, notes={name: lost} if lost else {}).save(self.output.report)
        return 0

    def _folder(self, options: dict[str, Any]) -> int:
        out = self.output.out or self.image.resolve().with_name(f"{self.image.resolve().name}-inpainted")
        if PIPE in (out, self.mask):
            raise UserError("a folder of pictures needs a folder or file of masks, and a folder for the results, not -")
        rank = (ranks.launched() or (0, 1))[0]
        if rank:  # the first speaks for all
            sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        try:
            done = inpaint_folder(
                self.image, self.mask, out, overwrite=self.output.overwrite, quiet=False, comm=ranks.world(), **options
            )
        except UserError:
            if rank:
                return 0
            raise
        if rank:
            return 0
        if self.output.report:
            done.save(self.output.report)
        for name, why in done.failed.items():
            print(printable(f"ca-numpy: {name}: {why}"), file=sys.stderr)
        counts = f"{len(done.filled)} filled, {len(done.there)} there before, {len(done.failed)} failed"
        print(printable(f"{out}: {counts}"))
        return 1 if done.failed else 0


def _piped(path: Path | None) -> Any:
    """The path, or for - what comes from standard input."""
    if path != PIPE:
        return path
    if sys.stdin is None or sys.stdin.isatty():
        raise UserError("- stands for standard input: send a picture into it, as in `ca-numpy inpaint - … < photo.jpg`")
    return io.BytesIO(sys.stdin.buffer.read())


def _free(path: Path) -> Path:
    """The path, or the first of path-2, path-3, … that does not exist."""
    numbered = (path.with_name(f"{path.stem}-{n}{path.suffix}") for n in itertools.count(2))
    return path if not path.exists() else next(other for other in numbered if not other.exists())


def _box(text: str) -> Box:
    """Four integers separated by commas."""
    try:
        left, top, width, height = (int(number) for number in text.split(","))
    except ValueError:
        raise UserError(f"--box {text}: give LEFT,TOP,WIDTH,HEIGHT in pixels, as in 120,80,64,64") from None
    return left, top, width, height
