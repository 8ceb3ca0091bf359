"""One convolution, rung by rung, on a GPU: what each idea is worth there. Without a GPU, whether each rung is right.

    python tutorials/kernels/ladder.py [--size 128] [--channels 128] [--kernels 128] [--images 16] [--json FILE]
    python tutorials/kernels/ladder.py --emulated [--backwards]

Every rung is checked against the NumPy backend before the clock starts. On a GPU all of them run in each round, timed
by CUDA events; the table has the medians, below the rungs the backend's own kernels and, with torch, PyTorch's. The
arrays of one round are there from the round before: what fits the cache of the GPU lies in it.

Emulated, the layer is small and nothing is timed: how long a kernel takes on the CPU says nothing of a GPU. A rung that
is wrong shows where, and the command then ends with 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ca_numpy.atomic import write_text
from ca_numpy.backends.cupy_backend import CupyBackend
from ca_numpy.backends.cupy_backend.device import Device, cuda_device
from ca_numpy.backends.cupy_backend.emulation import arrays
from ca_numpy.backends.cupy_backend.emulation.kernels import EmulatedKernels
from ca_numpy.backends.cupy_backend.launch import Launcher
from ca_numpy.errors import UserError
from ca_numpy.geometry import ConvGeometry
from ca_numpy.registry import load_backend

Array = NDArray[Any]
FOLDER = Path(__file__).parent
#: Largest error of a result over its largest number: of float32, and of products in TF32 (11 bits, so 2⁻¹⁰ for each).
FLOAT32, TF32 = 1e-5, 2e-3
#: Milliseconds that a round lets each contender run, at least.
TURN = 10.0


class Rung(NamedTuple):
    """A kernel, and how many pixels and kernels of the result one block of its threads makes."""

    title: str
    file: str
    expression: str
    pixels: int
    kernels: int
    bound: float


RUNGS = (
    Rung("1 naive", "1_naive.cu", "convolve", 16, 16, FLOAT32),
    Rung("2 tiles in shared memory", "2_tiled.cu", "convolve", 16, 16, FLOAT32),
    Rung("3 sums in registers, 8 × 4", "3_registers.cu", "convolve<8, 4>", 16 * 8, 16 * 4, FLOAT32),
    Rung("4 tensor cores, TF32", "4_tensor_cores.cu", "convolve<2, 4>", 4 * 2 * 16, 2 * 4 * 8, TF32),
)


class Contender(NamedTuple):
    """Something that computes the layer: `run` starts it, and returns what `fetch` brings to the host."""

    title: str
    run: Callable[[], Any]
    fetch: Callable[[Any], Array]
    bound: float


class Result(NamedTuple):
    """Relative error, and milliseconds of one run in each round: none where nothing was timed."""

    title: str
    error: float
    right: bool
    rounds: list[float]


def emulated_device(*, backwards: bool = False, folder: Path = FOLDER) -> Device:
    instances = {rung.file: [rung.expression] for rung in RUNGS}
    return Device(arrays, EmulatedKernels(backwards=backwards, instances=instances, folder=folder))


def geometry_of(x: Array, w: Array) -> ConvGeometry:
    return ConvGeometry().same(x.shape[1:3], w.shape[:2])


def climb(rung: Rung, device: Device, x: Array, w: Array) -> Contender:
    """A rung on `device`, its arguments laid there. y starts as NaN, so that what is never written shows."""
    launcher = Launcher(device)
    images, height, width, channels = x.shape
    kh, kw, _, kernels = w.shape
    (top, _), (left, _) = geometry_of(x, w).pads
    x_there, w_there = device.xp.asarray(x), device.xp.asarray(w)
    y = device.xp.asarray(np.full((images, height, width, kernels), np.nan, np.float32))
    grid = -(-images * height * width // rung.pixels), -(-kernels // rung.kernels)

    def run() -> Any:
        launcher.launch(
            rung.file, rung.expression, grid,
            x_there, w_there, y, images, height, width, channels, kernels, kh, kw, top, left,
        )  # fmt: skip
        return y

    return Contender(rung.title, run, device.xp.asnumpy, rung.bound)


def textbook(x: Array, w: Array) -> Array:
    """The NumPy backend's convolution, in float64."""
    numpy = load_backend("numpy")
    y: Array = numpy.conv2d(x.astype(np.float64), w.astype(np.float64), geometry=geometry_of(x, w))
    return y


