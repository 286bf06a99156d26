"""Who was called, what is recorded, and whether the one follows from the other."""

import asyncio
import contextvars
import copy
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple

from perdure.activities import ActivityDefinition, ActivityInfo, activity, attempt_context
from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.limits import END_OF_TIME
from perdure.kernel.project import AttemptState
from perdure.runtime.threads import Threads
from perdure.stores.base import Batch, Views
from perdure.testing.crashing.words import Words, is_loss, of_run

_ENDS = frozenset({ev.ActivityCompleted, ev.ActivityFailed, ev.ActivityCancelled})


class Row(NamedTuple):
    """A line of what has happened: a "commit" or an "effect", with its number, or a "crash"; `life` 1 is the first."""

    what: str
    number: int
    text: str
    life: int


class Gate:
    """Lets attempts begin, one after the other."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def pass_through(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def let_one_in(self) -> bool:
        """False: nobody waits."""
        while self._waiting:
            future = self._waiting.pop(0)
            if not future.done():
                future.set_result(None)
                return True
        return False


class Call(NamedTuple):
    """An attempt whose function was called. `step` is (number of the run, path)."""

    step: tuple[str, str]
    attempt: int
    activity: str
    life: int
    id: str

    @property
    def name(self) -> str:
        """The activity, its place, and whose it is, if not the tried run's."""
        return f"{self.activity} [{self.step[1]}]{of_run(self.id)}"


