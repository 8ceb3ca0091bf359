# %% [markdown]
# # 09 · Contextual attention, step by step
#
# **One idea:** a hole is filled by *copying*. Each position compares the patch around it with all patches of the
# picture, turns the similarities into weights, and pastes the weighted sum of those patches. Comparing is a convolution
# whose kernels are the patches; pasting is a transposed convolution with the same patches.
#
# You need notebook 03 for convolutions and their transposes. This is section 4.1 of the paper, with two steps in the
# order of the released code: the paper's order is compared at the end of step 5.

# %%
import dataclasses
import json
import os

import numpy as np
from exercises import check
from interactive import interactive
from matplotlib.figure import Figure
from numpy.lib.stride_tricks import sliding_window_view

import ca_numpy as ca
from ca_numpy import attention, data, ops, viz
from ca_numpy.geometry import ConvGeometry
from ca_numpy.testing import seconds_of

QUICK = os.environ.get("CA_NUMPY_QUICK") == "1"  # smaller sizes, for the tests

# %% [markdown]
# ## The problem
#
# A convolution sees what is near. But what belongs in a hole is often found far away: the next brick, the other window.
# Here are bricks with a hole in them. In the paper a first network makes a *coarse* guess; ours is a stand-in that no
# real network could make: the true picture, blurred. It shows roughly where bright and dark belong, but lacks all sharp
# detail.


