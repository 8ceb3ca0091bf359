# %% [markdown]
# # 15 · Write a kernel in Numba
#
# **One idea:** a backend is the NumPy backend with a few methods replaced. Derivatives come for free, since rules are
# written in operations and not in loops; and its correctness is judged by a test suite, which draws inputs that nobody
# would think of.
#
# You need notebook 03 for convolution, and `pip install -e '.[tutorials,numba]'`.

# %%
import io
import json
import math
import os
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from matplotlib.figure import Figure

try:
    from numba import get_num_threads, njit, prange, set_num_threads
    from threadpoolctl import threadpool_limits

    from ca_numpy.backends.numba_elementwise import elu_one  # ELU of one number, explained below
except ImportError:
    raise SystemExit("this notebook compiles with Numba: pip install 'ca-numpy[numba]'") from None

from exercises import check

import ca_numpy as ca
from ca_numpy import functional as F
from ca_numpy import viz
from ca_numpy.backends.numpy_backend import NumpyBackend
from ca_numpy.geometry import ConvGeometry
from ca_numpy.registry import registered_backends
from ca_numpy.testing import seconds_of

QUICK = os.environ.get("CA_NUMPY_QUICK") == "1"  # smaller sizes, for the tests
rng = np.random.default_rng(0)

# %% [markdown]
# ## The problem
#
# Nearly every convolution of the generator is followed by an ELU, over up to millions of numbers. The textbook kernel
# is three lines of NumPy, and NumPy traverses the whole array for each step: five times, through memory that does not
# fit in the cache. One loop that does everything to each number in turn would be enough. A Python loop is no help, but
# [Numba](https://numba.pydata.org) compiles such a loop to machine code when it is first called.
#
# So the loop is easy. The question is how to make the *library* use it, with all its derivatives, and how to trust it.
#
# ## The equation
#
# $$ y_i = \begin{cases} x_i & x_i > 0 \\ e^{x_i} - 1 & \text{otherwise} \end{cases} $$
#
# A backend's contract, in [`ca_numpy/backend.py`](../ca_numpy/backend.py), requires more than the equation: arrays of
# any shape and memory layout; float32 in, float32 out; no input is modified.
#
# ## Loops


# %%
def elu_python(x, y):
    for i in range(len(x)):
        y[i] = x[i] if x[i] > 0 else math.expm1(x[i])


elu_compiled = njit(elu_python)  # the same function, compiled for each argument type

x = rng.standard_normal(10_000 if QUICK else 100_000).astype(np.float32)
y = np.empty_like(x)
elu_compiled(x, y)  # compiles
reference = np.where(x > 0, x, np.expm1(x.astype(float)))
assert np.abs(y - reference).max() < 1e-6

# %% [markdown]
# **Predict, then run.** How much faster is the compiled loop than Python's? And than the textbook's five passes?

# %% tags=["predict", "timed"]
textbook = NumpyBackend()


def tell(name, run, count):
    print(f"{name:26} {1e9 * seconds_of(run) / count:7.2f} ns per number")


few_x, few_y = x[:10_000], y[:10_000]
tell("Python's loop", lambda: elu_python(few_x, few_y), len(few_x))
tell("NumPy, five passes", lambda: textbook.elu(x), len(x))
tell("compiled loop", lambda: elu_compiled(x, y), len(x))

# %% [markdown]
# Far faster than Python, and no match for NumPy! The cost is not the traversal but `expm1`: a call into the C library
# for one number at a time. NumPy's `exp` processes eight or sixteen numbers at once. A loop is vectorised only if
# *everything* in it can be, and a call cannot.
#
# So the exponential has to be built from operations with vector instructions: multiplications, additions, bit shifts.
# [`numba_elementwise.py`](../backends/numba_elementwise.py) does that in ten lines for float32, and provides the ELU of
# one number as a function that can be inlined into a loop. (Its decorator `@serial()` is Numba's `@register_jitable`,
# for what kernels call. `@parallel()` is `@njit` with a cache on disk, and Python's threads share the tasks: see
# [`ca_numpy/jit.py`](../ca_numpy/jit.py).)


