"""Instructions of the GPU's main loops, from machine code: per tensor-core instruction of the convolutions, and per
number of the attention's sums along diagonals.

    python tests/benchmarks/instructions.py [--only TF32] [--nvdisasm PATH]

Needs no GPU. A multiprocessor issues four instructions per cycle whatever they are, so all that surrounds the products
costs time. The main loop runs from its label to the jump back; blocks that the compiler moved elsewhere are left out.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import nvrtc

from ca_numpy.backends.cupy_backend.device import FOLDER, source
from ca_numpy.backends.cupy_backend.tiles import every_instance

ARCHITECTURES = ("sm_80", "sm_90")


class Loop(NamedTuple):
    """Instructions of a loop, and how many of them multiply matrices, load from memory, and store there."""

    instructions: int
    products: int
    loads: int
    stores: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--nvdisasm", default=disassembler(), help="the disassembler, if it is neither on PATH nor from PyPI"
    )
    parser.add_argument("--only", default="", help="only instances whose name contains this")
    options = parser.parse_args()
    if nvrtc.library() is None:
        parser.error("needs NVRTC: pip install nvidia-cuda-nvrtc-cu12")
    if options.nvdisasm is None:
        parser.error("needs nvdisasm: pip install nvidia-cuda-nvdisasm, or give its path with --nvdisasm")
    print("| instance | GPU | instructions | products | ratio | registers |\n|---|---|---|---|---|---|")
    for expression in every_instance()["conv.cu"]:
        if "Tensor" not in expression or options.only not in expression:
            continue
        for architecture in ARCHITECTURES:
            found, registers = loops("conv.cu", expression, architecture, options.nvdisasm)
            loop = main_loop(found)
            print(f"| {expression} | {architecture} | {loop.instructions} | {loop.products} | "
                  f"{loop.instructions / loop.products:.1f} | {registers} |", flush=True)  # fmt: skip
    print("\n| terms of a sum | GPU | instructions per number | registers |\n|---|---|---|---|")
    for architecture in ARCHITECTURES:
        found, registers = loops("attention.cu", "diagonal_sums<float>", architecture, options.nvdisasm)
        for terms in (9, 4):
            each = min(x.instructions / x.stores for x in found if x.stores and x.loads == terms * x.stores)
            print(f"| {terms} | {architecture} | {each:.1f} | {registers} |")


def loops(file: str, expression: str, architecture: str, nvdisasm: str) -> tuple[list[Loop], int]:
    """The loops of a kernel, and its registers."""
    compiled = nvrtc.compile_to_cubin(
        source(file), name=file, expressions=[expression], architecture=architecture, include=FOLDER
    )
    (usage,) = compiled.usage.values()
    return loops_in(disassembled(compiled.cubin, nvdisasm)), usage.registers


def disassembler() -> str | None:
    """The path of nvdisasm: on PATH, or from PyPI."""
    try:
        found = [f for f in files("nvidia-cuda-nvdisasm") or () if f.name == "nvdisasm"]
    except PackageNotFoundError:
        found = []
    return shutil.which("nvdisasm") or (str(found[0].locate()) if found else None)


def disassembled(cubin: bytes, nvdisasm: str) -> str:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([nvdisasm, "-c", file.name], capture_output=True, text=True, check=True).stdout


def main_loop(loops: list[Loop]) -> Loop:
    """The innermost loop with the most products."""
    most = max(loop.products for loop in loops)
    return min(loop for loop in loops if loop.products == most)


def loops_in(text: str) -> list[Loop]:
    return [Loop(len(b), *(sum(what in i for i in b) for what in ("HMMA", "LDG", "STG"))) for b in bodies_in(text)]


def bodies_in(text: str) -> list[list[str]]:
    """The instructions of each loop in a disassembly, from its label to the jump back."""
    labels: dict[str, int] = {}
    code: list[str] = []
    bodies: list[list[str]] = []
    for line in text.splitlines():
        if label := re.match(r"(\.L_\w+):", line):
            labels[label[1]] = len(code)
        elif instruction := re.match(r"\s+/\*[0-9a-f]+\*/\s+(.*?);", line):
            code.append(instruction[1])
            jump = re.search(r"\bBRA\b.*\(?(\.L_\w+)", instruction[1])
            if jump and jump[1] in labels:
                bodies.append(code[labels[jump[1]] :])
    return bodies


if __name__ == "__main__":
    main()
