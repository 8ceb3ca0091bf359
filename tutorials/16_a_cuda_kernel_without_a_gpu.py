# %% [markdown]
# # 16 · A CUDA kernel without a GPU
#
# **One idea:** a CUDA kernel describes what *one* thread does. What thousands do together is determined by three things
# that can be understood and tested without a GPU: which thread takes which number, which waits for which, and in which
# order they run.
#
# You need Python's generators (`yield`) and a little C. The kernels are compiled for the CPU, by `g++`.

# %%
import json
import os
import sys
import tempfile
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np
from exercises import check
from matplotlib.figure import Figure

import ca_numpy as ca
from ca_numpy import viz
from ca_numpy.backends.cupy_backend.emulation import arrays
from ca_numpy.backends.cupy_backend.emulation.kernels import EmulatedKernels, compiler
from ca_numpy.backends.numpy_backend import NumpyBackend
from ca_numpy.errors import UserError
from ca_numpy.testing import CASES, LAYOUTS, RandomChooser, oracles, seconds_of
from ca_numpy.testing.backend_suite import by_numpy, check_kernel

try:
    compiler()
except UserError as e:
    raise SystemExit(str(e)) from None

QUICK = os.environ.get("CA_NUMPY_QUICK") == "1"  # smaller sizes, for the tests
rng = np.random.default_rng(0)
scratch = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
folder = Path(scratch.name)  # for the kernels written here
os.environ["CA_NUMPY_CACHE"] = scratch.name  # and for their compiled form

# %% [markdown]
# ## The problem
#
# Nearly every convolution of the paper's generator is followed by an ELU, $y = x$ where $x > 0$ and $e^x - 1$
# elsewhere, applied to up to millions of independent numbers. A GPU has room for a hundred thousand *threads* at once,
# each as simple as a loop body. How does a thread know which numbers are its own?
#
# ## The equation: whose number is it?
#
# Threads are grouped in *blocks*, and all blocks of a launch, which is one call of the kernel, form the *grid*. Threads
# in a block can wait for one another and share some memory; blocks are independent, and run in any order. A thread
# knows four numbers: its index $t$ in its block, the block's index $b$ in the grid, the number of threads $T$ per block
# and the number of blocks $B$. It takes
#
# $$ i \;=\; bT + t, \quad bT + t + BT, \quad bT + t + 2BT, \quad \dots \quad < n $$
#
# so that adjacent threads work on adjacent numbers, and the whole grid advances together. In CUDA, $t$, $b$, $T$, $B$
# are `threadIdx.x`, `blockIdx.x`, `blockDim.x`, `gridDim.x`.
#
# ## Loops
#
# A launch is two loops around the kernel. On a GPU the iterations run in parallel, here one after another.


# %%
def elu_thread(t, b, T, B, x, y):
    """What one thread does."""
    for i in range(b * T + t, len(x), B * T):
        y[i] = x[i] if x[i] > 0 else np.expm1(x[i])
        done_by[i].append((b, t))


def launch_in_loops(kernel, blocks, threads, *arguments):
    for b in range(blocks):
        for t in range(threads):
            kernel(t, b, threads, blocks, *arguments)


x = rng.standard_normal(22)
y, done_by = np.full(22, np.nan), [[] for _ in x]
launch_in_loops(elu_thread, 3, 4, x, y)
assert np.array_equal(y, np.where(x > 0, x, np.expm1(x)))

