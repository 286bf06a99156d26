"""Threads for plain functions: as many as are needed at the same time, none that keeps the process from ending.

concurrent.futures joins its threads when the interpreter ends; an activity that hangs would keep a program from ending
for ever. And a loop's default executor belongs to the application, which may have filled it.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

R = TypeVar("R")

ASKING_AT_ONCE = 256
"""How many verbs of clients look into a database at the same time: each needs a thread, and a connection."""

IDLE_SECONDS = 10.0
"""How long a thread waits for more work before it ends."""


class Threads:
    """Runs calls at once, each on a thread of its own. Of more than `most` at the same time the last ones wait; without
    it, how many there may be is up to the caller.

    `_idle` threads wait and are promised to nobody; `_behind` calls wait and are promised no thread. A waiting thread is
    as good as any other: whichever takes a call.
    """

    def __init__(self, name: str, most: int | None = None) -> None:
        self._name = name
        self._most = most
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._behind = 0
        self._living = 0
        self._started = 0
        self._closed = False

    @property
    def busy(self) -> int:
        """How many calls are made now, or wait."""
        return self._living - self._idle + self._behind

    def run(self, call: Callable[[], None]) -> None:
        """`call` must not raise."""
        with self._lock:
            if self._idle:
                self._idle -= 1
            elif self._most is not None and self._living >= self._most:
                self._behind += 1
            else:
                self._started += 1
                threading.Thread(target=self._work, name=f"{self._name}-{self._started}", daemon=True).start()
                self._living += 1
            self._calls.put(call)

    def _work(self) -> None:
        while True:
            try:
                call = self._calls.get(timeout=IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if self._idle:
                        self._idle -= 1
                        self._living -= 1
                        return
                continue
            if call is None:
                return
            call()
            del call
            with self._lock:
                if self._behind:
                    self._behind -= 1
                elif self._closed:
                    return
                else:
                    self._idle += 1

    async def beside(self, function: Callable[[], R]) -> R:
        """The outcome of a blocking function, which runs beside the loop. Cancelled, it runs on and is not heard."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()

        def settle(result: R | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]

        def call() -> None:
            result: R | None = None
            failed: BaseException | None = None
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001  it belongs to whoever asked
                failed = error
            try:
                loop.call_soon_threadsafe(settle, result, failed)
            except RuntimeError:
                return  # the loop is closed: nobody hears it

        self.run(call)
        return await future

    def close(self) -> None:
        """Let idle threads end; busy ones end with their call."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, 0
            for _ in range(idle):
                self._calls.put(None)
