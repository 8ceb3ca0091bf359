# %% [markdown]
# # 10 · Attention as style transfer
#
# **One idea:** contextual attention takes *what is where* from its foreground and *what it looks like* from its
# background. Give it two different pictures, and it rebuilds the one out of patches of the other. Inpainting is the
# special case in which the first is a coarse guess, and the second is the rest of the same photograph.
#
# You need notebook 09, whose steps these are.

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
# Two pictures to be rebuilt, the *contents*, and three whose patches may be used, the *styles*. No network, nothing
# learnt: the features are the grey values themselves, all brought to the same mean, 0, and the same contrast.

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
    """Grey pictures in rows, by their titles: each pixel drawn as 2 × 2, in 33 greys (small files)."""
    width, height = 200 * max(map(len, rows)) + 8, 240 * len(rows) + 4
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    for i, row in enumerate(rows):
        for j, (title, picture) in enumerate(row.items()):
            place = (8 + 200 * j) / width, 1 - (240 * i + 44 + 2 * SIDE) / height
            axes = figure.add_axes((*place, 2 * SIDE / width, 2 * SIDE / height))
            axes.imshow(np.round(16 * picture) / 16, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
            axes.set_title(title, fontsize=9)
            axes.axis("off")
    return figure


contents = {"content: a face": face, "content: a cat's eye": eye}
styles = {"style: bricks": bricks, "style: grass": grass, "style: gravel": gravel}
viz.show(
    gallery(contents, styles),
    alt="Five grey pictures of 96 by 96 pixels: a smiling woman's head and shoulders; a cat's eye and striped fur; "
    "bricks with light upright joints; blades of grass in disorder; gravel of light and dark stones.",
)

# %% [markdown]
# ## The equations
#
# With $P_f(x)$ the $k × k$ patch of the foreground around $x$, $P_b(x')$ that of the background around $x'$, and
# $R_b(x')$ the raw patch of 4 × 4 pixels that is pasted (notebook 09, without a mask; $\lambda$ is the scale of the
# softmax, 10 in the network):
#
# $$ a_{x x'} = \operatorname*{softmax}_{x'} \, \lambda \Big\langle P_f(x), \frac{P_b(x')}{\lVert P_b(x') \rVert}
# \Big\rangle, \qquad y = \tfrac14 \sum_{x, x'} a_{x x'}\; \mathrm{paste}_x\big(R_b(x')\big) $$
#
# $f$ is asked *where*, and only $b$ is pasted. Nothing here says that the two are one picture, or of one size.
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
# All patches as rows of a matrix; then matching is one matrix product, and so is mixing.


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
    """Patches of 4 × 4 pixels, one per row, added up at every second pixel: h w."""
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
# **Checked against oracles.** Loops, vectorised, and the library's two ways: its steps, and its one kernel. The
# foreground and the background are of different sizes. (Two options with nearly one name: `fuse=False` leaves out
# propagation, notebook 09's sums of scores along diagonals, and `fused=True` asks for the one kernel.)


# %%
def apart(mine, theirs):
    """The largest difference; the checks of this notebook ask that it be below 1e-10."""
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
# ## Two properties to begin with
#
# **A picture rebuilt from itself.** By Cauchy and Schwarz $\langle p, q \rangle / \lVert q \rVert \le \lVert p \rVert$,
# with equality only if $q$ points where $p$ does: no patch is more like $p$ than $p$. Propagation adds up nine such
# inequalities, so it holds for propagated scores as well. The sharper the softmax, the more each patch gets itself.
#
# **Predict, then run.** How many of the 48 × 48 positions attend to themselves the most? How good is the copy at
# $\lambda = 10$, at 100, at 1000?

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
print(f"{at_home} of {len(itself)} are most like themselves; error at λ = 10: {self_errors[1]:.3f}")
viz.show(
    figure,
    alt="Mean error against the scale, both logarithmic: a line that falls, slowly up to a scale of ten, then ever "
    "faster, to less than a millionth at ten thousand.",
)

# %% [markdown]
# All of them; and yet the copy is off by 0.16 at $\lambda = 10$, by 0.03 at 100 and by less than 0.001 at 1000: to be
# the most attended is not to be attended alone. (The interior only: on the outermost pixels fewer than four patches
# lie, and we divide by four.)
#
# **A background in another order.** Let us shuffle the patches of $b$, together with the raw patches that are pasted.
#
# **Predict, then run.** Does the attention change? Does the picture? And if scores are propagated?

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
# Without propagation a background is a *bag* of patches. Propagation alone knows that it is a picture, and which patch
# is to the right of which.
#
# ## One picture out of another
#
# From here on the library computes, with propagation.
#
# There is a snag. Scores are divided by the norm of the background's patch, so they compare *directions*: a faint patch
# and its strong double are equally alike, and faint shading is rebuilt in full contrast. A small change mends it: give
# both pictures a second channel, a constant $c$. With $K = k^2 c^2$ the score becomes
#
# $$ \frac{\langle P_f, P_b \rangle + K}{\sqrt{\lVert P_b \rVert^2 + K}}
# = \sqrt K + \frac{\langle P_f, P_b \rangle - \tfrac12 \lVert P_b \rVert^2}{\sqrt K} + O(K^{-3/2}),
# \qquad \langle P_f, P_b \rangle - \tfrac12 \lVert P_b \rVert^2
# = \tfrac12 \lVert P_f \rVert^2 - \tfrac12 \lVert P_f - P_b \rVert^2 $$
#
# For large $c$ the best score is that of the *nearest* patch. Differences of scores shrink by $\sqrt K$; we multiply
# $\lambda$ by it.
#
# **Predict, then run.** How large must $c$ be beside grey values of $\pm 0.4$ until nine of ten positions choose the
# patch nearest to theirs? Positions inside only: beyond the border both channels are 0.

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
# $c = 1$ will do, two or three times the grey values, and is taken from here on.
#
# The channel serves twice. Rebuilt like the picture, it says how much of its weight each pixel got from *inside* the
# background: 1 in the middle, less near borders. Dividing by it mends the borders.


# %%
def restyle(f, b, *, c=1.0, scale=10.0, ksize=3, rate=2, stride=1, fuse_k=3):
    """f rebuilt out of patches of b; and the patch that each position attends to the most, by its number."""
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
# Every pixel is a mean of pixels of the style; no network was asked. The face keeps its shading, since grass has
# patches of every grey. Bricks have nothing round and nothing black, so of the pupil only the outline is left. (By
# nearness there is a frame: beyond the border the constant is 0, and a patch that reaches over is like no other but
# those that reach over, too.)
#
# Now for what each option does. We need two measures. How much of the content is left: the mean difference between
# the result and the content, both blurred over 7 × 7 pixels. How much of the style: the share of neighbours that
# copy *neighbours*, for only there is more than a single patch of the style to be seen.


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
    """A gallery of one option's values; what was measured is kept for later."""
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
# A small $\lambda$ mixes many patches. Their mean is blurred, and at last grey: the style is lost first, and of the
# content its contrast. From about 10 on a few patches take all. Which patch is the *most* attended does not depend on
# $\lambda$.
#
# ## The size of the patches
#
# Without propagation (`fuse_k=1`), so that nothing else is at work.
#
# **Predict, then run.** Patches of 1, 3, 5 and 9 positions a side: which copies the most of the style?

# %% tags=["predict"]
viz.show(
    compare("patch", "ksize", face, grass, {k: {"ksize": k, "fuse_k": 1, "scale": 100.0} for k in (1, 3, 5, 9)}),
    alt="The face from grass by patches of four sizes: like the photograph but faint and dull; sharp; made of visible "
    "blades; and a tangle in which hair and shoulders can just be made out.",
)

# %% [markdown]
# A single pixel finds its own grey nearly everywhere. But what lies around that pixel in the style is anything, and it
# is pasted along: the overlaps average to a dull copy of the content. A large patch is like few others; there is hardly
# one with an eye in it. Neighbours then see almost the same, choose almost the same, and pieces of the style are copied
# whole.
#
# ## Propagation
#
# Scores are added up over `fuse_k` neighbours, position and background patch moved together: along rows, then along
# columns. **Predict, then run.** It also compares over a larger area. In what does it differ from a larger patch?

# %% tags=["predict"]
viz.show(
    compare("propagation", "fuse_k", eye, gravel, {k: {"fuse_k": k} for k in (1, 3, 7, 15)}),
    alt="The eye from gravel with propagation over 1, 3, 7 and 15 positions: soft; made of sharp grains; little "
    "stones in which an eye can hardly be made out; and gravel without an eye.",
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
    alt="Two maps of 24 by 24 positions, white where both neighbours are copied along, grey where one is. Without "
    "propagation it is black with few grey specks; over 7 positions white and grey pieces fill most of it.",
)

# %% [markdown]
# A patch compares $k^2$ pixels around one place. Propagation adds the *scores* of neighbours, along a row and then a
# column: also a comparison over a larger area, but one made of scores that are there already. Pieces of the style now
# stay whole; what is black are the seams between them.
#
# Both on one sheet. Best would be the lower right corner, where nothing lies: style is paid for with content.

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
    "both curves rise to the right, that of the propagation flatter and much farther.",
)

