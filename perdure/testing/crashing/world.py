"""A world in which the engine dies where it shall, time is skipped, and all that happens happens in one order."""

import threading
from collections.abc import Callable
from random import Random
from time import monotonic

from perdure.client import answer
from perdure.runtime.stillness import Stillness
from perdure.runtime.world import World
from perdure.stores.base import Batch
from perdure.stores.faults import Fault, Moment
from perdure.testing.crashing.crew import Crew, WorkerDies
from perdure.testing.crashing.loop import Clock, TurnedLoop
from perdure.testing.crashing.points import Point
from perdure.testing.crashing.watch import Watch

STILL_SECONDS = 1.0
"""For so long, in real time, the clock stands still while an activity does what takes real time; from then on it goes along."""

LISTEN_SECONDS = 0.02
NUDGE_SECONDS = 0.002
"""How long a nudge may be on its way when there is mail."""

IDLE_POLLS = 3
"""Looks into the store without any effect after which nothing can happen any more."""


class Crash(BaseException):
    """The process dies here."""


class Span:
    """The life of one engine, as its world sees it. `how` it ended: "done", "died" or "stuck"; "" while it goes on."""

    def __init__(self, loop: TurnedLoop) -> None:
        self.loop = loop
        self.crew: Crew | None = None
        self.began = False
        self.how = ""
        self.ended = threading.Event()
        self.asking: Callable[[], int] = lambda: 0
        """How many of its client's calls are made beside, now."""

    def end(self, how: str) -> None:
        self.how = self.how or how
        self.ended.set()

    @property
    def loops(self) -> list[TurnedLoop]:
        """Those that are turned: the engine's, and that of whoever serves queues."""
        return [self.loop] if self.crew is None else [self.loop, self.crew.loop]

    def is_ready(self) -> bool:
        return any(loop.is_ready() for loop in self.loops)

    def due(self) -> int | None:
        """When something is due on them, or for the worker."""
        dues = [self.loop.due(), None if self.crew is None else self.crew.due()]
        return min((each for each in dues if each is not None), default=None)

    def listen(self) -> None:
        """Wait, in real time, for files, sockets and other threads."""
        loops = self.loops
        for loop in loops:
            loop.listen(LISTEN_SECONDS / (4 * len(loops) - 3))  # of several each is soon asked again

    def clear_away(self) -> None:
        """It is over: what an engine that has died had in the air stands still, other tasks are cancelled."""
        end = TurnedLoop.bury if self.how == "died" else TurnedLoop.end
        end(self.loop)
        if self.crew is not None:
            self.crew.end_loops(end)


