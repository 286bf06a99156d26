"""Conditions that workflow code waits for, asked again after whatever has happened to the run."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from perdure.languages.python.guard import WorkflowInterrupted
from perdure.languages.python.tasks import Future, Sealed

if TYPE_CHECKING:
    from perdure.languages.python.loop import WorkflowLoop


class Conditions:
    """Those of one run, in the order in which they were first asked."""

    __slots__ = ("_loop", "_next", "_waiting")

    def __init__(self, loop: "WorkflowLoop") -> None:
        self._loop = loop
        self._waiting: list[tuple[Callable[[], Any], Future]] = []
        self._next = 0

    async def hold(self, condition: Callable[[], Any]) -> None:
        """Wait until the condition holds. Raises what it raises."""
        waiter = (condition, self._loop.create_future())
        self._waiting.append(waiter)
        try:
            await waiter[1]
        finally:
            at = self._waiting.index(waiter)
            del self._waiting[at]
            if at < self._next:
                self._next -= 1

    def wake_one(self) -> bool:
        """Wake the next whose condition holds. Only one: what it does may end the condition of those behind it."""
        waiting = self._waiting
        for n in range(len(waiting)):
            at = (self._next + n) % len(waiting)
            condition, future = waiting[at]
            if not future.done() and _holds(condition, future):
                self._next = at + 1
                return True
        self._next = 0
        return False

    def __len__(self) -> int:
        return len(self._waiting)


def _holds(condition: Callable[[], Any], future: Future) -> bool:
    """Whether who waits is woken."""
    try:
        if not condition():
            return False
    except (WorkflowInterrupted, Sealed):
        raise
    except BaseException as error:  # noqa: BLE001  it belongs to whoever waits
        future.set_exception(error)
    else:
        future.set_result(None)
    return True
