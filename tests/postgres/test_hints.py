"""Nudges between processes."""

import threading

import psycopg

from perdure.stores.open import open_store
from perdure.stores.postgres.hints import Listener
from perdure.stores.postgres.place import Place

PATIENCE = 60.0


class _Bell:
    def __init__(self) -> None:
        self._rung = threading.Event()

    def ring(self) -> None:
        self._rung.set()

    def wait(self) -> None:
        assert self._rung.wait(PATIENCE)
        self._rung.clear()

    @property
    def is_silent(self) -> bool:
        return not self._rung.is_set()


def test_a_nudge_reaches_whom_it_is_for(database: str) -> None:
    one, other, client = (open_store(database) for _ in range(3))
    bells = []
    for store in (one, other):
        assert store.admin.try_own("here", 1, "b", 1) is not None
        bell = _Bell()
        store.admin.listen(bell.ring)
        bell.wait()  # it listens from now on
        bells.append(bell)
    client.post.nudge()
    for bell in bells:
        bell.wait()
    with psycopg.connect(database, autocommit=True) as connection:
        row = (1, "a", b"r", "w", 1, "", "b", 1, 1, False, 0, 0, 1, "", 0, 0, "", one.journal.member)  # type: ignore[attr-defined]
        connection.execute(
            "INSERT INTO perdure.runs (key, id, run_id, workflow, status, note, build, started_at, seq, open_tail, strikes, "
            "followed_by, chain, request, parent, root, pinned, owner) VALUES (" + ", ".join(["%s"] * 18) + ")",
            row,
        )
    client.post.nudge((1,))
    bells[0].wait()
    client.post.nudge((7,))  # there is no such run
    client.tasks.nudge((other.journal.member,))  # type: ignore[attr-defined]
    bells[1].wait()
    assert bells[0].is_silent
    for store in (one, other, client):
        store.admin.close()


def test_a_listener_whose_connection_breaks_nudges_and_listens_again(database: str) -> None:
    bell, listener = _Bell(), Listener(Place(database))
    listener.add(7, bell.ring)
    bell.wait()
    with psycopg.connect(database, autocommit=True) as connection:
        for _ in range(3):
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
            bell.wait()  # what came meanwhile was told to nobody
        connection.execute("SELECT perdure.nudge_workers('{7}')")
    bell.wait()
    listener.close()
    listener.close()
