# %% [markdown]
# # 02 · Gradients of gradients
#
# **One idea:** if the rules for derivatives are written in the same operations as the program, then a gradient is a
# program too, and can be differentiated like any other. Derivatives of every order come for free.
#
# You need notebook 01.

# %%
import json
import os

import numpy as np
from exercises import check
from matplotlib.figure import Figure

import ca_numpy as ca
from ca_numpy import functional as F
from ca_numpy import viz
from ca_numpy.testing import gradcheck, seconds_of

QUICK = os.environ.get("CA_NUMPY_QUICK") == "1"  # smaller sizes, for the tests

# %% [markdown]
# ## The problem
#
# The networks of this library are judged by *critics*, and a critic $f$ must not be too steep: its slope is kept near 1
# by a penalty on the slope itself, added to its loss,
#
# $$ P(w) = \frac{1}{N} \sum_n \big( \lVert \nabla_x f(x_n; w) \rVert - 1 \big)^2 $$
#
# (Notebook 07 explains why.) To train the critic we need $\partial P / \partial w$. But $P$ already contains a gradient
# with respect to $x$. So we need the gradient with respect to $w$ of a gradient with respect to $x$.
#
# The tape of notebook 01 cannot do this. Here it is again, reduced to sums and products.


# %%
class Number:
    """Notebook 01's tape: the rules are written in NumPy."""

    def __init__(self, data, made_from=()):
        self.data, self.made_from = np.asarray(data, dtype=float), made_from

    def __add__(self, other):
        return Number(self.data + other.data, [(self, lambda g: g), (other, lambda g: g)])

    def __mul__(self, other):
        return Number(self.data * other.data, [(self, lambda g: g * other.data), (other, lambda g: g * self.data)])


def in_order(y):
    """Everything y was made from, inputs first, then y."""
    order, seen = [], set()

    def visit(v):
        if id(v) not in seen:
            seen.add(id(v))
            for maker, _ in v.made_from:
                visit(maker)
            order.append(v)

    visit(y)
    return order


def gradient(y, x):
    """The gradient of y with respect to x, in the type of the rules. Var is defined in the next cell."""
    g = {id(y): 1.0 if isinstance(y, Number) else Var(1.0)}
    for v in reversed(in_order(y)):
        for maker, rule in v.made_from:
            share = rule(g[id(v)])
            g[id(maker)] = g[id(maker)] + share if id(maker) in g else share
    return g[id(x)]


# %% [markdown]
# ## The equation: write the rule in the operations themselves
#
# The rule of a product $v = u \cdot w$ is $\bar u = \bar v \cdot w$. That is a product again. Written as `g *
# other.data`, it is a NumPy product, and NumPy keeps no tape. Written as `g * other`, it is a product on our tape: the
# result remembers that it came from $\bar v$ and $w$, and
#
# $$ \frac{\partial \bar u}{\partial w} = \bar v, \qquad \frac{\partial \bar u}{\partial \bar v} = w $$
#
# follow from the product rule, which we already have. Leave out `.data` twice:


# %%
class Var:
    """The same tape, with rules written in Vars."""

    def __init__(self, data, made_from=()):
        self.data, self.made_from = np.asarray(data, dtype=float), made_from

    def __add__(self, other):
        return Var(self.data + other.data, [(self, lambda g: g), (other, lambda g: g)])

    def __mul__(self, other):
        return Var(self.data * other.data, [(self, lambda g: g * other), (other, lambda g: g * self)])


x = Number(2.0)
print("rules in NumPy:   the gradient is a", type(gradient(x * x * x, x)).__name__, "and remembers nothing")
x = Var(2.0)
dy = gradient(x * x * x, x)
print("rules in our own: the gradient is a", type(dy).__name__, "made from", len(in_order(dy)) - 1, "others")

# %% [markdown]
# **Predict, then run.** Write down the first five derivatives of $x^4$, and their values at $x = 2$.

# %% tags=["predict"]
x = Var(2.0)
derivative = (x * x) * (x * x)
derivatives = []
for order in range(1, 6):
    derivative = gradient(derivative, x) if x in in_order(derivative) else Var(0.0)
    derivatives.append(float(derivative.data))
    print(f"order {order}: {derivatives[-1]:3.0f}   the tape holds {len(in_order(derivative))} steps")
