# %% [markdown]
# # 22 · Training that survives and scales
#
# **One idea:** a training step is a function of the state before it, and its gradient is a mean over pictures. Save all
# of the state, and a run may be killed at any time; take the mean in parts, and many processes train one network. Both
# are exact, and both go wrong quietly if one part is forgotten.
#
# Afterwards you can say what a checkpoint must hold, and what each missing part does; why the mean of the ranks'
# gradients is the gradient of the batch, also with a gradient penalty; when messages can be hidden behind the backward
# pass; and what limits many ranks. You need notebook 13 (Algorithm 1); notebook 02 helps.

# %%
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from exercises import check
from matplotlib.figure import Figure

import ca_numpy as ca
from ca_numpy import data, viz, weights
from ca_numpy.models import Critic
from ca_numpy.testing import seconds_of
from ca_numpy.training import TrainConfig, losses
from ca_numpy.training.algorithm1 import draw, update_critics, update_generator
from ca_numpy.training.batches import Batch
from ca_numpy.training.checkpoint import load_checkpoint
from ca_numpy.training.parallel import BUCKET, Ranks
from ca_numpy.training.run import Run
from ca_numpy.training.system import new_system

QUICK = os.environ.get("CA_NUMPY_QUICK") == "1"  # smaller sizes, for the tests
FOLDER = Path(tempfile.mkdtemp())  # deleted at the end
CONFIG = TrainConfig(
    width=4, critic_width=4, size=32, box=16, max_shrink=2, batch=2, steps=20, pretrain=0, critic_steps=2, ema=0.9,
    validate_every=10, pictures_every=1000, checkpoint_every=4,
)  # fmt: skip

# %% [markdown]
# ## The problem
#
# The paper's network trains for days. In days a machine is restarted, a disk fills up, and a queue takes the graphics
# card away. And one machine may not be enough. So a run must go on as if nothing had happened, and several processes
# must learn what one would have learnt. "As if" has a strict meaning that a test can check: the same bytes; or, where
# sums are taken in another order, the same numbers up to rounding.
#
# ## The equations
#
# A step takes a state to the next one, and nothing else enters:
#
# $$ s_{k+1} = f(s_k), \qquad s = (\text{weights},\; \text{moments and clocks},\; \text{random generators},\;
# \text{averages},\; \text{position in the data}) $$
#
# So whoever has $s_k$ can compute all later states. The batch $B$ of $N$ pictures, divided into parts $B_k$ of $N_k$
# pictures, has the loss and the gradient
#
# $$ L = \frac 1N \sum_{n \in B} L_n = \sum_k \frac{N_k}{N} \Big( \frac{1}{N_k} \sum_{n \in B_k} L_n \Big)
# \quad \Longrightarrow \quad \nabla L = \sum_k \frac{N_k}{N} \nabla L_{B_k} $$
#
# Each part is the gradient that a process, a *rank*, computes alone from its pictures. The first half of this notebook
# is about the first equation, the second half about the second.
#
# ## A step, and its state
#
# The library's `Run` has the networks, optimisers, averages and batches. This is one step, as in Algorithm 1, and the
# state before it:


# %%
def step(run):
    """One iteration. Returns the refined result's ℓ1."""
    for drawn in draw(run.system, updates=CONFIG.critic_steps):
        update_critics(run.system, CONFIG, drawn)
    values = update_generator(run.system, CONFIG, rate=CONFIG.rate, adversarial=True)
    for average in run.system.averages.values():
        average.update()
    return float(values["l1_refined"])


def saved(run):
    """Arrays by name, and everything else as JSON."""
    arrays = {name: array.copy() for name, array in run.system.arrays().items()}
    return arrays, json.loads(json.dumps(run.system.state() | run.batches.state()))


def resumed(arrays, state):
    """A new process would do the same."""
    run = Run(CONFIG)
    run.system.restore(arrays, state)
    run.batches.restore(state)
    return run


def part_of(name):
    """Which part of the state an array belongs to."""
    return {"adam": "moments", "ema": "average"}.get(name.split("/")[0], "weights")


ca.use_backend("numpy")
BEFORE, AFTER = 6, 4 if QUICK else 12  # steps before the checkpoint, and after it
run = Run(CONFIG)
for _ in range(BEFORE):
    step(run)
arrays, state = saved(run)

for part in ("weights", "moments", "average"):
    mine = [array for name, array in arrays.items() if part_of(name) == part]
    print(f"{part:8} {len(mine):4} arrays, {sum(a.size for a in mine):7,} numbers")
for name, value in state.items():
    inside = ", ".join(value) if isinstance(value, dict) else value
    print(f"{name:12} {len(json.dumps(value)):4} characters: {inside}")

# %% [markdown]
# The moments take twice the space of the weights: Adam keeps two numbers for each. `clocks` count Adam's steps, for its
# bias correction; `ema` counts the average's updates, for the same reason. `loader` holds the random generator at the
# start of the epoch, which gives the order of the pictures, the position in it, and the generator now. A generator's
# state is two large integers.
#
# **Checked against an oracle:** the run that was not interrupted.


