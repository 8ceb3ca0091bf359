# %% [markdown]
# # 01 · A tape in forty lines
#
# **One idea:** a program that computes a number can also compute that number's derivatives with respect to *all* its
# inputs, for a few times the cost of the program itself, if it records what it does.
#
# You need NumPy and the chain rule. You will read forty lines that differentiate programs, and check them in two
# independent ways.

# %%
import json
import os

import numpy as np
from exercises import check
from matplotlib.figure import Figure

import ca_numpy as ca
from ca_numpy import viz
from ca_numpy.testing import seconds_of

QUICK = os.environ.get("CA_NUMPY_QUICK") == "1"  # smaller sizes, for the tests

# %% [markdown]
# ## The problem
#
# A small network has weights $A$ (8 × 20) and $b$ (20 × 1). For inputs $X$ (one sample per row) and targets $t$, its
# error is
#
# $$ L(A, b) = \sum_n \Big( \sum_k \tanh\big( \textstyle\sum_i X_{ni} A_{ik} \big)\, b_k - t_n \Big)^2 $$
#
# To make $L$ smaller we need to know how $L$ changes with each of the 180 weights: 180 derivatives.

# %%
rng = np.random.default_rng(0)
X = rng.standard_normal((50, 8))
t = np.sin(X[:, :1])
A = rng.standard_normal((8, 20)) / 3
b = rng.standard_normal((20, 1)) / 3


def error(A, b):
    return np.sum((np.tanh(X @ A) @ b - t) ** 2)


print(f"the error is {error(A, b):.4f}, and it depends on {A.size + b.size} weights")

# %% [markdown]
# ## Loops: move each weight a little
#
# This is the definition of a derivative, with a step $h$ to either side so that the first-order error cancels:
#
# $$ \frac{\partial L}{\partial A_{ik}} = \frac{L(A_{ik} + h) - L(A_{ik} - h)}{2h} + O(h^2) $$
#
# It needs only the function itself, evaluated twice per weight.


# %%
def by_differences(f, x, h=1e-5):
    """The gradient of f at the array x: two evaluations of f for each number in x."""
    gradient = np.empty_like(x)
    for place in np.ndindex(x.shape):
        moved = x.copy()
        moved[place] = x[place] + h
        above = f(moved)
        moved[place] = x[place] - h
        gradient[place] = (above - f(moved)) / (2 * h)
    return gradient


dA_differences = by_differences(lambda A: error(A, b), A)
print(dA_differences[0, :4])

# %% [markdown]
# This is our oracle: slow, slightly inexact, and hard to get wrong. The network as the authors released it has 3.6
# million weights (the paper says 2.9; see [`docs/departures.md`](../docs/departures.md)), so one training step would
# take seven million forward passes.
#
# ## The equation: the chain rule, backwards
#
# Split the program into steps, each computing one array $v$ from earlier ones. Write $\bar v$ for the derivative of the
# final number $L$ with respect to $v$ (an array of $v$'s shape). If $v$ was computed from $u$, the effect of $u$ on $L$
# *through $v$* is
#
# $$ \bar u_j \mathrel{+}= \sum_i \bar v_i \, \frac{\partial v_i}{\partial u_j} $$
#
# Start with $\bar L = 1$ and go through the steps backwards. Each step needs one *rule*, which turns $\bar v$ into its
# contribution to $\bar u$.
#
# | step | rule for $\bar u$ | rule for $\bar w$ |
# |---|---|---|
# | $v = u + w$ | $\bar v$ | $\bar v$ |
# | $v = u - w$ | $\bar v$ | $-\bar v$ |
# | $v = u \odot w$ | $\bar v \odot w$ | $\bar v \odot u$ |
# | $v = u\,w$ (matrices) | $\bar v\, w^\top$ | $u^\top \bar v$ |
# | $v = \tanh u$ | $\bar v \odot (1 - v^2)$ | |
# | $v = \sum_i u_i$ | $\bar v$, repeated in $u$'s shape | |
#
# Two things make this fast. The backward pass visits every step once, however many weights there are. And a rule never
# builds the Jacobian $\partial v_i / \partial u_j$; it only multiplies by it.
#
# ## The tape
#
# A `Var` is an array that remembers what it was computed from. Together these records form the tape.


