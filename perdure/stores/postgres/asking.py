"""One question and its answer on an open connection, by the shortest way.

psycopg's cursors wait for the socket in Python's terms, with a generator for each step, which takes longer than the server needs to
answer. Here the same adapters make bytes of values, and values of bytes; in between is libpq. And the wait may have an end.
"""

import fcntl
import functools
import hashlib
import re
import select
import struct
import termios
import time
from collections.abc import Sequence
from typing import Any, TypeAlias, TypeGuard

import psycopg
from psycopg import pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result

Row = tuple[Any, ...]


class Packed(tuple[bytes | None, ...]):
    """Values in the server's own binary form already, for a statement that names their types."""


_PLACE = re.compile(rb"%([%bt])")
_FORMATS = {b"b": PyFormat.BINARY, b"t": PyFormat.TEXT}
_BINARY = (pq.Format.BINARY,) * 32
_DONE = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)

OFTEN = 3
"""A statement that is asked so often on one connection is prepared there."""

_UNPREPARED = ("26000", "0A000")
"""The server does not know the statement, or what it gives is not what it was."""

MOST_PATIENCES = 10
"""However slowly the bytes of a call trickle, it ends after so many times its patience."""

_LOOKS = 6
"""So many times in its patience it looks whether the network still takes what the socket has left to send."""


@functools.lru_cache(100)
def _name_of(query: bytes) -> bytes:
    """The function that it calls, for people who look; and a digest, as another version may call that otherwise."""
    called = query[: query.index(b"(")].removeprefix(b"SELECT ")
    return called + b"_" + hashlib.sha256(query).hexdigest()[:8].encode()


@functools.lru_cache(1_000)
def _native(sql: str) -> tuple[bytes, list[PyFormat]]:
    """With the server's own names of parameters, $1 and so on, for %b (binary) and %t (text); and their formats."""
    formats: list[PyFormat] = []

    def named(found: re.Match[bytes]) -> bytes:
        if found[1] == b"%":
            return b"%"
        formats.append(_FORMATS[found[1]])
        return b"$%d" % len(formats)

    return _PLACE.sub(named, sql.encode()), formats


_Given: TypeAlias = tuple[bytes, Sequence[Any], Sequence[int] | None, Sequence[int] | None]
"""A statement, its values, their types, and in which form they are."""