# %%
def followed(run, steps=AFTER):
    """The generator's weights, their average and the loss after each of so many steps."""
    with run.batches.loader:  # ends its threads
        curve = []
        for _ in range(steps):
            loss = step(run)
            both = (run.system.generator, run.system.averages["ema"].generator)
            curve.append((loss, *(np.concatenate([a.ravel() for a in g.arrays().values()]) for g in both)))
    return curve


whole = followed(run)
again = followed(resumed(arrays, state))
assert all(
    np.array_equal(a, b) for one, other in zip(whole, again, strict=True) for a, b in zip(one, other, strict=True)
)
print(f"{AFTER} steps after the checkpoint: every loss, weight and average is the same to the bit")

# %% [markdown]
# ## One part left out
#
# Now resume with one part as it was at the start of the run, as if the checkpoint did not hold it.
#
# **Predict, then run.** Sort these by how far the weights are from the uninterrupted run's after some steps: without
# the moments and clocks; without the position in the data; without the generator of holes; without that of the
# penalty's points between real and fake; without the average. Which of them could you tell from the loss curve?

# %% tags=["predict"]
MISSING = {
    "moments and clocks": ("moments", "clocks"),
    "position in the data": ("", "loader"),
    "generator of holes": ("", "mask_rng"),
    "generator of the penalty": ("", "penalty_rng"),
    "average": ("average", "ema"),
}
first_arrays, first_state = saved(Run(CONFIG))
curves = {}
for name, (kind, entry) in MISSING.items():
    kept = {n: first_arrays[n] if part_of(n) == kind else array for n, array in arrays.items()}
    curves[name] = followed(resumed(kept, state | {entry: first_state[entry]}))


def distance(x, y):
    return float(np.linalg.norm(x - y) / np.linalg.norm(y))


moved = distance(whole[-1][1], np.concatenate([arrays[n].ravel() for n in run.system.generator.arrays()]))
print(f"in these {AFTER} steps the uninterrupted run moves its weights by {moved:.1e}")
for name, curve in curves.items():
    end, right = curve[-1], whole[-1]
    print(f"without the {name:24}: weights {distance(end[1], right[1]):.1e} away, "
          f"average {distance(end[2], right[2]):.1e}, loss {end[0]:.3f} instead of {right[0]:.3f}")  # fmt: skip

figure = Figure(figsize=(7.5, 3.4), layout="constrained", dpi=100)
left, right = figure.subplots(1, 2)
at = np.arange(BEFORE + 1, BEFORE + AFTER + 1)
left.plot(at, [loss for loss, *_ in whole], "k-", lw=2.5, alpha=0.4, label="uninterrupted")
for (name, curve), style in zip(curves.items(), ("k--", "k-.", "k:", "k-", "k-x"), strict=True):
    if name == "average":
        right.semilogy(
            at,
            [distance(c[2], w[2]) for c, w in zip(curve, whole, strict=True)],
            style,
            label=f"no {name} (its own distance)",
        )
    else:
        left.plot(at, [loss for loss, *_ in curve], style, lw=1)
        right.semilogy(
            at, [distance(c[1], w[1]) for c, w in zip(curve, whole, strict=True)], style, lw=1, label=f"no {name}"
        )
left.set(xlabel="step", ylabel="ℓ1 of the refined result", ylim=(0, None))
left.set_title("Losses: none looks wrong", fontsize=10)
left.legend(frameon=False, fontsize=8)
right.set(xlabel="step", ylabel="relative distance")
right.set_title("Distance from the uninterrupted run", fontsize=10)
figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=8)
viz.show(
    figure,
    alt="Left, the losses of the uninterrupted run and of four that lack a part: all go up and down within the same "
    "range. Right, the distances of their weights from the uninterrupted run's, logarithmic: all rise from the first "
    "step; the penalty's generator lies far below the others; the average's distance falls.",
    colours=48,
)

# %% [markdown]
# Without the position, the weights end about as far from the uninterrupted run's as that run has moved: they learnt
# from other pictures. Other holes, and moments that begin at zero, do somewhat less. The penalty's generator does
# several hundred times less: the penalty acts on the critics only, and these on the generator with a weight of 0.001.
# The average changes nothing but itself; and it forgets what it was, so that even its own error fades.
#
# None of the losses looks wrong: with other pictures they differ as much as the losses of two steps. So a checkpoint
# that forgets something is not found by watching runs. It is found by comparing bytes, and that is why the library does
# so in its tests. The error is not always harmless, either. From a wrong position some pictures of the epoch are seen
# twice, or not at all; generators that start anew repeat the numbers of the first steps; with $\beta_2 = 0.999$,
# instead of the 0.9 here, Adam would need a thousand steps to find its moments again.
#
# ## Killed
#
# A process that receives `SIGKILL` ends at once: no handler runs, nothing is flushed. Twice the same command: once to
# the end, and once killed on the way and resumed. A checkpoint is written after every fourth step.

# %%
COMMAND = [sys.executable, "-m", "ca_numpy", "train"]
options = {name.replace("_", "-"): getattr(CONFIG, name) for name in (
    "width", "critic_width", "size", "box", "max_shrink", "batch", "steps", "pretrain", "critic_steps", "ema",
    "validate_every", "pictures_every", "checkpoint_every",
)}  # fmt: skip
OPTIONS = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
# How many threads share a sum decides its order, and so its last digit.
ALONE = os.environ | dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def train(*arguments):
    subprocess.run([*COMMAND, "--backend", "numpy", "--quiet", *map(str, arguments)], env=ALONE, check=True)


