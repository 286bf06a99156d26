"""A world in which nobody has to wait: when nothing is at work the clock jumps to what is due next.

Time is skipped only while somebody waits, for the end of a run or in `engine.sleep`, so that a test can cancel a run, or
look at it, while it sleeps. While an attempt runs, time passes as everywhere. The clock never goes back.
"""

import threading
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from perdure.errors import WaitedTooLong
from perdure.runtime.outbox import Outbox, Receiver
from perdure.runtime.stillness import Stillness
from perdure.runtime.world import World

if TYPE_CHECKING:
    from perdure.testing.people import People

PATIENCE_SECONDS = 1.0
"""How long, in real time, a sleep of a test waits at its end for attempts that run, as they may be what it waited for; and
how long the clock waits for whoever was woken to go on."""

STUCK_SECONDS = 10.0
"""How long, in real time, the same attempts may keep the clock from jumping until those who sleep are told."""

LETTERS_SECONDS = 0.001
"""How soon the engine looks again when there is mail that it has not read."""


class Sleep:
    """Somebody who sleeps until `at`, but not longer than `latest` by the real clock. `attempt`: who sleeps is one.

    It is what the receiver is told when the time has come.
    """

    __slots__ = ("_world", "at", "attempt", "latest", "nudge", "receiver")

    def __init__(
        self,
        world: "SkippingWorld",
        at: int,
        latest: float,
        receiver: Receiver,
        nudge: Callable[[], None],
        attempt: bool,
    ) -> None:
        self._world = world
        self.at = at
        self.latest = latest
        self.receiver = receiver
        self.nudge = nudge
        self.attempt = attempt

    def goes_on(self) -> None:
        """Whoever slept has seen what time it is, and done what it does without waiting: the clock may jump again."""
        self._world.forget(self)
        self.nudge()


