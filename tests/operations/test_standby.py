"""What docs/postgresql.md says of a hot standby: whoever only looks may look there."""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from perdure import Client, Engine, errors
from perdure.cli.main import cli
from perdure.cli.options import Settings
from perdure.stores.open import open_store
from perdure.stores.postgres.migrating import migrate
from tests.operations.page import ask, query
from tests.operations.shipments import ALL, begun, sent, shipment, until
from tests.postgres.server import Missing, Server
from tests.web.conftest import Web


class Pair(NamedTuple):
    primary: str
    standby: str
    both: str


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """A primary with a run that is done and one that waits, and a standby that has seen them."""
    try:
        made = Server()
    except Missing as missing:
        pytest.skip(str(missing))
    with made as primary:
        migrate(primary.address())
        with Server(of=primary) as standby, Engine(primary.address(), ALL) as engine:
            sent(begun(engine, ["done"]))
            begun(engine, ["open"])
            [(written,)] = primary.ask("SELECT pg_current_wal_flush_lsn()::text")
            until(lambda: standby.ask(f"SELECT pg_last_wal_replay_lsn() >= '{written}'") == [(True,)])
            both = f"postgresql://perdure@127.0.0.1:{standby.port},127.0.0.1:{primary.port}/postgres"
            yield Pair(primary.address(), standby.address(), f"{both}?target_session_attrs=read-write")


@pytest.fixture
def perdure(pair: Pair, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main([*arguments, "--db", pair.standby], obj=Settings())
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return call


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("list",), "done"),
        (("count",), "2"),
        (("show", "open"), "waits for a message"),
        (("result", "done"), "done/sent"),
        (("builds",), "an engine's"),
        (("export", "done"), "perdure.run"),
        (("migrate", "--check"), ""),
    ],
)
def test_reading_commands_work_there(perdure: Any, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = perdure(*arguments)

    assert code == 0, err
    assert said in out


@pytest.mark.parametrize(
    "arguments", [("signal", "open", "go", "now"), ("start", "shipment", "--input", '["x"]'), ("query", "open", "x")]
)
def test_writing_ones_are_refused_with_the_way_to_the_primary(perdure: Any, arguments: tuple[str, ...]) -> None:
    code, _, err = perdure(*arguments)

    assert code == 5 and "takes no writes" in err and "target_session_attrs" in err


def test_doctor_says_that_it_is_one(perdure: Any) -> None:
    code, out, _ = perdure("doctor", "--json")

    findings = {each["check"]: each for each in json.loads(out)}
    assert code == 0, findings
    assert findings["standby"]["text"].startswith("a standby") and findings["check"]["level"] == "ok"
    assert findings["engine"]["text"].startswith("1 engine takes part")


def test_the_dashboard_shows_runs_there(pair: Pair) -> None:
    store = open_store(pair.standby, create=False, migrate=False)
    try:
        web = Web(store)
        pages = ("/runs", "/runs/done", "/runs/open", "/runs/open/events", "/runs/open/logs", "/runs/open/messages")
        assert {page: web.get(page).status for page in pages} == dict.fromkeys(pages, 200)
    finally:
        store.admin.close()


def test_an_address_that_names_both_finds_the_primary(pair: Pair) -> None:
    with Client(pair.both) as client:
        handle = client.start(shipment("both"), id="both").wait()
        sent({"both": handle})
    with Client(pair.standby) as reader, pytest.raises(errors.StoreUnreachable):
        reader.start(shipment("none"), id="none").wait()


def test_the_page_tells_how_far_it_is_behind(pair: Pair) -> None:
    [(name, _, behind)] = ask(pair.primary, query("replication:"))

    assert name == "standby" and behind >= 0
