# %% [markdown]
# # 21 · A roofline from machine code
#
# **One idea:** how fast a kernel *can* be follows from four numbers of the machine and four counts of the program:
# products, bytes, instructions, and what passes through shared memory. All can be had without the GPU: from its data
# sheet, and from the compiler. What cannot is marked at the end.
#
# You need to know what a block of threads and shared memory are (notebook 16).

# %%
import json
import os
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from exercises import check
from matplotlib.figure import Figure

import ca_numpy as ca
from ca_numpy import viz
from ca_numpy.backends.cupy_backend.device import FOLDER, source
from ca_numpy.backends.cupy_backend.tiles import TENSOR, tile_for
from ca_numpy.bench.workloads import layer_shapes
from ca_numpy.testing import seconds_of

QUICK = os.environ.get("CA_NUMPY_QUICK") == "1"  # smaller sizes, for the tests
ROOT = Path(ca.__file__).parents[1]  # of the repository

# %% [markdown]
# ## The problem
#
# The library's CUDA kernels were written without a GPU (notebook 16). Are they fast? Only a measurement will tell. But
# many slow programs can be recognised before: each resource of a machine has a rate, and no program is faster than its
# slowest resource allows. The fastest are the *tensor cores*: one of their instructions, an MMA (matrix multiply-add),
# multiplies two small matrices for a whole warp. TF32 is their form of float32, with 10 bits after the leading one
# instead of 23. A GPU consists of many *multiprocessors*; each has its own tensor cores and shared memory, and runs a
# few blocks at a time. An H100 (SXM), from its data sheet:

# %%
MULTIPROCESSORS = 132
TF32, FLOAT32 = 494.7e12, 66.9e12  # FLOP a second on tensor cores (dense), and by plain multiply-adds
MEMORY = 3.35e12  # bytes a second
# From NVIDIA's description of the architecture, per multiprocessor and clock:
MMA = 1  # mma.sync.m16n8k8 in TF32: 1024 products
ISSUED = 4  # instructions, each for a warp of 32 threads
SHARED = 128  # bytes to or from shared memory
# The clock at which the data sheet's figure comes about; and an assumption, an A100's bytes a clock from the L2 cache:
CLOCK = TF32 / (MULTIPROCESSORS * 2 * 1024 * MMA)
L2 = 5120 * CLOCK
print(f"clock {CLOCK / 1e9:.2f} GHz; L2 {L2 / 1e12:.1f} TB/s (assumed)")
print(f"FLOP per byte at the ridge: {FLOAT32 / MEMORY:.0f} in float32, {TF32 / MEMORY:.0f} in TF32")

# %% [markdown]
# ## The equation
#
# A program that does $W_r$ units of work on resource $r$, whose rate is $R_r$, takes at least
#
# $$ t \;\ge\; \max_r \frac{W_r}{R_r} $$
#
# With two resources, FLOP and bytes from memory, this is the *roofline*: $P = \min(P_\text{max},\; I \cdot B)$, where
# $I$ is the FLOP per byte and $B$ the bytes a second. The two meet at the *ridge*. Ours will have five resources,
# the rate of one of them assumed.

# %%
RATES = {
    "tensor cores": CLOCK * MULTIPROCESSORS * MMA,  # MMA instructions a second
    "issue": CLOCK * MULTIPROCESSORS * ISSUED,  # instructions of a warp
    "shared memory": CLOCK * MULTIPROCESSORS * SHARED,  # bytes
    "L2": L2,
    "memory": MEMORY,
}


def least_time(work):
    """The time in seconds, and the resource that decides it. work: units of work by resource."""
    times = {resource: amount / RATES[resource] for resource, amount in work.items()}
    bound = max(times, key=times.get)
    return times[bound], bound


# %% [markdown]
# ## Loops: what a tile reads
#
# A convolution is a matrix product, patches times weights (notebook 06): pixels × kernels, summed over taps and
# channels. A block of threads computes a tile of $R$ pixels × $C$ kernels, in steps of 16 terms. In each step it copies
# $16 R$ and $16 C$ numbers to shared memory, and multiplies.
#
# **Predict, then run.** How many bytes per product does it fetch with tiles of 1 × 1, of 16 × 16, of 128 × 128? In
# proportion to what do they fall?


