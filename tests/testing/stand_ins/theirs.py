"""Contextual attention in NumPy, by einsum: somebody else's layer, for docs/property_testing.md without PyTorch.

It shares nothing with the library. Gradients are by complex steps: f(x + iε) has the derivative as its imaginary part.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def patches(x, size, step):
    """N H W C: size × size patches at every step-th pixel, zeros outside: N h w C size size."""
    around = (size - step) // 2, size - step - (size - step) // 2
    return sliding_window_view(np.pad(x, ((0, 0), around, around, (0, 0))), (size, size), (1, 2))[:, ::step, ::step]


def small(x, rate):
    """Nearest neighbours, corner on corner."""
    rows, columns = ((np.linspace(0, n - 1, n // rate) + 0.5).astype(int) for n in x.shape[1:3])
    return x[:, rows][:, :, columns]


def propagated(s, k):
    """Sums along diagonals of N h w h' w': rows, then columns."""
    for _ in range(2):
        n, h, w, h2, w2 = s.shape
        padded = np.pad(s.reshape(n, h * w, h2 * w2), ((0, 0), (k // 2, k // 2), (k // 2, k // 2)))
        s = sum(padded[:, t : t + h * w, t : t + h2 * w2] for t in range(k)).reshape(n, h, w, h2, w2)
        s = s.transpose(0, 2, 1, 4, 3)
    return s


def layer(f, b, mask, ksize, rate, fuse_k, scale):
    """f N H W C, b N H' W' C, mask N H' W' 1 with 1 = hole: N H W C."""
    known = patches(small(b, rate), ksize, 1)
    norm = np.sqrt((known * known).sum((3, 4, 5), keepdims=True) + 0j)
    known = known / np.where(norm.real > 1e-4, norm, 1e-4)
    s = np.einsum("nijcuv,nklcuv->nijkl", patches(small(f, rate), ksize, 1), known)
    if fuse_k:
        s = propagated(s, fuse_k)
    valid = (patches(small(mask, rate), ksize, 1).sum((3, 4, 5)) == 0)[:, None, None]
    e = np.exp(scale * s * valid - (scale * s * valid).real.max((3, 4), keepdims=True))
    a = e / e.sum((3, 4), keepdims=True) * valid
    pasted = np.einsum("nijkl,nklcuv->nijuvc", a, patches(b, 2 * rate, rate))
    n, h, w, c = f.shape
    y = np.zeros((n, h + rate, w + rate, c), complex)
    for u, v in np.ndindex(2 * rate, 2 * rate):
        y[:, u : u + h : rate, v : v + w : rate] += pasted[:, :, :, u, v] / 4
    return y[:, rate // 2 :, rate // 2 :][:, :h, :w]


def attention(f, b, mask, g, gradient=None):
    options = g.ksize, g.rate, g.fuse_k, g.softmax_scale
    found = [layer(f, b, mask, *options).real]
    for which in range(2 if gradient is not None else 0):
        x = (f, b)[which]
        d = np.empty(x.shape)
        for n in range(len(x)):
            each = x[n].size  # copies of the picture, one number moved in each
            moved = [np.repeat(a[n : n + 1].astype(complex), each, 0) for a in (f, b)]
            moved[which].reshape(each, -1)[range(each), range(each)] += 1e-30j
            y = layer(*moved, np.repeat(mask[n : n + 1], each, 0), *options)
            d[n] = (y.imag / 1e-30 * gradient[n]).sum((1, 2, 3)).reshape(x.shape[1:])
        found.append(d)
    return found
