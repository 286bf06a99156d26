"""Who waits for the answer to which update."""

import threading
from collections.abc import Callable, Iterable

from perdure.kernel.project import RunRow, UpdateState
from perdure.kernel.run import Status
from perdure.runtime.outbox import Outbox, Receiver
from perdure.stores.base import Store


class Answers:
    """Receivers by run and update. They are told "look into the store": there is an answer, or none can come any more, or not
    with the code at hand."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._receivers: dict[int, dict[str, list[Receiver]]] = {}
        self._moved: dict[Receiver, int] = {}

    def add(self, key: int, id: str, receiver: Receiver) -> None:
        with self._lock:
            self._receivers.setdefault(key, {}).setdefault(id, []).append(receiver)

    def remove(self, key: int, id: str, receiver: Receiver) -> bool:
        """Wait no more; false if the answer is on its way already."""
        with self._lock:
            key = self._moved.pop(receiver, key) if self._moved else key
            of_run = self._receivers.get(key, {})
            waiting = of_run.get(id, [])
            if receiver not in waiting:
                return False
            waiting.remove(receiver)
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
                self._receivers.setdefault(further, {}).setdefault(id, []).extend(waiting)

    def _taken(self, key: int, id: str) -> list[Receiver]:
        of_run = self._receivers.get(key, {})
        waiting = of_run.pop(id, [])
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

    def look(self, store: Store, outbox: Outbox, is_blocked: Callable[[RunRow], bool]) -> None:
        """Ask the store about all that are waited for."""
        with self._lock:
            wanted = [(key, id) for key, of_run in self._receivers.items() for id in of_run]
        found = {(key, id): store.messages.update(key, id) for key, id in wanted}
        keys = {key if update is None else update.run for (key, _), update in found.items()}
        rows = store.views.rows_by_key(sorted(keys)) if keys else {}
        for (key, id), update in found.items():
            row = rows.get(key if update is None else update.run)
            over = row is None or row.status >= Status.COMPLETED or is_blocked(row)
            if row is None or (update is not None and (over or update.state != UpdateState.ACCEPTED)):
                self.tell(key, id, outbox)

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
