"""Connections of psycopg for transactional activities: to functions in threads, and to coroutines on their loop."""

import contextlib
import threading
from base64 import b64encode
from collections import deque
from typing import Any, NoReturn

import msgspec
import psycopg
from psycopg import pq, sql
from psycopg.rows import TupleRow, tuple_row

from perdure import errors
from perdure.stores.base import Ending, MailRow
from perdure.stores.postgres.place import CONNECT_SECONDS, Place
from perdure.stores.postgres.rows import mail_columns
from perdure.stores.postgres.trouble import code_of

IDLE_CONNECTIONS = 4
"""So many of each kind stay open when no attempt uses them."""

_BEGIN = "BEGIN; SET LOCAL tcp_keepalives_idle = 10; SET LOCAL tcp_keepalives_interval = 5; SET LOCAL tcp_keepalives_count = 3"
"""So the server sees in half a minute that a machine is gone, and lets go of what its attempt has locked."""

_NOT_ITS_OWN = ("PD004", "PD006")


def _ours(verb: str) -> NoReturn:
    raise errors.DefinitionError(
        f"{verb} is not for the function of a transactional activity: what it has written is committed together with its result, "
        "when it returns, and undone if it raises. Savepoints are allowed: with connection.transaction(): ..."
    )


class _Connection(psycopg.Connection[TupleRow]):
    def commit(self) -> None:
        _ours("commit()")

    def rollback(self) -> None:
        _ours("rollback()")


class _AsyncConnection(psycopg.AsyncConnection[TupleRow]):
    async def commit(self) -> None:
        _ours("commit()")

    async def rollback(self) -> None:
        _ours("rollback()")


class PostgresLender:
    def __init__(self, place: Place) -> None:
        self._place = place
        self._idle: deque[_Connection] = deque()
        self._idle_on_loop: deque[_AsyncConnection] = deque()
        self._lock = threading.Lock()
        self._is_closed = False

    def lend(self) -> "_Lent":
        connection = self._taken(self._idle)
        if connection is not None:
            try:
                connection.execute(_BEGIN)
                return _Lent(self, connection)
            except psycopg.OperationalError:
                connection.close()  # it was lost while nobody used it
        connection = _Connection.connect(**self._parameters())
        connection.execute(_BEGIN)
        return _Lent(self, connection)

    async def lend_on_loop(self) -> "_LentOnLoop":
        connection = self._taken(self._idle_on_loop)
        if connection is not None:
            try:
                await connection.execute(_BEGIN)
                return _LentOnLoop(self, connection)
            except psycopg.OperationalError:
                connection.pgconn.finish()
        connection = await _AsyncConnection.connect(**self._parameters())
        await connection.execute(_BEGIN)
        return _LentOnLoop(self, connection)

    def _parameters(self) -> Any:
        """A transaction is begun by hand: psycopg would leave that to the first statement, and take a block with
        `connection.transaction()` that comes before it for the whole transaction, and commit it."""
        return {
            "conninfo": self._place.address,
            "autocommit": True,
            "prepare_threshold": None,
            "row_factory": tuple_row,
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "perdure activity",
        }

    def _taken(self, idle: deque[Any]) -> Any:
        with self._lock:
            return idle.pop() if idle else None

    def take_back(self, connection: Any) -> None:
        """From any thread, and from the loop: closing it does not wait. One that is in a transaction still is closed."""
        idle: deque[Any] = self._idle if isinstance(connection, _Connection) else self._idle_on_loop
        status = connection.pgconn.transaction_status
        with self._lock:
            keeps = not self._is_closed and len(idle) < IDLE_CONNECTIONS and status == pq.TransactionStatus.IDLE
            if keeps:
                connection.row_factory = tuple_row
                idle.append(connection)
        if not keeps:
            connection.pgconn.finish()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            idle: list[Any] = [*self._idle, *self._idle_on_loop]
            self._idle.clear()
            self._idle_on_loop.clear()
        for connection in idle:
            connection.pgconn.finish()


class _Lent:
    def __init__(self, lender: PostgresLender, connection: _Connection) -> None:
        self._lender = lender
        self.connection = connection

    def end(self, member: int, ending: Ending) -> bool:
        _demand_transaction(self.connection)
        try:
            self.connection.execute(_end_of(member, ending))
        except psycopg.Error as error:
            if code_of(error) not in _NOT_ITS_OWN:
                raise
            self.undo()
            return False
        self._lender.take_back(self.connection)
        return True

    def undo(self) -> None:
        try:
            with contextlib.suppress(psycopg.Error):
                self.connection.execute("ROLLBACK")
        finally:
            self._lender.take_back(self.connection)


class _LentOnLoop:
    def __init__(self, lender: PostgresLender, connection: _AsyncConnection) -> None:
        self._lender = lender
        self.connection = connection

    async def end(self, member: int, ending: Ending) -> bool:
        _demand_transaction(self.connection)
        try:
            await self.connection.execute(_end_of(member, ending))
        except psycopg.Error as error:
            if code_of(error) not in _NOT_ITS_OWN:
                raise
            await self.undo()
            return False
        self._lender.take_back(self.connection)
        return True

    async def undo(self) -> None:
        try:
            with contextlib.suppress(psycopg.Error):
                await self.connection.execute("ROLLBACK")
        finally:  # also if its loop is ended meanwhile
            self._lender.take_back(self.connection)


def _demand_transaction(connection: Any) -> None:
    if connection.pgconn.transaction_status == pq.TransactionStatus.IDLE:
        raise errors.DefinitionError(
            "the function of a transactional activity has ended its transaction by itself (COMMIT or ROLLBACK), so that its result "
            "cannot be part of it; leave that to the engine"
        )


def _end_of(member: int, ending: Ending) -> sql.Composed:
    """Two statements without parameters, so that they are one message: the commit comes only if the end was taken."""
    mail = mail_columns(MailRow(0, ending.run, ending.message))
    wanted = {
        "member": member,
        "run": ending.run,
        "step": ending.message.id,
        "attempt": ending.message.attempt,
        "kind": mail.kind,
        "body": mail.body,
        "blobs": [[b64encode(blob.digest).decode(), b64encode(blob.data).decode()] for blob in ending.blobs],
    }
    text = msgspec.json.encode(wanted).decode()
    return sql.SQL("SELECT perdure.end_within({}::text); COMMIT").format(sql.Literal(text))