# %% [markdown]
# ## Roles exchanged
#
# **Predict, then run.** Bricks made of the eye, gravel made of bricks, grass made of the face: what is
# recognised in the result?

# %% tags=["predict"]
swapped = {
    "bricks from the eye": (bricks, eye),
    "gravel from bricks": (gravel, bricks),
    "grass from the face": (grass, face),
}
viz.show(
    gallery({name: restyle(f, b)[0] for name, (f, b) in swapped.items()}),
    alt="Bricks whose joints are soft and furry; the outlines of stones drawn in straight white joints; and grass "
    "without a blade, in smooth grey blots as if painted with a broad brush.",
)

# %% [markdown]
# The foreground's layout, each time; the background shows in what an edge or a flat part looks like.
#
# This is what the network does with a hole. The coarse guess says roughly what is where, and is blurred: the content.
# The known part of the photograph is the style. Both are of one scene, so they fit; and features that are learnt say
# better than grey values which patches are alike.
#
# ## Memory
#
# The attention has an entry for each pair of positions. Twice the `rate` makes it sixteen times smaller, twice the
# `stride` between background patches, four times.
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
    alt="The face from grass with less and less memory. A stride of 2 is a little coarser; with a stride of 4 the "
    "face is there, in a faint grey mosaic; at rate 4 strong strokes of grass are left, and no face.",
)

