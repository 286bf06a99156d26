"""The owner's commits."""

import operator
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import msgspec

from perdure import errors
from perdure.kernel.attributes import Attribute
from perdure.kernel.project import KEEP, AttemptRow, RunRow
from perdure.kernel.run import Status
from perdure.stores.base import FIXED, IDENTITY, Batch, CommitRefused, Faults, OwnershipLost
from perdure.stores.faults import doubt_by, refuse_by
from perdure.stores.settling import telling_attempts
from perdure.stores.sqlite import human, rows, streams
from perdure.stores.sqlite.lines import Line, roll_back
from perdure.stores.sqlite.lock import OwnerLock
from perdure.stores.sqlite.pruning import FORGET, NOTE_KEY
from perdure.stores.sqlite.rows import (
    ATTEMPT_COLUMNS,
    ATTEMPT_FIELDS,
    HISTORY_FIELDS,
    RUN_COLUMNS,
    RUN_FIELDS,
    TASK_FIELDS,
    VALUES,
)
from perdure.stores.sqlite.trouble import UNFIT_VALUES, for_owner, told_to_people

_Rows: TypeAlias = Sequence[tuple[Any, ...]]
_tuple: Callable[[Any], tuple[Any, ...]] = msgspec.structs.astuple

_RUNNING = int(Status.RUNNING)

_INSERT = "INSERT INTO {table} ({columns}) SELECT * FROM ({values}) WHERE column1 IS NOT NULL"
_INSERT_RUNS = _INSERT.format(table="runs", columns=RUN_COLUMNS, values=VALUES)
_INSERT_HISTORY = _INSERT.format(table="history", columns=", ".join(HISTORY_FIELDS), values=VALUES)
_INSERT_MAIL = _INSERT.format(table="mail", columns="run, kind, body, reply_to", values=VALUES)
_INSERT_BLOBS = _INSERT.format(table="blobs", columns="run, digest, data", values=VALUES) + " ON CONFLICT DO NOTHING"
_REPLACE_ATTEMPTS = "REPLACE" + _INSERT.format(table="attempts", columns=ATTEMPT_COLUMNS, values=VALUES)[6:]
_REPLACE_REPLIES = (
    "REPLACE" + _INSERT.format(table="replies", columns="request, code, error, expires_at, data", values=VALUES)[6:]
)
_UPDATE = "UPDATE runs SET {changes} FROM ({values}) AS rows WHERE runs.key = rows.column1"
_UPDATE_ALL = _UPDATE.format(
    changes=", ".join(f"{field} = rows.column{n}" for n, field in enumerate(RUN_FIELDS, 1) if field not in FIXED),
    values=VALUES,
)
_FOLLOW = _UPDATE.format(changes="followed_by = rows.column2", values=VALUES) + " AND runs.followed_by <= 0"
_PLACE = _UPDATE.format(changes="followed_by = 0", values=VALUES) + " AND runs.followed_by < 0"
_PIN = _UPDATE.format(changes="pinned = rows.column2", values=VALUES)
# Of a run that is not blocked, in a batch without its first event. Half as dear as all columns.
_UPDATE_USUAL = _UPDATE.format(
    changes="status = rows.column2, note = rows.column3, closed_at = rows.column4, wake_at = rows.column5, "
    "seq = rows.column6, block = NULL, open_tail = 0, strikes = 0",
    values=VALUES,
)
# Nearly every update: of a run that goes on running. It touches no index, which halves the cost once more.
_UPDATE_RUNNING = (
    _UPDATE.format(
        changes="note = rows.column2, seq = rows.column3, block = NULL, open_tail = 0, strikes = 0", values=VALUES
    )
    + f" AND +runs.status = {_RUNNING} AND +runs.wake_at IS NULL AND runs.closed_at IS NULL"
)
_UPDATE_STATE = _UPDATE.format(
    changes=", ".join(f"{field} = rows.column{n}" for n, field in enumerate(RUN_FIELDS, 1) if field not in IDENTITY),
    values=VALUES,
)
_KEEP_ATTEMPTS = (
    f"UPDATE attempts SET state = rows.column4, retry_at = rows.column5 FROM ({VALUES}) AS rows "
    "WHERE run = rows.column1 AND step = rows.column2 AND attempt = rows.column3"
)
_DROP_ATTEMPTS = f"DELETE FROM attempts WHERE (run, step, attempt) IN ({VALUES})"
_DROP_ATTRIBUTES = f"DELETE FROM attributes WHERE (run, name) IN ({VALUES})"
_INSERT_ATTRIBUTES = _INSERT.format(table="attributes", columns=rows.ATTRIBUTE_COLUMNS, values=VALUES)
_REPLACE_UPDATES = "REPLACE" + _INSERT.format(table="updates", columns=rows.UPDATE_COLUMNS, values=VALUES)[6:]
_REPLACE_PUBLISHED = "REPLACE" + _INSERT.format(table="published", columns=rows.PUBLISHED_COLUMNS, values=VALUES)[6:]
_DROP_TASKS_OF = f"DELETE FROM tasks WHERE run IN ({VALUES})"
_DROP_TASKS = f"DELETE FROM tasks WHERE (run, step) IN ({VALUES})"
_REPLACE_TASKS = "REPLACE" + _INSERT.format(table="tasks", columns=", ".join(TASK_FIELDS), values=VALUES)[6:]
_DROP_MAIL = f"DELETE FROM mail WHERE id IN ({VALUES})"
_EXCUSE_MAIL = f"UPDATE mail SET reply_to = '' WHERE id IN ({VALUES})"
_DROP_EXPIRED = f"DELETE FROM replies WHERE expires_at <= ({VALUES})"
# Whoever was followed by a run that goes is the newest again. First the place of that run is made free.
_MAKE_NEWEST = (
    f"UPDATE runs SET followed_by = -key WHERE key IN ({VALUES})",
    "UPDATE runs SET followed_by = 0 WHERE (id, followed_by) IN (SELECT id, key FROM runs WHERE key IN ({values}))",
)


