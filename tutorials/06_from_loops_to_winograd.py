# %% [markdown]
# # 06 · From loops to Winograd
#
# **One idea:** a sum of products does not need all its products. We take one 3 × 3 convolution from loops to a single
# matrix product, where multiplications run at nearly full speed; from there the way to go much faster is to *do fewer*:
# a quarter of them, at a cost of about half a digit of precision.
#
# You need notebook 03: windows and the trilinear form.

# %%
import json
import os

for library in ("OPENBLAS", "MKL", "OMP", "NUMBA"):  # one core for all, so that ratios are meaningful
    os.environ[f"{library}_NUM_THREADS"] = "1"

import numpy as np
from exercises import check
from matplotlib.figure import Figure
from numpy.lib.stride_tricks import sliding_window_view

import ca_numpy as ca
from ca_numpy import ops, viz
from ca_numpy.geometry import ConvGeometry
from ca_numpy.registry import why_unavailable
from ca_numpy.testing import oracles, seconds_of

QUICK = os.environ.get("CA_NUMPY_QUICK") == "1"  # smaller sizes, for the tests
rng = np.random.default_rng(0)

# %% [markdown]
# ## The problem
#
# In the middle of the generator, ten layers (and eight dilated ones) do the same thing: 128 channels in, 128 channels
# out, 3 × 3, on a grid of positions a quarter as wide and a quarter as high as the picture. How fast can one of them
# be? We take one picture, so x is H W C, with stride 1 and no padding: the picture is padded beforehand.
#
# ## The equation, and its products
#
# $$ y_{i j o} = \sum_{u, v, c} x_{i + u,\; j + v,\; c} \; w_{u v c o} $$
#
# With $C$ channels in and $K$ out, each of the $H W K$ outputs takes $9\,C$ products. We climb a ladder of programs for
# this sum, and measure the speed of each rung in products of *this* sum per second, whatever it actually computes: only
# time counts.
#
# ## Rung 1: loops


# %%
def by_loops(x, w):
    height, width, out = x.shape[0] - 2, x.shape[1] - 2, w.shape[3]
    y = np.zeros((height, width, out), x.dtype)
    for i, j, o in np.ndindex(height, width, out):
        for u, v, c in np.ndindex(w.shape[:3]):
            y[i, j, o] += x[i + u, j + v, c] * w[u, v, c, o]
    return y


# %% [markdown]
# Python spends about a microsecond working out what to multiply by what. The product itself takes a fraction of a
# nanosecond.
#
# ## Rung 2: im2col, one position at a time
#
# Lay out each window as a row (*image to columns*, im2col; in our layout, rows). The outputs at one position are then a
# row times a matrix of weights: one Python call per position, not one per product.


# %%
def windows(x, size, step=1):
    """The window of size × size pixels at every step-th place, as a view: H W C -> OH OW size size C."""
    return sliding_window_view(x, (size, size), axis=(0, 1))[::step, ::step].transpose(0, 1, 3, 4, 2)


def by_rows(x, w):
    seen, matrix = windows(x, 3), w.reshape(-1, w.shape[3])
    y = np.empty((*seen.shape[:2], w.shape[3]), x.dtype)
    for i, j in np.ndindex(y.shape[:2]):
        y[i, j] = seen[i, j].reshape(-1) @ matrix
    return y


# %% [markdown]
# ## Rung 3: one matrix product
#
# Stack all rows into a matrix, and the convolution is one product of two matrices.
#
# **Predict, then run.** The products are the same, and in rung 2 NumPy already computes them. With 128 channels, how
# much is left to gain: nothing, a factor of two, of ten? (How often does each version read the weights from memory?)


# %%
def by_product(x, w, block=None):
    """block: how many rows of the picture are done together; all, if not given."""
    seen, matrix = windows(x, 3), w.reshape(-1, w.shape[3])
    y = np.empty((*seen.shape[:2], w.shape[3]), x.dtype)
    block = block or len(y)
    for i in range(0, len(y), block):
        rows = seen[i : i + block].reshape(-1, len(matrix))  # here the pixels are copied, nine times each
        y[i : i + block] = (rows @ matrix).reshape(-1, *y.shape[1:])
    return y


