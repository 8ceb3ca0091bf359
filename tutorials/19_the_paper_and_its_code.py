# %% [markdown]
# # 19 · The paper and its code
#
# **One idea:** a paper's text and its authors' code are two descriptions of the same thing, and they differ. The
# weights come from the code. So each difference has to be known, tested, and turned into a named option: here are
# seventeen.
#
# You need notebooks 08, 09 and 12. The list and its numbering are those of
# [`docs/departures.md`](../docs/departures.md).

# %%
import dataclasses
import json
import os

import numpy as np
from exercises import check
from matplotlib.figure import Figure
from numpy.lib.stride_tricks import sliding_window_view

import ca_numpy as ca
from ca_numpy import attention, data, losses, metrics, viz
from ca_numpy.attention import OFFICIAL as CODE
from ca_numpy.attention import PAPER as TEXT
from ca_numpy.data import BoundingBox, MaskSampler
from ca_numpy.models import OFFICIAL, PAPER, Generator
from ca_numpy.nn.optim import Adam, Clock
from ca_numpy.testing import seconds_of
from ca_numpy.training.config import TrainConfig

QUICK = os.environ.get("CA_NUMPY_QUICK") == "1"  # smaller sizes, for the tests

# %% [markdown]
# ## The problem
#
# You implement the paper, load the authors' weights, and the result is wrong everywhere. Or you train your own, and it
# is never as good as theirs. Neither shows *where* the text and the code diverge. In this library each such point is
# one field with two values, so that you can change one at a time:

# %%
pairs = [(CODE, TEXT), (OFFICIAL, PAPER)]
choices = {
    field.name: (getattr(code, field.name), getattr(text, field.name))
    for code, text in pairs
    for field in dataclasses.fields(code)
    if getattr(code, field.name) != getattr(text, field.name) and field.name not in ("name", "attention")
}
print(f"{'choice':20} {'the code':12} the text")
for name, (code, text) in choices.items():
    print(f"{name:20} {code!s:12} {text}")

# %% [markdown]
# `Generator(variant="official")` takes the first column, `variant="paper"` the second, and `dataclasses.replace` any
# mixture. Options for training are in `TrainConfig`. The headings below give the text's choice first, then the code's.
#
# ## Six about the attention: the equations
#
# Let $s$ be the scores between patches, $P$ propagation, $v$ 1 where a patch may be copied and 0 where not, and
# $\lambda = 10$ (the code's; the text says only that it is constant):
#
# $$ \text{code:}\quad a = v \odot \mathrm{softmax}\big(\lambda\; v \odot P s\big) \qquad\qquad
# \text{text:}\quad a = v \odot P\, \mathrm{softmax}\big(\lambda\; (s + \log v)\big) $$
#
# Two of the six can be seen there: the text propagates weights after the softmax, not scores before it (1), and
# excludes unknown patches instead of giving them the score 0 (4). The others are in $s$, in $P$ and in how $a$ is used:
# the text divides by both patches' norms (2), stops propagation at the end of a row (3), pastes the 3 × 3 patches that
# were compared (5), and halves only the foreground (6).
#
# We use the bricks of notebook 09, a hole, and a blurred copy of the truth as coarse guess. We change one departure at
# a time from the code's choice to the text's, and then all six.
#
# **Predict, then run.** Which one of the six changes the picture the most?


