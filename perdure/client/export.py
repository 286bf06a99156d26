"""A run as one JSON document: everything needed to replay it with the code at hand, or to look at it elsewhere.

Each event is there twice: as the bytes the store holds (`wire`, in base64), which are what counts, and beside them in
words, which are for people and for tools that read JSON, and are ignored when the document is read back. The layout is
documented in docs/replaying.md; fields are only ever added, and `version` rises when that is not enough.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from perdure import errors
from perdure.client.cast import members_of
from perdure.client.description import Blob, block_view, history_entry
from perdure.client.export_streams import ExportedChunks, ExportedStream, StoredChunks, line_of, streams_of
from perdure.client.export_streams import told as told_chunks
from perdure.client.summary import summary_of
from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.project import AttemptRow, RunRow
from perdure.stores.base import DefinitionRow, MailRow, MemberRow, Stored, Views
from perdure.stores.health import told_as_damage
from perdure.stores.streaming import Streams

FORMAT = "perdure.run"
VERSION = 1
"""What is written; documents up to it are read."""

CHUNKS_BEGIN = b'"chunks": ['
"""What the last field of a document begins with."""


class Wired(msgspec.Struct, frozen=True):
    """Something of the kernel's as its bytes."""

    wire: bytes


class ExportedMail(msgspec.Struct, frozen=True):
    """A message that waits to be read."""

    wire: bytes


class ExportedBlob(msgspec.Struct, frozen=True):
    """A payload that is too large for the history. `sha256` is its digest in hexadecimal."""

    sha256: str
    data: bytes


class ExportedDefinition(msgspec.Struct, frozen=True):
    """A workflow or activity as its engine has published it."""

    kind: str
    name: str
    parameters: msgspec.Raw


class ExportedRun(msgspec.Struct, frozen=True):
    """One run, as exact as the store has it. `redacted`: without its values, so that it cannot be replayed.

    `perdure` is the version that has written it, `attempts`, `members` and `definitions` are what belongs to this run.
    `chunks` are those of its `streams`, which may come from a store, or a file, while they are looked at.
    """

    format: str
    version: int
    perdure: str
    exported_at: datetime
    redacted: bool
    run: RunRow
    events: list[Wired]
    attempts: list[AttemptRow] = []
    mail: list[ExportedMail] = []
    blobs: list[ExportedBlob] = []
    members: list[MemberRow] = []
    definitions: list[ExportedDefinition] = []
    streams: list[ExportedStream] = []
    chunks: Iterable[ExportedChunks] = ()

    @property
    def id(self) -> str:
        return self.run.id

    def stored(self) -> Stored:
        """The run as it lay in the store."""
        mail = [MailRow(0, self.run.key, wire.decode_mail(each.wire)) for each in self.mail]
        return Stored(self.run, [_row(self.events)] if self.events else [], self.attempts, mail)

    def finder(self) -> Blob:
        """Finds the bytes behind a digest; None if they are missing or damaged."""
        known = {blob.sha256: blob.data for blob in self.blobs}

        def find(digest: bytes) -> bytes | None:
            data = known.get(digest.hex())
            return data if data is not None and hashlib.sha256(data).digest() == digest else None

        return find

    def to_json(self, lines: bool = True) -> bytes:
        """The document, with each event in a line of its own, or, without `lines`, all of it in one line."""
        return b"".join(self.document(lines))

    def document(self, lines: bool = True) -> Iterator[bytes]:
        """What `to_json` gives, piece by piece, so that streams need not be in memory as a whole."""
        between, indent, end = (b",\n", b"\n  ", b"\n") if lines else (b", ", b"", b"")
        told_value = _tall if lines else _encoded
        yield b"{" + end + between.join(_encoded(name) + b": " + told_value(value) for name, value in _parts(self))
        yield between + CHUNKS_BEGIN
        some = False
        for part in self.chunks:
            yield (b"," if some else b"") + (indent or b" " * some) + told_chunks(part)
            some = True
        yield (end if some else b"") + b"]" + end + b"}" + end

    def held(self) -> "ExportedRun":
        """The same with the chunks of its streams in memory."""
        return msgspec.structs.replace(self, chunks=tuple(self.chunks))

    def lines(self) -> Iterator[bytes]:
        """The document in one line, but for the chunks of its streams, which follow it in lines of their own."""
        yield from msgspec.structs.replace(self, chunks=()).document(lines=False)
        yield b"\n"
        for part in self.chunks:
            yield line_of(part, self.run.run_id.hex())


