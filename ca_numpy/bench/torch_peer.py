"""PyTorch peer: the paper's networks as the public PyTorch ports write them.

It exists to be measured against, side by side in one run, and to
compare numbers with; nothing but `ca-numpy bench` imports it, and only if asked.  Semantics follow the authors' released v1
code: TF `SAME` zero padding, nearest resize with align_corners, attention scores propagated before
the softmax, background-only normalisation.

Idiom follows the ports: NCHW, `unfold` for patches, one `conv2d` + `conv_transpose2d` per sample for
the attention, autograd for everything including the gradient penalty.

Layout of the weights: {TF variable name: HWIO / (in, out) array}, so that any implementation can be
handed the same numbers: `random_weights(seed)` makes them.

    python torch_peer.py            # times forward 256/512, a generator step and an Algorithm-1 iteration
"""
from __future__ import annotations

import math
import time

import numpy as np
import torch
import torch.nn.functional as F

ENC = [(5, 1, 1), (3, 2, 1), (3, 1, 1), (3, 2, 1), (3, 1, 1), (3, 1, 1)]  # (kernel, stride, dilation)
ATROUS = [(3, 1, 2), (3, 1, 4), (3, 1, 8), (3, 1, 16)]


def layer_table(cnum: int = 32) -> list[tuple[str, int, int, int, int, int]]:
    """(name, kernel, stride, dilation, in channels, out channels) of the generator's 42 convolutions."""
    c = cnum
    t = []

    def add(name, k, s, d, i, o):
        t.append((name, k, s, d, i, o))
        return o

    def encoder(prefix, widths):
        i = 5
        for n, (name, (k, s, d), o) in enumerate(zip(
                ("conv1", "conv2_downsample", "conv3", "conv4_downsample", "conv5", "conv6"), ENC, widths)):
            i = add(prefix + name, k, s, d, i, o)
        return i

    def atrous(prefix, i):
        for n, (k, s, d) in zip((7, 8, 9, 10), ATROUS):
            i = add(f"{prefix}conv{n}_atrous", k, s, d, i, 4 * c)
        return i

    def decoder(prefix, i):
        i = add(prefix + "conv11", 3, 1, 1, i, 4 * c)
        i = add(prefix + "conv12", 3, 1, 1, i, 4 * c)
        i = add(f"{prefix}conv13_upsample/{prefix}conv13_upsample_conv", 3, 1, 1, i, 2 * c)
        i = add(prefix + "conv14", 3, 1, 1, i, 2 * c)
        i = add(f"{prefix}conv15_upsample/{prefix}conv15_upsample_conv", 3, 1, 1, i, c)
        i = add(prefix + "conv16", 3, 1, 1, i, c // 2)
        add(prefix + "conv17", 3, 1, 1, i, 3)

    i = encoder("", (c, 2 * c, 2 * c, 4 * c, 4 * c, 4 * c))
    decoder("", atrous("", i))
    i = encoder("x", (c, c, 2 * c, 2 * c, 4 * c, 4 * c))
    atrous("x", i)
    i = encoder("pm", (c, c, 2 * c, 4 * c, 4 * c, 4 * c))
    i = add("pmconv9", 3, 1, 1, i, 4 * c)
    add("pmconv10", 3, 1, 1, i, 4 * c)
    decoder("all", 8 * c)
    return t


def critic_table(cnum: int = 64) -> dict[str, list[tuple[str, int, int]]]:
    c = cnum
    return {"local": [("conv1", 3, c), ("conv2", c, 2 * c), ("conv3", 2 * c, 4 * c), ("conv4", 4 * c, 8 * c)],
            "global": [("conv1", 3, c), ("conv2", c, 2 * c), ("conv3", 2 * c, 4 * c), ("conv4", 4 * c, 4 * c)]}


def random_weights(seed: int = 0, *, cnum: int = 32, gain: float = 1.0, dtype=np.float32) -> dict[str, np.ndarray]:
    """Glorot-uniform kernels and small random biases, drawn in layer order from default_rng(seed)."""
    rng = np.random.default_rng(seed)
    w = {}
    for name, k, s, d, i, o in layer_table(cnum):
        lim = gain * math.sqrt(6 / (k * k * (i + o)))
        w[f"inpaint_net/{name}/kernel"] = rng.uniform(-lim, lim, (k, k, i, o)).astype(dtype)
        w[f"inpaint_net/{name}/bias"] = (0.05 * rng.standard_normal(o)).astype(dtype)
    return w


def random_critic_weights(seed: int = 1, *, cnum: int = 64, local_hw: int = 128, global_hw: int = 256, dtype=np.float32):
    rng = np.random.default_rng(seed)
    w = {}
    for which, hw in (("local", local_hw), ("global", global_hw)):
        for name, i, o in critic_table(cnum)[which]:
            lim = math.sqrt(6 / (25 * (i + o)))
            w[f"discriminator/discriminator_{which}/{name}/kernel"] = rng.uniform(-lim, lim, (5, 5, i, o)).astype(dtype)
            w[f"discriminator/discriminator_{which}/{name}/bias"] = (0.05 * rng.standard_normal(o)).astype(dtype)
            hw = -(-hw // 2)
        n = hw * hw * o
        lim = math.sqrt(6 / (n + 1))
        w[f"discriminator/dout_{which}_fc/kernel"] = rng.uniform(-lim, lim, (n, 1)).astype(dtype)
        w[f"discriminator/dout_{which}_fc/bias"] = np.zeros(1, dtype)
    return w


def to_torch(w: dict[str, np.ndarray], *, channels_last: bool = False, requires_grad: bool = False) -> dict[str, torch.Tensor]:
    out = {}
    for k, v in w.items():
        t = torch.from_numpy(np.ascontiguousarray(v))
        if t.ndim == 4:
            t = t.permute(3, 2, 0, 1).contiguous()
            if channels_last:
                t = t.contiguous(memory_format=torch.channels_last)
        out[k] = t.requires_grad_(requires_grad)
    return out


def conv_same(x, w, b, stride=1, dilation=1):
    """2-D cross-correlation with TF's SAME rule (more padding after than before)."""
    k = w.shape[-1]
    if stride == 1:
        return F.conv2d(x, w, b, padding=dilation * (k - 1) // 2, dilation=dilation)
    pads = []
    for n in (x.shape[3], x.shape[2]):
        total = max((-(-n // stride) - 1) * stride + (k - 1) * dilation + 1 - n, 0)
        pads += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, pads), w, b, stride=stride, dilation=dilation)


def nearest_index(n_in: int, n_out: int) -> torch.Tensor:
    """align_corners nearest neighbour: round half away from zero, as TF >= 1.2."""
    if n_out == 1:
        return torch.zeros(1, dtype=torch.long)
    scale = np.float32(n_in - 1) / np.float32(n_out - 1)
    i = np.floor(np.arange(n_out, dtype=np.float32) * scale + np.float32(0.5)).astype(np.int64)
    return torch.from_numpy(np.minimum(i, n_in - 1))


def nearest(x, h, w):
    return x[:, :, nearest_index(x.shape[2], h)][:, :, :, nearest_index(x.shape[3], w)]


def same_unfold(x, k, s):
    pads = []
    for n in (x.shape[3], x.shape[2]):
        total = max((-(-n // s) - 1) * s + k - n, 0)
        pads += [total // 2, total - total // 2]
    return F.unfold(F.pad(x, pads), k, stride=s)  # N, C*k*k, L


def contextual_attention(f, b, mask=None, *, ksize=3, rate=2, fuse_k=3, softmax_scale=10.0, fuse=True):
    """f, b: N C H W; mask: N 1 h w at the features' size, 1 = hole. Returns N C H W."""
    n, c, hf, wf = f.shape
    hb, wb = b.shape[2:]
    kr = 2 * rate
    raw = same_unfold(b, kr, rate).transpose(1, 2).reshape(n, -1, c, kr, kr)
    f = nearest(f, hf // rate, wf // rate)
    b = nearest(b, hb // rate, wb // rate)
    fh, fw, bh, bw = *f.shape[2:], *b.shape[2:]
    patches = same_unfold(b, ksize, 1).transpose(1, 2).reshape(n, -1, c, ksize, ksize)
    if mask is None:
        mm = f.new_ones(n, bh * bw)
    else:
        small = nearest(mask, bh, bw)
        mm = (same_unfold(small, ksize, 1).mean(1) == 0).to(f.dtype)
    eye = torch.eye(fuse_k, dtype=f.dtype).view(1, 1, fuse_k, fuse_k)
    out = []
    for i in range(n):
        p = patches[i]
        p = p / p.square().sum((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-4)
        s = F.conv2d(f[i:i + 1], p, padding=ksize // 2)  # 1, bh*bw, fh, fw
        s = s.reshape(bh * bw, fh * fw).t()
        if fuse:
            s = F.conv2d(s.reshape(1, 1, fh * fw, bh * bw), eye, padding=fuse_k // 2)
            s = s.reshape(fh, fw, bh, bw).permute(1, 0, 3, 2).reshape(1, 1, fh * fw, bh * bw)
            s = F.conv2d(s, eye, padding=fuse_k // 2)
            s = s.reshape(fw, fh, bw, bh).permute(1, 0, 3, 2)
        s = s.reshape(fh * fw, bh * bw) * mm[i]
        a = torch.softmax(softmax_scale * s, 1) * mm[i]
        y = F.conv_transpose2d(a.t().reshape(1, bh * bw, fh, fw), raw[i], stride=rate, padding=rate // 2) / 4
        out.append(y)
    return torch.cat(out)


class Peer:
    """The two-stage generator and the two critics over a dict of weights."""

    def __init__(self, w: dict[str, torch.Tensor], cnum: int = 32):
        self.w = w
        self.geometry = {name: (s, d) for name, k, s, d, i, o in layer_table(cnum)}

    def conv(self, x, name, act=F.elu):
        s, d = self.geometry[name]
        x = conv_same(x, self.w[f"inpaint_net/{name}/kernel"], self.w[f"inpaint_net/{name}/bias"], s, d)
        return act(x) if act else x

    def encoder(self, x, p, last=F.elu):
        for n in ("conv1", "conv2_downsample", "conv3", "conv4_downsample", "conv5"):
            x = self.conv(x, p + n)
        return self.conv(x, p + "conv6", last)

    def atrous(self, x, p):
        for n in (7, 8, 9, 10):
            x = self.conv(x, f"{p}conv{n}_atrous")
        return x

    def decoder(self, x, p):
        x = self.conv(self.conv(x, p + "conv11"), p + "conv12")
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        x = self.conv(x, f"{p}conv13_upsample/{p}conv13_upsample_conv")
        x = self.conv(x, p + "conv14")
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        x = self.conv(x, f"{p}conv15_upsample/{p}conv15_upsample_conv")
        x = self.conv(x, p + "conv16")
        return self.conv(x, p + "conv17", None).clamp(-1, 1)

    def generator(self, x, mask):
        """x: N 3 H W in [-1, 1] with the hole at 0; mask N 1 H W, 1 = hole. H, W multiples of 8."""
        mask = mask.expand(len(x), -1, -1, -1)
        ones = torch.ones_like(mask)
        h = self.encoder(torch.cat([x, ones, mask], 1), "")
        small_mask = nearest(mask, *h.shape[2:])
        x1 = self.decoder(self.atrous(h, ""), "")
        z = torch.cat([x1 * mask + x * (1 - mask), ones, mask], 1)
        hallu = self.atrous(self.encoder(z, "x"), "x")
        pm = self.encoder(z, "pm", F.relu)
        pm = contextual_attention(pm, pm, small_mask)
        pm = self.conv(self.conv(pm, "pmconv9"), "pmconv10")
        x2 = self.decoder(torch.cat([hallu, pm], 1), "all")
        return x1, x2

    def critic(self, x, which):
        for n in ("conv1", "conv2", "conv3", "conv4"):
            p = f"discriminator/discriminator_{which}/{n}"
            x = F.leaky_relu(conv_same(x, self.w[p + "/kernel"], self.w[p + "/bias"], 2), 0.2)
        x = x.permute(0, 2, 3, 1).flatten(1)
        p = f"discriminator/dout_{which}_fc"
        return x @ self.w[p + "/kernel"] + self.w[p + "/bias"]

    def gradient_penalty(self, real, fake, mask, t, which):
        """Masked WGAN-GP: mean over the batch of (|grad * mask|_2 - 1)^2; mask 1 = hole; t: N 1 1 1."""
        x = (real + t * (fake - real)).detach().requires_grad_(True)
        (g,) = torch.autograd.grad(self.critic(x, which).sum(), x, create_graph=True)
        return ((g.square() * mask).sum((1, 2, 3)).sqrt() - 1).square().mean()


def algorithm1_iteration(g_peer, d_peer, opt_g, opt_d, images, bbox, mask, n_critic=5):
    """One pass of the paper's Algorithm 1: n_critic critic updates and one generator update."""
    t0, l0, hh, ww = bbox
    crop = lambda a: a[:, :, t0:t0 + hh, l0:l0 + ww]
    z = images * (1 - mask)
    for _ in range(n_critic):
        with torch.no_grad():
            _, x2 = g_peer.generator(z, mask)
        fake = x2 * mask + z
        loss = 0
        for which, real_, fake_, m in (("global", images, fake, mask), ("local", crop(images), crop(fake), crop(mask))):
            t = torch.rand(len(images), 1, 1, 1)
            loss = loss + (d_peer.critic(fake_, which) - d_peer.critic(real_, which)).mean()
            loss = loss + 10 * d_peer.gradient_penalty(real_, fake_, m, t, which)
        opt_d.zero_grad(); loss.backward(); opt_d.step()
    x1, x2 = g_peer.generator(z, mask)
    fake = x2 * mask + z
    gl = 1.2 * (1.2 * (crop(images) - crop(x1)).abs().mean() + (crop(images) - crop(x2)).abs().mean())
    ae = 1.2 * ((1.2 * (images - x1).abs() + (images - x2).abs()) * (1 - mask)).mean() / (1 - mask).mean()
    adv = -d_peer.critic(fake, "global").mean() - d_peer.critic(crop(fake), "local").mean()
    loss = gl + ae + 1e-3 * adv
    opt_g.zero_grad(); loss.backward(); opt_g.step()
    return loss


def clock(fn, n=5, warm=1):
    for _ in range(warm):
        fn()
    ts = []
    for _ in range(n):
        t = time.perf_counter(); fn(); ts.append(time.perf_counter() - t)
    return float(np.median(ts))


if __name__ == "__main__":
    for cl in (False, True):
        peer = Peer(to_torch(random_weights(), channels_last=cl))
        for size in (256, 512):
            x = torch.rand(1, 3, size, size) * 2 - 1
            m = torch.zeros(1, 1, size, size); m[:, :, size // 4:3 * size // 4, size // 4:3 * size // 4] = 1
            x = x * (1 - m)
            if cl:
                x = x.contiguous(memory_format=torch.channels_last)
            with torch.inference_mode():
                print(f"channels_last={cl} forward {size}: {clock(lambda: peer.generator(x, m), 3):.3f} s")
                f = torch.rand(1, 128, size // 4, size // 4)
                print(f"    of which attention: {clock(lambda: contextual_attention(f, f, m[:, :, ::4, ::4]), 3):.3f} s")
    wg, wd = to_torch(random_weights(), requires_grad=True), to_torch(random_critic_weights(), requires_grad=True)
    g, d = Peer(wg), Peer(wd)
    og = torch.optim.Adam(wg.values(), 1e-4, (0.5, 0.9)); od = torch.optim.Adam(wd.values(), 1e-4, (0.5, 0.9))
    x = torch.rand(2, 3, 256, 256) * 2 - 1
    m = torch.zeros(1, 1, 256, 256); m[:, :, 70:180, 70:180] = 1
    print(f"Algorithm 1 iteration, batch 2, 256: {clock(lambda: algorithm1_iteration(g, d, og, od, x, (60, 60, 128, 128), m), 2):.2f} s")
