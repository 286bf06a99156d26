"""Futures and tasks of a workflow's loop.

They are asyncio's to everybody who asks (`isinstance`, `current_task`, `cancelling`), but a task is stepped by the
code below: so its rules are the same on every Python (those of 3.13), it is known to nobody but its own loop
(asyncio's process-wide weak set costs a fifth of the time, and anybody may iterate it), and it has a path.
"""

import asyncio
import contextvars
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from perdure.errors import is_bug
from perdure.kernel.commands import CancelChild, ContinueAsNew
from perdure.languages.python.guard import WorkflowInterrupted

if TYPE_CHECKING:
    from perdure.languages.python.loop import WorkflowLoop

_Future = asyncio.Future


class Sealed(BaseException):
    """Raised where code that is being unwound asks for something new to happen."""


class Continued(BaseException):
    """Leaves the workflow that goes on as a new run."""

    is_signal = True

    def __init__(self, command: ContinueAsNew) -> None:
        super().__init__("continue_as_new")
        self.command = command


class Future(asyncio.Future[Any]):
    """A future whose place in a set does not depend on its address."""

    __slots__ = ("_serial",)

    def __hash__(self) -> int:
        try:
            return self._serial
        except AttributeError:
            self._serial: int = self.get_loop().serial()  # type: ignore[attr-defined]
            return self._serial


class StepFuture(Future):
    """Stands for a scheduled activity. Cancelled, it cancels the activity."""

    __slots__ = ("definition", "id")
    id: str
    definition: Any

    def cancel(self, msg: Any = None) -> bool:
        if not _Future.cancel(self, msg):
            return False
        self.get_loop().withdraw_activity(self.id)  # type: ignore[attr-defined]
        return True


class ChildFuture(Future):
    """Stands for a child. Cancelled, it cancels the child, and, with "wait" for a `cancellation`, is done when that is.

    `asked`: the child was asked to stop; `cancels`: because this was cancelled. `started` is done when the child is there,
    if anybody waits for that.
    """

    __slots__ = ("_message", "asked", "cancellation", "cancels", "child_id", "definition", "id", "run_id", "started")
    id: str
    child_id: str
    run_id: bytes
    definition: Any
    cancellation: str

    def __init__(self, *, loop: Any) -> None:
        super().__init__(loop=loop)
        self.asked = self.cancels = False
        self.started: asyncio.Future[Any] | None = None
        self._message: Any = None

    def cancel(self, msg: Any = None) -> bool:
        loop: Any = self.get_loop()
        if self.done():
            return False
        if loop.sealed or self._withdrawn(loop) or self.cancellation != "wait":
            return _Future.cancel(self, msg)
        self.cancels, self._message = True, msg
        return True

    def _withdrawn(self, loop: Any) -> bool:
        """Whether the child is not even started, so that it need not be; else it is asked to stop, unless it may go on."""
        id = self.id
        if loop.commands.pop(id, None) is not None:
            loop.commands.pop(cancelling(id), None)
            loop.waiting.pop(id, None)
            return True
        if self.cancellation != "wait":
            loop.waiting.pop(id, None)
        if self.cancellation != "abandon":
            self.ask("")
        return False

    def ask(self, reason: str) -> None:
        """Ask the child to stop, once."""
        if not self.done() and not self.asked:
            self.asked = True
            self.get_loop().commands[cancelling(self.id)] = CancelChild(self.id, reason)  # type: ignore[attr-defined]

    def give_up(self) -> None:
        """The child has ended as it was asked to."""
        _Future.cancel(self, self._message)


class ReplyFuture(Future):
    """Stands for the answer of another run. Cancelled, nobody waits for it any more."""

    __slots__ = ("id",)
    id: str

    def cancel(self, msg: Any = None) -> bool:
        if not _Future.cancel(self, msg):
            return False
        loop: Any = self.get_loop()
        if not loop.sealed:
            loop.waiting.pop(self.id, None)
            loop.commands.pop(self.id, None)  # what was not even asked need not be
        return True


def cancelling(id: str) -> str:
    """Among the commands of a turn: what asks the child of that id to stop, which may be started in the same turn."""
    return f"cancel:{id}"


