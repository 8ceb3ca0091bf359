"""The suite that backends are held to finds the mistakes that backends make."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ca_numpy.registry as registry
from ca_numpy.backends.numpy_backend import NumpyBackend
from ca_numpy.geometry import ConvGeometry
from ca_numpy.testing import CASES, LAYOUTS, Case, RandomChooser
from ca_numpy.testing import backend_suite as suite

Check = Callable[[Case, Any, np.random.Generator], None]


class Broken(NumpyBackend):
    name = "broken"


def kernel(case: Case, problem: Any, rng: np.random.Generator, **options: Any) -> None:
    layout = RandomChooser(rng).choice(LAYOUTS)
    suite.check_kernel("broken", case, problem, layout=layout, **options)


def in_float32(case: Case, problem: Any, rng: np.random.Generator) -> None:
    kernel(case, problem, rng, dtype=np.float32)


def against_numpy(case: Case, problem: Any, rng: np.random.Generator) -> None:
    kernel(case, case.draw(RandomChooser(rng, large=True)), rng, expected=suite.by_numpy(case))


def adjoints(case: Case, problem: Any, rng: np.random.Generator) -> None:
    suite.check_adjoints("broken", case, problem, rng=rng)


def derivatives(case: Case, problem: Any, rng: np.random.Generator) -> None:
    suite.check_derivatives("broken", case, problem, rng=rng)


def fused(case: Case, problem: Any, rng: np.random.Generator) -> None:
    suite.check_fused("broken", case, problem, rng=rng)


def dtypes(case: Case, problem: Any, rng: np.random.Generator) -> None:
    suite.check_gradients_keep_dtype("broken", case, problem, rng=rng)


right = NumpyBackend()


def overwrites_its_input(self: Any, x: Any) -> Any:
    return np.log(x, out=x if x.flags.writeable else None)


def reads_what_lies_in_memory(self: Any, x: Any) -> Any:
    base = x if x.base is None else x.base
    return np.maximum(np.resize(base, x.shape), 0)


def scatter_without_repeats(self: Any, g: Any, *, index: Any, axis: int, length: int) -> Any:
    x = np.zeros((*g.shape[:axis], length, *g.shape[axis + 1 :]), g.dtype)
    x[(slice(None),) * axis + (index,)] = g
    return x


def pads_above_below(self: Any, x: Any, w: Any, *, geometry: ConvGeometry) -> Any:
    rows, columns = geometry.pads
    return right.conv2d(x, w, geometry=replace(geometry, pads=(rows[::-1], columns)))


def wrong_beyond_a_block(self: Any, a: Any, b: Any) -> Any:
    y = np.matmul(a, b)
    y[..., 32:, :] = 0
    return y


MISTAKES: dict[str, tuple[str, Any, Check, str]] = {
    "a flipped kernel": ("conv2d", lambda self, x, w, **p: right.conv2d(x, w[::-1], **p), kernel, "should be"),
    "padding on the wrong side": (
        "conv2d",
        pads_above_below,
        kernel,
        "should be",
    ),
    "memory order": ("exp", lambda self, x: np.exp(x.ravel(order="K")).reshape(x.shape), kernel, "exp of broken"),
    "reading between strides": (
        "relu",
        lambda self, x: np.maximum(x + np.nan * (x.strides != np.ascontiguousarray(x).strides), 0),
        kernel,
        "nan",
    ),
    "a changed input": (
        "log",
        lambda self, x: np.log(x, out=x if x.flags.writeable else None),
        kernel,
        "input 0 was changed",
    ),
    "a new dtype": ("log", lambda self, x: np.log(x.astype(np.float64)), in_float32, "gives float64"),
    "half precision": (
        "conv2d",
        lambda self, x, w, **p: right.conv2d(x.astype(np.float16).astype(x.dtype), w, **p),
        in_float32,
        "give or take",
    ),
    "half precision in a softmax": (
        "softmax",
        lambda self, x: right.softmax(x.astype(np.float16).astype(x.dtype)),
        in_float32,
        "give or take",
    ),
    "half precision in the attention": (
        "contextual_attention",
        lambda self, f, b, valid, **p: right.contextual_attention(f, b.astype(np.float16).astype(f.dtype), valid, **p),
        in_float32,
        "give or take",
    ),
    "places named twice": ("scatter_add", scatter_without_repeats, kernel, "should be"),
    "the last block": ("matmul", wrong_beyond_a_block, against_numpy, "should be"),
    "a shape": ("softmax", lambda self, x: right.softmax(x)[..., None], kernel, "has shape"),
    "the neighbours next to each other only": (
        "improve_field",
        lambda self, *arrays, radius, jump: right.improve_field(*arrays, radius=radius, jump=1),
        kernel,
        "should be",
    ),
    "a tie that a later patch wins": (
        "patch_source",
        lambda self, *arrays, radius: right.patch_source(
            *arrays[:3], arrays[3] + np.linspace(0, 1e-6, len(arrays[3])), radius=radius
        ),
        kernel,
        "should be",
    ),
    "a new dtype of integers": (
        "patch_source",
        lambda self, *arrays, **p: right.patch_source(*arrays, **p).astype(np.int64),
        kernel,
        "gives int64",
    ),
    "an adjoint that is none": ("fold", lambda self, g, **p: right.fold(g, **p) * 1.0001, adjoints, "not an adjoint"),
    "a slope": ("elu_vjp", lambda self, g, y: g * np.ones_like(y), derivatives, "order 1"),
    "a second slope": ("not_positive", lambda self, y: np.zeros_like(y), derivatives, "order 2"),
    "a fused kernel": (
        "conv_bias_elu",
        lambda self, x, w, b, **p: right.conv_bias_elu(x, w, b * 1.0001, **p),
        fused,
        "and its reference, order 0",
    ),
    "a fused gradient": (
        "contextual_attention_vjp",
        lambda self, *arrays, **p: tuple(g * 1.0001 for g in right.contextual_attention_vjp(*arrays, **p)),
        fused,
        "and its reference, order 1, input",
    ),
    "the gradient's dtype": ("mul", lambda self, a, b: np.multiply(a, b).astype(np.float64), dtypes, "is float64"),
}
#: Where the mistake shows in the derivatives of another operation than the one whose kernel is wrong.
SEEN_IN = {
    "adjoints": "unfold",
    "derivatives": "elu",
    "dtypes": "exp",
    "contextual_attention_vjp": "contextual_attention",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_suite_finds(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, wrong, check, message = MISTAKES[mistake]
    case = CASES[SEEN_IN.get(check.__name__, SEEN_IN.get(name, name))]
    monkeypatch.setitem(registry._loaded, "broken", Broken())
    run_draws(check, case)  # as long as nothing is broken, nothing is found
    monkeypatch.setattr(Broken, name, wrong)
    with pytest.raises(AssertionError, match=message):
        run_draws(check, case)


def run_draws(check: Check, case: Case) -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        check(case, case.draw(RandomChooser(rng)), rng)


def test_not_a_number_is_never_close() -> None:
    with pytest.raises(AssertionError, match=r"at \(1,\) is .*nan"):
        suite.assert_close(np.array([1.0, np.nan]), np.array([1.0, 2.0]), np.array([1.0, 1e9]), "this")


def test_a_backend_that_cannot_run_here_is_skipped_with_its_reason() -> None:
    class Absent(suite.BackendSuite):
        backend = "absent"

    with pytest.raises(pytest.skip.Exception, match="unknown backend 'absent'"):
        Absent().setup_method()


def test_the_shipped_checks_need_neither_pytest_nor_hypothesis() -> None:
    code = """
import sys
sys.modules.update(pytest=None, hypothesis=None, scipy=None)
import numpy as np
from ca_numpy import ops
from ca_numpy.testing import CASES, RandomChooser, gradcheck
rng = np.random.default_rng(0)
problem = CASES["conv2d"].draw(RandomChooser(rng))
gradcheck(lambda x, w: ops.conv2d(x, w, **problem.params), problem.inputs, rng=rng)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
