"""Where the engine's thread speaks to others: answers and new work go to each event loop in one wake-up a batch."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from perdure.errors import EngineNotRunning


class Receiver(Protocol):
    """Somebody who waits for one answer. `loop` is where it must be given, None if any thread will do."""

    loop: asyncio.AbstractEventLoop | None

    def receive(self, value: Any, error: BaseException | None) -> None: ...


class Outbox:
    """Collects calls by the loop they belong to; `flush` makes them. Used by one thread."""

    def __init__(self) -> None:
        self.told_end = False
        """Whether somebody was told that the engine does not run any more."""
        self._calls: dict[asyncio.AbstractEventLoop, list[tuple[Callable[..., object], tuple[Any, ...]]]] = {}

    def answer(self, receiver: Receiver, value: Any, error: BaseException | None) -> None:
        self.told_end = self.told_end or isinstance(error, EngineNotRunning)
        if receiver.loop is None:
            receiver.receive(value, error)
        else:
            self.post(receiver.loop, receiver.receive, value, error)

    def post(self, loop: asyncio.AbstractEventLoop, call: Callable[..., object], *args: Any) -> None:
        calls = self._calls.get(loop)
        if calls is None:
            calls = self._calls[loop] = []
        calls.append((call, args))

    def flush(self) -> list[asyncio.AbstractEventLoop]:
        """Make the calls; the loops that are closed, where nobody hears them any more."""
        calls, self._calls = self._calls, {}
        gone: list[asyncio.AbstractEventLoop] = []
        for loop, list_of_calls in calls.items():
            try:
                loop.call_soon_threadsafe(_make, list_of_calls)
            except RuntimeError:
                gone.append(loop)
        return gone


def _make(calls: list[tuple[Callable[..., object], tuple[Any, ...]]]) -> None:
    for call, args in calls:
        call(*args)
