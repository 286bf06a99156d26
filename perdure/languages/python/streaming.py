"""Streams of a workflow's run, written by its own code.

What a task writes in a turn, one chunk after the other, is one command; replay issues it again, and nothing is stored twice.
Bounds are those of what the code itself has written, which replay repeats.
"""

from perdure.errors import DefinitionError, StreamClosed, StreamFull
from perdure.kernel.commands import WriteStream
from perdure.kernel.events import Payload
from perdure.kernel.limits import STREAM_BYTES, STREAM_CHUNKS, STREAMS
from perdure.languages.python.issuer import Own
from perdure.languages.python.loop import WorkflowLoop
from perdure.languages.python.tasks import Sealed


def write(loop: WorkflowLoop, stream: str, data: bytes) -> None:
    """Append a value, as JSON.

    Raises:
        StreamClosed: this workflow has closed it. StreamFull: it has written too much to it, or to too many.
    """
    own = _open(loop, stream)
    if own.chunks >= STREAM_CHUNKS or own.size_bytes + len(data) > STREAM_BYTES:
        raise full(stream)
    own.chunks += 1
    own.size_bytes += len(data)
    _command(loop, stream).chunks.append(Payload(data))


def close(loop: WorkflowLoop, stream: str) -> None:
    """Nothing comes any more. Closing a stream again changes nothing."""
    if loop.streams is not None and stream in loop.streams and loop.streams[stream].closed:
        return
    own = _open(loop, stream)
    command = _command(loop, stream)
    own.closed = True
    loop.commands[command.id] = WriteStream(command.id, stream, command.chunks, True)


def _open(loop: WorkflowLoop, stream: str) -> Own:
    if loop.sealed:
        raise Sealed
    if loop.streams is None:
        loop.streams = {}
    own = loop.streams.get(stream)
    if own is None:
        if len(loop.streams) >= STREAMS:
            raise too_many(stream)
        own = loop.streams[stream] = Own()
    if own.closed:
        raise closed(stream)
    return own


def _command(loop: WorkflowLoop, stream: str) -> WriteStream:
    """The one of this turn, if it is the latest that the task has issued."""
    task = loop.current
    latest = f"c:{loop.issued}" if task is None else f"{task.path}:{task.issued}"
    command = loop.commands.get(latest)
    if isinstance(command, WriteStream) and command.stream == stream and not command.closes:
        return command
    id = loop.next_id()
    made = loop.commands[id] = WriteStream(id, stream, [])
    return made


def closed(stream: str) -> StreamClosed:
    return StreamClosed(f"the stream {stream!r} is closed, nothing can be written to it; close it after the last chunk")


def left_behind(stream: str) -> DefinitionError:
    return DefinitionError(
        f"something that an attempt has left behind writes to the stream {stream!r}, and the attempt has ended; let it wait "
        "for what it starts"
    )


def full(stream: str) -> StreamFull:
    return StreamFull(
        f"the stream {stream!r} has reached its bound of {STREAM_CHUNKS:,} chunks and {STREAM_BYTES // 2**20:,} MiB; write "
        "larger things elsewhere and a reference here, or go on in a stream of another name"
    )


def too_many(stream: str) -> StreamFull:
    return StreamFull(
        f"the run has {STREAMS} streams, which is the bound, and {stream!r} would be one more; write to one of them"
    )
