"""Connections: one for the owner's thread, and some that anybody borrows. None keeps a state of the session, so that a pooler
may stand before the server: each call is one statement, which is one transaction.

What a database is set to by its administrator may not fit: transactions of another isolation than READ COMMITTED, or a limit for
statements that is too short. The functions find the one, and the server says the other, when nothing has happened yet; from then
on a line says what it needs with each call. That makes four statements of one, which go in one message all the same.
"""

import select
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import psycopg
from psycopg import pq

from perdure.stores.postgres.asking import Asker, Row
from perdure.stores.postgres.place import Place, unhurried
from perdure.stores.postgres.trouble import (
    OTHER_ISOLATION,
    READ_ONLY,
    TOO_LATE,
    UNSENT,
    code_of,
    is_lost,
    is_undone,
    told_to_owner,
)

CALL_SECONDS = 6.0
"""How long an owner, or a worker, waits for an answer: shorter than it may be silent, so that it is not taken for dead by that."""

LOOK_SECONDS = 60.0
"""The same of anybody else."""

UNDONE_TRIES = 5
"""How often a call is made that the server undoes, since it has met others (a deadlock, a serialisation failure)."""

_BEGIN = b"BEGIN ISOLATION LEVEL READ COMMITTED"
_TIME = b"SET LOCAL statement_timeout = %d"
_IDLE = b"SET LOCAL idle_in_transaction_session_timeout = %d"
EXPLICIT_SECONDS = 60.0
"""After so long a line looks whether a call does without: a statement that somebody has cancelled looks like one that took too long."""

IDLE_MS = 60_000
"""So long a transaction of several statements may stand still."""

IDLE_LINES = 4
"""So many connections stay open when nobody uses them."""


class Line:
    """Opened when it is needed, and anew when it was lost. Used by one thread at a time."""

    def __init__(self, place: Place, patience: float = CALL_SECONDS) -> None:
        self.place = place
        self.patience = patience
        self._asker: Asker | None = None
        self._idle = select.poll()
        self._explicit_until = 0.0
        self.opened = 0
        """How often it was."""

    def ask(self, sql: str, values: Sequence[Any] = (), opened: int = 0) -> list[Row]:
        """Run one statement, and its rows; with `opened`, on that connection, by its number, and on no other.

        Raises:
            psycopg.Error: it failed; if the connection did, nobody knows whether the statement came to its end.
        """
        began = time.monotonic()
        for tries in range(1, UNDONE_TRIES + 1):
            try:
                return self._asked(sql, values, opened)
            except psycopg.Error as error:
                code = code_of(error)
                if not self._is_explicit() and code in (OTHER_ISOLATION, TOO_LATE):
                    self._explicit_until = time.monotonic() + EXPLICIT_SECONDS
                elif tries == UNDONE_TRIES or not (is_undone(error) or self._is_early(code, began)):
                    raise
        raise AssertionError

    def _asked(self, sql: str, values: Sequence[Any], opened: int) -> list[Row]:
        asker = self._opened()
        if opened not in (0, self.opened):
            lost = psycopg.OperationalError("the connection was lost before anything was sent")
            setattr(lost, UNSENT, True)
            raise lost
        try:
            if self._is_explicit():
                most = int(self.patience * 1_000)
                return asker.ask_within((_BEGIN, _TIME % most, _IDLE % most), sql, values)
            return asker.ask(sql, values)
        except psycopg.Error as error:
            # One that was the primary server may be none any more; with several hosts, another one is found by connecting.
            if is_lost(error) or not _is_between(asker.connection) or code_of(error) == READ_ONLY:
                self.close()
            raise
        except BaseException:
            # An interrupt, say: the answer is still to come, and would be taken for that to the next question.
            self.close()
            raise

    def _is_early(self, code: str, began: float) -> bool:
        """Whether a statement was broken off that had time left: the one that asks for more, where the database allows too little."""
        return code == TOO_LATE and time.monotonic() - began < self.patience

    def _is_explicit(self) -> bool:
        return time.monotonic() < self._explicit_until

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """The same of one that only reads: if the connection was lost meanwhile, it is asked again on a new one. Nothing is found by
        a text that no database holds."""
        try:
            return self.ask(sql, values)
        except UnicodeEncodeError:  # half a character
            return []
        except psycopg.DataError as error:
            if error.sqlstate in (None, "22021"):  # a NUL: it was not even sent, or not understood
                return []
            raise
        except psycopg.Error as error:
            if not is_lost(error):
                raise
            return self.ask(sql, values)

    @contextmanager
    def transaction(self, isolation: bytes = b"READ COMMITTED") -> Iterator[psycopg.Connection[Row]]:
        """Several statements that are one transaction, for what takes its time and what no owner waits for. It is given up if
        this process stands still in it."""
        connection = self._opened().connection
        try:
            with unhurried(connection, isolation, IDLE_MS):
                yield connection
        except BaseException:
            self.close()
            raise

    def wait_for(self, patience: float) -> None:
        """An answer is waited for so long from now on."""
        self.patience = patience
        if self._asker is not None:
            self._asker.wait_for(patience)

    def open(self) -> None:
        """Connect now, if that is not so yet: a failure says that nothing was sent."""
        self._opened()

    def close(self) -> None:
        asker, self._asker = self._asker, None
        self._explicit_until = 0.0
        if asker is not None:
            asker.connection.close()

    def _opened(self) -> Asker:
        """A server that has ended a connection says so before anybody asks: then nothing need be sent in vain."""
        if self._asker is not None and self._idle.poll(0):
            self.close()
        asker = self._asker
        if asker is None:
            try:
                connection = self.place.connect()
            except psycopg.Error as error:
                setattr(error, UNSENT, True)
                raise
            self.opened += 1
            self._asker = asker = Asker(connection, self.patience)
            self._idle = select.poll()
            self._idle.register(connection, select.POLLIN)
        return asker


def _is_between(connection: psycopg.Connection[Row]) -> bool:
    """Whether it is open, and in no transaction."""
    return connection.info.transaction_status == pq.TransactionStatus.IDLE


class Lines:
    """For any thread. That of an owner, which `serve` names, waits no longer than it may be silent, and is told what passes as such:
    what a server lacks, room or rights, ends no engine."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._idle: deque[Line] = deque()
        self._lock = threading.Lock()
        self._is_closed = False
        self._owner = 0
        self._owners_patience = CALL_SECONDS

    def serve(self, thread: int, patience: float) -> None:
        """From now on that thread is an owner's."""
        self._owner, self._owners_patience = thread, patience

    @contextmanager
    def use(self, patience: float = LOOK_SECONDS) -> Iterator[Line]:
        is_owner = threading.get_ident() == self._owner
        with self._lock:
            line = self._idle.pop() if self._idle else Line(self._place)
        line.wait_for(min(patience, self._owners_patience) if is_owner else patience)
        try:
            with told_to_owner(self._place.shown) if is_owner else nullcontext():
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
