# %% [markdown]
# # 14 · Reading attention maps
#
# **One idea:** an attention map is a *claim* about where each position copies from, and a claim can be checked. Take a
# picture for which the right answers are known, count how many of the map's claims are right, and learn what a map
# looks like when something is wrong.
#
# You need notebook 09, which introduces the attention. The maps are those of figure 4 of the paper; a second view is
# modelled on its figure 16.

# %%
import json
import os

import numpy as np
from exercises import check
from matplotlib.figure import Figure
from numpy.lib.stride_tricks import sliding_window_view

import ca_numpy as ca
from ca_numpy import attention, data, viz
from ca_numpy.filling import inpaint_details
from ca_numpy.models import Generator
from ca_numpy.testing import seconds_of
from ca_numpy.viz.attention import BOTTOM_LEFT, BOTTOM_RIGHT, TOP_LEFT, TOP_RIGHT

QUICK = os.environ.get("CA_NUMPY_QUICK") == "1"  # smaller sizes, for the tests

# %% [markdown]
# ## The problem
#
# Attention assigns a number to every *pair* of positions. For a small picture of 36 × 48 positions that is a matrix of
# 1728 × 1728, three million numbers. Which of them should you look at, and how do you know that they are right?
#
# For a photograph nobody knows where a patch *should* be copied from. So we start with a picture where this is known: a
# tile of 12 × 16 pixels, repeated, with a little noise so that no two copies are bitwise equal. Whatever is missing can
# be found a whole number of periods away, and nowhere else.
#
# As in notebook 09, the hole contains a guess when the attention sees it: the true picture, blurred twice. It stands in
# for the coarse network, whose guesses are similarly soft.

# %%
RATE = 2  # attention runs on half the size: a position is 2 × 2 pixels
PERIOD = np.array([6, 8])  # of the pattern, in positions: down and right


