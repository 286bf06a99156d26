"""Tasks that lost their worker: it has left, has died, or is silent for too long."""

import logging
from collections.abc import Mapping, Sequence

from perdure.errors import StoreUnreachable
from perdure.runtime.letters import Letter
from perdure.runtime.liveness import Liveness
from perdure.runtime.world import World
from perdure.stores.base import Orphan, Tasks
from perdure.stores.orphans import loss_of


class Losses:
    """What an owner makes of the beats of the workers of queues."""

    def __init__(self, tasks: Tasks, lease_seconds: float, world: World, log: logging.Logger) -> None:
        self._tasks = tasks
        self._liveness = Liveness(lease_seconds)
        self._world = world
        self._log = log
        self._orphans: set[tuple[int, str, int]] = set()
        self._suspects: dict[tuple[int, int], float] = {}
        self._look_again = False

    def look(self, beats: Mapping[int, int], monotonic: float) -> list[Letter]:
        """What runs are told of the workers that are gone.

        Raises:
            StoreUnreachable: the next look makes up for it.
        """
        tasks = self._tasks
        silent, look = self._liveness.look(beats, monotonic)
        dead = tasks.dead(beats) if beats else []
        if not look and not silent and not dead and not self._look_again:
            return []
        try:
            for member in dict.fromkeys([*dead, *self._suspected(silent, beats, monotonic)]):
                if not tasks.bury(member, None if member in dead else beats[member]):
                    continue
                why = "has died" if member in dead else f"is silent for {self._liveness.lease_seconds:g} s"
                self._log.warning("worker %d %s: what it has taken is given to others", member, why)
            return self._orphaned(tasks.orphans())
        except StoreUnreachable:
            self._liveness.forget()
            raise

    def _suspected(self, silent: Sequence[int], beats: Mapping[int, int], monotonic: float) -> list[int]:
        """Those of the silent who had the time to speak: as long as another program keeps the database locked nobody can
        write, and so nobody is dead for that."""
        wait = min(2.0, self._liveness.lease_seconds / 2)
        before, self._suspects = self._suspects, {}
        for member in silent:
            since = before.get((member, beats[member]))
            if since is None:
                self._tasks.bury(0)  # nobody: it waits until the database can be written
                since = self._world.monotonic()
            self._suspects[member, beats[member]] = since
        return [member for member in silent if monotonic - self._suspects[member, beats[member]] >= wait]

    def tell_again(self, key: int) -> None:
        """The run has left memory: what it was told may have been thrown away with a batch that the store has refused."""
        told = {each for each in self._orphans if each[0] == key}
        if told:
            self._orphans -= told
            self._look_again = True

    def _orphaned(self, orphans: Sequence[Orphan]) -> list[Letter]:
        """A run that cannot be told now (it is blocked) keeps its orphan for long, and is told only once."""
        told = self._orphans
        self._orphans = {(each.run, each.step, each.attempt) for each in orphans}
        # Those that are told now are gone at the next look, which forgets them.
        self._look_again = not self._orphans <= told
        return [Letter(each.run, loss_of(each)) for each in orphans if (each.run, each.step, each.attempt) not in told]
