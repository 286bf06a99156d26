"""Clients whose server goes away: what they ask meanwhile waits, is taken once, and what does not pass is told at once."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
import pytest

from perdure import Client, Engine, activity, errors, stream, workflow, workflows
from perdure.client.patience import Trying
from tests.postgres.proxy import Proxy, Side
from tests.postgres.server import Server


@workflow
class Counter:
    def __init__(self) -> None:
        self.sum = 0
        self.ended = False

    @workflow.run
    async def run(self) -> int:
        await workflows.wait_until(lambda: self.ended)
        return self.sum

    @workflow.signal
    async def add(self, more: int) -> None:
        self.sum += more

    @workflow.update
    async def end(self, more: int) -> int:
        self.sum += more
        self.ended = True
        return self.sum

    @workflow.query
    def total(self) -> int:
        return self.sum


PARTS = [Counter]


class Counted:
    """How often calls were to be asked again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failures = threading.Semaphore(0)
        failed = Trying.failed

        def noted(trying: Trying, *args: Any) -> float:
            self.failures.release()
            return failed(trying, *args)

        monkeypatch.setattr(Trying, "failed", noted)

    def wait(self, times: int) -> None:
        for _ in range(times):
            assert self.failures.acquire(timeout=60)


@contextmanager
def away(server: Server) -> Iterator[None]:
    server.stop(signal.SIGQUIT)
    try:
        yield
    finally:
        server.start()


def asked(pool: ThreadPoolExecutor, make: Callable[[], Any], awaited: bool) -> "Future[Any]":
    async def asks() -> Any:
        return await make()

    return pool.submit(partial(asyncio.run, asks()) if awaited else lambda: make().wait())


ASKED: dict[str, Callable[[Any, str], Any]] = {
    "start": lambda verbs, id: verbs.start(Counter.run(), id=f"{id}-new"),
    "start of any id": lambda verbs, id: verbs.start(Counter.run()),
    "signal": lambda verbs, id: verbs.handle(id).signal(Counter.add, 2),
    "query": lambda verbs, id: verbs.handle(id, Counter.run).query(Counter.total),
    "start_update": lambda verbs, id: verbs.handle(id).start_update(Counter.end, 3),
    "update": lambda verbs, id: verbs.handle(id).update(Counter.end, 3),
    "update_with_start": lambda verbs, id: verbs.update_with_start(
        Counter.run(), Counter.end.message(3), id=f"{id}-new"
    ),
    "cancel": lambda verbs, id: verbs.handle(id).cancel(),
    "terminate": lambda verbs, id: verbs.handle(id).terminate(),
    "retry": lambda verbs, id: verbs.handle(id).retry(),
}


@pytest.mark.parametrize("awaited", [True, False])
def test_what_is_asked_while_the_server_is_away_is_taken_when_it_is_back(
    server: Server, database: str, monkeypatch: pytest.MonkeyPatch, awaited: bool
) -> None:
    counted, address = Counted(monkeypatch), server.address(database)
    with (
        Engine(address, PARTS) as engine,
        Client(address, patience="1h") as client,
        ThreadPoolExecutor(2 * len(ASKED)) as pool,
    ):
        asks = {
            f"{door}-{name}": partial(ask, verbs, f"{door}-{name}")
            for name, ask in ASKED.items()
            for door, verbs in (("engine", engine), ("client", client))
            if not (verbs is engine and "start" in name)  # that is with the engine, and not asked again
        }
        engine._door.patience_seconds = 3_600.0
        for id in asks:
            engine.start(Counter.run(), id=id).wait()
        with away(server):
            answers = {id: asked(pool, make, awaited) for id, make in asks.items()}
            counted.wait(3 * len(answers))
            assert not [id for id, answer in answers.items() if answer.done()]

        for answer in answers.values():
            answer.result()


@pytest.mark.parametrize("side", ["request", "answer"])
@pytest.mark.parametrize("awaited", [True, False])
def test_what_is_lost_on_its_way_is_sent_again_and_taken_once(
    server: Server, database: str, side: Side, awaited: bool
) -> None:
    with (
        Proxy(server.port) as proxy,
        Engine(server.address(database), PARTS) as engine,
        Client(proxy.address(database)) as client,
        ThreadPoolExecutor() as pool,
    ):
        engine.start(Counter.run(), id="counter").wait()
        engine.start(Counter.run(), id="other").wait()
        handle = client.handle("counter", Counter.run)

        def lost(make: Callable[[], Any]) -> Any:
            proxy.lose("INSERT INTO perdure.mail", side)
            answer = asked(pool, make, awaited).result()
            assert proxy.lost.acquire(timeout=60)
            return answer

        lost(lambda: handle.as_request("two").signal(Counter.add, 2))
        assert lost(lambda: handle.query(Counter.total)) == 2
        assert lost(lambda: handle.update(Counter.end, 3)) == 5
        lost(lambda: client.handle("other").terminate())

        assert handle.result().wait() == 5
        with pytest.raises(errors.RunTerminated):
            engine.handle("other").result().wait()