# %%
def blurred(x, k):
    return sliding_window_view(np.pad(x, k // 2, mode="reflect"), (k, k)).mean(axis=(2, 3))


bricks = data.Photographs()[4].mean(axis=2).astype(float)  # 512 × 512
bricks = bricks.reshape(128, 4, 128, 4).mean(axis=(1, 3))[20:92, 20:92]
bricks = 0.4 * (bricks - bricks.mean()) / bricks.std()  # 0 is the mean: negative is darker
hole = np.zeros(bricks.shape)
hole[24:48, 26:46] = 1
coarse = np.where(hole, blurred(blurred(bricks, 5), 5), bricks)


def gallery(panels, *, width=7.5, height=2.6, **style):
    """Grey pictures side by side, by their titles."""
    figure = Figure(figsize=(width, height), layout="constrained", dpi=100)
    for axes, (title, picture) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        axes.imshow(picture, cmap="gray", **{"vmin": -1, "vmax": 1, **style})
        axes.set_title(title, fontsize=9)
        axes.set(xticks=[], yticks=[])
    return figure


viz.show(
    gallery({"the truth, 72 × 72 pixels": bricks, "the hole": np.where(hole, 1, bricks), "the coarse guess": coarse}),
    alt="Three pictures of a brick wall: whole; with a white box in the middle; with the box filled by a blurred "
    "guess in which the joints between the bricks are faint.",
)

# %% [markdown]
# **Features.** The network compares features of 128 channels. Ours has three: grey, and its slope to the right and
# downwards. Channel 0 *is* the picture, so the result can be viewed. Foreground $f$ and background $b$ are the same
# array, as in the released code; only the mask determines which patches may be copied.
#
# **Downscaled.** Patches are compared on features of half the size (`rate = 2`), keeping one pixel of each 2 × 2: a
# position is one *cell* of $2 × 2$ pixels. There are a quarter as many positions, and a sixteenth as many pairs to
# compare.

# %%
RATE = 2
edge = np.pad(coarse, 1, mode="edge")
right, down = (edge[1:-1, 2:] - edge[1:-1, :-2]) / 2, (edge[2:, 1:-1] - edge[:-2, 1:-1]) / 2
features = np.stack([coarse, right, down], axis=2)  # H W C


def downscale(x, rate):
    """Nearest-neighbour sampling that maps corners to corners."""
    rows, columns = (np.floor(np.linspace(0, n - 1, n // rate) + 0.5).astype(int) for n in x.shape[:2])
    return x[rows[:, None], columns]


small = downscale(features, RATE)
h, w, channels = small.shape
assert np.array_equal(small, attention.downscale(ca.tensor(features[None]), RATE).numpy()[0])
viz.show(
    gallery({f"grey, {h} × {w}": small[..., 0], "slope to the right": small[..., 1], "slope down": small[..., 2]}),
    alt="The three channels of the features in half the size: the wall in grey; vertical joints, white on one side "
    "and black on the other; horizontal joints likewise. Inside the hole all three are faint.",
)

# %% [markdown]
# ## The equations
#
# Number the positions row by row, so that $x + 1$ is to the right of $x$. Let $P_f(x)$ be the $3 × 3$ patch of $f$
# around position $x$, with zeros outside the picture, and $P_b(x')$ likewise:
#
# $$ s_{x x'} = \Big\langle P_f(x),\; \frac{P_b(x')}{\lVert P_b(x') \rVert} \Big\rangle
# \quad\text{match}\qquad
# s_{x x'} \leftarrow \sum_{t=-1}^{1} s_{x + t,\; x' + t} \quad\text{propagate, left-right, then top-down} $$
#
# $$ a_{x x'} = v_{x'}\, \frac{e^{\lambda s_{x x'} v_{x'}}}{\sum_{x''} e^{\lambda s_{x x''} v_{x''}}} \quad\text{attend}
# \qquad
# y = \tfrac14 \sum_{x, x'} a_{x x'}\; \mathrm{paste}_x\big(R_b(x')\big) \quad\text{rebuild} $$
#
# $v_{x'}$ is 1 where the patch may be copied and 0 where it touches the hole, $\lambda = 10$ is the scale (the released
# code's; the paper gives no value), and $R_b(x')$ is the *raw* patch, $4 × 4$ pixels of the full-size features;
# $\mathrm{paste}_x$ places it around $x$. For top-down, positions are numbered column by column.
#
# **The paper's text** divides by $\lVert P_f(x) \rVert$ too (its equation 5, a cosine), takes the softmax of these
# scores, and only then propagates, *the weights* (its equation 6): match, attend, propagate, rebuild. The released code
# propagates the scores and then takes the softmax, as above; the published weights were trained with it. Notebook 19
# has all the differences.
#
# ## Step 1: match, in loops
#
# Compare every patch with every patch.


# %%
def match_loops(f, b, k=3):
    r = k // 2
    f_padded, b_padded = (np.pad(x, ((r, r), (r, r), (0, 0))) for x in (f, b))
    s = np.zeros((*f.shape[:2], *b.shape[:2]))
    for i, j, i2, j2 in np.ndindex(s.shape):
        mine, theirs = f_padded[i : i + k, j : j + k], b_padded[i2 : i2 + k, j2 : j2 + k]
        s[i, j, i2, j2] = np.sum(mine * theirs) / max(np.sqrt(np.sum(theirs * theirs)), 1e-4)
    return s.reshape(f.shape[0] * f.shape[1], -1)  # positions in row-major order


corner = small[10:18, 12:20]
s_loops = match_loops(corner, corner)
print("8 × 8 positions:", s_loops.shape, "scores")

# %% [markdown]
# **As a convolution.** Fix $x'$. Then $s_{x x'}$ slides one fixed small picture, the patch $P_b(x')$ normalised to
# length 1, over $f$ and takes inner products: it is a convolution with *that patch as its kernel*. All $x'$ together
# are one convolution with as many output channels as there are patches. Here: 3 × 3 × 3 → 1296.


# %%
def patches(x, k):
    """The k × k patch around each position, zeros outside: h w C -> h·w, k k C."""
    r = k // 2
    seen = sliding_window_view(np.pad(x, ((r, r), (r, r), (0, 0))), (k, k), axis=(0, 1))
    return seen.transpose(0, 1, 3, 4, 2).reshape(-1, k, k, x.shape[2])


def match(f, b, k=3):
    pf, pb = patches(f, k).reshape(-1, k * k * f.shape[2]), patches(b, k).reshape(-1, k * k * b.shape[2])
    return pf @ (pb / np.maximum(np.linalg.norm(pb, axis=1, keepdims=True), 1e-4)).T


def match_by_convolution(f, b, k=3):
    kernels = patches(b, k)
    kernels = kernels / np.maximum(np.sqrt(np.sum(kernels**2, axis=(1, 2, 3), keepdims=True)), 1e-4)
    kernels = kernels.transpose(1, 2, 3, 0)  # KH KW C O, and O runs over the patches
    geometry = ConvGeometry(pads=((k // 2, k // 2), (k // 2, k // 2)))
    return ops.conv2d(f[None], kernels, geometry=geometry).numpy()[0].reshape(-1, kernels.shape[3])


def apart(mine, theirs):
    """The largest difference; this notebook requires it to be below 1e-10."""
    difference = float(np.max(np.abs(mine - theirs)))
    assert difference < 1e-10, difference
    return f"{difference:.0e} apart"


s = match(small, small)
tensor = ca.tensor(small[None])
print("loops, vectorised:      ", apart(match(corner, corner), s_loops))
print("vectorised, convolution:", apart(match_by_convolution(small, small), s))
print("vectorised, library:    ", apart(attention.match(tensor, tensor, ksize=3).numpy()[0], s))

# %% [markdown]
# **Why divide by the norm?** By Cauchy and Schwarz, $\langle p, q \rangle / \lVert q \rVert \le \lVert p \rVert$, with
# equality only if $q$ points in the direction of $p$, so no patch scores higher than the patch itself. The released
# code omits the other half of the cosine, $/ \lVert P_f(x) \rVert$: it is a common factor of a whole row of $s$, so in
# this step it does not affect which patch wins, only by how much.
#
# **Predict, then run.** Of the 1296 positions, how many have themselves as the best match, with the division and
# without it? Which patches win without it?

# %% tags=["predict"]
plain = patches(small, 3).reshape(h * w, -1) @ patches(small, 3).reshape(h * w, -1).T
itself = np.arange(h * w)
at_home = {"divided": int(np.sum(s.argmax(1) == itself)), "not divided": int(np.sum(plain.argmax(1) == itself))}
winners = {"divided": len(set(s.argmax(1))), "not divided": len(set(plain.argmax(1)))}
for name in at_home:
    print(f"{name:12} {at_home[name]:4} of {h * w} match themselves best; {winners[name]:4} different winners")

# %% [markdown]
# Without the division high-contrast patches win even where others are more similar: fewer than 200 patches account for
# all wins.
#
# ## Step 2: what may be copied
#
# A patch that touches the hole contains guessed pixels. It is *known* only if all its nine positions are.
#
# **Predict, then run.** The hole covers 12 × 10 positions. How many patches are lost?

# %% tags=["predict"]
small_hole = downscale(hole[:, :, None], RATE)
known = (patches(small_hole, 3).sum(axis=(1, 2, 3)) == 0).astype(float)
library_known = attention.known_patches(tensor, small_hole[None], ksize=3, stride=1, rate=1).numpy()[0]
print(f"hole: {int(small_hole.sum())} positions; lost: {int(np.sum(known == 0))};", apart(known, library_known))

# %% [markdown]
# A one-position ring around the hole is lost as well: 14 × 12.
#
# Here is one position inside the hole, and its similarity to every position of the wall:

# %%
query = (20, 13)  # column and row, in positions


def score_maps(at, **maps):
    """The wall, and maps of the scores of one position against all, N N each, with its best known patch."""
    column, row = (int(np.clip(round(n), 0, size - 1)) for n, size in zip(at, (w, h), strict=True))
    figure = Figure(figsize=(7.5, 3.0), layout="constrained", dpi=100)
    wall, *others = figure.subplots(1, 1 + len(maps))
    wall.imshow(small[..., 0], cmap="gray", vmin=-1, vmax=1)
    wall.set_title("grey", fontsize=9)
    for axes, (name, scores) in zip(others, maps.items(), strict=True):
        values = scores[row * w + column]
        axes.imshow(values.reshape(h, w), cmap="gray")
        axes.set_title(name.replace("_", " "), fontsize=9)
        best = np.unravel_index(np.argmax(np.where(known > 0, values, -np.inf)), (h, w))
        axes.plot(*best[::-1], "o", ms=8, mfc="w", mec="k", mew=1.3, ls="none", label="best known")
    for axes in (wall, *others):
        axes.set(xticks=[], yticks=[])
        axes.contour(small_hole[..., 0], levels=[0.5], colors="w", linewidths=1, linestyles="--")
        axes.plot(column, row, "X", ms=8, mfc="w", mec="k", mew=1.3, ls="none", label="asks")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


viz.show(
    score_maps(query, inner_products=plain, divided_by_the_norm=s),
    alt="The wall with the hole dashed and one position in it marked by a cross, then its inner products and its "
    "scores with every position as pictures: vertical joints are bright in both. A dot marks the best known patch.",
)

# %% [markdown]
# ## Step 3: propagate
#
# If $x$ copies from $x'$, its right neighbour should copy from the right neighbour of $x'$: otherwise adjacent copies
# do not join up. So to each pair's score we add the scores of the pairs one step before and after it, with *both*
# positions moved together. In the matrix $s$ that is a sum along a **diagonal**.


# %%
def diagonal_loops(s, k=3):
    out = np.zeros_like(s)
    for x, x2 in np.ndindex(s.shape):
        for t in range(-(k // 2), k // 2 + 1):
            if 0 <= x + t < s.shape[0] and 0 <= x2 + t < s.shape[1]:
                out[x, x2] += s[x + t, x2 + t]
    return out


def diagonal(s, k=3):
    r = k // 2
    padded = np.pad(s, r)
    return sum(padded[r + t : r + t + s.shape[0], r + t : r + t + s.shape[1]] for t in range(-r, r + 1))


def by_columns(s, h, w):
    """The same scores with positions numbered by columns; applying it again with (w, h) undoes it."""
    return s.reshape(h, w, h, w).transpose(1, 0, 3, 2).reshape(h * w, h * w)


def propagate(s, h, w, k=3):
    s = diagonal(s, k)  # left-right: x + 1 is the neighbour to the right
    return by_columns(diagonal(by_columns(s, h, w), k), w, h)  # top-down: now x + 1 is the neighbour below


unit = np.zeros((9, 9))
unit[3, 5] = 1
figure = Figure(figsize=(7.5, 2.9), layout="constrained", dpi=100)
corner_p = propagate(s_loops, 8, 8)
panels = {"one score, 9 × 9": unit, "its sum along diagonals": diagonal(unit)}
panels |= {"scores of 8 × 8 positions": s_loops, "propagated": corner_p}
for axes, (title, matrix) in zip(figure.subplots(1, 4), panels.items(), strict=True):
    axes.imshow(matrix, cmap="gray_r")
    axes.set_title(title, fontsize=9)
    axes.set(xticks=[], yticks=[], xlabel="x′", ylabel="x")
viz.show(
    figure,
    alt="Four matrices of scores. One black entry becomes three on a diagonal. A matrix of 64 by 64 scores in 8 by 8 "
    "blocks is speckled; after propagation, lines along the diagonals stand out.",
)

# %%
p = propagate(s, h, w)
print("loops, vectorised:  ", apart(diagonal(s_loops), diagonal_loops(s_loops)))
library_p = attention.propagate(ca.tensor(s[None]), (h, w), (h, w), k=3).numpy()[0]
print("vectorised, library:", apart(p, library_p))

# %% [markdown]
# (At the end of a row this sum continues into the next row, as in the released code; in the paper it stops. That is one
# of the [departures](../docs/departures.md). And the paper's equation 6 sums from $-k$ to $k$, though its text calls
# $k$ the kernel size; here a kernel of size 3 sums from −1 to 1.)
#
# What is the effect? Here are the scores of the position marked before, and the same after propagation: isolated
# matches fade, while matches supported by their surroundings remain.
#
# **Try.** In Jupyter, click elsewhere in the hole, or move the cross by arrow keys: on a joint, where two joints meet,
# in the middle of a brick. Where does propagation change which patch is the best?


# %%
def asked(at=query):
    return score_maps(at, scores=s, propagated=p)


interactive(
    asked,
    alt="The wall, and two maps of the scores of one position in the hole. Before: bright stripes and single bright "
    "cells. Propagated: smoother, bright along vertical joints; the best known patch lies elsewhere, at the top right.",
)

# %% [markdown]
# Now check, for each position in the hole, whether its right and lower neighbours copy from the corresponding
# neighbours of its own source.
#
# **Predict, then run.** What share of the neighbours do, before and after?


# %% tags=["predict"]
def together(scores):
    """1 where the right and lower neighbours copy along, 1/2 where one of them does, else 0."""
    best = np.where(known > 0, scores, -np.inf).argmax(axis=1).reshape(h, w)
    joined = np.zeros((h, w))
    joined[:, :-1] += (best[:, 1:] == best[:, :-1] + 1) / 2
    joined[:-1, :] += (best[1:, :] == best[:-1, :] + w) / 2
    return joined


inside = small_hole[..., 0] > 0
share = {name: float(together(x)[inside].mean()) for name, x in (("before", s), ("after", p))}
print("neighbours that copy along: {before:.0%} before, {after:.0%} after".format(**share))

# %% [markdown]
# ## Step 4: attend
#
# Softmax turns a row of scores into weights that sum to 1. The scale $\lambda$ controls the sharpness: for $\lambda \to
# 0$ all patches have the same weight and the result is their mean, grey; for $\lambda \to \infty$ the best one takes
# all. How many patches share the weight? If the weights sum to 1, $1 / \sum a^2$ is $n$ for $n$ equal ones. (Those of
# the known patches sum to less, so they are divided by their sum: $(\sum a)^2 / \sum a^2$.)


# %%
def attend(s, known, scale=10.0):
    logits = s * known * scale
    a = np.exp(logits - logits.max(axis=1, keepdims=True))  # the same result without overflow
    return a / a.sum(axis=1, keepdims=True) * known


def sharing(a):
    """The number of patches that share the weight: the median over the hole."""
    a = a[inside.ravel()]
    return float(np.median(a.sum(axis=1) ** 2 / np.sum(a**2, axis=1)))


# %% [markdown]
# **Predict, then run.** Propagation sums nine scores, and neighbouring scores are similar. How does it change the
# number of patches that share the weight: not at all, more, fewer?

# %% tags=["predict"]
scales = (0.1, 1.0, 10.0, 100.0)
shared = {name: [sharing(attend(x, known, by)) for by in scales] for name, x in (("alone", s), ("propagated", p))}
figure = Figure(figsize=(6, 3), layout="constrained", dpi=100)
axes = figure.subplots()
for (name, values), style in zip(shared.items(), ("k-o", "k--s"), strict=True):
    axes.loglog(scales, values, style, mfc="w", label=name)
axes.set(xlabel="scale λ", ylabel="patches that share", title="What the scale does, for positions in the hole")
axes.legend(frameon=False)
print("; ".join(f"{name}: {values[2]:.1f} patches at λ = 10" for name, values in shared.items()))
viz.show(
    figure,
    alt="Number of patches that share the weight against the scale, both logarithmic. Two falling curves from about a "
    "thousand; the one with propagation falls at a scale nearly ten times smaller, and ends at one.",
)

# %% [markdown]
# Fewer: a sum of nine similar scores is nine times as large, and so acts like a scale nine times as large. Propagation
# also sharpens.
#
# Unknown patches' scores became 0 rather than $-\infty$: they stay in the denominator, and their share is dropped. As
# long as the best score is well above 0 that share is negligible; where nothing matches, the result gets fainter.
#
# ## Step 5: rebuild
#
# At each position, paste the sum of all raw patches weighted by the position's attention. Raw patches are 4 × 4 pixels
# at a stride of 2: two cells in each direction.
#
# **Predict, then run.** If each position gives its own patch the weight 1, and all others 0, how many patches cover one
# pixel? What happens at the border if we divide by 4 everywhere?


# %% tags=["predict"]
def raw_patches(b, rate):
    """2·rate × 2·rate pixels at stride rate, starting half a cell earlier: h·w, 2·rate, 2·rate, C."""
    before, after = rate // 2, rate - rate // 2
    padded = np.pad(b, ((before, after), (before, after), (0, 0)))
    seen = sliding_window_view(padded, (2 * rate, 2 * rate), axis=(0, 1))[::rate, ::rate]
    return seen.transpose(0, 1, 3, 4, 2).reshape(-1, 2 * rate, 2 * rate, b.shape[2])


def rebuild_loops(a, b, rate):
    height, width, _ = b.shape
    before = rate // 2
    out = np.zeros((height + rate, width + rate, b.shape[2]))  # with the border
    raw = raw_patches(b, rate)
    for x, (i, j) in enumerate(np.ndindex(height // rate, width // rate)):
        for x2 in range(a.shape[1]):
            out[i * rate : i * rate + 2 * rate, j * rate : j * rate + 2 * rate] += a[x, x2] * raw[x2]
    return out[before : before + height, before : before + width] / 4


ones = rebuild_loops(np.eye(16), np.ones((8, 8, 1)), RATE)[..., 0]
print(4 * ones)

# %% [markdown]
# Four in the interior, two along the border, one in the corners: rebuilding a picture from its own patches is exact
# except at the outermost pixels, which get darker.
#
# **As a transposed convolution.** Each position adds one kernel per patch, each multiplied by a weight: this is
# notebook 03's `dx`, with the raw patches as kernels. The paper calls it *deconvolution*.
#
# The cell after the next fills the hole in three ways: without propagation, with it, and in the order of the paper's
# text.


# %%
def rebuild(a, b, rate):
    height, width, _ = b.shape
    kernels = raw_patches(b, rate).transpose(1, 2, 3, 0)  # KH KW C O, and O runs over the patches
    geometry = ConvGeometry(stride=rate, pads=((rate // 2, rate - rate // 2),) * 2)
    g = a.reshape(1, height // rate, width // rate, -1)
    return ops.conv2d_dx(g, kernels, size=(height, width), geometry=geometry).numpy()[0] / 4


crop = features[20:36, 24:40]
a_crop = attend(propagate(match(downscale(crop, RATE), downscale(crop, RATE)), 8, 8), np.ones(64))
a = attend(p, known)
y = rebuild(a, features, RATE)
library_y = attention.rebuild(*map(ca.tensor, (a[None], features[None], features[None])), ksize=3, rate=RATE).numpy()[0]
print("loops, vectorised:  ", apart(rebuild(a_crop, crop, RATE), rebuild_loops(a_crop, crop, RATE)))
print("vectorised, library:", apart(y, library_y))

# %%
alone = rebuild(attend(s, known), features, RATE)
# The paper's text: divided by both norms; softmax over the known patches; then the weights are propagated.
length = np.maximum(np.linalg.norm(patches(small, 3).reshape(h * w, -1), axis=1, keepdims=True), 1e-4)
weights = attend(s / length, known)
text = propagate(weights / weights.sum(axis=1, keepdims=True), h, w) * known
choices = dataclasses.replace(attention.OFFICIAL, propagate="attention", normalize="both", masked="exclude")
library_text = attention.attention_scores(features[None], features[None], hole[None, :, :, None], choices=choices)
print("the text's order, library:", apart(text, library_text.numpy()[0]))
total = text.sum(axis=1, keepdims=True)
low, high = total[inside.ravel()].min(), total[inside.ravel()].max()
print(f"weights of a position sum to {low:.1f} to {high:.1f}; {sharing(text):.0f} patches share, not {sharing(a):.0f}")


def filled(y):
    return np.where(hole, y[..., 0], bricks)


def error(picture):
    return float(np.abs(picture - bricks)[hole > 0].mean())


around = np.s_[16:56, 18:54]
panels = {"coarse": coarse, "without propagation": filled(alone), "with": filled(y)}
panels |= {"the text's order": filled(rebuild(text / total, features, RATE)), "the truth": bricks}
errors = {name: error(picture) for name, picture in panels.items()}
viz.show(
    gallery({f"{name}\nerror {errors[name]:.3f}": picture[around] for name, picture in panels.items()}, height=2.3),
    alt="Around the hole: filled in four ways, and the truth. The coarse filling is a blur; without propagation the "
    "joints are faint and soft; with it they are bright, but the horizontal joint at the left is smeared; in the "
    "text's order they are faint and soft again.",
)

# %% [markdown]
# **Softmax first, or last?** In the text's order the weights of up to nine neighbours are added, so they sum to nearly
# nine, and the result is nearly nine times too strong; the picture shows it divided by that sum. (The text does not
# divide. Later layers can learn to.) And where the code's nine *scores* sharpen the softmax, the text's nine *weights*
# are blended: each position copies what its neighbours chose, too, and many more patches share. With a sharper softmax
# fewer would.
#
# Nothing was learnt here. The network learns *features* in which the right patch is the most similar, and convolutions
# that repair the seams. (Error: mean absolute difference within the hole, in pixel values from −1 to 1.)
#
# **Try.** In Jupyter, move λ: from which λ on are there joints, and for which is the error the smallest, with
# propagation and without?


# %%
def at_scale(scale=10.0):
    panels = {"with propagation": p, "without": s}
    panels = {name: filled(rebuild(attend(x, known, scale), features, RATE)) for name, x in panels.items()}
    panels = {f"{name}, λ = {scale:g}\nerror {error(picture):.3f}": picture[around] for name, picture in panels.items()}
    return gallery(panels | {"the truth": bricks[around]}, width=5.5)


interactive(
    at_scale,
    scale=[0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0],
    alt="Around the hole, filled with propagation and without it, and the truth. At the scale 10 the joints are bright "
    "with propagation, and faint and soft without.",
)

# %% [markdown]
# (Joints appear from about $\lambda = 3$ on with propagation. There the error hardly changes from 10 on; without
# propagation it falls until 30. A softmax that is sharp enough copies single patches, and a sharper one copies the
# same.)
#
# ## The oracle: all steps at once
#
# The library implements the steps twice: as a composite of differentiable operations, and as a single backend kernel
# that forms no patches (notebook 11). Both must agree with our steps.

# %%
inputs = features[None], features[None], hole[None, :, :, None]
composite = attention.contextual_attention(*inputs, fused=False).numpy()[0]
kernel = attention.contextual_attention(*inputs, fused=True).numpy()[0]
print("ours, composite:", apart(y, composite))
print("ours, kernel:   ", apart(y, kernel))

# %% [markdown]
# ## Two options that save memory
#
# The matrix $a$ has an entry for each *pair* of positions. For features of $H × W$ pixels, downscaled by `rate` and
# with every `stride`-th background patch along each axis, that is
#
# $$ \frac{HW}{\text{rate}^2} \cdot \frac{HW}{\text{rate}^2\, \text{stride}^2} $$
#
# entries, of eight bytes each in this notebook: doubling the rate saves a factor of sixteen, doubling the stride a
# factor of four. Both are in section 4.1 of the paper, whose text downscales only the foreground.
#
# **Predict, then run.** From the default, rate 2 and stride 1: which loses more, doubling the rate or doubling the
# stride? And does using four times the memory, with rate 1 and stride 2, help?

# %% tags=["predict"]
options = {}
for rate, stride in ((1, 2), (2, 1), (2, 2), (4, 1)):
    out = attention.contextual_attention(*inputs, rate=rate, stride=stride, fused=False).numpy()[0]
    entries = (72 // rate) ** 2 * (72 // rate // stride) ** 2
    options[rate, stride] = filled(out), entries
    print(f"rate {rate}, stride {stride}: {8 * entries / 1e6:5.1f} MB, error {error(filled(out)):.3f}")
titles = {f"rate {r}, stride {t}\n{8 * n / 1e6:.1f} MB": picture[around] for (r, t), (picture, n) in options.items()}
viz.show(
    gallery(titles, height=2.5),
    alt="Around the hole, filled with four pairs of options, from 54 to less than 1 megabyte for the matrix. The first "
    "two show whole bricks with bright joints; in the last two the joints are broken, and there are some extra ones.",
)

# %% [markdown]
# One picture is not an experiment. Rate 1 with stride 2 looks as sharp as the default, but its error is larger: its
# joints are a pixel off, which the eye forgives and the mean difference does not. By the error, doubling the stride
# loses more than doubling the rate. A larger rate compares fewer pixels and pastes larger patches. Doubling the stride
# leaves a quarter of the candidates, on a grid: no patch around an odd row or column is one of them. And propagation
# then moves one position by one cell and the other by two, so it no longer sums over the neighbours of the copy. Here
# this costs the most. To see it, propagate between all patches and drop three quarters of them only then:
# `rebuild(attend(p, known * grid), features, RATE)`, where `grid` is 1 for even rows and columns and 0 elsewhere,
# flattened like `known`. The error is as small as with all patches.
#
# **Try.** In Jupyter, move the stride: is a larger one always worse? (The wall repeats itself, too.)


# %%
def with_stride(stride=2):
    picture = filled(attention.contextual_attention(*inputs, stride=stride, fused=False).numpy()[0])
    count = len(range(0, h, stride)) * len(range(0, w, stride))
    panels = {f"stride {stride}, {count} patches\nerror {error(picture):.3f}": picture[around]}
    return gallery(panels | {"the truth": bricks[around]}, width=4)


interactive(
    with_stride,
    stride=[1, 2, 3, 4, 5, 6, 8, 12],
    alt="Around the hole: filled with the stride 2, where the joints are broken, and the truth.",
)

# %% [markdown]
# (No: at stride 5 the error is smaller than at 2, 3 or 4. The candidates on that grid are no better: with propagation
# first, as above, and a `grid` of every fifth row and column, the error is larger than with every second, third or
# fourth. It is propagation again. The vertical joints recur about every four cells, so five cells to the right look
# like one, and the sum is nearly over the neighbours of the copy. Four cells look like none: of all these strides, 4, 8
# and 12 have the largest errors.)
#
# ## Timed
#
# **Predict, then run.** All steps for 8 × 8 positions in loops, vectorised, and by the library's kernel: how long per
# pair of positions?

# %% tags=["predict", "timed"]
side = 8 if QUICK else 16
crop = features[20 : 20 + side, 24 : 24 + side]
n = side // RATE
everything = np.ones(n * n)


def by_loops(f):
    s = match_loops(downscale(f, RATE), downscale(f, RATE))
    s = by_columns(diagonal_loops(by_columns(diagonal_loops(s), n, n)), n, n)
    return rebuild_loops(attend(s, everything), f, RATE)


def vectorised(f):
    s = match(downscale(f, RATE), downscale(f, RATE))
    return rebuild(attend(propagate(s, n, n), everything), f, RATE)


print("loops, vectorised:", apart(by_loops(crop), vectorised(crop)))
runs = {
    "loops": (lambda: by_loops(crop), 1),
    "vectorised": (lambda: vectorised(crop), 10),
    "library, composite": (lambda: attention.contextual_attention(crop[None], crop[None], fused=False), 10),
    "library, one kernel": (lambda: attention.contextual_attention(crop[None], crop[None], fused=True), 10),
}
nanoseconds = {name: 1e9 * seconds_of(run, rounds=rounds) / n**4 for name, (run, rounds) in runs.items()}
figure = Figure(figsize=(6.5, 2.4), layout="constrained", dpi=100)
axes = figure.subplots()
axes.barh(list(nanoseconds), list(nanoseconds.values()), 0.6, color="0.7", edgecolor="k")
axes.set(xscale="log", xlim=(10, None), xlabel="nanoseconds per pair of positions")
axes.set_title(f"Attention over {n} × {n} positions", fontsize=10)
axes.invert_yaxis()
print(", ".join(f"{name}: {t:.0f} ns" for name, t in nanoseconds.items()))
viz.show(
    figure,
    alt="Bars on a logarithmic scale: loops take tens of thousands of nanoseconds per pair of positions; "
    "vectorised and in the library it is one to three hundred.",
)

# %% [markdown]
# With so few positions, much of the remaining time is Python's overhead. With more, the products dominate, and notebook
# 11 reduces them fivefold.
#
# ## Exercises
#
# Replace the line that raises; `check` says what is wrong with an answer. Solutions are in
# `solutions/notebook_09.py`.
#
# **1.** Which patches may be copied?


# %%
def known_patches(hole, ksize):
    """hole: h w, 1 in the hole. h w: 1.0 where the ksize × ksize patch (odd) touches no hole, else 0.0.

    Positions outside the picture do not count as hole.
    """
    raise NotImplementedError


check("09.known_patches", known_patches)

# %% [markdown]
# **2.** Propagation along one axis, without wrapping from the end of one row into the next: `s` has four axes, $h × w ×
# h' × w'$, and both positions move to the *right* together. Positions outside the picture count as 0.


# %%
def propagate_right(s, k):
    """Σ_t s[i, j + t, i', j' + t] over the k (odd) steps t around 0."""
    raise NotImplementedError


check("09.propagate_right", propagate_right)

# %% [markdown]
# **3.** How large is the matrix? Features of $H × W$, rate and stride as above. Sizes that are not divisible are
# rounded up, each axis separately: every position that *starts* before the end counts. Single precision: four bytes per
# number.


# %%
def attention_bytes(height, width, rate, stride):
    """Bytes of the attention between all foreground positions and every stride-th background patch."""
    raise NotImplementedError


check("09.attention_bytes", attention_bytes)

# %% tags=["figures-that-matter"]
figures = {
    "most like themselves": [at_home["divided"], at_home["not divided"]],
    "patches lost to the hole": int(np.sum(known == 0)),
    "copied along": [share["before"], share["after"]],
    "patches that share at 10": [shared["alone"][2], shared["propagated"][2]],
    "errors": list(errors.values())[:4],
    "errors of the options": [error(picture) for picture, _ in options.values()],
}
print(json.dumps(figures))
