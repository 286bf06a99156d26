"""Many lives, for a given time, in several processes."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import count

import msgspec

from perdure.testing.simulation.life import STORES, Found, simulate
from perdure.testing.simulation.plan import Disturbance, Plan, plan_of
from perdure.testing.simulation.prefixes import THIS, Answered, answered, elsewhere
from perdure.testing.simulation.programs import WORKLOADS

IN_A_FILE_EACH = 10
"""Every so many lives one is kept in a database file."""

SHARED_EACH = 4
"""In every so many lives, several owners share the store."""

FORGOTTEN_EACH = 5
"""In one of so many lives runs go that ended long ago."""

PREFIXES_EACH = 7
"""Of every so many lives one has each prefix of its histories replayed, here and in processes with other hashes."""

HISTORIES_AT_ONCE = 500
"""So many are replayed by such a process."""

AT_ONCE = 10
"""Lives that a process is given at a time."""


class Life(msgspec.Struct, frozen=True):
    """One that the seed decides, and where its runs are kept; with `retention` they go when they have ended long ago. `prefixes`:
    those of its histories are replayed afterwards."""

    seed: int
    workload: str
    store: str = "memory"
    members: int = 0
    prefixes: bool = False
    retention: bool = False

    def __str__(self) -> str:
        store = "" if self.store == "memory" else f" --store {self.store}"
        members = f" --members {self.members}" if self.members else ""
        retention = " --retention" if self.retention else ""
        return f'--seed {self.seed} --workload "{self.workload}"{store}{members}{retention}'

    def plan(self, disturbances: tuple[Disturbance, ...] | None = None) -> Plan:
        return plan_of(self.seed, self.workload, disturbances, self.members, self.retention)


class Broken(msgspec.Struct):
    """A life in which a promise was broken, and which it was."""

    life: Life
    violation: str


class Tally(msgspec.Struct):
    """What was lived through. `disturbances` are those that came to pass, `crashes` deaths among them. `told`: what other
    processes are to answer, too; they have answered to `prefixes`."""

    lives: int = 0
    commits: int = 0
    disturbances: int = 0
    crashes: int = 0
    simulated_seconds: float = 0.0
    prefixes: int = 0
    broken: list[Broken] = []
    told: list[tuple[Life, Answered]] = []

    def add(self, other: "Tally") -> None:
        for name in ("lives", "commits", "disturbances", "crashes", "simulated_seconds", "prefixes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.broken = [*self.broken, *other.broken]
        self.told = [*self.told, *other.told]

    def count(self, life: Life, found: Found) -> None:
        broken = [Broken(life, found.violation)] if found.violation else []
        self.add(Tally(1, found.commits, found.disturbances, found.crashes, found.seconds, broken=broken))
        if life.prefixes and not broken:
            told, wrong = answered(found.histories)
            self.add(Tally(told=[(life, each) for each in told], broken=[Broken(life, each) for each in wrong]))

    def ask_elsewhere(self, program: str = THIS) -> None:
        """Have other processes answer, too."""
        told, self.told = self.told, []
        if told:
            answers = [each for _, each in told]
            pairs = zip(told, elsewhere(answers, program=program), strict=True)
            broken = [Broken(life, text) for (life, _), text in pairs if text]
            self.add(Tally(prefixes=sum(len(each.answers) for each in answers), broken=broken))


def lived(lives: list[Life], disturbances: tuple[Disturbance, ...] | None = None) -> Tally:
    """The tally of some lives."""
    tally = Tally()
    for life in lives:
        tally.count(life, simulate(life.plan(disturbances), STORES[life.store]))
    return tally


def by_turns(seed: int) -> Iterator[Life]:
    """Lives without end, of all workloads."""
    names = list(WORKLOADS)
    for n in count():
        workload = names[n % len(names)]
        prefixes = n % PREFIXES_EACH == 0
        retention = n % FORGOTTEN_EACH == 1
        if n % SHARED_EACH == SHARED_EACH - 1:
            yield Life(seed + n, workload, members=2 + n % 3, prefixes=prefixes, retention=retention)
        else:
            in_a_file = n % IN_A_FILE_EACH == IN_A_FILE_EACH - 1
            yield Life(seed + n, workload, "sqlite" if in_a_file else "memory", prefixes=prefixes, retention=retention)


def live_for(seconds: float, lives: Iterator[Life], workers: int, told: Callable[[Tally], None]) -> Tally:
    """As many of the lives as fit into the time, one at least; `told` is called now and then, with the tally so far."""
    tally = Tally()
    end = time.monotonic() + seconds
    if workers == 1:
        for life in lives:
            tally.add(lived([life]))
            _looked_at(tally, HISTORIES_AT_ONCE, told)
            if time.monotonic() >= end:
                break
        _looked_at(tally, 1, told)
        return tally
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool:
        going: set[Future[Tally]] = set()
        while going or time.monotonic() < end or not tally.lives:
            while len(going) < 2 * workers and (time.monotonic() < end or not (going or tally.lives)):
                going.add(pool.submit(lived, [next(lives) for _ in range(AT_ONCE)]))
            done, going = wait(going, return_when=FIRST_COMPLETED)
            for each in done:
                tally.add(each.result())
            _looked_at(tally, HISTORIES_AT_ONCE, told)
    _looked_at(tally, 1, told)
    return tally


def _looked_at(tally: Tally, histories: int, told: Callable[[Tally], None]) -> None:
    """Once there are so many histories, other processes have to answer as well."""
    if len(tally.told) >= histories:
        tally.ask_elsewhere()
    told(tally)
