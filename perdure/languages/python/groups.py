"""A task group that aborts its children in the order they were made, with the rules of Python 3.13."""

import asyncio
import contextvars
from collections.abc import Coroutine
from types import TracebackType
from typing import Any

from perdure.languages.python.tasks import Future, Task


class WorkflowTaskGroup(asyncio.TaskGroup):
    """`asyncio.TaskGroup` in a workflow."""

    def __init__(self) -> None:
        self._parent: Task | None = None
        self._children: dict[Task, None] = {}
        self._failures: list[BaseException] = []
        self._fatal: BaseException | None = None
        self._all_done: Future | None = None
        self._leaving = False
        self._aborted = False
        self._cancelled_parent = False

    def __repr__(self) -> str:
        return f"<TaskGroup tasks={len(self._children)} errors={len(self._failures)}>"

    async def __aenter__(self) -> "WorkflowTaskGroup":
        if self._parent is not None:
            raise RuntimeError(f"{self!r} was entered already; make another one")
        parent = asyncio.current_task()
        if not isinstance(parent, Task):
            raise RuntimeError(f"{self!r} must be entered in a task")
        self._parent = parent
        return self

    def create_task(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> Task:
        parent = self._parent
        state = "has not been entered" if parent is None else "is shutting down" if self._aborted else ""
        if self._leaving and not self._children:
            state = "is finished"
        if state or parent is None:
            coro.close()
            raise RuntimeError(f"{self!r} {state}")
        task = parent.loop.create_task(coro, name=name, context=context)
        self._children[task] = None
        task.add_done_callback(self._child_done)
        return task

    async def __aexit__(
        self, et: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._leaving = True
        parent = self._parent
        assert parent is not None
        if _is_fatal(exc) and self._fatal is None:
            self._fatal = exc
        cancellation = exc if isinstance(exc, asyncio.CancelledError) else None
        if exc is not None:
            self._abort_children()
        while self._children:
            self._all_done = parent.loop.create_future()
            try:
                await self._all_done
            except asyncio.CancelledError as cancelled:
                if not self._aborted:
                    cancellation = cancelled
                    self._abort_children()
            self._all_done = None
        if self._fatal is not None:
            raise self._fatal
        if self._cancelled_parent and parent.uncancel() == 0:
            cancellation = None  # it was the group's own
        if cancellation is not None and not self._failures:
            raise cancellation
        if exc is not None and not isinstance(exc, asyncio.CancelledError):
            self._failures.append(exc)
        if self._failures:
            if parent.cancelling():
                # Somebody else's cancellation came meanwhile: the group's error must not swallow it.
                parent.uncancel()
                parent.cancel()
            failures, self._failures = self._failures, []
            raise BaseExceptionGroup("unhandled errors in a TaskGroup", failures) from None

    def _abort_children(self) -> None:
        if not self._aborted:
            self._aborted = True
            for task in list(self._children):
                task.cancel()

    def _child_done(self, task: Any) -> None:
        del self._children[task]
        if self._all_done is not None and not self._children and not self._all_done.done():
            self._all_done.set_result(None)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        self._failures.append(error)
        if _is_fatal(error) and self._fatal is None:
            self._fatal = error
        parent = self._parent
        if parent is None or parent.done():
            task.loop.call_exception_handler({"message": f"{task!r} failed after its group's task", "exception": error})
        elif not self._aborted and not self._cancelled_parent:
            self._abort_children()
            self._cancelled_parent = True
            parent.cancel()


def _is_fatal(error: BaseException | None) -> bool:
    return isinstance(error, SystemExit | KeyboardInterrupt)
