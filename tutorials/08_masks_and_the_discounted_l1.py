# %% [markdown]
# # 08 · Masks and the discounted ℓ1
#
# **One idea:** near known pixels, an error is a mistake; far from them, it may be another valid answer. So the weight
# of an error decreases with its distance from the nearest known pixel.
#
# You need notebook 01.

# %%
import json
import os

import numpy as np
from exercises import check
from interactive import Beside, interactive
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import ca_numpy as ca
from ca_numpy import losses, viz
from ca_numpy.data import BoundingBox, MaskSampler, Photographs, box_mask
from ca_numpy.nn.optim import Adam
from ca_numpy.testing import gradcheck, seconds_of

QUICK = os.environ.get("CA_NUMPY_QUICK") == "1"  # smaller sizes, for the tests

# %% [markdown]
# ## Holes
#
# A mask says for each pixel whether it is missing: here 1 in the hole, 0 where the picture is known. (The paper's text
# uses the opposite convention.) The library draws three kinds. Each hole is enclosed in a *box* of fixed size, which
# one of the paper's two critics sees and over which the loss is computed.

# %%
figure = Figure(figsize=(8.6, 3.1), layout="constrained", dpi=100)
holes = {}
for axes, (kind, seed) in zip(figure.subplots(1, 3), (("box", 1), ("boxes", 4), ("free-form", 11)), strict=True):
    masks, (box,) = MaskSampler(kind)(np.random.default_rng(seed), 1)
    holes[kind] = float(masks.mean())
    axes.imshow(masks[0, :, :, 0], cmap="gray_r", vmin=0, vmax=1.6)
    corner = (box.left - 0.5, box.top - 0.5)
    axes.add_patch(Rectangle(corner, box.width, box.height, fill=False, linestyle="--", label="the box"))
    axes.set(title=f'"{kind}": {holes[kind]:.0%} missing', xlabel="column (pixels)", ylabel="row (pixels)")
axes.legend(loc="lower right", fontsize=8)
viz.show(
    figure,
    alt="Three masks of 256 by 256 pixels with dark holes: one rectangle a little smaller than the dashed box around "
    "it; a few rectangles inside their box; and brush strokes inside theirs.",
)

# %% [markdown]
# The first is the paper's: a rectangle at a random place, at most 128 × 128. As in the released code, it is drawn in
# two steps. The 128 × 128 box is placed at random; then it is shrunk by 0 to 16 pixels at both top and bottom, and by
# another 0 to 16 at both left and right. The rest is the hole. If the box itself were the hole, the critic that sees
# only the box would see no known pixel, and could not judge whether the fill joins its surroundings.
#
# ## The problem
#
# The simplest loss is the mean of $|x - y|$ over the box, where $x$ is the network's output and $y$ the original. But
# the middle of a hole can be filled in many ways, and the original is only one of them. How much of it can be predicted
# at all?
#
# Take pictures with a known distribution. In a row, each pixel is $\rho$ times its left neighbour plus independent
# noise, scaled so that all pixels have variance 1:
#
# $$ y_i = \rho \, y_{i-1} + \sqrt{1 - \rho^2} \; e_i $$
#
# If everything up to $y_0$ is known, the best prediction of the pixel at distance $l$ is $\rho^l \, y_0$. The rest is
# noise added later, and no network, however large, can predict it.
#
# **Predict, then run.** $\rho$ is 0.97. What share of a pixel's variance can be predicted at a distance of 1? Of 16? Of
# 64, in the middle of the paper's box?

# %% tags=["predict"]
RHO = 0.97


def chain(n):
    """The matrix that turns n noise values into such a row."""
    lag = np.arange(n)[:, None] - np.arange(n)[None, :]
    made = np.where(lag >= 0, RHO ** np.maximum(lag, 0) * np.sqrt(1 - RHO**2), 0.0)
    made[:, 0] /= np.sqrt(1 - RHO**2)  # the first has no neighbour
    return made


rows = np.random.default_rng(0).standard_normal((20000, 65)) @ chain(65).T
knowable = {}
for l in (1, 16, 64):
    error = rows[:, l] - RHO**l * rows[:, 0]
    knowable[l] = RHO ** (2 * l)
    print(f"distance {l:2}: share {knowable[l]:.3f} can be predicted; in 20000 rows {1 - error.var():.3f}")
    assert abs(1 - error.var() - knowable[l]) < 0.03