def log(name):
    """The records of a run's steps."""
    path = FOLDER / name / "log.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [record for record in map(json.loads, lines) if "rate" in record]


def checkpoint(name):
    return (FOLDER / name / "checkpoint.safetensors").read_bytes()


train(*OPTIONS, "--out", FOLDER / "whole")
command = [*COMMAND, "--backend", "numpy", "--quiet", *OPTIONS, "--out", str(FOLDER / "killed")]
process = subprocess.Popen(command, env=ALONE)
while process.poll() is None and (FOLDER / "killed" / "log.jsonl").exists() * len(log("killed")) < 10:
    time.sleep(0.01)
process.kill()  # SIGKILL
print("killed, its exit status is", process.wait())
last = load_checkpoint(FOLDER / "killed").state["step"]
print(f"its log has {len(log('killed'))} steps, its last checkpoint is of step {last}")
shutil.copytree(FOLDER / "killed", FOLDER / "damaged")
train("--resume", FOLDER / "killed")
print("the same bytes in the end:", checkpoint("killed") == checkpoint("whole"))

# %% [markdown]
# The steps after the last checkpoint are lost, and repeated: at most the interval between two. The log is cut back to
# the checkpoint, or it would hold them twice. What if the kill falls into the writing of a checkpoint? It is written
# under another name, flushed to the disk, and then renamed, which the file system does at once or not at all; what is
# left of a killed one is removed. A test of the library kills a run again and again at random moments, saves included.
#
# Disks fail, too. A checkpoint has a checksum, and the one before it is kept.
#
# **Predict, then run.** One bit of the newest checkpoint is flipped. Will the run that goes on from the one before end
# in the same bytes, too?

# %% tags=["predict"]
newest = FOLDER / "damaged" / "checkpoint.safetensors"
content = bytearray(newest.read_bytes())
content[-100] ^= 1
newest.write_bytes(bytes(content))
found = load_checkpoint(FOLDER / "damaged")
print("the newest one is passed over, because its checksum differs:", "its checksum differs" in found.damage)
print("goes on from step", found.state["step"])
train("--resume", FOLDER / "damaged")
print("the same bytes in the end:", checkpoint("damaged") == checkpoint("whole"))

# %% [markdown]
# It does: an earlier state leads to $s_{20}$ as surely as a later one. That is the use of a strict "as if": nobody has
# to judge whether a resumed run is good enough.
#
# ## Loops: the gradient, picture by picture
#
# Now the second equation, first without MPI. One critic in float64, four pictures, and the critic's whole loss: the
# Wasserstein estimate and the penalty.
#
# $$ L = \frac 1N \sum_n \Big( D(\tilde x_n) - D(x_n)
# + \lambda \big( \lVert \nabla_{\hat x_n} D(\hat x_n) \odot \sqrt{m_n} \rVert_2 - 1 \big)^2 \Big) $$
#
# The penalty contains a gradient already, so is it still a mean over pictures? It is, because a score depends on its
# own picture alone: $\nabla_{\hat x_n} \sum_k D(\hat x_k) = \nabla_{\hat x_n} D(\hat x_n)$, so the library may
# differentiate the sum of all scores at once. A part of the batch gives the same slopes for its pictures, and the
# penalty is a mean of one term per picture like any other. (With batch normalisation each score would depend on all
# pictures, and neither would hold. WGAN-GP's authors avoid it for this reason, and the paper's networks have none.)


# %%
def new_critic():
    critic = Critic("global", size=32, width=4, rng=np.random.default_rng(0))
    for p in critic.parameters().values():
        p.data = p.numpy().astype(np.float64)
    return critic


def critic_gradient(critic, real, fake, mask, t):
    """Gradient of the loss of these pictures, a list of arrays."""
    loss = losses.critic_loss(critic(real), critic(fake)) + 10 * losses.gradient_penalty(critic, real, fake, mask, t)
    return [g.numpy() for g in ca.grad(loss, list(critic.parameters().values()))]


rng = np.random.default_rng(0)
real, noise = rng.uniform(-1, 1, (2, 4, 32, 32, 3))
fake = real + noise * np.array([0.1, 0.2, 0.4, 0.8])[:, None, None, None]
mask, _ = data.MaskSampler("free-form", image_size=32, box_size=31)(rng, 4)
four = real, fake, mask.astype(np.float64), rng.random((4, 1, 1, 1))
critic = new_critic()


def mean_of_parts(parts):
    """Σ N_k / N · the gradient of part k. parts: slices of the batch."""
    total = None
    for part in parts:
        count = len(real[part])
        mine = [count / 4 * g for g in critic_gradient(critic, *(x[part] for x in four))]
        total = mine if total is None else [a + b for a, b in zip(total, mine, strict=True)]
    return total


# %% [markdown]
# ## Vectorised, and compared
#
# **Predict, then run.** All four at once; picture by picture; and in two parts of one and three pictures, with their
# weights and, wrongly, with equal weights. How far are they apart, relative to the whole batch's gradient?


