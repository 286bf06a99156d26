"""What is asked of the dashboard: each address has an answer, and none of them is a traceback."""

import asyncio
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from perdure.stores.base import RunFilter, Store
from perdure.web.app import dashboard
from tests.fuzz.effort import LONG, fuzz, odd_texts
from tests.unit.cli import corpus

Asked = tuple[str, bytes, bytes, list[tuple[bytes, bytes]]]
OWN = b"127.0.0.1:7070"
KEYS = [
    "state",
    "attr",
    "before",
    "workflow",
    "id",
    "step",
    "crowd",
    "details",
    "run",
    "run_id",
    "keys",
    "counts",
    "seen",
]
KEYS += [
    "page",
    "after",
    "at",
    "from",
    "to",
    "level",
    "stream",
    "offset",
    "limit",
    "width",
    "q",
    "tab",
    "order",
    "zone",
]
VALUES = [
    "0",
    "-1",
    "1",
    "9" * 30,
    "9" * 5_000,
    "\u0663",
    "1e5",
    "0:1",
    "0.2:3",
    "failed",
    "nope",
    "amount>5",
    "a=1..2",
    "1:2,3:4",
]
ENDS = [
    "",
    ".json",
    "/events",
    "/logs",
    "/messages",
    "/events.json",
    "/logs.json",
    "/messages.json",
    "/" + "0" * 32,
    "/x/y",
]


def answered(store: Store, asked: Asked) -> tuple[int, bytes]:
    """What the dashboard answers; a server would put any bytes of a request line into this form."""
    method, path, query, headers = asked
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": path.decode("utf-8", "replace"),
        "raw_path": path,
        "query_string": query,
        "headers": [(b"host", OWN), *headers],
        "scheme": "http",
        "server": ("127.0.0.1", 7070),
        "client": ("127.0.0.1", 50_000),
        "http_version": "1.1",
        "root_path": "",
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"\xff\x00{", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(dashboard(store, now=lambda: corpus.NOW)(scope, receive, send))
    status = next(message["status"] for message in sent if message["type"] == "http.response.start")
    return status, b"".join(message.get("body", b"") for message in sent)


@pytest.fixture(scope="module")
def ids(store: Store) -> list[str]:
    return [row.id for row in store.views.search(RunFilter())]


def escaped(text: str) -> str:
    return quote_from_bytes(text.encode("utf-8", "surrogatepass"), safe="")


@given(st.data())
@example(None)
@fuzz(120)
def test_every_address_has_an_answer(store: Store, ids: list[str], data: Any) -> None:
    for asked in KEPT if data is None else [data.draw(requests(ids))]:
        status, body = answered(store, asked)

        assert status < 500, (asked, status, body[:500])
        assert b"Traceback (most recent call last)" not in body or b"/runs/" in asked[1] or b"run=" in asked[2]


@st.composite
def requests(draw: Any, ids: list[str]) -> Asked:
    id = escaped(draw(st.one_of(st.sampled_from(ids), st.sampled_from(ids), odd_texts)))
    path = draw(
        st.one_of(
            st.sampled_from(["/runs", "/runs.json", "/live", "/", "/static/x", "/static/../app.py"]),
            st.sampled_from(ENDS).map(lambda end: f"/runs/{id}{end}"),
            st.binary(max_size=20).map(lambda data: "/" + quote_from_bytes(data)),
        )
    )
    values = st.one_of(st.sampled_from(VALUES), st.sampled_from(ids), odd_texts)
    pairs = draw(st.lists(st.tuples(st.one_of(st.sampled_from(KEYS), odd_texts), values), max_size=4))
    query = "&".join(f"{escaped(name)}={escaped(value)}" for name, value in pairs)
    raw = draw(st.one_of(st.just(b""), st.just(b""), st.binary(max_size=12)))
    headers = draw(
        st.lists(
            st.sampled_from(
                [(b"cookie", b"\xff=;"), (b"accept", b"*"), (b"range", b"bytes=9-1"), (b"if-none-match", b"\xff")]
            ),
            max_size=2,
        )
    )
    method = draw(st.sampled_from(["GET", "GET", "GET", "GET", "HEAD", "POST", "PUT", "X"]))
    return method, path.encode(), query.encode() + raw, headers


KEPT: list[Asked] = [
    ("GET", b"/live", b"keys=" + b"9" * 30, []),
    ("GET", b"/live", b"keys=" + b"9" * 5_000, []),
    ("GET", b"/runs", b"before=" + b"9" * 30, []),
    ("GET", b"/runs", b"before=" + b"9" * 5_000, []),
]
"""What was found once."""
assert not LONG or KEPT
