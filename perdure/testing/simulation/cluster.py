"""Several owners of one store, each in a process of its own, all in one thread: who acts next is drawn.

A process that is frozen stands still in the middle of its commit, and all others act meanwhile: its stack waits below theirs.
"""

import heapq
from collections.abc import Callable
from typing import Any

from perdure.kernel.limits import END_OF_TIME
from perdure.kernel.project import AttemptRow
from perdure.kernel.run import Status
from perdure.runtime.inbox import Inbox
from perdure.runtime.letters import Heard, Letter, StartRequest
from perdure.runtime.owner import Owner
from perdure.runtime.stillness import Stillness
from perdure.runtime.world import World
from perdure.stores import base
from perdure.stores.base import Batch, MailRow, Store
from perdure.stores.faults import Fault, Faults, Moment
from perdure.stores.memory import MemoryStore, Shelf
from perdure.stores.memory_post import MemoryPost
from perdure.testing.simulation.changing import AtHand
from perdure.testing.simulation.changing import Code as AnyCode
from perdure.testing.simulation.checks import Checks
from perdure.testing.simulation.clients import Clients, queue_by_mail
from perdure.testing.simulation.crew import SimulatedCrew
from perdure.testing.simulation.histories import Violation, demand
from perdure.testing.simulation.life import BUILD, DEPLOYED_SECONDS, STOPS, Code, Found, Told, in_words, owner_of
from perdure.testing.simulation.plan import DEATHS, HOWS, SHARED_HOWS, Disturbance, How, Plan, SharedHow, drawn
from perdure.testing.simulation.staff import Staff
from perdure.testing.simulation.trace import Trace
from perdure.testing.simulation.world import BEGINNING, EARLY_SECONDS, SECOND, SLOW_SECONDS, Crash

QUIET_SECONDS = 3.0
"""So long without a commit, and nothing more happens by itself before something is due."""

MOURNING_SECONDS = 20.0
"""The same while a process is dead, or in doubt, and the others have not found that out yet."""

FROZEN_SECONDS = (1.0, 30.0)
REBORN_SECONDS = (0.1, 3.0, 40.0)
TRANSACTION_SECONDS = (0.0, 0.0, 0.0, 0.5, 4.0)
REPLY_LOOKS = 40
BURIALS = 10
BURIAL_SECONDS = 50
MOST_STEPS = 8_000
"""A simulation has far fewer, unless it goes round in a circle."""

_FAULTS: tuple[Any, ...] = tuple(
    how for how in (*HOWS, *SHARED_HOWS) if how not in (*DEATHS, "slow", "frozen", "handed over")
)

Opener = Callable[[Shelf, Faults | None], Store]


def in_shared_memory(shelf: Shelf, faults: Faults | None) -> Store:
    return MemoryStore(shelf=shelf, faults=faults)