class SkippingWorld(World):
    """Its clock begins at `start` (nanoseconds since the epoch), the real time if that is None."""

    def __init__(self, start: int | None = None, stuck_seconds: float = STUCK_SECONDS) -> None:
        self._stuck_seconds = stuck_seconds
        self._lock = threading.Lock()
        self._began = monotonic()
        self._start = World.now(self) if start is None else start
        self._ahead_ns = 0
        self._sleeps: list[Sleep] = []
        self._waking: list[Sleep] = []
        self._at_work: list[tuple[int, str, int]] = []
        self._at_work_since = 0.0
        self._still_since: float | None = None
        self.people: People | None = None

    def now(self) -> int:
        return self._start + self._ahead_ns + int((monotonic() - self._began) * 1e9)

    def monotonic(self) -> float:
        return monotonic() + self._ahead_ns / 1e9

    def sleep(self, ns: int, receiver: Receiver, nudge: Callable[[], None], attempt: bool) -> Sleep:
        """Tell the receiver when so much time has passed, and what is due until then is done; from any thread."""
        latest = monotonic() + max(ns / 1e9, PATIENCE_SECONDS)
        with self._lock:
            sleep = Sleep(self, self.now() + ns, latest, receiver, nudge, attempt)
            self._sleeps.append(sleep)
        return sleep

    def forget(self, sleep: Sleep) -> None:
        """Nobody sleeps there any more."""
        with self._lock:
            self._sleeps = [each for each in self._sleeps if each is not sleep]
            self._waking = [each for each in self._waking if each is not sleep]

    def rest(self, seconds: float, stillness: Stillness) -> float:
        with self._lock:
            still_since, self._still_since = self._still_since, None
            if self._people_act(stillness):
                return min(seconds, LETTERS_SECONDS)
            self._wake(self._works(stillness))
            if self._works(stillness):
                self._tell_stuck(stillness)
                return self._until_next(seconds)
            if self._waking:
                return self._until_next(seconds)
            if stillness.has_letters():
                return min(seconds, LETTERS_SECONDS)
            if not self._is_awaited(stillness):
                return self._until_next(seconds)
            due = self._next_due(stillness)
            if due is None and not self._sleeps:
                self._still_since = still_since or monotonic()
                self._tell_of_people(stillness)
            return self._jump(seconds, due)

    def _is_awaited(self, stillness: Stillness) -> bool:
        return stillness.is_awaited() or any(not sleep.attempt for sleep in self._sleeps)

    def _next_due(self, stillness: Stillness) -> int | None:
        dues = [stillness.next_due(self.now(), self.monotonic())]
        if self.people is not None and self.people.are_there:
            answer = self.people.next(stillness.asked())
            dues += [] if answer is None else [answer[0]]
        return min((due for due in dues if due is not None), default=None)

    def _people_act(self, stillness: Stillness) -> bool:
        """Whether somebody answers a human task now, as its time has come: nothing else happens meanwhile."""
        people = self.people
        if people is None or not people.are_there:
            return False
        if people.answering:
            return True
        failure = people.failure() if self._is_awaited(stillness) else None
        if failure is not None:
            self._give_up(stillness, failure)
        if self._waking or not self._is_awaited(stillness) or self._works(stillness) or stillness.has_letters():
            return False
        answer = people.next(stillness.asked())
        if answer is None or answer[0] > self.now():
            return False
        answer[1]()
        return True

    def _give_up(self, stillness: Stillness, error: Exception) -> None:
        """Tell all who wait."""
        self._tell_sleepers(error)
        outbox = Outbox()
        stillness.give_up(error, outbox)
        outbox.flush()

    def _tell_sleepers(self, error: Exception) -> None:
        sleeping = [each for each in self._sleeps if not each.attempt]
        self._sleeps = [each for each in self._sleeps if each.attempt]
        outbox = Outbox()
        for sleep in sleeping:
            outbox.answer(sleep.receiver, None, error)
        outbox.flush()

    def _tell_of_people(self, stillness: Stillness) -> None:
        """Nothing is due any more. If a run waits for people whom nobody stands in for, so would the test, for ever."""
        if self._still_since is None or monotonic() - self._still_since < self._stuck_seconds:
            return
        asked = stillness.asked() if stillness.is_awaited() and not stillness.is_worked_on() else []
        if asked:
            run, task = asked[0]
            more = f", and {len(asked) - 1:,} more tasks are open" if len(asked) > 1 else ""
            whom = f" (for {' or '.join(task.assignees)})" if task.assignees else ""
            error = WaitedTooLong(
                f"nothing is due any more, and run {run!r} asks people: {task.title!r}{whom}{more}. Say who answers: "
                f"engine.people.answer({task.title!r}, ...); or answer before you wait: engine.tasks.complete({run!r}, ..., "
                'by="somebody")'
            )
            self._give_up(stillness, error)

    def _works(self, stillness: Stillness) -> bool:
        """Whether attempts run that do not sleep on this clock."""
        return len(stillness.at_work()) > sum(sleep.attempt for sleep in self._sleeps)

    def _tell_stuck(self, stillness: Stillness) -> None:
        at_work, real = stillness.at_work(), monotonic()
        if at_work != self._at_work:
            self._at_work, self._at_work_since = at_work, real
        elif real - self._at_work_since >= self._stuck_seconds:
            error = WaitedTooLong(
                f"the clock cannot jump: {stillness.name(at_work[0])} runs for {self._stuck_seconds:g} s of real time; give its "
                "activity a stand-in, or let it sleep on the engine's clock: await engine.sleep(...)"
            )
            self._tell_sleepers(error)

    def _jump(self, seconds: float, due: int | None) -> float:
        dues = [sleep.at for sleep in self._sleeps]
        ahead = min(dues if due is None else [*dues, due], default=0) - self.now()
        if ahead <= 0:
            return seconds
        self._ahead_ns += ahead
        return 0.0

    def _wake(self, works: bool) -> None:
        """Wake those whose time has come; and wait no more for those who were woken long ago."""
        now, real = self.now(), monotonic()
        over = [each for each in self._sleeps if each.at <= now and (not works or each.attempt or each.latest <= real)]
        self._sleeps = [each for each in self._sleeps if each not in over]
        self._waking = [each for each in self._waking if each.latest > real]
        outbox = Outbox()
        for sleep in over:
            if not sleep.attempt:  # that is at work again, which is enough
                sleep.latest = real + PATIENCE_SECONDS
                self._waking.append(sleep)
            outbox.answer(sleep.receiver, sleep, None)
        outbox.flush()

    def _until_next(self, seconds: float) -> float:
        now, real = self.now(), monotonic()
        waits = [(sleep.at - now) / 1e9 if sleep.at > now else max(sleep.latest - real, 0.0) for sleep in self._sleeps]
        return min([seconds, *waits])
