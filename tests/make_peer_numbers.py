"""Ask the PyTorch peer for its numbers on every case of `peer_cases.py` and keep them in `peer_numbers.npz`.

Needs PyTorch; the tests that read the file do not.

    python tests/make_peer_numbers.py
"""

from __future__ import annotations

import os

import numpy as np
import torch
from peer_cases import (
    CASES,
    NUMBERS,
    Array,
    AttentionCase,
    Case,
    ConvCase,
    CriticCase,
    GeneratorCase,
    Parts,
    PenaltyCase,
    summaries,
    weights_of,
)

from ca_numpy.bench.torch_peer import Peer, contextual_attention, conv_same, to_torch


def nchw(array: Array) -> torch.Tensor:
    """N H W C → N C H W, as a leaf."""
    return torch.from_numpy(np.ascontiguousarray(array.transpose(0, 3, 1, 2)))


def ours(tensor: torch.Tensor) -> Array:
    """Images N C H W → N H W C; anything else as it is."""
    array = tensor.detach().numpy()
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


def our_kernel(tensor: torch.Tensor) -> Array:
    """Kernels O I H W → H W I O; anything else as it is."""
    array = tensor.detach().numpy()
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


def gradients_of_weights(scalar: torch.Tensor, weights: dict[str, torch.Tensor]) -> Parts:
    """The gradient for every variable, zeros for those on which the scalar does not depend."""
    grads = torch.autograd.grad(
        scalar, list(weights.values()), retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return {f"d {name}": our_kernel(g) for name, g in zip(weights, grads, strict=True)}


def run_conv(case: ConvCase, inputs: Parts) -> Parts:
    x, r = nchw(inputs["x"]).requires_grad_(), nchw(inputs["r"])
    weights = to_torch({"w": inputs["w"], "b": inputs["b"]}, requires_grad=True)
    y = conv_same(x, weights["w"], weights["b"], case.stride, case.dilation)
    scalar = (y * r).sum()
    (dx,) = torch.autograd.grad(scalar, x, retain_graph=True)
    return {"y": ours(y), "d x": ours(dx), **gradients_of_weights(scalar, weights)}


def run_attention(case: AttentionCase, inputs: Parts) -> Parts:
    f, r = nchw(inputs["f"]).requires_grad_(), nchw(inputs["r"])
    b = nchw(inputs["b"]).requires_grad_() if "b" in inputs else f
    mask = nchw(inputs["mask"]) if "mask" in inputs else None
    y = contextual_attention(f, b, mask, **case.options)
    # An odd rate leaves the peer with one row and one column beyond the end, which SAME cuts off.
    y = y[:, :, : case.f_hw[0], : case.f_hw[1]]
    wanted = {"d f": f} if b is f else {"d f": f, "d b": b}
    grads = torch.autograd.grad((y * r).sum(), list(wanted.values()))
    return {"y": ours(y), **{name: ours(g) for name, g in zip(wanted, grads, strict=True)}}


def run_generator(case: GeneratorCase, inputs: Parts) -> Parts:
    weights = to_torch(weights_of(inputs), requires_grad=case.gradients)
    image = nchw(inputs["image"]).requires_grad_(case.gradients)
    coarse, refined = Peer(weights, case.cnum).generator(image, nchw(inputs["mask"]))
    results = {"coarse": ours(coarse), "refined": ours(refined)}
    if case.gradients:
        scalar = (coarse * nchw(inputs["r1"])).sum() + (refined * nchw(inputs["r2"])).sum()
        (d_image,) = torch.autograd.grad(scalar, image, retain_graph=True)
        results |= {"d image": ours(d_image), **gradients_of_weights(scalar, weights)}
    return results


def run_critic(case: CriticCase, inputs: Parts) -> Parts:
    weights = to_torch(weights_of(inputs), requires_grad=True)
    x = nchw(inputs["x"]).requires_grad_()
    scores = Peer(weights).critic(x, case.which)
    scalar = (scores * torch.from_numpy(inputs["r"])).sum()
    (dx,) = torch.autograd.grad(scalar, x, retain_graph=True)
    return {"scores": ours(scores), "d x": ours(dx), **gradients_of_weights(scalar, weights)}


def run_penalty(case: PenaltyCase, inputs: Parts) -> Parts:
    weights = to_torch(weights_of(inputs), requires_grad=True)
    real, fake, mask, t = (nchw(inputs[name]) for name in ("real", "fake", "mask", "t"))
    penalty = Peer(weights).gradient_penalty(real, fake, mask, t, case.which)
    return {"penalty": ours(penalty), **gradients_of_weights(penalty, weights)}


RUN = {
    ConvCase: run_conv,
    AttentionCase: run_attention,
    GeneratorCase: run_generator,
    CriticCase: run_critic,
    PenaltyCase: run_penalty,
}


def run(case: Case, inputs: Parts) -> Parts:
    """The peer's results on one case."""
    return RUN[type(case)](case, inputs)


def main() -> None:
    kept = {}
    for case in CASES:
        inputs = case.inputs()
        parts = dict(summaries(case, inputs, run(case, inputs)))
        broken = [name for name, values in parts.items() if not np.isfinite(values).all()]
        if broken or case.id in kept:
            raise SystemExit(f"{case.id}: {'not finite: ' + ', '.join(broken) if broken else 'named twice'}")
        kept[case.id] = np.concatenate(list(parts.values()))
    part = NUMBERS.with_suffix(".part")
    with part.open("wb") as file:
        np.savez_compressed(file, **kept)
    os.replace(part, NUMBERS)
    print(f"{NUMBERS.name}: {len(kept)} cases, {NUMBERS.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
