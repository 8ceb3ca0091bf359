# %% [markdown]
# # 13 · Algorithm 1 on photographs
#
# **One idea:** cut a hole into a picture, and the right answer is known. The rest of the training is one loop of a
# dozen lines: five updates of the critics, one of the generator. Written out by hand, it matches the library number for
# number.
#
# You need notebooks 07 (the critics and their penalty) and 08 (masks and the discounted ℓ1).

# %%
import copy
import json
import os
import tempfile
from pathlib import Path

import numpy as np
from exercises import check
from interactive import Beside
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import ca_numpy as ca
from ca_numpy import data, viz
from ca_numpy import functional as F
from ca_numpy.models import Critic, Generator
from ca_numpy.nn.optim import Adam
from ca_numpy.testing import seconds_of
from ca_numpy.training.algorithm1 import update_critics, update_generator
from ca_numpy.training.batches import Batch
from ca_numpy.training.checkpoint import load_checkpoint, save_checkpoint
from ca_numpy.training.config import TrainConfig
from ca_numpy.training.loop import generator_rate
from ca_numpy.training.system import System, new_system
from ca_numpy.training.validation import Validation

QUICK = os.environ.get("CA_NUMPY_QUICK") == "1"  # smaller sizes, for the tests

# %% [markdown]
# ## The problem
#
# Two kinds of networks have to be trained against each other: a generator $G$ that fills holes, and two critics $D$
# that assign scores, one to the whole picture, the other to the box around the hole. Nobody has pairs of damaged and
# repaired pictures. But any picture will do: cut a hole into it, and the answer is the original.
#
# It remains to specify which network learns when, and from what. This is the paper's Algorithm 1, with $m = 1$ in the
# hole, as in the released code, where the paper has 0:
#
#     while G has not converged:
#         for five turns:
#             draw pictures x, masks m; erase: z = x ⊙ (1 − m); predict: x̃ = z ⊙ (1 − m) + G(z, m) ⊙ m
#             draw t between 0 and 1 for each; x̂ = (1 − t) x + t x̃
#             update both critics with x, x̃, x̂
#         draw pictures x, masks m
#         update G with the discounted ℓ1 and both critics' scores
#
# ## The equations
#
# With $D_1$ the critic of the picture and $D_2$ that of the box, the critics minimise
#
# $$ L_D = \sum_{k=1,2} \mathbb{E}\, D_k(\tilde x) - \mathbb{E}\, D_k(x)
# + \lambda\, \mathbb{E} \big( \lVert \nabla D_k(\hat x) \odot \sqrt m \rVert_2 - 1 \big)^2, \qquad \lambda = 10 $$
#
# and the generator, with coarse result $x_1$, refined result $x_2$ and a discount $M$ (notebook 08), minimises
#
# $$ L_G = 1.2 \big( 1.2\, \ell_{\text{box}}(x_1) + \ell_{\text{box}}(x_2) \big)
# + 1.2 \big( 1.2\, \ell_{\text{known}}(x_1) + \ell_{\text{known}}(x_2) \big)
# - 0.001 \sum_k \mathbb{E}\, D_k(\tilde x) $$
#
# where $\ell_{\text{box}}$ is the mean of $M\, |x - x_i|$ over the box and $\ell_{\text{known}}$ that of $|x - x_i|$
# over the known pixels. (The second bracket, all weights but $\lambda$, and $M$ are the released code's: notebook 08's
# weights by the box's sides, with $\gamma = 0.9$. The paper weights by the distance to the nearest known pixel, with
# $\gamma = 0.99$. And $\sqrt m$ is the same as $m$, which is 0 or 1: the released code multiplies the *square* of the
# gradient by the mask.)
#
# ## Photographs
#
# Seven photographs come with scikit-image. A hash of their names decides which are used for training and which are held
# out for validation, so a picture never changes sides.

# %%
train_set, held_out = data.split(data.Photographs(), validation=0.3)
print("to train on:", *train_set.names, "\nheld out:   ", *held_out.names)

# %% [markdown]
# ## Loops: a batch by hand
#
# An epoch passes once through all pictures, in random order. Each yields one square window of random size and position,
# resized to the training size and mirrored with probability ½. Then a box is placed at random, and the hole is the box
# minus some rows and columns. All randomness comes from named generators, one for pictures and one for masks.

