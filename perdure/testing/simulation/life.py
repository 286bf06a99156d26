"""The engine's cycle, driven by hand: one owner after the other, until all is done."""

import logging
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from perdure.errors import StoreError
from perdure.kernel.project import AttemptRow
from perdure.languages.python.machine import PythonLanguage
from perdure.runtime.equipment import Bounds, Company, Definitions
from perdure.runtime.inbox import Inbox
from perdure.runtime.liveness import LEASE_SECONDS
from perdure.runtime.outbox import Outbox
from perdure.runtime.owner import Owner
from perdure.runtime.stillness import Stillness
from perdure.runtime.waiters import Waiters
from perdure.runtime.world import World
from perdure.stores.base import Batch, Faults, OwnershipLost, Store, StoreFull
from perdure.stores.memory import MemoryStore, Shelf
from perdure.testing.simulation.changing import AtHand
from perdure.testing.simulation.checks import Checks
from perdure.testing.simulation.clients import Clients
from perdure.testing.simulation.crew import SimulatedCrew
from perdure.testing.simulation.graves import Graves, Sexton, watched
from perdure.testing.simulation.histories import Violation, demand
from perdure.testing.simulation.plan import Plan, drawn
from perdure.testing.simulation.prefixes import Recorded
from perdure.testing.simulation.programs import ACTIVITIES, WORKFLOWS
from perdure.testing.simulation.staff import Staff
from perdure.testing.simulation.trace import Trace
from perdure.testing.simulation.world import Crash, SimulatedWorld
from perdure.workflows import definitions_of

BUILD = "simulated"
STANDBY_SECONDS = 0.1
DEPLOYED_SECONDS = (0.5, 3.0, 60.0, 86_400.0, 1e7)
"""After so long code that is not the last is replaced."""

GRACE_SECONDS = 10.0
MOST_ROUNDS = 5_000
"""A simulation has far fewer, unless it goes round in a circle."""

STOPS = (StoreError, StoreFull, OwnershipLost)
"""What an engine stops by, cleanly; anything else that comes out of it is a bug."""

MOST_OWNERS = 100
BURIAL_ROUNDS = 100

Opener = Callable[[Faults | None], Store]


class Found(msgspec.Struct):
    """What came out: `violation` is empty if every promise was kept. `undisturbed`: this was a life without disturbances.
    `seconds` are simulated ones, `disturbances` came to pass, and `crashes` of them were deaths. `histories` are those of all runs."""

    lines: list[str]
    outcomes: dict[str, Any]
    commits: int
    violation: str = ""
    undisturbed: bool = False
    seconds: float = 0.0
    disturbances: int = 0
    crashes: int = 0
    histories: list[Recorded] = []


@contextmanager
def in_memory() -> Iterator[Opener]:
    """A store that is opened again and again, as by one process after the other."""
    shelf = Shelf()
    yield lambda faults: MemoryStore(shelf=shelf, faults=faults)


@contextmanager
def in_a_file() -> Iterator[Opener]:
    """The same, in a file that is deleted afterwards."""
    from perdure.stores.sqlite.store import SqliteStore  # a simulation in memory needs no sqlite3

    with tempfile.TemporaryDirectory(dir=_fast_folder()) as folder:
        yield lambda faults: SqliteStore(str(Path(folder, "runs.db")), faults)