class CrashWorld(World):
    """One for all lives of a trial. The engine dies at `point`; None: never. With `twice` the one that takes over dies, too,
    in its first commit, when that is durable."""

    def __init__(self, clock: Clock, watch: Watch, point: Point | None, twice: bool = False) -> None:
        self._clock = clock
        self._watch = watch
        self._point = point
        self._twice = twice
        self._batch: Batch | None = None
        self._is_committed = False
        self._drawn: list[bytes] = []
        self._idle_polls = 0
        self._still = 0
        self.commits = 0

    def enter(self, span: Span) -> None:
        """Another life begins."""
        self._span = span
        self._idle_polls = self._still = 0
        self._is_committed = False
        self._drawn = [id for id in self._drawn if id in self._watch.run_ids]

    # what the engine asks for

    def now(self) -> int:
        return self._clock.ns

    def monotonic(self) -> float:
        return self._clock.seconds()

    def pause(self, seconds: float) -> None:
        self._clock.move_to(self._clock.ns + int(seconds * 1e9))

    def new_id(self) -> bytes:
        """The same ones in each trial, for runs that are the same."""
        id = Random(f"run {len(self._drawn)}").randbytes(16)
        self._drawn.append(id)
        return id

    def crash_point(self, name: str) -> None:
        if name == "before-commit":
            self.commits += 1
            self._die_at("before", self.commits)
        elif name == "after-commit":
            self._is_committed = True
            if self._batch is not None:
                self._watch.committed(self._batch, self.commits)
            self._die_at("kept", self.commits)
        elif name == "before-effects" and self._is_committed:
            self._is_committed = False
            self._die_at("after", self.commits)

    def faults(self, moment: Moment, batch: Batch) -> Fault | None:
        """The store's part in it."""
        self._batch = batch
        if moment == "inside":
            self._die_at("lost", self.commits)
        return None

    def dies_before(self, effect: int) -> bool:
        """Whether the engine dies before it calls the activity that would be its n-th effect: it does so in its next rest."""
        if self._point == Point("effect", effect):
            self._span.how = "died"
            return True
        return False

    def _die_at(self, kind: str, number: int) -> None:
        if self._point == Point(kind, number):
            self._die()

    def _die(self) -> None:
        self._watch.died(str(self._point))
        self._point = Point("kept", self.commits + 1) if self._twice else None
        self._twice = False
        self._span.end("died")
        raise Crash

    def dies_at_exchange(self, kind: str) -> None:
        """The worker's part: it dies alone, and with `twice` so does the one that comes then."""
        number = self._watch.exchanges + (kind == "exchange")
        if self._point == Point(kind, number):
            self._watch.died(str(self._point), only_worker=True)
            self._point = Point("exchanged", self._watch.exchanges + 1) if self._twice else None
            self._twice = False
            self._idle_polls = 0
            raise WorkerDies

    # time

    def rest(self, seconds: float, stillness: Stillness) -> float:
        """The engine has nothing to do. So activities and the script go on; if they wait, too, time is skipped."""
        span, began, seen = self._span, monotonic(), 0.0
        if not span.began:
            return seconds  # the script comes, with a nudge
        poll_at = self.now() + int(seconds * 1e9)
        while True:
            self._turn(span, stillness)
            if span.ended.is_set():
                return seconds
            if stillness.has_arrived() or self.now() > poll_at:
                self._still = 0
                return 0.0
            if stillness.has_letters():
                return self._until_read(seconds)
            if span.crew is not None and span.crew.works():
                continue
            if self._is_busy(stillness):
                span.listen()
                waited = monotonic() - began
                if waited > STILL_SECONDS:
                    self._clock.move_to(self._clock.ns + int((waited - max(seen, STILL_SECONDS)) * 1e9))
                    due = stillness.next_due(self.now(), self.monotonic())
                    if due is not None and due <= self.now():
                        return 0.0
                seen = waited
            elif not self._watch.gate.let_one_in() and not self._hears(span) and not self._skip(seconds, stillness):
                return 0.0

    def _turn(self, span: Span, stillness: Stillness) -> None:
        """Let those who can go on do so, until something of it concerns the engine."""
        while span.loop.is_ready() and not span.how:
            span.loop.turn()
            if stillness.has_arrived():
                break
        if span.how == "died" and not span.ended.is_set():
            self._die()

    def _until_read(self, seconds: float) -> float:
        """There is mail; without a nudge, the engine finds it when it looks next."""
        self._still += 1
        if self._still % 3:
            return NUDGE_SECONDS
        self.pause(seconds)
        return 0.0

    def _is_busy(self, stillness: Stillness) -> bool:
        """Whether somebody does what takes real time."""
        span, watch = self._span, self._watch
        if watch.beside or answer.asking() or span.asking() or any(loop.beside for loop in span.loops):
            return True
        if len(stillness.at_work()) > watch.in_hand() or (span.crew is not None and span.crew.is_busy):
            return True  # an attempt that has ended, and whose letter is on its way
        return watch.at_work() > 0 and any(loop.talks() for loop in span.loops)

    def _hears(self, span: Span) -> bool:
        """Whether somebody is woken from elsewhere, within a moment: an attempt waits, and not for a time."""
        if sum(loop.timers() for loop in span.loops) < self._watch.at_work():
            span.listen()
        return span.is_ready()

    def _skip(self, seconds: float, stillness: Stillness) -> bool:
        """Move the clock to what is next. False: that concerns the engine."""
        timer, due = self._span.due(), stillness.next_due(self.now(), self.monotonic())
        dues = [each for each in (timer, due) if each is not None and each > self.now()]
        if not dues:
            self._idle_polls += 1
            self.pause(seconds)
            if self._idle_polls > IDLE_POLLS:
                self._span.end("stuck")
            return False
        self._idle_polls = 0
        self._clock.move_to(min(dues))
        return timer is not None and timer <= self.now()
