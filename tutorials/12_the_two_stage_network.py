# %% [markdown]
# # 12 · The two-stage network
#
# **One idea:** the generator guesses twice. A first stage fills the hole coarsely; its guess is *pasted* into the
# picture, and a second stage sees the picture as if nothing were missing: only then can it compare the contents of the
# hole with the surroundings. The whole network is a table of 42 convolutions.
#
# You need notebooks 03 and 04 for the layers, and 09 for the attention. This covers figures 2 and 4 of the paper,
# and its appendix D.

# %%
import json
import os
from typing import NamedTuple

import numpy as np
from exercises import check
from matplotlib.figure import Figure
from matplotlib.patches import Patch

import ca_numpy as ca
from ca_numpy import data, ops, viz
from ca_numpy import functional as F
from ca_numpy.geometry import ConvGeometry
from ca_numpy.models import Critic, Generator
from ca_numpy.nn import Conv2d
from ca_numpy.testing import seconds_of

QUICK = os.environ.get("CA_NUMPY_QUICK") == "1"  # smaller sizes, for the tests

# %% [markdown]
# ## The problem
#
# Attention compares patches of *features* in the hole with patches of features around it. But the hole is empty:
# uniformly grey, as in the released code (section 3 of the paper has white: notebook 19). What does an encoder make of
# that?
#
# **Predict, then run.** A picture of 256 × 256 with a hole of 128 × 128 goes through an encoder with random weights,
# the six layers before the attention, whose outputs see 31 pixels (notebook 04). The features have 64 × 64 positions,
# of which the hole covers 32 × 32. How many *different* feature vectors are there in the hole?

# %% tags=["predict"]
photograph = data.Photographs()[0][64:320, 64:320].astype(np.float64)[None]  # 1 256 256 3, in [-1, 1]
mask = np.zeros((1, 256, 256, 1))
mask[:, 64:192, 64:192] = 1
erased = photograph * (1 - mask)  # 0 is grey

small = Generator(width=8, rng=np.random.default_rng(0), dtype=np.float64)  # the paper's 32 takes 16 times as long


def encoded(picture):
    x = ca.tensor(np.concatenate([picture, np.ones_like(mask), mask], axis=3))
    for layer in small.stages["pmencoder"]:
        x = small.layers[layer.name](x)
    return x


def different(features):
    inside = features.numpy()[0, 16:48, 16:48].reshape(-1, features.shape[3])
    return len(np.unique(inside.round(9), axis=0))


rng = np.random.default_rng(1)
guess = photograph + 0.2 * rng.standard_normal(photograph.shape)  # stands in for the output of a first stage
pasted = guess * mask + photograph * (1 - mask)
positions = {"the hole is grey": different(encoded(erased)), "a guess is in it": different(encoded(pasted))}
print(positions)

# %% [markdown]
# In the middle, 25 × 25 positions see nothing but grey and are identical: attention could only give all of them the
# same answer. With a guess in the hole, however poor, each position has something distinct to compare. That is the
# purpose of the first stage: its guess need not be a good answer; it has to be a query.
#
# ## The equations
#
# Let $z$ be the picture with a grey hole and $m$ its mask (1 in the hole), and let $[\dots]$ denote concatenation along
# channels:
#
# $$ x_1 = G_1\big([\,z,\, 1,\, m\,]\big) \qquad \tilde z = m \odot x_1 + (1 - m) \odot z \qquad
# x_2 = G_2\big([\,\tilde z,\, 1,\, m\,]\big) $$
#
# $G_1$ is a chain of layers $y = \mathrm{elu}(\mathrm{conv}(x, w) + b)$, the last without ELU and clipped to $[-1, 1]$.
# $G_2$ consists of the same layers in two parallel chains, one of which contains the attention, and a third that reads
# both. The channel of ones distinguishes the picture from zero padding (notebook 05).

# %%
stage_one = {"red, green, blue (here: green)": erased[0, ..., 1], "ones": np.ones((256, 256)), "mask": mask[0, ..., 0]}
stage_two = {"x₁ in place of the grey": pasted[0, ..., 1], "ones ": np.ones((256, 256)), "mask ": mask[0, ..., 0]}
figure = Figure(figsize=(7.5, 5.2), layout="constrained", dpi=70)
for axes, (title, picture) in zip(figure.subplots(2, 3).flat, {**stage_one, **stage_two}.items(), strict=True):
    shown = axes.imshow(picture, cmap="gray", vmin=-1, vmax=1)
    axes.set_title(title, fontsize=9)
    axes.set(xticks=[0, 128, 255], yticks=[0, 128, 255])
