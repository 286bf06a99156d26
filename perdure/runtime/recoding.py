"""Where a batch meets the codec: what its letters bring is decoded before the turns, what the turns have made is encoded
before the commit.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec

from perdure.errors import PayloadError, QueryFailed
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel import wire
from perdure.kernel.events import Payload
from perdure.kernel.run import recode
from perdure.payload.memo import memo_too_large
from perdure.runtime.actors import Actor, Roster
from perdure.runtime.coding import Coding, Get
from perdure.runtime.culprits import Item, TurnFailed, item_of
from perdure.runtime.draft import Draft
from perdure.runtime.letters import Letter, StartRequest

_START = ("input", "memo")
_BROUGHT: dict[type, str] = {
    msg.Start: "input",
    msg.AttemptEnded: "result",
    msg.Complete: "result",
    msg.ChildEnded: "result",
    msg.Signal: "input",
    msg.Update: "input",
    msg.Query: "input",
    msg.CompleteTask: "result",
}
_MADE: dict[type, tuple[str, ...]] = {
    ev.RunStarted: _START,
    ev.ActivityScheduled: ("input",),
    ev.ActivityCompleted: ("result",),
    ev.SideEffectRecorded: ("value",),
    ev.MemoSet: ("memo",),
    ev.ChildScheduled: _START,
    ev.ChildCompleted: ("result",),
    ev.TaskOpened: ("data",),
    ev.TaskCompleted: ("result",),
    ev.ExternalSignalSent: ("input",),
    ev.RunCompleted: ("result",),
    ev.RunContinuedAsNew: _START,
    ev.SignalReceived: ("input",),
    ev.UpdateAccepted: ("input",),
    ev.UpdateCompleted: ("result",),
    ev.Published: ("value",),
}
"""Where messages, and events, have payloads. What comes from a client or a worker without the codec is plain still."""


def prepare(coding: Coding, items: Sequence[Item], roster: Roster) -> None:
    """Decode what the turns of these items will look at; encode the details of heartbeats, which none does."""
    wanted: list[tuple[Payload, Get]] = []
    beats: list[tuple[Letter, Payload]] = []
    for item in items:
        if isinstance(item, StartRequest):
            wanted.append((item.input, _found_in(item.blobs, None)))
            if item.wishes.first is not None:
                wanted.append((item.wishes.first.input, _found_in(None, None)))
            continue
        field = _BROUGHT.get(type(item.message))
        payload = None if field is None else getattr(item.message, field)
        if payload is not None:
            wanted.append((payload, _found_in(item.blobs, roster.get(item.key))))
        if type(item.message) is msg.Start and item.message.first is not None:
            wanted.append((item.message.first.input, _found_in(None, None)))
        details = getattr(item.message, "details", None)
        if details is not None and not details.encoding:
            beats.append((item, details))
    coding.prepare(wanted)
    _encode_details(coding, beats)


def _found_in(blobs: dict[bytes, bytes] | None, actor: Actor | None) -> Get:
    def get(digest: bytes) -> bytes:
        if blobs is not None and digest in blobs:
            return blobs[digest]
        if actor is None:
            raise KeyError(digest)
        return actor.blob(digest)

    return get


def _encode_details(coding: Coding, beats: Sequence[tuple[Letter, Payload]]) -> None:
    codeds = coding.encoded([(details, _nowhere, "the details of a heartbeat") for _, details in beats])
    for (letter, _), coded in zip(beats, codeds, strict=True):
        details = None if isinstance(coded, PayloadError) or coded.ref else coded
        letter.message = msgspec.structs.replace(letter.message, details=details)  # type: ignore[type-var]


def _nowhere(digest: bytes, data: bytes) -> None:
    """Details that a codec has made too large are dropped: they are a hint, and the attempt goes on without."""


class _Place(NamedTuple):
    """A payload that the codec has not seen, and how what it makes comes there. `actor` has its bytes, `culprit` is whose
    turn has failed if it cannot be encoded. `aside`: where large bytes go instead of the table of blobs."""

    payload: Payload
    field: str
    what: str
    actor: Actor
    culprit: Actor
    fill: Callable[[Payload], None]
    aside: dict[bytes, bytes] | None = None


def encode(coding: Coding, draft: Draft, items: Sequence[Item]) -> None:
    """Let the codec make what is stored of the payloads in the batch's events, and of the starts that it puts into mailboxes.

    Raises:
        TurnFailed: it could not, of one run.
    """
    places = [*_of_events(draft), *_of_kept_starts(draft)]
    spent = [(place.actor, place.payload.data) for place in places if place.payload.ref]
    payloads = [(_bytes_here(place), _put_by(place), place.what) for place in places]
    for place, coded in zip(places, coding.encoded(payloads), strict=True):
        if isinstance(coded, PayloadError):
            raise TurnFailed(item_of(place.culprit, items), coded)
        place.fill(coded)
    for actor, digest in spent:
        if actor.blobs is not None:
            actor.blobs.pop(digest, None)


def encode_answers(coding: Coding, draft: Draft) -> None:
    """The same for what queries are answered with, of which only the row for another process is stored. One that cannot be
    encoded is a failure of the query, and the run's no more than any other."""
    large: dict[bytes, bytes] = {}
    answers = [(answer, large.__setitem__, "the answer to a query") for _, answer in draft.told]
    for (n, _), coded in zip(draft.told, coding.encoded(answers), strict=True):
        row = draft.replies[n]
        if isinstance(coded, PayloadError):
            draft.replies[n] = msgspec.structs.replace(row, code=QueryFailed.code, error=str(coded), data=None)
        else:
            whole = Payload(large[coded.data], coded.encoding) if coded.ref else coded
            draft.replies[n] = msgspec.structs.replace(row, data=wire.encode(whole))