figure = Figure(figsize=(7.5, 2.1), layout="constrained", dpi=100)
axes = figure.subplots()
for i, ((b, _),) in enumerate(done_by):
    shade, hatch = (("1", ""), ("0.85", "//"), ("0.6", ""))[b]
    axes.bar(i % 12, 0.9, 0.95, bottom=-(i // 12), color=shade, hatch=hatch, edgecolor="k",
             label=f"block {b}" if i in (0, 4, 8) else None)  # fmt: skip
    axes.text(i % 12, 0.45 - i // 12, f"{i}", ha="center", va="center", fontsize=11,
              bbox={"boxstyle": "round", "fc": "w", "ec": "none", "pad": 0.2})  # fmt: skip
axes.set(xticks=range(12), xticklabels=[f"{t}" for t in range(4)] * 3, xlabel="thread of its block")
axes.set(yticks=[0.45, -0.55], yticklabels=["first", "second"], ylabel="time around", ylim=(-1.05, 0.95))
axes.set_title("Which thread takes which of 22 numbers: 3 blocks of 4 threads", fontsize=10)
axes.spines[:].set_visible(False)
axes.tick_params(length=0)
axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
viz.show(
    figure,
    alt="Numbers 0 to 21 in two rows of twelve. Block 0 takes 0 to 3, block 1 takes 4 to 7, block 2 takes 8 to 11, "
    "one number per thread; in the second round it is 12 to 23, where 22 and 23 do not exist and two threads are idle.",
)

# %% [markdown]
# ## The same in CUDA C++
#
# A kernel is a function marked `__global__`. The template's `T` is a type here, float or double, not the number of
# threads. Loop and condition are as above.

# %%
(folder / "elu.cu").write_text("""
template <class T> __global__ void elu(const T* x, T* y, int n) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        y[i] = x[i] > 0 ? x[i] : expm1(x[i]);
}

template <class T> __global__ void elu_once(const T* x, T* y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = x[i] > 0 ? x[i] : expm1(x[i]);
}
""")
NAMES = [f"{name}<{t}>" for name in ("elu", "elu_once") for t in ("float", "double")]
elu_kernels = EmulatedKernels(instances={"elu.cu": NAMES}, folder=folder)


def launch(kernels, file, expression, grid, threads, *arguments):
    """Launch a grid of blocks. A file is compiled when first needed, with a message."""
    with redirect_stderr(sys.stdout):
        kernels.launch(file, expression, (grid,), threads, arguments)


x = rng.standard_normal(1000)
x_there = arrays.asarray(x)  # "there" stands for GPU memory: NumPy may not touch it
y_there = arrays.asarray(np.full(1000, np.nan))
launch(elu_kernels, "elu.cu", "elu<double>", 4, 256, x_there, y_there, 1000)
print("equal to NumPy's:", np.allclose(arrays.asnumpy(y_there), np.where(x > 0, x, np.expm1(x)), rtol=1e-14))
try:
    x_there + x
except TypeError as e:
    print(type(e).__name__ + ":", e)

# %% [markdown]
# `EmulatedKernels` passes your file and [`cuda_on_cpu.h`](../backends/cupy_backend/emulation/cuda_on_cpu.h), which
# defines CUDA's keywords in C++, to an ordinary compiler: `__global__` means nothing, `threadIdx` is a variable, and a
# launch is the two loops above.
#
# **Predict, then run.** Both kernels process 1000 numbers: how many does each get right with 256 threads per block and
# 4, 3 or 1 blocks? And with 5, where 280 threads have nothing to do?

# %% tags=["predict"]
right = {}
for name in ("elu<double>", "elu_once<double>"):
    for blocks in (5, 4, 3, 1):
        y_there = arrays.asarray(np.full(1000, np.nan))
        launch(elu_kernels, "elu.cu", name, blocks, 256, x_there, y_there, 1000)
        found = np.isclose(arrays.asnumpy(y_there), np.where(x > 0, x, np.expm1(x)), rtol=1e-14)
        right[f"{name}, {blocks} blocks"] = int(found.sum())
print(*(f"{name}: {count} right" for name, count in right.items()), sep="\n")

# %% [markdown]
# With the loop any grid size works, so it affects only speed. Without it the grid needs $\lceil n / T \rceil$ blocks.
# Initialising y with NaN is a good habit: it reveals what was never written.
#
# ## Threads that wait for one another
#
# Now a sum. In CUDA the threads of a block can share an array, `__shared__`, and have a *barrier*, `__syncthreads()`:
# no thread continues until all have reached it. A generator can model a thread that waits, with `yield` as the barrier:


# %%
def run_block(thread, numbers, *, backwards=False):
    """Run a block of threads: the result of each, and the shared memory at each barrier."""
    n, shared = len(numbers), np.full(len(numbers), np.nan)
    running = {t: thread(t, n, numbers[t], shared) for t in (range(n)[::-1] if backwards else range(n))}
    results, seen = [None] * n, []
    while running:
        waiting = {}
        for t, steps in running.items():
            try:
                next(steps)  # on to the next barrier
                waiting[t] = steps
            except StopIteration as ended:
                results[t] = ended.value
        if 0 < len(waiting) < len(running):
            raise RuntimeError("some threads wait at a barrier that others never reach")
        seen.append(shared.copy())
        running = waiting
    return results, seen


def sum_thread(t, n, mine, shared):
    shared[t] = mine
    yield
    half = n // 2
    while half > 0:
        if t < half:
            shared[t] += shared[t + half]
        yield
        half //= 2
    return shared[0]


numbers = np.arange(1.0, 17)
results, seen = run_block(sum_thread, numbers)
assert results == [numbers.sum()] * 16

figure = Figure(figsize=(7.5, 2.5), layout="constrained", dpi=100)
axes = figure.subplots()
for row, shared in enumerate(seen[:-1]):
    working = 16 if row == 0 else 16 >> row
    for t, value in enumerate(shared):
        axes.bar(t, 0.9, 0.92, bottom=-row, color="0.75" if t < working else "w", edgecolor="k", linewidth=0.5)
        axes.text(t, 0.45 - row, f"{value:.0f}", ha="center", va="center", fontsize=9,
                  weight="bold" if t < working else "normal", color="k" if t < working else "0.5")  # fmt: skip
rows = ["each its own", "+ 8 to the right", "+ 4", "+ 2", "+ 1"]
axes.set(
    ylim=(-4.05, 0.95),
    xticks=range(16),
    xlabel="place in shared memory (and thread)",
    yticks=0.45 - np.arange(5),
    yticklabels=rows,
)
axes.set_title("1 + 2 + … + 16 in one block: shared memory at each barrier. Grey, bold: just written", fontsize=10)
axes.spines[:].set_visible(False)
axes.tick_params(length=0)
viz.show(
    figure,
    alt="Five rows of sixteen numbers. The first holds 1 to 16. In each later row the first half of the active "
    "numbers, marked grey, has had the second half added: 10 to 24 in steps of two, then 28, 32, 36, 40, then 64 and "
    "72, then 136, the sum.",
)

# %% [markdown]
# Four steps instead of fifteen: a *tree*. (`warp_sum`, in the library's `common.cuh`, adds the numbers of 32 threads in
# such steps.) Here it is in CUDA, with numbered barriers so that one can be left out (`LEFT_OUT` = 0 leaves out none),
# and with a second kernel in which each thread subtracts its neighbour's number from its own (`careless_sum` is for
# later):

# %%
(folder / "block.cu").write_text("""
template <int LEFT_OUT> __global__ void block_sum(const double* x, double* sums, int n) {
    __shared__ double part[64];
    int t = threadIdx.x, i = blockIdx.x * blockDim.x + t;
    part[t] = i < n ? x[i] : 0;
    if (LEFT_OUT != 1) __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if (t < half) part[t] += part[t + half];
        if (LEFT_OUT != 2) __syncthreads();
    }
    if (t == 0) sums[blockIdx.x] = part[0];
}

template <int LEFT_OUT> __global__ void differences(const double* x, double* y, int n) {
    __shared__ double part[64];
    int t = threadIdx.x, i = blockIdx.x * blockDim.x + t;
    part[t] = i < n ? x[i] : 0;
    if (LEFT_OUT != 1) __syncthreads();
    if (i < n) y[i] = part[t] - (t > 0 ? part[t - 1] : i > 0 ? x[i - 1] : 0);
}

__global__ void careless_sum(const double* x, double* sums, int n) {
    __shared__ double total;
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (threadIdx.x == 0) total = 0;
    __syncthreads();
    if (i < n) total += x[i];
    __syncthreads();
    if (threadIdx.x == 0) sums[blockIdx.x] = total;
}
""")
BLOCK = {"block.cu": [*(f"block_sum<{k}>" for k in range(3)), "differences<0>", "differences<1>", "careless_sum"]}
in_order = {
    "forwards": EmulatedKernels(instances=BLOCK, folder=folder),
    "backwards": EmulatedKernels(instances=BLOCK, folder=folder, backwards=True),
}
x = rng.standard_normal(250)  # four blocks of 64, the last not full
blocks = np.pad(x, (0, 6)).reshape(4, 64)


def by_block(kernels, expression, size):
    y = arrays.asarray(np.full(size, np.nan))
    launch(kernels, "block.cu", expression, 4, 64, arrays.asarray(x), y, 250)
    return arrays.asnumpy(y)


for order, kernels in in_order.items():
    assert np.allclose(by_block(kernels, "block_sum<0>", 4), blocks.sum(axis=1), rtol=1e-12), order
    assert np.allclose(by_block(kernels, "differences<0>", 250), np.diff(x, prepend=0), rtol=1e-12), order
print("with all barriers both are right, in both orders")

# %% [markdown]
# ## A missing barrier
#
# A thread runs until it has to wait. Without a barrier between a write and a read, the value read depends on which came
# first. The emulation runs the threads of a block from first to last, or with `backwards=True` from last to first.
#
# **Predict, then run.** Three bugs: the sum without the barrier after the first write, the sum without the one in the
# loop, the differences without theirs. Which of them shows forwards, and which backwards? (For each read, ask whether
# it needs a write by a thread with a smaller or a larger $t$.)

# %% tags=["predict"]
wanted = {"block_sum": blocks.sum(axis=1), "differences": np.diff(x, prepend=0)}
verdicts = {}
for title, expression in {
    "sum, first barrier missing": "block_sum<1>",
    "sum, barrier in the loop missing": "block_sum<2>",
    "differences, barrier missing": "differences<1>",
}.items():
    goal = wanted[expression.split("<")[0]]
    count = {o: int(np.sum(~np.isclose(by_block(k, expression, len(goal)), goal))) for o, k in in_order.items()}
    verdicts[title] = list(count.values())
    print(f"{title:34}", *(f"{order}: {n} of {len(goal)} wrong   " for order, n in count.items()))

# %% [markdown]
# A sum reads from a *larger* $t$ ($t + \text{half}$): forwards that has not been written yet, backwards it always has.
# The differences read from a *smaller* one ($t - 1$), and the bug shows only backwards. (In the loop it shows in both
# orders, backwards only by chance: the thread that reaches a barrier last is the first to continue, and that is thread
# 0.) A test in one order would have missed some bug; this is why the library's own kernels are tested in both.
#
# On a GPU the order is neither. Threads run 32 at a time, in a *warp*, and such a bug may show once in a thousand
# launches.
#
# ## A backend of your own
#
# A backend overrides what it does faster and leaves the rest to NumPy. It is registered by an entry point, a line in a
# package's metadata; two small files on `sys.path` suffice as a package.


# %%
class Mine(NumpyBackend):
    """NumPy, with the ELU of this notebook."""

    name = "mine"
    file, kernel, threads = "elu.cu", "elu", 32
    kernels = elu_kernels

    def laid(self, x):
        return np.array(x, order="C")  # a kernel sees memory, not strides

    def blocks(self, n):
        return -(-n // self.threads)

    def elu(self, x):
        x = arrays.asarray(self.laid(x))
        y = arrays.empty(x.shape, x.dtype)
        t = {"float32": "float", "float64": "double"}[str(x.dtype)]
        launch(self.kernels, self.file, f"{self.kernel}<{t}>", self.blocks(x.size), self.threads, x, y, x.size)
        return arrays.asnumpy(y)


package = folder / "mine-0.1.dist-info"
package.mkdir()
(package / "METADATA").write_text("Name: mine\nVersion: 0.1\n")
(package / "entry_points.txt").write_text("[ca_numpy.backends]\nmine = __main__:Mine\n")
sys.path.append(str(folder))

with ca.use_backend("mine") as backend:
    t = ca.tensor(np.array([-1.0, 0.5]))
    y = ca.ops.elu(t)
    print(f"ELU on {backend.name}: {y.numpy()}   its gradient: {ca.grad(y.sum(), t).numpy()}")

# %% [markdown]
# The gradient is right too: a backend contains no calculus; rules are written once for all backends.
#
# ## Checked against oracles, by the suite
#
# `check_kernel` is one of the checks that every backend must pass: values against an oracle, shape, dtype, inputs
# unchanged, with inputs of any memory layout. It uses random inputs: here 40 small ones against the oracle, then 20
# large ones against NumPy.


# %%
def judged(backend):
    """None, or the suite's message about this backend's ELU. The same draws each time."""
    case = CASES["elu"]
    for seed in range(60):
        pick = RandomChooser(np.random.default_rng(seed), large=seed >= 40)
        options = {"layout": LAYOUTS[seed % len(LAYOUTS)], "dtype": (np.float64, np.float32)[seed // 5 % 2]}
        try:
            expected = by_numpy(case) if seed >= 40 else None
            check_kernel(backend, case, case.draw(pick), expected=expected, **options)
        except AssertionError as e:
            return str(e)
    return None


print("mine:", judged("mine") or "nothing found")
assert judged("mine") is None
assert all(np.isclose(Mine().elu(np.array([v]))[0], oracles.elu(v)) for v in (-3.0, -1e-9, 0.0, 2.0))

# %% [markdown]
# **Predict, then run.** Six bugs, each in one line of the kernel or its caller. Which does the suite find, and what
# does it report? It misses one. (`np.ascontiguousarray` was in the first version of this notebook, in good faith. What
# is wrong with it?)

# %% tags=["predict"]
(folder / "wrong.cu").write_text("""
template <class T> __global__ void one_short(const T* x, T* y, int n) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n - 1; i += gridDim.x * blockDim.x)
        y[i] = x[i] > 0 ? x[i] : expm1(x[i]);
}
template <class T> __global__ void single(const T* x, T* y, int n) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        y[i] = x[i] > 0 ? x[i] : expm1f(x[i]);
}
template <class T> __global__ void cancels(const T* x, T* y, int n) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        y[i] = x[i] > 0 ? x[i] : exp(x[i]) - 1;
}
""")
WRONG = [f"{name}<{t}>" for name in ("one_short", "single", "cancels") for t in ("float", "double")]
wrong_kernels = EmulatedKernels(instances={"wrong.cu": WRONG}, folder=folder)
planted = {
    "memory taken as it lies": {"laid": lambda self, x: x},
    "np.ascontiguousarray": {"laid": lambda self, x: np.ascontiguousarray(x)},
    "blocks rounded down, no loop": {"kernel": "elu_once", "blocks": lambda self, n: max(n // 32, 1)},
    "the last number forgotten": {"file": "wrong.cu", "kernel": "one_short", "kernels": wrong_kernels},
    "float's function for double": {"file": "wrong.cu", "kernel": "single", "kernels": wrong_kernels},
    "exp(x) − 1, which cancels near 0": {"file": "wrong.cu", "kernel": "cancels", "kernels": wrong_kernels},
}
kept = {name: vars(Mine)[name] for name in ("file", "kernel", "kernels", "laid", "blocks")}
found = {}
for title, change in planted.items():
    for name, value in change.items():
        setattr(Mine, name, value)
    found[title] = judged("mine")
    for name, value in kept.items():
        setattr(Mine, name, value)
    said = (found[title] or "nothing found").replace("\n", " ")
    print(f"{title}\n    {said if len(said) < 170 else said[:80] + ' … ' + said[-80:]}")
assert judged("mine") is None

# %% [markdown]
# `ascontiguousarray` turns a scalar (an array without axes) into an array of one. A scalar is the smallest possible
# input, and nobody thinks of it; the suite draws it often.
#
# The last bug is one of *relative* accuracy: near 0, $e^x - 1$ keeps hardly a digit in float32, while its *absolute*
# error stays below the rounding error of 1, which the suite allows. A suite tests only what it specifies:

# %%
tiny = arrays.asarray(np.float32([-1e-9, -1e-8, -1e-6]))
near_zero = {}
for file, name, kernels in (("elu.cu", "elu", elu_kernels), ("wrong.cu", "cancels", wrong_kernels)):
    y_there = arrays.empty(3, np.float32)
    launch(kernels, file, f"{name}<float>", 1, 32, tiny, y_there, 3)
    near_zero[name] = arrays.asnumpy(y_there)
    print(f"{name:8}", *(f"{value:14.6e}" for value in near_zero[name]))

# %% [markdown]
# ## What emulation cannot show
#
# `careless_sum` above has all its barriers, but every thread does `total += x[i]` on one shared number.
#
# **Predict, then run.** Is it right forwards, backwards, on a GPU?

# %% tags=["predict"]
careless = [int(np.isclose(by_block(k, "careless_sum", 4), blocks.sum(axis=1)).sum()) for k in in_order.values()]
print(f"emulated: {careless[0]} of 4 sums right forwards, {careless[1]} of 4 backwards")


def careless_thread(t, n, mine, shared):
    if t == 0:
        shared[0] = 0
    yield
    total = shared[0]  # "total += mine" is a read, an addition and a write:
    yield  # not a barrier here, but the lockstep of a warp
    shared[0] = total + mine
    yield
    return shared[0]


lost = run_block(careless_thread, np.arange(1.0, 17))[0][0]
print(f"16 threads in step: 1 + … + 16 is {lost:.0f}, instead of 136")

# %% [markdown]
# Emulated threads stop only at barriers, so nothing ever comes between a read and its write, and the sum is right by
# luck. In lockstep all read 0, and the last write wins. `atomicAdd` exists for this.
#
# So emulation shows whether indices, bounds and barriers are right, in two of many orders. It cannot show
#
# - races that both orders hide, like this one;
# - that a kernel exceeds the available registers or shared memory: that is reported by CUDA's own compiler, NVRTC,
#   which needs no GPU either, and which the tests use;
# - reads beyond an array, which on the CPU may find something harmless (a y of NaN reveals missing writes);
# - the last bits: a GPU has a different `exp`, and fuses products with sums;
# - anything about time.
#
# ## Timed
#
# **Predict, then run.** Nanoseconds per number: Python's loops, the emulated kernel, NumPy. Does the emulated one get
# faster with more threads, or slower?

# %% tags=["predict", "timed"]
n = 20_000 if QUICK else 200_000
many, result = rng.standard_normal(n), np.empty(n)
many_there, result_there = arrays.asarray(many), arrays.asarray(result)
done_by = [[] for _ in many[:2000]]
launch(elu_kernels, "elu.cu", "elu<double>", 1, 1024, many_there, result_there, n)  # its stacks are now allocated
ns = {
    "loops in Python": 1e6 * seconds_of(lambda: launch_in_loops(elu_thread, 4, 32, many[:2000], result)) / 2
} | {
    f"emulated, {threads} threads per block, one number each": 1e9 / n * seconds_of(
        lambda threads=threads: launch(
            elu_kernels, "elu.cu", "elu<double>", -(-n // threads), threads, many_there, result_there, n
        )
    )
    for threads in (32, 256, 1024)
} | {
    "emulated, one block of 32 threads in a loop": 1e9 / n * seconds_of(
        lambda: launch(elu_kernels, "elu.cu", "elu<double>", 1, 32, many_there, result_there, n)
    ),
    "NumPy": 1e9 / n * seconds_of(lambda: np.where(many > 0, many, np.expm1(np.minimum(many, 0)))),
}  # fmt: skip
print(*(f"{title:54} {value:7.1f} ns per number" for title, value in ns.items()), sep="\n")

# %% [markdown]
# With one number per thread, most of the time goes into switching threads, and tends to grow with more threads; in a
# loop it is the ELU itself, one number after another. A GPU has neither cost. There, this kernel is limited by memory
# alone: a number is read and written, 8 bytes in float32, and at 3.35 TB/s (H100 data sheet) that takes 0.0024 ns. None
# of the figures above shows this.
#
# [`kernels/README.md`](kernels/README.md) takes convolution from simple threads to tensor cores in four rungs, which
# also run emulated.
#
# ## Exercises
#
# Replace the line that raises; `check` says what is wrong with an answer. Solutions are in
# `solutions/notebook_16.py`.
#
# **1.** Which numbers does a thread work on when a grid shares $n$ numbers in a loop?


# %%
def numbers_of(block, thread, blocks, threads, n):
    """The list of their indices, in the order in which the thread takes them."""
    raise NotImplementedError


check("16.numbers_of", numbers_of)

# %% [markdown]
# **2.** Prefix sums: thread $t$ returns the sum of the numbers of threads $0, \dots, t$. It has its own number, `mine`,
# and shared memory, accessed one number at a time with at most $2 \log_2 n + 1$ reads, so use doubling steps: after the
# step of length $s$, `shared[t]` holds the sum of the last $2s$ numbers. `yield` is the barrier, and both orders are
# tested. Shared memory is not initialised: it contains leftovers of other blocks.


# %%
def prefix_sums(t, n, mine, shared):
    """A thread, like `sum_thread` above."""
    raise NotImplementedError
    yield


check("16.prefix_sums", prefix_sums)

# %% tags=["figures-that-matter"]
figures = {
    "right, by kernel and grid": right,
    "wrong forwards and backwards": verdicts,
    "mistakes that the suite finds": [title for title, said in found.items() if said],
    "near zero": [float(v) for v in near_zero["cancels"]],
    "careless sums that are right": careless,
    "in step": float(lost),
}
print(json.dumps(figures))
