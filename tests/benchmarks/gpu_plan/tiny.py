"""A few launches of each kernel, for tools under which a program runs many times slower."""

from __future__ import annotations

import sys

import numpy as np

from ca_numpy import functional as F
from ca_numpy import tensor, use_backend
from ca_numpy.engine.autograd import no_grad
from ca_numpy.models import Generator
from gpu_plan import measures
from gpu_plan.records import Plan, plan


def kernels(the: Plan) -> int:
    """convolve and correlate in their commonest tiles, and the attention, at the options' size."""
    size, width = int(the.options["size"]) // 4, int(the.options["width"])
    with use_backend(measures.fast(the.backend)[0]) as backend, no_grad():
        for channels, filters in ((4 * width, 4 * width), (2 * width, 2 * width), (2 * width, width)):
            layer = measures.Layer(3, 1, 1, channels, filters, size, False, 1)
            x, w, b, g = (backend.asarray(a) for a in layer.arrays())
            backend.conv_bias_elu(x, w, b, geometry=layer.geometry)
            backend.conv2d_dw(g, x, ksize=w.shape[:2], geometry=layer.geometry)
        features = np.random.default_rng(0).standard_normal((1, size, size, 4 * width)).astype(np.float32)
        mask = np.zeros((1, size, size, 1), np.float32)
        mask[:, size // 4 : size // 2, size // 4 : size // 2] = 1
        f = tensor(features)
        F.contextual_attention(f, f, tensor(mask)).numpy()
    return 0


def passes(the: Plan) -> int:
    """A small generator, forward and backward, each array in an allocation of its own, so that its end is known."""
    if the.is_cuda:
        import cupy

        cupy.cuda.set_allocator(None)
    size = 64
    with use_backend(measures.fast(the.backend)[0]):
        rng = np.random.default_rng(0)
        generator = Generator(rng=rng, width=8)
        image, mask = rng.uniform(-1, 1, (1, size, size, 3)).astype(np.float32), measures.hole(size)
        coarse, refined = generator(tensor(image * (1 - mask)), mask)
        measures.grad(coarse.sum() + refined.sum(), list(generator.parameters().values()))
        print(float(refined.sum().numpy()))
    return 0


if __name__ == "__main__":
    sys.exit({"kernels": kernels, "passes": passes}[sys.argv[1]](plan()))
