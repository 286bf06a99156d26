"""Runs that have been closed for long, and what nobody asks for any more: how they go from a file, each time in one transaction."""

import sqlite3
from collections.abc import Iterable, Sequence

from perdure.kernel.project import RunRow
from perdure.stores.pruning import Prune, Pruned, chain_of, may_go, pruned, root_of
from perdure.stores.sqlite import rows
from perdure.stores.sqlite.rows import RUN_COLUMNS, VALUES

_LOOK = f"SELECT {RUN_COLUMNS} FROM runs WHERE key > ? ORDER BY key LIMIT ?"
_OPEN = f"SELECT key FROM runs WHERE key IN ({VALUES}) AND status < 7"
_OPEN_OF_ROOT = f"SELECT DISTINCT root FROM runs WHERE root IN ({VALUES}) AND root <> 0 AND +status < 7"
_NEWEST = f"SELECT {RUN_COLUMNS} FROM runs WHERE id IN ({VALUES}) AND followed_by = 0 AND +status < 7"
_WITH_MAIL = f"SELECT DISTINCT run FROM mail WHERE run IN ({VALUES})"
_MAKE_NEWEST = (
    "UPDATE runs SET followed_by = 0 WHERE followed_by > 0 "
    f"AND key IN (SELECT max(key) FROM runs WHERE id IN ({VALUES}) GROUP BY id)"
)
FORGET = tuple(
    f"DELETE FROM {table} WHERE {column} IN ({wanted})"
    for table, column, wanted in (
        ("chunks", "stream", f"SELECT id FROM streams WHERE run IN ({VALUES})"),
        ("runs", "key", VALUES),
        ("history", "run", VALUES),
        ("attempts", "run", VALUES),
        ("attributes", "run", VALUES),
        ("tasks", "run", VALUES),
        ("streams", "run", VALUES),
        ("writers", "run", VALUES),
        ("updates", "run", VALUES),
        ("published", "run", VALUES),
        ("human", "run", VALUES),
        ("human_people", "run", VALUES),
        ("blobs", "run", VALUES),
        ("mail", "run", VALUES),
    )
)
"""All that runs have, and they themselves."""

LAST_KEY = "SELECT max(coalesce((SELECT max(key) FROM runs), 0), (SELECT last_key FROM keys_given))"
"""The highest key that any run has ever had."""

NOTE_KEY = "UPDATE keys_given SET last_key = max(last_key, ?1) WHERE EXISTS (SELECT 1 FROM runs WHERE key = ?1)"

_EXPIRE = "DELETE FROM replies WHERE expires_at <= ?"
_NOTE_DEAD = (
    "UPDATE members SET last_key = (SELECT coalesce(max(key), 0) FROM runs) WHERE last_key IS NULL AND CASE serves "
    "WHEN 0 THEN id < (SELECT max(id) FROM members WHERE serves = 0) ELSE id NOT IN (SELECT member FROM workers) END"
)
_DROP_DEAD = "DELETE FROM members WHERE last_key < (SELECT coalesce(min(key), last_key + 1) FROM runs)"


def prune(connection: sqlite3.Connection, wanted: Prune) -> Pruned:
    """In a transaction of its own, which writes."""
    looked_at = [rows.run_row(columns) for columns in connection.execute(_LOOK, (wanted.after, wanted.limit))]
    old = [row for row in looked_at if may_go(row, wanted)]
    staying = _staying(connection, old)
    gone = [row for row in old if row.key not in staying]
    if gone and not wanted.counts_only:
        keys = [(row.key,) for row in gone]
        connection.execute(NOTE_KEY, keys[-1])
        for sql in FORGET:
            rows.write(connection, sql, keys)
        ids = {row.id for row in gone if not row.followed_by}
        rows.write(connection, _MAKE_NEWEST, [(id,) for id in sorted(ids)])
    return pruned(wanted, looked_at, {row.key for row in gone})


def _staying(connection: sqlite3.Connection, old: Sequence[RunRow]) -> set[int]:
    """Those that have mail, or are of a family or a chain of which another run is open."""
    roots = {root_of(row) for row in old}
    of_open = _found(connection, _OPEN, roots) | _found(connection, _OPEN_OF_ROOT, roots)
    followed = {row.id for row in old if row.followed_by}
    newest = [rows.run_row(columns) for columns in rows.read(connection, _NEWEST, followed)]
    chains = {chain_of(row) for row in newest}
    with_mail = _found(connection, _WITH_MAIL, [row.key for row in old])
    return {row.key for row in old if root_of(row) in of_open or chain_of(row) in chains or row.key in with_mail}


def _found(connection: sqlite3.Connection, sql: str, keys: Iterable[int]) -> set[int]:
    return {key for (key,) in rows.read(connection, sql, sorted(keys))}


def tidy(connection: sqlite3.Connection, now: int) -> None:
    """In a transaction of its own, which writes only if there is something to do."""
    connection.execute(_EXPIRE, (now,))
    connection.execute(_NOTE_DEAD)
    connection.execute(_DROP_DEAD)
