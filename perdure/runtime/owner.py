"""The owner's rounds: take what has arrived, what is due and what the store has; process it; speak to those who wait."""

import logging
from collections import deque
from collections.abc import Callable

from perdure.errors import StoreUnreachable
from perdure.kernel import messages as msg
from perdure.runtime.actors import Roster
from perdure.runtime.clock import Clock
from perdure.runtime.coding import Coding
from perdure.runtime.cycle import Cycle, Item, waits
from perdure.runtime.deadlines import timed_out
from perdure.runtime.effects import Effects
from perdure.runtime.equipment import Bounds, Company, Definitions
from perdure.runtime.letters import Letter, StartRequest
from perdure.runtime.losses import Losses
from perdure.runtime.membership import Holdings
from perdure.runtime.mending import Mending
from perdure.runtime.offers import Offers
from perdure.runtime.outage import Outage
from perdure.runtime.pulse import pulse_of
from perdure.runtime.retention import Retention
from perdure.runtime.slots import Flight, Slots
from perdure.runtime.starts import Starts
from perdure.runtime.stillness import Stillness
from perdure.runtime.turn import Turns
from perdure.runtime.workforce import Workforce
from perdure.runtime.world import World
from perdure.stores.base import Poll, Store

BATCH_ITEMS = 2_000
"""Letters of one batch: more would only make the first of them wait."""

POLL_SECONDS = 1.01
LOOK_SECONDS = 0.25
"""How often, at most, is looked how runs get on that others move."""

POLL_AHEAD_NS = 1_200_000_000
POLL_ROWS = 1_000
POLL_TRIES = 8
"""How often in a row the store may not answer a poll until the engine stops, unless several share it: pauses grow to 1 s, beside
the 10 s for which a call waits for whoever keeps a database locked."""

WHEN_FULL = 50
"""Where several share the store, so many times fewer runs than may be awake are claimed when those are: what begins waits until there
is room, but what somebody says to a run that has begun, and what it wakes up for, need not wait for that."""

TAKEOVER_RUNS = 500
"""Runs of a dead owner that are looked after in one batch."""


