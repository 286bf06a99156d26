"""What an engine for tests does beside skipping time: it replays each run before each step, and reads back what it writes."""

import itertools
import random
from collections.abc import Iterator

import pytest

from perdure import Engine, RunBlocked, activity, workflow
from perdure.errors import DefinitionError
from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.project import HistoryRow
from perdure.stores.base import Batch, CommitRefused
from perdure.stores.memory import MemoryStore, Shelf
from perdure.testing import TestEngine
from perdure.testing.rereading import reread

serial: Iterator[int] = itertools.count()
seen: list[str] = []


@activity
async def left(n: int) -> int:
    return n


@activity
async def right(n: int) -> int:
    return n


@workflow
async def flips() -> int:
    """Not deterministic: each replay takes the other way."""
    step = left if next(serial) % 2 else right
    return await step(1) + await left(2)


@workflow
async def remembers() -> int:
    seen.append("began")
    got = await left(1)
    seen.append("went on")
    return got + await right(2)


ALL = [flips, remembers, left, right]


@pytest.fixture(autouse=True)
def _begin_anew() -> None:
    seen.clear()


def test_a_workflow_that_is_not_deterministic_is_found_out_at_once() -> None:
    with TestEngine(ALL) as engine, pytest.raises(RunBlocked) as blocked:
        engine.run(flips()).wait()

    assert "does not do what the history has after event 1" in str(blocked.value)
    assert "step = left if next(serial)" in str(blocked.value) or "test_engine.py" in str(blocked.value)


def test_without_replays_it_is_not() -> None:
    with TestEngine(ALL, replay_every_step=False) as engine:
        assert engine.run(flips()).wait() == 3


def test_each_step_begins_with_a_replay_of_those_before_it() -> None:
    with TestEngine(ALL) as engine:
        assert engine.run(remembers()).wait() == 3

    assert seen == ["began", "began", "went on", "began", "went on"]


def test_an_engine_for_users_does_not_replay() -> None:
    with Engine("memory://", ALL) as engine:
        assert engine.run(remembers()).wait() == 3

    assert seen == ["began", "went on"]


def test_a_run_that_waits_for_slots_survives_its_replays() -> None:
    with TestEngine(ALL, concurrency=1) as engine:
        handles = [engine.start(remembers()).wait() for _ in range(random.randint(5, 9))]

        assert {handle.result().wait() for handle in handles} == {3}


def test_it_says_what_it_wants_if_it_is_given_an_address_first() -> None:
    with pytest.raises(DefinitionError, match="an engine takes a list of workflows, activities and modules"):
        TestEngine("memory://", activities={left: lambda n: n})  # type: ignore[arg-type]


def test_bytes_that_are_not_what_they_were_made_from_are_refused() -> None:
    wrong = wire.encode([ev.TimerFired(at="now", id="0:1")])  # type: ignore[arg-type]
    batch = Batch(history=[HistoryRow(2, 1, wrong)])

    with pytest.raises(CommitRefused, match="event 1 of run 2, or one after it, cannot be read back: Expected `int`"):
        reread("before", batch)


def test_bytes_that_are_right_pass() -> None:
    batch = Batch(history=[HistoryRow(2, 1, wire.encode([ev.TimerFired(at=1, id="0:1")]))])

    assert reread("before", batch) is None


def test_a_store_that_others_share_is_refused_as_they_would_not_have_its_clock():
    store = MemoryStore(shelf=Shelf(shared=True))

    with pytest.raises(DefinitionError, match="TestEngine has a clock of its own"), TestEngine([], store=store):
        pass


def test_a_server_is_not_even_asked() -> None:
    address = "postgresql://me:hush@127.0.0.1:1/x"

    with pytest.raises(DefinitionError, match=r"that share postgresql://me@127.0.0.1:1/x would not have"):
        TestEngine([], store=address).begin(None)
