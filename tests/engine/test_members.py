"""Engines that share a store, each with runs of its own: whoever is asked, the run hears it, and whoever dies is replaced."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import msgspec
import pytest

from perdure import (
    Client,
    Engine,
    Handle,
    Retry,
    RunCancelled,
    RunExists,
    RunNotFound,
    RunTerminated,
    activity,
    channel,
    external,
    workflow,
)
from perdure.errors import StoreUnreachable, UnknownWorkflow
from perdure.runtime.retention import Retention
from perdure.stores.base import OwnershipLost, Poll
from perdure.stores.membership import Claimed
from perdure.stores.memory import MemoryStore, Shelf
from perdure.stores.memory_members import MemoryMembership
from perdure.workflows import WorkflowDefinition

words = channel("words", str)
at_work = threading.Event()
may_end = threading.Event()


@activity(retry=Retry(initial=0.001, max_attempts=3))
async def works(name: str) -> str:
    at_work.set()
    while not may_end.is_set():
        await asyncio.sleep(0.005)
    return f"<{name}>"


@workflow
async def listens() -> list[str]:
    return [await words.receive(), await words.receive()]


@workflow
async def toils(name: str) -> str:
    return await works(name)


@workflow
async def sleeps(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "awake"


@workflow
class Counter:
    def __init__(self) -> None:
        self.count = 0
        self.done = False

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_until(lambda: self.done)
        return self.count

    @workflow.update
    def add(self, n: int) -> int:
        self.count += n
        return self.count

    @workflow.query
    def total(self) -> int:
        return self.count

    @workflow.signal
    def close(self) -> None:
        self.done = True


@workflow
async def parent(size: int) -> list[str]:
    return await asyncio.gather(*[toils(f"{n}").with_options(id=f"child-{n}") for n in range(size)])


@workflow
async def calls_off(id: str) -> None:
    await external(id).cancel("no need")


ALL = [works, listens, toils, sleeps, Counter, parent, calls_off]


@pytest.fixture(autouse=True)
def all_may_end() -> None:
    at_work.clear()
    may_end.set()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf(shared=True)


@pytest.fixture
def engines(shelf: Shelf) -> Iterator[tuple[Engine, Engine]]:
    with ExitStack() as stack:
        one, other = (stack.enter_context(Engine(MemoryStore(shelf=shelf), ALL)) for _ in range(2))
        yield one, other


def test_each_engine_owns_what_it_has_begun_and_parks_what_waits(engines: tuple[Engine, Engine], shelf: Shelf) -> None:
    one, other = engines
    may_end.clear()
    toiling = one.start(toils("a"), id="toils").wait()
    other.start(listens(), id="listens").wait()
    assert at_work.wait(300)

    owned = {shelf.runs[key].id: owner for key, owner in shelf.owners.items()}
    may_end.set()

    assert owned.keys() == {"toils"}
    assert toiling.result().wait() == "<a>"
    assert shelf.owners == {}


def test_whichever_engine_is_asked_the_run_hears_it(engines: tuple[Engine, Engine]) -> None:
    one, other = engines
    here = one.start(Counter.run(), id="counter").wait()
    there = other.handle("counter")

    assert [here.update(Counter.add, 1).wait(), there.update(Counter.add, 2).wait()] == [1, 3]
    assert [here.query(Counter.total).wait(), there.query(Counter.total).wait()] == [3, 3]
    there.signal(Counter.close).wait()
    assert [here.result().wait(), there.result().wait()] == [3, 3]


def test_a_run_at_work_in_one_engine_is_cancelled_terminated_and_attached_to_by_the_other(
    engines: tuple[Engine, Engine], shelf: Shelf
) -> None:
    one, other = engines
    may_end.clear()
    first = one.start(toils("a"), id="toils").wait()
    assert at_work.wait(300)

    attached = other.start(toils("a"), id="toils").wait()
    with pytest.raises(RunExists):
        other.start(toils("b"), id="toils").wait()
    other.handle("toils").terminate("enough").wait()

    assert attached.run_id == first.run_id
    with pytest.raises(RunTerminated, match="enough"):
        first.result().wait()


def test_whoever_speaks_to_a_run_is_heard_though_no_more_runs_may_be_awake(shelf: Shelf) -> None:
    may_end.clear()
    with Engine(MemoryStore(shelf=shelf), ALL, awake_runs=1) as engine, Client(MemoryStore(shelf=shelf)) as client:
        listening = engine.start(listens(), id="listens").wait()
        while shelf.owners:
            time.sleep(0.001)
        toiling = engine.start(toils("a"), id="toils").wait()
        assert at_work.wait(300)

        client.handle("listens").terminate("enough").wait()

        with pytest.raises(RunTerminated, match="enough"):
            listening.result().wait()
        may_end.set()
        assert toiling.result().wait() == "<a>"


def test_whoever_speaks_to_a_run_that_an_engine_has_left_is_heard_though_no_more_runs_may_be_awake(
    shelf: Shelf,
) -> None:
    may_end.clear()
    with (
        Engine(MemoryStore(shelf=shelf), ALL, awake_runs=1) as engine,
        Client(MemoryStore(shelf=shelf)) as client,
    ):
        toiling = engine.start(toils("a"), id="toils").wait()
        with Engine(MemoryStore(shelf=shelf), ALL, drain=0) as other:
            at_work.clear()
            left = other.start(toils("b"), id="left").wait()
            assert at_work.wait(300)
        assert shelf.owners.keys() == {row.key for row in shelf.runs.values()}

        client.handle("left").terminate("enough").wait()

        with pytest.raises(RunTerminated, match="enough"):
            client.handle("left", run_id=left.run_id).result().wait()
        may_end.set()
        assert toiling.result().wait() == "<a>"


def test_a_start_that_ends_the_run_before_it_does_so_also_in_another_engine(engines: tuple[Engine, Engine]) -> None:
    one, other = engines
    may_end.clear()
    first = one.start(toils("a"), id="toils").wait()
    assert at_work.wait(300)

    second = other.start(toils("b"), id="toils", id_conflict="terminate_existing").wait()
    may_end.set()

    assert second.result().wait() == "<b>"
    with pytest.raises(RunTerminated, match="a new run of the same id"):
        one.handle("toils", run_id=first.run_id).result().wait()


def test_the_owner_of_a_run_elsewhere_is_nudged_when_a_run_here_asks_something_of_it(
    engines: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = engines
    may_end.clear()
    busy = one.start(toils("a"), id="busy").wait()
    assert at_work.wait(60)
    nudged: list[set[int]] = []
    nudge = other.store.post.nudge
    monkeypatch.setattr(other.store.post, "nudge", lambda keys=(): (nudged.append(set(keys)), nudge(keys)))

    other.run(calls_off("busy"), id="caller").wait()

    assert {one.store.views.row("busy").key} in nudged  # type: ignore[union-attr]
    with pytest.raises(RunCancelled):
        busy.result().wait()


def test_signals_to_a_run_from_all_sides_are_all_heard(engines: tuple[Engine, Engine]) -> None:
    one, other = engines
    listening = one.start(listens(), id="listens").wait()

    other.handle("listens").signal(words, "from there").wait()
    one.handle("listens").signal(words, "from here").wait()

    assert listening.result().wait() == ["from there", "from here"]


def test_children_are_shared_out_and_their_parent_hears_of_all(engines: tuple[Engine, Engine], shelf: Shelf) -> None:
    one, _ = engines

    assert one.run(parent(20), id="parent").wait() == [f"<{n}>" for n in range(20)]
    assert shelf.owners == {}


def test_a_timer_rings_though_the_engine_that_has_begun_the_run_is_gone(shelf: Shelf) -> None:
    with Engine(MemoryStore(shelf=shelf), ALL) as one:
        one.start(sleeps(0.2), id="sleeps").wait()
    with Engine(MemoryStore(shelf=shelf), ALL) as other:
        assert other.handle("sleeps").result().wait() == "awake"


def test_whoever_closes_hands_over_what_it_has(shelf: Shelf) -> None:
    may_end.clear()
    with Engine(MemoryStore(shelf=shelf), ALL) as other:
        with Engine(MemoryStore(shelf=shelf), ALL, drain=0) as one:
            one.start(toils("a"), id="toils").wait()
            assert at_work.wait(300)
        may_end.set()

        assert other.handle("toils").result().wait() == "<a>"
        attempts = other.handle("toils").describe().wait().steps[0].attempts
        assert len(attempts) == 2


def test_what_was_claimed_by_a_poll_whose_answer_was_lost_is_looked_after_when_it_is_told_again(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in motion, so that it is not due, and has no mail."""
    lost: list[Claimed] = []
    poll = MemoryMembership.poll

    def loses(self: MemoryMembership, now: int, limit: int, claims: int, starts: bool = True) -> Poll:
        found = poll(self, now, limit, claims, starts)
        if found.claimed and not lost:
            lost.extend(found.claimed)
            raise StoreUnreachable("the server has gone")
        found.claimed += [
            Claimed(each.key, each.claims, shelf.owners[each.key]) for each in lost if each.key in shelf.owners
        ]
        return found

    may_end.clear()
    with Engine(MemoryStore(shelf=shelf), ALL) as other:
        with Engine(MemoryStore(shelf=shelf), ALL, drain=0) as one:
            one.start(toils("a"), id="toils").wait()
            assert at_work.wait(300)
            monkeypatch.setattr(MemoryMembership, "poll", loses)
        may_end.set()

        assert other.handle("toils").result().wait() == "<a>"
    assert len(lost) == 1