# %%
SIZE, BOX, SHRINK, WINDOW = 64, 32, 4, (0.2, 0.5)
# JPEG decoders may round differently, and the following is compared across machines, so no JPEG.
exact_set = data.Subset(train_set, [i for i, name in enumerate(train_set.names) if name != "rocket"])


def crop_by_hand(pixels, rng):
    rows, columns = pixels.shape[:2]
    side = max(round(rng.uniform(*WINDOW) * min(rows, columns)), 1)
    top = int(rng.integers(0, rows - side, endpoint=True))
    left = int(rng.integers(0, columns - side, endpoint=True))
    crop = data.crop_window(pixels, top=top, left=left, height=side, width=side, size=SIZE)
    return crop[:, ::-1] if rng.random() < 0.5 else crop


def hole_by_hand(rng):
    top, left = (int(corner) for corner in rng.integers(0, SIZE - BOX, size=2))
    above, beside = rng.integers(0, SHRINK, size=2, endpoint=True)
    mask = np.zeros((SIZE, SIZE, 1))
    for i in range(top + above, top + BOX - above):
        for j in range(left + beside, left + BOX - beside):
            mask[i, j] = 1
    return mask, (top, left, BOX, BOX)


def batches_by_hand(pictures, count, data_rng, mask_rng):
    """An endless stream of batches; each picture once per epoch."""
    waiting, seen = [], []
    while True:
        crops, names = [], []
        for _ in range(count):
            if not waiting:
                waiting = list(data_rng.permutation(len(pictures)))
            index = int(waiting.pop(0))
            crops.append(crop_by_hand(pictures.pixels(index), data_rng))
            names.append(pictures.names[index])
        masks, boxes = zip(*(hole_by_hand(mask_rng) for _ in range(count)), strict=True)
        seen.append(names)
        yield Batch(np.stack(crops).astype(float), np.stack(masks), list(boxes)), names


# %% [markdown]
# **Predict, then run.** Batches of four, from three pictures. How often does each picture occur in the first three
# batches? Is it the same crop each time?

# %% tags=["predict"]
by_hand = batches_by_hand(exact_set, 4, np.random.default_rng(1), np.random.default_rng(2))
three = [next(by_hand) for _ in range(3)]
for _, names in three:
    print(*names)
images, masks, boxes = three[0][0]

figure = Figure(figsize=(9.2, 3.2), layout="constrained", dpi=100)
for axes, x, m, box, name in zip(figure.subplots(1, 4), images, masks, boxes, three[0][1], strict=True):
    axes.imshow(np.where(m > 0, 0.5, (x + 1) / 2))
    axes.imshow(np.ma.masked_equal(m[..., 0], 0), cmap="gray", vmin=0, vmax=2)
    axes.contourf(m[..., 0], [0.5, 1], colors="none", hatches=["///"])
    axes.add_patch(Rectangle((box[1] - 0.5, box[0] - 0.5), BOX, BOX, fill=False, edgecolor="k", linewidth=2.5))
    axes.add_patch(
        Rectangle((box[1] - 0.5, box[0] - 0.5), BOX, BOX, fill=False, edgecolor="w", linestyle="--", label="the box")
    )
    axes.set_title(name, fontsize=10)
    axes.set(xlabel="column (pixels)", xticks=[0, 32, 63], yticks=[0, 32, 63])
figure.axes[0].set_ylabel("row (pixels)")
figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", facecolor="0.6")
figure.suptitle("A batch of Algorithm 1: four crops, their holes hatched", fontsize=10)
viz.show(
    figure,
    alt="Four crops of 64 by 64 pixels, two of them from different parts of the same photograph. In each a dashed box "
    "of half the side, and in the box a slightly smaller hatched rectangle: the hole.",
)

# %% [markdown]
# Twelve crops are four epochs of three: each picture occurs four times, each time with a different window. Training on
# few pictures relies on random windows and holes.
#
# The library's `Loader` and `MaskSampler` draw the same numbers in the same order, so from the same seeds they give
# the same batches:

