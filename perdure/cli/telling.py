"""What runs do, one line per change of state, for whoever watches a terminal."""

from collections.abc import Iterable
from typing import Any

from perdure.cli.lines import clean, clip
from perdure.cli.options import Settings
from perdure.cli.tokens import CLOSED, token

NEWEST = 100
FOLLOWED = 1_000
"""So many of the newest runs are looked at each time, and so many open ones that are older."""

LINES = 20
"""Changes told at once; further ones are counted."""


class Telling:
    """Looks at runs, and tells which have come to another state since the last look."""

    def __init__(self, views: Any, settings: Settings) -> None:
        self._views = views
        self._settings = settings
        self._known: dict[int, tuple[int, str]] = {}
        self._first = True
        self._newest = 0

    def look(self) -> None:
        changed = [row for row in self._rows() if self._is_news(row)]
        for row in changed[:LINES]:
            self._tell(row)
        if len(changed) > LINES:
            self._settings.narrate([(f"  … and {len(changed) - LINES:,} more changes", "dim")])
        self._first = False

    def _rows(self) -> Iterable[Any]:
        """The newest, and those that were open when they were looked at last; the oldest first."""
        from perdure.stores.base import RunFilter

        newest = self._views.search(RunFilter(limit=NEWEST))
        seen = {row.key for row in newest}
        older = self._views.rows_by_key([key for key in self._known if key not in seen][-FOLLOWED:])
        return sorted([*newest, *older.values()], key=lambda row: row.key)

    def _is_news(self, row: Any) -> bool:
        from perdure.kernel.run import Status

        state = Status(row.status).word
        sight = (row.status, row.note if state == "retrying" else "")
        known = self._known.get(row.key)
        is_new = known is None and row.key > self._newest
        self._newest = max(self._newest, row.key)
        if state in CLOSED:
            self._known.pop(row.key, None)
        else:
            self._known[row.key] = sight
        return not self._first and (is_new or (known is not None and known != sight))

    def _tell(self, row: Any) -> None:
        from perdure.cli.dev import said
        from perdure.kernel.run import Status

        state = Status(row.status).word
        room = max(self._settings.width - 26 - len(row.id) - len(row.workflow), 12)
        said(
            self._settings,
            state,
            (clean(row.id), "bold"),
            (f"  {clean(row.workflow)}", ""),
            (f"  {state}", token(state).style),
            (f"  {clip(clean(row.note), room)}" if row.note else "", "dim"),
        )