# %% tags=["predict"]
def blurred(x, k):
    return sliding_window_view(np.pad(x, k // 2, mode="reflect"), (k, k)).mean(axis=(2, 3))


bricks = data.Photographs()[4].mean(axis=2).astype(float).reshape(128, 4, 128, 4).mean(axis=(1, 3))[20:84, 20:84]
bricks = 0.4 * (bricks - bricks.mean()) / bricks.std()
hole = np.zeros((64, 64))
hole[22:42, 22:42] = 1
guess = np.where(hole, blurred(blurred(bricks, 5), 5), bricks)
edge = np.pad(guess, 1, mode="edge")
slopes = (edge[1:-1, 2:] - edge[1:-1, :-2]) / 2, (edge[2:, 1:-1] - edge[:-2, 1:-1]) / 2
f, mask = np.stack([guess, *slopes], axis=2)[None], hole[None, :, :, None]  # 1 64 64 3, and 1 64 64 1
inside = hole[::2, ::2].ravel() > 0  # the hole, by positions of the attention

each = {f"{n}: {name}": {name: getattr(TEXT, name)} for n, name in enumerate(vars(TEXT), start=1)}
ways = {"the code": {}, **each, "all six: the text": vars(TEXT)}
filled, errors = {}, {}
for name, changed in ways.items():
    y = attention.contextual_attention(f, f, mask, choices=dataclasses.replace(CODE, **changed)).numpy()[0, ..., 0]
    filled[name] = np.where(hole, y, bricks)
    errors[name] = float(np.abs(y - bricks)[hole > 0].mean())
titled = {f"{name}\nerror {errors[name]:.2f}": picture for name, picture in filled.items()}
panels = {"the truth": bricks, "the coarse guess": guess, **titled}
figure = Figure(figsize=(8, 3.9), layout="constrained", dpi=80)
for axes, (title, picture) in zip(figure.subplots(2, 5).flat, panels.items(), strict=True):
    axes.imshow(picture[12:52, 12:52], cmap="gray", vmin=-1, vmax=1)
    axes.set_title(title, fontsize=8)
    axes.set(xticks=[], yticks=[])
figure.suptitle("A hole of 20 × 20 pixels in bricks, filled (error: mean difference in the hole, −1 to 1)", fontsize=9)
viz.show(
    figure,
    alt="Ten pictures of bricks around a hole: whole; blurred in the hole; filled. With the code's choices joints are "
    "sharp and one of them is broken; the same with 2, 3 and 4. With 1 the hole is black and white; with 5 joints end "
    "in steps; with 6 they are grey streaks; with all six, black and white streaks.",
)

# %% [markdown]
# The first, by far: the error is 0.93 instead of 0.16; then the sixth, 0.31. The other four hardly change it here. All
# six together are the worst, 1.66. One by one:
#
# ### 1 · Softmax, then propagation; or the reverse
#
# In the code $P$ sums nine *scores*; in the text it sums nine positions' *weights*, after the softmax, without
# renormalising. What does a position's attention sum to?

# %%
sums = {}
for name in ("scores", "attention"):
    a = attention.attention_scores(f, f, mask, choices=dataclasses.replace(CODE, propagate=name))
    total = a.sum(2, keepdims=True)
    sums[name] = float(total.numpy().min()), float(total.numpy().max())
    y = attention.rebuild(a / total, ca.tensor(f), ca.tensor(f)).numpy()[0, ..., 0]
    error = np.abs(y - bricks)[hole > 0].mean()
    print(
        f'propagate="{name}": sums from {sums[name][0]:.3f} to {sums[name][1]:.3f}; divided by them, error {error:.2f}'
    )

# %% [markdown]
# **So:** with the text's choice the result is up to nine times too strong, and later layers have to cope with that.
# Apart from its strength it is a valid filling, here a softer one: it mixes the choices of nine neighbours.
#
# ### 2 · Cosine; or only one norm
#
# The code divides by the background patch's norm, not the foreground's. The latter then multiplies the whole row of
# scores, like $\lambda$. How many patches share the weight ($1 / \sum a^2$, without propagation) at half the contrast,
# as it is, and at twice the contrast?


# %%
def sharing(a):
    return float(np.median(a.sum(axis=1) ** 2 / np.sum(a**2, axis=1)))


sharers = {}
for name in ("background", "both"):
    some = dataclasses.replace(CODE, normalize=name)
    sharers[name] = [
        sharing(attention.attention_scores(c * f, f, fuse=False, choices=some).numpy()[0]) for c in (0.5, 1, 2)
    ]
    print(f'normalize="{name}": {sharers[name][0]:.1f}, {sharers[name][1]:.1f}, {sharers[name][2]:.1f} patches share')

# %% [markdown]
# **So:** in the code strong features give sharp attention and weak ones diffuse attention, and the network can learn
# how sharp it should be.
#
# ### 3 · Stopping at the end of a row; or wrapping
#
# The code propagates by a convolution with a 3 × 3 identity over the matrix of scores, whose rows are positions in
# row-major order: the end of one row is followed by the start of the next. In loops, both versions, with the library as
# oracle:


# %%
def propagate_loops(s, h, w, *, wrap):
    """s: h·w h·w. Left-right, then top-down, one step each way."""
    for down in (False, True):
        out = np.zeros_like(s)
        number = np.arange(h * w).reshape(h, w)
        order = (number.T if down else number).ravel()  # positions in traversal order
        place = np.argsort(order)
        for x, x2 in np.ndindex(s.shape):
            for t in (-1, 0, 1):
                p, q = place[x] + t, place[x2] + t
                if 0 <= p < h * w and 0 <= q < h * w:
                    y, y2 = order[p], order[q]
                    same_line = all((a % w == b % w) if down else (a // w == b // w) for a, b in ((x, y), (x2, y2)))
                    out[x, x2] += s[y, y2] if wrap or same_line else 0
        s = out
    return s


scores = np.random.default_rng(0).standard_normal((12, 12))  # 3 lines of 4 positions
alone = np.zeros((12, 12))
alone[3, 3] = 1  # the end of the first line, with itself
for wrap in (True, False):
    library = attention.propagate(ca.tensor(scores[None]), (3, 4), (3, 4), wrap=wrap).numpy()[0]
    assert np.allclose(propagate_loops(scores, 3, 4, wrap=wrap), library, rtol=1e-12, atol=1e-12)
    reached = np.diag(propagate_loops(alone, 3, 4, wrap=wrap)).reshape(3, 4).astype(int)
    print(f"wrap={wrap}: a score at the end of the first line reaches\n{reached}")
ones = ca.tensor(np.ones((1, 24 * 24, 24 * 24)))
on, stopped = (float(attention.propagate(ones, (24, 24), (24, 24), wrap=wrap).sum()) for wrap in (True, False))
print(f"on 24 × 24 positions {1 - stopped / on:.1%} of the sum comes from beyond the end of a line")

# %% [markdown]
# **So:** the left side of a picture is slightly influenced by the right side, one row up, and the top by the bottom,
# one column to the left. It only shows when you compare numbers.
#
# ### 4 · Only known patches; or zeros in the denominator
#
# The code multiplies the hole's scores by 0 before the softmax. But $e^0 = 1$, not 0: they take a share of the weight,
# which is then dropped. How much of the weight is left, for features as here, and for faint ones?

# %%
left = {}
for name in ("zero", "exclude"):
    some = dataclasses.replace(CODE, masked=name)
    left[name] = [
        float(attention.attention_scores(c * f, f, mask, choices=some).numpy()[0][inside].sum(axis=1).mean())
        for c in (1, 0.03)
    ]
    print(f'masked="{name}": {left[name][0]:.3f} of the weight is left; for faint features {left[name][1]:.3f}')

# %% [markdown]
# **So:** where something matches, nothing changes; where nothing does, the code's filling fades. And pictures without
# any known patch need no special case.
#
# ### 5 · The matched patches; or larger raw ones
#
# The text pastes the 3 × 3 patches that were compared, averaging overlaps. The code pastes 4 × 4 pixels of the
# *full-size* features, and divides by 4 everywhere. If each position copies itself, the result should be the picture:

# %%
itself = ca.tensor(np.eye(32 * 32)[None])
copied = {}
for name in ("raw", "matched"):
    y = attention.rebuild(itself, *2 * [ca.tensor(f)], choices=dataclasses.replace(CODE, rebuild=name)).numpy()[0]
    off = np.abs(y - f[0])[..., 0]
    share = [float(y[0, 0, 0] / f[0, 0, 0, 0]), float(y[0, 30, 0] / f[0, 0, 30, 0])]
    copied[name] = [float(off[2:-2, 2:-2].mean()), *share]
    print(f'rebuild="{name}": {copied[name][0]:.3f} off inside; {share[0]:.2f} of a corner, {share[1]:.2f} of an edge')

# %% [markdown]
# **So:** the code is exact inside and keeps all detail, but darkens the outermost pixels to a half and a quarter; the
# text treats borders like the rest, but loses the detail between positions.
#
# ### 6 · Downscale only the foreground; or both
#
# In the text the background keeps its size, and the attention is scaled up again.
#
# **Predict, then run.** How much larger is the attention matrix, and how much longer does it take?

# %% tags=["predict", "timed"]
side = 32 if QUICK else 64
part = f[:, :side, :side]
for name in ("both", "foreground"):
    some = dataclasses.replace(CODE, downscale=name)
    shape = attention.attention_scores(part, part, choices=some).shape[1:]
    time = seconds_of(lambda: attention.contextual_attention(part, part, choices=some, fused=False), rounds=3)
    print(f'downscale="{name}": {shape[0]} × {shape[1]} pairs, {1e3 * time:.0f} ms')
entries = {name: 32 * 32 * (32 * 32 if name == "both" else 64 * 64) for name in ("both", "foreground")}

# %% [markdown]
# **So:** four times the pairs, and a downscaled foreground is compared with a full-size background: a joint one
# position wide in the foreground is two wide in the background. Such a match works only for features that have learnt
# it.
#
# ## Three about the layers
#
# ### 7 · Mirror padding; or zeros, and a channel of ones
#
# Pass a uniformly grey picture without a hole through a first stage with random weights. Does the border show?

# %%
grey, no_hole = np.full((1, 96, 96, 3), 0.5), np.zeros((1, 96, 96, 1))
uneven = {}
for padding in ("same", "reflect"):
    variant = dataclasses.replace(OFFICIAL, padding=padding)
    model = Generator(variant=variant, width=4, rng=np.random.default_rng(0), dtype=np.float64)
    coarse = model.coarse(grey, no_hole).numpy()[0, ..., 0]
    uneven[padding] = float(np.ptp(coarse)), float(np.ptp(coarse[32:64, 32:64]))
    print(f'padding="{padding}": values differ by {uneven[padding][0]:.4f}, in the middle by {uneven[padding][1]:.4f}')

# %% [markdown]
# **So:** zeros are visible at the border and, with fields of 301 pixels, in the middle too. Values run from −1 to 1, so
# to the first layer a zero is mid-grey. The channel of ones (1 inside, 0 outside), an input that the text does not
# have, lets the network distinguish the border from grey contents.
#
# ### 9 · Encoders as in stage one; or narrower ones
#
# The channels of the second stage's two encoders, layer by layer:

# %%
for variant in (OFFICIAL, PAPER):
    model = Generator(variant=variant)
    for part in ("xencoder", "pmencoder"):
        print(f"{variant.name:8} {part:9}", [int(32 * layer.channels) for layer in model.stages[part]])
wide = Generator(variant=dataclasses.replace(OFFICIAL, wide_encoders=True)).count() - Generator().count()
print(f"narrower encoders save {wide:,} parameters, {wide / Generator().count():.1%}")

# %% [markdown]
# **So:** weights fit only one of the two. This is noticed at once: the shapes differ.
#
# ### 10 · ELU everywhere; or one ReLU
#
# What is the output of the last layer before the attention, and what are the scores?

# %%
photograph = data.Photographs()[0][64:320, 64:320][None]
box = BoundingBox(64, 64, 128, 128)
whole = np.zeros((1, 256, 256, 1), np.float32)
box.crop(whole)[...] = 1  # a hole as large as its box
x = np.concatenate([photograph * (1 - whole), np.ones_like(whole), whole], axis=3)[:, 32:128, 32:128]
least = {}
for relu in (True, False):
    variant = dataclasses.replace(OFFICIAL, attention_relu=relu)
    model, y = Generator(variant=variant, width=8, rng=np.random.default_rng(0)), ca.tensor(x)
    for layer in model.stages["pmencoder"]:
        y = model.layers[layer.name](y)
    s = attention.match(y, y, ksize=3).numpy()
    least[relu] = float(np.mean(y.numpy() == 0)), float(s.min())
    print(
        f"attention_relu={relu}: {least[relu][0]:.0%} of the features are 0, the lowest score is {least[relu][1]:.2f}"
    )

# %% [markdown]
# **So:** after a ReLU no two patches point in opposite directions. No score is below 0, the score that the code gives
# to unknown patches (4): with an ELU, these would outscore many known ones.
#
# ## Three about the losses
#
# ### 8 · Distance to the nearest known pixel; or to the sides of the box
#
# The weight of an error at depth $l$ is $\gamma^l$, with $\gamma$ 0.99 in the text and 0.9 in the code.

# %%
weights = {
    "box": losses.discount_by_box((128, 128))[:, 64, 0],
    "distance": box.crop(losses.discount_by_distance(whole))[0, :, 64, 0],
}
figure = Figure(figsize=(6, 2.6), layout="constrained", dpi=80)
axes = figure.subplots()
for (name, m), style in zip(weights.items(), ("k-", "k--"), strict=True):
    axes.plot(m, style, label=f'discount="{name}"')
    print(f'"{name}": first row {m[0]:.3f}, middle {m[64]:.4f}, last row {m[127]:.3f}')
axes.set(title="Weight of an error, down the middle of the box", xlabel="row (pixels)", ylabel="weight", ylim=(0, 1.05))
axes.legend(frameon=False)
viz.show(
    figure,
    alt="Two curves over 128 rows. The code's falls from 1 and 0.9 at its ends to nearly zero within 40 rows; "
    "the text's falls gradually to a half in the middle.",
)

# %% [markdown]
# **So:** in the code the middle of a hole is left to the critics; and its weights are not symmetric.
#
# ### 11 · Only discounted ℓ1; or also ℓ1 of the known pixels
#
# What matters in a loss is its gradient. For a uniform grey prediction: where is it pulled at all?

# %%
config = TrainConfig()
names = ("l1_weight", "known_weight", "coarse_weight", "adversarial_weight")
print({name: getattr(config, name) for name in names})
truth = photograph.astype(np.float64)
regions = {"box": whole[0, ..., 0] > 0, "known": whole[0, ..., 0] == 0}
pulls = {}
for known_weight in (1.2, 0.0):
    x = ca.tensor(np.zeros_like(truth))
    L = losses.discounted_l1(truth, x, whole, [box]) * 1.2 + losses.known_l1(truth, x, whole) * known_weight
    g = np.abs(ca.grad(L, x).numpy()[0]).sum(axis=2)
    pulls[known_weight] = [float(g[where].sum()) for where in regions.values()]
    told = [f"{name} {pull:.2f}" for name, pull in zip(regions, pulls[known_weight], strict=True)]
    print(f"known_weight={known_weight}: sum of all forces on", *told)

# %% [markdown]
# **So:** with the text, as read here, nothing is learnt from the known three quarters of each picture; with the code
# they provide most of the gradient, and the network learns features by copying its input.
#
# ### 14 · Stage one trained by reconstruction; or by stage two as well

# %%
taught = {}
for detached in (False, True):
    variant = dataclasses.replace(OFFICIAL, coarse_is_detached=detached)
    model = Generator(variant=variant, width=4, rng=np.random.default_rng(0), dtype=np.float64)
    _, refined = model(truth[:, :64, :64] * 0.5, whole[:, 40:104, 40:104])
    g = ca.grad(losses.l1(refined, truth[:, :64, :64]), model.layers["conv1"].kernel)
    taught[detached] = float(np.linalg.norm(g.numpy()))
    print(
        f"coarse_is_detached={detached}: conv1's kernel gets a gradient of length {taught[detached]:.1e} from stage two"
    )

# %% [markdown]
# **So:** in the code the first guess need not be the most likely picture: it may become whatever the second stage can
# use best. (The text can be read either way: section 3 trains the coarse network by reconstruction and the refinement
# by the critics too, section 1 trains everything end to end. Our paper variant detaches.)
#
# ## Five about inputs and numbers
#
# ### 12 · White hole, mask 0 = hole; or grey hole, mask 1 = hole
#
# What do the networks see at a missing pixel, and at a known white one? (The text has both: section 3 fills holes with
# white, and section 4.2 multiplies values from −1 to 1 by the mask, which makes them grey.)

# %%
white, holes = np.ones((1, 8, 8, 3)), np.zeros((1, 8, 8, 1))
holes[:, :, 4:] = 1
seen = {}
for variant in (OFFICIAL, PAPER):
    model = Generator(variant=variant, width=2)
    z = model.erase(white, holes)
    shown = np.where(variant.hole_is_one, holes, 1 - holes)
    channels = [z.numpy(), np.ones_like(holes), shown] if variant.ones_channel else [z.numpy(), shown]
    stack = np.concatenate(channels, axis=3)[0]
    seen[variant.name] = [stack[0, 7].tolist(), stack[0, 0].tolist()]
    print(f"{variant.name:8} missing {seen[variant.name][0]}, white {seen[variant.name][1]}")

# %% [markdown]
# **So:** with a white hole only the mask distinguishes erased from white; and an inverted mask raises no error, it just
# fills the known part.
#
# ### 13 · 2.9 million parameters; or 3.6

# %%
counts = {
    "baseline": Generator(attention=False).count(),
    "the code": Generator().count(),
    "the text": Generator(variant="paper").count(),
}
print({name: f"{count:,}" for name, count in counts.items()})

# %% [markdown]
# **So:** section 5 says 2.9 million of the full model, but it is the number of the baseline, without the attention
# branch (notebook 12).
#
# ### 15 · Table 1 in percent; of what?
#
# The same filling under different readings of "percent" that the text allows:

# %%
smooth = np.stack([blurred(truth[0, :, :, c], 9) for c in range(3)], axis=2)[None] * whole + truth * (1 - whole)
off, unit = np.abs(smooth - truth), (truth + 1) / 2
percents = {
    "of the range, whole picture": float(metrics.l1(smooth, truth)[0]),
    "of the range, in the hole": float(metrics.l1(smooth, truth, mask=whole)[0]),
    "in [-1, 1], in the hole": float(100 * off[:, 64:192, 64:192].mean()),
    "of the truth, in the hole": float(100 * off[:, 64:192, 64:192].sum() / 2 / unit[:, 64:192, 64:192].sum()),
}
for name, value in percents.items():
    print(f"ℓ1 {name:28} {value:5.2f} %")
print(f"TV of the truth {metrics.tv(truth)[0]:.1f} %; results in Table 1 have 25")

# %% [markdown]
# **So:** the table compares its own rows and nothing else. (Asked on GitHub, in [issue
# 146](https://github.com/JiahuiYu/generative_inpainting/issues/146), the first author calls the errors relative, which
# is closest to the last reading.) `ca_numpy.metrics` documents its definitions.
#
# ### 16 · One mask per image; or one per batch
#
# How much of the picture is missing at least once in a batch of 16? And what if, as in the code's attention, the first
# sample's mask is used for all?

# %%
covered = {}
for per_batch in (True, False):
    masks, _ = MaskSampler(per_batch=per_batch)(np.random.default_rng(0), 16)
    covered[per_batch] = float(masks.max(axis=0).mean())
    count = len(np.unique(masks, axis=0))
    print(f"per_batch={per_batch}: {count} different masks, {covered[per_batch]:.0%} missing at least once")
two, others = np.concatenate([f, f]), np.concatenate([mask, np.roll(mask, 16, axis=2)])
own, first = (attention.contextual_attention(two, two, m).numpy() for m in (others, others[:1]))
first_mask = [float(np.abs(own[n] - first[n]).max()) for n in range(2)]
print(f"with the first mask for all, sample 0 is {first_mask[0]:.2f} off and sample 1 {first_mask[1]:.2f}")

# %% [markdown]
# **So:** one mask per batch saves work; the default here is the paper's. With different masks, the first sample's would
# let the others copy from their own holes.
#
# ### 17 · Not in the text: BGR, one clock for two networks, and a validation that changes the training
#
# **Predict, then run.** Adam's first step has length 1 (in units of the rate) whatever the gradient. In the code both
# networks share one optimiser, whose $t$ in $\sqrt{1 - \beta_2^t} / (1 - \beta_1^t)$ also counts the critics' five
# updates, with $\beta_1 = 0.5$ and $\beta_2 = 0.9$. How long are the generator's first steps?

# %% tags=["predict"]
rgb = Generator(width=4, rng=np.random.default_rng(0))
bgr = Generator.from_tf(rgb.arrays(), channel_order="bgr")
pair = data.to_uint8(photograph[0, :96, :96]), whole[0, 40:136, 40:136]
by_rgb, by_bgr = (ca.inpaint(*pair, model=m, backend="numpy", blend=False).astype(int) for m in (rgb, bgr))
turned = by_bgr - by_rgb
bgr_levels = float(np.abs(turned[pair[1][..., 0] > 0]).mean())
print(f"the same weights, taken for RGB and for BGR: {bgr_levels:.1f} of 255 levels apart in the hole")


def first_steps(shared, n=6):
    clock = Clock()
    generator, critic = ({"p": ca.tensor(np.zeros(1))} for _ in range(2))
    adam = Adam(generator, rate=1.0, clock=clock)
    critic_adam = Adam(critic, rate=1.0, clock=clock if shared else None)
    at, one = [0.0], ca.tensor(np.ones(1))
    for _ in range(n):
        for _ in range(5):
            critic_adam.step([one])
        adam.step([one])
        at.append(float(generator["p"].numpy()[0]))
    return (-np.diff(at)).tolist()


steps = {shared: first_steps(shared) for shared in (False, True)}
for n in range(1, 7):  # the oracle: m and v of a constant gradient of 1, and t = 6n
    m, v, t = 1 - 0.5**n, 1 - 0.9**n, 6 * n
    assert np.isclose(steps[True][n - 1], np.sqrt(1 - 0.9**t) / (1 - 0.5**t) * m / np.sqrt(v))
for shared, lengths in steps.items():
    print(f"shared_clock={shared}: steps", *[f"{length:.2f}" for length in lengths])

try:
    MaskSampler().max_shrink = 0
except dataclasses.FrozenInstanceError as e:
    print("what validation may do to the training's mask settings here:", e)

# %% [markdown]
# **So:** blue comes first in the released weights; the generator's first steps are up to 1.55 times as long as Adam
# intends, a difference that is gone after forty; and in the code, masks after the first validation are drawn with
# different settings than before it, which nobody will want to reproduce.
#
# ## Which to choose?
#
# To run released weights: the code, for everything that affects the networks. To train: decide one by one, and change
# *one* at a time (notebook 18 explains how to find out whether it matters). On the command line:
#
#     ca-numpy train --variant paper --discount distance --known-weight 0
#
# ## Exercises
#
# Replace the line that raises; `check` says what is wrong with an answer. Solutions are in
# `solutions/notebook_19.py`.
#
# **1.** Departure 4: the code's weights, $a = v \odot \mathrm{softmax}(\lambda\, v \odot s)$.


# %%
def masked_attention(s, known, scale):
    """s: L L', known: L' of 1 and 0. The weights L L'; must not overflow, however large s is."""
    raise NotImplementedError


check("19.masked_attention", masked_attention)

# %% [markdown]
# **2.** Departure 5: by what factor is each pixel multiplied if every position copies itself? Patches of 4 × 4 are
# placed at a stride of 2, starting one pixel before the picture, and overlaps are divided by 4; `h` and `w` are even.


# %%
def attenuation(h, w):
    """h w: 1 inside, less at the border."""
    raise NotImplementedError


check("19.attenuation", attenuation)

# %% [markdown]
# **3.** Departure 17: the factor on Adam's rate at the generator's `n`-th update (1, 2, …) if the clock also counts
# `critic_steps` critic updates before each.


# %%
def correction(n, critic_steps, beta1, beta2):
    """√(1 − β₂ᵗ) / (1 − β₁ᵗ) at the shared t."""
    raise NotImplementedError


check("19.correction", correction)

# %% tags=["figures-that-matter"]
figures = {
    "errors": list(errors.values()),
    "1: sums": list(sums.values()),
    "2: sharing": list(sharers.values()),
    "4: weight left": list(left.values()),
    "5: copied": list(copied.values()),
    "6: pairs": list(entries.values()),
    "7: uneven": uneven["same"][0],
    "8: in the middle": [float(m[64]) for m in weights.values()],
    "9, 13: parameters": [wide, *counts.values()],
    "11: pulls": list(pulls.values()),
    "14: taught": list(taught.values()),
    "15: percents": list(percents.values()),
    "16: covered, off": [*covered.values(), first_mask[1]],
    "17: steps": list(steps.values()),
}
print(json.dumps(figures))
