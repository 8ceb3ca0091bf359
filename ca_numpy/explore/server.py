"""The page on this machine: a small ASGI server for this user's browsers only.

It listens on the loopback address, and answers only requests that name it by a loopback name (no rebound DNS name), do
not come from another site's page, and carry the token of the printed address. Nothing is stored, and the page loads
nothing from elsewhere. A page keeps one request open while it is shown, `/session`; when that ends, its session is
freed.

Messages (`ca_numpy.explore.requests`) travel as frames, in both directions:

    4 bytes: length of the header · header: JSON, with the buffers' lengths in "buffers" · the buffers
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import secrets
import socket
import webbrowser
from collections.abc import AsyncIterator, Callable
from importlib import resources
from os import PathLike
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from ca_numpy.data.claims import most_pixels
from ca_numpy.data.images import quoted
from ca_numpy.data.photo import read_photo
from ca_numpy.errors import UserError
from ca_numpy.explore.requests import Buffers, Desk, Limits
from ca_numpy.explore.session import Session
from ca_numpy.explore.worker import Worker
from ca_numpy.models import BaseGenerator
from ca_numpy.models.io import load

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

NEEDED = 'the page needs starlette and uvicorn: pip install "ca-numpy[explore]"'
HOST = "127.0.0.1"
#: Pages that may be open at once: each has a thread, and the memory of its picture.
MOST_PAGES = 16
#: Seconds after which a closed page is noticed at the latest.
PULSE = 0.5
FILES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def frame(header: dict[str, Any], buffers: Buffers = ()) -> bytes:
    """A message as bytes."""
    text = json.dumps(header | {"buffers": [len(b) for b in buffers]}).encode()
    return b"".join([len(text).to_bytes(4, "little"), text, *buffers])


def unframed(data: bytes) -> tuple[dict[str, Any], list[memoryview]]:
    """The message of `frame`. Raises UserError for anything else."""
    try:
        start = 4 + int.from_bytes(data[:4], "little")
        header = json.loads(data[4:start])
        buffers = []
        for length in header["buffers"]:
            if type(length) is not int or length < 0:
                raise ValueError
            buffers.append(memoryview(data)[start : start + length])
            start += length
        if start != len(data):
            raise ValueError
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError("the message is cut off or damaged") from error
    return header, buffers


class Pages:
    """The open pages, each with its worker.

    make     called for each new page
    """

    def __init__(self, make: Callable[[], Desk]) -> None:
        self._make = make
        self._workers: dict[str, Worker] = {}

    def __len__(self) -> int:
        return len(self._workers)

    def open(self) -> str:
        """A new page's name. Raises UserError if there are too many."""
        if len(self) >= MOST_PAGES:
            raise UserError(f"{MOST_PAGES} pages are open: close one")
        name = secrets.token_urlsafe(16)
        self._workers[name] = Worker(self._make())
        return name

    def close(self, name: str) -> None:
        """Free what the page holds."""
        self._workers.pop(name).close()

    def worker(self, name: str) -> Worker:
        """Raises UserError for a page that was closed."""
        if name not in self._workers:
            raise UserError("the connection was lost: reload the page")
        return self._workers[name]


