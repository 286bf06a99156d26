"""Tasks that lost their worker: it has left, has died, or is silent for too long."""

import logging
from collections.abc import Sequence

from perdure.errors import StoreUnreachable
from perdure.runtime.letters import Letter
from perdure.runtime.liveness import Liveness, time_to_speak
from perdure.runtime.world import World
from perdure.stores.base import LEASE_NS, Orphan, Poll, Tasks
from perdure.stores.orphans import loss_of


class Losses:
    """What an owner makes of the beats of the workers of queues."""

    def __init__(self, tasks: Tasks, world: World, log: logging.Logger) -> None:
        self._tasks = tasks
        self._liveness = Liveness()
        self._world = world
        self._log = log
        self._orphans: set[tuple[int, str, int]] = set()
        self._suspects: dict[tuple[int, int], float] = {}
        self._look_again = False

    def look(self, poll: Poll, monotonic: float) -> list[Letter]:
        """What runs are told of the workers that are gone.

        Raises:
            StoreUnreachable: the next look makes up for it.
        """
        tasks, beats = self._tasks, poll.beats
        silent, look = self._liveness.look(beats, poll.leases, monotonic)
        dead = tasks.dead(beats) if beats else []
        if not look and not silent and not dead and not self._look_again:
            return []
        try:
            for member in dict.fromkeys([*dead, *self._suspected(silent, poll, monotonic)]):
                if not tasks.bury(member, None if member in dead else beats[member]):
                    continue
                why = "has died" if member in dead else f"is silent for {_lease_seconds(poll, member):g} s"
                self._log.warning("worker %d %s: what it has taken is given to others", member, why)
            return self._orphaned(tasks.orphans())
        except StoreUnreachable:
            self._liveness.forget()
            raise

    def _suspected(self, silent: Sequence[int], poll: Poll, monotonic: float) -> list[int]:
        """Those of the silent who had the time to speak: as long as another program keeps the database locked nobody can
        write, and so nobody is dead for that."""
        before, self._suspects = self._suspects, {}
        dead: list[int] = []
        for member in silent:
            at = (member, poll.beats[member])
            since = before.get(at)
            if since is None:
                self._tasks.bury(0)  # nobody: it waits until the database can be written
                since = self._world.monotonic()
            self._suspects[at] = since
            if monotonic - since >= time_to_speak(_lease_seconds(poll, member)):
                dead.append(member)
        return dead

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


def _lease_seconds(poll: Poll, member: int) -> float:
    return poll.leases.get(member, LEASE_NS) / 1e9
