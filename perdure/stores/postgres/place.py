"""From an address to a server."""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow, tuple_row

from perdure import errors
from perdure.stores.addresses import is_clear, shown, without_secrets

CONNECT_SECONDS = 5
UNACKNOWLEDGED_MS = 10_000
"""After so long without an acknowledgement of what was sent the system takes the connection for lost."""

REFUSED_SECONDS = 3.0
STARTING_SECONDS = 60.0
"""How long whoever opens a database waits for a server that is not there, and for one that says it is just starting."""

UNHURRIED_TRIES = 100
"""How often it is asked for time where a statement gets so little that this is broken off as well."""

LOST_TRIES = 3
"""How often, if the connection is lost."""

_UNHURRIED = (
    b"BEGIN ISOLATION LEVEL %s; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = %d"
)

_OPTIONS = {"PGCONNECT_TIMEOUT": "connect_timeout", "PGAPPNAME": "application_name"}
"""What the environment may say, too."""

_UNKNOWN = re.compile(r'invalid URI query parameter: "(\w+)"')
_CLOSED = re.compile(r"refused|closed the connection|reset by peer")
_STARTING = re.compile(r"the database system is (starting up|not yet accepting|shutting down|in recovery)")


class Place:
    """A database of a server: `postgresql://user:password@host:port/name?option=value`, with all that libpq understands there,
    and, of what is not said, the variables of the environment that libpq knows. `shown` names no password.

    Raises:
        errors.StoreUnreachable: it is no such address.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.shown = shown(address)
        if not is_clear(address):
            raise errors.StoreUnreachable(
                f"{self.shown} can be read in more than one way; write, in the user, the password and the name of the database, "
                "@ as %40, : as %3A, / as %2F, ? as %3F and # as %23"
            )
        try:
            self._said = conninfo_to_dict(address)
        except psycopg.ProgrammingError as error:
            said = without_secrets(str(error), address).strip()
            raise errors.StoreUnreachable(
                f"{self.shown} is no address of a PostgreSQL database ({said}); {_advice(said)}"
            ) from error

    @contextlib.contextmanager
    def unhurried(self, soon: bool = False) -> "Iterator[psycopg.Connection[TupleRow]]":
        """A new connection, in a transaction as of `unhurried`, however soon the database ends one on which nothing is said. `soon`: of
        a server that may be being restarted, which is given some time.

        Raises:
            psycopg.Error: as `connect`.
        """
        for tries in range(1, UNHURRIED_TRIES + 1):
            with self.connect_soon() if soon else self.connect() as connection, contextlib.ExitStack() as begun:
                try:
                    begun.enter_context(unhurried(connection))
                except psycopg.OperationalError as error:
                    # Without a code: the end was noticed before the reason was read. A network that is gone looks the same.
                    if tries >= (
                        UNHURRIED_TRIES if isinstance(error, psycopg.errors.IdleSessionTimeout) else LOST_TRIES
                    ):
                        raise
                    continue
                yield connection
                return

    def connect_soon(self) -> "psycopg.Connection[TupleRow]":
        """The same, of a server that may be being restarted: it is given some time."""
        began = time.monotonic()
        while True:
            try:
                return self.connect()
            except psycopg.OperationalError as error:
                patience = STARTING_SECONDS if _STARTING.search(str(error)) else REFUSED_SECONDS
                if patience == REFUSED_SECONDS and not _CLOSED.search(str(error)):
                    raise
                if time.monotonic() - began > patience:
                    raise
                time.sleep(0.1)

    def connect(self) -> "psycopg.Connection[TupleRow]":
        """A new connection, which keeps nothing in the session that a pooler could lose.

        Raises:
            psycopg.Error: the server does not answer, or does not let this user in.
        """
        return psycopg.connect(
            **self.parameters("perdure"), autocommit=True, prepare_threshold=None, row_factory=tuple_row
        )

    def parameters(self, name: str) -> dict[str, Any]:
        """Of a connection that is called so, for psycopg. What the address says of them stays as it is said there."""
        said = {**{_OPTIONS[key]: "" for key in _OPTIONS if key in os.environ}, **self._said}
        wanted = {
            "connect_timeout": CONNECT_SECONDS,
            "application_name": name,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": UNACKNOWLEDGED_MS,
        }
        return {
            "conninfo": self.address,
            "client_encoding": "UTF8",  # whatever is said elsewhere: all that is written here is that
            **{option: value for option, value in wanted.items() if option not in said},
        }


@contextlib.contextmanager
def unhurried(
    connection: "psycopg.Connection[TupleRow]", isolation: bytes = b"READ COMMITTED", idle_ms: int = 0
) -> Iterator[None]:
    """A transaction in which a statement may take its time, however little of it the database allows; given up by the server if
    nothing is said in it for `idle_ms`, other than 0.

    Raises:
        psycopg.Error: it cannot be begun, or committed.
    """
    for tries in range(1, UNHURRIED_TRIES + 1):
        try:
            connection.rollback()
            connection.execute(_UNHURRIED % (isolation, idle_ms))  # one message
            break
        except psycopg.errors.QueryCanceled:
            if tries == UNHURRIED_TRIES:
                raise
    try:
        yield
        connection.execute(b"COMMIT")
    except BaseException:
        with contextlib.suppress(psycopg.Error):
            connection.rollback()
        raise


def _advice(said: str) -> str:
    found = _UNKNOWN.search(said)
    if found is None:
        return "write it like postgresql://user:password@host:5432/name"
    if found[1] == "ssl":
        return "what other drivers call ssl=require is sslmode=require here"
    return (
        f"leave out {found[1]}: behind the question mark are the parameters of libpq, such as sslmode, connect_timeout and "
        "target_session_attrs"
    )
