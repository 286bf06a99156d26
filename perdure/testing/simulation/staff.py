"""Workers of queues in a simulation: the real ones, driven by hand. They come when tasks wait and go when there are none; at
times one dies, also within an exchange, hears no answer to one, or is frozen and comes back when others have its work."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from perdure import errors
from perdure.payload import Coder
from perdure.runtime.inbox import Inbox
from perdure.runtime.queue_work import LOOK_SECONDS, QueueSettings, QueueWork
from perdure.runtime.world import World
from perdure.stores.base import Batch, Store, WorkerGone
from perdure.testing.simulation.crew import SimulatedCrew
from perdure.testing.simulation.flows import Appends
from perdure.testing.simulation.plan import Plan, drawn
from perdure.testing.simulation.programs import QUEUE
from perdure.testing.simulation.world import Crash, Scene

if TYPE_CHECKING:
    from perdure.activities import ActivityDefinition

PRESENT = 2
"""So many workers look for tasks at the same time; one that is frozen counts."""

COMES_SECONDS = 2.0
GOES_SECONDS = 4.0
"""How soon one comes if tasks wait, and how long it stays if there are none."""


class Staff:
    """All workers. `opened` gives each a handle on the store of its own; `begun` is called before an attempt begins."""

    def __init__(
        self,
        plan: Plan,
        world: Scene,
        opened: Callable[[], Store],
        outside: Store,
        activities: "Mapping[str, ActivityDefinition[Any, Any]]",
        build: str,
        begun: Callable[[int, str, int], None],
        log: logging.Logger,
        appends: Appends,
    ) -> None:
        self.appends = appends
        self.plan = plan
        self.world = world
        self.opened = opened
        self.activities = activities
        self.build = build
        self.begun = begun
        self.log = log
        self._outside = outside
        self._present: list[Hand] = []
        self._came = 0
        self._looking = False

    def committed(self, batch: Batch) -> None:
        """Somebody is called if there are tasks now."""
        if batch.tasks:
            self._call()

    def owned(self) -> None:
        """There is a new owner; the last one may have died with its machine in a commit that was written."""
        if self._outside.views.backlog():
            self._call()

    def _call(self) -> None:
        if not self._looking:
            self._looking = True
            self.world.at(COMES_SECONDS, self._look)

    def _look(self) -> None:
        if not self._outside.views.backlog():
            self._looking = False
            return
        self._present = [hand for hand in self._present if not hand.gone]
        if len(self._present) < PRESENT:
            self._came += 1
            self._present.append(Hand(self, self._came))
        self.world.at(COMES_SECONDS, self._look)

    def close(self) -> None:
        """All is over: whoever is here goes."""
        for hand in self._present:
            hand.die("")


class Hand:
    """One worker, and what becomes of it."""

    def __init__(self, staff: Staff, number: int) -> None:
        self.gone = False
        self._staff = staff
        self.world = staff.world
        self._store = staff.opened()
        self._inbox = Inbox()
        self._turn = 0
        self._idle_since: float | None = None
        self._frozen_until = 0.0
        chance = drawn("worker", staff.plan.seed, number)
        self._fate = chance.choice(["stays", "dies", "freezes"]) if number <= staff.plan.unsteady else "stays"
        settings = QueueSettings([QUEUE], chance.randint(1, 3), 1, 1, 2**20, 10.0, Coder())
        world = _ItsWorld(self.world, staff.plan.seed, number, number <= staff.plan.unsteady)
        self._crew: SimulatedCrew | None = None
        self._work = QueueWork(
            self._store,
            staff.activities,
            staff.build,
            settings,
            None,  # type: ignore[arg-type]  nobody runs anything
            world,
            staff.log,
            self._inbox,
            lambda: None,
            self._recruited,
        )
        self.world.say("join", "", self._work.member)

        if self._fate != "stays":
            self.world.at(chance.choice([0.0, 0.5, 3.0, 8.0]), lambda: self._befall(chance.choice([8.0, 20.0, 40.0])))
        self._again(0.0)

    def _recruited(self, member: int) -> Any:
        staff = self._staff
        append = partial(self._store.streams.append, member=member)
        self._crew = SimulatedCrew(
            staff.plan, self.world, staff.build, self._hear, staff.begun, member, staff.appends, append, _Body(self)
        )
        return self._crew

    def is_frozen(self) -> bool:
        return self.world.monotonic() < self._frozen_until

    def freeze(self, seconds: float) -> None:
        """It stands still from now on."""
        self.world.say("freeze", f"for {seconds:g} s", self._work.member)
        self._frozen_until = self.world.monotonic() + seconds

    def _hear(self, letter: Any) -> None:
        self._inbox.put(letter)
        self._again(0.0)

    def _befall(self, seconds: float) -> None:
        if self.gone:
            return
        if self._fate == "dies":
            self.die("dies")
            return
        self.freeze(seconds)
        self._again(0.0)

    def _again(self, seconds: float) -> None:
        """Another round then, in the place of the one that was to be next."""
        self._turn += 1
        turn = self._turn
        frozen = self._frozen_until - self.world.monotonic()
        seconds = frozen + 0.001 if frozen > 0 else seconds
        self.world.at(seconds, lambda: self._round(turn))

    def _round(self, turn: int) -> None:
        now = self.world.monotonic()
        if self.gone or turn != self._turn or now < self._frozen_until:
            return
        try:
            self._work.round(0.0)
        except Crash:
            self.die("dies in an exchange")
            return
        except WorkerGone:
            self.world.say("gone", "it was taken for dead", self._work.member)
            self._work.give_up_all()
            self.die("")
            return
        except errors.StoreUnreachable:
            self.world.say("doubt", "an exchange has no answer", self._work.member)
        if not self._work.idle():
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since > GOES_SECONDS:
            self._work.leave()
            self.die("leaves")
            return
        due = self._work.due_in(now)
        self._again(LOOK_SECONDS if due is None else min(max(due, 0.001), LOOK_SECONDS))

    def die(self, why: str) -> None:
        """What it had taken is left to others."""
        if not self.gone:
            self.gone = True
            if why:
                self.world.say("worker", why, self._work.member)
            if self._crew is not None:
                self._crew.dead = True
            self._store.admin.close()


class _Body:
    """What a worker is to those of its threads that store what attempts write."""

    def __init__(self, hand: Hand) -> None:
        self._hand = hand

    def is_dead(self) -> bool:
        return self._hand.gone

    def is_still(self) -> bool:
        return self._hand.is_frozen()

    def wait(self, seconds: float) -> None:
        self._hand.world.let_pass(seconds)

    def freeze(self, seconds: float) -> None:
        self._hand.freeze(seconds)
        self._hand.world.let_pass(seconds)

    def die(self) -> None:
        self._hand.die("dies in an append")


class _ItsWorld(World):
    """The clock of all, and crash points of its own."""

    def __init__(self, world: Scene, seed: int, number: int, unsteady: bool) -> None:
        self._world = world
        self._chance = drawn("exchanges", seed, number) if unsteady else None

    def now(self) -> int:
        return self._world.now()

    def monotonic(self) -> float:
        return self._world.monotonic()

    def new_id(self) -> bytes:
        return self._world.new_id()

    def crash_point(self, name: str) -> None:
        if self._chance is None:
            return
        chance = self._chance.random()
        if chance < 0.05:
            raise Crash
        if chance < 0.15:
            raise errors.StoreUnreachable("the answer does not come")
