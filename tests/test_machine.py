"""What is told about the machine."""

from __future__ import annotations

import pytest

from ca_numpy import machine


def test_what_is_found_is_what_the_system_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_cpu_info", lambda: {"model name": "Abacus 9", "flags": "sse avx2 avx512f"})
    assert machine.cpu_model() == "Abacus 9"
    assert machine.vector_instructions() == "AVX-512"
    monkeypatch.setattr(machine, "_cpu_info", lambda: {"flags": "sse avx2"})
    assert machine.vector_instructions() == "AVX2"
    monkeypatch.setattr(machine, "_cpu_info", dict)
    assert machine.vector_instructions() == "unknown"


@pytest.mark.parametrize(
    ("variables", "ranks"),
    [
        ({}, 1),
        ({"MPI_LOCALNRANKS": "4"}, 4),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": "2", "OMPI_COMM_WORLD_SIZE": "6"}, 2),
        ({"SLURM_STEP_TASKS_PER_NODE": "3(x2),1"}, 3),
        ({"MPI_LOCALNRANKS": "0"}, 1),
        ({"MPI_LOCALNRANKS": "many"}, 1),
    ],
)
def test_memory_is_shared_by_the_ranks_of_a_machine(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], ranks: int
) -> None:
    for name in ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_TASKS_PER_NODE"):
        monkeypatch.delenv(name, raising=False)
    whole = machine.memory()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert machine.ranks() == ranks
    assert machine.memory() == (whole and whole // ranks)


@pytest.mark.parametrize("kernels", ["Haswell", "Zen"])
def test_a_blas_that_overlooks_avx512_is_told_of(kernels: str) -> None:
    assert "OPENBLAS_CORETYPE=SkylakeX" in str(machine.advice(kernels, "AVX-512"))
    assert machine.advice(kernels, "AVX2") is None
    assert machine.advice("SkylakeX", "AVX-512") is None


def test_this_machine_is_described_in_full() -> None:
    found = machine.describe()
    assert found["cores"] >= 1
    assert found["blas"]["name"]
    assert set(found) == {"cpu", "cores", "vectors", "blas", "system", "python", "numpy"}
