"""The event loop a workflow runs on: deterministic, without a clock or a socket, one per run.

What would wait for the world becomes a command: an awaited activity, a timer. Events resolve them one at a time, and
the loop then runs until nothing is ready.
"""

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

from perdure.errors import NotDeterministic, is_bug
from perdure.failures import failure_of
from perdure.kernel.commands import StartTimer
from perdure.kernel.program import ProgramBlocked
from perdure.languages.python.guard import WorkflowInterrupted
from perdure.languages.python.issuer import Issuer
from perdure.languages.python.logs import logger
from perdure.languages.python.places import raised_at
from perdure.languages.python.tasks import Future, Sealed, Task

FOR_EVER_SECONDS = 2.0**34
"""More than 500 years: `asyncio.sleep(math.inf)` is a way to wait for a cancellation."""

MEND = "mend the code and start it again: the run goes on before this step"


def block_by(bug: BaseException, where: str = "") -> ProgramBlocked:
    """What a bug that may not go unseen does to the run it was raised in."""
    failure = failure_of(bug)
    name = failure.type.rpartition(".")[2]
    return ProgramBlocked("bug", f"{name}{where}: {failure.message}", MEND, failure, raised_at(bug))


class Handle:
    """A callback that is due."""

    __slots__ = ("args", "callback", "context", "dead")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.dead = False

    def cancel(self) -> None:
        self.dead = True

    def cancelled(self) -> bool:
        return self.dead


class TimerHandle(Handle):
    """A callback that waits for a durable timer. Cancelled, it cancels the timer."""

    __slots__ = ("_when", "id", "loop")

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context,
        when: float,
        id: str,
        loop: "WorkflowLoop",
    ) -> None:
        super().__init__(callback, args, context)
        self._when = when
        self.id = id
        self.loop = loop

    def when(self) -> float:
        return self._when

    def cancel(self) -> None:
        if not self.dead:
            self.dead = True
            self.loop.withdraw_timer(self.id)


class WorkflowLoop(Issuer, asyncio.AbstractEventLoop):
    """What asyncio asks of a loop, and the drain."""

    __slots__ = ()

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self.sealed

    def time(self) -> float:
        """Seconds since the run started, at the event being delivered."""
        return (self.now - self.info.started_at) / 1e9

    def create_future(self) -> Future:
        return Future(loop=self)

    def create_task(
        self,
        coro: Any,
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> Task:
        if not asyncio.iscoroutine(coro):
            raise TypeError(f"a coroutine or a call was expected, got {coro!r}")
        if self.sealed:
            coro.close()
            raise Sealed
        parent = self.current
        if parent is None:
            self.callbacks += 1
            path = f"c.{self.callbacks}"
        else:
            parent.children += 1
            path = f"{parent.path}.{parent.children}"
        task = self.start(coro, path, contextvars.copy_context() if context is None else context, name)
        task.compensates = parent is not None and parent.compensates
        return task

    def call_soon(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:
        handle = Handle(callback, args, contextvars.copy_context() if context is None else context)
        if not self.sealed:
            self.ready.append(handle)
        return handle

    def call_later(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:
        if self.sealed:
            raise Sealed
        if delay <= 0:
            return self.call_soon(callback, *args, context=context)
        id = self.next_id()
        context = contextvars.copy_context() if context is None else context
        handle = TimerHandle(callback, args, context, self.time() + delay, id, self)
        # In whole microseconds: a duration that was a difference of two floats is round again.
        self.commands[id] = StartTimer(id, max(round(min(delay, FOR_EVER_SECONDS) * 1e6), 1) * 1000)
        self.waiting[id] = handle
        return handle

    def call_at(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> Handle:
        return self.call_later(when - self.time(), callback, *args, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Errors that nobody awaits are told to the log, as asyncio does; not again on replay, and not by the collector,
        which finds them at any time and on any thread, once the run has left memory."""
        if self.sealed or self.replaying:
            return
        logger.error("run %s: %s", self.info.id, context.get("message"), exc_info=context.get("exception"))

    def start(self, coro: Any, path: str, context: contextvars.Context, name: str | None = None) -> Task:
        task = Task(coro, self, path, context, name)
        self.tasks[path] = task
        self.ready.append(Handle(task.step, (), context))
        return task

    def forget(self, task: Task) -> None:
        self.tasks.pop(task.path, None)
        main = self.main
        if task is main:
            self._cancel_the_rest(task)
        if main is not None and main.done():
            self.end_unless_undoing()

    def _cancel_the_rest(self, main: Task) -> None:
        """Sagas of other tasks undo what they did: tasks are cancelled, as by `asyncio.run`. A bug undoes nothing."""
        error = None if main.cancelled() else main.exception()
        if error is not None and is_bug(error):
            self.stopped = True
        elif self.in_sagas():
            for task in list(self.tasks.values()):
                if not task.compensates:
                    task.cancel()

    def end_unless_undoing(self) -> None:
        """The main task is done; the run ends once no task is in a saga."""
        self.stopped = self.stopped or not self.in_sagas()

    def in_sagas(self) -> bool:
        """Whether a task has entered a saga that it has not left."""
        return bool(self.tasks) and any(task.sagas for task in self.tasks.values())

    def may_void(self, bug: BaseException, undoing: str) -> bool:
        """Whether the turn of a bug is to be voided, in which a saga's compensations began, or would: the task `undoing`.

        Not if cleanup of the bug was recorded before that turn: then it is a failure like any other. That was found out
        by a traced program, and recorded are the compensations.
        """
        if self.replaying:
            return not self.recorded.has_issued(undoing)
        if self.tracer is None or not self.tracer.saw_earlier(bug):
            return True
        self.pardoned = bug
        return False

    def drain(self) -> None:
        """Run what is ready until nothing is, and no condition holds that is waited for, or the main task is done."""
        while not self.stopped:
            while self.ready:
                batch, self.ready = self.ready, []
                for handle in batch:
                    if handle.dead:
                        continue
                    try:
                        handle.context.run(handle.callback, *handle.args)
                    except (WorkflowInterrupted, Sealed):
                        raise
                    except BaseException as error:  # noqa: BLE001  it is reported
                        self._callback_failed(error)
                    if self.stopped:
                        return
            if self.conditions is None or not self.conditions.wake_one():
                return

    def _callback_failed(self, error: BaseException) -> None:
        """A callback has nobody to raise to: its bugs block the run, all else is told to the log, as asyncio does."""
        if is_bug(error):
            self.block(block_by(error, " in a callback"))
        else:
            self.call_exception_handler({"message": "a callback failed", "exception": error})


def _refuse(name: str) -> Callable[..., Any]:
    instead = _INSTEAD.get(name, "do it in an activity, and await that")

    def refused(self: WorkflowLoop, *args: object, **kwargs: object) -> Any:
        raise NotDeterministic(f"loop.{name}() cannot be repeated when the workflow is replayed; {instead}")

    refused.__name__ = name
    return refused


_THREADS = "write the work as `@activity def ...`: it runs in a thread, and await that"
_INSTEAD = {
    "run_in_executor": _THREADS,
    "call_soon_threadsafe": _THREADS,
    "set_default_executor": _THREADS,
    "run_until_complete": "write await",
    "run_forever": "a workflow ends when its function returns",
    "stop": "a workflow ends when its function returns",
    "close": "a workflow ends when its function returns",
}
for _name in dir(asyncio.AbstractEventLoop):
    if not _name.startswith("_") and _name not in WorkflowLoop.__dict__:
        setattr(WorkflowLoop, _name, _refuse(_name))
WorkflowLoop.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]
