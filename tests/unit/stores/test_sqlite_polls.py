"""What a poll of a file tells of when more mail waits than is looked at."""

import sqlite3
from pathlib import Path

from perdure.kernel import wire
from perdure.kernel.messages import Cancel
from perdure.stores import base
from perdure.stores.sqlite.polling import LOOKED_AT, WALKED
from perdure.stores.sqlite.store import SqliteStore
from tests.conformance.rows import run

LIMIT = 1_000


def _send(path: Path, keys: list[int]) -> None:
    with sqlite3.connect(path) as connection:
        body = wire.encode(Cancel("c"))
        connection.executemany(
            "INSERT INTO mail (run, kind, body, reply_to) VALUES (?, 3, ?, '')", [(key, body) for key in keys]
        )
    connection.close()


def test_behind_the_pile_of_one_run_the_others_have_their_turns(tmp_path: Path) -> None:
    """Before any of the pile was read, and each of them in a few polls, however many they are."""
    others = [2 * n for n in range(2, 2 * WALKED + 50)]
    path = tmp_path / "runs.db"
    store = SqliteStore(str(path))
    store.admin.try_own("here", 1, "b", 1)
    store.journal.commit(base.Batch(created=[run(key) for key in (2, *others)]))
    _send(path, [2] * (LOOKED_AT + LIMIT))
    _send(path, [key for key in others for _ in range(2)])

    told: set[int] = set()
    for _ in range(len(others) // WALKED + 2):
        poll = store.work.poll(0, LIMIT)
        assert len(poll.mail) == LIMIT
        assert [mail.id for mail in poll.mail] == sorted({mail.id for mail in poll.mail})
        pile = [mail.id for mail in poll.mail if mail.run == 2]
        assert pile == list(range(1, len(pile) + 1)) and len(pile) >= LIMIT - WALKED
        told |= {mail.run for mail in poll.mail}
    assert told == {2, *others}
    store.admin.close()


def test_a_pile_that_is_alone_is_told_of_as_it_lies_there(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    store = SqliteStore(str(path))
    store.admin.try_own("here", 1, "b", 1)
    store.journal.commit(base.Batch(created=[run(2)]))
    _send(path, [2] * (LIMIT + 1))

    assert [mail.id for mail in store.work.poll(0, LIMIT).mail] == list(range(1, LIMIT + 1))
    store.admin.close()
