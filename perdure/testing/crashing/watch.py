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
from perdure.testing.crashing.words import Words, is_loss, listed, of_run

_BROUGHT = {"result": "the result of", "failure": "the failure of", "token": "the token of"}
_ENDS = frozenset({ev.ActivityCompleted, ev.ActivityFailed, ev.ActivityCancelled})


class Row(NamedTuple):
    """A line of what has happened: a "commit", an "exchange" (what a worker of a queue writes) or an "effect", with its number,
    or a "crash"; `life` 1 is the first."""

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
    queued: bool = False

    @property
    def name(self) -> str:
        """The activity, its place, and whose it is, if not the tried run's."""
        return f"{self.activity} [{self.step[1]}]{of_run(self.id)}"


class Watch:
    """Of all lives of one trial. `dies` is asked before each call, with its number; `step` is told that of each commit."""

    def __init__(self, step: Callable[[int], object] | None = None) -> None:
        self._step = step
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
        self.worker = 0
        """The member that serves queues, of all that have done so."""
        self.exchanges = 0
        self.gate = Gate()
        self._threads = Threads("perdure-crash")
        self._attempts: list[Any] = []
        self._words = Words()
        self._keys: dict[int, str] = {}
        self._scheduled: dict[tuple[str, str], int] = {}
        self._recorded: dict[tuple[str, str], str] = {}
        self._ended: set[tuple[tuple[str, str], int]] = set()

    def enter(self, views: Views, dies: Callable[[int], bool]) -> None:
        """Another life begins."""
        self.worker = 0
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
                    self._recorded.setdefault(step, f"commit {number}")
                elif type(event) is ev.ActivityScheduled:
                    self._scheduled[step] = seq
        for attempt in batch.attempts:
            if attempt.state not in (AttemptState.STARTED, AttemptState.RELEASED):
                self._ended.add(((self._keys.get(attempt.run, ""), attempt.step), attempt.attempt))
        self.rows.append(Row("commit", number, self._words.of(batch), self.life))
        if self._step is not None:
            self._step(number)
        self._look_for_losses(batch)

    def _look_for_losses(self, batch: Batch) -> None:
        lost = [row for row in batch.attempts if row.detail is not None and is_loss(row.detail)]
        owners = {owner.id for owner in self.views.owners()} if lost and self.views is not None else set()
        for row in lost:
            who = "engine" if row.member in owners else "worker"
            if who == "engine" or row.member == self.worker:
                name = self._words.step(row.run, row.step)
                self.broken.append(f"attempt {row.attempt} of {name} counts as lost, and the {who} that has it lives")

    def exchanged(self, brought: Sequence[tuple[int, str, int, str]], taken: Sequence[tuple[int, str]]) -> None:
        """The store says that this is durable: ends of attempts (run, step, number, what it came to), and tasks that a worker
        has."""
        self.exchanges += 1
        said = [f"brings {_BROUGHT[what]} {self._words.step(run, step)}" for run, step, _, what in brought]
        tasks = [self._words.step(run, step) for run, step in taken]
        said += [f"takes {listed(tasks)}"] if tasks else []
        self.rows.append(
            Row("exchange", self.exchanges, f"a worker {' and '.join(said) or 'takes nothing'}", self.life)
        )
        for run, step, attempt, what in brought:
            at = (self._keys.get(run, ""), step)
            self._ended.add((at, attempt))
            if what == "result":
                self._recorded.setdefault(at, f"exchange {self.exchanges}")

    def beaten(self, steps: Sequence[tuple[int, str]]) -> None:
        """The same of how far attempts are."""
        self.exchanges += 1
        said = listed([self._words.step(run, step) for run, step in steps])
        self.rows.append(Row("exchange", self.exchanges, f"a worker tells how far it is with {said}", self.life))

    def died(self, where: str, only_worker: bool = False) -> None:
        """The engine dies, or a worker alone: what is in the air now may be done again."""
        self.rows.append(Row("crash", 0, where, self.life))
        self.in_flight += [
            call
            for call in self.calls
            if (call.queued or not only_worker)
            and call not in self.in_flight
            and call.step not in self._recorded
            and (call.step, call.attempt) not in self._ended
        ]

    def lose_attempts(self) -> None:
        """The worker that had them has died."""
        self._attempts = [attempt for attempt in self._attempts if not attempt.task.queue]

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
                if attempt in self._attempts:  # else its worker has died
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
        call = Call((info.run_id, info.step), info.attempt, info.activity, self.life, info.id, bool(info.queue))
        again = "" if info.attempt == 1 else f", attempt {info.attempt}"
        self.rows.append(Row("effect", effect, f"{call.name} is called{again}", self.life))
        if call.step in self._recorded:
            self.broken.append(
                f"{call.name} was called again, although its end had been recorded in {self._recorded[call.step]}"
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

    def in_hand(self, queued: bool = False) -> int:
        """Attempts of the engine's, or of its worker's, that have begun or wait at the gate, and whose result is wanted."""
        return sum(bool(attempt.task.queue) == queued and not attempt.cancelled() for attempt in self._attempts)

    def at_work(self) -> int:
        return len(self._attempts)
