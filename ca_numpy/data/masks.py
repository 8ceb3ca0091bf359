"""Random holes for training: boxes, several boxes, and brush strokes, drawn from an explicit generator.

A mask is float32, H W 1, with 1 = hole. The hole lies inside a square window of the image, its `BoundingBox`, so that
the local critic, which looks at this window, sees all of it (section 3 of the paper).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ca_numpy.errors import UserError

SMALLEST_DRAWING = 8  # pixels: in a smaller square all boxes and strokes look alike


class BoundingBox(NamedTuple):
    """A window of an image, in pixels: its top left corner, height and width."""

    top: int
    left: int
    height: int
    width: int

    def crop(self, array: NDArray[Any]) -> NDArray[Any]:
        """Crop an array, H W C or N H W C, to the window: a view."""
        return array[..., self.top : self.top + self.height, self.left : self.left + self.width, :]


def random_box(rng: np.random.Generator, *, image_size: int, box_size: int) -> BoundingBox:
    """A square window, `box_size` wide, at a random position in a square image, `image_size` wide.

    The corner is uniform in [0, image_size − box_size): the authors' 128 in 256 starts at 0 to 127, so it never
    touches the lower and right borders. A box as large as the image starts at 0.

    Raises `UserError` unless 1 ≤ box_size ≤ image_size.
    """
    if not 1 <= box_size <= image_size:
        raise UserError(
            f"a box of {box_size} pixels does not fit in an image of {image_size}; choose 1 to {image_size}"
        )
    top, left = (int(corner) for corner in rng.integers(0, max(image_size - box_size, 1), size=2))
    return BoundingBox(top, left, box_size, box_size)


def box_mask(rng: np.random.Generator, box: BoundingBox, *, image_size: int, max_shrink: int) -> NDArray[np.float32]:
    """A rectangular hole inside a box: H W 1, 1 = hole.

    The box is shrunk by a random number of pixels, 0 to `max_shrink`, at the top and bottom, and by another at the
    left and right (the authors' 16 for images of 256), so that the critics cannot learn one fixed outline.

    Raises `UserError` if shrinking could leave nothing of the box.
    """
    if not 0 <= 2 * max_shrink < min(box.height, box.width):
        raise UserError(
            f"max_shrink={max_shrink} on both sides leaves nothing of a box of {box.height} x {box.width}; "
            "make it less than half of the box"
        )
    dy, dx = (int(shrink) for shrink in rng.integers(0, max_shrink, size=2, endpoint=True))
    mask = np.zeros((image_size, image_size, 1), np.float32)
    mask[box.top + dy : box.top + box.height - dy, box.left + dx : box.left + box.width - dx] = 1
    return mask


def several_boxes(
    rng: np.random.Generator, *, image_size: int, count: int, min_side: int, max_side: int
) -> NDArray[np.float32]:
    """Up to `count` rectangles, which may overlap, with sides of `min_side` to `max_side` pixels: H W 1, 1 = hole.

    Never empty and never full: a rectangle that would cover the last known pixel is omitted.

    Raises `UserError` unless count ≥ 1 and 1 ≤ min_side ≤ max_side < image_size.
    """
    if count < 1 or not 1 <= min_side <= max_side < image_size:
        raise UserError(
            f"cannot draw count={count} boxes with sides from {min_side} to {max_side} pixels in {image_size}; "
            "need count >= 1 and 1 <= min_side <= max_side < image_size"
        )
    mask = np.zeros((image_size, image_size, 1), np.float32)
    for _ in range(count):
        height, width = rng.integers(min_side, max_side, size=2, endpoint=True)
        top = rng.integers(0, image_size - height, endpoint=True)
        left = rng.integers(0, image_size - width, endpoint=True)
        with_box = mask.copy()
        with_box[top : top + height, left : left + width] = 1
        if not with_box.all():
            mask = with_box
    return mask


def free_form(
    rng: np.random.Generator,
    *,
    image_size: int,
    strokes: tuple[int, int] = (1, 4),
    segments: tuple[int, int] = (3, 10),
    length: tuple[float, float] = (0.05, 0.25),
    width: tuple[float, float] = (0.05, 0.12),
    max_area: float = 0.5,
) -> NDArray[np.float32]:
    """Brush strokes, as when erasing by hand: H W 1, 1 = hole.

    A stroke is a chain of straight segments with round ends that turns by a random angle at each joint. The numbers
    of strokes and of segments in each, and the segments' length and width as fractions of `image_size`, are uniform
    in the given ranges, ends included. A segment that would bring the hole above `max_area`, a fraction of the
    image, is omitted: the mask is never empty or full.

    Not in the paper, which trains on boxes; intended for holes erased by hand.

    Raises `UserError` for an image below 8 pixels and for invalid ranges.
    """
    _check_strokes(image_size, strokes, segments, length, width, max_area)
    canvas = Image.new("1", (image_size, image_size))
    for _ in range(rng.integers(*strokes, endpoint=True)):
        radius = rng.uniform(*width) * image_size / 2
        direction = rng.uniform(0, 2 * np.pi)
        start = rng.uniform(0, image_size - 1, size=2)
        canvas = _paint(canvas, start, start, radius, max_area)
        for _ in range(rng.integers(*segments, endpoint=True)):
            direction += rng.normal(0, np.pi / 4)
            step = rng.uniform(*length) * image_size
            aim = start + step * np.array([np.cos(direction), np.sin(direction)])
            end = np.clip(aim, 0, image_size - 1)
            if (end != aim).any():
                direction += np.pi  # turn back at the border
            canvas = _paint(canvas, start, end, radius, max_area)
            start = end
    return np.asarray(canvas, np.float32)[..., None]


def _paint(
    canvas: Image.Image, start: NDArray[np.float64], end: NDArray[np.float64], radius: float, max_area: float
) -> Image.Image:
    """The canvas with one more segment, or unchanged if that covers too much."""
    painted = canvas.copy()
    draw = ImageDraw.Draw(painted)
    draw.line((*start, *end), fill=1, width=max(round(2 * radius), 1))
    for x, y in (start, end):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
    return painted if np.asarray(painted).mean() <= max_area else canvas


def _check_strokes(
    image_size: int,
    strokes: tuple[int, int],
    segments: tuple[int, int],
    length: tuple[float, float],
    width: tuple[float, float],
    max_area: float,
) -> None:
    if image_size < SMALLEST_DRAWING:
        raise UserError(f"strokes need an image of at least {SMALLEST_DRAWING} pixels, not {image_size}")
    for name, (low, high), least, most in (
        ("strokes", strokes, 1, np.inf),
        ("segments", segments, 0, np.inf),
        ("length", length, 0, 1),
        ("width", width, 0, 0.25),
    ):
        if not least <= low <= high <= most:
            raise UserError(f"{name}={(low, high)} is not a range between {least} and {most}; give (lowest, highest)")
    # A single dab of the widest brush covers less than this, so the mask is never empty.
    if not 0.25 <= max_area < 1:
        raise UserError(f"max_area={max_area} must be a fraction between 0.25 and 1")


def _boxes(rng: np.random.Generator, size: int, max_shrink: int) -> NDArray[np.float32]:
    """One to four rectangles with sides of a quarter to a half of the window."""
    count = int(rng.integers(1, 4, endpoint=True))
    return several_boxes(rng, image_size=size, count=count, min_side=size // 4, max_side=size // 2)


#: Kinds of hole: what draws one inside a window of `size` pixels, size size 1. A new kind is one entry here: training,
#: evaluation and the command line take their choices from it.
KINDS: dict[str, Callable[[np.random.Generator, int, int], NDArray[np.float32]]] = {
    "box": lambda rng, size, max_shrink: box_mask(
        rng, BoundingBox(0, 0, size, size), image_size=size, max_shrink=max_shrink
    ),
    "boxes": _boxes,
    "free-form": lambda rng, size, max_shrink: free_form(rng, image_size=size),
}

if TYPE_CHECKING:
    MaskKind: TypeAlias = str
else:
    MaskKind = Literal[(*KINDS, "mixed")]  # the command line and `TrainConfig.check` read the choices from the type


@dataclass(frozen=True)
class MaskSampler:
    """Draws the masks of a batch, each with the window for the local critic.

    `kind` is "box", the paper's rectangle; "boxes", one to four smaller ones; "free-form", brush strokes; or "mixed",
    "box" every other time at random, else one of the others (`KINDS`).
    Sizes are in pixels: a square image of `image_size`, a window of `box_size` that contains the hole, and for "box"
    at most `max_shrink` less on each side. Each image has its own mask; `per_batch=True` draws one for the whole
    batch, as in the authors' code.

    Raises `UserError` for an unknown kind and incompatible sizes.
    """

    kind: MaskKind = "box"
    _: KW_ONLY
    image_size: int = 256
    box_size: int = 128
    max_shrink: int = 16
    per_batch: bool = False

    def __post_init__(self) -> None:
        if self.kind not in (*KINDS, "mixed"):
            raise UserError(f"there is no mask kind {self.kind!r}; choose one of {', '.join(KINDS)}, mixed")
        smallest = 1 if self.kind == "box" else SMALLEST_DRAWING
        if not smallest <= self.box_size < self.image_size:
            raise UserError(
                f"box_size={self.box_size} does not fit image_size={self.image_size}; "
                f"choose {smallest} to {self.image_size - 1}"
            )
        if self.kind in ("box", "mixed") and not 0 <= 2 * self.max_shrink < self.box_size:
            raise UserError(
                f"max_shrink={self.max_shrink} does not fit box_size={self.box_size}; choose less than half of it"
            )

    def __call__(
        self, rng: np.random.Generator, batch: int, *, part: slice = slice(None)
    ) -> tuple[NDArray[np.float32], list[BoundingBox]]:
        """Masks, N H W 1 with 1 = hole, and their windows, N of them: of a part of the batch, though all are drawn."""
        if batch < 1:
            raise UserError(f"batch={batch}; it must be at least 1")
        drawn = [self._draw(rng)] * batch if self.per_batch else [self._draw(rng) for _ in range(batch)]
        masks = np.zeros((len(drawn[part]), self.image_size, self.image_size, 1), np.float32)
        for mask, (hole, box) in zip(masks, drawn[part], strict=True):
            box.crop(mask)[...] = hole
        return masks, [box for _, box in drawn[part]]

    def _draw(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], BoundingBox]:
        """A hole in its window, and where that is."""
        kind = self.kind
        if kind == "mixed":
            others = [other for other in KINDS if other != "box"]
            mix = ["box"] * len(others) + others
            kind = mix[rng.integers(len(mix))]
        box = random_box(rng, image_size=self.image_size, box_size=self.box_size)
        return KINDS[kind](rng, self.box_size, self.max_shrink), box
