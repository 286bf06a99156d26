"""One question and its answer on an open connection, by the shortest way.

psycopg's cursors wait for the socket in Python's terms, with a generator for each step, which takes longer than the server needs to
answer. Here the same adapters make bytes of values, and values of bytes; in between is libpq. And the wait may have an end.
"""

import fcntl
import functools
import re
import select
import struct
import termios
import time
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result

Row = tuple[Any, ...]

_PLACE = re.compile(rb"%([%bt])")
_FORMATS = {b"b": PyFormat.BINARY, b"t": PyFormat.TEXT}
_DONE = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)

MOST_PATIENCES = 10
"""However slowly the bytes of a call trickle, it ends after so many times its patience."""

_LOOKS = 6
"""So many times in its patience it looks whether the network still takes what the socket has left to send."""


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


class Asker:
    """`seconds`: how long an answer is waited for, from the last byte that moved, since a large question takes its time to get to
    the server over a slow network; None: until the connection is lost."""

    def __init__(self, connection: "psycopg.Connection[Any]", seconds: float | None = None) -> None:
        self.connection = connection
        self._server = connection.pgconn
        self._adapters = Transformer(connection)
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
        adapters = self._adapters
        query, formats = _native(sql)
        given = adapters.dump_sequence(values, formats)
        self._begin()
        try:
            self._server.send_query_params(query, given, adapters.types, adapters.formats, pq.Format.BINARY)
            result = self._answer()
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            raise psycopg.OperationalError(str(error)) from error
        if result is None or self._server.status == pq.ConnStatus.BAD:
            raise psycopg.OperationalError(self._server.get_error_message() or "the connection was lost")
        if result.status not in _DONE:
            raise error_from_result(result, self.connection.info.encoding)
        return self._rows(result)

    def ask_within(self, before: Sequence[bytes], sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """The same in a transaction that begins with these statements, and ends with this one: all in one message.

        Raises:
            psycopg.Error: as `ask`. Of a transaction that has failed nothing is left.
        """
        adapters, server = self._adapters, self._server
        query, formats = _native(sql)
        given = adapters.dump_sequence(values, formats)
        self._begin()
        try:
            server.enter_pipeline_mode()
            for statement in before:
                server.send_query_params(statement, None)
            server.send_query_params(query, given, adapters.types, adapters.formats, pq.Format.BINARY)
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
