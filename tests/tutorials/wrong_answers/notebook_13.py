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


def pulled(refined, truth, mask, box, discount, w1, w2, *, known=lambda m: 1 - m, channels=3, boxed=None):
    top, left, height, width = box
    there = np.zeros(mask.shape)
    there[top : top + height, left : left + width] = discount
    there = there if boxed is None else boxed(there, mask)
    each = w1 * there / (height * width) + w2 * known(mask) / (mask == 0).sum()
    return np.where(refined > truth, each, -each) / channels


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
    "13.reconstruction": [
        (lambda *a: pulled(*a, known=lambda m: 0), "The term over the known pixels is missing"),
        (lambda *a: pulled(*a, known=lambda m: m), "The mask is inverted"),
        (lambda *a: pulled(*a, known=lambda m: (1 - m) * (1 - m.mean())), "divide by their number"),
        (lambda *a: pulled(*a, boxed=lambda w, m: w > 0), "The discount M is missing"),
        (lambda *a: pulled(*a, boxed=lambda w, m: w * m), "all of the box"),
        (lambda *a: pulled(*a, channels=1), "divide by the number of channels"),
        (lambda *a: -pulled(*a), "The sign is wrong"),
        (lambda *a: pulled(*a, channels=6), "0.5 times"),
    ],
}
