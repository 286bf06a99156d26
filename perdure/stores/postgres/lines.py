"""Connections: one for the owner's thread, and some that anybody borrows. None keeps a state of the session, so that a pooler
may stand before the server: each call is one statement, which is one transaction."""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from perdure.stores.postgres.asking import Asker, Row
from perdure.stores.postgres.place import Place
from perdure.stores.postgres.trouble import is_lost

IDLE_LINES = 4
"""So many connections stay open when nobody uses them."""


class Line:
    """Opened when it is needed, and anew when it was lost. Used by one thread at a time."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._connection: psycopg.Connection[Row] | None = None
        self._asker: Asker | None = None

    def ask(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Run one statement, and its rows.

        Raises:
            psycopg.Error: it failed; if the connection did, nobody knows whether the statement came to its end.
        """
        connection = self._opened()
        assert self._asker is not None
        try:
            return self._asker.ask(sql, values)
        except psycopg.Error as error:
            if is_lost(error) or connection.closed:
                self.close()
            raise

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """The same of one that only reads: if the connection was lost meanwhile, it is asked again on a new one."""
        try:
            return self.ask(sql, values)
        except psycopg.Error as error:
            if not is_lost(error):
                raise
            return self.ask(sql, values)

    @contextmanager
    def transaction(self, begin: str) -> Iterator[psycopg.Connection[Row]]:
        """Several statements that are one transaction, for what takes its time and what no owner waits for. It is given up if
        this process stands still in it."""
        connection = self._opened()
        try:
            connection.execute(begin.encode())
            connection.execute(b"SET LOCAL idle_in_transaction_session_timeout = '60s'")
            yield connection
            connection.execute(b"COMMIT")
        except BaseException:
            self.close()  # which rolls back, whatever it was that failed
            raise

    def open(self) -> None:
        """Connect now, if that is not so yet: a failure says that nothing was sent."""
        self._opened()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _opened(self) -> psycopg.Connection[Row]:
        if self._connection is None:
            self._connection = self.place.connect()
            self._asker = Asker(self._connection)
        return self._connection


class Lines:
    """For any thread."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._idle: deque[Line] = deque()
        self._lock = threading.Lock()
        self._is_closed = False

    @contextmanager
    def use(self) -> Iterator[Line]:
        with self._lock:
            line = self._idle.pop() if self._idle else Line(self._place)
        try:
            yield line
        finally:
            with self._lock:
                keep = not self._is_closed and len(self._idle) < IDLE_LINES
                if keep:
                    self._idle.append(line)
            if not keep:
                line.close()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, deque()
        for line in idle:
            line.close()