def by_backend(device: Device, x: Array, w: Array) -> list[Contender]:
    """The backend's own kernels: the ladder's, with fetching and multiplying at the same time."""
    backend, geometry = CupyBackend(device), geometry_of(x, w)
    x_there, w_there = backend.asarray(x), backend.asarray(w)

    def contender(precision: str, bound: float) -> Contender:
        at = backend.at(precision)
        return Contender(
            f"the backend's kernel, {precision}",
            lambda: at.conv2d(x_there, w_there, geometry=geometry), at.to_numpy, bound,
        )  # fmt: skip

    bounds = {"float32": FLOAT32, "tf32": TF32}
    return [contender(name, bound) for name, bound in bounds.items() if name in backend.precisions]


def by_torch(device: str, x: Array, w: Array) -> list[Contender]:
    """PyTorch's convolution with TF32 allowed, in both its memory formats: the better one is the peer."""
    import torch

    torch.backends.cudnn.benchmark = True  # cuDNN tries its kernels once and keeps the fastest
    torch.backends.cudnn.allow_tf32 = True

    def contender(title: str, layout: Any) -> Contender:
        tx = torch.from_numpy(x).permute(0, 3, 1, 2).to(device).contiguous(memory_format=layout)
        tw = torch.from_numpy(w).permute(3, 2, 0, 1).to(device).contiguous(memory_format=layout)

        def run() -> Any:
            with torch.inference_mode():
                return torch.nn.functional.conv2d(tx, tw, padding="same")

        return Contender(title, run, lambda y: y.permute(0, 2, 3, 1).cpu().numpy(), TF32)

    return [
        contender("PyTorch, TF32", torch.contiguous_format),
        contender("PyTorch, TF32, channels last", torch.channels_last),
    ]


def torch_sees_a_gpu() -> bool:
    if not importlib.util.find_spec("torch"):
        return False
    import torch

    return bool(torch.cuda.is_available())


def checked(contender: Contender, right: Array) -> Result:
    """Runs it once. Prints where the first numbers of the result are wrong, if any are."""
    y = contender.fetch(contender.run())
    size = np.abs(right).max()
    error = float(np.abs(y - right).max() / size)
    good = np.abs(y - right) <= contender.bound * size  # NaN is not
    if not good.all():
        print(f"{contender.title}: {np.count_nonzero(~good)} of {good.size} numbers are wrong. {picture_of(good)}")
    return Result(contender.title, error, bool(good.all()), [])


def picture_of(good: Array) -> str:
    """The first 16 pixels × 16 kernels of a result, a line to a pixel."""
    lines = ("  " + "".join(".X"[not g] for g in line[:16]) for line in good.reshape(-1, good.shape[-1])[:16])
    return "\n".join(["The first pixels (down) and kernels (across), X is wrong:", *lines])


def milliseconds(cuda: Any, run: Callable[[], Any], repeats: int) -> float:
    """Of one run, by events of the GPU around so many that it never waits for Python."""
    start, end = cuda.Event(), cuda.Event()
    start.record()
    for _ in range(repeats):
        run()
    end.record()
    end.synchronize()
    return float(cuda.get_elapsed_time(start, end)) / repeats


def timed(cuda: Any, contenders: list[Contender], rounds: int) -> list[list[float]]:
    """Milliseconds by contender and round. Each has run before; how often it runs in a round is found first."""
    repeats = [max(1, round(TURN / milliseconds(cuda, c.run, 3))) for c in contenders]
    times = [[milliseconds(cuda, c.run, n) for c, n in zip(contenders, repeats, strict=True)] for _ in range(rounds)]
    return [list(of_one) for of_one in zip(*times, strict=True)]