class Cluster:
    """A life of several processes. `opened` gives each of them a handle on the store."""

    def __init__(self, plan: Plan, opened: Opener = in_shared_memory) -> None:
        self.plan = plan
        self.trace = Trace()
        self.shelf = Shelf(shared=True)
        self.code = Code()
        self.opened = opened
        self.time = BEGINNING
        self.commits = 0
        self.disturbed = 0
        self.crashes = 0
        self.disturbances = {each.at: each for each in plan.disturbances}
        self.latest = 0
        """The latest time that any clock has shown before it was set."""
        self.clock_was_set = False
        self.quiet_since = BEGINNING
        self.violations: list[str] = []
        self._steps = 0
        self._joined = 0
        self._serial = 0
        self._looked_for = 0
        self._over = False
        self._was_unsettled = False
        self._chance = drawn("cluster", plan.seed)
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._outside = outside = MemoryStore(shelf=self.shelf)
        outside.post = SlowPost(self)
        self.checks = Checks(self._outside, plan)
        self.checks.is_final = len(plan.codes) == 1
        self._processes = [Process(self, n) for n in range(plan.members)]
        street = Station(self, None)
        self._clients = Clients(plan.seed, street, self._outside, self.violations.append, self.checks.graves)
        self._clients.ask, self._clients.nudge = self._ask, self._outside.post.nudge
        self.staff = Staff(
            plan,
            street,
            lambda: opened(self.shelf, None),
            self._outside,
            self.code.activities,
            BUILD,
            self.checks.begun,
            Told(street.say),
            self.checks.appends,
        )

    def live(self) -> Found:
        self._clients.plan(self.plan.wishes, self.plan.may_refuse)
        outcomes: dict[str, Any] = {}
        try:
            for process in self._processes:
                process.join()
            self.run(END_OF_TIME)
            self._bury()
            for process in self._processes:
                if process.owner is not None and process.station.member in self.shelf.seats:
                    self.checks.left(process.owner)
            AtHand.code = self.plan.codes[-1]
            outcomes = self.checks.ended(self.plan.wishes)
            ends = ", ".join(f"{id} {outcome[0]}" for id, outcome in outcomes.items())
            self.say(0, "rest", f"{ends}; all histories: {self.checks.digest()}")
        except Violation as violation:
            self.violations.append(str(violation))
        except Exception as error:  # noqa: BLE001  whatever the engine raises stops it for its users as well
            self.violations.append(f"the engine raised {in_words(error)}")
        finally:
            self.staff.close()
            for process in self._processes:
                process.stop()
        return Found(
            self.trace.lines,
            outcomes,
            self.commits,
            "; ".join(self.violations),
            seconds=(self.time - BEGINNING) / 1e9,
            disturbances=self.disturbed,
            crashes=self.crashes,
            histories=self.checks.recorded(),
        )

    def _bury(self) -> None:
        """All is done, and time passes: what has ended goes."""
        graves = self.checks.graves
        if self.plan.retention is None:
            return
        for _ in range(BURIALS):
            if graves.is_empty():
                return
            self._over = False
            self.quiet_since = self.time = self.time + int(graves.most_seconds * SECOND)
            self.run(self.time + BURIAL_SECONDS * SECOND)
        graves.demand_empty()

    def say(self, member: int, what: str, text: str = "") -> None:
        self.trace.say(self.time - BEGINNING, member, what, text)

    def at(self, seconds: float, act: Callable[[], None]) -> None:
        self._serial += 1
        heapq.heappush(self._agenda, (self.time + int(seconds * 1e9), self._serial, act))

    def run(self, until: int) -> None:
        """Let the processes act that can, until that time, or until nothing happens any more."""
        while not self._over and self.time < until:
            while self._agenda and self._agenda[0][0] <= self.time:
                heapq.heappop(self._agenda)[2]()
                self.quiet_since = self.time
            if not self.act():
                self._advance(until)

    def act(self) -> bool:
        """Have one process make a round, if there is one that has something to do."""
        ready = [process for process in self._processes if process.is_ready]
        if ready:
            self._steps += 1
            demand(self._steps < MOST_STEPS, f"the processes go round in a circle: {MOST_STEPS:,} rounds")
            self._chance.choice(ready).step()
        return bool(ready)

    def next_code(self) -> tuple[AnyCode, bool]:
        """What whoever joins next has, and whether it is to be replaced, since another one follows."""
        codes, n = self.plan.codes, self._joined
        self._joined += 1
        return codes[min(n, len(codes) - 1)], n < len(codes) - 1

    def befalls(self, commit: int, *hows: How | SharedHow) -> Disturbance | None:
        """What is to happen to the commit, if it is one of these: it happens now."""
        disturbance = self.disturbances.get(commit)
        if disturbance is None or disturbance.how not in hows:
            return None
        del self.disturbances[commit]
        self.disturbed += 1
        return disturbance

    def _advance(self, until: int) -> None:
        """Nobody has anything to do: the clock goes to whatever is next."""
        wakes = [process.asleep_until for process in self._processes if process.is_awake]
        wakes += [self._agenda[0][0]] if self._agenda else []
        patience = MOURNING_SECONDS if self._is_unsettled() else QUIET_SECONDS
        if patience == QUIET_SECONDS and self._was_unsettled:
            self.quiet_since = self.time  # what was just found out leads to something
        self._was_unsettled = patience == MOURNING_SECONDS
        if until < END_OF_TIME or (wakes and self.time - self.quiet_since < patience * SECOND):
            self.time = min([*wakes, until])
            return
        due = self._next_due()
        if due is None:
            self._over = True
            return
        early = 0 if due == self._looked_for else self._chance.choice(EARLY_SECONDS)
        self._looked_for = due
        self.quiet_since = self.time = max(due - int(early * 1e9), self.time + 1)

    def _is_unsettled(self) -> bool:
        seats = self.shelf.seats
        living = {process.station.member for process in self._processes if process.owner is not None}
        return bool(seats.keys() - living) or any(seat.pending for seat in seats.values())

    def _next_due(self) -> int | None:
        """When something happens by itself: a timer is due, an attempt has to be over, somebody comes."""
        dues = [self._agenda[0][0]] if self._agenda else []
        dues += [process.next_due() for process in self._processes if process.is_awake]
        wakes = [row.wake_at for row in self.shelf.open_runs() if row.wake_at is not None and row.wake_at < END_OF_TIME]
        dues += [at - process.station.clock for process in self._processes if process.is_awake for at in wakes]
        return min((due for due in dues if due > self.time), default=None)

    # what clients do

    def _ask(self, item: StartRequest | Letter) -> None:
        """By a process that lives: it sends on what is for runs of another one."""
        item.elsewhere = lambda: self._by_mail(item)
        living = [process for process in self._processes if process.owner is not None]
        if living:
            self._chance.choice(living).inbox.put(item)
        else:  # there will be somebody
            self.at(1.0, lambda: self._ask(item))

    def _by_mail(self, item: StartRequest | Letter) -> None:
        if isinstance(item, StartRequest):
            run_id = self._chance.randbytes(16)
            queue_by_mail(self._outside, item.id, item.workflow, item.input, run_id, self.time)
            item.receiver.receive(None, None)
            return
        self._serial += 1
        token = f"sent on {self._serial}"
        message: Any = item.message
        self._outside.post.send(MailRow(0, item.key, message, token))
        self.say(0, "mail", f"{self.trace.id_of(item.key)} {type(message).__name__}, sent on")
        if item.receiver is not None:
            self.at(1.0, lambda: self._look_for(token, item, REPLY_LOOKS))

    def _look_for(self, token: str, item: Letter, looks: int) -> None:
        reply = self._outside.post.take_reply(token)
        if reply is not None and item.receiver is not None:
            item.receiver.receive(Heard(reply.code, reply.error, reply.data), None)
        elif looks:
            self.at(1.0, lambda: self._look_for(token, item, looks - 1))

    def flies(self, attempt: AttemptRow) -> bool:
        """Whether an attempt is in the air in a process that nobody has declared dead, and its result wanted."""
        return attempt.member in self.shelf.seats and any(
            process.owner is not None
            and process.station.member == attempt.member
            and process.owner.slots.flies(attempt.run, attempt.step, attempt.attempt)
            for process in self._processes
        )

    def demand_awake(self, batch: Batch) -> None:
        """What is at work has an owner, be it one that is to be replaced."""
        for row in (*batch.created, *batch.updated):
            has_one = row.key in self.shelf.owners or self.shelf.runs[row.key].status != Status.RUNNING
            demand(has_one, f"{row.id} is running, and nobody owns it (6)")

    def died(self) -> None:
        """Who has asked a process does not know whether it was heard."""
        self._clients.ask_again()


