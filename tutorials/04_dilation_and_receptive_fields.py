# %% [markdown]
# # 04 · Dilation and receptive fields
#
# **One idea:** an output sees exactly the pixels where its gradient is not zero. Spreading a kernel's taps apart lets
# it see further, at no cost in weights or time.
#
# You need notebook 03.

# %%
import json
import os

import numpy as np
from exercises import check
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.lib.stride_tricks import as_strided

import ca_numpy as ca
from ca_numpy import functional as F
from ca_numpy import ops, viz
from ca_numpy.geometry import ConvGeometry
from ca_numpy.models import Generator
from ca_numpy.testing import oracles, seconds_of

QUICK = os.environ.get("CA_NUMPY_QUICK") == "1"  # smaller sizes, for the tests
rng = np.random.default_rng(0)

# %% [markdown]
# ## The problem
#
# The paper fills holes of up to 128 × 128 pixels. What belongs in the middle of the largest? Whatever computes it has
# to see something that is *known*, and the nearest known pixel is 64 away. A 3 × 3 convolution sees one pixel further
# on each side than the layer before it, so it would take 64 of them. Larger kernels see further, but their weights grow
# with the square of the size.
#
# ## The equation
#
# Keep the nine taps and move them $d$ pixels apart. In one dimension, with $k$ taps and *dilation* $d$,
#
# $$ y_i = \sum_{u=0}^{k-1} x_{i + u d} \, w_u $$
#
# The kernel now spans $(k-1)\,d + 1$ pixels and still has $k$ weights.
#
# ## Loops
#
# Notebook 03's loops with one extra factor. (Stride 1, for simplicity.)


# %%
def dilated_loops(x, w, dilation):
    n_images, height, width, channels = x.shape
    kh, kw, _, out = w.shape
    y = np.zeros((n_images, height - (kh - 1) * dilation, width - (kw - 1) * dilation, out))
    for n, i, j, o in np.ndindex(y.shape):
        for u, v, c in np.ndindex(kh, kw, channels):
            y[n, i, j, o] += x[n, i + u * dilation, j + v * dilation, c] * w[u, v, c, o]
    return y


# %% [markdown]
# ## Vectorised: change the strides of the view
#
# In the view of all windows, the axes $u, v$ stepped by one pixel. Now they step by $d$. Nothing else changes.


# %%
def dilated(x, w, dilation):
    (n, height, width, c), (kh, kw, _, out) = x.shape, w.shape
    sn, sh, sw, sc = x.strides
    places = height - (kh - 1) * dilation, width - (kw - 1) * dilation
    seen = as_strided(x, (n, *places, kh, kw, c), (sn, sh, sw, dilation * sh, dilation * sw, sc))
    return (seen.reshape(-1, kh * kw * c) @ w.reshape(-1, out)).reshape(n, *places, out)


# %% [markdown]
# ## Checked against an oracle, and timed
#
# An equivalent definition: an ordinary convolution whose kernel has zeros between its taps. It does not rely on memory
# strides, and it multiplies by all those zeros.


# %%
def with_zeros_between(w, dilation):
    kh, kw, channels, out = w.shape
    spread = np.zeros(((kh - 1) * dilation + 1, (kw - 1) * dilation + 1, channels, out))
    spread[::dilation, ::dilation] = w
    return spread


x, w = rng.standard_normal((1, 14, 13, 2)), rng.standard_normal((3, 3, 2, 3))
for d in (1, 2, 3, 4):
    y = dilated(x, w, d)
    geometry = ConvGeometry(dilation=d)
    assert np.allclose(y, dilated_loops(x, w, d), rtol=1e-12, atol=1e-12)
    assert np.allclose(y, dilated(x, with_zeros_between(w, d), 1), rtol=1e-12, atol=1e-12)
    assert np.allclose(y, oracles.conv2d(x, w, geometry), rtol=1e-12, atol=1e-12)
    assert np.allclose(y, ops.conv2d(x, w, geometry=geometry).numpy(), rtol=1e-11, atol=1e-12)
print("loops, view, zeros between, oracle and library agree at dilations 1 to 4")

# %% [markdown]
# **Predict, then run.** A 3 × 3 kernel at dilation 8 spans 17 × 17 pixels. How many times slower is the kernel filled
# with zeros?

