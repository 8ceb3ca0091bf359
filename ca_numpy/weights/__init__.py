"""Reading and writing weight files, always as {the authors' variable name: array}, kernels H W I O.

    read("snap-0")                    the authors' TensorFlow checkpoint: snap-0.index and its shards
    read("gen_00430000.pt")           a PyTorch port's state dict, renamed and transposed
    read("weights.safetensors")       our own format, written by write("weights.safetensors", arrays)
    read("weights.npz")               NumPy's

Neither TensorFlow nor torch is needed, and nothing in a file is ever executed. `tf_bundle`, `torch_file`,
`safetensors_file` and `npz_file` read one format each; `names` translates between naming schemes.
"""

from __future__ import annotations

import os
import re
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from ca_numpy.errors import UserError, quoted
from ca_numpy.weights import names, npz_file, safetensors_file, tf_bundle, torch_file
from ca_numpy.weights.limits import Archive, refusing
from ca_numpy.weights.names import Naming, canonical, naming
from ca_numpy.weights.safetensors_file import write

__all__ = ["Naming", "canonical", "channel_order", "naming", "origin", "read", "read_metadata", "write"]

_SUPPORTED = (
    "supported are .safetensors, .npz, TensorFlow V2 checkpoints (.index with its .data-* files) and "
    "PyTorch's state dicts (.pth, .pt, .ckpt)"
)


def read(path: str | PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read the weights in a file: {the authors' variable name: array}, sorted; kernels H W I O and (in, out).

    The format is detected from the contents, not the suffix. A TensorFlow checkpoint may be given by its prefix, its
    `.index` or any of its other files, and a folder if it holds a single `.index` or `.safetensors`. TensorFlow and
    PyTorch files give the two networks' parameters without optimiser states; `.safetensors` and `.npz` are returned
    as they are, unless they use a PyTorch port's names. dtypes are kept (bfloat16 becomes float32).

    Raises UserError for a missing, truncated or damaged file, an unknown or unsupported format, a file whose code
    would have to be run, an unknown network, and a folder with no or several candidates.
    """
    file = _locate(Path(path))
    kind = _kind(file)
    arrays = _READERS[kind](file)
    if kind == "torch" or naming(arrays) in ("daa233", "fgvc"):
        arrays = names.to_authors(arrays, source=str(file))
    return dict(sorted(arrays.items()))


def origin(path: str | PathLike[str]) -> Naming | None:
    """The naming scheme of a file's parameters, before `read` translates them; None if unknown.

    Raises UserError as `read` does.
    """
    file = _locate(Path(path))
    return naming(_READERS[_kind(file)](file))


def channel_order(path: str | PathLike[str]) -> Literal["rgb", "bgr"]:
    """The channel order of the images that a file's network takes.

    Our own files record it in their metadata. The authors' TensorFlow checkpoints and "fgvc" files are for BGR images;
    all others are assumed to be for RGB.

    Raises UserError as `read` does.
    """
    file = _locate(Path(path))
    said = read_metadata(file).get("channel_order")
    if said not in ("rgb", "bgr", None):
        raise UserError(f"{file}: its metadata's channel_order is neither 'rgb' nor 'bgr': {quoted(said)}")
    return "bgr" if said == "bgr" or (said is None and (_kind(file) == "tf" or origin(file) == "fgvc")) else "rgb"


def read_metadata(path: str | PathLike[str]) -> dict[str, str]:
    """The metadata that `write(..., metadata=...)` stored in a `.safetensors` file; {} for other formats.

    Raises UserError for a missing, truncated or damaged file, and an unknown format.
    """
    file = _locate(Path(path))
    return safetensors_file.read_metadata(file) if _kind(file) == "safetensors" else {}


# ---- Finding the file and its format -----------------------------------------------------------------------


def _locate(path: Path) -> Path:
    """The file for a path that may be a folder, or any part of a TensorFlow checkpoint."""
    if path.is_dir():
        return _only_checkpoint(path)
    prefix, parts = re.subn(r"\.(data-\d{5}-of-\d{5}|meta)$", "", str(path))
    index = Path(f"{prefix}.index")
    if index.is_file() and (parts or not path.is_file()):
        return index
    if parts or not path.is_file():
        raise UserError(f"{path}: neither this file nor {index.name} exists; check the path")
    return path


def _only_checkpoint(folder: Path) -> Path:
    found = sorted(file for file in folder.iterdir() if file.suffix in (".index", ".safetensors"))
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{folder}: several checkpoints ({_listing(found)}); give one of them")
    others = _listing(sorted(folder.iterdir()))
    raise UserError(f"{folder}: no .index or .safetensors in this folder (found: {others}); give a file")


def _listing(files: list[Path]) -> str:
    shown = ", ".join(file.name for file in files[:8])
    return (shown or "nothing") + (f" and {len(files) - 8} more" if len(files) > 8 else "")


def _kind(file: Path) -> str:
    """The format of a file, detected from its first or last bytes, or its suffix if they are damaged."""
    try:
        with file.open("rb") as stream:
            head = stream.read(32)
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(size - len(tf_bundle.MAGIC), 0))
            tail = stream.read()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from error
    if size == 0:
        raise UserError(f"{file}: the file is empty; copy or download it again")
    if tail == tf_bundle.MAGIC:
        if file.suffix == ".index":
            return "tf"
        raise UserError(f"{file}: a TensorFlow V1 checkpoint, or a renamed index; {_SUPPORTED}")
    if head.startswith(b"PK"):
        return _kind_of_zip(file)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size:
        return "safetensors"
    if torch_file.is_legacy(head):
        return "torch"
    if head.startswith(b"\x80"):
        raise UserError(f"{file}: a Python pickle, which could run code and is never read; {_SUPPORTED}")
    by_suffix = {".index": "tf", ".safetensors": "safetensors"}
    if file.suffix in by_suffix:  # its reader reports the error
        return by_suffix[file.suffix]
    raise UserError(f"{file}: unknown format; {_SUPPORTED}")


def _kind_of_zip(file: Path) -> str:
    with refusing(file, "archive"), Archive(file) as archive:
        members = archive.names
    if any(member.endswith("/data.pkl") for member in members):
        return "torch"
    if members and all(member.endswith(".npy") for member in members):
        return "npz"
    raise UserError(f"{file}: a zip archive from neither NumPy nor PyTorch; {_SUPPORTED}")


# ---- One reader per format ---------------------------------------------------------------------------------


def _read_tf(file: Path) -> dict[str, NDArray[Any]]:
    prefix = str(file).removesuffix(".index")
    stored = tf_bundle.read_index(prefix).variables
    wanted = canonical(stored)
    if not wanted:
        raise UserError(
            f"{file}: none of its {len(stored)} variables is in inpaint_net/ or discriminator/; "
            "this is a checkpoint of another network"
        )
    return tf_bundle.read(prefix, wanted)


_READERS = {"tf": _read_tf, "torch": torch_file.read, "npz": npz_file.read, "safetensors": safetensors_file.read}