def test_who_was_declared_dead_begins_anew_as_another_member_and_does_nothing_twice(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    may_end.clear()
    with Engine(MemoryStore(shelf=shelf), ALL) as engine:
        running = engine.start(toils("a"), id="toils").wait()
        assert at_work.wait(300)
        del shelf.seats[min(shelf.seats)]  # another one has declared it dead
        may_end.set()

        assert running.result().wait() == "<a>"
        assert engine.run(toils("b"), id="next").wait() == "<b>"
    assert "begins anew as another member" in caplog.text


def test_whoever_has_lost_sight_of_its_runs_begins_anew_and_others_get_them_at_once(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The store does not answer where nothing else can be done about it; the member is alive, and nobody would take its runs."""
    go_on = Retention.go_on
    fails: list[StoreUnreachable] = []

    def fails_once(self: Retention) -> None:
        if fails:
            raise fails.pop()
        go_on(self)

    may_end.clear()
    monkeypatch.setattr(Retention, "go_on", fails_once)
    with Engine(MemoryStore(shelf=shelf), ALL) as engine:
        (first,) = shelf.seats
        running = engine.start(toils("a"), id="toils").wait()
        assert at_work.wait(300)
        fails.append(StoreUnreachable("the server has gone"))
        while first in shelf.seats:
            time.sleep(0.005)
        may_end.set()

        assert running.result().wait() == "<a>"
        assert engine.run(toils("b"), id="next").wait() == "<b>"
        (second,) = shelf.seats
    assert second != first
    assert "begins anew as another member: the server has gone" in caplog.text


def test_a_handle_is_of_its_run_and_of_none_that_has_got_its_number_in_a_database_that_has_gone_back(
    shelf: Shelf,
) -> None:
    may_end.set()
    with Engine(MemoryStore(shelf=shelf), ALL) as engine:
        lost, other = engine.start(toils("a"), id="lost").wait(), engine.start(toils("b"), id="other").wait()
        assert (lost.result().wait(), other.result().wait()) == ("<a>", "<b>")
    with shelf.lock:
        keys = {row.id: row.key for row in shelf.runs.values()}
        row, history = shelf.runs[keys["other"]], shelf.parts(keys["other"])
        for key in keys.values():
            shelf.remove(key)
        shelf.put_run(msgspec.structs.replace(row, key=keys["lost"]))
        shelf.history[keys["lost"]] = {part.seq: msgspec.structs.replace(part, run=keys["lost"]) for part in history}

    with Client(MemoryStore(shelf=shelf)) as client:
        handle = Handle(client.handle("lost")._door, "lost", key=keys["lost"])
        for ask in (handle.result, handle.describe, handle.terminate, handle.history):
            with pytest.raises(RunNotFound):
                ask().wait()
        assert client.handle("other").result().wait() == "<b>"


def test_who_was_declared_dead_while_it_leaves_ends_without_a_fault(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Others have its runs, as they would have had anyway."""
    engine = Engine(MemoryStore(shelf=shelf), ALL)
    with engine:
        engine.start(listens(), id="listens").wait()

        def is_too_late(_: MemoryMembership) -> None:
            raise OwnershipLost("declared dead")

        monkeypatch.setattr(MemoryMembership, "hand_over", is_too_late)

    assert "others have taken over" in caplog.text


def test_engines_with_different_code_take_what_they_know(shelf: Shelf) -> None:
    with Engine(MemoryStore(shelf=shelf), [toils, works]) as one, Engine(MemoryStore(shelf=shelf), [sleeps]) as other:
        assert one.run(toils("a"), id="a").wait() == "<a>"
        assert other.run(sleeps(0.01), id="b").wait() == "awake"
        with pytest.raises(UnknownWorkflow):
            other.start(toils("c"), id="c").wait()
        by_name: WorkflowDefinition[..., str] = sleeps
        later = other.start(by_name(0.1), id="later").wait()
        assert one.handle("later").result().wait() == "awake"
        assert later.describe().wait().status == "completed"
