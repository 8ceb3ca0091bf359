"""The same benchmarks on the PyTorch peer, on the CPU or a GPU. Importing this imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as TF

from ca_numpy.backend import wall_clock
from ca_numpy.bench import torch_peer
from ca_numpy.errors import UserError

Array = NDArray[Any]
Run = Callable[[], object]


# ---- the device --------------------------------------------------------------------------------------------------
def device_for(choice: str, names: Sequence[str]) -> str:
    """ "cpu" or "cuda". "auto" is CUDA if PyTorch has it and a GPU backend is among `names`.

    Raises UserError for CUDA if PyTorch does not have it.
    """
    if choice == "auto":
        on_gpu = any(name.partition(":")[0] == "cupy" for name in names)
        return "cuda" if on_gpu and torch.cuda.is_available() else "cpu"
    if choice == "cuda" and not torch.cuda.is_available():
        why = "this build is for the CPU" if torch.version.cuda is None else "it finds no GPU: see `nvidia-smi`"
        raise UserError(f"PyTorch cannot compute on CUDA here, {why}: install one built for CUDA, or --peer-device cpu")
    return choice


@contextmanager
def on(device: str) -> Iterator[None]:
    """Run the peer with its best settings on this device: on a GPU with TF32 and cuDNN's fastest algorithms.

    `torch_peer` creates small tensors: identities, random numbers, tables of indices. On a GPU they are created there,
    and the tables only once. (`with torch.device(…)` would do the former, but adds a Python call to every PyTorch
    operation, which would affect the timings.)
    """
    if device == "cpu":
        yield
        return
    before = torch.get_float32_matmul_precision()
    names = vars(torch_peer)
    theirs = {name: names[name] for name in ("torch", "nearest_index")}

    @cache
    def nearest_index(n_in: int, n_out: int) -> Any:
        with torch.inference_mode(False):  # or training could not use a table made by a forward pass
            return theirs["nearest_index"](n_in, n_out).to(device)

    names.update(torch=_TorchOn(device), nearest_index=nearest_index)
    torch.set_float32_matmul_precision("high")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=True):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
        names.update(theirs)


class _TorchOn:
    """The module torch, except that new tensors are created on `device`."""

    def __init__(self, device: str) -> None:
        self.eye, self.rand = partial(torch.eye, device=device), partial(torch.rand, device=device)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def describe(device: str) -> str:
    """PyTorch's version, and where it runs."""
    where = f"{torch.cuda.get_device_name()}, TF32, cudnn.benchmark" if device == "cuda" else "the CPU"
    return f"PyTorch {torch.__version__} on {where}"


def memory(device: str) -> int | None:
    """Memory available to PyTorch on a GPU, in bytes; None for the CPU, whose memory is shared."""
    if device != "cuda":
        return None
    return int(torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated())


def release_memory(device: str) -> None:
    """Release the memory that PyTorch caches."""
    if device == "cuda":
        torch.cuda.empty_cache()


def elapsed(device: str) -> Callable[[Run], float]:
    """The clock: on a GPU, CUDA events. Raises MemoryError if the GPU runs out of memory."""
    return _by_events if device == "cuda" else wall_clock


def _by_events(run: Run) -> float:
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    try:
        began.record()
        run()
        ended.record()
        ended.synchronize()
    except torch.cuda.OutOfMemoryError as e:
        torch.cuda.empty_cache()
        raise MemoryError("PyTorch ran out of the GPU's memory") from e
    return float(began.elapsed_time(ended)) / 1000


def laid_out(x: Array, *, channels_last: bool, device: str) -> Any:
    """N H W C as a tensor N C H W, in one of PyTorch's two memory formats."""
    nchw = torch.from_numpy(x).permute(0, 3, 1, 2)
    format = torch.channels_last if channels_last else torch.contiguous_format
    return nchw.contiguous(memory_format=format).to(device)


def weights_on(
    weights: dict[str, Array], *, channels_last: bool, device: str, requires_grad: bool = False
) -> dict[str, Any]:
    """Weights for `torch_peer`, as leaves of the graph on this device."""
    on_cpu = torch_peer.to_torch(weights, channels_last=channels_last)
    return {name: w.to(device).requires_grad_(requires_grad) for name, w in on_cpu.items()}


