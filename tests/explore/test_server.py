"""The server answers this machine's own page, and nobody else."""

import http.client
import json
import threading
import time

import numpy as np
import pytest
from explore_cases import SIZE, file_of, fill_request, generator, picture

from ca_numpy.errors import UserError
from ca_numpy.explore.requests import Limits
from ca_numpy.explore.server import MOST_PAGES, Site, frame, unframed

pytest.importorskip("starlette", reason="the page needs the extra `explore`")
pytest.importorskip("uvicorn", reason="the page needs the extra `explore`")

LIMITS = Limits(bytes=200_000, pixels=20_000)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    file = tmp_path_factory.mktemp("explore") / "some.png"
    file.write_bytes(file_of(picture()))
    made = Site(file, model=generator(), backend="numpy", limits=LIMITS)
    thread = threading.Thread(target=made.run)
    thread.start()
    yield made
    made.stop()
    thread.join(20)
    assert not thread.is_alive()


class Client:
    """One page, without a browser."""

    def __init__(self, site, **headers):
        self.site = site
        self.headers = {"X-Token": site.token} | headers

    def start(self, method, path, body=None):
        """A connection and its response, which may go on."""
        connection = http.client.HTTPConnection("127.0.0.1", self.site.port, timeout=60)
        connection.request(method, path, body, {k: v for k, v in self.headers.items() if v is not None})
        return connection, connection.getresponse()

    def send(self, method, path, body=None):
        """The response, and its contents."""
        connection, response = self.start(method, path, body)
        contents = response.read()
        connection.close()
        return response, contents

    def open(self):
        self.connection, self.held = self.start("POST", "/session")
        length = int.from_bytes(self.held.read(4), "little")
        name = json.loads(self.held.read(length))
        self.headers["X-Session"] = name.get("session", "")
        return name

    def close(self):
        self.held.close(), self.connection.close()

    def ask(self, message, buffers=()):
        """The last reply."""
        data = self.send("POST", "/message", frame(message, buffers))[1]
        while data:
            length = int.from_bytes(data[:4], "little")
            end = 4 + length + sum(json.loads(data[4 : 4 + length])["buffers"])
            reply, parts = unframed(data[:end])
            data = data[end:]
        return reply, parts


def wait_for(condition):
    for _ in range(200):
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def client(site):
    opened = Client(site)
    opened.open()
    yield opened
    opened.close()
    assert wait_for(lambda: len(site.pages) == 0)


def test_the_page_and_its_modules_are_served_with_a_strict_policy(site):
    for path, kind in (
        ("/", "text/html"),
        ("/static/explorer.js", "text/javascript"),
        ("/static/explorer.css", "text/css"),
    ):
        response, contents = Client(site, **{"X-Token": None}).send("GET", path)
        assert response.status == 200
        assert response.headers["Content-Type"].startswith(kind)
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert b"https://" not in contents  # nothing is loaded from elsewhere
    for path in ("/static/..%2fserver.py", "/static/../server.py", "/static/none.js", "/static/"):
        assert Client(site).send("GET", path)[0].status == 404


def test_a_session_over_the_wire(client):
    reply, [shown] = client.ask({"kind": "start"})
    assert (reply["width"], reply["height"], reply["name"]) == (*SIZE[::-1], "some.png")
    assert bytes(shown).startswith(b"\x89PNG")
    assert client.ask(*fill_request())[0]["attention"]
    assert client.ask({"kind": "look", "x": 55, "y": 30})[0]["cell"] == [3, 6]
    assert "no request" in client.ask({"kind": "nonsense"})[0]["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:80"},
        {"Host": "127.0.0.1"},  # another port's site
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"X-Token": "wrong"},
        {"X-Token": None},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["/session", "/message"])
def test_requests_of_others_are_refused(site, path, headers):
    response, _ = Client(site, **headers).send("POST", path, b"")
    assert response.status == 403
    assert len(site.pages) == 0
    if "Host" in headers:
        assert Client(site, **headers).send("GET", "/")[0].status == 403
    assert response.headers.get("Access-Control-Allow-Origin") is None
    assert Client(site, Origin="https://evil.example").send("OPTIONS", path)[0].status == 405


