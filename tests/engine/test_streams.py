"""Streams: what workflows and activities write, and what those who follow get, wherever they are."""

import asyncio
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from perdure import (
    Client,
    DefinitionError,
    Engine,
    EngineNotRunning,
    PayloadError,
    Retry,
    RunBlocked,
    RunFailed,
    RunNotFound,
    StreamClosed,
    StreamFull,
    Worker,
    activity,
    errors,
    stream,
    wait_until,
    workflow,
)
from perdure.client.streams import StreamInfo
from perdure.errors import NotDeterministic, QueryFailed
from perdure.kernel import limits
from perdure.languages.python import streaming
from perdure.stores.base import Store
from perdure.stores.open import open_store
from perdure.testing import TestEngine, crash_everywhere
from tests.engine import apart
from tests.engine.clocks import Stepped

FAST = Retry(initial=0.001, maximum=0.01, max_attempts=5)


@pytest.fixture(params=["memory", "sqlite"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"memory://{tmp_path}" if request.param == "memory" else f"sqlite:///{tmp_path}/runs.db"


async def read(handle: Any, name: str, **options: Any) -> list[Any]:
    return [chunk.value async for chunk in handle.stream(name, **options)]


@activity
async def speak(words: list[str]) -> int:
    for word in words:
        await stream("tokens", str).write(word)
    return len(words)


@activity
def speak_in_a_thread(words: list[str]) -> int:
    tokens = stream("tokens")
    for word in words:
        tokens.write(word)
    return len(words)


@activity(queue="voices")
def speak_elsewhere(words: list[str]) -> int:
    for word in words:
        stream("tokens").write(word)
    return len(words)


@activity(retry=FAST)
async def stumble(words: list[str]) -> int:
    attempt = activity.info().attempt
    for word in words[: attempt + 1]:
        await stream("tokens").write(word)
    if attempt < 3:
        raise ConnectionError("the line went dead")
    return attempt


@activity
async def wait_for_it() -> None:
    await released.wait()


released: asyncio.Event


@workflow
async def tell(words: list[str]) -> int:
    log = stream("log")
    log.write("begins")
    log.write({"words": words})
    count = await speak(words)
    await log.write("has spoken")
    return count


@workflow
async def tell_by(way: str, words: list[str]) -> int:
    return await {"thread": speak_in_a_thread, "queue": speak_elsewhere, "process": apart.tell, "again": stumble}[way](
        words
    )


WORDS = ["once", "upon", "a", "time"]
ALL = [tell, tell_by, speak, speak_in_a_thread, speak_elsewhere, stumble, apart.tell]


async def test_whoever_follows_gets_what_workflow_and_activities_write(address: str) -> None:
    async with Engine(address, ALL) as engine:
        handle = await engine.start(tell(WORDS), id="r")

        assert await read(handle, "tokens", type=str) == WORDS
        assert await read(handle, "log") == ["begins", {"words": WORDS}, "has spoken"]
        assert await handle.result() == 4
        assert await handle.streams() == [
            StreamInfo("log", 3, 56, True),
            StreamInfo("tokens", 4, 21, True),
        ]
        assert engine.store.admin.check() == []


@pytest.mark.parametrize("way", ["thread", "process", "queue"])
async def test_attempts_write_wherever_they_run(address: str, way: str) -> None:
    async with Engine(address, ALL) as engine, Worker(address, [speak_elsewhere], queues=["voices"]):
        handle = await engine.start(tell_by(way, WORDS), id="r")

        assert await read(handle, "tokens") == WORDS
        assert await handle.result() == 4


async def test_what_is_written_can_be_read_from_any_offset_and_after_the_end(address: str) -> None:
    async with Engine(address, ALL) as engine:
        await engine.run(tell(WORDS), id="r")
        handle = engine.handle("r")

        for offset in range(6):
            assert await read(handle, "tokens", from_offset=offset) == WORDS[offset:]
        assert await read(handle, "nothing") == []


async def test_chunks_tell_who_has_written_them_when_and_in_which_attempt(address: str) -> None:
    async with Engine(address, ALL) as engine:
        handle = await engine.start(tell_by("again", WORDS), id="r")
        await handle.result()
        log = [(c.offset, c.value, c.step, c.attempt) async for c in handle.stream("tokens")]
        told = [chunk.at.timestamp() async for chunk in handle.stream("tokens")]

    expected = [(1, WORDS[:2]), (2, WORDS[:3]), (3, WORDS)]
    assert log == [
        (n, word, "0:1", attempt)
        for n, (attempt, word) in enumerate((attempt, word) for attempt, words in expected for word in words)
    ]
    assert told == sorted(told)
    assert 0 <= time.time() - told[0] < 60


async def test_a_workflows_own_chunks_have_no_attempt(address: str) -> None:
    async with Engine(address, ALL) as engine:
        handle = await engine.start(tell(WORDS), id="r")

        assert {(chunk.step, chunk.attempt) async for chunk in handle.stream("log")} == {("", 0)}


@workflow
async def slowly() -> None:
    stream("log").write("before")
    await wait_for_it()
    stream("log").write("after")


async def test_whoever_follows_waits_for_what_comes_and_is_told_at_once(address: str) -> None:
    global released
    released = asyncio.Event()
    got: list[str] = []

    async with Engine(address, [slowly, wait_for_it]) as engine:
        handle = await engine.start(slowly(), id="r")
        async for chunk in handle.stream("log"):
            got.append(chunk.value)
            released.set()
        assert await read(handle, "log", from_offset=1) == ["after"]

    assert got == ["before", "after"]


async def test_an_offset_beyond_the_end_is_waited_for(address: str) -> None:
    global released
    released = asyncio.Event()
    async with Engine(address, [slowly, wait_for_it]) as engine:
        handle = await engine.start(slowly(), id="r")
        waiting = asyncio.create_task(read(handle, "log", from_offset=1))
        assert await read(handle, "log", from_offset=1, follow=False) == []
        released.set()

        assert await waiting == ["after"]


async def test_without_following_it_ends_with_what_is_there(address: str) -> None:
    global released
    released = asyncio.Event()
    async with Engine(address, [slowly, wait_for_it]) as engine:
        handle = await engine.start(slowly(), id="r")
        async for _ in handle.stream("log"):
            break

        assert await read(handle, "log", follow=False) == ["before"]
        assert [row.closed for row in await handle.streams()] == [False]
        released.set()
        await handle.result()


def test_code_without_a_loop_follows_too(address: str) -> None:
    with Engine(address, ALL) as engine:
        handle = engine.start(tell(WORDS), id="r").wait()

        assert [chunk.value for chunk in handle.stream("tokens", type=str)] == WORDS
        assert handle.result().wait() == 4


def test_a_client_with_nothing_but_the_database_follows_a_run_as_it_goes_on(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/runs.db"
    with Engine(address, ALL) as engine, Client(address) as client:
        engine.start(tell(WORDS), id="r").wait()

        assert [chunk.value for chunk in client.handle("r").stream("tokens")] == WORDS
        assert [each.name for each in client.handle("r").streams().wait()] == ["log", "tokens"]


async def test_a_thousand_chunks_are_few_rows_and_few_commits(tmp_path: Path) -> None:
    async with Engine(f"sqlite:///{tmp_path}/runs.db", ALL) as engine:
        await engine.run(tell_by("thread", [str(n) for n in range(1_000)]), id="r")
        assert await read(engine.handle("r"), "tokens") == [str(n) for n in range(1_000)]

    with sqlite3.connect(tmp_path / "runs.db") as connection:
        assert connection.execute("SELECT count(*) FROM chunks").fetchone()[0] < 50


async def test_the_history_does_not_grow_with_the_chunks(address: str) -> None:
    async with Engine(address, [chatty]) as engine:
        await engine.run(chatty(5_000), id="r")
        history = await engine.handle("r").history()

        assert [event["type"] for event in history] == ["RunStarted", "StreamWritten", "RunCompleted"]
        assert (history[1]["stream"], history[1]["count"]) == ("log", 5_000)
        assert len(str(history)) < 2_000
        assert len(await read(engine.handle("r"), "log")) == 5_000


@workflow
async def chatty(count: int) -> None:
    for n in range(count):
        stream("log").write(n)


# closing


@workflow
async def close_early() -> str:
    log = stream("log")
    log.write(1)
    await log.close()
    log.close()
    await wait_for_it()
    try:
        log.write(2)
    except StreamClosed as error:
        return str(error)
    return "written"


async def test_a_stream_that_is_closed_ends_before_its_run(address: str) -> None:
    global released
    released = asyncio.Event()
    async with Engine(address, [close_early, wait_for_it]) as engine:
        handle = await engine.start(close_early(), id="r")

        assert await read(handle, "log") == [1]
        assert [row.closed for row in await handle.streams()] == [True]
        released.set()
        assert "close it after the last chunk" in await handle.result()


@activity(retry=FAST)
async def close_and_fail() -> int:
    attempt = activity.info().attempt
    await stream("log").write(attempt)
    await stream("log").close()
    if attempt < 3:
        raise ConnectionError
    return attempt


@activity
async def write_after_close() -> None:
    await stream("log").close()
    await stream("log").write(2)


@activity
async def write_late() -> None:
    await stream("log").write("late")


@workflow
async def one(which: str) -> Any:
    calls = {"again": close_and_fail, "after": write_after_close, "late": write_late}
    if which == "late":
        await close_and_fail()
    return await calls[which]()


ONES = [one, close_and_fail, write_after_close, write_late]


async def test_an_attempt_writes_to_what_a_failed_one_has_closed(address: str) -> None:
    async with Engine(address, ONES) as engine:
        assert await engine.run(one("again"), id="r") == 3

        assert await read(engine.handle("r"), "log") == [1, 2, 3]


@pytest.mark.parametrize("which", ["after", "late"])
async def test_a_write_after_the_end_of_a_stream_is_final(address: str, which: str) -> None:
    async with Engine(address, ONES) as engine:
        with pytest.raises(RunFailed) as failed:
            await engine.run(one(which), id="r")

    cause = failed.value.__cause__
    assert cause is not None
    assert "StreamClosed" in str(cause)
    assert "after 1 attempt:" in str(cause)


@workflow
async def write_to_what_is_closed() -> str:
    await close_and_fail()
    if not MENDED:
        stream("log").write("and more")
    return "done"


MENDED: list[bool] = []


async def test_a_workflow_that_writes_to_what_an_activity_has_closed_is_blocked_until_its_code_is_mended(
    address: str,
) -> None:
    MENDED.clear()
    async with Engine(address, [write_to_what_is_closed, close_and_fail]) as engine:
        handle = await engine.start(write_to_what_is_closed(), id="r")
        with pytest.raises(RunBlocked, match=r"writes to the stream 'log', which attempt 3 of step \[0:1\] has closed"):
            await handle.result()
        block = (await handle.describe()).block
        assert block is not None
        assert "a stream of its own" in block.hint
        assert await read(handle, "log") == [1, 2, 3]
        assert engine.store.admin.check() == []

        MENDED.append(True)
        await handle.retry()
        assert await handle.result() == "done"


# bounds


async def test_what_a_workflow_writes_is_bounded(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "STREAM_CHUNKS", 3)
    monkeypatch.setattr(streaming, "STREAMS", 2)
    async with Engine(address, [overflow]) as engine:
        full, many = await engine.run(overflow(), id="r")

        assert "the bound of 3 chunks" in full.replace("its bound", "the bound")
        assert "the run has 2 streams" in many
        assert await read(engine.handle("r"), "a") == [0, 1, 2]


@workflow
async def overflow() -> list[str]:
    said: list[str] = []
    for name, count in (("a", 4), ("b", 1), ("c", 1)):
        try:
            for n in range(count):
                stream(name).write(n)
        except StreamFull as error:
            said.append(str(error))
    return said


async def test_what_activities_write_is_bounded_and_they_fail_for_good(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.stores.streaming.STREAM_CHUNKS", 2)
    async with Engine(address, ALL) as engine:
        for way, id in (("thread", "a"), ("process", "b")):
            with pytest.raises(RunFailed, match="StreamFull"):
                await engine.run(tell_by(way, WORDS), id=id)


@activity
async def pour(count: int, size: int) -> float:
    text = "x" * size
    for _ in range(count):
        await stream("water").write(text)
    return 1.0


@activity
def pour_in_a_thread(count: int, size: int) -> float:
    text = "x" * size
    for _ in range(count):
        stream("water").write(text)
    return 1.0


@activity
async def flood(count: int, size: int) -> str:
    text = "x" * size
    try:
        for _ in range(count):
            stream("water").write(text)
    except StreamFull as error:
        return str(error)
    return ""


@workflow
async def pouring(way: str, count: int, size: int) -> Any:
    ways = {"loop": pour, "thread": pour_in_a_thread, "process": apart.pour_apart, "flood": flood}
    return await ways[way](count, size)


POURING = [pouring, pour, pour_in_a_thread, flood, apart.pour_apart]


@pytest.mark.parametrize("way", ["loop", "thread", "process"])
async def test_who_writes_faster_than_the_store_waits(address: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    largest, store = 0, open_store(address)
    append = store.streams.append

    def slow(rows: Any, member: int = 0) -> Any:
        nonlocal largest
        time.sleep(0.02 if largest else 0.2)  # whoever writes comes up against the bound meanwhile
        largest = max(largest, sum(row.size_bytes for row in rows))
        return append(rows, member)

    monkeypatch.setattr(store.streams, "append", slow)
    async with Engine(store, POURING) as engine:
        await engine.run(pouring(way, 60, 100_000), id="r")

        assert len(await read(engine.handle("r"), "water")) == 60
    assert limits.STREAM_UNSTORED_BYTES / 4 < largest < 3 * limits.STREAM_UNSTORED_BYTES


async def test_who_does_not_wait_is_refused_before_memory_is_full(address: str) -> None:
    async with Engine(address, POURING) as engine:
        said = await engine.run(pouring("flood", 100, 1_000_000), id="r")

    assert "write: await stream(...).write(...)" in said


# faults, crashes


async def test_an_attempt_that_is_not_wanted_any_more_does_not_write(address: str) -> None:
    for_ever_began.clear()
    for_ever_ended.clear()
    async with Engine(address, [given_up, for_ever, until_it_writes]) as engine:
        await engine.run(given_up(), id="r")
        written = len(await read(engine.handle("r"), "log"))
        assert await asyncio.to_thread(for_ever_ended.wait, 300)
        await asyncio.sleep(0.1)

        assert len(await read(engine.handle("r"), "log")) == written


for_ever_began = threading.Event()
for_ever_ended = threading.Event()


@activity
def for_ever() -> None:
    try:
        while True:
            stream("log").write(0)
            for_ever_began.set()
            time.sleep(0.005)
    except asyncio.CancelledError:
        for_ever_ended.set()
        raise


@activity
def until_it_writes() -> None:
    for_ever_began.wait(300)


@workflow
async def given_up() -> None:
    task = asyncio.ensure_future(for_ever())
    await until_it_writes()
    task.cancel()
    await asyncio.sleep(0.05)


async def test_replay_writes_nothing_again(address: str) -> None:
    async with TestEngine([tell, speak], store=address, replay_every_step=True) as engine:
        await engine.run(tell(WORDS), id="r")
    async with Engine(address, [tell, speak]) as engine:
        assert len(await read(engine.handle("r"), "log")) == 3
        assert engine.store.admin.check() == []


async def test_a_workflow_that_writes_otherwise_than_it_did_is_blocked(address: str) -> None:
    count = 1

    @workflow
    async def fickle() -> None:
        for n in range(count):
            stream("log").write(n)
        await wait_for_it()

    global released
    released = asyncio.Event()
    async with Engine(address, [fickle, wait_for_it], drain=0) as engine:
        handle = await engine.start(fickle(), id="r")
        await read(handle, "log", follow=False)
    count, released = 2, asyncio.Event()
    released.set()

    async with Engine(address, [fickle, wait_for_it]) as engine:
        with pytest.raises(RunBlocked, match="stream log, 1 chunk"):
            await engine.handle("r").result()
        assert await read(engine.handle("r"), "log", follow=False) == [0]


async def test_writing_is_a_sign_of_life(address: str) -> None:
    async with Engine(address, [listened, breathe], world=pace) as engine:
        assert await engine.run(listened(), id="r") == 1


pace = Stepped()


@activity(heartbeat=0.2, retry=1)
async def breathe() -> int:
    for n in range(8):
        await asyncio.sleep(0.06)
        pace.seconds += 0.15
        await stream("breath").write(n)
    return activity.info().attempt


@workflow
async def listened() -> int:
    return await breathe()


# bad input


@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb", 7, None])
def test_a_name_that_cannot_be_one_is_refused(name: Any) -> None:
    with pytest.raises(DefinitionError, match="a stream has a name of 1 to 100 printable characters"):
        stream(name)
    with Client("memory://names", create=True) as client, pytest.raises(DefinitionError, match="printable characters"):
        client.handle("r").stream(name)


@pytest.mark.parametrize("offset", [-1, 1.5, "3", True, 2**63])
def test_an_offset_that_cannot_be_one_is_refused(offset: Any) -> None:
    with Client("memory://offsets", create=True) as client, pytest.raises(DefinitionError, match="offset of 0 or more"):
        client.handle("r").stream("log", from_offset=offset)


def test_a_write_outside_of_a_run_says_where_it_belongs() -> None:
    for verb in ("write", "close"):
        with pytest.raises(DefinitionError, match="outside of a run; call it in a workflow or an activity"):
            getattr(stream("log"), verb)(*([1] if verb == "write" else []))


def test_a_value_that_cannot_be_encoded_is_refused_where_it_is_written() -> None:
    with pytest.raises(PayloadError, match="stream 'log': the chunk"):
        stream("log").write(object())
    with pytest.raises(PayloadError, match="stream 'log': the chunk: expected str"):
        stream("log", str).write(7)  # type: ignore[arg-type]
    with pytest.raises(PayloadError, match="write it in parts"):
        stream("log").write("x" * 1_100_000)


async def test_a_chunk_of_another_type_is_told_with_its_offset(address: str) -> None:
    async with Engine(address, ALL) as engine:
        handle = await engine.start(tell(WORDS), id="r")
        with pytest.raises(PayloadError, match=r"offset 1 of stream 'log': the chunk: expected str"):
            await read(handle, "log", type=str)


async def test_a_run_that_does_not_exist_has_no_streams(address: str) -> None:
    async with Engine(address, ALL) as engine:
        with pytest.raises(RunNotFound):
            await read(engine.handle("nobody"), "log")
        with pytest.raises(RunNotFound):
            await engine.handle("nobody").streams()


async def test_a_stream_is_not_followed_where_that_would_hang_or_not_replay(address: str) -> None:
    async with Engine(address, [peeping]) as engine:
        with pytest.raises(RuntimeError, match="write: async for"):
            list(engine.handle("r").stream("log"))
        peeping_engine.append(engine)
        with pytest.raises(RunBlocked, match="read it in an activity"):
            await engine.run(peeping(), id="r")


peeping_engine: list[Engine] = []


@workflow
async def peeping() -> None:
    try:
        async for _ in peeping_engine[0].handle("r").stream("log"):
            pass
    except NotDeterministic:
        raise


class Turned:
    """Bytes the other way round; and on which threads that was asked."""

    name = "turned"

    def __init__(self) -> None:
        self.threads: set[str] = set()

    def encode(self, data: bytes) -> bytes:
        self.threads.add(threading.current_thread().name)
        return b"~" + data[::-1]

    def decode(self, data: bytes) -> bytes:
        self.threads.add(threading.current_thread().name)
        return data[:0:-1]


@pytest.mark.parametrize("way", ["thread", "process", "queue"])
async def test_a_codec_makes_what_is_stored_and_never_on_the_engines_thread(tmp_path: Path, way: str) -> None:
    address, codec = f"sqlite:///{tmp_path}/runs.db", Turned()
    large = ["secret" * 20_000, "secret"]
    engine = Engine(address, [*ALL, tell_large], codec=codec)
    async with engine, Worker(address, [speak_elsewhere], queues=["voices"], codec=codec):
        handle = await engine.start(tell_by(way, large), id="r")
        own = await engine.start(tell_large(large), id="own")

        assert await read(handle, "tokens", type=str) == large
        assert await read(own, "log") == large
        assert engine.store.admin.check() == []
    assert "perdure-engine" not in codec.threads
    with sqlite3.connect(tmp_path / "runs.db") as connection:
        stored = b"".join(body for (body,) in connection.execute("SELECT body FROM chunks"))
    assert b"terces" in stored
    assert b"secret" not in stored
    with Client(address) as client, pytest.raises(PayloadError, match="written by the codec 'turned'"):
        await read(client.handle("own"), "log")


@workflow
async def tell_large(words: list[str]) -> None:
    for word in words:
        stream("log").write(word)


@workflow
class Radio:
    def __init__(self) -> None:
        self.off = False

    @workflow.run
    async def play(self) -> None:
        stream("air").write("on")
        await wait_until(lambda: self.off)
        stream("air").write("off")

    @workflow.update
    async def say(self, text: str) -> str:
        stream("air").write(text)
        return text

    @workflow.query
    def meddle(self) -> None:
        stream("air").close()

    @workflow.signal
    def switch_off(self) -> None:
        self.off = True


async def test_handlers_of_messages_write_and_queries_do_not(address: str) -> None:
    async with Engine(address, [Radio]) as engine:
        radio = await engine.start(Radio.play(), id="r")
        assert await radio.update(Radio.say, "good evening") == "good evening"
        with pytest.raises(QueryFailed, match="only look"):
            await radio.query(Radio.meddle)
        await radio.signal(Radio.switch_off)

        assert await read(radio, "air") == ["on", "good evening", "off"]
        assert engine.store.admin.check() == []


def test_a_workflow_that_streams_bears_that_its_engine_dies_anywhere() -> None:
    crash_everywhere(tell(WORDS), progress=False).wait().assert_ok()


@workflow(retry=Retry(initial=0.001, max_attempts=3))
async def try_again() -> int:
    attempt = workflow.info().attempt
    stream("log").write(attempt)
    if attempt < 3:
        raise ConnectionError
    return attempt


async def test_each_run_of_a_chain_has_streams_of_its_own(address: str) -> None:
    async with Engine(address, [try_again]) as engine:
        handle = await engine.start(try_again(), id="r")
        assert await handle.result() == 3
        first = engine.handle("r", run_id=handle.run_id)

        assert await read(handle, "log") == [3]
        assert await read(engine.handle("r"), "log") == [3]
        assert await read(first, "log") == [1]
        assert [chunk.offset async for chunk in handle.stream("log")] == [0]


async def test_whoever_follows_is_told_when_the_engine_is_closed_and_goes_on_later(address: str) -> None:
    global released
    released = asyncio.Event()
    async with Engine(address, [slowly, wait_for_it], drain=0) as engine:
        handle = await engine.start(slowly(), id="r")
        following = asyncio.create_task(read(handle, "log"))
        await read(handle, "log", follow=False)
    with pytest.raises(EngineNotRunning):
        await following
    released.set()
    async with Engine(address, [slowly, wait_for_it]) as engine:
        assert await read(engine.handle("r"), "log", from_offset=1) == ["after"]


def failing(address: str, error: Exception, times: int, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store that does not take chunks of attempts at first."""
    store, left = open_store(address), [error] * times
    append = store.streams.append

    def append_at_last(rows: Any, member: int = 0) -> Any:
        if left:
            raise left.pop()
        return append(rows, member)

    monkeypatch.setattr(store.streams, "append", append_at_last)
    return store


async def test_a_store_that_does_not_answer_is_asked_again(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Engine(failing(address, errors.StoreUnreachable("locked"), 2, monkeypatch), ALL) as engine:
        handle = await engine.start(tell(WORDS), id="r")

        assert await handle.result() == 4
        assert await read(handle, "tokens") == WORDS


async def test_an_attempt_whose_chunks_cannot_be_stored_fails_and_is_tried_again(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Engine(failing(address, errors.StoreFull("the disk is full"), 1, monkeypatch), ALL) as engine:
        handle = await engine.start(tell_by("thread", WORDS), id="r")

        assert await handle.result() == 4
        assert [(c.value, c.attempt) async for c in handle.stream("tokens")] == [(word, 2) for word in WORDS]


@activity
async def leave_behind() -> None:
    log = stream("log")
    await log.write("in time")

    def late() -> None:
        left.wait()
        try:
            log.write("too late")
        except DefinitionError as error:
            too_late.append(str(error))

    left.clear()
    thread = threading.Thread(target=late)
    too_late.append(thread)
    thread.start()


left = threading.Event()
too_late: list[Any] = []


@workflow
async def leaving() -> None:
    await leave_behind()
    await asyncio.sleep(0.2)


async def test_what_an_attempt_has_left_behind_does_not_write(address: str) -> None:
    too_late.clear()
    async with Engine(address, [leaving, leave_behind]) as engine:
        handle = await engine.start(leaving(), id="r")
        while not any(step.state == "completed" for step in (await handle.describe()).steps):
            await asyncio.sleep(0.01)
        left.set()
        await asyncio.to_thread(too_late[0].join)
        await handle.result()

        assert "let it wait for what it starts" in too_late[1]
        assert await read(handle, "log") == ["in time"]
