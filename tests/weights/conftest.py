"""Independent writers of the foreign formats, so that the readers are not tested against themselves."""

import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ca_numpy.errors import UserError


@contextmanager
def _refused(path: Any, *parts: str) -> Iterator[None]:
    with pytest.raises(UserError) as caught:
        yield
    message = str(caught.value)
    assert message.startswith(f"{path}"), message
    assert message.isprintable(), message  # one line, no control characters from the file
    for part in parts:
        assert part in message


@pytest.fixture(scope="session")
def refused() -> Callable[..., AbstractContextManager[None]]:
    """`with refused(path, "words"):` a UserError, of one line, begins with the path and says the words."""
    return _refused


def _attempt(read: Callable[[Path], Any], path: Path) -> Any:
    try:
        return read(path)
    except UserError as error:
        message = str(error)
    assert message.startswith(f"{path}"), message
    assert message.isprintable(), message
    return None


@pytest.fixture(scope="session")
def attempt() -> Callable[[Callable[[Path], Any], Path], Any]:
    """What `read(path)` returns, or None if it raises a UserError of one line that names the path."""
    return _attempt


# ---- TensorFlow bundles ------------------------------------------------------------------------------------


def slow_crc32c(data: bytes) -> int:
    """The textbook's loop: one bit after the other."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    crc = slow_crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def varint(number: int) -> bytes:
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def number_field(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value) if value else b""


def bytes_field(field: int, value: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(value)) + value


def fixed32_field(field: int, value: int) -> bytes:
    return varint(field << 3 | 5) + struct.pack("<I", value)


TF_TYPES = {
    "float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int16": 5, "int8": 6, "complex64": 8, "int64": 9,
    "bool": 10, "uint16": 17, "float16": 19, "uint32": 22, "uint64": 23,
}  # fmt: skip


@dataclass
class Entry:
    """A BundleEntryProto."""

    dtype: int = 1
    shape: tuple[int, ...] = ()
    shard: int = 0
    offset: int = 0
    size: int = 4
    crc: int = 0
    rest: bytes = b""

    def encode(self) -> bytes:
        dims = b"".join(bytes_field(2, number_field(1, n)) for n in self.shape)
        return b"".join(
            [
                number_field(1, self.dtype),
                bytes_field(2, dims),
                number_field(3, self.shard),
                number_field(4, self.offset),
                number_field(5, self.size),
                fixed32_field(6, self.crc),
                self.rest,
            ]
        )


def block(entries: list[tuple[bytes, bytes]], *, restart_interval: int) -> bytes:
    """A LevelDB block: keys share their beginnings with their predecessors, except at restart points."""
    data, restarts, previous = bytearray(), [], b""
    for i, (key, value) in enumerate(entries):
        shared = 0
        if i % restart_interval == 0:
            restarts.append(len(data))
        else:
            while shared < min(len(key), len(previous)) and key[shared] == previous[shared]:
                shared += 1
        data += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        previous = key
    restarts = restarts or [0]
    return bytes(data) + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def table(
    entries: list[tuple[bytes, bytes]],
    *,
    per_block: int = 3,
    restart_interval: int = 16,
    compression: int = 0,
    raw_block: bytes | None = None,
    repeats: int = 1,
) -> bytes:
    """A whole table file. `raw_block` replaces the first data block's contents, with a valid checksum.

    The index names each block `repeats` times.
    """
    file, handles = bytearray(), []

    def append(contents: bytes, kind: int) -> bytes:
        handle = varint(len(file)) + varint(len(contents))
        body = contents + bytes([kind])
        file.extend(body + struct.pack("<I", masked(body)))
        return handle

    for start in range(0, max(len(entries), 1), per_block):
        some = entries[start : start + per_block]
        contents = block(some, restart_interval=restart_interval)
        if raw_block is not None and start == 0:
            contents = raw_block
        handles.append(((some[-1][0] if some else b"") + b"~", append(contents, compression)))
    meta = append(block([], restart_interval=16), 0)
    index = append(block(handles * repeats, restart_interval=1), 0)
    return bytes(file) + (meta + index).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def header(shards: int = 1, *, endianness: int = 0) -> tuple[bytes, bytes]:
    return b"", number_field(1, shards) + number_field(2, endianness) + bytes_field(3, number_field(1, 1))


def write_bundle(prefix: Path, tensors: dict[str, Any], *, shards: int = 1, **options: Any) -> None:
    """A checkpoint; tensors take turns among the shards. A pair (dtype number, array) sets the type."""
    data = [bytearray() for _ in range(shards)]
    entries = [header(shards)]
    for i, (name, tensor) in enumerate(sorted(tensors.items())):
        code, array = tensor if isinstance(tensor, tuple) else (TF_TYPES[tensor.dtype.name], tensor)
        raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
        shard = i % shards
        entry = Entry(code, array.shape, shard, len(data[shard]), len(raw), masked(raw))
        entries.append((name.encode(), entry.encode()))
        data[shard] += raw
    Path(f"{prefix}.index").write_bytes(table(entries, **options))
    for i, raw in enumerate(data):
        Path(f"{prefix}.data-{i:05d}-of-{shards:05d}").write_bytes(raw)


class Bundles:
    """The pieces above under one roof."""

    Entry = Entry
    header = staticmethod(header)
    masked = staticmethod(masked)
    slow_crc32c = staticmethod(slow_crc32c)
    table = staticmethod(table)
    write = staticmethod(write_bundle)


@pytest.fixture(scope="session")
def bundles() -> type[Bundles]:
    return Bundles


# ---- torch's zip files -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Named:
    """A class or function, by name."""

    module: str
    name: str


@dataclass(frozen=True)
class Call:
    """A call of it; `state` is set on the result."""

    function: Named
    arguments: Any
    state: Any = None


@dataclass(frozen=True)
class Persistent:
    reference: Any


ORDERED_DICT = Named("collections", "OrderedDict")
REBUILD = Named("torch._utils", "_rebuild_tensor_v2")


def pickled(value: Any) -> bytes:
    """The instructions that push a value, in the dialect of pickle protocol 2."""
    match value:
        case bytes():  # instructions already
            return value
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            size = (value.bit_length() + 8) // 8
            return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case list():
            return b"](" + b"".join(map(pickled, value)) + b"e"
        case tuple():
            return b"(" + b"".join(map(pickled, value)) + b"t"
        case dict():
            return b"}(" + b"".join(pickled(k) + pickled(v) for k, v in value.items()) + b"u"
        case Named():
            return f"c{value.module}\n{value.name}\n".encode()
        case Call():
            call = pickled(value.function) + pickled(value.arguments) + b"R"
            return call if value.state is None else call + pickled(value.state) + b"b"
        case Persistent():
            return pickled(value.reference) + b"Q"
    raise TypeError(value)


def storage(key: str, length: int, kind: str = "FloatStorage") -> Persistent:
    return Persistent(("storage", Named("torch", kind), key, "cpu", length))


def tensor(where: Persistent, offset: Any, size: Any, stride: Any, *metadata: Any) -> Call:
    return Call(REBUILD, (where, offset, size, stride, False, Call(ORDERED_DICT, ()), *metadata))


def write_torch(path: Path, value: Any, storages: dict[str, bytes], *, root: str = "archive", **members: bytes) -> None:
    """A zip file as torch writes it; `value` may be made of the classes above."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{root}/data.pkl", b"\x80\x02" + pickled(value) + b".")
        archive.writestr(f"{root}/byteorder", members.get("byteorder", b"little"))
        for key, data in storages.items():
            archive.writestr(f"{root}/data/{key}", data)
        archive.writestr(f"{root}/version", b"3\n")


