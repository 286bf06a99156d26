"""Who waits for the answer to which update."""

import threading
from collections.abc import Callable, Iterable

from perdure.kernel.project import RunRow, UpdateState
from perdure.kernel.run import Status
from perdure.runtime.outbox import Outbox, Receiver
from perdure.stores.base import Store


class Awaited:
    """An update as somebody waits for it: of the run of this id. `accepted`: the run has accepted it, for certain; if it has not any
    more, the database has gone back."""

    __slots__ = ("accepted", "run")

    def __init__(self, run: str, accepted: bool = False) -> None:
        self.run = run
        self.accepted = accepted


class Answers:
    """Receivers by run and update. They are told "look into the store": there is an answer, or none can come any more, or not
    with the code at hand."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._receivers: dict[int, dict[str, dict[Receiver, Awaited]]] = {}
        self._moved: dict[Receiver, int] = {}
        self._asked: dict[tuple[int, str], object] = {}
        """Updates of runs that are moved here, of which the store was asked since."""

    def add(self, key: int, id: str, receiver: Receiver, awaited: Awaited) -> None:
        with self._lock:
            self._receivers.setdefault(key, {}).setdefault(id, {})[receiver] = awaited

    def remove(self, key: int, id: str, receiver: Receiver) -> bool:
        """Wait no more; false if the answer is on its way already."""
        with self._lock:
            key = self._moved.pop(receiver, key) if self._moved else key
            of_run = self._receivers.get(key, {})
            waiting = of_run.get(id, {})
            if receiver not in waiting:
                return False
            del waiting[receiver]
            if not waiting:
                del of_run[id]
            if not of_run:
                del self._receivers[key]
            return True

    def move(self, key: int, id: str, further: int) -> None:
        """Another run hears the update."""
        with self._lock:
            waiting = self._taken(key, id)
            for receiver in waiting:
                self._moved[receiver] = further
            if waiting:
                self._receivers.setdefault(further, {}).setdefault(id, {}).update(waiting)

    def _taken(self, key: int, id: str) -> dict[Receiver, Awaited]:
        of_run = self._receivers.get(key, {})
        waiting = of_run.pop(id, {})
        if not of_run:
            self._receivers.pop(key, None)
        return waiting

    def tell(self, key: int, id: str, outbox: Outbox) -> None:
        """There is an answer to an update."""
        with self._lock:
            waiting = self._taken(key, id)
            for receiver in waiting if self._moved else ():
                self._moved.pop(receiver, None)
        for receiver in waiting:
            outbox.answer(receiver, None, None)

    def ended(self, key: int, accepted: Iterable[str], outbox: Outbox) -> None:
        """The run has ended, or is blocked: those it had accepted have no answer. Who sent others is told that they are
        refused."""
        for id in accepted:
            self.tell(key, id, outbox)

    def look(
        self,
        store: Store,
        outbox: Outbox,
        is_blocked: Callable[[RunRow], bool],
        is_here: Callable[[int], object] = lambda key: None,
    ) -> None:
        """Ask the store about all that are waited for. What becomes of runs that are moved here is told by that, but for what
        another owner has answered before: so they are asked about once. `is_here` gives the run as it is in memory."""
        with self._lock:
            wanted = {(key, id): is_here(key) for key, of_run in self._receivers.items() for id in of_run}
            accepted = {
                each
                for of_run in self._receivers.values()
                for of in of_run.values()
                for each in of
                if of[each].accepted
            }  # before the store is asked
        before, self._asked = self._asked, {pair: run for pair, run in wanted.items() if run is not None}
        asked = [pair for pair, run in wanted.items() if run is None or before.get(pair) is not run]
        updates = store.messages.updates_of(asked) if asked else {}
        runs = {pair: updates[pair].run if pair in updates else pair[0] for pair in asked}
        rows = store.views.rows_by_key(sorted(set(runs.values()))) if runs else {}
        for (key, id), run in runs.items():
            row, update = rows.get(run), updates.get((key, id))
            over = row is None or row.status >= Status.COMPLETED or is_blocked(row)
            if row is None or (update is not None and (over or update.state != UpdateState.ACCEPTED)):
                self.tell(key, id, outbox)
            else:
                self._tell_lost(key, id, row.id, accepted if update is None else set(), outbox)

    def _tell_lost(self, key: int, id: str, run: str, lost: set[Receiver], outbox: Outbox) -> None:
        """Who waits for an update of another run than has the key now, or for one that its run had accepted and does not know."""
        with self._lock:
            waiting = self._receivers.get(key, {}).get(id, {})
            lost = {each for each, of in waiting.items() if of.run != run or each in lost}
        for receiver in lost:
            if self.remove(key, id, receiver):
                outbox.answer(receiver, None, None)

    def awaited(self) -> set[int]:
        with self._lock:
            return set(self._receivers)

    def fail(self, error: BaseException, outbox: Outbox) -> None:
        """Nobody is going to answer any more."""
        with self._lock:
            receivers = [each for of_run in self._receivers.values() for waiting in of_run.values() for each in waiting]
            self._receivers.clear()
            self._moved.clear()
        for receiver in receivers:
            outbox.answer(receiver, None, error)

    def __len__(self) -> int:
        return len(self._receivers)