def perdure_version() -> str:
    """The version of the installed package; "" of a bare checkout."""
    from importlib import metadata  # slow to import, and needed by few

    try:
        return metadata.version("perdure")
    except metadata.PackageNotFoundError:
        return ""


def exported(views: Views, stored: Stored, at: datetime, streams: Streams | None = None) -> ExportedRun:
    """A run that lies in a store, with everything that belongs to it; `at` is when that was looked at. Its streams are read
    from `streams` when they are asked for; None leaves them out.

    Raises:
        errors.StoreCorrupt: what is there of it cannot be read.
    """
    with told_as_damage(stored.run.id):
        events = [Wired(bytes(raw)) for row in stored.history for raw in _raws.decode(row)]
        history = wire.decode_history(stored.history)
        mail = [ExportedMail(wire.encode(each.message)) for each in stored.mail]
    digests = dict.fromkeys(payload.data for payload in _payloads([*history, *(each.message for each in stored.mail)]))
    found = ((digest, views.blob(stored.run.key, digest)) for digest in digests)
    names = {("workflow", stored.run.workflow)}
    names |= {("activity", event.name) for event in history if isinstance(event, ev.ActivityScheduled)}
    return ExportedRun(
        FORMAT,
        VERSION,
        perdure_version(),
        at,
        False,
        stored.run,
        events,
        stored.attempts,
        mail,
        [ExportedBlob(digest.hex(), data) for digest, data in found if data is not None],
        list(views.members(members_of(stored, history)).values()),
        [_definition(row) for row in views.definitions() if (row.kind, row.name) in names],
        [] if streams is None else streams_of(stored.streams),
        () if streams is None else StoredChunks(streams, stored.run.key, stored.streams),
    )


def read_export(data: bytes, name: str = "this") -> ExportedRun:
    """The run of a document; `name` is what errors call it.

    Raises:
        errors.ExportUnreadable: it is none, or is damaged, or is of a newer version.
    """
    try:
        document = _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise errors.ExportUnreadable(_why_not(data, name, error)) from error
    except UnicodeDecodeError as error:
        raise errors.ExportUnreadable(f"{name} is no export: it is not UTF-8 (at byte {error.start:,})") from error
    _demand_ours(document.format, document.version, name)
    run = ExportedRun(*(getattr(document, field) for field in ExportedRun.__struct_fields__))
    try:
        count = len(wire.decode_history(run.stored().history))
    except msgspec.MsgspecError as error:
        raise errors.ExportUnreadable(f"{name}: an event or a message in it cannot be read ({error})") from error
    if count != run.run.seq:
        raise errors.ExportUnreadable(f"{name}: it should hold {run.run.seq:,} events, and holds {count:,}")
    return run


class _Document(ExportedRun, frozen=True):
    chunks: tuple[ExportedChunks, ...] = ()


class _Head(msgspec.Struct):
    format: str = ""
    version: int = 0


_decoder = msgspec.json.Decoder(_Document)
_raws = msgspec.msgpack.Decoder(list[msgspec.Raw])


def _why_not(data: bytes, name: str, error: Exception) -> str:
    """What is wrong with a document that could not be read."""
    if not data.strip():
        return f"{name} is empty"
    if isinstance(error, msgspec.ValidationError):
        try:
            head = msgspec.json.decode(data, type=_Head)
        except msgspec.MsgspecError:
            head = _Head()
        try:
            _demand_ours(head.format, head.version, name)
        except errors.ExportUnreadable as refused:
            return str(refused)
        return f"{name} is damaged: {error}"
    if "truncated" in str(error):
        return f"{name} is cut off after {len(data):,} bytes: it is no whole JSON document"
    return f"{name} is no JSON: {error}"


