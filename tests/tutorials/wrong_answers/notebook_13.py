"""Common wrong answers, and part of the message each one gets."""

import numpy as np


def pictures(steps, pretrain, critic_steps, batch, *, own=1, joined=True, first=1):
    seen = 0
    for step in range(steps):
        late = step >= pretrain
        seen += (own if late else first) * batch
        seen += critic_steps * batch * (late or not joined)
    return seen


def placed(g, box, mask, *, paste=True, invert=False, at=None):
    top, left, height, width = box
    top, left = (top, left) if at is None else at(top, left)
    out = np.zeros((*mask.shape[:2], g.shape[2]))
    for i in range(height):
        for j in range(width):
            out[top + i, left + j] = g[i, j]
    return out * ((1 - mask) if invert else mask) if paste else out


def clock(n, critic_steps, shared, beta1, beta2, *, t=None, root=np.sqrt):
    t = t(n, critic_steps, shared) if t else n + shared * n * critic_steps
    return root(1 - beta2**t) / (1 - beta1**t)


WRONG = {
    "13.pictures": [
        (lambda *a: pictures(*a, own=0, first=0), "The generator's own batches are missing"),
        (lambda *a: pictures(*a, own=0), "Once the critics have joined, the generator's own batches are missing"),
        (lambda *a: pictures(*a, joined=False), "before `pretrain` they are not updated"),
        (lambda *a: pictures(*a, first=0), "Reconstruction is missing"),
        (lambda steps, pretrain, critic_steps, batch: pictures(steps, pretrain, critic_steps, 1), "These are batches"),
        (lambda steps, pretrain, critic_steps, batch: steps * batch, "Right on: reconstruction alone"),
    ],
    "13.local_gradient": [
        (lambda *a: placed(*a, paste=False), "The paste is missing"),
        (lambda *a: placed(*a, invert=True), "The mask is inverted"),
        (lambda *a: placed(*a, at=lambda top, left: (left, top)), "Row and column of the box are swapped"),
        (lambda g, box, mask: g, "has the shape"),
        (lambda g, box, mask: -placed(g, box, mask), "The sign is wrong"),
    ],
    "13.clock": [
        (lambda *a: clock(*a, t=lambda n, c, shared: n), "The counter is not shared here"),
        (lambda *a: clock(*a, t=lambda n, c, shared: (c + 1) * n), "The counter is always shared here"),
        (
            lambda *a: clock(*a, t=lambda n, c, shared: n + shared * (n - 1) * c),
            "This round's critic updates are missing",
        ),
        (lambda *a: clock(*a, t=lambda n, c, shared: n * (1 + 5 * shared)), "Six updates per round"),
        (lambda *a: clock(*a, root=lambda x: x), "The root is missing"),
        (lambda *a: clock(*a, t=lambda n, c, shared: n + 1), "values are wrong"),
    ],
}
