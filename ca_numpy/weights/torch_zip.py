"""Read PyTorch checkpoints in the zip format (`torch.save` since version 1.6) without torch.

Such a file is a zip archive of uncompressed members:

    <name>/data.pkl     a pickle of the saved object, in which tensors refer to storages
    <name>/data/0 …     the storages: raw numbers

A pickle is a program, and Python's own `pickle` executes it. Here it is interpreted by a machine that knows only the
few instructions of a state dict: push a number, fill a dict, "the tensor with these strides in that storage". It
cannot import or call anything; a file with any other instruction is refused, with the name of the instruction.
"""

from __future__ import annotations

import math
import pickletools
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.errors import UserError

# The pickled magic number at the start of files written by torch.save before 1.6 (and since, with
# _use_new_zipfile_serialization=False).
LEGACY_MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")

LEGACY_REFUSAL = (
    "torch's format from before version 1.6, which is not supported; in torch, run "
    "torch.save(torch.load('old.pth', map_location='cpu', weights_only=True), 'new.pth') and read that"
)
_RESAVE = "in torch, run torch.save(model.state_dict(), 'new.pth')"

_MAX_AXES = 16

_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}

# Pickle instructions whose decoded argument is the value to push: numbers and strings.
_LITERALS = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
    "BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING",
}  # fmt: skip
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


class _RefusedError(Exception):
    """The reason a file is refused; `read` turns it into a UserError that names the file."""


@dataclass(frozen=True)
class _Global:
    """The name of a class or function in the pickle, never the object itself."""

    module: str
    name: str

    def __str__(self) -> str:
        # repr, because the name comes from the file and could contain line breaks
        return repr(f"{self.module}.{self.name}")


_ORDERED_DICT = _Global("collections", "OrderedDict")
_TENSOR = _Global("torch._utils", "_rebuild_tensor_v2")
_PARAMETER = _Global("torch._utils", "_rebuild_parameter")
_ALLOWED = {_ORDERED_DICT, _TENSOR, _PARAMETER, *(_Global("torch", name) for name in _DTYPES)}


@dataclass(frozen=True)
class _Storage:
    """The data that tensors are views of: one member of the archive."""

    data: bytes
    dtype: np.dtype[Any]
    length: int
    bfloat16: bool


def read(path: str | PathLike[str]) -> dict[str, NDArray[Any]]:
    """The tensors of a checkpoint by name; names in nested dicts are joined with dots: `netG.conv1.weight`.

    dtypes, layout (OIHW) and names are those of the file, but bfloat16 becomes float32. Values that are not tensors
    (an epoch, a learning rate) are dropped. No code in the file is run.

    Raises UserError for a file that is not a torch zip archive, or is in the format before torch 1.6, truncated or
    damaged; a pickle with anything but tensors and plain containers; and a tensor that exceeds its storage.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            if file.read(len(LEGACY_MAGIC)) == LEGACY_MAGIC:
                raise _RefusedError(LEGACY_REFUSAL)
        with zipfile.ZipFile(path) as archive:
            return dict(_tensors(_Machine(_Archive(archive)).run()))
    except _RefusedError as error:
        raise UserError(f"{path}: {error}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (zipfile.BadZipFile, EOFError, ValueError, struct.error, RuntimeError) as error:
        # Raised by zipfile for damaged archives; the last for encrypted members and unknown features.
        raise UserError(f"{path}: damaged or truncated zip archive ({error}); copy it again") from error


def _tensors(saved: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    """(dotted name, tensor) of every tensor in nested dicts."""
    if not isinstance(saved, Mapping):
        raise _RefusedError(f"holds a {type(saved).__name__} instead of a state dict; {_RESAVE}")
    seen = set()  # a pickle can hold one dict a thousand times, or a dict inside itself
    pending: list[tuple[str, Mapping[Any, Any]]] = [("", saved)]
    while pending:
        prefix, mapping = pending.pop()
        if id(mapping) in seen:
            raise _RefusedError(f"the same dict appears twice, again as {prefix!r}; {_RESAVE}")
        seen.add(id(mapping))
        for key, value in mapping.items():
            if isinstance(value, Mapping):
                pending.append((f"{prefix}{key}.", value))
            elif isinstance(value, np.ndarray):
                yield f"{prefix}{key}", value


class _Archive:
    """The members of the zip archive, with clear errors for damaged ones."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._zip = archive
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise _RefusedError(f"a zip archive with {len(pickles)} files data.pkl instead of one; {_RESAVE}")
        self._root = pickles[0].removesuffix("data.pkl")
        if f"{self._root}byteorder" in archive.namelist() and self.member("byteorder") != b"little":
            raise _RefusedError("written by a big-endian machine, which is not supported")

    def member(self, name: str) -> bytes:
        try:
            info = self._zip.getinfo(self._root + name)
        except KeyError as error:
            raise _RefusedError(f"the archive has no member {name!r}; it is damaged") from error
        if info.compress_type != zipfile.ZIP_STORED:  # torch never compresses; no zip bombs
            raise _RefusedError(f"member {name!r} is compressed, which torch never does; {_RESAVE}")
        return self._zip.read(info)