# %% tags=["predict"]
def apart(mine, theirs):
    """The norm of the difference of two gradients, relative to the second."""
    square = sum(float(np.sum((a - b) ** 2)) for a, b in zip(mine, theirs, strict=True))
    return math.sqrt(square / sum(float(np.sum(b**2)) for b in theirs))


batch_gradient = critic_gradient(critic, *four)
one_by_one = apart(mean_of_parts([np.s_[n : n + 1] for n in range(4)]), batch_gradient)
unequal = apart(mean_of_parts([np.s_[:1], np.s_[1:]]), batch_gradient)
halves = [critic_gradient(critic, *(x[part] for x in four)) for part in (np.s_[:1], np.s_[1:])]
equal_weights = apart([(a + b) / 2 for a, b in zip(*halves, strict=True)], batch_gradient)
print(f"picture by picture: {one_by_one:.0e}, in parts of 1 and 3: {unequal:.0e}")
print(f"the same parts with equal weights: {equal_weights:.2f}")
assert max(one_by_one, unequal) < 1e-12

# %% [markdown]
# Up to rounding. A batch that the ranks do not divide equally needs the weights $N_k / N$.
#
# Not every loss is a mean over pictures. The ℓ1 over the known pixels is a quotient of two means: the errors, and the
# share of pixels that are known. With strokes for holes that share differs from picture to picture, and a mean of
# quotients is not the quotient of the means. What then? The ranks first take the mean of the divisors, one number, and
# each divides by the whole batch's:

# %%
known = 1 - mask
shares = known.mean(axis=(1, 2, 3))
error = np.abs(real - fake) * known
quotient = error.mean() / known.mean()
naive = np.mean([error[part].mean() / known[part].mean() for part in (np.s_[:2], np.s_[2:])])
agreed = np.mean([error[part].mean() / known.mean() for part in (np.s_[:2], np.s_[2:])])
print("known pixels:", ", ".join(f"{share:.0%}" for share in shares))
print(f"the batch {quotient:.6f}, the mean of two ranks' quotients {naive:.6f}, with the batch's divisor {agreed:.6f}")
assert abs(agreed - quotient) < 1e-12

# %% [markdown]
# ## All ranks need the sum: a ring
#
# Every rank has a gradient of $M$ bytes, and every rank needs the mean: an *all-reduce*. Sending everything to one rank
# would make that one the bottleneck. In a ring each rank sends only to the next: the array is cut into $n$ pieces; in
# $n - 1$ turns each rank passes a piece on and adds the one that arrives, after which it has one piece of the sum; in
# another $n - 1$ turns the finished pieces go round.
#
# **Predict, then run.** How many bytes does each rank send, for 2, 8 and 64 ranks, as a multiple of $M$?


# %% tags=["predict"]
def ring(arrays):
    """The sum on every rank, and the numbers that each rank sent. arrays: one per rank, of one length."""
    n = len(arrays)
    pieces = [[piece.copy() for piece in np.array_split(array, n)] for array in arrays]
    sent = [0] * n
    for turn in range(2 * (n - 1)):
        adding = turn < n - 1
        moving = [(k - turn) % n if adding else (k + n - turn) % n for k in range(n)]  # which piece rank k passes on
        messages = [pieces[k][moving[k]].copy() for k in range(n)]
        for k, message in enumerate(messages):
            after = pieces[(k + 1) % n]
            after[moving[k]] = after[moving[k]] + message if adding else message
            sent[k] += message.size
    return [np.concatenate(own) for own in pieces], sent


multiples = {}
for n in (2, 8, 64):
    gradients = rng.standard_normal((n, 6400))
    sums, sent = ring(gradients)
    assert np.allclose(sums, gradients.sum(axis=0), rtol=0, atol=1e-12)
    multiples[n] = max(sent) / gradients.shape[1]
    print(f"{n:2} ranks: {multiples[n]:.3f} M in {2 * (n - 1)} turns; 2 (n − 1) / n = {2 * (n - 1) / n:.3f}")

# %% [markdown]
# Less than $2M$, however many ranks there are: from two ranks to very many, the time that the bytes take only doubles.
# What does grow is the number of turns, each with the latency of a message. Libraries therefore change to recursive
# halving and doubling where many
# ranks send little: the same bytes in $2 \log_2 n$ turns.
#
# One more thing is visible here: all ranks get the same bits, since each piece is added up once and then copied. They
# must, because every rank updates its own copy of the weights and nothing ever compares them.
#
# ## Real ranks
#
# `mpiexec -n 2` starts two processes, mpi4py connects them. Each takes its part of the four pictures, in float64 as
# before; `Ranks.grad` is the library's function for the mean of the gradients.

# %%
PROGRAM = """
import sys
import numpy as np
from ca_numpy import use_backend
from ca_numpy.filling.ranks import world
from ca_numpy.models import Critic
from ca_numpy.training import losses
from ca_numpy.training.parallel import Ranks

use_backend("numpy")
ranks = Ranks(world(), 4)
with np.load(sys.argv[1]) as given:
    four = [given[name][ranks.part] for name in ("real", "fake", "mask", "t")]
critic = Critic("global", size=32, width=4, rng=np.random.default_rng(0))
for p in critic.parameters().values():
    p.data = p.numpy().astype(np.float64)
loss = losses.critic_loss(critic(four[0]), critic(four[1])) + 10 * losses.gradient_penalty(critic, *four)
gradient = [g.numpy() for g in ranks.grad(loss, list(critic.parameters().values()))]
np.savez(sys.argv[2] + str(ranks.rank), *gradient)
"""


