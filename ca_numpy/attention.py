"""Contextual attention (section 4.1), step by step in the released code's order: match, propagate, softmax, rebuild.

For each foreground patch (the hole), find similar background patches and reconstruct it from them. In the released
code, and by default here, foreground and background are the same features and every position is reconstructed, inside
and outside the hole; the mask only determines which patches may be *copied*.

The steps below are composed of differentiable operations, each with the equation it carries out. `fused=True` computes
the same in one kernel of the backend, with five times fewer products (`backends/numpy_attention.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args, get_type_hints

from ca_numpy.engine import ops
from ca_numpy.engine.autograd import as_tensor, as_tensors
from ca_numpy.engine.tensor import Tensor, TensorLike
from ca_numpy.errors import quoted
from ca_numpy.geometry import AttentionGeometry, ConvGeometry

#: Lower bound of the norm that patches are divided by: a flat black patch matches nothing.
SMALLEST_NORM = 1e-4
#: Numbers of the attention in one band.
BAND = 1 << 23


@dataclass(frozen=True)
class AttentionChoices:
    """Differences between the paper's text and the released code, numbered as in docs/departures.md.

    propagate   (1) "scores": propagate, then softmax (code).  "attention": softmax, then propagate (paper)
    normalize   (2) "background": only background patches are normalised.  "both": cosine similarity (paper)
    wrap        (3) whether propagation continues from the end of a line into the next (code; not in the paper)
    masked      (4) "zero": scores of hole patches become 0 but stay in the softmax's denominator, and their attention
                    is dropped (code).  "exclude": they become −∞
    rebuild     (5) "raw": patches of 2·rate pixels of the full-size background, overlaps divided by 4.
                    "matched": the matched patches themselves, overlaps averaged exactly
    downscale   (6) "both" features before matching.  "foreground" only; the attention is then upscaled

    Raises ValueError for any other value.
    """

    propagate: Literal["scores", "attention"] = "scores"
    normalize: Literal["background", "both"] = "background"
    wrap: bool = True
    masked: Literal["zero", "exclude"] = "zero"
    rebuild: Literal["raw", "matched"] = "raw"
    downscale: Literal["both", "foreground"] = "both"

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(AttentionChoices).items():
            value, allowed = getattr(self, name), get_args(kind) or (True, False)
            if type(value) is not type(allowed[0]) or value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {quoted(value)}")

    def b_rate(self, rate: int) -> int:
        """The background's downscaling factor before matching; the foreground's is `rate`."""
        return rate if self.downscale == "both" else 1


OFFICIAL = AttentionChoices()
PAPER = AttentionChoices("attention", "both", False, "exclude", "matched", "foreground")


class AttentionOptions(NamedTuple):
    """The options of an attention together; `contextual_attention` and `attention_scores` take them as keywords."""

    ksize: int = 3
    stride: int = 1
    rate: int = 2
    fuse_k: int = 3
    softmax_scale: float = 10.0
    fuse: bool = True
    choices: AttentionChoices = OFFICIAL

    @property
    def reach(self) -> int:
        """How far the propagation goes, in positions."""
        return self.fuse_k // 2 if self.fuse else 0


def contextual_attention(
    f: TensorLike,
    b: TensorLike,
    mask: TensorLike | None = None,
    *,
    ksize: int = 3,
    stride: int = 1,
    rate: int = 2,
    fuse_k: int = 3,
    softmax_scale: float = 10.0,
    fuse: bool = True,
    choices: AttentionChoices = OFFICIAL,
    fused: bool | None = None,
    progress: Callable[[float], None] | None = None,
) -> Tensor:
    """Reconstruct the foreground f from patches of the background b (section 4.1).

        s[x, x'] = ⟨patch f(x), patch b(x') / ‖patch b(x')‖⟩            match
        s[x, x'] ← Σ_t s[x + t, x' + t], along rows, then columns       propagate, if `fuse`
        a[x, ·]  = softmax(softmax_scale · s[x, ·])                     attend
        y        = overlapping patches Σ_x' a[x, x'] · raw b(x')        rebuild

    f N H W C, b N H' W' C, mask N H' W' 1 (or 1 H' W' 1) with 1 = hole, at b's size -> N H W C.

    ksize           side of the matched patches
    stride          step between background patches; more than 1 saves memory (section 4.1, memory efficiency)
    rate            downscaling factor of the features before matching (memory option 2)
    fuse_k          width of the propagation kernel, odd
    softmax_scale   inverse temperature of the softmax
    choices         differences between code and paper: the released code by default, or `PAPER`
    fused           True: the backend's fused kernel, with first derivatives only. False: the composite, with all.
                    None: the kernel if it applies (stride 1, sizes divisible by rate, the code's choices)
    progress        called with the share of the work done, 0 to 1, between bands of rows, in which the composite is
                    then computed unless its propagation wraps; an exception from it ends the work

    Downscaled sizes are rounded up. Each sample has its own mask; the released code uses the first for the whole batch.
    Raises ValueError for incompatible shapes or options.
    """
    f, b = _checked(f, b, mask, stride=stride)
    geometry = AttentionGeometry(
        ksize=ksize, rate=rate, fuse_k=fuse_k if fuse else None, softmax_scale=float(softmax_scale)
    )
    kernel_applies = stride == 1 and choices == OFFICIAL and all(n % rate == 0 for n in (*f.shape[1:3], *b.shape[1:3]))
    if fused and not kernel_applies:
        raise ValueError("fused=True needs stride=1, sizes divisible by rate and the default choices: use fused=False")
    valid = known_patches(b, mask, ksize=ksize, stride=stride, rate=choices.b_rate(rate))
    if kernel_applies if fused is None else fused:
        return ops.contextual_attention(f, b, valid, geometry=geometry)
    vectors = _vectors(f, b, geometry, stride=stride, choices=choices)
    copied = _copied_patches(b, ksize=ksize, stride=stride, rate=rate, choices=choices)
    h = height = vectors.grid[0]
    if progress is not None and not (choices.wrap and geometry.fuse_k):
        height = max(1, BAND // (vectors.grid[1] * copied.shape[1]))
    pasted = []
    for first in range(0, h, height):
        if progress is not None:
            progress(first / h)
        pasted.append(_attend(vectors, valid, geometry, choices=choices, rows=(first, min(first + height, h))) @ copied)
    whole = pasted[0] if len(pasted) == 1 else ops.concat(pasted, axis=1)
    return _paste(whole, f, ksize=ksize, rate=rate, choices=choices)


def attention_scores(
    f: TensorLike,
    b: TensorLike,
    mask: TensorLike | None = None,
    *,
    ksize: int = 3,
    stride: int = 1,
    rate: int = 2,
    fuse_k: int = 3,
    softmax_scale: float = 10.0,
    fuse: bool = True,
    choices: AttentionChoices = OFFICIAL,
) -> Tensor:
    """The attention a[n, x, x'] of foreground position x to background patch x': N L L'.

    Positions are in row-major order over the downscaled features. Parameters as in `contextual_attention`.
    Raises ValueError for incompatible shapes or options.
    """
    f, b = _checked(f, b, mask, stride=stride)
    geometry = AttentionGeometry(
        ksize=ksize, rate=rate, fuse_k=fuse_k if fuse else None, softmax_scale=float(softmax_scale)
    )
    valid = known_patches(b, mask, ksize=ksize, stride=stride, rate=choices.b_rate(rate))
    vectors = _vectors(f, b, geometry, stride=stride, choices=choices)
    return _attend(vectors, valid, geometry, choices=choices, rows=(0, vectors.grid[0]))


class _Vectors(NamedTuple):
    """The vectors that are matched, N L K and N L' K, and the grids (h, w) and (h', w') of their positions."""

    f: Tensor
    b: Tensor
    grid: tuple[int, ...]
    background: tuple[int, ...]


def _vectors(
    f: Tensor, b: Tensor, geometry: AttentionGeometry, *, stride: int = 1, choices: AttentionChoices = OFFICIAL
) -> _Vectors:
    f, b = downscale(f, geometry.rate), downscale(b, choices.b_rate(geometry.rate))
    return _Vectors(
        match_vectors(f, ksize=geometry.ksize, unit=choices.normalize == "both"),
        match_vectors(b, ksize=geometry.ksize, stride=stride),
        f.shape[1:3],
        tuple(-(-n // stride) for n in b.shape[1:3]),
    )


def _attend(
    vectors: _Vectors, valid: Tensor, geometry: AttentionGeometry, *, choices: AttentionChoices = OFFICIAL,
    rows: tuple[int, int],
) -> Tensor:  # fmt: skip
    """`attention_scores` of the rows [first, last) of the grid; valid N L' is 1 for patches that may be copied.

    With `choices.wrap` and propagation it takes all rows: they depend on each other.
    """
    h, w = vectors.grid
    reach = geometry.fuse_k // 2 if geometry.fuse_k else 0
    top, bottom = max(rows[0] - reach, 0), min(rows[1] + reach, h)
    grids = (bottom - top, w), vectors.background
    valid = valid[:, None, :]
    s = _part(vectors.f, top * w, bottom * w) @ vectors.b.transpose(0, 2, 1)
    if geometry.fuse_k is not None and choices.propagate == "scores":
        s = propagate(s, *grids, k=geometry.fuse_k, wrap=choices.wrap)
    logits = s * valid * geometry.softmax_scale
    if choices.masked == "exclude":
        logits = logits + (valid - 1.0) * 1e30  # finite, so that an image without known patches does not give NaN
    a = ops.softmax(logits)
    if geometry.fuse_k is not None and choices.propagate == "attention":
        a = propagate(a, *grids, k=geometry.fuse_k, wrap=choices.wrap)
    return _part(a, (rows[0] - top) * w, (rows[1] - top) * w) * valid


def _part(x: Tensor, first: int, last: int) -> Tensor:
    """x[:, first:last], without an operation where that is all of x."""
    return x if (first, last) == (0, x.shape[1]) else x[:, first:last]


def match(f: Tensor, b: Tensor, *, ksize: int, stride: int = 1, cosine: bool = False) -> Tensor:
    """s[n, x, x'] = ⟨patch f(x), patch b(x')⟩ / max(‖patch b(x')‖, 1e-4): N L L'.   (section 4.1)

    With `cosine` also divided by ‖patch f(x)‖, as in the paper; otherwise that norm acts as a temperature.
    """
    pf = match_vectors(f, ksize=ksize, unit=cosine)
    return pf @ match_vectors(b, ksize=ksize, stride=stride).transpose(0, 2, 1)


def match_vectors(x: Tensor, *, ksize: int, stride: int = 1, unit: bool = True) -> Tensor:
    """The vectors whose inner products `match` takes: patches, with `unit` divided by their norms. N L k·k·C."""
    return _unit(_patches(x, ksize, stride)) if unit else _patches(x, ksize, stride)


def propagate(s: Tensor, f_grid: tuple[int, ...], b_grid: tuple[int, ...], *, k: int = 3, wrap: bool = True) -> Tensor:
    """Attention propagation: sum s along diagonals, left-right, then top-down (section 4.1).

        s[x, x'] ← Σ_{|t| ≤ (k−1)/2} s[x + t, x' + t]

    s N L L' -> N L L', with L = h·w of `f_grid`, L' = h'·w' of `b_grid`; k is odd. With `wrap`, x + t continues from
    the end of a row (then column) into the next, as in the released code's identity convolution; else it stops there.
    """
    (h, w), (h2, w2) = f_grid, b_grid
    grid = s.reshape(-1, h, w, h2, w2)
    for _ in range(2):  # left-right, then top-down with rows and columns exchanged
        if wrap:
            flat = grid.reshape(-1, h * w, h2 * w2)
            grid = _diagonal_sum(flat, k, axes=(1, 2)).reshape(-1, h, w, h2, w2)
        else:
            grid = _diagonal_sum(grid, k, axes=(2, 4))
        grid = grid.transpose(0, 2, 1, 4, 3)
        h, w, h2, w2 = w, h, w2, h2
    return grid.reshape(-1, h * w, h2 * w2)


def rebuild(
    attention: Tensor, f: Tensor, b: Tensor, *, ksize: int = 3, stride: int = 1, rate: int = 2,
    choices: AttentionChoices = OFFICIAL,
) -> Tensor:  # fmt: skip
    """Reconstruct f, N H W C, by pasting attention-weighted sums of background patches at every position.

    A transposed convolution with background patches as kernels; `choices.rebuild` says how overlaps are averaged.
    """
    copied = _copied_patches(b, ksize=ksize, stride=stride, rate=rate, choices=choices)
    return _paste(attention @ copied, f, ksize=ksize, rate=rate, choices=choices)


def _copied_patches(b: Tensor, *, ksize: int, stride: int, rate: int, choices: AttentionChoices) -> Tensor:
    """The patch that is pasted for each background position, N L' k·k·C: raw, or as matched."""
    b_rate = choices.b_rate(rate)
    if choices.rebuild == "raw":
        return _patches(b, 2 * rate, b_rate * stride)
    return _patches(downscale(b, b_rate), ksize, stride)


def _paste(patches: Tensor, f: Tensor, *, ksize: int, rate: int, choices: AttentionChoices) -> Tensor:
    """f, N H W C, from a patch for each position of the downscaled grid, N L k·k·C; overlaps are averaged."""
    n, h, w, c = f.shape
    size = -(-h // rate), -(-w // rate)
    if choices.rebuild == "raw":
        patches = patches.reshape(n, *size, 2 * rate, 2 * rate, c)
        geometry = ConvGeometry(stride=rate).same((h, w), (2 * rate, 2 * rate))
        return ops.fold(patches, size=(h, w), geometry=geometry) / 4.0
    grid = patches.reshape(n, *size, -1)
    if choices.downscale == "foreground":  # the attention is upscaled; so is, equally, what it pastes
        grid, size = ops.resize_nearest(grid, size=(h, w), align_corners=True), (h, w)
    pasted = grid.reshape(n, *size, ksize, ksize, c)
    geometry = ConvGeometry().same(size, (ksize, ksize))
    times = ops.fold(pasted.detach() * 0.0 + 1.0, size=size, geometry=geometry)
    y = ops.fold(pasted, size=size, geometry=geometry) / times
    return y if size == (h, w) else ops.resize_nearest(y, size=(h, w), align_corners=True)


def known_patches(b: Tensor, mask: TensorLike | None, *, ksize: int, stride: int, rate: int) -> Tensor:
    """1 for each background patch without hole pixels, else 0: N L'. Without a mask, all are 1."""
    n = len(b)
    if mask is None:
        mask = b.detach()[:, :, :, :1] * 0.0
    hole = _patches(downscale(ops.constant_like(mask, b), rate), ksize, stride).sum(-1)
    valid = 1.0 - ops.sign(hole)
    return valid if len(valid) == n else ops.broadcast_to(valid, shape=(n, valid.shape[1]))


def downscale(x: Tensor, rate: int) -> Tensor:
    """Nearest-neighbour downscaling with aligned corners: N H W C -> N ⌈H/rate⌉ ⌈W/rate⌉ C."""
    size = -(-x.shape[1] // rate), -(-x.shape[2] // rate)
    return x if rate == 1 else ops.resize_nearest(x, size=size, align_corners=True)


def attention_argmax(attention: TensorLike) -> Any:
    """The most attended background patch of each foreground position: N L L' -> N L, as NumPy integers."""
    return as_tensor(attention).numpy().argmax(-1)


def _patches(x: Tensor, ksize: int, stride: int) -> Tensor:
    """Zero-padded ksize × ksize patches at every stride-th position, one per row: N L k·k·C."""
    geometry = ConvGeometry(stride=stride).same(x.shape[1:3], (ksize, ksize))
    y = ops.unfold(x, ksize=(ksize, ksize), geometry=geometry)
    return y.reshape(y.shape[0], y.shape[1] * y.shape[2], -1)


def _unit(patches: Tensor) -> Tensor:
    """Patches divided by their norm, which is at least SMALLEST_NORM."""
    square = (patches * patches).sum(-1, keepdims=True)
    return patches / ops.power(ops.clip(square, low=SMALLEST_NORM**2, high=None), exponent=0.5)


def _diagonal_sum(s: Tensor, k: int, *, axes: tuple[int, int]) -> Tensor:
    """Σ_{|t| ≤ ⌊k/2⌋} s[…, p + t, …, q + t, …] along two axes at once, zero outside."""
    r = k // 2
    shape = tuple(n + 2 * r if i in axes else n for i, n in enumerate(s.shape))

    def window(t: int) -> tuple[slice, ...]:
        return tuple(slice(r + t, r + t + n) if i in axes else slice(None) for i, n in enumerate(s.shape))

    padded = ops.put(s, index=window(0), shape=shape)
    total = padded[window(-r)]
    for t in range(-r + 1, r + 1):
        total = total + padded[window(t)]
    return total


def _checked(f: TensorLike, b: TensorLike, mask: TensorLike | None, *, stride: int) -> tuple[Tensor, Tensor]:
    """f and b as tensors, after checking shapes and stride."""
    f, b = as_tensors([f, b])
    if f.ndim != 4 or b.ndim != 4 or f.shape[0] != b.shape[0] or f.shape[3] != b.shape[3]:
        raise ValueError(f"attention needs f and b as N H W C with the same N and C, got {f.shape} and {b.shape}")
    if stride < 1:
        raise ValueError(f"stride must be positive, got {stride}")
    if mask is not None:
        shape = as_tensor(mask).shape
        if shape not in ((b.shape[0], *b.shape[1:3], 1), (1, *b.shape[1:3], 1)):
            raise ValueError(f"the mask must be N h w 1 at the features' size {b.shape[:3]}, got {shape}")
    return f, b


def _fused_reference(f: TensorLike, b: TensorLike, valid: TensorLike, *, geometry: AttentionGeometry) -> Tensor:
    """The composite with the fused kernel's signature."""
    f, b, valid = as_tensors([f, b, valid])
    vectors = _vectors(f, b, geometry)
    a = _attend(vectors, valid, geometry, rows=(0, vectors.grid[0]))
    return rebuild(a, f, b, ksize=geometry.ksize, rate=geometry.rate)


ops.contextual_attention.reference = _fused_reference

__all__ = [
    "OFFICIAL",
    "PAPER",
    "AttentionChoices",
    "AttentionOptions",
    "attention_argmax",
    "attention_scores",
    "contextual_attention",
    "downscale",
    "known_patches",
    "match",
    "match_vectors",
    "propagate",
    "rebuild",
]
