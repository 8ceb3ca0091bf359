"""The benchmarks, for our backends and for the peer: the same computation on inputs of the same shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy import functional as F
from ca_numpy.data import MaskSampler
from ca_numpy.engine.autograd import no_grad
from ca_numpy.engine.tensor import tensor
from ca_numpy.models import Generator
from ca_numpy.training.algorithm1 import draw, update_critics, update_generator
from ca_numpy.training.batches import Batch
from ca_numpy.training.config import TrainConfig
from ca_numpy.training.system import new_system

Array = NDArray[Any]
Run = Callable[[], object]
GROUPS = ("layers", "attention", "forward", "critic", "iteration")


@dataclass(frozen=True)
class Work:
    """One benchmark. `ours()` and `theirs(channels_last, device)` return the function to time."""

    group: str
    title: str
    ours: Callable[[], Run]
    theirs: Callable[[bool, str], Run]
    #: How often it occurs in the network, for sums over a group.
    count: int = 1
    #: Positions of the attention, h and w, if any: they determine its memory.
    positions: tuple[int, int] | None = None


def works(
    groups: tuple[str, ...], *, sizes: tuple[int, ...], batch: int, width: int = 32, training_size: int = 256
) -> Iterator[Work]:
    """All benchmarks of these groups, in order: layers, attention and forward at each of `sizes`."""
    for group in groups:
        if group in ("critic", "iteration"):
            yield _training(group, training_size, batch, width)
            continue
        for size in sizes:
            if group == "layers":
                yield from _layers(size, width)
            else:
                yield _attention(size, width) if group == "attention" else _forward(size, width)


def layer_shapes(size: int, width: int) -> Counter[tuple[int, int, int, int, int, int, bool]]:
    """(kernel, stride, dilation, C, K, input side, whether it is upsampled first) -> count among the 42 layers."""
    found: Counter[tuple[int, int, int, int, int, int, bool]] = Counter()
    generator = Generator(rng=np.random.default_rng(0), width=width)
    for stage in generator.stages.values():
        side = size // 4 if stage[0].name not in ("conv1", "xconv1", "pmconv1") else size
        for name in (layer.name for layer in stage):
            layer = generator.layers[name]
            k, _, c, o = layer.kernel.shape
            found[k, layer.stride, layer.dilation, c, o, side, layer.upsample_first] += 1
            side = side * 2 if layer.upsample_first else -(-side // layer.stride)
    return found


def hole(size: int) -> Array:
    """A centred box with half the side: 1 S S 1."""
    mask = np.zeros((1, size, size, 1), np.float32)
    mask[:, size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = 1
    return mask


def _layers(size: int, width: int) -> Iterator[Work]:
    for (k, stride, dilation, c, o, side, doubled), count in layer_shapes(size, width).items():
        rng = np.random.default_rng(0)
        x = rng.standard_normal((1, side, side, c)).astype(np.float32)
        w = (rng.standard_normal((k, k, c, o)) / np.sqrt(k * k * c)).astype(np.float32)
        b = rng.standard_normal(o).astype(np.float32)
        geometry = {"stride": stride, "dilation": dilation}
        how = "".join([f", stride {stride}" * (stride > 1), f", dilation {dilation}" * (dilation > 1),
                       ", after doubling" * doubled])  # fmt: skip

        def ours(x: Array = x, w: Array = w, b: Array = b, geometry: Any = geometry, doubled: bool = doubled) -> Run:
            xs = [tensor(a) for a in (x, w, b)]
            return _silently(lambda: F.conv2d(*xs, **geometry, activation="elu", upsample_first=doubled))

        def theirs(
            last: bool, device: str, x: Array = x, w: Array = w, b: Array = b, geometry: Any = geometry,
            doubled: bool = doubled,
        ) -> Run:  # fmt: skip
            from ca_numpy.bench import peer

            return peer.layer(x, w, b, doubled=doubled, channels_last=last, device=device, **geometry)

        yield Work("layers", f"{size}: {k}×{k}, {c} → {o} at {side}×{side}{how}", ours, theirs, count)


def _attention(size: int, width: int) -> Work:
    features = np.random.default_rng(0).standard_normal((1, size // 4, size // 4, 4 * width)).astype(np.float32)
    mask = hole(size)[:, ::4, ::4]

    def ours() -> Run:
        f, m = tensor(features), tensor(mask)
        return _silently(lambda: F.contextual_attention(f, f, m))

    def theirs(last: bool, device: str) -> Run:
        from ca_numpy.bench import peer

        return peer.attention(features, mask, channels_last=last, device=device)

    title = f"{size}: {size // 4}×{size // 4}×{4 * width} features"
    return Work("attention", title, ours, theirs, positions=(size // 8, size // 8))


def _forward(size: int, width: int) -> Work:
    image = np.random.default_rng(0).uniform(-1, 1, (1, size, size, 3)).astype(np.float32)
    mask = hole(size)
    image *= 1 - mask

    def ours() -> Run:
        generator = Generator(rng=np.random.default_rng(0), width=width)
        return _silently(lambda: generator(tensor(image), mask))

    def theirs(last: bool, device: str) -> Run:
        from ca_numpy.bench import peer

        return peer.forward(image, mask, width=width, channels_last=last, device=device)

    return Work("forward", f"{size}: the generator", ours, theirs, positions=(size // 8, size // 8))


def _training(group: str, size: int, batch: int, width: int) -> Work:
    images = np.random.default_rng(0).uniform(-1, 1, (batch, size, size, 3)).astype(np.float32)
    config = TrainConfig(width=width, critic_width=2 * width, size=size, box=size // 2, max_shrink=size // 16)

    def ours() -> Run:
        rng = np.random.default_rng(0)
        sampler = MaskSampler("box", image_size=size, box_size=size // 2, max_shrink=size // 16)
        system = new_system(config, rng, rng, lambda: Batch(images, *sampler(rng, batch)))
        if group == "critic":
            return lambda: update_critics(system, config)

        def iteration() -> None:
            for drawn in draw(system, updates=config.critic_steps):
                update_critics(system, config, drawn)
            update_generator(system, config, rate=1e-4, adversarial=True)

        return iteration

    def theirs(last: bool, device: str) -> Run:
        from ca_numpy.bench import peer

        return peer.training(images, width=width, critic_only=group == "critic", channels_last=last, device=device)

    what = {
        "critic": "one update of the critics, with penalty",
        "iteration": "five critic updates, one generator's",
    }
    return Work(group, f"{size}, batch {batch}: {what[group]}", ours, theirs)


def _silently(run: Run) -> Run:
    def quiet() -> None:
        with no_grad():
            run()

    return quiet
