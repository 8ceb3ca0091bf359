"""Worked solutions of notebook 01, a tape in forty lines."""

import numpy as np


def division_rules(g, u, w):
    """v = u / w changes by 1/w per change of u, and by −u/w² = −v/w per change of w."""
    return g / w, -g * u / (w * w)


def sum_to(g, shape):
    """Axes that broadcasting prepended are summed away; those it stretched from length 1 are summed and kept."""
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1)
    return g.sum(axis=stretched, keepdims=True)


def softmax_rule(g, v):
    """∂vᵢ/∂uⱼ = vᵢ·(δᵢⱼ − vⱼ), so  Σᵢ gᵢ·∂vᵢ/∂uⱼ = gⱼ·vⱼ − vⱼ·Σᵢ gᵢ·vᵢ:  two products and one sum along each row."""
    gv = g * v
    return gv - v * np.sum(gv, axis=-1, keepdims=True)


SOLUTIONS = {
    "01.division": division_rules,
    "01.sum_to": sum_to,
    "01.softmax": softmax_rule,
}
