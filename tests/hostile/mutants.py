"""Mutants of every kind of file that the library reads, and what becomes of them. `hunt.py` runs many in processes.

A mutant is drawn from its kind and a seed alone, so a failure is repeated by `python tests/hostile/hunt.py KIND SEED`.
Mutants change bytes; where a format has checksums, half of them are made right again, so that mutants get past them.
"""

from __future__ import annotations

import importlib.util
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import tifffile
from generator_cases import draw_weights
from PIL import Image, ImageCms, PngImagePlugin

import ca_numpy
from ca_numpy import weights
from ca_numpy.data import load_mask, load_pixels, save_image
from ca_numpy.data.photo import read_photo
from ca_numpy.evaluation import load_pairs, make_pairs
from ca_numpy.filling.holes import hole_of
from ca_numpy.filling.inpainting import inpaint_photo
from ca_numpy.models import OFFICIAL, Generator, Variant
from ca_numpy.training import TrainConfig
from ca_numpy.training.checkpoint import CHECKPOINT, load_checkpoint
from ca_numpy.training.lock import FolderLock
from ca_numpy.training.log import Log
from ca_numpy.training.run import resume_run
from ca_numpy.weights import names

_spec = importlib.util.spec_from_file_location("writers", Path(__file__).parents[1] / "weights" / "conftest.py")
assert _spec is not None
assert _spec.loader is not None
writers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(writers)

Rng = np.random.Generator
SIZE = (20, 24)
MODEL = draw_weights(width=2, dtype=np.float32)
TINY = TrainConfig(
    width=2, critic_width=2, size=16, box=8, max_shrink=1, batch=2, steps=3, pretrain=1, critic_steps=1
)  # fmt: skip


class Kind(NamedTuple):
    """`write` makes the sound file; `read` reads a mutant and raises AssertionError for a wrong result; `share` is how
    many mutants of it are made for one of the others."""

    write: Callable[[Path], object]
    read: Callable[[Path, Rng], object]
    mutate: Callable[[Rng, bytes], bytes]
    share: float = 1.0