# %% tags=["predict", "timed"]
side, channels = (16, 16) if QUICK else (48, 128)
draw = np.random.default_rng(1).standard_normal
X = draw((side + 2, side + 2, channels)).astype(np.float32)
W = (draw((3, 3, channels, channels)) / np.sqrt(9 * channels)).astype(np.float32)
one_by_one, at_once = seconds_of(lambda: by_rows(X, W), rounds=2), seconds_of(lambda: by_product(X, W))
assert np.allclose(by_rows(X, W), by_product(X, W), atol=1e-4)
print(f"place by place {1e3 * one_by_one:.1f} ms, one product {1e3 * at_once:.2f} ms: {one_by_one / at_once:.0f} times")

# %% [markdown]
# A row times a matrix reads all weights and uses each *once*. In a product of two matrices, a weight loaded into a
# register is used for many rows. This is the whole point of BLAS, the routines for matrix products that NumPy calls,
# and a good implementation comes close to the processor's peak rate of products per second. Copying
# less helps it little, as we shall see. **But is there a way to do fewer products?**
#
# ## Two outputs with four products
#
# In one dimension, with three taps, two adjacent outputs read four pixels:
#
# $$ y_0 = d_0 w_0 + d_1 w_1 + d_2 w_2, \qquad y_1 = d_1 w_0 + d_2 w_1 + d_3 w_2 $$
#
# Six products. Shmuel Winograd needs four:
#
# $$ m_1 = (d_0 - d_2)\, w_0, \quad m_2 = (d_1 + d_2)\, \tfrac{w_0 + w_1 + w_2}{2}, \quad
# m_3 = (d_2 - d_1)\, \tfrac{w_0 - w_1 + w_2}{2}, \quad m_4 = (d_1 - d_3)\, w_2 $$
#
# $$ y_0 = m_1 + m_2 + m_3, \qquad y_1 = m_2 - m_3 - m_4 $$
#
# To check: $m_2 + m_3 = d_1 w_1 + d_2 (w_0 + w_2)$, and adding $m_1$ leaves $d_0 w_0 + d_1 w_1 + d_2 w_2$. And $m_2 -
# m_3 = d_1 (w_0 + w_2) + d_2 w_1$, from which $m_4$ is subtracted. This takes more additions, but the sums of *weights*
# are computed once for all pixels, and the sums of *pixels* once for all output channels. Only the products are
# computed for each pair of pixels and output channel.
#
# To be sure that four means four, we use numbers that count their own multiplications. (A pixel times a constant of the
# method is not counted.)


# %%
class Number:
    """A number of the data. Counts its products with other such numbers."""

    products = 0

    def __init__(self, value):
        self.value = value

    def __add__(self, other):
        return Number(self.value + other.value)

    def __sub__(self, other):
        return Number(self.value - other.value)

    def __mul__(self, other):
        if isinstance(other, Number):
            Number.products += 1
            return Number(self.value * other.value)
        return Number(self.value * float(other))

    __rmul__ = __mul__


def counted(run, *arrays):
    """(the result of run on the arrays, the number of products)."""
    Number.products = 0
    y = run(*(np.vectorize(Number, otypes=[object])(a) for a in arrays))
    return np.vectorize(lambda number: float(number.value))(y), Number.products


def direct(d, w):
    return np.array([d[0] * w[0] + d[1] * w[1] + d[2] * w[2], d[1] * w[0] + d[2] * w[1] + d[3] * w[2]])


def four_products(d, w):
    m1 = (d[0] - d[2]) * w[0]
    m2 = (d[1] + d[2]) * (0.5 * (w[0] + w[1] + w[2]))
    m3 = (d[2] - d[1]) * (0.5 * (w[0] - w[1] + w[2]))
    m4 = (d[1] - d[3]) * w[2]
    return np.array([m1 + m2 + m3, m2 - m3 - m4])


pixels, taps = np.array([3.0, -1.0, 4.0, 2.0]), np.array([2.0, 5.0, -3.0])
for run in (direct, four_products):
    y, count = counted(run, pixels, taps)
    print(f"{run.__name__}: y = {y}, {count} products")