def table(title: str, results: list[Result], work: float) -> str:
    """Markdown. `work`: floating-point operations of the layer."""
    lines = [f"| {title} | ms | GFLOP/s | times the rung above | relative error |", "|---|---|---|---|---|"]
    above = None
    for result in results:
        middle = statistics.median(result.rounds) if result.rounds else None
        ms = speed = gain = ""
        if middle is not None:
            ms, speed = f"{middle:.3g}", f"{work / middle / 1e6:.0f}"
            gain = f"{above / middle:.2f}" if above else ""
        wrong = "" if result.right else " (wrong)"
        lines.append(f"| {result.title} | {ms} | {speed} | {gain} | {result.error:.1e}{wrong} |")
        above = middle
    return "\n".join(lines)


def beside_peers(results: list[Result], rungs: int) -> str:
    """How fast each rung is beside PyTorch's better format, or nothing where one of them was not timed."""
    peers = [r for r in results if r.title.startswith("PyTorch") and r.rounds]
    if not peers:
        return ""
    peer = min(peers, key=lambda r: statistics.median(r.rounds))
    ratios = [
        statistics.median(b / a for a, b in zip(r.rounds, peer.rounds, strict=True)) for r in results[:rungs]
    ]  # fmt: skip
    return f"{peer.title}, is the faster peer; of its speed the rungs have " + ", ".join(f"{r:.1%}" for r in ratios)


def as_json(device: str, layer: dict[str, int], results: list[Result], work: float) -> str:
    rows = [
        {
            "title": r.title, "right": r.right, "relative_error": r.error, "ms": r.rounds,
            "gflops": work / statistics.median(r.rounds) / 1e6 if r.rounds else None,
        }
        for r in results
    ]  # fmt: skip
    return json.dumps({"device": device, "layer": layer, "flop": work, "results": rows}, indent=1) + "\n"


def gpu_or_none() -> Device | None:
    """The GPU with the rungs on it, or None after a line that says why there is none."""
    try:
        return cuda_device(folder=FOLDER)
    except (ImportError, UserError) as e:
        reason = "CuPy is not installed: pip install 'ca-numpy[cuda13]'" if isinstance(e, ImportError) else e
        print(f"emulated: {reason}", file=sys.stderr)
        return None


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, what in (("size", "of the square picture"), ("images", "pictures at once"), ("channels", "of them"),
                       ("kernels", "channels of the result")):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, help=what)
    parser.add_argument("--ksize", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--emulated", action="store_true", help="on the CPU, even if there is a GPU")
    parser.add_argument("--backwards", action="store_true", help="emulated, the last thread of a block going first")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = options_of(arguments)
    gpu = None if options.emulated or options.backwards else gpu_or_none()
    device = gpu or emulated_device(backwards=options.backwards)
    usual = {"images": 16, "size": 128, "channels": 128, "kernels": 128} if gpu else {
        "images": 1, "size": 7, "channels": 20, "kernels": 20}  # fmt: skip
    layer = {name: getattr(options, name) or number for name, number in usual.items()} | {"ksize": options.ksize}
    n, size, c, k, ksize = layer.values()

    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, size, size, c), np.float32)
    w = rng.standard_normal((ksize, ksize, c, k), np.float32) / np.float32(ksize * c**0.5)
    rungs = [rung for rung in RUNGS if rung.bound != TF32 or "tf32" in device.precisions]
    contenders = [climb(rung, device, x, w) for rung in rungs]
    if gpu:
        contenders += by_backend(cuda_device(), x, w)
        contenders += by_torch("cuda", x, w) if torch_sees_a_gpu() else []
    right = textbook(x, w)
    results = [checked(contender, right) for contender in contenders]
    if gpu:
        times = timed(gpu.xp.cuda, contenders, options.rounds)
        results = [result._replace(rounds=rounds) for result, rounds in zip(results, times, strict=True)]

    work = 2.0 * n * size * size * k * ksize * ksize * c
    print(device.kernels.describe())
    print(table(f"{ksize}×{ksize}, {c} → {k} channels, {n} × {size}×{size}", results, work))
    if beside := beside_peers(results, len(rungs)):
        print(beside)
    if options.json:
        write_text(options.json, as_json(device.kernels.describe(), layer, results, work))
    return 0 if all(result.right for result in results) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as e:
        sys.exit(f"error: {e}")
