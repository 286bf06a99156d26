"""What must come out of a simulated program, and what it has to be told: found without an engine."""

from collections.abc import Iterable
from typing import Any

Spec = list[Any]

UNDONE = -1
"""What a saga comes to that fails."""


def said_in_order(words: Iterable[int]) -> int:
    """Another number for each order of the words."""
    total = 0
    for word in words:
        total = (total * 1_009 + word + 1) % 1_000_003
    return total


def moved_by(spec: Spec) -> int:
    """How much money transfers of the program move, in all."""
    match spec:
        case ["transfer", n, fails, _]:
            return 0 if fails else n
        case ["sequence" | "gather" | "group", specs]:
            return sum(map(moved_by, specs))
        case _:
            return 0


def value_of(spec: Spec, told: int = 0) -> int:
    """What the program comes to, `told` being the sum of all that its run is told."""
    return _value(spec) + told


def _value(spec: Spec) -> int:
    match spec:
        case ["act", _, n] | ["changed" | "fail" | "raced", n] | ["timeout", _, n] | ["nested", _, _, n]:
            return 2 * n + 1
        case ["sleep", _] | ["left", *_]:
            return 1
        case ["sequence" | "gather" | "group", specs]:
            return sum(map(_value, specs))
        case ["finally", inner, _] | ["third time", inner] | ["child" | "retried" | "shield", _, inner]:
            return _value(inner)
        case ["write", _, count]:
            return count
        case ["saga", ns, fails]:
            return UNDONE if fails else sum(2 * n + 1 for n in ns)
        case ["chain", left, inner]:
            return (left + 1) * _value(inner)
        case ["ask", n]:
            return n
        case ["given up" | "given up late", *_]:
            return 2
        case ["stopped", _]:
            return 3
        case ["told", *_]:
            return 123  # the words 0 to 3, in this order
        case ["listen" | "desk" | "chat", _]:
            return 0
        case ["transfer", n, fails, _]:
            return UNDONE if fails else n
        case _:
            raise ValueError(f"nobody knows what {spec} comes to")


def undone_in(spec: Spec) -> int:
    """How many compensations run in the last run of the program; children have their own."""
    match spec:
        case ["saga", ns, True]:
            return len(ns)
        case ["sequence" | "gather" | "group", specs]:
            return sum(map(undone_in, specs))
        case ["finally", inner, _] | ["third time", inner] | ["chain", _, inner]:
            return undone_in(inner)
        case _:
            return 0


def words_for(spec: Spec) -> int:
    """How many numbers the run has to be told by clients."""
    match spec:
        case ["listen" | "chat", count]:
            return count
        case ["chain", left, inner]:
            return (left + 1) * words_for(inner)
        case ["sequence" | "gather" | "group", specs]:
            return sum(map(words_for, specs))
        case _:
            return 0
