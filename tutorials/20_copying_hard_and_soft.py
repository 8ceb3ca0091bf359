# %% [markdown]
# # 20 · Copying, hard and soft
#
# **One idea:** contextual attention is a soft, differentiable version of patch-based completion. Where one has a
# softmax, a transposed convolution and propagation, the other has the nearest patch, votes and coherence. Knowing which
# is which tells you what each can do, and how to let a network decide and real pixels be copied: guided completion.
#
# You need notebook 09, which introduces the attention's steps; notebook 10 helps.

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
from ca_numpy.attention import AttentionChoices
from ca_numpy.filling import patchmatch, pyramid
from ca_numpy.filling.blending import joined
from ca_numpy.testing import seconds_of

QUICK = os.environ.get("CA_NUMPY_QUICK") == "1"  # smaller sizes, for the tests
photographs = data.Photographs()

# %% [markdown]
# ## The problem
#
# Gravel, 96×96 pixels. The square of 28×28 pixels on the right is to be filled from the 60 columns on the left. All we
# know of it is its low-pass, a Gaussian blur of 2 pixels: that is what a network might guess. Patches are compared by
# their *features*, here the low-passed picture, and what is pasted are the *raw* pixels. The attention does the same
# with learnt features.

# %%
SIZE, K, SIGMA = 96, 5, 2  # pixels; side of a patch; of the low-pass
F, B = np.s_[32:60, 64:92], np.s_[:, :60]  # what is filled, and what is known
grey = photographs[6][: 2 * SIZE, : 2 * SIZE] @ np.array([0.299, 0.587, 0.114])
picture = grey.reshape(SIZE, 2, SIZE, 2).mean(axis=(1, 3))
features = gaussian_filter(picture, SIGMA)


def patches(x):
    """h w: the K × K patches inside it, one per row."""
    return sliding_window_view(x, (K, K)).reshape(-1, K * K)