# %% tags=["predict"]
def fetched_loops(pixels, kernels, depth, rows, columns, step=16):
    """Numbers fetched, and products computed, block by block and step by step; what sticks out is multiplied, too."""
    numbers = products = 0
    for _ in range(0, pixels, rows):
        for _ in range(0, kernels, columns):
            for _ in range(0, depth, step):
                numbers += rows * step + columns * step
                products += rows * columns * step
    return numbers, products


def fetched(pixels, kernels, depth, rows, columns, step=16):
    """The same as a formula."""
    blocks = -(-pixels // rows) * -(-kernels // columns) * -(-depth // step)
    return blocks * step * (rows + columns), blocks * step * rows * columns


for sizes in ((100, 30, 45, 16, 16), (1000, 128, 1152, 128, 64), (7, 5, 3, 256, 16)):
    assert fetched_loops(*sizes) == fetched(*sizes)
bytes_per_product = {}
for tile in ((1, 1), (16, 16), (128, 64), (128, 128)):
    numbers, products = fetched(128 * 128, 128, 9 * 128, *tile)
    bytes_per_product[f"{tile[0]} × {tile[1]}"] = 4 * numbers / products
    print(f"{tile[0]:3} × {tile[1]:3}: {4 * numbers / products:6.3f} bytes per product, "
          f"{2 * products / (4 * numbers):5.1f} FLOP per byte")  # fmt: skip

# %% [markdown]
# $4\,(1/R + 1/C)$: in proportion to the perimeter of the tile over its area. That is why tiles are large. Some of these
# bytes come from a multiprocessor's own small cache, L1, others from L2, the large cache that all share, and the rest
# from memory. How many come from memory depends on the caches, but at least every number once:
#
# ## Every layer of the network
#
# The generator has 42 convolutions; at 512×512 they are of 18 kinds. Some first repeat each pixel 2 × 2. Their 3 × 3
# taps then fall on only 2 × 2 different pixels. Which taps share a pixel depends on whether the output's row and column
# are even or odd. So each of these four *phases* is a convolution of the small picture with 2 × 2 summed taps: 4
# products per output and channel, not 9.
#
# **Predict, then run.** How many of the 18 lie left of the ridge in TF32, so that memory limits them, however well they
# are programmed?


# %% tags=["predict"]
def vectorised_layer(kernel, stride, dilation, c, o, side, doubled):
    """Pixels, kernels, terms and phases of the product, FLOP, and the least bytes to and from memory."""
    out = 2 * side if doubled else -(-side // stride)
    phases, taps = (4, 4) if doubled else (1, kernel * kernel)  # after doubling, 2 × 2 taps remain in each phase
    pixels = out * out // phases
    least = 4 * (side * side * c + out * out * o + kernel * kernel * c * o)
    return pixels, o, taps * c, phases, 2 * pixels * phases * o * taps * c, least


layers = {shape: (vectorised_layer(*shape), count) for shape, count in layer_shapes(512, 32).items()}
intensity = {shape: flop / least for shape, ((*_, flop, least), _) in layers.items()}
left = [shape for shape, i in intensity.items() if i < TF32 / MEMORY]
total_flop = sum(count * flop for (*_, flop, _), count in layers.values())
total_bytes = sum(count * least for (*_, least), count in layers.values())
print(f"{sum(count for _, count in layers.values())} layers, {total_flop / 1e9:.0f} GFLOP, {total_bytes / 1e9:.2f} GB")
print(f"{len(left)} of {len(layers)} kinds are left of the ridge in TF32; at least "
      f"{1e3 * max(total_flop / TF32, total_bytes / MEMORY):.2f} ms for all, if nothing else counted")  # fmt: skip

figure = Figure(figsize=(7, 3.8), layout="constrained", dpi=100)
axes = figure.subplots()
x = np.geomspace(0.2, 2000, 200)
for peak, style, label in ((TF32, "k-", "TF32, tensor cores"), (FLOAT32, "k--", "float32")):
    axes.loglog(x, np.minimum(peak, x * MEMORY) / 1e12, style, label=label)
at = np.array(sorted(intensity.values()))
axes.loglog(at, np.minimum(TF32, at * MEMORY) / 1e12, "o", color="k", mfc="w", label="a convolution")
for name, flop_per_byte in {"Adam": 12 / 28, "ELU": 2 / 8}.items():
    axes.loglog(flop_per_byte, flop_per_byte * MEMORY / 1e12, "ks", ms=5)
    axes.annotate(name, (flop_per_byte, flop_per_byte * MEMORY / 1e12), xytext=(7, -3), textcoords="offset points")
axes.set(xlabel="FLOP per byte of memory, at most", ylabel="TFLOP/s, at most")
axes.set_title("The roofline of an H100, and the convolutions at 512×512", fontsize=10)
axes.legend(frameon=False)
viz.show(
    figure,
    alt="TFLOP per second against FLOP per byte, both logarithmic. Two lines rise together and turn level, float32 at "
    "67, TF32 at 495. ELU and Adam lie far down the slope; the convolutions from the middle of the slope to the level.",
)

# %% [markdown]
# Ten of eighteen, those with few channels: a convolution of 16 channels does little with each number. (They are nearly
# half of the 42 layers; what they cost is counted below.) ELU and Adam are far left: all they do is move bytes, which
# is why the ELU is part of the convolution's kernel.
#
# So far only the *problem* counted: products and bytes. The rest of the notebook counts the *program*.
#
# ## Machine code
#
# NVRTC, NVIDIA's compiler as a library, comes from PyPI and needs no GPU; so does the disassembler. Where they are
# missing, the counts are read from the table in [docs/performance.md](../docs/performance.md#on-a-gpu).
#
# The library's tiles for tensor cores are called Narrow, Small, Medium and Wide. Here is the main loop of the widest:

# %%
page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
TILES = {tile.name.removeprefix("Tensor").removesuffix("<TF32>"): tile for tile in TENSOR["tf32"]}
read = {}  # from the page: instructions per MMA on sm_90, of y and of dw
for name in TILES:
    cells = re.search(rf"^\| {name}, \d+[^|]*\|(.*)\|$", page, re.MULTILINE)[1].split("|")
    read[name] = float(cells[3]), float(cells[7])

sys.path += [str(ROOT / "tests"), str(ROOT / "tests" / "benchmarks")]
try:
    import instructions
    import nvrtc

    can_compile = nvrtc.library() is not None and instructions.disassembler() is not None
except ImportError:  # the package is installed without its tests
    can_compile = False


def main_loop(kernel, name):
    """The instructions of a kernel's innermost loop, for sm_90."""
    expression = f"{kernel}<Tensor{name}<TF32>, 4, 4>"
    compiled = nvrtc.compile_to_cubin(
        source("conv.cu"), name="conv.cu", expressions=[expression], architecture="sm_90", include=FOLDER
    )
    bodies = instructions.bodies_in(instructions.disassembled(compiled.cubin, instructions.disassembler()))
    most = max(sum("HMMA" in i for i in body) for body in bodies)
    body = min((body for body in bodies if sum("HMMA" in i for i in body) == most), key=len)
    return [re.sub(r"^@\S+\s+", "", i) for i in body]  # without the condition on which a lane executes it


KINDS = {
    "multiply": r"HMMA", "shared memory": r"LDS|STS", "memory": r"LDG", "round to TF32": r"F2F",
    "addresses and loop": r"",
}  # fmt: skip


def kind_of(instruction):
    return next(kind for kind, pattern in KINDS.items() if re.match(pattern, instruction))


code = {}
if can_compile:
    for name in TILES:
        if not QUICK or name == "Wide":
            code[name] = main_loop("convolve", name)
    counted = Counter(i.split()[0].split(".")[0] for i in code["Wide"])
    print(", ".join(f"{n} {what}" for what, n in counted.most_common()))
    for line in code["Wide"][:3]:
        print("   ", line)
else:
    print("no NVRTC or no disassembler here: pip install nvidia-cuda-nvrtc-cu12 nvidia-cuda-nvdisasm")

# %% [markdown]
# `HMMA` is the tensor core's instruction. `LDS` and `STS` read and write shared memory, `LDG` reads memory, `F2FP`
# rounds to TF32; the rest are addresses and the loop. Below, *y* is the convolution itself and *dw* its gradient by the
# weights.
#
# **Predict, then run.** A multiprocessor issues four instructions a clock, and starts one MMA a clock. How many
# instructions per MMA may a loop have before issuing, not multiplying, is what limits it? Which of the four tiles have
# more?

# %% tags=["predict"]
per_mma = {name: y for name, (y, _) in read.items()}
for name, body in code.items():
    mma = sum(i.startswith("HMMA") for i in body)
    assert abs(len(body) / mma - read[name][0]) < 0.06, (name, len(body) / mma)  # as the page says
figure = Figure(figsize=(7, 2.8), layout="constrained", dpi=100)
axes = figure.subplots()
for row, name in enumerate(TILES):
    start, body = 0, code.get(name)
    if body is None:
        axes.barh(row, per_mma[name], color="w", edgecolor="k", hatch="...", label="all kinds" if row == 0 else None)
        continue
    mma = sum(i.startswith("HMMA") for i in body)
    for kind, shade, hatch in zip(KINDS, ("0.2", "0.75", "w", "0.55", "w"), ("", "", "//", "", "..."), strict=True):
        share = sum(kind_of(i) == kind for i in body) / mma
        axes.barh(row, share, left=start, color=shade, hatch=hatch, edgecolor="k", label=kind if row == 0 else None)
        start += share
axes.axvline(ISSUED, color="k", ls="--", label="issued per MMA")
axes.set(yticks=range(4), yticklabels=[f"{n}, {t.columns}" for n, t in TILES.items()], xlabel="instructions per MMA")
axes.set_title("What surrounds the multiplications (tile, kernels per block)", fontsize=10)
axes.invert_yaxis()
axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
for name, tile in TILES.items():
    y, dw = per_mma[name], read[name][1]
    print(f"{name} ({tile.rows} × {tile.columns}): {y:.1f} instructions per MMA for y, {dw:.1f} for dw;", end=" ")
    print(f"issue allows {min(1, ISSUED / y):.0%} of the tensor cores' rate for y")
viz.show(
    figure,
    alt="Four bars of instructions per MMA: Narrow more than thirteen, Small and Medium six to eight, Wide three. A "
    "dashed line at four: only Wide stays below it. Rounding and shared memory are large parts of the narrow ones.",
)

# %% [markdown]
# Four; and only Wide has fewer, 3.2. The narrow tiles are for layers with few kernels, where a wider one would multiply
# padding.
#
# ## Shared memory
#
# A warp's 32 threads are called its *lanes*. Its `LDS.128` reads 16 bytes in each: 512 bytes, four clocks of a
# multiprocessor's 128 bytes. The source (`tiles.cuh`) tells how many there are. A warp computes a grid of $F_M \times
# F_N$ small products, each of 16 pixels × 8 kernels. In a step of 16 terms it reads $2 (F_M + F_N / 2)$ times 512 bytes
# for $2 F_M F_N$ MMAs; and the block writes its $16 (R + C)$ numbers.
#
# **Predict, then run.** How many clocks of shared memory does an MMA of the widest tile need, which itself takes one?

# %% tags=["predict"]
tiles_source = (FOLDER / "tiles.cuh").read_text(encoding="utf-8")
FRAGMENTS = {  # F_M, F_N
    name: tuple(
        map(int, re.search(rf"using Tensor{name} = TensorTile<Format, \d, \d, (\d), (\d)>", tiles_source).groups())
    )
    for name in TILES
}


def shared_bytes(name):
    """To and from shared memory per MMA, from the source."""
    (fm, fn), tile = FRAGMENTS[name], TILES[name]
    written = 4 * 16 * (tile.rows + tile.columns) / (tile.rows * tile.columns * 16 / 1024)
    return 512 * (fm + fn / 2) / (fm * fn) + written


def compiled_bytes(body):
    """The same from machine code: 128 is a number of bits, 32 the default."""
    moved = sum(32 * int((re.match(r"(?:LDS|STS)\.(\d+)", i) or [0, 32])[1]) // 8
                for i in body if i.startswith(("LDS", "STS")))  # fmt: skip
    return moved / sum(i.startswith("HMMA") for i in body)


for name in TILES:
    said = f"; the machine code has {compiled_bytes(code[name]):.0f}" if name in code else ""
    clocks = shared_bytes(name) / SHARED
    print(f"{name}: {shared_bytes(name):.0f} bytes per MMA, {clocks:.2f} clocks,", end=" ")
    print(f"at most {1 / clocks:.0%} of the tensor cores' rate{said}")

# %% [markdown]
# Two. **So shared memory, not issue, limits every tile**, the widest to half of the tensor cores' rate. Even 4 ×
# 4 products side by side reuse too little of what a warp reads. Larger ones take more registers, and Wide already uses
# 128 in each of its 256 threads; a multiprocessor has 65,536, so two blocks fit. Hopper's answer is another
# instruction, `wgmma`, with which the tensor cores read shared memory themselves; our kernels do not use it. (Narrow,
# with 2 × 2, is at a fifth. Its machine code, and that of Small and Medium, seems to move more than we counted: some
# stores are executed by a part of the threads only, but the instruction counts for all.)
#
# ## What bounds each layer
#
# All resources together, for one picture of 512×512, except L2: what hits L1 or is padding does not reach it, so its
# time is no bound. One more loss is counted: the busiest multiprocessor. 256 blocks on 132 multiprocessors take as long
# as 264.
#
# **Predict, then run.** Which resource decides most of the time? How long do the convolutions of a forward pass take at
# least?


# %% tags=["predict"]
def layer_work(shape):
    """Units of work by resource, for a layer with the library's choice of a tile."""
    pixels, kernels, depth, phases, _, least = layers[shape][0]
    tile = tile_for(np.float32, "tf32", pixels * phases, kernels)
    name = next(n for n, t in TILES.items() if t == tile)
    blocks = phases * -(-pixels // tile.rows) * -(-kernels // tile.columns)
    mma = -(-blocks // MULTIPROCESSORS) * MULTIPROCESSORS * -(-depth // 16) * 16 * tile.rows * tile.columns / 1024
    numbers = phases * fetched(pixels, kernels, depth, tile.rows, tile.columns)[0]
    return name, {
        "tensor cores": mma, "issue": mma * per_mma[name], "shared memory": mma * shared_bytes(name),
        "L2": 4 * numbers, "memory": least,
    }  # fmt: skip


by_bound, forward = Counter(), 0.0
for shape, (_, count) in layers.items():
    name, work = layer_work(shape)
    seconds, bound = least_time({resource: amount for resource, amount in work.items() if resource != "L2"})
    by_bound[bound] += count * seconds
    forward += count * seconds
    (kernel, _, _, c, o, side, doubled), flop = shape, layers[shape][0][4]
    title = f"{kernel}×{kernel}, {c} → {o} at {side}{', doubled' * doubled}"
    if shape == max(layers, key=lambda s: layers[s][1]) or c in (5, 16, 256):
        print(
            f"{title}: {name}, {1e6 * seconds:.0f} µs each, bound by {bound}, {flop / seconds / TF32:.0%} of the peak"
        )
shares = {bound: time / forward for bound, time in by_bound.items()}
print(f"all 42: at least {1e3 * forward:.2f} ms; of it " + ", ".join(f"{b} {s:.0%}" for b, s in shares.items()))
ideal = sum(count * max(flop / TF32, least / MEMORY) for (*_, flop, least), count in layers.values())
print(f"a perfect program would need {1e3 * ideal:.2f} ms")

figure = Figure(figsize=(7, 2.6), layout="constrained", dpi=100)
axes = figure.subplots()
resources = list(RATES)
times = [1e3 * sum(count * layer_work(s)[1][r] / RATES[r] for s, (_, count) in layers.items()) for r in resources]
for resource, time in zip(resources, times, strict=True):
    sure = resource != "L2"
    axes.barh(resource, time, 0.6, color="0.7" if sure else "w", edgecolor="k", hatch="" if sure else "//",
              label={"L2": "if nothing hits L1", "issue": "our kernels"}.get(resource))  # fmt: skip
axes.axvline(1e3 * ideal, color="k", ls="--", label="a perfect program")
axes.set(xlabel="milliseconds at least, each resource alone")
axes.set_title("The 42 convolutions, one picture of 512×512, TF32", fontsize=10)
axes.invert_yaxis()
axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
viz.show(
    figure,
    alt="Five bars of milliseconds: shared memory the longest, then L2, hatched, issue, tensor cores, memory. A dashed "
    "line marks a perfect program, at less than half of the longest.",
)

# %% [markdown]
# (0.43 ms, not the 0.33 from above: while memory limits one layer, tensor cores cannot work ahead on the next.) The
# rest of a forward pass is the attention. Its kernels are bound otherwise: a number of the sums along diagonals takes
# 70 instructions ([docs/performance.md](../docs/performance.md#on-a-gpu)), and 8 bytes to and from memory at least.

# %%
numbers = (512 // 8) ** 4  # 64 × 64 positions, squared
instructions_each = int(re.search(r"\| match, nine terms \| about \d+ \| (\d+) \|", page)[1])
attention_work = {"issue": numbers * instructions_each / 32, "memory": 8 * numbers}
for resource, amount in attention_work.items():
    print(f"a sum along diagonals, {resource}: {1e6 * amount / RATES[resource]:.0f} µs at least")

# %% [markdown]
# Both about 40 µs: what fewer instructions would gain, memory would take.
#
# ## What no measurement has confirmed
#
# A bound is not a prediction. It leaves out a lot, and is only as good as its assumptions:
#
# - *The clock.* 1.83 GHz is what the data sheet's TF32 figure implies. Under load a GPU may run slower, to keep within
#   its power.
# - *`mma.sync`.* One a clock is the data sheet's rate, which Hopper reserves for `wgmma`; `mma.sync` stays below
#   ([Luo et al.](https://arxiv.org/abs/2402.13499)). The bar of the tensor cores is too short.
# - *L2.* 5120 bytes a clock are assumed, and how many reads hit L1 is unknown. It is left out of the bound.
# - *Overlap.* The maximum supposes that all resources work at the same time, all the time. With two blocks per
#   multiprocessor and a barrier in each step, they do not.
# - *Bank conflicts.* Shared memory is divided into 32 banks, and lanes that need different words of one bank have to
#   wait for one another. None are counted. The layouts are meant to have none.
# - *Launches.* The host has to start each kernel: `tests/benchmarks/launches.py` counts them, not their time.
# - *Layers with 5 or 3 channels* load one number at a time, with more instructions than the table's.
#
# The page has a table for measured times. So many of its cells are filled:

# %%
table = page.split("| work | TF32 | BF16 | PyTorch |")[1].split("\n\n")[0].splitlines()[2:]
cells = [cell.strip() for row in table for cell in row.strip("|").split("|")[1:3]]
print(f"{sum(map(bool, cells))} of {len(cells)} measured times")

# %% [markdown]
# `python tests/benchmarks/gpu.py --out FOLDER` on a machine with a GPU fills it in, with counters of Nsight Compute
# where that is installed: they say directly which resource was busy how long. If shared memory is not the busiest in
# the convolutions, this notebook is wrong somewhere.
#
# ## Timed
#
# The same for the machine under your hands: its peak (a large matrix product), its bandwidth (a large copy), and one
# convolution of the network, as a matrix product, between them. **Predict, then run.** What is the ridge of a CPU core
# or two, compared with the H100's 148? What share of its roof does the product reach?

# %% tags=["predict", "timed"]
side = 256 if QUICK else 1536
a = np.random.default_rng(0).standard_normal((side, side), np.float32)
big = np.zeros((4 if QUICK else 64) * 2**20, np.float32)
other = np.empty_like(big)
peak = 2 * side**3 / seconds_of(lambda: a @ a)
bandwidth = 2 * big.nbytes / seconds_of(lambda: np.copyto(other, big))
pixels = 1024 if QUICK else 128 * 128
patches_of = np.random.default_rng(1).standard_normal((pixels, 9 * 64), np.float32)
weights_of = np.random.default_rng(2).standard_normal((9 * 64, 64), np.float32)
flop, moved = 2 * pixels * 9 * 64 * 64, patches_of.nbytes + weights_of.nbytes + 4 * pixels * 64
roof = min(peak, bandwidth * flop / moved)
reached = flop / seconds_of(lambda: patches_of @ weights_of)
figure = Figure(figsize=(6.5, 2.8), layout="constrained", dpi=100)
axes = figure.subplots()
for rates, style, label in (
    ((TF32, MEMORY), "k-", "H100, TF32 (data sheet)"),
    ((peak, bandwidth), "k--", "this CPU (measured)"),
):
    axes.loglog(x, np.minimum(rates[0], x * rates[1]) / 1e12, style, label=label)
axes.loglog(flop / moved, reached / 1e12, "ks", mfc="w", label="a convolution's product, here")
axes.set(xlabel="FLOP per byte", ylabel="TFLOP/s")
axes.set_title("Two rooflines", fontsize=10)
axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
print(f"peak {peak / 1e9:.0f} GFLOP/s, copy {bandwidth / 1e9:.1f} GB/s, ridge {peak / bandwidth:.0f} FLOP per byte")
print(f"the product: {flop / moved:.0f} FLOP per byte, {reached / 1e9:.0f} GFLOP/s, {reached / roof:.0%} of its roof")
viz.show(
    figure,
    alt="Two rooflines, logarithmic: that of the H100, and two to four orders of magnitude below it that of this CPU, "
    "with a mark for one product on or just below its level part.",
)

# %% [markdown]
# The ridge of a CPU is lower: relative to its arithmetic it has more bandwidth. (Unfolded patches are nine times as
# many bytes as the picture; the library never stores them whole.)
#
# ## Exercises
#
# Replace the line that raises; `check` says what is wrong with an answer. Solutions are in
# `solutions/notebook_21.py`.
#
# **1.** The roofline.


# %%
def attainable(intensity, peak, bandwidth):
    """intensity: n FLOP per byte; peak in FLOP/s, bandwidth in bytes/s. n: the largest possible FLOP/s."""
    raise NotImplementedError


check("21.attainable", attainable)

# %% [markdown]
# **2.** Padding is multiplied, too. What share of a tile's products is useful?


# %%
def useful(pixels, kernels, depth, rows, columns):
    """pixels × kernels results, sums of depth terms, in tiles of rows × columns and steps of 16 terms. The share of
    the products computed that belong to the result, 0 to 1.
    """
    raise NotImplementedError


check("21.useful", useful)

# %% [markdown]
# **3.** A multiprocessor, per clock: one MMA, four instructions, 128 bytes of shared memory. What share of the tensor
# cores' rate can a loop reach?


# %%
def tensor_share(instructions, mma, shared):
    """A loop of `instructions`, `mma` of them MMAs, that moves `shared` bytes through shared memory, all per warp."""
    raise NotImplementedError


check("21.tensor_share", tensor_share)

# %% tags=["figures-that-matter"]
figures = {
    "bytes per product": bytes_per_product,
    "GFLOP of the convolutions": total_flop / 1e9,
    "least GB": total_bytes / 1e9,
    "kinds left of the ridge": len(left),
    "shared bytes per MMA": {name: shared_bytes(name) for name in TILES},
    "instructions per MMA, y and dw": read,
    "least milliseconds": 1e3 * forward,
    "shares of it": shares,
}
print(json.dumps(figures))
