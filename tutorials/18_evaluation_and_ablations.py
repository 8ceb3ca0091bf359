# %% [markdown]
# # 18 · Evaluation and ablations
#
# **One idea:** a score is only as good as the data it was measured on, and as the spread between measurements. So
# define measures precisely, compare methods on the *same* pictures and holes, look at their differences, and ask of
# every interval what it was taken over.
#
# You need notebook 08 for masks. Notebook 13 explains the training compared at the end.

# %%
import json
import os
import tempfile
from pathlib import Path

import numpy as np
from exercises import check
from matplotlib.figure import Figure
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import stdtrit
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import ca_numpy as ca
from ca_numpy import data, evaluation, filling, metrics, viz
from ca_numpy.testing import seconds_of
from ca_numpy.training.ablations import ABLATIONS
from ca_numpy.training.config import TrainConfig

QUICK = os.environ.get("CA_NUMPY_QUICK") == "1"  # smaller sizes, for the tests

# %% [markdown]
# ## The problem
#
# The paper's table 1 has three rows, PatchMatch, a baseline and the full model, and four columns: the mean absolute and
# the mean square error, the peak signal-to-noise ratio (PSNR) and the total variation (TV):
#
# | | ℓ1 | ℓ2 | PSNR | TV |
# |--|--|--|--|--|
# | PatchMatch | 16.1 % | 3.9 % | 16.62 dB | 25.0 % |
# | baseline | 9.4 % | 2.4 % | 18.15 dB | 25.7 % |
# | full model | 8.6 % | 2.1 % | 18.91 dB | 25.3 % |
#
# Percent of what? Over the hole or the picture? Is 0.76 dB a lot? Would it hold for other pictures, or for another
# random seed? This notebook is about answering such questions for your own results.
#
# ## The equations
#
# For a picture $x$ and its truth $y$, both from 0 to 1, with $n$ values counted (pixels × channels):
#
# $$ \ell_1 = \frac{100}{n} \sum |x - y|, \qquad \ell_2 = \frac{100}{n} \sum (x - y)^2, \qquad
# \text{PSNR} = -10 \log_{10} \frac1n \sum (x - y)^2 $$
#
# $$ \text{TV} = 100 \cdot \text{mean of } |x_p - x_q| \text{ over neighbours } p, q $$
#
# TV depends on the result alone: smooth is low, rough is high. The last measure, SSIM (structural similarity), is not
# in the paper, but in most later ones. In a Gaussian window around each pixel take means $\mu$, variances $\sigma^2$
# and the covariance $\sigma_{xy}$ of both pictures; then average over the windows
#
# $$ \frac{(2 \mu_x \mu_y + C_1)(2 \sigma_{xy} + C_2)}{(\mu_x^2 + \mu_y^2 + C_1)(\sigma_x^2 + \sigma_y^2 + C_2)},
# \qquad C_1 = 0.01^2, \; C_2 = 0.03^2 $$
#
# ## Loops

# %%
astronaut = (data.Photographs()[0].astype(float) + 1) / 2
truth = astronaut[100:124, 200:224]  # part of a face
noisy = np.clip(truth + 0.05 * np.random.default_rng(0).standard_normal(truth.shape), 0, 1)


def measures_in_loops(x, y):
    h, w, c = x.shape
    absolute = square = variation = pairs = 0.0
    for i, j, k in np.ndindex(x.shape):
        absolute += abs(x[i, j, k] - y[i, j, k])
        square += (x[i, j, k] - y[i, j, k]) ** 2
        for i2, j2 in ((i + 1, j), (i, j + 1)):
            if i2 < h and j2 < w:
                variation += abs(x[i2, j2, k] - x[i, j, k])
                pairs += 1
    square /= h * w * c
    return 100 * absolute / (h * w * c), 100 * square, -10 * np.log10(square), 100 * variation / pairs


offsets = np.arange(-5, 6)
gaussian = np.exp(-0.5 * (offsets / 1.5) ** 2)
window = np.outer(gaussian, gaussian) / gaussian.sum() ** 2


def ssim_in_loops(x, y):
    values = []
    for i, j, k in np.ndindex(x.shape[0] - 10, x.shape[1] - 10, 3):  # where the whole window fits
        a, b = x[i : i + 11, j : j + 11, k], y[i : i + 11, j : j + 11, k]
        mean_a, mean_b = np.sum(window * a), np.sum(window * b)
        var_a, var_b = np.sum(window * (a - mean_a) ** 2), np.sum(window * (b - mean_b) ** 2)
        both = np.sum(window * (a - mean_a) * (b - mean_b))
        above = (2 * mean_a * mean_b + 0.01**2) * (2 * both + 0.03**2)
        values.append(above / ((mean_a**2 + mean_b**2 + 0.01**2) * (var_a + var_b + 0.03**2)))
    return np.mean(values)