def _fast_folder() -> str | None:
    """A file system that waits for no disk: no power fails here."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) and shutil.disk_usage("/dev/shm").free > 2**28 else None


Stores = Callable[[], AbstractContextManager[Opener]]
STORES: dict[str, Stores] = {"memory": in_memory, "sqlite": in_a_file}
"""Where runs can be kept: each call gives a new and empty one."""


def simulate(plan: Plan, stores: Stores = in_memory, calm: Found | None = None) -> Found:
    """A life without disturbances first, unless that is known, then the one that is planned; what came out of that."""
    if calm is None:
        with stores() as opened:
            calm = _Life(plan.calm(), opened).live()
        calm.undisturbed = True
    if calm.violation or (plan == plan.calm() and not plan.members):
        return calm
    if plan.members:
        from perdure.testing.simulation.cluster import Cluster  # which is built on this

        found = Cluster(plan).live()
    else:
        with stores() as opened:
            found = _Life(plan, opened).live()
    if not found.violation and found.outcomes != calm.outcomes:
        wrong = [id for id in calm.outcomes if found.outcomes[id] != calm.outcomes[id]]
        found.violation = "; ".join(
            f"{id} came to {found.outcomes[id]}, and undisturbed to {calm.outcomes[id]} (3)" for id in wrong
        )
    return found


class Code:
    """What all owners know."""

    def __init__(self) -> None:
        self.workflows, self.activities = definitions_of([*WORKFLOWS, *ACTIVITIES])
        self.languages = {name: PythonLanguage(each, self.activities) for name, each in self.workflows.items()}


class _Life:
    """All owners of one store, one after the other."""

    def __init__(self, plan: Plan, opened: Opener) -> None:
        self._plan = plan
        self._opened = opened
        self._trace = Trace()
        self._world = SimulatedWorld(plan, self._trace)
        self._violations: list[str] = []
        self._owners = 0
        self._owner: Owner | None = None
        self._build = BUILD
        self._outside = opened(None)
        self._checks = Checks(self._outside, plan)
        self._clients = Clients(plan.seed, self._world, self._outside, self._violations.append, self._checks.graves)
        self._code = Code()
        self._staff = Staff(
            plan,
            self._world,
            lambda: opened(None),
            self._outside,
            self._code.activities,
            BUILD,
            self._checks.begun,
            Told(self._world.say),
            self._checks.appends,
        )

    def live(self) -> Found:
        self._world.committed = self._committed
        self._world.rested = self._rested
        self._clients.plan(self._plan.wishes, self._plan.may_refuse)
        outcomes: dict[str, Any] = {}
        plan = self._plan
        try:
            while not self._is_over():
                demand(self._owners < MOST_OWNERS, f"{MOST_OWNERS:,} owners have not come to an end")
                self._world.go_on()
                self._own()
            outcomes = self._checks.ended(plan.wishes)
            ends = ", ".join(f"{id} {outcome[0]}" for id, outcome in outcomes.items())
            self._world.say("rest", f"{ends}; all histories: {self._checks.digest()}")
        except Violation as violation:
            self._violations.append(str(violation))
        except Exception as error:  # noqa: BLE001  whatever the engine raises stops it for its users as well
            self._violations.append(f"the engine raised {in_words(error)}")
        finally:
            self._staff.close()
            self._outside.admin.close()
        world, violation = self._world, "; ".join(self._violations)
        return Found(
            self._trace.lines,
            outcomes,
            world.commits,
            violation,
            seconds=world.monotonic(),
            disturbances=world.disturbed,
            crashes=world.crashes,
            histories=self._checks.recorded(),
        )

    def _is_over(self) -> bool:
        is_over = self._world.over and self._owners >= len(self._plan.codes)
        return is_over and (self._plan.retention is None or self._checks.graves.is_empty())

    def _committed(self, batch: Batch) -> None:
        world = self._world
        self._checks.committed(batch, world.member, self._flies, max(world.now(), world.latest), world.goes_back)
        self._staff.committed(batch)

    def _flies(self, attempt: AttemptRow) -> bool:
        owner, member = self._owner, self._world.member
        if owner is None or attempt.member != member:
            return False
        return owner.slots.flies(attempt.run, attempt.step, attempt.attempt)

    def _rested(self, stillness: Stillness) -> None:
        self._checks.rested(stillness)
        if self._owner is not None:
            self._checks.idle(self._owner, self._world.member)

    def _own(self) -> None:
        """One owner, until it dies, stops or all is done."""
        store = self._opened(self._world.faults)
        AtHand.code = self._plan.codes[min(self._owners, len(self._plan.codes) - 1)]
        self._owners += 1
        self._checks.is_final = self._owners >= len(self._plan.codes)
        self._build = f"{BUILD} {AtHand.code}"
        member = store.admin.try_own("simulated", 1, self._build, self._world.now())
        assert member is not None
        self._world.member = member
        self._world.doomed = False
        self._world.say("own", AtHand.code if len(self._plan.codes) > 1 else "")
        self._staff.owned()
        try:
            self._move(store, member)
            return
        except Crash:
            pass
        except STOPS as error:
            self._world.say("stop", type(error).__name__)
        finally:
            store.admin.close()
        self._world.forward(STANDBY_SECONDS)

    def _move(self, store: Store, member: int) -> None:
        inbox = Inbox()
        body = _Body(self._world)
        crew = SimulatedCrew(
            self._plan, self._world, self._build, inbox.put, self._checks.begun, member,
            self._checks.appends, store.streams.append, body,
        )  # fmt: skip
        body.crew = crew
        log = Told(self._world.say)
        self._owner = owner = owner_of(
            self._plan, self._code, store, member, inbox, crew, self._world, log, self._build,
            self._checks.graves, self._world.say,
        )  # fmt: skip
        self._clients.ask, self._clients.nudge = inbox.put, inbox.nudge
        self._clients.ask_again()
        try:
            until = self._relieved_at()
            owner.take_over()
            for _ in range(MOST_ROUNDS):
                owner.round()
                self._checks.rounded(owner, member)
                if self._world.over:
                    self._bury(owner)
                    self._checks.left(owner)
                if self._world.over or self._world.monotonic() > until:
                    return
            raise Violation(f"the owner goes round in a circle: {MOST_ROUNDS:,} rounds")
        finally:
            crew.dead = True
            self._clients.ask, self._clients.nudge = lambda item: None, lambda: None
            owner.let_go()
            self._owner = None

    def _bury(self, owner: Owner) -> None:
        """All is done, and time passes: what has ended goes."""
        graves = self._checks.graves
        if self._plan.retention is None or not self._checks.is_final:
            return
        for n in range(BURIAL_ROUNDS):
            if graves.is_empty():
                return
            self._world.forward(1.0 if n % 10 else graves.most_seconds)
            owner.round()
        graves.demand_empty()

    def _relieved_at(self) -> float:
        """Code that is not the last is replaced after a while."""
        if self._checks.is_final:
            return float("inf")
        chance = drawn("deploy", self._plan.seed, self._owners)
        return self._world.monotonic() + chance.choice(DEPLOYED_SECONDS)


class _Body:
    """The process of an owner."""

    def __init__(self, world: SimulatedWorld) -> None:
        self._world = world
        self.crew: SimulatedCrew | None = None

    def is_dead(self) -> bool:
        return self.crew is None or self.crew.dead

    def is_still(self) -> bool:
        return False

    def wait(self, seconds: float) -> None:
        self._world.let_pass(seconds)

    def freeze(self, seconds: float) -> None:
        self._world.stall(seconds)

    def die(self) -> None:
        assert self.crew is not None
        self.crew.dead = self._world.doomed = True
        self._world.crashes += 1
        self._world.say("crash", "while it stores what attempts have written")


def owner_of(
    plan: Plan,
    code: Code,
    store: Store,
    member: int,
    inbox: Inbox,
    crew: SimulatedCrew,
    world: World,
    log: logging.Logger,
    build: str,
    graves: Graves,
    say: Callable[[str, str], None],
    between: Callable[[Callable[[], None] | str], None] = lambda what: None,
) -> Owner:
    """A real one, that lives in a simulated world. `between` makes others act while it has runs go."""
    if plan.retention is not None:
        store = watched(store, Sexton(store.admin, graves, world.now, say, between))
    return Owner(
        store,
        member,
        Definitions(build, code.workflows, code.activities, code.languages),
        Bounds(
            (*plan.slots, 1),
            plan.cached_runs,
            plan.awake_runs,
            GRACE_SECONDS,
            LEASE_SECONDS,
            None if plan.retention is None else int(plan.retention * 1e9),
        ),
        Company(inbox, Waiters(), Outbox(), crew),
        world,
        log,
        lambda: False,
        forgetful=plan.forgetful,
    )


def in_words(error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})"


class Told(logging.Logger):
    """What the engine tells people, as lines of the trace."""

    def __init__(self, say: Callable[[str, str], None]) -> None:
        super().__init__("perdure")
        self._say = say

    def isEnabledFor(self, level: int) -> bool:
        return level >= logging.INFO

    def handle(self, record: logging.LogRecord) -> None:
        self._say("log", record.getMessage().partition("\n")[0])
