"""What a deep check looks at, whichever store it is: promise 4 (gapless histories) and promise 6, run by run."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec

from perdure import errors
from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.attributes import Attribute, merged
from perdure.kernel.events import StreamWritten
from perdure.kernel.human import HumanTask
from perdure.kernel.human_rows import HumanTaskRow, fold, row_of
from perdure.kernel.project import HistoryRow, RunRow, attributes_in
from perdure.kernel.run import KNOWN_STATUSES, Status

PROBLEM_LINES = 100
"""Most problems named by one check; a store with more is beyond reading lists."""


@contextmanager
def told_as_damage(id: str) -> Iterator[None]:
    """What is kept of a run, and cannot be read inside, becomes an error for people."""
    try:
        yield
    except msgspec.MsgspecError as error:
        raise errors.StoreCorrupt(
            f"run {id!r}: what the database holds of it cannot be read ({error}); restore a backup"
        ) from error


def problems_of(
    row: RunRow,
    history: Sequence[HistoryRow],
    attributes: Mapping[str, Attribute],
    streamed: Mapping[str, int],
    human: Sequence[HumanTaskRow],
) -> list[str]:
    """One line for each way in which a run's summary, its attributes, its streams or its human tasks, and its history
    contradict each other.

    `streamed`: how many chunks of the workflow's own each stream holds. `human`: the rows of its human tasks.
    """
    found: list[str] = []
    if row.status not in KNOWN_STATUSES:
        found.append(f"run {row.id!r}: {row.note}")
    told: dict[str, Attribute] = {}
    written: dict[str, int] = {}
    asked: dict[str, HumanTask] = {}
    pinned = ""
    seq = 0
    for part in history:
        if part.seq != seq + 1:
            found.append(f"run {row.id!r}: events {seq + 1} to {part.seq - 1} of its history are missing")
        try:
            events = wire.decode_events(part.events)
            told = merged(told, tuple(each for event in events for each in attributes_in(event)))
            for event in events:
                fold(asked, event)
                if type(event) is StreamWritten:
                    written[event.stream] = written.get(event.stream, 0) + event.count
            pinned = next((build for build in map(_pinned_by, reversed(events)) if build is not None), pinned)
            seq = part.seq - 1 + len(events)
        except msgspec.MsgspecError as error:
            found.append(f"run {row.id!r}: its history cannot be read from event {part.seq} on ({error})")
            return found
    if seq != row.seq:
        found.append(f"run {row.id!r}: its summary counts {row.seq} events, its history has {seq}")
    if seq and told != attributes:
        names = ", ".join(sorted({each.name for each in {*told.values()} ^ {*attributes.values()}}))
        found.append(f"run {row.id!r}: lists find it by other attributes than its history has ({names})")
    for name in {**written, **streamed}:
        if written.get(name, 0) != streamed.get(name, 0):
            counted = f"{streamed.get(name, 0):,} chunks of its workflow, its history {written.get(name, 0):,}"
            found.append(f"run {row.id!r}: the stream {name!r} holds {counted}")
    open_tasks = [] if row.status >= Status.COMPLETED else [row_of(row.key, task) for task in asked.values()]
    for step in sorted(_differing({each.step: each for each in human}, {each.step: each for each in open_tasks})):
        found.append(f"run {row.id!r}: what is listed of its human task {step} is not what its history has")
    if seq and pinned != row.pinned:
        found.append(
            f"run {row.id!r}: is pinned to build {row.pinned or 'none'}, and by its history to {pinned or 'none'}"
        )
    if row.status >= Status.COMPLETED and row.wake_at is not None:
        found.append(f"run {row.id!r}: has ended, yet would be woken again")
    return found


def lost_rows(table: str, run: int) -> str:
    return f"{table}: rows of a run that does not exist (key {run})"


def unreadable_mail(id: int, run: int) -> str:
    return f"mail {id} for the run with key {run} cannot be read; it was written by a newer version or damaged"


def _differing(listed: Mapping[str, HumanTaskRow], told: Mapping[str, HumanTaskRow]) -> set[str]:
    return {step for step in {**listed, **told} if listed.get(step) != told.get(step)}


def _pinned_by(event: ev.HistoryEvent) -> str | None:
    """The build to which the event pins its run, "" is none; None of one that is not about that."""
    if type(event) is ev.RunStarted:
        return event.build if event.terms is not None and event.terms.pinned else ""
    return event.build if type(event) is ev.RunMoved else None