# %%
class Var:
    """An array, and a rule for passing the gradient on to each array it was made from."""

    def __init__(self, data, made_from=()):
        self.data = np.asarray(data, dtype=float)
        self.made_from = made_from  # pairs (input, rule: gradient of this -> gradient of the input)

    def __add__(self, other):
        return Var(self.data + other.data, [(self, lambda g: g), (other, lambda g: g)])

    def __sub__(self, other):
        return Var(self.data - other.data, [(self, lambda g: g), (other, lambda g: -g)])

    def __mul__(self, other):
        return Var(self.data * other.data, [(self, lambda g: g * other.data), (other, lambda g: g * self.data)])

    def __matmul__(self, other):
        rules = [(self, lambda g: g @ other.data.T), (other, lambda g: self.data.T @ g)]
        return Var(self.data @ other.data, rules)

    def tanh(self):
        y = np.tanh(self.data)
        return Var(y, [(self, lambda g: g * (1 - y * y))])

    def sum(self):
        return Var(self.data.sum(), [(self, lambda g: np.full_like(self.data, g))])


def gradients(y, xs):
    """The gradient of the number y by each of xs."""
    order, seen = [], set()

    def visit(v):  # makers first
        if id(v) not in seen:
            seen.add(id(v))
            for maker, _ in v.made_from:
                visit(maker)
            order.append(v)

    visit(y)
    g = {id(v): np.zeros_like(v.data) for v in order}
    g[id(y)] = np.ones_like(y.data)
    for v in reversed(order):  # everything made from v comes before v
        for maker, rule in v.made_from:
            g[id(maker)] = g[id(maker)] + rule(g[id(v)])
    return [g[id(x)] for x in xs]


# %% [markdown]
# Fewer than forty lines, not counting blank ones. The network is written as before, with `Var`s:

# %%
A_, b_ = Var(A), Var(b)
rest = (Var(X) @ A_).tanh() @ b_ - Var(t)
L = (rest * rest).sum()
dA, db = gradients(L, [A_, b_])

print(f"the same error: {float(L.data):.4f}")
print(dA[0, :4])

# %% [markdown]
# **Predict, then run.** Near the end, `g[id(maker)] + rule(...)` *adds*. What would the gradient of $x \cdot x + x$ at
# $x = 3$ be if that line *overwrote* the previous value? Decide on a number, then run both.

# %% tags=["predict"]
x = Var(3.0)
y = x * x + x
print("adding:", float(gradients(y, [x])[0]))


def overwriting(y, x):
    """As `gradients`, for one x and a tape this short, with = instead of +."""
    g = {id(y): np.ones_like(y.data)}
    steps = [y, y.made_from[0][0]]  # the sum, then the product
    for v in steps:
        for maker, rule in v.made_from:
            g[id(maker)] = rule(g[id(v)])
    return g[id(x)]


print("overwriting:", float(overwriting(y, x)))

# %% [markdown]
# $x$ reaches $y$ along three paths: twice through the product, once directly. The derivative $2x + 1 = 7$ is the sum
# over the paths. Overwriting keeps only the last path, and gives 3. This is the most common bug in a first tape, and it
# shows only where a value is used twice.
#
# **Predict, then run.** `reversed(order)` passes $\bar v$ on only after everything computed from $v$ has added to it.
# Take $y = x^2 \cdot x + x^2$, whose steps are $x^2$, $x^3$ and $y$, and visit them in the order $y, x^3, x^2, x$ and
# in the order $y, x^2, x^3, x$. Which of the two gives a wrong gradient, and why?

# %% tags=["predict"]
x = Var(2.0)
square = x * x
y = square * x + square  # x³ + x²
names = {id(x): "x", id(square): "x²", id(y): "y", id(y.made_from[0][0]): "x³"}


def walked(order):
    g = {id(v): 0.0 for v in order}
    g[id(y)] = 1.0
    for v in order:
        for maker, rule in v.made_from:
            g[id(maker)] = g[id(maker)] + rule(g[id(v)])
    return float(g[id(x)])


cube = y.made_from[0][0]
for order in ([y, cube, square, x], [y, square, cube, x]):
    print(" → ".join(names[id(v)] for v in order), "   dy/dx =", walked(order))

