"""Read TensorFlow V2 checkpoints ("TensorBundle") with NumPy alone.

A checkpoint with the prefix `snap-0` consists of

    snap-0.index                    the tensors and their positions: a sorted table of (name, entry)
    snap-0.data-00000-of-00001      the data, little-endian, one tensor after the other; one or more shards
    snap-0.meta                     the TensorFlow graph, not needed here

The table has LevelDB's format. From the end of the file backwards:

    footer (48 bytes)   two block handles (offset and size as varints), padding, an 8-byte magic number
    index block         its values are the handles of the data blocks
    data blocks         keys are tensor names, values protocol-buffer messages

Each block is followed by a byte for its compression and by a masked CRC-32C.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.errors import UserError, quoted
from ca_numpy.weights.crc32c import masked_crc32c
from ca_numpy.weights.limits import RefusedError, Room

MAGIC = bytes.fromhex("57fb808b247547db")  # the last eight bytes of every LevelDB-style table

_FOOTER_SIZE = 48
_TRAILER_SIZE = 5  # after each block: 1 byte compression, 4 bytes checksum
_MAX_AXES = 64  # NumPy's
_KEYS = 16  # keys share their beginnings, so all keys may be this many times the length of the index
_BFLOAT16 = 14
_DTYPES = {  # TensorFlow's DataType numbers
    1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 8: "<c8", 9: "<i8", 10: "?",
    _BFLOAT16: "<u2", 17: "<u2", 18: "<c16", 19: "<f2", 22: "<u4", 23: "<u8",
}  # fmt: skip


@dataclass(frozen=True)
class Variable:
    """One entry of the table: a tensor's type, shape and position (proto `BundleEntryProto`)."""

    dtype: int = 0
    shape: tuple[int, ...] = ()
    shard: int = 0
    offset: int = 0
    size: int = 0
    crc: int = 0
    sliced: bool = False


@dataclass(frozen=True)
class Index:
    """The contents of `<prefix>.index`: the number of shards, and the variables by name."""

    shards: int
    variables: dict[str, Variable]


