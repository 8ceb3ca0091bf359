"""JSON from files: checked once, at the door, against types, ranges, depth and totals (by msgspec).

    parsed(text, list[Natural], "this is no list of numbers")      the value, or a UserError that begins so

A type may be a TypedDict, a dataclass, or a Struct. `content` reads a file of limited length; of paths in files,
`inside` allows only those below a folder.
"""

from __future__ import annotations

import os
import stat
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal, NotRequired, TypedDict, TypeVar

import msgspec

from ca_numpy.errors import UserError, quoted, reason

T = TypeVar("T")
#: Larger JSON files are refused: a list of a hundred thousand pairs has 30 MB.
LONGEST = 1 << 26

Natural = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
Word = Annotated[int, msgspec.Meta(ge=0)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


def parsed(text: str | bytes, kind: type[T], what: str) -> T:
    """The value of a JSON text. Raises UserError, `what` and the reason, for one that is not of this type."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise UserError(f"{what} ({reason(error)})") from error


def converted(value: object, kind: type[T], what: str) -> T:
    """A value of plain Python types as this type. Raises UserError as `parsed`."""
    try:
        return msgspec.convert(value, kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UserError(f"{what} ({reason(error)})") from error


def content(path: str | os.PathLike[str], *, at_most: int = LONGEST) -> bytes:
    """The bytes of a file. Raises UserError if it is no regular file, longer than `at_most`, or cannot be read."""
    shown = repr(os.fspath(path))
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would block, a device never ends
            raise UserError(f"{shown} is not a file; check the path")
        with open(path, "rb") as file:
            data = file.read(min(os.fstat(file.fileno()).st_size, at_most) + 1)  # reserves no more than there is
    except OSError as error:
        raise UserError(f"cannot read {shown}: {error.strerror or error}") from error
    if len(data) > at_most:
        raise UserError(f"{shown} is longer than {at_most} bytes, which no such file is")
    return data


def inside(name: str, what: str) -> str:
    """A relative path as a file gives it, with forward slashes. Raises UserError unless it stays in its folder.

    Absolute paths, drives, `..` and characters that no terminal shows are refused.
    """
    parts = PureWindowsPath(name).parts  # also splits at /
    if not parts or PureWindowsPath(name).anchor or PurePosixPath(name).anchor or ".." in parts or "\0" in name:
        raise UserError(f"{what} names {quoted(name)}, which is outside its folder: get it again")
    return name


# ---- A run's files -------------------------------------------------------------------------------------------


class _Words(TypedDict):
    state: Word
    inc: Word


class _Pcg64(TypedDict):
    """`bit_generator.state` of NumPy's default generator."""

    bit_generator: Literal["PCG64"]
    state: _Words
    has_uint32: Literal[0, 1]
    uinteger: Annotated[int, msgspec.Meta(ge=0, lt=2**32)]


class _Loader(TypedDict):
    pictures: Natural
    names: NotRequired[Sha256]
    position: Natural
    epoch_start: _Pcg64
    rng: _Pcg64


class _Average(TypedDict):
    updates: Natural


class _Best(TypedDict):
    step: Natural
    l1: float


_OPTIONAL: dict[str, Any] = {"best": _Best, "backend": Annotated[str, msgspec.Meta(max_length=40)]}
_STATE: dict[str, Any] = {"step": Natural, "loader": _Loader, "clocks": dict[str, Natural]}


def run_state(text: str, what: str) -> dict[str, Any]:
    """A checkpoint's state: `step`, `loader`, `clocks`, generators named `…_rng`, averages, … Raises UserError."""
    state = {}
    for name, raw in parsed(text, dict[str, msgspec.Raw], what).items():
        kind = (_STATE | _OPTIONAL).get(name, _Pcg64 if name.endswith("_rng") else _Average)
        state[name] = parsed(bytes(raw), kind, f"{what}: its {quoted(name)} is no state")
    if lacking := _STATE.keys() - state.keys():
        raise UserError(f"{what}: it lacks {min(lacking)!r}")
    return state


def log_record(line: bytes, what: str) -> dict[str, Any]:
    """A line of a run's log: its step, and numbers by name. Raises UserError."""
    record = parsed(line, dict[str, int | float | None], what)
    converted(record.get("step"), Natural, f"{what}: its step is no number")
    return dict(record)


# ---- Lists of pairs ------------------------------------------------------------------------------------------

_Corner = Annotated[int, msgspec.Meta(ge=0, le=2**31)]
_Side = Annotated[int, msgspec.Meta(ge=1, le=2**31)]
_Box = tuple[_Corner, _Corner, _Side, _Side]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
_Coordinate = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
_Polygon = Annotated[list[tuple[_Coordinate, _Coordinate]], msgspec.Meta(min_length=3, max_length=10_000)]


class HoleEntry(msgspec.Struct, forbid_unknown_fields=True):
    """A hole in a list of pairs."""

    kind: Annotated[str, msgspec.Meta(max_length=40)]
    box: _Box | None = None
    seed: Annotated[list[Natural], msgspec.Meta(max_length=8)] | None = None
    sha256: Sha256 = ""
    points: Annotated[list[_Polygon], msgspec.Meta(min_length=1, max_length=1000)] | None = None


class PairEntry(msgspec.Struct, forbid_unknown_fields=True):
    """A pair in a list; one of the first three is given."""

    sha256: Sha256
    window: _Box
    hole: HoleEntry
    file: _Name | None = None
    photograph: _Name | None = None
    texture: _Name | None = None


class PairsFile(msgspec.Struct, forbid_unknown_fields=True):
    """A list of pairs."""

    format: Annotated[str, msgspec.Meta(max_length=40)]
    size: Annotated[int, msgspec.Meta(ge=1, le=8192)]
    pairs: Annotated[list[PairEntry], msgspec.Meta(max_length=1_000_000)]