def _of_events(draft: Draft) -> Iterator[_Place]:
    for actor in draft.actors.values():
        for n, event in enumerate(actor.events):
            if type(event) is ev.ChunksMade:
                yield from _of_chunks(actor, event)
            for field in _MADE.get(type(event), ()):
                payload: Payload | None = getattr(event, field)
                if payload is not None and not payload.encoding:
                    what = f"{field} in {type(event).__name__} of run {actor.run.id!r}"
                    yield _Place(payload, field, what, actor, actor, partial(_replace, actor, n, field))


def _of_chunks(actor: Actor, event: ev.ChunksMade) -> Iterator[_Place]:
    aside: dict[bytes, bytes] = {}
    for n, payload in enumerate(event.chunks):
        if not payload.encoding:
            what = f"a chunk of the stream {event.stream!r} of run {actor.run.id!r}"
            yield _Place(payload, "chunks", what, actor, actor, partial(_replace_chunk, event, n, aside), aside)


def _of_kept_starts(draft: Draft) -> Iterator[_Place]:
    """A run that has ended in the batch in which it began may go on as another one, children begin by mail, and a client
    may have had no codec."""
    made_by = {other: key for key, other in draft.continued.items()} | draft.born
    for n, mail in enumerate(draft.kept):
        if isinstance(mail.message, msg.Start) and mail.run in draft.actors:
            actor, culprit = draft.actors[mail.run], draft.actors[_maker(made_by, mail.run)]
            for field in _START:
                payload: Payload | None = getattr(mail.message, field)
                if payload is not None and not payload.encoding:
                    what = f"{field} in the start of run {actor.run.id!r}"
                    yield _Place(payload, field, what, actor, culprit, partial(_replace_kept, draft, n, field))


def _maker(made_by: dict[int, int], key: int) -> int:
    """Who has to answer for a start: the run that has left it, in the end one that a letter is about."""
    while key in made_by:
        key = made_by[key]
    return key


def _bytes_here(place: _Place) -> Payload:
    payload = place.payload
    return Payload(place.actor.blob(payload.data)) if payload.ref else payload


def _put_by(place: _Place) -> Callable[[bytes, bytes], None]:
    """Large bytes are kept apart, but not those of a memo."""
    if place.field == "memo":
        return memo_too_large(place.what)
    if place.aside is not None:
        return place.aside.__setitem__
    return lambda digest, data: place.actor.put(b"", digest, data)


def _replace(actor: Actor, n: int, field: str, coded: Payload) -> None:
    before: Any = actor.events[n]
    event = actor.events[n] = msgspec.structs.replace(before, **{field: coded})
    step = actor.run.pending.get(getattr(event, "id", ""))
    recode(actor.run, event, step is not None and (bool(step.queue) or getattr(before, field).ref))


def _replace_chunk(event: ev.ChunksMade, n: int, aside: dict[bytes, bytes], coded: Payload) -> None:
    """Chunks are never kept apart."""
    event.chunks[n] = Payload(aside[coded.data], coded.encoding) if coded.ref else coded


def _replace_kept(draft: Draft, n: int, field: str, coded: Payload) -> None:
    row = draft.kept[n]
    draft.kept[n] = msgspec.structs.replace(row, message=msgspec.structs.replace(row.message, **{field: coded}))
