"""JSON for scripts: whole, a selection of fields, or a line per record."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from perdure.cli.options import ALL
from perdure.cli.problems import USAGE, Problem, guess

_ALIASES = {"state": "status"}
"""Lists call it STATE and filter by --state; the field is `status`. Selected by either name."""


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
    """The record with only the paths asked for, nested as they were."""
    if paths is None:
        return record
    chosen: dict[str, Any] = {}
    for path in paths:
        parts = path.split(".")
        found: Any = record
        for part in parts:
            found = found.get(part, found.get(_ALIASES.get(part, part))) if isinstance(found, dict) else None
        place = chosen
        for part in parts[:-1]:
            place = place.setdefault(part, {})
        place[parts[-1]] = found
    return chosen


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