_USE_OWNER = "UPDATE members SET used = 1 WHERE id = (SELECT max(id) FROM members WHERE serves = 0)"


class Write:
    """One statement over many rows. With `exact` each of them must change a row of the database; if not, what
    `instead` gives is written."""

    __slots__ = ("exact", "instead", "rows", "sql")

    def __init__(
        self, sql: str, rows: _Rows, exact: bool = False, instead: "Callable[[], Write] | None" = None
    ) -> None:
        self.sql = sql
        self.rows = rows
        self.exact = exact
        self.instead = instead


def writes_of(batch: Batch) -> list[Write]:
    """A batch as statements, in the order of the contract; all that is not SQL happens here, before BEGIN."""
    writes: list[Write] = []
    if batch.withdrawn:
        writes += [Write(sql, [(key,) for key in batch.withdrawn]) for sql in (*_MAKE_NEWEST, NOTE_KEY, *FORGET)]
    if batch.followed:
        writes.append(Write(_FOLLOW, batch.followed, exact=True))
        writes.append(Write(_PLACE, [(key,) for _, key in batch.followed]))
    if batch.created:
        writes.append(Write(_INSERT_RUNS, list(map(_tuple, batch.created))))
    if batch.updated:
        writes += _run_writes(batch)
    if batch.pins:
        writes.append(Write(_PIN, list(dict(batch.pins).items())))
    if batch.history:
        writes.append(Write(_INSERT_HISTORY, list(map(_tuple, batch.history))))
    if batch.attempts:
        writes += _attempt_writes(batch.attempts)
    if batch.attempts_dropped:
        writes.append(Write(_DROP_ATTEMPTS, batch.attempts_dropped))
    if batch.attributes:
        writes += _attribute_writes(batch.attributes)
    if batch.updates:
        last = {(row.run, row.id): row for row in batch.updates}
        writes.append(Write(_REPLACE_UPDATES, list(map(_tuple, last.values()))))
    if batch.published:
        shown = {(row.run, row.name): row for row in batch.published}
        writes.append(Write(_REPLACE_PUBLISHED, list(map(_tuple, shown.values()))))
    if batch.blobs:
        writes.append(Write(_INSERT_BLOBS, list(map(_tuple, batch.blobs))))
    writes += _task_writes(batch)
    if batch.human or batch.human_gone or batch.human_gone_of:
        writes += [Write(sql, found) for sql, found in human.writes_of(batch)]
    if batch.mail_read:
        writes.append(Write(_DROP_MAIL, [(id,) for id in batch.mail_read]))
    if batch.mail_excused:
        writes.append(Write(_EXCUSE_MAIL, [(id,) for id in batch.mail_excused]))
    if batch.mail_kept:
        writes.append(Write(_INSERT_MAIL, list(map(rows.mail_columns, batch.mail_kept))))
    if batch.replies:
        writes.append(Write(_DROP_EXPIRED, [(batch.at,)]))
        writes.append(Write(_REPLACE_REPLIES, list(map(_tuple, batch.replies))))
    return writes


