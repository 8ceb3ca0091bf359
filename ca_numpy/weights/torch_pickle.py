"""Interpret the pickles in PyTorch checkpoints without executing them.

A pickle is a program, and Python's own `pickle` executes it. Here it is interpreted by a machine that knows only the
few instructions of a state dict: push a number, fill a dict, "the tensor with these strides in that storage". It
cannot import or call anything. Values known to lie beside weights, such as NumPy's scalars, become `Opaque`; a file
with anything else is refused, with its name.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.errors import quoted, reason
from ca_numpy.weights.limits import RefusedError, Room

RESAVE = "in torch, run torch.save(model.state_dict(), 'new.pth')"

_MAX_AXES = 16

_DTYPES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": "<u2",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1",
    "BoolStorage": "?", "ComplexFloatStorage": "<c8", "ComplexDoubleStorage": "<c16",
}  # fmt: skip

# Pickle instructions whose decoded argument is the value to push: numbers and strings.
_LITERALS = {
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINBYTES", "SHORT_BINBYTES", "BYTEARRAY8",
    "BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING",
}  # fmt: skip
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


@dataclass(frozen=True)
class _Global:
    """The name of a class or function in the pickle, never the object itself."""

    module: str
    name: str

    def __str__(self) -> str:
        return quoted(f"{self.module}.{self.name}")


class Opaque:
    """A value that is not read."""


def _globals(modules: dict[str, str]) -> set[_Global]:
    return {_Global(module, name) for module, names in modules.items() for name in names.split()}


_DICTS = _globals({"collections": "OrderedDict defaultdict"})
_TENSORS = _globals({"torch._utils": "_rebuild_tensor _rebuild_tensor_v2"})
_PARAMETERS = _globals({"torch._utils": "_rebuild_parameter _rebuild_parameter_with_state"})
_SUBCLASS = _Global("torch._tensor", "_rebuild_from_type_v2")
_STORAGES = {_Global("torch", name) for name in _DTYPES}
_BUILTINS = "set frozenset slice range complex bytearray list dict int float"
_BESIDE = _globals(
    {
        "numpy": "dtype ndarray float64 float32 float16 int64 int32 bool_ bool",
        "numpy.core.multiarray": "scalar _reconstruct",
        "numpy._core.multiarray": "scalar _reconstruct",
        "numpy.core.numeric": "_frombuffer",
        "numpy._core.numeric": "_frombuffer",
        "_codecs": "encode",
        "builtins": _BUILTINS,
        "__builtin__": _BUILTINS,  # Python 2's name, which protocol 2 keeps
        "collections": "Counter deque",
        "argparse": "Namespace",
        "types": "SimpleNamespace",
        "datetime": "datetime date timedelta",
        "pathlib": "Path PosixPath WindowsPath PurePosixPath PureWindowsPath",
        "torch": "Size device Tensor float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool",
        "torch.nn.parameter": "Parameter Buffer",
    }
)
_ALLOWED = _DICTS | _TENSORS | _PARAMETERS | {_SUBCLASS} | _STORAGES | _BESIDE


@dataclass(frozen=True)
class Storage:
    """What tensors are views of: `length` elements, whose data has this key."""

    key: str
    dtype: np.dtype[Any]
    length: int
    bfloat16: bool


@dataclass(frozen=True)
class Tensor:
    """The values storage[offset + Σ iₖ·strideₖ] for 0 ≤ iₖ < sizeₖ; negated or conjugated if torch has yet to do it."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    negative: bool
    conjugate: bool

    @property
    def nbytes(self) -> int:
        return math.prod(self.size) * self.storage.dtype.itemsize

    def read(self, data: bytes | memoryview) -> NDArray[Any]:
        """The values as a new array, given the storage's data. Raises RefusedError if the data is too short."""
        dtype = self.storage.dtype
        if self.storage.length * dtype.itemsize > len(data):
            raise RefusedError(f"storage {quoted(self.storage.key)} is too short for its data; copy the file again")
        if self.nbytes == 0:
            return np.zeros(self.size, np.float32 if self.storage.bfloat16 else dtype.newbyteorder("="))
        strides = tuple(step * dtype.itemsize for step in self.stride)
        # This constructor checks the bounds again.
        view: NDArray[Any] = np.ndarray(self.size, dtype, data, self.offset * dtype.itemsize, strides)
        if self.storage.bfloat16:  # the upper half of a float32
            array = (view.astype(np.uint32, order="C") << 16).view(np.float32)
        else:
            array = view.astype(dtype.newbyteorder("="), order="C")
        if self.conjugate:
            np.conjugate(array, out=array)
        return np.negative(array, out=array) if self.negative else array


def load(file: bytes, position: int = 0) -> tuple[Any, list[Storage], int]:
    """The value of the pickle at a position, its storages in order, and the position after it.

    A value consists of dicts, lists, tuples, numbers, text, `Tensor` and `Opaque`. Raises RefusedError for a damaged
    pickle, and one with other instructions or names.
    """
    stream = _Stream(file)
    stream.seek(position)
    machine = _Machine(Room(len(file)))
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "STOP":
                return machine.stack.pop(), list(machine.storages.values()), stream.tell()
            machine.step(opcode.name, argument)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        # Values missing from the stack, an item added to a number, a list as a key: never in a valid file.
        raise RefusedError(f"its pickle is malformed ({reason(error)}); copy the file again") from error
    raise RefusedError("its pickle has no end; copy the file again")


