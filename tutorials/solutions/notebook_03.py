"""Worked solutions of notebook 03, convolution and its two gradients."""

import numpy as np


def output_size(n, k, stride, before, after):
    """The window starts at 0 and can move on by n + before + after − k pixels, in whole steps."""
    return (n + before + after - k) // stride + 1


def dw_by_taps(g, x, ksize, stride):
    """Weight (u, v) sees the pixels (u + i·stride, v + j·stride): a slice of the shape of g. Sum over n, i, j."""
    dw = np.empty((*ksize, x.shape[3], g.shape[3]))
    rows, columns = stride * g.shape[1], stride * g.shape[2]
    for u, v in np.ndindex(ksize):
        seen = x[:, u : u + rows : stride, v : v + columns : stride]
        dw[u, v] = np.einsum("nijc,nijo->co", seen, g)
    return dw


def dx_by_conv(conv, g, w):
    """The window at p − u sees pixel p with weight u: the sum runs in reverse over u, on g padded with zeros.

    dx[p] = Σ_u g[p − u]·w[u] = Σ_u' g_padded[p + u']·w[k − 1 − u']   with u' = k − 1 − u and k − 1 zeros in front
    """
    kh, kw = w.shape[:2]
    padded = np.pad(g, ((0, 0), (kh - 1, kh - 1), (kw - 1, kw - 1), (0, 0)))
    turned = w[::-1, ::-1].transpose(0, 1, 3, 2)  # KH KW O C: from g's channels to x's
    return conv(padded, turned)


SOLUTIONS = {
    "03.output_size": output_size,
    "03.dw": dw_by_taps,
    "03.dx_by_conv": dx_by_conv,
}
