# %% [markdown]
# # 10 · Attention as style transfer
#
# **One idea:** contextual attention takes *layout* from its foreground and *appearance* from its background. Given two
# different pictures, it rebuilds one out of patches of the other. Inpainting is the special case in which the first is
# a coarse guess and the second is the rest of the same photograph. The last part lets the network guess and copies real
# pixels: guided completion.
#
# You need notebook 09, which introduces these steps.

# %%
import json
import os

import numpy as np
from exercises import check
from matplotlib.figure import Figure
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import gaussian_filter

import ca_numpy as ca
from ca_numpy import attention, data, filling, metrics, viz
from ca_numpy.filling import patchmatch, pyramid
from ca_numpy.filling.blending import joined
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
# patches of every grey. Bricks have nothing round and nothing black, so only the outline of the pupil remains. (With
# nearness there is a frame: beyond the border the constant is 0, so a patch that extends over the border resembles only
# others that do.)
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
# Without propagation (`fuse_k=1`), to isolate the effect.
#
# **Predict, then run.** Patches of 1, 3, 5 and 9 positions per side: which copies the most style?

# %% tags=["predict"]
viz.show(
    compare("patch", "ksize", face, grass, {k: {"ksize": k, "fuse_k": 1, "scale": 100.0} for k in (1, 3, 5, 9)}),
    alt="The face from grass by patches of four sizes: like the photograph but faint and dull; sharp; made of visible "
    "blades; and a tangle in which hair and shoulders can just be made out.",
)

# %% [markdown]
# A single pixel finds its own grey almost everywhere. But its surroundings in the style are arbitrary, and are pasted
# along with it: the overlaps average to a dull copy of the content. A large patch resembles few others; there is hardly
# one with an eye in it. Neighbouring positions then see almost the same patch, choose almost the same one, and pieces
# of the style are copied whole.
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
# black areas are the seams between them.
#
# Both in one plot. The lower right corner would be best, but is empty: style comes at the expense of content.

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
# ## Guided completion: one decides, the other copies
#
# The paper's claim in its introduction: patches can copy and cannot invent, convolutions can invent but copy poorly.
# Guided completion is not in the paper, but the default of `ca_numpy.inpaint`. It lets each do what it can: the network
# decides *what goes where*, and PatchMatch supplies *real pixels*, copied from patches of the same picture. Its steps:
# the network's fill, low-passed, guides the search; the *gradients* of the copies are joined; over large areas they
# keep to the network's colours.
#
# The oracle is the library's own guided fill.

