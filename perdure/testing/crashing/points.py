"""The places where an engine can die: four for each commit, and one before each call of an activity."""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from random import Random
from typing import NamedTuple

from perdure.errors import DefinitionError

KINDS = ("before", "lost", "kept", "after")
"""Of a commit: nothing is written; all is, but nothing of it will be there; it is durable, and nobody has heard so; its
effects have not begun."""

_LABELS = {
    "before": "before commit {}",
    "lost": "inside commit {}, lost",
    "kept": "inside commit {}, kept",
    "after": "after commit {}",
    "effect": "before effect {}",
}
_PATTERNS = {kind: re.compile(label.replace("{}", "([1-9][0-9]*)")) for kind, label in _LABELS.items()}


class Point(NamedTuple):
    """The n-th commit or effect of a run without disturbances, counted from 1, and how the engine dies there."""

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
    """All points of a run whose commits and effects came in that order."""
    points: list[Point] = []
    for what, number in order:
        kinds = KINDS if what == "commit" else ("effect",) if what == "effect" else ()
        points += [Point(kind, number) for kind in kinds]
    return points


def sample(points: Sequence[Point], most: int, seed: int) -> list[Point]:
    """At most so many of them, evenly: one of each stretch, chosen by the seed."""
    if len(points) <= most:
        return list(points)
    chance = Random(f"crash points {seed}")
    edges = [len(points) * n // most for n in range(most + 1)]
    return [points[chance.randrange(low, high)] for low, high in pairwise(edges)]