# %% [markdown]
# ## Where it comes from
#
# This can be derived. Forget convolutions for a moment and multiply two polynomials, $a(t) = a_0 + a_1 t$ and $w(t) =
# w_0 + w_1 t + w_2 t^2$. The schoolbook method takes six products of coefficients. But their product $s(t)$ has four
# coefficients, and *four values determine it*: evaluate both polynomials at $t = 0, 1, -1$, multiply the values, and
# find the unique polynomial with these values. For the fourth point, take "$t = \infty$": there the leading term
# dominates, and $s_3 = a_1 w_2$. Four products. In matrices:
#
# $$ s = V^{-1} \left[ (E a) \odot (G w) \right] $$
#
# $E$, $G$ and $V$ evaluate polynomials with two, three and four coefficients at the four points, and $\odot$ is the
# elementwise product.
#
# Now apply the trick of notebook 03. The inner product of $s$ with any $d$ is a number, linear in $a$, in $w$ and in
# $d$.
#
# $$ T = \sum_{i, j} a_i\, w_j\, d_{i + j} = \langle s, d \rangle
# = \langle (E a) \odot (G w),\; V^{-\top} d \rangle
# = \langle a,\; E^\top \left[ (G w) \odot (V^{-\top} d) \right] \rangle $$
#
# The coefficient of $a_i$ is $\sum_j w_j d_{i + j}$, which is $y_i$, a convolution in our sense! So
#
# $$ y = A^\top \left[ (G w) \odot (B^\top d) \right] \quad \text{with} \quad A = E, \quad B^\top = V^{-\top} $$
#
# This works for $m$ outputs and $r$ taps at any $m + r - 1$ distinct points, and is called $F(m, r)$.


# %%
def values_at(points, k):
    """The matrix that maps k coefficients to the polynomial's values at the points and at infinity."""
    return np.vstack([np.power.outer(np.array(points, float), np.arange(k)), np.eye(k)[-1]])


def winograd_matrices(m, points, r=3):
    """Aᵀ, G and Bᵀ for m outputs and r taps; m + r − 2 points, plus infinity."""
    assert len(points) == m + r - 2
    return values_at(points, m).T, values_at(points, r), np.linalg.inv(values_at(points, m + r - 1)).T


F2 = winograd_matrices(2, (0, 1, -1))
for name, matrix in zip(("Aᵀ", "G", "Bᵀ"), F2, strict=True):
    print(f"{name} =", np.array2string(matrix + 0.0, prefix=f"{name} = "), "\n")

# %% [markdown]
# These are the four lines above, up to factors: the ½ in $B^\top$ was with the weights, and signs come in pairs. Row
# $s$ of $B^\top$ may be multiplied by any factor if row $s$ of $G$ or column $s$ of $A^\top$ is divided by it.
#
# **Predict, then run.** How many products does $F(4, 3)$ take for four outputs of three taps, and how many does the
# direct sum take? How many points does it need?

# %% tags=["predict"]
F4 = winograd_matrices(4, (0, 1, -1, 2, -2))


def in_one_dimension(matrices):
    At, G, Bt = matrices
    return lambda d, w: At @ ((G @ w) * (Bt @ d))


for m, matrices in ((2, F2), (4, F4)):
    d = rng.standard_normal(m + 2)
    y, count = counted(in_one_dimension(matrices), d, taps)
    assert np.allclose(y, np.correlate(d, taps))
    print(f"F({m}, 3): {count} products instead of {3 * m}, right to {np.max(abs(y - np.correlate(d, taps))):.0e}")

# %% [markdown]
# One product per point: four points, or six, including infinity.
#
# ## Nested, in two dimensions
#
# A tile of $4 \times 4$ pixels is a one-dimensional signal of four "pixels", each of which is a row; a $3 \times 3$
# kernel is three taps, each of which is a row; and the "product" of two rows is again a convolution. $F(2, 3)$ does not
# care what it multiplies. So apply it to rows, and again to each of its four products:
#
# $$ Y = A^\top \left[ (G\, w\, G^\top) \odot (B^\top d\, B) \right] A $$
#
# **Predict, then run.** How many products per tile, instead of the direct sum's 2 · 2 · 9 = 36? And with $F(4, 3)$,
# instead of 144?