class SlowPost(MemoryPost):
    """Clients send within transactions of their own, some of which take their time: who numbers a letter first may be the last
    whose letter is there."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster.shelf)
        self._cluster = cluster

    def send(self, mail: MailRow) -> None:
        cluster = self._cluster
        id = cluster.shelf.new_mail_id()
        seconds = drawn("transaction", cluster.plan.seed, id).choice(TRANSACTION_SECONDS)
        if not seconds:
            cluster.shelf.put_mail(mail, id)
            return
        cluster.say(0, "begin", f"a transaction that takes {seconds:g} s")
        cluster.at(seconds, lambda: cluster.shelf.put_mail(mail, id))


class Process:
    """One of them: it takes part as one member after the other."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.cluster = cluster
        self.station = Station(cluster, self, number + 1)
        self.inbox = Inbox()
        self.owner: Owner | None = None
        self.asleep_until = 0
        self.frozen = False
        self.leaving = False
        self._code: AnyCode = "new"
        self._number = number
        self._crew: SimulatedCrew | None = None
        self._store: Store | None = None
        self._stillness: Stillness | None = None

    @property
    def is_awake(self) -> bool:
        return self.owner is not None and not self.frozen

    @property
    def is_ready(self) -> bool:
        return self.is_awake and (self.asleep_until <= self.cluster.time or not self.inbox.is_empty())

    def next_due(self) -> int:
        """By the clock of all, 0 without any."""
        station = self.station
        due = None if self._stillness is None else self._stillness.next_due(station.now(), station.monotonic())
        return 0 if due is None else due - station.clock

    def join(self) -> None:
        """Take part as a new member."""
        cluster, station = self.cluster, self.station
        self._store = store = cluster.opened(cluster.shelf, station.faults)
        self._code, is_relieved = cluster.next_code()
        build = f"{BUILD} {self._code}"
        member = store.admin.try_own("simulated", self._number, build, cluster.time)
        assert member is not None
        station.member = member
        store.admin.publish([base.DefinitionRow("workflow", name, b"{}") for name in cluster.code.workflows])
        store.admin.listen(self.inbox.nudge)
        station.say("own", self._code if len(cluster.plan.codes) > 1 else "")
        if is_relieved:
            seconds = drawn("deploy", cluster.plan.seed, member).choice(DEPLOYED_SECONDS)
            cluster.at(seconds, lambda: self._relieve(member))
        body = _Body(self)
        self._crew = SimulatedCrew(
            cluster.plan, station, build, self.inbox.put, cluster.checks.begun, member,
            cluster.checks.appends, store.streams.append, body,
        )  # fmt: skip
        body.crew = self._crew
        log = Told(station.say)
        self.owner = owner_of(
            cluster.plan, cluster.code, store, member, self.inbox, self._crew, station, log, build,
            cluster.checks.graves, station.say, station.let_happen,
        )  # fmt: skip
        self.asleep_until = 0
        self._guarded(self.owner.take_over)

    def step(self) -> None:
        """One round."""
        assert self.owner is not None
        self.asleep_until = self.cluster.time
        if not self.leaving:
            owner, member = self.owner, self.station.member
            if self._guarded(owner.round):
                self.cluster.checks.rounded(owner, member)
            return
        self.leaving = False
        owner = self.owner
        if self._guarded(lambda: owner.drain(0.0, lambda: True)):
            self.station.say("leave")
            self.end()

    def rested(self, seconds: float, stillness: Stillness) -> None:
        """It has nothing to do for so long."""
        self.asleep_until = self.cluster.time + int(seconds * 1e9) + 1
        self._stillness = stillness
        if self.station.member in self.cluster.shelf.seats:
            self.cluster.checks.wanted(stillness)
            if self.owner is not None:
                owners, member = self.cluster.shelf.owners, self.station.member
                self.cluster.checks.idle(self.owner, member, lambda key: owners.get(key, member) == member)

    def _relieve(self, member: int) -> None:
        """It has been there for long enough with its code, if it is still the same."""
        if self.owner is not None and self.station.member == member:
            self.leaving, self.asleep_until = True, 0

    def _guarded(self, act: Callable[[], None]) -> bool:
        """Whether the process lives on as it was."""
        before, AtHand.code = AtHand.code, self._code
        try:
            act()
        except Crash:
            self.cluster.crashes += 1
            self.end()
            return False
        except base.OwnershipLost as lost:
            self.station.say("lost", str(lost))
            self.stop()
            self.join()
            return False
        except STOPS as error:
            self.station.say("stop", type(error).__name__)
            self.end()
            return False
        finally:
            AtHand.code = before
        return True

    def stop(self) -> None:
        """It is there no more; the store is not told."""
        if self.owner is None or self._crew is None or self._store is None:
            return
        self._crew.dead = True
        self.owner.let_go()
        self._store.admin.close()
        self.owner = self._stillness = None

    def end(self) -> None:
        """Its place is taken by another process, some time later."""
        self.stop()
        self.inbox = Inbox()
        self.cluster.at(drawn("reborn", self.cluster.plan.seed, self.station.member).choice(REBORN_SECONDS), self.join)
        self.cluster.died()


