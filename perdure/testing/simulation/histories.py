"""What must hold of the history of a run, whatever it does: each event is looked at once, when it is there."""

from collections import Counter
from collections.abc import Sequence

from perdure.kernel import events as ev
from perdure.kernel import wire

_ONCE: tuple[tuple[type, ...], ...] = (
    (ev.RunStarted,),
    (ev.ActivityScheduled,),
    (ev.ActivityCompleted, ev.ActivityFailed, ev.ActivityCancelled),
    (ev.TimerStarted,),
    (ev.TimerFired, ev.TimerCancelled),
    (ev.ChildScheduled,),
    (ev.ChildCompleted, ev.ChildFailed, ev.ChildStartFailed),
    (ev.ExternalSignalSent, ev.ExternalCancelRequested),
    (ev.ExternalAnswered,),
    (ev.TaskOpened,),
    (ev.TaskCompleted, ev.TaskExpired, ev.TaskWithdrawn),
    (ev.UpdateAccepted,),
    (ev.UpdateCompleted, ev.UpdateFailed),
)
"""Of each step, of each update, and of the run there is at most one of these."""

_KIND: dict[type, int] = {each: n for n, kinds in enumerate(_ONCE) for each in kinds}


class Violation(Exception):
    """A promise was broken. The numbers are those of docs/guarantees.md."""


def demand(holds: bool, text: str) -> None:
    if not holds:
        raise Violation(text)


class History:
    """That of one run, as far as it is known."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.events: list[ev.HistoryEvent] = []
        self.written: Counter[str] = Counter()
        self.heard = 0
        """How many signals it has received, and how many updates it has answered."""
        self._parts: list[bytes] = []
        self._once: set[tuple[int, str]] = set()
        self._told: set[str] = set()
        self._is_cancelled = False
        self._dues: dict[str, int] = {}

    def grow(self, parts: Sequence[bytes], now: int, clock_went_back: bool) -> None:
        """What is stored now: what was, and more."""
        known = len(self._parts)
        demand(list(parts[:known]) == self._parts, f"the history of {self.id} was rewritten (4)")
        for part in parts[known:]:
            self._parts.append(part)
            for event in wire.decode_history([part]):
                goes_on = clock_went_back or not self.events or self.events[-1].at <= event.at
                demand(goes_on, f"the time of {self.id} goes back")
                demand(event.at <= now, f"{self.id} has an event from the future")
                self._meet(event)

    def encoded(self) -> bytes:
        return b"".join(self._parts)

    def parts(self) -> list[bytes]:
        return list(self._parts)

    def _meet(self, event: ev.HistoryEvent) -> None:
        last = self.events[-1] if self.events else None
        self.events.append(event)
        demand(type(last) not in ev.TERMINAL, f"{self.id} goes on after its end (4)")
        kind = _KIND.get(type(event))
        if kind is not None:
            what = (kind, getattr(event, "id", ""))
            names = ", ".join(each.__name__ for each in _ONCE[kind])
            demand(what not in self._once, f"{self.id}: {names} twice for [{what[1]}] (3)")
            self._once.add(what)
        match event:
            case ev.TimerStarted():
                self._dues[event.id] = event.due_at
            case ev.TimerFired():
                early = event.at < self._dues[event.id]
                demand(not early, f"{self.id}: the timer [{event.id}] has fired too early")
            case ev.SignalReceived():
                self.heard += 1
                again = event.request_id in self._told
                demand(not again, f"{self.id} was told {event.request_id} more than once (3)")
                self._told |= {event.request_id} if event.request_id else set()
            case ev.UpdateCompleted():
                self.heard += 1
            case ev.CancelRequested():
                self._is_cancelled = True
            case ev.RunContinuedAsNew():  # simulated programs heed each
                demand(not self._is_cancelled, f"{self.id} goes on as a new run, and was cancelled (3)")
            case ev.StreamWritten():
                self.written[event.stream] += event.count
            case _:
                pass
