"""Semaphores and conditions with the rules of Python 3.13, whichever runs."""

import asyncio
from collections import deque
from typing import Any, Literal


class WorkflowSemaphore(asyncio.Semaphore):
    """`asyncio.Semaphore` in a workflow: first come, first served, also when a waiter is cancelled."""

    _value: int

    def __init__(self, value: int = 1) -> None:
        if value < 0:
            raise ValueError("a semaphore cannot start below 0")
        self._value = value
        self._queue: deque[asyncio.Future[None]] = deque()

    def locked(self) -> bool:
        return self._value == 0 or any(not waiter.cancelled() for waiter in self._queue)

    async def acquire(self) -> Literal[True]:
        if not self.locked():
            self._value -= 1
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(waiter)
        try:
            try:
                await waiter
            finally:
                self._queue.remove(waiter)
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._value += 1  # it was given to this task, which is not going to take it
            raise
        finally:
            while self._value > 0 and self._give():
                pass
        return True

    def release(self) -> None:
        self._value += 1
        self._give()

    def _give(self) -> bool:
        """Hand one permit to the first in the queue; false if nobody waits."""
        for waiter in self._queue:
            if not waiter.done():
                self._value -= 1
                waiter.set_result(None)
                return True
        return False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} value={self._value} waiters={len(self._queue)}>"


class WorkflowBoundedSemaphore(WorkflowSemaphore, asyncio.BoundedSemaphore):
    """`asyncio.BoundedSemaphore` in a workflow."""

    def __init__(self, value: int = 1) -> None:
        super().__init__(value)
        self._most = value

    def release(self) -> None:
        if self._value >= self._most:
            raise ValueError("BoundedSemaphore released too many times")
        super().release()


class WorkflowCondition(asyncio.Condition):
    """`asyncio.Condition` in a workflow: a notification is passed on if its receiver is cancelled."""

    _waiters: deque[Any]

    async def wait(self) -> Literal[True]:
        if not self.locked():
            raise RuntimeError("wait on a condition only while holding its lock")
        waiter = asyncio.get_running_loop().create_future()
        self.release()
        try:
            try:
                self._waiters.append(waiter)
                try:
                    await waiter
                finally:
                    self._waiters.remove(waiter)
            finally:
                await self._reacquire()
        except BaseException:
            self._wake(1)
            raise
        return True

    async def _reacquire(self) -> None:
        """Take the lock again, come what may; a cancellation meanwhile is raised once it is held."""
        cancellation: asyncio.CancelledError | None = None
        while True:
            try:
                await self.acquire()
                break
            except asyncio.CancelledError as cancelled:
                cancellation = cancelled
        if cancellation is not None:
            raise cancellation

    def notify(self, n: int = 1) -> None:
        if not self.locked():
            raise RuntimeError("notify a condition only while holding its lock")
        self._wake(n)

    def _wake(self, n: int) -> None:
        for waiter in [waiter for waiter in self._waiters if not waiter.done()][:n]:
            waiter.set_result(False)
