"""The paper's equations as plain loops, one picture at a time: slow, obvious, and independent of the package.

Everything here is float64 NumPy, written from the equations and from what is known of the released code. Pictures
are H W C, kernels KH KW I O, masks H W with 1 = hole. Nothing of ca_numpy is imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Position = tuple[int, int]


# ---- positions -------------------------------------------------------------------------------------------------------
def positions(h: int, w: int) -> list[Position]:
    """All (i, j) in row-major order."""
    return list(product(range(h), range(w)))


def outputs(n: int, stride: int) -> int:
    """How many positions TensorFlow's SAME rule gives: ⌈n/stride⌉."""
    return math.ceil(n / stride)


def zeros_before(n: int, k: int, stride: int, dilation: int = 1) -> int:
    """How many zeros SAME puts in front; an odd one goes behind."""
    reach = (outputs(n, stride) - 1) * stride + (k - 1) * dilation + 1
    return max(reach - n, 0) // 2


def nearest(i: int, n_in: int, n_out: int) -> int:
    """⌊i·(in − 1)/(out − 1) + ½⌋ in exact integers: nearest neighbour with aligned corners."""
    return min((2 * i * (n_in - 1) + n_out - 1) // (2 * (n_out - 1)), n_in - 1) if n_out > 1 else 0


def resize(x: Array, h: int, w: int) -> Array:
    """Nearest neighbour with aligned corners: H W … -> h w …"""
    y = np.empty((h, w, *x.shape[2:]), x.dtype)
    for i, j in positions(h, w):
        y[i, j] = x[nearest(i, x.shape[0], h), nearest(j, x.shape[1], w)]
    return y


# ---- convolution -----------------------------------------------------------------------------------------------------
def mirrored(i: int, n: int, *, repeat_border: bool) -> int:
    """Where position i of an endlessly mirrored line of n lies."""
    while not 0 <= i < n:
        if not repeat_border and n == 1:
            return 0
        twice = 1 if repeat_border else 0
        i = -i - twice if i < 0 else 2 * (n - 1) + twice - i
    return i


def conv2d(
    x: Array, w: Array, b: Array | None = None, *, stride: int = 1, dilation: int = 1, padding: str = "same"
) -> Array:
    """y[i, j, o] = b[o] + Σ_{u,v,c} x[i·s + u·d − top, j·s + v·d − left, c] · w[u, v, c, o]"""
    (h, wide, _), (kh, kw) = x.shape, w.shape[:2]
    if padding == "valid":
        top = left = 0
        size = [(n - (k - 1) * dilation - 1) // stride + 1 for n, k in ((h, kh), (wide, kw))]
    else:
        top, left = zeros_before(h, kh, stride, dilation), zeros_before(wide, kw, stride, dilation)
        size = [outputs(h, stride), outputs(wide, stride)]
    y = np.zeros((*size, w.shape[3]))
    for (i, j), (u, v) in product(positions(*size), positions(kh, kw)):
        p, q = i * stride + u * dilation - top, j * stride + v * dilation - left
        if padding in ("reflect", "symmetric"):
            p, q = (mirrored(a, n, repeat_border=padding == "symmetric") for a, n in ((p, h), (q, wide)))
        if 0 <= p < h and 0 <= q < wide:
            y[i, j] += x[p, q] @ w[u, v]
    return y if b is None else y + b


# ---- contextual attention (section 4.1) ------------------------------------------------------------------------------
def patches(x: Array, k: int, stride: int) -> list[Array]:
    """Zero-padded k × k patches at every stride-th position, in row-major order."""
    h, w, c = x.shape
    top, left = zeros_before(h, k, stride), zeros_before(w, k, stride)
    found = []
    for i, j in positions(outputs(h, stride), outputs(w, stride)):
        patch = np.zeros((k, k, c))
        for u, v in positions(k, k):
            p, q = i * stride + u - top, j * stride + v - left
            if 0 <= p < h and 0 <= q < w:
                patch[u, v] = x[p, q]
        found.append(patch)
    return found


def small(x: Array, rate: int) -> Array:
    return resize(x, outputs(x.shape[0], rate), outputs(x.shape[1], rate))


def known(mask: Array, *, ksize: int, stride: int, rate: int) -> list[bool]:
    """Whether each background patch lies wholly in known pixels; what is outside the picture counts as known."""
    return [bool(np.all(patch == 0)) for patch in patches(small(mask[:, :, None], rate), ksize, stride)]


def match(f: Array, b: Array, *, ksize: int, stride: int = 1, cosine: bool = False) -> Array:
    """⟨patch f(x), patch b(x')⟩ over the norm of b's patch, and with `cosine` over that of f's too."""
    foreground, background = patches(f, ksize, 1), patches(b, ksize, stride)
    s = np.empty((len(foreground), len(background)))
    for x, p in enumerate(foreground):
        for y, q in enumerate(background):
            s[x, y] = np.sum(p * q) / max(math.sqrt(np.sum(q * q)), 1e-4)
            if cosine:
                s[x, y] /= max(math.sqrt(np.sum(p * p)), 1e-4)
    return s


def softmax(logits: Sequence[float]) -> Array:
    largest = max(logits)
    e = np.array([math.exp(v - largest) for v in logits])
    return e / e.sum()


def propagate(s: Array, f_grid: Position, b_grid: Position, *, k: int, wrap: bool) -> Array:
    """Each score becomes the sum over k common steps of both positions, left-right, then top-down."""
    s = _walk(s, f_grid, b_grid, k, wrap, columns=False)
    return _walk(s, f_grid, b_grid, k, wrap, columns=True)


def _walk(s: Array, f_grid: Position, b_grid: Position, k: int, wrap: bool, *, columns: bool) -> Array:
    def step(i: int, j: int, t: int, h: int, w: int) -> Position | None:
        """t steps from (i, j) along its row or column; None where the walk leaves the line (or the picture)."""
        if wrap:  # the whole picture is one line
            n = j * h + i + t if columns else i * w + j + t
            if not 0 <= n < h * w:
                return None
            return (n % h, n // h) if columns else (n // w, n % w)
        i, j = (i + t, j) if columns else (i, j + t)
        return (i, j) if 0 <= i < h and 0 <= j < w else None

    grid = s.reshape(*f_grid, *b_grid)
    out = np.zeros_like(grid)
    for (i, j), (p, q), t in product(positions(*f_grid), positions(*b_grid), range(-(k // 2), k // 2 + 1)):
        x, y = step(i, j, t, *f_grid), step(p, q, t, *b_grid)
        if x is not None and y is not None:
            out[i, j, p, q] += grid[*x, *y]
    return out.reshape(s.shape)


def attention(
    f: Array, b: Array, mask: Array | None = None, *, ksize: int = 3, stride: int = 1, rate: int = 2, fuse_k: int = 3,
    softmax_scale: float = 10.0, fuse: bool = True, propagation: str = "scores", normalize: str = "background",
    wrap: bool = True, masked: str = "zero", downscale: str = "both",
) -> Array:  # fmt: skip
    """The attention each foreground position pays to each background patch: L L'. By default as released."""
    b_rate = rate if downscale == "both" else 1
    may_copy = np.array(known(np.zeros(b.shape[:2]) if mask is None else mask, ksize=ksize, stride=stride, rate=b_rate))
    f, b = small(f, rate), small(b, b_rate)
    grids = f.shape[:2], (outputs(b.shape[0], stride), outputs(b.shape[1], stride))
    s = match(f, b, ksize=ksize, stride=stride, cosine=normalize == "both")
    if fuse and propagation == "scores":
        s = propagate(s, *grids, k=fuse_k, wrap=wrap)
    a = np.zeros_like(s)
    for x in range(len(s)):
        if masked == "zero":  # a masked patch keeps its place, with a score of 0
            a[x] = softmax([softmax_scale * (v if ok else 0.0) for v, ok in zip(s[x], may_copy, strict=True)])
        elif may_copy.any():  # only the known patches compete
            a[x, may_copy] = softmax([softmax_scale * v for v in s[x][may_copy]])
    if fuse and propagation == "attention":
        a = propagate(a, *grids, k=fuse_k, wrap=wrap)
    a[:, ~may_copy] = 0
    return a


def rebuild(
    a: Array, size: Position, b: Array, *, ksize: int = 3, stride: int = 1, rate: int = 2, pasted: str = "raw",
    downscale: str = "both",
) -> Array:  # fmt: skip
    """Paste the mixture of patches that the attention asks for, and average what overlaps: h w C."""
    coarse = outputs(size[0], rate), outputs(size[1], rate)
    b_rate = rate if downscale == "both" else 1
    if pasted == "raw":
        return _paste(a, coarse, patches(b, 2 * rate, b_rate * stride), size, step=rate)[0] / 4
    canvas = coarse
    if downscale == "foreground":  # the attention is upscaled to the full-size foreground
        a, canvas = resize(a.reshape(*coarse, -1), *size).reshape(size[0] * size[1], -1), size
    total, times = _paste(a, canvas, patches(small(b, b_rate), ksize, stride), canvas, step=1)
    return resize(total / times[:, :, None], *size)


def _paste(a: Array, grid: Position, pieces: list[Array], size: Position, *, step: int) -> tuple[Array, Array]:
    """The sum of the patches pasted at steps of `step`, and how many cover each pixel."""
    k, _, c = pieces[0].shape
    top, left = zeros_before(size[0], k, step), zeros_before(size[1], k, step)
    total, times = np.zeros((*size, c)), np.zeros(size)
    for x, (i, j) in enumerate(positions(*grid)):
        mixture = sum(weight * piece for weight, piece in zip(a[x], pieces, strict=True))
        for u, v in positions(k, k):
            p, q = i * step + u - top, j * step + v - left
            if 0 <= p < size[0] and 0 <= q < size[1]:
                total[p, q] += mixture[u, v]
                times[p, q] += 1
    return total, times


def contextual_attention(
    f: Array, b: Array, mask: Array | None = None, *, ksize: int = 3, stride: int = 1, rate: int = 2,
    pasted: str = "raw", downscale: str = "both", **options: Any,
) -> Array:  # fmt: skip
    """One picture: f h w C and b h' w' C -> h w C. `pasted` is the choice `rebuild`, `propagation` is `propagate`."""
    shared: dict[str, Any] = {"ksize": ksize, "stride": stride, "rate": rate, "downscale": downscale}
    a = attention(f, b, mask, **shared, **options)
    return rebuild(a, f.shape[:2], b, **shared, pasted=pasted)


# ---- the networks, from the tables of layers -------------------------------------------------------------------------
Weights = dict[str, NDArray[np.floating]]


def elu(x: Array) -> Array:
    return np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)


def convolve(
    weights: Weights, name: str, x: Array, *, stride: int = 1, dilation: int = 1, padding: str = "same"
) -> Array:
    kernel, bias = (weights[f"{name}/{part}"] for part in ("kernel", "bias"))
    return conv2d(x, kernel, bias, stride=stride, dilation=dilation, padding=padding)


def generator(
    weights: Weights, image: Array, mask: Array, *, padding: str = "same", ones_channel: bool = True,
    attention_relu: bool = True, hole_is_one: bool = True, with_attention: bool = True, choices: dict[str, Any],
    attend: Callable[[Array], Array] | None = None,
) -> tuple[Array, Array]:  # fmt: skip
    """Both stages for one erased image H W 3 and mask H W: (coarse, refined). `attend` takes the attention's place."""

    def layer(
        x: Array, name: str, *, stride: int = 1, dilation: int = 1, activation: Callable[[Array], Array] = elu
    ) -> Array:
        name = f"inpaint_net/{name}"
        return activation(convolve(weights, name, x, stride=stride, dilation=dilation, padding=padding))

    def encode(x: Array, prefix: str, last: Callable[[Array], Array] = elu) -> Array:
        x = layer(layer(x, f"{prefix}conv1"), f"{prefix}conv2_downsample", stride=2)
        x = layer(layer(x, f"{prefix}conv3"), f"{prefix}conv4_downsample", stride=2)
        return layer(layer(x, f"{prefix}conv5"), f"{prefix}conv6", activation=last)

    def dilate(x: Array, prefix: str) -> Array:
        for n, d in ((7, 2), (8, 4), (9, 8), (10, 16)):
            x = layer(x, f"{prefix}conv{n}_atrous", dilation=d)
        return x

    def decode(x: Array, prefix: str) -> Array:
        x = layer(layer(x, f"{prefix}conv11"), f"{prefix}conv12")
        for n in (13, 15):
            x = layer(x.repeat(2, 0).repeat(2, 1), f"{prefix}conv{n}_upsample/{prefix}conv{n}_upsample_conv")
            x = layer(x, f"{prefix}conv{n + 1}")
        return np.clip(layer(x, f"{prefix}conv17", activation=lambda y: y), -1, 1)

    def stack(x: Array) -> Array:
        shown = hole if hole_is_one else 1 - hole
        return np.concatenate([x, np.ones_like(hole), shown] if ones_channel else [x, shown], axis=2)

    hole = mask[:, :, None]
    coarse = decode(dilate(encode(stack(image), ""), ""), "")
    x = stack(coarse * hole + image * (1 - hole))
    y = dilate(encode(x, "x"), "x")
    if with_attention:
        p = encode(x, "pm", (lambda v: np.maximum(v, 0)) if attention_relu else elu)
        p = attend(p) if attend else contextual_attention(p, p, resize(mask, *p.shape[:2]), **choices)
        y = np.concatenate([y, layer(layer(p, "pmconv9"), "pmconv10")], axis=2)
    return coarse, decode(y, "all")


def critic(weights: Weights, x: Array, which: str) -> float:
    """The score of one image: four strided 5 × 5 convolutions with leaky ReLU, flattened H W C, and a linear map."""
    for n in (1, 2, 3, 4):
        x = convolve(weights, f"discriminator/discriminator_{which}/conv{n}", x, stride=2)
        x = np.where(x > 0, x, 0.2 * x)
    last = f"discriminator/dout_{which}_fc"
    return float(x.reshape(-1) @ weights[f"{last}/kernel"][:, 0] + weights[f"{last}/bias"][0])


# ---- losses ----------------------------------------------------------------------------------------------------------
def distance_to_known(mask: Array) -> Array:
    """Euclidean distance from each pixel to the nearest known one: H W."""
    known_pixels = [(i, j) for i, j in positions(*mask.shape) if mask[i, j] == 0]
    return np.array([[min(math.hypot(i - p, j - q) for p, q in known_pixels) for j in range(mask.shape[1])]
                     for i in range(mask.shape[0])])  # fmt: skip


def discount_by_box(h: int, w: int, gamma: float) -> Array:
    """max(γ^min(i, h − i), γ^min(j, w − j)): the released code's weights."""
    return np.array([[max(gamma ** min(i, h - i), gamma ** min(j, w - j)) for j in range(w)] for i in range(h)])


def gradient(score: Callable[[Array], float], x: Array, *, step: float = 1e-5) -> Array:
    """Central differences of a scalar function, one element at a time."""
    g = np.empty_like(x)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        g[index] = (score(up) - score(down)) / (2 * step)
    return g


def gradient_penalty(
    score: Callable[[Array], float], real: Array, fake: Array, mask: Array, t: Sequence[float], *, step: float = 1e-5
) -> float:
    """mean over the batch of (√Σ(∇score(x̂)²·mask) − 1)², x̂ between real and fake, by finite differences.

    real, fake N H W 3, mask N H W, t one number per sample; `score` judges one image.
    """
    penalties = []
    for x, y, hole, a in zip(real, fake, mask, t, strict=True):
        g = gradient(score, (1 - a) * x + a * y, step=step)
        penalties.append((math.sqrt(np.sum(g * g * hole[:, :, None])) - 1) ** 2)
    return sum(penalties) / len(penalties)


def adam(
    p: float, gradients: Sequence[float], *, rate: float, beta1: float, beta2: float, eps: float, times: Sequence[int]
) -> float:
    """One number after several steps of TensorFlow's Adam; `times` are the values of t at those steps."""
    m = v = 0.0
    for g, t in zip(gradients, times, strict=True):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        p -= rate * math.sqrt(1 - beta2**t) / (1 - beta1**t) * m / (math.sqrt(v) + eps)
    return p
