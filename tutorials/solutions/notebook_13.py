"""Worked solutions of notebook 13, Algorithm 1 on photographs."""

import numpy as np


def pictures_seen(steps, pretrain, critic_steps, batch):
    """Every update draws a batch: the generator makes `steps` of them, the critics theirs once they have joined."""
    updates = steps + (steps - pretrain) * critic_steps
    return updates * batch


def told_to_the_generator(g, box, mask):
    """The adjoint of cropping puts the gradient back and 0 elsewhere; that of pasting multiplies by the mask."""
    top, left, height, width = box
    everywhere = np.zeros((*mask.shape[:2], g.shape[2]))
    everywhere[top : top + height, left : left + width] = g
    return everywhere * mask


def reconstruction_gradient(refined, truth, mask, box, discount, w1, w2):
    """Each term is a mean of weighted |d|, so its derivative is weight · sign(d) / number of values."""
    top, left, height, width = box
    channels = refined.shape[2]
    known = 1 - mask
    weight = w2 * known / (known.sum() * channels)
    weight[top : top + height, left : left + width] += w1 * discount / (height * width * channels)
    return weight * np.sign(refined - truth)


SOLUTIONS = {
    "13.pictures": pictures_seen,
    "13.local_gradient": told_to_the_generator,
    "13.reconstruction": reconstruction_gradient,
}