# %% [markdown]
# Twice the stride costs little here: it thins out the *candidates*, and there are many alike. At 2.7 MB the two fail
# each in its way. A stride of 4 leaves 144 candidates, on a grid, and propagation moves one position by a cell and the
# other by four. What is chosen has contrast enough, but the four patches over a pixel do not fit, and their mean is
# grey. Rate 4 compares one pixel of sixteen and pastes pieces of 8 × 8: strong patches, in the wrong places. Our
# measure prefers these, since it counts lost contrast; would you?
#
# ## Timed
#
# **Predict, then run.** How long does a pair of positions take, in loops, vectorised, and by the library?

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
# (The library's two also propagate, which ours do not.)
#
# ## Exercises
#
# Replace the line that raises; `check` says what is wrong with an answer. Solutions are in
# `solutions/notebook_10.py`.
#
# **1.** The nearest patch, without the detour over a constant channel, and without an array of n × m × d numbers.


# %%
def nearest(pf, pb):
    """pf: n d, pb: m d. n integers: which row of pb has the smallest squared distance to each row of pf."""
    raise NotImplementedError


check("10.nearest", nearest)

# %% [markdown]
# **2.** In colour, content and style have to be brought together first: each *channel* of the content gets the mean and
# the standard deviation (NumPy's `std`) that it has in the style. (What the content's attention then finds is in its
# own colours.)


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
one_pixel = "patch", 1  # has equal patches, and rounding says which of them wins
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