# %% tags=["predict"]


def in_two_dimensions(matrices):
    At, G, Bt = matrices
    return lambda d, w: At @ ((G @ w @ G.T) * (Bt @ d @ Bt.T)) @ At.T


kernel = rng.standard_normal((3, 3))
counts = {}
for m, matrices in ((2, F2), (4, F4)):
    tile = rng.standard_normal((m + 2, m + 2))
    y, counts[m] = counted(in_two_dimensions(matrices), tile, kernel)
    assert np.allclose(y, np.einsum("ijuv,uv->ij", sliding_window_view(tile, (3, 3)), kernel))
    print(f"F({m}×{m}, 3×3): {counts[m]} products instead of {9 * m * m}, {9 * m * m / counts[m]:.2f} times fewer")

# %% [markdown]
# ## Vectorised: channels make it a matrix product again
#
# With channels, each element of the transformed tile is multiplied by the corresponding element of the transformed
# kernel for every pair of channels, and summed over $c$. For position $s$ in the tile (16 of them, or 36), with all
# tiles stacked,
#
# $$ M_s = V_s\, U_s \qquad V_s: \text{tiles} \times C, \quad U_s: C \times K $$
#
# which is 16 or 36 matrix products, at BLAS speed. ($V_s$ and $U_s$ are the usual names for the transformed pixels and
# weights, $B^\top d\, B$ and $G\, w\, G^\top$. The evaluation matrix $V$ above is a different one, no longer needed.)
# Tiles overlap by two pixels, so they start $m$ apart.


# %%
def both_ways(matrix, t):
    """matrix · t · matrixᵀ on the first two axes of t."""
    rows = (matrix @ t.reshape(len(t), -1)).reshape(len(matrix), *t.shape[1:])
    return matrix @ rows.reshape(len(matrix), t.shape[1], -1)


def by_winograd(x, w, matrices, block=None):
    """block: how many rows of tiles are done together; all, if not given."""
    At, G, Bt = (matrix.astype(x.dtype) for matrix in matrices)
    (m, n), (_, _, c, k) = At.shape, w.shape
    height, width = x.shape[0] - 2, x.shape[1] - 2
    x = np.pad(x, ((0, -height % m), (0, -width % m), (0, 0)))  # whole tiles; the excess is cut off again
    U = both_ways(G, w).reshape(n * n, c, k)
    tiles = windows(x, n, m)
    y = np.empty((len(tiles), m, tiles.shape[1], m, k), x.dtype)
    block = block or len(tiles)
    for i in range(0, len(tiles), block):
        d = tiles[i : i + block].transpose(2, 3, 0, 1, 4).reshape(n, n, -1)
        V = both_ways(Bt, d).reshape(n * n, -1, c)
        M = V @ U
        Y = both_ways(At, M.reshape(n, n, -1)).reshape(m, m, -1, tiles.shape[1], k)
        y[i : i + block] = Y.transpose(2, 0, 3, 1, 4)
    return y.reshape(len(tiles) * m, -1, k)[:height, :width]


# %% [markdown]
# ## Checked against an oracle
#
# We use float64, where a mistake cannot hide behind rounding, and sizes that are not multiples of four.

# %%
x, w = rng.standard_normal((13, 16, 5)), rng.standard_normal((3, 3, 5, 4))
oracle = oracles.conv2d(x[None], w, ConvGeometry())[0]
ways = {
    "loops": by_loops(x, w),
    "place by place": by_rows(x, w),
    "one product": by_product(x, w),
    "one product, in blocks": by_product(x, w, block=3),
    "F(2×2, 3×3)": by_winograd(x, w, F2),
    "F(4×4, 3×3)": by_winograd(x, w, F4),
    "F(4×4, 3×3), in blocks": by_winograd(x, w, F4, block=2),
}
for name, y in ways.items():
    print(f"{name:24}{np.max(abs(y - oracle)):.0e} from the oracle")
    assert np.allclose(y, oracle, rtol=1e-10, atol=1e-10)

