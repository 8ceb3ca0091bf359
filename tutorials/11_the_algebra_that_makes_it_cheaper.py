# %% [markdown]
# # 11 · The algebra that makes it cheaper
#
# **One idea:** patches overlap, so comparing patches multiplies the same pairs of pixels repeatedly. Multiply each pair
# *once*, and sum the products along diagonals: attention with a fifth of the multiplications, forwards and backwards,
# and without storing a single patch.
#
# You need notebook 09, which introduces the steps, and notebook 03 for the adjoint.

# %%
import json
import os
import tracemalloc

import numpy as np
from exercises import check
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.lib.stride_tricks import sliding_window_view

import ca_numpy as ca
from ca_numpy import attention, viz
from ca_numpy.testing import check_adjoint, seconds_of

QUICK = os.environ.get("CA_NUMPY_QUICK") == "1"  # smaller sizes, for the tests
rng = np.random.default_rng(0)
RATE, SCALE = 2, 10.0

# %% [markdown]
# ## The problem
#
# There are $N$ positions (cells of 2 × 2 pixels) and $C$ channels. Comparing all pairs of 3 × 3 patches costs $N^2
# \cdot 9C$ multiplications; pasting raw patches of 4 × 4 pixels, $N^2 \cdot 16C$. In the paper's network, for a picture
# of 512 × 512, $N = 4096$ and $C = 128$. We count the multiplications in code:


# %%
class Counted:
    """Matrix products that count their multiplications."""

    multiplications = 0

    def __call__(self, a, b):
        self.multiplications += a.shape[0] * a.shape[1] * b.shape[1]
        return a @ b


product = Counted()


def count(run, positions, channels):
    """The result of `run`, and its multiplications as a multiple of N²·C."""
    product.multiplications = 0
    result = run()
    return result, product.multiplications / (positions**2 * channels)


print(f"25·N²·C = {25 * 4096**2 * 128 / 1e9:.0f} billion multiplications for one picture of 512 × 512")

# %% [markdown]
# ## The equations
#
# **Match.** Write out the inner product of two patches, with $\Delta$ the nine shifts of a 3 × 3 window:
#
# $$ \langle P_f(x), P_b(x') \rangle = \sum_{\delta \in \Delta} \langle f(x + \delta), b(x' + \delta) \rangle
# = \sum_{\delta \in \Delta} P_{x + \delta,\; x' + \delta}
# \qquad\text{with}\quad P_{x x'} = \langle f(x), b(x') \rangle $$
#
# On the right, the channels are gone: all products that involve $C$ are in $P = f b^\top$, *one* matrix product of $N^2
# C$ multiplications. What remains are sums in which both positions move together: sums along diagonals, which we call
# $D_\Delta$.
#
# **Norms.** $\lVert P_b(x') \rVert^2 = \sum_{\delta} \lVert b(x' + \delta) \rVert^2$: a sum over a box.
#
# ## Loops
#
# Both sides of the equation, literally. Terms outside a picture are zero.


# %%
def match_loops(f, b):
    """The left side: compare each pair of patches."""
    inner = np.zeros((*f.shape[:2], *b.shape[:2]))
    f, b = (np.pad(x, ((1, 1), (1, 1), (0, 0))) for x in (f, b))
    for i, j, i2, j2 in np.ndindex(inner.shape):
        inner[i, j, i2, j2] = np.sum(f[i : i + 3, j : j + 3] * b[i2 : i2 + 3, j2 : j2 + 3])
    return inner


def diagonal_loops(P):
    """The right side: D of the given products."""
    inner = np.zeros_like(P)
    for place in np.ndindex(P.shape):
        for d, e in np.ndindex(3, 3):
            i, j, i2, j2 = moved = tuple(np.add(place, (d - 1, e - 1, d - 1, e - 1)))
            if min(moved) >= 0 and i < P.shape[0] and j < P.shape[1] and i2 < P.shape[2] and j2 < P.shape[3]:
                inner[place] += P[moved]
    return inner


