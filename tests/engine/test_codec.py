"""A codec of the user's: nothing of arguments and results is stored as it is, and everything else works as before."""

import asyncio
import contextlib
import sqlite3
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest

from perdure import (
    Client,
    DefinitionError,
    Engine,
    Retry,
    RunBlocked,
    RunExists,
    Worker,
    activity,
    continue_as_new,
    workflow,
)
from perdure.errors import PayloadNotDecodable, PayloadNotEncodable, PayloadTooLarge
from perdure.runtime import coding
from perdure.testing import replay

SECRET = "attack at dawn"


class Turned:
    """XOR and compression: enough to see that nothing is readable. Counts on which threads it is called."""

    name = "turned"

    def __init__(self) -> None:
        self.threads: set[str] = set()
        self.broken = False
        self.decodes = True

    def encode(self, data: bytes) -> bytes:
        self.threads.add(threading.current_thread().name)
        if self.broken:
            raise ConnectionError("the key server does not answer")
        return bytes(byte ^ 0x55 for byte in zlib.compress(data))

    def decode(self, data: bytes) -> bytes:
        self.threads.add(threading.current_thread().name)
        if self.broken or not self.decodes:
            raise ConnectionError("the key server does not answer")
        return zlib.decompress(bytes(byte ^ 0x55 for byte in data))


@activity
async def whisper(text: str) -> str:
    activity.heartbeat(text[:100])
    return text + "!"


@activity
def in_thread(text: str) -> str:
    return text + "?"


@activity(runs_in="process")
def in_process(text: str) -> str:
    return text + "."


@activity(queue="far")
async def far(text: str) -> str:
    return text + "~"


@activity(retry=Retry(initial=0.001, max_attempts=3))
async def shaky(text: str) -> Any:
    activity.heartbeat(text)
    if activity.info().attempt == 1:
        raise activity.RetryAfter(0.001)
    return activity.info().heartbeat_details


def coin() -> str:
    return SECRET


@workflow
async def spy(text: str, size: int = 1) -> list[str]:
    said = [await whisper(text * size), await in_thread(text), await far(text), await shaky(text)]
    said.append(workflow.side_effect(coin))
    await asyncio.sleep(0.01)
    return [*said, await whisper(said[-1])]


@workflow
async def spy_in_process(text: str, size: int = 1) -> int:
    return len(await in_process(text * size))


@workflow
async def fails_once(text: str) -> str:
    if workflow.info().attempt == 1:
        raise ValueError("at once")
    return text


@workflow
async def notes(memo: dict[str, str]) -> None:
    await whisper("first")
    workflow.set_memo(memo)


