"""Every state that can be reached, each once, the nearest first; and from which of them no good end can be reached.

States are known by their 64-bit hashes: of a million, two are taken for one with a chance of one in thirty million.
"""

import gc
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

from tests.model.calls import CALLS
from tests.model.protocol import Label, Violation
from tests.model.server import Txn

STUCK = "from here on nothing leads to a good end"


class Machine(Protocol):
    """What can be explored. Worlds are compared by their values."""

    def first(self) -> Any: ...

    def steps(self, world: Any) -> Iterable[tuple[Label, bool, Any]]:
        """What can happen, whether it is sure to happen some time, and the world after it."""
        ...

    def is_good(self, world: Any) -> bool: ...


class Found(NamedTuple):
    """A violation, with the shortest way to it in words."""

    what: str
    trace: list[str]

    def __str__(self) -> str:
        return "\n".join([f"after {len(self.trace)} steps: {self.what}", *(f"  {line}" for line in self.trace)])


class Explored(NamedTuple):
    states: int
    steps: int
    found: Found | None


class TooMany(Exception):
    """More states than were allowed for."""


def explore(protocol: Machine, most: int = 1_000_000) -> Explored:
    """Breadth first. A state from which nothing that is sure to happen leads to a good one is a violation as well.

    Raises:
        TooMany: nothing is known then.
    """
    start = protocol.first()
    numbers = {hash(start): 0}
    states: list[Any] = [start]
    way = array("q", [-1]), array("q", [0])
    edges = array("q"), array("q")
    good = bytearray([protocol.is_good(start)])
    steps = place = 0
    with _no_collector():
        while place < len(states):
            world, states[place] = states[place], None
            try:
                for ordinal, (_, is_sure, after) in enumerate(protocol.steps(world)):
                    steps += 1
                    name = hash(after)
                    number = numbers.get(name)
                    if number is None:
                        number = numbers[name] = len(states)
                        states.append(after)
                        way[0].append(place)
                        way[1].append(ordinal)
                        good.append(protocol.is_good(after))
                    if is_sure and number != place:
                        edges[0].append(place)
                        edges[1].append(number)
            except Violation as violation:
                return Explored(len(states), steps, Found(str(violation), _trace(protocol, way, place)))
            place += 1
            if len(states) > most:
                raise TooMany(f"more than {most} states")
    stuck = _stuck(good, *edges)
    found = None if stuck is None else Found(STUCK, _trace(protocol, way, stuck))
    return Explored(len(states), steps, found)


@contextmanager
def _no_collector() -> Iterator[None]:
    """Of cycles: there are none, and looking for them takes half of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _stuck(good: bytearray, origins: "array[int]", targets: "array[int]") -> int | None:
    """The first state from which no good one can be reached."""
    counts = array("q", bytes(8 * (len(good) + 1)))
    for target in targets:
        counts[target + 1] += 1
    begins = array("q", accumulate(counts))
    places = begins[:]
    before = array("q", bytes(8 * len(origins)))
    for origin, target in zip(origins, targets, strict=True):
        before[places[target]] = origin
        places[target] += 1
    todo = [number for number, is_good in enumerate(good) if is_good]
    while todo:
        number = todo.pop()
        for origin in before[begins[number] : begins[number + 1]]:
            if not good[origin]:
                good[origin] = True
                todo.append(origin)
    number = good.find(0)
    return None if number < 0 else number


def _trace(protocol: Machine, way: "tuple[array[int], array[int]]", number: int) -> list[str]:
    ordinals: list[int] = []
    while number > 0:
        ordinals.append(way[1][number])
        number = way[0][number]
    world, trace = protocol.first(), []
    for ordinal in reversed(ordinals):
        for place, (label, _, after) in enumerate(protocol.steps(world)):
            if place == ordinal:
                trace.append(told(label))
                world = after
                break
    return trace


def told(label: Label) -> str:
    """In words. Processes, clients and members are counted from 1."""
    what, who, *rest = label
    whose = (
        "left alone" if who == "alone" else f"client {who + 1}" if what in ("send", "sent") else f"process {who + 1}"
    )
    if not rest or not isinstance(rest[0], Txn):
        return " ".join([f"{whose}:", what, *(str(each) for each in rest if each is not None)])
    txn = rest[0]
    statements = CALLS[txn.call]
    at = statements[txn.pc].__name__ if txn.pc < len(statements) else "COMMIT"
    if what != txn.call:
        return f"{whose}: {what}, in {txn.call} before {at}"
    ends = "" if len(rest) == 1 else f", {rest[1]}" if rest[1] != at else ""
    return f"{whose}: {txn.call} of member {txn.me}: {at}{ends}"
