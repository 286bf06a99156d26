"""What a workflow makes of messages: handlers run as tasks of their own, queries and validators only look."""

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Iterator
from copy import copy
from typing import TYPE_CHECKING, Any

from perdure.errors import DefinitionError, InvalidArguments, PayloadNotDecodable, QueryFailed, UnknownMessage, is_bug
from perdure.failures import failure_of, type_name
from perdure.kernel import events as ev
from perdure.kernel.commands import CompleteUpdate, FailUpdate
from perdure.kernel.messages import Query, Signal, Update
from perdure.kernel.notes import failure_line
from perdure.kernel.program import Meddled
from perdure.languages.python import guard
from perdure.languages.python.channels import Channel, channels_of, values_of
from perdure.languages.python.entering import enter, leave
from perdure.languages.python.loop import WorkflowLoop, block_by
from perdure.languages.python.tasks import Continued, Sealed
from perdure.payload import seal
from perdure.payload.misfit import did_you_mean

if TYPE_CHECKING:
    from perdure.handlers import HandlerMethod, Kind
    from perdure.languages.python.machine import PythonProgram
    from perdure.workflows import WorkflowDefinition

KINDS: "dict[type, Kind]" = {Signal: "signal", Update: "update", Query: "query"}


class Ears:
    """What the runs of a workflow hear. Channels are looked for when they are first asked about."""

    __slots__ = ("_channels", "_makes", "definition")

    def __init__(self, definition: "WorkflowDefinition[Any, Any]") -> None:
        self.definition = definition
        self._channels: dict[str, Channel[Any]] | None = None
        self._makes = False

    @property
    def channels(self) -> dict[str, Channel[Any]]:
        if self._channels is None:
            self._channels, self._makes = channels_of(self.definition.fn, self.definition.cls)
        return self._channels

    @property
    def makes_channels(self) -> bool:
        """Whether a run may have channels that nobody knows before it has made them."""
        _ = self.channels  # they are found together
        return self._makes

    def published(self) -> "Iterator[tuple[Kind, str, dict[str, Any]]]":
        """Kind, name and parameters of all that is heard; the name "" stands for all that have no method of their own."""
        methods = self.definition.handlers.all()
        for method in methods:
            yield method.kind, method.name, method.parameters.published()
        for name, channel in self.channels.items():
            if all((method.kind, method.name) != ("signal", name) for method in methods):
                yield "signal", name, channel.parameters.published()

    def method(self, kind: "Kind", name: str) -> "HandlerMethod[Any, Any] | None":
        """The method that hears a message. A channel comes before one that hears all names."""
        found = self.definition.handlers.find(kind, name)
        return None if found is not None and found.dynamic and self.channel(kind, name) else found

    def channel(self, kind: "Kind", name: str, loop: WorkflowLoop | None = None) -> Channel[Any] | None:
        if kind != "signal":
            return None
        made = loop.channels.get(name) if loop is not None and loop.channels is not None else None
        return self.channels.get(name) if made is None else made.channel

    def reader(self, kind: "Kind", name: str, loop: WorkflowLoop | None = None) -> Callable[[bytes], Any]:
        """What decodes the arguments of a message.

        Raises:
            UnknownMessage: nobody hears it.
        """
        found = self.method(kind, name) or self.channel(kind, name, loop)
        if found is None:
            raise self._unknown(kind, name)
        return found.parameters.decode

    def _unknown(self, kind: "Kind", name: str) -> UnknownMessage:
        names = self.definition.handlers.names(kind)
        if kind == "signal":
            names = sorted({*names, *self.channels})
        what, source = f"workflow {self.definition.name}", self.definition.source
        has = f"it hears {', '.join(names)}" if names else f"it hears no {kind}"
        if self.definition.cls is not None:
            how = f"mark a method of the class: @workflow.{kind}"
        elif kind == "signal":
            how = f'make a channel beside the workflow, {name} = channel("{name}"), and receive from it'
        else:
            how = f"a workflow that is a function hears signals only: make it a class for {kind} methods"
        return UnknownMessage(
            f"{what} ({source}) hears no {kind} {name!r}; {has}{did_you_mean(name, names)}. To add it: {how}"
        )


def check(
    ears: Ears, loop: WorkflowLoop, message: Signal | Update | Query, standing: WorkflowLoop | None, decoded: Any
) -> None:
    """Raises an error of the family `PerdureError` if a message cannot be taken."""
    kind = KINDS[type(message)]
    read = ears.reader(kind, message.name, standing)
    try:
        decoded(loop, read, message.input)
    except PayloadNotDecodable as misfit:
        raise InvalidArguments(str(misfit)) from None


