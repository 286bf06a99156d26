"""An event loop that goes by the clock of a world, and only when it is told to: activities run on it, and the script."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

_WAITS_FOR_PROCESS = "asyncio-waitpid-"
"""How asyncio calls its threads that wait for the end of a process, where there is no better way."""

_LAST_TURNS = 100
"""How many turns tasks get to end when a life that has come to its end is cleared away."""


class Clock:
    """Nanoseconds since the epoch. It stands still unless somebody moves it, and never goes back."""

    def __init__(self, ns: int) -> None:
        self.began = ns
        self.ns = ns

    def seconds(self) -> float:
        """Since it began."""
        return (self.ns - self.began) / 1e9

    def move_to(self, ns: int) -> None:
        self.ns = max(self.ns, ns)


class TurnedLoop(asyncio.SelectorEventLoop):
    """Turned by hand, on whichever thread does so. Its timers are due by the clock."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._clock_resolution = 1e-6  # seconds are floats here, and nanoseconds in the engine
        self.beside = 0
        """Calls that run in threads of its executor."""

    def time(self) -> float:
        return self._clock.seconds()

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        future = super().run_in_executor(executor, func, *args)
        self.beside += 1
        future.add_done_callback(self._back)
        return future

    def _back(self, future: Any) -> None:
        self.beside -= 1

    def turn(self) -> None:
        """Do what is ready, and no more."""
        self.call_soon(self.stop)
        self.run_forever()

    def is_ready(self) -> bool:
        """Whether there is something to do at once."""
        due = self.due()
        return bool(self._ready) or (due is not None and due <= self._clock.ns)  # type: ignore[attr-defined]

    def due(self) -> int | None:
        """When the next timer is due, in nanoseconds since the epoch."""
        scheduled = self._scheduled  # type: ignore[attr-defined]
        whens = [handle.when() for handle in scheduled if not handle.cancelled()]
        return None if not whens else self._clock.began + round(min(whens) * 1e9)

    def talks(self) -> bool:
        """Whether it waits for files, sockets or processes of somebody's."""
        return len(self._selector.get_map()) > 1 or any(  # type: ignore[attr-defined]
            thread.name.startswith(_WAITS_FOR_PROCESS) for thread in threading.enumerate()
        )

    def timers(self) -> int:
        """How many wait for a time."""
        return sum(not handle.cancelled() for handle in self._scheduled)  # type: ignore[attr-defined]

    def listen(self, seconds: float) -> None:
        """Wait, in real time, for files, sockets and other threads."""
        self._process_events(self._selector.select(seconds))  # type: ignore[attr-defined]

    def end(self) -> None:
        """Its life has come to its end: tasks that are left are cancelled."""
        for task in asyncio.all_tasks(self):
            task.cancel()
        for _ in range(_LAST_TURNS):
            if not asyncio.all_tasks(self):
                break
            self.turn()
        self.bury()

    def bury(self) -> None:
        """Nothing runs on it any more. What a coroutine does on being closed comes too late to be seen by anybody."""
        for task in asyncio.all_tasks(self):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine: Any = task.get_coro()
            with contextlib.suppress(RuntimeError):  # one that awaits while it is closed
                coroutine.close()
        self.close()
