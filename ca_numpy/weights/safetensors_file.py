"""The project's own weight files: `.safetensors`, a JSON header followed by raw data.

    8 bytes    length n of the header, little-endian
    n bytes    {"__metadata__": {text: text, …},
                name: {"dtype": "F32", "shape": [5, 5, 5, 32], "data_offsets": [0, 16000]}, …}
    the rest   the arrays in row-major order, little-endian, at these offsets

Files are read by the `safetensors` library, which checks all bounds. They are written here because the library writes
metadata in random order, and equal weights should give equal files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from ca_numpy.atomic import replacing
from ca_numpy.errors import UserError

_TAGS = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32",
    "int32": "I32", "uint64": "U64", "int64": "I64", "float16": "F16", "float32": "F32", "float64": "F64",
}  # fmt: skip


def read(path: str | PathLike[str]) -> dict[str, NDArray[Any]]:
    """All arrays of a `.safetensors` file. Raises UserError for an unreadable, truncated or damaged file."""
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    except (TypeError, AttributeError, KeyError) as error:  # how the library fails on bfloat16 and float8
        message = f"{os.fspath(path)}: holds a data type that NumPy lacks ({error}); convert it to float32"
        raise UserError(message) from error


def read_metadata(path: str | PathLike[str]) -> dict[str, str]:
    """The metadata of a `.safetensors` file. Raises UserError for an unreadable, truncated or damaged file."""
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def write(
    path: str | PathLike[str], arrays: Mapping[str, ArrayLike], *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write named arrays, each of any shape, and text as `.safetensors`; equal input gives equal bytes.

    The file is written atomically and flushed to disk; an existing file is kept if anything fails.

    Raises UserError for another suffix, a missing or read-only folder, a dtype that the format lacks (complex, text,
    objects), and metadata that is not text.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise UserError(f"{path}: weights are written as .safetensors; use that suffix")
    chunks = _chunks(path, {name: np.asarray(array) for name, array in arrays.items()}, dict(metadata or {}))
    try:
        with replacing(path) as temporary, temporary.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())  # or a power failure could leave an empty file
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error


def _chunks(path: Path, arrays: dict[str, NDArray[Any]], metadata: dict[str, str]) -> Iterator[bytes]:
    """The file in pieces, one per array. Errors are raised before the first piece."""
    if not all(isinstance(text, str) for text in [*arrays, *metadata, *metadata.values()]):
        raise UserError(f"{path}: names and metadata must be text; convert them with str()")
    table: dict[str, Any] = {}
    if metadata:
        table["__metadata__"] = dict(sorted(metadata.items()))
    offset = 0
    for name in sorted(arrays):
        array = arrays[name]
        if name == "__metadata__":
            raise UserError(f"{path}: '__metadata__' is reserved by the format; rename that array")
        if array.dtype.name not in _TAGS:
            raise UserError(f"{path}: {name!r} has dtype {array.dtype}, which .safetensors lacks; convert it")
        end = offset + array.nbytes
        tag = _TAGS[array.dtype.name]
        table[name] = {"dtype": tag, "shape": list(array.shape), "data_offsets": [offset, end]}
        offset = end
    try:
        header = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{path}: a name or metadata is not valid Unicode ({error.reason})") from error
    header += b" " * (-len(header) % 8)  # align the data to eight bytes
    return _pieces(header, arrays)


def _pieces(header: bytes, arrays: dict[str, NDArray[Any]]) -> Iterator[bytes]:
    yield len(header).to_bytes(8, "little")
    yield header
    for name in sorted(arrays):
        array = arrays[name]
        yield array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _unreadable(path: str | PathLike[str], error: Exception) -> UserError:
    reason = " ".join(str(error).split())
    return UserError(f"{os.fspath(path)}: not a complete .safetensors file ({reason}); copy or save it again")