# ---- the benchmarks ----------------------------------------------------------------------------------------------
def layer(
    x: Array, w: Array, b: Array, *, stride: int, dilation: int, doubled: bool, channels_last: bool, device: str
) -> Run:  # fmt: skip
    """elu(conv(x) + b), with x upsampled first if `doubled`."""
    tx, tb = laid_out(x, channels_last=channels_last, device=device), torch.from_numpy(b).to(device)
    tw = weights_on({"w": w}, channels_last=channels_last, device=device)["w"]

    def run() -> None:
        with torch.inference_mode():
            large = TF.interpolate(tx, scale_factor=2, mode="nearest") if doubled else tx
            TF.elu(torch_peer.conv_same(large, tw, tb, stride, dilation))

    return run


def convolution(
    kind: str, x: Array, w: Array, g: Array, *, stride: int, dilation: int, channels_last: bool, device: str
) -> Run:
    """PyTorch's convolution alone, "forward", "dx" or "dw": x already padded, no bias, no activation."""
    how: dict[str, Any] = {"channels_last": channels_last, "device": device}
    tx, tg, tw = laid_out(x, **how), laid_out(g, **how), weights_on({"w": w}, **how)["w"]
    wanted, strides, dilations = [kind == "dx", kind == "dw", False], [stride] * 2, [dilation] * 2

    def run() -> Any:
        with torch.inference_mode():
            if kind == "forward":
                return TF.conv2d(tx, tw, stride=stride, dilation=dilation)
            return torch.ops.aten.convolution_backward(
                tg, tx, tw, None, strides, [0, 0], dilations, False, [0, 0], 1, wanted
            )[wanted.index(True)]

    return run


def attention(features: Array, mask: Array, *, channels_last: bool, device: str) -> Run:
    """Contextual attention of features to themselves."""
    f, m = (laid_out(a, channels_last=channels_last, device=device) for a in (features, mask))

    def run() -> None:
        with torch.inference_mode():
            torch_peer.contextual_attention(f, f, m)

    return run


def forward(image: Array, mask: Array, *, width: int, channels_last: bool, device: str) -> Run:
    """Both stages of the generator."""
    how: dict[str, Any] = {"channels_last": channels_last, "device": device}
    peer = torch_peer.Peer(weights_on(torch_peer.random_weights(cnum=width), **how), cnum=width)
    x, m = (laid_out(a, **how) for a in (image, mask))

    def run() -> None:
        with torch.inference_mode():
            peer.generator(x, m)

    return run


def training(images: Array, *, width: int, critic_only: bool, channels_last: bool, device: str) -> Run:
    """One iteration of Algorithm 1, or a single update of the critics."""
    size, how = images.shape[1], dict[str, Any](channels_last=channels_last, device=device)
    weights = weights_on(torch_peer.random_weights(cnum=width), **how, requires_grad=True)
    critics = torch_peer.random_critic_weights(cnum=2 * width, local_hw=size // 2, global_hw=size)
    critic_weights = weights_on(critics, **how, requires_grad=True)
    g, d = torch_peer.Peer(weights, cnum=width), torch_peer.Peer(critic_weights, cnum=width)
    g_adam, d_adam = (torch.optim.Adam(w.values(), 1e-4, (0.5, 0.9)) for w in (weights, critic_weights))
    x, box = laid_out(images, **how), (size // 4, size // 4, size // 2, size // 2)
    inside = np.zeros((1, size, size, 1), np.float32)
    inside[:, 3 * size // 10 : 7 * size // 10, 3 * size // 10 : 7 * size // 10] = 1
    mask = laid_out(inside, **how)

    def critic_update() -> None:
        z = x * (1 - mask)
        with torch.no_grad():
            fake = g.generator(z, mask)[1] * mask + z
        loss: Any = 0
        crop = (slice(None), slice(None), *(slice(a, a + n) for a, n in zip(box[:2], box[2:], strict=True)))
        for which, real, made, m in (("global", x, fake, mask), ("local", x[crop], fake[crop], mask[crop])):
            loss = loss + (d.critic(made, which) - d.critic(real, which)).mean()
            t = torch.rand(len(x), 1, 1, 1, device=device)
            loss = loss + 10 * d.gradient_penalty(real, made, m, t, which)
        d_adam.zero_grad()
        loss.backward()
        d_adam.step()

    return critic_update if critic_only else lambda: torch_peer.algorithm1_iteration(g, d, g_adam, d_adam, x, box, mask)
