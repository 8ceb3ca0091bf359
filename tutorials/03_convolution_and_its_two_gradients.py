# %% [markdown]
# # 03 · Convolution and its two gradients
#
# **One idea:** a convolution and its two gradients are three views of *one* sum, which is linear in the picture, in the
# weights and in the gradient. Leave out one of the three, and what remains is the kernel that computes the gradient
# with respect to it.
#
# You need notebook 01 for what a gradient rule is, and some patience with indices.

# %%
import json
import os

import numpy as np
from exercises import check
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.lib.stride_tricks import as_strided

import ca_numpy as ca
from ca_numpy import data, ops, viz
from ca_numpy.geometry import ConvGeometry
from ca_numpy.testing import check_adjoint, gradcheck, oracles, seconds_of

QUICK = os.environ.get("CA_NUMPY_QUICK") == "1"  # smaller sizes, for the tests
rng = np.random.default_rng(0)

# %% [markdown]
# ## The problem
#
# Nearly everything the paper's networks do is convolution: slide a small window over a picture, and at each position
# take a weighted sum of the pixels under it. Pictures are arrays N H W C (picture, row, column, channel), and weights
# are KH KW C O: one small picture for each pair of input channel $c$ and output channel $o$.
#
# $$ y_{n i j o} = \sum_{u, v, c} x_{n,\; i s + u,\; j s + v,\; c} \; w_{u v c o} $$
#
# The window moves by the *stride* $s$. One position $(u, v)$ within it is called a *tap*: a 3 × 3 window has nine. (The
# field calls this a convolution. A mathematician would flip $w$ first and call ours a correlation. And the word
# *kernel* has two meanings: the weights, as in "a 3 × 3 kernel", and a routine that does the work, as in "the kernel
# that computes the gradient". Both occur here.)
#
# ## Loops
#
# Seven indices, seven loops. `np.ndindex` iterates over several at once.


