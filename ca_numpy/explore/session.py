"""A photograph, its hole and its fill: what the front end shows, as arrays and numbers, without any web code.

    session = Session(photo)
    session.set_hole(mask)
    filled = session.fill("network", Settings(softmax_scale=20))
    look = session.look(x, y)           the row of the attention at a position in the hole, and its best patches

Changing the attention's settings recomputes the attention and what follows, not the stages before it.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from ca_numpy.data import check_mask
from ca_numpy.data.photo import Photo
from ca_numpy.engine.autograd import as_tensors, no_grad
from ca_numpy.engine.tensor import Tensor
from ca_numpy.errors import UserError
from ca_numpy.explore.looking import Attention, Box, Colours, Look, copies_map
from ca_numpy.explore.near import output_near
from ca_numpy.explore.settings import Settings, check_memory, options_of
from ca_numpy.filling import baselines, memory, patchmatch
from ca_numpy.filling.inpainting import View, filled_by, full_size_steps, pasted, view_of
from ca_numpy.filling.patchmatch import Copies
from ca_numpy.filling.soon import soonest
from ca_numpy.models import BaseGenerator, Generator
from ca_numpy.models.generator import Branches
from ca_numpy.models.io import opened
from ca_numpy.registry import current_backend, use_backend

#: How the session fills holes. "coarse" is the first stage of the network.
Method = Literal["guided", "network", "coarse", "patchmatch", "telea"]
#: Called with the share of the work done, 0 to 1; an exception from it, such as `Cancelled`, ends the work.
Progress = Callable[[float], None]
Floats = NDArray[np.float32]


class Cancelled(Exception):
    """Raised by a caller's `progress` to end the work; the session keeps its last fill."""


class Filled(NamedTuple):
    """A fill.

    photo       the picture in the terms of its file
    box         the smallest rectangle that contains the hole: left, top, width, height
    method      how it was filled
    attention   the network's, or None
    copies      where each pixel was copied from, or None
    """

    photo: Photo
    box: tuple[int, int, int, int]
    method: Method
    attention: Attention | None = None
    copies: Copies | None = None


class _Stage(NamedTuple):
    """The network up to its attention, for one hole and one view, computed on a backend."""

    backend: str

    view: View
    image: Tensor  # with its hole erased
    mask: Tensor
    coarse: Tensor
    branches: Branches | None


