"""Lives on machines whose disks fail, compared with the same lives in memory."""

import os
from functools import cache
from random import Random
from typing import Any

import msgspec

from perdure.testing.simulation.life import Found, in_memory, simulate
from perdure.testing.simulation.plan import Plan, Wish
from tests.disks.machine import Machine, Stores, Weather
from tests.disks.vfs import OK, What

SOAK = "PERDURE_SOAK" in os.environ
"""Whether to try everything, and not only so much that the result is there at once."""

WISHES = (
    Wish("many", ["group", [["act", "work", 1], ["act", "toil", 2], ["fail", 3]]], 0.0, True, True),
    Wish("late", ["sequence", [["timeout", 3.0, 4], ["sleep", 3_600.0], ["act", "linger", 5]]], 0.0, False, True),
    Wish("ended", ["for ever", ["act", "work", 6]], 0.0, False, False, end_at=10.0),
)
PLAN = Plan(1, WISHES, (), (2, 1), 1, 2, forgetful=False)


@cache
def _in_good_weather(plan: bytes) -> dict[str, Any]:
    return simulate(msgspec.json.decode(plan, type=Plan), in_memory).outcomes


def lived(plan: Plan, weather: Weather) -> tuple[Found, Machine]:
    """A life on a machine in that weather. Whatever comes out otherwise than in memory is a violation, too."""
    calm = _in_good_weather(msgspec.json.encode(plan.calm()))
    stores = Stores(weather, calm_first=bool(plan.disturbances))
    found = simulate(plan, stores)
    assert stores.machine is not None
    if not found.violation and found.outcomes != calm:
        found.violation = f"came to {found.outcomes}, and in good weather to {calm}"
    if not found.violation and stores.machine.problems:
        found.violation = f"check finds {stores.machine.problems} (4)"
    return found, stores.machine


BUSY, FULL, CANTOPEN = 5, 13, 14
IOERR_READ, IOERR_WRITE, IOERR_FSYNC, IOERR_TRUNCATE, IOERR_FSTAT = 266, 778, 1034, 1546, 1802
IOERR_LOCK, IOERR_SHMOPEN, IOERR_SHMSIZE, IOERR_SHMLOCK, IOERR_SHMMAP, IOERR_DELETE = 3850, 4618, 4874, 5130, 5386, 2570

REFUSALS: dict[What, tuple[int, ...]] = {
    "write": (FULL, IOERR_WRITE),
    "sync": (IOERR_FSYNC,),
    "read": (IOERR_READ,),
    "open": (CANTOPEN,),
    "truncate": (IOERR_TRUNCATE,),
    "delete": (IOERR_DELETE,),
    "size": (IOERR_FSTAT,),
    "lock": (IOERR_LOCK, BUSY),
    "map": (IOERR_SHMMAP, IOERR_SHMOPEN, IOERR_SHMSIZE),
    "share": (IOERR_SHMLOCK, BUSY),
}
"""What SQLite can be told when it wants something of its file system."""


def stormy(seed: int, refusals: float = 0.0) -> Weather:
    """The power fails a few times. So many of all calls are refused, as a part of 1."""
    chance = Random(f"weather {seed}")
    most = chance.choice([200, 500, 1_500])  # making the tables takes 150
    cuts = frozenset(chance.randrange(1, most) for _ in range(4))
    if not refusals:
        return Weather(seed, cuts)

    def refused(what: What, name: str) -> int:
        return chance.choice(REFUSALS[what]) if chance.random() < refusals else OK

    return Weather(seed, cuts, trouble=refused)