# %% [markdown]
# The best prediction has variance $\rho^{2l}$; the rest, $1 - \rho^{2l}$, is noise. At distance 64 that is nearly all
# of it. The gradient of such an error pulls the network towards what cannot be predicted, and drowns out the gradient
# of what can.
#
# ## The equation
#
# The paper therefore weights errors by the same law, a number below 1 to the power of the distance,
#
# $$ L = \frac{1}{hwc} \sum_{i,j,k} M_{ij} \, |x_{ijk} - y_{ijk}|, \quad M_{ij} = \gamma^{l_{ij}}, \; \gamma = 0.99 $$
#
# summed over the $h \times w$ pixels of the box and their $c$ channels, where $l_{ij}$ is the distance from pixel $(i,
# j)$ to the nearest known pixel. Known pixels have $l = 0$ and weight 1.
#
# ## Loops
#
# For each missing pixel, loop over all known ones.


# %%
def distance_loops(hole):
    l = np.zeros(hole.shape)
    known = np.argwhere(~hole)
    for i, j in np.argwhere(hole):
        nearest = np.inf
        for a, b in known:
            nearest = min(nearest, (i - a) ** 2 + (j - b) ** 2)
        l[i, j] = np.sqrt(nearest)
    return l


# %% [markdown]
# ## Vectorised: columns first
#
# That takes (pixels)² steps. But a squared distance is a sum, $(i - a)^2 + (j - b)^2$, and it can be minimised one term
# at a time. In each column find the *vertical* distance to the nearest known pixel in the column, $d_{ib}$, with one
# pass down and one pass up. Then only the column remains to be chosen:
#
# $$ l_{ij}^2 = \min_b \; \big( (j - b)^2 + d_{ib}^2 \big) $$


# %%
def distance(hole):
    h, w = hole.shape
    d = np.where(hole, float(h + w), 0.0)  # larger than any distance
    for i in range(1, h):
        d[i] = np.minimum(d[i], d[i - 1] + 1)
    for i in range(h - 2, -1, -1):
        d[i] = np.minimum(d[i], d[i + 1] + 1)
    across = np.arange(w)[:, None] - np.arange(w)[None, :]
    return np.sqrt((across**2 + d[:, None, :] ** 2).min(axis=2))


# %% [markdown]
# ## Checked against an oracle
#
# The two methods agree on each kind of hole, with each other and with the library.

# %%
for kind in ("box", "boxes", "free-form"):
    masks, _ = MaskSampler(kind, image_size=40, box_size=24, max_shrink=4)(np.random.default_rng(7), 1)
    hole = masks[0, :, :, 0] > 0.5
    l = distance(hole)
    library = losses.discount_by_distance(masks, gamma=0.99)[0, :, :, 0]
    assert np.allclose(l, distance_loops(hole), rtol=1e-12)
    assert np.allclose(0.99**l, library, rtol=1e-6)  # the library's weights are float32
    print(f"{kind:9}: {hole.sum():3} missing pixels, the furthest {l.max():.2f} from a known pixel")

# %% [markdown]
# ## The released code: distance to the sides of the box
#
# The authors' code does something else ([departure 8](../docs/departures.md)): it ignores the mask, uses only the box
# of height $h$ and width $w$, and has $\gamma = 0.9$:
#
# $$ M_{ij} = \max\big( \gamma^{\min(i,\, h - i)}, \; \gamma^{\min(j,\, w - j)} \big) $$
#
# with $i$ and $j$ counted from 0. The weights published by the authors were trained with it.
#
# **Predict, then run.** Write down the exponents $\min(i, h - i)$ for a box of height 8. Are the first and the last the
# same? And if all of a box of 128 × 128 is missing, what is the weight in the middle under each rule? What share of the
# total weight lies on the outermost 16 pixels, which are 44 % of the area?

# %% tags=["predict"]
i = np.arange(8)
print("exponents of 8 rows:", np.minimum(i, 8 - i).tolist(), "  symmetric ones:", np.minimum(i, 7 - i).tolist())

size, box = 256, BoundingBox(64, 64, 128, 128)
mask = np.zeros((size, size, 1), np.float32)
box.crop(mask)[...] = 1
weights = {
    "box, γ = 0.9": losses.discount_by_box((128, 128), gamma=0.9)[:, :, 0],
    "distance, γ = 0.99": box.crop(losses.discount_by_distance(mask[None], gamma=0.99))[0, :, :, 0],
}
outer = np.ones((128, 128), bool)
outer[16:-16, 16:-16] = False
middle, outer_share = {}, {}
for name, m in weights.items():
    middle[name], outer_share[name] = float(m[64, 64]), float(m[outer].sum() / m.sum())
    print(f"{name:18}: middle {middle[name]:.4f}, outermost 16 pixels {outer_share[name]:.0%} of the weight, "
          f"first row {m[0, 64]:.3f}, last row {m[127, 64]:.3f}")  # fmt: skip

