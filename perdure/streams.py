"""What workflows and activities write streams with: named, append-only outputs of a run that clients follow while it goes on."""

import asyncio
from collections.abc import Callable, Generator
from functools import lru_cache
from typing import Any, Generic, TypeVar, overload

from perdure.activities import Attempt, attempt_context
from perdure.errors import DefinitionError, PayloadTooLarge
from perdure.kernel.limits import STREAM_CHUNK_BYTES, STREAM_NAME_CHARS
from perdure.languages.python.context import current_loop
from perdure.payload import ValueType

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class Stream(Generic[T_contra]):
    """A stream of the run whose code writes to it. `name` is its name; values are those of its type."""

    __slots__ = ("_attempt", "_type", "name")

    def __init__(self, name: str, type: Any) -> None:
        self.name = checked_name(name)
        self._type = _type_of(self.name, type)
        self._attempt = attempt_context.get(None)

    def write(self, value: T_contra) -> "Written":
        """Append a value. It need not be awaited: awaited, or in a plain function, it waits as long as too much of what this
        attempt has written is not stored yet.

        Raises:
            errors.StreamClosed: the stream is closed.
            errors.StreamFull: it holds as much as it may, or the run has as many streams as it may.
            errors.PayloadError: the value is not of the type, has no JSON form, or is too large.
            errors.DefinitionError: it is neither called in a workflow nor in an activity that an engine runs.
            asyncio.CancelledError: (in an activity) nobody wants the result any more.
        """
        data = self._type.encode(value)
        if len(data) > STREAM_CHUNK_BYTES:
            raise PayloadTooLarge(
                f"stream {self.name!r}: a chunk of {len(data):,} bytes is more than the limit of {STREAM_CHUNK_BYTES:,}; "
                "write it in parts, or store it elsewhere and write a reference"
            )
        return self._write(data, "write")

    def close(self) -> "Written":
        """Say that nothing comes any more: whoever follows the stream comes to its end. The end of the run does the same.

        Closing it again changes nothing.

        Raises:
            errors.DefinitionError: as `write`.
        """
        return self._write(None, "close")

    def _write(self, data: bytes | None, verb: str) -> "Written":
        loop = current_loop()
        if loop is not None:
            from perdure.languages.python import streaming  # most workflows write none

            if data is None:
                streaming.close(loop, self.name)
            else:
                streaming.write(loop, self.name, data)
            return WRITTEN
        attempt = attempt_context.get(None) or self._attempt
        if attempt is None:
            raise DefinitionError(
                f"stream({self.name!r}).{verb}() was called outside of a run; call it in a workflow or an activity that an "
                "engine runs. To read a stream: handle.stream(...); in a test of an activity, write: with "
                "perdure.testing.activity_context(...)"
            )
        if attempt.write(self.name, data):
            return WRITTEN
        if asyncio._get_running_loop() is not None:
            return Written(attempt)
        attempt.wait_for_room()
        return WRITTEN

    def __repr__(self) -> str:
        return f"<stream {self.name!r}>"


class Written:
    """What `write` gives: awaited, it waits until there is room for more."""

    __slots__ = ("_attempt",)

    def __init__(self, attempt: Attempt | None = None) -> None:
        self._attempt = attempt

    def __await__(self) -> Generator[Any, Any, None]:
        attempt = self._attempt
        if attempt is not None:
            yield from _room(attempt.when_room).__await__()


WRITTEN = Written()
"""There is room."""


async def _room(when_room: Callable[[Callable[[], object]], None]) -> None:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def settle() -> None:
        if not future.done():
            future.set_result(None)

    def call() -> None:
        try:
            loop.call_soon_threadsafe(settle)
        except RuntimeError:
            return  # the loop is closed: nobody waits on it

    when_room(call)
    await future


@overload
def stream(name: str) -> Stream[Any]: ...
@overload
def stream(name: str, type: type[T]) -> Stream[T]: ...
def stream(name: str, type: Any = Any) -> Stream[Any]:
    """The stream of that name of the run whose code calls this, or calls what it gives: `stream("tokens").write(token)`.

    Args:
        name: 1 to 100 printable characters. A run has as many streams as its code writes to, up to 100.
        type: of the values; without it, whatever has a JSON form.

    Raises:
        errors.DefinitionError: it cannot be a name, or no value of that type can be encoded.
    """
    return Stream(name, type)


def checked_name(name: Any) -> str:
    """The name, if it can be one of a stream.

    Raises:
        errors.DefinitionError: it cannot.
    """
    if isinstance(name, str) and 0 < len(name) <= STREAM_NAME_CHARS and name.isprintable():
        return name
    found = (
        f"one of {len(name):,} characters" if isinstance(name, str) and len(name) > STREAM_NAME_CHARS else repr(name)
    )
    raise DefinitionError(
        f"a stream has a name of 1 to {STREAM_NAME_CHARS} printable characters, and {found} is none; "
        'write for instance stream("tokens")'
    )


def _type_of(name: str, type: Any) -> ValueType:
    try:
        return _compiled(name, type)
    except TypeError:  # it cannot be hashed
        return ValueType.of(type, owner=f"stream {name!r}", noun="the chunk")


@lru_cache(256)
def _compiled(name: str, type: Any) -> ValueType:
    return ValueType.of(type, owner=f"stream {name!r}", noun="the chunk")
