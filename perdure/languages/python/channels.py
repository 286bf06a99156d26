"""How the main line of a workflow waits for what others do: channels that bring signals, and conditions.

What a channel has brought is kept in the loop of the run; the channel itself is a name and a type, made once.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from inspect import Parameter, Signature
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from perdure.durations import duration_ns
from perdure.errors import DefinitionError
from perdure.handlers import Message, is_name
from perdure.kernel.commands import Publish
from perdure.kernel.events import Payload
from perdure.kernel.limits import ID_CHARS, PAYLOAD_INLINE_BYTES, PUBLISHED_NAMES
from perdure.languages.python.build import functions_of, is_users
from perdure.languages.python.conditions import Conditions
from perdure.languages.python.context import current_loop
from perdure.languages.python.loop import WorkflowLoop
from perdure.languages.python.tasks import Sealed
from perdure.payload import Parameters, ValueType
from perdure.payload.sealing import demand_size

if TYPE_CHECKING:
    from datetime import timedelta

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

FUNCTIONS = 200
"""How many functions are looked through for the channels of one workflow, at most."""

_NOTHING: Any = object()


class Channel(Generic[T]):
    """A way for signals of a name into a workflow: who is outside sends values, the workflow receives them in their order.

    Each run has its own values. One that was never received goes with the run.
    """

    kind = "signal"
    __slots__ = ("name", "parameters")

    def __init__(self, name: str, type: Any = Any) -> None:
        if not is_name(name):
            raise DefinitionError(
                f'a channel has a name of 1 to {ID_CHARS} printable characters: channel("approval"), not {name!r:.60}'
            )
        self.name = name
        default = None if type in (Any, None) else Parameter.empty
        value = Parameter("value", Parameter.POSITIONAL_OR_KEYWORD, default=default)
        self.parameters = Parameters(Signature([value]), {"value": type}, f"channel {name}")

    async def receive(self, *, timeout: "float | str | timedelta | None" = None) -> T:
        """Wait for the next value. Of several who wait, who came first gets it.

        Args:
            timeout: how long to wait (a duration); None is without limit.

        Raises:
            TimeoutError: no value has come in time.
        """
        values = self._values("receive")
        if timeout is None:
            return await values.take()
        if values.items:
            return await values.take()
        async with asyncio.timeout(duration_ns(timeout) / 1e9):
            return await values.take()

    @overload
    def receive_nowait(self) -> T: ...
    @overload
    def receive_nowait(self, default: Any) -> Any: ...
    def receive_nowait(self, default: Any = _NOTHING) -> Any:
        """The next value if there is one, else the default.

        Raises:
            asyncio.QueueEmpty: there is neither.
        """
        items = self._values("receive_nowait").items
        if items:
            return items.popleft()
        if default is _NOTHING:
            raise asyncio.QueueEmpty(f"channel {self.name} has no value now")
        return default

    def __len__(self) -> int:
        """How many values have come and were not received."""
        return len(self._values("len").items)

    def __bool__(self) -> bool:
        return True

    def __aiter__(self) -> AsyncIterator[T]:
        return self._all()

    async def _all(self) -> AsyncIterator[T]:
        while True:
            yield await self.receive()

    def message(self, value: T = None) -> Message[None]:  # type: ignore[assignment]
        """A value to be sent, for `start(..., signal=...)`."""
        return Message(self, (value,))

    def _values(self, verb: str) -> "Values":
        loop = current_loop()
        if loop is None:
            raise DefinitionError(
                f"{verb} of channel {self.name} was called outside a workflow that an engine runs; from there, send: "
                f"await handle.signal({self.name}, value)"
            )
        return values_of(loop, self)

    def __repr__(self) -> str:
        return f"<channel {self.name}>"


class Values:
    """What a run's channel has brought, and who waits for it."""

    __slots__ = ("channel", "items", "loop", "takers")

    def __init__(self, channel: Channel[Any], loop: WorkflowLoop) -> None:
        self.channel = channel
        self.loop = loop
        self.items: deque[Any] = deque()
        self.takers: deque[asyncio.Future[Any]] = deque()

    def put(self, value: Any) -> None:
        self.items.append(value)
        self._wake()

    def _wake(self) -> None:
        while self.takers:
            taker = self.takers.popleft()
            if not taker.done():
                taker.set_result(None)
                return

    async def take(self) -> Any:
        while not self.items:
            taker = self.loop.create_future()
            self.takers.append(taker)
            try:
                await taker
            except BaseException:
                if taker.cancelled() or not taker.done():
                    if taker in self.takers:
                        self.takers.remove(taker)
                elif self.items:
                    self._wake()  # it was told of a value that it does not take
                raise
        return self.items.popleft()


def values_of(loop: WorkflowLoop, channel: Channel[Any]) -> Values:
    """Those of a channel in a run."""
    if loop.sealed:
        raise Sealed
    if loop.channels is None:
        loop.channels = {}
    values: Values | None = loop.channels.get(channel.name)
    if values is None:
        _demand_free(loop, channel)
        values = loop.channels[channel.name] = Values(channel, loop)
    elif values.channel is not channel and values.channel.parameters.published() != channel.parameters.published():
        raise DefinitionError(
            f"two channels of this workflow are called {channel.name!r} and bring values of different types; make it once, "
            "beside the workflow"
        )
    return values


