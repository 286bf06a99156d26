"""The world of a simulation: a clock that jumps, an agenda of what happens when, and the disturbances of commits."""

import heapq
from collections.abc import Callable
from typing import Protocol

from perdure.runtime.stillness import Stillness
from perdure.runtime.world import World
from perdure.stores.base import Batch
from perdure.stores.faults import Fault, Moment
from perdure.testing.simulation.plan import DEATHS, Disturbance, How, Plan, drawn
from perdure.testing.simulation.trace import Trace

BEGINNING = 1_700_000_000 * 1_000_000_000
SECOND = 1_000_000_000
SLOW_SECONDS = 30.0
"""What a slow commit takes."""

IDLE_POLLS = 3
"""Looks into the store without any effect after which nothing can happen any more."""

EARLY_SECONDS = (0.0, 0.0, 0.0, 0.3, 1.1)
"""How long before the next thing happens the owner looks into the store, as it does once a second."""


class Crash(BaseException):
    """The process dies here."""


class Scene(Protocol):
    """Where something happens: at a time, in a process that is known by its `member`."""

    member: int

    def now(self) -> int: ...

    def monotonic(self) -> float: ...

    def at(self, seconds: float, act: Callable[[], None]) -> None: ...

    def say(self, what: str, text: str = "", member: int | None = None) -> None: ...

    def new_id(self) -> bytes: ...

    def id_of(self, key: int) -> str: ...

    def let_pass(self, seconds: float) -> None:
        """Somebody waits, and everything else goes on."""
        ...


class SimulatedWorld(World):
    """`committed` is called when a batch is durable; `rested` whenever the owner has nothing to do."""

    def __init__(self, plan: Plan, trace: Trace) -> None:
        self._plan = plan
        self._chance = drawn("world", plan.seed)
        self._disturbances = {each.at: each for each in plan.disturbances}
        self._trace = trace
        self._now = BEGINNING
        self.latest = 0
        """The latest time that the clock of the machine has shown before it was set."""
        self.goes_back = False
        self._clock = 0
        """By how many nanoseconds the clock of the machine differs from the time that has passed."""
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._serial = 0
        self._idle_polls = 0
        self._looked_for = 0
        self._batch = Batch()
        self.member = 0
        self.commits = 0
        self.disturbed = 0
        self.crashes = 0
        self.over = False
        self.doomed = False
        """The process has died on another thread: its owner gets no further."""
        self.committed: Callable[[Batch], None] = lambda batch: None
        self.rested: Callable[[Stillness], None] = lambda stillness: None

    def say(self, what: str, text: str = "", member: int | None = None) -> None:
        self._trace.say(self._now - BEGINNING, self.member if member is None else member, what, text)

    def id_of(self, key: int) -> str:
        return self._trace.id_of(key)

    def go_on(self) -> None:
        """There is somebody else who may find something to do."""
        self.over = False
        self._idle_polls = 0

    # what the engine asks for

    def now(self) -> int:
        return self._now + self._clock

    def monotonic(self) -> float:
        return (self._now - BEGINNING) / 1e9

    def pause(self, seconds: float) -> None:
        self.forward(seconds)

    def let_pass(self, seconds: float) -> None:
        self.forward(seconds)

    def stall(self, seconds: float) -> None:
        """Something takes so long, and whoever would do something meanwhile has to wait."""
        self._now += int(seconds * 1e9)

    def new_id(self) -> bytes:
        return self._chance.randbytes(16)

    def rest(self, seconds: float, stillness: Stillness) -> float:
        self.rested(stillness)
        dues = [] if not self._agenda else [self._agenda[0][0]]
        due = stillness.next_due(self.now(), self.monotonic())
        if due is not None:  # a run that was due while there was no room is found when the owner looks next
            due -= self._clock
            dues.append(due if due > self._now else self._now + int(seconds * 1e9))
        if stillness.has_letters():  # that nobody told the owner of: it finds them when it looks next
            dues.append(self._now + int(seconds * 1e9))
        if dues:
            self._idle_polls = 0
            self._now = max(min(dues) - self._early_ns(min(dues)), self._now + 1)
        else:
            self._idle_polls += 1
            self._now += int(seconds * 1e9) + 1
            self.over = self._idle_polls > IDLE_POLLS
        while self._agenda and self._agenda[0][0] <= self._now:
            heapq.heappop(self._agenda)[2]()
        self._die_if_doomed()
        return 0.0

    def _early_ns(self, due: int) -> int:
        """Once, at most, and then in time."""
        if not self._plan.early or due == self._looked_for:
            return 0
        self._looked_for = due
        return int(drawn("early", self._plan.seed, due).choice(EARLY_SECONDS) * 1e9)

    def _die_if_doomed(self) -> None:
        if self.doomed:
            raise Crash

    def crash_point(self, name: str) -> None:
        if name == "before-commit":
            self._die_if_doomed()
            self.commits += 1
            self._die_if(self.commits, "before")
        elif name == "after-commit":
            self._trace.commit(self._now - BEGINNING, self.member, self.commits, self._batch)
            self.committed(self._batch)
            self._die_if_doomed()
            self._die_if(self.commits, "after")

    def faults(self, moment: Moment, batch: Batch) -> Fault | None:
        """The store's part in it."""
        if moment == "inside":
            self._die_if(self.commits, "inside")
            return None
        self._batch = batch
        disturbance = self._disturbances.get(self.commits)
        if disturbance is None or disturbance.how in DEATHS:
            return None
        self.say("doubt", f"{self.commits}  {disturbance.how}")
        self._come_to_pass(disturbance)
        if disturbance.how == "slow":
            self.forward(SLOW_SECONDS)
            return None
        return disturbance.how  # type: ignore[return-value]

    def _die_if(self, commit: int, how: How) -> None:
        disturbance = self._disturbances.get(commit)
        if disturbance is not None and disturbance.how == how:
            self.crashes += 1
            self.say("crash", f"{how} commit {commit}")
            self._come_to_pass(disturbance)
            raise Crash

    def _come_to_pass(self, disturbance: Disturbance) -> None:
        del self._disturbances[disturbance.at]
        self.disturbed += 1
        if disturbance.clock:
            self.say("clock", f"is set by {disturbance.clock:+g} s")
            self.latest = max(self.latest, self.now())
            self.goes_back = self.goes_back or disturbance.clock < 0
            self._clock += int(disturbance.clock * 1e9)

    # what happens when

    def at(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something so many seconds from now, after what was to be done at that time already."""
        self._serial += 1
        heapq.heappush(self._agenda, (self._now + int(seconds * 1e9), self._serial, act))

    def forward(self, seconds: float) -> None:
        """The owner does nothing for so long, or there is none; what happens meanwhile happens."""
        end = self._now + int(seconds * 1e9)
        while self._agenda and self._agenda[0][0] <= end:
            at, _, act = heapq.heappop(self._agenda)
            self._now = max(at, self._now)
            act()
        self._now = max(self._now, end)
