"""NumPy given a Tensor: the gradient is right, or an error says what to write. Never a silent constant."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ca_numpy as ca
from ca_numpy import Tensor, functional, grad, no_grad, ops, tensor
from ca_numpy.engine.numpy_protocol import INSTEAD

Array = np.ndarray[Any, Any]
MODULES = {"np": np, "np.linalg": np.linalg, "np.fft": np.fft}
#: Every function that NumPy lets other arrays take over, and every ufunc; those that write files apart.
FUNCTIONS = {
    f"{room}.{name}": f
    for room, module in MODULES.items()
    for name, f in vars(module).items()
    if (hasattr(f, "_implementation") or isinstance(f, np.ufunc)) and not name.startswith(("save", "_"))
}
METHODS = [n for n in dir(np.ndarray) if callable(getattr(np.ndarray, n)) and not n.startswith(("__", "to", "dump"))]
CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "asarray": np.asarray,
    "array": np.array,
    "array of a list": lambda x: np.array([x, x]),
    "asanyarray": np.asanyarray,
    "ascontiguousarray": np.ascontiguousarray,
    "full": lambda x: np.full(2, x),
    "masked array": np.ma.array,
    "tensor of a list": lambda x: tensor([x, x]),
    "index": lambda x: np.arange(9)[x],
    "slice written": lambda x: np.zeros(2).__setitem__(slice(None), x),
    "random": lambda x: np.random.default_rng(0).normal(x),
    "an array's dot": lambda x: np.arange(2.0).dot(x),
}
#: How a function may take a Tensor x, beside an array w.
FORMS: list[Callable[[Callable[..., Any], Tensor, Array], Any]] = [
    lambda f, x, w: f(x),
    lambda f, x, w: f([x, x]),
    lambda f, x, w: f(x, x),
    lambda f, x, w: f(w, x),
    lambda f, x, w: f(x, w),
    lambda f, x, w: f(x, 0),
    lambda f, x, w: f(x, (2, 1)),
    lambda f, x, w: f([True, False], x),
    lambda f, x, w: f([True, False], x, w),
    lambda f, x, w: f([True, False], w, x),
    lambda f, x, w: f(w, w, x),
    lambda f, x, w: f("i,i", x, w),
    lambda f, x, w: f(w, out=x),
    lambda f, x, w: f(x, 0, 0),
    lambda f, x, w: f(w, np.array([0]), x, 0),
]


def attempt(form: Callable[..., Any], f: Callable[..., Any], values: list[float]) -> tuple[str, Any, Array]:
    """The outcome of one call: "refused" or "given", the result, and the array that lay beside."""
    w = np.array([0.25, 0.5])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return "given", form(f, tensor(np.array(values)), w), w
        except Exception as e:
            return "refused", e, w


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_function_takes_the_values_of_a_tensor_in_silence(name: str) -> None:
    """What it gives is the same for other values, or a Tensor; and an array beside the Tensor stays as it was."""
    refused = 0
    for form in FORMS:
        (outcome, result, w), (_, other, _) = (attempt(form, FUNCTIONS[name], v) for v in ([0.5, 1.0], [0.75, 0.25]))
        assert np.array_equal(w, [0.25, 0.5])
        refused += outcome == "refused" and "gradients" in str(result)
        if outcome == "given" and not isinstance(result, Tensor) and name != "np.empty_like":  # whatever lay there
            assert repr(result) == repr(other)
    if name not in ("np.shape", "np.ndim", "np.size") and not isinstance(FUNCTIONS[name], np.ufunc):
        assert refused > 0


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("form", FORMS[:3], ids=["x", "[x, x]", "x, x"])
def test_no_method_of_an_array_takes_the_values_of_a_tensor_in_silence(name: str, form: Callable[..., Any]) -> None:
    def call(f: Any, x: Tensor, w: Array) -> Any:
        return form(getattr(w, name), x, w)

    (outcome, result, w), (_, other, w2) = (attempt(call, abs, v) for v in ([0.5, 1.0], [0.75, 0.25]))
    assert np.array_equal(w, w2)
    assert outcome == "refused" or repr(result) == repr(other)


@pytest.mark.parametrize("convert", CONVERSIONS.values(), ids=CONVERSIONS)
def test_what_is_recorded_does_not_become_a_plain_array(convert: Callable[[Any], Any]) -> None:
    x = tensor(np.array([1.0, 2.0]))
    for recorded in (x, x * 2):
        with pytest.raises(TypeError, match=r"lose its gradients: pass x\.numpy\(\)") as error:
            convert(recorded)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("convert", [np.asarray, np.array, np.arange(2.0).dot])
def test_constants_and_what_is_not_recorded_convert_freely(convert: Callable[[Any], Any]) -> None:
    x = tensor(np.array([1.0, 2.0]))
    right = convert(np.array([1.0, 2.0]))
    assert np.array_equal(convert(x.detach()), right)
    assert np.array_equal(convert(grad((x * x).sum(), x)), convert(np.array([2.0, 4.0])))
    with no_grad():
        assert np.array_equal(convert(x), right)
        assert np.array_equal(convert(x * 1.0), right)


def test_what_says_nothing_of_the_values_is_answered() -> None:
    x = tensor(np.zeros((2, 3)))
    assert (np.shape(x), np.ndim(x), np.size(x), np.size(x, 1)) == ((2, 3), 2, 6, 3)


def test_one_number_is_a_number_where_that_is_asked_for() -> None:
    assert float(tensor(np.array(2.5))) == 2.5


def test_an_array_on_the_left_of_an_operator_gives_a_tensor() -> None:
    x, w = tensor(np.array([1.0, 2.0])), np.array([3.0, 4.0])
    for y in (w + x, w - x, w * x, w / x, w @ x, np.float64(2) * x):
        assert isinstance(y, Tensor)
        assert y.tracked
    with pytest.raises(TypeError):
        w += x


@pytest.mark.parametrize("name", ["exp", "log", "maximum", "add", "matmul", "sqrt"])
def test_ufuncs_refuse_by_themselves(name: str) -> None:
    with pytest.raises(TypeError, match="ufunc"):
        getattr(np, name)(*[tensor(np.ones(2))] * getattr(np, name).nin)


# ---- what is named in their place --------------------------------------------------------------------------------
X = np.arange(24.0).reshape(1, 4, 3, 2) / 10
NAMES = {
    "shape": (4, 6), "axes": (3, 1, 2, 0), "axis": 1, "index": (0, slice(1, 3)), "low": 0.5, "high": 1.5,
    "pads": ((1, 0), (2, 1)), "mask": (X > 1).astype(float), "np": np, "functional": functional, "ops": ops,
}  # fmt: skip
EQUAL: dict[str, Callable[..., Any]] = {
    "reshape": lambda x: np.reshape(x, (4, 6)),
    "transpose": lambda x: np.transpose(x, (3, 1, 2, 0)),
    "concatenate": lambda x: np.concatenate([x, x], axis=1),
    "stack": lambda x: np.stack([x, x]),
    "dot": lambda x: x @ x.swapaxes(2, 3),
    "take": lambda x: x[0, 1:3],
    "clip": lambda x: np.clip(x, 0.5, 1.5),
    "mean": lambda x: np.mean(x, 1),
    "norm": lambda x: np.linalg.norm(x.ravel()),
    "pad": lambda x: np.pad(x, ((0, 0), (1, 0), (2, 1), (0, 0))),
    "sum": lambda x: np.sum(x, 1),
    "var": lambda x: np.var(x),
    "where": lambda x: np.where(x > 1, x, x.swapaxes(2, 3).reshape(x.shape)),
}


@pytest.mark.parametrize("name", EQUAL)
def test_what_is_named_does_what_the_function_does(name: str) -> None:
    x = tensor(X)
    b = x.transpose(0, 1, 3, 2)
    names = NAMES | {"x": x, "xs": [x, x], "a": x, "b": b.reshape(*X.shape) if name == "where" else b}
    y = eval(INSTEAD[name], names)
    assert isinstance(y, Tensor)
    assert y.tracked
    np.testing.assert_allclose(y.numpy(), EQUAL[name](X))


@pytest.mark.parametrize("name", INSTEAD)
def test_every_function_in_the_table_is_numpys_and_names_its_own_entry(name: str) -> None:
    room = "np.linalg" if name == "norm" else "np"
    message = f"{room}.{name} would convert a Tensor to a plain array and lose its gradients: use {INSTEAD[name]}, or"
    if not hasattr(MODULES[room], name):
        pytest.skip(f"this NumPy has no {name}")
    outcomes = [attempt(form, getattr(MODULES[room], name), [0.5, 1.0]) for form in FORMS]
    assert any(message in str(result) for outcome, result, _ in outcomes if outcome == "refused")


def test_a_sum_that_would_have_lost_half_its_gradient_is_an_error() -> None:
    z, w = tensor(np.array([1.0, 2.0])), np.arange(2.0)
    for wrong in (lambda: z * np.stack([z]), lambda: z * np.where([True, True], z, 0), lambda: z * w.dot(z)):
        with pytest.raises(TypeError, match="gradients"):
            wrong()
    right = ca.grad((z * (w @ z)).sum(), z).numpy()
    np.testing.assert_allclose(right, w @ z.numpy() + z.numpy().sum() * w)