# %% [markdown]
# Counted from 0, the first row is 0 away from its side and the last is 1 away: $h - i$ is 1 for $i = h - 1$. So the
# bottom and right sides weigh slightly less than the top and left. This is presumably unintended, and does little harm.
# The other difference is large: the paper's rule halves the weight towards the middle, while the code's rule almost
# switches the middle off.
#
# And since holes are shrunk, a pixel at the side of the box may well be *known*. Then the two rules differ
# qualitatively: by distance the weight falls only inside the hole; by the box's side it has fallen before the hole
# begins.

# %%
shrunk = box_mask(np.random.default_rng(19), box, image_size=size, max_shrink=16)
weights_shrunk = box.crop(losses.discount_by_distance(shrunk[None], gamma=0.99))[0, :, :, 0]
hole_rows = np.flatnonzero(box.crop(shrunk)[:, 64, 0])

figure = Figure(figsize=(9, 3.4), layout="constrained", dpi=100)
left, middle_axes, right = figure.subplots(1, 3)
maps = {"by the box's side, γ = 0.9": weights["box, γ = 0.9"], "by distance, γ = 0.99": weights_shrunk}
for axes, (name, m) in zip((left, middle_axes), maps.items(), strict=True):
    axes.imshow(m, cmap="gray", vmin=0, vmax=1)
    dark = m.min() < 0.1
    lines = axes.contour(m, [0.1, 0.5] if dark else [0.7, 0.9], colors="w" if dark else "k", linewidths=0.8)
    axes.clabel(lines, fontsize=7)
    axes.set(title=f"M {name}", xlabel="column (pixels)", ylabel="row (pixels)")
for (name, m), style in zip(maps.items(), ("k--", "k-"), strict=True):
    right.plot(m[:, 64], style, label=name)
right.axvspan(hole_rows[0], hole_rows[-1], facecolor="0.9", edgecolor="0.6", label="the hole")
right.set(title="Down the middle column", xlabel="row (pixels)", ylabel="weight M", ylim=(0, 1.5))
right.legend(frameon=False, fontsize=8, loc="upper center")
viz.show(
    figure,
    alt="Two maps of weights over the box and a section through each. By the box's side, a bright frame and a black "
    "middle; by distance, white outside the hole and pale grey in its middle. In the section the first falls from one "
    "to almost zero within 40 pixels of a side; the second stays at one up to the hole and decreases to 0.6 in its "
    "middle.",
)

# %% [markdown]
# **Try.** In Jupyter, move γ: for which γ does the middle of this hole weigh half as much as its edge?


# %%
def discounted(gamma=0.99, mask=shrunk):
    """The weights by distance, and how many pixels of the hole have which."""
    m = losses.discount_by_distance(mask[None], gamma=gamma)[0, :, :, 0]
    in_hole = m[mask[..., 0] > 0]
    figure = Figure(figsize=(7, 3.2), layout="constrained", dpi=100)
    left, right = figure.subplots(1, 2)
    shown = left.imshow(m, cmap="gray", vmin=0, vmax=1)
    left.set(title=f"M by distance, γ = {gamma:g}", xlabel="column (pixels)", ylabel="row (pixels)")
    figure.colorbar(shown, ax=left)
    right.hist(in_hole, np.linspace(0, 1, 41), color="0.8", edgecolor="k")
    right.axvline(in_hole.min(), color="k", linestyle="--", label=f"smallest: {in_hole.min():.2f}")
    right.set(title="In the hole", xlabel="weight M", ylabel="pixels")
    right.legend(frameon=False, loc="upper left")
    return figure


interactive(
    discounted,
    gamma=[0.8, 0.85, 0.9, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995, 0.998],
    alt="A white map with a pale grey rectangle, darker towards its middle; and a histogram of the weights in it, from "
    "0.58 to one: larger weights are more frequent, with a few exceptions.",
)

# %% [markdown]
# (The hole is 108 pixels high, so its middle is 54 from the nearest known pixel, and its edge 1: $\gamma^{53} =
# \frac12$ at $\gamma = 0.987$.)
#
# **Try.** In Jupyter, paint a hole of your own into this picture (the bundled network fills it), then run the cell
# after it: which pixels of your hole weigh the least?

# %%
cat = Photographs().pixels(2)[20:276, 100:356]


def page_to_paint():
    """A widget to paint holes; it begins with the mask from above."""
    page = viz.explorer(None, cat)
    page.session.set_hole(shrunk)
    return page


