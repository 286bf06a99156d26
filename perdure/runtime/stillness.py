"""What a world may ask of an owner that has nothing to do, before it moves the clock: who works, who waits, what is next."""

from collections.abc import Callable, Container

from perdure.kernel.human_rows import HumanTaskRow
from perdure.kernel.limits import END_OF_TIME
from perdure.runtime.actors import Roster
from perdure.runtime.inbox import Inbox
from perdure.runtime.outbox import Outbox
from perdure.runtime.slots import Slots
from perdure.runtime.waiters import Waiters
from perdure.stores.base import Store
from perdure.stores.human import HumanFilter

ASKED = 10_000
"""Human tasks that are looked at, at most."""


class Stillness:
    """Asked on the owner's thread, and only in `World.rest`."""

    def __init__(
        self,
        store: Store,
        inbox: Inbox,
        slots: Slots,
        waiters: Waiters,
        roster: Roster,
        outside: Container[int],
        room: Callable[[], int],
    ) -> None:
        self._store = store
        self._inbox = inbox
        self._slots = slots
        self._waiters = waiters
        self._roster = roster
        self._outside = outside
        self._room = room

    def at_work(self) -> list[tuple[int, str, int]]:
        """Attempts (run, step, number) that run, and whose result is wanted: what they do takes its own time."""
        return [(each.key, each.step, each.attempt) for each in self._slots.all() if not each.given_up]

    def is_looked_after(self, key: int) -> bool:
        """Whether the owner has the run in memory, or knows that it has to as soon as there is room."""
        return self._roster.get(key) is not None or key in self._outside

    def name(self, attempt: tuple[int, str, int]) -> str:
        """An attempt in words."""
        key, step, number = attempt
        row = self._store.views.rows_by_key([key])[key]
        return f"attempt {number} of step {step} of run {row.id!r} ({row.note})"

    def has_arrived(self) -> bool:
        """Whether something has arrived within this process."""
        return not self._inbox.is_empty()

    def has_letters(self) -> bool:
        """Whether something has arrived that can be taken in now."""
        return self.has_arrived() or bool(self._store.work.poll(0, 1, starts=self._room() > 0).mail)

    def is_awaited(self) -> bool:
        """Whether somebody waits for the end of a run."""
        return len(self._waiters) > 0

    def give_up(self, error: Exception, outbox: Outbox) -> None:
        """Whoever waits for the end of a run is told that it is of no use."""
        self._waiters.fail(error, outbox)

    def asked(self) -> list[tuple[str, HumanTaskRow]]:
        """Open human tasks, the oldest first, each with the id of its run."""
        views = self._store.views
        tasks = views.human.find(HumanFilter(limit=ASKED))
        runs = views.rows_by_key([task.run for task in tasks]) if tasks else {}
        return [(runs[task.run].id, task) for task in tasks if task.run in runs]

    def is_worked_on(self) -> bool:
        """Whether workers of queues have something in hand, elsewhere."""
        return any(row.taken for row in self._store.views.backlog())

    def next_due(self, now: int, monotonic: float) -> int | None:
        """When the next thing happens by itself, in nanoseconds since the epoch: a run is due, or an attempt has to be
        over; a run that has to wait until there is room begins when others have ended. None: nothing ever does."""
        limits = [each.deadline for each in self._slots.all() if each.deadline and not each.given_up]
        dues = [now + int((limit - monotonic) * 1e9) + 1_000 for limit in limits]
        for key in self._store.work.poll(END_OF_TIME, 1, starts=self._room() > 0).due:
            wake_at = self._store.views.rows_by_key([key])[key].wake_at
            if wake_at is not None and wake_at < END_OF_TIME:
                dues.append(wake_at)
        return min(dues, default=None)