@pytest.mark.parametrize("awaited", [True, False])
def test_what_could_be_taken_twice_is_not_sent_again(server: Server, database: str, awaited: bool) -> None:
    with (
        Proxy(server.port) as proxy,
        Engine(server.address(database), PARTS) as engine,
        Client(proxy.address(database)) as client,
        ThreadPoolExecutor() as pool,
    ):
        handle = engine.start(Counter.run(), id="counter").wait()
        proxy.lose("INSERT INTO perdure.mail", "answer")

        with pytest.raises(errors.StoreUnreachable, match="whether it was taken is not known"):
            asked(pool, lambda: client.handle("counter").signal("add", 2), awaited).result()

        assert proxy.lost.acquire(timeout=60)
        assert handle.update(Counter.end, 0).wait() == 2


@pytest.mark.parametrize("awaited", [True, False])
def test_what_changes_something_is_waited_for_as_long_as_the_client_says(
    server: Server, database: str, awaited: bool
) -> None:
    address = server.address(database)
    with Engine(address, PARTS) as engine:
        engine.start(Counter.run(), id="counter").wait()
    with (
        Client(address, patience="0s") as hasty,
        Client(address, patience="200ms") as client,
        ThreadPoolExecutor() as pool,
        away(server),
    ):
        with pytest.raises(errors.StoreUnreachable, match=r"and that the address is right$"):
            asked(pool, lambda: hasty.start(Counter.run()), awaited).result()
        for make in (
            lambda: client.start(Counter.run()),
            lambda: client.handle("counter").signal("add", 2),
            lambda: client.handle("counter").terminate(),
        ):
            with pytest.raises(errors.StoreUnreachable, match=r"waited for, for 0\.2 s; nothing was written"):
                asked(pool, make, awaited).result()


_go_on = threading.Event()


@activity
async def tells() -> None:
    words = stream("words", str)
    await words.write("before")
    while not _go_on.is_set():
        await asyncio.sleep(0.01)
    await words.write("after")


@workflow
async def told() -> None:
    await tells()


@pytest.mark.parametrize("awaited", [True, False])
def test_whoever_follows_a_stream_goes_on_when_the_server_is_back(
    server: Server, database: str, monkeypatch: pytest.MonkeyPatch, awaited: bool
) -> None:
    _go_on.clear()
    counted, address, heard = Counted(monkeypatch), server.address(database), threading.Semaphore(0)
    with Engine(address, [told, tells]) as engine, Client(address) as client, ThreadPoolExecutor() as pool:
        engine.start(told(), id="told").wait()
        words = client.handle("told").stream("words", type=str)

        async def hears() -> list[str]:
            said: list[str] = []
            async for chunk in words:
                said.append(chunk.value)
                heard.release()
            return said

        def listens() -> list[str]:
            said: list[str] = []
            for chunk in words:
                said.append(chunk.value)
                heard.release()
            return said

        answer = pool.submit(partial(asyncio.run, hears()) if awaited else listens)
        assert heard.acquire(timeout=60)
        with away(server):
            counted.wait(3)
            with pytest.raises(errors.StoreUnreachable):
                list(client.handle("told").stream("words", follow=False))
        _go_on.set()

        assert answer.result() == ["before", "after"]


def test_who_stops_waiting_for_an_answer_is_forgotten(server: Server, database: str) -> None:
    address = server.address(database)
    with Engine(address, PARTS) as engine, Client(address) as client:
        engine.start(Counter.run(), id="counter").wait()

        async def asks() -> None:
            waits = asyncio.ensure_future(client.handle("counter").result())
            while not len(client._database._waiters):
                await asyncio.sleep(0.01)
            waits.cancel()
            await asyncio.wait([waits])

        asyncio.run(asks())

        # The thread that asks may come to its end after the one that has given up.
        while len(client._database._waiters):
            threading.Event().wait(0.01)


@pytest.mark.parametrize("awaited", [True, False])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("ALTER TABLE perdure.runs RENAME COLUMN note TO notes", "has not the schema of this version"),
        ("DROP DATABASE {} WITH (FORCE)", "there is no such database"),
    ],
)
def test_whoever_is_waiting_is_told_what_does_not_pass_by_itself(
    server: Server, database: str, change: str, said: str, awaited: bool
) -> None:
    address = server.address(database)
    with Engine(address, PARTS) as engine:
        engine.start(Counter.run(), id="counter").wait()
    with Client(address) as client, ThreadPoolExecutor() as pool:
        answer = asked(pool, client.handle("counter").result, awaited)
        while len(client._database._waiters) < 1:
            threading.Event().wait(0.01)
        other = server.address("postgres" if "DROP" in change else database)
        with psycopg.connect(other, autocommit=True) as connection:
            connection.execute(change.format(database).encode())

        with pytest.raises(errors.StoreUnreachable, match=said):
            answer.result()
