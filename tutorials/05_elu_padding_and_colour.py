# %% [markdown]
# # 05 · ELU, padding and colour
#
# **One idea:** what surrounds a convolution (the activation after it, the padding, the units and the order of the
# colours) is part of the function that the weights were trained for. A weight file does not record it, getting it wrong
# raises no error, and the shapes are right all the same.
#
# You need notebook 03.

# %%
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from exercises import check
from matplotlib.figure import Figure

import ca_numpy as ca
from ca_numpy import data, ops, viz
from ca_numpy import functional as F
from ca_numpy.geometry import ConvGeometry
from ca_numpy.models import Generator
from ca_numpy.testing import gradcheck, seconds_of

QUICK = os.environ.get("CA_NUMPY_QUICK") == "1"  # smaller sizes, for the tests
rng = np.random.default_rng(0)

# %% [markdown]
# ## The problem
#
# You have downloaded the kernels and biases of a trained generator, and know how to convolve. What else do you need to
# know to compute what its authors computed? Nearly every layer is
#
# $$ y = \mathrm{elu}\left( \mathrm{conv}(\mathrm{pad}(x), w) + b \right) $$
#
# and the input is a picture. We work outwards from the inside of a layer: the activation, the border, the picture.
#
# ## ELU: the equation
#
# $$ \mathrm{elu}(x) = \begin{cases} x & x > 0 \\ e^x - 1 & x \le 0 \end{cases} \qquad\qquad
# \mathrm{elu}'(x) = \begin{cases} 1 & x > 0 \\ e^x & x \le 0 \end{cases} $$
#
# In loops, and vectorised in the obvious way:


# %%
def elu_loops(x):
    y = np.empty_like(x)
    for place, value in np.ndenumerate(x):
        y[place] = value if value > 0 else np.exp(value) - 1
    return y


def elu_first_try(x):
    return np.where(x > 0, x, np.exp(x) - 1)


x = rng.standard_normal((4, 5))
assert np.array_equal(elu_first_try(x), elu_loops(x))

# %% [markdown]
# **Predict, then run.** `np.where` chooses between two arrays. What does the second one contain at $x = 1000$? Is the
# result wrong?

# %% tags=["predict"]
with np.errstate(over="raise"):
    try:
        print(elu_first_try(np.array([-1.0, 1000.0])))
    except FloatingPointError as e:
        print("stops:", e)


def elu(x):
    return np.maximum(x, 0) + (np.exp(np.minimum(x, 0)) - 1)


with np.errstate(all="raise"):
    print(elu(np.array([-1.0, 1000.0])))

# %% [markdown]
# Both arrays are computed everywhere, and one of them overflows. The infinity is not selected, so the result is right;
# but a warning appears, and a gradient that multiplies that infinity by 0 is NaN. In the second form each term is 0
# where the other is active, and nothing can overflow.
#
# ## Why ELU?
#
# ReLU, $\max(x, 0)$, is simpler. But its slope is 0 for negative inputs: a unit that is negative *for all inputs* has
# no gradient, and never recovers. ELU's slope is nowhere zero.
#
# **Predict, then run.** One unit, $y = \mathrm{act}(w x + b)$, is to learn $y = x$ for $x$ in $[0, 1]$ by gradient
# descent. It starts at $w = 1$, $b = -2$. What happens with ReLU, and what with ELU?

# %% tags=["predict"]
inputs = np.linspace(0, 1, 11)


def train(activation, steps=300, rate=0.3):
    w, b, losses = ca.tensor(np.array(1.0)), ca.tensor(np.array(-2.0)), []
    for _ in range(steps):
        off = activation(w * inputs + b) - inputs
        loss = (off * off).mean()
        losses.append(float(loss.numpy()))
        dw, db = ca.grad(loss, [w, b])
        w, b = ca.tensor(w.numpy() - rate * dw.numpy()), ca.tensor(b.numpy() - rate * db.numpy())
    return losses


