"""Durations as people write them (300, "5m", timedelta(minutes=5)), made nanoseconds; and as people read them."""

import re
from datetime import timedelta
from decimal import Decimal

from perdure.errors import DefinitionError

_UNITS: dict[str, int] = {}
for _names, _size_ns in (
    ("ns nanosecond nanoseconds", 1),
    ("us µs μs microsecond microseconds", 1_000),
    ("ms millisecond milliseconds", 1_000_000),
    ("s sec secs second seconds", 1_000_000_000),
    ("m min mins minute minutes", 60_000_000_000),
    ("h hr hrs hour hours", 3_600_000_000_000),
    ("d day days", 86_400_000_000_000),
    ("w week weeks", 604_800_000_000_000),
):
    _UNITS.update(dict.fromkeys(_names.split(), _size_ns))

_PART = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*([^\W\d_]*)\s*")
_LONGEST_TEXT = 100
_FORMS = 'write seconds as a number (300, 0.5), a text such as "5m", "1h30m", "500ms" or "3 days", or a timedelta'
_KNOWN = "ns, us, ms, s, m, h, d and w, or their names, as in 3 days"


def duration_ns(value: float | int | str | timedelta) -> int:
    """A duration in nanoseconds, to the nearest one.

    Args:
        value: seconds, a timedelta, or a text: numbers with units (ns, us, ms, s, m, h, d, w or their names), added up.

    Raises:
        DefinitionError: it is none of these, or negative, or without end.
    """
    match value:
        case bool():
            raise DefinitionError(f"{value} is not a duration: {_FORMS}")
        case str():
            return _of_text(value)
        case timedelta():
            return _of_timedelta(value)
        case int() | float():
            return _of_seconds(value)
        case _:
            raise DefinitionError(f"{value!r} ({type(value).__name__}) is not a duration: {_FORMS}")


def _of_seconds(seconds: float) -> int:
    if not 0 <= seconds < float("inf"):
        raise DefinitionError(
            f"a duration is at least 0 and has an end, and {_said(seconds)} seconds is not one: {_FORMS}"
        )
    # By way of the decimal form a float is shown in: 0.1 means a tenth, not the binary fraction next to it.
    return int(seconds) * 10**9 if isinstance(seconds, int) else round(Decimal(repr(float(seconds))) * 10**9)


def _said(number: float) -> str:
    try:
        return repr(number)
    except ValueError:  # Python writes no int of thousands of digits
        return "less than any number of"


def _of_timedelta(value: timedelta) -> int:
    if value < timedelta():
        raise DefinitionError(f"a duration is at least 0, not {value!r}: {_FORMS}")
    return (value.days * 86_400 + value.seconds) * 10**9 + value.microseconds * 1_000


def _of_text(text: str) -> int:
    if not text.strip():
        raise DefinitionError(f"a duration was expected, and the text {text!r} is empty: {_FORMS}")
    if len(text) > _LONGEST_TEXT:
        raise DefinitionError(f"a text of {len(text):,} characters is not a duration: {_FORMS}")
    total, at = Decimal(0), 0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None:
            raise DefinitionError(_unreadable(text, at))
        number, unit = part.groups()
        size_ns = _UNITS.get(unit) or _UNITS.get(unit.lower())
        if size_ns is None:
            raise DefinitionError(_unknown_unit(text, number, unit))
        total += Decimal(number) * size_ns
        at = part.end()
    return round(total)


def _unreadable(text: str, at: int) -> str:
    if text.lstrip().startswith("-"):
        return f"a duration is at least 0, not {text!r}: {_FORMS}"
    return f"{text!r} is not a duration, it cannot be read from {text[at:]!r} on: {_FORMS}"


def _unknown_unit(text: str, number: str, unit: str) -> str:
    if not unit:
        bare = f'"{number}s" or the number {number}' if text.strip() == number else f'"{number}s" for seconds'
        return f"the duration {text!r} has a number without a unit: write {bare}"
    return f"the duration {text!r} has an unknown unit {unit!r}: the units are {_KNOWN}"


def took(seconds: float) -> str:
    """A duration in at most six characters or so: 12ms, 0.8s, 33.4s, 4m47s, 5h16m, 4d2h."""
    if seconds < 0.0995:
        return f"{max(seconds, 0) * 1000:.0f}ms"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    for size, unit, part, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        parts, each = round(seconds / part), size // part
        if parts >= each:
            rest = parts % each
            if not rest:
                return f"{parts // each}{unit}"
            return f"{parts // each}d{rest}h" if unit == "d" else f"{parts // each}{unit}{rest:02d}{smaller}"
    return f"{round(seconds)}s"


def left(seconds: float) -> str:
    """A time still to come, in whole seconds and at least one."""
    return f"{max(round(seconds), 1)}s" if seconds < 59.5 else took(seconds)
