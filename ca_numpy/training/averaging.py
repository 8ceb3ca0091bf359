"""Averages of the generator's weights over its updates: smoother, and often better, than the last weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from ca_numpy.engine.autograd import no_grad
from ca_numpy.models import BaseGenerator


class ExponentialAverage:
    """Exponential moving average of a generator's weights w, with bias correction: an `Average` of the `System`.

        after update t:   avg ← (1 − r)·avg + r·w,   r = (1 − decay) / (1 − decayᵗ)

    This is m / (1 − decayᵗ) of m ← decay·m + (1 − decay)·w, m = 0 at first, as Adam corrects its moments. So the
    random weights that training starts from have no part in it, and it is of use before 1 / (1 − decay) updates.
    Buffers are not averaged but copied. Before the first update it is the generator itself.

    decay   in [0, 1), such as 0.999. Arrays stay where the current backend computes.
    """

    def __init__(self, generator: BaseGenerator, *, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self._current = generator
        self._average = type(generator).from_tf(generator.arrays(), variant=generator.variant)
        self._average.learnt = generator.learnt

    @property
    def generator(self) -> BaseGenerator:
        """A generator with the averaged weights."""
        return self._average if self.updates else self._current

    def update(self) -> None:
        """Take the generator's weights of this moment into the average."""
        self.updates += 1
        r = (1 - self.decay) / (1 - self.decay**self.updates)
        averages, copies = self._average.parameters(), self._average.buffers()
        with no_grad():
            for name, w in self._current.parameters().items():
                averages[name].data = (averages[name] * (1 - r) + w * r).data
        for name, b in self._current.buffers().items():
            copies[name].data = b.data

    def arrays(self) -> dict[str, NDArray[Any]]:
        """{name: NumPy array} of the averaged weights."""
        return self.generator.arrays()

    def state(self) -> dict[str, Any]:
        """How many updates are in the average."""
        return {"updates": self.updates}

    def restore(self, arrays: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Back to what `arrays` and `state` gave. Raises UserError if a weight is missing or has another shape."""
        self._average.load_arrays(arrays)
        self.updates = state["updates"]