def apart(mine, theirs):
    """The largest difference; this notebook requires it to be below 1e-10."""
    difference = float(np.max(np.abs(mine - theirs)))
    assert difference < 1e-10, difference
    return f"{difference:.0e} apart"


f4, b4 = rng.standard_normal((5, 6, 4)), rng.standard_normal((4, 7, 4))  # two pictures of different sizes
inner = match_loops(f4, b4)
print("left side, right side:", apart(diagonal_loops(np.einsum("ijc,klc->ijkl", f4, b4)), inner))

# %% [markdown]
# In one dimension this can be drawn. Take two rows of 24 numbers, each 1 or −1, the second a copy of the first shifted
# by 5: their products, and the products summed along diagonals, seven at a time.

# %%
line = np.random.default_rng(3).choice([-1.0, 1.0], 24)
P1 = np.outer(line, np.roll(line, 5))
padded = np.pad(P1, 3)
D1 = sum(padded[t : t + 24, t : t + 24] for t in range(7))
figure = Figure(figsize=(6.4, 3.0), layout="constrained", dpi=100)
for axes, (title, matrix) in zip(
    figure.subplots(1, 2), {"products $P$": P1, "patches of seven: $D(P)$": D1}.items(), strict=True
):
    limit = np.abs(matrix).max()
    axes.imshow(matrix, cmap="gray_r", vmin=-limit, vmax=limit)
    axes.set_title(title, fontsize=10)
    axes.set(xlabel="x′", ylabel="x")
viz.show(
    figure,
    alt="Two matrices, 24 by 24. The products are a black and white weave of rows and columns in which no diagonal "
    "can be made out. Summed, grey stripes run along diagonals, with a thin black one five places off the main "
    "diagonal.",
)

# %% [markdown]
# Of the dark stripes on the right, only the one five places off the main diagonal stays black: there, each patch meets
# its copy. (It is paler only at its ends, where patches extend over the border and have fewer products to sum.)
#
# ## Vectorised
#
# The sum over a 3 × 3 window is a sum over three rows of sums over three columns: 2 + 2 additions instead of 8.


# %%
def along(s, steps, axis):
    """Σ_t of s with axes `axis` and `axis + 2` shifted by t together, zero outside."""
    out = np.zeros_like(s)
    n, m = s.shape[axis], s.shape[axis + 2]
    before = (slice(None),) * axis
    for t in steps:
        to = slice(max(0, -t), max(0, n - max(0, t))), slice(max(0, -t), max(0, m - max(0, t)))
        source = slice(max(0, t), max(0, n + min(0, t))), slice(max(0, t), max(0, m + min(0, t)))
        out[(*before, to[0], slice(None), to[1])] += s[(*before, source[0], slice(None), source[1])]
    return out


def D(s, rows, columns):
    """Sums along diagonals of s, h w h' w', over the shifts rows × columns."""
    return along(along(s, rows, 0), columns, 1)


WINDOW = (-1, 0, 1)


def as_rows(x):
    return x.reshape(-1, x.shape[2])


def match_by_diagonals(f, b):
    P = product(as_rows(f), as_rows(b).T).reshape(*f.shape[:2], *b.shape[:2])
    return D(P, WINDOW, WINDOW)


def patches(x, k=3, step=1, before=1, after=1):
    """The patch at each position, one per row, as compared and pasted in notebook 09."""
    seen = sliding_window_view(np.pad(x, ((before, after), (before, after), (0, 0))), (k, k), axis=(0, 1))
    return seen[::step, ::step].transpose(0, 1, 3, 4, 2).reshape(-1, k * k * x.shape[2])


def match_by_patches(f, b):
    return product(patches(f), patches(b).T).reshape(*f.shape[:2], *b.shape[:2])


print("patches:  ", apart(match_by_patches(f4, b4), inner))
print("diagonals:", apart(match_by_diagonals(f4, b4), inner))

# %% [markdown]
# **Predict, then run.** Propagation in notebook 09 was also a sum along diagonals, of the *flat* matrix, $N × N'$.
# Could we use that sum here, over the shifts $-1, 0, 1$ within a row, and then over whole rows, $-w, 0, w$? At which
# positions would it be wrong?

