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


def correction(n, critic_steps, shared, beta1, beta2):
    """In round n there have been n updates of the generator and, before the last of them, n · critic_steps others."""
    t = n + n * critic_steps * shared
    return np.sqrt(1 - beta2**t) / (1 - beta1**t)


SOLUTIONS = {
    "13.pictures": pictures_seen,
    "13.local_gradient": told_to_the_generator,
    "13.clock": correction,
}