# ---- Mutations -----------------------------------------------------------------------------------------------
def changed(rng: Rng, data: bytes) -> bytes:
    """One to three changes: bits, bytes, extreme numbers, pieces cut, doubled or appended; mostly near the ends."""
    found = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        n = len(found)
        near = int(min(n - 1, rng.exponential(300)))
        at = int(rng.choice([rng.integers(n), near, near, n - 1 - near]))
        length = int(rng.integers(1, 9))
        match rng.integers(8):
            case 0 | 1:
                found[at] ^= 1 << int(rng.integers(8))
            case 2:
                found[at : at + length] = rng.bytes(length)
            case 3:
                found[at : at + length] = bytes([int(rng.choice([0, 255, 127, 128]))]) * length
            case 4:
                number = int(rng.choice([0, 1, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**32 - 1, 30_000]))
                found[at : at + 4] = struct.pack(str(rng.choice(["<I", ">I"])), number)
            case 5:
                del found[at : at + int(rng.integers(1, max(2, n // int(rng.choice([2, 30])))))]
                found = found or bytearray(b"\0")
            case 6:
                found[at:at] = found[at : at + int(rng.integers(1, 200))]
            case 7:
                found += rng.bytes(length)
    return bytes(found)


def changed_png(rng: Rng, data: bytes) -> bytes:
    """As `changed`, half of the time with right checksums, or with the pixels compressed again after the change."""
    if rng.random() < 0.5:
        return changed(rng, data)
    chunks, at = [], 8
    while at + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        chunks.append((kind, data[at + 8 : at + 8 + length]))
        at += 12 + length
    which = int(rng.integers(len(chunks)))
    kind, content = chunks[which]
    if kind == b"IDAT" and rng.random() < 0.7:
        content = zlib.compress(changed(rng, zlib.decompress(content)))
    else:
        content = changed(rng, content) if content else rng.bytes(3)
    chunks[which] = (kind, content)
    if rng.random() < 0.2:
        chunks.insert(int(rng.integers(len(chunks))), chunks[int(rng.integers(len(chunks)))])
    parts = (struct.pack(">I4s", len(c), k) + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    return data[:8] + b"".join(parts)


def changed_tiff(rng: Rng, data: bytes) -> bytes:
    """As `changed`, or with the type, the number or the value of a few tags changed."""
    if rng.random() < 0.4 or data[:4] != b"II*\0":
        return changed(rng, data)
    found = bytearray(data)
    (at,) = struct.unpack_from("<I", found, 4)
    (count,) = struct.unpack_from("<H", found, at)
    for _ in range(rng.integers(1, 3)):
        entry = at + 2 + 12 * int(rng.integers(count))
        number = int(rng.choice([0, 1, 2, 3, 8, 16, 64, 255, 9000, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1]))
        match rng.integers(5):
            case 0:
                struct.pack_into("<H", found, entry, int(rng.integers(254, 340)))
            case 1:
                struct.pack_into("<H", found, entry + 2, int(rng.integers(0, 14)))
            case 2:
                struct.pack_into("<I", found, entry + 4, number)
            case 3:
                struct.pack_into("<I", found, entry + 8, number)
            case 4:
                struct.pack_into("<H", found, entry + 8, int(rng.integers(0, 100)))
    return bytes(found)


def changed_zip(rng: Rng, data: bytes) -> bytes:
    """As `changed`, half of the time in a member, packed again with the right checksum."""
    if rng.random() < 0.5:
        return changed(rng, data)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
        members = source.namelist()
        pickles = [name for name in members if name.endswith("data.pkl")]
        chosen = str(rng.choice(pickles if pickles and rng.random() < 0.8 else members))
        for name in members:
            content = source.read(name)
            info = zipfile.ZipInfo(name)
            info.compress_type = source.getinfo(name).compress_type
            target.writestr(info, changed(rng, content) if name == chosen and content else content)
    return out.getvalue()


def changed_index(rng: Rng, data: bytes) -> bytes:
    """A TensorFlow index as `changed`, or with changed entries and right checksums."""
    if rng.random() < 0.3:
        return changed(rng, data)
    entries = [writers.header()]
    for name, array in sorted(MODEL.items())[:6]:
        entry = writers.Entry(1, array.shape, 0, 0, array.nbytes, writers.masked(b"1234")).encode()
        entries.append((name.encode(), entry))
    which = int(rng.integers(len(entries)))
    entries[which] = (entries[which][0], changed(rng, entries[which][1]))
    if rng.random() < 0.3:
        return bytes(writers.table(entries, raw_block=changed(rng, writers.block(entries[:3], restart_interval=16))))
    return bytes(writers.table(entries, repeats=int(rng.choice([1, 1, 50]))))


VALUES = (
    None, True, -1, 0, 1, 7, 2**31, 2**53, 2**64, 10**30, 10**400, 0.5, -1e300, 1e300, "", "a", "\x1b[31mred\x1b[0m",
    "\u202eabc", "../../etc/passwd", "/dev/zero", "\0", "n" * 5000, [], [[]], {}, [1, 2, 3, 4], [0.5] * 3, {"a": 1},
)  # fmt: skip


def changed_json(rng: Rng, data: bytes) -> bytes:
    """As `changed`, or with a value replaced, removed, renamed, doubled or nested deeply."""
    if rng.random() < 0.3:
        return changed(rng, data)
    lines = data.splitlines() if b"\n{" in data else [data]
    which = int(rng.integers(len(lines)))
    tree = json.loads(lines[which])
    for _ in range(rng.integers(1, 3)):
        nodes = list(_nodes(tree))
        parent, key = nodes[int(rng.integers(len(nodes)))]
        match rng.integers(8):
            case 0 | 1 | 2 | 3 if isinstance(parent, dict | list):
                parent[key] = VALUES[int(rng.integers(len(VALUES)))]
            case 4 if isinstance(parent, dict):
                del parent[key]
            case 5 if isinstance(parent, dict):
                parent[str(rng.choice(["step", "\x1b[2J", "data", "n" * 300]))] = parent.pop(key)
            case 6 if isinstance(parent, list):
                parent.extend([parent[key]] * int(rng.choice([1, 100])))
            case _:
                other, there = nodes[int(rng.integers(len(nodes)))]
                parent[key] = json.loads(json.dumps(other[there]))
        if not tree:
            break
    text = json.dumps(tree).encode()
    if rng.random() < 0.05:
        text = text.replace(b'"', b'["', 1) if rng.random() < 0.5 else b"[" * 100_000 + text
    lines[which] = text
    return b"\n".join(lines) + b"\n"


def _nodes(tree: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from _nodes(tree[key])


# ---- Pictures and masks --------------------------------------------------------------------------------------
def picture(channels: int = 3, dtype: Any = np.uint8) -> Any:
    rng = np.random.default_rng(channels)
    row, column = np.mgrid[: SIZE[0], : SIZE[1]]
    smooth = (row + column * 2)[..., None] * 3 + rng.integers(0, 20, (*SIZE, channels))
    scale = {np.uint8: 1, np.uint16: 257}.get(dtype, 1 / 255)
    return np.squeeze((smooth.clip(0, 255) * scale).astype(dtype))


def saved(kind: str, mode: str = "RGB", **options: Any) -> Callable[[Path], object]:
    """Writes a picture by Pillow, with EXIF, profile and text where the format has them."""

    def write(path: Path) -> None:
        image = Image.fromarray(picture(3 if mode in ("RGB", "P", "1", "CMYK") else len(mode)))
        image = image.convert(mode)
        if kind == "PNG":
            notes = PngImagePlugin.PngInfo()
            notes.add_text("title", "a picture", zip=True)
            options["pnginfo"] = notes
        if kind in ("PNG", "JPEG", "WEBP", "AVIF") and mode != "CMYK":
            exif = Image.Exif()
            exif[0x0112], exif[0x010E] = 6, "a picture"
            options["exif"] = exif
            options["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        if "save_all" in options:  # which leaves marks on the frames
            options["append_images"] = [Image.fromarray(picture() // n) for n in (2, 3)]
        image.save(path, kind, **options)

    return write


def by_plugin(kind: str, mode: str = "RGB") -> Callable[[Path], object]:
    """Writes HEIC or JPEG XL, with EXIF."""

    def write(path: Path) -> None:
        image = Image.fromarray(picture(len(mode)))
        exif = Image.Exif()
        exif[0x0112] = 6
        if kind == "HEIF":
            import pillow_heif

            pillow_heif.from_pillow(image).save(path, quality=60, exif=exif.tobytes())
        else:
            import pillow_jxl  # noqa: F401 (it registers itself)

            image.save(path, "JXL", quality=80, exif=exif.tobytes())

    return write


def tiff(dtype: Any, channels: int, **options: Any) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        samples = picture(channels, dtype)
        if options.get("planarconfig") == "separate":
            samples = np.moveaxis(samples, -1, 0)
        tifffile.imwrite(path, samples, photometric="rgb" if channels > 2 else "minisblack", **options)

    return write


def read_picture(path: Path, rng: Rng) -> None:
    """Read, filled and written as by the command; a mutant may be a picture of any size."""
    if rng.random() < 0.2:
        pixels = load_pixels(path)
        assert pixels.dtype == np.uint8
        assert pixels.shape[2:] == (3,)
        return
    photo = read_photo(path)
    height, width = photo.samples.shape[:2]
    assert (photo.samples.dtype.kind != "f") or np.isfinite(photo.samples).all()
    if height * width < 10**6:
        box = (0, 0, max(width // 2, 1), height)
        filled = inpaint_photo(photo, None, boxes=[box], method="mean")
        suffix = (
            photo.suffix if rng.random() < 0.5 else str(rng.choice([".png", ".jpg", ".tif", ".webp", ".bmp", ".ppm"]))
        )
        filled.save(path.with_name(f"filled{suffix}"))


def read_mask(path: Path, rng: Rng) -> None:
    photo = read_photo(path.parent / "picture.png")
    kind = str(rng.choice(["auto", "auto", "white", "transparent", "paint", "difference"]))
    if rng.random() < 0.2:
        assert set(np.unique(load_mask(path))) <= {0, 1}
        return
    hole = hole_of(photo, path, kind=kind, grow=int(rng.integers(3)))  # type: ignore[arg-type]
    assert hole.shape == (*SIZE, 1)
    assert 0 < hole.mean() < 1


def drawn(kind: str, mode: str) -> Callable[[Path], object]:
    """Writes a mask; a picture for it lies beside it."""

    def write(path: Path) -> None:
        save_image(path.parent / "picture.png", picture())
        hole = np.zeros(SIZE, np.uint8)
        hole[5:12, 6:15] = 255
        image = Image.fromarray(hole)
        if mode == "RGBA":
            image = Image.merge("RGBA", (image, image, image, image))
        image.convert(mode).save(path, kind)

    return write


# ---- Weights -------------------------------------------------------------------------------------------------
def port() -> dict[str, Any]:
    """The model under a port's names."""
    state = {}
    for module, layer in names._daa233_modules().items():
        if layer.startswith("inpaint_net/"):
            state[f"{module}.weight"] = MODEL[f"{layer}/kernel"].transpose(3, 2, 0, 1)
            state[f"{module}.bias"] = MODEL[f"{layer}/bias"]
    return state


def write_legacy(path: Path) -> None:
    state, storages = {}, {}
    for i, (name, array) in enumerate(port().items()):
        storages[f"{i:02d}"] = (array.size, array.astype("<f4").tobytes())
        stride = tuple(int(np.prod(array.shape[k + 1 :])) for k in range(array.ndim))
        state[name] = writers.tensor(writers.storage(f"{i:02d}", array.size), 0, array.shape, stride)
    writers.write_legacy(path, {"netG": state, "epoch": 3}, storages)


def write_unchecked(path: Path) -> None:
    """Without the checksum of our files."""
    weights.write(path, MODEL, metadata=Generator.from_tf(MODEL).describe())
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    table = json.loads(data[8 : 8 + length])
    del table["__metadata__"]["sha256"]
    header = json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + length :])


def read_weights(path: Path, rng: Rng) -> None:
    model = ca_numpy.load(path)
    assert all(np.isfinite(array).all() for array in model.arrays().values())


# ---- JSON ----------------------------------------------------------------------------------------------------
def run_folder(path: Path) -> Path:
    """A run with a checkpoint, beside the mutant; made once."""
    folder = path.parent / "run"
    if not (folder / CHECKPOINT).exists():
        (path.parent / "pictures").mkdir()
        for n in range(3):
            save_image(path.parent / "pictures" / f"{n}.png", picture(3) + np.uint8(n))
        options = asdict(TINY) | {"data": str(path.parent / "pictures"), "ema": 0.9}
        ca_numpy.train(TrainConfig(**options), out=folder, stop_after=1, quiet=True, backend="numpy")
    return folder


def write_metadata(name: str) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        path.write_text(weights.read_metadata(run_folder(path) / CHECKPOINT)[name], encoding="utf-8")

    return write


def read_metadata(name: str) -> Callable[[Path, Rng], object]:
    """Resumes the run with this as the checkpoint's metadata."""

    def read(path: Path, rng: Rng) -> None:
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError:
            return  # safetensors cannot hold it
        source, copy = run_folder(path), path.parent / "copy"
        copy.mkdir(exist_ok=True)
        metadata = weights.read_metadata(source / CHECKPOINT)
        metadata.pop("sha256", None)
        weights.write(copy / CHECKPOINT, weights.read(source / CHECKPOINT), metadata=metadata | {name: text})
        config = load_checkpoint(copy).config
        if not config.data.startswith(str(path.parent)):
            return  # another folder, which is read as pictures
        with FolderLock() as lock:
            assert resume_run(copy, {}, config=None, out=None, lock=lock).step >= 0

    return read


def read_log(path: Path, rng: Rng) -> None:
    log = Log(path)
    log.truncate(before=2)
    assert all(record["step"] <= 2 for record in log.records)


def write_pairs(path: Path) -> None:
    from ca_numpy.data import Concat, ImageFolder, Photographs, Subset, Textures

    run_folder(path)
    data = Concat(ImageFolder(path.parent / "pictures"), Subset(Photographs(), [3]), Subset(Textures(64), [5]))
    make_pairs(data, size=16, count=8, holes="mixed").save(path)
    entries = json.loads(path.read_text())
    entries["pairs"][0]["hole"] = {"kind": "polygon", "points": [[[2, 2], [2, 9], [9, 5.5]]]}
    path.write_text(json.dumps(entries))


def read_pairs(path: Path, rng: Rng) -> None:
    images, masks = load_pairs(path).read()
    assert len(images) == len(masks)


def read_variant(path: Path, rng: Rng) -> None:
    text = path.read_bytes().decode(errors="replace")
    variant = Variant.from_json(text)
    assert Variant.from_json(variant.to_json()) == variant


def read_config(path: Path, rng: Rng) -> None:
    TrainConfig.from_json(path.read_bytes()).check()


PLUGINS = {"heic": "pillow_heif", "jxl": "pillow_jxl"}


def can_write(suffix: str) -> bool:
    """Whether this Pillow has the format, or a plug-in for it."""
    Image.init()
    if suffix in PLUGINS:
        return importlib.util.find_spec(PLUGINS[suffix]) is not None
    return suffix not in ("avif", "webp", "jp2") or f".{suffix}" in Image.EXTENSION


def images(**kinds: Callable[[Path], object]) -> dict[str, Kind]:
    return {
        name.replace("_", "."): Kind(
            write, read_picture, {"png": changed_png, "tif": changed_tiff}.get(name[-3:], changed)
        )
        for name, write in kinds.items()
        if can_write(name.rpartition("_")[2])
    }


#: Names end in the file's suffix.
KINDS: dict[str, Kind] = {
    **images(
        rgb_png=saved("PNG"), alpha_png=saved("PNG", "RGBA"), palette_png=saved("PNG", "P"), bits_png=saved("PNG", "1"),
        deep_png=lambda path: path.write_bytes(imagecodecs.png_encode(picture(3, np.uint16))),
        deepgrey_png=lambda path: path.write_bytes(imagecodecs.png_encode(picture(1, np.uint16))),
        rgb_jpg=saved("JPEG"), progressive_jpg=saved("JPEG", progressive=True), cmyk_jpg=saved("JPEG", "CMYK"),
        lossy_webp=saved("WEBP"), lossless_webp=saved("WEBP", "RGBA", lossless=True),
        plain_tif=saved("TIFF"), deflate_tif=saved("TIFF", compression="tiff_deflate"),
        lzw_tif=saved("TIFF", "RGBA", compression="tiff_lzw"), jpeg_tif=saved("TIFF", compression="jpeg"),
        fax_tif=saved("TIFF", "1", compression="group4"), palette_tif=saved("TIFF", "P"),
        deep_tif=tiff(np.uint16, 3), packed_tif=tiff(np.uint16, 4, compression="zlib", predictor=True),
        planes_tif=tiff(np.uint16, 3, planarconfig="separate"), floats_tif=tiff(np.float32, 3, compression="lzw"),
        tiled_tif=tiff(np.uint16, 1, tile=(16, 16), compression="zlib"),
        rgb_avif=saved("AVIF", quality=60, speed=10), alpha_avif=saved("AVIF", "RGBA", quality=60, speed=10),
        rgb_heic=by_plugin("HEIF"), alpha_heic=by_plugin("HEIF", "RGBA"),
        rgb_jxl=by_plugin("JXL"), alpha_jxl=by_plugin("JXL", "RGBA"),
        palette_gif=saved("GIF", "P"), rgb_bmp=saved("BMP"), rgb_ppm=saved("PPM"), rgb_jp2=saved("JPEG2000"),
        rgb_ico=saved("ICO", "RGBA"), rgb_tga=saved("TGA", compression="tga_rle"),
        rgb_sgi=saved("SGI"), rgb_pcx=saved("PCX"),
        moving_gif=saved("GIF", "P", save_all=True),
        moving_png=saved("PNG", save_all=True),
        moving_webp=saved("WEBP", save_all=True),
        pages_tif=saved("TIFF", save_all=True),
        two_mpo=saved("MPO", save_all=True),
        big_tif=tiff(np.uint16, 3, bigtiff=True), other_tif=tiff(np.uint16, 3, byteorder=">"),
        half_tif=tiff(np.float16, 1), long_tif=tiff(np.int32, 1), cielab_tif=saved("TIFF", "LAB"),
    ),
    "mask.white.png": Kind(drawn("PNG", "L"), read_mask, changed_png, 2),
    "mask.paint.png": Kind(drawn("PNG", "RGBA"), read_mask, changed_png, 2),
    "mask.white.jpg": Kind(drawn("JPEG", "L"), read_mask, changed),
    "mask.bits.tif": Kind(drawn("TIFF", "1"), read_mask, changed_tiff),
    "mask.white.gif": Kind(drawn("GIF", "L"), read_mask, changed),
    "mask.paint.webp": Kind(drawn("WEBP", "RGBA"), read_mask, changed),
    "weights.safetensors": Kind(
        lambda path: weights.write(path, MODEL, metadata=Generator.from_tf(MODEL).describe()), read_weights, changed
    ),
    "unchecked.safetensors": Kind(write_unchecked, read_weights, changed, 2),
    "stored.npz": Kind(lambda path: np.savez(path, **MODEL), read_weights, changed_zip, 2),
    "packed.npz": Kind(lambda path: np.savez_compressed(path, **MODEL), read_weights, changed_zip),
    "zip.pth": Kind(lambda path: writers.write_state(path, port(), wrap=lambda s: {"netG": s, "epoch": 3}),
                    read_weights, changed_zip, 3),
    "legacy.pth": Kind(write_legacy, read_weights, changed, 3),
    "tensorflow.index": Kind(
        lambda path: writers.write_bundle(path.with_suffix(""), MODEL), read_weights, changed_index, 2
    ),
    "config.json": Kind(write_metadata("config"), read_config, changed_json, 2),
    "variant.json": Kind(lambda path: path.write_text(OFFICIAL.to_json()), read_variant, changed_json, 2),
    "log.jsonl": Kind(
        lambda path: path.write_bytes((run_folder(path) / "log.jsonl").read_bytes() * 3), read_log, changed_json, 2
    ),
    "pairs.json": Kind(write_pairs, read_pairs, changed_json, 3),
    "state.resumed.json": Kind(write_metadata("state"), read_metadata("state"), changed_json, 2),
    "config.resumed.json": Kind(write_metadata("config"), read_metadata("config"), changed_json),
}  # fmt: skip


def mutant(kind: str, seed: int, sound: bytes) -> tuple[bytes, Rng]:
    """The mutant of a sound file, and the generator for what is done with it."""
    rng = np.random.default_rng([zlib.crc32(kind.encode()), seed])
    return KINDS[kind].mutate(rng, sound), rng
