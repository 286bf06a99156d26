"""A line for each thing that happens, for people who look for the cause of a failure."""

from collections.abc import Iterable

from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.project import AttemptState
from perdure.kernel.run import Status
from perdure.stores.base import Batch

LEGEND = """\
seconds   member  what      of which run, and what exactly; [0:1] is a step or a timer, #2 an attempt
                  own       a member takes over         ask, mail, cancel, terminate   a client does so
                  commit    a batch becomes durable     begin, end, give up            an attempt does, or is
                  doubt     a commit fails              crash                          the member dies
                  stop      it cannot use its store     log                            the engine tells people
                  thaw      it goes on                  lost, leave                    it was declared dead; it hands over
                  gone      so many runs, ended long ago  visit, strike   somebody comes for one; a fault befalls it
                  rest      all is done"""

_SHORT = {
    ev.RunStarted: "started",
    ev.ActivityScheduled: "+step",
    ev.ActivityCompleted: "done",
    ev.ActivityFailed: "failed",
    ev.ActivityCancelled: "-step",
    ev.TimerStarted: "+timer",
    ev.TimerFired: "fired",
    ev.TimerCancelled: "-timer",
    ev.CancelRequested: "cancel",
    ev.RunCompleted: "COMPLETED",
    ev.RunFailed: "FAILED",
    ev.RunCancelled: "CANCELLED",
    ev.RunTerminated: "TERMINATED",
    ev.RunTimedOut: "TIMED OUT",
    ev.AttributesSet: "attributes",
    ev.MemoSet: "memo",
    ev.StreamWritten: "stream",
}


class Trace:
    """Lines, and the ids of runs by key."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._ids: dict[int, str] = {}

    def say(self, now: int, member: int, what: str, text: str = "") -> None:
        self.lines.append(f"{now / 1e9:12.3f}  m{member}  {what:<9} {text}".rstrip())

    def id_of(self, key: int) -> str:
        return self._ids.get(key, f"key {key}")

    def commit(self, now: int, member: int, number: int, batch: Batch) -> None:
        for row in [*batch.created, *batch.updated]:
            self._ids[row.key] = row.id
        said: dict[int, list[str]] = {}
        for part in batch.history:
            said.setdefault(part.run, []).extend(map(_short, wire.decode_events(part.events)))
        for attempt in batch.attempts:
            state = AttemptState(attempt.state).name.lower()
            said.setdefault(attempt.run, []).append(f"[{attempt.step}]#{attempt.attempt} {state}")
        for row in [*batch.created, *batch.updated]:
            if row.status < Status.COMPLETED:
                said.setdefault(row.key, []).append(f"({Status(row.status).word})")
        runs = "; ".join(f"{self.id_of(key)}: {', '.join(words)}" for key, words in sorted(said.items()))
        self.say(now, member, "commit", f"{number}  {runs}{_mail(batch)}")


def _short(event: ev.Event) -> str:
    word = _SHORT.get(type(event), type(event).__name__)
    step = getattr(event, "id", "")
    return f"{word} [{step}]" if step else word


def _mail(batch: Batch) -> str:
    words: Iterable[str] = (
        f"; {len(rows)} {what}" for what, rows in (("letters read", batch.mail_read), ("kept", batch.mail_kept)) if rows
    )
    return "".join(words)
