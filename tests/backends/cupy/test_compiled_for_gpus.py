"""Every kernel × dtype × GPU compiles to machine code, within the intended registers and shared memory."""

from __future__ import annotations

import nvrtc
import pytest

from ca_numpy.backends.cupy_backend.device import FOLDER, source
from ca_numpy.backends.cupy_backend.tiles import every_instance

needs_nvrtc = pytest.mark.skipif(
    nvrtc.library() is None, reason="needs NVRTC: pip install nvidia-cuda-nvrtc-cu12 (Linux and Windows on x86-64)"
)
ARCHITECTURES = ("sm_80", "sm_90")
#: Registers are 65536 to a multiprocessor: with 256 threads to a block, 128 for each leave room for two blocks. Tensor
#: cores fed with BF16, or number by number where four cannot be fetched at once, take more: one block at a time.
FOR_TWO_BLOCKS = 128
#: Bytes of shared memory that a kernel may have without asking for more.
MOST_SHARED = 48 << 10


@needs_nvrtc
@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("file", every_instance())
def test_it_compiles_and_keeps_its_sums_in_registers(file: str, architecture: str) -> None:
    expressions = every_instance()[file]
    compiled = nvrtc.compile_to_cubin(
        source(file), name=file, expressions=expressions, architecture=architecture, include=FOLDER
    )
    assert compiled.cubin[:4] == b"\x7fELF"
    assert len(compiled.usage) == len(expressions)
    for name, usage in compiled.usage.items():
        assert usage.spilled == 0, f"{name} spills"
        by_number = "Tensor" in name and "EELi4ELi4EE" not in name
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
