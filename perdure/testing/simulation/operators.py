"""Who operates a simulation: at times somebody looks for runs that are blocked, as the store has refused what they did, and
has them tried again; or that go on for ever, as it has refused that they end with their parents."""

import msgspec

from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel import wire
from perdure.kernel.project import RunRow
from perdure.kernel.run import Status
from perdure.stores.base import MailRow, RunFilter, Store
from perdure.testing.simulation.families import FOR_EVER
from perdure.testing.simulation.graves import Graves
from perdure.testing.simulation.plan import Wish, last_again
from perdure.testing.simulation.world import Scene

SOON_SECONDS = 1.0
LATE_SECONDS = 86_400.0
"""The longest time in which nobody looks."""

_OPEN = tuple(status for status in Status if status < Status.COMPLETED)


class Operators:
    def __init__(self, world: Scene, store: Store, graves: Graves) -> None:
        self._world = world
        self._graves = graves
        self._store = store
        self._coming: set[str] = set()
        self._until = 0.0
        self._pause = SOON_SECONDS

    def look_after(self, wishes: tuple[Wish, ...]) -> None:
        """They look as long as there is a run that may be blocked."""
        self._coming = {wish.id for wish in wishes}
        self._until = last_again(wishes)
        self._world.at(SOON_SECONDS, self._look)

    def _look(self) -> None:
        blocked = self._store.views.search(RunFilter(statuses=(Status.BLOCKED,)))
        refused = [row for row in blocked if row.block is not None and wire.decode_block(row.block).kind == "refused"]
        for row in blocked:  # also those that old code has blocked again, after the store had refused them to new code
            self._world.say("retry", row.id)
            self._store.post.send(MailRow(0, row.key, msg.Retry()))
        for row in self._left_over():
            self._world.say("terminate", row.id)
            self._store.post.send(MailRow(0, row.key, msg.Terminate("its parent has ended")))
        self._coming -= {id for id in self._coming if self._store.views.row(id) is not None or self._graves.has(id)}
        open_runs = self._store.views.count(RunFilter(statuses=_OPEN))
        if self._coming or open_runs or self._world.monotonic() < self._until:
            self._pause = SOON_SECONDS if refused else min(2 * self._pause, LATE_SECONDS)
            self._world.at(self._pause, self._look)

    def _left_over(self) -> list[RunRow]:
        """Children that end only with their parents, which have ended."""
        children = [row for row in self._store.views.search(RunFilter(statuses=_OPEN)) if row.parent and row.seq]
        parents = self._store.views.rows_by_key([row.parent for row in children])
        over = [row for row in children if row.parent in parents and parents[row.parent].status >= Status.COMPLETED]
        stored = self._store.work.load([row.key for row in over])
        return [
            row for row in over if row.key in stored and _is_for_ever(wire.decode_history(stored[row.key].history)[0])
        ]


def _is_for_ever(started: ev.HistoryEvent) -> bool:
    return isinstance(started, ev.RunStarted) and msgspec.json.decode(started.input.data) == [FOR_EVER]
