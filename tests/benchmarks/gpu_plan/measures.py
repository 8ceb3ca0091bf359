"""What the steps measure: errors against float64, convolution kernels beside cuDNN's, and peak memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ca_numpy import functional as F
from ca_numpy import grad, tensor
from ca_numpy.backend import wall_clock
from ca_numpy.bench.workloads import Run, hole, layer_shapes
from ca_numpy.engine.autograd import no_grad
from ca_numpy.geometry import ConvGeometry
from ca_numpy.models import Generator
from ca_numpy.models.variants import variant_of
from ca_numpy.registry import load_backend, use_backend

Array = NDArray[Any]
#: How far a result in float32, or in float32 with products on tensor cores, may lie from float64's.
BOUNDS = {"float32": 1e-5, "tf32": 2e-3, "bf16": 2e-2}
#: How much more the whole generator may be off: some twenty layers follow one another, whose errors add up as √20.
WHOLE = 4


def bound_of(title: str, precision: str) -> float:
    return BOUNDS[precision] * (WHOLE if title.startswith("the generator") else 1)


def names_of(backend: str) -> dict[str, str]:
    """{precision: the backend's name with it}, of the precisions that the device has."""
    return {precision: f"{backend}:{precision}" for precision in load_backend(backend).precisions}


def fast(backend: str) -> list[str]:
    """The names to time: those that use tensor cores, if the device has any."""
    names = names_of(backend)
    return [name for precision, name in names.items() if precision != "float32"] or list(names.values())


KINDS = ("forward", "dx", "dw")
#: A kernel that does nothing, for so many ticks.
HOLD = """extern "C" __global__ void hold(long long ticks) {
    const long long began = clock64();
    while (clock64() - began < ticks) {}
}"""
TICKS_PER_SECOND = 2e9  # of the fastest GPU: slower ones are held a little longer


class Layer(NamedTuple):
    """One of the generator's convolutions, and how many of the 42 are like it."""

    ksize: int
    stride: int
    dilation: int
    channels: int
    filters: int
    side: int
    doubled: bool
    count: int

    @property
    def title(self) -> str:
        how = [f", stride {self.stride}"] * (self.stride > 1) + [f", dilation {self.dilation}"] * (self.dilation > 1)
        how += [", after doubling"] * self.doubled
        times = f" ({self.count} times)" if self.count > 1 else ""
        k, side = self.ksize, self.side
        return f"{k}×{k}, {self.channels} → {self.filters} at {side}×{side}{''.join(how)}{times}"

    @property
    def input_side(self) -> int:
        """Of what the kernel sees: after the doubling."""
        return 2 * self.side if self.doubled else self.side

    @property
    def geometry(self) -> ConvGeometry:
        sizes = (self.input_side,) * 2, (self.ksize,) * 2
        return ConvGeometry(stride=self.stride, dilation=self.dilation).same(*sizes)

    def arrays(self) -> tuple[Array, Array, Array, Array]:
        """x, w, b, and a gradient of the result, as float32."""
        rng, out = np.random.default_rng(0), -(-self.input_side // self.stride)
        k, c, o = self.ksize, self.channels, self.filters
        x, g = (rng.standard_normal(shape) for shape in ((1, self.side, self.side, c), (1, out, out, o)))
        w, b = rng.standard_normal((k, k, c, o)) / np.sqrt(k * k * c), rng.standard_normal(o)
        x, w, b, g = (a.astype(np.float32) for a in (x, w, b, g))
        return x, w, b, g


def layers(size: int, width: int) -> list[Layer]:
    return [Layer(*shape, count) for shape, count in layer_shapes(size, width).items()]


# ---- errors ------------------------------------------------------------------------------------------------------
def error(found: Array, right: Array) -> float:
    """max |found − right| / max |right|"""
    return float(np.abs(found - right).max() / np.abs(right).max())


def distance(found: Array, right: Array) -> float:
    """‖found − right‖ / ‖right‖: of forty layers in a row, whose largest error is one pixel's bad luck."""
    return float(np.linalg.norm((found - right).ravel()) / np.linalg.norm(right.ravel()))


def layer_errors(layer: Layer, names: dict[str, str]) -> dict[str, dict[str, float]]:
    """{precision: {"forward", "dx", "dw": error}} of elu(conv + bias), as training differentiates it."""

    def computed(name: str, dtype: type) -> list[Array]:
        with use_backend(name):
            x, w, b, g = (tensor(a.astype(dtype)) for a in layer.arrays())
            geometry = {"stride": layer.stride, "dilation": layer.dilation, "upsample_first": layer.doubled}
            y = F.conv2d(x, w, b, activation="elu", **geometry)
            return [t.numpy() for t in (y, *grad(y, [x, w], seed=g))]

    return _errors(computed, KINDS, names, error)


def generator_errors(size: int, width: int, names: dict[str, str]) -> dict[str, dict[str, float]]:
    """{precision: {"forward", "dw": distance}} of both results, and of all weights' gradients as one vector.

    What is differentiated is the sum of both results with weights drawn at random. The one ReLU of the network is an
    ELU here: where rounding takes a feature across its kink the gradient jumps, by 1 % at a picture of 64×64 in TF32,
    and that is no matter of precision.
    """
    rng, smooth = np.random.default_rng(0), dataclasses.replace(variant_of("official"), attention_relu=False)
    image, mask = rng.uniform(-1, 1, (1, size, size, 3)), hole(size)
    seeds = rng.standard_normal((2, 1, size, size, 3))
    with use_backend("numpy"):
        weights = Generator(variant=smooth, rng=rng, width=width).arrays()

    def computed(name: str, dtype: type) -> list[Array]:
        with use_backend(name):
            generator = Generator.from_tf({key: w.astype(dtype) for key, w in weights.items()}, variant=smooth)
            results = generator((image * (1 - mask)).astype(dtype), mask)
            loss = sum((y * seed.astype(dtype)).sum() for y, seed in zip(results, seeds, strict=True))
            gradients = grad(loss, list(generator.parameters().values()))
            return [np.concatenate([t.numpy().ravel() for t in ts]) for ts in (results, gradients)]

    return _errors(computed, ("forward", "dw"), names, distance)


def _errors(
    computed: Callable[[str, type], list[Array]],
    kinds: tuple[str, ...],
    names: dict[str, str],
    measure: Callable[[Array, Array], float],
) -> dict[str, dict[str, float]]:
    right = computed("numpy", np.float64)
    return {
        precision: {
            kind: measure(a, b) for kind, a, b in zip(kinds, computed(name, np.float32), right, strict=True)
        }
        for precision, name in names.items()
    }  # fmt: skip


# ---- kernels -----------------------------------------------------------------------------------------------------
def kernel_seconds(run: Run, elapsed: Callable[[Run], float], hold: Callable[[float], None], *, repeats: int) -> float:
    """Seconds of one run on the device alone, without what the host takes to launch it.

    The GPU is held while the host queues all runs; between the events they then follow one another without a gap.
    """
    elapsed(run)

    def queued() -> None:
        for _ in range(repeats):
            run()

    host = wall_clock(queued)
    hold(1.5 * host + 1e-3)
    return elapsed(queued) / repeats


def holder(backend: str) -> Callable[[float], None]:
    """What keeps a GPU busy for some seconds. Emulated kernels have ended when they return: nothing is to be held."""
    if not _is_cuda(backend):
        return lambda seconds: None
    import cupy

    kernel = cupy.RawKernel(HOLD, "hold")
    return lambda seconds: kernel((1,), (1,), (np.int64(seconds * TICKS_PER_SECOND),))


def kernels(layer: Layer, names: list[str], peer_device: str | None, *, repeats: int) -> dict[str, dict[str, float]]:
    """{"forward", "dx", "dw": {contender: seconds}}; forward with bias and ELU in ours, and without in cuDNN's."""
    hold, found = holder(names[0]), dict[str, dict[str, float]]()
    for kind in KINDS:
        found[kind] = {}
        for name in names:
            with use_backend(name) as backend, no_grad():
                run = _our_kernel(kind, layer, backend)
                found[kind][name] = kernel_seconds(run, backend.elapsed, hold, repeats=repeats)
        if peer_device:
            found[kind]["PyTorch"] = min(
                kernel_seconds(run, elapsed, hold, repeats=repeats)
                for run, elapsed in _their_kernels(kind, layer, peer_device)
            )
    return found


def _our_kernel(kind: str, layer: Layer, backend: Any) -> Run:
    x, w, b, g = (backend.asarray(a) for a in layer.arrays())
    geometry, size = layer.geometry, (layer.input_side,) * 2
    if kind == "forward" and layer.doubled:
        return lambda: backend.upsample_conv_bias_elu(x, w, b, geometry=geometry)
    if kind == "forward":
        return lambda: backend.conv_bias_elu(x, w, b, geometry=geometry)
    if kind == "dx":
        return lambda: backend.conv2d_dx(g, w, size=size, geometry=geometry)
    large = backend.asarray(_doubled(layer))
    return lambda: backend.conv2d_dw(g, large, ksize=w.shape[:2], geometry=geometry)


def _their_kernels(kind: str, layer: Layer, device: str) -> Iterator[tuple[Run, Callable[[Run], float]]]:
    """In each memory format, on a picture that is doubled and padded beforehand."""
    from ca_numpy.bench import peer

    _, w, _, g = layer.arrays()
    padded = np.pad(_doubled(layer), ((0, 0), *layer.geometry.pads, (0, 0)))
    for channels_last in (False, True):
        yield peer.convolution(
            kind, padded, w, g, stride=layer.stride, dilation=layer.dilation, channels_last=channels_last,
            device=device,
        ), peer.elapsed(device)  # fmt: skip


def _doubled(layer: Layer) -> Array:
    x = layer.arrays()[0]
    return x.repeat(2, axis=1).repeat(2, axis=2) if layer.doubled else x


# ---- memory ------------------------------------------------------------------------------------------------------
def peak(name: str, make: Callable[[], Run]) -> int | None:
    """Most bytes of the GPU that a run makes CuPy's pool hold, inputs and weights included; None without a GPU."""
    if not _is_cuda(name):
        return None
    import cupy

    with use_backend(name) as backend:
        backend.release_memory()
        make()()
        most = int(cupy.get_default_memory_pool().total_bytes())
        backend.release_memory()
        return most


def peer_peak(make: Callable[[], Run], device: str) -> int | None:
    """Most bytes of the GPU that PyTorch's tensors take; None without a GPU."""
    if device != "cuda":
        return None
    import torch

    from ca_numpy.bench import peer

    peer.release_memory(device)
    torch.cuda.reset_peak_memory_stats()
    peer.elapsed(device)(make())
    return int(torch.cuda.max_memory_allocated())


def _is_cuda(name: str) -> bool:
    return load_backend(name).name.partition(":")[0] == "cupy"