def on_ranks(count, *arguments):
    """Run Python with these arguments on so many ranks. Why not, if that is impossible here; else an empty text."""
    folders = (Path(sys.executable).parent, *map(Path, os.get_exec_path()))
    launcher = next((folder / "mpiexec" for folder in folders if (folder / "mpiexec").is_file()), None)
    if launcher is None:
        return "no mpiexec here: pip install mpi4py mpich"
    command = [launcher, "-n", count, sys.executable, *arguments]
    done = subprocess.run(list(map(str, command)), env=ALONE, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"mpiexec does not work here: {' '.join(done.stderr.split())[-300:]}"


np.savez(FOLDER / "four.npz", real=four[0], fake=four[1], mask=four[2], t=four[3])
missing = on_ranks(2, "-c", PROGRAM, FOLDER / "four.npz", FOLDER / "rank")
if missing:
    print(missing)
else:
    of_ranks = []
    for k in range(2):
        with np.load(FOLDER / f"rank{k}.npz") as file:
            of_ranks.append(list(file.values()))
    print("both ranks have the same bits:", all(np.array_equal(a, b) for a, b in zip(*of_ranks, strict=True)))
    print(f"{apart(of_ranks[0], batch_gradient):.0e} from the gradient of one process")

# %% [markdown]
# Now a whole run: eight steps by two ranks, twice; the same by one process; and four steps by two ranks, which one
# process continues.
#
# **Predict, then run.** Which of the four end in the same bytes?

# %% tags=["predict"]
PAIR = ["-m", "ca_numpy", "train", "--backend", "numpy", "--quiet", *OPTIONS, "--steps", "8"]
for name in ("two", "two again"):
    missing = missing or on_ranks(2, *PAIR, "--out", FOLDER / name)
if missing:
    print(missing)
else:
    shutil.copytree(FOLDER / "two", FOLDER / "both")
    shutil.copy(FOLDER / "two" / "checkpoint-000004.safetensors", FOLDER / "both" / "checkpoint.safetensors")
    train("--resume", FOLDER / "both")
    train(*OPTIONS, "--steps", 8, "--out", FOLDER / "one")
    print("two ranks, twice, the same bytes:", checkpoint("two") == checkpoint("two again"))
    print("two ranks and one process, the same bytes:", checkpoint("two") == checkpoint("one"))
    for name in ("two", "both"):
        mine, alone = (weights.read(FOLDER / each / "checkpoint.safetensors") for each in (name, "one"))
        generator = [n for n in mine if part_of(n) == "weights" and n.startswith("inpaint_net")]
        away = apart(*([each[n] for n in generator] for each in (mine, alone)))
        ends = " and ".join(f"{log(each)[-1]['l1_refined']:.6f}" for each in (name, "one"))
        print(f"{name}: the generator's weights are {away:.0e} from those of one process, the last ℓ1 is {ends}")

# %% [markdown]
# The first two only. The same number of ranks adds everything in the same order. One process adds in another order and
# rounds differently, in the seventh digit of float32, and a longer run would amplify that, as it does any other
# rounding. Up to it, the run is the same, and the checkpoint that two ranks wrote is continued by one process: all
# ranks draw the random numbers of the *whole* batch, and each takes its share of the pictures, so nothing in a
# checkpoint depends on their number.
#
# Ranks add one danger: the others wait for a rank that died, forever. The library's `train` ends all of them when one
# fails, with its message; the last checkpoint stays, for any number of ranks.
#
# ## When is a gradient complete?
#
# The backward pass computes the gradients one after another, and the ranks could exchange the first ones meanwhile. So
# a gradient is sent as soon as it is complete, and the rest of the backward pass hides the message. Small ones are
# collected first, because each message has a latency: a *bucket* is sent when it holds 1 MiB or more. `grad(…,
# ready=…)` calls `ready` at each complete gradient. The networks have the paper's widths here.
#
# **Predict, then run.** In which order do the generator's gradients become complete? Those of the critics, whose
# penalty needs every weight a second time?


# %% tags=["predict"]
class Watched(Ranks):
    """Notes when each gradient of the last update was complete: seconds from the start, and bytes."""

    def grad(self, loss, parameters):
        began, events = time.perf_counter(), []
        found = ca.grad(
            loss, parameters, ready=lambda i, g: events.append((time.perf_counter() - began, i, 4 * g.size))
        )
        noted[:] = [(seconds / (time.perf_counter() - began), i, size) for seconds, i, size in events]
        return found


def buckets(events):
    """(ready, sent, bytes) of each bucket: when its first gradient was complete, and when its last."""
    found, waiting = [], []
    for k, (at, _, size) in enumerate(events):
        waiting.append((at, size))
        if sum(size for _, size in waiting) >= BUCKET or k == len(events) - 1:
            found.append((waiting[0][0], at, sum(size for _, size in waiting)))
            waiting = []
    return found


noted, timelines = [], {}
paper = TrainConfig(width=32, critic_width=64, size=64, box=32, max_shrink=4, batch=1)
sampler = data.MaskSampler("box", image_size=64, box_size=32, max_shrink=4)
system = new_system(
    paper, np.random.default_rng(1), np.random.default_rng(2), ranks=Watched(),
    next_batch=lambda: Batch(rng.uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32), *sampler(rng, 1)),
)  # fmt: skip
for name in ("generator", "critics"):
    for _ in range(1 if QUICK else 2):  # the first allocates memory
        if name == "generator":
            update_generator(system, paper, rate=1e-4, adversarial=True)
        else:
            update_critics(system, paper)
    timelines[name] = list(noted)