# %% [markdown]
# ## What it costs: precision
#
# In float32 every operation has a relative error of up to $6 \cdot 10^{-8}$. Winograd's sums involve large numbers that
# nearly cancel: $A^\top$ of $F(4, 3)$ contains an 8, which is $2^3$, a power of the point 2. We are free to choose the
# points. The usual ones are $0, \pm 1, \pm 2, \infty$: small integers, convenient on paper. A computer gains nothing
# from integers.
#
# We keep the pattern $0, \pm\alpha, \pm 2\alpha, \infty$ and measure each $\alpha$ against float64.
#
# **Predict, then run.** Which $\alpha$ is best: larger than 1, or smaller? $V$ contains powers of the points up to the
# fifth, and it is inverted.

# %% tags=["predict"]
size, c = (16, 16) if QUICK else (32, 64)
x64 = draw((3, size + 2, size + 2, c)).astype(np.float32).astype(np.float64)  # three pictures, exact in float32
w64 = (draw((3, 3, c, c)) / np.sqrt(9 * c)).astype(np.float32).astype(np.float64)
right = [by_product(x, w64) for x in x64]


def error(run):
    """The largest error in float32, the median of three pictures."""
    w = w64.astype(np.float32)
    return np.median([abs(run(x.astype(np.float32), w) - y).max() for x, y in zip(x64, right, strict=True)])


def points(alpha):
    return (0, alpha, -alpha, 2 * alpha, -2 * alpha)


alphas = 2.0 ** np.arange(-2, 1.6, 0.25)
errors = [error(lambda x, w, a=a: by_winograd(x, w, winograd_matrices(4, points(a)))) for a in alphas]
levels = {"direct sum": error(by_product), "F(2×2, 3×3)": error(lambda x, w: by_winograd(x, w, F2))}
figure = Figure(figsize=(7, 3.4), layout="constrained", dpi=100)
axes = figure.subplots()
axes.loglog(alphas, errors, "k-o", markersize=4, label="F(4×4, 3×3) at 0, ±α, ±2α, ∞")
for (name, level), style in zip(levels.items(), ("--", ":"), strict=True):
    axes.axhline(level, color="k", linestyle=style, label=name)
for alpha, name, text, side_ in ((1, "±1, ±2", 1.25, "left"), (np.sqrt(0.5), "±√½, ±√2", 0.5, "right")):
    level = errors[int(np.argmin(abs(alphas - alpha)))]
    axes.annotate(name, (alpha, level), xytext=(text, 6e-6), arrowprops={"arrowstyle": "->"}, ha=side_)
axes.set(xlabel="α (no unit)", ylabel="largest error (outputs near 1)", title="Rounding errors in float32, by points")
axes.set_xticks([0.25, 0.5, 1, 2], ["¼", "½", "1", "2"])
axes.minorticks_off()
axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)
viz.show(
    figure,
    alt="The error of F(4×4, 3×3) over alpha, on logarithmic scales, is a valley with steep sides. Its minimum is "
    "near the square root of one half; at 1, the usual points, the error is several times larger. Even the minimum "
    "lies above two horizontal lines close together, the direct sum and F(2×2, 3×3).",
)

# %%
better = (0, np.sqrt(0.5), -np.sqrt(0.5), np.sqrt(2), -np.sqrt(2))
F4_BETTER = winograd_matrices(4, better)
F6 = winograd_matrices(6, (*better, 1, -1))
direct_error = error(by_product)
print("F(.)              products per output   largest error   of the direct sum's")
print(f"{'direct':18}{9:19.2f}{direct_error:16.1e}{1:22.1f}")
for name, matrices in (("F(2×2)", F2), ("F(4×4), usual", F4), ("F(4×4), better", F4_BETTER), ("F(6×6)", F6)):
    at = error(lambda x, w, f=matrices: by_winograd(x, w, f))
    m, n = matrices[0].shape
    print(f"{name:18}{n * n / m / m:19.2f}{at:16.1e}{at / direct_error:22.1f}")
assert error(lambda x, w: by_winograd(x, w, F4_BETTER)) < error(lambda x, w: by_winograd(x, w, F4))

