"""Workflows that keep a ledger, moved by engines of this process while something befalls their database."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from perdure import Client, Engine, Handle, Retry, activity, errors, workflow
from perdure.stores.postgres.store import PostgresStore

T = TypeVar("T")

WAIT_SECONDS = 300.0

_books: Counter[str] = Counter()
_changed = threading.Condition()


def _booked(entry: str) -> None:
    with _changed:
        _books[entry] += 1
        _changed.notify_all()


@activity
async def book(entry: str) -> int:
    _booked(entry)
    await asyncio.sleep(0.002)
    return 1


@activity
def book_in_thread(entry: str) -> int:
    _booked(entry)
    return 1


@workflow
async def transfers(name: str, steps: int) -> int:
    """So many entries one after the other, and two at the same time after each, with a nap in between."""
    done = 0
    for step in range(steps):
        done += await book(f"{name}/{step}")
        done += sum(await asyncio.gather(book(f"{name}/{step}a"), book_in_thread(f"{name}/{step}b")))
        await asyncio.sleep(0.02)
    return done


QUICK = Retry(initial=0.001, maximum=0.001)


@activity(queue="books", retry=QUICK)
async def book_elsewhere(entry: str) -> int:
    _booked(entry)
    return 1


@activity(queue="books", retry=1, at_most_once=True)
def book_elsewhere_once(entry: str) -> int:
    _booked(entry)
    return 1


@workflow
async def posted(name: str, steps: int) -> int:
    """The same by a worker of queues: so many entries, and two at the same time after each, one of which is not tried twice."""
    done = 0
    for step in range(steps):
        done += await book_elsewhere(f"{name}/{step}")
        pair = book_elsewhere(f"{name}/{step}a"), book_elsewhere_once(f"{name}/{step}b")
        done += sum(1 for each in await asyncio.gather(*pair, return_exceptions=True))
    return done


ELSEWHERE = [book_elsewhere, book_elsewhere_once]
ALL = [book, book_in_thread, transfers, posted, *ELSEWHERE]


@contextmanager
def engines(address: str, count: int = 2, lease: str = "10s") -> Iterator[list[Engine]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Engine(PostgresStore(address), ALL, lease=lease)) for _ in range(count)]


class Load:
    """So many runs, of so many steps each, that engines or clients start in turn."""

    def __init__(
        self, starters: Sequence[Engine | Client], name: str, runs: int = 40, steps: int = 6, flow: Any = transfers
    ) -> None:
        self._name = name
        self._flow = flow
        self._steps = steps
        self._handles: list[Handle[int]] = []
        for n in range(runs):
            starter = starters[n % len(starters)]
            self._handles.append(patiently(lambda n=n, starter=starter: self._started(starter, f"{name}-{n}")))

    def _started(self, starter: Engine | Client, id: str) -> Handle[int]:
        return starter.start(self._flow(id, self._steps), id=id).wait()

    @property
    def size(self) -> int:
        """How many entries there will be."""
        return len(self._handles) * self._steps * 3

    def when(self, part: float) -> None:
        """Wait until so much of it is booked."""
        with _changed:
            assert _changed.wait_for(lambda: len(self.entries()) >= part * self.size, WAIT_SECONDS)

    def entries(self) -> dict[str, int]:
        """How often each was booked."""
        return {entry: times for entry, times in _books.items() if entry.startswith(f"{self._name}-")}

    def results(self) -> list[int]:
        """Of all runs, once they have ended."""
        return [patiently(lambda handle=handle: handle.result(timeout=WAIT_SECONDS).wait()) for handle in self._handles]

    def demand_done(self) -> None:
        """All have ended, and each step was done."""
        results = self.results()

        assert set(results) == {self._steps * 3}
        assert len(self.entries()) == self.size

    def demand_exact(self) -> None:
        """All have ended, and each step was done once."""
        self.demand_done()

        entries = self.entries()
        assert {entry: times for entry, times in entries.items() if times != 1} == {}

    def demand_promised(self) -> None:
        """All have ended, each step was done once, but for those that are not tried again when nobody knows of them."""
        results = self.results()

        entries = self.entries()
        assert set(results) == {self._steps * 3}
        assert {entry: times for entry, times in entries.items() if times != 1} == {}
        assert sum(not entry.endswith("b") for entry in entries) == len(self._handles) * self._steps * 2


def patiently(call: Callable[[], T]) -> T:
    """Whoever asks while the database does not answer is told so, and asks again."""
    while True:
        try:
            return call()
        except errors.StoreUnreachable:
            continue