# %%
loader = data.Loader(exact_set, batch=4, size=SIZE, window=WINDOW, rng=np.random.default_rng(1))
sampler, mask_rng = data.MaskSampler("box", image_size=SIZE, box_size=BOX, max_shrink=SHRINK), np.random.default_rng(2)
for batch, _ in three:
    assert np.array_equal(next(loader), batch.images)
    same_masks, same_boxes = sampler(mask_rng, 4)
    assert np.array_equal(same_masks, batch.masks)
    assert same_boxes == batch.boxes
print("three batches, equal to the last bit")

# %% [markdown]
# ## Line by line
#
# We use small networks in float64, so that results can be compared to a dozen digits. The generator and the first
# layers of the critics have 4 channels where the paper's have 32 and 64; the layers are those of the released code.


# %%
def networks(*, seed=0, width=4, dtype=np.float64):
    """A generator and both critics, newly initialised."""
    rng = np.random.default_rng(seed)
    options = {"rng": rng, "dtype": dtype}
    return (
        Generator(width=width, **options),
        Critic("global", size=SIZE, width=width, **options),
        Critic("local", size=BOX, width=width, **options),
    )


G, D1, D2 = networks()
parameters = {"generator": G.count(), "critics": D1.count() + D2.count()}
print(parameters)

# %% [markdown]
# **Erase, predict, paste.** The generator is given the picture with grey (0) in the hole. It returns two whole
# pictures, including known pixels; only the hole is kept. (With grey, $z \odot (1 - m)$ is $z$; with a white hole it is
# not.)

# %%
x, m = ca.tensor(images), ca.tensor(masks)
z = x * (1 - m)
coarse, refined = G(z, m)
fake = z * (1 - m) + refined * m
known = masks[..., 0] == 0
print("fake and real differ where something is known by", np.abs(fake.numpy() - images)[known].max())
print("refined and real differ there by up to          ", np.abs(refined.numpy() - images)[known].max().round(2))

# %% [markdown]
# **What the local critic sees** is the box of each picture, at a different position in each.


# %%
def boxed(x, boxes):
    return F.concat([x[n : n + 1, t : t + h, l : l + w] for n, (t, l, h, w) in enumerate(boxes)], axis=0)


# %% [markdown]
# **Score.** A critic is four 5 × 5 convolutions of stride 2 with leaky ReLU, followed by a weighted sum of all
# remaining values (a dense layer).


# %%
def score(critic, x):
    p, which = critic.parameters(), critic.which
    for n in (1, 2, 3, 4):
        layer = f"discriminator/discriminator_{which}/conv{n}"
        x = F.leaky_relu(F.conv2d(x, p[f"{layer}/kernel"], p[f"{layer}/bias"], stride=2), alpha=0.2)
    last = f"discriminator/dout_{which}_fc"
    return x.reshape(len(x), -1) @ p[f"{last}/kernel"] + p[f"{last}/bias"]


def wasserstein_loss(critic, real, fake):
    return score(critic, fake).mean() - score(critic, real).mean()


# %% [markdown]
# **The penalty**, at points between real and fake. The slope is computed at each pixel; only those in the hole count,
# since a fake can move only there.


# %%
def penalty(critic, real, fake, m, t):
    between = ca.tensor(((1 - t) * real + t * fake).numpy())  # a constant, detached from the tape
    slope = ca.grad(score(critic, between).sum(), between, create_graph=True)
    return (((slope * slope * m).sum((1, 2, 3)) ** 0.5 - 1) ** 2).mean()


# %% [markdown]
# **Predict, then run.** These critics have not been trained. The penalty is $(\text{slope} - 1)^2$. Will an untrained
# critic be too flat or too steep? And how far apart are its scores of real and fake?

# %% tags=["predict"]
t_rng = np.random.default_rng(3)
t1, t2 = (t_rng.random((4, 1, 1, 1)) for _ in range(2))  # the global critic's first
fake = fake.detach()
seen_by = {"global": (D1, x, fake, m, t1), "local": (D2, *(boxed(a, boxes) for a in (x, fake, m)), t2)}
first_scores = {which: float(wasserstein_loss(*seen[:3])) for which, seen in seen_by.items()}
first_penalties = {which: float(penalty(*seen)) for which, seen in seen_by.items()}
for which in seen_by:
    print(f"{which}: fake − real {first_scores[which]:+.4f}, penalty {first_penalties[which]:.4f}")

