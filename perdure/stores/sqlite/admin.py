"""Owning, publishing, checking, closing."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence

from perdure.kernel.project import HistoryRow
from perdure.stores.base import LEASE_NS, BuildRow, DefinitionRow
from perdure.stores.health import PROBLEM_LINES, lost_rows, problems_of, unreadable_mail
from perdure.stores.pruning import Prune, Pruned
from perdure.stores.sqlite import human, rows
from perdure.stores.sqlite.hints import Listener, socket_path
from perdure.stores.sqlite.lines import Line, Readers
from perdure.stores.sqlite.lock import OwnerLock
from perdure.stores.sqlite.marker import SqliteMarking
from perdure.stores.sqlite.post import SqlitePost
from perdure.stores.sqlite.pruning import prune, tidy
from perdure.stores.sqlite.rows import ATTRIBUTE_COLUMNS, RUN_COLUMNS
from perdure.stores.sqlite.streams import SqliteStreams, contradictions, own_counts
from perdure.stores.sqlite.tasks import SqliteTasks
from perdure.stores.sqlite.trouble import of_system, told_to_people

_INSERT_MEMBER = "INSERT INTO members (host, pid, build, started_at, lease, used) VALUES (?, ?, ?, ?, ?, 0)"
_FORGET_OWNERS = "DELETE FROM members WHERE serves = 0 AND used = 0 AND id < ?"
_ATTRIBUTES = f"SELECT {ATTRIBUTE_COLUMNS} FROM attributes WHERE run = ? ORDER BY name, item"

_BUILDS = (
    "SELECT CASE pinned WHEN '' THEN build ELSE pinned END AS named, pinned <> '' AS holds, "
    "count(*), sum(status < 7), max(started_at) FROM runs WHERE seq > 0 GROUP BY named, holds ORDER BY 5 DESC, 1, 2"
)


class SqliteAdmin:
    """Holds all that has to be closed; `writer` is the owner's line."""

    def __init__(
        self,
        path: str,
        lock: OwnerLock,
        writer: Line,
        post: SqlitePost,
        tasks: SqliteTasks,
        streams: SqliteStreams,
        readers: Readers,
        marking: SqliteMarking,
    ) -> None:
        self._path = path
        self._lock = lock
        self._writer = writer
        self._post = post
        self._tasks = tasks
        self._streams = streams
        self._readers = readers
        self._marking = marking
        self._listener: Listener | None = None

    def time(self) -> int:
        return 0

    def try_own(self, host: str, pid: int, build: str, now: int, lease_ns: int = LEASE_NS) -> int | None:
        try:
            if not self._lock.try_take():
                return None
        except OSError as error:
            raise of_system(error, self._lock.path, "says who owns the database") from error
        try:
            with told_to_people(self._path), self._writer.use() as connection:
                connection.execute("BEGIN IMMEDIATE")
                member = connection.execute(_INSERT_MEMBER, (host, pid, build, now, lease_ns)).lastrowid
                connection.execute(_FORGET_OWNERS, (member,))
                self._tasks.tidy(connection)
                connection.execute("COMMIT")
                return member
        except BaseException:
            self._lock.release()
            raise

    def publish(self, definitions: Sequence[DefinitionRow]) -> None:
        columns = [(row.kind, row.name, row.parameters) for row in definitions]
        with told_to_people(self._path), self._writer.use() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM definitions")
            for row in columns:
                connection.execute("INSERT INTO definitions VALUES (?, ?, ?)", row)
            connection.execute("COMMIT")

    def listen(self, on_nudge: Callable[[], None]) -> None:
        self._listener = Listener(socket_path(self._path), on_nudge)

    def builds(self) -> list[BuildRow]:
        with told_to_people(self._path), self._readers.snapshot() as connection:
            found = connection.execute(_BUILDS).fetchall()
        return [BuildRow(build, bool(pinned), *counts) for build, pinned, *counts in found]

    def prune(self, wanted: Prune) -> Pruned:
        with self._transaction() as connection:
            return prune(connection, wanted)

    def tidy(self, now: int) -> None:
        with self._transaction() as connection:
            tidy(connection, now)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """On the owner's line, if this is the owner, since that alone copies the log into the file."""
        line = self._writer if self._lock.held else self._post.line
        with told_to_people(self._path), line.use() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    def check(self) -> list[str]:
        with told_to_people(self._path), self._readers.snapshot() as connection:
            lines = [f"SQLite: {line}" for (line,) in connection.execute("PRAGMA integrity_check") if line != "ok"]
            for line in _contradictions(connection):
                if len(lines) >= PROBLEM_LINES:
                    break
                lines.append(line)
        return lines

    def close(self) -> None:
        """The lock goes last: whoever takes it finds nothing of this owner's in motion."""
        try:
            listener, self._listener = self._listener, None
            if listener is not None:
                listener.close()
            for part in (self._readers, self._post, self._tasks, self._streams, self._writer):
                with contextlib.suppress(sqlite3.Error):
                    part.close()
            self._marking.close()
        finally:
            self._lock.release()


def _contradictions(connection: sqlite3.Connection) -> Iterator[str]:
    for columns in connection.execute(f"SELECT {RUN_COLUMNS} FROM runs ORDER BY key"):
        row = rows.run_row(columns)
        history = connection.execute("SELECT run, seq, events FROM history WHERE run = ? ORDER BY seq", (row.key,))
        noted = rows.attributes_of(connection.execute(_ATTRIBUTES, (row.key,)))
        streamed = own_counts(connection, row.key)
        yield from problems_of(
            row,
            [HistoryRow(*part) for part in history],
            noted.get(row.key, {}),
            streamed,
            human.of_run(connection, row.key),
        )
    yield from contradictions(connection)
    for table in (
        "history",
        "attempts",
        "attributes",
        "tasks",
        "human",
        "human_people",
        "streams",
        "writers",
        "blobs",
        "mail",
    ):
        for (run,) in connection.execute(f"SELECT DISTINCT run FROM {table} WHERE run NOT IN (SELECT key FROM runs)"):
            yield lost_rows(table, run)
    for id, run, body in connection.execute("SELECT id, run, body FROM mail"):
        if rows.readable(body) is None:
            yield unreadable_mail(id, run)
