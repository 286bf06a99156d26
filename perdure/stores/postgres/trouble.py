"""What an error of PostgreSQL means: for the owner, who must decide about its batch, and for a person."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from perdure import errors
from perdure.stores import base
from perdure.stores.streaming import UNCLOSED_HINT

_OURS = {"PD001": base.OwnershipLost, "PD002": base.OwnershipLost, "PD003": base.CommitRefused}
_FULL = frozenset({"53100"})
_FORBIDDEN = frozenset({"42501"})
_AGAIN = frozenset({"25006", "40001", "40P01", "53200", "53300", "53400", "55P03", "57014"})
"""A standby that takes no writes, a serialisation failure, a deadlock, no memory, no connection left, a lock, a time limit: of
a transaction that is rolled back for certain."""

_NOT_LET_IN = re.compile(r"authentication failed|no password supplied|no pg_hba.conf entry|role \".*\" does not exist")
_NO_DATABASE = re.compile(r"FATAL:  database \".*\" does not exist")
"""Of an attempt to connect libpq tells no code; a server that speaks another language is reported as one that does not answer."""


def code_of(error: psycopg.Error) -> str:
    return error.sqlstate or ""


def is_lost(error: psycopg.Error) -> bool:
    """Whether it is the connection that has failed, and not the statement."""
    code = code_of(error)
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and (
        not code or code.startswith(("08", "57P"))
    )


def for_owner(error: psycopg.Error, place: str) -> Exception:
    """What `Journal.commit` raises for it."""
    code = code_of(error)
    if code == "PD005":
        return base.CommitRefused(_said(error), UNCLOSED_HINT)
    if code in _OURS:
        return _OURS[code](_said(error))
    if code in _FULL or code in _FORBIDDEN:
        return base.StoreFull(str(for_people(error, place)))
    if code in _AGAIN:
        return base.StoreUnavailable(f"{place}: {_said(error)}")
    if is_lost(error):
        return base.CommitInDoubt(f"{place}: {_said(error)}")
    return base.CommitRefused(_said(error))


def for_people(error: psycopg.Error, place: str) -> errors.StoreError:
    """The error a user reads: what was found, and what to do next."""
    code, said = code_of(error), _said(error)
    if code in _FULL:
        return errors.StoreFull(
            f"{place}: the server has no room left to write ({said}); nothing was lost. Free space there"
        )
    if code in _FORBIDDEN:
        return errors.StoreReadOnly(f"{place}: {said}; give that role the rights that `perdure migrate --sql` names")
    if code in ("28000", "28P01") or (not code and _NOT_LET_IN.search(said)):
        return errors.StoreUnreachable(f"{place}: the server does not let this user in ({said}); look at the address")
    if code == "3D000" or (not code and _NO_DATABASE.search(said)):
        return errors.StoreUnreachable(f"{place}: there is no such database; make it: createdb")
    if code in ("3F000", "42P01", "42883", "42703"):
        return errors.StoreUnreachable(
            f"{place}: the database has not the schema of this version ({said}): perdure migrate"
        )
    if code in ("XX001", "XX002"):
        return errors.StoreCorrupt(f"{place}: the server has found damaged data ({said}); restore a backup")
    if code and not is_lost(error) and code not in _AGAIN:
        return errors.StoreUnreachable(f"{place}: the server refuses this ({said}; {code})")
    return errors.StoreUnreachable(f"{place}: the server does not answer ({said}); it is asked again when it is there")


def _said(error: psycopg.Error) -> str:
    return (error.diag.message_primary or str(error)).strip() or type(error).__name__


@contextmanager
def told_to_people(place: str) -> Iterator[None]:
    """Errors of the server inside become those a user reads, and the one of a dead member what an owner has to know."""
    try:
        yield
    except psycopg.Error as error:
        if code_of(error) in ("PD001", "PD002"):
            raise base.OwnershipLost(_said(error)) from error
        raise for_people(error, place) from error
