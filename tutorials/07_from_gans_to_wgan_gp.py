# %% [markdown]
# # 07 · From GANs to WGAN-GP
#
# **One idea:** a critic whose slope is at most 1 measures how far fakes have to be moved to become real, and its slope
# says in which direction. A penalty on the slope, a gradient of a gradient, enforces this bound.
#
# You need notebook 02.

# %%
import json
import os
from itertools import permutations

import numpy as np
from exercises import check
from interactive import interactive
from matplotlib.figure import Figure
from scipy.optimize import linear_sum_assignment

import ca_numpy as ca
from ca_numpy import functional as F
from ca_numpy import losses, viz
from ca_numpy.nn.optim import Adam
from ca_numpy.testing import gradcheck, seconds_of

QUICK = os.environ.get("CA_NUMPY_QUICK") == "1"  # smaller sizes, for the tests

# %% [markdown]
# ## The problem
#
# A generator makes fakes, a second network gives each picture a score, and the generator follows the gradient of the
# score. What should the second network be trained to do?
#
# The first answer, the *generative adversarial network* or GAN (Goodfellow et al., 2014), was: to tell real from fake.
# It outputs a number $s(x)$, the *logit*, and $D(x) = 1 / (1 + e^{-s(x)})$ is its probability of "real". The generator
# minimises $\log(1 - D)$, averaged over its fakes.
#
# To see what happens then, take pictures of a single pixel. Fakes are normally distributed around 0, real ones around
# $d$, both with standard deviation $\sigma = ½$. The optimal logit is then known: the logarithm of the ratio of the
# densities,
#
# $$ s(x) = \log \frac{p_{\text{real}}(x)}{p_{\text{fake}}(x)} = \frac{d\,x - d^2 / 2}{\sigma^2} $$
#
# **Predict, then run.** The generator needs a direction at $x = 0$, in the middle of its fakes. How large is its
# gradient if the real ones are 1, 2, 4, 8 away? (Help is needed most where the gap is large.)

# %% tags=["predict"]
SIGMA = 0.5
gaps = [1.0, 2.0, 4.0, 8.0]
slope_of_gan = []
for d in gaps:
    x = ca.tensor(0.0)
    s = (x * d - d * d / 2) / SIGMA**2
    loss = -F.softplus(s)  # log(1 − D) = −log(1 + eˢ)
    D = 1 / (1 + np.exp(-float(s)))
    slope_of_gan.append(-D * d / SIGMA**2)
    on_tape = float(ca.grad(loss, x))
    print(f"real ones {d:.0f} away: D(0) = {D:.0e}, gradient {slope_of_gan[-1]:.1e}, on the tape {on_tape:.1e}")

# %% [markdown]
# The slope is $-D(x)\, s'(x)$. The better $D$ recognises a fake, the smaller the first factor, which shrinks like
# $e^{-d^2 / 2\sigma^2}$ while the second only grows like $d$. On the tape, softplus adds the gradient to ½ and later
# subtracts ½ again: at 8, rounding (one part in $10^{16}$) swallows it completely. A discriminator that does its job
# well leaves the generator without direction.
#
# (There is a workaround: maximise $\log D$ instead, with the slope $-(1 - D)\, s'$. In the library this is
# `adversarial_loss(..., kind="dcgan")`. It does not vanish, but here it is about $-4d$: it grows with distance, and
# without bound as $\sigma$ shrinks. And neither loss says *how far* to go.)
#
# ## The equation
#
# Instead, measure how far away the fakes are: the *Wasserstein distance* is the smallest mean distance by which they
# must be moved to match the distribution of the real ones. It is also (Kantorovich and Rubinstein) the largest
# difference in mean score that any critic can achieve,
#
# $$ W = \max_{f \text{ 1-Lipschitz}} \; \mathbb{E}\, f(x_{\text{real}}) - \mathbb{E}\, f(x_{\text{fake}}) $$
#
# among all $f$ nowhere steeper than 1: $|f(x) - f(y)| \le \lVert x - y \rVert$. One direction is easy: over a path of
# length $\ell$, such an $f$ rises by at most $\ell$. For our two normal distributions $W = d$, the best critic is $f(x)
# = x$, and its slope is 1 at any distance. (This is the inner maximum of equation 1 of the paper, in section 3; the
# definition by moves is its equation 4.)
#
# ## Loops
#
# For $n$ real and $n$ fake numbers, each fake is moved to a different real one. Try all $n!$ assignments.


