"""Averages of the generator's weights over training, smoother than the last weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from ca_numpy.engine.autograd import no_grad
from ca_numpy.models import BaseGenerator


class ExponentialAverage:
    """Exponential moving average of a generator's weights w, with bias correction: an `Average` of the `System`.

        after update t:   avg ← (1 − r)·avg + r·w,   r = (1 − decay) / (1 − decayᵗ)

    This equals m / (1 − decayᵗ) with m ← decay·m + (1 − decay)·w from m = 0, as Adam corrects its moments: the initial
    random weights are excluded, and the average is useful before 1 / (1 − decay) updates. Buffers are copied, not
    averaged. Before the first update it is the generator itself.

    decay   in [0, 1), such as 0.999
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
        """Add the generator's current weights to the average."""
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
        """The number of updates averaged."""
        return {"updates": self.updates}

    def restore(self, arrays: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Restore the results of `arrays` and `state`. Raises UserError for a missing weight or another shape."""
        self._average.load_arrays(arrays)
        self.updates = state["updates"]
