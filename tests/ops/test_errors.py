"""What does not fit is refused in one line that says what was given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ca_numpy import functional as F
from ca_numpy import grad, ops, tensor


def zeros(*shape: int) -> Any:
    return tensor(np.zeros(shape))


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "inner lengths of a product": (lambda: zeros(2, 3) @ zeros(2, 3), r"cannot multiply \(2, 3\) by \(2, 3\)"),
    "vector in a product": (lambda: zeros(4) @ zeros(3), r"cannot multiply \(4,\) by \(3,\)"),
    "number in a product": (lambda: zeros() @ zeros(3), r"cannot multiply \(\) by \(3,\)"),
    "reshape to another size": (lambda: zeros(2, 3).reshape(4, 2), r"cannot reshape \(2, 3\)"),
    "reshape with a remainder": (lambda: zeros(2, 3).reshape(4, -1), r"cannot reshape \(2, 3\)"),
    "channels": (lambda: F.conv2d(zeros(1, 8, 8, 3), zeros(3, 3, 4, 5)), r"the same I.*\(1, 8, 8, 3\).*\(3, 3, 4, 5\)"),
    "one picture without a batch": (lambda: F.conv2d(zeros(8, 8, 3), zeros(3, 3, 3, 5)), r"N H W I.*\(8, 8, 3\)"),
    "padding": (lambda: F.conv2d(zeros(1, 8, 8, 3), zeros(3, 3, 3, 5), padding="full"), r"padding must be.*'full'"),  # type: ignore[arg-type]
    "kernel": (
        lambda: F.conv2d(zeros(1, 4, 4, 3), zeros(5, 5, 3, 5), padding="valid"),
        r"5×5.*does not fit in \(4, 4\)",
    ),
    "dilated kernel": (
        lambda: F.conv2d(zeros(1, 8, 4, 3), zeros(3, 3, 3, 5), dilation=2, padding="valid"),
        r"dilation 2 does not fit in \(8, 4\)",
    ),
    "stride": (lambda: F.conv2d(zeros(1, 8, 8, 3), zeros(3, 3, 3, 5), stride=0), "stride=0"),
    "dilation": (lambda: F.conv2d(zeros(1, 8, 8, 3), zeros(3, 3, 3, 5), dilation=0), "dilation=0"),
    "size": (lambda: F.resize_nearest(zeros(1, 8, 8, 3), size=(0, 4)), r"at least 1×1.*\(0, 4\)"),
    "boxes": (lambda: F.crop_boxes(zeros(2, 8, 8, 3), [(0, 0, 4, 4)]), "1 boxes for 2 images"),
    "broadcasting": (lambda: zeros(2, 3) + zeros(4), "broadcast"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_a_value_error_in_one_line(what: str) -> None:
    call, message = REFUSED[what]
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value).strip()


def test_an_exponent_that_is_a_tensor_is_refused_with_what_to_write_instead() -> None:
    with pytest.raises(TypeError, match=r"exp\(log\(x\) \* p\)"):
        zeros(2) ** zeros(2)


@pytest.mark.parametrize("call", [lambda x: grad(x, x), lambda x: grad(tensor(x), x), lambda x: grad(x, [tensor(x)])])
def test_grad_of_an_array_is_refused_with_what_to_do(call: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=r"ca_numpy\.tensor\(array\)"):
        call(np.zeros(2))


def test_an_index_out_of_range_is_numpys_index_error() -> None:
    with pytest.raises(IndexError):
        zeros(3)[5]


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.sum(5),
        lambda x: x.mean(-3),
        lambda x: x.transpose(0, 7),
        lambda x: ops.concat([x, x], axis=2),
    ],
)
def test_an_axis_that_is_not_there_is_refused(call: Callable[[Any], Any]) -> None:
    with pytest.raises((ValueError, IndexError)):
        call(zeros(2, 3))
