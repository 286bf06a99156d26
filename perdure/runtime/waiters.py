"""Who waits for the end of which run."""

import threading
from collections.abc import Callable, Iterable
from typing import Any

from perdure.kernel.project import RunRow
from perdure.kernel.run import Status
from perdure.runtime.answers import Answers
from perdure.runtime.outbox import Outbox, Receiver
from perdure.stores.base import Views


def is_at_rest(status: int, wake_at: int | None, expires_at: int | None) -> bool:
    """Whether waiting for a run is of no use: it has ended, or goes on only when somebody mends or releases it.

    A run that is held rests unless a timer or a retry of another step can still move it; they do not help one whose
    compensation is held, whose row has a block that says so. That it will be ended, as its time is over, does not count.
    """
    if status == Status.HELD:
        return wake_at is None or wake_at == expires_at
    return status >= Status.BLOCKED


class Waiters:
    """Receivers by run, and, in `answers`, those of updates. Any thread adds; whoever moves the runs, or looks at the store, tells.

    Who waits for a run says its id beside its key: a database that has gone back, by a failover say, may give the key of a run that
    was lost to another one.

    `mending`: a new owner has not yet looked at all runs that wait for other code. Its own may be the one they wait
    for, so nobody is told before that they rest.
    """

    def __init__(self) -> None:
        self.mending = False
        self._lock = threading.Lock()
        self._receivers: dict[int, dict[Receiver, str]] = {}
        self._moved: dict[Receiver, int] = {}
        self.answers = Answers()

    def add(self, key: int, id: str, receiver: Receiver) -> None:
        with self._lock:
            self._receivers.setdefault(key, {})[receiver] = id

    def remove(self, key: int, receiver: Receiver) -> bool:
        """Wait no more; false if the answer is on its way already."""
        with self._lock:
            key = self._moved.pop(receiver, key) if self._moved else key
            waiting = self._receivers.get(key, {})
            if receiver not in waiting:
                return False
            del waiting[receiver]
            if not waiting:
                del self._receivers[key]
            return True

    def tell(self, key: int, id: str, value: Any, outbox: Outbox) -> None:
        """Give everybody who waits for a run the same answer. None means "read it in the store", as those are told who wait for
        another one that had the key."""
        if not self._receivers:
            return
        with self._lock:
            waiting = self._taken(key)
        for receiver, wanted in waiting.items():
            outbox.answer(receiver, value if wanted == id else None, None)

    def _taken(self, key: int) -> dict[Receiver, str]:
        waiting = self._receivers.pop(key, {})
        for receiver in waiting if self._moved else ():
            self._moved.pop(receiver, None)
        return waiting

    def move(self, key: int, further: int) -> None:
        """The run goes on as another one: who waits for it waits for that."""
        if not self._receivers:
            return
        with self._lock:
            waiting = self._receivers.pop(key, {})
            for receiver in waiting:
                self._moved[receiver] = further
            if waiting:
                self._receivers.setdefault(further, {}).update(waiting)

    def look(self, views: Views, outbox: Outbox, is_here: Callable[[int], object] = lambda key: None) -> None:
        """Ask the store about every run that is waited for, but for those that are moved here, and tell those that are at rest, or
        not there any more: the answer is None, which means "read it there". So is that of those whose run is another one there."""
        with self._lock:
            keys = [key for key in self._receivers if not is_here(key)]
        rows = views.rows_by_key(keys) if keys else {}
        for key in keys:
            row = rows.get(key)
            if row is not None and row.status >= Status.COMPLETED and row.followed_by > 0:
                row = views.end_of_chain(key)
                if row is not None and row.key != key:
                    self.move(key, row.key)
                    key = row.key
            if row is None or self.rests(row):
                self.tell(key, "", None, outbox)
            else:
                self._tell_others(key, row.id, outbox)

    def _tell_others(self, key: int, id: str, outbox: Outbox) -> None:
        """The run of this key has this id: who waits for one of another id waits in vain."""
        with self._lock:
            waiting = self._receivers.get(key, {})
            others = [receiver for receiver, wanted in waiting.items() if wanted != id]
        for receiver in others:
            if self.remove(key, receiver):
                outbox.answer(receiver, None, None)

    def rests(self, row: RunRow) -> bool:
        """Whether waiting for the run is of no use."""
        return rests(row) and not (self.mending and row.status < Status.COMPLETED)

    def is_blocked(self, row: RunRow) -> bool:
        """Whether the code at hand gets the run no further: waiting for the answer to an update is of no use, either."""
        return row.block is not None and not (self.mending and row.status < Status.COMPLETED)

    def awaited(self) -> set[int]:
        """The runs that somebody waits for."""
        with self._lock:
            return self._receivers.keys() | self.answers.awaited()

    def fail(self, error: BaseException, outbox: Outbox) -> None:
        """Nobody is going to answer any more."""
        with self._lock:
            receivers: Iterable[Iterable[Receiver]] = list(self._receivers.values())
            self._receivers.clear()
            self._moved.clear()
        for waiting in receivers:
            for receiver in waiting:
                outbox.answer(receiver, None, error)

    def __len__(self) -> int:
        return len(self._receivers)


def rests(row: RunRow) -> bool:
    return row.block is not None or is_at_rest(row.status, row.wake_at, row.expires_at)
