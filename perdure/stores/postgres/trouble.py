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
_UNDONE = frozenset({"40001", "40P01"})
READ_ONLY, TOO_LATE, OTHER_ISOLATION, LOCKED = "25006", "57014", "PD006", "55P03"
NO_MEMORY = "53200"
_AGAIN = frozenset({READ_ONLY, TOO_LATE, OTHER_ISOLATION, *_UNDONE, NO_MEMORY, "53300", "53400", LOCKED})
"""A standby that takes no writes, a time limit, the wrong kind of transaction, a deadlock, a serialisation failure, no memory, no
connection left, a lock: of a transaction that is rolled back for certain."""

UNSENT = "perdure_unsent"
"""The mark of an error that a connection was not even made."""

_ROW = re.compile(r"\(\d+,\d+\)")
"""The place of a row, which the server names, in whichever language, when it was a row that was waited for and not a table."""

_FENCE = re.compile(r"\bmembers\b")
"""It was the row of a member: that of whoever commits."""

_SPOILT = ("21", "22", "23", "54", "P0", "XX000")
"""Classes of errors that are the batch's own: a value, a constraint, a size. All others are the server's, and pass."""

_NOT_LET_IN = re.compile(r"authentication failed|no password supplied|no pg_hba.conf entry|role \".*\" does not exist")
_NAMED = re.compile(r'database "([^"]*)" does not exist')
_NO_DATABASE = re.compile(r"FATAL:  database \".*\" does not exist")
"""Of an attempt to connect libpq tells no code; a server that speaks another language is reported as one that does not answer."""


def code_of(error: psycopg.Error) -> str:
    return error.sqlstate or ""


def is_lost(error: psycopg.Error) -> bool:
    """Whether it is the connection that has failed, and not the statement. With FATAL the server has ended it, whatever the reason."""
    code = code_of(error)
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and (
        not code or code.startswith(("08", "57P")) or error.diag.severity_nonlocalized in ("FATAL", "PANIC")
    )


def is_unsent(error: psycopg.Error) -> bool:
    """Whether there was no connection on which it could have been asked."""
    return bool(getattr(error, UNSENT, False))


def is_undone(error: psycopg.Error) -> bool:
    """Whether the server has undone it because of others: it passes if it is tried again."""
    return code_of(error) in _UNDONE


def for_owner(error: psycopg.Error, place: str) -> Exception:
    """What `Journal.commit` raises for it."""
    code = code_of(error)
    if code == "PD005":
        return base.CommitRefused(_said(error), UNCLOSED_HINT)
    if code in _OURS:
        return _OURS[code](_said(error))
    context = error.diag.context or ""
    if code == LOCKED and ("take_ids(" in context or (_ROW.search(context) and not _FENCE.search(context))):
        return base.IdTaken(_said(error))
    if code in ("XX001", "XX002"):
        return for_people(error, place)
    if is_lost(error):
        return base.CommitInDoubt(f"{place}: {_said(error)}")
    if code.startswith(_SPOILT):
        return base.CommitRefused(_said(error))
    return base.StoreUnavailable(str(for_people(error, place)))


def for_people(error: psycopg.Error, place: str) -> errors.StoreError:
    """The error a user reads: what was found, and what to do next."""
    code, said = code_of(error), _said(error)
    if code in _FULL:
        return errors.StoreFull(
            f"{place}: the server has no room left to write ({said}); nothing was lost. Free space there"
        )
    if code in _FORBIDDEN:
        return errors.StoreReadOnly(f"{place}: {said}; give that role the rights that `perdure migrate --roles` names")
    if code in ("28000", "28P01") or (not code and _NOT_LET_IN.search(said)):
        return _lasting(f"{place}: the server does not let this user in ({said}); look at the address")
    if code == "3D000" or (not code and _NO_DATABASE.search(said)):
        name = _NAMED.search(said)
        called = f" {name[1]}" if name else ""
        return _lasting(
            f"{place}: there is no such database{called}, an address ends with the name of one; make it: createdb{called}"
        )
    if code == "PD008":
        return errors.SchemaTooNew(f"{place}: {said}. Upgrade Perdure")
    if code in ("3F000", "42P01", "42883", "42703"):
        return _lasting(
            f"{place}: the database has not the schema of this version ({said}); `perdure migrate --check` says which it has"
        )
    if code == "25006":
        return errors.StoreUnreachable(
            f"{place}: the server takes no writes ({said}); if it is a standby, ask its primary: an address may name both, "
            "with ?target_session_attrs=read-write"
        )
    if code == LOCKED:
        return errors.StoreUnreachable(
            f"{place}: somebody has locked what is asked for ({said}), in a transaction that is still open; end it, and try again"
        )
    if code in ("XX001", "XX002"):
        return errors.StoreCorrupt(f"{place}: the server has found damaged data ({said}); restore a backup")
    if code and not is_lost(error) and code not in _AGAIN:
        return _lasting(f"{place}: the server refuses this ({said}; {code})")
    away = errors.StoreUnreachable(
        f"{place}: the server does not answer ({said}); see that it runs, and that the address is right"
    )
    away._away, away._unsent = True, is_unsent(error)
    return away


def _lasting(text: str) -> errors.StoreUnreachable:
    """Of what does not pass by itself."""
    error = errors.StoreUnreachable(text)
    error._lasts = True
    return error


_ASIDE = ("Is the server running", "This probably means", "before or while processing")
"""Lines of libpq that say no more than ours."""


def _said(error: psycopg.Error) -> str:
    """In one line."""
    lines = [line.strip() for line in (error.diag.message_primary or str(error)).splitlines()]
    kept = [line.removeprefix("connection failed: ") for line in lines if line and not line.startswith(_ASIDE)]
    return "; ".join(kept) or type(error).__name__


@contextmanager
def told_to_owner(place: str) -> Iterator[None]:
    """The same for an owner, or a worker: what its server lacks, room or rights, passes as well, and nobody starts it again then."""
    try:
        with told_to_people(place):
            yield
    except (errors.StoreFull, errors.StoreReadOnly) as error:
        raise errors.StoreUnreachable(str(error)) from error


@contextmanager
def told_to_people(place: str) -> Iterator[None]:
    """Errors of the server inside become those a user reads, and the one of a dead member what an owner has to know."""
    try:
        yield
    except psycopg.Error as error:
        if code_of(error) in ("PD001", "PD002"):
            raise base.OwnershipLost(_said(error)) from error
        raise for_people(error, place) from error