assert derivatives == [4 * 2**3, 12 * 2**2, 24 * 2, 24, 0]

# %% [markdown]
# We wrote no rule for a second derivative, let alone a fourth. Every gradient is a program like the one it came from,
# often a longer one, and is differentiated in the same way.
#
# **What it takes.** Rules may only use operations that have rules. The sum of an array, for instance, has the rule
# "repeat $\bar v$ in $u$'s shape", so there must be an operation *repeat*. Its own rule is a sum. Each refers to the
# other, so the family is closed. In [`ca_numpy/engine/ops/shapes.py`](../ca_numpy/engine/ops/shapes.py) this reads
#
# ```python
# defvjp(sum_to, lambda g, y, x, shape: broadcast_to(g, shape=x.shape))
# defvjp(broadcast_to, lambda g, y, x, shape: sum_to(g, shape=x.shape))
# ```
#
# and all rules in the library look like this. Convolution, in the next notebook, is a closed family of three.
#
# ## In the library
#
# `ca.grad(..., create_graph=True)` records the gradient on the tape. Without it the gradient is a constant, which saves
# memory when it will not be differentiated again.
#
# **Predict, then run.** What does the second `ca.grad` give in each case? The function is $x^3$ at 2, so the answer
# should be $6x = 12$.

# %% tags=["predict"]
x = ca.tensor(2.0)
for create_graph in (True, False):
    dy = ca.grad(x * x * x, x, create_graph=create_graph)
    print(f"create_graph={create_graph!s:5}  first {float(dy):.0f}, second {float(ca.grad(dy, x)):.0f}")

# %% [markdown]
# Without the graph the gradient is a constant, and a constant has derivative 0. No error is raised. Remember this when
# a penalty seems to have no effect.
#
# ## Loops: the whole Hessian
#
# For a function $L$ of $n$ variables, the second derivatives form a matrix, the Hessian
#
# $$ H_{ij} = \frac{\partial^2 L}{\partial x_i \, \partial x_j} $$
#
# Row $i$ is the gradient of the $i$-th component of the gradient. Take $L(x) = \sum_k \mathrm{elu}(\sum_j W_{kj}
# x_j)^2$, with the activation of the paper's networks, $\mathrm{elu}(z) = z$ where $z > 0$, else $e^z - 1$.

# %%
rng = np.random.default_rng(0)


def problem(n):
    return rng.standard_normal((n, n)) / np.sqrt(n), rng.standard_normal(n)


def L(x, W):
    z = F.elu(F.matmul(W, x))
    return (z * z).sum()


def hessian_by_rows(x, W):
    """n backward passes, one for each row."""
    x = ca.tensor(x)
    dx = ca.grad(L(x, W), x, create_graph=True)
    return np.stack([ca.grad(dx[i], x).numpy() for i in range(len(x))])


W, x = problem(12)
H = hessian_by_rows(x, W)
print("symmetric:", np.allclose(H, H.T), "  trace:", round(float(np.trace(H)), 6))

# %% [markdown]
# ## Vectorised: the Hessian times a vector
#
# The whole matrix is rarely needed. The penalty, Newton's method and a gradient test need only $H$ times some vector
# $v$. With $v$ held fixed,
#
# $$ H v = \nabla_x \big\langle \nabla_x L(x), v \big\rangle $$
#
# because the $j$-th component on the right is $\sum_i v_i \, \partial^2 L / \partial x_j \partial x_i$. One scalar is
# differentiated once: a single backward pass instead of $n$.


# %%
def hessian_times(x, v, W):
    x = ca.tensor(x)
    dx = ca.grad(L(x, W), x, create_graph=True)
    return ca.grad((dx * v).sum(), x).numpy()


v = rng.standard_normal(12)
print("H·v by rows and at once differ by", f"{np.max(np.abs(H @ v - hessian_times(x, v, W))):.0e}")
assert np.allclose(H @ v, hessian_times(x, v, W), rtol=1e-12, atol=1e-13)

