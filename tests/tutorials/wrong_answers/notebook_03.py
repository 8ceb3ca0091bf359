"""Common wrong answers, and part of the message each one gets."""

import math

import numpy as np


def last_picture(g, x, ksize, stride):
    dw = np.zeros((*ksize, x.shape[3], g.shape[3]))
    for n in range(len(g)):
        for u, v in np.ndindex(ksize):
            seen = x[n, u : u + stride * g.shape[1] : stride, v : v + stride * g.shape[2] : stride]
            dw[u, v] = np.einsum("ijc,ijo->co", seen, g[n])
    return dw


def no_stride(g, x, ksize, stride):
    dw = np.zeros((*ksize, x.shape[3], g.shape[3]))
    for u, v in np.ndindex(ksize):
        dw[u, v] = np.einsum("nijc,nijo->co", x[:, u : u + g.shape[1], v : v + g.shape[2]], g)
    return dw


def slice_too_short(g, x, ksize, stride):
    dw = np.zeros((*ksize, x.shape[3], g.shape[3]))
    for u, v in np.ndindex(ksize):
        seen = x[:, u : u + g.shape[1] : stride, v : v + g.shape[2] : stride]
        dw[u, v] = np.einsum("nijc,nijo->co", seen, g)
    return dw


def slices_to_the_end(g, x, ksize, stride):
    kernel = np.zeros((*ksize, x.shape[3], g.shape[3]))
    for u, v in np.ndindex(ksize):
        seen = x[:, u::stride, v::stride]
        kernel[u, v] = seen.reshape(-1, seen.shape[3]).T @ g.reshape(-1, g.shape[3])
    return kernel


def channels_exchanged(g, x, ksize, stride):
    dw = np.zeros((*ksize, g.shape[3], x.shape[3]))
    for u, v in np.ndindex(ksize):
        seen = x[:, u : u + stride * g.shape[1] : stride, v : v + stride * g.shape[2] : stride]
        dw[u, v] = np.einsum("nijc,nijo->oc", seen, g)
    return dw


def zeros_around(g, n):
    return np.pad(g, ((0, 0), (n, n), (n, n), (0, 0)))


def square_kernels_only(conv, g, w):
    return conv(zeros_around(g, w.shape[0] - 1), w[::-1, ::-1].swapaxes(2, 3))


WRONG = {
    "03.output_size": [
        (lambda n, k, stride, before, after: (n + before + after - k) // stride, "Off by one"),
        (lambda n, k, stride, before, after: (n + before + after) // stride, "own length is missing"),
        (lambda n, k, stride, before, after: math.ceil((n + before + after - k) / stride) + 1, "Rounded up"),
        (lambda n, k, stride, before, after: (n + before + after - k) / stride + 1, "divide with //"),
        (lambda n, k, stride, before, after: (n + 2 * before - k) // stride + 1, "need not have the same number"),
        (lambda n, k, stride, before, after: n - k + 1, "Right on: a window at every pixel"),
    ],
    "03.dw": [
        (last_picture, "Only the last picture"),
        (no_stride, "The stride is missing"),
        (slice_too_short, "raises ValueError on “stride 2”"),
        (slices_to_the_end, "as many rows and columns as g"),
        (channels_exchanged, "axes"),
        (lambda g, x, ksize, stride: -no_stride(g, x, ksize, stride), "alone: The sign is wrong"),
    ],
    "03.dx_by_conv": [
        (lambda conv, g, w: conv(zeros_around(g, w.shape[0] - 1), w.swapaxes(2, 3)), "a 3 × 3 kernel"),
        (lambda conv, g, w: conv(g, w[::-1, ::-1].swapaxes(2, 3)), "g needs zeros around it"),
        (lambda conv, g, w: conv(zeros_around(g, 2), w[::-1, ::-1]), "raises ValueError"),
        (lambda conv, g, w: conv(g, w) + conv(g, w), "raises"),
        (lambda conv, g, w: g, "conv was called 0 times"),
        (square_kernels_only, "Wrong on: a 2 × 3 kernel"),
    ],
}