# %% [markdown]
# Too flat. A penalty of 0.82 allows two slopes, $1 \pm \sqrt{0.82}$: about 0.1 or 1.9. Here it is 0.1: with small
# random weights the scores hardly depend on the picture, and those of real and fake hardly differ. So at first the
# penalty makes a critic *steeper*.
#
# **Update.** The gradients of the loss with respect to all weights of both critics, including a gradient of a gradient,
# go to Adam:
#
# $$ g \mapsto \; m \leftarrow \beta_1 m + (1 - \beta_1)\, g, \quad v \leftarrow \beta_2 v + (1 - \beta_2)\, g^2, \quad
# p \leftarrow p - \eta \, \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \, \frac{m}{\sqrt v + \varepsilon} $$
#
# with the rate $\eta$, $\beta_1 = 0.5$, $\beta_2 = 0.9$ and $\varepsilon = 10^{-8}$. (Two letters have a second meaning
# here: $m$ is a running mean of gradients, not a mask, and $t$ counts updates.)


# %%
class AdamByHand:
    def __init__(self, parameters, rate):
        self.p, self.rate, self.t = parameters, rate, 0
        self.m = {name: np.zeros(p.shape) for name, p in parameters.items()}
        self.v = {name: np.zeros(p.shape) for name, p in parameters.items()}

    def step(self, loss):
        self.t += 1
        gradients = ca.grad(loss, list(self.p.values()))
        correction = np.sqrt(1 - 0.9**self.t) / (1 - 0.5**self.t)
        for (name, p), g in zip(self.p.items(), gradients, strict=True):
            self.m[name] = 0.5 * self.m[name] + 0.5 * g.numpy()
            self.v[name] = 0.9 * self.v[name] + 0.1 * g.numpy() ** 2
            p.data = p.numpy() - self.rate * correction * self.m[name] / (np.sqrt(self.v[name]) + 1e-8)


# %% [markdown]
# The rates here are the library's, 0.0004 for the critics and 0.001 for the generator; the released code has 0.0001 for
# both.
#
# **Predict, then run.** How far does a weight move in the first update if its gradient is large? If it is small?

# %% tags=["predict"]
critics_adam = AdamByHand(D1.parameters() | D2.parameters(), 4e-4)
before = {name: p.numpy().copy() for name, p in critics_adam.p.items()}
loss = sum((wasserstein_loss(*s[:3]) + penalty(*s) * 10 for s in seen_by.values()), start=0.0)
gradient_sizes = np.concatenate([np.abs(g.numpy()).ravel() for g in ca.grad(loss, list(critics_adam.p.values()))])
critics_adam.step(loss)
moved = np.concatenate([np.abs(p.numpy() - before[name]).ravel() for name, p in critics_adam.p.items()])
for share in (0.01, 0.5, 0.99):
    print(f"{share:4.0%} of the gradients are below {np.quantile(gradient_sizes, share):.1e}, "
          f"and {share:4.0%} of the moves below {np.quantile(moved, share):.6f}")  # fmt: skip

# %% [markdown]
# All by the same amount, up to $\varepsilon$. Before the first step $m$ and $v$ are 0, so the fraction reduces to
# $g / |g|$: the sign. Whatever the scale of the losses, the first update moves each weight by $\eta$. That is why only
# the *relative* weights of the terms matter.
#
# **The generator's turn.** A new batch; now the generator's results stay on the tape, through the paste and through
# both critics, whose weights are not updated. $M$ is kept in float32, as in the library.


# %%
def discount():
    near = np.minimum(np.arange(BOX), BOX - np.arange(BOX))  # distance to the sides, as in the released code
    return np.maximum(0.9 ** near[:, None], 0.9 ** near[None, :]).astype(np.float32)[:, :, None]