# %% [markdown]
# ## Checked against oracles
#
# Analytically: with $h(z) = \mathrm{elu}(z)^2$ and $z = Wx$, the Hessian is $W^\top \mathrm{diag}(h''(z))\, W$, and
# $h''$ is 2 for $z > 0$ and $4e^{2z} - 2e^z$ otherwise.
#
# And numerically: `gradcheck` compares the gradient with finite differences, then treats the gradient as a new function
# and does the same again, to any order.

# %%
z = W @ x
bend = np.where(z > 0, 2.0, 4 * np.exp(2 * z) - 2 * np.exp(z))
H_by_hand = W.T @ (bend[:, None] * W)
print("by hand:", f"{np.max(np.abs(H - H_by_hand)):.0e} apart")
assert np.allclose(H, H_by_hand, rtol=1e-12, atol=1e-13)

gradcheck(lambda x: L(x, W), [x], rng=rng, order=3)
print("orders 1, 2 and 3 agree with finite differences to one part in a million")

# %% [markdown]
# ## Timed
#
# **Predict, then run.** How does the time for $Hv$ grow with $n$, compared with the time for all of $H$? And how many
# evaluations of $L$ does $Hv$ cost?

# %% tags=["predict", "timed"]
sizes = [8, 16] if QUICK else [8, 16, 32, 64, 128, 256]
times = {"the function": [], "its gradient": [], "Hessian times a vector": [], "Hessian by rows": []}
for n in sizes:
    W_n, x_n = problem(n)
    v_n, leaf = rng.standard_normal(n), ca.tensor(x_n)
    times["the function"].append(seconds_of(lambda: L(leaf, W_n), rounds=50))
    times["its gradient"].append(seconds_of(lambda: ca.grad(L(leaf, W_n), leaf), rounds=50))
    times["Hessian times a vector"].append(seconds_of(lambda: hessian_times(x_n, v_n, W_n), rounds=50))
    times["Hessian by rows"].append(seconds_of(lambda: hessian_by_rows(x_n, W_n), rounds=3))

figure = Figure(figsize=(7.5, 3.2), layout="constrained", dpi=100)
axes = figure.subplots()
for (name, seconds), style in zip(times.items(), ("k:o", "k-.s", "k-D", "k--^"), strict=True):
    axes.loglog(sizes, [1e3 * s for s in seconds], style, label=name, markersize=4)
axes.set(title="Time for first and second derivatives", xlabel="numbers in x", ylabel="milliseconds")
axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
axes.grid(color="0.9")
viz.show(
    figure,
    alt="Time against the number of inputs, both logarithmic. The function, its gradient and the Hessian times a "
    "vector are flat, each two or three times the one before; the whole Hessian rises, to hundreds of times as much.",
)

# %% [markdown]
# Each order costs a small multiple of the one before it, and the multiple does not depend on the number of inputs: in
# the figure $Hv$ costs about as much as six or seven evaluations of $L$, for any $n$. The whole of $H$ costs $n$
# backward passes. (The curves are flat because of Python's overhead: at these sizes the steps on the tape take longer
# than their arithmetic. At larger sizes they would all grow like $n^2$, as the product $W x$ does, and the Hessian by
# rows like $n^3$.)
#
# ## The penalty, on a toy
#
# A critic of one variable: $f(x) = \sum_k c_k\, \mathrm{elu}(a_k x + b_k)$. Its slope is a gradient with respect to
# $x$. All samples $x_n$ are evaluated at once, and since sample $n$ affects only $f(x_n)$, the gradient of the *sum*
# contains each sample's own slope.

# %%
K = 16
xs = np.linspace(-3, 3, 64)[:, None]
rng = np.random.default_rng(1)
start = [rng.standard_normal((1, K)), rng.standard_normal(K), rng.standard_normal((K, 1)) / 4]


def critic(x, a, b, c):
    return F.elu(x @ a + b) @ c


def slopes(weights, *, create_graph=False):
    x = ca.tensor(xs)
    return ca.grad(critic(x, *weights).sum(), x, create_graph=create_graph)


