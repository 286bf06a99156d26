"""What happens only when it is awaited: a workflow or activity, called with its arguments; a verb of a client."""

import asyncio
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Definition(Protocol):
    """What a call needs of the definition it came from."""

    kind: ClassVar[str]
    name: str
    source: str

    def direct(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        """Run the function here and now, without an engine."""
        ...

    def options(self, **wishes: Any) -> Any:
        """Check the wishes of `with_options` and make them a value."""
        ...


class Scheduler:
    """A loop that schedules calls instead of running them: that of a workflow."""

    __slots__ = ()

    def schedule(self, call: "Call[Any]") -> "asyncio.Future[Any]":
        raise NotImplementedError

    def serial(self) -> int:
        """The next number of a series that replays: hashes made of it give sets the same order each time."""
        raise NotImplementedError


class Lazy(Coroutine[Any, Any, R_co], Generic[R_co]):
    """Something that happens when it is awaited, once: a coroutine to everything in asyncio, and nothing before that."""

    __slots__ = ("_hash", "_iterator", "_taken")

    def __init__(self) -> None:
        self._taken = False
        self._iterator: Generator[Any, Any, R_co] | None = None

    def _begin(self) -> Generator[Any, Any, R_co]:
        """What awaiting it runs."""
        raise NotImplementedError

    def _again(self) -> str:
        """What to write to have it happen a second time."""
        raise NotImplementedError

    def _forgotten(self) -> str:
        """The warning for one that was never awaited."""
        raise NotImplementedError

    def take(self) -> Self:
        """Mark it as used, by somebody who uses it otherwise than by awaiting it."""
        if self._taken:
            raise RuntimeError(f"{self!r} has been used already; {self._again()}")
        self._taken = True
        return self

    def __await__(self) -> Generator[Any, Any, R_co]:
        self.take()
        return self._begin()

    def send(self, value: Any, /) -> Any:
        if self._iterator is None:
            self._iterator = self.__await__()
        return self._iterator.send(value)

    def throw(self, typ: Any, val: BaseException | object = None, tb: TracebackType | None = None, /) -> Any:
        if self._iterator is None:
            self._taken = True
            raise typ if val is None else val  # type: ignore[misc]
        return self._iterator.throw(typ) if val is None else self._iterator.throw(typ, val, tb)  # type: ignore[arg-type]

    def close(self) -> None:
        self._taken = True
        if self._iterator is not None:
            close: Callable[[], None] | None = getattr(self._iterator, "close", None)
            if close is not None:
                close()

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            loop = asyncio._get_running_loop()
            self._hash: int = loop.serial() if isinstance(loop, Scheduler) else object.__hash__(self)
            return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other

    def __del__(self) -> None:
        if not getattr(self, "_taken", True) and not getattr(asyncio._get_running_loop(), "sealed", False):
            warnings.warn(self._forgotten(), RuntimeWarning, stacklevel=2, source=self)


class Call(Lazy[R_co]):
    """A workflow or an activity with its arguments; nothing has happened yet.

    Awaited in a workflow it becomes a recorded step; awaited elsewhere it runs the function. It can be awaited once,
    passed to everything in asyncio that takes a coroutine, or handed to `engine.run` and `engine.start`.
    """

    __slots__ = ("args", "definition", "kwargs", "options")

    def __init__(
        self, definition: Definition, args: tuple[Any, ...], kwargs: dict[str, Any], options: Any = None
    ) -> None:
        super().__init__()
        self.definition = definition
        self.args = args
        self.kwargs = kwargs
        self.options = options

    def with_options(
        self,
        *,
        timeout: Any = ...,
        schedule_to_close: Any = ...,
        schedule_to_start: Any = ...,
        heartbeat: Any = ...,
        retry: Any = ...,
        at_most_once: Any = ...,
        queue: Any = ...,
        id: Any = ...,
        parent_close: Any = ...,
        cancellation: Any = ...,
        id_conflict: Any = ...,
        id_reuse: Any = ...,
        start_delay: Any = ...,
        run_timeout: Any = ...,
        execution_timeout: Any = ...,
        memo: Any = ...,
        attributes: Any = ...,
    ) -> "Call[R_co]":
        """The same call under other options than its definition has: those of `@activity`, each with the same meaning.

        Durations are seconds, a timedelta or a text like "5m"; None is no limit. `retry` is a `Retry`, a number of
        attempts, or None for the default policy; `queue` None is the engine's own process.

        A call of a workflow, which is a child then, has those from `id` on, and `retry`: what a start takes, each with the
        same meaning, and two of its own. `parent_close`: what becomes of the child if its parent ends before it:
        "terminate" it (the default), "cancel" it, or "abandon" it. `cancellation`: what if its parent's await is cancelled:
        cancel it and "wait" for its end (the default), "try" to and go on at once, or "abandon" it.
        """
        named = {
            "timeout": timeout,
            "schedule_to_close": schedule_to_close,
            "schedule_to_start": schedule_to_start,
            "heartbeat": heartbeat,
            "retry": retry,
            "at_most_once": at_most_once,
            "queue": queue,
            "id": id,
            "parent_close": parent_close,
            "cancellation": cancellation,
            "id_conflict": id_conflict,
            "id_reuse": id_reuse,
            "start_delay": start_delay,
            "run_timeout": run_timeout,
            "execution_timeout": execution_timeout,
            "memo": memo,
            "attributes": attributes,
        }
        options = self.definition.options(
            base=self.options, **{name: wish for name, wish in named.items() if wish is not ...}
        )
        self.take()
        return Call(self.definition, self.args, self.kwargs, options)

    def _begin(self) -> Generator[Any, Any, R_co]:
        loop = asyncio._get_running_loop()
        if isinstance(loop, Scheduler):
            return loop.schedule(self).__await__()
        return self.definition.direct(self.args, self.kwargs).__await__()  # type: ignore[return-value]

    def _again(self) -> str:
        return f"call {self.definition.name} again for another step"

    def _forgotten(self) -> str:
        name = self.definition.name
        return (
            f"call of {self.definition.kind} {name!r} was never awaited, so nothing happened; write: await {name}(...)"
        )

    def __repr__(self) -> str:
        arguments = [repr(value) for value in self.args]
        arguments += [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"{self.definition.name}({', '.join(arguments)})"