class Asker:
    """`seconds`: how long an answer is waited for, from the last byte that moved, since a large question takes its time to get to
    the server over a slow network; None: until the connection is lost."""

    def __init__(self, connection: "psycopg.Connection[Any]", seconds: float | None = None) -> None:
        self.connection = connection
        self._server = connection.pgconn
        self._adapters = Transformer(connection)
        self._asked: dict[bytes, int] = {}
        self._prepares = True
        self.wait_for(seconds)
        self._readable, self._both = select.poll(), select.poll()
        self._readable.register(self._server.socket, select.POLLIN)
        self._both.register(self._server.socket, select.POLLIN | select.POLLOUT)

    def wait_for(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._begin()

    def _begin(self) -> None:
        """A question: there is one end to it, however many parts it and its answer go in."""
        self._end = None if self._seconds is None else time.monotonic() + self._seconds * MOST_PATIENCES

    def ask(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Run one statement, outside of any transaction, and its rows.

        Raises:
            psycopg.Error: it failed; an OperationalError without a code, if the connection did or no answer came.
        """
        query, given, types, formats = self._given(sql, values)
        self._begin()
        try:
            name = self._prepared(query) if types is None else None
            if name is None:
                self._server.send_query_params(query, given, types, formats, pq.Format.BINARY)
            else:
                self._server.send_query_prepared(name, given, formats, pq.Format.BINARY)
            result = self._answer()
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            raise psycopg.OperationalError(str(error)) from error
        if result is None or self._server.status == pq.ConnStatus.BAD:
            raise psycopg.OperationalError(self._server.get_error_message() or "the connection was lost")
        if result.status not in _DONE:
            error = error_from_result(result, self.connection.info.encoding)
            if name is None or error.sqlstate not in _UNPREPARED:
                raise error
            self._prepares = False
            return self.ask(sql, values)  # nothing has been done, as with any error
        return self._rows(result)

    def _prepared(self, query: bytes) -> bytes | None:
        """The name by which the server keeps a statement for this connection, so that it need not be read and planned each time: one
        that is asked often, and of the server itself, as a pooler gives the next question to any of its connections. Only time
        depends on it.

        Raises:
            psycopg.OperationalError: the connection was lost.
        """
        asked = self._asked[query] = self._asked.get(query, 0) + 1
        if asked < OFTEN or not self._prepares:
            return None
        name = _name_of(query)
        if asked == OFTEN:
            self._prepares = self._is_direct()
            if self._prepares:
                self._server.send_prepare(name, query)
                self._prepares = self._succeeded(self._answer())
        return name if self._prepares else None

    def _is_direct(self) -> bool:
        """Whether the process that has let this connection in is the one that answers its questions."""
        self._server.send_query_params(b"SELECT pg_backend_pid()", None)
        answer = self._answer()
        return self._succeeded(answer) and answer.get_value(0, 0) == b"%d" % self._server.backend_pid

    def _succeeded(self, answer: "pq.abc.PGresult | None") -> TypeGuard["pq.abc.PGresult"]:
        return answer is not None and answer.status in _DONE

    def ask_within(self, before: Sequence[bytes], sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """The same in a transaction that begins with these statements, and ends with this one: all in one message.

        Raises:
            psycopg.Error: as `ask`. Of a transaction that has failed nothing is left.
        """
        server = self._server
        query, given, types, formats = self._given(sql, values)
        self._begin()
        try:
            server.enter_pipeline_mode()
            for statement in before:
                server.send_query_params(statement, None)
            server.send_query_params(query, given, types, formats, pq.Format.BINARY)
            server.send_query_params(b"COMMIT", None)
            server.pipeline_sync()
            results = self._answers()
            server.exit_pipeline_mode()
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            raise psycopg.OperationalError(str(error)) from error
        failed = next((result for result in results if result.status not in _DONE), None)
        if failed is None:
            return self._rows(results[len(before)])
        if server.transaction_status != pq.TransactionStatus.IDLE:
            self.ask("ROLLBACK")
        raise error_from_result(failed, self.connection.info.encoding)

    def _given(self, sql: str, values: Sequence[Any]) -> _Given:
        query, formats = _native(sql)
        if type(values) is Packed:
            return query, values, None, _BINARY[: len(values)]
        adapters = self._adapters
        given = adapters.dump_sequence(values, formats)
        return query, given, adapters.types, adapters.formats

    def _rows(self, result: "pq.abc.PGresult") -> list[Row]:
        if not result.nfields:
            return []
        self._adapters.set_pgresult(result)
        return self._adapters.load_rows(0, result.ntuples, tuple)

    def _answers(self) -> "list[pq.abc.PGresult]":
        """Of all statements up to the end of the message."""
        self._send()
        results: list[pq.abc.PGresult] = []
        while True:
            result = self._next()
            if self._server.status == pq.ConnStatus.BAD:
                raise psycopg.OperationalError(self._server.get_error_message() or "the connection was lost")
            if result is not None and result.status == pq.ExecStatus.PIPELINE_SYNC:
                return results
            if result is not None:
                results.append(result)

    def _send(self) -> None:
        while self._server.flush():
            if self._wait(self._both) & select.POLLIN:
                self._server.consume_input()

    def _answer(self) -> "pq.abc.PGresult | None":
        self._send()
        result = self._next()
        while (more := self._next()) is not None:
            result = more
        return result

    def _next(self) -> "pq.abc.PGresult | None":
        """The next result, when it is there: libpq would wait for it without an end, and let no other thread of Python run."""
        while self._server.is_busy():
            self._wait(self._readable)
            self._server.consume_input()
        return self._server.get_result()

    def _wait(self, poll: "select.poll") -> int:
        """Until something can be read or sent, which is progress; and so it is when what was sent long ago goes on its way."""
        seconds, end = self._seconds, self._end
        if seconds is None or end is None:
            return poll.poll(None)[0][1]
        now = time.monotonic()
        until, unsent = min(now + seconds, end), 0
        while True:
            ready = poll.poll(max(int(min(until - now, seconds / _LOOKS) * 1e3), 0))
            if ready:
                return ready[0][1]
            now = time.monotonic()
            before, unsent = unsent, self._unsent()
            if unsent < before:
                until = min(now + seconds, end)
            if now >= until:
                raise psycopg.OperationalError("the server has not answered in time")

    def _unsent(self) -> int:
        """Bytes that the server's machine has not said to have, as far as the system tells."""
        try:
            return struct.unpack("i", fcntl.ioctl(self._server.socket, termios.TIOCOUTQ, bytes(4)))[0]
        except OSError:
            return 0