def penalty(*weights):
    """P = mean of (|slope| − 1)²; with one input, the norm of the gradient is √(slope²)."""
    slope = slopes(weights, create_graph=True)
    steepness = (slope * slope) ** 0.5
    return ((steepness - 1) ** 2).mean()


weights = [ca.tensor(w) for w in start]
P = penalty(*weights)
gradients = ca.grad(P, weights)
print(
    f"penalty {float(P):.4f}; norms of its gradients w.r.t. a, b, c:", *(f"{np.linalg.norm(g):.4f}" for g in gradients)
)

# %% [markdown]
# That was a gradient of a gradient, with respect to 48 weights, and we can follow it downhill.

# %%
figures_before = float(P), [float(np.linalg.norm(g)) for g in gradients]
history = []
for _ in range(5 if QUICK else 150):
    P = penalty(*weights)
    history.append(float(P))
    weights = [ca.tensor(w.numpy() - 0.1 * g.numpy()) for w, g in zip(weights, ca.grad(P, weights), strict=True)]
history.append(float(penalty(*weights)))
print(f"the penalty went from {history[0]:.4f} to {history[-1]:.6f} in {len(history) - 1} steps")

figure = Figure(figsize=(7.5, 3.2), layout="constrained", dpi=100)
left, right = figure.subplots(1, 2)
for name, w, style in (("before", start, "k--"), ("after", weights, "k-")):
    left.plot(xs, critic(ca.tensor(xs), *w).numpy(), style, label=name)
    right.plot(xs, slopes(w).numpy(), style, label=name)
for level in (-1, 1):
    right.axhline(level, color="0.6", linewidth=0.8, linestyle=":")
left.set(title="The critic f", xlabel="x", ylabel="f(x)")
right.set(title="Its slope, wanted at +1 or −1", xlabel="x", ylabel="df/dx")
left.legend(frameon=False)
right.legend(frameon=False)
viz.show(
    figure,
    alt="Left, the critic before and after; right, its slope. Before, the slope lies between zero and minus one half; "
    "after, within about a tenth of the dotted line at minus one.",
)

# %% [markdown]
# We never specified the critic's values, only how steep it should be. Two gradients did the rest. In the library this
# is [`losses.gradient_penalty`](../ca_numpy/training/losses.py), with pictures for $x$ and a convolutional critic.
#
# ## Exercises
#
# Replace the line that raises; `check` says what is wrong with an answer. Solutions are in
# `solutions/notebook_02.py`.
#
# **1.** The softmax rule from notebook 01, written so that its gradients have gradients. `g` and `y` are Tensors, and
# the answer must be one too. NumPy's functions do not take Tensors: write `t.sum(axis=-1, keepdims=True)`, not
# `np.sum(t, …)`.


# %%
def softmax_rule(g, y):
    """The gradient of x where y = softmax(x) along the last axis and g is the gradient of y; all are Tensors."""
    raise NotImplementedError


check("02.softmax", softmax_rule)

# %% [markdown]
# **2.** The Hessian times a vector, for any function.


# %%
def hessian_vector(f, x, v):
    """H·v at the array x, as an array; f maps a Tensor to a scalar Tensor, and v is an array of x's shape."""
    raise NotImplementedError


check("02.hessian_vector", hessian_vector)

# %% [markdown]
# **3.** The penalty for vector-valued samples. `critic` maps a Tensor (N, D) to a Tensor (N, 1), row by row; `x` is an
# array (N, D). Return $P$ as a Tensor, so that it can be differentiated with respect to the critic's weights.


# %%
def gradient_penalty(critic, x):
    """The mean over the rows of (‖gradient of the critic with respect to that row‖₂ − 1)²."""
    raise NotImplementedError


check("02.penalty", gradient_penalty)

# %% tags=["figures-that-matter"]
figures = {
    "derivatives of x⁴": derivatives,
    "trace of the Hessian": float(np.trace(H)),
    "norm of H·v": float(np.linalg.norm(hessian_times(x, v, W))),
    "penalty at the start": figures_before[0],
    "norms of its gradients": figures_before[1],
    "penalty after five steps": history[5],
}
print(json.dumps(figures))