def _task_writes(batch: Batch) -> list[Write]:
    writes: list[Write] = []
    if batch.tasks_gone_of:
        writes.append(Write(_DROP_TASKS_OF, [(key,) for key in batch.tasks_gone_of]))
    if batch.tasks_gone:
        writes.append(Write(_DROP_TASKS, batch.tasks_gone))
    if batch.tasks:
        last = {(task.run, task.step): task for task in batch.tasks}
        writes.append(Write(_REPLACE_TASKS, list(map(_tuple, last.values()))))
    return writes


def _run_writes(batch: Batch) -> list[Write]:
    """Updates by how many columns they change."""
    begun = {part.run for part in batch.history if part.seq == 1}
    running: list[RunRow] = []
    usual: list[RunRow] = []
    state: list[RunRow] = []
    whole: list[RunRow] = []
    for row in batch.updated:
        if row.key in begun:
            whole.append(row)
        elif row.block is not None or row.open_tail or row.strikes:
            state.append(row)
        elif row.status == _RUNNING and row.wake_at is None and row.closed_at is None:
            running.append(row)
        else:
            usual.append(row)
    writes = [Write(_UPDATE_RUNNING, [(row.key, row.note, row.seq) for row in running], True, partial(_usual, running))]
    writes += [_usual(usual)]
    writes += [
        Write(sql, list(map(_tuple, found)), True) for sql, found in ((_UPDATE_STATE, state), (_UPDATE_ALL, whole))
    ]
    return [write for write in writes if write.rows]


def _usual(found: Sequence[RunRow]) -> Write:
    columns = [(row.key, row.status, row.note, row.closed_at, row.wake_at, row.seq) for row in found]
    return Write(_UPDATE_USUAL, columns, exact=True)


def _attribute_writes(attributes: Sequence[tuple[int, Attribute]]) -> list[Write]:
    last = {(run, each.name): each for run, each in attributes}
    columns = [row for (run, _), each in last.items() for row in rows.attribute_columns(run, each)]
    writes = [Write(_DROP_ATTRIBUTES, list(last))]
    return [*writes, Write(_INSERT_ATTRIBUTES, columns)] if columns else writes


def _attempt_writes(attempts: Sequence[AttemptRow]) -> list[Write]:
    """Rows in order, folded: what is left replaces a row, or (KEEP) changes the state of one that is stored."""
    whole: dict[tuple[int, str, int], tuple[Any, ...]] = {}
    kept: dict[tuple[int, str, int], tuple[Any, ...]] = {}
    for row in attempts:
        at = (row.run, row.step, row.attempt)
        if row.member != KEEP:
            whole[at] = _tuple(row)
        elif at in whole:
            whole[at] = _with_state(whole[at], row)
        else:
            kept[at] = (*at, row.state, row.retry_at)
    writes = [Write(_KEEP_ATTEMPTS, list(kept.values()))] if kept else []
    return [*writes, Write(_REPLACE_ATTEMPTS, list(whole.values()))] if whole else writes


def _with_state(columns: tuple[Any, ...], kept: AttemptRow) -> tuple[Any, ...]:
    row = AttemptRow(*columns)
    row.state, row.retry_at = kept.state, kept.retry_at
    return _tuple(row)