def test_its_own_names_are_accepted(site):
    for name in ("127.0.0.1", "localhost", "[::1]"):
        host = f"{name}:{site.port}"
        one = Client(site, Host=host, Origin=f"http://{host}", **{"Sec-Fetch-Site": "same-origin"})
        assert "session" in one.open()
        one.close()
    assert wait_for(lambda: len(site.pages) == 0)


def test_it_listens_on_the_loopback_address_only(site):
    assert site._socket.getsockname()[0] == "127.0.0.1"
    assert site.url == f"http://127.0.0.1:{site.port}/#{site.token}"


def test_uploads_are_limited_while_they_arrive(client):
    response, _ = client.send("POST", "/message", frame({"kind": "open", "name": "a.png"}, [b"\0" * 400_000]))
    assert response.status == 413
    large = file_of(np.zeros((200, 200), np.uint8))
    assert "pixels, more than 20000" in client.ask({"kind": "open", "name": "a.png"}, [large])[0]["error"]
    assert "not an image" in client.ask({"kind": "open", "name": "a.png"}, [b"text"])[0]["error"]
    assert client.ask({"kind": "start"})[0]["name"] == "some.png"


@pytest.mark.parametrize(
    "body", [b"", b"\1", b"\xff" * 50, frame({"kind": "start"})[:-3], frame({}) + b"x", b"\2\0\0\0[]"]
)
def test_damaged_messages_get_a_message(client, body):
    reply, _ = unframed(client.send("POST", "/message", body)[1])
    assert "cut off or damaged" in reply["error"]


def test_two_pages_are_independent(site):
    one, two = Client(site), Client(site)
    one.open(), two.open()
    other = file_of(picture()[::-1])
    assert two.ask({"kind": "open", "name": "other.png"}, [other])[0]["name"] == "other.png"
    replies = {}
    threads = [
        threading.Thread(target=lambda who=who, name=name: replies.update({name: who.ask(*fill_request())}))
        for who, name in ((one, "one"), (two, "two"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert bytes(replies["one"][1][0]) != bytes(replies["two"][1][0])
    assert one.ask({"kind": "start"})[0]["name"] == "some.png"
    one.close(), two.close()
    assert wait_for(lambda: len(site.pages) == 0)


def test_closing_the_page_frees_its_session(site):
    one = Client(site)
    one.open()
    worker = site.pages.worker(one.headers["X-Session"])
    session = worker._desk.session
    one.ask(*fill_request())
    one.close()
    assert wait_for(lambda: not session.is_open)
    assert len(site.pages) == 0
    reply, _ = one.ask({"kind": "start"})
    assert "reload the page" in reply["error"]


def test_leaving_ends_the_work(site):
    one = Client(site)
    one.open()
    worker = site.pages.worker(one.headers["X-Session"])
    connection, running = one.start("POST", "/message", frame(*fill_request("patchmatch")))
    running.close(), connection.close()
    one.close()
    assert wait_for(lambda: not worker._running and worker._desk is None)


def test_there_is_a_limit_of_pages(site):
    many = [Client(site) for _ in range(MOST_PAGES)]
    assert all("session" in one.open() for one in many)
    extra = Client(site)
    assert f"{MOST_PAGES} pages are open" in extra.open()["error"]
    for one in [*many, extra]:
        one.close()
    assert wait_for(lambda: len(site.pages) == 0)


def test_a_port_in_use_is_named(site):
    with pytest.raises(UserError, match=f"port {site.port} cannot be used"):
        Site(model=generator(), port=site.port)
    with pytest.raises(UserError, match="port 70000"):
        Site(model=generator(), port=70000)


def test_a_missing_extra_is_named(monkeypatch):
    for missing in ("uvicorn", "starlette.applications"):
        with monkeypatch.context() as without:
            without.setitem(__import__("sys").modules, missing, None)
            with pytest.raises(UserError, match=r'pip install "ca-numpy\[explore\]"'):
                Site(model=generator())