def read_index(prefix: str | PathLike[str]) -> Index:
    """Read the table of contents of a checkpoint, but no tensors.

    Raises UserError if the index is missing, truncated, damaged (checksums are verified), compressed with Snappy, or
    written by a big-endian machine.
    """
    path = Path(f"{prefix}.index")
    try:
        return _parse_index(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except RefusedError as error:
        raise UserError(f"{path}: not a usable TensorFlow V2 checkpoint index: {error}") from error


def read(prefix: str | PathLike[str], names: Iterable[str] | None = None) -> dict[str, NDArray[Any]]:
    """Read the tensors `names` (default: all) of the checkpoint `<prefix>.index`, `<prefix>.data-*`.

    Only the bytes of these tensors are read, and each tensor's CRC-32C is verified. bfloat16 becomes float32.
    Raises UserError as `read_index` does, and if a shard is missing or truncated, a checksum differs, or a tensor is
    missing, partitioned into slices, or of a type that NumPy lacks, or if the tensors overlap.
    """
    index = read_index(prefix)
    chosen = list(index.variables) if names is None else list(names)
    tensors = {}
    rooms: dict[Path, Room] = {}
    for name in chosen:
        if name not in index.variables:
            raise UserError(f"{prefix}.index: has no variable {quoted(name)}")
        variable = index.variables[name]
        shard = Path(f"{prefix}.data-{variable.shard:05d}-of-{index.shards:05d}")
        try:
            if shard not in rooms:
                rooms[shard] = Room(shard.stat().st_size if shard.is_file() else 0)
            tensors[name] = _read_tensor(shard, variable, rooms[shard])
        except OSError as error:
            raise UserError(f"{shard}: cannot be read ({error.strerror}); {prefix}.index needs it") from error
        except RefusedError as error:
            raise UserError(f"{shard}: variable {quoted(name)}: {error}") from error
    return tensors


def _read_tensor(shard: Path, variable: Variable, room: Room) -> NDArray[Any]:
    if variable.sliced:
        raise RefusedError("partitioned into slices, which is not supported; save it unpartitioned")
    if variable.dtype not in _DTYPES:
        raise RefusedError(f"TensorFlow data type {variable.dtype} has no NumPy counterpart")
    dtype = np.dtype(_DTYPES[variable.dtype])
    # Python integers do not overflow, so a malicious shape or offset fails here and never reaches NumPy.
    if math.prod(variable.shape) * dtype.itemsize != variable.size:
        raise RefusedError(f"shape {variable.shape} of {dtype} does not take {variable.size} bytes")
    end = variable.offset + variable.size
    with shard.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        if end > length:
            raise RefusedError(f"ends at byte {end} of {length}: the file is truncated; copy or download it again")
        room.take(variable.size)
        file.seek(variable.offset)
        data = file.read(variable.size)
    if masked_crc32c(data) != variable.crc:
        raise RefusedError("checksum differs, the file is damaged; copy or download it again")
    try:
        array = np.frombuffer(data, dtype).reshape(variable.shape)
    except (ValueError, OverflowError) as error:  # an empty tensor can still have absurd dimensions
        raise RefusedError(f"NumPy cannot hold an array of shape {variable.shape}") from error
    if variable.dtype == _BFLOAT16:  # the upper half of a float32
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(dtype.newbyteorder("="))


def _parse_index(data: bytes) -> Index:
    if len(data) < _FOOTER_SIZE or data[-len(MAGIC) :] != MAGIC:
        raise RefusedError("it has no table footer; it may be truncated, copy it again")
    footer = _Cursor(data[-_FOOTER_SIZE:])
    _read_handle(footer)  # of the meta-index block, which TensorFlow leaves empty
    header: bytes | None = None
    variables = {}
    blocks, keys = Room(len(data)), Room(_KEYS * len(data))  # many handles can point to one block
    for _, value in _entries(_read_block(data, *_read_handle(footer), blocks), keys):
        for key, entry in _entries(_read_block(data, *_read_handle(_Cursor(value)), blocks), keys):
            if key == b"":
                header = entry
            else:
                # Slices of partitioned variables have binary keys; escaped, they still show up in listings.
                variables[key.decode(errors="backslashreplace")] = _parse_variable(entry)
    if header is None:
        raise RefusedError("the header entry is missing")
    shards = _parse_header(header)
    for name, variable in variables.items():
        if not 0 <= variable.shard < shards:
            raise RefusedError(f"variable {quoted(name)} is in shard {variable.shard} of {shards}")
    return Index(shards, variables)


# ---- The table ---------------------------------------------------------------------------------------------


def _read_handle(cursor: _Cursor) -> tuple[int, int]:
    """A block handle: offset and size of a block, without its trailer."""
    return cursor.varint(), cursor.varint()


def _read_block(data: bytes, offset: int, size: int, room: Room) -> bytes:
    """The contents of the block at `offset`. Verifies its checksum."""
    room.take(size)
    end = offset + size
    if end + _TRAILER_SIZE > len(data) - _FOOTER_SIZE:
        raise RefusedError(f"a block at byte {offset} ends beyond the file")
    compression, crc = struct.unpack_from("<BI", data, end)
    if masked_crc32c(data[offset : end + 1]) != crc:  # includes the compression byte
        raise RefusedError(f"the checksum of the block at byte {offset} differs; copy or download it again")
    if compression != 0:
        method = "Snappy" if compression == 1 else f"method {compression}"
        raise RefusedError(f"compressed ({method}), which is not supported; save it with a recent TensorFlow")
    return data[offset:end]


def _entries(block: bytes, room: Room) -> Iterator[tuple[bytes, bytes]]:
    """The (key, value) pairs of a block.

    An entry holds the number of bytes shared with the previous key, the number of new bytes, the length of the value,
    the new bytes, and the value. The block ends with an array of restart points, for binary search, and their number.
    """
    if len(block) < 4:
        raise RefusedError("a block is too short")
    (restarts,) = struct.unpack("<I", block[-4:])
    end = len(block) - 4 - 4 * restarts
    if end < 0:
        raise RefusedError("a block's restart points overlap its entries")
    cursor = _Cursor(block[:end])
    key = b""
    while not cursor.at_end():
        shared, unshared, value_size = cursor.varint(), cursor.varint(), cursor.varint()
        if shared > len(key):
            raise RefusedError("a key shares more bytes with the previous key than it has")
        room.take(shared + unshared)
        key = key[:shared] + cursor.take(unshared)
        yield key, cursor.take(value_size)


# ---- Protocol buffers --------------------------------------------------------------------------------------


def _parse_header(message: bytes) -> int:
    """The number of shards, from a `BundleHeaderProto`."""
    shards = 0
    for number, value in _fields(message):
        if number == 1:
            shards = _integer(value)
        elif number == 2 and value != 0:
            raise RefusedError("written by a big-endian machine, which is not supported")
    return shards


def _parse_variable(message: bytes) -> Variable:
    """A `BundleEntryProto`: 1 dtype, 2 shape, 3 shard, 4 offset, 5 size, 6 checksum, 7 slices.

    Fields that are zero are omitted, as always in proto3.
    """
    values: dict[str, Any] = {}
    integers = {1: "dtype", 3: "shard", 4: "offset", 5: "size", 6: "crc"}
    for number, value in _fields(message):
        if number in integers:
            values[integers[number]] = _integer(value)
        elif number == 2:
            values["shape"] = _parse_shape(_message(value))
        elif number == 7:
            values["sliced"] = True
    return Variable(**values)


def _parse_shape(message: bytes) -> tuple[int, ...]:
    """A `TensorShapeProto`: repeated field 2, a dimension, whose field 1 is its size."""
    shape = []
    for number, dimension in _fields(message):
        if number == 2:
            sizes = [_integer(value) for number, value in _fields(_message(dimension)) if number == 1]
            shape.append(sizes[-1] if sizes else 0)
            if len(shape) > _MAX_AXES:
                raise RefusedError(f"a variable's shape has more than {_MAX_AXES} dimensions")
    return tuple(shape)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of a message: an int, or bytes for strings and nested messages."""
    cursor = _Cursor(message)
    while not cursor.at_end():
        tag = cursor.varint()
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            yield number, cursor.varint()
        elif wire_type == 1:
            yield number, int.from_bytes(cursor.take(8), "little")
        elif wire_type == 2:
            yield number, cursor.take(cursor.varint())
        elif wire_type == 5:
            yield number, int.from_bytes(cursor.take(4), "little")
        else:
            raise RefusedError(f"unknown protocol-buffer wire type {wire_type}")


def _integer(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise RefusedError("an entry has a message instead of a number")
    return value


def _message(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise RefusedError("an entry has a number instead of a message")
    return value


class _Cursor:
    """A read position in bytes, which never moves beyond the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def at_end(self) -> bool:
        return self._position == len(self._data)

    def take(self, size: int) -> bytes:
        start, end = self._position, self._position + size
        if end > len(self._data):
            raise RefusedError("a record ends beyond its block")
        self._position = end
        return self._data[start:end]

    def varint(self) -> int:
        """An integer in groups of seven bits, lowest first; the high bit is set if another group follows."""
        result = 0
        for shift in range(0, 70, 7):  # 64 bits are ten groups
            (byte,) = self.take(1)
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                return result
        raise RefusedError("a number is longer than 64 bits")