figure = Figure(figsize=(7.5, 4.6), layout="constrained", dpi=100)
for axes, (name, events) in zip(figure.subplots(2, 1, sharex=True), timelines.items(), strict=True):
    parameters = list(system.optimisers[name].parameters)
    mebibytes = np.cumsum([size for *_, size in events]) / 2**20
    axes.step([at for at, *_ in events], mebibytes, "k-", where="post", label="complete gradients")
    for k, (ready, at, _) in enumerate(buckets(events)):
        low = mebibytes[-1] * (-0.1 - 0.07 * (k % 2))
        axes.plot(
            [ready, at],
            [low, low],
            "k-",
            lw=5,
            alpha=0.3,
            solid_capstyle="butt",
            label="a bucket fills" if k == 0 else None,
        )
        axes.plot(at, low, "k>", ms=5, label="and is sent" if k == 0 else None)
    axes.set(ylabel="MiB", xlim=(0, 1.02), ylim=(-0.25 * mebibytes[-1], None))
    axes.set_title(f"The {name}", fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    names = [parameters[i].removeprefix("inpaint_net/").removeprefix("discriminator/") for _, i, _ in events]
    kernels = [n.removesuffix("/kernel") for n in names if n.endswith("kernel")]
    sizes = [size for *_, size in buckets(events)]
    print(
        f"{name}: {mebibytes[-1]:.1f} MiB in {len(sizes)} buckets; first {', '.join(kernels[:3])}; last {kernels[-1]};"
    )
    first, half = (
        buckets(events)[0][1],
        next(at for (at, *_), m in zip(events, mebibytes, strict=True) if m > mebibytes[-1] / 2),
    )
    print(f"    the first bucket is full after {first:.0%} of the backward pass, half of the bytes after {half:.0%}")
axes.set_xlabel("share of the backward pass")
viz.show(
    figure,
    alt="Two timelines. The generator's complete gradients rise in steps over the whole backward pass, and buckets are "
    "sent all along it. The critics' are almost nothing for the first part, then rise in a few large steps to the end.",
    colours=48,
)

# %% [markdown]
# The generator's from its last layer to its first. (Nothing comes while the gradient passes back through the critics,
# whose scores are part of the generator's loss and whose own gradients are not asked for; and little where layers of
# the full size take long and have few weights.) The critics': hardly anything for the first part, which belongs to the
# penalty. Every weight occurs in it, and occurs again in the scores, so none is complete. Then, with the scores, from
# each critic's last layer to its first.
#
# A sum may be differentiated in any order, and this one decides what can be hidden. The library takes the penalty
# first; then the local critic's score, because its last convolution alone has almost half of all bytes, which are sent
# while the global critic's gradients are computed. With the scores first, every kernel would be complete much
# later.
#
# **Predict, then run.** Suppose the messages of an update take a quarter of its backward pass, or half. How much is
# left to wait for after its end?


# %% tags=["predict"]
def exposed(events, seconds, bandwidth):
    """What is left to send when the backward pass of so many seconds ends: one bucket after another."""
    free = 0.0
    for _, sent, size in buckets(events):
        free = max(free, sent * seconds) + size / bandwidth
    return free - seconds


for name, events in timelines.items():
    total = sum(size for *_, size in events)
    for share in (0.25, 0.5):
        late = exposed(events, 1.0, total / share)
        print(f"{name}: messages take {share:.0%} of the backward pass; after its end, {late:.0%} of it are waited for")

# %% [markdown]
# Little where messages take a quarter of the pass: the last bucket. More where they take half, for two reasons.
# The critics' first bucket is late, and messages can only be hidden from the first full bucket on. The generator's is
# earlier, but more than a third of its bytes become complete near the end, faster than they can be sent: they belong to
# the middle layers of the coarse network.
#
# The critics have five of a step's six updates. From their first bucket on, about half of a backward pass is left,
# which is about half of an update: measured over a step with the paper's widths, a quarter of its time
# ([docs/scaling.md](../docs/scaling.md#when-gradients-are-sent)).
#
# (Messages also need somebody to move them. MPI does that while it is called, so the library calls it at each complete
# gradient; and two ranks of one machine copy by the same cores that should compute, so little is hidden there.)
#
# ## Efficiency on paper
#
# How many ranks are worth it? A model of a step's time on $n$ ranks with $b$ pictures each, from what was measured on
# two cores and what a graphics card is assumed to do ([docs/scaling.md](../docs/scaling.md) has the reasons). A step is
# one update of the generator and five of the critics:
#
# $$ T(n) = \max(C,\; 6nbd) + 6nbh + \max\big(A(n) - W,\; A_1(n)\big) + 48\, L \log_2 n, \qquad
# A(n) = 2\, \frac{n - 1}{n} \frac{M}{B} + 2 K L \log_2 n $$
#
# | | | |
# |--|--|--|
# | $C$, $W$ | a rank's own step; the part of it behind which messages are hidden | 0.2 s (assumed), $C / 4$ |
# | $d$, $h$ | drawing a picture's window (in a thread) and its hole, on every rank for all | 7.2 and 19.5 µs |
# | $M$, $K$ | bytes of a step's gradients, and their buckets | counted above, but the critics' 27.0 MiB for 256×256 |
# | $B$, $L$ | bandwidth of the all-reduce, latency of a message | 10 GB/s, 10 µs (assumed) |
# | $A_1$ | the last bucket of each update, which nothing hides | |
#
# The 48 are eight small messages in each of the six updates, beside the gradients.
# The efficiency is $T(1) / T(n)$: how much of a rank's speed is left. (The batch grows with $n$: *weak scaling*.)
#
# **Predict, then run.** What breaks first, at how many ranks: the bandwidth, the latency, or that each rank draws the
# random numbers of all?

# %% tags=["predict"]
COUNTS = 2 ** np.arange(11)
MEBIBYTES, BUCKETS = 13.7 + 5 * 27.0, sum(
    times * len(buckets(timelines[name])) for name, times in (("generator", 1), ("critics", 5))
)  # fmt: skip


def parts_of_a_step(
    n, *, compute=0.2, pictures=16, bandwidth=10e9, latency=10e-6, window=7.2e-6, hole=19.5e-6,
    turns=lambda n: 2 * math.log2(n),
):  # fmt: skip
    """Seconds of each part of T(n)."""
    drawn, rounds = 6 * n * pictures, 48 * latency * math.log2(n)
    ring_of = 2 * (n - 1) / n / bandwidth
    sent = MEBIBYTES * 2**20 * ring_of + BUCKETS * latency * turns(n)
    last = 6 * (2**20 * ring_of + latency * turns(n))
    waits = max(sent - compute / 4, last) if n > 1 else 0.0
    return {"computing": compute, "draws": max(drawn * window - compute, 0) + drawn * hole, "messages": waits + rounds}


def efficiency(n, **options):
    one, many = (sum(parts_of_a_step(k, **options).values()) for k in (1, n))
    return one / many


cases = {
    "as it is": {},
    "each rank draws its own": {"window": 0.0, "hole": 0.0},
    "… at 1 GB/s": {"window": 0.0, "hole": 0.0, "bandwidth": 1e9},
    "… by a ring": {"window": 0.0, "hole": 0.0, "turns": lambda n: 2 * (n - 1)},
}
efficiencies = {name: [efficiency(int(n), **options) for n in COUNTS] for name, options in cases.items()}
print("ranks                   ", *(f"{n:5}" for n in COUNTS))
for name, values in efficiencies.items():
    print(f"{name:24}", *(f"{value:5.0%}" for value in values))

figure = Figure(figsize=(7.5, 3.4), layout="constrained", dpi=100)
left, right = figure.subplots(1, 2)
for (name, values), style in zip(efficiencies.items(), ("k-o", "k--s", "k-.^", "k:x"), strict=True):
    left.semilogx(COUNTS, [100 * value for value in values], style, mfc="w", ms=4, label=name)
left.set(xlabel="ranks", ylabel="efficiency (%)", ylim=(0, 105))
left.set_xticks(COUNTS[::2], list(map(str, COUNTS[::2])))
left.minorticks_off()
left.set_title("A model, not a measurement", fontsize=10)
left.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 0.05))
shown, bottom = (1, 16, 64, 256, 1024), np.zeros(5)
for part, (shade, hatch) in zip(
    ("computing", "draws", "messages"), (("0.75", ""), ("w", "//"), ("0.3", "")), strict=True
):
    seconds = np.array([parts_of_a_step(n)[part] for n in shown])
    right.bar(range(5), seconds, bottom=bottom, color=shade, hatch=hatch, edgecolor="k", label=part)
    bottom += seconds