# %%
@njit
def elu_vectors(x, y):
    for i in range(len(x)):
        y[i] = elu_one(x[i])


elu_vectors(x, y)
assert np.abs(y - reference).max() < 1e-6

# %% tags=["timed"]
tell("compiled, without a call", lambda: elu_vectors(x, y), len(x))

# %% [markdown]
# ## A backend of your own
#
# It takes four steps: subclass, register, test, measure. The **first** is a class. Everything it does not override is
# inherited from the textbook backend.


# %%
class First(NumpyBackend):
    name = "first"

    def elu(self, x):
        y = np.zeros_like(x)  # np.empty_like would do; zeros reveal what is not written
        elu_compiled(x.reshape(-1), y.reshape(-1))
        return y


# %% [markdown]
# The **second** step: packages register what they provide by *entry points*. In your own package that is two lines of
# `pyproject.toml`,
#
#     [project.entry-points."ca_numpy.backends"]
#     first = "your_package.your_module:First"
#
# from which `pip` writes a file into a folder next to the installed package, where Python finds it. A notebook is not a
# package, so we create that folder by hand. `__main__` is Python's name for the running program: this notebook.

# %%
scratch = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
folder = Path(scratch.name)
info = folder / "backends_of_mine-0.1.dist-info"
info.mkdir()
(info / "METADATA").write_text("Metadata-Version: 2.1\nName: backends-of-mine\nVersion: 0.1\n")
(info / "entry_points.txt").write_text("""
[ca_numpy.backends]
first = __main__:First
second = __main__:Second
mine = __main__:Mine
forgetful = __main__:Forgetful
""")
sys.path.append(str(folder))

print("registered:", *registered_backends())
with ca.use_backend("first"):
    print(F.elu(ca.tensor(np.array([-1.0, 0.5]))))

# %% [markdown]
# ## No derivative needed
#
# The rule for ELU is "multiply by the slope", and the slope is computed from y by another kernel, the textbook's. Rules
# consist of operations, which have rules themselves: gradients of every order come with the kernel.

# %%
points = np.array([-2.0, -0.5, 0.3])
for backend in ("numpy", "first"):
    with ca.use_backend(backend):
        t = ca.tensor(points)
        once = ca.grad(F.elu(t).sum(), t, create_graph=True)
        twice = ca.grad((once * once).sum(), t)
        print(f"{backend:6}", once.numpy(), twice.numpy())
second_derivative = float(twice.numpy().sum())

# %% [markdown]
# ## Checked against an oracle: the suite
#
# The **third** step. `BackendSuite` is a pytest test class. It has a table of cases, one per kernel: how to draw
# inputs, and an oracle of plain loops. [Hypothesis](https://hypothesis.readthedocs.io) draws shapes, values and
# *layouts*: row-major, column-major, reversed, every second number of a larger array, one entry repeated without a
# copy. When something fails, it searches for the smallest input that still fails, and reports that.
#
# Normally you would write a file with a two-line class and run pytest. Here this is done inside the notebook, and only
# the essential part of pytest's output is shown.

# %%
examples = 5 if QUICK else 20
settings.register_profile("notebook", max_examples=examples, derandomize=True, database=None)
settings.load_profile("notebook")  # before the suite is imported, which inherits it
(folder / "test_mine.py").write_text(
    "from ca_numpy.testing.backend_suite import BackendSuite\n"
    + "".join(
        f"\nclass Test{name}(BackendSuite):\n    backend = '{name.lower()}'\n"
        for name in ("First", "Second", "Mine", "Forgetful")
    )
)


class Listener:
    """A pytest plugin that records which tests failed, and their messages."""

    def __init__(self):
        self.passed, self.failed = [], {}

    def pytest_runtest_logreport(self, report):
        name = report.nodeid.split("::")[-1]
        if report.failed:
            told = [line[1:].strip() for line in report.longreprtext.splitlines() if line.startswith("E")]
            self.failed[name] = next((line for line in told if "Error" in line), told[0])
        elif report.when == "call" and report.passed:
            self.passed.append(name)