@dataclass
class _Machine:
    """An interpreter for the pickle instructions used in state dicts.

    `stack` holds the values under construction, `marks` the stack heights at which open tuples and dicts begin, `memo`
    numbered values stored for reuse.
    """

    archive: _Archive
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    storages: dict[str, _Storage] = field(default_factory=dict)

    def run(self) -> Any:
        try:
            for opcode, argument, _ in pickletools.genops(self.archive.member("data.pkl")):
                if opcode.name == "STOP":
                    return self.stack.pop()
                self.step(opcode.name, argument)
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
            # Values missing from the stack, an item added to a number, a list as a key: never in a valid file.
            reason = " ".join(str(error).split())
            raise _RefusedError(f"its pickle is malformed ({reason}); copy the file again") from error
        raise _RefusedError("its pickle has no end; copy the file again")

    def step(self, name: str, argument: Any) -> None:
        """Execute one instruction. Names are those of the standard library's `pickletools`."""
        stack = self.stack
        match name:
            case "PROTO" | "FRAME":
                pass
            case _ if name in _LITERALS:
                stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append(_CONSTANTS[name])
            case "MARK":
                self.marks.append(len(stack))
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self.pop(int(name[-1]))))
            case "TUPLE":
                stack.append(tuple(self.pop_to_mark()))
            case "APPEND":
                self.extend(self.pop(1))
            case "APPENDS":
                self.extend(self.pop_to_mark())
            case "SETITEM":
                self.update(self.pop(2))
            case "SETITEMS":
                self.update(self.pop_to_mark())
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "GLOBAL":
                stack.append(_allowed(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                stack.append(_allowed(*self.pop(2)))
            case "BINPERSID":
                stack.append(self.storage(stack.pop()))
            case "REDUCE":
                stack.append(self.construct(*self.pop(2)))
            case "BUILD":
                self.discard_attributes()
            case _:
                raise _RefusedError(f"refused: its pickle uses {name}, not part of a state dict; {_RESAVE}")

    def pop(self, count: int) -> list[Any]:
        if count > len(self.stack):
            raise IndexError("too few values")
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def pop_to_mark(self) -> list[Any]:
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise TypeError("items for a value that is not a list")
        target.extend(values)

    def update(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict:
            raise TypeError("key-value pairs for a value that is not a dict")
        target.update(_pairs(zip(values[0::2], values[1::2], strict=True)))

    def discard_attributes(self) -> None:
        """Drop the attribute `_metadata` of state dicts, which holds module versions, no numbers."""
        self.pop(1)
        if type(self.stack[-1]) is not dict:
            raise TypeError("attributes for a value that is not a dict")

    def construct(self, maker: Any, arguments: Any) -> Any:
        """The result of one of the three calls in state dicts."""
        if not isinstance(maker, _Global) or type(arguments) is not tuple:
            raise TypeError("a call of a value that is not a function")
        if maker == _ORDERED_DICT:
            return dict(_pairs(*arguments))
        if maker == _TENSOR:
            storage, offset, size, stride = arguments[:4]
            return _tensor(storage, offset, size, stride)
        if maker == _PARAMETER:
            return arguments[0]
        raise _RefusedError(f"refused: its pickle calls {maker}; {_RESAVE}")

    def storage(self, reference: Any) -> _Storage:
        """The storage of a reference ("storage", type, member, device, length); each is read once."""
        kind, storage_type, key, _, length = reference
        if kind != "storage" or not isinstance(storage_type, _Global) or storage_type.name not in _DTYPES:
            raise TypeError("a reference to a value that is not a storage")
        if type(key) is not str:
            raise TypeError("a storage without a name")
        if key not in self.storages:
            dtype = np.dtype(_DTYPES[storage_type.name])
            data = self.archive.member(f"data/{key}")
            if not _is_count(length) or length * dtype.itemsize > len(data):
                raise _RefusedError(f"storage {key!r} is too short for its data; copy the file again")
            self.storages[key] = _Storage(data, dtype, length, storage_type.name == "BFloat16Storage")
        return self.storages[key]


def _pairs(pairs: Iterable[Any] = ()) -> Iterator[tuple[str | int, Any]]:
    """Dict items with checked keys: hashing a deeply nested tuple would overflow the interpreter's stack."""
    for key, value in pairs:
        if type(key) not in (str, int):
            raise TypeError("a dict key that is neither text nor an integer")
        yield key, value


def _allowed(module: Any, name: Any) -> _Global:
    if type(module) is not str or type(name) is not str:
        raise TypeError("a name that is not text")
    label = _Global(module, name)
    if label not in _ALLOWED:
        raise _RefusedError(f"refused: its pickle names {label}, not part of a state dict; {_RESAVE}")
    return label


def _tensor(storage: Any, offset: Any, size: Any, stride: Any) -> NDArray[Any]:
    """The values storage[offset + Σ iₖ·strideₖ] for 0 ≤ iₖ < sizeₖ, as a new array."""
    if not isinstance(storage, _Storage) or type(size) is not tuple or type(stride) is not tuple:
        raise TypeError("a tensor without storage, size or stride")
    if not len(size) == len(stride) <= _MAX_AXES or not all(_is_count(n) for n in (offset, *size, *stride)):
        raise _RefusedError(f"a tensor has an invalid size, stride or offset; {_RESAVE}")
    elements = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    # Python integers do not overflow. Strides of 0 could expand one number beyond the available memory.
    if elements > storage.length or (elements > 0 and last >= storage.length):
        raise _RefusedError(
            f"a tensor of size {size!r}, stride {stride!r}, offset {offset!r} does not fit in its storage "
            f"of {storage.length} numbers; {_RESAVE}"
        )
    if elements == 0:
        return np.zeros(size, np.float32 if storage.bfloat16 else storage.dtype)
    itemsize = storage.dtype.itemsize
    # This constructor checks the bounds again.
    view: NDArray[Any] = np.ndarray(
        size, storage.dtype, storage.data, offset * itemsize, tuple(step * itemsize for step in stride)
    )
    if storage.bfloat16:  # the upper half of a float32
        return (view.astype(np.uint32, order="C") << 16).view(np.float32)
    return view.astype(storage.dtype.newbyteorder("="), order="C")


def _is_count(value: Any) -> bool:
    """Whether it is a non-negative 64-bit integer."""
    return type(value) is int and 0 <= value < 2**63