right.set_xticks(range(5), list(map(str, shown)))
right.set(xlabel="ranks", ylabel="seconds of a step")
right.set_title("As it is", fontsize=10)
right.legend(frameon=False, fontsize=8)
viz.show(
    figure,
    alt="Left, efficiency against ranks from 1 to 1,024: as it is, it falls from 100 % to less than 10 %; if each rank "
    "drew its own, it would stay above 90 %; at 1 GB/s it falls to 65 % at once, then slowly; by a ring it falls from "
    "64 ranks on. Right, seconds of a step: computing is the same for all, the draws grow in proportion to the ranks "
    "and are nearly all of it at 1,024.",
    colours=48,
)

# %% [markdown]
# The draws. 27 µs a picture are little, but every rank spends them on the pictures of all: at 64 ranks they take more
# than a third of the step, at 1,024 nearly all of it. That is the price of batches that do not depend on the number of
# ranks. A generator of its own for each picture, seeded by the picture's number, would keep them so and cost nothing;
# it would also change every batch of today's runs.
#
# The bandwidth matters at few ranks or never: at 1 GB/s the messages of two ranks do not fit behind a quarter of the
# step, and those of very many take only twice as long. Latency matters at many ranks, if each of the many buckets
# goes round a ring.
#
# ## What the model leaves out: the batch
#
# 64 ranks with 16 pictures each are a batch of 1,024, and the paper's has 16. Is a step of it worth 64 steps? The noise
# of a mean falls with $1 / \sqrt N$:
#
# $$ \mathbb{E}\, \lVert g_N - g \rVert^2 = \frac{\sigma^2}{N} $$
#
# where $g$ is the gradient over all pictures. Once $\sigma^2 / N$ is small beside $\lVert g \rVert^2$, more pictures
# make a step more expensive, but hardly better. Up to there larger steps are possible, if the learning rate is chosen
# anew, often with a slow start. The known rules for it are for classifiers; for these networks, which train against
# each other, we have not tried any. Other settings depend on the batch, too: an average of the weights over 1,000
# updates then covers 64 times as many pictures.
#
# The other way is to share the paper's batch: `--batch 16` on four ranks gives each four pictures (*strong scaling*).
# Then the network learns the same as in the paper, but computing gets shorter with $n$ and the messages do not.
#
# **Predict, then run.** How fast are 16 ranks with one picture each, relative to one with 16?