class SqliteJournal:
    def __init__(self, path: str, line: Line, lock: OwnerLock, faults: Faults | None) -> None:
        self._path = path
        self._line = line
        self._lock = lock
        self._faults = faults
        self._is_used = False

    def commit(self, batch: Batch) -> None:
        if not self._lock.held:
            raise OwnershipLost(f"{self._path}: this store does not own the database")
        fault = self._faults("before", batch) if self._faults is not None else None
        refuse_by(fault)
        writes = writes_of(batch)
        try:
            with self._line.use() as connection:
                self._write(connection, batch, writes)
                if fault == "in-doubt-lost":
                    roll_back(connection)
                else:
                    self._make_durable(connection)
                    self._is_used = True
        except errors.StoreUnreachable as error:  # closed by another thread just now
            raise OwnershipLost(str(error)) from error
        doubt_by(fault)

    def _write(self, connection: sqlite3.Connection, batch: Batch, writes: list[Write]) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            if not self._is_used:
                connection.execute(_USE_OWNER)
            for one in writes:
                changed = rows.write(connection, one.sql, one.rows)
                if one.instead is not None and changed != len(one.rows):
                    one = one.instead()
                    changed = rows.write(connection, one.sql, one.rows)
                if one.exact and changed != len(one.rows):
                    raise CommitRefused(f"{len(one.rows) - changed} of {len(one.rows)} runs are not as they were")
            if batch.chunks:
                streams.put(connection, batch.chunks)
        except (sqlite3.Error, *UNFIT_VALUES) as error:
            raise for_owner(error, self._path, committing=False) from error
        if self._faults is not None:
            self._faults("inside", batch)

    def _make_durable(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise for_owner(error, self._path, committing=True) from error

    def settle(self, batch: Batch) -> bool:
        with told_to_people(self._path), self._line.use() as connection:
            return all(
                expected == bool(connection.execute(sql, row).fetchone()) for expected, sql, row in _signs(batch)
            )


def _signs(batch: Batch) -> list[tuple[bool, str, tuple[Any, ...]]]:
    """What must be found, or must not, if the batch is durable: as it is all or nothing, any sign that tells it."""
    signs: list[tuple[bool, str, tuple[Any, ...]]] = []
    signs += [(False, "SELECT 1 FROM runs WHERE key = ?", (key,)) for key in batch.withdrawn]
    signs += [(True, "SELECT 1 FROM runs WHERE key = ? AND followed_by = ?", pair) for pair in batch.followed]
    signs += [(True, "SELECT 1 FROM runs WHERE key = ?", (row.key,)) for row in batch.created]
    signs += [(True, _same("runs", _STATE_FIELDS), _state(row)) for row in batch.updated]
    signs += [(True, "SELECT 1 FROM history WHERE run = ? AND seq = ?", (row.run, row.seq)) for row in batch.history]
    signs += [(False, "SELECT 1 FROM mail WHERE id = ?", (id,)) for id in batch.mail_read]
    signs += [(True, _MAIL_THERE, rows.mail_columns(row)) for row in batch.mail_kept]
    signs += [
        (True, _same("replies", ("request", "code", "error", "expires_at", "data")), _tuple(row))
        for row in batch.replies
    ]
    for row in telling_attempts(batch):
        if row.member == KEEP:
            signs.append((False, _ATTEMPT_OTHERWISE, (row.run, row.step, row.attempt, row.state, row.retry_at)))
        else:
            signs.append((True, _same("attempts", ATTEMPT_FIELDS), _tuple(row)))
    return signs


_STATE_FIELDS = ("key", *(field for field in RUN_FIELDS if field not in IDENTITY))
_state = operator.attrgetter(*_STATE_FIELDS)
_MAIL_THERE = "SELECT 1 FROM mail WHERE run = ? AND kind = ? AND body = ? AND reply_to = ?"
_ATTEMPT_OTHERWISE = (
    "SELECT 1 FROM attempts WHERE run = ? AND step = ? AND attempt = ? AND NOT (state IS ? AND retry_at IS ?)"
)


def _same(table: str, fields: Sequence[str]) -> str:
    return f"SELECT 1 FROM {table} WHERE {' AND '.join(f'{field} IS ?' for field in fields)}"
