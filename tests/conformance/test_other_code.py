"""A run that one engine has blocked goes on in another one whose code is mended, of every store that several owners share: also if that
one was there before, and without taking anything from who is still at work for the run."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from perdure import Engine, RunBlocked, activity, channel, workflow
from perdure.client.handle import Handle
from perdure.runtime import mending, owner
from perdure.stores import base
from perdure.stores.memory_members import MemoryMembership
from perdure.stores.postgres.membership import PostgresMembership
from tests.conformance.rows import Opener, of_several_owners

pytestmark = of_several_owners

PATIENCE = 300.0
words = channel("words", str)


class Polls:
    """How often each owner has asked what there is to do."""

    def __init__(self) -> None:
        self._counts = Counter[object]()
        self._more = threading.Condition()

    def count(self, membership: object) -> None:
        with self._more:
            self._counts[membership] += 1
            self._more.notify_all()

    def wait(self, *stores: base.Store, times: int = 3) -> None:
        """Until each of these owners has polled so often."""
        with self._more:
            wanted = {store.membership: self._counts[store.membership] + times for store in stores}
            assert self._more.wait_for(lambda: all(self._counts[each] >= n for each, n in wanted.items()), PATIENCE)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(mending, "PAUSE_SECONDS", 0.05)


@pytest.fixture
def polls(monkeypatch: pytest.MonkeyPatch) -> Polls:
    polls = Polls()

    def counted(kind: Any) -> Callable[..., base.Poll]:
        poll = kind.poll

        def count(self: Any, *args: Any, **kwargs: Any) -> base.Poll:
            polls.count(self)
            return poll(self, *args, **kwargs)

        return count

    for kind in (MemoryMembership, PostgresMembership):
        monkeypatch.setattr(kind, "poll", counted(kind))
    return polls


class Shop:
    """Two versions of an order, and what was done for it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.may_end = threading.Event()

    def version(self, fails: bool, waits: bool = False) -> list[Any]:
        @activity
        async def step(name: str) -> str:
            self.done.append(name)
            while name == "slow" and not self.may_end.is_set():
                await asyncio.sleep(0.005)
            return name

        @workflow
        async def order() -> str:
            slow = asyncio.ensure_future(step("slow")) if waits else None
            quick = await step("quick")
            if fails:
                raise NameError("not mended yet")
            said = await words.receive()
            return f"{quick} {said}" if slow is None else f"{quick} {said} {await slow}"

        return [order, step]


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.may_end.set()


def ended(handle: Handle[Any]) -> Any:
    """What comes of a run that may be blocked for a while."""
    for _ in range(int(PATIENCE / 0.05)):
        try:
            return handle.result().wait()
        except RunBlocked:
            threading.Event().wait(0.05)
    raise AssertionError("it is blocked still")


def times_blocked(caplog: pytest.LogCaptureFixture) -> int:
    return sum("is blocked" in record.getMessage() for record in caplog.records)


def blocked(engine: Engine) -> Handle[Any]:
    with pytest.raises(RunBlocked):
        engine.run("order", id="o").wait()
    return engine.handle("o")


def test_an_engine_with_mended_code_that_is_there_already_goes_on_with_what_the_old_code_blocks(
    opened: Opener, shop: Shop
) -> None:
    with (
        Engine(opened(), shop.version(fails=True), build="old") as old,
        Engine(opened(), shop.version(fails=False), build="new"),
    ):
        handle = blocked(old)
        handle.signal(words, "hello").wait()

        assert ended(handle) == "quick hello"
    assert shop.done == ["quick"]


def test_an_attempt_of_a_blocked_run_is_left_to_the_engine_that_makes_it(
    opened: Opener, shop: Shop, polls: Polls
) -> None:
    stores = opened(), opened()
    with (
        Engine(stores[0], shop.version(fails=True, waits=True), build="old") as old,
        Engine(stores[1], shop.version(fails=False, waits=True), build="new") as new,
    ):
        handle = blocked(old)
        new.handle("o").signal(words, "hello").wait()
        polls.wait(*stores)
        assert handle.describe().wait().status == "blocked"
        shop.may_end.set()

        assert ended(handle) == "quick hello slow"
    assert sorted(shop.done) == ["quick", "slow"]


def test_an_operator_who_has_a_blocked_run_tried_again_is_heard_by_the_engine_that_is_at_work_for_it(
    opened: Opener, shop: Shop, polls: Polls, caplog: pytest.LogCaptureFixture
) -> None:
    stores = opened(), opened()
    with (
        Engine(stores[0], shop.version(fails=True, waits=True), build="old") as old,
        Engine(stores[1], shop.version(fails=False, waits=True), build="new") as new,
    ):
        handle = blocked(old)
        new.handle("o").retry().wait()
        polls.wait(*stores)
        assert handle.describe().wait().status == "blocked"
        assert times_blocked(caplog) == 2
        handle.signal(words, "hello").wait()
        shop.may_end.set()

        assert ended(handle) == "quick hello slow"
    assert sorted(shop.done) == ["quick", "slow"]


def test_an_engine_that_leaves_hands_a_blocked_run_over_with_what_it_was_at_work_for(
    opened: Opener, shop: Shop
) -> None:
    with Engine(opened(), shop.version(fails=False, waits=True), build="new") as new:
        with Engine(opened(), shop.version(fails=True, waits=True), build="old", drain=0) as old:
            blocked(old)
        shop.may_end.set()
        handle = new.handle("o")
        handle.signal(words, "hello").wait()

        assert ended(handle) == "quick hello slow"


def test_two_codes_that_both_fail_do_not_throw_a_run_back_and_forth(
    opened: Opener, shop: Shop, polls: Polls, caplog: pytest.LogCaptureFixture
) -> None:
    stores = [opened() for _ in range(4)]
    builds = ("old", "old", "new", "new")
    engines = [
        Engine(store, shop.version(fails=True), build=build) for store, build in zip(stores, builds, strict=True)
    ]
    with engines[0] as old, engines[1], engines[2], engines[3]:
        blocked(old)
        polls.wait(*stores, times=12)

    assert 2 <= times_blocked(caplog) <= 3  # by the one that has begun it, and once by each of the two that look


def test_code_that_does_not_know_a_workflow_leaves_the_block_as_it_is(
    opened: Opener, shop: Shop, polls: Polls, caplog: pytest.LogCaptureFixture
) -> None:
    @workflow
    async def other() -> None: ...

    stores = opened(), opened()
    with (
        Engine(stores[0], shop.version(fails=True), build="old") as old,
        Engine(stores[1], [other], build="new"),
    ):
        handle = blocked(old)
        polls.wait(*stores)

        assert "not mended yet" in handle.describe().wait().note
    assert times_blocked(caplog) == 1