# %%
def wasserstein_loops(real, fake):
    best = np.inf
    for order in permutations(range(len(real))):
        total = 0.0
        for i, j in enumerate(order):
            total += abs(real[j] - fake[i])
        best = min(best, total / len(real))
    return best


# %% [markdown]
# ## Vectorised
#
# On a line, two crossing moves can be uncrossed, which never makes them longer. So the smallest fake goes to the
# smallest real one, the next to the next, and so on: all it takes is sorting.


# %%
def wasserstein(real, fake):
    return np.mean(np.abs(np.sort(real) - np.sort(fake)))


rng = np.random.default_rng(0)
few_real, few_fake = rng.normal(2, SIGMA, 6), rng.normal(0, SIGMA, 6)
print("all 720 assignments:", wasserstein_loops(few_real, few_fake), "  sorted:", wasserstein(few_real, few_fake))
assert np.isclose(wasserstein_loops(few_real, few_fake), wasserstein(few_real, few_fake), rtol=1e-12)

# %% [markdown]
# ## Checked against an oracle: the best critic, constructed
#
# The equation promises a critic that attains this number and is nowhere steeper than 1. On a line it can be written
# down. Between adjacent samples let it rise with slope $+1$ if more fakes than real ones lie to the left (they have to
# cross to the right), and fall with slope $-1$ if fewer do. If the numbers are equal, none has to cross, and any slope
# will do: take 0.


# %%
def best_critic(real, fake):
    """All samples in order, and the best critic's scores for them."""
    places = np.sort(np.concatenate([real, fake]))
    more_fakes = [np.sum(fake <= x) - np.sum(real <= x) for x in places[:-1]]
    rises = np.sign(more_fakes) * np.diff(places)
    return places, np.concatenate([[0.0], np.cumsum(rises)])


real_mixed, fake_mixed = rng.normal(0, 1, 200), rng.normal(0, 0.3, 200) + np.repeat([-1.0, 1.5], 100)
places, scores = best_critic(real_mixed, fake_mixed)
difference = np.interp(real_mixed, places, scores).mean() - np.interp(fake_mixed, places, scores).mean()
print("the critic's difference:", difference, "  sorted assignment:", wasserstein(real_mixed, fake_mixed))
assert np.isclose(difference, wasserstein(real_mixed, fake_mixed), rtol=1e-12)

# %% [markdown]
# **Try.** Here it is drawn. In Jupyter, move a lump of fakes past the middle of the real ones: where do the peak and
# the valleys of the critic go?


# %%
def lumps(left=-1.0, right=1.5):
    """The best critic of fakes in two lumps, around `left` and `right`."""
    fake = fake_mixed + np.repeat([left + 1.0, right - 1.5], 100)
    figure = Figure(figsize=(6, 3.4), layout="constrained", dpi=100)
    axes = figure.subplots()
    bins = np.linspace(-3, 3, 31)
    axes.hist(real_mixed, bins, color="0.8", label="real")
    axes.hist(fake, bins, histtype="step", color="k", hatch="///", label="fake")
    title = f"Two sets of numbers, {wasserstein(real_mixed, fake):.2f} apart, and their best critic"
    axes.set(title=title, xlabel="x", ylabel="samples per bin")
    scale = axes.twinx()
    scale.plot(*best_critic(real_mixed, fake), "k-", linewidth=2.5, label="critic (right axis)")
    scale.set(ylabel="score f(x)")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


centres = np.arange(-20, 21, 5) / 10
interactive(
    lumps,
    left=centres,
    right=centres,
    alt="A grey histogram of real samples around zero, a hatched one of fakes in two lumps around minus one and one "
    "and a half, and the critic: a zigzag of straight pieces with a peak in the middle and a valley on the far side of "
    "each lump, at minus 1.4 and 2.1.",
)

# %% [markdown]
# A fake that moves uphill at slope 1 moves to where it is needed. The valleys are not in the middle of the lumps but on
# their far sides, since nearly all fakes of a lump are needed further inwards. The critic's difference and the sorted
# assignment, printed above, agree to twelve digits, although one comes from scores and the other from moves.
#
# ## A network as the critic
#
# For pictures the best critic cannot be written down. A network has to learn it, and something must keep its slope from
# exceeding 1. Here is one with three layers, for pictures $N \times H \times W \times C$ of a few pixels.


