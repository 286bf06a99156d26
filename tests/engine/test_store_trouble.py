"""The database in trouble: a full disk, a file that may not be written, damage, a newer schema, another program's file."""

import asyncio
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from perdure import Client, Engine, EngineNotRunning, Handle, RunBlocked, activity, errors, workflow
from perdure.kernel.messages import Terminate
from perdure.stores.base import MailRow
from perdure.stores.sqlite.store import SqliteStore


@activity
async def swell(size: int) -> str:
    return os.urandom(size // 2).hex()


@workflow
async def grows(steps: int, size: int) -> int:
    return sum([len(await swell(size)) for _ in range(steps)])


@workflow
async def waits() -> str:
    await asyncio.sleep(3600)
    return "woken"


ALL = [grows, waits, swell]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "runs.db")


@pytest.fixture
def address(path: str) -> str:
    return f"sqlite:///{path}"


def test_a_full_disk_stops_the_engine_with_what_to_do(path: str):
    with Engine(SqliteStore(path, max_pages=100), ALL) as engine:
        engine.run(grows(1, 10), id="small").wait()
        with pytest.raises(EngineNotRunning) as stopped:
            engine.run(grows(50, 20_000), id="big").wait()
        with pytest.raises(EngineNotRunning) as again:
            engine.run(grows(1, 10)).wait()

    assert str(stopped.value) == (
        f"the engine has stopped: {path}: no room left to write (database or disk is full); nothing was lost. "
        "Free space on its disk, then start again"
    )
    assert str(again.value) == str(stopped.value)
    assert isinstance(stopped.value.__cause__, errors.StoreFull)


def test_after_a_full_disk_everything_goes_on(path: str, address: str):
    with Engine(SqliteStore(path, max_pages=100), ALL) as engine, pytest.raises(EngineNotRunning):
        engine.run(grows(50, 20_000), id="big").wait()
    with Engine(address, ALL) as engine:
        result = engine.handle("big").result().wait()
        problems = engine.store.admin.check()

    assert result == 1_000_000
    assert problems == []


def test_starts_that_find_the_disk_full_are_told_and_none_is_half_there(path: str, address: str):
    with Engine(SqliteStore(path, max_pages=30), ALL) as engine:
        started = 0
        with pytest.raises(EngineNotRunning, match="no room left to write"):
            for n in range(1_000):
                engine.start(waits(), id=f"{'x' * 150}-{n}").wait()
                started += 1
    with Client(address) as client:
        count = client.count().wait()
        problems = client.store.admin.check()

    assert count == started > 0
    assert problems == []


async def test_starts_that_come_in_just_when_the_database_fails_are_told(path: str, address: str):
    async with Engine(address, ALL) as engine:
        with sqlite3.connect(path) as other:
            other.execute("DROP TABLE mail")
        answers: list[asyncio.Future[Handle[str]]] = []
        with pytest.raises(EngineNotRunning):
            while True:
                answers += [asyncio.ensure_future(engine.start(waits())) for _ in range(10)]
                await asyncio.sleep(0.001)
        done, waiting = await asyncio.wait(answers, timeout=300)

        assert not waiting
        assert {type(answer.exception()) for answer in done} <= {type(None), EngineNotRunning}


def test_a_file_of_another_program_is_left_alone(path: str, address: str):
    Path(path).write_bytes(b"not a database, but a letter to grandmother")

    with pytest.raises(errors.StoreCorrupt) as refused, Engine(address, ALL):
        pass

    assert str(refused.value) == f"{path} is no SQLite database (it begins with other bytes); name another file"
    assert Path(path).read_bytes() == b"not a database, but a letter to grandmother"


def test_a_newer_schema_is_not_guessed_at(path: str, address: str):
    with Engine(address, ALL):
        pass
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()

    with pytest.raises(errors.SchemaTooNew, match=r"was written by a newer Perdure \(schema 999; .*upgrade Perdure"):
        Engine(address, ALL).__enter__()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(errors.StoreUnreachable, match=r"the folder .*/missing does not exist; create it first"):
        Engine(f"sqlite:///{tmp_path}/missing/runs.db", ALL).__enter__()


@contextmanager
def as_an_ordinary_user() -> Iterator[None]:
    """Root may write everything, so it becomes somebody else for a while."""
    if os.geteuid():
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def test_a_file_that_may_not_be_written_is_named():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = f"{folder}/runs.db"
        with Engine(f"sqlite:///{path}", ALL):
            pass
        os.chmod(path, 0o444)

        with as_an_ordinary_user(), pytest.raises(errors.StoreReadOnly) as refused:
            Engine(f"sqlite:///{path}", ALL).__enter__()

    assert str(refused.value) == (
        f"{path}: the file and its folder must be writable, also for reading (SQLite keeps its log beside it)"
    )


