"""Connections of psycopg for transactional activities: to functions in threads, and to coroutines on their loop."""

import contextlib
import itertools
import socket
import threading
from base64 import b64encode
from collections import deque
from typing import Any, LiteralString, NoReturn

import msgspec
import psycopg
from psycopg import pq, sql
from psycopg.rows import TupleRow, tuple_row

from perdure import errors
from perdure.stores.base import Ending, MailRow
from perdure.stores.lending import ended_by_itself
from perdure.stores.postgres.lines import Lines
from perdure.stores.postgres.place import Place
from perdure.stores.postgres.rows import mail_columns
from perdure.stores.postgres.trouble import OTHER_ISOLATION, code_of, told_to_people

IDLE_CONNECTIONS = 8
"""So many stay open when no attempt uses them."""

LETTING_GO_SECONDS = 5.0
"""How long the server may take to end a transaction for which it was asked to."""

_BEGIN = (
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL tcp_keepalives_idle = 10; SET LOCAL tcp_keepalives_interval = 5; "
    "SET LOCAL tcp_keepalives_count = 3; SET LOCAL application_name = '%s'"
)
"""The level that its end needs, whatever the default of the database is. And the server sees in half a minute that a machine is
gone, and lets go of what its attempt has locked. The name is that of this transaction, also behind a pooler, and gone with it."""

_LET_GO = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = %b::text"

NAME = "perdure activity"
_ROWS: Any = tuple_row
_NOT_ITS_OWN = ("PD004", "PD007")


def _ours(verb: str) -> NoReturn:
    raise errors.DefinitionError(
        f"{verb} is not for the function of a transactional activity: what it has written is committed together with its result, "
        "when it returns, and undone if it raises. Savepoints are allowed: with connection.transaction(): ..."
    )


_NOWHERE: "pq.abc.PGconn" = pq.PGconn.connect_start(b"port=-1")
_NOWHERE.finish()
"""What an object has that was given back: a connection that is closed. Without a port there was not even an attempt to connect."""


def _demand_lent(connection: "_Connection | _AsyncConnection") -> None:
    if connection.pgconn is _NOWHERE:
        raise errors.DefinitionError(
            "this connection was lent to an attempt of a transactional activity that has ended, and may be another one's by now; keep "
            "none: call activity.connection(...) in each attempt, and use what it gives only until the function returns"
        )


class _Connection(psycopg.Connection[TupleRow]):
    hold: "_Hold | None" = None

    def wait(self, *args: Any, **options: Any) -> Any:
        """Whatever is said to the server goes by here, also from cursors that were kept."""
        _demand_lent(self)
        result = super().wait(*args, **options)
        if self.hold is not None:
            self.hold.look()
        return result

    def _check_connection_ok(self) -> None:
        _demand_lent(self)
        super()._check_connection_ok()

    def commit(self) -> None:
        _ours("commit()")

    def rollback(self) -> None:
        _ours("rollback()")

    def __del__(self, *_: Any) -> None:
        """Nothing is told of one that is open still: another object goes on with what is below it."""


class _AsyncConnection(psycopg.AsyncConnection[TupleRow]):
    hold: "_Hold | None" = None

    async def wait(self, *args: Any, **options: Any) -> Any:
        """As above."""
        _demand_lent(self)
        result = await super().wait(*args, **options)
        if self.hold is not None:
            self.hold.look()
        return result

    def _check_connection_ok(self) -> None:
        _demand_lent(self)
        super()._check_connection_ok()

    async def commit(self) -> None:
        _ours("commit()")

    async def rollback(self) -> None:
        _ours("rollback()")

    def __del__(self, *_: Any) -> None:
        """As above."""


