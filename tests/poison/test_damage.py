"""A row that cannot be read: its run is blocked with what is wrong, the others go on, and it goes on when the row is mended."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from perdure import Client, Engine, Retry, RunBlocked, Worker, activity, channel, workflow
from perdure.errors import StoreCorrupt
from tests.poison.beside import NEIGHBOURS, STEPS, add, neighbour

go_on = channel("go on", str)


@workflow
async def waits() -> int:
    first = await add(1, 1)
    await go_on.receive()
    return await add(first, 1)


@activity(queue="far", retry=Retry(initial=0.001, max_attempts=2))
async def far(n: int) -> int:
    return n


@workflow
async def asks_far(n: int) -> int:
    return await far(n)


@activity(retry=Retry(initial="1h", maximum="1h"))
async def fails() -> None:
    raise ConnectionError("not today")


@workflow
async def retries() -> None:
    await fails()


ALL: list[Any] = [waits, asks_far, retries, fails, add, neighbour, far]
DAMAGED: dict[str, Callable[[bytes], object]] = {
    "is empty": lambda data: b"",
    "ends early": lambda data: data[:-1],
    "goes on": lambda data: data + b"\x01",
    "has an event of no known kind": lambda data: data.replace(b"\x99\x01", b"\x99\x7f", 1),
    "has half a character in it": lambda data: data.replace(b"waits", b"w\xe9its").replace(b"fails", b"f\xe9ils"),
    "is nested without end": lambda data: b"\x91" * 100_000,
    "is a number": lambda data: 5,
    "is a text": lambda data: "text",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def change(path: Path, table: str, column: str, spoil: Callable[[bytes], object], where: str = "1") -> bytes:
    """Spoil the first such row of the run "bad"; what was there."""
    with closing(sqlite3.connect(path)) as connection, connection:
        select = f"SELECT {column} FROM {table} WHERE run = (SELECT key FROM runs WHERE id = 'bad') AND {where}"
        ((before,),) = connection.execute(f"{select} LIMIT 1").fetchall()
        after = spoil(before)
        assert after != before
        update = f"UPDATE {table} SET {column} = ? WHERE {column} = ?"
        assert connection.execute(update, (after, before)).rowcount > 0
    return before


def change_row(path: Path, id: str, column: str, value: object) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(f"UPDATE runs SET {column} = ? WHERE id = ?", (value, id)).rowcount == 1


async def neighbours_go_on(engine: Engine) -> None:
    totals = await asyncio.gather(*[engine.run(neighbour(n)) for n in range(NEIGHBOURS)])
    assert totals == [STEPS * n for n in range(NEIGHBOURS)]


@pytest.mark.parametrize("how", DAMAGED)
async def test_a_run_whose_event_cannot_be_read_is_blocked_until_the_row_is_mended(path: Path, how: str):
    address = f"sqlite:///{path}"
    async with Engine(address, ALL) as engine:
        for id in ("bad", "good"):
            await engine.start(waits(), id=id)
        await neighbours_go_on(engine)
    before = change(path, "history", "events", DAMAGED[how], "seq = 1")

    async with Engine(address, ALL) as engine:
        await engine.handle("good").signal(go_on, "now")
        with pytest.raises(Exception, match="what the database holds of it cannot be read"):
            await engine.handle("bad").signal(go_on, "now")
        assert await engine.handle("good").result() == 3
        with pytest.raises(RunBlocked) as blocked:
            await engine.handle("bad").result()
        await neighbours_go_on(engine)
    change(path, "history", "events", lambda _: before, "seq = 1")
    async with Engine(address, ALL) as engine:
        await engine.handle("bad").retry()
        await engine.handle("bad").signal(go_on, "now")
        result = await engine.handle("bad").result()

    assert "run 'bad' is blocked: what the database holds of it cannot be read (" in str(blocked.value)
    assert "hint: restore a backup; perdure doctor lists the damage" in str(blocked.value)
    assert result == 3


@pytest.mark.parametrize("how", [how for how in DAMAGED if "event" not in how])
async def test_a_run_whose_attempt_cannot_be_read_is_blocked(path: Path, how: str):
    address = f"sqlite:///{path}"
    async with Engine(address, ALL) as engine:
        handle = await engine.start(retries(), id="bad")
        while not (await handle.describe()).steps[0].attempts[0].error:
            await asyncio.sleep(0)
    change(path, "attempts", "detail", DAMAGED[how] if "character" not in how else lambda data: b"\x94\xa1\xe9")

    async with Engine(address, ALL) as engine:
        with pytest.raises(Exception, match="what the database holds of it cannot be read"):
            await engine.handle("bad").cancel()
        await neighbours_go_on(engine)
        with pytest.raises(RunBlocked, match="cannot be read"):
            await engine.handle("bad").result()


@pytest.mark.parametrize("how", [how for how in DAMAGED if "event" not in how])
async def test_a_task_that_its_worker_cannot_read_fails_once_and_the_next_attempt_has_one_of_its_own(
    path: Path, how: str
):
    address = f"sqlite:///{path}"
    async with Engine(address, ALL) as engine:
        handle = await engine.start(asks_far(5), id="bad")
        change(path, "tasks", "body", DAMAGED[how] if "character" not in how else lambda data: b"\x9a\xa1\xe9")
        async with Worker(address, [far], queues=["far"]):
            result = await handle.result()
            healthy = await asyncio.gather(*[engine.run(asks_far(n)) for n in range(5)])
        attempts = (await handle.describe()).steps[0].attempts

    assert (result, healthy) == (5, list(range(5)))
    assert [each.state for each in attempts] == ["failed", "completed"]
    assert attempts[0].error is not None
    assert "what the database holds of this attempt cannot be read (" in attempts[0].error.message


@pytest.mark.parametrize("delay", [None, "1h"])
@pytest.mark.parametrize("how", [how for how in DAMAGED if "event" not in how])
async def test_a_queued_run_whose_start_cannot_be_read_is_blocked_until_the_row_is_mended(
    path: Path, how: str, delay: str | None
):
    address = f"sqlite:///{path}"
    async with Client(address, create=True) as client:
        for id in ("bad", "good"):
            await client.start("neighbour", [5], id=id, start_delay=delay)
    before = change(path, "mail", "body", DAMAGED[how] if "character" not in how else lambda data: b"\x92\x01\xa1\xe9")
    if delay is not None:
        change_row(path, "bad", "wake_at", 1)
        change_row(path, "good", "wake_at", 1)

    async with Engine(address, ALL) as engine:
        assert await engine.handle("good").result() == STEPS * 5
        with pytest.raises(RunBlocked) as blocked:
            await engine.handle("bad").result()
        with pytest.raises(StoreCorrupt, match="cannot be read"):
            await engine.handle("bad").retry()
        listed = await engine.list(status="blocked")
        await neighbours_go_on(engine)
    async with Engine(address, ALL, build="another") as engine:
        await neighbours_go_on(engine)
        still = await engine.list(status="blocked")
    change(path, "mail", "body", lambda _: before)
    async with Engine(address, ALL) as engine:
        await engine.handle("bad").retry()
        result = await engine.handle("bad").result()

    assert "run 'bad' is blocked: what the database holds of it cannot be read (" in str(blocked.value)
    assert "the start in its mailbox)\n  hint: restore a backup; perdure doctor lists the damage" in str(blocked.value)
    assert [(each.id, "the start in its mailbox" in each.note) for each in listed] == [("bad", True)]
    assert [each.id for each in still] == ["bad"]
    assert result == STEPS * 5


@pytest.mark.parametrize("state", [99, -1, 2**60, "completed", b"\x07", 1.5])
async def test_a_run_in_a_state_that_nobody_knows_is_listed_as_that_and_the_others_as_they_are(
    path: Path, state: object
):
    address = f"sqlite:///{path}"
    async with Engine(address, ALL) as engine:
        for n, id in enumerate(("good", "bad", "better")):
            await engine.run(neighbour(n), id=id)
    change_row(path, "bad", "status", state)

    async with Client(address) as client:
        listed = await client.list()
        described = await client.handle("bad").describe()
        problems = client.store.admin.check()
        with pytest.raises(StoreCorrupt) as corrupt:
            await client.handle("bad").result()
    async with Engine(address, ALL) as engine:
        await neighbours_go_on(engine)

    why = f"its state ({str(state)[:20]}) is none that this version knows: a newer one has written it, or it is damaged"
    assert [(each.id, each.status) for each in listed] == [
        ("better", "completed"),
        ("bad", "unknown"),
        ("good", "completed"),
    ]
    assert [each.note for each in listed] == [str(STEPS * 2), why, "0"]
    assert (described.status, described.note) == ("unknown", why)
    assert f"run 'bad': {why}" in problems
    assert str(corrupt.value) == f"run 'bad': {why}; perdure doctor lists the damage"