class Swollen:
    """Makes a hundred times as much of it."""

    name = "swollen"

    def encode(self, data: bytes) -> bytes:
        return data * 100 if len(data) > 1_000 else data

    def decode(self, data: bytes) -> bytes:
        return data[: len(data) // 100] if len(data) > 100_000 else data


ALL = [spy, spy_in_process, fails_once, notes, whisper, in_thread, in_process, far, shaky]


def stored_bytes(path: Path) -> bytes:
    """All that is in a database, after its log was copied into it."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path.read_bytes()


def values_in(path: Path) -> dict[str, list[bytes]]:
    """What the tables hold that have payloads in them."""
    columns = {"mail": "body", "history": "events", "blobs": "data"}
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return {
            table: [value for (value,) in connection.execute(f"SELECT {column} FROM {table}")]
            for table, column in columns.items()
        }


@pytest.mark.parametrize("size", [1, 9_000])
async def test_nothing_of_arguments_and_results_can_be_read_in_the_database(tmp_path: Path, size: int):
    path, codec = tmp_path / "runs.db", Turned()
    async with Engine(f"sqlite:///{path}", ALL, codec=codec, queues=["far"], cached_runs=1) as engine:
        got = await engine.run(spy(SECRET, size), id="r")
        described = await engine.handle("r").describe()
        history = await engine.handle("r").history()

    assert got[0] == SECRET * size + "!"
    assert got[1:] == [SECRET + "?", SECRET + "~", SECRET, SECRET, SECRET + "!"]
    assert described.result == got and described.input == [SECRET, size]
    assert history[-1]["result"] == got
    assert SECRET.encode() not in stored_bytes(path)


async def test_the_codec_never_runs_on_the_thread_that_moves_workflows(tmp_path: Path):
    codec = Turned()
    async with Engine(f"sqlite:///{tmp_path}/runs.db", ALL, codec=codec, queues=["far"]) as engine:
        await engine.run(spy(SECRET))

    assert codec.threads
    assert not {name for name in codec.threads if name.startswith(("perdure-engine", "MainThread"))}


async def test_activities_in_processes_get_and_give_plain_values(tmp_path: Path):
    path = tmp_path / "runs.db"
    async with Engine(f"sqlite:///{path}", ALL, codec=Turned(), processes=1) as engine:
        assert await engine.run(spy_in_process(SECRET)) == len(SECRET) + 1
        assert await engine.run(spy_in_process(SECRET, 9_000)) == len(SECRET) * 9_000 + 1
    assert SECRET.encode() not in stored_bytes(path)


async def test_a_client_and_a_worker_with_the_codec_read_and_write(tmp_path: Path):
    address, codec = f"sqlite:///{tmp_path}/runs.db", Turned()
    async with (
        Engine(address, ALL, codec=codec) as engine,
        Worker(address, [far], queues=["far"], codec=Turned()),
        Client(address, codec=Turned()) as client,
    ):
        handle = await client.start("spy", [SECRET], id="r")
        assert (await handle.result())[2] == SECRET + "~"
        assert await engine.run(spy(SECRET), id="r") == await handle.result()
        with pytest.raises(RunExists):
            await client.start("spy", ["other"], id="r")


async def test_without_the_codec_values_are_shown_as_bytes_and_results_are_refused(tmp_path: Path):
    address = f"sqlite:///{tmp_path}/runs.db"
    async with Engine(address, ALL, codec=Turned(), queues=["far"]) as engine:
        await engine.run(spy(SECRET), id="r")
    async with Client(address) as client:
        described = await client.handle("r").describe()
        with pytest.raises(PayloadNotDecodable, match="written by the codec 'turned', and there is none here"):
            await client.handle("r").result()

    assert set(described.result) == {"encoding", "base64"}


async def test_an_engine_without_the_codec_blocks_the_run_and_one_with_it_goes_on(tmp_path: Path):
    address = f"sqlite:///{tmp_path}/runs.db"
    async with Engine(address, ALL, codec=Turned()) as engine:
        await engine.start(spy(SECRET), id="r")
        while (await engine.handle("r").describe()).note != "far on queue far":
            await asyncio.sleep(0.01)
    async with Engine(address, ALL, queues=["far"]) as engine:
        with pytest.raises(RunBlocked, match="written by the codec 'turned', and there is none here"):
            await engine.handle("r").result()
    async with Engine(address, ALL, queues=["far"], codec=Turned()) as engine:
        await engine.handle("r").retry()
        assert (await engine.handle("r").result())[1] == SECRET + "?"


async def test_payloads_from_before_there_was_a_codec_stay_readable(tmp_path: Path):
    address = f"sqlite:///{tmp_path}/runs.db"
    async with Engine(address, ALL, queues=["far"]) as engine:
        before = await engine.run(spy(SECRET), id="r")
    async with Engine(address, ALL, codec=Turned(), queues=["far"]) as engine:
        assert await engine.handle("r", spy).result() == before


@pytest.mark.parametrize("size", [1, 9_000])
async def test_what_a_client_without_the_codec_has_sent_is_encoded_for_the_next_attempt_as_well(
    tmp_path: Path, size: int
):
    """The run fails in the turn in which it begins, so that the next attempt's start is made of what was sent."""
    path = tmp_path / "runs.db"
    async with Client(f"sqlite:///{path}", create=True) as plain:
        retry = Retry(initial="1 day", maximum="1 day")
        await plain.start("fails_once", [SECRET * size], id="r", retry=retry, memo={"plan": SECRET})
    async with (
        Engine(f"sqlite:///{path}", ALL, codec=Turned()) as engine,
        Client(engine.store, codec=Turned()) as client,
    ):
        while (await client.handle("r").describe()).attempt == 1:
            await asyncio.sleep(0.01)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(engine.handle("r").result(), 0.05)
        kept = values_in(path)
        queued = await client.handle("r").describe()
        await engine.handle("r").retry()
        result = await engine.handle("r").result()
        described = await client.handle("r").describe()

    assert len(kept["mail"]) == 1
    assert not [table for table, values in kept.items() if any(SECRET.encode() in value for value in values)]
    assert (queued.attempt, queued.memo) == (2, {"plan": SECRET})
    assert result == SECRET * size
    assert (described.input, described.memo) == ([SECRET * size], {"plan": SECRET})


async def test_a_memo_that_the_codec_makes_too_large_is_refused_at_the_start_and_blocks_a_run(tmp_path: Path):
    address = f"sqlite:///{tmp_path}/runs.db"
    async with Engine(address, ALL, codec=Swollen()) as engine:
        with pytest.raises(PayloadTooLarge) as refused:
            await engine.start(notes({}), id="a", memo={"x": "y" * 1_000})
        with pytest.raises(RunBlocked) as blocked:
            await engine.run(notes({"x": "y" * 1_000}), id="b")

        assert str(refused.value).startswith("the memo: the codec makes 100,800 bytes")
        assert "shorten the memo" in str(blocked.value)
        assert [run.id for run in await engine.list()] == ["b"]


async def test_a_codec_that_raises_blocks_the_run_and_no_other_and_retry_goes_on(tmp_path: Path):
    codec = Turned()
    async with Engine(f"sqlite:///{tmp_path}/runs.db", ALL, codec=codec, queues=["far"]) as engine:
        handle = await engine.start(spy(SECRET), id="r")
        codec.broken = True
        with pytest.raises(RunBlocked, match="key server does not answer"):
            await handle.result()
        codec.broken = False
        while (await handle.describe()).status != "completed":
            await handle.retry() if (await handle.describe()).status in ("blocked", "held") else None
            await asyncio.sleep(0.01)

        assert (await handle.result())[0] == SECRET + "!"
        assert engine.store.admin.check() == []


async def test_a_codec_that_raises_at_the_start_tells_whoever_starts_and_nothing_begins():
    codec = Turned()
    codec.broken = True
    async with Engine("memory://", ALL, codec=codec) as engine:
        with pytest.raises(
            PayloadNotEncodable, match="the codec 'turned' could not encode it, it raised ConnectionError"
        ):
            await engine.start(spy(SECRET), id="r")
        assert await engine.count() == 0


async def test_a_codec_that_hangs_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(coding, "PATIENCE_SECONDS", 0.05)
    release = threading.Event()

    class Hanging(Turned):
        def decode(self, data: bytes) -> bytes:
            release.wait()
            return super().decode(data)

    async with Engine(f"sqlite:///{tmp_path}/runs.db", ALL, codec=Hanging()) as engine:
        handle = await engine.start(spy(SECRET), id="r")
        with pytest.raises(
            RunBlocked, match=r"(?s)the codec has not answered.*see to the codec, then: perdure retry|held"
        ):
            await handle.result()
        release.set()


async def test_recorded_histories_are_replayed_with_the_codec(tmp_path: Path):
    async with Engine(f"sqlite:///{tmp_path}/runs.db", ALL, codec=Turned(), queues=["far"]) as engine:
        await engine.run(spy(SECRET), id="r")
        exported = await engine.handle("r").export()

    assert replay(exported, ALL, codec=Turned()).failed == []


class NoName:
    def encode(self, data: bytes) -> bytes:
        return data


@pytest.mark.parametrize("codec", [NoName(), "gzip", object()])
def test_what_is_no_codec_is_refused(codec: Any):
    with pytest.raises(DefinitionError, match="a codec has a name"):
        Engine("memory://", ALL, codec=codec)


class Text(Turned):
    def encode(self, data: bytes) -> Any:
        return data.decode()


async def test_a_codec_that_gives_no_bytes_is_told_so():
    async with Engine("memory://", ALL, codec=Text()) as engine:
        with pytest.raises(PayloadNotEncodable, match="the codec 'turned' gave str, not bytes"):
            await engine.start(spy(SECRET))


async def test_one_payload_that_hangs_fails_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(coding, "PATIENCE_SECONDS", 1.5)  # for all others, too
    release = threading.Event()

    class HangingOnOne(Turned):
        def encode(self, data: bytes) -> bytes:
            if data == b'"hang!"':
                release.wait()
            return super().encode(data)

    @workflow
    async def say(text: str) -> str:
        return text + "!"

    async with Engine(f"sqlite:///{tmp_path}/runs.db", [say], codec=HangingOnOne()) as engine:
        calls = [engine.run(say(text), id=text) for text in ["hang", *(f"fine-{n}" for n in range(40))]]
        hung, *fine = await asyncio.gather(*calls, return_exceptions=True)
        release.set()

    assert isinstance(hung, PayloadNotEncodable) and "the codec has not answered" in str(hung)
    assert fine == [f"fine-{n}!" for n in range(40)]


@workflow
async def tells_a_child(text: str, n: int) -> str:
    heard = await hears(text * 50_000).with_options(memo={"secret": text}, id=f"child-{n}")
    assert heard == text * 50_000 + "!"
    if n:
        workflow.set_memo({"further": text})
        continue_as_new(text, n - 1)
    return heard[:20]


@workflow
async def hears(text: str) -> str:
    return await whisper(text)


async def test_what_goes_between_a_run_and_its_children_and_on_to_the_next_run_is_never_stored_as_it_is(tmp_path: Path):
    database = tmp_path / "runs.db"
    engine = Engine(f"sqlite:///{database}", [tells_a_child, hears, whisper], codec=Turned())
    async with engine:
        assert await engine.run(tells_a_child(SECRET, 2), id="p", memo={"first": SECRET}) == (SECRET * 2)[:20]

        assert await engine.count(parent="p", status="completed") == 3
        last = await engine.handle("p").describe()
        assert last.memo == {"first": SECRET, "further": SECRET}
        assert (await engine.handle("child-0").describe()).memo == {"secret": SECRET}
    with contextlib.closing(sqlite3.connect(database)) as connection:
        dump = "\n".join(connection.iterdump())
    assert SECRET not in dump and SECRET.encode().hex() not in dump.lower()


class Picky(Turned):
    """Does not take what begins like the arguments of the child, as long as it is `cross`."""

    cross = True

    def encode(self, data: bytes) -> bytes:
        if self.cross and data.startswith(b'["xx'):
            raise ConnectionError("not this one")
        return super().encode(data)


async def test_a_start_of_a_child_that_cannot_be_encoded_blocks_its_parent_and_nobody_else(tmp_path: Path):
    codec = Picky()
    async with Engine(f"sqlite:///{tmp_path}/runs.db", [tells_a_child, hears, whisper], codec=codec) as engine:
        handle = await engine.start(tells_a_child("x", 0), id="p", start_delay=0.05)
        with pytest.raises(RunBlocked, match="not this one"):
            await handle.result()
        assert await engine.run(hears("y"), id="other") == "y!"
        assert await engine.count(parent="p") == 0

        codec.cross = False
        await handle.retry()
        assert await handle.result() == "x" * 20
