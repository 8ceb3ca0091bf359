"""Batches of square crops from pictures of any size."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ca_numpy.data.datasets import Crops, Dataset
from ca_numpy.data.images import crop_window, quoted
from ca_numpy.data.masks import BoundingBox
from ca_numpy.errors import UserError

#: What is known of a picture: its rows and columns, or why it cannot be read.
Fact = tuple[int, int] | str


class Window(NamedTuple):
    """A training crop: a square window of its picture, whether to mirror it left to right, and its colour change."""

    top: int
    left: int
    side: int
    mirrored: bool
    gamma: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Exponents of red, green and blue in [0, 1]: black stays black, and white stays white."""

    def cut(self, pixels: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
        """The crop, size size 3, RGB float32 in [-1, 1]."""
        crop = crop_window(pixels, top=self.top, left=self.left, height=self.side, width=self.side, size=size)
        if self.gamma != (1.0, 1.0, 1.0):
            crop = (2 * ((crop + 1) / 2) ** np.asarray(self.gamma) - 1).astype(np.float32)
        return crop[:, ::-1] if self.mirrored else crop


class Loader:
    """An endless stream of training batches: N size size 3, RGB float32 in [-1, 1].

    Each epoch visits all pictures once, in a new random order; a batch may span two epochs. Each picture gives one
    square window at a uniformly random position, resized to `size` with antialiasing (smaller pictures are enlarged),
    and mirrored left to right with probability one half if `flip`. `crops` sets the side of the window:

        "windows"   uniform in `window` times the picture's shorter side
        "whole"     the shorter side
        "pixels"    `size`: unscaled pixels, never shrunk
        "auto"      chosen by the dataset for each picture (`Dataset.crops`)

    `jitter` varies brightness and colours: channel c of a crop, v in [0, 1], becomes v to the power of
    exp(jitter (u + u_c / 2)), with u drawn once per crop and u_c once per channel, uniform in [-1, 1].

    `part` leaves the other crops of each batch out. All are drawn, so that the stream is the same, but the others'
    pictures are not decoded: `Dataset.shape` gives their sizes. `surprises` has what decoding shows to be different, by
    index: the size of a picture, or why it cannot be read. Loaders that share the batches must all `learn` it, and draw
    again from an earlier state.

    A picture that cannot be read is skipped, and recorded in `skipped` with its name and the error.

    `state` and `restore` resume an interrupted training with exactly the same batches.
    `background.BackgroundLoader` prepares the same batches in threads.

    Raises `UserError` for an empty dataset and numbers out of range; `next` raises it if no picture can be read.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch: int,
        size: int,
        window: tuple[float, float] = (0.5, 1.0),
        flip: bool = True,
        crops: Crops | Literal["auto"] = "auto",
        jitter: float = 0.0,
        part: slice = slice(None),
        rng: np.random.Generator,
    ) -> None:
        if len(dataset) == 0:
            raise UserError("the dataset is empty; give one with pictures")
        if batch < 1 or size < 1:
            raise UserError(f"batch={batch} and size={size} must both be 1 or more")
        if not 0 < window[0] <= window[1] <= 1:
            raise UserError(
                f"window={window}; give (smallest, largest) as fractions of the shorter side, above 0 up to 1"
            )
        if not 0 <= jitter <= 1:
            raise UserError(f"jitter={jitter}; give a number between 0 (no change) and 1")
        self.dataset, self.batch, self.size = dataset, batch, size
        self.window, self.flip, self.crops, self.jitter, self.rng = window, flip, crops, jitter, rng
        self.wanted = range(batch)[part]
        self.skipped: dict[str, str] = {}
        self.surprises: dict[int, Fact] = {}
        self._known: dict[int, Fact] = {}
        self._shuffle()

    def __iter__(self) -> Loader:
        return self

    def __next__(self) -> NDArray[np.float32]:
        drawn = (self.draw(n, self.dataset.pixels) for n in range(self.batch))
        return np.stack([window.cut(pixels, self.size) for pixels, window in drawn if pixels is not None])

    def draw(self, n: int, pixels_of: Callable[[int], NDArray[np.uint8]]) -> tuple[NDArray[np.uint8] | None, Window]:
        """The next readable picture, `pixels_of(index)`, uint8 H W 3, and a random window in it, for crop n of a batch.

        None in place of a picture that is not wanted. All random numbers are drawn here, in order; `Window.cut` may run
        elsewhere. Raises `UserError` if no picture can be read.
        """
        for _ in range(2 * len(self.dataset)):  # enough to visit every picture, from anywhere in an epoch
            index = self._next_index()
            try:
                if len(self.wanted) == self.batch:
                    pixels = pixels_of(index)
                    return pixels, self._draw_window(index, *pixels.shape[:2])
                expected = self._shape(index)
                if n not in self.wanted:
                    return None, self._draw_window(index, *expected)
                pixels = pixels_of(index)
                if pixels.shape[:2] != expected:
                    self.surprises[index] = (pixels.shape[0], pixels.shape[1])
                return pixels, self._draw_window(index, *pixels.shape[:2])
            except UserError as error:  # nothing was drawn for it, so the others' draws do not change
                self.skipped[self.dataset.names[index]] = str(error)
                if not isinstance(self._known.get(index), str):
                    self.surprises[index] = str(error)
        raise UserError(f"none of the {len(self.dataset)} pictures can be read: {next(iter(self.skipped.values()))}")

    def _shape(self, index: int) -> tuple[int, int]:
        """Rows and columns of a picture, as all loaders that share the batches know them. Raises UserError."""
        fact = self._known[index] if index in self._known else self.dataset.shape(index)
        if isinstance(fact, str):
            raise UserError(fact)
        self._known[index] = fact
        return fact

    def learn(self, surprises: dict[int, Fact]) -> None:
        """Accept what any of the loaders found. Then `restore` a state from before these pictures."""
        self._known |= surprises
        self.surprises = {}

    def upcoming(self, n: int, count: int) -> list[int]:
        """Indices of the next wanted pictures in this epoch, at most `count`; the next picture is crop n of a batch."""
        following = self._order[self._position : self._position + self.batch + count].tolist()
        good = (index for index in following if not isinstance(self._known.get(index), str))
        return [index for m, index in enumerate(good, n) if m % self.batch in self.wanted][:count]

    def state(self) -> dict[str, Any]:
        """The state of the stream, as plain numbers and strings (JSON).

        It holds a digest of the pictures' names, the generator at the start of the epoch and now, and the position in
        the epoch, whose order is recomputed from the former.
        """
        return {
            "pictures": len(self.dataset),
            "names": self._names,
            "epoch_start": self._epoch_start,
            "position": self._position,
            "rng": _plain(self.rng.bit_generator.state),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a `state`. Also sets the generator that was passed in.

        Raises `UserError` for the state of other pictures or of another kind of generator, or an invalid one.
        """
        try:
            pictures, position = int(state["pictures"]), int(state["position"])
            start, now = (self._generator_at(state[key]) for key in ("epoch_start", "rng"))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            kind = type(self.rng.bit_generator).__name__
            raise UserError(
                f"not a state of a Loader whose generator is {kind} ({error!r}); pass the result of its state()"
            ) from None
        if pictures != len(self.dataset) or not 0 <= position <= pictures:
            raise UserError(
                f"the loader was saved at {position} of {pictures} pictures and the dataset now has "
                f"{len(self.dataset)}; use the same pictures, or start afresh"
            )
        if state.get("names", self._names) != self._names:
            raise UserError(
                f"the loader was saved with {pictures} other pictures: some were renamed or replaced; use the same "
                "pictures, or start afresh"
            )
        self._epoch_start = _plain(start.bit_generator.state)
        self._order = start.permutation(pictures)
        self._position = position
        self.rng.bit_generator.state = now.bit_generator.state

    @functools.cached_property
    def _names(self) -> str:
        """A digest of the pictures' names in order, which tells whether a state is of the same pictures."""
        return hashlib.sha256("\n".join(self.dataset.names).encode("utf-8", "surrogateescape")).hexdigest()

    def _generator_at(self, state: Any) -> np.random.Generator:
        """A new generator of the same kind, in this state."""
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

    def _draw_window(self, index: int, rows: int, columns: int) -> Window:
        crops = self.dataset.crops(index) if self.crops == "auto" else self.crops
        shorter = min(rows, columns)
        if crops == "windows":
            side = max(round(self.rng.uniform(*self.window) * shorter), 1)
        else:
            side = shorter if crops == "whole" else min(self.size, shorter)
        top = int(self.rng.integers(0, rows - side, endpoint=True))
        left = int(self.rng.integers(0, columns - side, endpoint=True))
        mirrored = self.flip and bool(self.rng.random() < 0.5)
        if not self.jitter:  # draw nothing: streams without jitter stay as they are
            return Window(top, left, side, mirrored)
        all_channels, *channels = self.rng.uniform(-1, 1, 4)
        red, green, blue = (float(np.exp(self.jitter * (all_channels + u / 2))) for u in channels)
        return Window(top, left, side, mirrored, (red, green, blue))


def skipped_summary(skipped: dict[str, str]) -> str:
    """One line about skipped pictures; empty if there are none."""
    if not skipped:
        return ""
    names = ", ".join(map(quoted, list(skipped)[:5])) + (" …" if len(skipped) > 5 else "")
    return f"skipped {len(skipped)} unreadable: {names}; the first: {next(iter(skipped.values()))}"


def validation_crops(
    dataset: Dataset,
    *,
    size: int,
    count: int,
    window: float = 0.75,
    crops: Crops | Literal["auto"] = "auto",
) -> NDArray[np.float32]:
    """`count` deterministic crops for validation: count size size 3, RGB float32 in [-1, 1].

    The crops cycle through the pictures: first a central window of each, `window` times its shorter side wide, then
    windows in the corners and at the sides, nine in all; then nine that are three quarters as wide. With the other
    rules for `crops` (see `Loader`) the first windows are as large as in training. Unreadable pictures are skipped.

    Raises `UserError` for an empty dataset, numbers below 1, and if no picture can be read.
    """
    views = validation_windows(dataset, size=size, count=count, window=window, crops=crops)
    return np.stack([crop_window(dataset.pixels(index), **view._asdict(), size=size) for index, view in views])


def validation_windows(
    dataset: Dataset, *, size: int, count: int, window: float = 0.75, crops: Crops | Literal["auto"] = "auto"
) -> list[tuple[int, BoundingBox]]:
    """The picture's index and the square window of each of the `validation_crops`.

    Raises `UserError` as `validation_crops` does.
    """
    if not 0 < window <= 1:
        raise UserError(f"window={window}; give a fraction of the shorter side, above 0 up to 1")
    if len(dataset) == 0 or count < 1 or size < 1:
        raise UserError(
            f"cannot take count={count} crops of size={size} from {len(dataset)} pictures; each must be 1 or more"
        )
    good, _ = readable(dataset, count=count)
    views = []
    for turn, index in (divmod(k, len(good)) for k in range(count)):
        rows, columns = dataset.pixels(good[index]).shape[:2]
        rule = dataset.crops(good[index]) if crops == "auto" else crops
        largest = {"windows": window * min(rows, columns), "whole": min(rows, columns), "pixels": size}[rule]
        side = min(max(round(largest * 0.75 ** (turn // len(_PLACES))), 1), rows, columns)
        down, right = _PLACES[turn % len(_PLACES)]
        top, left = round(down * (rows - side)), round(right * (columns - side))
        views.append((good[index], BoundingBox(top, left, side, side)))
    return views


def readable(dataset: Dataset, *, count: int) -> tuple[list[int], dict[str, str]]:
    """Indices of the first `count` readable pictures, or of all if there are fewer.

    Also the names of the skipped pictures, each with its error. Raises `UserError` if none can be read.
    """
    good: list[int] = []
    skipped: dict[str, str] = {}
    for index in range(len(dataset)):
        try:
            dataset.pixels(index)
        except UserError as error:
            skipped[dataset.names[index]] = str(error)
        else:
            good.append(index)
        if len(good) == count:
            break
    if not good:
        raise UserError(
            f"none of the {len(dataset)} pictures can be read: {next(iter(skipped.values()), 'the dataset is empty')}"
        )
    return good, skipped


# Positions of a window, as fractions of the free space above it and to its left: the centre first.
_PLACES = ((0.5, 0.5), (0, 0), (1, 1), (0, 1), (1, 0), (0.5, 0), (0.5, 1), (0, 0.5), (1, 0.5))


def _plain(state: Any) -> Any:
    """A generator's state as plain Python types, for JSON."""
    if isinstance(state, dict):
        return {key: _plain(value) for key, value in state.items()}
    return state.tolist() if isinstance(state, np.ndarray | np.generic) else state
