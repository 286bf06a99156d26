"""How it is said that a value and a type do not agree."""

import re
import types
import typing
from collections.abc import Iterable
from typing import Any

from perdure.errors import UnknownMessage

WORKS = (
    "None, bool, int, float, str, bytes, Decimal, datetime, date, time, timedelta, UUID, Enum, Literal, list, tuple, "
    "set, frozenset, dict, dataclasses, NamedTuple, TypedDict, msgspec.Struct, attrs and pydantic classes, and Any"
)
_SHOWN_CHARS = 80
_KEY_CHARS = 400
_QUOTED_OR_PREFIX = re.compile(r"""('[^']*'|"[^"]*")|(?:(?:\w+|<locals>)\.)+(?=[\w])""")


class Misfit(Exception):
    """Why a value or a type is refused, and where in it: `path`, such as ".lines[2].qty".

    `unencodable` means that no type would take the value, `alien` that its class is none that has a JSON form.
    """

    def __init__(self, problem: str, path: str = "", *, unencodable: bool = False, alien: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = path
        self.unencodable = unencodable or alien
        self.alien = alien

    def within(self, step: str) -> "Misfit":
        """The same, seen from one step further out."""
        self.path = step + self.path
        return self


def type_text(hint: Any) -> str:
    """A type as one writes it, without the modules it comes from: `list[Order] | None`."""
    if hint is None or hint is types.NoneType:
        return "None"
    text = hint.__qualname__ if isinstance(hint, type) and not typing.get_args(hint) else repr(hint)
    return _QUOTED_OR_PREFIX.sub(lambda match: match[1] or "", text)


def shown(value: Any) -> str:
    """A value and its type, briefly: `'ten' (str)`."""
    if value is None:
        return "None"
    return f"{_brief(value)} ({type_text(type(value))})"


def at_key(key: Any) -> str:
    """The step of a path into a dict or list: `['a']`."""
    return f"[{_brief(key, _KEY_CHARS)}]"


def _brief(value: Any, most: int = 0) -> str:
    try:
        text = repr(value)
    except Exception as broken:  # noqa: BLE001  the user's __repr__ may raise anything
        text = f"(its repr raises {type(broken).__name__})"
    most = most or _SHOWN_CHARS
    return text if len(text) <= most else text[: most - 3] + "..."


_MISSING = re.compile(r"missing required field `?(\w+)`?")


def how_to_read(error: BaseException) -> str:
    """What to write so that the code at hand reads what older code wrote."""
    if isinstance(error, UnknownMessage):
        return "keep its handler, or its channel, for as long as open runs have heard it, or are going to"
    missing = _MISSING.search(str(error))
    if missing is not None:
        return (
            f"give the new field a default:  {missing[1]}: ... = ...;  or, if a field is called {missing[1]} now, keep the old "
            "name for as long as open runs have it"
        )
    return getattr(error, "hint", "") or "mend the type hint, or let the type read what older code wrote"


def did_you_mean(name: str, names: Iterable[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, list(names), 1)
    return f"; did you mean {close[0]}?" if close else ""