async def on_instance(program: "PythonProgram", args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The main line of a workflow class, whose instance is made when it begins."""
    definition = program.definition
    assert definition.cls is not None
    program.instance = definition.cls()
    return await definition.fn(program.instance, *args, **kwargs)


def listens(program: "PythonProgram") -> bool:
    """Whether a message may still move the run."""
    if program.definition.handlers:
        return True
    loop = program.loop
    if any(values.takers for values in (loop.channels or {}).values()):
        return True
    # One may ask for the length of a channel.
    return bool(loop.conditions) and bool(loop.channels or program.ears.channels)


def begin(program: "PythonProgram", kind: "Kind", name: str, args: Any, update: str = "") -> None:
    """Have a message heard: put it into its channel, or start a task of its handler."""
    loop, ears = program.loop, program.ears
    method = ears.method(kind, name)
    if method is None:
        channel = ears.channel(kind, name, loop)
        assert channel is not None
        (value,) = args[0]
        values_of(loop, channel).put(value)
        return
    loop.handling += 1
    loop.heard += 1
    handler = _handle(program, method, _bound(program, method, method.fn, name, args), update)
    loop.start(handler, f"m{loop.heard}", contextvars.Context(), f"{kind} {name}")


def _bound(
    program: "PythonProgram", method: "HandlerMethod[Any, Any]", fn: Any, name: str, args: Any
) -> Callable[[], Any]:
    positional, named = args
    first = (name, *positional) if method.dynamic else positional
    return lambda: fn(program.instance, *first, **named)


async def _handle(
    program: "PythonProgram", method: "HandlerMethod[Any, Any]", call: Callable[[], Any], update: str
) -> None:
    """A handler from its beginning to its end. A bug blocks the run; what else a signal's raises fails it, what an update's
    raises is the answer to the update."""
    loop = program.loop
    try:
        value = call()
        if inspect.isawaitable(value):
            value = await value
        if update:
            answer = seal(method.result.encode(value), loop.put, loop.max_bytes, f"the answer to {method.owner}")
            loop.commands[f"update:{update}"] = CompleteUpdate(update, answer)
    except Exception as error:  # noqa: BLE001  each has its meaning
        _failed(program, method, error, update)
    except asyncio.CancelledError as error:
        if loop.sealed or not update:
            raise
        loop.commands[f"update:{update}"] = FailUpdate(update, failure_of(error))
    except Continued as continued:
        _failed(program, method, DefinitionError(_NOT_HERE).with_traceback(continued.__traceback__), update)
    except (guard.WorkflowInterrupted, Sealed):
        raise
    except BaseException as error:
        if loop.sealed:
            raise  # it is let go
        _failed(program, method, error, update)
    finally:
        loop.handling -= 1


_NOT_HERE = (
    "a handler has called continue_as_new, which ends the main line: set a field there that the main line waits for, and let "
    "it go on as new"
)


def _failed(program: "PythonProgram", method: "HandlerMethod[Any, Any]", error: BaseException, update: str) -> None:
    loop = program.loop
    if loop.sealed:
        return
    if is_bug(error):
        loop.block(block_by(error, f" in {method.kind} {method.name or method.fn.__name__}"))
    elif update:
        loop.commands[f"update:{update}"] = FailUpdate(update, failure_of(error))
    else:
        _fail(program, error)


def _fail(program: "PythonProgram", error: BaseException) -> None:
    """A signal's handler fails the run: its main line is cancelled, so that sagas undo what they have done."""
    main = program.loop.main
    if program.failed_by is None and main is not None:
        program.failed_by = error
        main.cancel(f"a handler has failed: {type_name(type(error)).rpartition('.')[2]}")


def come_of(error: BaseException, earlier: BaseException) -> None:
    """Something was raised while what a handler has raised was dealt with, as `raise` would note it."""
    seen = {id(earlier)}
    while id(error) not in seen:
        seen.add(id(error))
        if error.__context__ is None:
            error.__context__ = earlier
            return
        error = error.__context__


def look(program: "PythonProgram", act: Callable[..., Any], *args: Any) -> Any:
    """Let code look at the state of a run, from outside its history: nothing it does may count, nor end the engine.

    Raises:
        Meddled: it did something that would count, or raised what is no `Exception`.
    """
    loop = program.loop
    before, kept, tasks = _standing(loop), (loop.commands, loop.ready, loop.sealed), set(loop.tasks)
    streams = None if loop.streams is None else {name: copy(own) for name, own in loop.streams.items()}
    serials, chance = loop.serials, None if loop.chance is None else loop.chance.getstate()
    loop.commands, loop.ready, loop.sealed = {}, [], False
    entered = enter(loop)
    try:
        answer = guard.run(loop, act, *args)
    except guard.WorkflowInterrupted:
        raise
    except BaseException as error:  # it ends nobody else
        failure = guard.run(loop, failure_of, error)  # if what it says does not end, neither does the look
        if issubclass(type(error), Exception):
            raise
        raise Meddled(f"it raised {failure_line(failure)}") from None
    finally:
        leave(entered)
        did = loop.commands or loop.ready or loop.blocked is not None or _standing(loop) != before
        loop.commands, loop.ready, loop.sealed = kept
        for path in [path for path in loop.tasks if path not in tasks]:
            loop.tasks.pop(path).coro.close()  # it has not begun
        loop.serials, loop.streams = serials, streams
        if chance is None or loop.chance is None:
            loop.chance = None
        else:
            loop.chance.setstate(chance)
        if loop.logs is not None:
            loop.emit_logs()
    if did:
        raise Meddled(
            "it started something, set what somebody waits for, or took a value out of a channel; a query and a validator "
            "only look"
        )
    return answer


def _standing(loop: WorkflowLoop) -> tuple[int, ...]:
    """What changes when something is started, or taken out of a channel."""
    values = sum(len(each.items) for each in loop.channels.values()) if loop.channels else 0
    return loop.issued, loop.callbacks, len(loop.tasks), len(loop.waiting), values


def validate(program: "PythonProgram", update: Update, args: Any) -> None:
    """Let the validator of an update look at it."""
    method: Any = program.ears.method("update", update.name)
    if method.check is not None:
        look(program, _bound(program, method, method.check, update.name, args))


def answer(program: "PythonProgram", query: Query, args: Any) -> ev.Payload:
    """What a query's method says."""
    method: Any = program.ears.method("query", query.name)
    loop = program.loop
    if program.instance is None:
        raise QueryFailed("it ended before its code had begun, or as __init__ failed; nobody is there to answer")
    apart: dict[bytes, bytes] = {}

    def ask() -> bytes:
        return method.result.encode(_bound(program, method, method.fn, query.name, args)())

    data = look(program, ask)
    found = seal(data, apart.__setitem__, loop.max_bytes, f"the answer to {method.owner}")
    return ev.Payload(apart[found.data]) if found.ref else found