def blurred(x, k):
    """The mean over k × k pixels, mirrored at the border."""
    padded = np.pad(x, ((k // 2, k // 2), (k // 2, k // 2), (0, 0)), mode="reflect")
    return sliding_window_view(padded, (k, k), axis=(0, 1)).mean(axis=(3, 4))


rng = np.random.default_rng(14)
tile = rng.standard_normal((12, 16, 1)) + 0.5 * rng.standard_normal((12, 16, 3))
tile = sliding_window_view(np.pad(tile, ((1, 1), (1, 1), (0, 0)), mode="wrap"), (3, 3), axis=(0, 1)).mean(axis=(3, 4))
tile = 0.45 * (tile - tile.mean()) / tile.std()
truth = np.tile(tile, (6, 6, 1))
truth = np.clip(truth + 0.05 * rng.standard_normal(truth.shape), -1, 1)  # H W 3 in [-1, 1]
mask = np.zeros((72, 96, 1))
mask[20:50, 28:66] = 1
guess = np.where(mask, blurred(blurred(truth, 5), 5), truth)

viz.show(
    viz.picture_grid([[truth, np.where(mask, 1, truth), guess]], titles=["the truth", "the hole", "the guess"]),
    alt="Three pictures of one tile repeated six times down and six times across: whole; with a white box in the "
    "middle that hides about two and a half tiles in each direction; with the box filled by a blurred copy.",
    colours=256,
)

# %% [markdown]
# ## The equations
#
# Of the attention $a_{x x'}$ that position $x$ pays to patch $x'$, a map keeps only the largest: which patch it is, and
# where it lies relative to $x$.
#
# $$ x^*(x) = \arg\max_{x'} a_{x x'}, \qquad d(x) = x^*(x) - x $$
#
# $d$ has two components, down and right. The paper turns them into a colour: white means the position itself, pink the
# bottom left, green the top right. It names no others, so the rest is our choice: let $t$ be the angle of $d$,
# clockwise from the top right, and $h(t)$ a smooth curve through one colour for each diagonal (top right, bottom right,
# bottom left, top left: $h_0 \dots h_3$). The colour gets stronger with distance (the paper scales each picture
# differently; here all are alike), up to $d_{\max}$, the distance from corner to corner:
#
# $$ c(x) = 1 - \sqrt{\lvert d \rvert / d_{\max}}\; \big(1 - h(t)\big), \qquad
# h(t) = \tfrac14 \sum_i h_i + \tfrac12 \cos t\, (h_0 - h_2) + \tfrac12 \sin t\, (h_1 - h_3)
# + \tfrac14 \cos 2t\, (h_0 - h_1 + h_2 - h_3) $$
#
# ## Offsets: in loops, vectorised, and checked
#
# Positions are numbered in row-major order, so $x^*$ is one integer per position.

# %%
h, w = 36, 48


def look(features, hole=mask, **options):
    """The attention a, L L', and the most attended patch of each position, h w."""
    a = attention.attention_scores(features[None], features[None], hole[None], rate=RATE, **options).numpy()[0]
    return a, attention.attention_argmax(a).reshape(h, w)


def offsets_loops(index):
    d = np.zeros((*index.shape, 2), int)
    for i, j in np.ndindex(index.shape):
        row, column = index[i, j] // index.shape[1], index[i, j] % index.shape[1]
        d[i, j] = row - i, column - j
    return d


def offsets(index):
    i, j = np.indices(index.shape)
    return np.stack([index // index.shape[1] - i, index % index.shape[1] - j], axis=2)


def colours(d, diagonals, largest):
    """The equation above; diagonals: the four colours, clockwise from the top right."""
    t = np.arctan2(d[..., 0], d[..., 1])[..., None] + np.pi / 4
    h0, h1, h2, h3 = diagonals
    hue = (h0 + h1 + h2 + h3) / 4 + np.cos(t) * (h0 - h2) / 2 + np.sin(t) * (h1 - h3) / 2
    hue = hue + np.cos(2 * t) * (h0 - h1 + h2 - h3) / 4
    return 1 - np.sqrt(np.hypot(d[..., 0], d[..., 1]) / largest)[..., None] * (1 - hue)


a, index = look(guess)
d = offsets(index)
assert np.array_equal(d, offsets_loops(index))

# The oracle: the library's colours, computed independently; and white exactly where a position attends to itself.
library = viz.attention_colours(index, background=(h, w))
ours = colours(d, (TOP_RIGHT, BOTTOM_RIGHT, BOTTOM_LEFT, TOP_LEFT), np.hypot(h - 1, w - 1))
assert np.max(np.abs(ours - library)) < 1e-12
assert np.array_equal((ours == 1).all(axis=2), (d == 0).all(axis=2))
print("loops, vectorised and library agree; white means itself")

# %% [markdown]
# ## A first map
#
# **Predict, then run.** What colour will the map have outside the hole? Which colours are possible inside, and for
# which offsets?

# %% tags=["predict"]
inside = attention.downscale(ca.tensor(mask[None]), RATE).numpy()[0, ..., 0] > 0  # positions in the hole
white = float((d == 0).all(axis=2)[~inside].mean())
print(
    f"{white:.0%} of the known positions attend to themselves; in the hole, {int((d == 0).all(axis=2)[inside].sum())}"
)
viz.show(
    viz.attention_map(index, background=(h, w)),
    alt="Attention map of 36 by 48 positions: white around a coloured box in the middle. In the box, patches of every "
    "colour, with arrows that point up, down, left and right out of it; beside it the colour wheel.",
    colours=256,
)

# %% [markdown]
# White outside: every known patch matches itself best (notebook 09: Cauchy and Schwarz). Inside nothing can be white,
# since a patch that touches the hole may not be copied. That also colours a one-position rim *around* the hole, the few
# per cent that are missing from 100.
#
# The box is a quilt. Is it right? A copy is right if its source is a whole number of periods away, in any direction:
#
# $$ d \equiv 0 \pmod{(6, 8)} $$
#
# **Predict, then run.** The period has 6 × 8 = 48 positions. What share of the copies would be right by chance? What
# share is?


# %% tags=["predict"]
def right(index):
    """The share of the hole's positions that copy from a whole number of periods away."""
    return float((offsets(index) % PERIOD == 0).all(axis=2)[inside].mean())


def offset_chart(axes, index, title):
    """One dot per offset, larger for more positions; offsets where lines cross are right."""
    found, count = np.unique(offsets(index)[inside], axis=0, return_counts=True)
    good = (found % PERIOD == 0).all(axis=1)
    for chosen, marker, face, label in ((good, "o", "0.0", "right"), (~good, "X", "1.0", "wrong")):
        sizes = 8 * count[chosen] + 6
        look = {"marker": marker, "edgecolors": "k", "lw": 0.7, "label": label, "zorder": 3}
        axes.scatter(found[chosen, 1], found[chosen, 0], sizes, face, **look)
    axes.set_xticks(range(-40, 41, 8))
    axes.set_yticks(range(-24, 25, 6))
    axes.grid(color="0.85", lw=0.8)
    axes.set(xlim=(-34, 34), ylim=(26, -26), aspect="equal", xlabel="right (positions)", ylabel="down (positions)")
    axes.set_title(title, fontsize=9)


print(f"by chance {1 / 48:.0%}; here {right(index):.0%}")
figure = Figure(figsize=(6, 4), layout="constrained", dpi=100)
axes = figure.subplots()
offset_chart(axes, index, f"where {int(inside.sum())} positions of the hole look: {right(index):.0%} right")
axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), markerscale=0.6)
viz.show(
    figure,
    alt="Offsets as dots over a grid whose lines are a period apart. Nearly all large dots lie where lines cross; "
    "small crosses, the wrong ones, are mostly one position off a crossing.",
    colours=256,
)

# %% [markdown]
# More than three in four are. The quilt's colours differ because several periods compete, and noise decides between
# them; colour shows *where* a copy comes from, not how good it is. Most of the wrong ones are near misses, one position
# off a crossing.
#
# On the picture itself: the full-length arrows of some positions, and a view like the paper's figure 16, in which the
# patches that one position attends to stay bright. (The paper highlights only the regions with the largest score. Here
# brightness also shows the other weights. The position chosen is one of the near misses: from row 17, column 23 to row
# 12, column 39 its offset is $(-5, 16)$.)

# %%
asks = (17, 23)  # row and column of a position in the middle of the hole
figure = Figure(figsize=(9.5, 3.1), layout="constrained", dpi=100)
axes = figure.subplots(1, 2)
viz.attention_arrows(guess, index, background=(h, w), mask=mask, across=5, ax=axes[0])
viz.attention_highlight(guess, a, at=asks, grid=(h, w), ax=axes[1])
viz.show(
    figure,
    alt="Left: the pattern with its hole dashed and long white arrows from the hole to the known part around it. "
    "Right: the same picture dimmed except for a few bright squares; a solid frame around the brightest, a dashed one "
    "around the query patch.",
    colours=256,
)

# %% [markdown]
# ## What does a map not show?
#
# Softmax with scale $\lambda$ turns scores into weights, $a \propto e^{\lambda s}$.
#
# **Predict, then run.** The scale changes from 10 to 1, and to 100. How many positions change colour? How large is the
# largest weight?

# %% tags=["predict"]
scales = (1.0, 10.0, 100.0)
figure = Figure(figsize=(9.5, 2.7), layout="constrained", dpi=100)
same_colour, largest = [], []
for axes, scale in zip(figure.subplots(1, 3), scales, strict=True):
    weights, there = look(guess, softmax_scale=scale)
    same_colour.append(float((there == index)[inside].mean()))
    largest.append(float(np.median(weights.max(axis=1)[inside.ravel()])))
    viz.attention_highlight(guess, weights, at=asks, grid=(h, w), ax=axes)
    axes.get_legend().remove()
    mine = weights[asks[0] * w + asks[1]]
    axes.set_title(f"λ = {scale:g}: its largest weight {mine.max() / mine.sum():.0%}", fontsize=9)
figure.suptitle("What one patch (dashed) attends to (bright), most of all (solid)", fontsize=9)
for scale, stay, weight in zip(scales, same_colour, largest, strict=True):
    print(f"λ = {scale:3g}: {stay:.0%} keep their colour; largest weight, median over the hole: {weight:.1%}")
viz.show(
    figure,
    alt="The patch's attention for three scales. At 1 nearly the whole picture is bright; at 10 a few squares a "
    "period apart; at 100 a single one. The solid frame is around the same patch each time.",
    colours=256,
)

# %% [markdown]
# Not one colour changes. Softmax preserves order, so the largest stays the largest: **the map shows which patch wins,
# never by how much.** With $\lambda = 1$ the winner has one per cent of the weight, the rebuilt patch is a mixture of
# very many, and the map looks the same as for a clean copy. Read a map together with the largest weight, or with this
# view of all weights.
#
# This holds for the released code, which propagates the *scores*, before the softmax. The paper's text propagates the
# *attention*, after it ([departures](../docs/departures.md)).
#
# **Predict, then run.** In the paper's order, does the map depend on the scale? At which scale is it most like the
# code's?

# %% tags=["predict"]
text = attention.AttentionChoices(propagate="attention")
agrees = [float((look(guess, choices=text, softmax_scale=scale)[1] == index)[inside].mean()) for scale in scales]
print("; ".join(f"λ = {scale:g}: {share:.0%} as in the code" for scale, share in zip(scales, agrees, strict=True)))

# %% [markdown]
# It does, and the larger the scale, the more it deviates. Exponentials do not preserve the order of sums: at a small
# scale a sum of them still reflects how well *all* the steps match; at a large one only the best of them counts.
#
# ## What propagation does to a map
#
# **Predict, then run.** Without propagation each patch is matched independently. Does the share of right copies rise or
# fall? And the number of different offsets?

# %% tags=["predict"]
alone = look(guess, fuse=False)[1]
maps = {"alone": alone, "propagated": index}
different = {name: len(np.unique(offsets(x)[inside], axis=0)) for name, x in maps.items()}
figure = Figure(figsize=(9, 3.6), layout="constrained", dpi=100)
for axes, (name, x) in zip(figure.subplots(1, 2), maps.items(), strict=True):
    viz.attention_map(x, background=(h, w), ax=axes)
    axes.set_title(f"{name}: {right(x):.0%} right, {different[name]} different offsets", fontsize=9)
viz.show(
    figure,
    alt="Two attention maps. Alone: the box in the middle is salt, single cells of all colours. Propagated: the same "
    "box in patches of one colour each, several cells wide.",
    colours=256,
)

# %% [markdown]
# Alone, salt; propagated, a quilt. A quilt means that neighbours copy from neighbours, so whole pieces are pasted and
# their joints fit. If a network's map shows salt, look at its features, or at its propagation.
#
# ## A map that finds a seam
#
# Now put the truth itself into the hole. All copies are then right, but the map still has something to show.
#
# **Predict, then run.** Draw a line through the middle of the picture, between rows 17 and 18, and one between columns
# 23 and 24. The hole lies on both. How many of its 285 positions copy from across a line?

# %% tags=["predict"]
_, exact = look(truth)
i, j = np.indices((h, w))
beyond = ((i < h // 2) != (exact // w < h // 2)) | ((j < w // 2) != (exact % w < w // 2))
print(f"{right(exact):.0%} right; {int(beyond[inside].sum())} of {int(inside.sum())} copy from across a middle line")
rows = attention.downscale(ca.tensor(np.arange(72.0).reshape(1, 72, 1, 1)), RATE).numpy().ravel().astype(int)
print("rows kept when the size is halved:", *rows[:4], "…", *rows[15:21], "…", *rows[-3:])
viz.show(
    viz.attention_map(exact, background=(h, w)),
    alt="Attention map with the truth in the hole: larger pieces of one colour than before. The arrows point away "
    "from the middle of the picture: up in the upper half, down in the lower, left in the left half, right in the "
    "right.",
    colours=256,
)

# %% [markdown]
# Two, at the crossing of the lines, where the patches themselves straddle them. The map has four separate quarters. The
# pattern has no such lines, so the *method* must: to halve the size, the released code keeps one pixel in two and maps
# corners to corners. It takes the even rows in the upper half and the odd ones in the lower. A patch a whole number of
# periods away, but across the line, has been sampled one pixel off, and is no longer the same patch. This would not
# show in a loss, or in a filled picture; it shows in the map.
#
# ## Five faults, by their maps
#
# Below, we introduce five faults, one at a time:
#
# 1. the mask is forgotten: the attention sees no hole;
# 2. the mask is inverted: 1 for known;
# 3. patches are compared by plain inner products, not divided by their norm;
# 4. the index is read down the columns;
# 5. there is no guess: the hole is filled with 0.
#
# **Predict, then run.** What does each map look like? Sketch five boxes. Which have white surroundings?


# %% tags=["predict"]
def without_norms(features):
    """The most attended patches by plain inner products, propagated."""
    small = attention.downscale(ca.tensor(features[None]), RATE).numpy()[0]
    seen = sliding_window_view(np.pad(small, ((1, 1), (1, 1), (0, 0))), (3, 3), axis=(0, 1)).reshape(h * w, -1)
    s = attention.propagate(ca.tensor((seen @ seen.T)[None]), (h, w), (h, w)).numpy()[0]
    known = sliding_window_view(np.pad(inside, 1), (3, 3)).any(axis=(2, 3)).ravel() == 0
    return np.where(known, s, -np.inf).argmax(axis=1).reshape(h, w)


faults = {
    "as it should be": index,
    "1 mask forgotten": look(guess, np.zeros_like(mask))[1],
    "2 mask inverted": look(guess, 1 - mask)[1],
    "3 no norms": without_norms(guess),
    "4 read down the columns": index % h * w + index // h,
    "5 no guess": look(np.where(mask, 0, truth))[1],
}
figure = Figure(figsize=(10, 5), layout="constrained", dpi=100)
for axes, (name, x) in zip(figure.subplots(2, 3).flat, faults.items(), strict=True):
    viz.attention_map(x, background=(h, w), ax=axes)
    axes.set_title(f"{name}: {right(x):.0%} right", fontsize=9)
    axes.label_outer()
viz.show(
    figure,
    alt="Six attention maps. As it should be: a quilt in white. Mask forgotten: all white. Mask inverted: the box is "
    "white, and everything around points into it. No norms: blotches all over. Read down the columns: stripes over "
    "the whole picture. No guess: a uniform field of arrows to the top left in the middle of the box.",
    colours=256,
)

# %% [markdown]
# Note how little the *number* reveals: with a forgotten or inverted mask the hole may copy itself, which counts as
# right, since 0 is a multiple of every period. The maps reveal more:
#
# | what you see | what it means |
# |---|---|
# | all white, including the hole | the hole may be copied: the mask is missing |
# | a white hole, and all arrows point into it | the mask is inverted |
# | blotches in the known area | patches win by contrast: the norm is missing |
# | stripes one row high | rows and columns are mixed up in the index |
# | one smooth colour gradient, all arrows to one corner | all scores are equal: `argmax` takes the first |
# | salt | patches matched independently: no propagation, or uninformative features |
#
# The fifth is worth a second look. Where the hole is empty the scores are 0 and the map points to the top left corner,
# but its outermost *rim* is mostly right: a 3 × 3 patch there still sees known pixels. (The next positions inwards see
# none. They get scores from the rim by propagation, and fewer of them are right.)
#
# ## What does a network attend to?
#
# A network makes its own guess and its own features. To ask it the same question, we enlarge the pattern so that the
# period is 3 × 4 of *its* positions, which are 8 pixels wide. Chance is 1 in 12. One network below is untrained: its
# weights are random, and so is its guess. For comparison, the first map uses the pixels of the blurred truth, as above.
# If this package includes trained weights, theirs is the third map; otherwise there are two.
#
# **Predict, then run.** How many of the untrained network's copies are right?

# %% tags=["predict"]
large, large_mask = (x.repeat(2, axis=0).repeat(2, axis=1)[None].astype(np.float32) for x in (truth, mask))
large_hole = attention.downscale(ca.tensor(large_mask), 8).numpy()[0, ..., 0] > 0
untrained = Generator(width=8, rng=np.random.default_rng(0))
looked = {"untrained": untrained.attention_map(large, large_mask)[0][0]}
try:  # the package's own weights, if included
    done = inpaint_details(large[0], large_mask[0], backend="numpy", largest_hole=0, attention=True)
    looked["trained"] = done.attention[0]
except ca.UserError:
    print("no trained weights here: two maps")
small_guess = guess[None, ::2, ::2]  # one pixel of the guess is two of the enlarged picture; one feature is 4 × 4
scores = attention.attention_scores(small_guess, small_guess, mask[None, ::2, ::2])
looked = {"pixels of the blurred truth": attention.attention_argmax(scores).reshape(18, 24), **looked}
figure = Figure(figsize=(4.2 * len(looked), 3), layout="constrained", dpi=100)
for axes, (name, x) in zip(figure.subplots(1, len(looked)), looked.items(), strict=True):
    share = float((offsets(x) % (3, 4) == 0).all(axis=2)[large_hole].mean())
    viz.attention_map(x, background=(18, 24), ax=axes)
    axes.set_title(f"{name}: {share:.0%} right", fontsize=9)
    print(f"{name}: {share:.0%} right; by chance {1 / 12:.0%}")
viz.show(
    figure,
    alt="Attention maps of the enlarged pattern, 18 by 24 positions, by pixels and by networks. In each there are "
    "large pieces of one colour in the hole, and white around it; the arrows point out of the hole.",
    colours=256,
)

# %% [markdown]
# Far more than chance, with random weights and no meaningful guess. A convolution does the same everywhere: where the
# input repeats, so do the features, whatever the weights. And each layer sees further (notebook 04), so a position in
# the hole is identified by the known pixels around it. So **a sensible map is no evidence of training**, least of all
# on a repetitive picture. The effect of training shows where similar surroundings do *not* imply similar contents; to
# see it you need pictures, and a measure of the filling (`ca_numpy.evaluate`).
#
# ## Figures 4 and 16, on a photograph
#
# Bricks, as in notebook 09: the features are grey and its two slopes. Now nobody knows the right answers. But the map
# should have the marks of a sound one: white outside, a quilt inside.
#
# **Predict, then run.** The long joints are vertical. Does the hole look up and down along them, or to the side?

# %% tags=["predict"]
bricks = data.Photographs()[4].astype(float).reshape(128, 4, 128, 4, 3).mean(axis=(1, 3))[20:92, 20:92]
bricks_hole = np.zeros((72, 72, 1))
bricks_hole[24:48, 26:46] = 1
bricks_guess = np.where(bricks_hole, blurred(blurred(bricks, 5), 5), bricks)
grey = bricks_guess.mean(axis=2)
edge = np.pad((grey - grey.mean()) / grey.std(), 1, mode="edge")
slopes = (edge[1:-1, 2:] - edge[1:-1, :-2]) / 2, (edge[2:, 1:-1] - edge[:-2, 1:-1]) / 2
features = 0.4 * np.stack([edge[1:-1, 1:-1], *slopes], axis=2)
scores = attention.attention_scores(features[None], features[None], bricks_hole[None], rate=RATE).numpy()[0]
looks = attention.attention_argmax(scores).reshape(36, 36)
upright, level = np.median(np.abs(offsets(looks)[bricks_hole[::2, ::2, 0] > 0]), axis=0)
print(f"median offset: {upright:g} positions up or down, {level:g} to the side")
steep = np.abs(features[::2, ::2, 1]) * bricks_hole[::2, ::2, 0]  # where the guess is steepest
on_joint = tuple(int(n) for n in np.unravel_index(steep.argmax(), steep.shape))
on_brick = (13, 20)
figure = Figure(figsize=(9.5, 5.6), layout="constrained", dpi=100)
axes = figure.subplots(2, 2)
viz.attention_map(looks, background=(36, 36), ax=axes[0, 0])
viz.attention_arrows(bricks_guess, looks, background=(36, 36), mask=bricks_hole, across=4, ax=axes[0, 1])
for place, at in ((axes[1, 0], on_brick), (axes[1, 1], on_joint)):
    viz.attention_highlight(bricks_guess, scores, at=at, grid=(36, 36), ax=place)
    row = scores[at[0] * 36 + at[1]]
    print(f"{at}: {row.sum() ** 2 / np.sum(row**2):.1f} patches share the weight")
viz.show(
    figure,
    alt="Bricks with a hole. The attention map, white around a quilt of small pieces; arrows from the hole up, down "
    "and across the bricks; and the wall dimmed except where two patches attend: one to several places within bricks, "
    "the other, at a joint, to a single place where joints meet.",
    colours=256,
)

# %% [markdown]
# Neither: nearly as far to the side as up and down. Joints recur in every direction, and so do bricks. (Patches that
# share: $1 / \sum a^2$, which is $n$ for $n$ equal weights, as in notebook 09.) The last two pictures show what the map
# cannot: the weight of a patch within a brick is shared by several places; that of a patch at a joint goes to a single
# one. The first patch's colour means little, the second's a lot. There are two reasons. A patch within a brick
# resembles many others almost equally well. And its contrast is low: scores are not divided by the norm of the patch
# that asks (notebook 09), so those of a flat patch are small and close together, and its softmax is soft.
#
# ## Timed
#
# **Predict, then run.** What takes longer: the attention, or turning it into offsets? In loops, and vectorised?

# %% tags=["predict", "timed"]
rounds = 2 if QUICK else 5
runs = {
    "attention": lambda: look(guess),
    "offsets, loops": lambda: offsets_loops(index),
    "offsets, vectorised": lambda: offsets(index),
    "colours": lambda: viz.attention_colours(index, background=(h, w)),
}
milliseconds = {name: 1e3 * seconds_of(run, rounds=rounds) for name, run in runs.items()}
print(", ".join(f"{name}: {t:.2g} ms" for name, t in milliseconds.items()))
figure = Figure(figsize=(6.5, 2.2), layout="constrained", dpi=100)
axes = figure.subplots()
axes.barh(list(milliseconds), list(milliseconds.values()), 0.6, color="0.7", edgecolor="k", label="one picture")
axes.set(xscale="log", xlabel="milliseconds")
axes.set_title(f"{h} × {w} positions", fontsize=10)
axes.invert_yaxis()
axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
viz.show(
    figure,
    alt="Bars on a logarithmic scale: the attention takes by far the longest; offsets in loops are tens of times "
    "slower than vectorised; the colours lie between them.",
    colours=256,
)

# %% [markdown]
# A map costs almost nothing compared with the attention. But it needs all of $a$, or at least its largest entries: the
# library's single-kernel attention returns neither, so `attention_scores` computes $a$ again for display.
#
# ## Exercises
#
# Replace the line that raises; `check` says what is wrong with an answer. Solutions are in
# `solutions/notebook_14.py`.
#
# **1. Offsets between grids.** The background may be another picture with its own grid, and the index refers to *that*
# grid. Given `index` (h, w) and `background`, its (rows, columns), return (h, w, 2): how far down and right of each
# position its patch lies when the two grids are superimposed at their top left corners. A patch is as large as a
# position: nothing is scaled.


# %%
def offsets_between(index, background):
    """Offsets (h, w, 2) down and right, of whole patches of the background's grid."""
    raise NotImplementedError


check("14.offsets_between", offsets_between)

# %% [markdown]
# **2. Right, and not itself.** The share of right copies counted a forgotten mask as a success. Given offsets (h, w, 2)
# and the period (down, right), return the share of all positions that attend a whole number of periods away *and not to
# themselves*.


# %%
def share_right(d, period):
    """The share of positions with an offset that is a multiple of the period, and not zero."""
    raise NotImplementedError


check("14.share_right", share_right)

# %% [markdown]
# **3. The light of the dimmed pictures.** A patch covers 3 × 3 positions. Given the weights (h, w) that one position
# pays to each patch, return how much attention each *position* receives: the sum of the weights of all patches that
# cover it. There are no patches outside.


# %%
def light(weights):
    """The attention that falls on each position, (h, w)."""
    raise NotImplementedError


check("14.light", light)

# %% tags=["figures-that-matter"]
figures = {
    "white outside": white,
    "colours that stay": same_colour,
    "right": [right(x) for x in faults.values()],
    "right alone": right(alone),
    "different offsets": list(different.values()),
    "the text's order": agrees,
    "beyond the middle": int(beyond[inside].sum()),
}
print(json.dumps(figures))
