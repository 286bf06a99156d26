"""Where a batch meets the codec: what its letters bring is decoded before the turns, what the turns have made is encoded
before the commit.
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from perdure.errors import PayloadError
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel.events import Payload
from perdure.kernel.run import recode
from perdure.runtime.actors import Actor, Roster
from perdure.runtime.coding import Coding, Get
from perdure.runtime.culprits import Item, TurnFailed
from perdure.runtime.draft import Draft
from perdure.runtime.letters import Letter, StartRequest

_BROUGHT: dict[type, str] = {msg.Start: "input", msg.AttemptEnded: "result", msg.Complete: "result"}
_MADE: dict[type, str] = {
    ev.RunStarted: "input",
    ev.ActivityScheduled: "input",
    ev.ActivityCompleted: "result",
    ev.SideEffectRecorded: "value",
    ev.RunCompleted: "result",
}
"""Where messages, and events, have payloads. What comes from a client or a worker without the codec is plain still."""


def prepare(coding: Coding, items: Sequence[Item], roster: Roster) -> None:
    """Decode what the turns of these items will look at; encode the details of heartbeats, which none does."""
    wanted: list[tuple[Payload, Get]] = []
    beats: list[tuple[Letter, Payload]] = []
    for item in items:
        if isinstance(item, StartRequest):
            wanted.append((item.input, _found_in(item.blobs, None)))
            continue
        field = _BROUGHT.get(type(item.message))
        payload = None if field is None else getattr(item.message, field)
        if payload is not None:
            wanted.append((payload, _found_in(item.blobs, roster.get(item.key))))
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


def encode(coding: Coding, draft: Draft, items: Sequence[Item]) -> None:
    """Let the codec make what is stored of the payloads in the batch's events.

    Raises:
        TurnFailed: it could not, of one run.
    """
    places: list[tuple[Actor, int, str]] = []
    payloads: list[tuple[Payload, Callable[[bytes, bytes], None], str]] = []
    spent: list[tuple[Actor, bytes]] = []
    for actor in draft.actors.values():
        for n, event in enumerate(actor.events):
            field = _MADE.get(type(event))
            payload: Payload | None = None if field is None else getattr(event, field)
            if field is None or payload is None or payload.encoding:
                continue
            places.append((actor, n, field))
            plain = payload
            if payload.ref:
                plain = Payload(actor.blob(payload.data))
                spent.append((actor, payload.data))
            payloads.append((plain, _into(actor), f"{field} in {type(event).__name__} of run {actor.run.id!r}"))
    for (actor, n, field), coded in zip(places, coding.encoded(payloads), strict=True):
        if isinstance(coded, PayloadError):
            raise TurnFailed(_item_of(actor, items), coded)
        _replace(actor, n, field, coded)
    for actor, digest in spent:
        if actor.blobs is not None:
            actor.blobs.pop(digest, None)


def _into(actor: Actor) -> Callable[[bytes, bytes], None]:
    return lambda digest, data: actor.put(b"", digest, data)


def _replace(actor: Actor, n: int, field: str, coded: Payload) -> None:
    before: Any = actor.events[n]
    event = actor.events[n] = msgspec.structs.replace(before, **{field: coded})
    step = actor.run.pending.get(getattr(event, "id", ""))
    recode(actor.run, event, step is not None and (bool(step.queue) or getattr(before, field).ref))


def _item_of(actor: Actor, items: Sequence[Item]) -> Item:
    for item in items:
        if isinstance(item, StartRequest):
            if actor.is_new and item.id == actor.run.id:
                return item
        elif item.key == actor.run.key:
            return item
    return Letter(actor.run.key, msg.NewBuild(""))
