"""What is found, the same of many places told as one; and how two values differ, in a few lines."""

from collections import Counter
from collections.abc import Sequence
from pprint import pformat
from typing import Any

import msgspec

VALUE_CHARS = 100
"""Of a value that is shown."""

LIST_CHARS = 40
"""Of lists that are longer it is told what one has, and the other has not."""

IN_FLIGHT = " there: it was in flight when the process died"
"""Why a step was called again."""

FACTS = 8
"""Lines that tell of one finding, at most."""


class Finding(msgspec.Struct):
    """Something that is to be known of one or several crash points.

    `kind` is one of "divergence", "blocked", "outcome", "state", "runs", "unended", "promise", "store", "script",
    "unrepeatable", and as advice "repeated", "unsteady" and "harmless". `at`: the crash points, empty if it needs none.
    `about`: activities, or a line of code; what is found of the same is told together.
    """

    kind: str
    what: str
    facts: list[str] = []
    hint: str = ""
    at: list[str] = []
    about: str = ""


class Findings:
    """Those of many crash points: what is alike is one, with all its places."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str, str], list[Finding]] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, finding: Finding, at: str) -> None:
        alike = self._found.setdefault((finding.kind, finding.what, finding.hint, finding.about), [])
        for each in alike:
            if each.facts == finding.facts:
                each.at.append(at)
                return
        finding.at = [at]
        alike.append(finding)

    def all(self) -> list[Finding]:
        return [_merged(alike) for alike in self._found.values()]


def _merged(alike: Sequence[Finding]) -> Finding:
    """One finding of several: the facts that all have, then a line for each of what it has alone."""
    first = alike[0]
    if len(alike) == 1:
        return first
    common = [fact for fact in first.facts if all(fact in each.facts for each in alike)]
    lines = [f"{each.at[0]}: {'; '.join(_brief(fact) for fact in each.facts if fact not in common)}" for each in alike]
    more = len(lines) - FACTS
    facts = [*common, *(lines if more <= 0 else [*lines[:FACTS], f"and {more} more like these"])]
    places = [at for each in alike for at in each.at]
    return Finding(first.kind, first.what, facts, first.hint, places, first.about)


def _brief(fact: str) -> str:
    return fact.removesuffix(IN_FLIGHT)


def same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001  values of the user's that do not compare
        return repr(one) == repr(other)


def is_no_value(value: Any) -> bool:
    """Whether it is an object that is equal to nothing but itself."""
    return value is not None and type(value).__eq__ is object.__eq__


def difference(one: Any, other: Any) -> list[str]:
    """What is not the same in two values, in a few lines: of dicts by key, of long lists by what is in them, else as a whole."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [*one, *(key for key in other if key not in one)]
        lines = [
            f"{key}: {_value(one, key)} → {_value(other, key)}"
            for key in keys
            if key not in one or key not in other or not same(one[key], other[key])
        ]
    elif isinstance(one, list | tuple | set | frozenset) and type(one) is type(other) and len(repr(one)) > LIST_CHARS:
        lines = _of_items(one, other)
    else:
        lines = [f"{_shown(one)} → {_shown(other)}"]
    more = len(lines) - FACTS
    return lines if more <= 0 else [*lines[:FACTS], f"and {more} more"]


def _of_items(one: Any, other: Any) -> list[str]:
    """How often each item is there that is not as often in both; or the first of what is only in another order."""
    before, after = (Counter(map(_shown, values)) for values in (one, other))
    lines = [f"{item}: {before[item]} → {after[item]}" for item in {**before, **after} if before[item] != after[item]]
    if lines or isinstance(one, set | frozenset):
        return lines or [f"{_shown(one)} → {_shown(other)}"]
    at = next(n for n, (a, b) in enumerate(zip(one, other, strict=True)) if not same(a, b))
    return [f"in another order: item {at} is {_shown(one[at])} → {_shown(other[at])}"]


def _value(values: dict[Any, Any], key: Any) -> str:
    return _shown(values[key]) if key in values else "nothing"


def _shown(value: Any) -> str:
    return short(pformat(value, width=1_000, compact=True), VALUE_CHARS)


def short(text: str, most: int = 2 * VALUE_CHARS) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