# %% tags=["predict"]
P4 = np.einsum("ijc,klc->ijkl", f4, f4)
flat = P4.reshape(30, 1, 30, 1)
flat = along(along(flat, WINDOW, 0), (-6, 0, 6), 0).reshape(P4.shape)
wrong = np.abs(flat - match_by_patches(f4, f4).reshape(P4.shape)) > 1e-12
print("columns of x with wrong entries:", sorted({int(j) for j in np.nonzero(wrong)[1]}), "of 0 … 5")
print("wrong when neither x nor x′ is in a first or last column:", int(wrong[:, 1:-1, :, 1:-1].sum()))

# %% [markdown]
# The flat sum continues from the end of one row into the next: only pairs with a position in a first or last column can
# be wrong. (One of the two is enough, which is why every column of $x$ is listed above: its $x'$ may be at an end.) In
# propagation the released code does exactly this, and we follow it; a patch must not.
#
# ## Rebuilding, in phases
#
# The same idea in the other direction. Raw patches are 4 pixels wide at a stride of 2, so each pixel is covered by two
# of them (four in two dimensions). Which two depends only on the pixel's *phase*, its position within its cell:

# %%
figure = Figure(figsize=(7, 2.7), layout="constrained", dpi=100)
axes = figure.subplots()
for pixel in range(8):
    axes.add_patch(Rectangle((pixel, 0), 1, 0.8, fc="0.85" if pixel % 2 else "w", ec="k"))
    axes.text(pixel + 0.5, 0.4, f"phase {pixel % 2}", ha="center", va="center", fontsize=7)
for cell in range(4):
    axes.plot([2 * cell, 2 * cell + 2], [-0.12, -0.12], "k|-", ms=8)
    axes.text(2 * cell + 1, -0.5, f"cell {cell}", ha="center", fontsize=8)
    first = 2 * cell - 1
    height = 1.1 + 0.55 * cell
    hatch = "///" if cell in (1, 2) else ""
    axes.add_patch(Rectangle((first, height), 4, 0.42, fc="w", ec="k", hatch=hatch, lw=1, alpha=0.9))
    axes.text(first + 2.5, height + 0.2, f"patch of cell {cell}", ha="center", va="center", fontsize=7,
              bbox={"fc": "w", "ec": "none", "pad": 1})  # fmt: skip
axes.plot([4.5, 4.5], [0.8, 3.3], "k:", label="a pixel of phase 0, in cell 2")
axes.set(xlim=(-1.3, 9.3), ylim=(-0.7, 3.4), yticks=[], xlabel="pixels")
axes.set_title("Who covers a pixel", fontsize=10)
axes.legend(frameon=False, loc="upper left", fontsize=8)
viz.show(
    figure,
    alt="Eight pixels in four cells of two. Above them four patches, each four pixels wide, from one pixel before its "
    "cell to one after. A dotted line above the first pixel of cell 2 crosses the hatched patches of cells 1 and 2.",
)

# %% [markdown]
# Pixel $2x + p$ is covered by the patch of its own cell $x$: where that copies $x'$, it receives $b(2x' + p)$ with
# weight $A_{x x'}$. For phase 0 it is also covered by the patch of the previous cell, $x - 1$. Where that copies
# $x'_0$, our pixel, one cell further on, receives the pixel one cell on from $x'_0$, $b(2(x'_0 + 1) + p)$, with weight
# $A_{x-1,\; x'_0}$. Rename $x'_0 + 1$ to $x'$: the weight of $b(2x' + p)$ is $A_{x-1,\; x'-1}$. The total is $A_{x
# x'} + A_{x-1,\; x'-1}$, a sum along a diagonal. (For phase 1 the other cell is $x + 1$, and the shifts are 0 and 1.)
# In two dimensions, with $\Delta(p)$ the 2 × 2 shifts of phase $p$:
#
# $$ y(2x + p) = \tfrac14 \sum_{x'} \big( D_{\Delta(p)} A \big)_{x x'}\; b(2x' + p) $$
#
# Each of the four phases is one matrix product of $N^2 C$: four instead of sixteen.