# %% [markdown]
# Two surprises. $F(2 \times 2)$ loses nothing: each of its sums over channels has a ninth of the terms of the direct
# sum, and short sums accumulate less rounding. And a better choice of points, with $\alpha\beta = 1$ for points
# $\pm\alpha, \pm\beta$, reduces the error several times for free: where one point's powers grow, the other's shrink.
# $F(6 \times 6)$ saves little more and loses more precision. So the library uses $F(4 \times 4)$ at $\pm\sqrt{1/2},
# \pm\sqrt 2$: 36 products instead of 144, for about half a digit. Its matrices are ours up to one factor per point:

# %%
if why_unavailable("numba") is None:
    from ca_numpy.backends import numba_winograd

    theirs = numba_winograd.A_TRANSPOSED, numba_winograd.G, numba_winograd.B_TRANSPOSED
    for part in (0, 2):  # Aᵀ by columns, Bᵀ by rows
        mine, other = (f[part].T if part == 0 else f[part] for f in (F4_BETTER, theirs))
        factors = np.sum(mine * other, axis=1) / np.sum(mine * mine, axis=1)
        assert np.allclose(factors[:, None] * mine, other)
    print("the library's matrices are these, row by row")
else:
    print("numba is not installed: pip install 'ca-numpy[numba]'")

# %% [markdown]
# ## Blocks of tiles
#
# A quarter of the products should take a quarter of the time. But now there are three additional arrays: tiles, $V$ and
# $M$, each 36/16 the size of the picture. If they do not fit in the cache, they go to memory and back. So process a few
# rows of tiles all the way to $y$, and reuse the memory for the next ones. Where caches are small, the product of
# rung 3 benefits too: its copied windows amount to nine pictures.
#
# **Predict, then run.** How many rows of tiles at once are best? With one, each matrix $V_s$ has only twelve rows; with
# all twelve, $V$ and $M$ do not fit.

# %% tags=["predict", "timed"]
rounds = 2 if QUICK else 7
blocks = [b for b in (1, 2, 4, 8, 16) if 4 * b <= side] or [1]
by_block = {b: seconds_of(lambda b=b: by_winograd(X, W, F4_BETTER, b), rounds=rounds) for b in blocks}
for b, seconds in by_block.items():
    megabytes = 36 * b * (side // 4) * 2 * channels * X.itemsize / 2**20
    print(f"{b:3} rows of tiles: V and M have {megabytes:5.2f} MB, {1e3 * seconds:6.2f} ms")
best = min(by_block, key=by_block.get)

# %% [markdown]
# ## All rungs, timed
#
# (A few rows of tiles are best: one gives BLAS only twelve rows at a time, and with all, $V$ and $M$ leave the cache.
# Where the best number lies depends on the processor.)
#
# The loops compute only a few outputs, and their time is scaled up. The last rung is the library's Numba backend (Numba
# compiles Python functions to machine code): the same algorithm in blocks, but with compiled transforms, while NumPy
# writes each half of a transform to memory.

# %% tags=["timed"]
products = side * side * channels * W[..., 0].size
few = X[:4, :4], W[..., :2]  # 2 × 2 places, two channels
share = side * side * channels / (2 * 2 * 2)
rungs = {
    "loops": lambda: by_loops(*few),
    "im2col, place by place": lambda: by_rows(X, W),
    "one matrix product": lambda: by_product(X, W),
    "… in blocks": lambda: by_product(X, W, 4),
    "F(2×2, 3×3) in blocks": lambda: by_winograd(X, W, F2, 2 * best),
    "F(4×4, 3×3) at once": lambda: by_winograd(X, W, F4_BETTER),
    "… in blocks (NumPy)": lambda: by_winograd(X, W, F4_BETTER, best),
}
if why_unavailable("numba") is None:

    def by_library():
        with ca.use_backend("numba"):
            return ops.conv2d(X[None], W, geometry=ConvGeometry()).numpy()[0]

    rungs["… compiled (Numba backend)"] = by_library
    assert np.allclose(by_library(), by_product(X, W), atol=1e-3)
seconds = {}
for name, run in rungs.items():
    run()
    seconds[name] = seconds_of(run, rounds=1 if name == "loops" else rounds) * (share if name == "loops" else 1)
    print(f"{name:28}{1e3 * seconds[name]:12.2f} ms{products / seconds[name] / 1e9:12.4f} products per nanosecond")

figure = Figure(figsize=(7.5, 3.2), layout="constrained", dpi=100)
axes = figure.subplots()
speeds = [products / s / 1e9 for s in seconds.values()]
winograd = ["F(" in name or "(N" in name for name in seconds]
for kind, hatch, grey in ((False, "", "0.35"), (True, "//", "0.85")):
    places = [k for k in range(len(speeds)) if winograd[k] == kind]
    label = "fewer products" if kind else "all products"
    axes.barh(places, [speeds[k] for k in places], 0.7, color=grey, hatch=hatch, edgecolor="k", label=label)
for k, speed in enumerate(speeds):
    axes.text(speed * 1.15, k, f"{speed:.0f}" if speed > 1 else f"{speed:.4f}", va="center", fontsize=8)
axes.set(xscale="log", yticks=range(len(speeds)), yticklabels=list(seconds), xlim=(min(speeds) / 2, max(speeds) * 4))
axes.set_xlabel("products of the direct sum per nanosecond")
axes.set_title(f"3 × 3, {channels} → {channels} channels, {side} × {side}, float32, one core", fontsize=10)
axes.invert_yaxis()
axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)
viz.show(
    figure,
    alt="Bars on a logarithmic scale, one for each rung. From loops to one matrix product, speed grows by more than "
    "four orders of magnitude; Winograd's rungs add a small factor at the end.",
)

