"""Applying a generator to NumPy arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ca_numpy.engine.autograd import no_grad
from ca_numpy.errors import UserError
from ca_numpy.models import BaseGenerator


class Prediction(NamedTuple):
    """The results of `Generator.complete` as NumPy arrays, N H W 3 in [-1, 1]."""

    coarse: NDArray[Any]
    refined: NDArray[Any]
    result: NDArray[Any]


def predict(generator: BaseGenerator, images: NDArray[Any], masks: NDArray[Any]) -> Prediction:
    """Fill holes on the current backend: images N H W 3 in [-1, 1], masks N H W 1 with 1 = hole.

    Raises UserError if the output is not finite.
    """
    with no_grad():
        done = Prediction(*(y.numpy() for y in generator.complete(images, masks)))
    if not np.isfinite(done.refined).all():
        raise UserError("the model's output is not finite: its weights are damaged, or training diverged")
    return done
