"""Searchable attributes: a name and a typed value. Values of different types are never the same, nor in any order."""

import enum
from typing import TypeAlias

import msgspec


class Kind(enum.IntEnum):
    """The type of a value. Stable numbers: they are stored."""

    GONE = 0
    TEXT = 1
    WHOLE = 2
    FLOAT = 3
    TRUTH = 4
    MOMENT = 5
    TEXTS = 6


Value: TypeAlias = str | int | float | bool
"""What is compared. A moment is its nanoseconds since the epoch, of several texts each is a value."""


class Attribute(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`values`: one, of TEXTS one or more, of GONE none: the run has no attribute of that name (any more)."""

    name: str
    kind: int
    values: tuple[Value, ...] = ()


class Choice(msgspec.Struct, frozen=True):
    """Values of some kinds between two bounds, either of which may be missing, and which belong to it unless `above` or
    `below` says that a value has to lie beyond."""

    kinds: tuple[int, ...]
    low: Value | None = None
    high: Value | None = None
    above: bool = False
    below: bool = False


class Wanted(msgspec.Struct, frozen=True):
    """Runs that have an attribute of this name with a value that fits one of the choices."""

    name: str
    choices: tuple[Choice, ...]


def fits(wanted: Wanted, attribute: Attribute | None) -> bool:
    """Whether an attribute of the name that is wanted has such a value."""
    if attribute is None:
        return False
    fitting = [choice for choice in wanted.choices if attribute.kind in choice.kinds]
    return any(_lies_in(value, choice) for value in attribute.values for choice in fitting)


def _lies_in(value: Value, choice: Choice) -> bool:
    low, high = choice.low, choice.high
    if low is not None and (value < low or (choice.above and value == low)):  # type: ignore[operator]
        return False
    return high is None or value < high or (value == high and not choice.below)  # type: ignore[operator]


def merged(attributes: dict[str, Attribute], changes: tuple[Attribute, ...]) -> dict[str, Attribute]:
    """The attributes a run has after changes."""
    after = attributes | {each.name: each for each in changes}
    return {name: each for name, each in after.items() if each.kind != Kind.GONE}
