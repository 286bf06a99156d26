"""What a process and its children say to each other: msgpack behind a length, over a socket. Values of users are bytes in
it that stay closed until the function's own module has been imported; nothing is pickled.

    parent ──Job──► child       over the socket, one at a time; its end tells an idle child to end
    parent ◄──Ready, Beat, Logged, Wrote, Ended── child
    parent ──serial of a job──► child       over a pipe: nobody wants its result any more
    parent ──bytes stored──► child          over the same pipe: what it has written to streams, so that there is room
"""

import struct
from collections import deque
from socket import socket
from typing import Any, TypeAlias

import msgspec

from perdure.activities import ActivityInfo
from perdure.kernel.events import Failure, LogRecord, Payload
from perdure.runtime.child_places import Place

_SIZE = struct.Struct("!Q")
CANCEL = struct.Struct("!Q")
"""The serial number of a job, as it is told through the pipe."""

_STORED = 1 << 63
_SERIALS = 1 << 16
_BYTES = 1 << 47


def stored_order(serial: int, size_bytes: int) -> bytes:
    """What is told through the pipe when so much of what a job has written to streams is stored."""
    return CANCEL.pack(_STORED | (serial % _SERIALS) * _BYTES | min(size_bytes, _BYTES - 1))


def read_stored(order: int, serial: int) -> int | None:
    """The bytes if it is such an order; 0 if it is about an earlier job; None if it is none."""
    if not order & _STORED:
        return None
    told, size_bytes = divmod(order ^ _STORED, _BYTES)
    return size_bytes if told == serial % _SERIALS else 0


DESCRIPTORS = 4
"""Arguments of a child before those of its parent: socket, pipe of orders, lifeline, and where a crash is written to."""

_CHUNK_BYTES = 256 * 1024
_LONGEST_BYTES = 1 << 40
"""What is taken for the length of a message is longer than this if it is text that somebody else has written."""


class Job(msgspec.Struct, array_like=True, gc=False):
    """An attempt to be made. `serial` counts the jobs of a child; `large` are the arguments if `input` only refers to them."""

    serial: int
    place: Place
    input: Payload
    large: bytes
    info: ActivityInfo
    token: str
    max_bytes: int


class Ready(msgspec.Struct, array_like=True, tag=0):
    """The child can be given a job."""


class Beat(msgspec.Struct, array_like=True, tag=1):
    """The attempt lives."""

    serial: int
    details: Payload | None


class Logged(msgspec.Struct, array_like=True, tag=2):
    """A log record of the attempt: told at once, so that it is there if the child dies."""

    serial: int
    record: LogRecord


class Wrote(msgspec.Struct, array_like=True, tag=4):
    """The attempt has written a value, as JSON, to a stream; None closes it."""

    serial: int
    stream: str
    data: bytes | None


class Ended(msgspec.Struct, array_like=True, tag=3):
    """How an attempt ended: with a result (`large` if that only refers to it), a failure, or neither if somebody else
    brings them. `dropped` counts log records that were not kept."""

    result: Payload | None = None
    large: bytes = b""
    failure: Failure | None = None
    dropped: int = 0


Told: TypeAlias = Ready | Beat | Logged | Wrote | Ended

_encode = msgspec.msgpack.Encoder().encode
_told = msgspec.msgpack.Decoder(Told)
_job = msgspec.msgpack.Decoder(Job)


def framed(message: "Job | Told") -> bytes:
    body = _encode(message)
    return _SIZE.pack(len(body)) + body


def read_job(file: Any) -> Job | None:
    """The next job from a blocking file; None at its end."""
    head = file.read(_SIZE.size)
    if len(head) < _SIZE.size:
        return None
    size = _SIZE.unpack(head)[0]
    body = file.read(size)
    return _job.decode(body) if len(body) == size else None


class Line:
    """The parent's end of the socket. It never blocks: a child that stands still must not stop those beside it.

    `over`: nothing more comes. `garbled`: something came that no child says, so somebody else has written to its descriptor.
    """

    def __init__(self, end: socket) -> None:
        end.setblocking(False)
        self.socket = end
        self.over = False
        self.garbled = False
        self._read = bytearray()
        self._unsent: deque[memoryview] = deque()

    def send(self, job: Job) -> None:
        self._unsent.append(memoryview(framed(job)))
        self.flush()

    def flush(self) -> None:
        """Write what can be written now."""
        while self._unsent:
            first = self._unsent[0]
            try:
                sent = self.socket.send(first)
            except BlockingIOError:
                return
            except OSError:  # the child is gone, which shows when it is read from
                self._unsent.clear()
                return
            if sent == len(first):
                self._unsent.popleft()
            else:
                self._unsent[0] = first[sent:]

    @property
    def is_full(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._unsent)

    def receive(self, to_the_end: bool = False) -> list[Told]:
        """What has arrived whole: a part at a time, so that one who talks much leaves room for others, or all of it."""
        try:
            while True:
                chunk = self.socket.recv(_CHUNK_BYTES)
                self._read += chunk
                self.over = not chunk
                if self.over or not to_the_end:
                    break
        except BlockingIOError:
            pass
        except OSError:
            self.over = True
        try:
            return self._taken()
        except msgspec.MsgspecError:
            self.over = self.garbled = True
            return []

    def _taken(self) -> list[Told]:
        told: list[Told] = []
        read, at = self._read, 0
        while len(read) - at >= _SIZE.size:
            body = at + _SIZE.size
            (size,) = _SIZE.unpack_from(read, at)
            if size > _LONGEST_BYTES:
                raise msgspec.DecodeError("no child says so much at once")
            end = body + size
            if len(read) < end:
                break
            told.append(_told.decode(memoryview(read)[body:end]))
            at = end
        if at:
            del read[:at]
        return told
