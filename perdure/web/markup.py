"""Moments, values and tracebacks as HTML. Whatever comes from a run is escaped here, or by the templates.

Moments are shown in UTC; a script makes them local, and moves those that go on.
"""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

from perdure.client.sources import is_theirs
from perdure.durations import left, took

DEPTH = 5
ITEMS = 50
TEXT_CHARS = 600
VALUE_CHARS = 6_000
FLAT_CHARS = 72
COPIED_CHARS = 4_000
"""Of a value: how deep and how wide it is shown, how long a text in it, how long all of it, what fits in a line, and what
is offered to be copied."""


def rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def when(at: datetime | None, form: str = "clock") -> Markup:
    """A moment: "clock" is its time of day, or its day if that was not today; "exact" its time of day to the
    millisecond; "full" all of it."""
    if at is None:
        return Markup("")
    utc = at.astimezone(UTC)
    exact = f"{utc:%H:%M:%S}.{utc.microsecond // 1000:03d}"
    texts = {"clock": f"{utc:%b} {utc.day} {utc:%H:%M}", "exact": exact, "full": f"{utc:%b} {utc.day} {utc:%H:%M:%S}"}
    return Markup('<time datetime="{}" data-form="{}" title="{}">{}</time>').format(
        rfc3339(utc), form, f"{utc:%Y-%m-%d} {exact} UTC", texts[form]
    )


def since(at: datetime, now: datetime) -> Markup:
    """How long ago it was; it goes on."""
    text = took(max((now - at).total_seconds(), 0))
    return Markup('<span data-since="{}">{}</span>').format(rfc3339(at), text)


def until(at: datetime, now: datetime, form: str = "in") -> Markup:
    """How long it is until then: "in 12s" and at last "now", or (form "left") "12s left" and at last "due"."""
    seconds = (at - now).total_seconds()
    words = {"in": ("in {}", "now"), "left": ("{} left", "due")}[form]
    text = words[0].format(left(seconds)) if seconds > 0 else words[1]
    return Markup('<span data-until="{}" data-form="{}">{}</span>').format(rfc3339(at), form, text)


def pretty(value: Any) -> Markup:
    """A JSON value on lines, coloured, with everything beyond the bounds counted instead of shown."""
    writer = _Writer(VALUE_CHARS)
    return Markup("").join(writer.lines(value, 0))


def flat(value: Any, chars: int = 160) -> str:
    """A JSON value in one line, cut."""
    text = "".join(_flat(value, chars, DEPTH))
    return text if len(text) <= chars else text[: chars - 1] + "…"


def copyable(value: Any) -> str:
    """A JSON value as text to copy; nothing if it is large."""
    text = "".join(_flat(value, COPIED_CHARS, 100))
    return text if len(text) < COPIED_CHARS else ""


def _flat(value: Any, room: int, depth: int) -> Iterator[str]:
    """Pieces of the one-line form; not many more than there is room for."""
    if isinstance(value, dict | list) and depth == 0 and value:
        yield _counted(value)
    elif isinstance(value, dict):
        yield from _joined("{", "}", (_pair(key, each, room, depth) for key, each in value.items()), room)
    elif isinstance(value, list):
        yield from _joined("[", "]", (_flat(each, room, depth - 1) for each in value), room)
    elif isinstance(value, str):
        yield json.dumps(value if len(value) <= room else value[:room] + "…", ensure_ascii=False)
    else:
        yield json.dumps(value)


def _pair(key: str, value: Any, room: int, depth: int) -> Iterator[str]:
    yield json.dumps(key[:room], ensure_ascii=False) + ": "
    yield from _flat(value, room, depth - 1)


def _joined(opening: str, closing: str, members: Iterator[Iterator[str]], room: int) -> Iterator[str]:
    yield opening
    for number, member in enumerate(members):
        if room <= 0:
            yield ", …"
            break
        if number:
            yield ", "
        for piece in member:
            room -= len(piece)
            yield piece
    yield closing


def _counted(value: "dict[str, Any] | list[Any]") -> str:
    many = f"{len(value):,}"
    if isinstance(value, list):
        return f"[ {many} items ]" if len(value) != 1 else "[ 1 item ]"
    return f"{{ {many} fields }}" if len(value) != 1 else "{ 1 field }"


_CLASSES = {str: "s", bool: "d", type(None): "d", int: "n", float: "n"}


