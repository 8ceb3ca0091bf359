"""Before a kernel runs, its arguments are checked against the declaration in its source."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ca_numpy.backends.cupy_backend.device import FOLDER, Device, source
from ca_numpy.backends.cupy_backend.emulation import arrays
from ca_numpy.backends.cupy_backend.launch import Launcher, parameters
from ca_numpy.backends.cupy_backend.tiles import every_instance

INSTANCES = [(file, instance) for file, instances in every_instance().items() for instance in instances]


class Spy:
    """A substitute for the kernels: records launches and runs nothing."""

    folder = FOLDER

    def __init__(self) -> None:
        self.launched: list[tuple[Any, ...]] = []

    def launch(self, *arguments: Any) -> None:
        self.launched.append(arguments)


@pytest.fixture
def spy() -> Spy:
    return Spy()


@pytest.fixture
def launcher(spy: Spy) -> Launcher:
    return Launcher(Device(arrays, spy))  # type: ignore[arg-type]


def there(*shape: int, dtype: Any = np.float32) -> Any:
    return arrays.asarray(np.ones(shape, dtype))


def test_what_a_kernel_takes_is_read_from_its_source() -> None:
    names = [(p.name, *p.kind, p.written) for p in parameters("activations.cu", "leaky_relu<double>")]
    assert names == [
        ("x", "an array", np.float64, False), ("alpha", "a number", np.float64, False),
        ("y", "an array", np.float64, True), ("n", "a number", np.int64, False),
    ]  # fmt: skip
    kinds = {p.name: p.kind for p in parameters("adam.cu", "adam<float>")}
    assert kinds["pointers"] == ("an array", np.uint64)
    assert kinds["sizes"] == ("an array", np.int64)
    assert kinds["chunk"] == ("an array", np.int32)
    assert kinds["eps"] == ("a number", np.float32)
    assert {p.name: p.kind for p in parameters("patches.cu", "improve_field<float>")}["source"] == (
        "an array",
        np.bool_,
    )


@pytest.mark.parametrize(("file", "instance"), INSTANCES)
def test_no_parameter_of_any_kernel_is_overlooked(file: str, instance: str) -> None:
    found = parameters(file, instance)
    declared = source(file).split(f" {instance.split('<')[0]}(")[1].split(")")[0].split(",")
    assert [p.name for p in found] == [part.split()[-1] for part in declared]
    assert any(p.written for p in found)
    number = np.float64 if "double" in instance.lower() else np.float32
    assert {p.kind[1] for p in found} <= {np.dtype(t) for t in (number, np.bool_, np.int32, np.int64, np.uint64)}


ELU = ("activations.cu", "leaky_relu<float>", (1,))
WRONG = {
    "another array": ((there(5, dtype=np.float64), np.float32(0.2), there(5), np.int64(5)),
                      "takes an array of float32 as x, not an array of float64"),
    "another result": ((there(5), np.float32(0.2), there(5, dtype=np.float64), np.int64(5)), "float32 as y"),
    "another number": ((there(5), np.float64(0.2), there(5), np.int64(5)), "a number of float32 as alpha"),
    "a short integer": ((there(5), np.float32(0.2), there(5), 5), "a number of int64 as n, not a number of int32"),
    "a number for an array": ((np.float32(1), np.float32(0.2), there(5), np.int64(5)), "an array of float32 as x"),
    "gaps in the result": ((there(5), np.float32(0.2), there(5, 2)[:, 0], np.int64(5)), "y, which is not contiguous"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_an_argument_of_another_type_is_refused_by_name_and_nothing_runs(
    what: str, launcher: Launcher, spy: Spy
) -> None:
    arguments, message = WRONG[what]
    with pytest.raises(TypeError, match=f"leaky_relu<float> in activations.cu .*{message}"):
        launcher.launch(*ELU, *arguments)
    assert spy.launched == []


def test_a_missing_argument_is_refused(launcher: Launcher, spy: Spy) -> None:
    with pytest.raises(ValueError, match="shorter"):
        launcher.launch(*ELU, there(5), np.float32(0.2), there(5))
    assert spy.launched == []


def test_an_input_with_gaps_is_copied_and_one_without_is_not(launcher: Launcher, spy: Spy) -> None:
    whole, gaps, y = there(5), there(5, 2)[:, 0], there(5)
    for x in (whole, gaps):
        launcher.launch(*ELU, x, np.float32(0.2), y, np.int64(5))
    given = [launched[-1][0] for launched in spy.launched]
    assert given[0] is whole
    assert given[1].flags.c_contiguous
    assert np.array_equal(given[1].get(), gaps.get())
