"""What a run has written to streams, in its export: a few chunks at a time, however many there are.

The chunks are the last field of a document, a line for each row of the store; where a document is one line, they follow it
in lines of their own. So they are written, and read back, without ever being in memory together.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

import msgspec

from perdure import errors
from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.limits import STREAM_PAGE_BYTES
from perdure.kernel.streams import ChunkRow
from perdure.stores.streaming import StreamRow, Streams

CHUNKS_FORMAT = "perdure.chunks"
OF_ANOTHER_LINE = re.compile(rb'\s*\{\s*"format"\s*:\s*"perdure\.chunks"')
"""How a line begins that belongs to the document before it."""


class ExportedStream(msgspec.Struct, frozen=True):
    """A stream, and how much it holds. `closed_by`: the step and the attempt that have closed it; the workflow is "", 0."""

    name: str
    chunks: int
    size_bytes: int
    closed_by: tuple[str, int] | None = None


class ExportedChunks(msgspec.Struct, frozen=True):
    """Chunks that lie together in the store, from the offset `first` on. `wire` has them byte for byte."""

    stream: str
    first: int
    count: int
    step: str
    attempt: int
    wire: bytes


def streams_of(rows: Iterable[StreamRow]) -> list[ExportedStream]:
    return [ExportedStream(row.name, row.chunks, row.size_bytes, row.closed_by) for row in rows]


class StoredChunks:
    """Those of a run that a store holds, read when they are asked for, as far as they went when the run was looked at."""

    def __init__(self, streams: Streams, run: int, of: Iterable[StreamRow]) -> None:
        self._streams = streams
        self._run = run
        self._of = list(of)

    def __iter__(self) -> Iterator[ExportedChunks]:
        for stream in self._of:
            offset = 0
            while offset < stream.chunks:
                page = self._streams.page(self._run, stream.name, offset, STREAM_PAGE_BYTES)
                if not page.rows:
                    raise errors.StoreCorrupt(
                        f"the stream {stream.name!r} ends at offset {offset:,}, and counts {stream.chunks:,} chunks; "
                        "perdure doctor tells what is wrong"
                    )
                for row in page.rows:
                    count = len(wire.decode_chunks(row.body))
                    if row.first < stream.chunks:
                        yield ExportedChunks(stream.name, row.first, count, row.step, row.attempt, row.body)
                    offset = row.first + count


class WrittenChunks:
    """Those of a file, from one place of it to another; `again` opens it."""

    def __init__(self, again: Callable[[], BinaryIO], start: int, end: int, name: str, run_id: str) -> None:
        self._again = again
        self._start = start
        self._end = end
        self._name = name
        self._run_id = run_id

    def __iter__(self) -> Iterator[ExportedChunks]:
        try:
            with self._again() as file:
                file.seek(self._start)
                at = self._start
                while at < self._end:
                    line = file.readline()
                    if not line:
                        raise errors.ExportUnreadable(f"{self._name} has become shorter while it was read")
                    at += len(line)
                    if line.strip():
                        yield self._read(line)
        except OSError as error:
            raise errors.ExportUnreadable(f"{self._name} cannot be read: {error.strerror}") from error

    def _read(self, line: bytes) -> ExportedChunks:
        try:
            found = _line.decode(line.strip().removesuffix(b","))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise errors.ExportUnreadable(f"{self._name}: chunks of a stream are damaged ({error})") from error
        if found.run_id not in (None, self._run_id):
            raise errors.ExportUnreadable(f"{self._name} is followed by chunks of another run, {found.run_id}")
        return ExportedChunks(found.stream, found.first, found.count, found.step, found.attempt, found.wire)


class _Line(ExportedChunks, frozen=True):
    run_id: str | None = None


_line = msgspec.json.Decoder(_Line)


def told(part: ExportedChunks) -> bytes:
    """The row with its values in plain JSON, for people, where they have that form."""
    entry = msgspec.to_builtins(part)
    try:
        entry["values"] = [json.loads(_plain(chunk)) for chunk in wire.decode_chunks(part.wire)]
        return json.dumps(entry, allow_nan=False, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return msgspec.json.encode(part)


def _plain(chunk: wire.Chunk) -> bytes:
    if chunk.value.encoding != ev.Payload(b"").encoding:
        raise ValueError("a codec has made it")
    return chunk.value.data


def line_of(part: ExportedChunks, run_id: str) -> bytes:
    """The row as a line that follows the document of its run."""
    head = msgspec.json.encode({"format": CHUNKS_FORMAT, "run_id": run_id})
    return head[:-1] + b", " + told(part)[1:] + b"\n"


def chunk_rows_of(
    name: str, streams: Iterable[ExportedStream], parts: Iterable[ExportedChunks], history: Iterable[ev.HistoryEvent]
) -> Iterator[ChunkRow]:
    """What an export holds of streams as rows, compared with what it should hold.

    Raises:
        errors.ExportUnreadable: something is missing, or is not in its place; when all rows were given, or before.
    """
    counted = {stream.name: stream.chunks for stream in streams}
    held: Counter[str] = Counter()
    own: Counter[str] = Counter()
    for part in parts:
        try:
            chunks = wire.decode_chunks(part.wire)
        except msgspec.MsgspecError as error:
            raise errors.ExportUnreadable(
                f"{name}: chunks of the stream {part.stream!r} are damaged ({error})"
            ) from error
        if part.stream not in counted or part.first != held[part.stream] or part.count != len(chunks) or not chunks:
            raise errors.ExportUnreadable(
                f"{name}: chunks of the stream {part.stream!r} are missing before offset {part.first:,}, or out of order"
            )
        held[part.stream] += part.count
        if not part.step:
            own[part.stream] += part.count
        size = sum(len(chunk.value.data) for chunk in chunks)
        yield ChunkRow(0, part.stream, part.count, size, part.wire, part.step, part.attempt)
    written: Counter[str] = Counter()
    for event in history:
        if isinstance(event, ev.StreamWritten):
            written[event.stream] += event.count
    for stream in sorted({*counted, *held, *written}):
        if held[stream] != counted.get(stream, 0) or own[stream] != written[stream]:
            raise errors.ExportUnreadable(
                f"{name}: the stream {stream!r} should hold {max(counted.get(stream, 0), written[stream]):,} chunks, and "
                f"holds {held[stream]:,}; the export was cut off, or was made without streams: export the run again"
            )