losses = {"ReLU": train(F.relu), "ELU": train(F.elu)}
z = np.linspace(-4, 2, 121)
figure = Figure(figsize=(7.5, 2.8), layout="constrained", dpi=100)
curves, slopes, learning = figure.subplots(1, 3)
for name, function, slope, style in (
    ("ELU", elu(z), np.exp(np.minimum(z, 0)), "-"),
    ("ReLU", np.maximum(z, 0), np.where(z > 0, 1.0, 0.0), "--"),
):
    curves.plot(z, function, "k" + style, label=name)
    slopes.plot(z, slope, "k" + style, label=name)
    learning.semilogy(losses[name], "k" + style, label=name)
curves.set(title="activation", xlabel="x (no unit)", ylabel="y (no unit)")
slopes.set(title="its slope", xlabel="x (no unit)", ylabel="dy/dx (no unit)")
learning.set(title="one unit learns", xlabel="steps", ylabel="mean squared error")
for axes in (curves, slopes, learning):
    axes.legend(frameon=False, fontsize=8)
for name, run in losses.items():
    print(f"{name}: loss {run[0]:.3f} at the start, {run[-1]:.1e} at the end")
viz.show(
    figure,
    alt="Three graphs. ELU, a solid line, approaches minus 1 on the left; ReLU, dashed, is 0. ELU's slope falls to 0 "
    "slowly, ReLU's in a jump. Of the two units, ReLU's error stays constant from the first step on; ELU's falls.",
)

# %% [markdown]
# The same graphs show two more reasons: ELU's values lie on both sides of 0, so their mean can be near 0 and the next
# layer does not see an offset; and its slope is continuous. (The critics use leaky ReLU instead. In the released code
# the generator still has one ReLU, before the attention.)
#
# ## The slope from the output
#
# The gradient rule needs $\mathrm{elu}'(x)$, so the tape would have to keep $x$. But where $x \le 0$, $e^x = y + 1$,
# and $x > 0$ exactly where $y > 0$. The output determines the slope, so the input can be discarded. Convolution, bias
# and ELU can then be *one* operation. As three they leave three arrays on the tape, $\mathrm{conv}(x, w)$, the same
# plus $b$, and $y$; as one they leave only $y$, a third of the memory. And the slope from $y$ needs no exponential.
#
# **Predict, then run.** How many times faster is the slope from $y$ than $e^{\min(x, 0)}$?

# %% tags=["predict", "timed"]
size = 100_000 if QUICK else 1_000_000
many = np.random.default_rng(1).standard_normal(size).astype(np.float32)
results = elu(many)
ones = np.ones_like(many)
assert np.allclose(ops.elu_vjp(ones, results).numpy(), np.exp(np.minimum(many, 0)), atol=1e-6)
by_input = seconds_of(lambda: ones * np.exp(np.minimum(many, 0)))
by_output = seconds_of(lambda: ops.elu_vjp(ones, results).numpy())
print(f"{size:,} slopes: {1e3 * by_input:.2f} ms from x, {1e3 * by_output:.2f} ms from y")
some = many[:2000]
print(
    f"elu: {seconds_of(lambda: elu_loops(some), rounds=1) / seconds_of(lambda: elu(some)):.0f} times faster than loops"
)

# %% [markdown]
# Oracles: the library, and finite differences, which do not use the formula for the slope (nor, at order 2, its
# derivative).

# %%
x = rng.standard_normal((4, 5))
assert np.allclose(F.elu(x).numpy(), elu(x), rtol=1e-12)
gradcheck(F.elu, [x], rng=rng, order=2)
print("elu and its first two derivatives are right")

# %% [markdown]
# ## The border: how many zeros, and where?
#
# Every convolution of the network keeps the size or halves it: $n$ pixels become $\lceil n / s \rceil$. This requires
# padding the picture. (Without padding, which TensorFlow calls VALID, $k$ taps at stride 1 leave $n - k + 1$.) By how
# much? The last window starts $(\lceil n/s \rceil - 1)\,s$ pixels after the first and spans $(k - 1)\,d + 1$ pixels,
# so the padding required is
#
# $$ \text{total} = \max\left( \left( \lceil n/s \rceil - 1 \right) s + (k - 1)\, d + 1 - n,\; 0 \right) $$
#
# Half goes before, half after. Where does the odd one go? TensorFlow's rule, called SAME, puts it **after**. The oracle
# in loops uses no formula: it adds one zero at a time, alternately after and before, until enough windows fit.


