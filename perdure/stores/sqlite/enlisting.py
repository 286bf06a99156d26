"""Starts within a transaction of the application, whose tables lie in the same file: statement by statement on its connection.

The first of them writes nothing, but takes the lock that a writer needs: what is read after it stays true until the end.
"""

import os

import msgspec

from perdure import errors
from perdure.kernel import wire
from perdure.kernel.ids import Claim, claim
from perdure.kernel.messages import Mail, Start
from perdure.kernel.project import RunRow, unplaced
from perdure.stores.enlisting import Begin, Enlisted, Statement, Talk
from perdure.stores.lending import Lender
from perdure.stores.sqlite import rows
from perdure.stores.sqlite.lock import OwnerLock
from perdure.stores.sqlite.opening import Place
from perdure.stores.sqlite.pruning import LAST_KEY
from perdure.stores.sqlite.rows import NEWEST, OF_NUMBER, OF_REQUEST, RUN_COLUMNS, RUN_FIELDS

INSERT_RUN = f"INSERT INTO runs ({RUN_COLUMNS}) VALUES ({', '.join('?' * len(RUN_FIELDS))})"
INSERT_MAIL = "INSERT INTO mail (run, kind, body, reply_to) VALUES (?, ?, ?, ?)"
INSERT_ATTRIBUTE = f"INSERT INTO attributes ({rows.ATTRIBUTE_COLUMNS}) VALUES (?, ?, ?, ?, ?)"
FOLLOW = "UPDATE runs SET followed_by = ? WHERE key = ?"
NEXT_ODD_KEY = f"SELECT (({LAST_KEY}) + 1) | 1"
_TAKE_LOCK = "UPDATE runs SET key = key WHERE 0"
_FILES = "PRAGMA database_list"
"""Reads nothing of the file: whoever has read in a transaction cannot take the lock any more when somebody else has written since."""

_WORKFLOWS = "SELECT name FROM definitions WHERE kind = 'workflow' ORDER BY name"


class SqliteEnlisting:
    product = "SQLite"

    def __init__(self, place: Place, lock: OwnerLock) -> None:
        self._place = place
        self._path = place.path
        self._lock = lock

    def lender(self, member: int) -> Lender:
        from perdure.stores.sqlite.lending import SqliteLender  # only for transactional activities

        return SqliteLender(self._place)

    def prepare(self) -> None:
        """It is told from others by its path."""

    def submit(self, row: RunRow, start: Start) -> Talk[Enlisted]:
        yield from self._demand_here()
        yield Statement(_TAKE_LOCK)
        known = [name for (name,) in (yield Statement(_WORKFLOWS))]
        if known and start.workflow not in known and self._lock.is_taken():
            return Enlisted(None, known)
        return Enlisted((yield from submitted(row, start)))

    def _demand_here(self) -> Talk[None]:
        files = {name: file for _, name, file in (yield Statement(_FILES))}
        main = files.get("main") or ""
        if not main or os.path.realpath(main) != self._path:
            raise errors.ConnectionUnfit(
                f"the connection is one to {main or 'a database in memory'}, and the runs are in {self._path}; the tables of the "
                "application and the runs have to be in one file: connect to that one"
            )

    def send(self, key: int, message: Mail) -> Talk[None]:
        yield _mail(key, message)

    def begin(self, key: int) -> Talk[Begin]:
        first = yield Statement("SELECT events FROM history WHERE run = ? ORDER BY seq LIMIT 1", (key,))
        if first:
            return Begin(events=first[0][0])
        kind = rows.KINDS[Start]
        start = yield Statement("SELECT body FROM mail WHERE run = ? AND kind = ? ORDER BY id LIMIT 1", (key, kind))
        return Begin(start=start[0][0]) if start else Begin()

    def blob(self, run: int, digest: bytes) -> Talk[bytes]:
        found = yield Statement("SELECT data FROM blobs WHERE run = ? AND digest = ?", (run, digest))
        return found[0][0] if found else b""


def submitted(row: RunRow, start: Start, reply_to: str = "", again: bool = False) -> Talk[RunRow]:
    """A run is queued with its Start, if it gets its id: the row of the run that has it now. Within a transaction that has the
    writer's lock."""
    if row.request:
        made = yield Statement(OF_REQUEST, (row.id, row.request))
        if made:
            return rows.run_row(made[0])
    row.key = (yield Statement(NEXT_ODD_KEY))[0][0]
    row.followed_by = 0
    found = yield Statement(NEWEST, (row.id,))
    if found:
        before = (yield Statement(OF_NUMBER, (row.id, row.run_id))) if again else []
        if before:
            return rows.run_row(before[0])
        newest = rows.run_row(found[0])
        match claim(newest.status, start.id_conflict, start.id_reuse):
            case Claim.FOLLOW:
                yield Statement(FOLLOW, (row.key, newest.key))
            case Claim.REPLACE:
                row.followed_by = unplaced(row.key)
            case _:
                return newest
    yield Statement(INSERT_RUN, msgspec.structs.astuple(row))
    yield _mail(row.key, start, reply_to)
    for each in () if start.terms is None else start.terms.attributes:
        for columns in rows.attribute_columns(row.key, each):
            yield Statement(INSERT_ATTRIBUTE, columns)
    return row


def _mail(key: int, message: Mail, reply_to: str = "") -> Statement:
    return Statement(INSERT_MAIL, (key, rows.KINDS[type(message)], wire.encode(message), reply_to))