# %% tags=["predict", "timed"]
side, channels = (24, 4) if QUICK else (48, 8)
draw = np.random.default_rng(1).standard_normal
X, W = draw((1, side + 16, side + 16, channels)), draw((3, 3, channels, channels))
spread = with_zeros_between(W, 8)
by_view, by_zeros = seconds_of(lambda: dilated(X, W, 8)), seconds_of(lambda: dilated(X, spread, 1), rounds=1)
print(f"{W[..., 0, 0].size} taps {1e3 * by_view:.2f} ms, {spread[..., 0, 0].size} taps {1e3 * by_zeros:.1f} ms")
print(f"{by_zeros / by_view:.0f} times slower, with {spread.size / W.size:.0f} times as many multiplications")

# %% [markdown]
# Copied window by window, 289 taps also overflow the cache, so the slowdown exceeds the ratio of multiplications.
#
# ## What does an output see?
#
# Stack a few layers. The *receptive field* of an output is the set of pixels that can change it. Following the
# definition, in loops: change one pixel at a time and see whether the output changes. That takes one run of the network
# per pixel.
#
# But "changes when this pixel changes" is what a derivative measures. One backward pass gives the derivative with
# respect to *all* pixels. (It may happen to be zero at a pixel that matters. With random weights and ELU, whose slope
# is nowhere zero, that has probability zero.)


# %%
def stack(x, kernels, dilations):
    """Convolutions with ELU between them, of the same size as x."""
    for kernel, d in zip(kernels, dilations, strict=True):
        x = F.elu(F.conv2d(x, kernel, dilation=d))
    return x


def field_by_changes(x, kernels, dilations, at):
    """One run per pixel."""
    before = stack(x, kernels, dilations).numpy()[0, at, at]
    seen = np.zeros(x.shape[1:3], bool)
    for i, j in np.ndindex(seen.shape):
        changed = x.copy()
        changed[0, i, j] += 1
        seen[i, j] = np.any(stack(changed, kernels, dilations).numpy()[0, at, at] != before)
    return seen


def field_by_gradient(x, kernels, dilations, at):
    """One backward pass."""
    x = ca.tensor(x)
    y = stack(x, kernels, dilations)
    return np.any(ca.grad(y[0, at, at].sum(), x).numpy()[0] != 0, axis=2)