class PostgresLender:
    """Of the worker `member`. `lines` lead to the same server.

    What stays open between attempts is what libpq knows as a connection; each attempt has an object of its own around it, so
    that nothing that one sets there (adapters, factories) comes to another."""

    def __init__(self, place: Place, lines: Lines, member: int) -> None:
        self._place = place
        self._lines = lines
        self._member = member
        self._serials = itertools.count(1)
        self._idle: deque[pq.abc.PGconn] = deque()
        self._lock = threading.Lock()
        self._is_closed = False

    def lend(self) -> "_Lent":
        idle, name = self._taken(), self._name()
        if idle is not None:
            try:
                connection = _Connection(idle, tuple_row)
                connection.autocommit = True
                connection.prepare_threshold = None
                connection.execute(_begin(name))
                return _Lent(self, connection, name)
            except psycopg.OperationalError:
                idle.finish()  # it was lost while nobody used it
        with told_to_people(self._place.shown):
            connection = _Connection.connect(**self._parameters())
            connection.execute(_begin(name))
        return _Lent(self, connection, name)

    async def lend_on_loop(self) -> "_LentOnLoop":
        idle, name = self._taken(), self._name()
        if idle is not None:
            try:
                connection = _AsyncConnection(idle, _ROWS)
                await connection.set_autocommit(True)
                connection.prepare_threshold = None
                await connection.execute(_begin(name))
                return _LentOnLoop(self, connection, name)
            except psycopg.OperationalError:
                idle.finish()
        with told_to_people(self._place.shown):
            connection = await _AsyncConnection.connect(**self._parameters())
            await connection.execute(_begin(name))
        return _LentOnLoop(self, connection, name)

    def _parameters(self) -> Any:
        """A transaction is begun by hand: psycopg would leave that to the first statement, and take a block with
        `connection.transaction()` that comes before it for the whole transaction, and commit it."""
        return {
            **self._place.parameters(NAME),
            "autocommit": True,
            "prepare_threshold": None,
            "row_factory": tuple_row,
        }

    def _name(self) -> str:
        """Of a transaction; by the number in it `perdure.end_lent` knows whose it is."""
        return f"{NAME} {self._member}.{next(self._serials)}"

    def let_go(self, name: str) -> bool:
        """Have the server end that transaction, whatever it is at, and its connection. False if it cannot be asked, or knows none."""
        try:
            with self._lines.use(LETTING_GO_SECONDS) as line:
                return bool(line.ask(_LET_GO, (name,)))
        except psycopg.Error:
            return False

    def _taken(self) -> "pq.abc.PGconn | None":
        with self._lock:
            return self._idle.pop() if self._idle else None

    def take_back(self, connection: "pq.abc.PGconn", is_clean: bool) -> None:
        """From any thread, and from the loop: closing it does not wait. One that is in a transaction still is closed."""
        with self._lock:
            keeps = (
                is_clean
                and not self._is_closed
                and len(self._idle) < IDLE_CONNECTIONS
                and connection.transaction_status == pq.TransactionStatus.IDLE
            )
            if keeps:
                self._idle.append(connection)
        if not keeps:
            connection.finish()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            idle = list(self._idle)
            self._idle.clear()
        for connection in idle:
            connection.finish()


class _Hold:
    """What is lent, and whether it is over. A connection that was ended from outside is used by no other attempt."""

    def __init__(self, lender: PostgresLender, connection: "_Connection | _AsyncConnection", name: str) -> None:
        self._lender = lender
        self._connection = connection
        self._name = name
        self._lock = threading.Lock()
        self._is_over = False
        self._is_broken_off = False
        self._is_ending = False
        self._has_ended = False
        connection.hold = self
        self._is_told = self._told() == name  # a pooler may keep it to itself

    def _told(self) -> str:
        return (self._connection.pgconn.parameter_status(b"application_name") or b"").decode(errors="replace")

    def look(self) -> None:
        """Whether the transaction is still that which was begun: the server tells when the name is another one. Of one that has
        failed nothing can be seen, as its name goes with the failure; so it is looked at after each statement."""
        status = self._connection.pgconn.transaction_status
        if not self._is_ending and not self._is_over:
            is_another = status == pq.TransactionStatus.INTRANS and self._is_told and self._told() != self._name
            self._has_ended = self._has_ended or is_another or status == pq.TransactionStatus.IDLE

    def is_the_same(self) -> bool:
        """As far as can be seen. From the end on it is not the function's doing."""
        self.look()
        return not self._has_ended

    def begin_to_end(self) -> None:
        if not self.is_the_same():
            raise ended_by_itself()
        self._is_ending = True

    def ends(self) -> bool:
        """Whether it is to be given back now; once."""
        with self._lock:
            is_over, self._is_over = self._is_over, True
            return not is_over

    def give_back(self, is_clean: bool) -> None:
        """And disarm the object, which somebody may have kept."""
        with self._lock:
            below, self._connection.pgconn = self._connection.pgconn, _NOWHERE
            self._connection.hold = None
            self._lender.take_back(below, is_clean and not self._is_broken_off)

    def break_off(self) -> None:
        with self._lock:
            if self._is_over:
                return
            self._is_broken_off = True
        if self._lender.let_go(self._name):
            return
        # The statement at least, if there is one; and a server, or a pooler, that waits for the next one sees that none comes.
        with contextlib.suppress(psycopg.Error):
            self._connection.cancel()
        with self._lock:
            if not self._is_over:
                _hang_up(self._connection.pgconn)