figure = Figure(figsize=(3.2, 3.2), layout="constrained", dpi=100)
axes = figure.subplots()
axes.imshow(cat)
axes.contourf(shrunk[..., 0], [0.5, 1], colors="none", hatches=["///"])
axes.set(title="A picture and its hole, hatched", xlabel="column (pixels)", ylabel="row (pixels)")
painted = Beside(viz.show(figure, alt="The face of a cat, with a hatched rectangle over its middle."), page_to_paint)
painted

# %%
own = painted.widget.session.hole if painted.widget else shrunk
viz.show(
    discounted(mask=own),
    alt="The weights of the hole that was painted last, as above: without one, those of the rectangle.",
)

# %% [markdown]
# ## The effect on the gradient
#
# A loss acts only through its gradient, and that of $M\,|x - y|$ is simple:
#
# $$ \frac{\partial L}{\partial x_{ijk}} = \frac{M_{ij}}{hwc} \, \mathrm{sign}(x_{ijk} - y_{ijk}) $$
#
# $|x - y|$ pulls every pixel with the same force, however large the error; $M$ is that force. For a picture generated
# as above, in two dimensions, and a uniform grey guess:

# %%
n, side = 96, 64
small_box = BoundingBox(16, 16, side, side)
inside = slice(16, 16 + side)
picture = (chain(n) @ np.random.default_rng(6).standard_normal((n, n)) @ chain(n).T)[None, :, :, None]
small_mask = box_mask(np.random.default_rng(6), small_box, image_size=n, max_shrink=8)[None].astype(float)
pulls = {}
for discount in ("none", "box", "distance"):
    x = ca.tensor(np.zeros_like(picture))
    L = losses.discounted_l1(x, picture, small_mask, [small_box], discount=discount)
    pulls[discount] = ca.grad(L, x).numpy()[0, :, :, 0]
    print(f"{discount:8}: loss {float(L):.4f}, sum of all forces {np.abs(pulls[discount]).sum():.3f}")

m = np.zeros((n, n))
small_box.crop(m[:, :, None])[...] = losses.discount_by_box((side, side))
assert np.allclose(pulls["box"], -m * np.sign(picture[0, :, :, 0]) / side**2, rtol=1e-6)


corner = slice(24, 30)  # finite differences are slow: use one corner


def loss_of(x):
    y, m = picture[:, corner, corner], small_mask[:, corner, corner]
    return losses.discounted_l1(x, y, m, [(1, 1, 4, 4)], discount="box")


gradcheck(loss_of, [np.zeros((1, 6, 6, 1))], rng=np.random.default_rng(8))
print("and a corner of it agrees with finite differences")

figure = Figure(figsize=(9, 3.1), layout="constrained", dpi=100)
for axes, (name, g) in zip(figure.subplots(1, 3), pulls.items(), strict=True):
    shown = axes.imshow(-g * side**2, cmap="gray", vmin=-1, vmax=1)
    axes.add_patch(Rectangle((15.5, 15.5), side, side, fill=False, linestyle="--", label="the box"))
    axes.set(title=f'discount="{name}"', xlabel="column (pixels)", ylabel="row (pixels)")
axes.legend(loc="upper right", fontsize=8)
figure.colorbar(shown, ax=figure.axes, label="force on a pixel (1 / hw)")
viz.show(
    figure,
    alt="Three maps of the force on each pixel; outside the box they are grey, which means none. Without a discount, "
    "pure white and black patches, for up and down. By the box's side the same patches, fading to grey in the middle. "
    "By distance the same again, only slightly weaker in the middle.",
)

# %% [markdown]
# ## The effect on learning
#
# A network cannot get everything right; the discount determines what it should get right *first*. Here is a very small
# model: the 64 × 64 box is filled with 5 × 5 cosine waves, and only their amplitudes are learnt. That is too few.
# (`Adam` is gradient descent that adapts the step of each amplitude.)
#
# **Predict, then run.** Where will errors be smaller with a discount than without, and where larger?

# %% tags=["predict"]
waves = np.cos(np.pi * np.outer(np.arange(side) + 0.5, np.arange(5)) / side)
truth, mask_in_box = picture[:, inside, inside], small_mask[:, inside, inside]
l = distance(small_mask[0, :, :, 0] > 0.5)[inside, inside]
bands = {"known": l == 0, "distance 1 to 4": (l > 0) & (l <= 4), "4 to 16": (l > 4) & (l <= 16), "beyond": l > 16}