NAMES = ("ℓ1 %", "ℓ2 %", "PSNR dB", "TV %", "SSIM")
looped = [float(value) for value in (*measures_in_loops(noisy, truth), ssim_in_loops(noisy, truth))]
print(", ".join(f"{name} {value:.3f}" for name, value in zip(NAMES, looped, strict=True)))

# %% [markdown]
# ## Vectorised, and checked against oracles
#
# The library's measures are in [`metrics.py`](../ca_numpy/metrics.py), for pictures from −1 to 1 as everywhere in the
# library. PSNR and SSIM are in scikit-image too; its SSIM uses the same windows if set to the original paper's.


# %%
def ssim(x, y):
    def local(z):
        return np.einsum("ijkuv,uv->ijk", sliding_window_view(z, (11, 11), axis=(0, 1)), window)

    mean_x, mean_y = local(x), local(y)
    var_x, var_y, both = local(x * x) - mean_x**2, local(y * y) - mean_y**2, local(x * y) - mean_x * mean_y
    above = (2 * mean_x * mean_y + 0.01**2) * (2 * both + 0.03**2)
    return (above / ((mean_x**2 + mean_y**2 + 0.01**2) * (var_x + var_y + 0.03**2))).mean()


def signed(x):
    return 2 * x - 1


library = [float(f(signed(noisy), signed(truth))[0]) for f in (metrics.l1, metrics.l2, metrics.psnr)]
library += [float(metrics.tv(signed(noisy))[0]), float(metrics.ssim(signed(noisy), signed(truth))[0])]
assert np.allclose(looped, library, rtol=1e-9)
assert np.isclose(ssim(noisy, truth), looped[4], rtol=1e-9)
original = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
assert np.isclose(peak_signal_noise_ratio(truth, noisy, data_range=1), looped[2], rtol=1e-9)
assert np.isclose(structural_similarity(truth, noisy, data_range=1, channel_axis=2, **original), looped[4], rtol=1e-9)
print("loops, vectorised, the library, scikit-image: the same to nine digits")

# %% [markdown]
# ## The hole or the whole?
#
# The known pixels are pasted into every result, so outside the hole all methods are perfect.
#
# **Predict, then run.** A hole of half the side in the middle is a quarter of the picture. By how much does PSNR rise
# if it is taken over the whole picture? And ℓ1, TV, SSIM?

