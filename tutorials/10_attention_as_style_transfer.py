# %% [markdown]
# # 10 · Attention as style transfer
#
# **One idea:** contextual attention takes *layout* from its foreground and *appearance* from its background. Given two
# different pictures, it rebuilds one out of patches of the other. Inpainting is the special case in which the first is
# a coarse guess and the second is the rest of the same photograph.
#
# You need notebook 09, which introduces these steps.

# %%
import json
import os

import numpy as np
from exercises import check
from matplotlib.figure import Figure
from numpy.lib.stride_tricks import sliding_window_view

import ca_numpy as ca
from ca_numpy import attention, data, viz
from ca_numpy.testing import seconds_of

QUICK = os.environ.get("CA_NUMPY_QUICK") == "1"  # smaller sizes, for the tests

# %% [markdown]
# ## The problem
#
# There are two pictures to be rebuilt, the *contents*, and three that supply patches, the *styles*. No network, nothing
# learnt: the features are the grey values themselves, all normalised to mean 0 and the same contrast.

# %%
SIDE, CONTRAST = 96, 0.4
photographs = data.Photographs()


def picture(number, row, column, side):
    """A square of a photograph, in grey, SIDE × SIDE pixels."""
    grey = photographs[number][row : row + side, column : column + side] @ np.array([0.299, 0.587, 0.114])
    small = grey.reshape(SIDE, side // SIDE, SIDE, side // SIDE).mean(axis=(1, 3))
    return CONTRAST * (small - small.mean()) / small.std()


face, eye = picture(0, 0, 110, 192), picture(2, 20, 60, 192)
bricks, grass, gravel = picture(4, 0, 0, 288), picture(5, 0, 0, 192), picture(6, 0, 0, 288)


def gallery(*rows):
    """Grey pictures in rows, by their titles: each pixel drawn as 2 × 2, in 17 greys (small files)."""
    width, height = 200 * max(map(len, rows)) + 8, 240 * len(rows) + 4
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    for i, row in enumerate(rows):
        for j, (title, picture) in enumerate(row.items()):
            place = (8 + 200 * j) / width, 1 - (240 * i + 44 + 2 * SIDE) / height
            axes = figure.add_axes((*place, 2 * SIDE / width, 2 * SIDE / height))
            axes.imshow(np.round(8 * picture) / 8, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
            axes.set_title(title, fontsize=9)
            axes.axis("off")
    return figure


contents = {"content: a face": face, "content: a cat's eye": eye}
styles = {"style: bricks": bricks, "style: grass": grass, "style: gravel": gravel}
viz.show(
    gallery(contents, styles),
    alt="Five grey pictures of 96 by 96 pixels: a smiling woman's head and shoulders; a cat's eye and striped fur; "
    "bricks with light vertical joints; a tangle of blades of grass; gravel of light and dark stones.",
)

# %% [markdown]
# ## The equations
#
# Let $P_f(x)$ be the $k × k$ patch of the foreground around $x$, $P_b(x')$ that of the background around $x'$, and
# $R_b(x')$ the raw patch of 4 × 4 pixels to be pasted (notebook 09, without a mask; $\lambda$ is the scale of the
# softmax, 10 in the network):
#
# $$ a_{x x'} = \operatorname*{softmax}_{x'} \, \lambda \Big\langle P_f(x), \frac{P_b(x')}{\lVert P_b(x') \rVert}
# \Big\rangle, \qquad y = \tfrac14 \sum_{x, x'} a_{x x'}\; \mathrm{paste}_x\big(R_b(x')\big) $$
#
# $f$ only selects; what is pasted comes from $b$. Nothing requires the two to be the same picture, or of the same size.
#
# ## Loops


# %%
def rebuilt_loops(f, b, scale, k=3):
    """f: h w, b: h' w', positions at every second pixel, as `downscale` below takes them. h w."""
    r = k // 2
    f_small, b_small = np.pad(downscale(f), r), np.pad(downscale(b), r)
    raw, y = np.pad(b, ((1, 1), (1, 1))), np.zeros((f.shape[0] + 2, f.shape[1] + 2))
    places = list(np.ndindex(b.shape[0] // 2, b.shape[1] // 2))
    for i, j in np.ndindex(f.shape[0] // 2, f.shape[1] // 2):
        mine, scores = f_small[i : i + k, j : j + k], []
        for i2, j2 in places:
            theirs = b_small[i2 : i2 + k, j2 : j2 + k]
            scores.append(np.sum(mine * theirs) / max(np.sqrt(np.sum(theirs * theirs)), 1e-4))
        weights = np.exp(scale * (np.array(scores) - max(scores)))
        for weight, (i2, j2) in zip(weights / weights.sum(), places, strict=True):
            y[2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += weight * raw[2 * i2 : 2 * i2 + 4, 2 * j2 : 2 * j2 + 4] / 4
    return y[1:-1, 1:-1]


# %% [markdown]
# ## Vectorised
#
# Write all patches as rows of a matrix; then matching is one matrix product, and so is mixing.


# %%
def downscale(x):
    rows, columns = (np.floor(np.linspace(0, n - 1, n // 2) + 0.5).astype(int) for n in x.shape)
    return x[np.ix_(rows, columns)]


def patches(x, k, step=1, before=None):
    """h w: one patch per row, zeros outside."""
    before = k // 2 if before is None else before
    return sliding_window_view(np.pad(x, (before, k - 1 - before)), (k, k))[::step, ::step].reshape(-1, k * k)


def attend(pf, pb, scale):
    s = scale * pf @ (pb / np.maximum(np.linalg.norm(pb, axis=1, keepdims=True), 1e-4)).T
    e = np.exp(s - s.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def pasted(mixed, shape):
    """Patches of 4 × 4 pixels, one per row, summed at every second pixel: h w."""
    y, grid = np.zeros((shape[0] + 2, shape[1] + 2)), mixed.reshape(shape[0] // 2, shape[1] // 2, 4, 4)
    for u, v in np.ndindex(4, 4):
        y[u : u + shape[0] : 2, v : v + shape[1] : 2] += grid[:, :, u, v]
    return y[1:-1, 1:-1] / 4


def rebuilt(f, b, scale, k=3):
    a = attend(patches(downscale(f), k), patches(downscale(b), k), scale)
    return pasted(a @ raw_patches(b), f.shape)


def raw_patches(b):
    return sliding_window_view(np.pad(b, 1), (4, 4))[::2, ::2].reshape(-1, 16)


# %% [markdown]
# **Checked against oracles.** Loops, vectorised, and the library's two implementations: separate steps, and a single
# kernel. Foreground and background have different sizes. (Beware of two options with similar names: `fuse=False` omits
# propagation, notebook 09's sums of scores along diagonals, and `fused=True` selects the single kernel.)


# %%
def apart(mine, theirs):
    """The largest difference; this notebook requires it to be below 1e-10."""
    difference = float(np.max(np.abs(mine - theirs)))
    assert difference < 1e-10, difference
    return f"{difference:.0e} apart"


small_f, small_b = face[20:32, 40:56], grass[30:44, 10:20]
y = rebuilt(small_f, small_b, 10.0)
by_library = [
    attention.contextual_attention(small_f[None, :, :, None], small_b[None, :, :, None], fuse=False, fused=fused)
    for fused in (False, True)
]
print("loops, vectorised:  ", apart(rebuilt_loops(small_f, small_b, 10.0), y))
print("vectorised, steps:  ", apart(by_library[0].numpy()[0, :, :, 0], y))
print("vectorised, kernel: ", apart(by_library[1].numpy()[0, :, :, 0], y))

# %% [markdown]
# ## Two basic properties
#
# **A picture rebuilt from itself.** By Cauchy and Schwarz $\langle p, q \rangle / \lVert q \rVert \le \lVert p \rVert$,
# with equality only if $q$ has the same direction as $p$: no patch matches $p$ better than $p$ itself. Propagation sums
# nine such inequalities, so the same holds for propagated scores. The sharper the softmax, the more weight each patch
# gives to itself.
#
# **Predict, then run.** How many of the 48 × 48 positions attend most to themselves? How good is the copy at $\lambda =
# 10$, at 100, at 1000?

# %% tags=["predict"]
itself = np.arange(48 * 48)
pf, pb, raw = patches(downscale(eye), 3), patches(downscale(eye), 3), raw_patches(eye)
at_home = int(np.sum(attend(pf, pb, 10.0).argmax(axis=1) == itself))
scales = (1, 10, 100, 1000, 10_000)
inside = np.s_[1:-1, 1:-1]
self_errors = [float(np.abs(pasted(attend(pf, pb, by) @ raw, eye.shape) - eye)[inside].mean()) for by in scales]
figure = Figure(figsize=(5, 2.8), layout="constrained", dpi=100)
axes = figure.subplots()
axes.loglog(scales, self_errors, "k-o", mfc="w", label="mean over the interior")
axes.set(xlabel="scale λ", ylabel="error of the copy (grey values)")
axes.set_title("The eye, rebuilt from itself", fontsize=10)
axes.legend(frameon=False)
print(f"{at_home} of {len(itself)} match themselves best; error at λ = 10: {self_errors[1]:.3f}")
viz.show(
    figure,
    alt="Mean error against the scale, both logarithmic: the curve falls slowly up to a scale of ten, then ever "
    "faster, to less than a millionth at ten thousand.",
)

# %% [markdown]
# All of them; and yet the copy is off by 0.16 at $\lambda = 10$, by 0.03 at 100 and by less than 0.001 at 1000: the
# largest weight is not the only weight. (Interior only: fewer than four patches cover the outermost pixels, but we
# divide by four.)
#
# **A shuffled background.** We shuffle the patches of $b$, together with the raw patches to be pasted.
#
# **Predict, then run.** Does the attention change? Does the picture? What if scores are propagated?

# %% tags=["predict"]
order = np.random.default_rng(0).permutation(len(itself))
pb, raw = patches(downscale(gravel), 3), raw_patches(gravel)
a, shuffled = attend(pf, pb, 10.0), attend(pf, pb[order], 10.0)
print("the attention:", apart(shuffled, a[:, order]), "from its columns in the new order")
print("the picture:  ", apart(shuffled @ raw[order], a @ raw))


def propagated(s):
    return attention.propagate(s[None], (48, 48), (48, 48)).numpy()[0]


s = pf @ (pb / np.linalg.norm(pb, axis=1, keepdims=True)).T
winners = propagated(s).argmax(axis=1), order[propagated(s[:, order]).argmax(axis=1)]
same_winners = int(np.sum(winners[0] == winners[1]))
print(f"propagated: {same_winners} of {len(itself)} positions still choose the same patch")

# %% [markdown]
# Without propagation the background is a *bag* of patches. Only propagation uses the fact that it is a picture, in
# which some patches are neighbours.
#
# ## One picture out of another
#
# From here on we use the library, with propagation.
#
# There is a snag. Scores are divided by the norm of the background patch, so they compare *directions*: a patch and the
# same patch at twice the contrast score equally, so faint shading is rebuilt at full contrast. A small change fixes
# this: give both pictures a second channel, a constant $c$. With $K = k^2 c^2$ the score becomes
#
# $$ \frac{\langle P_f, P_b \rangle + K}{\sqrt{\lVert P_b \rVert^2 + K}}
# = \sqrt K + \frac{\langle P_f, P_b \rangle - \tfrac12 \lVert P_b \rVert^2}{\sqrt K} + O(K^{-3/2}),
# \qquad \langle P_f, P_b \rangle - \tfrac12 \lVert P_b \rVert^2
# = \tfrac12 \lVert P_f \rVert^2 - \tfrac12 \lVert P_f - P_b \rVert^2 $$
#
# For large $c$ the *nearest* patch has the best score. Differences between scores shrink by $\sqrt K$, so we multiply
# $\lambda$ by it.
#
# **Predict, then run.** How large must $c$ be, compared with grey values of $\pm 0.4$, for nine of ten positions to
# choose the patch nearest to theirs? (Interior positions only: beyond the border both channels are 0.)

# %% tags=["predict"]
constants = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)
within = np.pad(np.ones((46, 46), bool), 1).ravel()
agreement = {}
for name, (f, b) in {"face from grass": (face, grass), "eye from gravel": (eye, gravel)}.items():
    pf, pb = (patches(downscale(x), 3) for x in (f, b))
    pf, pb = pf[within], pb[within]
    nearest = (pf @ pb.T - 0.5 * np.sum(pb * pb, axis=1)).argmax(axis=1)
    best = [((pf @ pb.T + 9 * c * c) / np.sqrt(np.sum(pb * pb, axis=1) + 9 * c * c)).argmax(axis=1) for c in constants]
    agreement[name] = [float(np.mean(choice == nearest)) for choice in best]
figure = Figure(figsize=(6, 2.8), layout="constrained", dpi=100)
axes = figure.subplots()
for (name, shares), style in zip(agreement.items(), ("k-o", "k--s"), strict=True):
    axes.plot(range(len(constants)), shares, style, mfc="w", label=name)
axes.set(xticks=range(len(constants)), xticklabels=constants, ylim=(0, 1.05), xlabel="constant c", ylabel="share")
axes.set_title("Positions that choose the nearest patch", fontsize=10)
axes.legend(frameon=False)
viz.show(
    figure,
    alt="Share of positions that choose the nearest patch, against the constant from 0 to 10: two curves that rise "
    "together from between 0.2 and 0.4 to 1; at a constant of 1 they are above nine tenths.",
)

# %% [markdown]
# $c = 1$ is enough, two or three times the grey values, and is used from here on.
#
# The channel has a second use. Rebuilt like the picture, it gives the share of each pixel's weight that came from
# *inside* the background: 1 in the middle, less near the borders. Dividing by it corrects the borders.


# %%
def restyle(f, b, *, c=1.0, scale=10.0, ksize=3, rate=2, stride=1, fuse_k=3):
    """f rebuilt out of patches of b, and for each position the index of the patch that it attends to most."""
    f, b = (np.stack([x, np.full_like(x, c)], axis=2)[None] for x in (f, b))
    options = {"ksize": ksize, "rate": rate, "stride": stride}
    scale = scale * ksize * c if c else scale
    a = attention.attention_scores(f, b, **options, fuse_k=fuse_k, softmax_scale=scale)
    y = attention.rebuild(a, ca.tensor(f), ca.tensor(b), **options).numpy()[0]
    best = attention.attention_argmax(a)[0].reshape(-(-f.shape[1] // rate), -1)
    return y[..., 0] / (y[..., 1] / c if c else 1), best


pairs = {"face from grass": (face, grass), "eye from gravel": (eye, gravel), "eye from bricks": (eye, bricks)}
panels = [
    {f"{name}\nby {kind}": restyle(f, b, c=c)[0] for name, (f, b) in pairs.items()}
    for c, kind in ((0.0, "direction"), (1.0, "nearness"))
]
viz.show(
    gallery(*panels),
    alt="Six pictures. Above, by direction: a face in hard black and white made of bits of grass, an eye made of "
    "stones, an eye made of brick joints. Below, by nearness: the same with finer shading in hair and skin.",
)

# %% [markdown]
# Every pixel is a mean of pixels of the style; no network is involved. The face keeps its shading, since grass has
# patches of every grey. Bricks have nothing round and nothing black: the outline of the eye remains, but the pupil is
# lost. (With nearness there is a frame: beyond the border the constant is 0, so a patch that extends over the border
# resembles only others that do.)
#
# Now to the effect of each option. We need two measures. How much of the content is preserved: the mean difference
# between the result and the content, both blurred over 7 × 7 pixels. How much of the style is preserved: the share of
# neighbours that copy *neighbours*, since only there is more than a single patch of the style visible.


# %%
def blurred(x):
    return sliding_window_view(x, (7, 7)).mean(axis=(2, 3))


def content_error(y, f):
    return float(np.abs(blurred(y) - blurred(f)).mean())


def together(best, width):
    """Share of horizontal and vertical neighbours that copy neighbours, in a background `width` patches wide."""
    right, down = best[:, 1:] == best[:, :-1] + 1, best[1:] == best[:-1] + width
    return float(np.mean(np.concatenate([right.ravel(), down.ravel()])))


measured = {}


def compare(family, label, f, b, settings):
    """A gallery of one option's values; the measurements are kept for later."""
    panels = {}
    for value, options in settings.items():
        y, best = restyle(f, b, **options)
        measured[family, value] = together(best, 48), content_error(y, f)
        panels[f"{label} {value}"] = y
    return gallery(panels)


# %% [markdown]
# ## The scale of the softmax
#
# **Predict, then run.** $\lambda$ = 0.1, 1, 10. Where is the style lost, and where the content?

# %% tags=["predict"]
viz.show(
    compare("scale", "λ =", face, grass, {by: {"scale": by} for by in (0.1, 1, 10)}),
    alt="The face from grass at three scales: a grey ghost of a face; a soft face, as if out of focus; a sharp one "
    "with blades of grass in the hair.",
)

# %% [markdown]
# A small $\lambda$ mixes many patches. Their mean is blurred and eventually grey: the style is lost first, along with
# the contrast of the content. From about 10 on, a few patches take all the weight. Which patch gets the *most*
# attention does not depend on $\lambda$.
#
# ## The size of the patches
#
# Without propagation (`fuse_k=1`), to isolate the effect, and with $\lambda = 100$: without the sum of nine scores the
# softmax needs a larger scale to be as sharp (notebook 09).
#
# **Predict, then run.** Patches of 1, 3, 5 and 9 positions per side: which copies the most style?

# %% tags=["predict"]
viz.show(
    compare("patch", "ksize", face, grass, {k: {"ksize": k, "fuse_k": 1, "scale": 100.0} for k in (1, 3, 5, 9)}),
    alt="The face from grass by patches of four sizes: like the photograph but faint and dull; sharp; made of visible "
    "blades; and a tangle in which hair and shoulders can just be made out.",
)

# %% [markdown]
# A single pixel finds its own grey almost everywhere, and finds it often: even at $\lambda = 100$ very many patches
# share the weight. They agree in this one pixel. Their surroundings, which are pasted along with it, are arbitrary and
# average to grey: what is left is a dull copy of the content. A large patch resembles few others; there is hardly one
# with an eye in it. Neighbouring positions then see almost the same patch, choose almost the same one, and pieces of
# the style are copied whole.
#
# ## Propagation
#
# Scores are summed over `fuse_k` neighbours, moving position and background patch together: along rows, then along
# columns. **Predict, then run.** This also compares over a larger area. How does it differ from a larger patch?

# %% tags=["predict"]
viz.show(
    compare("propagation", "fuse_k", eye, gravel, {k: {"fuse_k": k} for k in (1, 3, 7, 15)}),
    alt="The eye from gravel with propagation over 1, 3, 7 and 15 positions: soft; made of sharp grains; small stones "
    "in which an eye can hardly be made out; and gravel without an eye.",
)

# %%
small_part = np.s_[12:36, 12:36]
figure = Figure(figsize=(7.5, 3.4), layout="constrained", dpi=100)
for axes, fuse_k in zip(figure.subplots(1, 2), (1, 7), strict=True):
    _, best = restyle(eye, gravel, fuse_k=fuse_k)
    rows, columns = np.divmod(best, 48)
    down, right = rows - np.arange(48)[:, None], columns - np.arange(48)
    same = np.zeros((48, 48))
    same[:, :-1] += (right[:, 1:] == right[:, :-1]) & (down[:, 1:] == down[:, :-1])
    same[:-1] += (right[1:] == right[:-1]) & (down[1:] == down[:-1])
    drawn = axes.imshow(same[small_part] / 2, cmap="gray", vmin=0, vmax=1, extent=(12, 36, 36, 12))
    axes.set(xlabel="column (positions)", ylabel="row (positions)")
    axes.set_title(f"fuse_k {fuse_k}: {together(best, 48):.0%} of neighbours copied along", fontsize=9)
figure.colorbar(drawn, ax=figure.axes, label="neighbours copied along", ticks=[0, 0.5, 1], format="{x:.0%}")
viz.show(
    figure,
    alt="Two maps of 24 by 24 positions, white where both neighbours copy along, grey where one does. Without "
    "propagation it is black with a few grey specks; over 7 positions white and grey pieces fill most of it.",
)

# %% [markdown]
# A patch compares $k^2$ pixels around one position. Propagation sums the *scores* of neighbours, along a row and then a
# column: this also compares over a larger area, but reuses existing scores. Pieces of the style now stay whole; the
# black areas are the seams between them. ($\lambda$ is 10 throughout, and a sum of fewer scores makes a softer softmax:
# hence the soft picture at `fuse_k` 1.)
#
# Both in one plot. The lower right corner would be best, but is empty: from a patch of 3 on, style comes at the expense
# of content. (A patch of 1 keeps little of either. Its copy has the shapes, but the measure counts the contrast that it
# lost as an error.)

# %%
figure = Figure(figsize=(6.5, 3.6), layout="constrained", dpi=100)
axes = figure.subplots()
for family, marker, label in (
    ("patch", "k--s", "ksize, the face from grass"), ("propagation", "k-^", "fuse_k, the eye from gravel"),
):  # fmt: skip
    values = [value for kind, value in measured if kind == family]
    points = np.array([measured[family, value] for value in values])
    axes.plot(*points.T, marker, mfc="w", label=label)
    for value, point in zip(values, points, strict=True):
        below = (4, -12) if family == "patch" else (-4, 7)
        axes.annotate(f"{value}", point, xytext=below, textcoords="offset points", fontsize=8)
axes.set(xlabel="style: share of neighbours copied along", ylabel="content: error (grey values)", ylim=(0, None))
axes.set_title("What is kept of the style, and what is lost of the content", fontsize=10)
axes.legend(frameon=False)
viz.show(
    figure,
    alt="Content error against the share of neighbours copied along. With patches of 1 the error is high; from 3 on "
    "both curves rise to the right, with propagation less steeply and much further.",
)

# %% [markdown]
# ## Swapping the roles
#
# **Predict, then run.** Bricks made of the eye, gravel made of bricks, grass made of the face: what can be recognised
# in the result?

# %% tags=["predict"]
swapped = {
    "bricks from the eye": (bricks, eye),
    "gravel from bricks": (gravel, bricks),
    "grass from the face": (grass, face),
}
viz.show(
    gallery({name: restyle(f, b)[0] for name, (f, b) in swapped.items()}),
    alt="Bricks whose joints are soft and furry; the outlines of stones drawn in straight white joints; and grass "
    "without blades, in smooth grey blots as if painted with a broad brush.",
)

# %% [markdown]
# The layout of the foreground, each time; the background determines what edges and flat areas look like.
#
# This is what the network does with a hole. The coarse guess gives a rough, blurred layout: the content. The known part
# of the photograph is the style. Both show the same scene, so they fit; and learnt features measure similarity better
# than grey values.
#
# ## Memory
#
# The attention has one entry for each pair of positions. Doubling the `rate` makes it sixteen times smaller, doubling
# the `stride` between background patches four times.
#
# **Predict, then run.** Which of the two hurts more, at the same memory?

# %% tags=["predict"]
panels, options = {}, {}
for rate, stride in ((2, 1), (2, 2), (2, 4), (4, 1)):
    y, best = restyle(face, grass, rate=rate, stride=stride)
    megabytes = 8 * best.size * (-(-SIDE // rate // stride)) ** 2 / 1e6
    options[f"{rate}, {stride}"] = content_error(y, face)
    panels[f"rate {rate}, stride {stride}\n{megabytes:.1f} MB"] = y
    print(f"rate {rate}, stride {stride}: {megabytes:4.1f} MB, {len(np.unique(best))} patches used,", end=" ")
    print(f"content error {options[f'{rate}, {stride}']:.3f}")
viz.show(
    gallery(panels),
    alt="The face from grass with less and less memory. A stride of 2 is slightly coarser; with a stride of 4 the "
    "face is a faint grey mosaic; at rate 4 only strong strokes of grass are left, and no face.",
)

# %% [markdown]
# Doubling the stride costs little here: it thins out the *candidates*, and many are similar. At 2.7 MB each option
# fails in its own way. A stride of 4 leaves 144 candidates, on a grid, and propagation moves one position by one cell
# and the other by four. The chosen patches have enough contrast, but the four that cover a pixel do not fit together,
# and their mean is grey. Rate 4 compares one pixel in sixteen and pastes 8 × 8 pieces: strong patches, in the wrong
# places. Our measure prefers these, since it penalises lost contrast; would you?
#
# [Notebook 20](20_copying_hard_and_soft.ipynb) goes on from here: it shows of which classical method attention is a
# soft version, and how a network and copied pixels work together.
#
# ## Timed
#
# **Predict, then run.** How long does one pair of positions take, in loops, vectorised, and in the library?

# %% tags=["predict", "timed"]
side = 12 if QUICK else 24
f, b = face[:side, 30 : 30 + side], grass[:side, :side]
runs = {
    "loops": (lambda: rebuilt_loops(f, b, 10.0), 1),
    "vectorised": (lambda: rebuilt(f, b, 10.0), 10),
    "library, steps": (lambda: attention.contextual_attention(f[None, ..., None], b[None, ..., None], fused=False), 10),
    "library, kernel": (lambda: attention.contextual_attention(f[None, ..., None], b[None, ..., None], fused=True), 10),
}
nanoseconds = {name: 1e9 * seconds_of(run, rounds=rounds) / (side // 2) ** 4 for name, (run, rounds) in runs.items()}
figure = Figure(figsize=(6.5, 2.4), layout="constrained", dpi=100)
axes = figure.subplots()
axes.barh(list(nanoseconds), list(nanoseconds.values()), 0.6, color="0.7", edgecolor="k", label="all steps")
axes.set(xscale="log", xlim=(10, None), xlabel="nanoseconds per pair of positions")
axes.set_title(f"{side // 2} × {side // 2} positions, one channel", fontsize=10)
axes.invert_yaxis()
axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
print(", ".join(f"{name}: {t:.0f} ns" for name, t in nanoseconds.items()))
viz.show(
    figure,
    alt="Four bars of nanoseconds per pair of positions, logarithmic: loops take ten thousand or more, the "
    "three others less than a hundred.",
)

# %% [markdown]
# (The library's versions also propagate; ours do not.)
#
# ## Exercises
#
# Replace the line that raises; `check` says what is wrong with an answer. Solutions are in
# `solutions/notebook_10.py`.
#
# **1.** The nearest patch, without the detour of a constant channel, and without an array of n × m × d numbers.


# %%
def nearest(pf, pb):
    """pf: n d, pb: m d. n integers: which row of pb has the smallest squared distance to each row of pf."""
    raise NotImplementedError


check("10.nearest", nearest)

# %% [markdown]
# **2.** In colour, the content has to be matched to the style first: each *channel* of the content is given the mean
# and the standard deviation (NumPy's `std`) of that channel in the style. (Attention then finds patches in matching
# colours.)


# %%
def recoloured(content, style):
    """content: h w 3, style: h' w' 3. h w 3: the content with the style's mean and standard deviation, by channel."""
    raise NotImplementedError


check("10.recoloured", recoloured)

# %% [markdown]
# **3.** Which patches of the style are used, and how often?


# %%
def uses(best, n):
    """best: h w integers, the patch that each position copies. n numbers: how many positions copy each patch."""
    raise NotImplementedError


check("10.uses", uses)

# %% tags=["figures-that-matter"]
one_pixel = "patch", 1  # has equal patches, among which rounding decides
figures = {
    "most like themselves": at_home,
    "errors of the copy": self_errors[:3],
    "the same patch though shuffled": same_winners,
    "nearest at c = 1": [shares[3] for shares in agreement.values()],
    "style": [style for what, (style, _) in measured.items() if what != one_pixel],
    "content errors": [error for _, error in measured.values()],
    "content errors with less memory": list(options.values()),
}
print(json.dumps(figures))