def _demand_free(loop: WorkflowLoop, channel: Channel[Any]) -> None:
    """Nothing comes by a channel if a method hears the signals of its name."""
    definition = loop.definition
    method = None if definition is None else definition.handlers.find("signal", channel.name)
    if method is not None and not method.dynamic:
        raise DefinitionError(
            f"the signals {channel.name!r} go to {method.source}, and so none come by the channel of that name; give one of them "
            "another name"
        )


@overload
def channel(name: str) -> Channel[Any]: ...
@overload
def channel(name: str, type: type[T]) -> Channel[T]: ...
def channel(name: str, type: Any = Any) -> Channel[Any]:
    """A channel that brings signals of a name into workflows: `approvals = channel("approval", Approval)`.

    Make it beside the workflow, as a constant of the module: then what is sent is checked before it is taken, whenever
    that is. One that is made in the workflow is known from there on.

    Args:
        name: what the signals are called.
        type: of the values; the default takes anything that has a JSON form.

    Raises:
        DefinitionError: the name cannot be one, or no value of that type can be encoded.
    """
    made: Channel[Any] = Channel(name, type)
    loop = current_loop()
    if loop is not None:
        return values_of(loop, made).channel
    return made


def channels_of(fn: Any, cls: type | None) -> tuple[dict[str, Channel[Any]], bool]:
    """The channels that the code of a workflow names, by name, and whether it may make others; functions of the user's own
    that it names are followed."""
    found: dict[str, Channel[Any]] = {}
    makes = False
    waiting = functions_of(fn, cls)
    seen = {function.__code__ for function in waiting}
    while waiting:
        function = waiting.pop(0)
        makes = makes or channel.__name__ in _names(function.__code__)
        for value in _named(function):
            if value is channel or value is Channel:
                makes = True
            elif isinstance(value, Channel):
                found.setdefault(value.name, value)
            elif isinstance(value, FunctionType) and value.__code__ not in seen and _is_followed(value, len(seen)):
                seen.add(value.__code__)
                waiting.append(value)
    return found, makes


def _is_followed(function: FunctionType, followed: int) -> bool:
    return followed < FUNCTIONS and is_users(function.__code__.co_filename)


def _named(function: FunctionType) -> Iterable[Any]:
    """What the names in the code of a function may stand for: globals, attributes of modules, what it closes over."""
    names = set(_names(function.__code__))
    modules: list[ModuleType] = []
    for name in sorted(names):
        value = function.__globals__.get(name)
        if isinstance(value, ModuleType):
            modules.append(value)
        else:
            yield value
    for module in modules:
        space = ModuleType.__getattribute__(module, "__dict__")
        yield from (space[name] for name in sorted(names) if isinstance(space.get(name), Channel))
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            continue


def _names(code: CodeType) -> Iterable[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


async def wait_until(condition: Callable[[], Any], *, timeout: "float | str | timedelta | None" = None) -> None:
    """Wait until a condition holds. It is asked again after whatever happens to the run, and must only look.

    Args:
        condition: a function without arguments; what it raises is raised here.
        timeout: how long to wait (a duration); None is without limit.

    Raises:
        TimeoutError: it does not hold in time.
    """
    if not callable(condition):
        raise DefinitionError(f"wait_until takes a function, such as lambda: self.done, not {condition!r}")
    loop = current_loop()
    if loop is None:
        raise DefinitionError(
            "wait_until is for workflows that an engine runs; nothing else could make the condition hold"
        )
    if condition():
        return
    if loop.sealed:
        raise Sealed
    if loop.conditions is None:
        loop.conditions = Conditions(loop)
    if timeout is None:
        await loop.conditions.hold(condition)
        return
    async with asyncio.timeout(duration_ns(timeout) / 1e9):
        await loop.conditions.hold(condition)


def all_handlers_finished() -> bool:
    """Whether no handler of a signal or an update is still at work: `await wait_until(all_handlers_finished)`, before the
    workflow returns, lets them come to their end."""
    loop = current_loop()
    return loop is None or not loop.handling


def publish(name: str, value: Any) -> None:
    """Show a value under a name, in the place of an earlier one, to anybody who asks: `handle.published()`. They need no
    code for that, and the run need not be open.

    Raises:
        DefinitionError: the name cannot be one, or the run would have too many.
        PayloadNotEncodable, PayloadTooLarge: the value has no JSON form, or has more than 64 KiB.
    """
    if not is_name(name):
        raise DefinitionError(
            f'publish takes a name of 1 to {ID_CHARS} printable characters: publish("progress", 0.4), not {name!r:.60}'
        )
    data = _PUBLISHED.encode(value)
    demand_size(data, PAYLOAD_INLINE_BYTES, f"the published value {name!r}")
    loop = current_loop()
    if loop is None:
        return
    if loop.sealed:
        raise Sealed
    if name not in loop.published and len(loop.published) >= PUBLISHED_NAMES:
        raise DefinitionError(
            f"the run publishes under more than {PUBLISHED_NAMES} names; publish one value that has them all"
        )
    loop.published |= {name}
    id = loop.next_id()
    loop.commands[id] = Publish(id, name, Payload(data))


_PUBLISHED = ValueType.of(Any, owner="publish(name, value)")