class Watch:
    """Of all lives of one trial. `dies` is asked before each call, with its number."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.calls: list[Call] = []
        self.broken: list[str] = []
        """Promises of the engine that were not kept."""
        self.in_flight: list[Call] = []
        """Those whose end was not recorded when an engine died."""
        self.done: set[Call] = set()
        """Those whose function has come to its end."""
        self.run_ids: set[bytes] = set()
        self.beside = 0
        self.life = 0
        self.dies: Callable[[int], bool] = lambda effect: False
        self.views: Views | None = None
        self.queues: Sequence[str] = ()
        self.gate = Gate()
        self._threads = Threads("perdure-crash")
        self._attempts: list[Any] = []
        self._words = Words()
        self._keys: dict[int, str] = {}
        self._scheduled: dict[tuple[str, str], int] = {}
        self._recorded: dict[tuple[str, str], int] = {}
        self._ended: set[tuple[tuple[str, str], int]] = set()

    def enter(self, views: Views, dies: Callable[[int], bool], queues: Sequence[str]) -> None:
        """Another life begins; it serves these queues."""
        self.queues = queues
        self.life += 1
        self.views = views
        self.dies = dies
        self.gate = Gate()
        self._attempts = []
        self.beside = 0

    def leave(self) -> None:
        self._threads.close()

    # what is recorded

    def committed(self, batch: Batch, number: int) -> None:
        """The store says that this is durable."""
        for row in [*batch.created, *batch.updated]:
            self._keys[row.key] = row.run_id.hex()
            self.run_ids.add(row.run_id)
        for part in batch.history:
            for seq, event in enumerate(wire.decode_events(part.events), start=part.seq):
                step = (self._keys.get(part.run, ""), getattr(event, "id", ""))
                if type(event) in _ENDS:
                    self._recorded.setdefault(step, number)
                elif type(event) is ev.ActivityScheduled:
                    self._scheduled[step] = seq
        for attempt in batch.attempts:
            if attempt.state not in (AttemptState.STARTED, AttemptState.RELEASED):
                self._ended.add(((self._keys.get(attempt.run, ""), attempt.step), attempt.attempt))
        self.rows.append(Row("commit", number, self._words.of(batch), self.life))
        self._look_for_losses(batch)

    def _look_for_losses(self, batch: Batch) -> None:
        lost = [row for row in batch.attempts if row.detail is not None and is_loss(row.detail)]
        owner = self.views.owner() if lost and self.views is not None else None
        for row in lost:
            if owner is not None and row.member == owner.id:
                name = self._words.step(row.run, row.step)
                self.broken.append(f"attempt {row.attempt} of {name} counts as lost, and the engine that has it lives")

    def died(self, where: str) -> None:
        """The engine dies: what is in the air now may be done again."""
        self.rows.append(Row("crash", 0, where, self.life))
        self.in_flight += [
            call
            for call in self.calls
            if call not in self.in_flight
            and call.step not in self._recorded
            and (call.step, call.attempt) not in self._ended
        ]

    # who is called

    def observed(self, definition: ActivityDefinition[Any, Any]) -> ActivityDefinition[Any, Any]:
        """The definition again, with a function that is watched. It begins when the gate lets it in; a plain one runs in a
        thread, and so does one that is meant for a process."""
        fn, is_async = definition.fn, definition.is_async

        async def called(*args: Any, **kwargs: Any) -> Any:
            attempt = attempt_context.get()
            self._attempts.append(attempt)
            try:
                await self.gate.pass_through()
                call = await self._begin(activity.info())
                try:
                    return await (fn(*args, **kwargs) if is_async else self._in_thread(attempt, fn, args, kwargs))
                finally:
                    self.done.add(call)
            finally:
                self._attempts.remove(attempt)

        seen = copy.copy(definition)
        seen.fn = called
        seen.is_async = True
        seen.in_process = False
        return seen

    async def _begin(self, info: ActivityInfo) -> Call:
        effect = len(self.calls) + 1
        if self.dies(effect):
            await asyncio.get_running_loop().create_future()  # for ever
        call = Call((info.run_id, info.step), info.attempt, info.activity, self.life, info.id)
        again = "" if info.attempt == 1 else f", attempt {info.attempt}"
        self.rows.append(Row("effect", effect, f"{call.name} is called{again}", self.life))
        if call.step in self._recorded:
            self.broken.append(
                f"{call.name} was called again, although its end had been recorded in commit {self._recorded[call.step]}"
            )
        elif any(each.step == call.step and each.attempt == call.attempt for each in self.calls):
            self.broken.append(f"attempt {info.attempt} of {call.name} was made twice")
        elif not self._knows(info):
            self.broken.append(f"{call.name} was called before the store knew of its attempt {info.attempt}")
        self.calls.append(call)
        return call

    def _knows(self, info: ActivityInfo) -> bool:
        """Whether the store has the attempt that begins: the first one with the step, others in rows of their own, or, if a
        queue has them, in a task."""
        assert self.views is not None
        row = self.views.row_of(info.id, bytes.fromhex(info.run_id))
        if row is None or row.seq < self._scheduled.get((info.run_id, info.step), END_OF_TIME):
            return False
        if info.attempt == 1 or info.queue:
            return True
        stored = self.views.stored(row.key)
        return stored is not None and any(
            (attempt.step, attempt.attempt) == (info.step, info.attempt) for attempt in stored.attempts
        )

    async def _in_thread(self, attempt: Any, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """A plain function cannot be cancelled: it is waited for, and looks at `activity.cancelled()` if it likes."""
        context = contextvars.copy_context()
        running: Coroutine[Any, Any, Any] = self._threads.beside(lambda: context.run(fn, *args, **kwargs))
        self.beside += 1
        life = self.life
        task = asyncio.ensure_future(running)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done() and attempt.cancelled():
                return await task
            raise
        finally:
            if life == self.life:
                self.beside -= 1

    def has_tasks(self) -> bool:
        """Whether there is something in the queues that this engine serves."""
        if not self.queues or self.views is None:
            return False
        return any(row.queue in self.queues for row in self.views.backlog())

    def in_hand(self) -> int:
        """Attempts that have begun or wait at the gate, and whose result is wanted."""
        return sum(not attempt.cancelled() for attempt in self._attempts)

    def at_work(self) -> int:
        return len(self._attempts)
