"""Connections that threads share: one that takes turns, and a pool of readers."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from perdure.stores.sqlite.opening import Place
from perdure.stores.sqlite.trouble import closed


class Line:
    """One connection that writes, opened when it is first needed, used by one thread at a time. `owns`: it is the owner's."""

    def __init__(self, place: Place, owns: bool = False) -> None:
        self._place = place
        self._owns = owns
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    @contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """The connection, outside a transaction, and again outside of one afterwards, whatever happens."""
        with self._lock:
            connection = self._connection
            if connection is None:
                if self._closed:
                    raise closed(self._place.path)
                connection = self._connection = self._place.writing(self._owns)
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    roll_back(connection)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()


def roll_back(connection: sqlite3.Connection) -> None:
    """Leave the transaction. SQLite has often done so already by itself, and then says that there is none."""
    try:
        connection.execute("ROLLBACK")
    except sqlite3.Error:
        if connection.in_transaction:
            raise


class Readers:
    """A pool of connections that only read; as many as there have ever been readers at the same time."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._closed = False

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """A connection on which several statements see the same state."""
        with self.use() as connection:
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def use(self) -> Iterator[sqlite3.Connection]:
        """A connection for one statement; one that had an error is not used again."""
        connection = self._take()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._closed:
                raise closed(self._place.path)
            if self._idle:
                return self._idle.pop()
        return self._place.reading()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