def judged(name, *kernels):
    """Run the suite on the backend for these kernels, and print the result."""
    listener = Listener()
    chosen = f"Test{name} and ({' or '.join(f'[{kernel}]' for kernel in kernels)})"
    options = ["-s", "-q", "-p", "no:cacheprovider", "--disable-warnings", f"--rootdir={folder}"]
    with redirect_stdout(io.StringIO()):
        pytest.main([*options, "-k", chosen, str(folder / "test_mine.py")], plugins=[listener])
    print(f"{len(listener.passed)} tests passed, {len(listener.failed)} failed")
    for test, told in listener.failed.items():
        print(f"\n{test}\n    {told}")
    return listener


# %% [markdown]
# **Predict, then run.** `First` was right for the one-dimensional array above. Where is it wrong? (Read its three lines
# carefully. What does `reshape(-1)` do to a column-major array?)

# %% tags=["predict"]
first = judged("First", "elu")

# %% [markdown]
# Read the shortest (`fortran` means column-major): which array, the result, and the expected result. The trap:
# `zeros_like` copies the *layout* too, and to flatten a column-major array in row-major order NumPy has to make a
# **copy**. The loop fills the copy, and y keeps its zeros. On row-major arrays `reshape(-1)` is a view and all is well,
# so the bug waits for the first transposed array. (The derivative tests pass: they use row-major arrays only. A suite
# tests only what it asks.)
#
# So make x row-major first:


# %%
class Second(NumpyBackend):
    name = "second"

    def elu(self, x):
        x = np.ascontiguousarray(x)
        y = np.zeros_like(x)
        elu_compiled(x.reshape(-1), y.reshape(-1))
        return y


# %% [markdown]
# **Predict, then run.** This is right for all layouts. Is it right for all shapes?

# %% tags=["predict"]
second = judged("Second", "elu")

# %% [markdown]
# A scalar is an array without axes, of shape `()`, and `np.ascontiguousarray` returns at least one axis. Its
# documentation says so, but who checks? A loss is such a scalar. `np.require` leaves the shape alone. (The class
# already has a second kernel, `conv2d`. The loop it calls, `conv_rows`, is defined in the next section.)


# %%
def row_major(x):
    return np.require(x, requirements="C")


class Mine(NumpyBackend):
    name = "mine"

    def elu(self, x):
        x = row_major(x)
        y = np.empty(x.shape, x.dtype)
        run = elu_vectors if x.dtype == np.float32 else elu_compiled
        run(x.reshape(-1), y.reshape(-1))
        return y

    def conv2d(self, x, w, *, geometry):
        (n, h, width, _), (kh, kw, _, out) = x.shape, w.shape
        size = geometry.output_size((h, width), (kh, kw))
        y = np.zeros((n, *size, out), np.result_type(x, w))
        conv_rows(row_major(x), row_major(w), y, *geometry.numbers)  # stride, dilation, top, left
        return y


# %% [markdown]
# ## A second kernel: convolution, directly
#
# $$ y_{n i j o} = \sum_{u, v, c} x_{n,\; i s + u d - \text{top},\; j s + v d - \text{left},\; c} \; w_{u v c o} $$
#
# with stride $s$, dilation $d$, and x zero outside. The textbook backend lays out patches as rows of a matrix, using k²
# times the memory, and BLAS multiplies it by the kernel. The equation itself is seven loops. In the order in which it
# is written:


# %%
@njit
def conv_as_written(x, w, y, stride, dilation, top, left):
    for n in range(y.shape[0]):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                for o in range(y.shape[3]):
                    total = y[n, i, j, o]  # 0, of the right type
                    for u in range(w.shape[0]):
                        for v in range(w.shape[1]):
                            r, q = i * stride + u * dilation - top, j * stride + v * dilation - left
                            if 0 <= r < x.shape[1] and 0 <= q < x.shape[2]:
                                for c in range(x.shape[3]):
                                    total += x[n, r, q, c] * w[u, v, c, o]
                    y[n, i, j, o] = total