class Owner:
    """Moves the runs of a store it owns. All methods belong to one thread."""

    def __init__(
        self,
        store: Store,
        member: int,
        definitions: Definitions,
        bounds: Bounds,
        company: Company,
        world: World,
        log: logging.Logger,
        closing: Callable[[], bool],
        coding: Coding | None = None,
        forgetful: bool = False,
    ) -> None:
        self._store = store
        self._member = member
        self._build = build = definitions.build
        self._inbox, self._outbox = company.inbox, company.outbox
        self._waiters = waiters = company.waiters
        self._crew = company.crew
        self._world = world
        self._holdings = Holdings(store)
        self._marker = None if store.marking is None else store.marking.marker()
        self._roster = Roster(store, bounds.cached_runs, coding, self._holdings)
        self.slots = Slots(member, definitions.activities, *bounds.concurrency)
        turns = Turns(definitions.languages, build, self.slots, self._marker or self._holdings, forgetful=forgetful)
        starts = Starts(store, self._roster, turns, definitions.workflows, waiters, build, world)
        workforce = Workforce(store.views)
        effects = Effects(store, self._roster, self.slots, company, workforce, bounds.grace_seconds, world, log)
        self._offers = Offers(store.work, self._roster, workforce)
        self._losses = Losses(store.tasks, world, log)
        self._alarms, self._deadlines = effects.alarms, effects.deadlines
        self._grace_seconds = bounds.grace_seconds
        self._cycle = Cycle(
            store, world, definitions, self._roster, self.slots, turns, starts, effects, log, closing, coding
        )
        self._awake_runs = bounds.awake_runs
        self._waiting_starts, self._left_behind = deque[StartRequest](), deque[int]()
        self._mending = Mending(store.work, self._holdings, build, definitions.workflows)
        self._log = log
        self._outage = Outage(world, log, self._holdings.shared, closing)
        self._clock = Clock(world, log)
        self._retention = Retention(store, bounds.retention_ns, world, waiters.awaited, log)
        self._poll_at = self._look_at = 0.0
        self._just_claimed: set[int] = set()
        self._look_after, self._deadly = list[int](), list[int]()
        self.pulse = pulse_of(self._holdings, store, bounds.lease_seconds, world)
        self._stillness = Stillness(
            store, self._inbox, self.slots, waiters, self._roster, self._left_behind, self._room
        )

    def take_over(self) -> None:
        """Look after the runs that an earlier owner left: the one it died in, those in motion, those other code blocked."""
        left = 0 if self._marker is None else self._marker.left_by_the_dead()
        if left:
            self._deadly.append(left)
            self._strike()
        self._left_behind += self._mending.begin()
        if not self._holdings.shared:  # else whoever polls claims those of the dead
            self._left_behind += self._store.work.running()

    def _strike(self) -> None:
        """Count a death in the turn of a run before anything else happens to it: this process may die of that as well."""
        keys, self._deadly = self._deadly, []
        self._holdings.suspects.update(dict.fromkeys(keys, True))
        self._cycle.careful.update(keys)
        self._look_after += self._cycle.process([Letter(key, msg.Strike(self._build)) for key in keys])
        self._cycle.careful.clear()
        for key in keys:
            self._roster.evict(key)

    def _care(self, key: int) -> list[Letter]:
        """Letters that make their run be loaded and looked after, and released if other code blocked it."""
        return [Letter(key, msg.NewBuild(self._build)), *self._offers.to(key)]

    def round(self, most_seconds: float = POLL_SECONDS) -> None:
        """Wait until there is something to do, but not for longer than until the next poll, and do it."""
        items = self._arrived(most_seconds)
        try:
            items += self._found()
        except BaseException:
            self._cycle.unanswered = [item for item in items if waits(item)]
            raise
        self._process(items)
        if self._waiters.mending and self._mending.is_over:
            self._mended()
        self._retention.go_on()

    def _mended(self) -> None:
        """All runs that wait for other code have seen this one: those that still wait are told of."""
        self._waiters.mending = False
        try:
            self._waiters.look(self._store.views, self._outbox)
            self._waiters.answers.look(self._store, self._outbox, self._waiters.is_blocked)
        except StoreUnreachable as error:
            self._waiters.mending = True
            if not self._outage.failed(error, 0):
                raise
        self._outbox.flush()

    def _found(self) -> list[Item]:
        """What there is to do beside what has arrived."""
        now, monotonic = self._world.now(), self._world.monotonic()
        items: list[Item] = []
        if self._inbox.nudged or self._look_after or monotonic >= self._poll_at:
            try:  # first, as it may raise: then starts that wait are not lost
                items += self._polled(now, monotonic)
                self._outage.over()
            except StoreUnreachable as error:  # another program keeps it locked, say: what is in hand goes on
                if not self._outage.failed(error, POLL_TRIES):
                    raise
                self._poll_at = monotonic
        if self._deadly:
            self._strike()
        items += self._admitted()
        items += self._offers.take(TAKEOVER_RUNS)
        items += self._due(now)
        items += self._overdue(monotonic)
        return self._cycle.taken.due() + items

    def _process(self, items: list[Item]) -> None:
        if items or self.slots.can_grant():
            self._look_after += self._cycle.process(items)
            if self._cycle.posted:
                self._cycle.posted = False
                self._inbox.nudged = True
        for loop in self._outbox.flush():
            self._crew.loop_is_gone(loop)

    def _arrived(self, most_seconds: float) -> list[Item]:
        monotonic = self._world.monotonic()
        seconds = min(most_seconds, max(self._poll_at - monotonic, 0.0))
        now = self._world.now()
        for until in (
            self._alarms.seconds(now),
            self._deadlines.seconds(monotonic),
            self._cycle.taken.seconds(),
            self._retention.seconds(monotonic),
        ):
            if until is not None:
                seconds = min(seconds, until)
        at_once = self._cycle.onward or self._look_after or self._offers or self._inbox.nudged or self.slots.can_grant()
        if at_once or ((self._left_behind or self._waiting_starts) and self._room()):
            seconds = 0.0
        if seconds > 0:
            seconds = self._world.rest(seconds, self._stillness)
        arrived, self._cycle.onward = self._cycle.onward, []
        for item in self._inbox.take(seconds, BATCH_ITEMS):
            if not isinstance(item, Letter):
                self._waiting_starts.append(item)
            elif self._lands(item):
                arrived.append(item)
        return arrived

    def _room(self) -> int:
        """How many more runs may wake."""
        return max(self._awake_runs - self._roster.awake, 0)

    def _admitted(self) -> list[Item]:
        """Starts, and runs a dead owner left in motion, as many as there is room for: the others wait outside."""
        starts, left = self._waiting_starts, self._left_behind
        if not starts and not left:
            return []
        room = self._room()
        care = min(room, len(left), TAKEOVER_RUNS)
        items: list[Item] = [letter for _ in range(care) for letter in self._care(left.popleft())]
        self._mending.show(care)
        items += [starts.popleft() for _ in range(min(room - care, len(starts)))]
        return items

    def _lands(self, letter: Letter) -> bool:
        """The end of an attempt frees its slot; whether anybody still wants the result."""
        message = letter.message
        if type(message) is not msg.AttemptEnded:
            return True
        wanted = self.slots.flies(letter.key, message.id, message.attempt)
        self.slots.land(letter.key, message.id, message.attempt)
        return wanted

    def _due(self, now: int) -> list[Item]:
        keys = self._alarms.due(now)
        for key in keys:
            actor = self._roster.get(key)
            if actor is not None:
                actor.alarm = 0
        return [Letter(key, msg.Wake()) for key in keys]

    def _overdue(self, monotonic: float) -> list[Item]:
        """Attempts over their time limit fail; those given up long ago lose their slot."""
        items: list[Item] = []
        for flight in self._deadlines.overdue(monotonic):
            if flight.given_up:
                self._abandon(flight, monotonic)
            elif self.slots.flies(flight.key, flight.step, flight.attempt):
                items.append(Letter(flight.key, timed_out(flight, self._member, self._world.now(), monotonic)))
        self._deadlines.forget_landed(self.slots)
        return items

    def _abandon(self, flight: Flight, monotonic: float) -> None:
        if not self.slots.holds(flight):
            return
        told = "its slot is free again" if self.slots.abandon(flight) else "it keeps its slot: too many hang already"
        if self.slots.holds(flight):
            self._deadlines.give_up(flight, monotonic, self._grace_seconds)
        self._log.warning(
            "attempt %d of step [%s] does not end, although nobody wants its result any more; %s. "
            "Let it look at activity.cancelled(), or call activity.heartbeat()",
            flight.attempt,
            flight.step,
            told,
        )

    def _beats(self) -> list[Item]:
        """Details of heartbeats, all at once, to be kept for the next attempt."""
        items: list[Item] = []
        for flight in self._crew.beats():
            flight.beaten = False
            if self.slots.flies(flight.key, flight.step, flight.attempt):
                beat = msg.Heartbeat(flight.step, flight.attempt, self._member, flight.details)
                items.append(Letter(flight.key, beat))
        return items

    def _polled(self, now: int, monotonic: float) -> list[Item]:
        """What the store has: mail, and runs that are due soon. Those in memory get an alarm, the others a letter."""
        self._inbox.nudged = False
        room, began = self._room(), self._world.monotonic()
        claims = room or max(self._awake_runs + max(self._awake_runs // WHEN_FULL, 1) - self._roster.awake, 0)
        poll = self._holdings.poll(now + POLL_AHEAD_NS, POLL_ROWS, claims, starts=room > 0)
        self._clock.measured(poll.time, began)
        self._holdings.polled = self._world.monotonic()
        claimed = {each.key for each in poll.claimed}
        # What was claimed twice without a pause wants something that is not to be had now.
        more = len(claimed) >= min(claims, POLL_ROWS) > 0 and self._just_claimed.isdisjoint(claimed)
        self._just_claimed = self._just_claimed | claimed if more else set()
        if self._holdings.shared and self._claimed(poll, monotonic):
            more = True
        mail = [each for each in poll.mail if not self._cycle.culprits.waits(each.id)]
        items: list[Item] = [Letter(each.run, each.message, each.id, each.reply_to) for each in mail]
        self._offers.look(poll.beats.keys(), self._left_behind)
        loaded = 0
        for key in poll.due:
            actor = self._roster.get(key)
            if actor is None:
                loaded += 1
                items.append(Letter(key, msg.Wake()))
            else:
                self._alarms.set(actor, now)
        for key in self._look_after:
            self._losses.tell_again(key)
        items += self._losses.look(poll, monotonic)  # first, as it may raise, and so may the next
        if room and not self._left_behind:
            self._left_behind += self._mending.look(poll.unmended, monotonic)
            more = more or self._mending.goes_on
        self._look_after += self._roster.left_over(self.slots.at_work)
        items += [letter for key in self._look_after for letter in self._care(key)]
        self._look_after = []
        items += self._beats()
        more = more or poll.more_mail or len(poll.mail) >= POLL_ROWS or loaded >= POLL_ROWS
        self._poll_at = monotonic if more else min(monotonic + POLL_SECONDS, self._holdings.next_look)
        return items

    def _claimed(self, poll: Poll, monotonic: float) -> bool:
        """Of a store that several share: which of the others have died, and what to look after, since a dead one has left it.
        How runs get on elsewhere that somebody here waits for is looked up. Whether somebody has just been declared dead, whose
        runs are to be claimed at once."""
        for claimed in poll.claimed:  # first, as what follows may raise, and nobody says it again
            is_here = self._roster.recall(claimed)
            if claimed.left_by == self._member:  # claimed by a call that was lost, it may be; there may be many
                self._left_behind += [] if is_here else [claimed.key]
            elif claimed.left_by:
                self._look_after.append(claimed.key)
            if claimed.in_turn:
                self._deadly.append(claimed.key)
        dead = self._holdings.dead(poll.members, poll.leases, monotonic)
        for member in dead:
            self._log.warning(
                "member %d is silent for too long and was declared dead: others take over its runs", member
            )
        if monotonic >= self._look_at:
            self._look_at = monotonic + LOOK_SECONDS
            self._waiters.look(self._store.views, self._outbox, self._roster.get)
            self._waiters.answers.look(self._store, self._outbox, self._waiters.is_blocked, self._roster.get)
        return bool(dead)

    def drain(self, seconds: float, hurried: Callable[[], bool]) -> None:
        """Start nothing new, and give what is in the air some time to land; then others may go on with the runs at once."""
        self.slots.closed = True
        end = self._world.monotonic() + seconds
        while True:
            left = end - self._world.monotonic() if self.slots.in_air() else 0.0
            self.round(min(max(left, 0.0), 0.1))
            in_hand = self.slots.in_air() or self._cycle.onward
            if not in_hand or self._world.monotonic() >= end or hurried():
                break
        try:
            self._holdings.hand_over()
        except StoreUnreachable as error:
            self._log.warning("the others cannot be told that this engine leaves, and will take it for dead: %s", error)

    def let_go(self) -> None:
        """Cancel what is still in the air, which the next owner finds to be lost, and unwind all programs."""
        for item in (*self._cycle.unanswered, *self._cycle.onward, *self._cycle.taken.all(), *self._waiting_starts):
            self._inbox.put(item)  # whoever reads it last tells why nothing came of it
        for flight in self.slots.all():
            if not flight.given_up:
                flight.given_up = True
                self._crew.give_up(flight)
        self._roster.evict_all()
        self._outbox.flush()