figure.colorbar(shown, ax=figure.axes, shrink=0.6, label="value (no unit)")
figure.suptitle("What stage one sees, and what stage two sees (pixels)", fontsize=10)
viz.show(
    figure,
    alt="Two rows of three pictures. Above, a photograph of a woman with a grey box in the middle; a plain white "
    "square; a white box on grey. Below the same, but with a noisy copy of her face in the box.",
)

# %% [markdown]
# ## One layer, in loops
#
# SAME padding, a stride, a dilation, a bias, ELU. If the layer upsamples, each pixel is first repeated 2 × 2.


# %%
def layer_loops(x, kernel, bias, *, stride=1, dilation=1, upsample=False):
    """H W I -> H' W' O."""
    if upsample:
        x = x.repeat(2, axis=0).repeat(2, axis=1)
    ksize, _, _, out = kernel.shape
    geometry = ConvGeometry(stride=stride, dilation=dilation).same(x.shape[:2], (ksize, ksize))
    x = np.pad(x, (*geometry.pads, (0, 0)))
    reach = (ksize - 1) * dilation
    y = np.zeros(((x.shape[0] - reach - 1) // stride + 1, (x.shape[1] - reach - 1) // stride + 1, out))
    for i, j, o in np.ndindex(y.shape):
        total = bias[o]
        for u, v in np.ndindex(ksize, ksize):
            total += x[i * stride + u * dilation, j * stride + v * dilation] @ kernel[u, v, :, o]
        y[i, j, o] = total if total > 0 else np.exp(total) - 1
    return y


def apart(mine, theirs):
    """The largest difference; this notebook requires it to be below 1e-10."""
    difference = float(np.max(np.abs(mine - theirs)))
    assert difference < 1e-10, difference
    return f"{difference:.0e} apart"


x = rng.standard_normal((1, 9, 10, 2))
for what in ({}, {"stride": 2}, {"dilation": 2}, {"upsample_first": True}):
    layer = Conv2d("layer", 2, 3, rng=rng, dtype=np.float64, **what)
    layer.bias.data = rng.standard_normal(3)
    options = {name.removesuffix("_first"): value for name, value in what.items()}
    y = layer_loops(x[0], layer.kernel.numpy(), layer.bias.numpy(), **options)
    print(f"{what or 'a plain layer'!s:25} -> {y.shape}: loops and layer", apart(layer(x).numpy()[0], y))

# %% [markdown]
# ## The table
#
# The channels are for the paper's width, 32; for other widths all but the first and the last scale with it. `s` is the
# stride, `d` the dilation; a *2* in `up` means that the picture is upsampled first. (*Atrous*, in the released code's
# names, is another word for dilated.) It is an hourglass: down to a quarter, four dilated layers, back up.


# %%
class Row(NamedTuple):
    name: str
    channels: int
    k: int = 3
    s: int = 1
    d: int = 1
    up: int = 1
    activation: str = "elu"


def encoder(p, narrow, last="elu"):
    """Six layers; `narrow` gives the channels of the two that halve the size."""
    down = [Row(f"{p}conv1", 32, k=5), Row(f"{p}conv2_downsample", narrow[0], s=2), Row(f"{p}conv3", 64)]
    return [*down, Row(f"{p}conv4_downsample", narrow[1], s=2), Row(f"{p}conv5", 128),
            Row(f"{p}conv6", 128, activation=last)]  # fmt: skip


def dilated(p):
    return [Row(f"{p}conv{7 + i}_atrous", 128, d=2 ** (i + 1)) for i in range(4)]


def decoder(p):
    up = [Row(f"{p}conv{n}_upsample/{p}conv{n}_upsample_conv", c, up=2) for n, c in ((13, 64), (15, 32))]
    ends = [Row(f"{p}conv16", 16), Row(f"{p}conv17", 3, activation="linear")]
    return [Row(f"{p}conv11", 128), Row(f"{p}conv12", 128), up[0], Row(f"{p}conv14", 64), up[1], *ends]


#: The released code. Each part: the number of input channels, and its layers.
NETWORK = {
    "coarse": (5, [*encoder("", (64, 128)), *dilated(""), *decoder("")]),
    "dilated branch": (5, [*encoder("x", (32, 64)), *dilated("x")]),
    "attention branch": (5, encoder("pm", (32, 128), last="relu")),
    "after the attention": (128, [Row("pmconv9", 128), Row("pmconv10", 128)]),
    "decoder of both": (256, decoder("all")),
}


def parameters(row, channels_in):
    """One weight per tap, input channel and output channel, and one bias per output channel."""
    return row.k**2 * channels_in * row.channels + row.channels


def printed(part, *, side=256, field=1.0, jump=1.0):
    """Print one part of the network: each layer's output size, parameters and receptive field."""
    channels, rows = NETWORK[part]
    print(f"{part}\n{'layer':18} k s  d up   in  out      output  parameters  field")
    for row in rows:
        side, jump = side * row.up // row.s, jump / row.up
        field, jump = field + (row.k - 1) * row.d * jump, jump * row.s
        count = parameters(row, channels)
        size, sees = f"{side}×{side}", "all" if np.isinf(field) else f"{field:.0f}"
        name = row.name.split("/")[0]
        layer = f"{name:18} {row.k} {row.s} {row.d:2} {row.up:2} {channels:4} {row.channels:4}"
        print(f"{layer} {size:>11} {count:11,} {sees:>6}")
        channels = row.channels
    return side, field, jump


def learnt(part):
    channels, rows = NETWORK[part]
    before = [channels, *(row.channels for row in rows)]
    return sum(parameters(row, c) for row, c in zip(rows, before, strict=False))


_, coarse_field, _ = printed("coarse")

# %% [markdown]
# The field follows notebook 04's rule, with upsampling halving the jump: at the end 301 pixels, wider than the picture.
# (After two upsamplings, the exact field depends on the pixel's column modulo 4: 299 or 303, and 301 is the mean.)
#
# **Predict, then run.** The paper says 2.9 million parameters. How many does the stage above have? Which layers would
# you look at to make the file smaller?

# %% tags=["predict"]
print(f"one stage {learnt('coarse'):,}; two of them {2 * learnt('coarse'):,}")
rows = NETWORK["coarse"][1]
wide = [row for row, before in zip(rows[1:], rows, strict=False) if row.channels == before.channels == 128]
share = sum(parameters(row, 128) for row in wide) / learnt("coarse")
print(f"{len(wide)} layers from 128 to 128 channels, {parameters(wide[0], 128):,} each: {share:.0%} of all")

# %% [markdown]
# So two such stages, the paper's *baseline* without attention, have 2.9 M. (The paper says it of its full model, in
# section 5; by its own appendix D that has more, as counted below.) With attention the second stage has two parallel
# encoders and one decoder that reads both.
#
# ## The second stage
#
# **Predict, then run.** After the attention, how large is the receptive field?

# %% tags=["predict"]
at_dilated = printed("dilated branch")
side, field, jump = printed("attention branch")
printed("after the attention", side=side, field=np.inf, jump=jump)
printed("decoder of both", side=side, field=np.inf, jump=jump)

# %% [markdown]
# The attention has no parameters, and every position sees every patch. In the released code the layer before it,
# `pmconv6`, has a ReLU instead of the ELU, and the downsampling layers of stage two's encoders are narrower than those
# of stage one. The paper's text has ELU everywhere, identical encoders, and four input channels, without the ones.
#
# ## Counted
#
# **Predict, then run.** How many parameters does attention cost, comparing the full network with the baseline?


# %% tags=["predict"]
def variant_count(narrow, channels_in, attention=True):
    """Parameters of the whole generator, if the encoders of stage two downsample to `narrow` channels."""
    parts = {"coarse": (channels_in, [*encoder("", (64, 128)), *dilated(""), *decoder("")])}
    parts["dilated branch"] = channels_in, [*encoder("x", narrow[0]), *dilated("x")]
    if attention:
        parts["attention branch"] = channels_in, encoder("pm", narrow[1])
        parts["after the attention"] = NETWORK["after the attention"]
    parts["decoder of both"] = 256 if attention else 128, decoder("all")
    total = 0
    for channels, rows in parts.values():
        for row in rows:
            total, channels = total + parameters(row, channels), row.channels
    return total


counts = {
    "baseline, released code": variant_count([(64, 128)], 5, attention=False),
    "full, released code": variant_count([(32, 64), (32, 128)], 5),
    "full, the paper's text": variant_count([(64, 128), (64, 128)], 4),
}
library = [Generator(attention=False), Generator(), Generator(variant="paper")]
for (name, count), model in zip(counts.items(), library, strict=True):
    print(f"{name:24} {count:9,}   the library has {model.count():9,}")
    assert count == model.count()
print(f"attention costs {counts['full, released code'] / counts['baseline, released code'] - 1:.0%} more")

# %% [markdown]
# Together the two critics have about twice as many parameters as the network they judge: 5 × 5 kernels and up to 512
# channels.

# %%
critics = {which: Critic(which) for which in ("local", "global")}
for which, critic in critics.items():
    channels, total = 3, 0
    for width in (64, 128, 256, 512 if which == "local" else 256):
        total, channels = total + (25 * channels + 1) * width, width
    positions_left = (128 if which == "local" else 256) // 16
    dense = positions_left**2 * channels + 1
    print(f"{which:6} four convolutions {total:9,} + dense {dense:6,} = {total + dense:9,}")
    assert total + dense == critic.count()
critics_count = sum(critic.count() for critic in critics.values())
print(f"both critics {critics_count:,}")

# %% [markdown]
# ## Assembled by hand
#
# All parameters are in the convolutions, which come from `ca_numpy.nn`. Around them there are the paste, the clip, and
# the attention, which needs the mask at its own resolution, a quarter.

# %%
WIDTH = 8  # instead of 32: a quarter of all channel counts


def assemble(rng):
    layers = {}
    for channels, rows in NETWORK.values():
        channels = channels if channels == 5 else channels * WIDTH // 32
        for row in rows:
            out = 3 if row.channels == 3 else row.channels * WIDTH // 32
            layers[row.name] = Conv2d(
                f"inpaint_net/{row.name}", channels, out, ksize=row.k, stride=row.s, dilation=row.d,
                activation=row.activation, upsample_first=row.up == 2, rng=rng, dtype=np.float64,
            )  # fmt: skip
            channels = out
    return layers


def run(layers, part, x):
    for row in NETWORK[part][1]:
        x = layers[row.name](x)
    return x


def stacked(picture, mask):
    return F.concat([picture, np.ones_like(mask), mask], axis=3)


def stage_one_by_hand(layers, z, m):
    return F.clip(run(layers, "coarse", stacked(z, m)), low=-1.0, high=1.0)


def stage_two_by_hand(layers, z, m, x1, attention_sees_mask=True):
    x = stacked(x1 * m + z * (1 - m), m)
    f = run(layers, "attention branch", x)
    quarter = F.resize_nearest(m, size=f.shape[1:3]) if attention_sees_mask else None
    f = run(layers, "after the attention", F.contextual_attention(f, f, quarter))
    both = F.concat([run(layers, "dilated branch", x), f], axis=3)
    return F.clip(run(layers, "decoder of both", both), low=-1.0, high=1.0)


layers = assemble(np.random.default_rng(2))
names = [name for layer in layers.values() for name in layer.parameters()]
print(f"{len(layers)} layers, {len(names)} variables; the names are the library's: {set(names) == set(small.arrays())}")
for part in ("conv1/", "conv13", "xconv7", "pmconv6", "allconv17"):
    print("  ", *[f"{n} {small.arrays()[n].shape}" for n in names if n.split("/", 1)[1].startswith(part)])

# %% [markdown]
# The names are those of the authors' checkpoints, so a weight file is a dictionary, and loading is a look-up by name:
# `Generator.from_tf` is the loop below. (`xconv…` is the dilated branch, `pmconv…` the attention branch, `allconv…` the
# decoder of both.)
#
# ## The oracle: the library's generator
#
# **Predict, then run.** Our network gets the library's weights. Which of the two outputs, coarse and refined, would
# agree if the mask were not passed to the attention?

# %% tags=["predict"]
weights = small.arrays()
for layer in layers.values():
    for name, parameter in layer.parameters().items():
        parameter.data = weights[name]

crop = np.s_[:, 32:96, 96:160]  # 64 × 64 over a corner of the hole
z, m = erased[crop], mask[crop]
coarse, refined = small(z, m)
x1 = stage_one_by_hand(layers, z, m)
x2 = stage_two_by_hand(layers, z, m, x1)
print("coarse: ", apart(x1.numpy(), coarse.numpy()))
print("refined:", apart(x2.numpy(), refined.numpy()))
copying_holes = stage_two_by_hand(layers, z, m, x1, attention_sees_mask=False)
no_mask = float(np.abs(copying_holes.numpy() - refined.numpy()).max())
print(f"if the attention may also copy from the hole, refined is up to {no_mask:.3f} away")

# %% [markdown]
# Coarse would still agree: the attention, and so its mask, belongs to stage two.
#
# ## Where gradients flow
#
# The loss of the refined picture is differentiated through the paste,
#
# $$ \tilde z = m \odot x_1 + (1 - m) \odot z \qquad\Rightarrow\qquad
# \frac{\partial L}{\partial x_1} = m \odot \frac{\partial L}{\partial \tilde z} \qquad
# \frac{\partial L}{\partial z} = (1 - m) \odot \frac{\partial L}{\partial \tilde z} + \dots $$
#
# so stage one receives two gradients: from its own loss, everywhere, and from stage two's, only in the hole.
#
# **Predict, then run.** Where is $\partial L / \partial x_1$ zero, for $L = \text{mean} |x_2 - \text{truth}|$ over the
# whole picture?

# %% tags=["predict"]
truth = photograph[crop]
x1 = small.coarse(z, m)
L = ops.abs_(small.refine(z, m, x1) - truth).mean()
by_x1, by_kernel = ca.grad(L, [x1, small.layers["conv1"].kernel])
reach = np.abs(by_x1.numpy()[0]).sum(axis=2)
in_hole = m[0, ..., 0] > 0
gradients = {"known pixels": float(reach[~in_hole].sum()), "the hole": float(reach[in_hole].sum())}
print("sum of |∂L/∂x₁| over", gradients)
print(f"conv1's kernel gets a gradient of length {np.linalg.norm(by_kernel.numpy()):.1e} from stage two")

# %% [markdown]
# Outside the hole it is not just small, but *zero*. The known pixels of stage one's output are discarded, so no
# gradient from stage two can improve them. (By section 3 of the paper, stage one is trained by reconstruction. If that
# means *only*, as our paper variant reads it, $x_1$ is detached before it is pasted, and the gradient from stage two is
# zero in the hole as well. Section 1 trains everything end to end. Notebook 19 tries both.)
#
# What does a position see, judging by its gradient, through each of stage two's branches? We take one feature position
# in the middle of the hole, at the end of both branches.
#
# **Predict, then run.** Both branches see the whole 256-pixel picture (field 271, and unlimited). Do the maps look
# alike?

# %% tags=["predict"]
tiny = Generator(width=4, rng=np.random.default_rng(3), dtype=np.float64)
x = ca.tensor(np.concatenate([pasted, np.ones_like(mask), mask], axis=3))


def through(parts, x):
    for part in parts:
        for layer in tiny.stages[part]:
            x = tiny.layers[layer.name](x)
    return x


f = through(["pmencoder"], x)
quarter = F.resize_nearest(mask, size=f.shape[1:3])
ends = {
    "dilated branch": through(["xencoder", "xdilated"], x),
    "attention branch": through(["pmdecoder"], F.contextual_attention(f, f, quarter)),
}
figure = Figure(figsize=(7.5, 3.2), layout="constrained", dpi=90)
within = {}
for axes, (name, y) in zip(figure.subplots(1, 2), ends.items(), strict=True):
    g = np.sqrt(np.sum(ca.grad(y[0, 32, 32].sum(), x).numpy()[0] ** 2, axis=2))
    within[name] = float(g[mask[0, ..., 0] > 0].sum() / g.sum())
    with np.errstate(divide="ignore"):
        shown = axes.imshow(np.maximum(np.log10(g / g.max()), -4), cmap="gray_r", vmin=-4, vmax=0)
    axes.contour(mask[0, ..., 0], levels=[0.5], colors="k", linewidths=1, linestyles="--")
    axes.plot(130, 130, "o", mfc="w", mec="k", ms=5, ls="none", label="the position")
    axes.set_title(f"{name}: {within[name]:.0%} within the hole", fontsize=9)
    axes.set(xticks=[0, 128, 255], yticks=[0, 128, 255], xlabel="pixels")
axes.legend(loc="lower right", fontsize=8)
figure.colorbar(shown, ax=figure.axes, shrink=0.8, label="|gradient|, power of ten")
viz.show(
    figure,
    alt="Two maps of the gradient with respect to each pixel, the hole dashed. Through the dilated branch a uniform "
    "dark grey; through the attention branch white, with about eight dark spots of about 80 pixels: one around the "
    "position, the others outside the hole.",
)

# %% [markdown]
# The dilated branch listens almost equally everywhere, whatever is there: the hole, a quarter of the picture, has a
# third of its gradient. The attention branch listens in a few places: around the query itself, and where it found
# matches outside the hole, darker the more it copied. This is so even with random weights: training only determines
# what counts as similar.

# %% [markdown]
# ## The decoder
#
# It upsamples twice: each pixel is repeated, followed by a 3 × 3 convolution. A *transposed* convolution of stride 2
# would also double the size, with a quarter of the products.
#
# **Predict, then run.** Apply each method to an input of ones with a kernel of ones. What is the result away from the
# borders?

# %% tags=["predict"]
ones, kernel = np.ones((1, 6, 6, 1)), np.ones((3, 3, 1, 1))
repeated = F.conv2d(F.upsample(ones), kernel).numpy()[0, 4:8, 4:8, 0]
geometry = ConvGeometry(stride=2).same((12, 12), (3, 3))
transposed = ops.conv2d_dx(ones, kernel, size=(12, 12), geometry=geometry).numpy()[0, 4:8, 4:8, 0]
print("repeat, then convolve:\n", repeated.astype(int), "\ntransposed convolution:\n", transposed.astype(int), sep="")

# %% [markdown]
# Three taps at a stride of two: pixels alternately receive one, two or four products, a checkerboard that the weights
# must learn to undo. Repetition treats all pixels alike.
#
# ## Timed
#
# Parameters are not the same as work. A layer takes $h' w' k^2\, c_\mathrm{in}\, c_\mathrm{out}$ multiplications, and
# its output has to be kept for the backward pass: $4\, h' w' c_\mathrm{out}$ bytes.
#
# **Predict, then run.** In the coarse stage, which layers have the most parameters, which take the most
# multiplications, and which keep the most memory?

# %% tags=["predict", "timed"]
side = 64 if QUICK else 256
stage = Generator(attention=False)  # float32, the paper's width
y = stacked(ca.tensor(erased[:, :side, :side].astype(np.float32)), mask[:, :side, :side].astype(np.float32))
cost = {"parameters (thousands)": [], "multiplications (millions)": [], "kept (MB)": [], "time (ms)": []}
kinds = []
with ca.no_grad():
    for row in NETWORK["coarse"][1]:
        layer, channels, x = stage.layers[row.name], y.shape[3], y
        y = layer(x)
        at_256 = np.prod(y.shape[1:3]) * (256 / side) ** 2
        cost["parameters (thousands)"].append(layer.count() / 1e3)
        cost["multiplications (millions)"].append(at_256 * row.k**2 * channels * row.channels / 1e6)
        cost["kept (MB)"].append(4 * at_256 * row.channels / 1e6)
        cost["time (ms)"].append(1e3 * seconds_of(lambda: layer(x), rounds=3))
        kinds.append("halves" if row.s == 2 else "doubles" if row.up == 2 else "dilated" if row.d > 1 else "plain")

looks = {"plain": ("0.85", ""), "halves": ("0.6", "///"), "dilated": ("w", "..."), "doubles": ("0.3", "")}
short = [row.name.split("/")[0].split("_")[0] for row in NETWORK["coarse"][1]]
figure = Figure(figsize=(9, 4.2), layout="constrained", dpi=80)
for axes, (what, values) in zip(figure.subplots(1, 4, sharey=True), cost.items(), strict=True):
    for i, (value, kind) in enumerate(zip(values, kinds, strict=True)):
        axes.barh(i, value, color=looks[kind][0], hatch=looks[kind][1], edgecolor="k", linewidth=0.6)
    axes.set(xlabel=what, yticks=range(len(short)), yticklabels=short)
figure.axes[0].invert_yaxis()
keys = [Patch(facecolor=c, hatch=h, edgecolor="k", label=kind) for kind, (c, h) in looks.items()]
figure.legend(handles=keys, loc="outside lower center", ncols=4, frameon=False)
figure.suptitle("The coarse stage, layer by layer, at 256 × 256 (its time: measured in this run)", fontsize=10)
totals = {what: sum(values) for what, values in cost.items()}
for what, values in cost.items():
    most = [name for name, value in zip(short, values, strict=True) if np.isclose(value, max(values))]
    print(f"{what}: {totals[what]:,.0f} in total, most in {', '.join(most)}")
viz.show(
    figure,
    alt="Bars for the seventeen layers, in four columns. Parameters: eight equal long bars in the middle, short ones "
    "at both ends. Multiplications: the two upsampling layers are twice as long as any other. Kept: longest at both "
    "ends. Time follows multiplications, but the two upsampling layers take more than their share.",
)

# %% [markdown]
# The middle holds the parameters, the ends hold the memory: at a quarter of the size 128 channels cost little memory,
# while at full size 32 channels cost few parameters but many bytes. (The input of an upsampling layer, four times as
# large once repeated, would cost even more; the Numba and GPU backends read the small form and never store the large
# one.)
#
# None of these rows includes the attention. It compares all pairs of the $\frac{h}{8} \cdot \frac{w}{8}$ positions,
# 1152 numbers each, and pastes 2048 for each pair.
#
# **Predict, then run.** At 256 × 256, is that more or less than the second stage's convolutions? At what size does that
# reverse?


# %% tags=["predict"]
def products_of(part, side):
    channels, rows = NETWORK[part]
    total = 0
    for row in rows:
        side = side * row.up // row.s
        total, channels = total + side**2 * row.k**2 * channels * row.channels, row.channels
    return total


attention_share = {}
for size in (256, 512, 1024):
    quarters = {"after the attention": size // 4, "decoder of both": size // 4}
    convolutions = sum(products_of(part, quarters.get(part, size)) for part in list(NETWORK)[1:])
    pairs = (size // 8) ** 4
    attention_share[size] = pairs * (3 * 3 * 128 + 4 * 4 * 128) / convolutions
    print(f"{size:4}: convolutions {convolutions / 1e9:6.1f} G products, attention {pairs * 3200 / 1e9:6.1f} G; "
          f"its matrix {4 * pairs / 2**20:6,.0f} MiB")  # fmt: skip

# %% [markdown]
# Convolutions grow with the area, attention with its square: at 256 it is a quarter of the convolutions, at 512 they
# are level, and at 1024 it is four times as much, with a matrix of 1 GiB. Hence the paper's options to save memory
# (notebook 09), and an attention that needs a fifth of the products (notebook 11).
#
# ## Exercises
#
# Replace the line that raises; `check` says what is wrong with an answer. Solutions are in
# `solutions/notebook_12.py`.
#
# **1.** Count the parameters of a chain of layers, given as (kernel, channels) from first to last.


# %%
def parameters_of(channels_in, layers):
    """The number of parameters: kernels and biases."""
    raise NotImplementedError


check("12.parameters", parameters_of)

# %% [markdown]
# **2.** Its multiplications, with SAME padding, for layers given as (kernel, stride, up, channels): with `up` 2 the
# picture is upsampled first; a stride rounds up.


# %%
def multiplications(side, channels_in, layers):
    """Products of weights and values for one picture of side × side pixels."""
    raise NotImplementedError


check("12.multiplications", multiplications)

# %% [markdown]
# **3.** The backward pass of the paste, $\tilde z = m\, x_1 + (1 - m)\, z$, with one channel in $m$ and three in the
# others. Consider only the paste: ignore that $x_1$ depends on $z$ and $m$.


# %%
def paste_gradients(g, x1, z, m):
    """From g = ∂L/∂z̃: (∂L/∂x₁, ∂L/∂z, ∂L/∂m), each of the shape of its input."""
    raise NotImplementedError


check("12.paste_gradients", paste_gradients)

# %% tags=["figures-that-matter"]
figures = {
    "different features in the hole": list(positions.values()),
    "parameters": [learnt("coarse"), *counts.values(), critics_count],
    "fields": [coarse_field, at_dilated[1]],
    "gradients by x1": list(gradients.values()),
    "within the hole": list(within.values()),
    "without a mask in the attention": no_mask,
    "doubled": [repeated.astype(int).tolist(), transposed.astype(int).tolist()],
    "attention beside the convolutions": list(attention_share.values()),
    "millions of multiplications, MB kept": [totals["multiplications (millions)"], totals["kept (MB)"]],
}
print(json.dumps(figures))