# %%
WIDE = 96 if QUICK else 192  # pixels a side; the hole is the middle third, both ways
third = np.s_[WIDE // 3 : 2 * WIDE // 3]
hole = np.zeros((WIDE, WIDE), bool)
hole[third, third] = True
mask = hole[..., None].astype(np.float32)
network = ca.load()  # the bundled weights


def in_colour(number, row, column, side):
    """A square of a photograph: WIDE WIDE 3 in [-1, 1]."""
    return data.resize(photographs[number][row : row + side, column : column + side], (WIDE, WIDE))


def low(x, sigma):
    return gaussian_filter(x, (sigma, sigma, 0), mode="nearest")


def by_network(x):
    with ca.no_grad():
        return filling.blend(x, network.complete(x[None], mask[None]).refined.numpy()[0], mask)


def copied(x, *, guess=None, guide=None, seed=0):
    """For each pixel of the hole, which one to copy; by the NumPy backend, which compiles nothing."""
    with ca.use_backend("numpy"):
        return patchmatch.copied(x, hole, guess=guess, low=guide, rng=np.random.default_rng(seed))


def with_copies(x, copies):
    y = x.copy()
    y[tuple(copies.pixels.T)] = x[tuple(copies.sources.T)]
    return y


def with_copies_joined(x, copies, fill):
    y = with_copies(x, copies)
    colours = (y + low(fill - y, 16)).clip(x[~hole].min(0), x[~hole].max(0))
    return joined(x, hole, copies, colours, kept=0.001)


cat = in_colour(2, 38, 113, 225)
wholes = {"cat": cat, "face": in_colour(0, 64, 64, 384), "grass": in_colour(5, 0, 0, 192)}
network_fills = {name: by_network(x) for name, x in wholes.items()}
guides = {name: low(fill, 4) for name, fill in network_fills.items()}
unguided = {name: copied(x) for name, x in wholes.items()}
guided = {name: copied(x, guess=network_fills[name], guide=guides[name]) for name, x in wholes.items()}
fills = {
    name: {
        "network": network_fills[name],
        "PatchMatch": with_copies(x, unguided[name]),
        "guided": with_copies_joined(x, guided[name], network_fills[name]),
    }
    for name, x in wholes.items()
}

with ca.use_backend("numpy"):
    oracle = filling.guided.complete(cat, mask, network_fills["cat"])
print("the cat, by steps and by the library:", apart(fills["cat"]["guided"], oracle))

# %% [markdown]
# ## What each can do
#
# **Predict, then run.** Network, PatchMatch, both: whose fill is nearest to the truth in PSNR? Whose has the nearest
# texture, by the sliced Wasserstein distance (SWD; lower is better)?

# %% tags=["predict"]
around = np.s_[WIDE // 6 : -(WIDE // 6), WIDE // 6 : -(WIDE // 6)]
close = np.s_[WIDE // 3 - 4 : 2 * WIDE // 3 + 4, WIDE // 3 - 4 : 2 * WIDE // 3 + 4]


def colour_gallery(*rows, cut=around, zoom=2, below=0):
    """Colour pictures in rows, by their titles: the part `cut`, a pixel as zoom × zoom; `below` pixels stay free."""
    side = zoom * cat[cut].shape[0]
    width, height = (side + 8) * max(map(len, rows)) + 8, (side + 44) * len(rows) + 4 + below
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    for i, row in enumerate(rows):
        for j, (title, y) in enumerate(row.items()):
            place = (8 + (side + 8) * j) / width, 1 - (side + 44) * (i + 1) / height
            axes = figure.add_axes((*place, side / width, side / height))
            axes.imshow(y[cut] / 2 + 0.5, interpolation="nearest")
            axes.set_title(title, fontsize=9)
            axes.axis("off")
    return figure


def scores(x, y):
    """PSNR in dB, and SWD, over the hole."""
    return float(metrics.psnr(x, y, mask=mask)[0]), float(metrics.swd(y, x, mask=mask)[0])


for name, x in wholes.items():
    listed = "; ".join(f"{by} {scores(x, y)[0]:.1f} dB, SWD {scores(x, y)[1]:.0f}" for by, y in fills[name].items())
    print(f"{name}: {listed}")
shown = {"hole": np.where(mask > 0, 1, cat)}
shown |= {f"{by}\n{scores(cat, y)[0]:.1f} dB, SWD {scores(cat, y)[1]:.0f}": y for by, y in fills["cat"].items()}
shown = [*shown.items(), ("truth", cat)]
viz.show(
    colour_gallery(dict(shown[:3]), dict(shown[3:])),
    alt="A cat's face with a square hole beside the eye. The network's fill is a smooth brown blur; PatchMatch's is "
    "sharp fur in pieces, with dark spots and hard edges between them; the guided fill is fur without visible edges, "
    "light above and brown below; in the truth the corner of the eye is dark.",
    colours=48,
)

# %% [markdown]
# PSNR prefers a blur. On the face and the grass the network wins, though on the grass its fill is a plain grey:
# texture in the wrong place costs more than no texture. On the cat the guided fill is ahead of both, 19.3 dB to 18.1
# and 17.2. By SWD the network is always last; the guided fill is close to PatchMatch on the cat and the face, and ahead
# of it on the grass, with the layout of the network. Nobody invents the corner of the eye: PatchMatch cannot, and
# *this* network, trained for three hours on landscapes, does not.
#
# ## The equations of the search
#
# Let $z_p$ be all the pixels of the 7 × 7 patch around $p$, and $g_p$ the guide's colour at $p$. Each patch $p$ that
# touches the hole looks for a patch $q$ without hole pixels; then every pixel of the hole is a mean, the *vote* of the
# patches around it, with weights $w_p$:
#
# $$ d(p, q) = \lVert z_p - z_q \rVert^2 + \mathrm{weight} \cdot \lVert g_p - g_q \rVert^2, \qquad
# \mathrm{field}(p) = \operatorname*{argmin}_q d(p, q), \qquad
# z(x) = \frac{\sum_p w_p \, z(\mathrm{field}(p) + x - p)}{\sum_p w_p} $$
#
# Compare the attention at the top: here is one best match for the softmax, a squared distance for the normalised
# product, and a mean of pasted patches in both. But the attention compares all pairs. `improve_field` starts from
# *random* matches. In each round a patch tries what its four neighbours found, moved along, and a few random places
# ever nearer to its best match (Barnes et al. 2009).
#
# **Predict, then run.** Here $z$ is held fixed: the cat as filled above. There are about 30,000 patches to copy. How
# many rounds does a random field need?

# %% tags=["predict"]
RADIUS, ROUNDS = 3, (0, 1, 3, 10)
z, guide = fills["cat"]["guided"], guides["cat"]
source, wanted = pyramid.sources(hole, radius=RADIUS), pyramid.touching(hole, radius=RADIUS)
known, places, pixels = (np.argwhere(flags).astype(np.int32) for flags in (source, wanted, hole))
number = np.full(hole.shape, -1, np.int32)
number[wanted] = np.arange(len(places))
weight, equal = np.full(len(places), 0.1 * 49, np.float32), np.ones(len(places), np.float32)
reach = WIDE / 2 ** np.arange(1, 7)[:, None, None]  # of the random places: half the picture, a quarter, …
search_rng = np.random.default_rng(0)
fields = [known[search_rng.integers(len(known), size=len(places))]]
with ca.use_backend("numpy") as device:
    distances = [device.patch_distance(z, guide, weight, places, fields[0], radius=RADIUS)]
    for _ in range(ROUNDS[-1]):
        random = (reach * search_rng.uniform(-1, 1, (len(reach), len(places), 2))).astype(np.int32)
        match = source, places, number, fields[-1], distances[-1], random
        field, distance = device.improve_field(z, guide, weight, *match, radius=RADIUS, jump=1)
        assert np.all(distance <= distances[-1])  # no round raises a cost
        fields.append(field)
        distances.append(distance)
    votes = {n: device.patch_vote(z, pixels, number, fields[n], equal, radius=RADIUS) for n in ROUNDS}

# The oracle: every 40th patch against all known ones, in float64. The guide is 3 more numbers of a patch.
vectors = sliding_window_view(z, (7, 7), axis=(0, 1)).reshape(WIDE - 6, WIDE - 6, -1)
vectors = np.concatenate([vectors, np.sqrt(weight[0]) * guide[3:-3, 3:-3]], axis=2).astype(float)
some = np.s_[::40]
ours, theirs, matched = (vectors[tuple(who.T - 3)] for who in (places[some], known, fields[-1][some]))
assert np.allclose(distances[-1][some], np.sum((ours - matched) ** 2, axis=1), rtol=1e-4, atol=1e-4)
best = np.sum(ours**2, axis=1) + np.min(np.sum(theirs**2, axis=1) - 2 * ours @ theirs.T, axis=1)
means = [float(distance.mean()) for distance in distances]
print("mean distance:", ", ".join(f"{means[n]:.2f} after {n}" for n in ROUNDS))
print(f"every 40th patch: {distances[-1][some].mean():.2f} after {ROUNDS[-1]} rounds, {best.mean():.2f} for the best")
print(f"each patch tried at most {ROUNDS[-1] * (4 + len(reach))} of {len(known)} others")

in_colours, voted = {}, {}
for n in ROUNDS:
    rounds = f"{n} round{'s' * (n != 1)}"
    index = np.arange(WIDE * WIDE).reshape(WIDE, WIDE)
    index[wanted] = fields[n] @ (WIDE, 1)
    in_colours[f"field, {rounds}"] = 2 * viz.attention_colours(index, background=hole.shape) - 1
    voted[f"vote, {rounds}"] = y = z.copy()
    y[hole] = votes[n]
figure = colour_gallery(in_colours, voted, cut=close, below=190)
axes = figure.add_axes((0.1, 0.09, 0.56, 0.22))
axes.semilogy(means, "k-o", mfc="w", label="mean of all patches")
axes.set(xlabel="rounds of search", ylabel="distance d")
axes.legend(frameon=False)
viz.attention_legend(figure.add_axes((0.74, 0.1, 0.2, 0.21)))
viz.show(
    figure,
    alt="The field in colours of direction, after 0, 1, 3 and 10 rounds: noise; noise with clusters; small pieces; "
    "large pieces of one colour each. Below, the votes: an even brown; soft light and dark areas; blurred fur; the fur "
    "nearly as it was. The mean distance falls fast in the first round, then ever more slowly.",
    colours=64,
)

# %% [markdown]
# Ten. The first round already lowers the mean distance from 17.9 to 4.2, and ten lower it to 0.90, though each patch
# tried at most 100 others of 29,696; among every 40th patch the best possible mean is 0.73. One lucky patch is enough:
# its neighbours take over its offset, so that the field falls into pieces of one colour, and the votes get sharp, since
# the patches in a piece agree about their pixels. (The mean of random patches is an even brown, like attention with a
# small $\lambda$.) In the library $z$ is not fixed: search and vote alternate, from coarse to fine.
#
# ## With and without a guide
#
# PatchMatch alone has to start from something; it takes the colour of the nearest known pixel. Where the hole is wide,
# nothing else says what belongs in its middle. The guide does, at the patches' centres only, and is never copied.
#
# **Predict, then run.** In which of the three pictures does the guide matter most for the large shapes, that is, for
# what is left of a fill after a low-pass of 8 pixels?


# %% tags=["predict"]
def shape_error(x, y):
    """Root mean square difference over the hole, after the low-pass."""
    return float(np.sqrt(np.mean((low(x, 8) - low(y, 8))[hole] ** 2)))


for name, x in wholes.items():
    errors = [shape_error(x, with_copies(x, copies)) for copies in (unguided[name], guided[name])]
    print(f"{name}: {errors[0]:.3f} without, {errors[1]:.3f} with;", end=" ")
    print(f"the network itself {shape_error(x, network_fills[name]):.3f}")
without, led = (with_copies(wholes["face"], copies["face"]) for copies in (unguided, guided))
viz.show(
    colour_gallery({"copies without a guide": without, "copies with a guide": led, "the guide": guides["face"]}),
    alt="A suit with a black collar. Without a guide pale background is copied into the collar, in a step; with "
    "a guide it is not, though the collar is still broken. The guide: dark and orange areas, out of focus.",
    colours=48,
)

# %% [markdown]
# The error of the large shapes falls in all three: most on the face by its amount, 0.343 to 0.289, and on the grass by
# its share, 0.087 to 0.065. Without a guide the pale wall runs into the collar; with it, shoulder and wall meet about
# where the network says. On the face and the grass the network itself is nearer still, as a blur would be; on the cat
# the copies are, 0.127 to 0.135.
#
# ## Seams
#
# Where two copied pieces meet, their colours differ, since they come from different places. Joining keeps the copies'
# *gradients* and solves for the colours, with the known pixels as boundary (`ca_numpy.filling.blending.joined`).
#
# **Predict, then run.** Pasted and joined: how large is the step between two neighbouring pixels from different pieces,
# compared with the truth's? What does joining cost?


# %% tags=["predict"]
def of_neighbours(values):
    """Differences over the hole, of neighbours below one another and side by side."""
    return [np.diff(values[third, third], axis=axis) for axis in (0, 1)]


def seams(copies):
    """Which neighbours were copied from places that are no neighbours: two arrays of flags."""
    where = np.zeros((WIDE, WIDE, 2), int)
    where[tuple(copies.pixels.T)] = copies.sources
    return [(d != step).any(axis=2) for d, step in zip(of_neighbours(where), ((1, 0), (0, 1)), strict=True)]


for name, x in wholes.items():
    flags = seams(guided[name])
    print(f"{name}, steps across seams:", end=" ")
    for title, y in {"pasted": with_copies(x, guided[name]), "joined": fills[name]["guided"], "truth": x}.items():
        steps = [np.linalg.norm(d, axis=2)[flag] for d, flag in zip(of_neighbours(y), flags, strict=True)]
        print(f"{title} {np.concatenate(steps).mean():.2f}", end="; " if title != "truth" else "\n")
    before, after = scores(x, with_copies(x, guided[name])), scores(x, fills[name]["guided"])
    print(f"    {before[0]:.1f} dB becomes {after[0]:.1f} dB, SWD {before[1]:.0f} becomes {after[1]:.0f}")
pieces = with_copies(cat, guided["cat"])
lines, (down, right) = pieces.copy(), seams(guided["cat"])
lines[third, third][:-1][down] = lines[third, third][:, :-1][right] = 1
viz.show(
    colour_gallery({"the seams": lines, "pasted": pieces, "joined": fills["cat"]["guided"]}, cut=close, zoom=3),
    alt="The hole of the cat, enlarged: about twenty pieces outlined in white; the same without lines, in which steps "
    "in colour show most of the outlines; joined, where the fur goes on from piece to piece and is a little softer.",
    colours=48,
)

# %% [markdown]
# Pasted, steps across seams are larger than the truth's at the same places; joined, they are smaller, 0.09 instead of
# 0.10 on the cat. The cat gains 1.3 dB and the face 1.0. The price may be texture: on the face SWD rises from 282
# to 318. Joining does not know a seam from the edge of a blade, and smooths all but large steps: on the grass to 0.20,
# where the truth has 0.28.
#
# ## The attention's map as a first guess
#
# The network has an opinion of its own about what to copy: its attention names a block of the picture for each block of
# the hole (notebook 14). Copy those blocks, at full size, and start PatchMatch from them instead of from the network's
# fill; the guide stays the same.
#
# **Predict, then run.** Sharp but in blocks, or smooth but in one piece: which is the better start?


# %% tags=["predict"]
def blocks_attended(x):
    """The picture with the blocks that the attention points to copied into the hole."""
    done = filling.inpaint_details((x + 1) / 2, mask, method="network", backend="numpy", largest_hole=0, attention=True)
    index, (h, w) = done.attention
    side = WIDE // h
    cells = x.reshape(h, side, w, side, 3).swapaxes(1, 2).reshape(h * w, side, side, 3)
    y = cells[index].swapaxes(1, 2).reshape(x.shape)
    return np.where(mask > 0, y, x)


attended, found = {name: blocks_attended(x) for name, x in wholes.items()}, {}
for name, x in wholes.items():
    for first, guess in {"the fill": network_fills[name], "the blocks": attended[name]}.items():
        print(f"{name}, from {first}", end="")
        for seed in (0, 1):
            copies = copied(x, guess=guess, guide=guides[name], seed=seed)
            y = found[name, first, seed] = with_copies(x, copies)
            with ca.use_backend("numpy"):
                _, distance = filling.nearest_field(y, hole, rng=np.random.default_rng(0))
            print("; {:.1f} dB, SWD {:.0f}".format(*scores(x, y)), end=f", distance {distance[wanted].mean():.2f}")
        print()
viz.show(
    colour_gallery(
        {
            "the attention's blocks": attended["cat"],
            "copies, from these": found["cat", "the blocks", 0],
            "copies, from the network's fill": found["cat", "the fill", 0],
        },
    ),
    alt="The cat with fur in square blocks, many of them repeated side by side; the copies that start from these, "
    "sharp, in pieces that fit badly; and those that start from the network's fill, in fewer visible steps.",
    colours=48,
)

# %% [markdown]
# It is not worth it, at least for this network, three pictures and two seeds. From the attention's blocks five of six
# fills have a lower PSNR, by up to half a decibel; SWD is worse in five of six; and the mean distance to the nearest
# known patch is sometimes lower and sometimes higher. The blocks suggest why. Neighbours often name the *same* block,
# and the fill repeats it side by side. And PatchMatch starts at a quarter of the size, where a block is 2 × 2 pixels:
# its sharpness is gone, and its layout is coarser than the blur's.
#
# Contextual attention is the soft version of all this: every patch of the hole looks for patches of the known part, and
# is rebuilt from a mean of them; but it is differentiable, so that the features by which patches are compared can be
# learnt. Measures on 38 photographs, fills ranked blind, and where guided completion fails:
# [docs/results.md, "Fills"](../docs/results.md#fills).

# %% [markdown]
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