def generator_loss(G, D1, D2, batch):
    x, m = ca.tensor(batch.images), ca.tensor(batch.masks)
    z = x * (1 - m)
    coarse, refined = G(z, m)
    fake = z * (1 - m) + refined * m

    def size_of(x):
        return F.relu(x) + F.relu(-x)  # |x|

    def l_box(y):
        return (size_of(boxed(x - y, batch.boxes)) * discount()).mean()

    def l_known(y):
        return (size_of(x - y) * (1 - m)).mean() / (1 - m).mean()

    terms = {
        "box": l_box(coarse) * 1.2 + l_box(refined),
        "known": l_known(coarse) * 1.2 + l_known(refined),
        "adversarial": -score(D1, fake).mean() - score(D2, boxed(fake, batch.boxes)).mean(),
    }
    return terms["box"] * 1.2 + terms["known"] * 1.2 + terms["adversarial"] * 0.001, terms


loss, terms = generator_loss(G, D1, D2, three[1][0])
first_terms = {name: float(term) for name, term in terms.items()}
print(first_terms, "total", float(loss))
generator_adam = AdamByHand(G.parameters(), 1e-3)
generator_adam.step(loss)

# %% [markdown]
# ## The whole algorithm
#
# That is everything. Put together, one round of the loop:


# %%
def round_by_hand(G, D1, D2, critics_adam, generator_adam, next_batch, t_rng):
    for _ in range(5):
        images, masks, boxes = next_batch()
        x, m = ca.tensor(images), ca.tensor(masks)
        z = x * (1 - m)
        with ca.no_grad():
            fake = z * (1 - m) + G(z, m)[1] * m
        loss = 0.0
        for D, seen in ((D1, (x, fake, m)), (D2, [boxed(a, boxes) for a in (x, fake, m)])):
            t = t_rng.random((len(images), 1, 1, 1))
            loss = loss + wasserstein_loss(D, *seen[:2]) + penalty(D, *seen, t) * 10
        critics_adam.step(loss)
    loss, _ = generator_loss(G, D1, D2, next_batch())
    generator_adam.step(loss)


# %% [markdown]
# ## Checked against an oracle: the library
#
# [`update_critics` and `update_generator`](../ca_numpy/training/algorithm1.py) share nothing with the cells above
# except the generator's network, the tape and its operations. Both start from the same weights and use random
# generators with the same seeds. After a whole round of five updates plus one, all weights are compared.

# %%
config = TrainConfig(size=SIZE, box=BOX, max_shrink=SHRINK)


def drawn_batches():
    """A function that returns the next batch: small, and always the same sequence."""
    stream = batches_by_hand(exact_set, 2, np.random.default_rng(4), np.random.default_rng(5))
    return lambda: next(stream)[0]


mine = networks(seed=1)
adams = AdamByHand(mine[1].parameters() | mine[2].parameters(), 4e-4), AdamByHand(mine[0].parameters(), 1e-3)
round_by_hand(*mine, *adams, drawn_batches(), np.random.default_rng(6))

G, D1, D2 = networks(seed=1)
critics = D2.parameters() | D1.parameters()
system = System(
    networks={"generator": G, "local_critic": D2, "global_critic": D1},
    optimisers={"generator": Adam(G.parameters(), rate=1e-3), "critics": Adam(critics, rate=4e-4)},
    next_batch=drawn_batches(),
    rngs={"penalty": np.random.default_rng(6)},
)
for _ in range(5):
    told = update_critics(system, config)
told |= update_generator(system, config, rate=1e-3, adversarial=True)

apart, way = 0.0, 0.0
for by_hand, theirs, fresh in zip(mine, (G, D1, D2), networks(seed=1), strict=True):
    for name, p in theirs.parameters().items():
        apart = max(apart, float(np.abs(p.numpy() - by_hand.parameters()[name].numpy()).max()))
        way = max(way, float(np.abs(p.numpy() - fresh.parameters()[name].numpy()).max()))
print(f"weights have moved by up to {way:.1e}; by hand and by the library they are {apart:.0e} apart")
assert apart < 1e-9 < 1e-4 < way
print({name: round(float(value), 4) for name, value in told.items()})

# %% [markdown]
# ## A short training
#
# Small enough for a minute: crops of 48 × 48, a box of 24, 8 channels, in float32. As in the library's [first
# run](../docs/results.md), the generator first learns by reconstruction alone: scoring meaningless pictures with
# untrained critics is a waste of time. Then the critics join, with five updates to one. The paper trained for days.
#
# **Predict, then run.** On held-out photographs, with the error in percent of the range from black to white: will it
# beat filling the hole with the mean of the known colours? Will the curve fall or rise when the critics join?