# %% tags=["predict"]
strong = {}
for n in (1, 2, 4, 8, 16):
    seconds = sum(parts_of_a_step(n, compute=0.2 / n, pictures=16 / n).values())
    strong[n] = sum(parts_of_a_step(1).values()) / seconds
    print(f"{n:2} ranks: {strong[n]:5.1f} times as fast, an efficiency of {strong[n] / n:.0%}")

# %% [markdown]
# Four times as fast, not 16 times, and that is too kind: a card with one picture does not work as efficiently as with
# 16, which the model ignores. The limit now are the messages, of which there are as many for one picture as for 16.
#
# ## Timed
#
# The two numbers of the model that come from this machine: what it takes to draw a hole for another rank's picture, and
# a picture's window.
#
# **Predict, then run.** A batch of 256 pictures on 16 ranks: how much of a step of 0.2 s do the draws of holes take?

# %% tags=["predict", "timed"]
pictures, many = data.Images([np.zeros((480, 640, 3), np.uint8)] * 1000), 256
loader = data.Loader(pictures, batch=many, size=256, part=slice(0, 0), rng=np.random.default_rng(0))
sampler = data.MaskSampler("box", image_size=256, box_size=128, max_shrink=16)
hole_time = seconds_of(lambda: sampler(np.random.default_rng(0), many, part=slice(0, 0)), rounds=5) / many
window_time = seconds_of(lambda: [loader.draw(n, pictures.pixels) for n in range(many)], rounds=5) / many
print(f"a hole {1e6 * hole_time:.1f} µs, a window {1e6 * window_time:.1f} µs")
print(f"six updates of 256 pictures: {6 * 256 * hole_time:.3f} s for holes")

# %% [markdown]
# ## Exercises
#
# Replace the line that raises; `check` says what is wrong with an answer. Solutions are in
# `solutions/notebook_22.py`.
#
# **1.** The position in the data. A checkpoint holds the state of the random generator at the *start* of the epoch and
# the position. Which pictures are still to come in this epoch?


# %%
def remaining(start, position, pictures):
    """start: the state of a PCG64 before it permuted the indices of so many pictures. The indices from position on."""
    raise NotImplementedError


check("22.remaining", remaining)

# %% [markdown]
# **2.** The mean of the ranks' gradients, where ranks may have different numbers of pictures.


# %%
def mean_gradient(gradients, counts):
    """gradients: ranks × numbers, each the gradient of a rank's mean; counts: its pictures. The batch's gradient."""
    raise NotImplementedError


check("22.mean_gradient", mean_gradient)

# %% [markdown]
# **3.** The buckets. Gradients arrive with these sizes; a bucket is sent as soon as it holds at least `limit` bytes,
# and what is left over at the end.


# %%
def bucket_sizes(sizes, limit):
    """The bytes of each message, in order."""
    raise NotImplementedError


check("22.bucket_sizes", bucket_sizes)

# %% [markdown]
# **4.** The efficiency of a ring without latency: a step of `compute` seconds, `hidden` seconds of which hide messages.


# %%
def ring_efficiency(n, compute, hidden, size, bandwidth):
    """T(1) / T(n), with size bytes of gradients and a bandwidth in bytes a second. n: an array of numbers of ranks."""
    raise NotImplementedError


check("22.ring_efficiency", ring_efficiency)

# %% tags=["figures-that-matter"]
shutil.rmtree(FOLDER)
figures = {
    "norm of the critic's gradient": math.sqrt(sum(float(np.sum(g**2)) for g in batch_gradient)),
    "equal weights": equal_weights,
    "known pixels": [float(quotient), float(naive)],
    "sent by a ring": list(multiples.values()),
    "buckets": [len(buckets(events)) for events in timelines.values()],
    "order of the critics": [i for _, i, _ in timelines["critics"]],
    "efficiency": efficiencies["as it is"],
    "strong scaling": list(strong.values()),
}
print(json.dumps(figures))