class _Body:
    """What a process is to those of its threads that store what attempts write, as long as it has this crew."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.crew: SimulatedCrew | None = None

    def is_dead(self) -> bool:
        return self.crew is None or self.crew.dead

    def is_still(self) -> bool:
        return self._process.frozen

    def wait(self, seconds: float) -> None:
        self._process.station.let_pass(seconds)

    def freeze(self, seconds: float) -> None:
        process = self._process
        process.station.say("freeze", f"for {seconds:g} s")
        process.frozen = True
        process.station.let_pass(seconds)
        process.frozen = False

    def die(self) -> None:
        self._process.station.say("crash", "while it stores what attempts have written")
        self._process.cluster.crashes += 1
        self._process.end()


class Station(World):
    """What a process sees of the world; without one, where the clients are."""

    def __init__(self, cluster: Cluster, process: Process | None, number: int = 0) -> None:
        self._cluster = cluster
        self._process = process
        self._chance = drawn("ids", cluster.plan.seed, number)
        self._batch = Batch()
        self._commit = 0
        self.clock = 0
        self.member = 0

    def now(self) -> int:
        return self._cluster.time + self.clock

    def monotonic(self) -> float:
        return (self._cluster.time - BEGINNING) / 1e9

    def pause(self, seconds: float) -> None:
        self._cluster.time += int(seconds * 1e9)

    def new_id(self) -> bytes:
        return self._chance.randbytes(16)

    def let_pass(self, seconds: float) -> None:
        code = AtHand.code
        self._cluster.run(self._cluster.time + int(seconds * SECOND))
        AtHand.code = code

    def at(self, seconds: float, act: Callable[[], None]) -> None:
        self._cluster.at(seconds, act)

    def say(self, what: str, text: str = "", member: int | None = None) -> None:
        self._cluster.say(self.member if member is None else member, what, text)

    def id_of(self, key: int) -> str:
        return self._cluster.trace.id_of(key)

    def rest(self, seconds: float, stillness: Stillness) -> float:
        assert self._process is not None
        self._process.rested(seconds, stillness)
        return 0.0

    def crash_point(self, name: str) -> None:
        cluster = self._cluster
        if name == "before-commit":
            cluster.commits += 1
            cluster.quiet_since = cluster.time
            self._commit = cluster.commits
            self._die_if("before")
            if self._befalls("frozen"):
                self._freeze()
        elif name == "after-commit":
            cluster.trace.commit(cluster.time - BEGINNING, self.member, self._commit, self._batch)
            now = max(self.now(), cluster.latest)
            cluster.checks.committed(self._batch, self.member, cluster.flies, now, cluster.clock_was_set)
            cluster.demand_awake(self._batch)
            cluster.staff.committed(self._batch)
            self._die_if("after")
            if self._befalls("handed over") and self._process is not None:
                self._process.leaving = True

    def faults(self, moment: Moment, batch: Batch) -> Fault | None:
        """The store's part in it."""
        if moment == "inside":
            self._demand_owned(batch)
            self._die_if("inside")
            return None
        self._batch = batch
        between = self._befalls("interleaved", "slow")
        if between is not None:
            seconds = SLOW_SECONDS if between.how == "slow" else 0.0
            self._cluster.shelf.between = lambda: self._others_act(seconds)
            return None
        befallen = self._befalls(*_FAULTS)
        return None if befallen is None else befallen.how  # type: ignore[return-value]

    def _befalls(self, *hows: How | SharedHow) -> Disturbance | None:
        """What is to happen to the commit now, if it is one of these. The clock of this machine may be set by it."""
        cluster = self._cluster
        disturbance = cluster.befalls(self._commit, *hows)
        if disturbance is not None:
            self.say("crash" if disturbance.how in DEATHS else "doubt", f"{disturbance.how} {self._commit}")
            if disturbance.clock:
                self.say("clock", f"is set by {disturbance.clock:+g} s")
                cluster.latest = max(cluster.latest, self.now())
                cluster.clock_was_set = True
                self.clock += int(disturbance.clock * 1e9)
        return disturbance

    def _die_if(self, how: How) -> None:
        if self._befalls(how):
            raise Crash

    def _freeze(self) -> None:
        seconds = drawn("frozen", self._cluster.plan.seed, self._commit).choice(FROZEN_SECONDS)
        self._stand_still(lambda: self._cluster.run(self._cluster.time + int(seconds * SECOND)))

    def let_happen(self, what: Callable[[], None] | str) -> None:
        """Behind the second statement from now on; or behind the next one others act, be it for long."""
        shelf = self._cluster.shelf
        if callable(what):
            shelf.between = lambda: setattr(shelf, "between", lambda: self._once(what))
        else:
            seconds = 0.0 if what == "interleaved" else FROZEN_SECONDS[-1]
            shelf.between = lambda: self._others_act(seconds)

    def _once(self, act: Callable[[], None]) -> None:
        self._cluster.shelf.between = lambda: None
        act()

    def _others_act(self, seconds: float) -> None:
        """Between two statements."""
        cluster = self._cluster
        cluster.shelf.between = lambda: None
        self._stand_still(lambda: cluster.run(cluster.time + int(seconds * SECOND)) if seconds else cluster.act())

    def _stand_still(self, meanwhile: Callable[[], object]) -> None:
        process, batch, commit = self._process, self._batch, self._commit
        assert process is not None
        process.frozen = True
        code = AtHand.code
        meanwhile()
        AtHand.code = code
        process.frozen = False
        self._batch, self._commit = batch, commit
        self.say("thaw", f"commit {commit} goes on")

    def _demand_owned(self, batch: Batch) -> None:
        """Two owners of a run would both get here."""
        shelf = self._cluster.shelf
        demand(self.member in shelf.seats, f"member {self.member} commits, and was declared dead (2)")
        new = {row.key for row in batch.created}
        for part in batch.history:
            owner = shelf.owners.get(part.run)
            mine = part.run in new or owner == self.member
            demand(mine, f"member {self.member} moves {self.id_of(part.run)}, which is owned by {owner} (2)")
