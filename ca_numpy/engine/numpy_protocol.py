"""NumPy functions reject Tensors and name the replacement to call.

NumPy would convert a Tensor to an array: the result of `np.stack([x])` would be right, and its gradient silently wrong.
Ufuncs (`np.exp`, `np.maximum`) already reject Tensors, since `Tensor.__array_ufunc__` is None.
"""

from __future__ import annotations

from typing import Any

from ca_numpy.engine.recording import is_recording

#: Replacements for NumPy functions, by name.
INSTEAD = {
    **dict.fromkeys(("reshape", "ravel", "squeeze", "expand_dims"), "x.reshape(shape)"),
    **dict.fromkeys(("transpose", "moveaxis", "swapaxes", "matrix_transpose"), "x.transpose(axes)"),
    **dict.fromkeys(("concatenate", "append", "hstack", "vstack"), "functional.concat(xs, axis=axis)"),
    "stack": "functional.concat([x[None] for x in xs], axis=0)",
    **dict.fromkeys(("dot", "inner", "vdot"), "a @ b"),
    **dict.fromkeys(("tensordot", "einsum"), "a @ b, with reshape and transpose"),
    **dict.fromkeys(("take", "split", "flip", "diff"), "x[index]"),
    **dict.fromkeys(("zeros_like", "ones_like", "empty_like", "full_like"), "np.zeros(x.shape, x.dtype) and the like"),
    "broadcast_to": "ops.broadcast_to(x, shape=shape)",
    "clip": "functional.clip(x, low=low, high=high)",
    "mean": "x.mean(axis)",
    "norm": "(x * x).sum() ** 0.5",
    "pad": "functional.pad(x, pads)",
    "sum": "x.sum(axis)",
    "var": "((x - x.mean()) ** 2).mean()",
    "where": "mask * a + (1 - mask) * b",
}


def array_function(self: Any, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
    """`Tensor.__array_function__`: raises TypeError that names the replacement if a tracked Tensor is recorded.

    Constants convert to arrays. `np.shape`, `np.ndim` and `np.size` are always allowed: they ignore the values.
    """
    if function.__name__ in ("shape", "ndim", "size") or not (is_recording() and _tracked((args, *kwargs.values()))):
        return function._implementation(*args, **kwargs)
    instead = INSTEAD.get(function.__name__)
    name = f"{function.__module__}.{function.__name__}".replace("numpy", "np", 1)
    raise gradients_lost(name, f"use {instead}, or " if instead else "")


def _tracked(value: Any) -> bool:
    """Whether there is a tracked Tensor in it, or in the lists and tuples in it."""
    if isinstance(value, list | tuple):
        return any(map(_tracked, value))
    return getattr(value, "tracked", False) is True


def gradients_lost(maker: str, instead: str = "") -> TypeError:
    """The error that `maker` would lose gradients, with the replacement `instead`."""
    return TypeError(
        f"{maker} would convert a Tensor to a plain array and lose its gradients: "
        f"{instead}pass x.numpy() if none are needed"
    )
