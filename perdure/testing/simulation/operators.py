"""Who operates a simulation: at times somebody looks for runs that are blocked, as the store has refused what they did, and
has them tried again."""

from perdure.kernel import messages as msg
from perdure.kernel import wire
from perdure.kernel.run import Status
from perdure.stores.base import MailRow, RunFilter, Store
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
        self._coming -= {id for id in self._coming if self._store.views.row(id) is not None or self._graves.has(id)}
        open_runs = self._store.views.count(RunFilter(statuses=_OPEN))
        if self._coming or open_runs or self._world.monotonic() < self._until:
            self._pause = SOON_SECONDS if refused else min(2 * self._pause, LATE_SECONDS)
            self._world.at(self._pause, self._look)