# %%
def conv_loops(x, w, stride=1):
    n_images, height, width, channels = x.shape
    kh, kw, _, out = w.shape
    y = np.zeros((n_images, (height - kh) // stride + 1, (width - kw) // stride + 1, out))
    for n, i, j, o in np.ndindex(y.shape):
        for u, v, c in np.ndindex(kh, kw, channels):
            y[n, i, j, o] += x[n, i * stride + u, j * stride + v, c] * w[u, v, c, o]
    return y


side = 32 if QUICK else 96
astronaut = data.Photographs()[0].mean(axis=2)  # grey, in [-1, 1]
photograph = astronaut[40 : 40 + 2 * side : 2, 180 : 180 + 2 * side : 2].astype(float)
across = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 4  # right minus left
edges = conv_loops(photograph[None, :, :, None], np.stack([across, across.T], axis=2)[:, :, None, :])

figure = Figure(figsize=(7.5, 2.9), layout="constrained", dpi=100)
pictures = {"x": photograph, "right minus left": edges[0, :, :, 0], "below minus above": edges[0, :, :, 1]}
for axes, (title, picture) in zip(figure.subplots(1, 3), pictures.items(), strict=True):
    axes.imshow(picture, cmap="gray", vmin=-1, vmax=1)
    axes.set(title=f"{title}, {picture.shape[0]} × {picture.shape[1]}", xticks=[], yticks=[])
viz.show(
    figure,
    alt="An astronaut's face in grey, and two convolutions of it: in one, vertical edges stand out in black and "
    "white, in the other, horizontal ones. The results are two pixels smaller.",
)

# %% [markdown]
# A network is not given such weights; it learns them. To do so it needs, from the gradient $g = \bar y$, the two
# gradients $\bar x$ and $\bar w$.
#
# ## The equation: one number, three views
#
# A gradient rule concerns the number $\langle y, g \rangle = \sum y_{nijo}\, g_{nijo}$: whatever the program does with
# $y$, to first order it behaves like this product. Substitute $y$:
#
# $$ T(x, w, g) = \sum_{n,i,j,o,u,v,c} x_{n,\; i s + u,\; j s + v,\; c} \; w_{u v c o} \; g_{n i j o} $$
#
# $T$ is *trilinear*: double $x$, or $w$, or $g$, and it doubles. The derivative of a linear function is the coefficient
# of its argument. So
#
# $$ T = \langle \underbrace{\mathrm{conv}(x, w)}_{\partial T / \partial g},\; g \rangle
# = \langle x,\; \underbrace{\mathrm{dx}(g, w)}_{\partial T / \partial x} \rangle
# = \langle w,\; \underbrace{\mathrm{dw}(g, x)}_{\partial T / \partial w} \rangle $$
#
# In loops, only the array on the left of `+=` changes.


# %%
def dx_loops(g, w, size, stride=1):
    """The gradient of x, of H × W = size."""
    kh, kw, channels, _ = w.shape
    dx = np.zeros((len(g), *size, channels))
    for n, i, j, o in np.ndindex(g.shape):
        for u, v, c in np.ndindex(kh, kw, channels):
            dx[n, i * stride + u, j * stride + v, c] += w[u, v, c, o] * g[n, i, j, o]
    return dx


def dw_loops(g, x, ksize, stride=1):
    """The gradient of w, of KH × KW = ksize."""
    dw = np.zeros((*ksize, x.shape[3], g.shape[3]))
    for n, i, j, o in np.ndindex(g.shape):
        for u, v, c in np.ndindex(dw.shape[:3]):
            dw[u, v, c, o] += x[n, i * stride + u, j * stride + v, c] * g[n, i, j, o]
    return dw


# %% [markdown]
# **Predict, then run.** Two pictures 9 × 8 with 3 channels, a 3 × 2 kernel to 4 channels, stride 2. What are the shapes
# of $y$, $\bar x$ and $\bar w$? And how are the three inner products related?

# %% tags=["predict"]
x, w = rng.standard_normal((2, 9, 8, 3)), rng.standard_normal((3, 2, 3, 4))
y = conv_loops(x, w, stride=2)
g = rng.standard_normal(y.shape)
dx, dw = dx_loops(g, w, (9, 8), stride=2), dw_loops(g, x, (3, 2), stride=2)
print("y", y.shape, "  dx", dx.shape, "  dw", dw.shape)
T = np.vdot(y, g), np.vdot(x, dx), np.vdot(w, dw)
print("⟨y, g⟩ = {:.12f}   ⟨x, dx⟩ = {:.12f}   ⟨w, dw⟩ = {:.12f}".format(*T))
assert np.allclose(T, T[0], rtol=1e-12)

# %% [markdown]
# The gradient with respect to an array has that array's shape, and the three products are the same number, $T$. This is
# the *adjoint test*. It needs no derivatives and no small step: with random arrays, a wrong `dx` or `dw` fails it with
# probability one.
#
# ## A picture of the adjoint
#
# For fixed $w$, convolution is linear in $x$, so it is a matrix $M$: $y = M x$. Then $\langle M x, g \rangle =
# \langle x, M^\top g \rangle$, so **`dx` is the transposed matrix**. Column $p$ of $M$ is the convolution of a
# picture that is 1 at pixel $p$ and 0 elsewhere. In one dimension, with 12 pixels and three weights:


# %%
def matrix_of(linear, shape):
    """The matrix of a linear map of pictures of this shape, column by column."""
    columns = []
    for p in range(np.prod(shape)):
        unit = np.zeros(np.prod(shape))
        unit[p] = 1
        columns.append(linear(unit.reshape(shape)).ravel())
    return np.stack(columns, axis=1)


line, three = (1, 1, 12, 1), np.array([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1)
figure = Figure(figsize=(6, 6), layout="constrained", dpi=100)
for row, stride in zip(figure.subplots(2, 2), (1, 2), strict=True):
    M = matrix_of(lambda x, s=stride: conv_loops(x, three, stride=s), line)
    back = matrix_of(lambda g, s=stride: dx_loops(g, three, (1, 12), stride=s), (1, 1, len(M), 1))
    assert np.array_equal(back, M.T)
    for axes, matrix, title in zip(row, (M, back), ("convolution", "dx"), strict=True):
        axes.imshow(matrix, cmap="gray_r", vmin=0, vmax=3.5)
        axes.set_title(f"{title}, stride {stride}: {matrix.shape[0]} × {matrix.shape[1]}", fontsize=10)
        axes.set(xticks=[], yticks=[], xlim=(-0.5, 11.5), ylim=(11.5, -0.5))  # one scale for all four
        axes.spines[:].set_visible(False)
        axes.add_patch(Rectangle((-0.5, -0.5), *matrix.shape[::-1], fill=False, color="k"))
        for (i, j), value in np.ndenumerate(matrix):
            if value:
                axes.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=7, color="k" if value < 3 else "w")
viz.show(
    figure,
    alt="Four matrices. Convolution has the weights 1 2 3 in each row, shifted right by one place per row, or two "
    "with stride 2. The matrices of dx are their transposes: each column reads 1 2 3 from top to bottom.",
)

# %% [markdown]
# Read a *row* on the right: with stride 1, the row of a pixel in the middle holds 3 2 1. `dx` is also a convolution,
# with the kernel flipped. With stride 2, a pixel is covered by two windows or by one, and the rows alternate. The last
# row is empty: no window reaches the last pixel, so it does not affect $y$, and its gradient is 0.
#
# ## Vectorised: one view, three products
#
# All windows can be viewed at once, without copying a pixel. An array is memory and *strides*: the number of bytes per
# step along each axis. Let the axes $u, v$ step by one pixel, and $i, j$ by $s$ pixels:


# %%
def windows(x, ksize, stride=1):
    """The window under each position, as a view: N H W C -> N OH OW KH KW C."""
    n, height, width, c = x.shape
    sn, sh, sw, sc = x.strides
    places = (height - ksize[0]) // stride + 1, (width - ksize[1]) // stride + 1
    return as_strided(x, (n, *places, *ksize, c), (sn, stride * sh, stride * sw, sh, sw, sc))


def conv(x, w, stride=1):
    patches = windows(x, w.shape[:2], stride)
    matrix = patches.reshape(-1, w[..., 0].size)  # one row per place; here the pixels are copied
    return (matrix @ w.reshape(-1, w.shape[3])).reshape(*patches.shape[:3], w.shape[3])


def dw_windows(g, x, ksize, stride=1):
    patches = windows(x, ksize, stride).reshape(-1, ksize[0] * ksize[1] * x.shape[3])
    return (patches.T @ g.reshape(-1, g.shape[3])).reshape(*ksize, x.shape[3], g.shape[3])


view = windows(x, (3, 2), stride=2)
print("windows", view.shape, "over the same memory:", np.shares_memory(view, x))
assert np.allclose(conv(x, w, stride=2), y, rtol=1e-12)
assert np.allclose(dw_windows(g, x, (3, 2), stride=2), dw, rtol=1e-12)

# %% [markdown]
# One row of the matrix is a window, so $y = \text{patches} \cdot w$ and $\bar w = \text{patches}^\top g$: two matrix
# products, at which NumPy is fast. And $\bar x$? In the same way, $\bar{\text{patches}} = g\, w^\top$, and each
# window's gradient has to be *added* to the pixels it came from. Windows overlap.
#
# **Predict, then run.** What does `total[places] += 1` do where an index occurs twice?

# %% tags=["predict"]
total = np.zeros(4)
total[[0, 1, 1, 2]] += 1
print(total)

# %% [markdown]
# NumPy adds to a copy and writes the copy back, so an index that occurs twice is incremented once. In-place addition
# into overlapping windows would lose most of $\bar x$. But for a *fixed* tap $(u, v)$, different windows touch
# different pixels. So we loop over the few taps, and add for all windows at once:


# %%
def dx_windows(g, w, size, stride=1):
    kh, kw, channels, _ = w.shape
    dx = np.zeros((len(g), *size, channels))
    seen = windows(dx, (kh, kw), stride)  # writing to the view writes to dx
    for u, v in np.ndindex(kh, kw):
        seen[:, :, :, u, v] += g @ w[u, v].T
    return dx


assert np.allclose(dx_windows(g, w, (9, 8), stride=2), dx, rtol=1e-12)
print("the same as by loops")

# %% [markdown]
# The library's three kernels, in [`backends/numpy_conv.py`](../backends/numpy_conv.py), are these with padding and
# dilation, and they process the patches in bands that fit in the cache.
#
# ## Checked against oracles
#
# Four largely independent ones: the library's plain loops (`testing.oracles`), its kernels, the adjoint test, and
# finite differences.

# %%
geometry = ConvGeometry(stride=2)  # no dilation, no zeros around
by_oracle = (
    oracles.conv2d(x, w, geometry),
    oracles.conv2d_dx(g, w, size=(9, 8), geometry=geometry),
    oracles.conv2d_dw(g, x, ksize=(3, 2), geometry=geometry),
)
x_, w_ = ca.tensor(x), ca.tensor(w)
y_ = ops.conv2d(x_, w_, geometry=geometry)
by_library = (y_.numpy(), *(t.numpy() for t in ca.grad(y_, [x_, w_], seed=g)))
for name, mine, oracle, library in zip(("conv", "dx", "dw"), (y, dx, dw), by_oracle, by_library, strict=True):
    print(f"{name:4} oracle: {np.max(np.abs(mine - oracle)):.0e} apart   library: {np.max(np.abs(mine - library)):.0e}")
    assert np.allclose(mine, oracle, rtol=1e-11, atol=1e-12)
    assert np.allclose(mine, library, rtol=1e-11, atol=1e-12)

check_adjoint(lambda x: conv(x, w, 2), lambda g: dx_windows(g, w, (9, 8), 2), x, g)
check_adjoint(lambda w: conv(x, w, 2), lambda g: dw_windows(g, x, (3, 2), 2), w, g)
gradcheck(lambda x, w: ops.conv2d(x, w, geometry=geometry), [x, w], rng=rng, order=2)
print("adjoint test and finite differences pass")

# %% [markdown]
# **Predict, then run.** A plausible mistake: `dx` with the kernel flipped, `w[kh-1-u, kw-1-v]`. The shapes are still
# right. Does the adjoint test find it? Does it find it when the kernel is symmetric?

# %% tags=["predict"]
for name, kernel in {"random": w, "symmetric": w + w[::-1, ::-1]}.items():
    try:
        check_adjoint(
            lambda x, kernel=kernel: conv(x, kernel, 2),
            lambda g, kernel=kernel: dx_windows(g, kernel[::-1, ::-1], (9, 8), 2),
            x,
            g,
        )
        print(f"{name} kernel: nothing found")
    except AssertionError as e:
        print(f"{name} kernel:", str(e).split(";")[0][:96], "…")

# %% [markdown]
# A test sees only what its inputs reveal. Random inputs hide nothing; blur kernels, ones and squares do.
#
# ## The family is closed
#
# Notebook 02 required rules to be written in operations that have rules. Here are those of convolution, from
# [`ca_numpy/engine/ops/convolution.py`](../ca_numpy/engine/ops/convolution.py), without the geometry. As $g$ is the
# gradient of `conv2d`'s result, $h$ is the gradient of the result of one of the other two:
#
# | operation | derivative w.r.t. its first input | w.r.t. its second |
# |---|---|---|
# | `conv2d(x, w)` | `conv2d_dx(g, w)` | `conv2d_dw(g, x)` |
# | `conv2d_dx(g, w)` | `conv2d(h, w)` | `conv2d_dw(g, h)` |
# | `conv2d_dw(g, x)` | `conv2d(x, h)` | `conv2d_dx(g, h)` |
#
# No fourth kernel is needed at any order: each of them is $T$ with one argument left out.
#
# **Predict, then run.** `dx` is computed by `conv2d_dx`. Which operations compute its gradients with respect to $g$ and
# $w$?

# %% tags=["predict"]
g_ = ca.tensor(g)
dx_ = ca.grad(y_, x_, seed=g_, create_graph=True)
by_g, by_w = ca.grad(dx_, [g_, w_], seed=rng.standard_normal(dx_.shape), create_graph=True)
print("y:", y_.op.name, "  dx:", dx_.op.name, "  by g:", by_g.op.name, "  by w:", by_w.op.name)

# %% [markdown]
# ## Timed
#
# **Predict, then run.** How many times faster is the matrix product than Python's loops: ten, a hundred, ten
# thousand? Count the multiplications: both do the same number.

# %% tags=["predict", "timed"]
side, channels = (8, 4) if QUICK else (16, 8)
X, W = rng.standard_normal((1, side + 2, side + 2, channels)), rng.standard_normal((3, 3, channels, channels))
G = rng.standard_normal((1, side, side, channels))
geometry = ConvGeometry()
size, products = X.shape[1:3], G.size * W[..., 0].size
runs = {
    "conv": (
        lambda: conv_loops(X, W),
        lambda: conv(X, W),
        lambda: ops.conv2d(X, W, geometry=geometry),
    ),
    "dx": (
        lambda: dx_loops(G, W, size),
        lambda: dx_windows(G, W, size),
        lambda: ops.conv2d_dx(G, W, size=size, geometry=geometry),
    ),
    "dw": (
        lambda: dw_loops(G, X, (3, 3)),
        lambda: dw_windows(G, X, (3, 3)),
        lambda: ops.conv2d_dw(G, X, ksize=(3, 3), geometry=geometry),
    ),
}
nanoseconds = {
    name: [1e9 * seconds_of(run, rounds=1 if k == 0 else 20) / products for k, run in enumerate(ways)]
    for name, ways in runs.items()
}
figure = Figure(figsize=(6.5, 2.8), layout="constrained", dpi=100)
axes = figure.subplots()
for k, (way, hatch, grey) in enumerate((("loops", "", "0.2"), ("windows", "//", "0.6"), ("library", "..", "0.9"))):
    heights = [nanoseconds[name][k] for name in runs]
    axes.barh(np.arange(3) + 0.27 * k, heights, 0.25, label=way, hatch=hatch, color=grey, edgecolor="k")
axes.set(xscale="log", yticks=np.arange(3) + 0.27, yticklabels=list(runs), xlabel="nanoseconds per multiplication")
axes.set_title(f"{products:,} multiplications: 3 × 3, {channels} → {channels} channels, {side} × {side}", fontsize=10)
axes.invert_yaxis()
axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
print(", ".join(f"{name}: {t[0] / t[1]:.0f} times faster" for name, t in nanoseconds.items()))
viz.show(
    figure,
    alt="Bars for the three kernels on a logarithmic scale: windows and the library take less than one nanosecond per "
    "multiplication, loops thousands of times as long.",
)

# %% [markdown]
# (The library's bars are the longer ones here because its overhead per call shows at this size.) The rest of the way,
# from here to less than a hundredth of a nanosecond, is the subject of notebook 06.
#
# ## Exercises
#
# Replace the line that raises; `check` says what is wrong with an answer. Solutions are in
# `solutions/notebook_03.py`.
#
# **1.** How many positions are there? A line of $n$ pixels is padded with `before` and `after` zeros; a window of $k$
# pixels moves by `stride`.


# %%
def output_size(n, k, stride, before, after):
    """The number of positions at which the window lies entirely inside the padded line."""
    raise NotImplementedError


check("03.output_size", output_size)

# %% [markdown]
# **2.** `dw` again, without copying windows: loop over the taps $u, v$ only, and for each tap multiply a slice of $x$
# with $g$ in one matrix product. The slice holds the pixels under this tap, one for each position of $g$: where does it
# begin, and where does it end?


# %%
def dw_by_taps(g, x, ksize, stride):
    """The gradient of w, KH KW C O; g is N OH OW O, x is N H W C."""
    raise NotImplementedError


check("03.dw", dw_by_taps)

# %% [markdown]
# **3.** The matrices showed that at stride 1 `dx` is itself a convolution. Write it as one. Your function gets `conv`,
# the convolution of this notebook at stride 1, and must not loop. What has to be done to $g$ and to $w$?


# %%
def dx_by_conv(conv, g, w):
    """The gradient of x at stride 1, by a single call conv(something, something)."""
    raise NotImplementedError


check("03.dx_by_conv", dx_by_conv)

# %% tags=["figures-that-matter"]
figures = {
    "T": float(T[0]),
    "norm of dx": float(np.linalg.norm(dx)),
    "norm of dw": float(np.linalg.norm(dw)),
    "norm of dx by the library": float(np.linalg.norm(by_library[1])),
    "pixel of the photograph, its edges": [float(photograph[20, 20]), *map(float, edges[0, 20, 20])],
    "shapes": [list(y.shape), list(dx.shape), list(dw.shape)],
}
print(json.dumps(figures))
