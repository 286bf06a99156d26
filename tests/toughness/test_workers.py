"""Workers of queues and clients, whose database goes away as well: tasks are done as they are promised, and who waits gets an answer."""

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from perdure import Client, Engine, Worker, activity, errors, workflow
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
        with pytest.raises(errors.StoreUnreachable):
            client.start(transfers(f"{database}-0", 2), id=f"{database}-0").wait()

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
