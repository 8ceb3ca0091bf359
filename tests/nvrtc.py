"""NVRTC from PyPI by ctypes: compiles CUDA C++ to machine code for a GPU that need not be there."""

from __future__ import annotations

import ctypes
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import NamedTuple

#: CUDA 13's and CUDA 12's: both may be installed.
PACKAGES = ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12")


class Compiled(NamedTuple):
    """Machine code, and what ptxas said of each function by its mangled name."""

    cubin: bytes
    usage: dict[str, Usage]


class Usage(NamedTuple):
    registers: int
    spilled: int  # bytes stored because registers did not suffice
    shared: int  # bytes


@cache
def library(*packages: str) -> ctypes.CDLL | None:
    """NVRTC from the first of these packages that is installed, by default of all; None if there is none."""
    for package in packages or PACKAGES:
        try:
            found = [f for f in files(package) or () if re.fullmatch(r"libnvrtc\.so\.\d+", f.name)]
        except PackageNotFoundError:
            continue
        if found:
            return ctypes.CDLL(str(found[0].locate()))
    return None


def compile_to_cubin(
    source: str, *, name: str, expressions: list[str], architecture: str, include: Path,
    packages: tuple[str, ...] = PACKAGES,
) -> Compiled:  # fmt: skip
    """Raises AssertionError with the compiler's log if it fails."""
    nvrtc = library(*packages)
    assert nvrtc is not None
    program = ctypes.c_void_p()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), name.encode(), 0, None, None) == 0
    try:
        for expression in expressions:
            assert nvrtc.nvrtcAddNameExpression(program, expression.encode()) == 0
        options = [f"--gpu-architecture={architecture}", "-std=c++17", f"-I{include}", "--ptxas-options=-v"]
        options += ["-ftz=true"]  # as CuPy does
        encoded = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        failed = nvrtc.nvrtcCompileProgram(program, len(options), encoded)
        log = _text(nvrtc, program, "ProgramLog").decode(errors="replace")
        assert not failed, f"{name} for {architecture}:\n{log[:4000]}"
        return Compiled(_text(nvrtc, program, "CUBIN"), usage_in(log))
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _text(nvrtc: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    assert getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)) == 0
    buffer = ctypes.create_string_buffer(size.value)
    assert getattr(nvrtc, f"nvrtcGet{what}")(program, buffer) == 0
    return buffer.raw


def usage_in(log: str) -> dict[str, Usage]:
    """What ptxas reports with -v."""
    found = {}
    for part in log.split("Compiling entry function '")[1:]:
        spilled = re.search(r"(\d+) bytes spill stores", part)
        registers = re.search(r"Used (\d+) registers", part)
        shared = re.search(r"(\d+) bytes smem", part)
        assert spilled, part
        assert registers, part
        found[part.split("'")[0]] = Usage(int(registers[1]), int(spilled[1]), int(shared[1]) if shared else 0)
    return found
