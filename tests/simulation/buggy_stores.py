"""Stores that have bugs."""

from collections.abc import Iterator
from contextlib import contextmanager

from perdure.kernel.project import AttemptRow
from perdure.stores.base import Batch, Faults
from perdure.stores.memory import MemoryAdmin, MemoryJournal, MemoryStore, MemoryWork, Shelf
from perdure.testing.simulation.life import Opener, Stores


class ForgetsWhoRuns(MemoryWork):
    def running(self) -> list[int]:
        return []


class SettlesBlindly(MemoryJournal):
    """Takes every commit whose fate is unknown for durable."""

    def settle(self, batch: Batch) -> bool:
        return True


class LosesAttempts(MemoryJournal):
    def commit(self, batch: Batch) -> None:
        kept: list[AttemptRow] = [row for row in batch.attempts if row.attempt != 2]
        batch.attempts = kept
        super().commit(batch)


class ForgetsHistory(MemoryJournal):
    """That of runs that are told something by mail."""

    def commit(self, batch: Batch) -> None:
        if not batch.created and batch.mail_read:
            batch.history = []
        super().commit(batch)


def with_bug(bug: type) -> Stores:
    @contextmanager
    def stores() -> Iterator[Opener]:
        shelf = Shelf()

        def opened(faults: Faults | None) -> MemoryStore:
            store = MemoryStore(shelf=shelf, faults=faults)
            admin: MemoryAdmin = store.admin
            if issubclass(bug, MemoryWork):
                store.work = bug(shelf, admin)
            else:
                store.journal = bug(shelf, admin, faults)
            return store

        yield opened

    return stores