def learnt(discount, *, steps):
    heights = {"a": ca.tensor(np.zeros((5, 5)))}
    adam = Adam(heights, rate=2e-2, betas=(0.9, 0.99))
    for _ in range(steps):
        x = (waves @ heights["a"] @ waves.T).reshape(1, side, side, 1)
        L = losses.discounted_l1(x, truth, mask_in_box, [(0, 0, side, side)], discount=discount)
        adam.step(ca.grad(L, list(heights.values())))
    return np.abs((waves @ heights["a"].numpy() @ waves.T) - truth[0, :, :, 0])


for discount in ("none", "distance", "box"):
    error = learnt(discount, steps=5 if QUICK else 400)
    print(f"{discount:8}: mean error", "; ".join(f"{name} {error[band].mean():.3f}" for name, band in bands.items()))

# %% [markdown]
# By the box's side, the known rim improves, here at the expense of everything inside, and most of all the middle: the
# waves are used where errors count. The paper's rule hardly differs from no discount at this size: the hole is 56 × 56,
# so its middle is 28 from the nearest known pixel, and $0.99^{28}$ is 0.75. (And this toy fits a single picture. Over
# many pictures the unpredictable part varies from one to the next, and there the discount also reduces noise. Whether
# that helps is measured in [docs/ablations.md](../docs/ablations.md), in the row `no-discount`; notebook 18 explains
# how to read such a table.)
#
# ## Timed
#
# **Predict, then run.** All missing against all known pixels, or columns first: how does each time grow when the side
# doubles?

# %% tags=["predict", "timed"]
sides = [8, 16] if QUICK else [8, 16, 32, 48]
times = {"loops over all pairs": [], "columns first": []}
for width in sides:
    quarter = np.zeros((width, width), bool)
    quarter[width // 4 : -(width // 4), width // 4 : -(width // 4)] = True
    times["loops over all pairs"].append(seconds_of(lambda: distance_loops(quarter), rounds=1))
    times["columns first"].append(seconds_of(lambda: distance(quarter)))

figure = Figure(figsize=(6, 3.4), layout="constrained", dpi=100)
axes = figure.subplots()
for (name, seconds), style in zip(times.items(), ("k--^", "k-o"), strict=True):
    axes.loglog(sides, [1e3 * s for s in seconds], style, label=name)
axes.set(title="Time to find all distances to the known", xlabel="side of the picture (pixels)", ylabel="milliseconds")
axes.legend(frameon=False)
axes.grid(color="0.9")
viz.show(
    figure,
    alt="Time against the picture's side, both logarithmic. Loops over all pairs rise steeply, sixteenfold when the "
    "side doubles; columns first stays far below and rises slowly.",
)

# %% [markdown]
# Doubling the side makes 16 times as many pairs, and 8 times as many terms for columns first; at these sizes even those
# are hidden by NumPy's call overhead. In training it is done once per picture, a small cost next to the network's
# convolutions.
#
# ## Exercises
#
# Replace the line that raises; `check` says what is wrong with an answer. Solutions are in
# `solutions/notebook_08.py`.
#
# **1.** The paper's hole: a box, shrunk. `box` is (top, left, height, width).


# %%
def shrunk_hole(box, dy, dx, size):
    """A mask (size, size), 1 in the hole: the box less its first and last dy rows, its first and last dx columns."""
    raise NotImplementedError


check("08.hole", shrunk_hole)

# %% [markdown]
# **2.** The distance to the nearest known pixel, without loops over pixels. Any method will do; pixels outside the
# picture do not count as known.


# %%
def distance_to_known(hole):
    """Euclidean distances (h, w), where hole (h, w) is True for missing pixels and False for at least one."""
    raise NotImplementedError


check("08.distance", distance_to_known)

# %% [markdown]
# **3.** The released code's weights, corrected: by the distance to the nearest side, the same for all four. The
# outermost pixels on each side have weight 1.


# %%
def symmetric_discount(h, w, gamma):
    """Weights (h, w), unchanged when flipped along either axis."""
    raise NotImplementedError


check("08.symmetric", symmetric_discount)

# %% tags=["figures-that-matter"]
figures = {
    "missing": list(holes.values()),
    "share that can be known": list(knowable.values()),
    "weight in the middle": list(middle.values()),
    "weight on the outermost 16 pixels": list(outer_share.values()),
    "sum of forces": [float(np.abs(g).sum()) for g in pulls.values()],
    "pixels by distance": [int(band.sum()) for band in bands.values()],
    "error after five steps": float(learnt("box", steps=5).mean()),
}
print(json.dumps(figures))