# %%
def same(n, k, stride, dilation=1):
    total = max((-(-n // stride) - 1) * stride + (k - 1) * dilation + 1 - n, 0)
    return total // 2, total - total // 2


def same_loops(n, k, stride, dilation=1):
    wanted = len(range(0, n, stride))
    before = after = 0
    while True:
        line, span = before + n + after, (k - 1) * dilation + 1
        if len([i for i in range(0, line, stride) if i + span <= line]) >= wanted:
            return before, after
        before, after = (before, after + 1) if before == after else (before + 1, after)


cases = [(n, k, s, d) for n in range(1, 30) for k in range(1, 6) for s in (1, 2, 3) for d in (1, 2, 4)]
for n, k, s, d in cases:
    assert same(n, k, s, d) == same_loops(n, k, s, d)
    geometry = ConvGeometry(stride=s, dilation=d).same((n, n), (k, k))
    assert geometry.pads == (same(n, k, s, d),) * 2
print(f"formula, loops and library agree on {len(cases)} cases")

# %% [markdown]
# **Predict, then run.** A kernel of three taps: how many zeros before and after for 256 pixels at stride 1, for 256 at
# stride 2, and for 255 at stride 2? PyTorch's usual `padding=1` always puts one on each side. Where does that differ?

# %% tags=["predict"]
for n, stride in ((256, 1), (256, 2), (255, 2)):
    print(f"{n} pixels, stride {stride}: {same(n, 3, stride)} zeros")

line = np.arange(1.0, 9).reshape(1, 1, 8, 1)  # eight pixels 1 … 8
middle = np.array([0.0, 1, 0]).reshape(1, 3, 1, 1)  # takes the middle one of three
rules = {"SAME: (0, 1)": (0, 1), "padding=1: (1, 1)": (1, 1)}
seen = {}
figure = Figure(figsize=(7.5, 2.9), layout="constrained", dpi=100)
for axes, (rule, pads) in zip(figure.subplots(1, 2), rules.items(), strict=True):
    y = ops.conv2d(line, middle, geometry=ConvGeometry(stride=2, pads=((0, 0), pads))).numpy()
    seen[rule] = y.ravel().astype(int).tolist()
    for i in range(-pads[0], 8 + pads[1]):
        inside = 0 <= i < 8
        axes.text(i, 0, str(i + 1) if inside else "0", ha="center", va="center", color="k")
        axes.plot(i, 0, "ks" if inside else "kx", markersize=19, fillstyle="none", alpha=1 if inside else 0.25)
    for row, start in enumerate(range(-pads[0], 8 + pads[1] - 2, 2)):
        label = "window of an output" if row == 0 else None
        axes.plot([start - 0.3, start + 2.3], [-row - 1] * 2, "k-", linewidth=2, label=label)
        axes.plot(start + 1, -row - 1, "ko", label="its middle tap" if row == 0 else None)
    axes.set(title=f"{rule} zeros", xlim=(-1.7, 8.7), ylim=(-6.2, 0.8), xticks=[], yticks=[])
    axes.set_xlabel("pixels 1 to 8 along the line, and zeros")
    axes.legend(frameon=False, fontsize=8, loc="lower center", ncol=2)
print(seen)
viz.show(
    figure,
    alt="Eight pixels in a row and four windows of three below them, two pixels apart. With SAME the zero follows "
    "pixel 8 and the middle taps lie on 2, 4, 6, 8; with a zero at both ends they lie on 1, 3, 5, 7.",
)

# %% [markdown]
# Both give four outputs and no error. But the windows are one pixel further to the left: at an even size and stride 2,
# weights trained with one rule see a picture *shifted by a pixel* under the other, and by another two after the second
# such layer. This is one of the ways in which a port ends up slightly worse and nobody knows why.
#
# ## The border: zeros or a mirror?
#
# The paper says mirror padding; the released code pads with zeros. What does an output at the border see?
#
# There are two mirrors. "reflect" mirrors at the border pixel, which is not repeated; "symmetric" mirrors beyond it, so
# that it is: 1 2 3 4 continues with 3 2, or with 4 3. (Zero padding is called "same", after TensorFlow's rule.)
#
# **Predict, then run.** Take a wall of one colour, 0.5 everywhere, and the mean of 3 × 3 pixels. What is the result
# inside, at an edge and in a corner, with zeros and with a mirror? And for a *ramp* 3 4 5 6 7 8 and half the difference
# right minus left, the slope: what is it at the two ends?

# %% tags=["predict"]
wall, ramp = np.full((1, 6, 6, 1), 0.5), np.broadcast_to(np.arange(6.0)[None, None, :, None] + 3, (1, 6, 6, 1))
mean = np.full((3, 3, 1, 1), 1 / 9)
slope = np.array([-0.5, 0, 0.5]).reshape(1, 3, 1, 1)
at_border = {}
for padding in ("same", "reflect", "symmetric"):
    y = F.conv2d(wall, mean, padding=padding).numpy()[0, :, :, 0]
    rise = F.conv2d(ramp, slope, padding=padding).numpy()[0, 3, :, 0]
    at_border[padding] = [float(y[3, 3]), float(y[0, 3]), float(y[0, 0]), float(rise[0])]
    print(f"{padding:10} mean inside {y[3, 3]:.3f}, at an edge {y[0, 3]:.3f}, in a corner {y[0, 0]:.3f}; rises {rise}")
print("a line 1 2 3 4 with two more at each end:")
for mode in ("constant", "reflect", "symmetric"):
    print(f"{mode:10}", np.pad([1, 2, 3, 4], 2, mode=mode))

# %% [markdown]
# With zeros the border looks like an edge in the picture: the wall fades, the ramp falls off a cliff. A mirror invents
# no edge, but it introduces an artefact of its own: what rises towards the border falls beyond it, so with "reflect"
# the slope there is always 0, and with "symmetric" half of what it was.
#
# Does one wrong pixel at the border matter? Each layer spreads it inwards by that layer's reach. The generator's
# dilated layers reach 2, 4, 8 and 16 pixels in a picture a quarter as wide.
#
# **Predict, then run.** On a wall of 96 × 96, after four layers with dilations 2, 4, 8, 16: how many pixels are
# unaffected by the border?

# %% tags=["predict"]


def four_means(picture, padding):
    for dilation in (2, 4, 8, 16):
        picture = F.conv2d(picture, mean, dilation=dilation, padding=padding)
    return picture.numpy()[0, :, :, 0]


wall = np.full((1, 96, 96, 1), 0.5)
walls = {"zeros": four_means(wall, "same"), "mirror": four_means(wall, "reflect")}
figure = Figure(figsize=(7.5, 3), layout="constrained", dpi=100)
first, second, profile = figure.subplots(1, 3)
untouched = {}
for axes, (name, y), style in zip((first, second), walls.items(), ("-", "--"), strict=True):
    shown = axes.imshow(y, cmap="gray", vmin=0, vmax=0.6)
    axes.set(title=name, xticks=[0, 48, 95], yticks=[0, 48, 95], xlabel="pixels")
    profile.plot(y[48], "k" + style, label=name)
    untouched[name] = int(np.sum(abs(y - 0.5) < 1e-9))
figure.colorbar(shown, ax=[first, second], shrink=0.6, label="brightness (no unit)", location="left")
profile.set(title="along row 48", xlabel="pixels", ylabel="brightness (no unit)", ylim=(0, 0.6))
profile.legend(frameon=False)
print(f"pixels untouched, of {96 * 96}: {untouched}")
viz.show(
    figure,
    alt="A uniformly grey wall after four dilated layers. With zeros it darkens towards its borders, steeply in the "
    "last thirty pixels and most in the corners; with a mirror it is the same grey everywhere.",
)

# %% [markdown]
# Thirty pixels from each side. In the generator these layers see a picture of 256 × 256 as 64 × 64: they alone leave
# only 4 × 4 positions beyond the border's reach, and the surrounding layers affect those too. This is not only harmful:
# a recognisable border tells the network where in the picture it is. The released code makes it easier to recognise. It
# adds a channel of **ones** to the picture and the mask: padded with zeros, it is 1 inside and 0 outside, so the first
# layer can distinguish the two. (The paper does not mention this channel. Its first author
# [says](https://github.com/JiahuiYu/generative_inpainting/issues/405) that it indicates the image boundary.) With a
# mirror it would be 1 everywhere, and carry no information.

# %%
ones = np.ones((1, 5, 6, 1))
for padding in ("same", "reflect"):
    y = F.conv2d(ones, np.ones((3, 3, 1, 1)), padding=padding).numpy()[0, :, :, 0]
    print(f"{padding}: the nine taps' sum of the channel of ones\n{y.astype(int)}")

# %% [markdown]
# ## The picture: [-1, 1]
#
# Files hold bytes, networks see $x = \text{byte} / 127.5 - 1$. In these units 0 is mid-grey, so a hole or a border of
# zeros is grey; in $[0, 1]$ the same zeros would be *black*. (The paper has both: section 3 fills holes with white, and
# $z = x \odot m$ in section 4.2 with 0. The released code fills them with 0.) Outputs are clipped to the same range.
#
# **Predict, then run.** Which byte becomes exactly 0? Do all bytes survive the round trip in float32? What does a
# picture in $[0, 1]$ look like to a network that expects $[-1, 1]$?

# %% tags=["predict"]
every = np.arange(256, dtype=np.uint8)
as_float = data.to_float(every)
print("exactly 0:", every[as_float == 0], "  nearest:", {int(b): round(float(as_float[b]), 4) for b in (127, 128)})
print("all 256 survive:", np.array_equal(data.to_uint8(as_float), every))
photograph = data.Photographs()[0][:256, 128:384]
in_01 = (photograph + 1) / 2
for name, x in (("[-1, 1]", photograph), ("[0, 1]", in_01)):
    print(f"in {name}: brightness {x.mean():.2f} on average, spread {x.std():.2f}, minimum {x.min():.2f}")

# %% [markdown]
# No byte becomes exactly 0, so an erased pixel differs from every pixel of a photograph. And a picture in $[0, 1]$ is a
# perfectly valid picture to the network: pale, with half the contrast and nothing darker than grey.
#
# ## The picture: RGB or BGR
#
# The released code reads files with OpenCV, whose arrays have blue first. Its networks were trained on these, so its
# weights expect blue first.
#
# | weights | colours | units |
# |---|---|---|
# | the authors', and those of nbei's port | BGR | [-1, 1] |
# | daa233's port | RGB | [-1, 1] |
# | trained here | RGB | [-1, 1] |
#
# [`docs/weights.md`](../docs/weights.md) has the details (nbei and daa233 published ports of the authors' network to
# PyTorch); `ca_numpy.weights.channel_order(path)` reports it for a file. Inside the library pictures are RGB: weights
# trained on BGR are converted once, when they are loaded.
#
# **Predict, then run.** Take a small generator's random weights, loaded as RGB and as BGR. Are the two results for
# the same photograph equal up to swapping red and blue? And if red and blue are swapped in the *photograph* too?

# %% tags=["predict"]
as_rgb = Generator(width=4, rng=np.random.default_rng(2))
as_bgr = Generator.from_tf(as_rgb.arrays(), channel_order="bgr")
picture = photograph[64:128, 64:128]
mask = np.zeros((64, 64, 1), np.float32)
mask[24:40, 24:40] = 1


def filled(model, picture):
    return ca.inpaint(data.to_uint8(picture), mask, model=model, backend="numpy", blend=False)


mine, theirs = filled(as_rgb, picture), filled(as_bgr, picture)
hole = mask[:, :, 0] == 1
print("equal up to swapping red and blue:", np.array_equal(theirs, mine[:, :, ::-1]))
apart = np.abs(theirs.astype(int) - mine)
print(f"in the hole they are {apart[hole].mean():.1f} of 255 levels apart, and outside {apart[~hole].max()}")
exchanged = filled(as_rgb, picture[:, :, ::-1])[:, :, ::-1]
alike = np.abs(theirs.astype(int) - exchanged).max() <= 1  # to rounding: the sums run in another order
print("swapped before and after:", alike)
assert alike
with TemporaryDirectory() as folder:
    path = Path(folder) / "model.safetensors"
    for order in ("rgb", "bgr"):  # a file may record it; the authors' are recognised by format
        ca.weights.write(path, as_rgb.arrays(), metadata={"channel_order": order})
        kernel = ca.load(path).arrays()["inpaint_net/conv1/kernel"]
        swapped = np.array_equal(kernel[:, :, :3], as_rgb.arrays()["inpaint_net/conv1/kernel"][:, :, 2::-1])
        print(f"the file says {ca.weights.channel_order(path)}; channels swapped when loaded: {swapped}")

# %% [markdown]
# A network is not symmetric in its colours. Swapping them in the *weights* is equivalent to swapping them in the
# picture, since the first kernel is linear and sums over its input channels in any order:
#
# $$ \sum_c x_{2 - c}\, w_c = \sum_c x_c\, w_{2 - c} $$
#
# So reversing the channels of the first kernel of each encoder, and of the last kernel and bias of each stage, turns
# the file into an RGB file. For a plain convolution:

# %%
x, w = rng.standard_normal((1, 6, 6, 3)), rng.standard_normal((3, 3, 3, 4))
turned_picture, turned_weights = F.conv2d(x[..., ::-1], w).numpy(), F.conv2d(x, w[:, :, ::-1]).numpy()
assert np.allclose(turned_picture, turned_weights, rtol=1e-12, atol=1e-12)
print("first kernels in the generator:", {n: a.shape for n, a in as_rgb.arrays().items() if n.endswith("conv1/kernel")})

# %% [markdown]
# ## A checklist for the next port
#
# Questions to ask about any weight file, besides the order of a kernel's axes: which activation, and where none; how
# many zeros, on which side; zeros or a mirror; which units; which order of colours; what fills the hole. Where the
# paper and its code give different answers, the choice is a field of `Variant` in
# [`ca_numpy/models/variants.py`](../ca_numpy/models/variants.py), and all such differences are listed in
# [`docs/departures.md`](../docs/departures.md).
#
# ## Exercises
#
# Replace the line that raises; `check` says what is wrong with an answer. Solutions are in
# `solutions/notebook_05.py`.
#
# **1.** The gradient of ELU's input, from the gradient $g$ of its output and the *output* $y$, without an exponential.


# %%
def elu_gradient(g, y):
    """g times the slope of ELU where its value is y."""
    raise NotImplementedError


check("05.elu_gradient", elu_gradient)

# %% [markdown]
# **2.** A port to a library whose convolution lacks SAME puts `(k − 1)·d // 2` zeros on *both* sides, for odd $k$. By
# how many pixels are its windows further to the left than SAME's? (0 means that the two rules agree.)


# %%
def shift(n, k, stride, dilation):
    """How many pixels further to the left the windows of symmetric padding lie."""
    raise NotImplementedError


check("05.shift", shift)

# %% [markdown]
# **3.** Convert the first kernel of a BGR network, 5 × 5 from *five* channels (picture, ones, mask), into one for RGB
# pictures.


# %%
def to_rgb(kernel):
    """KH KW 5 O for blue, green, red, ones, mask -> the same for red, green, blue, ones, mask."""
    raise NotImplementedError


check("05.to_rgb", to_rgb)

# %% tags=["figures-that-matter"]
figures = {
    "zeros at 256, stride 2; stride 1; 255, stride 2": [list(same(n, 3, s)) for n, s in ((256, 2), (256, 1), (255, 2))],
    "pixels seen": list(seen.values()),
    "inside, edge, corner, slope at the border": list(at_border.values()),
    "pixels untouched": list(untouched.values()),
    "mean of the photograph": float(photograph.astype(np.float64).mean()),
    "ReLU's loss, first and last": [losses["ReLU"][0], losses["ReLU"][-1]],
}
print(json.dumps(figures))
