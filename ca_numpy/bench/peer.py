"""The same works by the PyTorch peer. Importing this imports torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as TF

from ca_numpy.bench import torch_peer

Array = NDArray[Any]
Run = Callable[[], object]


def laid_out(x: Array, *, channels_last: bool) -> Any:
    """N H W C as a tensor N C H W, in one of PyTorch's two memory formats."""
    nchw = torch.from_numpy(x).permute(0, 3, 1, 2)
    return nchw.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def layer(
    x: Array, w: Array, b: Array, *, stride: int, dilation: int, doubled: bool, channels_last: bool
) -> Run:  # fmt: skip
    """elu(conv(x) + b), of x doubled if asked for."""
    tx, tb = laid_out(x, channels_last=channels_last), torch.from_numpy(b)
    tw = torch_peer.to_torch({"w": w}, channels_last=channels_last)["w"]

    def run() -> None:
        with torch.inference_mode():
            large = TF.interpolate(tx, scale_factor=2, mode="nearest") if doubled else tx
            TF.elu(torch_peer.conv_same(large, tw, tb, stride, dilation))

    return run


def attention(features: Array, mask: Array, *, channels_last: bool) -> Run:
    """The contextual attention of features to themselves."""
    f, m = (laid_out(a, channels_last=channels_last) for a in (features, mask))

    def run() -> None:
        with torch.inference_mode():
            torch_peer.contextual_attention(f, f, m)

    return run


def forward(image: Array, mask: Array, *, width: int, channels_last: bool) -> Run:
    """Both stages of the generator."""
    weights = torch_peer.random_weights(cnum=width)
    peer = torch_peer.Peer(torch_peer.to_torch(weights, channels_last=channels_last), cnum=width)
    x, m = (laid_out(a, channels_last=channels_last) for a in (image, mask))

    def run() -> None:
        with torch.inference_mode():
            peer.generator(x, m)

    return run


def training(images: Array, *, width: int, critic_only: bool, channels_last: bool) -> Run:
    """One iteration of Algorithm 1, or one update of the critics out of it."""
    size, format = images.shape[1], {"channels_last": channels_last, "requires_grad": True}
    weights = torch_peer.to_torch(torch_peer.random_weights(cnum=width), **format)
    critics = torch_peer.random_critic_weights(cnum=2 * width, local_hw=size // 2, global_hw=size)
    critic_weights = torch_peer.to_torch(critics, **format)
    g, d = torch_peer.Peer(weights, cnum=width), torch_peer.Peer(critic_weights, cnum=width)
    g_adam, d_adam = (torch.optim.Adam(w.values(), 1e-4, (0.5, 0.9)) for w in (weights, critic_weights))
    x, box = laid_out(images, channels_last=channels_last), (size // 4, size // 4, size // 2, size // 2)
    inside = np.zeros((1, size, size, 1), np.float32)
    inside[:, 3 * size // 10 : 7 * size // 10, 3 * size // 10 : 7 * size // 10] = 1
    mask = laid_out(inside, channels_last=channels_last)

    def critic_update() -> None:
        z = x * (1 - mask)
        with torch.no_grad():
            fake = g.generator(z, mask)[1] * mask + z
        loss: Any = 0
        crop = (slice(None), slice(None), *(slice(a, a + n) for a, n in zip(box[:2], box[2:], strict=True)))
        for which, real, made, m in (("global", x, fake, mask), ("local", x[crop], fake[crop], mask[crop])):
            loss = loss + (d.critic(made, which) - d.critic(real, which)).mean()
            loss = loss + 10 * d.gradient_penalty(real, made, m, torch.rand(len(x), 1, 1, 1), which)
        d_adam.zero_grad()
        loss.backward()
        d_adam.step()

    return critic_update if critic_only else lambda: torch_peer.algorithm1_iteration(g, d, g_adam, d_adam, x, box, mask)
