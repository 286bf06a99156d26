"""The heart, moved by hand: real kernel, real language, real store in memory; no threads and no clock."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from perdure.activities import activity
from perdure.errors import ActivityFailed
from perdure.failures import failure_of
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel.decide import Refused
from perdure.kernel.limits import PENDING_COMMANDS
from perdure.kernel.run import Run, Status
from perdure.languages.python.machine import PythonLanguage
from perdure.runtime.actors import Actor, actor_of
from perdure.runtime.draft import Draft
from perdure.runtime.slots import Slots
from perdure.runtime.turn import Turns
from perdure.stores.memory import MemoryStore
from perdure.workflows import patched, workflow

NOW = 1_700_000_000_000_000_000


@activity
async def step(n: int) -> int:
    return n


@activity
async def other(n: int) -> int:
    return n


class Table:
    """One run and the turns that move it. `commit` writes what happened, and `reload` forgets what is in memory."""

    def __init__(self, fn: Callable[..., Any], build: str = "b1", most_pending: int = PENDING_COMMANDS) -> None:
        self.store = MemoryStore()
        self.member = self.store.admin.try_own("here", 1, build, 1) or 0
        assert self.store.marking is not None
        self.marker = self.store.marking.marker()
        self.activities = {"step": step, "other": other}
        self.slots = Slots(self.member, self.activities, 100, 100, 100)
        self.most_pending = most_pending
        self.turns = self._turns(fn, build)
        self.actor = Actor(Run(2, "run-1"), self.store, is_new=True)
        self.now = NOW

    def _turns(self, fn: Callable[..., Any] | None, build: str) -> Turns:
        languages = {} if fn is None else {"w": PythonLanguage(workflow(name="w")(fn), self.activities)}
        return Turns(languages, build, self.slots, self.marker, self.most_pending)

    def start(self) -> "Table":
        self.tell(msg.Start("w", ev.Payload(b"[]"), b"r" * 16, "b1"))
        return self

    def tell(self, message: msg.Message) -> bool:
        self.now += 1_000_000
        return self.turns.take(self.actor, message, self.now)

    def end(self, step: str, result: Any = 0, error: BaseException | None = None) -> bool:
        pending = self.actor.run.pending[step]
        result = None if error is not None else ev.Payload(str(result).encode())
        failure = None if error is None else failure_of(error)
        return self.tell(msg.AttemptEnded(step, pending.attempt, self.member, self.now, result, failure))

    def commit(self) -> "Table":
        draft = Draft(self.now)
        draft.actors[2] = self.actor
        self.store.journal.commit(draft.batch())
        self.actor.events.clear()
        self.actor.seq = self.actor.run.seq
        self.actor.is_new = False
        return self

    def reload(self, fn: Callable[..., Any] | None, build: str = "b1") -> "Table":
        self.commit()
        self.actor.let_go()
        self.actor = actor_of(self.store.work.load([2])[2], self.store)
        self.turns = self._turns(fn, build)
        return self

    @property
    def block(self) -> ev.Block:
        assert self.actor.run.block is not None
        return self.actor.run.block

    @property
    def status(self) -> Status:
        return self.actor.run.status


async def two_steps() -> int:
    return await step(1) + await step(2)


def test_a_message_moves_the_run_and_slots_are_granted_before_the_commit() -> None:
    table = Table(two_steps).start()

    (scheduled,) = [event for event in table.actor.events if isinstance(event, ev.ActivityScheduled)]
    assert scheduled.claimed_by == table.member
    table.end("0:1", 10)
    table.end("0:2", 20)
    assert table.status is Status.COMPLETED
    assert table.actor.run.outcome.result.data == b"30"  # type: ignore[union-attr]


def test_a_run_read_back_is_shown_its_history_before_it_is_moved() -> None:
    table = Table(two_steps).start().reload(two_steps)
    assert table.actor.program is None

    table.end("0:1", 10)

    assert list(table.actor.run.pending) == ["0:2"]


def test_other_code_diverges_and_the_message_waits() -> None:
    async def changed() -> int:
        return await other(1)

    table = Table(two_steps).start().reload(changed)

    assert table.end("0:1", 10) is False
    assert table.status is Status.BLOCKED
    assert (table.block.kind, table.block.recorded, table.block.produced) == (
        "divergence",
        "activity step [0:1]",
        "activity other [0:1]",
    )
    assert table.block.source == f"{__file__}:{changed.__code__.co_firstlineno + 1}"
    assert 'patched("' in table.block.hint
    assert not table.block.open_tail


def test_a_patch_mends_a_divergence() -> None:
    async def changed() -> int:
        return await other(1)

    async def mended() -> int:
        return await other(1) if patched("other-step") else await two_steps()

    table = Table(two_steps).start().reload(changed)
    table.end("0:1", 10)
    table.reload(mended, "b2")
    table.tell(msg.NewBuild("b2"))

    table.end("0:1", 10)

    assert list(table.actor.run.pending) == ["0:2"]


def test_a_bug_keeps_the_event_and_voids_the_answer() -> None:
    async def buggy() -> int:
        await step(1)
        return undefined  # type: ignore[name-defined]  # noqa: F821

    table = Table(buggy).start()

    assert table.end("0:1", 10) is True, "the result is recorded, the message is used up"
    assert table.block.kind == "bug" and table.block.open_tail
    assert "undefined" in table.block.message
    assert [type(event) for event in table.commit().actor.history()][-1] is ev.ActivityCompleted


def test_a_bug_has_no_cause_but_its_own() -> None:
    async def buggy() -> int:
        await step(1)
        return undefined  # type: ignore[name-defined]  # noqa: F821

    table = Table(buggy).start()
    table.end("0:1", 10)

    assert table.block.failure is not None
    assert table.block.failure.cause is None


def test_mended_code_answers_what_was_owing() -> None:
    async def buggy() -> int:
        await step(1)
        return undefined  # type: ignore[name-defined]  # noqa: F821

    table = Table(buggy).start()
    table.end("0:1", 10)
    table.reload(two_steps, "b2")

    table.tell(msg.NewBuild("b2"))

    assert table.status is Status.RUNNING
    assert list(table.actor.run.pending) == ["0:2"]
    assert not table.actor.run.open_tail


def test_the_same_build_does_not_try_again() -> None:
    async def buggy() -> int:
        return undefined  # type: ignore[name-defined]  # noqa: F821

    table = Table(buggy).start().reload(buggy)

    table.tell(msg.NewBuild("b1"))

    assert table.status is Status.BLOCKED


def test_retry_tries_again_and_may_block_again() -> None:
    async def buggy() -> int:
        return undefined  # type: ignore[name-defined]  # noqa: F821

    table = Table(buggy).start().reload(buggy)

    table.tell(msg.Retry())

    assert table.status is Status.BLOCKED
    assert [type(event) for event in table.actor.events] == [ev.RunReleased, ev.RunBlocked]


def test_a_bug_whose_cleanup_is_committed_fails_the_run() -> None:
    async def cleaning() -> int:
        try:
            await step(1)
            return undefined  # type: ignore[name-defined]  # noqa: F821
        finally:
            await step(2)

    table = Table(cleaning).start()
    table.end("0:1", 10)
    table.commit()
    table.end("0:2", 20)

    assert table.status is Status.FAILED
    assert table.actor.run.outcome.failure.type == "NameError"  # type: ignore[union-attr]


def test_a_workflow_nobody_knows_blocks_until_somebody_does() -> None:
    table = Table(two_steps).start().reload(None, "b2")

    assert table.end("0:1", 10) is False
    assert table.block.kind == "unknown-workflow"
    assert table.block.hint == ('add it: Engine(..., [..., w]); if it has another name now: @workflow(aliases=["w"])')


def test_a_flood_of_steps_blocks_before_any_of_them_is_recorded() -> None:
    async def flooding() -> None:
        await asyncio.gather(*(step(n) for n in range(11)))

    table = Table(flooding, most_pending=10).start()

    assert table.block.kind == "bug"
    assert table.actor.run.pending == {}
    assert table.block.open_tail


def test_steps_of_a_run_that_ends_in_the_same_turn_want_no_slot() -> None:
    async def leaving() -> int:
        asyncio.create_task(step(1))  # type: ignore[arg-type]  # noqa: RUF006
        await asyncio.sleep(0)
        return 1

    table = Table(leaving).start()

    assert table.status is Status.COMPLETED
    assert table.slots.claimed == []


def test_a_late_result_changes_nothing() -> None:
    table = Table(two_steps).start()
    late = msg.AttemptEnded("0:1", 1, table.member, NOW, ev.Payload(b"1"))
    table.tell(late)
    seq = table.actor.run.seq

    assert table.tell(late) is True
    assert table.actor.run.seq == seq


def test_a_closed_run_refuses() -> None:
    table = Table(two_steps).start()
    table.tell(msg.Terminate("enough"))

    with pytest.raises(Refused, match="terminated already"):
        table.tell(msg.Cancel("too late"))


def test_the_marker_names_the_run_while_its_code_runs_and_only_then() -> None:
    seen: list[int] = []

    async def looking() -> int:
        seen.append(table.store.shelf.turn)
        return await step(1)

    table = Table(looking)
    table.start()

    assert seen == [2]
    assert table.store.shelf.turn == 0


def test_a_takeover_loses_attempts_of_others_but_not_those_that_are_spared() -> None:
    async def both() -> None:
        await asyncio.gather(step(1), step(2))

    table = Table(both).start().reload(both)

    table.tell(msg.Takeover(spared=frozenset({"0.2:1"})))

    lost = [event for event in table.actor.events if isinstance(event, ev.AttemptFailed)]
    assert [event.id for event in lost] == ["0.1:1"]
    assert table.actor.run.pending["0.2:1"].member == table.member


def test_what_is_scheduled_in_answer_to_a_loss_is_not_lost_itself() -> None:
    async def tidies_up() -> int:
        try:
            return await step(1).with_options(retry=1)
        except ActivityFailed:
            return await other(2).with_options(retry=1)

    table = Table(tidies_up).start().reload(tidies_up)

    table.tell(msg.Takeover())

    lost = [event.id for event in table.actor.events if isinstance(event, ev.AttemptFailed)]
    assert lost == ["0:1"]
    assert table.actor.run.pending["0:2"].member == table.member
    assert table.status is Status.RUNNING


def test_the_history_of_a_run_that_comes_into_memory_is_read_once() -> None:
    table = Table(two_steps).start().reload(two_steps)
    loads: list[object] = []
    load = table.store.work.load
    table.store.work.load = lambda keys: loads.append(keys) or load(keys)  # type: ignore[method-assign,func-returns-value]

    table.end("0:1", 10)

    assert list(table.actor.run.pending) == ["0:2"]
    assert loads == []
