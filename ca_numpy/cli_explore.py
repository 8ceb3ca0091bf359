"""The command to paint holes and look at the attention: ca-numpy explore."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional
from tyro.conf import arg as option


@dataclass
class Explore:
    """Paint a hole into a picture in the browser, fill it, and see which patches the attention made it of."""

    image: Positional[Annotated[Path | None, option(metavar="IMAGE", help_behavior_hint="")]] = None
    """The picture. Default: open one in the page."""
    model: Annotated[Path | None, option(metavar="PATH", help_behavior_hint="")] = None
    """A run folder or weight file. Default: the bundled weights."""
    backend: str = "auto"
    """numpy, numba, cupy or cupy:tf32; auto picks the fastest that works. `ca-numpy backends` lists them."""
    port: Annotated[int, option(help_behavior_hint="")] = 0
    """Port on this machine. Default: any that is free."""
    max_pixels: Annotated[int | None, option(metavar="INT", help_behavior_hint="")] = None
    """Refuse pictures of more pixels. Default: 80 million, or CA_NUMPY_MAX_PIXELS."""
    browser: bool = True
    """Open the page in the default browser."""

    def run(self) -> None:
        from ca_numpy.explore.server import serve  # only for this command

        serve(
            self.image, model=self.model, backend=self.backend, port=self.port, max_pixels=self.max_pixels,
            browser=self.browser,
        )  # fmt: skip