# %%
HIDDEN = 32


def first_weights(pixels, *, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"a": (pixels, HIDDEN), "b": (HIDDEN,), "c": (HIDDEN, HIDDEN), "d": (HIDDEN,), "e": (HIDDEN, 1)}
    return {name: ca.tensor(rng.standard_normal(shape) / np.sqrt(shape[0])) for name, shape in shapes.items()}


def critic_with(w):
    def critic(x):
        x = F.elu(x.reshape(len(x), -1) @ w["a"] + w["b"])
        return F.elu(x @ w["c"] + w["d"]) @ w["e"]

    return critic


# %% [markdown]
# **Clipping** (Arjovsky et al., 2017). After each step, clip every weight to $[-c, c]$. Then the slope is bounded by
# *something*: at most $k c$ per layer with $k$ inputs (ELU's own slope is at most 1). For one pixel that is $c \cdot
# 32c \cdot 32c$.
#
# **The penalty** (Gulrajani et al., 2017: the *Wasserstein GAN with gradient penalty*, WGAN-GP). Add to the loss, at
# random points $\hat x = (1 - t)\, x_{\text{real}} + t\, x_{\text{fake}}$ between the two,
#
# $$ \lambda \; \mathbb{E} \big( \lVert \nabla_{\hat x} f(\hat x) \rVert_2 - 1 \big)^2, \qquad \lambda = 10 $$
#
# It contains a gradient and is minimised by its gradient; notebook 02 showed how. It is added to `losses.critic_loss`,
# the mean score of the fakes minus that of the real ones: the critic minimises this, and its negative is the critic's
# *estimate* of the distance. The weights take their steps by Adam, gradient descent that adapts the step of each
# weight. In code:


# %%
def penalty(critic, real, fake, t):
    x = ca.tensor((1 - t) * real + t * fake)
    slope = ca.grad(critic(x).sum(), x, create_graph=True)  # a sum, since each score depends on its own picture
    return (((slope * slope).sum((1, 2, 3)) ** 0.5 - 1) ** 2).mean()


LAMBDA = 10.0


def trained(real, fake, *, steps, clip=None, mask=None, rate=1e-2, seed=0):
    """Weights of a critic whose slope is limited by clipping, or else by the library's penalty."""
    w, rng = first_weights(real[0].size, seed=seed), np.random.default_rng(seed)
    adam, critic = Adam(w, rate=rate), critic_with(w)
    mask = np.ones((1, *real.shape[1:3], 1)) if mask is None else mask
    for _ in range(steps):
        loss = losses.critic_loss(critic(ca.tensor(real)), critic(ca.tensor(fake)))
        if clip is None:
            t = rng.random((len(real), 1, 1, 1))
            loss = loss + losses.gradient_penalty(critic, real, fake, mask, t) * LAMBDA
        adam.step(ca.grad(loss, list(w.values())))
        if clip is not None:
            for p in w.values():
                p.data = np.clip(p.data, -clip, clip)
    return w


def estimate(w, real, fake):
    critic = critic_with(w)
    return -float(losses.critic_loss(critic(ca.tensor(real)), critic(ca.tensor(fake))))


# %% [markdown]
# **Is the penalty right?** Finite differences do not depend on the tape. First its value: the slope at each picture,
# pixel by pixel, by differences of the critic. Then its gradient with respect to the weights: `gradcheck` compares it
# with differences of the penalty.


# %%
def penalty_by_differences(critic, real, fake, t, *, h=1e-5):
    total = 0.0
    for n in range(len(real)):
        x = (1 - t[n]) * real[n] + t[n] * fake[n]
        square = 0.0
        for place in np.ndindex(x.shape):
            step = np.zeros_like(x)
            step[place] = h
            up, down = (float(critic(ca.tensor(y[None]))[0, 0]) for y in (x + step, x - step))
            square += ((up - down) / (2 * h)) ** 2
        total += (np.sqrt(square) - 1) ** 2
    return total / len(real)


