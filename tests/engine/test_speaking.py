"""Runs that signal others, and signals that a run hands on to the one it goes on as."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from perdure import (
    Client,
    Engine,
    Retry,
    RunBlocked,
    RunClosed,
    RunFailed,
    RunNotFound,
    activity,
    channel,
    continue_as_new,
    external,
    sleep,
    start_child,
    wait_until,
    workflow,
)
from perdure.errors import StoreUnreachable
from perdure.kernel.events import Payload
from perdure.kernel.messages import Signal
from perdure.kernel.run import Status
from perdure.runtime import weight
from perdure.stores.base import MailRow, Store
from perdure.stores.memory import MemoryStore, Shelf
from perdure.stores.sqlite.store import SqliteStore
from perdure.testing import TestEngine
from tests.engine.clocks import Later

LARGE = "x" * 200_000
words = channel("words", str)
other_words = channel("other words", str)


@activity
async def think(n: int) -> int:
    return n


@workflow
async def hears(count: int) -> list[str]:
    return [await words.receive() for _ in range(count)]


@workflow
class Listener:
    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def listen(self, count: int) -> list[str]:
        await workflow.wait_until(lambda: len(self.heard) >= count)
        return self.heard

    @workflow.signal
    def tell(self, text: str) -> None:
        self.heard.append(text)


@workflow
async def says(id: str, texts: list[str]) -> str:
    try:
        for text in texts:
            await external(id).signal(words, text)
    except (RunNotFound, RunClosed) as error:
        return str(error)
    return "said"


@workflow
async def speaks_to_its_child() -> list[Any]:
    by_name = await start_child(hears(2))
    by_method = await start_child(Listener.listen(2).with_options(id="child"))
    for text in ("one", LARGE):
        await by_name.signal("words", text)
        await by_method.signal(Listener.tell, text)
    return [await by_name, await by_method]


@workflow
async def says_it_wrongly(id: str) -> None:
    await external(id).signal("nothing it hears", 1)


@workflow
async def receives_one_a_run(left: int, got: list[str]) -> list[str]:
    got = [*got, await words.receive()]
    await think(left)
    if left > 1:
        continue_as_new(left - 1, got)
    return got


@workflow
async def moves_on(got: list[str], until: int) -> list[str]:
    """Most of the time it is between two runs, and receives a part of what is there."""
    got = [*got, await words.receive()]
    if len(got) < until:
        continue_as_new(got, until)
    return got


@workflow
async def listens_for_a_time(first: bool) -> list[str]:
    """As the second run of its chain, until its timer ends it."""
    if first:
        await words.receive()
        continue_as_new(False)
    heard: list[str] = []

    async def listen() -> None:
        async for word in words:
            heard.append(word)

    listening = asyncio.ensure_future(listen())
    await sleep(3600)
    listening.cancel()
    return heard


@workflow
class GoesOn:
    """Until it is told to end for the third time, it fails or continues as new."""

    def __init__(self) -> None:
        self.over = False

    @workflow.run
    async def run(self, by: str, turn: int = 0) -> None:
        await wait_until(lambda: self.over)
        if by == "continuing" and turn < 2:
            continue_as_new(by, turn + 1)
        if by == "failing" and workflow.info().attempt < 3:
            raise ValueError("again")

    @workflow.signal
    def hear(self, n: int) -> None:
        pass

    @workflow.signal
    def end(self) -> None:
        self.over = True


@workflow
async def breaks_down(turn: int) -> None:
    if turn:
        raise NameError("a bug")
    await words.receive()
    continue_as_new(turn + 1)


@workflow
async def says_to(id: str, run_id: str, text: str) -> str:
    await external(id, run_id=run_id).signal(words, text)
    return "said"


@workflow
async def says_at_once() -> list[str]:
    """By the number of the child's first run, in the turn that starts it."""
    child = await start_child(hears(1))
    await external(child.id, run_id=child.run_id).signal(words, "hello")
    return await child