# %%
def phases(rate=RATE):
    """Each pixel of a cell, with the shifts of the cells whose patches cover it."""
    covering = [(-1, 0) if p + rate // 2 < rate else (0, 1) for p in range(rate)]
    for p, q in np.ndindex(rate, rate):
        yield np.s_[p::rate, q::rate], covering[p], covering[q]


def rebuild_by_diagonals(A, b):
    """A h w h' w', b 2h' 2w' C -> 2h 2w C"""
    y = np.zeros((RATE * A.shape[0], RATE * A.shape[1], b.shape[2]))
    for phase, rows, columns in phases():
        weights = D(A, rows, columns).reshape(A.shape[0] * A.shape[1], -1)
        y[phase] = product(weights, as_rows(b[phase])).reshape(y[phase].shape) / 4
    return y


def raw_patches(x):
    return patches(x, 2 * RATE, step=RATE, before=RATE // 2, after=RATE - RATE // 2)


def laid_down(patches, size, k, step, before):
    """Patches summed at their positions: the transpose of extracting them."""
    h, w = size[0] // step, size[1] // step
    channels = patches.shape[1] // (k * k)
    grid = patches.reshape(h, w, k, k, channels)
    out = np.zeros((size[0] + k, size[1] + k, channels))
    for u, v in np.ndindex(k, k):
        out[u : u + step * h : step, v : v + step * w : step] += grid[:, :, u, v]
    return out[before : before + size[0], before : before + size[1]]


def rebuild_by_patches(A, b):
    size = RATE * A.shape[0], RATE * A.shape[1]
    pasted = product(A.reshape(size[0] * size[1] // RATE**2, -1), raw_patches(b))
    return laid_down(pasted, size, 2 * RATE, RATE, RATE // 2) / 4


A, b8 = rng.random((5, 6, 4, 7)), rng.standard_normal((8, 14, 3))
by_patches, by_diagonals = rebuild_by_patches(A, b8), rebuild_by_diagonals(A, b8)
tensors = ca.tensor(A.reshape(1, 30, 28)), ca.tensor(np.zeros((1, 10, 12, 3))), ca.tensor(b8[None])
by_library = attention.rebuild(*tensors, ksize=3, rate=RATE).numpy()[0]
print("patches, diagonals:", apart(by_patches, by_diagonals))
print("patches, library:  ", apart(by_patches, by_library))

# %% [markdown]
# ## The whole, checked against the library
#
# Nothing between match and rebuild involves channels: divide, propagate, softmax. Both methods share these steps. The
# library has two versions of the whole: a *composite* of separate operations, and a single *kernel* (notebook 09).


# %%
def downscale(x):
    rows, columns = nearest(x)
    return x[rows[:, None], columns]


def nearest(x):
    return [np.floor(np.linspace(0, n - 1, n // RATE) + 0.5).astype(int) for n in x.shape[:2]]


def norms(b):
    """The norms of the patches of b, by box sums of the squares."""
    square = np.pad(np.sum(b * b, axis=2), 1)
    return np.maximum(np.sqrt(sliding_window_view(square, (3, 3)).sum(axis=(2, 3))), 1e-4)


def by_rows(s):
    """A step of propagation: the flat diagonal sum, for positions numbered along the rows."""
    flat = s.reshape(s.shape[0] * s.shape[1], 1, -1, 1)
    return along(flat, WINDOW, 0).reshape(s.shape)


def by_columns(s):
    return by_rows(s.transpose(1, 0, 3, 2)).transpose(1, 0, 3, 2)


def softmax_of(scores, valid):
    logits = by_columns(by_rows(scores)) * valid * SCALE
    e = np.exp(logits - logits.max(axis=(2, 3), keepdims=True))
    return e / e.sum(axis=(2, 3), keepdims=True)


print("norms by box sums:", apart(norms(b4).ravel(), np.linalg.norm(patches(b4), axis=1)))


def attend(f, b, valid, match, rebuild):
    """Notebook 09's attention, with the given match and rebuild."""
    f_small, b_small = downscale(f), downscale(b)
    return rebuild(softmax_of(match(f_small, b_small) / norms(b_small), valid) * valid, b)


PATCHES, DIAGONALS = (match_by_patches, rebuild_by_patches), (match_by_diagonals, rebuild_by_diagonals)
f, b = 0.3 * rng.standard_normal((2, 24, 24, 6))
hole = np.zeros((1, 24, 24, 1))
hole[:, 8:16, 6:14] = 1
valid = attention.known_patches(ca.tensor(b[None]), hole, ksize=3, stride=1, rate=RATE).numpy().reshape(12, 12)

# %% [markdown]
# **Predict, then run.** What multiple of $N^2 C$ will be counted for each method?

# %% tags=["predict"]
y_patches, n_patches = count(lambda: attend(f, b, valid, *PATCHES), 144, 6)
y_diagonals, n_diagonals = count(lambda: attend(f, b, valid, *DIAGONALS), 144, 6)
f_, b_ = ca.tensor(f[None]), ca.tensor(b[None])
composite = attention.contextual_attention(f_, b_, hole, fused=False)
kernel = attention.contextual_attention(f_, b_, hole, fused=True)
print(
    f"by patches:   {n_patches:g}·N²·C multiplications;", apart(y_patches, composite.numpy()[0]), "from the composite"
)
print(
    f"by diagonals: {n_diagonals:g}·N²·C multiplications;",
    apart(y_diagonals, composite.numpy()[0]),
    "from the composite",
)
print("the library's kernel:", apart(kernel.numpy()[0], y_diagonals))

# %% [markdown]
# 9 + 16 = 25, and 1 + 4 = 5.
#
# ## The backward pass
#
# $D_\Delta$ shifts entries and adds them; it is linear. An entry that went to $x$ from $x + \delta$ sends its gradient
# the other way. So the transpose of $D_\Delta$ is $D_{-\Delta}$: the same sums, shifted the other way, and the gradient
# has the same cost. Let a bar denote the gradient of the loss with respect to the array under it, and let $\bar y_p$
# and $b_p$ be the pixels of phase $p$. Then $\bar f$ is given by
#
# $$ \bar A = \tfrac14 \sum_p D_{-\Delta(p)}\big( \bar y_p\, b_p^\top \big), \qquad
# \bar P = D_{-\Delta}\big( \bar s / \text{norm} \big), \qquad \bar f = \bar P\, b, $$
#
# with $\bar s$ obtained from $\bar A$ through softmax and propagation, which involve no channels.


# %%
def negative(steps):
    return tuple(-t for t in steps)


shape = (4, 5, 3, 6)
check_adjoint(
    lambda s: D(s, (-1, 0), (0, 1)), lambda g: D(g, (1, 0), (0, -1)), *rng.standard_normal((2, *shape))
)  # fmt: skip


def d_rebuild_by_diagonals(g, b, shape):
    d_A = np.zeros(shape)
    for phase, rows, columns in phases():
        d_weights = product(as_rows(g[phase]) / 4, as_rows(b[phase]).T).reshape(shape)
        d_A += D(d_weights, negative(rows), negative(columns))
    return d_A


def d_match_by_diagonals(d_inner, b):
    d_P = D(d_inner, negative(WINDOW), negative(WINDOW))
    return product(d_P.reshape(-1, b.shape[0] * b.shape[1]), as_rows(b)).reshape(*d_inner.shape[:2], -1)


def d_rebuild_by_patches(g, b, shape):
    return product(raw_patches(g) / 4, raw_patches(b).T).reshape(shape)


def d_match_by_patches(d_inner, b):
    d_patches = product(d_inner.reshape(-1, b.shape[0] * b.shape[1]), patches(b))
    return laid_down(d_patches, d_inner.shape[:2], 3, 1, 1)


def gradient_by_f(g, softmax, norm, b, valid, d_match, d_rebuild):
    """From y's gradient to f's; softmax and norm are kept from the forward pass."""
    d_softmax = d_rebuild(g, b, softmax.shape) * valid
    d_logits = softmax * (d_softmax - np.sum(d_softmax * softmax, axis=(2, 3), keepdims=True))
    d_scores = by_rows(by_columns(d_logits * valid * SCALE))  # in reverse order; WINDOW is its own negative
    d_f = np.zeros((RATE * softmax.shape[0], RATE * softmax.shape[1], b.shape[2]))
    rows, columns = nearest(d_f)
    d_f[rows[:, None], columns] = d_match(d_scores / norm, downscale(b))
    return d_f


# %% [markdown]
# **Predict, then run.** What multiples now? (The forward pass is not counted again.)

# %% tags=["predict"]
g = rng.standard_normal(f.shape)
norm = norms(downscale(b))
softmax = softmax_of(match_by_diagonals(downscale(f), downscale(b)) / norm, valid)
kept = g, softmax, norm, b, valid
d_patches, dn_patches = count(lambda: gradient_by_f(*kept, d_match_by_patches, d_rebuild_by_patches), 144, 6)
d_diagonals, dn_diagonals = count(lambda: gradient_by_f(*kept, d_match_by_diagonals, d_rebuild_by_diagonals), 144, 6)
by_composite = ca.grad(composite, f_, seed=g[None]).numpy()[0]
by_kernel = ca.grad(kernel, f_, seed=g[None]).numpy()[0]
print(f"by patches:   {dn_patches:g}·N²·C;", apart(d_patches, by_composite), "from the composite's gradient")
print(f"by diagonals: {dn_diagonals:g}·N²·C;", apart(d_diagonals, by_composite), "from the composite's gradient")
print("the library's kernel:", apart(by_kernel, d_diagonals))

# %% [markdown]
# ## Timed
#
# **Predict, then run.** A fifth of the multiplications: is it five times as fast? For few channels, or for many?

# %% tags=["predict", "timed"]
side, all_channels = (24, (8, 32)) if QUICK else (48, (8, 64, 128, 256))
of_time = np.random.default_rng(1)
milliseconds = {"patches": [], "diagonals": []}
for channels in reversed(all_channels):  # the largest first, so that memory is already allocated
    pair = 0.1 * of_time.standard_normal((2, side, side, channels))
    everywhere = np.ones((side // RATE, side // RATE))
    for name, way in (("patches", PATCHES), ("diagonals", DIAGONALS)):
        run = lambda p=pair, v=everywhere, way=way: attend(*p, v, *way)  # noqa: E731
        milliseconds[name].insert(0, 1e3 * seconds_of(run, rounds=15))
figure = Figure(figsize=(6, 3), layout="constrained", dpi=100)
axes = figure.subplots()
for (name, times), style in zip(milliseconds.items(), ("k--s", "k-o"), strict=True):
    slope = (times[-1] - times[0]) / (all_channels[-1] - all_channels[0])
    axes.plot(all_channels, times, style, mfc="w", label=name)
    print(
        f"{name:10} " + "  ".join(f"{t:6.1f} ms" for t in times) + f"   {1e3 * slope:5.0f} µs for each further channel"
    )
axes.set(xlabel="channels", ylabel="milliseconds", ylim=(0, None))
axes.set_title(f"Attention over {side // RATE} × {side // RATE} positions", fontsize=10)
axes.legend(frameon=False)
viz.show(
    figure,
    alt="Milliseconds against channels: two rising lines. The one for diagonals starts about as high as the one for "
    "patches or higher, and is much flatter; at 256 channels patches take more than twice as long.",
)

# %% [markdown]
# A fifth of the multiplications is not a fifth of the time. Each further channel costs at most about a fifth, and often
# much less than counted, since patches also have to be extracted, 25 numbers per position and channel. For the
# diagonals the products are so few that their growth may disappear in the variation of the rest: the sums along
# diagonals, the propagation and the softmax process $N^2$ numbers whatever $C$ is, and in NumPy each goes through
# memory. So with eight channels the diagonals are slower, and the whole is far from five times as fast. This is why the
# library's faster backends do these sums while the numbers are in the processor's cache.
#
# ## Bands: why memory can be linear
#
# $N^2$ numbers for a picture of 2048 × 2048 are 4 billion: 17 GB in single precision. But the softmax is taken over
# each row of $A$ separately, and a few rows of $y$ need only a few rows of $A$. Working backwards, for rows $[y_0,
# y_1)$ of cells: their pixels need $A$ one row further on each side (the phases), and these need $P$ one row further
# still (the window). So a band of $B$ rows of cells takes matrices of $(B + 4) \cdot w \cdot N$ numbers, which can then
# be discarded.
#
# (Propagation widens the border by another row; and its flat sum down the columns continues from the bottom of one
# column at the top of the next, so a band at the top also needs the last row, and one at the bottom the first. For
# brevity, we omit propagation here, as `fuse=False` does.)


# %%
def without_propagation(f, b, rows=None):
    """Attention to all patches, in bands of `rows` rows of cells; None: all at once."""
    f_small, b_small = downscale(f), downscale(b)
    norm, h = norms(b_small), f_small.shape[0]
    rows = rows or h
    y = np.zeros_like(f)
    for y0 in range(0, h, rows):
        y1 = min(h, y0 + rows)
        of_a, of_p = (max(0, y0 - 1), min(h, y1 + 1)), (max(0, y0 - 2), min(h, y1 + 2))
        scores = match_by_diagonals(f_small[of_p[0] : of_p[1]], b_small)[of_a[0] - of_p[0] : of_a[1] - of_p[0]]
        scores /= norm
        scores *= SCALE
        scores -= scores.max(axis=(2, 3), keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=(2, 3), keepdims=True)
        part = rebuild_by_diagonals(scores, b)
        y[RATE * y0 : RATE * y1] = part[RATE * (y0 - of_a[0]) : RATE * (y1 - of_a[0])]
    return y


whole = without_propagation(f, b)
print("whole, library:", apart(whole, attention.contextual_attention(f_, b_, fuse=False, fused=False).numpy()[0]))
extra = []
for rows in (5, 2, 1):
    banded, n = count(lambda rows=rows: without_propagation(f, b, rows), 144, 6)
    extra.append(n)
    print(f"bands of {rows}:", apart(banded, whole), f"  {n:.2f}·N²·C multiplications")

# %% [markdown]
# A band's border also belongs to the next band. Recomputing it costs multiplications, more so for narrower bands; the
# library's [Numba kernel](../backends/numba_attention.py) keeps the rows that the next band also needs.
#
# **Predict, then run.** The picture becomes twice as high. By how much does peak memory grow, at once, and in bands of
# two rows?

# %% tags=["predict"]
heights = (16, 32) if QUICK else (16, 32, 64, 128)
of_memory = np.random.default_rng(2)
megabytes = {"at once": [], "in bands of 2": []}
for height in heights:
    pair = 0.1 * of_memory.standard_normal((2, height, 32, 4))
    for name, rows in (("at once", None), ("in bands of 2", 2)):
        tracemalloc.start()
        without_propagation(*pair, rows)
        megabytes[name].append(tracemalloc.get_traced_memory()[1] / 1e6)
        tracemalloc.stop()
figure = Figure(figsize=(7.5, 3.1), layout="constrained", dpi=100)
left, axes = figure.subplots(1, 2, width_ratios=[1, 1.4])
for first, size, grey, hatch, label in ((3, 8, "0.93", "..", "P"), (4, 6, "0.8", "//", "A"), (5, 4, "0.4", "", "y")):
    left.add_patch(Rectangle((0, first), 16, size, fc=grey, ec="k", hatch=hatch, label=f"rows of {label}"))
left.set(xlim=(0, 16), ylim=(16, 0), aspect="equal", xlabel="background rows", ylabel="foreground rows")
left.set_title("what a band of 4 rows needs", fontsize=9)
left.legend(frameon=True, loc="lower right", fontsize=8)
for (name, values), style in zip(megabytes.items(), ("k--s", "k-o"), strict=True):
    axes.loglog(heights, values, style, mfc="w", label=name)
    print(f"{name:14} " + "  ".join(f"{v:6.2f} MB" for v in values))
axes.set(xlabel="height of the picture in pixels (width 32)", ylabel="largest memory, megabytes")
axes.set_title("memory", fontsize=9)
axes.set_xticks(heights, [str(n) for n in heights])
axes.minorticks_off()
axes.legend(frameon=False)
viz.show(
    figure,
    alt="Left: the square of all pairs; a dark band of four rows lies in a hatched one of six and a dotted one of "
    "eight. Right: memory against height, both logarithmic; two straight lines, the one for all "
    "at once twice as steep as the one for bands.",
)

# %% [markdown]
# At once: nearly four times, since the matrix holds all pairs. In bands: nearly twice.
#
# ## Exercises
#
# Replace the line that raises; `check` says what is wrong with an answer. Solutions are in
# `solutions/notebook_11.py`.
#
# **1.** The squared norms of all patches, without forming a patch and without a loop over positions.


# %%
def squared_norms(b, k):
    """b h w C -> h w: the squared norm of the k × k patch (odd) around each position, zeros outside."""
    raise NotImplementedError


check("11.squared_norms", squared_norms)

# %% [markdown]
# **2.** The transpose of a sum along diagonals, for a flat matrix and any steps. The forward pass is $y_{pq} = \sum_{t}
# s_{p+t,\; q+t}$, with zeros outside.


# %%
def diagonal_adjoint(g, steps):
    """The gradient of s, of the shape of g; g is the gradient of y, and `steps` are those of the forward pass."""
    raise NotImplementedError


check("11.diagonal_adjoint", diagonal_adjoint)

# %% [markdown]
# **3.** Count. Foreground and background have `n_f` and `n_b` positions; patches of `ksize` × `ksize` are matched, raw
# patches of 2·`rate` × 2·`rate` pasted. How many multiplications do match and rebuild take together, with each method?


# %%
def multiplications(n_f, n_b, channels, ksize, rate):
    """(by patches, by diagonals)"""
    raise NotImplementedError


check("11.multiplications", multiplications)

# %% [markdown]
# **4.** Phases, on a line. `A` is (n, m), `b` has 2m pixels. Position $x$ pastes the sum of all raw patches, weighted
# by row $x$ of `A`: 4 pixels of `b` from one pixel before cell $x'$, to 4 pixels from one before cell $x$. Outside `b`
# there are zeros, what is pasted outside the result is lost, and every pixel is divided by 2, at the ends, too. Lay
# down no patch: for each phase, sum `A` along a diagonal and multiply once.


# %%
def rebuild_line(A, b):
    """The 2n pixels of the result."""
    raise NotImplementedError


check("11.rebuild_line", rebuild_line)

# %% [markdown]
# **5.** Bands. The pixels of the cell rows $[y_0, y_1)$ are wanted, of `h` rows of cells. Which rows of $A$ do they
# need, and which rows of $P$? Patches of `ksize` × `ksize` (odd) are matched, raw patches are two cells wide, and with
# `propagated` (True or False) scores are also summed with those of the rows above and below, within the picture: the
# sum does not continue at its other end.


# %%
def rows_needed(y0, y1, h, ksize, propagated):
    """(first row of A, one after its last, first row of P, one after its last)"""
    raise NotImplementedError


check("11.rows_needed", rows_needed)

# %% tags=["figures-that-matter"]
figures = {
    "multiples of N²C forwards": [n_patches, n_diagonals],
    "multiples of N²C for the gradient by f": [dn_patches, dn_diagonals],
    "multiples of N²C in bands of 5, 2, 1": extra,
    "norm of the match": float(np.linalg.norm(inner)),
    "norm of y": float(np.linalg.norm(y_diagonals)),
    "norm of the gradient": float(np.linalg.norm(d_diagonals)),
    "wrong entries of the flat sum": int(wrong.sum()),
}
print(json.dumps(figures))
