"""Workers of queues and clients, whose database goes away as well: tasks are done as they are promised, and who waits gets an answer."""

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
import pytest

from perdure import Client, Engine, Worker, activity, errors, workflow
from perdure.kernel.project import RunRow
from tests.postgres.proxy import Proxy, Side
from tests.postgres.server import Server
from tests.toughness.load import ELSEWHERE, Load, engines, posted, transfers

LOST_EACH = 3


@contextmanager
def serving(address: str) -> Iterator[Worker]:
    with Worker(address, ELSEWHERE, queues=["books"]) as worker:
        yield worker


def test_workers_go_on_when_the_server_is_back(server: Server, database: str) -> None:
    address = server.address(database)
    with engines(address, lease="60s") as both, serving(address), serving(address):
        load = Load(both, database, flow=posted)
        for part in (0.1, 0.3, 0.5):
            load.when(part)
            server.restart(signal.SIGQUIT)

        load.demand_promised()


def test_connections_of_workers_are_cut_again_and_again(server: Server, database: str) -> None:
    with (
        Proxy(server.port) as proxy,
        engines(server.address(database), lease="60s") as both,
        serving(proxy.address(database)),
    ):
        load = Load(both, database, flow=posted)
        for percent in range(5, 50, 10):
            load.when(percent / 100)
            proxy.cut()

        load.demand_promised()


@pytest.mark.parametrize("side", ["request", "answer"])
def test_exchanges_that_are_lost_do_nothing_twice(server: Server, database: str, side: Side) -> None:
    with (
        Proxy(server.port) as proxy,
        engines(server.address(database), count=1, lease="60s") as one,
        serving(proxy.address(database)),
    ):
        for _ in range(LOST_EACH):
            proxy.lose("perdure.exchange(", side)
        load = Load(one, database, runs=15, steps=5, flow=posted)

        load.demand_promised()
        for _ in range(LOST_EACH):
            assert proxy.lost.acquire(timeout=60)


@pytest.mark.parametrize("side", ["request", "answer"])
def test_a_start_that_is_lost_is_made_again_and_once(server: Server, database: str, side: Side) -> None:
    with (
        Proxy(server.port) as proxy,
        engines(server.address(database), count=1),
        Client(proxy.address(database)) as client,
    ):
        proxy.lose("perdure.submit_alone(", side)
        handle = client.start(transfers(f"{database}-0", 2), id=f"{database}-0", id_reuse="allow_duplicate").wait()

        assert proxy.lost.acquire(timeout=60)
        assert handle.run_id is not None and not handle._attached
        handle.result().wait()
        Load([client], database, runs=1, steps=2).demand_exact()
        assert server.ask("SELECT count(*) FROM perdure.runs", database) == [(1,)]


_let_go = threading.Event()


@activity
def hold() -> str:
    _let_go.wait()
    return "held"


@workflow
async def held() -> str:
    return await hold()


def test_who_waits_for_a_result_gets_it_though_the_server_was_gone(server: Server, database: str) -> None:
    address = server.address(database)
    with Engine(address, [held, hold]), Client(address) as client, ThreadPoolExecutor() as pool:
        try:
            result = pool.submit(client.start(held(), id="held").wait().result().wait)
            while not len(client._database._waiters):
                threading.Event().wait(0.01)
            for how in (signal.SIGQUIT, signal.SIGINT):
                server.restart(how)
        finally:
            _let_go.set()

        assert result.result() == "held"


class Leaves:
    """The server leaves when somebody reads how a run has ended."""

    def __init__(self, server: Server, views: Any) -> None:
        self._server = server
        self._views = views
        self._end = self._views.end_of_chain
        self._views.end_of_chain = self._read  # type: ignore[method-assign]
        self.asked = 0

    def _read(self, key: int) -> RunRow | None:
        if not self.asked:
            self._server.stop(signal.SIGQUIT)
        self.asked += 1
        return self._end(key)

    def wait(self, times: int) -> None:
        while self.asked < times:
            time.sleep(0.01)


