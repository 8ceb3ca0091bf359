"""The front end in a notebook: an anywidget whose messages travel over the notebook's connection to its kernel."""

from __future__ import annotations

import re
from importlib import resources
from os import PathLike
from pathlib import PurePath
from typing import Any

from ca_numpy.data.photo import Photo, photo_of, read_photo
from ca_numpy.errors import UserError
from ca_numpy.explore.requests import Desk
from ca_numpy.explore.session import Session
from ca_numpy.explore.worker import Worker
from ca_numpy.models import BaseGenerator

NEEDED = 'the widget needs anywidget: pip install "ca-numpy[explore]"'
#: Modules of the front end, each after those that it imports.
MODULES = ("transport.js", "mask.js", "markup.js", "stage.js", "drawing.js", "explorer.js", "widget.js")


def script() -> str:
    """The front end as one ES module, which is what a widget is given: its modules without their imports."""
    folder = resources.files("ca_numpy.explore") / "static"
    parts = [re.sub(r"^import .*\n", "", (folder / name).read_text("utf-8"), flags=re.MULTILINE) for name in MODULES]
    return "\n".join(re.sub(r"^export (?!default)", "", part, flags=re.MULTILINE) for part in parts)


def style() -> str:
    """The front end's style sheet."""
    return (resources.files("ca_numpy.explore") / "static" / "explorer.css").read_text("utf-8")


def explorer_widget(
    model: str | PathLike[str] | BaseGenerator | None,
    image: str | PathLike[str] | Photo | Any,
    *,
    backend: str,
) -> Any:
    """The widget of `ca_numpy.viz.explorer`. Raises UserError without anywidget, and for an image that is none."""
    try:
        import anywidget
    except ImportError as error:
        raise UserError(NEEDED) from error

    class Explorer(anywidget.AnyWidget):  # type: ignore[misc, no-any-unimported, unused-ignore]
        """A photograph, its hole and its fill; `session` holds them as arrays."""

        _esm = script()
        _css = style()

        def __init__(self, desk: Desk) -> None:
            super().__init__()
            self.session = desk.session
            self._worker = Worker(desk)
            self.on_msg(self._received)

        def _received(self, _: Any, message: Any, buffers: Any) -> None:
            number = message.get("id") if isinstance(message, dict) else None
            if not isinstance(number, int):
                return
            if message.get("cancel"):
                self._worker.cancel(number)
                return
            self._worker.submit(
                number, message, [bytes(b) for b in buffers],
                lambda reply, out: self.send(reply | {"id": number}, out),
            )  # fmt: skip

        def close(self) -> None:
            """Remove the widget, and free what it holds."""
            self._worker.close()
            super().close()

    name = PurePath(image).name if isinstance(image, (str, PathLike)) else "picture.png"
    photo: Photo | None
    if isinstance(image, (str, PathLike)):
        photo = read_photo(image)
    else:
        photo = image if isinstance(image, Photo) or image is None else photo_of(image)
    return Explorer(Desk(Session(photo, model=model, backend=backend), name=name))