class _Writer:
    """Writes a value on lines until there is no more room."""

    def __init__(self, room: int) -> None:
        self._room = room

    def lines(self, value: Any, depth: int) -> Iterator[Markup]:
        if not isinstance(value, dict | list):
            yield self._scalar(value)
            return
        small = flat(value, FLAT_CHARS + 1)
        if not value or (len(small) <= FLAT_CHARS and not _holds_containers(value)):
            yield from self._one_line(value)
        elif depth >= DEPTH or self._room <= 0:
            yield self._dim(_counted(value))
        else:
            yield from self._container(value, depth)

    def _one_line(self, value: "dict[str, Any] | list[Any]") -> Iterator[Markup]:
        opening, closing = "{}" if isinstance(value, dict) else "[]"
        yield Markup(opening)
        for number, (key, each) in enumerate(_members(value)):
            yield Markup(", " if number else "") + self._key(key) + self._scalar(each)
        yield Markup(closing)

    def _container(self, value: "dict[str, Any] | list[Any]", depth: int) -> Iterator[Markup]:
        opening, closing = "{}" if isinstance(value, dict) else "[]"
        inner = "  " * (depth + 1)
        yield Markup(opening)
        for number, (key, each) in enumerate(_members(value)):
            if number >= ITEMS or self._room <= 0:
                yield Markup("\n") + inner + self._dim(f"… {len(value) - number:,} more")
                break
            yield Markup(",\n" if number else "\n") + inner + self._key(key)
            yield from self.lines(each, depth + 1)
        yield Markup("\n") + "  " * depth + closing

    def _key(self, key: str | None) -> Markup:
        if key is None:
            return Markup("")
        shown = key if len(key) <= TEXT_CHARS else key[:TEXT_CHARS] + "…"
        self._room -= len(shown)
        return Markup('<span class="k">{}</span>: ').format(json.dumps(shown, ensure_ascii=False))

    def _scalar(self, value: Any) -> Markup:
        if isinstance(value, dict | list):  # an empty one
            return Markup("{}" if isinstance(value, dict) else "[]")
        if isinstance(value, str) and len(value) > TEXT_CHARS:
            self._room -= TEXT_CHARS
            shown = json.dumps(value[:TEXT_CHARS], ensure_ascii=False)[:-1]
            more = self._dim(f"… {len(value) - TEXT_CHARS:,} more characters")
            return Markup('<span class="s">{}</span>').format(shown) + more
        text = json.dumps(value, ensure_ascii=False)
        self._room -= len(text) + 4
        return Markup('<span class="{}">{}</span>').format(_CLASSES.get(type(value), "d"), text)

    def _dim(self, text: str) -> Markup:
        self._room -= len(text)
        return Markup('<span class="d">{}</span>').format(text)


def _members(value: "dict[str, Any] | list[Any]") -> Iterator[tuple[str | None, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    else:
        yield from ((None, each) for each in value)


def _holds_containers(value: "dict[str, Any] | list[Any]") -> bool:
    return any(isinstance(each, dict | list) and each for _, each in _members(value))


_FRAME = re.compile(r'^(\s*File ")([^"]+)(", line )(\d+)(.*)$')


def traceback(text: str) -> Markup:
    """A formatted traceback: files of libraries are pale, the innermost line of the user's own code is marked."""
    lines = text.rstrip("\n").split("\n")
    frames = [(number, match) for number, line in enumerate(lines) if (match := _FRAME.match(line))]
    own = [number for number, match in frames if is_theirs(match[2])]
    marked = (own or [number for number, _ in frames] or [-1])[-1]
    pieces = [_traced(line, number, marked) for number, line in enumerate(lines)]
    return Markup("\n").join(pieces)


def _traced(line: str, number: int, marked: int) -> Markup:
    match = _FRAME.match(line)
    if match is not None:
        lead, path, middle, line_number, rest = match.groups()
        kind = "own" if is_theirs(path) else "d"
        return Markup('<span class="{}">{}{}{}<b>{}</b>{}</span>').format(kind, lead, path, middle, line_number, rest)
    if number == marked + 1 and marked >= 0:
        return Markup('<mark class="hit">{}</mark>').format(line)
    if line.startswith(("Traceback (", "    ")):
        return Markup('<span class="d">{}</span>').format(line)
    return Markup('<span class="er">{}</span>').format(line) if not line.startswith(" ") else escape(line)