def write_state(path: Path, arrays: dict[str, np.ndarray], *, wrap: Callable[[Any], Any] = lambda state: state) -> None:
    """A state dict of float32 arrays, wrapped as training scripts do."""
    state, storages = {}, {}
    for i, (name, array) in enumerate(arrays.items()):
        storages[str(i)] = array.astype("<f4").tobytes()
        stride = tuple(int(np.prod(array.shape[k + 1 :])) for k in range(array.ndim))
        state[name] = tensor(storage(str(i), array.size), 0, array.shape, stride)
    write_torch(path, wrap(state), storages)


def write_legacy(path: Path, value: Any, storages: dict[str, tuple[int, bytes]], *, keys: Any = None) -> None:
    """A file as torch wrote it before version 1.6; storages: {key: (number of elements, their bytes)}."""
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [0x1950A86A20F9469CFC6C, 1001, machine, value, sorted(storages) if keys is None else keys]
    file = b"".join(b"\x80\x02" + pickled(part) + b"." for part in parts)
    path.write_bytes(file + b"".join(struct.pack("<q", n) + data for n, data in map(storages.get, sorted(storages))))


class TorchFiles:
    """The pieces above under one roof."""

    Call, Named, Persistent = Call, Named, Persistent
    ORDERED_DICT, REBUILD = ORDERED_DICT, REBUILD
    pickled = staticmethod(pickled)
    storage = staticmethod(storage)
    tensor = staticmethod(tensor)
    write = staticmethod(write_torch)
    write_legacy = staticmethod(write_legacy)
    write_state = staticmethod(write_state)


@pytest.fixture(scope="session")
def torch_files() -> type[TorchFiles]:
    return TorchFiles
