"""A worker of queues, turned by hand: it dies alone, as a process of its own does, and another one takes over from it."""

from collections.abc import Callable, Sequence
from typing import Any

from perdure.kernel import messages as msg
from perdure.runtime.inbox import Inbox
from perdure.runtime.queue_work import QueueWork
from perdure.stores import base
from perdure.testing.crashing.loop import Clock, TurnedLoop
from perdure.testing.crashing.watch import Watch

Dies = Callable[[str], None]


class WorkerDies(BaseException):
    """The process of a worker dies here."""


class Crew:
    """All workers of one life, one after the other. `make` lets one join, with a loop and an inbox of its own; `dies` is told
    what is about to be written ("exchange") and what has just been ("exchanged"), and raises `WorkerDies` where it shall."""

    def __init__(
        self,
        make: Callable[[base.Store, TurnedLoop, Inbox], QueueWork],
        store: base.Store,
        queues: Sequence[str],
        clock: Clock,
        watch: Watch,
        dies: Dies,
    ) -> None:
        self._make = make
        self._store = store
        self._queues = queues
        self._clock = clock
        self._watch = watch
        self._dies = dies
        self._over: list[TurnedLoop] = []
        self._vain_at = -1
        self._hire()

    def _hire(self) -> None:
        self._inbox = Inbox()
        self.loop = TurnedLoop(self._clock)
        seen = _Store(self._store, WatchedTasks(self._store.tasks, self._watch, self._dies))
        self._work = self._make(seen, self.loop, self._inbox)  # type: ignore[arg-type]
        self._watch.worker = self._work.member

    def works(self) -> bool:
        """Let the worker do the next thing that is at hand; false if there is none."""
        if self.loop.is_ready():
            self.loop.turn()
            return True
        told = not self._inbox.is_empty() or self._work.due_in(self._clock.seconds()) == 0.0
        if not told:
            if self._vain_at == self._clock.ns or not self._work.could_begin(self._store.tasks.waiting(self._queues)):
                return False
            self._inbox.nudge()
        before = self._work.flying()
        try:
            self._work.round(0.0)
        except WorkerDies:
            self._bury()
            self._hire()
        else:
            if not told and self._work.flying() == before:
                self._vain_at = self._clock.ns  # a task that is given to nobody, as it would begin too late
        return True

    def _bury(self) -> None:
        """It is gone with all that it had in the air; its lock is free, so that the engine learns that at once."""
        self._over.append(self.loop)
        self._work.give_up_all()
        self._watch.lose_attempts()

    def due(self) -> int | None:
        """When it has to do something next, in nanoseconds since the epoch."""
        seconds = self._work.due_in(self._clock.seconds())
        dues = [self.loop.due(), None if seconds is None else self._clock.ns + int(seconds * 1e9) + 1_000]
        return min((each for each in dues if each is not None), default=None)

    @property
    def is_busy(self) -> bool:
        """Whether an attempt has ended, and its letter is on its way."""
        return self._work.flying() > self._watch.in_hand(queued=True)

    def close(self, drain_seconds: float) -> None:
        """The process of the engine ends; as an engine calls it that is left."""
        self._work.give_up_all()

    def end_loops(self, end: Callable[[TurnedLoop], None]) -> None:
        """Clear away the loops: what was in the air when a worker died stands still for good."""
        for loop in self._over:
            loop.bury()
        end(self.loop)


class _Store:
    """What a worker needs of a store."""

    def __init__(self, store: base.Store, tasks: "WatchedTasks") -> None:
        self.tasks = tasks
        self.admin = store.admin
        self.views = store.views
        self.post = store.post
        self.streams = store.streams


class WatchedTasks:
    """The tasks of a store, as they are seen by a worker that can die before and after each transaction of its own."""

    def __init__(self, tasks: base.Tasks, watch: Watch, dies: Dies) -> None:
        self._tasks = tasks
        self._watch = watch
        self._dies = dies

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tasks, name)

    def exchange(self, member: int, endings: Sequence[base.Ending], *rest: Any) -> base.Exchanged:
        self._dies("exchange")
        got = self._tasks.exchange(member, endings, *rest)
        brought = [ending for ending, taken in zip(endings, got.accepted, strict=True) if taken]
        self._watch.exchanged(
            [(each.run, each.message.id, each.message.attempt, _what(each.message)) for each in brought],
            [(task.run, task.step) for task in got.tasks],
        )
        self._dies("exchanged")
        return got

    def beat(self, member: int, queues: Sequence[str], details: Sequence[tuple[int, str, int, bytes]]) -> base.Look:
        if not details:
            return self._tasks.beat(member, queues, details)
        self._dies("exchange")
        look = self._tasks.beat(member, queues, details)
        self._watch.beaten([(run, step) for run, step, _, _ in details])
        self._dies("exchanged")
        return look


def _what(ended: msg.AttemptEnded) -> str:
    if ended.result is not None:
        return "result"
    return "token" if ended.deferred else "failure"
