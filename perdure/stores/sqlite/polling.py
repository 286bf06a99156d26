"""What an idle owner asks once a second: which runs are due, and what lies in mailboxes."""

import sqlite3

from perdure.stores.base import Poll
from perdure.stores.sqlite import rows
from perdure.stores.sqlite.rows import MAIL_COLUMNS, VALUES

LOOKED_AT = 5_000
"""So many letters are looked at to see whose turn it is, where more wait than are told of."""

WALKED = 500
"""And of so many runs the first letter, if there are more letters than that: of others each time, until all had their turn."""

# "wake_at IS NOT NULL" is said where it follows from the rest: the partial index asks for it.
_DUE = (
    "SELECT wake_at, key, NULL, NULL FROM runs WHERE wake_at <= ? AND wake_at IS NOT NULL AND status < 7{further} "
    "ORDER BY wake_at, key LIMIT ?"
)
# Of blocked (5) and quarantined (6) runs only Terminate (4), Retry (5), Update (10), Query (11) and Move (27), and what a run waits for (@); mail of no run at all is the owner's as well.
# The Start (1) of a run that is queued (0) and begins later is found by the time at which it is due.
_AWAITED = (
    "(runs.key IS NULL OR runs.status NOT IN (5, 6) OR mail.kind IN (4, 5, 10, 11, 27) OR mail.reply_to GLOB '@*') "
    "AND NOT (mail.kind = 1 AND mail.reply_to = '' AND runs.status IS 0 AND runs.wake_at IS NOT NULL "
    "AND runs.followed_by >= 0)"
)
# What a run that has not begun (0) cannot take yet, Start (1) and Cancel (3), must not stand before what others can.
_WITHOUT_STARTS = " AND mail.kind <> 1 AND NOT (mail.kind = 3 AND runs.status IS 0)"
_OLDEST = "SELECT {columns} FROM mail LEFT JOIN runs ON runs.key = mail.run WHERE {awaited} ORDER BY mail.id LIMIT ?"
_POLL = (
    "SELECT 0, * FROM ({due}) UNION ALL SELECT 1, * FROM ({mail}) "
    "UNION ALL SELECT 2, workers.member, beat, lease, NULL FROM workers "
    "LEFT JOIN (SELECT lease FROM members WHERE serves = 0 ORDER BY id DESC LIMIT 1)"
)
# The letters of each run have places, and those of all runs with the first places come first.
_BY_TURNS = (
    "SELECT row_number() OVER (PARTITION BY run ORDER BY id) AS place, id, run, count(*) OVER () "
    "FROM ({oldest}) ORDER BY place, id LIMIT ?"
)
# Runs that have mail, in the order of their keys, by one step in the index for each; and the first letter of each, if it is not behind
# very many that nobody awaits.
_WALK = (
    "WITH RECURSIVE walk (run, number) AS ("
    "SELECT (SELECT min(run) FROM mail WHERE run > ?), 1 UNION ALL "
    "SELECT (SELECT min(run) FROM mail WHERE run > walk.run), number + 1 FROM walk WHERE run IS NOT NULL AND number < ?"
    ") SELECT 1, (SELECT min(mail.id) FROM (SELECT * FROM mail WHERE run = walk.run ORDER BY id LIMIT 100) AS mail "
    "LEFT JOIN runs ON runs.key = mail.run WHERE {awaited}), run FROM walk WHERE run IS NOT NULL"
)
_ENDS = "SELECT (SELECT min(run) FROM mail) < (SELECT max(run) FROM mail)"
MAIL_WITH_ID = f"SELECT {MAIL_COLUMNS} FROM mail WHERE id IN ({VALUES}) ORDER BY id"
# What cannot be read may be what such a run (0) is to begin with: whoever owns it has to look at it.
_QUEUED = f"SELECT key FROM runs WHERE key IN ({VALUES}) AND status = 0"


class _Statements:
    """`starts`: whether what begins is told of."""

    def __init__(self, starts: bool) -> None:
        awaited = _AWAITED if starts else _AWAITED + _WITHOUT_STARTS
        oldest = _OLDEST.format(columns="mail.id, mail.run, mail.body, mail.reply_to", awaited=awaited)
        self.poll = _POLL.format(due=_DUE.format(further="" if starts else " AND status <> 0"), mail=oldest)
        self.by_turns = _BY_TURNS.format(oldest=_OLDEST.format(columns="mail.id, mail.run", awaited=awaited))
        self.walk = _WALK.format(awaited=awaited)


_ALL, _BEGUN = _Statements(starts=True), _Statements(starts=False)


class Polling:
    """Of one owner. It remembers up to which run it has walked."""

    def __init__(self) -> None:
        self._walked = 0

    def poll(self, connection: sqlite3.Connection, now: int, limit: int, starts: bool) -> Poll:
        statements = _ALL if starts else _BEGUN
        found = connection.execute(statements.poll, (now, limit, limit)).fetchall()
        letters = [row[1:] for row in found if row[0] == 1]
        # If each is another run's they are the oldest of each.
        if len(letters) == limit > len({run for _, run, _, _ in letters}) and _are_several(connection):
            ids = self._by_turns(connection, statements, limit)
            letters = rows.read(connection, MAIL_WITH_ID, ids)
        unreadable: set[int] = set()
        mail = rows.mail_rows(letters, unreadable)  # type: ignore[arg-type]
        due = [row[2] for row in found if row[0] == 0]
        due += [key for (key,) in rows.read(connection, _QUEUED, sorted(unreadable)) if key not in due]
        workers = [row[1:4] for row in found if row[0] == 2]
        return Poll(
            due, mail, {row[0]: row[1] for row in workers}, leases={row[0]: row[2] for row in workers if row[2]}
        )

    def _by_turns(self, connection: sqlite3.Connection, statements: _Statements, limit: int) -> list[int]:
        """The numbers of the letters whose turn it is, in their order."""
        found = connection.execute(statements.by_turns, (LOOKED_AT, limit)).fetchall()
        turns = [row[:3] for row in found]
        if found[0][3] == LOOKED_AT:  # behind these there may be some of other runs
            walked = connection.execute(statements.walk, (self._walked, WALKED)).fetchall()
            self._walked = walked[-1][2] if len(walked) == WALKED else 0
            runs = {run for _, _, run in turns}
            turns += [row for row in walked if row[1] is not None and row[2] not in runs]
        return sorted(id for _, id, _ in sorted(turns)[:limit])


def _are_several(connection: sqlite3.Connection) -> bool:
    """Whether there is mail of more than one run."""
    return bool(connection.execute(_ENDS).fetchone()[0])