# %%
def stream_of(config, data_rng, mask_rng):
    window = config.smallest_window, config.largest_window
    loader = data.Loader(train_set, batch=config.batch, size=config.size, window=window, rng=data_rng)
    sampler = data.MaskSampler("box", image_size=config.size, box_size=config.box, max_shrink=config.max_shrink)

    def next_batch():
        images = next(loader)
        return Batch(images, *sampler(mask_rng, len(images)))

    return loader, next_batch


def a_round(system, config, step):
    values, adversarial = {}, step >= config.pretrain
    if adversarial:
        for _ in range(config.critic_steps):
            values |= update_critics(system, config)
    values |= update_generator(system, config, rate=generator_rate(config, step), adversarial=adversarial)
    return {name: float(value) for name, value in values.items()}


def filled(generator, batch):
    with ca.no_grad():
        return generator.complete(batch.images, batch.masks).result.numpy()


# %% tags=["predict"]
steps, pretrain = (6, 4) if QUICK else (170, 150)
config = TrainConfig(size=48, box=24, max_shrink=3, width=8, critic_width=8, steps=steps, pretrain=pretrain)
data_rng, mask_rng, penalty_rng, weight_rng = np.random.default_rng(0).spawn(4)
_, next_batch = stream_of(config, data_rng, mask_rng)
system = new_system(config, weight_rng, penalty_rng, next_batch)
validation = Validation(held_out, config)
records, pictures = [{"step": 0} | validation.measure(system.generator)], {}
pictures["before"] = filled(system.generator, validation.batch)
for step in range(config.steps):
    records.append({"step": step} | a_round(system, config, step))
    if (step + 1) % 10 == 0 or step + 1 == config.steps:
        records.append({"step": step + 1} | validation.measure(system.generator))
    if step + 1 == config.pretrain:
        pictures["reconstruction"] = filled(system.generator, validation.batch)
pictures["and critics"] = filled(system.generator, validation.batch)
measured = [r["validation_l1_refined"] for r in records if "validation_l1_refined" in r]
print(
    f"refined: {measured[0]:.2f} % before, {measured[-1]:.2f} % after; the mean colour {validation.mean_colour:.2f} %"
)

# %%
figure = viz.loss_curves(records, references={"mean colour": validation.mean_colour})
viz.show(
    figure,
    alt="Curves over the steps. Reconstruction losses fall quickly at first and then slowly. At the end the "
    "critics' curves begin: the penalty falls from 1.6 to nearly zero, the Wasserstein estimate rises from zero to "
    "more than one. The measured error of both stages falls from 16 percent, with many jumps, to a little below the "
    "dotted line of the mean colour.",
)

# %% [markdown]
# **Try.** In Jupyter, paint your own holes into a held-out photograph: this generator fills them, with the method
# *network*. How small must a hole be for it to vanish?

# %%
rows = [0, 1, 2]
truth, masks = validation.batch.images, validation.batch.masks
figure = viz.method_sheet(
    truth[rows], masks[rows], {name: y[rows] for name, y in pictures.items()} | {"truth": truth[rows]}
)
shown = viz.show(
    figure,
    alt="Three held-out crops, one per row: with a hatched hole; filled with plain grey before training; filled after "
    "reconstruction with a reddish blur that is light and dark where its surroundings are; after the critics joined "
    "with much the same blur; and the truth.",
)
Beside(shown, lambda: viz.explorer(system.generator, held_out.pixels(0)[:256, :256]))