def application(
    pages: Pages, *, token: str, port: int, limits: Limits, ended: Callable[[], bool] = lambda: False
) -> Starlette:
    """The ASGI application; pages are let go when `ended()`."""
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse, Response, StreamingResponse
    from starlette.routing import Route

    hosts = {f"{name}:{port}" for name in (HOST, "localhost", "[::1]")}
    largest = limits.bytes + 2**16

    def refusal(request: Request, *, secret: bool) -> Response | None:
        """Why the request is not answered, or None."""
        origin = request.headers.get("origin")
        if request.headers.get("host") not in hosts:
            return PlainTextResponse("this server answers to its loopback names only", 403)
        if origin is not None and origin not in {f"http://{host}" for host in hosts}:
            return PlainTextResponse("requests of other sites are refused", 403)
        if secret and request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return PlainTextResponse("requests of other sites are refused", 403)
        if secret and not hmac.compare_digest(request.headers.get("x-token", "").encode(), token.encode()):
            return PlainTextResponse("open the address that ca-numpy explore printed", 403)
        return None

    async def file(request: Request) -> Response:
        if (refused := refusal(request, secret=False)) is not None:
            return refused
        name = request.path_params.get("name", "index.html")
        source = resources.files("ca_numpy.explore") / "static" / name
        if "/" in name or not source.is_file():
            return PlainTextResponse("not found", 404)
        kind = FILES[name.rpartition(".")[2]]
        return Response(source.read_bytes(), media_type=kind, headers=HEADERS)

    async def session(request: Request) -> Response:
        if (refused := refusal(request, secret=True)) is not None:
            return refused
        try:
            name = pages.open()
        except UserError as error:
            return StreamingResponse(iter([frame({"error": str(error)})]), headers=HEADERS)

        async def held() -> AsyncIterator[bytes]:
            try:
                yield frame({"session": name})
                while not ended() and not await request.is_disconnected():
                    await asyncio.sleep(PULSE)
            finally:
                pages.close(name)

        return StreamingResponse(held(), media_type="application/octet-stream", headers=HEADERS)

    async def message(request: Request) -> Response:
        if (refused := refusal(request, secret=True)) is not None:
            return refused
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > largest:
                return Response(frame({"error": f"more than {limits.bytes / 2**20:g} MiB: make it smaller"}), 413)
        try:
            header, buffers = unframed(bytes(body))
            worker = pages.worker(request.headers.get("x-session", ""))
        except UserError as error:
            return Response(frame({"done": True, "error": str(error)}), headers=HEADERS)

        async def replies() -> AsyncIterator[bytes]:
            loop, arrived = asyncio.get_running_loop(), asyncio.Queue[tuple[bool, bytes]]()

            def emit(reply: dict[str, Any], out: list[bytes]) -> None:
                with contextlib.suppress(RuntimeError):  # the server has stopped
                    loop.call_soon_threadsafe(arrived.put_nowait, ("done" in reply, frame(reply, out)))

            number = id(arrived)
            worker.submit(number, header, buffers, emit)
            try:
                done = False
                while not done and not await request.is_disconnected():
                    with contextlib.suppress(TimeoutError):
                        done, data = await asyncio.wait_for(arrived.get(), PULSE)
                        yield data
            finally:
                worker.cancel(number)

        return StreamingResponse(replies(), media_type="application/octet-stream", headers=HEADERS)

    return Starlette(
        routes=[
            Route("/", file),
            Route("/static/{name}", file),
            Route("/session", session, methods=["POST"]),
            Route("/message", message, methods=["POST"]),
        ]
    )


class Site:
    """A server for the page, bound to a loopback port; `run` serves until it is interrupted, or `stop` is called.

    image     of each new page: a file, or None
    model     as for `ca_numpy.inpaint`
    backend   "auto" or a backend's name
    port      0 for any that is free

    Raises UserError for an unreadable picture or model, a port in use, and without Starlette and uvicorn.
    """

    def __init__(
        self,
        image: str | PathLike[str] | None = None,
        *,
        model: str | PathLike[str] | BaseGenerator | None = None,
        backend: str = "auto",
        port: int = 0,
        limits: Limits | None = None,
    ) -> None:
        try:
            import starlette.applications  # noqa: F401
            import uvicorn
        except ImportError as error:
            raise UserError(NEEDED) from error
        limits = limits or Limits()
        photo = None if image is None else read_photo(image, max_pixels=limits.pixels)
        name = "picture.png" if image is None else PurePath(image).name
        generator = model if isinstance(model, BaseGenerator) else load(model)
        self.pages = Pages(
            lambda: Desk(Session(photo, model=generator, backend=backend), name=name, limits=limits)
        )  # which share the photograph and the weights
        self.token = secrets.token_urlsafe(24)
        # As a TCP socket by name, asyncio sends small packets at once; else an answer waits 40 ms.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            self._socket.bind((HOST, port))
            self._socket.listen(128)  # a browser may ask before `run` answers
        except (OSError, OverflowError) as error:
            self._socket.close()
            raise UserError(f"port {port} cannot be used ({error}): give another --port, or 0 for any") from error
        self.port = int(self._socket.getsockname()[1])
        self.url = f"http://{HOST}:{self.port}/#{self.token}"
        app = application(
            self.pages, token=self.token, port=self.port, limits=limits, ended=lambda: self._server.should_exit
        )
        options: dict[str, Any] = {"log_level": "warning", "access_log": False, "server_header": False}
        config = uvicorn.Config(app, lifespan="off", ws="none", timeout_graceful_shutdown=1, **options)
        self._server = uvicorn.Server(config)

    def run(self) -> None:
        """Serve until Ctrl-C, or `stop`."""
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """End `run`, which is in another thread."""
        self._server.should_exit = True


def serve(
    image: str | PathLike[str] | None = None, *,
    model: str | PathLike[str] | None = None, backend: str = "auto", port: int = 0, max_pixels: int | None = None,
    browser: bool = True,
) -> None:  # fmt: skip
    """Serve the page until Ctrl-C, and open it in the browser. Arguments and errors as for `Site`."""
    limits = Limits(pixels=most_pixels(max_pixels))
    site = Site(image, model=model, backend=backend, port=port, limits=limits)
    what = "a picture" if image is None else quoted(image)
    print(f"{what}: open {site.url}  (Ctrl-C ends)", flush=True)
    if browser:
        webbrowser.open(site.url)
    site.run()
