"""The places where an engine can die, four for each commit and one before each call of an activity; and a worker of queues,
two for each exchange."""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from random import Random
from typing import NamedTuple

from perdure.errors import DefinitionError

KINDS = ("before", "lost", "kept", "after")
"""Of a commit: nothing is written; all is, but nothing of it will be there; it is durable, and nobody has heard so; its
effects have not begun."""

EXCHANGE_KINDS = ("exchange", "exchanged")
"""Of what a worker of queues writes: nothing of it is written; it is durable, and the worker has not heard so. As it is one
small transaction, one that is rolled back is the same as none."""

_LABELS = {
    "before": "before commit {}",
    "lost": "inside commit {}, lost",
    "kept": "inside commit {}, kept",
    "after": "after commit {}",
    "effect": "before effect {}",
    "exchange": "before exchange {}",
    "exchanged": "after exchange {}",
}
_PATTERNS = {kind: re.compile(label.replace("{}", "([1-9][0-9]*)")) for kind, label in _LABELS.items()}


KINDS_OF = {"commit": KINDS, "effect": ("effect",), "exchange": EXCHANGE_KINDS}


class Point(NamedTuple):
    """The n-th commit, effect or exchange of a run without disturbances, counted from 1, and how the engine dies there, or the
    worker."""

    kind: str
    number: int

    def __str__(self) -> str:
        return _LABELS[self.kind].format(self.number)


def point_of(label: str) -> Point:
    """The point that a report calls so.

    Raises:
        DefinitionError: none is called so.
    """
    for kind, pattern in _PATTERNS.items():
        match = pattern.fullmatch(label.strip()) if isinstance(label, str) else None
        if match is not None:
            return Point(kind, int(match[1]))
    known = ", ".join(f'"{each.format(7)}"' for each in _LABELS.values())
    raise DefinitionError(f"crash_everywhere: {label!r} is no place for a crash; they are called: {known}")


def points_of(order: Iterable[tuple[str, int]]) -> list[Point]:
    """All points of a run whose commits, effects and exchanges came in that order."""
    return [Point(kind, number) for what, number in order for kind in KINDS_OF.get(what, ())]


def sample(points: Sequence[Point], most: int, seed: int) -> list[Point]:
    """At most so many of them, evenly: one of each stretch, chosen by the seed."""
    if len(points) <= most:
        return list(points)
    chance = Random(f"crash points {seed}")
    edges = [len(points) * n // most for n in range(most + 1)]
    return [points[chance.randrange(low, high)] for low, high in pairwise(edges)]
