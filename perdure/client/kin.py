"""Runs below one that keep it waiting: they cannot go on before somebody has looked at them."""

import msgspec

from perdure.kernel.project import RunRow
from perdure.kernel.run import Status
from perdure.stores.base import RunFilter, Views

SHOWN = 3
_STUCK = (int(Status.HELD), int(Status.BLOCKED), int(Status.QUARANTINED))
_LOOKED_AT = 100


def stuck_below(views: Views, row: RunRow) -> list[RunRow]:
    """Children of an open run that are held, blocked or quarantined, the newest first; of a run that is nobody's child all
    its descendants. At most `SHOWN`."""
    if row.status >= Status.COMPLETED:
        return []
    wanted = RunFilter(statuses=_STUCK, limit=_LOOKED_AT)
    wanted = msgspec.structs.replace(wanted, **({"parent": row.id} if row.root else {"root": row.id}))
    return [each for each in views.search(wanted) if row.key in (each.parent, each.root)][:SHOWN]


def told(row: RunRow) -> str:
    """One of them, in a line."""
    return f"{row.workflow} {row.id} is {Status(row.status).word}" + (f": {row.note}" if row.note else "")
