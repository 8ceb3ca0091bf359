"""From pictures of any size to batches of square crops."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ca_numpy.data.datasets import Dataset
from ca_numpy.data.images import crop_window
from ca_numpy.data.masks import BoundingBox
from ca_numpy.errors import UserError


class Loader:
    """An endless stream of training batches: N size size 3, RGB float32 in [-1, 1].

    Each epoch goes through all pictures once, in a new random order; a batch may reach over its end. From each
    picture comes one square window, its side uniform in `window` times the picture's shorter side, at a uniform
    place, resized to `size` with antialiasing (pictures that are smaller are enlarged), and mirrored left to
    right with probability one half if `flip`.

    `state` and `restore` take up an interrupted training where it was: the batches go on exactly alike.

    Raises `UserError` for an empty dataset and numbers out of range.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch: int,
        size: int,
        window: tuple[float, float] = (0.5, 1.0),
        flip: bool = True,
        rng: np.random.Generator,
    ) -> None:
        if len(dataset) == 0:
            raise UserError("the dataset is empty; there is nothing to load")
        if batch < 1 or size < 1:
            raise UserError(f"batch={batch} and size={size} must both be 1 or more")
        if not 0 < window[0] <= window[1] <= 1:
            raise UserError(
                f"window={window}; give (smallest, largest) as fractions of the shorter side, above 0 up to 1"
            )
        self.dataset, self.batch, self.size = dataset, batch, size
        self.window, self.flip, self.rng = window, flip, rng
        self._shuffle()

    def __iter__(self) -> Loader:
        return self

    def __next__(self) -> NDArray[np.float32]:
        return np.stack([self._crop(self._next_index()) for _ in range(self.batch)])

    def state(self) -> dict[str, Any]:
        """Where the stream is, as plain numbers and strings (JSON): the epoch's start, the position in it, the
        generator now. The epoch's order is not in it: it is shuffled again from its start."""
        return {
            "pictures": len(self.dataset),
            "epoch_start": self._epoch_start,
            "position": self._position,
            "rng": _plain(self.rng.bit_generator.state),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken. The generator that was passed in is set as well.

        Raises `UserError` where the state is of another dataset or another kind of generator, or is no state.
        """
        try:
            pictures, position = int(state["pictures"]), int(state["position"])
            start, now = (self._generator_at(state[key]) for key in ("epoch_start", "rng"))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            kind = type(self.rng.bit_generator).__name__
            raise UserError(
                f"this is no state of a Loader whose generator is {kind} ({error!r}); pass what its state() returned"
            ) from None
        if pictures != len(self.dataset) or not 0 <= position <= pictures:
            raise UserError(
                f"the loader was saved at {position} of {pictures} pictures and the dataset now has "
                f"{len(self.dataset)}; use the same pictures, or start the loader afresh"
            )
        self._epoch_start = _plain(start.bit_generator.state)
        self._order = start.permutation(pictures)
        self._position = position
        self.rng.bit_generator.state = now.bit_generator.state

    def _generator_at(self, state: Any) -> np.random.Generator:
        """Another generator of the kind of ours, in this state."""
        generator = np.random.Generator(type(self.rng.bit_generator)())
        generator.bit_generator.state = state
        return generator

    def _shuffle(self) -> None:
        self._epoch_start = _plain(self.rng.bit_generator.state)
        self._order = self.rng.permutation(len(self.dataset))
        self._position = 0

    def _next_index(self) -> int:
        if self._position == len(self._order):
            self._shuffle()
        index = int(self._order[self._position])
        self._position += 1
        return index

    def _crop(self, index: int) -> NDArray[np.float32]:
        pixels = self.dataset.pixels(index)
        rows, columns = pixels.shape[:2]
        side = max(round(self.rng.uniform(*self.window) * min(rows, columns)), 1)
        top = int(self.rng.integers(0, rows - side, endpoint=True))
        left = int(self.rng.integers(0, columns - side, endpoint=True))
        crop = crop_window(pixels, top=top, left=left, height=side, width=side, size=self.size)
        mirrored = self.flip and self.rng.random() < 0.5
        return crop[:, ::-1] if mirrored else crop


def validation_crops(dataset: Dataset, *, size: int, count: int, window: float = 0.75) -> NDArray[np.float32]:
    """`count` crops to measure on, the same every time: count size size 3, RGB float32 in [-1, 1].

    The pictures take turns. The first time round each gives a central window, `window` times its shorter side wide;
    then come the windows in the corners and at the sides, nine in all; then nine that are three quarters as wide.

    Raises `UserError` for an empty dataset and numbers below 1.
    """
    if size < 1:
        raise UserError(f"cannot take crops of size={size}; it must be 1 or more")
    views = validation_windows(dataset, count=count, window=window)
    return np.stack([crop_window(dataset.pixels(index), **view._asdict(), size=size) for index, view in views])


def validation_windows(dataset: Dataset, *, count: int, window: float = 0.75) -> list[tuple[int, BoundingBox]]:
    """Where `validation_crops` takes its crops from: the picture's number and the square window, for each.

    Raises `UserError` as `validation_crops` does.
    """
    if not 0 < window <= 1:
        raise UserError(f"window={window}; give a fraction of the shorter side, above 0 up to 1")
    if len(dataset) == 0 or count < 1:
        raise UserError(f"cannot take count={count} crops from {len(dataset)} pictures; each must be 1 or more")
    views = []
    for turn, index in (divmod(k, len(dataset)) for k in range(count)):
        rows, columns = dataset.pixels(index).shape[:2]
        down, right = _PLACES[turn % len(_PLACES)]
        side = max(round(window * 0.75 ** (turn // len(_PLACES)) * min(rows, columns)), 1)
        top, left = round(down * (rows - side)), round(right * (columns - side))
        views.append((index, BoundingBox(top, left, side, side)))
    return views


# Where a window lies, as fractions of the free room above it and left of it: the centre first.
_PLACES = ((0.5, 0.5), (0, 0), (1, 1), (0, 1), (1, 0), (0.5, 0), (0.5, 1), (0, 0.5), (1, 0.5))


def _plain(state: Any) -> Any:
    """A generator's state without NumPy's types, so that JSON can hold it."""
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray | np.generic) else state
