"""Conditions on attributes as they are typed: on a command line, in an address, into a field. There are no types there, so
a text is looked for as whatever it may mean.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from perdure.attributes import attributes_of, checked_name, demand_few_conditions
from perdure.errors import DefinitionError
from perdure.kernel.attributes import Choice, Kind, Wanted, fits

_CONDITION = re.compile(r"(?P<name>[^=<>]+?)\s*(?P<sign>>=|<=|>|<|=)\s*(?P<text>.*)", re.DOTALL)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_DAY = len("2026-11-22")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST = 2**63
_SHOWN_CHARS = 200


class _Range(NamedTuple):
    """The two ends, "" without one, and whether each is left out of what fits."""

    low: str
    high: str
    above: bool = False
    below: bool = False


def conditions_in(texts: Sequence[str], owner: str) -> tuple[Wanted, ...]:
    """What runs must have. Signs are = > >= < <=; of = a range is A..B, with either end left out, and A,B is one of both.

    A number is compared with whole numbers and floats, a date or time with moments; with = every value is text as well.

    Raises:
        DefinitionError: one is no condition, or there are too many; `owner` says whose.
    """
    wanted = tuple(_condition(text.strip(), owner) for text in texts)
    demand_few_conditions(wanted, owner)
    return wanted


def _condition(text: str, owner: str) -> Wanted:
    match = _CONDITION.fullmatch(text)
    ranges = () if match is None else _ranges(match["sign"], match["text"].strip())
    if match is None or not all(each.low or each.high for each in ranges):
        raise DefinitionError(
            f"{owner}: {_brief(text)} is no condition; write region=eu, amount>100 or day=2026-11-01..2026-11-30"
        )
    if not match["text"].isprintable():
        raise DefinitionError(f"{owner}: {_brief(text)} has characters in it that cannot be typed")
    choices = [choice for each in ranges for choice in _choices(each)]
    if all(_is_empty(each) for each in choices):
        raise DefinitionError(
            f"{owner}: nothing lies in the range of {_brief(text)}; its ends are of one type, the lower one first"
        )
    return Wanted(checked_name(match["name"], owner), tuple(choices))


def _brief(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…")


def _ranges(sign: str, text: str) -> list[_Range]:
    if sign in (">", ">="):
        return [_Range(text, "", above=sign == ">")]
    if sign in ("<", "<="):
        return [_Range("", text, below=sign == "<")]
    found: list[_Range] = []
    for each in text.split(","):
        low, dots, high = each.partition("..")
        found.append(_Range(low.strip(), high.strip() if dots else low.strip()))
    return found


def _choices(asked: _Range) -> list[Choice]:
    """What the ends of a range may mean, type by type."""
    low, high, above, below = asked
    choices: list[Choice] = []
    ends = [bool(end) for end in (low, high)]
    numbers = [_number(end) for end in (low, high)]
    if [number is not None for number in numbers] == ends:
        choices.append(Choice((Kind.WHOLE, Kind.FLOAT), numbers[0], numbers[1], above, below))
    if [moment_in(end) is not None for end in (low, high)] == ends:
        choices.append(_moments(asked))
    if low == high and low in ("true", "false"):
        choices.append(Choice((Kind.TRUTH,), int(low == "true"), int(low == "true")))
    if low == high or not any(number is not None for number in numbers):
        choices.append(Choice((Kind.TEXT, Kind.TEXTS), low or None, high or None, above, below))
    return choices


def _is_empty(choice: Choice) -> bool:
    return choice.low is not None and choice.high is not None and choice.low > choice.high  # type: ignore[operator]


def _number(text: str) -> float | int | None:
    if not _NUMBER.fullmatch(text):
        return None
    number = int(text) if text.lstrip("+-").isdigit() and len(text) < 30 else float(text)
    return number if abs(number) < _LARGEST else None


def moment_in(text: str) -> datetime | None:
    """The moment that a text looks like; None if it does not."""
    if not _MOMENT.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _moments(asked: _Range) -> Choice:
    """A day begins with its first moment and ends before that of the next, in UTC unless a time zone is written."""
    low, high = _ns(asked.low), _ns(asked.high)
    above, below = asked.above, asked.below
    if low is not None and above and _is_day(asked.low):
        low, above = _after(low), False
    if high is not None and not below and _is_day(asked.high):
        high, below = _after(high), True
    return Choice((Kind.MOMENT,), low, high, above, below)


def _is_day(text: str) -> bool:
    return len(text) == _DAY


def _after(ns: int) -> int:
    return min(ns + 86_400 * 10**9, _LARGEST - 1)


def _ns(text: str) -> int | None:
    """The nearest moment that can be stored."""
    moment = moment_in(text)
    if moment is None:
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(-_LARGEST, min((aware - _EPOCH) // timedelta(microseconds=1) * 1000, _LARGEST - 1))


def condition_of(name: str, value: Any) -> str | None:
    """What one types to find the runs that have the same; None if there is no such text."""
    match value:
        case bool():
            text = "true" if value else "false"
        case datetime():
            text = value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case str() if "," in value or ".." in value:
            return None
        case str() | int() | float():
            text = str(value)
        case _:
            return None
    try:
        (attribute,) = attributes_of({name: value}, name)
        (wanted,) = conditions_in((f"{name}={text}",), name)
    except DefinitionError:
        return None
    return f"{name}={text}" if fits(wanted, attribute) else None
