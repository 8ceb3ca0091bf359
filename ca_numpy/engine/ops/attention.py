"""Contextual attention as one fused operation (section 4.1); its composite is `ca_numpy.attention`."""

from __future__ import annotations

from ca_numpy.engine.autograd import Op, defvjp
from ca_numpy.engine.recording import is_recording
from ca_numpy.engine.tensor import Tensor
from ca_numpy.geometry import AttentionGeometry
from ca_numpy.registry import current_backend


def _vjp(
    g: Tensor, y: Tensor, f: Tensor, b: Tensor, valid: Tensor, *, geometry: AttentionGeometry
) -> tuple[Tensor, Tensor]:
    """Both gradients in one pass of the backend's backward kernel, which is not itself differentiable."""
    if is_recording():
        raise NotImplementedError(
            "the fused contextual attention has no second derivative: "
            "call functional.contextual_attention(..., fused=False) for the composite, which has all orders"
        )
    df, db = current_backend().contextual_attention_vjp(g.data, f.data, b.data, valid.data, geometry=geometry)
    return Tensor(df, tracked=False), Tensor(db, tracked=False)


contextual_attention = Op("contextual_attention")
defvjp(
    contextual_attention,
    lambda gradients, y, f, b, valid, geometry: gradients[0],
    lambda gradients, y, f, b, valid, geometry: gradients[1],
    None,
    shared=_vjp,
)
