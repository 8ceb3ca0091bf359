"""Common wrong answers, and part of the message each one gets."""

import numpy as np

import ca_numpy as ca


def rule_in_numpy(g, y):
    g, y = g.numpy(), y.numpy()
    return y * (g - (g * y).sum(-1, keepdims=True))


def rule_through_an_array(g, y):
    y = ca.tensor(y.numpy())
    return y * (g - (g * y).sum(-1, keepdims=True))


def rule_without_keepdims(g, y):
    return y * (g - (g * y).sum(-1))


def forgets_the_graph(f, x, v):
    x = ca.tensor(x)
    dx = ca.grad(f(x), x)
    return ca.grad((dx * v).sum(), x)


def multiplies_too_late(f, x, v):
    x = ca.tensor(x)
    return ca.grad(ca.grad(f(x), x, create_graph=True).sum(), x) * v


def gives_a_number(f, x, v):
    x = ca.tensor(x)
    dx = ca.grad(f(x), x, create_graph=True)
    return (ca.grad((dx * v).sum(), x) * v).sum()


def forgets_tensor(f, x, v):
    return ca.grad(f(x), x)


def by_differences(f, x, v):
    def gradient(x):
        x = ca.tensor(x)
        return ca.grad(f(x), x).numpy()

    return (gradient(x + 1e-3 * v) - gradient(x)) / 1e-3


def penalty(critic, x, *, graph=True, axis=1):
    x = ca.tensor(x)
    dx = ca.grad(critic(x).sum(), x, create_graph=graph)
    return (((dx * dx).sum(axis) ** 0.5 - 1) ** 2).mean()


def penalty_per_row(critic, x):
    x = ca.tensor(x)
    dx = ca.grad(critic(x).sum(), x, create_graph=True)
    return ((dx * dx).sum(1) ** 0.5 - 1) ** 2


def penalty_of_the_mean(critic, x):
    x = ca.tensor(x)
    dx = ca.grad(critic(x).mean(), x, create_graph=True)
    return (((dx * dx).sum(1) ** 0.5 - 1) ** 2).mean()


def penalty_with_numpys_root(critic, x):
    x = ca.tensor(x)
    dx = ca.grad(critic(x).sum(), x, create_graph=True)
    return ((np.sqrt((dx * dx).sum(1)) - 1) ** 2).mean()


WRONG = {
    "02.softmax": [
        (rule_in_numpy, "has to be a Tensor"),
        (rule_through_an_array, "y was detached from the tape"),
        (lambda g, y: y * g - y * np.sum(y * g, axis=-1, keepdims=True), "not np.sum"),
        (
            lambda g, y: y * g - y * np.sum((y * g).numpy(), axis=-1, keepdims=True),
            "the sum was detached from the tape",
        ),
        (lambda g, y: g * y * (1.0 - y), "only the diagonal"),
        (rule_without_keepdims, "three rows"),
        (lambda g, y: -y * (g - (g * y).sum(-1, keepdims=True)), "The sign is wrong"),
    ],
    "02.hessian_vector": [
        (forgets_the_graph, "create_graph=True"),
        (multiplies_too_late, "before it is differentiated"),
        (gives_a_number, "is something summed twice"),
        (forgets_tensor, "raises"),
        (by_differences, "Right on: a square"),
    ],
    "02.penalty": [
        (lambda critic, x: penalty(critic, x, graph=False), "create_graph=True"),
        (lambda critic, x: penalty(critic, x, axis=None), "its own norm"),
        (lambda critic, x: penalty(critic, x).numpy(), "has to be a Tensor"),
        (lambda critic, x: float(penalty(critic, x)), "has to be a Tensor"),
        (lambda critic, x: penalty(critic, x) * len(x), "not their mean"),
        (penalty_per_row, "take their mean"),
        (penalty_of_the_mean, "differentiate its sum"),
        (penalty_with_numpys_root, "write the root as"),
        (lambda critic, x: np.sqrt(2), "has to be a Tensor"),
    ],
}
