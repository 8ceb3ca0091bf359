"""One row per kernel of the contract: how to draw its inputs, the expected result, and its derivatives.

The table drives all checks of a backend (`backend_suite`). A new kernel needs a row here; the project's tests fail if a
kernel or an operation has none.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.engine import ops
from ca_numpy.engine.autograd import Op, grad
from ca_numpy.engine.recording import recording
from ca_numpy.engine.tensor import Tensor, tensor
from ca_numpy.geometry import AttentionGeometry, ConvGeometry
from ca_numpy.registry import use_backend
from ca_numpy.testing import oracles, problems
from ca_numpy.testing.generators import Chooser, Problem, draw_nonzero
from ca_numpy.testing.oracles import elementwise

Array = NDArray[Any]


@dataclass(frozen=True)
class Case:
    """A kernel and its known properties.

    name         of the kernel, and of the operation that calls it, if any
    draw         a chooser -> arrays and parameters, away from kinks
    oracle       arrays and parameters -> the expected result in float64, independent of all backends
    order        number of derivatives: 0 for a kernel that is not an operation
    linear       indices of the inputs in which it is linear (with the others fixed)
    adjoint      for each of these, the operation that is its adjoint
    constant     indices of the inputs that are not differentiated (a mask)
    terms        for sums of products of inputs, an upper bound on the number of terms for one output
    conditioned  rounding errors grow: in float32 the tolerance is the effect of perturbed inputs
    """

    name: str
    draw: Callable[[Chooser], Problem]
    oracle: Callable[..., Any]
    order: int = 2
    linear: tuple[int, ...] = ()
    adjoint: tuple[str, ...] = ()
    constant: tuple[int, ...] = ()
    terms: Callable[[Problem], int] | None = None
    conditioned: bool = False

    @property
    def op(self) -> Op:
        """The operation of this name. Raises KeyError for a kernel that is not an operation."""
        return all_ops()[self.name]

    def __str__(self) -> str:
        return self.name


def all_ops() -> dict[str, Op]:
    """Every operation of `ca_numpy.engine.ops` by name, including those that users call only through a function."""
    modules = [importlib.import_module(m.name) for m in pkgutil.iter_modules(ops.__path__, f"{ops.__name__}.")]
    return {op.name: op for module in modules for op in vars(module).values() if isinstance(op, Op)}


# ---- more loops --------------------------------------------------------------------------------------------------
def _crop(x: Array, corners: tuple[tuple[int, int], ...], size: tuple[int, int]) -> Array:
    y = np.empty((len(x), *size, x.shape[3]))
    for n, i, j in oracles.places(y.shape[:3]):
        y[n, i, j] = x[n, corners[n][0] + i, corners[n][1] + j]
    return y


def _uncrop(g: Array, corners: tuple[tuple[int, int], ...], size: tuple[int, int]) -> Array:
    x = np.zeros((len(g), *size, g.shape[3]))
    for n, i, j in oracles.places(g.shape[:3]):
        x[n, corners[n][0] + i, corners[n][1] + j] = g[n, i, j]
    return x


def _conv2d_dw_db(g: Array, x: Array, **params: Any) -> tuple[Array, Array]:
    return oracles.conv2d_dw(g, x, **params), np.array([math.fsum(g[..., k].flat) for k in range(g.shape[3])])


def _conv_bias_leaky_relu(x: Array, w: Array, b: Array, alpha: float, geometry: ConvGeometry) -> Array:
    return elementwise(lambda z, bias: max(z + bias, alpha * (z + bias)))(oracles.conv2d(x, w, geometry), b)


# ---- one oracle that is not a loop -------------------------------------------------------------------------------
def _attention_vjp(g: Array, f: Array, b: Array, valid: Array, geometry: AttentionGeometry) -> tuple[Array, Array]:
    """The gradients of the composite, on the NumPy backend: no line of them is shared with the fused kernels."""
    reference = ops.contextual_attention.reference
    assert reference is not None
    with use_backend("numpy"), recording(True):
        tensors = tensor(f), tensor(b)
        df, db = grad(reference(*tensors, Tensor(valid, tracked=False), geometry=geometry), tensors, seed=g)
    return df.numpy(), db.numpy()


# ---- numbers of terms in the sums --------------------------------------------------------------------------------
def _no_sum(problem: Problem) -> int:
    return 1


def _whole_input(problem: Problem) -> int:
    return problem.inputs[0].size


def _taps(problem: Problem) -> int:
    """For patches N OH OW KH KW C."""
    return math.prod(problem.inputs[0].shape[3:5])


def _taps_times(axis: int) -> Callable[[Problem], int]:
    """Taps of the kernel, which is input 1, times its channels in (axis 2) or out (axis 3)."""
    return lambda problem: math.prod(problem.inputs[1].shape[:2]) * problem.inputs[1].shape[axis]


def _positions(problem: Problem) -> int:
    return math.prod(problem.inputs[0].shape[:3])


def _attention_terms(problem: Problem) -> int:
    geometry, c = problem.params["geometry"], problem.inputs[0].shape[3]
    return int(geometry.ksize**2 * c + (geometry.fuse_k or 0) ** 2 + problem.inputs[-1].shape[1])


# ---- the table ---------------------------------------------------------------------------------------------------
def _linear(name: str, draw: Callable[[Chooser], Problem], *adjoint: str, terms: Callable[[Problem], int]) -> Case:
    """A kernel that is linear in its first inputs, one for each adjoint."""
    return Case(name, draw, getattr(oracles, name), linear=tuple(range(len(adjoint))), adjoint=adjoint, terms=terms)


_one, _two, _and_gradient = problems.draw_one, problems.draw_two, problems.with_gradient
_TABLE = [
    Case("add", _two(), elementwise(lambda a, b: a + b), linear=(0, 1)),
    Case("sub", _two(), elementwise(lambda a, b: a - b), linear=(0, 1)),
    Case("mul", _two(), elementwise(lambda a, b: a * b), linear=(0, 1)),
    Case("div", _two(second=draw_nonzero), elementwise(lambda a, b: a / b), linear=(0,)),
    Case("power", problems.draw_power, elementwise(lambda x, exponent: x**exponent)),
    Case("exp", _one(), elementwise(math.exp)),
    Case("log", _one(low=0.3, high=3), elementwise(math.log)),
    Case("abs", _one(0.0), elementwise(abs)),
    Case("sign", _one(0.0), elementwise(oracles.sign)),
    Case("clip", problems.draw_clip, elementwise(oracles.clip)),
    Case("clip_vjp", _and_gradient(problems.draw_clip), elementwise(oracles.clip_vjp), linear=(0,), constant=(1,)),
    Case("elu", _one(0.0), elementwise(oracles.elu)),
    Case("elu_vjp", _and_gradient(_one(0.0, low=-0.9)), elementwise(lambda g, y: g * (min(y, 0) + 1)), linear=(0,)),
    Case("not_positive", _one(0.0, low=-0.9), elementwise(lambda y: float(y <= 0))),
    Case("relu", _one(0.0), elementwise(lambda x: max(x, 0.0))),
    Case("leaky_relu", problems.draw_leaky, elementwise(lambda x, alpha: x if x > 0 else alpha * x)),
    Case(
        "leaky_relu_vjp", _and_gradient(problems.draw_leaky),
        elementwise(lambda g, y, alpha: g if y > 0 else alpha * g), linear=(0,), constant=(1,),
    ),
    Case("softmax", problems.draw_softmax, oracles.softmax),
    _linear("sum_to", problems.draw_sum_to, "broadcast_to", terms=_whole_input),
    _linear("broadcast_to", problems.draw_broadcast_to, "sum_to", terms=_no_sum),
    _linear("reshape", problems.draw_reshape, "reshape", terms=_no_sum),
    _linear("transpose", problems.draw_transpose, "transpose", terms=_no_sum),
    _linear("getitem", problems.draw_getitem, "put", terms=_no_sum),
    _linear("put", problems.draw_put, "getitem", terms=_whole_input),
    _linear("concat", problems.draw_concat, "getitem", terms=_no_sum),
    Case("crop", problems.draw_crop, _crop, linear=(0,), adjoint=("uncrop",), terms=_no_sum),
    Case("uncrop", problems.draw_uncrop, _uncrop, linear=(0,), adjoint=("crop",), terms=_no_sum),
    _linear("gather", problems.draw_gather, "scatter_add", terms=_no_sum),
    _linear("scatter_add", problems.draw_scatter_add, "gather", terms=_whole_input),
    _linear("resize_nearest", problems.draw_resize, "resize_nearest_adjoint", terms=_no_sum),
    _linear("resize_nearest_adjoint", problems.draw_resize, "resize_nearest", terms=_whole_input),
    _linear("unfold", problems.draw_unfold, "fold", terms=_no_sum),
    _linear("fold", problems.draw_fold, "unfold", terms=_taps),
    Case("matmul", problems.draw_matmul, oracles.matmul, linear=(0, 1), terms=lambda p: p.inputs[0].shape[-1]),
    _linear("conv2d", problems.draw_conv2d, "conv2d_dx", "conv2d_dw", terms=_taps_times(2)),
    _linear("conv2d_dx", problems.draw_conv2d_dx, "conv2d", "conv2d_dw", terms=_taps_times(3)),
    _linear("conv2d_dw", problems.draw_conv2d_dw, "conv2d", "conv2d_dx", terms=_positions),
    Case("conv2d_dw_db", problems.draw_conv2d_dw, _conv2d_dw_db, order=0, terms=_positions),
    Case("conv_bias_elu", problems.draw_conv_bias_elu, oracles.conv_bias_elu, terms=_taps_times(2)),
    Case("conv_bias_leaky_relu", problems.draw_conv_bias_leaky, _conv_bias_leaky_relu, terms=_taps_times(2)),
    Case(
        "upsample_conv_bias_elu", problems.draw_upsample_conv_bias_elu, oracles.upsample_conv_bias_elu,
        terms=_taps_times(2),
    ),
    Case(
        "contextual_attention", problems.draw_fused_attention, oracles.contextual_attention,
        order=1, constant=(2,), conditioned=True, terms=_attention_terms,
    ),
    Case(
        "contextual_attention_vjp", problems.draw_attention_vjp, _attention_vjp,
        order=0, conditioned=True, terms=_attention_terms,
    ),
    Case("patch_distance", problems.draw_patch_distance, oracles.patch_distance, order=0),
    Case("improve_field", problems.draw_improve_field, oracles.improve_field, order=0),
    Case("patch_vote", problems.draw_patch_vote, oracles.patch_vote, order=0),
    Case("patch_source", problems.draw_patch_source, oracles.patch_source, order=0),
    Case("adam", problems.draw_adam, oracles.adam, order=0),
]  # fmt: skip

#: The table, by kernel.
CASES: dict[str, Case] = {case.name: case for case in _TABLE}
