"""Commits and effects of an undisturbed run, and what becomes of a crash at each: a line for each, a column for each way."""

from collections.abc import Mapping, Sequence

from perdure.testing.crashing.points import KINDS, Point
from perdure.testing.crashing.watch import Row

TEXT_CHARS = 76
STORY_CHARS = 110

ROWS = 60
"""A longer table is shown in parts."""

BEGINNING, END = 12, 4

FINE, AGAIN, OTHER, WRONG = "·", "↻", "≈", "✗"
LEGEND = {
    FINE: "as without a crash",
    AGAIN: "a step in flight is called again",
    OTHER: "another outcome, which is accepted",
    WRONG: "wrong",
}
_AT: dict[str, Sequence[str | None]] = {"effect": ("effect",), "exchange": ("exchange", None, "exchanged")}
"""What is under the columns of what is no commit."""

_COLUMNS = {"before": "before", "lost": "lost", "kept": "kept", "after": "after"}


def table(rows: Sequence[Row], marks: Mapping[Point, str]) -> list[str]:
    """The lines. A place that was not tried has no mark."""
    shown = [(row, _marks(row, marks)) for row in rows]
    kept = _kept([set(found) for _, found in shown])
    width = max((len(_text(shown[n][0])) for n in kept), default=0)
    lines = [f"{'':{width}}  {'  '.join(_COLUMNS.values())}"] if kept else []
    for n, before in zip(kept, [-1, *kept], strict=False):
        if n > before + 1:
            lines.append(f"    … {n - before - 1:,} more")
        lines.append(f"{_text(shown[n][0]):{width}}  {_cells(shown[n][1])}".rstrip())
    used = {mark for _, found in shown for mark in found} - {" "}
    return [*lines, "", "   ".join(f"{mark} {LEGEND[mark]}" for mark in LEGEND if mark in used)]


def _kept(found: Sequence[set[str]]) -> list[int]:
    """Which lines are shown: of a long run its beginning, its end, and where something is not as without a crash."""
    if len(found) <= ROWS:
        return list(range(len(found)))
    telling = [n for n, marks in enumerate(found) if marks & {OTHER, WRONG}][: ROWS - BEGINNING - END]
    return sorted({*range(BEGINNING), *telling, *range(len(found) - END, len(found))})


def _text(row: Row, most: int = TEXT_CHARS) -> str:
    head = f"    {row.what} {row.number}  " if row.what == "effect" else f"  {row.what} {row.number}  "
    text = head + row.text
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _marks(row: Row, marks: Mapping[Point, str]) -> list[str]:
    at = _AT.get(row.what, KINDS)
    return [" " if kind is None else marks.get(Point(kind, row.number), " ") for kind in at]


def _cells(marks: Sequence[str]) -> str:
    return "  ".join(mark.center(len(name)) for mark, name in zip(marks, _COLUMNS.values(), strict=False))


def life_story(rows: Sequence[Row], most: int = 16) -> list[str]:
    """What has happened in a trial with a crash, around it."""
    at = next((n for n, row in enumerate(rows) if row.what == "crash"), len(rows))
    low = max(at - most // 2, 0)
    lines = ["  …"] if low else []
    for row in rows[low : low + most]:
        who = "worker" if "exchange" in row.text else "engine"
        lines.append(f"  ✗ the {who} dies: {row.text}" if row.what == "crash" else _text(row, STORY_CHARS))
    return [*lines, "  …"] if low + most < len(rows) else lines
