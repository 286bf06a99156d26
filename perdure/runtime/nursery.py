"""Children and their errands. Whatever happens to one of them ends its own errand, and no other.

    starting ──ready──► idle ◄──errand──► busy ──crash, or killed after the grace──► gone
                          └──idle for long, or dismissed──► leaving ──► gone

All of it belongs to one thread, which serves all children by what becomes readable.
"""

import selectors
from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic

import msgspec

from perdure.failures import failure_of
from perdure.kernel.events import Failure
from perdure.runtime.child import Child, Errand, State, cancelled, crashed, not_started
from perdure.runtime.child_wire import Beat, Ended, Logged, Ready, Told, Wrote


class Patience(msgspec.Struct, frozen=True):
    """How long, in seconds, until something is done about a child: one that starts; one whose attempt nobody wants any
    more, and which is killed then; one that has nothing to do; one that was told to end; and those that have something to
    do when all have to end."""

    starting: float = 60.0
    grace: float = 10.0
    idle: float = 60.0
    leaving: float = 5.0
    closing: float = 1.0


class Nursery:
    """Gives each errand a child. How many there may be at the same time is up to the caller.

    Errands in `_waiting` are fewer than, or as many as, children that start: whichever is ready first takes the oldest.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._selector = selectors.DefaultSelector()
        self._children: set[Child] = set()
        self._idle: list[Child] = []
        self._waiting: deque[Errand] = deque()
        self._busy: dict[Errand, Child] = {}
        self._closing = False

    def listen(self, descriptor: int, call: Callable[[], None]) -> None:
        """Call that in a round in which there is something to read."""
        self._selector.register(descriptor, selectors.EVENT_READ, call)

    def round(self) -> None:
        """Wait until something happens, and see to it."""
        for key, _ in self._selector.select(_seconds(self._children)):
            key.data()
        self._lose_patience()

    def is_empty(self) -> bool:
        return not self._children

    def begin(self, errand: Errand) -> None:
        if self._closing:
            errand.ended(Ended(failure=not_started(CLOSING)))
            return
        self._waiting.append(errand)
        if self._idle:
            self._employ(self._idle.pop())
        elif self._starting() < len(self._waiting):
            self._start()

    def cancel(self, errand: Errand) -> None:
        """Nobody wants its result."""
        child = self._busy.get(errand)
        if child is not None:
            self._press(child, self._patience.grace)
        elif errand in self._waiting:
            self._waiting.remove(errand)
            errand.ended(Ended(failure=cancelled("before it began")))

    def tell_stored(self, errand: Errand, size_bytes: int) -> None:
        """So much of what the attempt has written to streams is stored."""
        child = self._busy.get(errand)
        if child is not None:
            child.tell_stored(size_bytes)

    def dismiss(self) -> None:
        """Let all children go, who have a moment to end what they do."""
        self._closing = True
        self._fail_waiting(not_started(CLOSING))
        self._idle.clear()
        for child in self._children:
            if child.state is State.STARTING:
                child.kill()
                continue
            if child.state is State.BUSY:
                self._press(child, self._patience.closing)
            else:
                child.patience_until = monotonic() + self._patience.closing
            child.leave()

    def end(self, failure: Failure) -> None:
        """At once. Nobody may wait for what does not come."""
        self._closing = True
        for child in list(self._children):
            self._bury(child)
        self._fail_waiting(failure)
        self._selector.close()

    def _fail_waiting(self, failure: Failure) -> None:
        while self._waiting:
            self._waiting.popleft().ended(Ended(failure=failure))

    def _starting(self) -> int:
        return sum(child.state is State.STARTING for child in self._children)

    def _start(self) -> None:
        try:
            child = Child()
        except Exception as error:  # noqa: BLE001  the system refuses, or what the program has made of sys.path or sys.argv
            self._waiting.popleft().ended(Ended(failure=not_started(str(error))))
            return
        self._children.add(child)
        child.patience_until = monotonic() + self._patience.starting
        self._selector.register(child.line.socket, selectors.EVENT_READ, lambda: self._attend(child))
        if child.doom is not None:
            self._selector.register(child.doom, selectors.EVENT_READ, lambda: self._attend(child, died=True))

    def _employ(self, child: Child) -> None:
        """Give it what has waited longest, if there is something."""
        while self._waiting:
            errand = self._waiting.popleft()
            try:
                child.give(errand)
            except Exception as error:  # noqa: BLE001  what the attempt needs cannot be had, whatever the reason
                errand.ended(Ended(failure=failure_of(error)))
                continue
            child.patience_until = None
            self._busy[errand] = child
            self._watch(child)
            return
        child.state = State.IDLE
        child.patience_until = monotonic() + self._patience.idle
        self._idle.append(child)

    def _watch(self, child: Child) -> None:
        """Be told when more of a large job can be sent."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if child.line.is_full else 0)
        key = self._selector.get_key(child.line.socket)
        if key.events != events:
            self._selector.modify(child.line.socket, events, key.data)

    def _attend(self, child: Child, died: bool = False) -> None:
        if child not in self._children:
            return  # buried in this very round
        child.line.flush()
        told = child.line.receive(to_the_end=died)
        gone = died or child.line.over
        if gone and child.state is not State.STARTING:
            child.state = State.LEAVING  # whatever it has said, it gets nothing more to do
        for each in told:
            if not (gone and isinstance(each, Ready)):
                self._hear(child, each)
        if gone:
            self._bury(child)
        else:
            self._watch(child)

    def _hear(self, child: Child, told: Told) -> None:
        match told:
            case Ready():
                if child.state is State.STARTING:
                    self._employ(child)
            case Beat(serial, details):
                if child.errand is not None and child.is_current(serial):
                    child.errand.beat(details)
            case Logged(serial, record):
                if child.errand is not None and child.is_current(serial):
                    child.errand.logged(record)
            case Wrote(serial, stream, data):
                if child.errand is not None and child.is_current(serial):
                    child.errand.wrote(stream, data)
            case Ended():
                self._finish(child, told)
                if child.state is State.BUSY:
                    self._employ(child)

    def _finish(self, child: Child, ended: Ended) -> None:
        errand, child.errand = child.errand, None
        if errand is not None:
            del self._busy[errand]
            errand.ended(ended)

    def _bury(self, child: Child) -> None:
        self._selector.unregister(child.line.socket)
        if child.doom is not None:
            self._selector.unregister(child.doom)
        how = child.bury()
        self._children.discard(child)
        if child in self._idle:
            self._idle.remove(child)
        why = child.killed_for
        if child.errand is not None:
            self._finish(child, Ended(failure=cancelled(why) if why else crashed(how, child.last_words())))
        elif child.state is State.STARTING and self._starting() < len(self._waiting):
            why = why or f"it {how} before it was ready; what it wrote to standard error says why"
            self._waiting.popleft().ended(Ended(failure=not_started(why)))
        child.close()

    def _press(self, child: Child, seconds: float) -> None:
        child.cancel()
        until = monotonic() + seconds
        child.patience_until = until if child.patience_until is None else min(until, child.patience_until)

    def _lose_patience(self) -> None:
        now = monotonic()
        for child in self._children:
            if child.patience_until is None or child.patience_until > now:
                continue
            child.patience_until = None
            if child.state is State.IDLE:
                self._idle.remove(child)
                child.leave()
                child.patience_until = now + self._patience.leaving
            elif child.state is State.STARTING:
                child.kill(f"it was not ready within {self._patience.starting:g} s, and was killed")
            else:
                child.kill("and killed, since it did not end")


def _seconds(children: Iterable[Child]) -> float | None:
    """How long until something has to be done about one of them."""
    times = [child.patience_until for child in children if child.patience_until is not None]
    return max(min(times) - monotonic(), 0.0) if times else None


CLOSING = "the engine is being closed"
