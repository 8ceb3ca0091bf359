"""Every kernel × dtype × GPU compiles to machine code, within the intended registers and shared memory."""

from __future__ import annotations

import re

import nvrtc
import pytest

from ca_numpy.backends.cupy_backend.device import FOLDER, source
from ca_numpy.backends.cupy_backend.tiles import every_instance

needs_nvrtc = pytest.mark.skipif(
    nvrtc.library() is None, reason="needs NVRTC: pip install nvidia-cuda-nvrtc-cu12 (Linux and Windows on x86-64)"
)
#: Turing, which multiplies in float32 only; Ampere, Ada, Hopper, Blackwell.
ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
#: Registers are 65536 to a multiprocessor: with 256 threads to a block, 128 for each leave room for two blocks. Tensor
#: cores fed with BF16, or number by number where four cannot be fetched at once, take more: one block at a time.
FOR_TWO_BLOCKS = 128
#: Bytes of a thread's registers kept in memory: on sm_100 and sm_120, in two kernels in float64; from sm_86 on, in
#: the small tile in BF16; on sm_100, by CUDA 13, in the narrow one in TF32.
MAY_SPILL = {
    "improve_fieldId": 12, "adamId": 24, "I4BF16Li8ELi1ELi2ELi4": 16, "I4TF32Li8ELi1ELi2ELi2": 8,
    "convolveI9PlainTileIfLi8ELi1EELi1ELi1E": 4,
}  # fmt: skip
#: Of the 84 instances of the convolutions all are compiled once by each compiler, which takes it half a minute: by CUDA
#: 13's for Hopper, by CUDA 12's for Ampere. Elsewhere only the fast ones are, with four numbers a fetch.
ALL = {("sm_90", "nvidia-cuda-nvrtc"), ("sm_80", "nvidia-cuda-nvrtc-cu12")}
#: Bytes of shared memory that a kernel may have without asking for more.
MOST_SHARED = 48 << 10


@pytest.mark.slow
@pytest.mark.parametrize("package", nvrtc.PACKAGES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("file", every_instance())
def test_it_compiles_and_keeps_its_sums_in_registers(file: str, architecture: str, package: str) -> None:
    if nvrtc.library(package) is None:
        pytest.skip(f"needs NVRTC: pip install {package} (Linux and Windows on x86-64)")
    expressions = [e for e in every_instance()[file] if architecture != "sm_75" or "Tensor" not in e]
    if file == "conv.cu" and architecture != "sm_75" and (architecture, package) not in ALL:
        expressions = [e for e in expressions if re.search(r"4, 4>$", e)]
    compiled = nvrtc.compile_to_cubin(
        source(file), name=file, expressions=expressions, architecture=architecture, include=FOLDER, packages=(package,)
    )
    assert compiled.cubin[:4] == b"\x7fELF"
    assert len(compiled.usage) == len(expressions)
    for name, usage in compiled.usage.items():
        allowed = max((spilled for part, spilled in MAY_SPILL.items() if part in name), default=0)
        assert usage.spilled <= allowed, f"{name} spills {usage.spilled} bytes"
        by_number = "Tile" in name and "EELi4ELi4EE" not in name
        assert usage.registers <= FOR_TWO_BLOCKS or "BF16" in name or by_number, name
        assert usage.shared <= MOST_SHARED, name


@needs_nvrtc
def test_a_mistake_in_a_kernel_is_an_error_that_names_the_place() -> None:
    with pytest.raises(AssertionError, match=r"wrong\.cu\(1\)"):
        nvrtc.compile_to_cubin(
            "__global__ void f(int* x) { x[0] = y; }", name="wrong.cu", expressions=["f"], architecture="sm_80",
            include=FOLDER,
        )  # fmt: skip


def test_the_report_of_ptxas_is_read() -> None:
    log = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_Z1fPi' for 'sm_80'
ptxas info    : Function properties for _Z1fPi
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 1024 bytes smem, 360 bytes cmem[0]
"""
    assert nvrtc.usage_in(log) == {"_Z1fPi": nvrtc.Usage(registers=40, spilled=4, shared=1024)}