class Task(asyncio.Task[Any]):
    """Drives a coroutine. `path` names it among the tasks of the run; `issued` and `children` number what it issues.

    `sagas` counts those it has entered and not left; `compensates` tells that it, or a task it descends from, undoes one.

    Only the future's half of the base class is initialised: the other half is replaced by the methods here.
    """

    __slots__ = (
        "_serial",
        "cancel_message",
        "cancels",
        "children",
        "compensates",
        "context",
        "coro",
        "issued",
        "loop",
        "must_cancel",
        "name",
        "owes_cancel",
        "path",
        "sagas",
        "waits_for",
    )

    def __init__(
        self,
        coro: Coroutine[Any, Any, Any],
        loop: "WorkflowLoop",
        path: str,
        context: contextvars.Context,
        name: str | None = None,
    ) -> None:
        _Future.__init__(self, loop=loop)
        self.coro = coro
        self.loop = loop
        self.path = path
        self.context = context
        self.name = name
        self.issued = 0
        self.children = 0
        self.waits_for: Any = None
        self.must_cancel = self.owes_cancel = False
        self.cancel_message: Any = None
        self.cancels = 0
        self.sagas = 0
        self.compensates = False

    def __hash__(self) -> int:
        try:
            return self._serial
        except AttributeError:
            self._serial: int = self.loop.serial()
            return self._serial

    def __repr__(self) -> str:
        state = "pending" if not self.done() else "cancelled" if self.cancelled() else "finished"
        return f"<Task {self.get_name()} [{self.path}] {state} coro={self.coro!r}>"

    def get_name(self) -> str:
        return self.name or f"Task-{self.path}"

    def set_name(self, value: object, /) -> None:
        self.name = str(value)

    def get_coro(self) -> Any:
        return self.coro

    def get_context(self) -> contextvars.Context:
        return self.context

    def get_stack(self, *, limit: int | None = None) -> list[Any]:
        frame = getattr(self.coro, "cr_frame", None)
        return [] if frame is None else [frame]

    def print_stack(self, *, limit: int | None = None, file: Any = None) -> None:
        for frame in self.get_stack():
            print(f"  {frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}", file=file)

    def cancelling(self) -> int:
        return self.cancels

    def cancel(self, msg: Any = None) -> bool:
        if self.done():
            return False
        self.cancels += 1
        if self.waits_for is not None and self._cancel(self.waits_for, msg):
            return True
        self.must_cancel = True
        self.cancel_message = msg
        return True

    def _cancel(self, future: Any, message: Any) -> bool:
        """A child that is waited for may end otherwise: then the cancellation is owed, until the next await."""
        accepted: bool = future.cancel(msg=message)
        if accepted and type(future) is ChildFuture and not future.done():
            self.owes_cancel, self.cancel_message = True, message
        return accepted

    def uncancel(self) -> int:
        if self.cancels > 0:
            self.cancels -= 1
            if self.cancels == 0:
                self.must_cancel = self.owes_cancel = False
        return self.cancels

    def heed(self) -> None:
        """Raise the cancellation that is due at the next await, if one is."""
        if self.must_cancel or self.owes_cancel:
            self.must_cancel = self.owes_cancel = False
            raise self._cancelled_error()

    def wake(self, future: "asyncio.Future[Any]") -> None:
        """What the task waited for is done."""
        try:
            error = future.exception()
        except asyncio.CancelledError as cancelled:
            error = cancelled
        self.step(error)

    def step(self, error: BaseException | None = None) -> None:
        """Run the coroutine up to its next wait."""
        loop = self.loop
        self.waits_for = None
        if self.must_cancel:
            if not isinstance(error, asyncio.CancelledError):
                error = self._cancelled_error()
            self.must_cancel = False
        if self.owes_cancel and isinstance(error, asyncio.CancelledError):
            self.owes_cancel = False
        _enter_task(loop, self)
        loop.current = self
        try:
            yielded = self.coro.send(None) if error is None else self.coro.throw(error)
        except StopIteration as stop:
            if self.must_cancel:
                self.must_cancel = False
                _Future.cancel(self, self.cancel_message)
            else:
                _Future.set_result(self, stop.value)
            loop.forget(self)
        except asyncio.CancelledError as cancelled:
            _Future.cancel(self, *cancelled.args[:1])
            loop.forget(self)
        except (WorkflowInterrupted, Sealed):
            raise
        except BaseException as raised:  # noqa: BLE001  it is kept for whoever awaits the task
            if is_bug(raised):
                loop.bug = raised
            _Future.set_exception(self, raised)
            loop.forget(self)
        else:
            self._wait(yielded)
        finally:
            loop.current = None
            _leave_task(loop, self)
            error = None

    def _wait(self, yielded: Any) -> None:
        if self.owes_cancel:
            self.owes_cancel, self.must_cancel = False, True
        blocking = getattr(yielded, "_asyncio_future_blocking", None)
        if blocking and yielded is not self and yielded.get_loop() is self.loop:
            yielded._asyncio_future_blocking = False
            yielded.add_done_callback(self.wake, context=self.context)
            self.waits_for = yielded
            if self.must_cancel and self._cancel(yielded, self.cancel_message):
                self.must_cancel = False
        elif yielded is None:
            self.loop.call_soon(self.step, context=self.context)
        else:
            self.loop.call_soon(self.step, _wrong_wait(self, yielded, blocking), context=self.context)

    def _cancelled_error(self) -> asyncio.CancelledError:
        message = self.cancel_message
        return asyncio.CancelledError() if message is None else asyncio.CancelledError(message)


def _wrong_wait(task: Task, yielded: Any, blocking: bool | None) -> RuntimeError:
    if yielded is task:
        return RuntimeError("a task cannot await itself")
    if blocking is None:
        return RuntimeError(f"a workflow awaits calls, sleeps and asyncio's futures, but got {yielded!r}")
    if not blocking:
        return RuntimeError(f"write await before {yielded!r}")
    return RuntimeError(
        f"{yielded!r} belongs to another event loop: make futures, locks and queues in the workflow that awaits them"
    )