side = 11 if QUICK else 19
x = draw((1, side, side, 1))
kernels = [draw((3, 3, 1, 1)) for _ in range(2)]
here = (x, kernels, (1, 2), side // 2)
assert np.array_equal(field_by_changes(*here), field_by_gradient(*here))
slow, fast = seconds_of(lambda: field_by_changes(*here), rounds=1), seconds_of(lambda: field_by_gradient(*here))
print(
    f"the same {field_by_gradient(*here).sum()} pixels: {1e3 * slow:.0f} ms by changes, {1e3 * fast:.1f} ms by gradient"
)

# %% [markdown]
# **Predict, then run.** Three layers of 3 × 3. Which pixels does the middle output see with dilations 1, 2, 4? And with
# 2, 2, 2, or 4, 4, 4? Sketch them on paper.

# %% tags=["predict"]
side, middle = 27, 13
x = rng.standard_normal((1, side, side, 1))
kernels = [np.abs(rng.standard_normal((3, 3, 1, 1))) for _ in range(3)]
choices = [(1, 1, 1), (1, 2, 4), (2, 2, 2), (4, 4, 4)]
figure = Figure(figsize=(7.5, 2.4), layout="constrained", dpi=100)
counts = []
for axes, dilations in zip(figure.subplots(1, 4), choices, strict=True):
    field = field_by_gradient(x, kernels, dilations, middle)
    counts.append(int(field.sum()))
    axes.imshow(field, cmap="gray_r", vmin=0, vmax=1.4)
    axes.plot(middle, middle, "o", color="w", markeredgecolor="k", markersize=4)
    axes.set_title(f"dilations {', '.join(map(str, dilations))}\n{counts[-1]} pixels seen", fontsize=9)
    axes.set(xticks=[], yticks=[])
viz.show(
    figure,
    alt="Four squares of pixels around an output. Dilations 1, 1, 1 see a solid square of 7 by 7; 1, 2, 4 a solid "
    "square of 15 by 15; 2, 2, 2 every second pixel of 13 by 13; 4, 4, 4 every fourth of 25 by 25.",
)

# %% [markdown]
# Equal dilations above 1 see a grid with gaps: 49 pixels, however far apart. Doubling them, from 1 on, leaves no gaps,
# because each layer's step is no longer than the field of the layers before it. So the paper uses 2, 4, 8, 16, *after*
# ordinary convolutions. (Its introduction says that for a pixel to be influenced from 64 pixels away, at least six
# 3 × 3 layers with dilation factor 2, or equivalent, are needed. With dilation 2 in all six it would be 12 pixels;
# doubled from layer to layer, 1, 2, … 32, it is 63.)
#
# ## The rule for the size
#
# Let a layer have $k$ taps, stride $s$ and dilation $d$. Keep track of two numbers: $r$, the width of the field in
# pixels, and $j$, the number of pixels by which the field moves per step in the layer's output (the *jump*). Both start
# at 1.
#
# $$ r \leftarrow r + (k - 1)\, d \, j, \qquad j \leftarrow j\, s $$
#
# The new layer has $k$ taps, $d$ steps apart in *its own* input, where each step is $j$ pixels.
#
# **Predict, then run.** Here are the layers of the paper's coarse network, up to the last dilated one (with fewer
# channels, which does not affect the field; *atrous*, in their names, is French for "with holes": dilated). How wide is
# the field at the end? The pictures are 256 pixels wide.

# %% tags=["predict"]
model = Generator(width=4, attention=False, rng=np.random.default_rng(0), dtype=np.float64)
layers = [*model.stages["encoder"], *model.stages["dilated"]]
r, jump, widths = 1, 1, {}
print("layer              kernel  stride  dilation  field  jump")
for layer in layers:
    r, jump = r + (layer.ksize - 1) * layer.dilation * jump, jump * layer.stride
    widths[layer.name] = r
    print(f"{layer.name:18} {layer.ksize:6} {layer.stride:7} {layer.dilation:9} {r:6} {jump:5}")

# %% [markdown]
# ## Drawn from gradients
#
# A rule is a claim. We test it on the network itself: at each layer, we take the gradient of one position in the middle
# with respect to the input. Random weights suffice, since which pixels are seen does not depend on training. (The input
# has five channels. Notebook 05 explains the one that is 1 everywhere.)

# %%
side = 288  # the largest field must fit; 256 would cut it off
x = ca.tensor(rng.standard_normal((1, side, side, 5)))  # the network's input: colours, ones, the mask
y, gradients = x, {}
for layer in layers:
    y = model.layers[layer.name](y)
    middle = y.shape[1] // 2
    dx = ca.grad(y[0, middle, middle].sum(), x).numpy()[0]
    gradients[layer.name] = np.sqrt(np.sum(dx**2, axis=2))


def extent(gradient):
    """(first row, first column, rows, columns) of the bounding box of the nonzero values."""
    rows, columns = np.flatnonzero(gradient.any(axis=1)), np.flatnonzero(gradient.any(axis=0))
    return int(rows[0]), int(columns[0]), int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


for name, gradient in gradients.items():
    assert extent(gradient)[2:] == (widths[name], widths[name]), name
print("the rule and the gradients agree at all", len(layers), "layers")

# %% [markdown]
# Now the pictures, one before the dilated layers and one after each. The dashed square is a hole of 128 × 128 around
# the position, the solid one the field predicted by the rule.
#
# **Predict, then run.** After which of the layers does the middle of the hole see its first known pixel?

# %% tags=["predict"]
shown = [layers[5], *layers[6:]]
figure = Figure(figsize=(9.5, 2.6), layout="constrained", dpi=100)
row = figure.subplots(1, 5)
outside = {}
for axes, layer in zip(row, shown, strict=True):
    gradient = gradients[layer.name]
    top, left, height, width = extent(gradient)
    centre = top + height // 2, left + width // 2
    hole = np.zeros_like(gradient, bool)
    hole[centre[0] - 64 : centre[0] + 64, centre[1] - 64 : centre[1] + 64] = True
    outside[layer.name] = float(gradient[~hole].sum() / gradient.sum())
    with np.errstate(divide="ignore"):
        brightness = np.log10(gradient / gradient.max())
    image = axes.imshow(np.maximum(brightness, -2), cmap="gray_r", vmin=-2, vmax=0)
    axes.add_patch(Rectangle((left, top), width, height, fill=False, color="k"))
    axes.add_patch(Rectangle((centre[1] - 64, centre[0] - 64), 128, 128, fill=False, color="k", linestyle="--"))
    what = f"dilation {layer.dilation}" if layer.dilation > 1 else "before dilation"
    axes.set_title(f"{layer.name.removesuffix('_atrous')}, {what}\nfield {width} pixels", fontsize=9)
    axes.set(xticks=[], yticks=[])
figure.colorbar(image, ax=row, shrink=0.8, label="|gradient|, power of ten", ticks=[-2, -1, 0])
for name, share in outside.items():
    print(f"{name:15} {100 * share:5.1f} % of the gradient lies outside the hole")
viz.show(
    figure,
    alt="Five pictures of the gradient around one position. The field grows from 31 pixels before the dilated layers "
    "to 47, 79, 143 and 271; only the last two reach beyond the dashed hole of 128. Each fades towards its edge.",
)

# %% [markdown]
# Without dilation, the four layers would end at 63 pixels, all inside the hole. With it, the third brings a rim of
# known pixels into view, and the fourth the whole picture of 256.
#
# ## Seeing is not yet listening
#
# Enough ordinary layers reach just as far: 30 more 3 × 3 layers at jump 4 also have a field of 31 + 30 · 8 = 271
# pixels. They have 30 layers of weights instead of four.
#
# **Predict, then run.** Where in that field does the output listen? As evenly as in the last picture?

# %% tags=["predict"]
glorot = np.sqrt(6 / (2 * 9 * 16))  # bound of the network's own initial weights, 16 channels to 16
plain_rng = np.random.default_rng(1)
z = x
for layer in layers[:6]:
    z = model.layers[layer.name](z)
for _ in range(30):
    z = F.elu(F.conv2d(z, plain_rng.uniform(-glorot, glorot, (3, 3, 16, 16))))
dx = ca.grad(z[0, middle, middle].sum(), x).numpy()[0]
many_plain = np.sqrt(np.sum(dx**2, axis=2))
print("extent:", extent(many_plain), "and with dilation:", extent(gradients["conv10_atrous"]))

figure = Figure(figsize=(6.5, 3), layout="constrained", dpi=100)
axes = figure.subplots()
for gradient, name, style in (
    (gradients["conv10_atrous"], "4 layers, dilations 2, 4, 8, 16", "k-"),
    (many_plain, "30 layers without dilation", "k--"),
):
    profile = gradient.sum(axis=0) / gradient.sum()
    axes.plot(np.arange(side) - centre[1], 100 * profile, style, label=name, linewidth=1)
    outside[name] = float(gradient[~hole].sum() / gradient.sum())
    print(f"{name}: {100 * outside[name]:.0f} % of the gradient lies outside the hole")
axes.axvspan(-64, 64, color="0.88", label="the hole")
axes.set(title="Where an output listens, both fields 271 pixels wide", xlabel="pixels from its middle")
axes.set_ylabel("% of the gradient per column")
axes.set_ylim(bottom=0)
axes.legend(fontsize=8)
viz.show(
    figure,
    alt="Share of the gradient in each column of pixels. With dilation it is spread evenly over the whole field; with "
    "thirty plain layers it is bell-shaped and has nearly vanished at the edge of the hole.",
)

# %% [markdown]
# With many small steps, few paths lead to a distant pixel and many to a near one, as in thirty tosses of a coin. With
# four steps of very different lengths, every pixel is reached by about the same number of paths. That is what doubling
# the dilation buys, besides saving 26 layers: the output not only sees the surroundings of the hole, it listens to
# them.
#
# What it cannot do is choose: the weights are the same everywhere, so where it listens does not depend on the content.
# That takes attention (notebook 09).
#
# ## Exercises
#
# Replace the line that raises; `check` says what is wrong with an answer. Solutions are in
# `solutions/notebook_04.py`.
#
# **1.** The rule, as a function.


# %%
def receptive_field(layers):
    """The width of the field in pixels, for layers given as (kernel, stride, dilation), first to last."""
    raise NotImplementedError


check("04.receptive_field", receptive_field)

# %% [markdown]
# **2.** Which pixels, not just how many: in one dimension with stride 1, find the sorted distances from the output's
# own pixel to all pixels it sees. A layer with $k$ taps (odd) and dilation $d$ sees the distances $-\frac{k-1}{2} d,
# \dots, -d, 0, d, \dots, \frac{k-1}{2} d$ of the layer before it.


# %%
def distances(layers):
    """A sorted list of distances, each once, for layers given as (kernel, dilation), first to last."""
    raise NotImplementedError


check("04.distances", distances)

# %% [markdown]
# **3.** How many dilated layers does a hole need? The layers before them see `field` pixels and have jump `jump`; then
# come 3 × 3 layers with dilations 2, 4, 8, and so on. Find the smallest number of them that makes the field wider than
# the hole.


# %%
def layers_needed(hole, field, jump):
    """The smallest n such that n layers with dilations 2, 4, …, 2ⁿ see more than `hole` pixels."""
    raise NotImplementedError


check("04.layers_needed", layers_needed)

# %% tags=["figures-that-matter"]
figures = {
    "fields": list(widths.values()),
    "pixels seen by three layers": counts,
    "extent at conv10": list(extent(gradients["conv10_atrous"])),
    "share of the gradient outside the hole": list(outside.values()),
    "largest gradient at conv10": float(gradients["conv10_atrous"].max()),
}
print(json.dumps(figures))
