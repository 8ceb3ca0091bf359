"""The project's own weight files: `.safetensors`, a JSON header followed by raw data.

    8 bytes    length n of the header, little-endian
    n bytes    {"__metadata__": {text: text, …},
                name: {"dtype": "F32", "shape": [5, 5, 5, 32], "data_offsets": [0, 16000]}, …}
    the rest   the arrays in row-major order, little-endian, at these offsets

Files are read by the `safetensors` library, which checks all bounds. They are written here because the library writes
metadata in random order, and equal weights should give equal files. Ours have a checksum in the metadata, of the
arrays and the other metadata, whatever their order; it is verified where a file has one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, deserialize, safe_open

from ca_numpy.atomic import replacing
from ca_numpy.errors import UserError, quoted, reason

_TAGS = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32",
    "int32": "I32", "uint64": "U64", "int64": "I64", "float16": "F16", "float32": "F32", "float64": "F64",
}  # fmt: skip


_DTYPES = {tag: np.dtype(name).newbyteorder("<") for name, tag in _TAGS.items()} | {"BF16": np.dtype("<u2")}
_CHECKSUM = "sha256"


def read(path: str | PathLike[str]) -> dict[str, NDArray[Any]]:
    """All arrays of a `.safetensors` file, its checksum verified if it has one. bfloat16 becomes float32.

    Raises UserError for an unreadable, truncated or damaged file, and data types that NumPy lacks (float8).
    """
    try:
        stored: list[tuple[str, dict[str, Any]]] = sorted(
            deserialize(Path(path).read_bytes()), key=lambda pair: pair[0]
        )
        metadata = _metadata(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    said = metadata.pop(_CHECKSUM, None)
    if said is not None and said != _checksum(
        ((name, e["dtype"], e["shape"], e["data"]) for name, e in stored), metadata
    ):
        why = f"its checksum differs: damaged, or changed by a program that kept the metadata {_CHECKSUM!r}"
        raise UserError(f"{os.fspath(path)}: {why}; copy or save it again")
    return {name: _array(path, name, entry) for name, entry in stored}


def _array(path: str | PathLike[str], name: str, entry: Mapping[str, Any]) -> NDArray[Any]:
    if entry["dtype"] not in _DTYPES:
        what = f"{quoted(name)} has the data type {quoted(entry['dtype'])}"
        raise UserError(f"{os.fspath(path)}: {what}, which NumPy lacks; convert it to float32")
    dtype = _DTYPES[entry["dtype"]]
    try:
        array: NDArray[Any] = np.ndarray(entry["shape"], dtype, entry["data"]).astype(dtype.newbyteorder("="))
    except (ValueError, OverflowError) as error:  # an empty array can still have absurd dimensions
        raise _unreadable(path, error) from error
    if entry["dtype"] == "BF16":  # the upper half of a float32
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array


def _checksum(entries: Iterable[tuple[str, str, list[int], Any]], metadata: Mapping[str, str]) -> str:
    """SHA-256 of the sorted arrays, (name, data type, shape, data), and the other metadata."""
    digest = hashlib.sha256()
    for *entry, data in entries:
        digest.update(json.dumps(entry).encode())
        digest.update(data)
    digest.update(json.dumps(sorted(metadata.items())).encode())
    return digest.hexdigest()


def read_metadata(path: str | PathLike[str]) -> dict[str, str]:
    """The metadata of a `.safetensors` file. Raises UserError for an unreadable, truncated or damaged file."""
    try:
        return {key: text for key, text in _metadata(path).items() if key != _CHECKSUM}
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _metadata(path: str | PathLike[str]) -> dict[str, str]:
    with safe_open(path, framework="numpy") as file:
        return dict(file.metadata() or {})


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
        with replacing(path) as temporary, temporary.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())  # or a power failure could leave an empty file
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error


def _chunks(path: Path, arrays: dict[str, NDArray[Any]], metadata: dict[str, str]) -> list[bytes]:
    """The file in pieces, one per array."""
    if not all(isinstance(text, str) for text in [*arrays, *metadata, *metadata.values()]):
        raise UserError(f"{path}: names and metadata must be text; convert them with str()")
    if _CHECKSUM in metadata or "__metadata__" in arrays:
        raise UserError(f"{path}: '__metadata__' and the metadata {_CHECKSUM!r} are reserved; rename yours")
    for name, array in arrays.items():
        if array.dtype.name not in _TAGS:
            raise UserError(f"{path}: {name!r} has dtype {array.dtype}, which .safetensors lacks; convert it")
    entries = [
        (name, _TAGS[arrays[name].dtype.name], list(arrays[name].shape), _bytes(arrays[name]))
        for name in sorted(arrays)
    ]
    table: dict[str, Any] = {}
    table["__metadata__"] = dict(sorted((metadata | {_CHECKSUM: _checksum(entries, metadata)}).items()))
    offset = 0
    for name, tag, shape, data in entries:
        table[name] = {"dtype": tag, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    try:
        header = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{path}: a name or metadata is not valid Unicode ({error.reason})") from error
    header += b" " * (-len(header) % 8)  # align the data to eight bytes
    return [len(header).to_bytes(8, "little"), header, *(data for *_, data in entries)]


def _bytes(array: NDArray[Any]) -> bytes:
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _unreadable(path: str | PathLike[str], error: Exception) -> UserError:
    return UserError(f"{os.fspath(path)}: not a complete .safetensors file ({reason(error)}); copy or save it again")