rng = np.random.default_rng(1)
real_4, fake_4, t_4 = rng.standard_normal((4, 1, 2, 1)), rng.standard_normal((4, 1, 2, 1)), rng.random((4, 1, 1, 1))
w = first_weights(2)
P = float(penalty(critic_with(w), real_4, fake_4, t_4))
P_differences = penalty_by_differences(critic_with(w), real_4, fake_4, t_4)
P_library = float(losses.gradient_penalty(critic_with(w), real_4, fake_4, np.ones((1, 1, 2, 1)), t_4))
print(f"on the tape  {P:.10f}\ndifferences  {P_differences:.10f}\nthe library  {P_library:.10f}")
assert np.isclose(P, P_differences, rtol=1e-7)
assert np.isclose(P, P_library, rtol=1e-12)

three = slice(3)  # units per layer: differences take two evaluations per weight
places_of = {"a": (slice(None), three), "b": three, "c": (three, three), "d": three, "e": three}
few_weights = [w[name].numpy()[place] for name, place in places_of.items()]
gradcheck(lambda *p: penalty(critic_with(dict(zip(w, p, strict=True))), real_4, fake_4, t_4), few_weights, rng=rng)
print("and its gradient w.r.t. all weights agrees with differences, with three units per layer")

# %% [markdown]
# **Predict, then run.** The real pixels are 2 away from the fakes, so $W \approx 2$. What will critics with $c = 0.05$,
# $0.1$ and $0.2$ estimate? And one with the penalty? It trades slope against $W$: a slope $s$ gains $s\,d$ and costs
# $\lambda (s - 1)^2$. What is the best $s$, and what does the critic then estimate?

# %% tags=["predict"]
rng = np.random.default_rng(2)
real_1, fake_1 = rng.normal(2, SIGMA, (256, 1, 1, 1)), rng.normal(0, SIGMA, (256, 1, 1, 1))
exact = float(wasserstein(real_1.ravel(), fake_1.ravel()))
steps = 5 if QUICK else 300
print(f"exact, by sorting: {exact:.3f}")
for c in (0.05, 0.1, 0.2):
    w = trained(real_1, fake_1, steps=steps, clip=c)
    at_bound = np.mean([np.abs(v) > 0.999 * c for p in w.values() for v in p.numpy().ravel()])
    says = estimate(w, real_1, fake_1)
    print(f"clipped to {c}: estimate {says:.3f}; slope at most {HIDDEN**2 * c**3:.2f}; {at_bound:.0%} of weights at ±c")
for seed in (3, 0):
    says = estimate(trained(real_1, fake_1, steps=steps, seed=seed), real_1, fake_1)
    print(f"penalty, first weights {seed}: estimate {says:.3f}")
pays_best = 1 + exact / (2 * LAMBDA)
print(f"the optimal slope: {pays_best:.3f}; with it the estimate is {pays_best * exact:.3f}")

# %% [markdown]
# A clipped critic measures in arbitrary units of $c^3$: doubling $c$ makes the "distance" about seven times as large
# (the bound says eight), with another power of $c$ for each further layer. Almost all weights end up at $\pm c$, so
# that only their signs carry information.
#
# The first critic with the penalty gets the unit right. It overestimates slightly, by 6 %; the optimal
# slope, $1 + d / 2\lambda$, would overestimate by 10 %.
#
# The second says the distance is negative! The penalty asks for a slope of norm 1, and on a line there are two: $+1$
# and $-1$. This critic started with the wrong one; to change sign it would have to pass through slope 0, where the
# penalty is $\lambda$. With two or more pixels a slope can rotate without becoming smaller, and so get around this.
# One-dimensional toys show much, but not everything.
#
# ## On the plane
#
# A point of the plane is a picture of two pixels. The real ones form eight clusters on a circle of radius 2, with the
# fakes spread around its middle. From the middle itself it is 2 to each cluster; a fake to one side has less to go, if
# it is assigned to a cluster on that side. Here nothing can be sorted, but SciPy finds the best of all $256!$
# assignments.
#
# **Predict, then run.** Which of the two critics sees the clusters? How steep is it in the middle, and further out?