@workflow
async def seven() -> int:
    return 7


@pytest.mark.parametrize("awaited", [True, False])
def test_a_server_that_goes_away_while_an_answer_is_read_is_waited_for(
    server: Server, database: str, awaited: bool
) -> None:
    address = server.address(database)
    with Engine(address, [seven]) as engine:
        engine.start(seven(), id="ended").wait()
        assert engine.handle("ended").result().wait() == 7
    with Client(address) as client, ThreadPoolExecutor() as pool:
        leaves = Leaves(server, client._database.store.views)
        answer = client.handle("ended").result()

        async def asks() -> int:
            return await answer

        try:
            result = pool.submit(partial(asyncio.run, asks()) if awaited else answer.wait)
            leaves.wait(3)
            assert not result.done()
        finally:
            server.start()

        assert result.result() == 7


@pytest.mark.parametrize("awaited", [True, False])
def test_a_server_that_goes_away_as_somebody_begins_to_wait_is_waited_for(
    server: Server, database: str, awaited: bool
) -> None:
    with Engine(server.address(database), [seven]) as engine, ThreadPoolExecutor() as pool:
        engine.start(seven(), id="ended").wait()
        assert engine.handle("ended").result().wait() == 7
        handle = engine.handle("ended")
        leaves = Leaves(server, engine.store.views)

        async def asks() -> int:
            return await handle.result()

        try:
            result = pool.submit(partial(asyncio.run, asks()) if awaited else handle.result().wait)
            leaves.wait(1)
        finally:
            server.start()

        assert result.result() == 7


def test_whoever_waits_only_for_so_long_is_told_that_the_database_does_not_answer(
    server: Server, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    address = server.address(database)
    with Engine(address, [seven]) as engine:
        engine.start(seven(), id="ended").wait()
        assert engine.handle("ended").result().wait() == 7
    with Client(address) as client:
        Leaves(server, client._database.store.views)
        try:
            with pytest.raises(
                errors.WaitedTooLong, match="no answer within 2 s; the database does not answer"
            ) as told:
                client.handle("ended").result(timeout=2).wait()
        finally:
            server.start()

    cause = told.value.__cause__
    assert isinstance(cause, errors.StoreUnreachable) and str(cause) in str(told.value)
    assert [record.message for record in caplog.records if "is asked again: " in record.message]


@pytest.mark.parametrize("awaited", [True, False])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("ALTER TABLE perdure.runs RENAME COLUMN note TO notes", "has not the schema of this version"),
        (
            "ALTER TABLE perdure.history RENAME TO was; "
            "CREATE VIEW perdure.history AS SELECT * FROM perdure.was WHERE 1 / (length(events) - length(events)) = 1",
            "the server refuses this",
        ),
        ("DROP DATABASE {} WITH (FORCE)", "there is no such database"),
    ],
)
def test_whoever_waits_is_told_at_once_what_does_not_pass_by_itself(
    server: Server, database: str, change: str, said: str, awaited: bool
) -> None:
    address = server.address(database)
    with Engine(address, [seven]) as engine:
        engine.run(seven(), id="ended").wait()
    with Client(address) as client:
        views = client._database.store.views
        read = views.end_of_chain

        def changed(key: int) -> RunRow | None:
            views.end_of_chain = read  # type: ignore[method-assign]
            with psycopg.connect(
                server.address("postgres" if "DROP" in change else database), autocommit=True
            ) as other:
                other.execute(change.format(database).encode())
            return read(key)

        views.end_of_chain = changed  # type: ignore[method-assign]
        answer = client.handle("ended").result(timeout=60)

        async def asks() -> int:
            return await answer

        with pytest.raises(errors.StoreUnreachable, match=said):
            asyncio.run(asks()) if awaited else answer.wait()
