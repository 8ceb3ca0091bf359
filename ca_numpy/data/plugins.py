"""HEIC and JPEG XL, which Pillow reads by plug-ins (extras `heic` and `jxl`), and the depth of newer formats."""

from __future__ import annotations

from typing import IO

from PIL import Image

from ca_numpy.data import claims
from ca_numpy.errors import UserError

#: Bytes 8 to 12 of HEIC, whose bytes 4 to 8 are ftyp.
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_JXL_BOX = b"\x00\x00\x00\x0cJXL \r\n\x87\n"
#: Width by height of a JPEG XL that gives only its height.
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def opened(stream: IO[bytes], most: int) -> Image.Image | None:
    """A HEIC or JPEG XL picture; None for another format.

    Raises UserError without its plug-in, and for a JPEG XL of more than `most` pixels, which is decoded on opening.
    """
    stream.seek(0)
    head = stream.read(12)
    stream.seek(0)
    if head[4:8] == b"ftyp" and head[8:] in _HEIC:
        try:
            import pillow_heif
        except ImportError:
            raise UserError("HEIC is read by pillow-heif: pip install 'ca-numpy[heic]'") from None
        pillow_heif.register_heif_opener()
        return Image.open(stream, formats=["HEIF"])
    if head[:2] == b"\xff\x0a" or head == _JXL_BOX:
        try:
            import pillow_jxl  # noqa: F401 (it registers itself)
        except ImportError:
            raise UserError("JPEG XL is read by pillow-jxl-plugin: pip install 'ca-numpy[jxl]'") from None
        width, height, _ = _jxl_header(stream.read())
        if not width:
            raise UserError("it is truncated or damaged: a JPEG XL without a picture")
        claims.check_size((width, height), most)
        stream.seek(0)
        image = Image.open(stream, formats=["JXL"])
        if not getattr(image, "jpeg", False):  # the decoder has turned it, and EXIF does not count
            image.getexif().pop(0x0112, None)
        return image
    return None


def depth(image: Image.Image) -> int:
    """Bits a sample in a file of AVIF, HEIC or JPEG XL; 8 for other formats, and where it cannot be found."""
    stream = getattr(image, "fp", None)
    if image.format == "HEIF":
        return int(image.info.get("bit_depth", 8))
    if image.format == "JXL":
        return _jxl_header(image.fc)[2]  # type: ignore[attr-defined]  # the file's content
    if image.format == "AVIF" and stream is not None:
        stream.seek(0)
        content = stream.read()
        if (at := content.find(b"av1C")) >= 0:
            high, twelve = content[at + 6] & 0x40, content[at + 6] & 0x20
            return 12 if high and twelve else 10 if high else 8
    return 8


class _Bits:
    """The bits of a JPEG XL codestream, in its order."""

    def __init__(self, content: bytes) -> None:
        self.value, self.at = int.from_bytes(content[:64], "little"), 0

    def take(self, count: int) -> int:
        self.at += count
        return (self.value >> (self.at - count)) & ((1 << count) - 1)

    def side(self) -> int:
        """A side of less than 2^9, 2^13, 2^18 or 2^30 pixels."""
        return self.take((9, 13, 18, 30)[self.take(2)]) + 1

    def size(self) -> tuple[int, int]:
        eighths = self.take(1)
        height = 8 * (self.take(5) + 1) if eighths else self.side()
        if ratio := self.take(3):
            across, down = _RATIOS[ratio - 1]
            return height * across // down, height
        return 8 * (self.take(5) + 1) if eighths else self.side(), height


def _jxl_header(content: bytes) -> tuple[int, int, int]:
    """Width, height and bits a sample (ISO/IEC 18181-1, annex D). The first two are 0 where there is no codestream."""
    at = 0
    while content[:2] != b"\xff\x0a" and at + 8 <= len(content):  # boxes, one of which holds the codestream
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        start = at + 8
        if length == 1:
            length, start = int.from_bytes(content[start : start + 8], "big"), start + 8
        if kind in (b"jxlc", b"jxlp"):
            content = content[start + 4 * (kind == b"jxlp") :]
            break
        at += length if length >= 8 else len(content)
    if content[:2] != b"\xff\x0a":
        return 0, 0, 8
    bits = _Bits(content[2:])
    width, height = bits.size()
    if bits.take(1):  # all metadata have their defaults
        return width, height, 8
    if bits.take(1):  # orientation, intrinsic size, preview, animation
        bits.take(3)
        if bits.take(1):
            bits.size()
        if bits.take(1) or bits.take(1):
            return width, height, 8  # whose depth is not looked for
    depths = (32, 16, 24) if bits.take(1) else (8, 10, 12)
    choice = bits.take(2)
    return width, height, depths[choice] if choice < 3 else bits.take(6) + 1
