"""A run in one line, as lists show it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from perdure.attributes import plain
from perdure.client.moments import moment
from perdure.errors import DefinitionError
from perdure.kernel.attributes import Attribute
from perdure.kernel.project import RunRow
from perdure.kernel.run import Status
from perdure.stores.base import RunFilter, Views


class RunSummary(msgspec.Struct, frozen=True):
    """`note`: what the run does now, or how it ended. `status` is one of the states in docs/reference.md. `pinned`: the build
    that alone may go on with it, "" is any."""

    id: str
    run_id: str
    workflow: str
    status: str
    note: str
    build: str
    started_at: datetime
    closed_at: datetime | None
    wake_at: datetime | None
    events: int
    attributes: dict[str, Any] = {}
    pinned: str = ""

    @property
    def state(self) -> str:
        """`status` under its other name: the command line says state."""
        return self.status


def summaries(views: Views, wanted: RunFilter) -> list[RunSummary]:
    """The runs that are wanted, with their attributes."""
    return summaries_of(views, views.search(wanted))


def summaries_of(views: Views, rows: Sequence[RunRow]) -> list[RunSummary]:
    attributes = views.attributes([row.key for row in rows])
    return [summary_of(row, attributes.get(row.key)) for row in rows]


def summary_of(row: RunRow, attributes: Mapping[str, Attribute] | None = None) -> RunSummary:
    return RunSummary(
        id=row.id,
        run_id=row.run_id.hex(),
        workflow=row.workflow,
        status=Status(row.status).word,
        note=row.note,
        build=row.build,
        started_at=moment(row.started_at),
        closed_at=None if row.closed_at is None else moment(row.closed_at),
        wake_at=None if row.wake_at is None else moment(row.wake_at),
        events=row.seq,
        attributes={name: plain(each) for name, each in (attributes or {}).items()},
        pinned=row.pinned,
    )


def statuses_of(status: "str | Sequence[str] | None", state: "str | Sequence[str] | None" = None) -> tuple[int, ...]:
    """Numbers of the states named, by either word.

    Raises:
        DefinitionError: there is no such state, or both words were used.
    """
    if status is not None and state is not None:
        raise DefinitionError("status and state are two words for the same; give one of them")
    meant = status if state is None else state
    names = () if meant is None else (meant,) if isinstance(meant, str) else tuple(meant)
    known = {each.word: int(each) for each in Status}
    for name in names:
        if name not in known:
            raise DefinitionError(f"there is no state {name!r}; states are: {', '.join(known)}")
    return tuple(known[name] for name in names)