# %% [markdown]
# The true derivative is $3x^2 + 2x = 16$. In the second order, $x^2$ passes its gradient on before $x^3$ has
# contributed to it. An order in which inputs always come before what is computed from them is called *topological*.
#
# ## Checked against two oracles
#
# Finite differences do not use our rules, and the library's own engine, `ca_numpy.grad`, was written and tested
# separately. The first agrees up to the error of the differences, the second up to the last digits of float64.

# %%
A_ca, b_ca = ca.tensor(A), ca.tensor(b)
hidden = 2 / (1 + ca.functional.exp(-2 * (X @ A_ca))) - 1  # tanh
rest = hidden @ b_ca - t
L_ca = (rest * rest).sum()
dA_ca, db_ca = (g.numpy() for g in ca.grad(L_ca, [A_ca, b_ca]))


def apart(a, b):
    """The largest difference, relative to the largest value."""
    return np.max(np.abs(a - b)) / np.max(np.abs(b))


print(f"tape and finite differences: {apart(dA, dA_differences):.0e} apart")
print(f"tape and ca_numpy:           {max(apart(dA, dA_ca), apart(db, db_ca)):.0e} apart")
assert apart(dA, dA_differences) < 1e-6
assert max(apart(dA, dA_ca), apart(db, db_ca)) < 1e-12

# %% [markdown]
# (`ca_numpy` has no tanh, since the paper's networks do not use one: we composed it as $2/(1 + e^{-2x}) - 1$. A
# composite function needs no rule of its own.)
#
# ## Numbers or arrays: the same tape, timed
#
# (`seconds_of` runs a function several times and returns the shortest time.)
#
# Nothing in `gradients` requires arrays. The same code works with one `Var` per *number*; each addition and
# multiplication in the matrix product is then a separate step on the tape.
#
# **Predict, then run.** A 16 × 16 by 16 × 16 matrix product takes 4096 multiplications. How much slower is the tape of
# numbers? Ten times, a hundred, a thousand?

# %% tags=["predict", "timed"]
n = 6 if QUICK else 16
P, Q = rng.standard_normal((n, n)), rng.standard_normal((n, n))


def arrays():
    p, q = Var(P), Var(Q)
    return gradients((p @ q).tanh().sum(), [p, q])


def numbers():
    p = [[Var(v) for v in row] for row in P]
    q = [[Var(v) for v in row] for row in Q]
    total = Var(0.0)
    for i in range(n):
        for j in range(n):
            dot = Var(0.0)
            for k in range(n):
                dot = dot + p[i][k] * q[k][j]
            total = total + dot.tanh()
    found = gradients(total, [v for row in p for v in row])
    return [np.array(found).reshape(n, n)]


assert apart(numbers()[0], arrays()[0]) < 1e-12
slow, fast = seconds_of(numbers, rounds=1), seconds_of(arrays, rounds=20)
print(f"numbers {1e3 * slow:.1f} ms, arrays {1e3 * fast:.3f} ms: {slow / fast:.0f} times")

# %% [markdown]
# The arithmetic is the same. What differs is the number of steps on the tape: 8704 (4096 products, as many sums, and
# for each of the 256 elements a tanh and a sum), or three. So this library's tape holds arrays, and its steps are as
# large as convolutions.
#
# Now we compare all methods on networks of increasing width.

# %% tags=["timed"]
widths = [5, 10, 20] if QUICK else [5, 10, 20, 40, 80, 160]
methods = {"once forward": [], "tape": [], "finite differences": []}
for width in widths:
    W, v = rng.standard_normal((8, width)) / 3, np.ones((width, 1)) / width

    def taped(W=W, v=v):
        W_ = Var(W)
        rest = (Var(X) @ W_).tanh() @ Var(v) - Var(t)
        return gradients((rest * rest).sum(), [W_])

    methods["once forward"].append(seconds_of(lambda W=W, v=v: error(W, v), rounds=20))
    methods["tape"].append(seconds_of(taped, rounds=20))
    differences = seconds_of(lambda W=W, v=v: by_differences(lambda A: error(A, v), W), rounds=1)
    methods["finite differences"].append(differences)