# %% [markdown]
# **Another order.** The innermost sum, over $c$ for one $o$, jumps through w, and with a single running total each
# addition waits for the previous one. With $o$ innermost there are as many totals as output channels, contiguous in
# memory like the weights they need: the processor handles 4 to 16 of them in one instruction. And rows of y are
# independent, so cores can share them: with `parallel=True`, Numba starts threads of its own, and each takes some rows
# of the `prange`. (The library's `@parallel()` lets Python's threads call a compiled loop over some of the rows
# instead. It compiles several times faster, and survives a fork of the process.)


# %%
@njit(parallel=True, fastmath={"contract"})  # "contract": a·b + c may be rounded once
def conv_rows(x, w, y, stride, dilation, top, left):
    for row in prange(y.shape[0] * y.shape[1]):
        n, i = row // y.shape[1], row % y.shape[1]
        for u in range(w.shape[0]):
            r = i * stride + u * dilation - top
            if 0 <= r < x.shape[1]:
                for j in range(y.shape[2]):
                    for v in range(w.shape[1]):
                        q = j * stride + v * dilation - left
                        if 0 <= q < x.shape[2]:
                            for c in range(x.shape[3]):
                                for o in range(y.shape[3]):
                                    y[n, i, j, o] += x[n, r, q, c] * w[u, v, c, o]


# %% [markdown]
# Test first, then measure: the speed of a wrong kernel is of no interest. `conv_bias_elu` is in the list because the
# textbook version calls `self.elu`, which is now ours.

# %%
mine = judged("Mine", "elu", "conv_bias_elu", "conv2d", "conv2d_dx", "conv2d_dw")
assert not mine.failed

# %% [markdown]
# **A planted bug.** `Forgetful` is the same except for one thing: it ignores the dilation, so it is right as long as
# nobody dilates.
#
# **Predict, then run.** The suite draws dilations from 1 to 4 and kernels from 1 × 1 to 5 × 5. What will the smallest
# failing example be? And which tests fail: only those that compare values?


# %% tags=["predict"]
class Forgetful(Mine):
    name = "forgetful"

    def conv2d(self, x, w, *, geometry):
        (n, h, width, _), (kh, kw, _, out) = x.shape, w.shape
        size = geometry.output_size((h, width), (kh, kw))
        y = np.zeros((n, *size, out), np.result_type(x, w))
        stride, _, top, left = geometry.numbers
        conv_rows(row_major(x), row_major(w), y, stride, 1, top, left)
        return y


forgetful = judged("Forgetful", "conv2d")

# %% [markdown]
# One pixel with a zero on either side, a kernel of two taps, dilation 2: both taps fall on zeros, so the result is 0;
# without dilation the second falls on the pixel. The example contains nothing superfluous.
#
# Two kinds of tests fail. Values differ from the oracle's loops. And the derivatives are wrong although no derivative
# was touched: the rule for conv2d refers to the textbook's `conv2d_dx` and `conv2d_dw`, which *do* dilate. They are the
# adjoints of a different operation: $\langle Ax, y \rangle \ne \langle x, A^\top y \rangle$. Kernels depend on one
# another.
#
# Here is the effect of the bug on a picture, a ring convolved with an edge filter at dilation 4:

# %%
line = np.arange(64) - 31.5
distance = np.hypot(line[:, None], line[None, :])
ring = (np.abs(distance - 20) < 2).astype(float)[None, :, :, None]
edge = np.array([[1.0, 0.0, -1.0]]).reshape(1, 3, 1, 1)
geometry = ConvGeometry(dilation=4).same((64, 64), (1, 3))
results = {}
for name in ("mine", "forgetful"):
    with ca.use_backend(name) as backend:
        results[name] = backend.conv2d(ring, edge, geometry=geometry)[0, :, :, 0]
wrong = int(np.sum(results["mine"] != results["forgetful"]))

