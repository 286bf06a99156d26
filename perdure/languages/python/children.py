"""Workflows that a workflow starts, and other runs that it speaks to."""

import asyncio
from collections.abc import Generator
from typing import Any, Generic, NoReturn, TypeVar

from perdure.calls import Call
from perdure.errors import DefinitionError, PerdureError
from perdure.failures import child_error, refused
from perdure.kernel import events as ev
from perdure.kernel.commands import CancelExternal, ContinueAsNew, SignalExternal, StartChild
from perdure.kernel.family import Left, child_id, child_run_id
from perdure.kernel.limits import CHILD_DEPTH, ID_CHARS
from perdure.languages.python.context import current_loop
from perdure.languages.python.loop import WorkflowLoop
from perdure.languages.python.tasks import ChildFuture, Continued, ReplyFuture, Sealed, Task
from perdure.options import USUAL_CHILD, ChildOptions, checked_run_id
from perdure.payload import encode_untyped, seal

R = TypeVar("R")


class ChildHandle(Generic[R]):
    """A child that goes on by itself. Awaited, it gives the child's result; cancelling what awaits it cancels the child.

    `id` and `run_id` (hex digits) are those of its first run.
    """

    __slots__ = ("_future", "id", "run_id")

    def __init__(self, future: ChildFuture) -> None:
        self._future = future
        self.id = future.child_id
        self.run_id = future.run_id.hex()

    def __await__(self) -> Generator[Any, Any, R]:
        return self._future.__await__()

    async def result(self) -> R:
        """Wait for its end, as awaiting the handle does.

        Raises:
            errors.ChildFailed: it has ended without a result.
        """
        return await self._future

    async def signal(self, signal: Any, /, *args: Any, **kwargs: Any) -> None:
        """Tell it something, as `ExternalHandle.signal` does; also a child that is not awaited any more."""
        await _signal(self.id, None, signal, args, kwargs)

    def cancel(self, reason: str = "") -> None:
        """Ask it to stop. It may clean up; awaited, it raises ChildCancelled then. Of one that has ended: nothing."""
        loop: WorkflowLoop = self._future.get_loop()  # type: ignore[assignment]
        if loop.sealed:
            raise Sealed
        self._future.ask(_text(reason))

    def __repr__(self) -> str:
        return f"<child {self.id!r} of workflow {self._future.definition.name}>"


async def start_child(call: "Call[R]") -> ChildHandle[R]:
    """Start a workflow as a child and go on without its result.

    Args:
        call: of a workflow, perhaps with options: `billing(customer).with_options(id="billing-7", parent_close="abandon")`.

    Returns:
        A handle, once the child is sure to be there: its start is as durable as what comes next in this workflow.

    Raises:
        errors.RunExists: the id belongs to a run that the options do not let go.
        errors.ChildrenTooDeep: this run has too many ancestors.
        errors.DefinitionError: it is no call of a workflow, or this is no workflow that an engine runs.
    """
    loop = current_loop()
    definition: Any = getattr(call, "definition", None)
    if not isinstance(call, Call) or definition.kind != "workflow":
        raise DefinitionError(f"start_child takes a call of a workflow, as in start_child(billing(7)), not {call!r}")
    call.take()
    if loop is None:
        raise DefinitionError(f"start_child({call!r}) is known only in a workflow that an engine runs")
    options: ChildOptions = call.options or USUAL_CHILD
    may_fail = options.id is not None or (loop.info.parent is not None and loop.info.parent.depth >= CHILD_DEPTH)
    future = schedule(loop, call, awaits_start=may_fail)
    future._log_traceback = False  # type: ignore[attr-defined]  its failure is told by its own run, if nobody here asks
    if may_fail:
        future.started = loop.create_future()
        try:
            await future.started
        except asyncio.CancelledError:
            future.cancel()
            raise
    return ChildHandle(future)


def schedule(loop: WorkflowLoop, call: "Call[Any]", awaits_start: bool = False) -> ChildFuture:
    """Have a child started; the future is its end."""
    if loop.sealed:
        raise Sealed
    definition: Any = call.definition
    arguments = definition.parameters.encode(call.args, call.kwargs)
    input = seal(arguments, loop.put, loop.max_bytes, f"the arguments of workflow {definition.name}")
    options: ChildOptions = call.options or USUAL_CHILD
    id, info = loop.next_id(), loop.info
    run_id = child_run_id(info.run_id, id)
    future = ChildFuture(loop=loop)
    future.id = id
    future.definition = definition
    future.child_id = child_id(info.id, info.run_id, id) if options.id is None else options.id
    future.run_id = run_id
    future.cancellation = options.cancellation
    terms = options.terms_for(awaits_start)
    name, aliases = definition.name, definition.aliases
    loop.commands[id] = StartChild(id, name, input, future.child_id, run_id, terms, options.memo, aliases)
    loop.waiting[id] = future
    return future


class ExternalHandle:
    """Another run, as a workflow speaks to it. Made by `external`."""

    __slots__ = ("id", "run_id")

    def __init__(self, id: str, run_id: str | None) -> None:
        self.id = id
        self.run_id = run_id

    async def cancel(self, reason: str = "") -> None:
        """Ask the run to stop; comes back when the run has taken that.

        Raises:
            errors.RunNotFound: there is no such run.
            errors.RunClosed: it has ended already.
        """
        loop = _loop_for("external(...).cancel()")
        id = loop.next_id()
        run_id = b"" if self.run_id is None else bytes.fromhex(self.run_id)
        loop.commands[id] = CancelExternal(id, self.id, run_id, _text(reason))
        await _reply(loop, id)

    async def signal(self, signal: Any, /, *args: Any, **kwargs: Any) -> None:
        """Tell the run something: `await external(id).signal(Loan.approve, decision)`; comes back when the run has taken it.
        Takes what `Handle.signal` takes.

        Raises:
            errors.RunNotFound, errors.RunClosed: as above.
            errors.UnknownMessage: its workflow does not hear it.
            errors.InvalidArguments: the arguments do not fit it.
        """
        await _signal(self.id, self.run_id, signal, args, kwargs)

    def __repr__(self) -> str:
        return f"<external run {self.id!r}>"


