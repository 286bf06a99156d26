"""Events, attempts and messages as bytes: msgpack arrays, tagged by number. What is written here is read for years."""

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from perdure.kernel.events import Block, Failure, HistoryEvent, Logs, Payload
from perdure.kernel.messages import Mail

T = TypeVar("T")


class AttemptDetail(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of an attempt beside its numbers."""

    failure: Failure | None = None
    logs: Logs | None = None
    build: str = ""
    details: Payload | None = None


class Task(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """All that is needed to run an attempt, beside which it is.

    `run_id` and the rest as in `events`; `expires_at` is when the whole step does, None never.
    """

    id: str
    run_id: bytes
    workflow: str
    input: Payload
    scheduled_at: int
    timeout_ns: int | None = None
    heartbeat_ns: int | None = None
    expires_at: int | None = None
    details: Payload | None = None
    queue: str = ""


class Chunk(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One value of a stream, and when it was written."""

    at: int
    value: Payload


_encoder = msgspec.msgpack.Encoder()
_events = msgspec.msgpack.Decoder(list[HistoryEvent])
_mail = msgspec.msgpack.Decoder(Mail)
_detail = msgspec.msgpack.Decoder(AttemptDetail)
_block = msgspec.msgpack.Decoder(Block)
_failure = msgspec.msgpack.Decoder(Failure)
_payload = msgspec.msgpack.Decoder(Payload)
_task = msgspec.msgpack.Decoder(Task)
_chunks = msgspec.msgpack.Decoder(list[Chunk])

encode: Any = _encoder.encode
"""Any of the structs above, or a list of them, as bytes."""


def decode_events(data: bytes) -> list[HistoryEvent]:
    """One history row. Raises `msgspec.DecodeError` or `msgspec.ValidationError` if it was damaged, as all of these do."""
    return _decoded(_events, data)


def decode_history(rows: Sequence[bytes]) -> list[HistoryEvent]:
    """The rows of a history, in order, as one list of events."""
    events: list[HistoryEvent] = []
    for row in rows:
        events += _decoded(_events, row)
    return events


def decode_mail(data: bytes) -> Mail:
    return _decoded(_mail, data)


def decode_detail(data: bytes) -> AttemptDetail:
    return _decoded(_detail, data)


def decode_block(data: bytes) -> Block:
    return _decoded(_block, data)


def decode_task(data: bytes) -> Task:
    return _decoded(_task, data)


def decode_chunks(data: bytes) -> list[Chunk]:
    """One row of a stream."""
    return _decoded(_chunks, data)


def decode_failure(data: bytes) -> Failure:
    return _decoded(_failure, data)


def decode_payload(data: bytes) -> Payload:
    return _decoded(_payload, data)


def _decoded(decoder: "msgspec.msgpack.Decoder[T]", data: bytes) -> T:
    try:
        return decoder.decode(data)
    except TypeError:  # in a damaged database a column of bytes may hold a number or a text
        raise msgspec.DecodeError(f"expected bytes, found {type(data).__name__}") from None
    except RecursionError:
        raise msgspec.DecodeError("it is nested too deeply") from None