def _demand_ours(format: str, version: int, name: str) -> None:
    if format != FORMAT:
        raise errors.ExportUnreadable(f'{name} is no exported run: its "format" should be "{FORMAT}"')
    if version > VERSION:
        raise errors.ExportUnreadable(
            f"{name} is of version {version} of the format, and this Perdure reads up to {VERSION}; upgrade Perdure"
        )


def _row(events: list[Wired]) -> bytes:
    """All events as one row of a history: an array of msgpack, whose items need not be looked at."""
    return b"\xdd" + len(events).to_bytes(4, "big") + b"".join([each.wire for each in events])


def _definition(row: DefinitionRow) -> ExportedDefinition:
    return ExportedDefinition(row.kind, row.name, msgspec.Raw(row.parameters))


def _payloads(values: Iterable[Any]) -> Iterator[ev.Payload]:
    """The payloads in events and messages whose bytes lie apart."""
    for value in values:
        if isinstance(value, ev.Payload):
            if value.ref:
                yield value
        elif isinstance(value, msgspec.Struct):
            yield from _payloads(getattr(value, field) for field in value.__struct_fields__)
        elif isinstance(value, list | tuple):
            yield from _payloads(value)
        elif isinstance(value, dict):
            yield from _payloads(value.values())


def _parts(run: ExportedRun) -> Iterator[tuple[str, Any]]:
    """The fields of the document in their order, but for the last one: what counts, and what is for people."""
    for name in ("format", "version", "redacted", "perdure", "exported_at"):
        yield name, getattr(run, name)
    yield "summary", msgspec.to_builtins(summary_of(run.run))
    if run.run.block is not None:
        yield "block", msgspec.to_builtins(block_view(wire.decode_block(run.run.block)))
    yield "run", run.run
    yield "events", [_told(seq, each) for seq, each in enumerate(run.events, start=1)]
    yield "attempts", [_told_attempt(row) for row in run.attempts]
    for name in ("mail", "blobs", "members", "definitions", "streams"):
        yield name, getattr(run, name)


def _told(seq: int, event: Wired) -> msgspec.Raw:
    """An event in words, and its bytes. What cannot be said in JSON is left to the bytes."""
    data = _base64(event.wire)
    try:
        entry = {**history_entry(seq, _event.decode(event.wire), _pointer), "wire": data}
        text = json.dumps(entry, allow_nan=False, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = json.dumps({"seq": seq, "wire": data})
    return msgspec.Raw(text.encode("utf-8", "replace"))  # half a character has no bytes of its own


def _told_attempt(row: AttemptRow) -> Any:
    """A row of an attempt, with its error and its log in words."""
    entry: dict[str, Any] = msgspec.structs.asdict(row)
    if row.detail is not None:
        detail = wire.decode_detail(row.detail)
        if detail.failure is not None:
            entry["error"] = f"{detail.failure.type}: {detail.failure.message}"
        if detail.logs is not None and detail.logs.records:
            entry["logs"] = [record.text for record in detail.logs.records]
    return entry


_event = msgspec.msgpack.Decoder(ev.HistoryEvent)
_encoded: Callable[[Any], bytes] = msgspec.json.encode


def _base64(data: bytes) -> str:
    return str(msgspec.to_builtins(data))


def _pointer(digest: bytes) -> bytes:
    """What stands in an event for bytes that are found among the blobs."""
    return json.dumps({"blob": digest.hex()}).encode()


def _tall(value: Any) -> bytes:
    if not isinstance(value, list) or not value:
        return _encoded(value)
    return b"[\n  " + b",\n  ".join(_encoded(item) for item in value) + b"\n]"