def damage(path: str, id: str, sql: str) -> None:
    """Spoil what the database holds of one run."""
    with sqlite3.connect(path) as connection:
        (key,) = connection.execute("SELECT key FROM runs WHERE id = ?", (id,)).fetchone()
        assert connection.execute(sql, (key,)).rowcount > 0
    connection.close()


HISTORY = "UPDATE history SET events = x'99ff00' WHERE run = ? AND seq = 1"


def test_a_run_whose_history_is_damaged_is_blocked_and_the_others_go_on(path: str, address: str):
    with Engine(address, ALL) as engine:
        for id in ("bad", "good"):
            engine.start(waits(), id=id).wait()
    damage(path, "bad", HISTORY)
    with Engine(address, ALL) as engine:
        with pytest.raises(errors.StoreCorrupt) as refused:
            engine.handle("bad").cancel().wait()
        engine.handle("good").cancel().wait()
        with pytest.raises(errors.RunCancelled):
            engine.handle("good").result().wait()
        with pytest.raises(RunBlocked) as blocked:
            engine.handle("bad").result().wait()

    assert str(refused.value).startswith("run 'bad': what the database holds of it cannot be read (")
    assert str(refused.value).endswith("); restore a backup")
    assert "run 'bad' is blocked: what the database holds of it cannot be read" in str(blocked.value)
    assert "hint: restore a backup; perdure doctor lists the damage" in str(blocked.value)


def test_what_nobody_waits_for_is_not_left_in_the_mailbox_of_a_damaged_run(path: str, address: str):
    """A poll would tell of it again and again."""
    with Engine(address, ALL) as engine:
        engine.start(waits(), id="bad").wait()
    damage(path, "bad", HISTORY)

    with Engine(address, ALL) as engine, Client(address) as client:
        row = engine.store.views.row("bad")
        assert row is not None
        engine.store.post.send(MailRow(0, row.key, Terminate("enough")))
        with pytest.raises(errors.StoreCorrupt, match="restore a backup"):
            client.handle("bad").terminate().wait()
        with pytest.raises(RunBlocked):
            engine.handle("bad").result().wait()
        stored = SqliteStore(path).views.stored(row.key)

    assert stored is not None
    assert stored.mail == []


def test_a_damaged_run_that_was_running_does_not_keep_an_engine_from_starting(path: str, address: str):
    begun = asyncio.Event()

    @activity
    async def hangs() -> None:
        begun.set()
        await asyncio.Event().wait()

    @workflow
    async def runs() -> None:
        await hangs()

    async def leave_it_running() -> None:
        async with Engine(address, [runs, hangs], drain=0) as engine:
            await engine.start(runs(), id="bad")
            await begun.wait()

    asyncio.run(leave_it_running())
    damage(path, "bad", HISTORY)
    with Engine(address, ALL) as engine:
        assert engine.run(grows(2, 10)).wait() == 20
        with pytest.raises(RunBlocked, match="cannot be read"):
            engine.handle("bad").result().wait()


@pytest.mark.parametrize("verb", ["describe", "history", "result"])
def test_reading_a_damaged_run_says_so(verb: str, path: str, address: str):
    with Engine(address, ALL) as engine:
        engine.run(grows(1, 10), id="bad").wait()
    damage(path, "bad", "UPDATE history SET events = x'99ff00' WHERE run = ?")

    with (
        Client(address) as client,
        pytest.raises(errors.StoreCorrupt, match="run 'bad': what the database holds of it"),
    ):
        getattr(client.handle("bad"), verb)().wait()


def test_a_large_payload_that_is_gone_blocks_its_run_alone(path: str, address: str):
    @workflow
    async def keeps(size: int) -> int:
        text = await swell(size)
        await asyncio.sleep(3600)
        return len(text)

    with Engine(address, [keeps, swell]) as engine:
        engine.start(keeps(200_000), id="bad").wait()
    damage(path, "bad", "DELETE FROM blobs WHERE run = ?")
    with Engine(address, [keeps, *ALL]) as engine:
        engine.handle("bad").cancel().wait()
        with pytest.raises(RunBlocked) as blocked:
            engine.handle("bad").result().wait()
        assert engine.run(grows(1, 10)).wait() == 10

    assert "the result of activity swell [0:1] can no longer be read" in str(blocked.value)
    assert "is not in the database; restore a backup" in str(blocked.value)


def test_the_check_names_the_damage(path: str, address: str):
    with Engine(address, ALL) as engine:
        engine.run(grows(1, 10), id="bad").wait()
    damage(path, "bad", HISTORY)

    with Client(address) as client:
        (problem,) = client.store.admin.check()
    assert problem.startswith("run 'bad': its history cannot be read from event 1 on (")
