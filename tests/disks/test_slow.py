"""A slow disk: what takes long only takes long. Nobody is taken for dead who could not write, and no timer fires early.

With PERDURE_SOAK=1 everything is tried, and not only some of it.
"""

from collections.abc import Callable
from random import Random

import pytest

from perdure.runtime.liveness import LEASE_SECONDS
from perdure.stores.base import WorkerGone
from perdure.testing.simulation.plan import plan_of
from perdure.testing.simulation.world import SimulatedWorld
from tests.disks import vfs
from tests.disks.lives import PLAN, SOAK, lived
from tests.disks.machine import Machine, Weather
from tests.disks.vfs import What

pytestmark = pytest.mark.skipif(not vfs.is_possible(), reason="this Python hides its SQLite")

SEEDS = range(100) if SOAK else (0, 10, 11)
"""In 10 and 11 an owner is so busy that it has to leave others their turn."""

BEATS = 30


class Server:
    """A worker of a queue that is empty: it tells that it lives, as often as it should, and leaves in the end."""

    beats = 0
    silent = False
    was_taken_for_dead = False

    def begin(self, machine: Machine, world: SimulatedWorld) -> None:
        self._store = machine.open(None)
        self._world = world
        self._member = self._store.tasks.join("simulated", 2, "simulated", world.now(), ["empty"], ["work"])
        world.at(LEASE_SECONDS / 3, self._beat)

    def _beat(self) -> None:
        if self.beats >= BEATS:
            self._store.tasks.leave(self._member)
            return
        try:
            if self.silent:
                self._store.tasks.look(self._member, ["empty"])
            else:
                self._store.tasks.beat(self._member, ["empty"], [])
        except WorkerGone:
            self.was_taken_for_dead = True
            return
        self.beats += 1
        self._world.at(LEASE_SECONDS / 3, self._beat)


def always(seconds: float, what_takes_so_long: What = "sync") -> Callable[[What], float]:
    return lambda what: seconds if what == what_takes_so_long else 0.0


def at_times(seed: int, seconds: float) -> Callable[[What], float]:
    """The disk stands still."""
    chance = Random(f"slow {seed}")
    return lambda what: seconds if what == "sync" and chance.random() < 0.1 else 0.0


SLOW: dict[str, Callable[[int], Callable[[What], float]]] = {
    "a second for each sync": lambda seed: always(1.0),
    "ten milliseconds for each write": lambda seed: always(0.01, "write"),
    "now and then it stands still for a minute": lambda seed: at_times(seed, 60.0),
}


@pytest.mark.parametrize("how", SLOW)
def test_on_a_slow_disk_nothing_is_lost_and_nobody_is_taken_for_dead(how: str):
    wrong: list[str] = []
    for seed in SEEDS:
        plan = plan_of(seed).calm() if seed else PLAN
        server = Server()
        found, _ = lived(plan, Weather(seed, seconds=SLOW[how](seed), guest=server.begin))
        if found.violation or server.beats < BEATS:
            wrong.append(f"seed {seed}: {found.violation or 'the worker was taken for dead'}")

    assert wrong == []


def test_a_worker_that_says_nothing_is_taken_for_dead_on_any_disk():
    server = Server()
    server.silent = True

    lived(PLAN, Weather(seconds=always(1.0), guest=server.begin))

    assert server.was_taken_for_dead