# %% [markdown]
# In a minute, from four photographs, two of them grey, it learns where it is light and where dark, but not texture or
# correct colours. It narrowly beats the mean colour. The measured curves jump, since they are means over only sixteen
# crops from three photographs; with a different number of threads, sums round differently and all curves change. When
# the critics join, the measured error continues much as before.
#
# **The refined result is no better than the coarse one.** The two curves of the measured error cross several times and
# end less than one point apart, the coarse stage ahead. It is so before the critics join, so it is not their doing. On
# the training crops (top) the refined loss is slightly the lower one, so what the second stage adds may fit these four
# photographs only. One would not expect more: no connection leads from its input straight to its output, so even to
# return the coarse picture unchanged it has to encode and decode it; and half of what its decoder reads comes from the
# attention, which pastes patches that *untrained* features consider similar. And ℓ1 favours blur: a second stage that
# adds structure in the wrong place loses. In the bundled weights, after 7,500 steps in four stages, the two are level,
# 9.2 % each (the last line of the [last stage's log](../docs/results/scenes/full/4-256/log.jsonl)). What the second
# stage is for, texture, takes critics and days.
#
# (Each name is followed by its last value. *adversarial* is the generator's term: minus both critics' scores of its
# fakes. *wasserstein* is real − fake; it and the penalty are sums over both critics.)
#
# The critics' curves show how well the critics do, not how good the pictures are. First the penalty makes them steeper:
# it falls from 1.6, 0.8 each as before, to nearly 0. A Wasserstein estimate that *rises* means that the critics are
# improving; it will fall when the generator catches up, which takes longer than twenty rounds. In the generator's loss
# the scores have weight 0.001 against 1.2: the ℓ1 does the main work and the critics polish it.
#
# ## Stopping and resuming
#
# A training run that takes days will be interrupted. To resume *exactly*, to the last bit, everything the next step
# depends on must be saved: the weights; Adam's $m$, $v$ and $t$; the states of the random generators; and the position
# in the epoch.
#
# **Predict, then run.** Stop after two rounds and resume for two more, leaving out one of these each time. Which can be
# left out?

# %% tags=["predict"]
small = TrainConfig(size=16, box=8, max_shrink=1, width=2, critic_width=2, batch=3, steps=4, pretrain=0, final_rate=1.0)
scratch = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
folder = Path(scratch.name)


class Run:
    """All networks, optimisers and random generators."""

    def __init__(self):
        data_rng, self.mask_rng, penalty_rng, weight_rng = np.random.default_rng(7).spawn(4)
        self.loader, next_batch = stream_of(small, data_rng, self.mask_rng)
        self.system = new_system(small, weight_rng, penalty_rng, next_batch)

    def go(self, first, last):
        for step in range(first, last):
            a_round(self.system, small, step)

    def weights(self):
        return {name: a for network in self.system.networks.values() for name, a in network.arrays().items()}


straight = Run()
straight.go(0, 2)
state = {"step": 2, "loader": straight.loader.state(), "mask_rng": straight.mask_rng.bit_generator.state}
save_checkpoint(folder, straight.system, state, small)
straight.go(2, 4)
wanted = straight.weights()


def resumed(forget):
    arrays, state, *_ = load_checkpoint(folder)
    run, state = Run(), copy.deepcopy(state)
    if forget == "Adam's m and v":
        arrays |= {name: a for name, a in run.system.arrays().items() if name.startswith("adam/")}
    if forget == "Adam's t":
        state["clocks"] = {"generator": 0, "critics": 0}
    if forget == "the penalty's generator":
        state["penalty_rng"] = run.system.state()["penalty_rng"]
    run.system.restore(arrays, state)
    if forget != "the masks' generator":
        run.mask_rng.bit_generator.state = state["mask_rng"]
    if forget != "where the loader was":
        run.loader.restore(state["loader"])
    run.go(2, 4)
    return run.weights()


forgettable = ["nothing", "Adam's m and v", "Adam's t", "the penalty's generator", "the masks' generator",
               "where the loader was"]  # fmt: skip
different = {}
for forget in forgettable:
    found = resumed(forget)
    different[forget] = max(float(np.abs(found[name] - wanted[name]).max()) for name in wanted)
    print(f"forgot {forget}: weights differ by {different[forget]:.1e}")
assert [name for name, value in different.items() if value == 0] == ["nothing"]

# %% [markdown]
# None. And none of these mistakes would show in a curve. `ca_numpy.train` saves everything in one file, which it writes
# under a temporary name and renames when complete; to resume on the command line, use `ca-numpy train --resume`. An
# interrupted run ends with the same bytes as an uninterrupted one:

# %%
options = {"quiet": True, "backend": os.environ.get("CA_NUMPY_BACKEND", "numpy"), "pretrain": 1, "steps": 2}
ca.train(small, out=folder / "stopped", stop_after=1, **options)
ca.train(resume=folder / "stopped", quiet=True, backend=options["backend"])
ca.train(small, out=folder / "straight", **options)
first, second = ((folder / name / "generator.safetensors").read_bytes() for name in ("stopped", "straight"))
print(f"{len(first):,} bytes of weights, the same: {first == second}")
assert first == second

