"""What attempts write to streams in a simulation: the real `Outflow` stores it, driven by hand, and the store answers, or not.

Each attempt that tells writes numbers from 0 on, so that it shows in a stream what is missing, and what is there twice.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from perdure.errors import StoreUnreachable
from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.streams import ChunkRow
from perdure.payload import Coder
from perdure.runtime.outflow import Append, Outflow, Spool
from perdure.runtime.slots import Flight
from perdure.runtime.world import World
from perdure.stores.base import Store
from perdure.stores.streaming import Verdict
from perdure.testing.simulation.histories import demand
from perdure.testing.simulation.plan import drawn
from perdure.testing.simulation.world import Crash

FLUSH_SECONDS = (0.0, 0.05, 0.05, 1.0)
PAGE_BYTES = (1, 30, 10_000)
FROZEN_SECONDS = 30.0

FAULTS = ("before", "after", "lost", "in doubt", "in doubt", "frozen")
"""What befalls an append: the process dies before it or after it, the store does not answer and it was stored, or was not; or
the process stands still before it, for longer than others wait."""

_NOTHING = Coder()


def own_stream(step: str) -> str:
    """The stream of a step, to which nobody else writes."""
    return f"of {step}"


class Told(NamedTuple):
    """A chunk as it stands in a stream: who has written it, and which of its own it is."""

    step: str
    attempt: int
    number: int


class Body(Protocol):
    """The process that writes: what may become of it."""

    def is_dead(self) -> bool: ...

    def is_still(self) -> bool:
        """It is frozen: nothing of it goes on."""
        ...

    def wait(self, seconds: float) -> None:
        """A thread of it waits, and everything else goes on."""
        ...

    def freeze(self, seconds: float) -> None:
        """It stands still, all of it."""
        ...

    def die(self) -> None: ...


class Appends:
    """All that is appended in a life, by whomever: what befalls the n-th is drawn, and what was written is known."""

    def __init__(self, seed: int, store: Store, is_disturbed: bool) -> None:
        self._seed = seed
        self._store = store
        self._disturbed = is_disturbed
        self._n = 0
        self._written: dict[tuple[int, str, int], dict[str, int]] = {}
        self._seen: dict[tuple[int, str], list[Told]] = {}

    def wrote(self, flight: Flight, stream: str) -> None:
        """An attempt has written one more."""
        of_attempt = self._written.setdefault((flight.key, flight.step, flight.attempt), {})
        of_attempt[stream] = of_attempt.get(stream, 0) + 1

    def fault(self) -> str:
        """What befalls the next append."""
        self._n += 1
        chance = drawn("append", self._seed, self._n)
        return chance.choice(FAULTS) if self._disturbed and chance.random() < 0.2 else ""

    def look(self, key: int, id: str, own: Mapping[str, int]) -> None:
        """What there is in the streams of a run; of its own chunks so many."""
        found: dict[str, int] = {}
        for row in self._store.streams.of_run(key):
            told = self._read(key, row.name)
            what = f"the stream {row.name!r} of {id}"
            demand(len(told) == row.chunks, f"{what} counts {row.chunks} chunks and has {len(told)} (3)")
            seen = self._seen.get((key, row.name), [])
            demand(told[: len(seen)] == seen, f"{what} has changed: it was {seen}, and is {told} (4)")
            self._seen[key, row.name] = told
            numbers: dict[tuple[str, int], list[int]] = {}
            for each in told:
                numbers.setdefault((each.step, each.attempt), []).append(each.number)
            for (step, attempt), of_attempt in numbers.items():
                wrote = self._written.get((key, step, attempt), {}).get(row.name, 0) if step else len(of_attempt)
                demand(
                    (of_attempt == list(range(len(of_attempt))) and len(of_attempt) <= wrote) or not step,
                    f"{what} has of [{step}]#{attempt} {of_attempt}, and it has written {wrote} (3)",
                )
            latest: dict[str, int] = {}
            for each in told:
                late = each.attempt < latest.setdefault(each.step, each.attempt)
                demand(not late, f"{what} has of [{each.step}]#{each.attempt} what came after a later attempt's (3)")
                latest[each.step] = each.attempt
            if ("", 0) in numbers:
                found[row.name] = len(numbers["", 0])
        demand(found == dict(own), f"{id} has written {dict(own)} to its streams, and they hold {found} (3)")

    def demand_same(self, key: int, id: str) -> None:
        """Nothing was written since the run has ended."""
        for row in self._store.streams.of_run(key):
            seen, told = self._seen.get((key, row.name), []), self._read(key, row.name)
            demand(told == seen, f"the stream {row.name!r} of {id} had {seen} when that ended, and has {told} (4)")

    def ended(self, key: int, id: str, events: Iterable[ev.HistoryEvent]) -> None:
        """Attempts whose results are recorded: all they have written is there."""
        for event in events:
            if not isinstance(event, ev.ActivityCompleted):
                continue
            for stream, count in self._written.get((key, event.id, event.attempt), {}).items():
                there = [
                    each for each in self._read(key, stream) if (each.step, each.attempt) == (event.id, event.attempt)
                ]
                what = f"[{event.id}]#{event.attempt} of {id} has succeeded"
                demand(len(there) == count, f"{what} and written {count} to {stream!r}: {len(there)} are there (1, 3)")

    def _read(self, key: int, stream: str) -> list[Told]:
        """As somebody does who follows it."""
        told: list[Told] = []
        size = drawn("page", self._seed, key, stream, self._n).choice(PAGE_BYTES)
        while True:
            page = self._store.streams.page(key, stream, len(told), size)
            for row in page.rows:
                chunks = wire.decode_chunks(row.body)[len(told) - row.first :]
                told += [Told(row.step, row.attempt, int(chunk.value.data)) for chunk in chunks]
            if not page.rows:
                return told


class Flow(Outflow):
    """That of one process."""

    def __init__(self, appends: Appends, append: Append, world: World, body: Body) -> None:
        super().__init__(self._faulty, _NOTHING, world, _Nobody())  # type: ignore[arg-type]
        self._changed = _Turn(body)  # type: ignore[assignment]
        self._appends = appends
        self._really = append
        self._body = body
        self._flushing = False
        self._died = False

    @property
    def dead(self) -> bool:
        return self._died or self._body.is_dead()

    def flush(self) -> bool:
        """Store what there is. Whether somebody has to come again."""
        if self.dead or not self._waiting:
            return False
        if self._flushing or self._body.is_still():
            return True
        self._flushing = True
        try:
            self._store(self._take())
        except Crash:
            if not self.dead:
                self._died = True
                self._body.die()
        finally:
            self._flushing = False
        return bool(self._waiting) and not self.dead

    def _faulty(self, rows: Sequence[ChunkRow]) -> Sequence[Verdict]:
        if self.dead:
            raise Crash
        how = self._appends.fault()
        if how == "before":
            raise Crash
        if how == "lost":
            raise StoreUnreachable("it does not answer")
        if how == "frozen":
            self._body.freeze(FROZEN_SECONDS)
        verdicts = self._really(rows)
        if how == "after":
            raise Crash
        if how == "in doubt":
            raise StoreUnreachable("the answer does not come")
        return verdicts


class Teller:
    """An attempt that writes."""

    def __init__(self, flow: Flow, appends: Appends, flight: Flight) -> None:
        self._flow = flow
        self._appends = appends
        self._flight = flight
        self.spool = Spool(flight)
        self._counts: dict[str, int] = {}

    def write(self, stream: str) -> None:
        """The next number. One whose result nobody wants writes in vain."""
        number = self._counts.get(stream, 0)
        try:
            self._flow.write(self.spool, stream, b"%d" % number)
        except BaseException:  # noqa: BLE001  it will fail with that
            return
        self._counts[stream] = number + 1
        self._appends.wrote(self._flight, stream)

    def close(self, stream: str) -> None:
        try:
            self._flow.write(self.spool, stream, None)
        except BaseException:  # noqa: BLE001
            return


class _Nobody:
    """No thread stores it: the simulation does."""

    def run(self, work: Callable[[], None]) -> None:
        pass


class _Turn:
    """Everything happens on one thread; who waits lets others act."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def __enter__(self) -> "_Turn":
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def notify(self) -> None:
        pass

    def wait(self, seconds: float) -> bool:
        self._body.wait(seconds)
        return False