def external(id: str, *, run_id: str | None = None) -> ExternalHandle:
    """Another run, that is nobody's child of this one: the newest of an id, or the one with a certain `run_id`.

    Raises:
        errors.DefinitionError: it is no id, or no run_id.
    """
    if not isinstance(id, str) or not 0 < len(id) <= ID_CHARS:
        raise DefinitionError(f"external: an id is a text of 1 to {ID_CHARS} characters, not {id!r}")
    return ExternalHandle(id, checked_run_id(run_id))


async def _signal(id: str, run_id: str | None, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    loop = _loop_for("signal()")
    name = target if isinstance(target, str) else getattr(target, "name", None)
    if isinstance(target, str):
        data = encode_untyped(None, args, kwargs, owner=f"signal {target}")
    elif getattr(target, "kind", None) != "signal" or getattr(target, "dynamic", False):
        raise DefinitionError(f"a method marked @workflow.signal was expected, a channel or a name, not {target!r}")
    else:
        data = target.parameters.encode(args, kwargs)
    input = seal(data, loop.put, loop.max_bytes, f"the arguments of signal {name}")
    step = loop.next_id()
    number = b"" if run_id is None else bytes.fromhex(run_id)
    loop.commands[step] = SignalExternal(step, id, str(name), input, number)
    await _reply(loop, step)


def _reply(loop: WorkflowLoop, id: str) -> ReplyFuture:
    future = ReplyFuture(loop=loop)
    future.id = id
    loop.waiting[id] = future
    return future


def continue_as_new(*args: Any, **kwargs: Any) -> NoReturn:
    """End this run and go on as a new one of the same id, with an empty history: for what runs for ever.

    The new run is queued in the commit that ends this one. It has the memo, the attributes, the timeouts and the parent of
    this one; whoever waits for the result waits for its. Call it in the workflow's own code, not in a task beside it. A
    cancellation that was to be raised at the next await is raised here: it is not for the new run.

    Args:
        args, kwargs: what the workflow is called with now. Or one call of a workflow, this one or another, which may have
            options: `continue_as_new(poll(state).with_options(run_timeout="1 day", memo={...}))`.

    Raises:
        errors.InvalidArguments: they do not fit.
        errors.DefinitionError: an option makes no sense here, or this is no workflow that an engine runs.
    """
    loop = _loop_for("continue_as_new")
    task = asyncio.current_task()
    if isinstance(task, Task):
        task.heed()
    definition: Any = loop.definition
    options = USUAL_CHILD
    if len(args) == 1 and not kwargs and isinstance(args[0], Call):
        call = args[0].take()
        definition = call.definition
        if definition.kind != "workflow":
            raise DefinitionError(f"continue_as_new takes arguments, or a call of a workflow, not {call!r}")
        args, kwargs, options = call.args, call.kwargs, call.options or USUAL_CHILD
        options.demand_only(("run_timeout", "retry", "memo", "attributes"), "continue_as_new")
    arguments = definition.parameters.encode(args, kwargs)
    input = seal(arguments, loop.put, loop.max_bytes, f"the arguments of workflow {definition.name}")
    terms = options.terms
    own = None if terms is None else terms.terms
    chosen = () if terms is None else terms.chosen
    raise Continued(ContinueAsNew(definition.name, input, own, chosen, options.memo))


def _loop_for(what: str) -> WorkflowLoop:
    loop = current_loop()
    if loop is None:
        raise DefinitionError(f"{what} is known only in a workflow that an engine runs")
    if loop.sealed:
        raise Sealed
    return loop


def _text(reason: Any) -> str:
    if not isinstance(reason, str):
        raise TypeError(f"reason must be text, not {reason!r}")
    return reason.encode("utf-8", "backslashreplace").decode("utf-8")


# delivery


def child_started(loop: WorkflowLoop, event: ev.ChildStarted) -> None:
    future: ChildFuture | None = loop.waiting.get(event.id)
    if future is not None and future.started is not None and not future.started.done():
        future.started.set_result(None)


def child_not_started(loop: WorkflowLoop, event: ev.ChildStartFailed) -> None:
    future: ChildFuture | None = loop.waiting.pop(event.id, None)
    if future is None:
        return
    error = refused(event.code, event.message)
    if future.started is not None and not future.started.done():
        future.started.set_exception(error)
    future.set_exception(error)


def child_failed(loop: WorkflowLoop, event: ev.ChildFailed) -> None:
    future: ChildFuture | None = loop.waiting.pop(event.id, None)
    if future is None:
        return
    if event.how == "cancelled" and future.cancels:
        future.give_up()
    else:
        future.set_exception(
            child_error(future.definition.name, future.child_id, event.how, event.reason, event.failure)
        )


def left_over(loop: WorkflowLoop) -> tuple[Left, ...]:
    """What channels have brought and nobody has received."""
    channels = loop.channels or {}
    return tuple(Left(name, len(values.items)) for name, values in channels.items() if values.items)


def answered(loop: WorkflowLoop, event: ev.ExternalAnswered) -> None:
    future: ReplyFuture | None = loop.waiting.pop(event.id, None)
    if future is None:
        return
    if event.code:
        error: PerdureError = refused(event.code, event.message)
        future.set_exception(error)
    else:
        future.set_result(None)
