"""Sagas: what a block of steps has done is undone, the last first, if the block fails.

    async with saga() as undo:
        undo(refund, order)
        await charge(order)

Compensations run in a task of their own, which nobody can cancel: neither the end of the run nor a timeout around the
block reaches them. What comes meanwhile is kept, and takes its effect when they are done. (Garcia-Molina and Salem,
"Sagas", 1987: transactions with compensations, here undone backwards.)
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, ParamSpec, overload

from perdure.calls import Call
from perdure.errors import DefinitionError, InvalidArguments, is_bug
from perdure.languages.python.context import current_loop
from perdure.languages.python.guard import WorkflowInterrupted
from perdure.languages.python.loop import WorkflowLoop, block_by
from perdure.languages.python.tasks import Continued, Sealed, Task
from perdure.payload import seal

P = ParamSpec("P")

_HOW = "write: undo(refund, transaction), with an @activity, or with an async def function that awaits activities"


class Compensation:
    """What undoes one step, if its saga fails."""

    __slots__ = ("_saga", "begin", "name")

    def __init__(self, saga: "Saga", name: str, begin: Callable[[], Awaitable[Any]]) -> None:
        self._saga = saga
        self.name = name
        self.begin = begin

    def discard(self) -> None:
        """Forget it: there is nothing to undo any more. Discarding one that has run, or again, does nothing."""
        self._saga.forget(self)

    def __repr__(self) -> str:
        return f"<compensation {self.name}>"


class Saga:
    """A block whose steps are undone if it fails; calling it registers what undoes one. Made by `saga()`."""

    __slots__ = ("_loop", "_parallel", "_state", "_task", "_todo")

    def __init__(self, parallel: bool) -> None:
        self._parallel = parallel
        self._state = "not entered"
        self._todo: list[Compensation] = []
        self._loop: WorkflowLoop | None = None
        self._task: asyncio.Task[Any] | None = None

    @overload
    def __call__(self, undoing: Call[Any], /) -> Compensation: ...
    @overload
    def __call__(
        self, undoing: Callable[P, Coroutine[Any, Any, Any]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Compensation: ...
    def __call__(self, undoing: Any, /, *args: Any, **kwargs: Any) -> Compensation:
        """Register a compensation; nothing happens unless the block fails. Arguments are checked now, and those of an
        activity are kept as they are now.

        Args:
            undoing: an activity, or an `async def` function that awaits activities, with the arguments after it; or a
                call of an activity, which may have options: `undo(refund(txn).with_options(timeout="1m"))`.

        Returns:
            What was registered; `discard()` forgets it.

        Raises:
            DefinitionError: it is neither, or the saga has ended.
            InvalidArguments: they do not fit.
        """
        self._demand_open()
        name, begin = self._prepared(undoing, args, kwargs)
        compensation = Compensation(self, name, begin)
        self._todo.append(compensation)
        return compensation

    def _demand_open(self) -> None:
        loop = self._loop
        if loop is not None and loop.sealed:
            raise Sealed
        if self._state == "not entered":
            raise DefinitionError("undo() has no block whose steps it could undo; write: async with saga() as undo")
        if self._state == "ended":
            error = DefinitionError(
                "undo() was called when its saga had ended: nothing would run it; call it in the block"
            )
            if loop is not None:
                loop.block(block_by(error))  # whoever swallows the error must not lose what is to be undone
            raise error

    def _prepared(
        self, undoing: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[str, Callable[[], Awaitable[Any]]]:
        """The name of a compensation, and what begins it."""
        if isinstance(undoing, Call):
            undoing.take()
            if args or kwargs:
                raise DefinitionError(
                    f"undo() was given a call and further arguments: put them into the call, {undoing!r}"
                )
            return self._of_call(undoing)
        kind = getattr(undoing, "kind", "")
        if kind in ("activity", "workflow"):
            return self._of_call(undoing(*args, **kwargs).take())
        if inspect.iscoroutinefunction(undoing):
            return _of_function(undoing, args, kwargs)
        if asyncio.iscoroutine(undoing):
            undoing.close()
            raise DefinitionError(f"undo() was given a coroutine that has its arguments already, {undoing!r}; {_HOW}")
        raise DefinitionError(f"undo() cannot run {undoing!r}; {_HOW}")

    def _of_call(self, call: Call[Any]) -> tuple[str, Callable[[], Awaitable[Any]]]:
        definition: Any = call.definition
        if definition.kind != "activity":
            raise DefinitionError(
                f"{definition.kind} {definition.name!r} cannot be a compensation by itself; undo with an async def function "
                f"that awaits it. {_HOW}"
            )
        _demand_no_end(definition.name, call.options or definition.default)
        loop = self._loop
        if loop is None:
            definition.parameters.encode(call.args, call.kwargs)
            return definition.name, lambda: definition.direct(call.args, call.kwargs)
        arguments = loop.arguments(call)
        seal(arguments, _nowhere, loop.max_bytes, f"the arguments of activity {definition.name}")
        return definition.name, lambda: loop.issue(call, arguments)

    def forget(self, compensation: Compensation) -> None:
        if compensation in self._todo:
            self._todo.remove(compensation)

    async def __aenter__(self) -> "Saga":
        if self._state != "not entered":
            raise DefinitionError("a saga is entered once; make another one: async with saga() as undo")
        self._state = "open"
        self._loop = current_loop()
        self._task = asyncio.current_task()
        if isinstance(self._task, Task):
            self._task.sagas += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is not None and self._todo and self._is_failure(error):
                await self._compensate(error)
        finally:
            self._leave()

    def _is_failure(self, error: BaseException) -> bool:
        """Whether what leaves the block is an outcome. A bug is none: it blocks the run here and now, so that nobody
        further out can take it for one, and mended code goes on in the block."""
        loop = self._loop
        if isinstance(error, GeneratorExit) and not self._is_running():
            return False  # nobody closes the block: it is thrown away
        if loop is None:
            return not is_bug(error)
        if loop.sealed or loop.blocked is not None or isinstance(error, WorkflowInterrupted | Sealed):
            return False  # nothing of what is done now counts
        if isinstance(error, Continued):
            return False  # the new run goes on from what is done
        if is_bug(error) and loop.may_void(error, _next_child()):
            loop.block(block_by(error))
            return False
        return True

    def _is_running(self) -> bool:
        return self._task is not None and asyncio._get_running_loop() is self._task.get_loop()

    async def _compensate(self, error: BaseException) -> None:
        task = asyncio.get_running_loop().create_task(self._run_back())
        if isinstance(task, Task):
            task.compensates = True
            task.loop.undoing += (task.path,)
        late: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as cancelled:
                late = cancelled
        failure = task.exception()
        if failure is not None:  # outside of an engine, where nothing holds it
            raise failure from error
        if late is not None and not isinstance(error, asyncio.CancelledError):
            _cancel_again(late)

    async def _run_back(self) -> None:
        """Until nothing is left: tasks of the block that live on may register more meanwhile."""
        while self._todo:
            if self._parallel:
                together, self._todo = self._todo[::-1], []
                for outcome in await asyncio.gather(*[self._run(each) for each in together], return_exceptions=True):
                    if outcome is not None:
                        raise outcome
            else:
                await self._run(self._todo.pop())

    async def _run(self, compensation: Compensation) -> None:
        try:
            await compensation.begin()
        except BaseException as error:
            loop = self._loop
            if not (loop is None or loop.sealed or isinstance(error, WorkflowInterrupted | Sealed)):
                loop.block(block_by(error, f" in compensation {compensation.name}"))
            raise

    def _leave(self) -> None:
        self._state = "ended"
        self._todo.clear()
        task = self._task
        if isinstance(task, Task):
            task.sagas -= 1
            main = task.loop.main
            if main is not None and main.done():
                task.loop.end_unless_undoing()

    def __repr__(self) -> str:
        return f"<saga, {self._state}, {len(self._todo)} to undo>"


def saga(*, parallel: bool = False) -> Saga:
    """`async with saga() as undo`: what was registered by `undo(refund, txn)` runs if the block fails.

    Whatever leaves the block but a bug is a failure: an exception, a timeout, a cancellation, also of the run. It is
    raised again once everything is undone, the last first.

    Args:
        parallel: undo everything at once.
    """
    if not isinstance(parallel, bool):
        raise DefinitionError(f"saga: parallel must be True or False, not {parallel!r}")
    return Saga(parallel)


def _demand_no_end(name: str, options: Any) -> None:
    """A compensation is tried until it has succeeded.

    Raises:
        DefinitionError: its options say otherwise.
    """
    limits = {"at_most_once": options.policy is not None and options.policy.at_most_once}
    limits |= {name: options.limits()[name] is not None for name in ("schedule_to_close", "schedule_to_start")}
    for option, given in limits.items():
        if given:
            none = False if option == "at_most_once" else None
            raise DefinitionError(
                f"{name} has the option {option}, but a compensation is not given up before it has succeeded; write: "
                f"undo({name}(...).with_options({option}={none})), or undo with a function that awaits it and handles its failure"
            )


def _of_function(
    fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[str, Callable[[], Coroutine[Any, Any, Any]]]:
    name = getattr(fn, "__name__", "") or repr(fn)
    try:
        inspect.signature(fn).bind(*args, **kwargs)
    except TypeError as misfit:
        raise InvalidArguments(f"undo({name}, ...): {misfit}") from None
    return name, lambda: fn(*args, **kwargs)


def _nowhere(digest: bytes, data: bytes) -> None:
    """Large arguments are kept when the step is scheduled, if it ever is."""


def _next_child() -> str:
    """The path that the next task will have which the current one starts."""
    task = asyncio.current_task()
    return f"{task.path}.{task.children + 1}" if isinstance(task, Task) else ""


def _cancel_again(late: asyncio.CancelledError) -> None:
    """A cancellation that came too late for the block is raised at the next await; it is counted already."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
        task.cancel(*late.args[:1])