def wrapped(text: str) -> Payload:
    return Payload(f'["{text}"]'.encode())


gate = asyncio.Event()


@activity
async def wait_for_the_gate() -> None:
    await gate.wait()


@workflow
async def breaks() -> str:
    await wait_for_the_gate()
    raise NameError("a bug")


@workflow
async def stops(id: str) -> str:
    await external(id).cancel("not needed")
    return "stopped"


@workflow
class Counts:
    """Receives nothing before it goes on, and says how much has come."""

    def __init__(self) -> None:
        self.moves = False

    @workflow.run
    async def run(self, life: int = 1) -> int:
        try:
            await wait_until(lambda: self.moves)
        except asyncio.CancelledError:
            return len(words)
        if life == 1:
            continue_as_new(2)
        return len(words)

    @workflow.signal
    def move(self) -> None:
        self.moves = True

    @workflow.update
    def count(self) -> int:
        return len(words)


ALL = [Counts, hears, Listener, says, speaks_to_its_child, says_it_wrongly, receives_one_a_run, moves_on, GoesOn, think]
ALL += [breaks_down, says_to, says_at_once, breaks, stops, wait_for_the_gate]


async def test_a_run_signals_another_one_in_the_order_in_which_it_does():
    async with TestEngine(ALL) as engine:
        handle = await engine.start(hears(3), id="h")

        assert await engine.run(says("h", ["a", LARGE, "c"]), id="s") == "said"
        assert await handle.result() == ["a", LARGE, "c"]
        assert await engine.run(says("h", ["late"]), id="t") == "run 'h' is completed already"
        assert await engine.run(says("nobody", ["x"]), id="u") == "there is no run 'nobody'"


async def test_what_is_said_to_a_run_that_goes_on_as_another_one_is_for_that_by_whichever_number():
    async with TestEngine(ALL) as engine:
        first = await engine.start(moves_on([], 3), id="m")
        for text in "abc":
            assert await engine.run(says_to("m", first.run_id, text), id=f"says-{text}") == "said"

        assert await first.result() == ["a", "b", "c"]
        with pytest.raises(RunFailed, match="run 'm' is completed already"):
            await engine.run(says_to("m", first.run_id, "late"), id="late")


async def test_a_run_that_has_ended_takes_no_room_when_something_was_said_to_it():
    """A letter that was sent to it when it was the newest of its chain."""
    async with Engine("memory://", ALL, awake_runs=1) as engine:
        first = await engine.start(moves_on([], 3), id="m")
        await first.signal(words, "a")
        row = engine.store.views.row_of("m", bytes.fromhex(first.run_id))
        assert row is not None and row.status == Status.CONTINUED_AS_NEW
        engine.store.post.send(MailRow(0, row.key, Signal("words", Payload(b'["b"]'))))
        engine.store.post.nudge()
        while await engine.count(id_prefix="m") < 3:
            await asyncio.sleep(0.001)

        async with asyncio.timeout(300):
            assert await engine.run(hears(0), id="h") == []


