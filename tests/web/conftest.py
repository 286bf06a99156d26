"""The dashboard on the corpus of runs, at the corpus's own time: asked without a socket, and shown by a real browser."""

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from perdure.stores.base import Store
from perdure.stores.open import open_store
from perdure.web.app import dashboard
from perdure.web.server import Served, bound
from tests.unit.cli import corpus

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
HERE = "http://127.0.0.1"


def corpus_time() -> int:
    return corpus.NOW


def opened(folder: Path) -> Store:
    """A database without runs, with an owner."""
    store = open_store(f"sqlite:///{folder / 'runs.db'}")
    store.admin.try_own(corpus.MEMBER.host, corpus.MEMBER.pid, corpus.MEMBER.build, corpus.NOW)
    return store


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Store]:
    """The owner of a database without runs."""
    store = opened(tmp_path)
    yield store
    store.admin.close()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A database with a run of each kind, for all tests: the dashboard only reads."""
    store = opened(tmp_path_factory.mktemp("web"))
    corpus.fill(store)
    yield store
    store.admin.close()


class Answer:
    """What the dashboard has answered."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")

    def json(self) -> Any:
        return json.loads(self.body)


class Web:
    """Asks a dashboard without a socket."""

    def __init__(self, store: Store, **options: Any) -> None:
        self._app = dashboard(store, now=corpus_time, **options)

    def get(self, address: str, host: str = "127.0.0.1:7070") -> Answer:
        return self.ask("GET", address, host)

    def ask(self, method: str, address: str, host: str = "127.0.0.1:7070") -> Answer:
        """The address is sent as it stands, as a browser would; what may not stand there is escaped."""
        path, _, query = quote(address, safe="/?&=%:,;+~.-_[]()*").partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(b"host", host.encode())],
            "scheme": "http",
            "server": ("127.0.0.1", 7070),
            "client": ("127.0.0.1", 50_000),
            "http_version": "1.1",
            "root_path": "",
        }
        sent: list[Any] = []

        async def receive() -> Any:
            await asyncio.Event().wait()  # nobody sends a body, and nobody hangs up

        async def send(message: Any) -> None:
            sent.append(message)

        with ThreadPoolExecutor(1) as beside:  # a browser that is driven has a loop on this thread
            beside.submit(asyncio.run, self._app(scope, receive, send)).result()
        start = next(message for message in sent if message["type"] == "http.response.start")
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], headers, b"".join(message.get("body", b"") for message in sent))


@pytest.fixture(scope="session")
def web(store: Store) -> Web:
    """Asks the dashboard of a database that holds a run of each kind."""
    return Web(store)


def chromium() -> str | None:
    """The browser of this machine."""
    named = os.environ.get("PERDURE_CHROMIUM")
    return named or next(filter(None, map(shutil.which, CHROMIUM)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Closed after each module: while it is driven a loop runs on this thread, which tests of engines do not expect."""
    path = chromium()
    if path is None:
        pytest.skip("no Chromium is installed here; install it, or name one by PERDURE_CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"], timeout=300_000)
        yield running
        running.close()


class Looked:
    """A page in a browser, and what it complained of."""

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        page.set_default_timeout(300_000)
        page.on("console", lambda message: self._hear(message))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def open(self, path: str) -> Any:
        self.page.goto(self.url + path)
        return self.page


@pytest.fixture
def shows(browser: Any) -> Iterator[Callable[..., Looked]]:
    """Shows the dashboard of a store in a browser."""
    opened: list[Any] = []

    def show(store: Store, now: Callable[[], int] = corpus_time, **options: Any) -> Looked:
        served = Served(dashboard(store, now=now), bound("127.0.0.1", 0))
        served.__enter__()
        context = browser.new_context(**({"viewport": {"width": 1440, "height": 900}} | options))
        opened.extend((context, served))
        return Looked(context.new_page(), f"{HERE}:{served.port}")

    yield show
    for each in opened:
        if isinstance(each, Served):
            each.__exit__()
        else:
            each.close()