def _begin(name: str) -> bytes:
    return (_BEGIN % name).encode()


def _hang_up(connection: "pq.abc.PGconn") -> None:
    """Whoever uses it still finds it lost: it must not be closed in his hands."""
    with contextlib.suppress(OSError, psycopg.Error):
        wire = socket.socket(fileno=connection.socket)
        try:
            wire.shutdown(socket.SHUT_RDWR)
        finally:
            wire.detach()


class _Lent:
    def __init__(self, lender: PostgresLender, connection: _Connection, name: str) -> None:
        self._hold = _Hold(lender, connection, name)
        self.connection = connection

    def end(self, member: int, ending: Ending) -> bool:
        self._hold.begin_to_end()
        try:
            self.connection.execute(_end_of(member, ending))
        except psycopg.Error as error:
            _demand_not_its_own(error)
            self.undo()
            return False
        self._give_back("DISCARD ALL")
        return True

    def undo(self) -> bool:
        is_the_same = self._hold.is_the_same()
        self._give_back("ROLLBACK", "DISCARD ALL")
        return is_the_same

    def break_off(self) -> None:
        self._hold.break_off()

    def _give_back(self, *statements: LiteralString) -> None:
        """Once: another attempt may have it afterwards."""
        if not self._hold.ends():
            return
        is_clean = False
        try:
            with contextlib.suppress(psycopg.Error):
                for statement in statements:
                    self.connection.execute(statement)
                is_clean = True
        finally:
            self._hold.give_back(is_clean)


class _LentOnLoop:
    def __init__(self, lender: PostgresLender, connection: _AsyncConnection, name: str) -> None:
        self._hold = _Hold(lender, connection, name)
        self.connection = connection

    async def end(self, member: int, ending: Ending) -> bool:
        self._hold.begin_to_end()
        try:
            await self.connection.execute(_end_of(member, ending))
        except psycopg.Error as error:
            _demand_not_its_own(error)
            await self.undo()
            return False
        await self._give_back("DISCARD ALL")
        return True

    async def undo(self) -> bool:
        is_the_same = self._hold.is_the_same()
        await self._give_back("ROLLBACK", "DISCARD ALL")
        return is_the_same

    def break_off(self) -> None:
        self._hold.break_off()

    async def _give_back(self, *statements: LiteralString) -> None:
        if not self._hold.ends():
            return
        is_clean = False
        try:
            with contextlib.suppress(psycopg.Error):
                for statement in statements:
                    await self.connection.execute(statement)
                is_clean = True
        finally:  # also if its loop is ended meanwhile
            self._hold.give_back(is_clean)


def _demand_not_its_own(error: psycopg.Error) -> None:
    """Raises it, unless it says that nobody wants this attempt any more."""
    code = code_of(error)
    if code == OTHER_ISOLATION:
        raise errors.DefinitionError(
            "the function of a transactional activity has changed the isolation level of its transaction, so that its result "
            "cannot be part of it; it is READ COMMITTED, and what needs more takes locks: SELECT ... FOR UPDATE"
        ) from error
    if code not in _NOT_ITS_OWN:
        raise error


def _end_of(member: int, ending: Ending) -> sql.Composed:
    """Three statements without parameters, so that they are one message: the commit comes only if the end was taken. Constraints
    that wait for the commit are looked at before it, and thereby whatever of others they wait for: from the moment at which the
    attempt holds its task, for which the owner waits, it waits for nobody."""
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
    return sql.SQL("SET CONSTRAINTS ALL IMMEDIATE; SELECT perdure.end_within({}::text); COMMIT").format(
        sql.Literal(text)
    )
