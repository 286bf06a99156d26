"""What the owner asks, on the connection it writes with."""

from collections.abc import Iterable, Sequence

from perdure.kernel.project import AttemptRow, RunRow
from perdure.stores.base import Poll, Stored, Unread
from perdure.stores.membership import Claimed
from perdure.stores.postgres import rows
from perdure.stores.postgres.journal import PostgresJournal
from perdure.stores.postgres.lines import Line, Row
from perdure.stores.postgres.rows import ATTEMPT_COLUMNS, RUN_COLUMNS, run_row
from perdure.stores.postgres.trouble import told_to_owner

_RUNS = f"SELECT {RUN_COLUMNS} FROM perdure.runs WHERE key = ANY (%b::bigint[])"
_HISTORY = "SELECT run, events FROM perdure.history WHERE run = ANY (%b::bigint[]) ORDER BY run, seq"
_ATTEMPTS = f"SELECT {ATTEMPT_COLUMNS} FROM perdure.attempts WHERE run = ANY (%b::bigint[]) ORDER BY run, step, attempt"
_MAIL = f"SELECT {rows.MAIL_COLUMNS} FROM perdure.mail WHERE run = ANY (%b::bigint[]) AND kind <> ALL (%b::smallint[]) ORDER BY id"
# Of each run the oldest, by an index that has them in that order; and bodies of those only that are told.
_SPOKEN = """
SELECT m.id, m.run, m.body, m.reply_to
FROM (
    SELECT o.id, sum(o.size) OVER (ORDER BY o.id) - o.size AS earlier
    FROM (
        SELECT l.id, l.size
        FROM unnest(%b::bigint[]) AS k(run) CROSS JOIN LATERAL (
            SELECT l.id, octet_length(l.body) AS size FROM perdure.mail l
            WHERE l.run = k.run AND l.kind = ANY (%b::smallint[]) AND l.id > %b::bigint
            ORDER BY l.run, l.id LIMIT %b::bigint
        ) AS l
        ORDER BY l.id LIMIT %b::bigint
    ) AS o
) AS c CROSS JOIN LATERAL (SELECT * FROM perdure.mail m WHERE m.id = c.id OFFSET 0) AS m
WHERE c.earlier < %b::bigint ORDER BY m.id
"""
_NEWEST = f"SELECT {RUN_COLUMNS} FROM perdure.runs WHERE id = ANY (%b::text[]) AND followed_by = 0"
_WITH_STATUS = "SELECT key FROM perdure.runs WHERE status = ANY (%b::smallint[]) AND status <> 7 ORDER BY key"


class PostgresWork:
    def __init__(self, place: str, line: Line, journal: PostgresJournal) -> None:
        self._place = place
        self._line = line
        self._journal = journal

    def last_key(self) -> int:
        with told_to_owner(self._place):
            return self._line.read("SELECT coalesce(max(key), 0) FROM perdure.runs")[0][0]

    def load(self, keys: Sequence[int]) -> dict[int, Stored]:
        """The runs are the caller's, so that they do not change meanwhile."""
        with told_to_owner(self._place):
            stored = load(self._line, keys, but=UNASKED)
        self._journal.fence.read((mail.id, mail.run) for each in stored.values() for mail in each.mail)
        return stored

    def find(self, ids: Iterable[str]) -> dict[str, RunRow]:
        with told_to_owner(self._place):
            found = self._line.read(_NEWEST, (list(ids),))
        return {columns[1]: run_row(columns) for columns in found}

    def running(self) -> list[int]:
        return self._with_status(1)

    def held(self) -> list[int]:
        return self._with_status(4)

    def mending(self) -> list[int]:
        return self._with_status(4, 5, 6)

    def _with_status(self, *statuses: int) -> list[int]:
        with told_to_owner(self._place):
            return [key for (key,) in self._line.read(_WITH_STATUS, (list(statuses),))]

    def unread(self, keys: Sequence[int], limit: int, size_bytes: int, after: int = 0) -> Unread:
        with told_to_owner(self._place):
            found = self._line.read(_SPOKEN, (list(keys), SPOKEN, after, limit, limit, size_bytes))
        self._journal.fence.read((row[0], row[1]) for row in found)
        is_all = len(found) < limit and sum(len(row[2]) for row in found) < size_bytes
        return Unread(rows.mail_rows(found, set()), 0 if is_all else found[-1][0])

    def poll(self, now: int, limit: int, starts: bool = True) -> Poll:
        values = (self._journal.member, now, limit, starts)
        with told_to_owner(self._place):
            return poll_of(
                self._line.read("SELECT * FROM perdure.work(%b::bigint, %b::bigint, %b::bigint, %b)", values)
            )


CLAIMED, MAIL, DUE, WORKER, MEMBER, SELF, KEY = range(7)
"""Kinds of rows of `perdure.poll`."""

MAIL_BYTES = 4_194_304
"""`perdure.letter_bytes_at_once`: so much mail is told of by a poll, and no letter more."""


def poll_of(found: Sequence[Row]) -> Poll:
    of: list[list[Row]] = [[], [], [], [], [], [], []]
    for row in found:
        of[row[0]].append(row)
    unreadable: set[int] = set()
    mail = rows.mail_rows(((row[1], row[2], row[6], row[7]) for row in of[MAIL]), unreadable)
    due = [row[1] for row in of[DUE]]
    return Poll(
        due=[*due, *(key for key in sorted(unreadable) if key not in due)],
        mail=mail,
        more_mail=sum(len(row[6]) for row in of[MAIL]) >= MAIL_BYTES,
        beats={row[1]: row[2] for row in of[WORKER]},
        claimed=[Claimed(*row[1:6]) for row in of[CLAIMED]],
        members={row[1]: row[2] for row in of[MEMBER]},
        leases={row[1]: row[3] for kind in (WORKER, MEMBER) for row in of[kind]},
        unmended=any(row[5] for row in of[SELF]),
        time=max((row[3] for row in of[SELF]), default=0),
    )


UNASKED = [tag for kind, tag in rows.KINDS.items() if kind.__name__ in ("Signal", "Update", "Query")]
SPOKEN = [tag for kind, tag in rows.KINDS.items() if kind.__name__ in ("Signal", "Update", "Cancel")]


def load(line: Line, keys: Sequence[int], but: Sequence[int] = ()) -> dict[int, Stored]:
    """`but`: kinds of mail that are left out."""
    wanted = (list(keys),)
    stored = {columns[0]: Stored(run_row(columns), [], [], []) for columns in line.read(_RUNS, wanted)}
    for run, events in line.read(_HISTORY, wanted):
        stored[run].history.append(events)
    for columns in line.read(_ATTEMPTS, wanted):
        stored[columns[0]].attempts.append(AttemptRow(*columns))
    unreadable: set[int] = set()
    for mail in rows.mail_rows(line.read(_MAIL, (*wanted, list(but))), unreadable):
        if mail.run in stored:
            stored[mail.run].mail.append(mail)
    for key in unreadable & stored.keys():
        stored[key].is_unreadable = True
    return stored