class _Stream(io.BytesIO):
    def readline(self, size: int | None = -1) -> bytes:
        line = super().readline(size)
        if b"\\" in line:  # of which Python would warn
            raise ValueError("a name with an escape sequence")
        return line


@dataclass
class _Machine:
    """An interpreter for the pickle instructions used in state dicts.

    `room` counts what is copied. `stack` holds the values under construction, `marks` the stack heights at which open
    tuples and dicts begin, `memo` numbered values stored for reuse.
    """

    room: Room
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    storages: dict[tuple[str, str], Storage] = field(default_factory=dict)

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
            case "EMPTY_LIST" | "EMPTY_SET":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self.pop(int(name[-1]))))
            case "TUPLE":
                stack.append(tuple(self.pop_to_mark()))
            case "APPEND":
                self.extend(self.pop(1))
            case "APPENDS" | "ADDITEMS":
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
            case "NEWOBJ" if _is_in(stack[-2], _BESIDE):
                stack.append(self.construct(*self.pop(2)))
            case "BUILD":
                self.discard_attributes()
            case _:
                raise RefusedError(f"refused: its pickle uses {name}, not part of a state dict; {RESAVE}")

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
        if type(target) is list:
            target.extend(values)
        elif type(target) is not Opaque:
            raise TypeError("items for a value that is not a list")

    def update(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is dict:
            target.update(_pairs(zip(values[0::2], values[1::2], strict=True)))
        elif type(target) is not Opaque:
            raise TypeError("key-value pairs for a value that is not a dict")

    def discard_attributes(self) -> None:
        """Drop the attribute `_metadata` of state dicts, which holds module versions, no numbers."""
        self.pop(1)
        if type(self.stack[-1]) not in (dict, Opaque):
            raise TypeError("attributes for a value that is not a dict")

    def construct(self, maker: Any, arguments: Any) -> Any:
        """The result of one of the calls in state dicts."""
        if _is_in(maker, {_SUBCLASS}):  # function, type, arguments, attributes
            maker, arguments = arguments[0], arguments[2]
        if not isinstance(maker, _Global) or type(arguments) is not tuple:
            raise TypeError("a call of a value that is not a function")
        if maker in _DICTS:
            if maker.name == "defaultdict" or not arguments:
                return {}
            self.room.take(len(arguments[0]))  # one list could be copied a million times
            return dict(_pairs(*arguments))
        if maker in _TENSORS:
            return _tensor(*arguments[:4], metadata=arguments[6] if len(arguments) > 6 else {})
        if maker in _PARAMETERS:
            return arguments[0]
        if maker in _BESIDE:
            return Opaque()
        raise RefusedError(f"refused: its pickle calls {maker}; {RESAVE}")

    def storage(self, reference: Any) -> Storage:
        """The storage of a reference ("storage", type, key, device, length), the format before 1.6 adds its view."""
        kind, storage_type, key, _, length, *view = reference
        if kind != "storage" or not _is_in(storage_type, _STORAGES):
            raise TypeError("a reference to a value that is not a storage")
        if type(key) is not str or not _is_count(length) or view not in ([], [None]):
            raise TypeError("a storage without a name or length, or part of another one")
        where = key, storage_type.name
        if where not in self.storages:
            dtype = np.dtype(_DTYPES[storage_type.name])
            self.storages[where] = Storage(key, dtype, length, storage_type.name == "BFloat16Storage")
        return self.storages[where]


def _is_in(value: Any, names: set[_Global]) -> bool:
    return isinstance(value, _Global) and value in names


def _pairs(pairs: Iterable[Any] = ()) -> Iterator[tuple[Any, Any]]:
    """Dict items with checked keys: hashing a deeply nested tuple would overflow the interpreter's stack."""
    for key, value in pairs:
        if type(key) not in (str, int, float, bool, type(None)):
            raise TypeError("a dict key that is neither text nor a number")
        yield key, value


def _allowed(module: Any, name: Any) -> _Global:
    if type(module) is not str or type(name) is not str:
        raise TypeError("a name that is not text")
    label = _Global(module, name)
    if label not in _ALLOWED:
        raise RefusedError(f"refused: its pickle names {label}, not part of a state dict; {RESAVE}")
    return label


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *, metadata: Any) -> Tensor:
    """A tensor within its storage; `metadata` has the bits of views that torch evaluates later."""
    if not isinstance(storage, Storage) or type(size) is not tuple or type(stride) is not tuple:
        raise TypeError("a tensor without storage, size or stride")
    if not len(size) == len(stride) <= _MAX_AXES or not all(_is_count(n) for n in (offset, *size, *stride)):
        raise RefusedError(f"a tensor has an invalid size, stride or offset; {RESAVE}")
    if type(metadata) not in (dict, type(None)) or not (metadata or {}).keys() <= {"neg", "conj"}:
        raise RefusedError(f"a tensor has unknown metadata; {RESAVE}")
    elements = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    # Python integers do not overflow. Strides of 0 could expand one number beyond the available memory.
    if elements > storage.length or (elements > 0 and last >= storage.length):
        raise RefusedError(
            f"a tensor of size {size!r}, stride {stride!r}, offset {offset!r} does not fit in its storage "
            f"of {storage.length} numbers; {RESAVE}"
        )
    bits = [bool((metadata or {}).get(bit)) for bit in ("neg", "conj")]
    return Tensor(storage, offset, size, stride, *bits)


def _is_count(value: Any) -> bool:
    """Whether it is a non-negative 64-bit integer."""
    return type(value) is int and 0 <= value < 2**63