figure = Figure(figsize=(7.6, 2.9), layout="constrained", dpi=100)
panels = {"picture": ring[0, :, :, 0], "dilation 4": results["mine"], "dilation forgotten": results["forgetful"]}
for axes, (title, shown) in zip(figure.subplots(1, 3), panels.items(), strict=True):
    drawn = axes.imshow(shown, cmap="gray", vmin=-1, vmax=1)
    axes.set_title(title, fontsize=10)
    axes.set(xlabel="column (pixels)", xticks=[0, 32, 63], yticks=[0, 32, 63])
figure.axes[0].set_ylabel("row (pixels)")
figure.colorbar(drawn, ax=figure.axes, label="value", shrink=0.8)
viz.show(
    figure,
    alt="A bright ring on grey, and two convolutions of it. With dilation 4 its vertical sides appear twice, bright "
    "and dark, eight pixels apart. With the dilation forgotten the two copies are two pixels apart and cancel where "
    "they overlap: thin rims remain, shifted to the right.",
)

# %% [markdown]
# ## Timed
#
# The **fourth** step: measure. (`ca-numpy bench` does this for installed backends, on every layer of the networks; here
# we measure three shapes by hand.)
#
# **Predict, then run.** Three layers of the generator at the paper's width, for a picture of 64 × 64. BLAS embodies
# decades of work on matrix products; our loops are ten lines. What share of its speed do they reach, as written and
# reordered? (All on one core, to compare loops rather than cores.)

# %% tags=["predict", "timed"]
shapes = {  # name: side, channels in, channels out, kernel, stride, dilation
    "first layer, 5 × 5": (64, 5, 32, 5, 1, 1),
    "middle, 3 × 3": (32, 64, 64, 3, 1, 1),
    "dilated by 8": (16, 128, 128, 3, 1, 8),
}
if QUICK:
    shapes = {name: (16, *rest) for name, (_, *rest) in shapes.items()}
speeds, threads = {}, get_num_threads()
set_num_threads(1)
for shape, (side, channels, out, k, stride, dilation) in shapes.items():
    x = rng.standard_normal((1, side, side, channels)).astype(np.float32)
    w = rng.standard_normal((k, k, channels, out)).astype(np.float32)
    geometry = ConvGeometry(stride=stride, dilation=dilation).same((side, side), (k, k))
    y = np.zeros((1, side, side, out), np.float32)
    runs = {
        "as written": lambda: conv_as_written(x, w, y, *geometry.numbers),
        "reordered": lambda: conv_rows(x, w, y, *geometry.numbers),
        "NumPy's": lambda: textbook.conv2d(x, w, geometry=geometry),
    }
    for name, run in runs.items():
        with threadpool_limits(1):
            # The best of many: the first may compile, and others may be disturbed.
            seconds = seconds_of(run, rounds=3 if name == "as written" else 30)
        speeds.setdefault(name, []).append(2e-9 * side * side * k * k * channels * out / seconds)
        print(f"{shape}, {name}: {1e3 * seconds:.1f} ms")
set_num_threads(threads)

figure = Figure(figsize=(7.4, 3.2), layout="constrained", dpi=100)
axes = figure.subplots()
looks = (("0.6", ""), ("1", "///"), ("0.85", "..."))
for number, ((name, values), (shade, hatch)) in enumerate(zip(speeds.items(), looks, strict=True)):
    places = np.arange(len(shapes)) + 0.27 * (number - 1)
    axes.bar(places, values, 0.25, color=shade, hatch=hatch, edgecolor="k", label=name)
axes.set(title="One convolution, three kernels, float32, one core", ylabel="speed (GFLOP/s)")
axes.set_xticks(range(len(shapes)), list(shapes))
axes.legend(frameon=False)
viz.show(
    figure,
    alt="Bars for three layers. The loops as written are far below NumPy's matrix product; reordered they are "
    "several times as fast, and reach between a quarter and two thirds of its speed.",
)

# %% [markdown]
# Reordering seven loops changes no product, and makes them several times as fast. They do not reach BLAS, which keeps
# totals in registers while ours go through memory for each product: it is two to three times as fast here. But ours are
# ten lines, and copy no patches. (With a dilation as large as here, more than half of the taps fall outside; the loops
# skip them, while the speed counts them as done.) [Notebook 06](06_from_loops_to_winograd.ipynb) shows how to go
# further, and [`backends/numba_gemm.py`](../backends/numba_gemm.py) is where the library's own Numba backend ends up.
#
# ELU is different: the gain is one call instead of five for short arrays, and one pass instead of five for long ones.