class Session:
    """A photograph, its hole, and what is computed from both.

    photo     may be opened later, by `open`
    model     as for `ca_numpy.inpaint`; loaded when it is first needed
    backend   "auto" or a backend's name

    Not for use in several threads at once. Raises UserError for a photograph with NaN.
    """

    def __init__(
        self,
        photo: Photo | None = None,
        *,
        model: str | PathLike[str] | BaseGenerator | None = None,
        backend: str = "auto",
    ) -> None:
        self.backend, self._model = backend, model
        self._photo: Photo | None = None
        self._hole: Floats | None = None
        self._stages: dict[str, _Stage] = {}
        self._filled: Filled | None = None
        self._forget(photo)

    def open(self, photo: Photo) -> None:
        """Begin with another photograph, without a hole. Raises UserError for one with NaN."""
        self._forget(photo)

    def close(self) -> None:
        """Free the photograph and everything computed from it."""
        self._forget(None)

    @property
    def is_open(self) -> bool:
        """Whether a photograph is open."""
        return self._photo is not None

    @property
    def photo(self) -> Photo:
        """The photograph. Raises UserError if none is open."""
        if self._photo is None:
            raise UserError("there is no picture yet: open one")
        return self._photo

    @property
    def hole(self) -> Floats:
        """H W 1, 1 = hole. Raises UserError without a hole."""
        if self._hole is None:
            raise UserError("there is no hole yet: paint one")
        return self._hole

    def set_hole(self, mask: NDArray[Any]) -> None:
        """The hole, H W or H W 1, 1 = hole. Raises UserError for another size, and an empty or full hole."""
        hole = check_mask(mask, self.photo.samples)
        if self._hole is None or not np.array_equal(hole, self._hole):
            self._forget(self.photo)
            self._hole = hole

    @property
    def filled(self) -> Filled:
        """The last fill. Raises UserError if there is none."""
        if self._filled is None:
            raise UserError("there is no result yet: paint a hole and fill it")
        return self._filled

    def _forget(self, photo: Photo | None) -> None:
        """Keep nothing but the photograph."""
        if photo is not None and photo.samples.dtype.kind == "f" and not np.isfinite(photo.samples).all():
            raise UserError("the picture has NaN: fill them first, by ca-numpy inpaint")
        self._photo, self._hole, self._stages, self._filled = photo, None, {}, None

    # -- filling ----------------------------------------------------------------------------------------------
    def fill(self, method: Method, settings: Settings | None = None, *, progress: Progress | None = None) -> Filled:
        """Fill the hole: with the default settings as `ca_numpy.inpaint` does.

        Raises UserError for an unknown method, a missing photograph, hole or library, settings that need too much
        memory, and settings other than the default for a model without contextual attention.
        """
        if method not in get_args(Method):
            raise UserError(f"there is no method {method!r:.40}: choose from {', '.join(get_args(Method))}")
        report = progress or (lambda share: None)
        report(0.0)
        known = self._stages.get("guided" if method == "guided" else "network")  # whose arrays are on its backend
        around = memory.pixels_around(self.hole[..., 0] > 0.5)
        device = use_backend(known.backend) if known else soonest(self.backend, pixels=around)
        with device, no_grad():
            if method in ("patchmatch", "telea"):
                photo, attention, copies = self._without_network(method, report)
            else:
                photo, attention, copies = self._by_network(method, settings or Settings(), report)
        rows, columns = (np.flatnonzero(self.hole[..., 0].any(axis)) for axis in (1, 0))
        left, top = int(columns[0]), int(rows[0])
        box = left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top
        self._filled = Filled(photo, box, method, attention, copies)
        return self._filled

    def _without_network(self, method: Method, report: Progress) -> tuple[Photo, Attention | None, Copies | None]:
        pixels, copies, unknown = self.photo.colours(), None, self.hole[..., 0] > 0.5
        memory.check(unknown, full_size_steps(self.photo, unknown, copied=method == "patchmatch"))
        if method == "telea":
            filled = baselines.fill(method, pixels, self.hole)
        else:
            filled, copies = patchmatch.complete_with_copies(pixels, self.hole, progress=report)
        return pasted(self.photo, self.hole, filled), None, copies

    def _by_network(
        self, method: Method, settings: Settings, report: Progress
    ) -> tuple[Photo, Attention | None, Copies | None]:
        finish: Literal["guided", "network"] = "guided" if method == "guided" else "network"
        share = 0.3 if method == "guided" else 1.0  # of the network in all the work
        generator = opened(self._model)
        self._model = generator
        if finish not in self._stages:
            self._stages[finish] = self._stage(generator, finish, lambda done: report(0.8 * share * done))
        stage = self._stages[finish]
        looked = None
        if method == "coarse":
            output = stage.coarse.numpy()[0]
        else:
            output, looked = self._refined(generator, stage, settings, lambda done: report(share * (0.8 + 0.15 * done)))
        report(share)
        h, w = stage.view.window.size
        pixels = output[:h, :w]
        if not np.isfinite(pixels).all():
            raise UserError("the model's output is not finite with these settings")
        photo, copies = filled_by(
            self.photo, self.hole, stage.view, pixels, method=finish,
            progress=lambda done: report(share + (1 - share) * done),
        )  # fmt: skip
        return photo, looked, copies

    def _stage(self, generator: BaseGenerator, finish: Literal["guided", "network"], report: Progress) -> _Stage:
        """The network up to its attention."""
        device, view = current_backend().name, view_of(self.photo, self.hole, generator, method=finish)
        dtype = next(iter(generator.parameters().values()))
        x, m = generator.framed(*as_tensors([view.seen[None], view.hole[None], dtype])[:2])
        x = generator.erase(x, m)
        if not isinstance(generator, Generator):
            return _Stage(device, view, x, m, generator(x, m)[0], None)
        coarse = generator.coarse(x, m)
        report(0.4)
        branches = generator.branches(x, m, coarse)
        report(1.0)
        return _Stage(device, view, x, m, coarse, branches)

    def _refined(
        self, generator: BaseGenerator, stage: _Stage, settings: Settings, report: Progress
    ) -> tuple[Floats, Attention | None]:
        """The network's output with these settings, far from the hole only for the default, and its attention."""
        branches = stage.branches
        if not isinstance(generator, Generator) or branches is None or generator.attention != "contextual":
            if settings != Settings():
                raise UserError("this model has no contextual attention whose settings could be changed")
            if isinstance(generator, Generator):
                return generator.refine(stage.image, stage.mask, stage.coarse).numpy()[0], None
            return generator(stage.image, stage.mask)[1].numpy()[0], None
        features, options = branches.features, options_of(generator, settings)
        assert features is not None
        check_memory(features.shape[1:3], options)
        hole = stage.mask.numpy()[0, ..., 0] > 0.5
        part, place = output_near(
            generator, branches, hole, options, exact=settings == Settings(), progress=report
        )  # the default is what `inpaint` gives
        output = np.zeros((*hole.shape, 3), np.float32)
        output[place] = part
        before = self._filled and self._filled.attention
        return output, Attention(
            stage.view, features, branches.hole, options, multiple=generator.multiple, before=before
        )

    # -- looking ----------------------------------------------------------------------------------------------
    def look(self, x: float, y: float, *, top: int = 5) -> Look:
        """The attention at a pixel of the picture, and the `top` patches of largest weight.

        Raises UserError outside the network's view, and where the last fill has no attention.
        """
        with use_backend(self._attention().backend):
            return self._attention().look(x, y, top=top)

    def attention_map(self, *, progress: Progress | None = None) -> tuple[Colours, Box]:
        """The colours of figure 4 at the hole's positions, h w 4 in [0, 1], opacity last, and the pixels they cover.

        Raises UserError where the last fill has no attention.
        """
        with use_backend(self._attention().backend):
            return self._attention().map(progress=progress)

    def copied_from(self, x: int, y: int) -> tuple[int, int] | None:
        """The known pixel (x, y) that the last fill copied to a pixel of the hole; None if it copied nothing there."""
        if (copies := self.filled.copies) is None:
            return None
        found = copies.sources[(copies.pixels == (y, x)).all(-1)]
        return (int(found[0, 1]), int(found[0, 0])) if len(found) else None

    def copies_map(self) -> tuple[Colours, tuple[int, int, int, int]]:
        """As `attention_map`, of the pixels that the last fill copied. Raises UserError if it copied none."""
        if self.filled.copies is None:
            raise UserError("the last fill copied no pixels: fill with guided or patchmatch")
        return copies_map(self.filled.copies, self.photo.samples.shape)

    def _attention(self) -> Attention:
        if self.filled.attention is None:
            raise UserError("there is no attention to look at: fill the hole with guided or network")
        return self.filled.attention