# %% tags=["predict"]
rng = np.random.default_rng(3)
angle = 2 * np.pi * rng.integers(0, 8, 256) / 8
real_2 = (2 * np.stack([np.cos(angle), np.sin(angle)], 1) + rng.normal(0, 0.1, (256, 2)))[:, None, :, None]
fake_2 = rng.normal(0, 0.4, (256, 1, 2, 1))
critics = {
    "clipped to 0.1": trained(real_2, fake_2, steps=5 if QUICK else 400, clip=0.1),
    "with the penalty": trained(real_2, fake_2, steps=5 if QUICK else 400),
}

moves = np.linalg.norm(real_2[:, 0, None, :, 0] - fake_2[None, :, 0, :, 0], axis=2)  # from each fake to each real one
exact_2 = float(moves[linear_sum_assignment(moves)].mean())
print(f"the best assignment moves each fake by {exact_2:.2f} on average")

between = rng.random((256, 1, 1, 1))
between = (1 - between) * real_2 + between * fake_2
line = np.linspace(-3, 3, 61)
plane = np.stack(np.meshgrid(line, line), -1).reshape(-1, 1, 2, 1)
arrows = np.stack(np.meshgrid(line[5::10], line[5::10]), -1).reshape(-1, 1, 2, 1)


def slopes(w, x):
    x = ca.tensor(x)
    return ca.grad(critic_with(w)(x).sum(), x).numpy()[:, 0, :, 0]


figure = Figure(figsize=(9.5, 3.7), layout="constrained", dpi=100)
*surfaces, last = figure.subplots(1, 3, width_ratios=[1, 1, 0.9])
for axes, (name, w) in zip(surfaces, critics.items(), strict=True):
    heights = critic_with(w)(ca.tensor(plane)).numpy().reshape(61, 61)
    axes.contourf(line, line, heights, 12, cmap="gray", alpha=0.45)
    axes.contour(line, line, heights, 12, colors="0.35", linewidths=0.6)
    axes.plot(*real_2[:, 0, :, 0].T, "ko", markersize=3, label="real")
    axes.plot(*fake_2[:, 0, :, 0].T, "kx", markersize=3, markeredgewidth=0.6, label="fake")
    way = slopes(w, arrows)
    axes.quiver(*arrows[:, 0, :, 0].T, *(way / np.linalg.norm(way, axis=1, keepdims=True)).T, width=0.006, scale=14)
    axes.set(title=f"The critic {name}", xlabel="first pixel", ylabel="second pixel", aspect="equal")
    steep = np.linalg.norm(slopes(w, between), axis=1)
    print(f"{name}: slope {steep.mean():.2f} on average, 8 of 10 from {np.quantile(steep, 0.1):.2f} to "
          f"{np.quantile(steep, 0.9):.2f}; estimate {estimate(w, real_2, fake_2):.2f}")  # fmt: skip
    circle = np.stack([np.cos(np.arange(8)), np.sin(np.arange(8))], 1)[:, None, :, None]
    rings = {r: np.linalg.norm(slopes(w, r * circle), axis=1).mean() for r in (0, 0.2, 1, 2)}
    print("   slope", *[f"{steep:.2f} at {r} from the middle;" for r, steep in rings.items()])
    filled = {"color": "0.75"} if name == "with the penalty" else {"histtype": "step", "color": "k", "hatch": "///"}
    last.hist(steep, np.linspace(0, 2, 41), label=name, **filled)
last.axvline(1, color="k", linestyle=":", label="wanted: 1")
last.set(title="Slopes between the two", xlabel="norm (score per unit)", ylabel="points", ylim=(0, 150))
last.legend(frameon=False, loc="upper right", fontsize=8)
surfaces[0].legend(loc="upper left", fontsize=7)
figure.suptitle("Two critics of two pixels: lighter is a higher score, arrows point uphill", fontsize=10)
viz.show(
    figure,
    alt="Two surfaces over the plane with level lines, and a histogram. The clipped critic rises in one "
    "direction: straight parallel lines, all arrows to the lower left. The one with the penalty is a round bowl with "
    "its bottom at the fakes; its arrows point outwards to all eight clusters. Its slopes are concentrated around one; "
    "the clipped critic's range from 0.3 to 1.05.",
)