# %% [markdown]
# ## Timed
#
# **Predict, then run.** A round is five updates of the critics and one of the generator. Each update of the critics
# runs the generator once, forward only. Where does the time go: to the generator's update, or to the five?

# %% tags=["predict", "timed"]
rounds = 1 if QUICK else 3
batch = next_batch()
parts = {
    "generator forwards, × 5": 5 * seconds_of(lambda: filled(system.generator, batch), rounds=rounds),
    "critics' five turns": 5 * seconds_of(lambda: update_critics(system, config), rounds=rounds),
    "generator's turn": seconds_of(lambda: update_generator(system, config, rate=0.0, adversarial=True), rounds=rounds),
}
parts["critics' five turns"] -= parts["generator forwards, × 5"]
for name, seconds in parts.items():
    print(f"{name}: {1e3 * seconds:.0f} ms")

figure = Figure(figsize=(7, 2.2), layout="constrained", dpi=100)
axes, left = figure.subplots(), 0.0
for (name, seconds), (shade, hatch) in zip(parts.items(), (("1", ""), ("0.85", "//"), ("0.6", "")), strict=True):
    axes.barh(0, 1e3 * seconds, left=left, color=shade, hatch=hatch, edgecolor="k", label=name)
    left += 1e3 * seconds
axes.set(title="One round of Algorithm 1", xlabel="milliseconds", yticks=[])
figure.legend(loc="outside lower center", ncols=3, frameon=False)
viz.show(
    figure,
    alt="One horizontal bar in three parts: the generator run forwards five times, the critics' losses and penalties "
    "with their gradients, and the generator's own turn. The five turns together take most of the time.",
)

# %% [markdown]
# The five critic updates take most of the round, and a good part of *that* is the generator, run forward to make fakes
# from which it will not learn. (The critics are small here; the paper's are twice the generator's size.)
#
# ## Exercises
#
# Replace the line that raises; `check` says what is wrong with an answer. Solutions are in
# `solutions/notebook_13.py`.
#
# **1.** How many pictures does a training run draw? There are `steps` updates of the generator, the first `pretrain` by
# reconstruction alone; after that, `critic_steps` updates of the critics precede each one; every update, of the critics
# or the generator, uses `batch` pictures.


# %%
def pictures_seen(steps, pretrain, critic_steps, batch):
    """The total number of crops drawn."""
    raise NotImplementedError


check("13.pictures", pictures_seen)

# %% [markdown]
# **2.** The gradient from the local critic to the generator. The critic provides $g$ = ∂score/∂(its input), an array h
# w C, for a box `(top, left, h, w)` in a picture H × W; the fake is $z ⊙ (1 - m) + G(z, m) ⊙ m$. What is ∂score/∂G(z,
# m), an array H W C? `mask` is H W 1, 1 = hole.


# %%
def told_to_the_generator(g, box, mask):
    """The gradient of the local critic's score with respect to the generator's output, H W C."""
    raise NotImplementedError


check("13.local_gradient", told_to_the_generator)

# %% [markdown]
# **3.** The gradient of reconstruction. What is the derivative of $w_1\, \ell_{\text{box}}(x_2) + w_2\,
# \ell_{\text{known}}(x_2)$ with respect to each value of the refined result $x_2$, for one picture? `discount` is $M$,
# h w 1; `box` and `mask` are as above. (The derivative of $|d|$ is the sign of $d$.)


# %%
def reconstruction_gradient(refined, truth, mask, box, discount, w1, w2):
    """The derivatives with respect to `refined`, H W C."""
    raise NotImplementedError


check("13.reconstruction", reconstruction_gradient)

# %% tags=["figures-that-matter"]
figures = {
    "parameters": list(parameters.values()),
    "fake − real, global and local": list(first_scores.values()),
    "first penalties": list(first_penalties.values()),
    "the generator's terms": list(first_terms.values()),
    "median of the first moves": float(np.median(moved)),
    "after a round": [float(told[name]) for name in ("wasserstein", "penalty", "l1_refined")],
}
print(json.dumps(figures))
