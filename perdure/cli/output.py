"""JSON for scripts: whole, a selection of fields, or a line per record."""

import io
import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, redirect_stdout
from typing import Any

from perdure.cli.options import ALL
from perdure.cli.problems import USAGE, Problem, guess

_ALIASES = {"state": "status"}
"""Lists call it STATE and filter by --state; the field is `status`. Selected by either name."""


class _Nowhere(io.TextIOBase):
    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        return len(text)


def unheard() -> AbstractContextManager[Any]:
    """What the user's code prints while it is only looked at is no data, and told a thousand times is no narration either."""
    return redirect_stdout(_Nowhere())


def fields(selection: str | None, known: Sequence[str]) -> list[str] | None:
    """The fields of `--json=a,b.c`; None for all. Only the first part of a path can be checked."""
    if selection is None or selection == ALL:
        return None
    wanted = [path.strip() for path in selection.split(",") if path.strip()]
    for path in wanted:
        head = path.partition(".")[0]
        if head not in known and head not in _ALIASES:
            meant = guess(head, known)
            raise Problem(
                f"there is no field {head!r}",
                USAGE,
                [f"fields: {', '.join(known)}"],
                f"did you mean  --json={meant}" if meant else "",
            )
    return wanted


def selected(record: dict[str, Any], paths: Sequence[str] | None) -> dict[str, Any]:
    """The record with only the paths asked for, nested as they were; a path goes through each item of a list."""
    if paths is None:
        return record
    inner: dict[str, list[str]] = {}
    for path in paths:
        head, _, rest = path.partition(".")
        inner.setdefault(head, []).append(rest)
    chosen: dict[str, Any] = {}
    for head, rests in inner.items():
        value = record.get(head, record.get(_ALIASES.get(head, head)))
        chosen[head] = value if "" in rests else _within(value, rests)
    return chosen


def _within(value: Any, paths: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_within(item, paths) for item in value]
    return selected(value if isinstance(value, dict) else {}, paths)


def write_json(value: Any) -> None:
    """A document: indented for a person, in one line for a pipe."""
    indent = 2 if sys.stdout.isatty() else None
    sys.stdout.write(json.dumps(value, ensure_ascii=not _unicode(), indent=indent) + "\n")
    sys.stdout.flush()


def write_ndjson(records: Iterable[Any]) -> None:
    """A line per record, each flushed: somebody follows."""
    for record in records:
        sys.stdout.write(json.dumps(record, ensure_ascii=not _unicode()) + "\n")
        sys.stdout.flush()


def _unicode() -> bool:
    return (sys.stdout.encoding or "utf-8").lower().startswith("utf")