# %% [markdown]
# The clipped critic sends all fakes in the same direction, although real ones lie all around them. The bowl sends each
# to its nearest clusters, at a slope of about 1 nearly everywhere, also where fakes are still far from anything real.
# Only around the very bottom is it flatter (0.23 in the middle): a smooth surface has slope 0 at its lowest point. Its
# estimate is again a little more than the best assignment's mean: by 6 %, where the optimal slope would give 7.5 %.
#
# **Which way, and in which norm?** Two statements in section 3 of the paper do not agree with its own equations.
# Between a real $x$ and the fake $\tilde x$ that is moved to it, it says, the best critic's gradient is $(\tilde x - x)
# / \lVert \tilde x - x \rVert$: uphill towards the *fake*. By its equation 1, and in the picture above, the real ones
# have the higher scores, so uphill is towards them. (The penalty does not mind, since it uses only the length.) And it
# says that WGAN suits an ℓ1 loss because the distance is based on ℓ1. But the penalty bounds the slope in ℓ2, $\lVert
# \nabla f \rVert_2$, and the moves above are measured in ℓ2. For moves measured in ℓ1, $f$ may rise by 1 along each
# axis *separately*: $\max_i |\partial f / \partial x_i| \le 1$.
#
# ## Masked to the hole
#
# In inpainting a fake differs from its picture only in the hole; the known pixels are pasted back. So the fakes can
# only be moved *within the hole*, and the paper's penalty counts only the slope there. With $m = 1$ in the hole, as in
# the library,
#
# $$ \lambda \; \mathbb{E} \big( \lVert \nabla_{\hat x} f(\hat x) \odot \sqrt{m} \rVert_2 - 1 \big)^2 $$
#
# (The paper writes $1 - m$, with $m = 0$ in the hole. The root is there because the released code multiplies the
# *squared* slopes by the mask; where that is 0 or 1, the root changes nothing.)
#
# Take three pixels: one is known, $k$ between $-1$ and 1, and two are missing. In real pictures these are $\frac32
# (\cos \pi k, \sin \pi k)$, so the known pixel determines the missing ones exactly. In fakes they are noise. Within the
# hole each fake has exactly one target, so the distance is the mean of these moves. If the known pixel may change too,
# there are shorter moves: the noise need not go to the target for its $k$ if $k$ can move as well.
#
# **Predict, then run.** Two critics, one with the penalty on all pixels, one with the masked penalty. Which one
# estimates the distance within the hole?

# %% tags=["predict"]
rng = np.random.default_rng(4)
known = rng.uniform(-1, 1, 256)
real_3 = np.stack([known, 1.5 * np.cos(np.pi * known), 1.5 * np.sin(np.pi * known)], 1)
fake_3 = np.stack([known, *rng.normal(0, 0.7, (2, 256))], 1)
within = float(np.linalg.norm(real_3 - fake_3, axis=1).mean())
real_3, fake_3 = real_3[:, None, :, None], fake_3[:, None, :, None]
hole = np.array([0.0, 1.0, 1.0]).reshape(1, 1, 3, 1)
print(f"mean distance within the hole: {within:.2f}")
for name, m in (("all pixels", None), ("the hole", hole)):
    w = trained(real_3, fake_3, steps=5 if QUICK else 800, mask=m)
    t = np.random.default_rng(5).random((256, 1, 1, 1))
    square = slopes(w, (1 - t) * real_3 + t * fake_3) ** 2
    print(f"penalty on {name:10}: estimate {estimate(w, real_3, fake_3):.2f}; RMS slope along the known pixel "
          f"{np.sqrt(square[:, 0].mean()):.2f}, in the hole {np.sqrt(square[:, 1:].sum(1).mean()):.2f}")  # fmt: skip

# %% [markdown]
# The masked critic again overestimates slightly, and its slope along the known pixel is unconstrained. It has to be
# steep there, since a small change in the known pixel greatly changes what belongs in the hole. The other critic has to
# share its slope of 1 between the two, and so stays below the distance within the hole.
#
# ## Timed
#
# **Predict, then run.** By differences, the value of the penalty takes two evaluations of the critic per picture and
# pixel. On the tape it takes one evaluation of all pictures and one backward pass. How do the times grow with the
# number of pixels? Training also needs its gradient: a backward pass through the first backward pass. How many times as
# long as a step with clipping does a step with the penalty take?