# %% [markdown]
# The steps get smaller: the first removed Python's overhead, the last approach the limits of the machine. A quarter of
# the products need not give four times the speed: the transforms take time that a count of products ignores. (Where it
# gives more, the copied windows of rung 3 were in the way, too, nine pictures' worth.) The same rung may take a
# different time here than in a cell above: other programs ran on the machine, so compare times within one cell only.
# A similar ladder on two cores, at 128 × 128 and measured more carefully, is in
# [`docs/performance.md`](../docs/performance.md); the implementation of the last rung is in
# [`backends/numba_winograd.py`](../backends/numba_winograd.py).
#
# ## Exercises
#
# Replace the line that raises; `check` says what is wrong with an answer. Solutions are in
# `solutions/notebook_06.py`.
#
# **1.** By what factor does $F(m \times m, r \times r)$ reduce the number of products? As a check: 4 for $m = 4$, $r =
# 3$. What is its limit for large $m$, and why does nobody go there?


# %%
def saving(m, r):
    """Products of the direct sum over those of F(m×m, r×r)."""
    raise NotImplementedError


check("06.saving", saving)

# %% [markdown]
# **2.** How many tiles does `by_winograd` process for H × W outputs and tiles of m × m outputs?


# %%
def count_tiles(height, width, m):
    """The number of tiles that cover all outputs; those at the far borders may extend beyond them."""
    raise NotImplementedError


check("06.count_tiles", count_tiles)

# %% [markdown]
# **3.** $T$ again, this time with $w$ left out. Given a tile $d$ of $n \times n$ pixels and the gradient $g$ of
# its $m \times m$ outputs, compute the gradient of the $r \times r$ kernel with $n^2$ products: a single `*` between
# the terms derived from $d$ and from $g$. (In one dimension first: $\langle g, A^\top [(G w) \odot (B^\top d)]
# \rangle$. What is the coefficient of $w$?)


# %%
def kernel_gradient(At, G, Bt, d, g):
    """The gradient of w, r × r."""
    raise NotImplementedError


check("06.kernel_gradient", kernel_gradient)

# %% tags=["figures-that-matter"]
figures = {
    "products of a tile": [counts[2], counts[4]],
    "inputs of F(4, 3), usual, row 1": [round(float(24 * value), 9) + 0.0 for value in F4[2][1]],
    "norm of the convolution": float(np.linalg.norm(ways["F(4×4, 3×3)"])),
    "one of its outputs": float(ways["F(2×2, 3×3)"][7, 5, 3]),
    "norm of better points' B": float(np.linalg.norm(F4_BETTER[2])),
}
print(json.dumps(figures))
