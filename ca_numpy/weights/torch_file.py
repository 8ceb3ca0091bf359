"""Read PyTorch checkpoints without torch, in both formats of `torch.save`.

Since version 1.6, a zip archive of uncompressed members:

    <name>/data.pkl     a pickle of the saved object, in which tensors refer to storages
    <name>/data/0 …     the storages: raw numbers

Before, one file: pickles of a magic number, the version, the machine's properties, the saved object, and a list of the
storages' keys; then for each key the number of elements (8 bytes, little-endian) and the elements.

`torch_pickle` interprets the pickles; nothing in them is executed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ca_numpy.errors import quoted
from ca_numpy.weights.limits import Archive, RefusedError, Room, refusing
from ca_numpy.weights.torch_pickle import RESAVE, Storage, Tensor, load

# The magic number of the format before 1.6, 0x1950a86a20f9469cfc6c, in a pickle.
_LEGACY_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa85019")
# Shallow copies of a dict hold the same tensors under other names, and each is copied.
_MOST_COPIES = 4
_DEEPEST = 16


def is_legacy(head: bytes) -> bool:
    """Whether a file's first 32 bytes are of torch's format from before version 1.6."""
    return head.startswith(b"\x80") and _LEGACY_MAGIC in head


def read(path: str | PathLike[str]) -> dict[str, NDArray[Any]]:
    """The tensors of a checkpoint by name; names in nested dicts are joined with dots: `netG.conv1.weight`.

    dtypes, layout (OIHW) and names are those of the file, but bfloat16 becomes float32. Values that are not tensors
    (an epoch, a learning rate) are dropped, and a dict that appears again. No code in the file is run.

    Raises UserError for a file that is in neither format, truncated or damaged; a pickle with anything but tensors,
    plain values and containers; a tensor that exceeds its storage; and tensors many times the file's length.
    """
    path = Path(path)
    with refusing(path, "PyTorch file"):
        room = Room(_MOST_COPIES * path.stat().st_size)
        with path.open("rb") as file:
            legacy = is_legacy(file.read(32))
        if legacy:
            return dict(_tensors(*_read_legacy(path.read_bytes()), room))
        with Archive(path) as archive:
            return dict(_tensors(*_read_zip(archive), room))


def _tensors(saved: Any, data: Callable[[Storage], Any], room: Room) -> Iterator[tuple[str, NDArray[Any]]]:
    """(dotted name, array) of every tensor in nested dicts."""
    if not isinstance(saved, Mapping):
        raise RefusedError(f"holds {quoted(saved)} instead of a state dict; {RESAVE}")
    seen = {id(saved)}  # a pickle can hold one dict a thousand times, or a dict inside itself
    pending: list[tuple[str, int, Mapping[Any, Any]]] = [("", 0, saved)]
    while pending:
        prefix, depth, mapping = pending.pop()
        if depth > _DEEPEST:
            raise RefusedError(f"its dicts are nested more than {_DEEPEST} deep; {RESAVE}")
        for key, value in mapping.items():
            if isinstance(value, Mapping | Tensor):
                name = f"{prefix}{key}"
                room.take(len(name))
                if isinstance(value, Tensor):
                    room.take(value.nbytes)
                    yield name, value.read(data(value.storage))
                elif id(value) not in seen:
                    seen.add(id(value))
                    pending.append((f"{name}.", depth + 1, value))


def _read_zip(archive: Archive) -> tuple[Any, Callable[[Storage], Any]]:
    """The saved object, and a function for the data of its storages."""
    pickles = [name for name in archive.names if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise RefusedError(f"a zip archive with {len(pickles)} files data.pkl instead of one; {RESAVE}")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}byteorder" in archive.names and archive.read(f"{root}byteorder") != b"little":
        raise RefusedError("written by a big-endian machine, which is not supported")
    read: dict[str, bytes] = {}

    def data(storage: Storage) -> bytes:
        if storage.key not in read:
            read[storage.key] = archive.read(f"{root}data/{storage.key}")
        return read[storage.key]

    return load(archive.read(pickles[0]))[0], data


def _read_legacy(file: bytes) -> tuple[Any, Callable[[Storage], Any]]:
    """The same of a file in the format from before version 1.6."""
    position, values = 0, []
    storages: dict[str, Storage] = {}
    for _ in range(5):
        value, storages_here, position = load(file, position)
        values.append(value)
        storages |= {storage.key: storage for storage in reversed(storages_here)}  # the first of a key counts
    _, _, machine, saved, keys = values
    if type(machine) is not dict or machine.get("little_endian") is not True:
        raise RefusedError("written by a big-endian machine, which is not supported")
    places: dict[str, memoryview] = {}
    for key in keys if type(keys) is list else [keys]:
        if type(key) is not str or key not in storages:
            raise RefusedError(f"its list of storages has {quoted(key)}, which no tensor uses; copy the file again")
        start = position + 8
        position = start + int.from_bytes(file[position:start], "little") * storages[key].dtype.itemsize
        if position > len(file):
            raise RefusedError(f"storage {quoted(key)} ends beyond the file, which is truncated; copy it again")
        places[key] = memoryview(file)[start:position]
    missing = storages.keys() - places.keys()
    if missing:
        raise RefusedError(f"the data of storage {quoted(min(missing))} is missing; copy the file again")
    return saved, lambda storage: places[storage.key]
