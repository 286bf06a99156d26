"""A small PostgreSQL: rows, row locks, transactions at READ COMMITTED, as values that can be hashed.

Each statement of a call is a step, or two where it reads several rows by one snapshot and locks them afterwards. What a
transaction has written is seen by itself alone until it commits. Whoever wants a lock that another one holds waits; `SKIP
LOCKED` does not, and looks again (EvalPlanQual) at the newest version of a row that has changed since the snapshot.
"""

from collections.abc import Iterator
from enum import IntEnum
from typing import Any, NamedTuple


class Lock(IntEnum):
    KEY_SHARE = 0
    SHARE = 1
    NO_KEY_UPDATE = 2
    UPDATE = 3


CONFLICTS = (
    (False, False, False, True),
    (False, False, True, True),
    (False, True, True, True),
    (True, True, True, True),
)
"""Of row locks, as the manual has them."""

LIVES, DEAD, LEFT, GONE = "lives", "dead", "has handed over", "has no row any more"


class Member(NamedTuple):
    state: str = LIVES
    term: int = 0
    used: bool = False
    beats: int = 0


class Run(NamedTuple):
    """The row. `left_by`: which dead member had it, until it is written. `seq`: so many events there are."""

    owner: int = 0
    claims: int = 0
    wake: bool = False
    seq: int = 0
    left_by: int = 0


class Letter(NamedTuple):
    """Of run 0 if it is for none that there is; `hint`: whose that was, for a mutation that goes by it."""

    id: int
    run: int
    request: str
    hint: int = 0


class Txn(NamedTuple):
    """An open transaction: the call, who makes it, how far it is, what it has read, locked and written."""

    call: str
    me: int
    args: Any = ()
    pc: int = 0
    seen: Any = ()
    locks: frozenset[tuple[str, int, int]] = frozenset()
    writes: tuple[tuple[str, int, Any], ...] = ()
    disowned: bool = False
    """Its client is sure that it has come to nothing."""
    number: int = 0
    """Where transactions have to be told apart."""


class Tables(NamedTuple):
    """What is committed. Members and runs have the numbers from 1 on. `attempts`: (number, member, 0 if it is to be tried
    again) of the attempt of a run that is in the air, beyond the first, which only the history tells."""

    members: tuple[Member, ...]
    runs: tuple[Run, ...]
    histories: tuple[tuple[str, ...], ...]
    attempts: tuple[tuple[int, int], ...]
    mail: tuple[Letter, ...] = ()


def member(tables: Tables, id: int) -> Member:
    return tables.members[id - 1]


def run(tables: Tables, txn: Txn, key: int) -> Run:
    """As a new statement of the transaction sees it."""
    for table, row, value in reversed(txn.writes):
        if table == "run" and row == key:
            return value
    return tables.runs[key - 1]


def replaced(rows: tuple[Any, ...], number: int, value: Any) -> tuple[Any, ...]:
    return (*rows[: number - 1], value, *rows[number:])


def committed(tables: Tables, txn: Txn) -> Tables:
    """The tables after the transaction."""
    members, runs, histories, attempts, mail = tables
    for table, row, value in txn.writes:
        if table == "run":
            runs = replaced(runs, row, value)
        elif table == "member":
            members = replaced(members, row, value)
        elif table == "history":
            histories = replaced(histories, row, histories[row - 1] + value)
        elif table == "attempt":
            attempts = replaced(attempts, row, value)
        elif value is None:
            mail = tuple(letter for letter in mail if letter.id != row)
        else:
            mail = tuple(sorted((*mail, value)))
    return Tables(members, runs, histories, attempts, mail)


def written(txn: Txn, table: str, row: int, value: Any) -> Txn:
    return txn._replace(writes=(*txn.writes, (table, row, value)))


def blockers(others: list[Txn], table: str, row: int, strength: int) -> list[Txn]:
    """Who holds what conflicts with this lock."""
    conflicts = CONFLICTS[strength]
    return [
        other
        for other in others
        if any(held == table and of == row and conflicts[how] for held, of, how in other.locks)
    ]


def locked(txn: Txn, table: str, row: int, strength: int) -> Txn:
    return txn._replace(locks=txn.locks | {(table, row, int(strength))})


def waits_in_circles(waits: dict[int, list[int]]) -> Iterator[int]:
    """Of who waits for whom: those who wait for themselves."""
    for start in waits:
        seen: set[int] = set()
        todo = list(waits[start])
        while todo:
            each = todo.pop()
            if each not in seen:
                seen.add(each)
                todo += waits.get(each, ())
        if start in seen:
            yield start
