"""Connections of sqlite3 for transactional activities: to the file of the runs, where the application's tables lie, too.

SQLite has one writer: while an attempt has its transaction nobody else writes, not even the owner. So the transaction begins as
one that writes, and what was read in it stays true.
"""

import sqlite3
from typing import Any, NoReturn

from perdure import errors
from perdure.stores.base import Ending
from perdure.stores.lending import ended_by_itself
from perdure.stores.sqlite.lines import roll_back
from perdure.stores.sqlite.opening import Place
from perdure.stores.sqlite.tasks import end_one
from perdure.stores.sqlite.trouble import told_to_people


def _ours(verb: str) -> NoReturn:
    raise errors.DefinitionError(
        f"{verb} is not for the function of a transactional activity: what it has written is committed together with its result, "
        "when it returns, and undone if it raises"
    )


class LentConnection(sqlite3.Connection):
    """Its transaction is ended by whoever has lent it."""

    def commit(self) -> None:
        _ours("commit()")

    def rollback(self) -> None:
        _ours("rollback()")

    def executescript(self, sql_script: Any, /) -> NoReturn:
        _ours("executescript(), which commits first,")

    def __enter__(self) -> NoReturn:
        _ours("with connection:, which commits at its end,")


class _Guard:
    """The engine of SQLite asks it what a statement may: to end the transaction, or to begin another one, never."""

    def __init__(self) -> None:
        self.has_refused = False

    def __call__(self, action: int, *_: object) -> int:
        if action == sqlite3.SQLITE_TRANSACTION:
            self.has_refused = True
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK


class SqliteLender:
    lend_on_loop = None

    def __init__(self, place: Place) -> None:
        self._place = place

    def lend(self) -> "_Lent":
        with told_to_people(self._place.path):
            connection = self._place.writing(owns=False, factory=LentConnection)
            try:
                connection.execute("BEGIN IMMEDIATE")
            except BaseException:
                connection.close()
                raise
        return _Lent(connection)

    def close(self) -> None:
        """None is idle: they are quick to open."""


class _Lent:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._guard = _Guard()
        connection.set_authorizer(self._guard)

    def end(self, member: int, ending: Ending) -> bool:
        if self._guard.has_refused or not self.connection.in_transaction:
            raise ended_by_itself()
        self.connection.set_authorizer(None)
        self.connection.row_factory = None
        is_its_own = end_one(self.connection, member, ending)
        if is_its_own:
            self.connection.execute("COMMIT")
        self.undo()
        return is_its_own

    def break_off(self) -> None:
        """Not possible: what is rolled back in the hands of another thread it would go on with outside of any transaction."""

    def undo(self) -> bool:
        try:
            self.connection.set_authorizer(None)
            if self.connection.in_transaction:
                roll_back(self.connection)
        finally:
            self.connection.close()
        return not self._guard.has_refused