@pytest.mark.parametrize("kind", ["memory", "shared memory", "sqlite"])
async def test_what_is_said_to_a_run_that_goes_on_as_a_blocked_one_waits_there_and_stands_before_nothing(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("perdure.runtime.owner.POLL_ROWS", 5)
    store = SqliteStore(f"{tmp_path}/runs.db") if kind == "sqlite" else MemoryStore(shelf=Shelf("shared" in kind))
    texts = [f"{n}" for n in range(20)]
    async with Engine(store, ALL, awake_runs=1) as engine:
        first = await engine.start(breaks_down(0), id="m")
        await first.signal(words, "go on")
        with pytest.raises(RunBlocked):
            await first.result()
        row = store.views.row_of("m", bytes.fromhex(first.run_id))
        assert row is not None
        for text in texts:
            store.post.send(MailRow(0, row.key, Signal("words", wrapped(text))))
        other = await engine.start(hears(1), id="h")
        there = store.views.row("h")
        assert there is not None
        store.post.send(MailRow(0, there.key, Signal("words", wrapped("hello"))))

        async with asyncio.timeout(300):
            assert await other.result() == ["hello"]
            while (stored := store.views.stored(row.followed_by)) is None or len(stored.mail) < len(texts):
                await asyncio.sleep(0.001)
        assert [mail.message for mail in stored.mail] == [Signal("words", wrapped(text)) for text in texts]


@pytest.mark.parametrize("kind", ["memory", "shared memory", "sqlite"])
async def test_what_was_said_to_the_run_before_is_heard_though_more_was_said_than_is_heard_at_once(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """And though the timer by which the run ends is due as well."""
    monkeypatch.setattr(weight, "BATCH_LETTERS", 5)
    shelf = Shelf("shared" in kind)

    def opened() -> Store:
        return SqliteStore(f"{tmp_path}/runs.db") if kind == "sqlite" else MemoryStore(shelf=shelf)

    async with Engine(opened(), [listens_for_a_time]) as engine:
        first = await engine.start(listens_for_a_time(True), id="l")
        await first.signal(words, "go on")
        before = engine.store.views.row_of("l", bytes.fromhex(first.run_id))
        assert before is not None
        while (row := engine.store.views.row("l")) is None or row.key == before.key or row.status != Status.WAITING:
            await asyncio.sleep(0.001)
    texts = [f"{n}" for n in range(12)]
    outside = opened()
    outside.post.send(MailRow(0, before.key, Signal("words", wrapped("to the first one"))))
    for text in texts:
        outside.post.send(MailRow(0, row.key, Signal("words", wrapped(text))))
    outside.admin.close()

    async with Engine(opened(), [listens_for_a_time], world=Later()) as engine:
        assert await engine.handle("l").result() == [*texts, "to the first one"]


async def test_a_child_is_spoken_to_by_its_number_as_soon_as_it_is_started():
    async with TestEngine(ALL) as engine:
        assert await engine.run(says_at_once(), id="p") == ["hello"]


async def test_a_child_is_spoken_to_by_its_handle():
    async with TestEngine(ALL) as engine:
        assert await engine.run(speaks_to_its_child(), id="p") == [["one", LARGE], ["one", LARGE]]


async def test_a_signal_that_nobody_hears_is_a_bug_of_who_sends_it():
    async with TestEngine(ALL) as engine:
        await engine.start(hears(1), id="h")
        with pytest.raises(Exception, match="hears no signal 'nothing it hears'"):
            await engine.run(says_it_wrongly("h"), id="s")


@pytest.mark.parametrize("kind", ["tests", "sqlite"])
async def test_signals_that_were_not_received_go_on_with_the_run_in_their_order(kind: str, tmp_path: Path):
    make = TestEngine if kind == "tests" else lambda all: Engine(f"sqlite:///{tmp_path}/runs.db", all)
    async with make(ALL) as engine:
        handle = await engine.start(receives_one_a_run(5, []), id="r")
        texts = ["a", LARGE, "c", "d", "e"]
        for text in texts:
            await handle.signal(words, text)

        assert await handle.result() == texts
        assert await engine.count(id_prefix="r") == 5


@pytest.mark.parametrize("way", ["engine", "client"])
async def test_no_signal_is_lost_or_out_of_order_while_runs_go_on_as_others(way: str, tmp_path: Path):
    async with Engine(f"sqlite:///{tmp_path}/runs.db", ALL) as engine, Client(engine.store) as client:
        runs = engine if way == "engine" else client
        handle = await engine.start(moves_on([], 60), id="m")

        async def send(sender: str) -> None:
            for n in range(20):
                await runs.handle("m").signal("words", f"{sender}{n}")

        await asyncio.gather(send("a"), send("b"), send("c"))
        got = await handle.result()

        assert sorted(got) == sorted(f"{sender}{n}" for sender in "abc" for n in range(20))
        for sender in "abc":
            assert [text for text in got if text[0] == sender] == [f"{sender}{n}" for n in range(20)]


@pytest.mark.parametrize("way", ["engine", "client"])
@pytest.mark.parametrize("by", ["continuing", "failing"])
async def test_a_signal_that_was_taken_is_in_a_history_though_all_came_at_once(by: str, way: str, tmp_path: Path):
    retry = Retry(max_attempts=3, initial="1ms")
    async with Engine(f"sqlite:///{tmp_path}/runs.db", ALL) as engine, Client(engine.store) as client:
        runs = engine if way == "engine" else client
        await engine.start(GoesOn.run(by), id="g", retry=retry)
        handle = runs.handle("g", GoesOn)
        ends = {5, 10, 15}

        answers = await asyncio.gather(
            *(handle.signal(GoesOn.end) if n in ends else handle.signal(GoesOn.hear, n) for n in range(30)),
            return_exceptions=True,
        )
        while len(attempts := await engine.list(id_prefix="g")) < 3 or attempts[0].status != "completed":
            with suppress(RunClosed):
                await handle.signal(GoesOn.end)
            await asyncio.sleep(0.01)

        heard = [
            event["input"][0]
            for run in attempts
            for event in await engine.handle("g", run_id=run.run_id).history()
            if event["type"] == "SignalReceived" and event["name"] == "hear"
        ]
        assert sorted(heard) == [n for n, answer in enumerate(answers) if answer is None and n not in ends]
        assert all(answer is None or isinstance(answer, RunClosed) for answer in answers)
        assert len(heard) >= 5


class SlowMail:
    """A store's work, of which the owner cannot read the mail for a while."""

    def __init__(self, work: Any) -> None:
        self.work = work
        self.stands = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.work, name)

    def poll(self, now: int, limit: int, starts: bool = True) -> Any:
        if self.stands:
            raise StoreUnreachable("not now")
        return self.work.poll(now, limit, starts)


async def test_whoever_asks_something_of_a_run_does_not_wait_for_it_when_a_bug_blocks_it_meanwhile():
    store: Any = MemoryStore()
    mail = store.work = SlowMail(store.work)
    gate.clear()
    async with Engine(store, ALL) as engine:
        target = await engine.start(breaks(), id="target")
        while (await target.describe()).status != "running":
            await asyncio.sleep(0.001)
        mail.stands = True
        sender = await engine.start(stops("target"), id="sender")
        gate.set()
        with pytest.raises(RunBlocked):
            await target.result()
        mail.stands = False

        assert await sender.result() == "stopped"
        await target.terminate()


@pytest.mark.parametrize(("way", "then"), [("engine", "update"), ("client", "update"), ("client", "cancel")])
async def test_nothing_overtakes_signals_that_are_handed_on(way: str, then: str, tmp_path: Path):
    async with Engine(f"sqlite:///{tmp_path}/runs.db", ALL) as engine, Client(engine.store) as client:
        runs = engine if way == "engine" else client
        for n in range(10 if way == "engine" else 3):  # by a client each takes as long as it is until the next poll
            await engine.start(Counts.run(), id=f"r{n}")
            handle = runs.handle(f"r{n}", Counts)
            sent = [handle.signal(words, "a"), handle.signal(words, "b"), handle.signal(Counts.move)]
            if way == "engine":
                answer = (await asyncio.gather(*sent, handle.update(Counts.count)))[-1]
            else:
                engine.store.post.nudge = lambda keys=(): None  # type: ignore[method-assign]  all is in the mailbox when it is read
                key = engine.store.views.row(f"r{n}").key  # type: ignore[union-attr]
                for text in ("a", "b"):
                    engine.store.post.send(MailRow(0, key, Signal("words", Payload(f'["{text}"]'.encode()))))
                engine.store.post.send(MailRow(0, key, Signal("move", Payload(b"[]"))))
                for each in sent:
                    each.take()
                answer = await (handle.update(Counts.count) if then == "update" else handle.cancel())
            if then == "cancel":
                answer = await engine.handle(f"r{n}").result()

            assert answer == 2