# %% tags=["timed"]
counts = [2**k for k in ((8, 12, 16) if QUICK else (8, 10, 12, 14, 16, 18, 20))]
costs = {"textbook": [], "mine": []}
with ca.use_backend("mine") as backend:
    for count in counts:
        x = rng.standard_normal(count).astype(np.float32)
        times = {"textbook": lambda: textbook.elu(x), "mine": lambda: backend.elu(x)}
        for name, run in times.items():
            run()
            costs[name].append(1e9 * seconds_of(run) / count)
figure = Figure(figsize=(6.4, 3.2), layout="constrained", dpi=100)
axes = figure.subplots()
for (name, values), style in zip(costs.items(), ("k--^", "k-o"), strict=True):
    axes.loglog(counts, values, style, label=name)
axes.set(title="ELU in float32", xlabel="numbers in the array", ylabel="nanoseconds a number")
axes.legend(frameon=False)
axes.grid(color="0.9")
viz.show(
    figure,
    alt="Nanoseconds per number against the array's length, both logarithmic. For short arrays both curves fall, "
    "since the call overhead dominates. For long ones both are level, the compiled loop below the textbook.",
)

# %% [markdown]
# ## What the suite does not test
#
# It found in seconds what a user would have found in months. But it covers only what it draws: no NaN, no infinity,
# nothing about speed or threads. Try `fastmath=True` in `conv_rows`: it lets the compiler assume that there are no
# NaNs, the suite does not object, and a NaN pixel may vanish without a trace. "All passed" is a statement about a list
# of tests. Read the list; it is [one file](../ca_numpy/testing/backend_suite.py).
#
# ## Exercises
#
# Replace the line that raises; `check` says what is wrong with an answer. Solutions are in `solutions/notebook_15.py`.
# Plain Python loops are fine; add `@njit` if you like.
#
# **1.** The critics' leaky ReLU: $x$ where $x > 0$, else $\alpha x$. For arrays of any shape and memory layout, return
# a new array of the same shape and type.


# %%
def leaky_relu(x, alpha):
    """x where x > 0, else alpha · x."""
    raise NotImplementedError


check("15.leaky_relu", leaky_relu)

# %% [markdown]
# **2.** The convolution above, for one picture: x is H W I, w is KH KW I O, and `size` = (OH, OW) is the number of
# outputs. Values outside x count as 0.


# %%
def conv(x, w, size, stride, dilation, top, left):
    """y[i, j, o], OH OW O."""
    raise NotImplementedError


check("15.conv", conv)

# %% [markdown]
# **3.** A kernel that the decoder needs: nearest-neighbour resizing with the centres of the outer pixels aligned. Row
# $i$ of OH takes row $\min(\lfloor i\,(H - 1) / (OH - 1) + \tfrac12 \rfloor,\; H - 1)$ of H; row 0 if OH is 1. Columns
# likewise.


# %%
def resize(x, size):
    """H W C and (OH, OW) -> OH OW C."""
    raise NotImplementedError


check("15.resize", resize)

# %% tags=["figures-that-matter"]
settled = np.random.default_rng(1)
x, w = settled.standard_normal((2, 9, 8, 3)), settled.standard_normal((3, 3, 3, 4))
with ca.use_backend("mine"):
    convolved = F.conv2d(ca.tensor(x), ca.tensor(w), stride=2, activation="elu", b=ca.tensor(np.zeros(4)))
with ca.use_backend("first") as backend:
    transposed = backend.elu(x.T)
figures = {
    "conv and ELU, summed": float(convolved.numpy().sum()),
    "second derivative": second_derivative,
    "share that the first version leaves unwritten": float(np.mean(transposed == 0)),
    "pixels wrong for want of dilation": wrong,
}
print(json.dumps(figures))
