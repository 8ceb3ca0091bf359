"""Before a kernel runs, its arguments are checked against the declaration in its source."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ca_numpy.backends.cupy_backend.conv import Convolution
from ca_numpy.backends.cupy_backend.device import FOLDER, NULL, Device, source
from ca_numpy.backends.cupy_backend.emulation import arrays
from ca_numpy.backends.cupy_backend.launch import Launcher, parameters
from ca_numpy.backends.cupy_backend.tiles import every_instance
from ca_numpy.geometry import ConvGeometry

INSTANCES = [(file, instance) for file, instances in every_instance().items() for instance in instances]


class Spy:
    """A substitute for the kernels: records launches and runs nothing."""

    folder = FOLDER

    def __init__(self) -> None:
        self.launched: list[tuple[Any, ...]] = []

    def launch(self, *arguments: Any) -> None:
        self.launched.append(arguments)

    def address(self, x: Any) -> int:
        return int(x.data.ptr)


@pytest.fixture
def spy() -> Spy:
    return Spy()


@pytest.fixture
def launcher(spy: Spy) -> Launcher:
    return Launcher(Device(arrays, spy))  # type: ignore[arg-type]


def there(*shape: int, dtype: Any = np.float32) -> Any:
    return arrays.asarray(np.ones(shape, dtype))


def test_what_a_kernel_takes_is_read_from_its_source() -> None:
    names = [tuple(p) for p in parameters("activations.cu", "leaky_relu<double>")]
    assert names == [
        ("x", True, np.float64, False), ("alpha", False, np.float64, False),
        ("y", True, np.float64, True), ("n", False, np.int64, False),
    ]  # fmt: skip
    kinds = {p.name: (p.array, p.dtype) for p in parameters("adam.cu", "adam<float>")}
    assert kinds["pointers"] == (True, np.uint64)
    assert kinds["sizes"] == (True, np.int64)
    assert kinds["chunk"] == (True, np.int32)
    assert kinds["eps"] == (False, np.float32)
    assert parameters("patches.cu", "improve_field<float>")[3][:3] == ("source", True, np.bool_)


@pytest.mark.parametrize(("file", "instance"), INSTANCES)
def test_no_parameter_of_any_kernel_is_overlooked(file: str, instance: str) -> None:
    found = parameters(file, instance)
    declared = source(file).split(f" {instance.split('<')[0]}(")[1].split(")")[0].split(",")
    assert [p.name for p in found] == [part.split()[-1] for part in declared]
    assert any(p.written for p in found)
    double = "double" in instance.lower() or instance.startswith("norm")  # which sums in float64
    number = np.float64 if double else np.float32
    assert {p.dtype for p in found} <= {np.dtype(t) for t in (number, np.bool_, np.int32, np.int64, np.uint64)}


ELU = ("activations.cu", "leaky_relu<float>", (1,))
WRONG: dict[str, tuple[tuple[Any, ...], str]] = {
    "an array of float64": ((there(5, dtype=np.float64), np.float32(0.2), there(5), np.int64(5)),
                            "takes an array of float32 as x, not an array of float64"),
    "a result of float64": ((there(5), np.float32(0.2), there(5, dtype=np.float64), np.int64(5)),
                            "float32 as y, not an array of float64"),
    "an array of the host": ((np.ones(5, np.float32), np.float32(0.2), there(5), np.int64(5)),
                             "takes an array of float32 as x, not an array of float32 of the host"),
    "one as a number": ((there(5), np.ones((), np.float32), there(5), np.int64(5)),
                        "takes a number of float32 as alpha, not an array of float32 of the host"),
    "a list": (([1.0], np.float32(0.2), there(5), np.int64(5)), "as x, not list"),
    "an array as a number": ((there(5), there(), there(5), np.int64(5)), "as alpha, not an array of float32"),
    "another number": ((there(5), np.float64(0.2), there(5), np.int64(5)), "a number of float32 as alpha, not float64"),
    "Python's number": ((there(5), 0.2, there(5), np.int64(5)), "a number of float32 as alpha, not float"),
    "a short integer": ((there(5), np.float32(0.2), there(5), 5), "a number of int64 as n, not int"),
    "a number for an array": ((np.float32(1), np.float32(0.2), there(5), np.int64(5)),
                              "an array of float32 as x, not float32"),
    "an integer for a pointer": ((0, np.float32(0.2), there(5), np.int64(5)), "an array of float32 as x, not int"),
    "gaps in the result": ((there(5), np.float32(0.2), there(5, 2)[:, 0], np.int64(5)), "y, which is not contiguous"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_an_argument_of_another_type_is_refused_by_name_and_nothing_runs(
    what: str, launcher: Launcher, spy: Spy
) -> None:
    arguments, message = WRONG[what]
    with pytest.raises(TypeError, match=f"^leaky_relu<float> in activations.cu .*{message}$"):
        launcher.launch(*ELU, *arguments)
    assert spy.launched == []


@pytest.mark.parametrize("dtype", [np.int64, np.bool_, np.float16])
def test_a_dtype_that_no_kernel_computes_in_is_named(dtype: Any, launcher: Launcher, spy: Spy) -> None:
    x = there(5, dtype=dtype)
    with pytest.raises(TypeError, match=f"^the GPU's kernels compute in float32 or float64, not {x.dtype}$"):
        launcher.elementwise("activations.cu", "elu", 5, x.dtype, x, x, np.int64(5))
    with pytest.raises(TypeError, match=f"takes an array of float32 as x, not an array of {x.dtype}"):
        Convolution(launcher, "float32").forward(x.reshape(1, 1, 1, 5), x.reshape(1, 1, 5, 1), ConvGeometry())
    assert spy.launched == []


def test_a_null_pointer_is_taken_for_an_array_and_not_for_a_number(launcher: Launcher, spy: Spy) -> None:
    launcher.launch(*ELU, NULL, np.float32(0.2), there(5), np.int64(5))
    assert len(spy.launched) == 1
    with pytest.raises(TypeError, match="as n, not uint64"):
        launcher.launch(*ELU, NULL, np.float32(0.2), there(5), NULL)


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