def drawn(*rows, side=168):
    """Grey pictures in rows, by their titles."""
    width, height = (side + 8) * max(map(len, rows)) + 8, (side + 40) * len(rows) + 4
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    for i, row in enumerate(rows):
        for j, (title, x) in enumerate(row.items()):
            place = (8 + (side + 8) * j) / width, 1 - (side + 40) * (i + 1) / height
            axes = figure.add_axes((*place, side / width, side / height))
            axes.imshow(x, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
            axes.set_title(title, fontsize=9)
            axes.axis("off")
    return figure


truth, guess, known = picture[F], features[F], picture[B]
pf, pb, raw = patches(guess), patches(features[B]), patches(known)
left_out = np.ones((SIZE, SIZE), bool)
left_out[F] = left_out[B] = False
print(f"{len(pf)} patches to be filled, {len(pb)} to copy from")
viz.show(
    drawn({"known": known, "the guess, enlarged": guess, "the truth, enlarged": truth}),
    alt="Gravel, in a strip of 60 by 96 pixels; and a square of 28 pixels, enlarged: once as light and dark blobs, "
    "once as stones with edges.",
    colours=128,
)

# %% [markdown]
# ## The equations
#
# $\phi_p$ are the features of the patch at $p$, $z$ the picture, and $n(x)$ the number of patches that contain the
# pixel $x$; the sums over $p$ are over these. With the mean squared difference
# $d(p, q) = \lVert \phi_p - \phi_q \rVert^2 / K^2$ and a temperature $T$:
#
# $$ a_{pq} = \operatorname*{softmax}_q \Big( -\frac{d(p, q)}{T} \Big), \qquad
# y(x) = \frac{1}{n(x)} \sum_p \sum_q a_{pq} \, z(q + x - p) \qquad \text{soft: attention} $$
#
# $$ \mathrm{field}(p) = \operatorname*{argmin}_q d(p, q), \qquad
# y(x) = \frac{1}{n(x)} \sum_p z(\mathrm{field}(p) + x - p) \qquad \text{hard: votes} $$
#
# The second is the limit of the first for $T \to 0$. The sum over $p$ is the same in both: the attention calls it a
# transposed convolution (*deconvolution*) with patches as kernels, PatchMatch a vote.
#
# ## Loops


# %%
def filled_loops(pf, pb, raw, shape, temperature):
    """Patch by patch; temperature 0 copies the nearest. shape: of the result."""
    total, times = np.zeros(shape), np.zeros(shape)
    for p, (i, j) in enumerate(np.ndindex(shape[0] - K + 1, shape[1] - K + 1)):
        d = [float(np.mean((pf[p] - q) ** 2)) for q in pb]
        if temperature == 0:
            mine = raw[d.index(min(d))]
        else:
            weights = [np.exp((min(d) - each) / temperature) for each in d]
            mine = sum(w * q for w, q in zip(weights, raw, strict=True)) / sum(weights)
        total[i : i + K, j : j + K] += mine.reshape(K, K)
        times[i : i + K, j : j + K] += 1
    return total / times


# %% [markdown]
# ## Vectorised


# %%
def distances(pf, pb):
    """pf: n k, pb: m k. n m: mean squared differences."""
    squares = np.sum(pf * pf, axis=1)[:, None] + np.sum(pb * pb, axis=1)
    return np.maximum(squares - 2 * pf @ pb.T, 0) / pf.shape[1]


def softened(d, temperature):
    e = np.exp((d.min(axis=1, keepdims=True) - d) / temperature)
    return e / e.sum(axis=1, keepdims=True)


def vote(mixed, shape):
    """One K × K patch per row, pasted at its position and averaged: the picture, h w."""
    total, times = np.zeros(shape), np.zeros(shape)
    grid = mixed.reshape(shape[0] - K + 1, shape[1] - K + 1, K, K)
    for u, v in np.ndindex(K, K):
        total[u : u + grid.shape[0], v : v + grid.shape[1]] += grid[:, :, u, v]
        times[u : u + grid.shape[0], v : v + grid.shape[1]] += 1
    return total / times


d = distances(pf, pb)
nearest = d.argmin(axis=1)
hard = vote(raw[nearest], truth.shape)

# %% [markdown]
# **Checked against oracles.** The loops; PatchMatch's kernel for votes; and the attention's rebuilding with all weight
# on one patch (`rebuild="matched"` averages exactly; the released code divides by a constant, notebook 09). The
# attention also has patches that extend over the border, so only pixels that none of these covers are compared.


# %%
def apart(mine, theirs):
    """The largest difference; this notebook requires it to be below 1e-10."""
    difference = float(np.max(np.abs(mine - theirs)))
    assert difference < 1e-10, difference
    return f"{difference:.0e} apart"


few, some = np.s_[:36], np.s_[:200]  # 6 × 6 patches, and 200 candidates
for temperature in (0, 1e-3):
    mixed = raw[some][d[few, some].argmin(axis=1)] if temperature == 0 else softened(d[few, some], 1e-3) @ raw[some]
    loops = filled_loops(pf[few], pb[some], raw[some], (10, 10), temperature)
    print(f"loops at T = {temperature}:    ", apart(loops, vote(mixed, (10, 10))))

r, rows, columns = K // 2, SIZE - K + 1, 60 - K + 1  # of patches to copy from
centre = np.stack(np.divmod(nearest, columns), axis=1) + r  # of each patch's nearest
number = np.full((SIZE, SIZE), -1, np.int32)
number[32 + r : 60 - r, 64 + r : 92 - r] = np.arange(len(pf)).reshape(24, 24)
places, pixels = (np.argwhere(flags).astype(np.int32) for flags in (number >= 0, ~left_out & (np.arange(SIZE) >= 60)))
with ca.use_backend("numpy") as device:
    kernel = device.patch_vote(picture[..., None], pixels, number, centre.astype(np.int32), np.ones(len(pf)), radius=r)
print("PatchMatch's votes:     ", apart(kernel.reshape(truth.shape), hard))

on_one = np.zeros((28, 28, SIZE, 60))
on_one[tuple(places.T - [[32], [64]]) + tuple(centre.T)] = 1
one_each = ca.tensor(on_one.reshape(1, 28 * 28, SIZE * 60))
as_image = [ca.tensor(x[None, :, :, None]) for x in (guess, known)]
choices = AttentionChoices(rebuild="matched")
rebuilt = attention.rebuild(one_each, *as_image, ksize=K, rate=1, choices=choices).numpy()[0, :, :, 0]
print("the attention's rebuild:", apart(rebuilt[4:-4, 4:-4], hard[4:-4, 4:-4]))

# %% [markdown]
# ## The softmax is a temperature
#
# Two measures of a fill: its *error*, the root mean square difference from the truth; and its *roughness*, the mean
# difference of neighbours, as a share of the truth's. How many patches are *mixed* is $e^H$, averaged over $p$, where
# $H$ is the entropy $-\sum_q a_{pq} \ln a_{pq}$: for $n$ equal weights it is $n$.
#
# **Predict, then run.** From $T = 1$ down to 0: at which temperature is the error smallest? The roughness nearest to
# the truth's?


# %% tags=["predict"]
def error(y):
    return float(np.sqrt(np.mean((y - truth) ** 2)))


def roughness(y):
    of = [np.abs(np.diff(x, axis=0)).mean() + np.abs(np.diff(x, axis=1)).mean() for x in (y, truth)]
    return float(of[0] / of[1])


temperatures = (1, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001, 0.00001)
soft, effective = {}, {}
for temperature in temperatures:
    a = softened(d, temperature)
    soft[temperature] = vote(a @ raw, truth.shape)
    effective[temperature] = float(np.exp(-np.sum(a * np.log(np.maximum(a, 1e-300)), axis=1)).mean())
soft[0], effective[0] = hard, 1.0
for temperature, y in soft.items():
    print(f"T = {temperature:<6}  {effective[temperature]:7.1f} patches mixed, error {error(y):.3f}, "
          f"roughness {roughness(y):.2f}")  # fmt: skip
best_t = min(soft, key=lambda t: error(soft[t]))

figure = Figure(figsize=(7, 5.2), dpi=100)
for i, temperature in enumerate((0.1, 0.003, best_t, 0)):
    axes = figure.add_axes((0.02 + 0.245 * i, 0.58, 0.225, 0.34))
    axes.imshow(soft[temperature], cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    axes.set_title(f"T = {temperature}", fontsize=9)
    axes.axis("off")
axes = figure.add_axes((0.1, 0.1, 0.85, 0.4))
axes.semilogx(temperatures, [error(soft[t]) for t in temperatures], "k-o", mfc="w", label="error (grey values)")
axes.semilogx(temperatures, [roughness(soft[t]) for t in temperatures], "k--s", mfc="w", label="roughness (share)")
axes.axhline(error(hard), color="k", lw=0.6, label="the same at T = 0")
axes.axhline(roughness(hard), color="k", lw=0.6)
axes.set(xlabel="temperature T (squared grey values)", ylim=(0, None))
axes.legend(frameon=False, fontsize=8)
viz.show(
    figure,
    alt="Four fills: a flat grey; a blur of light and dark; a soft picture of stones; a sharper one. Below, against "
    "the temperature: the error falls to the left, with a shallow minimum before zero; the roughness rises steadily "
    "from nothing to more than half.",
    colours=48,
)

# %% [markdown]
# The error is smallest at $T = 0.0003$, 0.192, where twenty-two patches are mixed; copying the nearest has 0.195, but a
# roughness of 0.55 instead of 0.42. Where several patches are plausible, their mean is nearest to the truth *on
# average*, and is a blur. A loss that measures differences of pixels therefore asks the attention for a mixture; that a
# fill should look like the picture, only copying and critics know.
#
# Why soften at all? The argmin has no gradient: a small change of the features changes nothing, or everything. The
# softmax has one, so the features can be *learnt*. (Even hard votes are only half as rough as the truth: a pixel is the
# mean of 25 patches that disagree. See “Propagation is coherence” below.)
#
# ## Which temperature does the attention have?
#
# The released code's scores are not distances. But for background patches of the same norm $\lVert b \rVert$ they
# differ from them only by what is the same for all $q$, which a softmax ignores:
#
# $$ \lambda \Big\langle f_p, \frac{b_q}{\lVert b_q \rVert} \Big\rangle
# = \frac{\lambda}{2 \lVert b \rVert} \big( \lVert f_p \rVert^2 + \lVert b \rVert^2 - \lVert f_p - b_q \rVert^2 \big)
# \quad \Longrightarrow \quad T = \frac{2 \lVert b \rVert}{\lambda K^2} $$
#
# **Predict, then run.** $\lambda = 10$. Do stronger features make the attention sharper, or softer?

# %% tags=["predict"]
one_norm = pb / np.linalg.norm(pb, axis=1, keepdims=True)
for strength in (1, 10):
    f, b = strength * pf[:50], strength * one_norm
    by_scores = softened(-10 * f @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T, 1)
    by_distance = softened(distances(f, b), 2 * strength / (10 * K * K))
    mixed = np.exp(-np.sum(by_scores * np.log(np.maximum(by_scores, 1e-300)), axis=1)).mean()
    print(f"norm {strength:2}: {apart(by_scores, by_distance)}; {mixed:.1f} patches mixed")

# %% [markdown]
# Sharper: distances grow with the square of the strength, $T$ only with the strength. So nothing fixes the code's
# temperature, not even $\lambda = 10$: the network learns it, by learning how strong its features are. In the paper's
# text the foreground is normalised, too (notebook 19, departure 2). Then all norms are 1, and $T = 2 / (\lambda K^2)$
# is fixed.
#
# ## Propagation is coherence
#
# Votes agree where neighbouring patches copy from neighbouring places: $\mathrm{field}(p + t) = \mathrm{field}(p) + t$.
# Such a field is called *coherent*; a coherent piece is copied exactly. There are two ways to get coherence. The
# attention *sums scores* over neighbours that move along. PatchMatch *passes matches on*: a patch tries what its
# neighbours found, moved along.
#
# The first compares larger patches. Summing the distances of the 3 × 3 patches around $p$ and $q$ is the distance of
# patches of $K + 2$ pixels, whose pixels count as often as the small patches overlap them:


# %%
def summed(d, k):
    """Distances averaged over k × k steps of both patches, as far as these exist."""
    grids = (24, 24), (rows, columns)
    terms = attention.propagate(ca.tensor(np.ones((1, *d.shape))), *grids, k=k, wrap=False).numpy()[0]
    return attention.propagate(ca.tensor(d[None]), *grids, k=k, wrap=False).numpy()[0] / terms


line = np.convolve(np.ones(K), np.ones(3))
wide_f, wide_b = (
    sliding_window_view(x, (K + 2, K + 2)).reshape(-1, (K + 2) ** 2) * np.sqrt(np.outer(line, line)).ravel()
    for x in (guess, features[B])
)
by_wide = distances(wide_f, wide_b) * (K + 2) ** 2 / (9 * K * K)
inner = summed(d, 3).reshape(24, 24, rows, columns)[1:-1, 1:-1, 1:-1, 1:-1].reshape(by_wide.shape)
print("propagated, and larger patches:", apart(inner, by_wide))

# %% [markdown]
# (Averaged, because sums have fewer terms at the border: of numbers that are never negative, a sum with fewer terms is
# smaller, and the border would win. The paper's scores have the opposite bias.)
#
# **Predict, then run.** Three fields: the nearest patch; the nearest after propagation over 7 steps; PatchMatch's, from
# a random field, after 5 rounds. Which is the most coherent, and which has the smallest mean distance?


# %% tags=["predict"]
def coherence(index):
    """Share of horizontal and vertical neighbours that copy neighbours."""
    down, right = np.divmod(index.reshape(24, 24), columns)
    beside = (down[:, 1:] == down[:, :-1]) & (right[:, 1:] == right[:, :-1] + 1)
    below = (down[1:] == down[:-1] + 1) & (right[1:] == right[:-1])
    return float(np.mean(np.concatenate([beside.ravel(), below.ravel()])))


copied_from = np.zeros((SIZE, SIZE), bool)
copied_from[r : SIZE - r, r : 60 - r] = True
sources = np.argwhere(copied_from).astype(np.int32)
no_guide, no_weight = np.zeros((SIZE, SIZE, 0)), np.zeros(len(places))
draw = np.random.default_rng(0)
field = sources[draw.integers(len(sources), size=len(places))]
z = features[..., None]
with ca.use_backend("numpy") as device:
    distance = device.patch_distance(z, no_guide, no_weight, places, field, radius=r)
    for _ in range(5):
        random = (48 / 2 ** np.arange(6)[:, None, None] * draw.uniform(-1, 1, (6, len(places), 2))).astype(np.int32)
        match = copied_from, places, number, field, distance, random
        field, distance = device.improve_field(z, no_guide, no_weight, *match, radius=r, jump=1)

fields = {
    "the nearest": nearest,
    "propagation": summed(d, 7).argmin(axis=1),
    "PatchMatch": (field - r) @ (columns, 1),
}
measured = {}
for name, index in fields.items():
    y = vote(raw[index], truth.shape)
    measured[name] = coherence(index), float(d[np.arange(len(index)), index].mean()), error(y), roughness(y)
    print("{:11} {:.0%} coherent, mean distance {:.5f}, error {:.3f}, roughness {:.2f}".format(name, *measured[name]))
index_of = {}
for name, index in fields.items():
    whole = np.arange(SIZE * SIZE).reshape(SIZE, SIZE)
    whole[tuple(places.T)] = (np.stack(np.divmod(index, columns), axis=1) + r) @ (SIZE, 1)
    index_of[f"field: {name}"] = viz.attention_colours(whole, background=(SIZE, SIZE))[34:58, 66:90]
viz.show(
    drawn(index_of, {f"filled by {name}": vote(raw[index], truth.shape) for name, index in fields.items()}),
    alt="Three fields in colours of direction, and the fills below. The nearest patches: small specks of many colours; "
    "after propagation: larger pieces of one colour each; PatchMatch: many pieces with straight borders. The fills all "
    "show stones, at different places.",
    colours=256,
)

# %% [markdown]
# (The colours are directions, as in notebook 14: blue is up and to the left, pink down and to the left.) Propagation
# makes the field more coherent, 45 % instead of 28 %. Its distances are larger, since it chose by larger patches, and
# so is its error: whole pieces of stones are copied, but of other stones. PatchMatch's field is more coherent than the
# nearest, too, 33 %, though after five rounds its distances are still larger. What is passed on is coherent by itself:
# here coherence is not computed but left over from the search.
#
# So much for the single steps. In both methods they alternate with others: the attention's result is convolved, and
# PatchMatch searches again with what its votes gave. The rest of this notebook is about the second kind, in colour, and
# about letting a network help it.
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
# The pictures are a cat, a portrait (“face”; its hole is at the collar of the suit) and grass.
#
# **Predict, then run.** Network, PatchMatch, both: whose fill is nearest to the truth in PSNR? Whose has the nearest
# texture, by the sliced Wasserstein distance (SWD; lower is better)? (SWD compares the *sets* of small patches of fill
# and truth, wherever in the hole they lie: each patch is projected on random directions, and the sorted numbers are
# compared.)

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
# This is the hard copy from above, in colour, with the guide in the distance and weights in the vote. (In the library
# $w_p$ is larger for good matches and near known pixels; below all are 1.) Above, all pairs were compared.
# `improve_field` starts from *random* matches. In each round a patch tries what its four neighbours found, moved
# along, and a few random places ever nearer to its best match (Barnes et al. 2009).
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
    of_rounds = [device.patch_distance(z, guide, weight, places, fields[0], radius=RADIUS)]
    for _ in range(ROUNDS[-1]):
        random = (reach * search_rng.uniform(-1, 1, (len(reach), len(places), 2))).astype(np.int32)
        match = source, places, number, fields[-1], of_rounds[-1], random
        field, distance = device.improve_field(z, guide, weight, *match, radius=RADIUS, jump=1)
        assert np.all(distance <= of_rounds[-1])  # no round raises a cost
        fields.append(field)
        of_rounds.append(distance)
    votes = {n: device.patch_vote(z, pixels, number, fields[n], equal, radius=RADIUS) for n in ROUNDS}

# The oracle: every 40th patch against all known ones, in float64. The guide is 3 more numbers of a patch.
vectors = sliding_window_view(z, (7, 7), axis=(0, 1)).reshape(WIDE - 6, WIDE - 6, -1)
vectors = np.concatenate([vectors, np.sqrt(weight[0]) * guide[3:-3, 3:-3]], axis=2).astype(float)
some = np.s_[::40]
ours, theirs, matched = (vectors[tuple(who.T - 3)] for who in (places[some], known, fields[-1][some]))
assert np.allclose(of_rounds[-1][some], np.sum((ours - matched) ** 2, axis=1), rtol=1e-4, atol=1e-4)
best = np.sum(ours**2, axis=1) + np.min(np.sum(theirs**2, axis=1) - 2 * ours @ theirs.T, axis=1)
means = [float(distance.mean()) for distance in of_rounds]
print("mean distance:", ", ".join(f"{means[n]:.2f} after {n}" for n in ROUNDS))
print(f"every 40th patch: {of_rounds[-1][some].mean():.2f} after {ROUNDS[-1]} rounds, {best.mean():.2f} for the best")
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
# Side by side once more:
#
# | | contextual attention | completion by PatchMatch |
# |--|--|--|
# | compares | learnt features | colours and texture, and the guide's colour |
# | chooses | by a softmax, at a learnt temperature | the nearest |
# | pastes | a transposed convolution of features, once | votes of pixels, in turn with new searches |
# | keeps pieces together | by summing the scores of neighbours | by passing matches on, and joining in the gradients |
# | can learn | everything, through the softmax | nothing |
# | tries | all pairs | about a hundred candidates per patch |
#
# Guided completion takes the left one's opinion and the right one's pixels. Measures on 38 photographs, fills ranked
# blind, and where it fails: [docs/results.md, "Fills"](../docs/results.md#fills).

# %% [markdown]
# ## Timed
#
# **Predict, then run.** How long does one patch take: in loops, soft, hard, and by ten rounds of PatchMatch? With how
# many candidates will which be fastest?

# %% tags=["predict", "timed"]
sides = (12, 24) if QUICK else (24, 40, 64)
ways = {"loops, hard": {}, "soft": {}, "hard": {}, "PatchMatch, 10 rounds": {}}
aside = np.random.default_rng(1)
for side in sides:
    x = aside.standard_normal((side, side))
    rows_of = sliding_window_view(x, (K, K)).reshape(-1, K * K)
    every = np.zeros((side, side), bool)
    every[r : side - r, r : side - r] = True
    each = np.argwhere(every).astype(np.int32)
    numbered = np.full((side, side), -1, np.int32)
    numbered[every] = np.arange(len(each))
    steps = np.zeros((6, len(each), 2), np.int32)
    whole = x[..., None], np.zeros((side, side, 0)), np.zeros(len(each))
    if side < 40:
        ways["loops, hard"][len(each)] = seconds_of(
            lambda p=rows_of, s=side: filled_loops(p[: s - K + 1], p, p, (K, s), 0), rounds=1
        ) / (side - K + 1)
    ways["soft"][len(each)] = seconds_of(lambda p=rows_of: softened(distances(p, p), 0.1) @ p, rounds=3) / len(each)
    ways["hard"][len(each)] = seconds_of(lambda p=rows_of: p[distances(p, p).argmin(axis=1)], rounds=3) / len(each)
    with ca.use_backend("numpy") as device:
        match = every, each, numbered, aside.permutation(each), np.full(len(each), 9e9), steps
        round_of = seconds_of(lambda w=whole, m=match: device.improve_field(*w, *m, radius=r, jump=1), rounds=3)
    ways["PatchMatch, 10 rounds"][len(each)] = 10 * round_of / len(each)
figure = Figure(figsize=(6.5, 3.2), layout="constrained", dpi=100)
axes = figure.subplots()
for (name, by_size), style in zip(ways.items(), ("k:x", "k-o", "k--s", "k-.^"), strict=True):
    axes.loglog(list(by_size), [1e6 * t for t in by_size.values()], style, mfc="w", label=name)
axes.set(xlabel="candidates", ylabel="microseconds per patch")
axes.set_xticks(list(ways["soft"]), list(map(str, ways["soft"])))
axes.minorticks_off()
axes.set_title("What one patch costs", fontsize=10)
axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
for name, by_size in ways.items():
    print(f"{name}: " + ", ".join(f"{1e6 * t:.0f} µs of {n}" for n, t in by_size.items()))
viz.show(
    figure,
    alt="Microseconds per patch against the number of candidates, both logarithmic: soft and hard copying rise at "
    "least in proportion; ten rounds of PatchMatch do not. Loops lie far above.",
)

# %% [markdown]
# What compares all pairs takes time in proportion to the candidates, for each patch, and more once the matrix of
# distances no longer fits into the cache; PatchMatch tries a hundred, whatever their number. (In NumPy, small sizes
# cost it calls.) A photograph has a million candidates. Attention could not search at random: a softmax needs all
# scores. (The library's attention takes a fifth of the products by another way, notebook 11, and skips weights that are
# too small to count.)
#
# ## Exercises
#
# Replace the line that raises; `check` says what is wrong with an answer. Solutions are in
# `solutions/notebook_20.py`.
#
# **1.** The soft weights, from any distances and any temperature above 0, without an overflow.


# %%
def weights_at(d, temperature):
    """d: n m, temperature > 0. n m: softmax of −d / temperature over the second axis."""
    raise NotImplementedError


check("20.weights", weights_at)

# %% [markdown]
# **2.** The votes. A patch has 3 × 3 pixels, and there is one around each pixel that is not on the border.


# %%
def votes(z, field):
    """z: h w, the picture to copy from. field: h' w' 2, the centre in z of the patch copied to around each pixel
    (1 + i, 1 + j) of the result. (h' + 2) (w' + 2): the mean of all that is copied to each pixel.
    """
    raise NotImplementedError


check("20.votes", votes)

# %% [markdown]
# **3.** How coherent is a field?


# %%
def coherent(field):
    """field: h w 2, rows and columns. The share of horizontal and vertical pairs of neighbours that copy neighbours."""
    raise NotImplementedError


check("20.coherent", coherent)

# %% tags=["figures-that-matter"]
figures = {
    "errors by temperature": [error(y) for y in soft.values()],
    "roughness by temperature": [roughness(y) for y in soft.values()],
    "patches mixed": list(effective.values()),
    "coherence": [each[0] for each in measured.values()],
    "mean distances": [each[1] for each in measured.values()],
}
print(json.dumps(figures))