figure = Figure(figsize=(6, 3.4), layout="constrained", dpi=100)
axes = figure.subplots()
for (name, seconds), style in zip(methods.items(), ("k:o", "k-s", "k--^"), strict=True):
    axes.loglog([8 * w for w in widths], [1e3 * s for s in seconds], style, label=name)
axes.set(title="Time for all derivatives", xlabel="weights", ylabel="milliseconds")
axes.legend(frameon=False)
axes.grid(color="0.9")
viz.show(
    figure,
    alt="Time against number of weights, both logarithmic. Finite differences rise steeply; the tape stays at less "
    "than ten times one run of the function throughout.",
)

# %% [markdown]
# The tape costs a small multiple of one run, whatever the number of weights. Finite differences cost two runs *per
# weight*, and each run gets slower too. This is why networks can be trained at all.
#
# ## What the library does differently
#
# Read [`tensor.py`](../ca_numpy/engine/tensor.py) and [`autograd.py`](../ca_numpy/engine/autograd.py) now: 300 lines,
# all built on ideas you now know. They differ from ours in four ways.
#
# 1. **Rules are registered by operation**, not kept in a closure on each `Var`: `defvjp(mul, …)`. They can be printed,
#    tested and counted.
# 2. **Rules are written in operations**, not in NumPy, so gradients have gradients: that is
#    [notebook 02](02_gradients_of_gradients.ipynb).
# 3. **Only paths that lead from `y` to `xs` are visited.** Ours also computes the gradient with respect to the data
#    $X$, and throws it away.
# 4. **The traversal is a loop**, not a recursion. A tape may be deeper than Python's stack:

# %%
deep = Var(1.0)
one = Var(1.0)
for _ in range(5000):
    deep = deep * one
try:
    gradients(deep, [one])
except RecursionError as e:
    print("our tape:", type(e).__name__)

deep = x = ca.tensor(1.0)
for _ in range(5000):
    deep = deep * x
print("ca_numpy:", float(ca.grad(deep, x)), "= the derivative of x⁵⁰⁰¹ at 1")

# %% [markdown]
# ## Exercises
#
# Replace the line that raises; `check` says what is wrong with an answer. Solutions are in
# `solutions/notebook_01.py`.
#
# **1.** The rules of division. For $v = u / w$, given $\bar v$: what are $\bar u$ and $\bar w$? (Arrays of one
# shape.)


# %%
def division_rules(g, u, w):
    """(gradient of u, gradient of w) where v = u / w and g is the gradient of v."""
    raise NotImplementedError


check("01.division", division_rules)

# %% [markdown]
# **2.** Broadcasting. `Var(a) + Var(c)` with $a$ of shape (4, 3) and $c$ of shape (3,) computes the right sum, and then
# hands $c$ a gradient of shape (4, 3). Each element of $c$ was used four times, so its gradient is the sum of four. An
# axis of length 1 is repeated in the same way: in $a$ plus an array of shape (4, 1), each element of that array is used
# three times, and its gradient keeps the shape (4, 1). Write the function that undoes broadcasting: it takes a gradient
# and the original shape of the array.


# %%
def sum_to(g, shape):
    """g, summed over everything that broadcasting repeated in an array of this shape."""
    raise NotImplementedError


check("01.sum_to", sum_to)

# %% [markdown]
# **3.** The rule for an operation used throughout this library: $v = \mathrm{softmax}(u)$ along the last axis, $v_i =
# e^{u_i} / \sum_j e^{u_j}$. Every $v_i$ depends on every $u_j$ of its row. Find the rule from $\bar v$ and $v$ alone,
# without building the Jacobian $\partial v_i / \partial u_j$.


# %%
def softmax_rule(g, v):
    """The gradient of u where v = softmax(u) along the last axis and g is the gradient of v."""
    raise NotImplementedError


check("01.softmax", softmax_rule)

# %% [markdown]
# The last cell of each notebook prints a few numbers that must not change; the tests compare them.

# %% tags=["figures-that-matter"]
figures = {
    "error": float(L.data),
    "norm of dA": float(np.linalg.norm(dA)),
    "norm of db": float(np.linalg.norm(db)),
    "norm of dA by ca_numpy": float(np.linalg.norm(dA_ca)),
    "derivative of the power": float(ca.grad(deep, x)),
}
print(json.dumps(figures))