# %% tags=["predict", "timed"]
pixels = [2, 8] if QUICK else [2, 8, 32, 128]
by_tape, by_differences = [], []
for n in pixels:
    real_n, fake_n, t_n = rng.standard_normal((4, 1, n, 1)), rng.standard_normal((4, 1, n, 1)), rng.random((4, 1, 1, 1))
    critic = critic_with(first_weights(n))
    by_tape.append(seconds_of(lambda: penalty(critic, real_n, fake_n, t_n)))
    by_differences.append(seconds_of(lambda: penalty_by_differences(critic, real_n, fake_n, t_n), rounds=3))
steps = 5 if QUICK else 40
for name, clip in (("clipping", 0.1), ("the penalty", None)):
    took = seconds_of(lambda: trained(real_2, fake_2, steps=steps, clip=clip), rounds=2)
    print(f"a step with {name}: {1e3 * took / steps:.2f} ms")

figure = Figure(figsize=(6, 3.4), layout="constrained", dpi=100)
axes = figure.subplots()
axes.loglog(pixels, [1e3 * s for s in by_differences], "k--^", label="by differences")
axes.loglog(pixels, [1e3 * s for s in by_tape], "k-o", label="on the tape")
axes.set(title="Time for the penalty's value, four pictures", xlabel="pixels per picture", ylabel="milliseconds")
axes.legend(frameon=False)
axes.grid(color="0.9")
viz.show(
    figure,
    alt="Time against the number of pixels, both logarithmic. By differences it rises in proportion to the pixels; on "
    "the tape it stays flat.",
)

# %% [markdown]
# On the tape the time does not grow with the pixels, as long as Python's overhead dominates; by differences it grows in
# proportion. And a step with the penalty takes two to three times as long as one with clipping.
#
# The paper's critics are trained in this way: [`update_critics`](../ca_numpy/training/algorithm1.py) calls
# [`gradient_penalty`](../ca_numpy/training/losses.py) twice, on whole pictures and on the box around the hole, five
# updates for each generator update. A picture there has 196,608 values.
#
# ## Exercises
#
# Replace the line that raises; `check` says what is wrong with an answer. Solutions are in
# `solutions/notebook_07.py`.
#
# **1.** The exact distance on a line, for *different* numbers of samples. Sorting no longer pairs them. But the best
# critic's equation still holds: between adjacent samples of the pooled set it gains the gap times the absolute
# difference between the two fractions, of all real and of all fake samples, that lie to the left.


# %%
def wasserstein_any(real, fake):
    """The Wasserstein distance between two arrays of numbers, (n,) and (m,)."""
    raise NotImplementedError


check("07.distance", wasserstein_any)

# %% [markdown]
# **2.** The penalty masked to the hole, as a Tensor. `real` and `fake` are arrays (N, D), `mask` is (N, D) with 1 in
# the hole, `t` is (N, 1); `critic` maps a Tensor (N, D) to a Tensor (N, 1), row by row.


# %%
def masked_penalty(critic, real, fake, mask, t):
    """The mean over the rows of (‖slope at (1 − t)·real + t·fake, only in the hole‖₂ − 1)²."""
    raise NotImplementedError


check("07.masked_penalty", masked_penalty)

# %% [markdown]
# **3.** On a line all real pixels are at distance `d` from the fakes, and a critic $f(x) = s\,x$ starts at $s = $
# `start`. It descends the gradient of $-s\,d + \lambda (|s| - 1)^2$ in small steps until it converges. What distance
# does it then *estimate*? (Where does it converge if it starts below 0? And if $d$ is large, is there still a trap?)


# %%
def says(d, lam, start):
    """The critic's final estimate s·d of the distance; d > 0, lam > 0, start is not 0."""
    raise NotImplementedError


check("07.trap", says)

# %% tags=["figures-that-matter"]
few_steps = trained(real_2, fake_2, steps=5)
few_steps_masked = trained(real_3, fake_3, steps=5, mask=hole)
figures = {
    "gradient of the first GAN's loss": slope_of_gan,
    "distance of two lumps, sorted": exact,
    "distance of mixed samples": float(difference),
    "distance on the plane": exact_2,
    "penalty": P,
    "the slope that pays best": pays_best,
    "mean way within the hole": within,
    "said after five steps": [estimate(few_steps, real_2, fake_2), estimate(few_steps_masked, real_3, fake_3)],
}
print(json.dumps(figures))