# %% tags=["predict"]
size = 64
hole = np.zeros((size, size, 1))
hole[size // 4 : -size // 4, size // 4 : -size // 4] = 1
face = astronaut[80 : 80 + size, 190 : 190 + size]
pasted = np.where(hole > 0, face[hole[..., 0] == 0].mean(0), face)  # the mean of the known colours
over = evaluation.measure(signed(face)[None], signed(pasted)[None], hole[None])
print("over the  ", *(f"{name:>9}" for name in NAMES))
for region, values in over.items():
    print(f"{region:10}", *(f"{value:9.3f}" for value in values[0]))
gain = float(over["whole"][0, 2] - over["hole"][0, 2])
print(f"PSNR: {gain:.4f} dB more, 10 log10(4) = {10 * np.log10(4):.4f}")

# %% [markdown]
# Errors are spread over four times as many values: ℓ1 and ℓ2 are a quarter, and PSNR is higher by $10 \log_{10} 4
# \approx 6.02$ dB, whatever the method. So a PSNR is meaningless without its region; a small hole flatters every
# method. TV and SSIM have no such rule: neighbours and windows reach across the rim. (TV over the hole counts pairs
# inside it: for a plain colour, 0.)
#
# ## The same pictures, the same holes
#
# To compare methods, take a fixed list of crops and holes. `make_pairs` creates one, and can save it to a file with the
# hashes of all pictures, so that others can measure on the same data. Here we use two crops from each photograph, with
# a hole in the middle, and methods without learning: the mean colour; smooth continuation (biharmonic); OpenCV's two,
# if it is installed; and PatchMatch, which copies patches, if Numba is.
#
# **Predict, then run.** Before you look at the numbers: which will have the best PSNR? Whose TV will be closest to the
# truth's?

# %% tags=["predict"]
pairs = evaluation.make_pairs(data.Photographs(), size=size, count=7 if QUICK else 14, window=0.5)
images, masks = pairs.read()
left_out = {"pypatchmatch", "patchmatch" if QUICK else ""}  # the first is the second by another package
methods = [m for m in filling.METHODS if m not in left_out and filling.why_unavailable(m) is None]
results = evaluation.completions(images, masks, methods=methods, generator=None)
measured = {name: evaluation.measure(images, y, masks) for name, y in results.items()}

print(f"{'in the hole':14}", *(f"{name:>15}" for name in NAMES))
for name, regions in measured.items():
    cells = (metrics.mean_and_interval(regions["hole"][:, k]) for k in range(5))
    shown = (f"{mean:8.2f} ± {half:4.2f}" if np.isfinite(mean) else f"{'∞':>15}" for mean, half in cells)
    print(f"{name:14}", *shown)

# %%
shown = [0, 2, 6]
figure = viz.method_sheet(
    images[shown], masks[shown], {name: y[shown] for name, y in results.items()},
    row_labels=[pairs.names[i] for i in shown],
)  # fmt: skip
viz.show(
    figure,
    alt="Three crops in rows, a column for each method. The mean colour is a flat square; biharmonic and OpenCV's two "
    "are smooth smears from the rim; PatchMatch is as rough as the surroundings, with edges in the wrong places.",
)

# %% [markdown]
# ## An interval by hand
#
# "±" is half of a 95 % interval: for $n$ values with mean $\bar v$ and standard deviation $s$ (with $n - 1$),
#
# $$ \bar v \pm t_{n-1} \frac{s}{\sqrt n} $$
#
# where $t$ comes from Student's distribution, since $s$ is only an estimate. It is 1.96 for very many values, 2.16 for
# fourteen, 4.30 for three and 12.7 for two.


# %%
def interval(values):
    n = len(values)
    return np.mean(values), stdtrit(n - 1, 0.975) * np.std(values, ddof=1) / np.sqrt(n)


psnr = {name: regions["hole"][:, 2] for name, regions in measured.items() if name != "truth"}
for values in psnr.values():
    assert np.allclose(interval(values), metrics.mean_and_interval(values), rtol=1e-12)
print({n: round(float(stdtrit(n - 1, 0.975)), 2) for n in (2, 3, 5, 14, 1000)})

# %% [markdown]
# **Predict, then run.** The intervals of the mean colour and of Telea's method (OpenCV's; without it, biharmonic's)
# overlap widely. Does that mean that we cannot tell which is better here? (Look at the pictures one by one. Which are
# hard for both methods?)

# %% tags=["predict"]
ONE, OTHER = "telea" if "telea" in psnr else "biharmonic", "mean colour"
difference = psnr[ONE] - psnr[OTHER]
for name, values in ((ONE, psnr[ONE]), (OTHER, psnr[OTHER]), ("difference", difference)):
    mean, half = interval(values)
    print(f"{name:12} {mean:6.2f} ± {half:.2f} dB")
print(f"{ONE} is better in {np.mean(difference > 0):.0%} of the crops")

figure = Figure(figsize=(7.4, 3.2), layout="constrained", dpi=100)
left, right = figure.subplots(1, 2)
for a, b in zip(psnr[OTHER], psnr[ONE], strict=True):
    left.plot([0, 1], [a, b], "-", color="0.6", marker="o", markerfacecolor="w", markeredgecolor="k", markersize=4)
for place, name in enumerate((OTHER, ONE)):
    mean, half = interval(psnr[name])
    left.errorbar(place + (0.12 if place else -0.12), mean, half, fmt="ks", capsize=5,
                  label="mean and 95 % interval" if place else None)  # fmt: skip
left.set(title="PSNR in the hole, crop by crop", ylabel="dB", xticks=[0, 1], xticklabels=[OTHER, ONE], xlim=(-0.4, 1.4))
left.legend(frameon=False, fontsize=8, loc="lower right")
right.axhline(0, color="k", linestyle=":")
right.plot(np.linspace(-0.15, 0.15, len(difference)), np.sort(difference), "o", markerfacecolor="w",
           markeredgecolor="k", markersize=4, label="one crop")  # fmt: skip
right.errorbar(0.3, *interval(difference), fmt="ks", capsize=5, label="mean and 95 % interval")
right.set(title="Their differences", ylabel="dB", xticks=[], xlim=(-0.5, 0.6))
right.legend(frameon=False, fontsize=8, loc="upper left")
viz.show(
    figure,
    alt="Left: for each crop a line from its PSNR by the mean colour to that by Telea's method. The crops are far "
    "apart, some lines rise steeply and others fall slightly; the two intervals overlap. Right: the differences, from "
    "minus one to plus five decibels, with their interval, which lies above zero.",
)

# %% [markdown]
# Crops differ by ten decibels or more, and *the same* crops are hard for both. In the difference this cancels: its
# interval is half as long, and excludes 0. Paired measurements must be compared in pairs. Two overlapping intervals
# answer a question that nobody asked: whether two methods could be distinguished on *different* pictures.
#
# ## When an interval is too narrow
#
# It assumes independent values. Ours are two crops each of seven photographs. Two crops of gravel are hardly two
# pictures.
#
# **Predict, then run.** Suppose pictures differ as much as crops of one picture do, and there are seven pictures with
# twelve crops each. How often does a "95 %" interval from 84 values contain the true mean? And one from the seven
# means?

# %% tags=["predict"]
simulated = np.random.default_rng(1)
held = {"84 crops": 0, "7 means": 0}
for _ in range(2000):  # the true mean is 0
    values = simulated.standard_normal((7, 1)) + simulated.standard_normal((7, 12))
    for name, sample in (("84 crops", values.ravel()), ("7 means", values.mean(axis=1))):
        mean, half = interval(sample)
        held[name] += bool(abs(mean) < half)
coverage = {name: count / 2000 for name, count in held.items()}
print(coverage)
by_picture = [difference[[n == name for n in pairs.names]].mean() for name in dict.fromkeys(pairs.names)]
print("the difference above, of crops: {:.2f} ± {:.2f} dB".format(*interval(difference)))
print("                of photographs: {:.2f} ± {:.2f} dB".format(*interval(by_picture)))

# %% [markdown]
# Hardly more than half of the time. More crops do not help: they measure the seven pictures ever more precisely, but
# the question is about pictures in general. One value per picture is the honest sample; and what seemed settled above
# is not, since over photographs the interval contains 0. The same holds for several holes in one picture and for frames
# of a film. And no interval accounts for what was *chosen*: pictures, holes, or the best of several runs.
#
# ## PSNR likes blur
#
# The ℓ2 error of a guess $c$ for a number with mean $\mu$ and variance $\sigma^2$ is $\sigma^2 + (c - \mu)^2$: the best
# guess is the mean. A guess with *the same distribution as the truth*, but independent of it, has the error
#
# $$ \mathbb{E} (x - y)^2 = 2 \sigma^2 $$
#
# Yet everyone would consider gravel a better repair than a grey square.
#
# **Predict, then run.** How does gravel compare with grey in PSNR, and by how many decibels? And mixtures of the two, a
# pale gravel? What does TV say?

# %% tags=["predict"]
gravel = (data.Photographs()[6].astype(float) + 1) / 2
pieces = [gravel[i : i + 64, j : j + 64] for i in range(0, 512, 64) for j in range(0, 512, 64)]
truths, copies = np.stack(pieces[:32]), np.stack(pieces[32:])
grey = truths.mean((0, 1, 2))
mixtures = np.linspace(0, 1, 11)
psnr_of, tv_of = [], []
for share in mixtures:
    guess = (1 - share) * grey + share * copies
    psnr_of.append(float(-10 * np.log10(np.mean((guess - truths) ** 2))))
    tv_of.append(float(metrics.tv(signed(guess)).mean()))
tv_of_truth = float(metrics.tv(signed(truths)).mean())
print(f"grey: {psnr_of[0]:.2f} dB, TV {tv_of[0]:.2f} %; gravel: {psnr_of[-1]:.2f} dB, TV {tv_of[-1]:.2f} %; "
      f"the truth: TV {tv_of_truth:.2f} %")  # fmt: skip
print(f"gravel is worse by {psnr_of[0] - psnr_of[-1]:.2f} dB; 10 log10(2) = {10 * np.log10(2):.2f}")

figure = Figure(figsize=(8.2, 3.2), layout="constrained", dpi=100)
left, right = figure.subplots(1, 2)
left.plot(mixtures, psnr_of, "k-o", label="PSNR (left axis)")
left.set(title="From grey to gravel", xlabel="share of gravel", ylabel="PSNR (dB)")
other = left.twinx()
other.plot(mixtures, tv_of, "k--^", label="TV (right axis)")
other.axhline(tv_of_truth, color="k", linestyle=":", label="the truth's TV")
other.set_ylabel("TV (%)")
left.legend(handles=[*left.get_lines(), *other.get_lines()], frameon=False, fontsize=8, loc="center left")
strip = [truths[0], np.broadcast_to(grey, (64, 64, 3)), 0.5 * grey + 0.5 * copies[0], copies[0]]
right.imshow(np.concatenate(strip, axis=1), extent=(0, 4, 0, 1))
right.set(title="truth, grey, half, gravel", xticks=[], yticks=[])
viz.show(
    figure,
    alt="Left: as the share of gravel grows, PSNR falls along a curve, by three decibels in total, while TV rises in "
    "a straight line from zero to the truth's. Right: four squares: the truth, grey, pale gravel, and other gravel.",
)

# %% [markdown]
# PSNR prefers the grey square by nearly 3 dB, almost four times the difference between the full model and the baseline
# in table 1. (Slightly less than 3.01, since this gravel is not quite independent of the truth: their correlation is
# 0.02.) For a texture the best answer *by this measure* is blur, and a network trained by ℓ1 or ℓ2 alone learns exactly
# that. TV reveals it: a TV far below the truth's means blur. But TV alone is no measure either, since noise can have
# any TV. In the table of methods above, read both columns together: a method with the best PSNR but a quarter of the
# truth's TV has smeared.
#
# ## Ablations
#
# An ablation measures the contribution of a part: train the whole system, then again with one thing changed and
# everything else equal. The comparisons in section 5.1 of the paper are such rows. In the library a row is a few fields
# of `TrainConfig`:

# %%
for row, fields in ABLATIONS.items():
    print(f"{row:20}", fields or "nothing: the full system")
rows_but_full = len(ABLATIONS) - 1

# %% [markdown]
# Training is random: initial weights, order of pictures, windows, holes. Another `seed` gives another result. So each
# row is trained with several seeds, and each seed gives one value. Here are two rows with three seeds, a few seconds
# each: this shows the procedure, at a size too small for conclusions.
#
# **Predict, then run.** Will three seeds show whether attention helps? What is Student's factor for three?

# %% tags=["predict"]
scratch = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
steps, pretrain, seeds = (3, 2, 2) if QUICK else (120, 112, 3)
tiny = {"size": 32, "box": 16, "max_shrink": 2, "width": 4, "critic_width": 4, "batch": 4, "steps": steps,
        "pretrain": pretrain, "validate_every": steps, "pictures_every": steps}  # fmt: skip
backend = os.environ.get("CA_NUMPY_BACKEND", "numpy")
table = {}
for row in ("full", "baseline"):
    table[row] = []
    for seed in range(seeds):
        folder = Path(scratch.name) / row / f"seed-{seed}"
        folder.parent.mkdir(exist_ok=True)
        ca.train(TrainConfig(**tiny, seed=seed, **ABLATIONS[row]), out=folder, quiet=True, backend=backend)
        found = ca.evaluate(folder, count=12, backend=backend).rows  # on the run's held-out pictures
        table[row].append(found["refined"]["hole"]["l1"][0])
    mean, half = interval(table[row])
    print(
        f"{row:10}", *(f"{value:6.2f}" for value in table[row]), f"   mean {mean:.2f} ± {half:.2f} % (ℓ1 in the hole)"
    )
by_seed = np.subtract(*table.values())
print("full − baseline, seed by seed: {:.2f} ± {:.2f} %".format(*interval(by_seed)))
print("mean colour: {:.2f} %".format(found["mean colour"]["hole"]["l1"][0]))

# %%
figure = Figure(figsize=(5.6, 3.2), layout="constrained", dpi=100)
axes = figure.subplots()
for seed, values in enumerate(zip(*table.values(), strict=True)):
    axes.plot([0, 1], values, color="0.5", linestyle=("-", "--", "-.")[seed % 3], marker="osD"[seed % 3],
              markerfacecolor="w", markeredgecolor="k", label=f"seed {seed}")  # fmt: skip
for place, values in enumerate(table.values()):
    mean, half = interval(values)
    axes.errorbar(place + (0.15 if place else -0.15), mean, half, fmt="k.", capsize=5,
                  label="95 % interval" if place else None)  # fmt: skip
axes.set(title="Two rows, three seeds, some seconds of training", ylabel="ℓ1 in the hole (%)", xlim=(-0.5, 1.5))
axes.set_xticks([0, 1], list(table))
axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
viz.show(
    figure,
    alt="The error of the full system and of the baseline, a line for each seed; the lines disagree about which is "
    "lower. The intervals are longer than any difference between the rows.",
)

# %% [markdown]
# Read it literally: with three seeds each, this *cannot distinguish* the rows; it shows neither that attention helps
# nor that it does not. The factor is 4.30, and the seeds differ. (Pairing by seed gains little, while pairing by
# picture gained much: the same seed gives the same pictures and holes, but the weights belong to different networks.)
# The interval is over seeds, for these held-out photographs; it would say nothing about other pictures, even if it were
# narrow. And look at the mean colour's error: the networks compared here have hardly learnt anything yet. The
# contribution of a part at the start of training need not equal its contribution at the end.
#
# How many seeds would be enough? To detect a difference $d$ whose standard deviation between seeds is $s$, the half
# width has to be below $d$: $n \ge (t s / d)^2$. (Student's $t$ also depends on $n$, so we try successive values of
# $n$. This is the least: even with so many seeds the interval contains 0 about half of the time.)

# %%
for ratio in (0.5, 1, 2, 4):
    needed = next(n for n in range(2, 1000) if stdtrit(n - 1, 0.975) / np.sqrt(n) < 1 / ratio)
    print(f"a spread of {ratio} times the difference: {needed} seeds")
some_by_chance = float(1 - 0.95**rows_but_full)
print(f"{rows_but_full} rows that change nothing: one seems to matter {some_by_chance:.0%} of the time")

# %% [markdown]
# The last line is the other trap. Compare eleven rows with the full system, at 95 % each: even if no part mattered, in
# two out of five such tables one would seem to (if rows were independent; ours share the full system's runs, which
# makes it rarer, but not rare). Report how many rows were compared, and test the winner again with new seeds.
#
# The whole table is `python tests/benchmarks/ablations.py --seeds 5 --steps 1000`; what each row changes and what the
# paper reports about it is in [docs/ablations.md](../docs/ablations.md).
#
# ## Timed
#
# **Predict, then run.** How long does each method take per crop of 64 × 64? And the measures?

# %% tags=["predict", "timed"]
one, its_hole = images[0], masks[0]
for method in methods:
    print(f"{method:14} {1e3 * seconds_of(lambda: filling.fill(method, one, its_hole), rounds=2):9.2f} ms")
runs = {"ℓ1": lambda: metrics.l1(one, one), "SSIM": lambda: metrics.ssim(one, one)}
for name, run in runs.items():
    print(f"{name:14} {1e3 * seconds_of(run):9.2f} ms to measure")

# %% [markdown]
# ## Exercises
#
# Replace the line that raises; `check` says what is wrong with an answer. Solutions are in
# `solutions/notebook_18.py`.
#
# **1.** TV over the hole: for a picture x, H W C from 0 to 1, and a hole, H W, True where missing, compute 100 times
# the mean of $|x_p - x_q|$ over channels and over all pairs of horizontal or vertical neighbours that both lie in the
# hole.


# %%
def tv_in_hole(x, hole):
    """In percent."""
    raise NotImplementedError


check("18.tv", tv_in_hole)

# %% [markdown]
# **2.** A paper reports PSNR over the whole picture, and you have it over the hole, which is `share` of the picture.
# Known pixels are pasted. What would the paper have reported?


# %%
def over_the_whole(psnr_in_hole, share):
    """PSNR over the whole picture, in dB."""
    raise NotImplementedError


check("18.whole", over_the_whole)

# %% [markdown]
# **3.** Two methods were measured on the same crops: `a` and `b`, (n,). `picture[i]` is the picture that crop $i$ comes
# from. Return the mean difference $a - b$ and half of its 95 % interval, done properly: paired, and with one value per
# picture. (`stdtrit(degrees, 0.975)` gives Student's factor.)


# %%
def compare(a, b, picture):
    """(mean, half width) of a − b."""
    raise NotImplementedError


check("18.compare", compare)

# %% tags=["figures-that-matter"]
figures = {
    "measures of a noisy face": looped,
    "decibels from hole to whole": gain,
    "coverage of 84 crops and of 7 means": list(coverage.values()),
    "grey and gravel, dB": [psnr_of[0], psnr_of[-1]],
    "TV of gravel and of the truth": [tv_of[-1], tv_of_truth],
    "Student's factor of three": float(stdtrit(2, 0.975)),
    "something by chance": some_by_chance,
}
print(json.dumps(figures))
