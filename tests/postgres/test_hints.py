"""Nudges between processes."""

import os
import resource
import threading
from collections.abc import Iterator

import psycopg
import pytest

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


@pytest.fixture
def crowded() -> Iterator[None]:
    """A process that has so many files open that the next ones have numbers above 1,023."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1_500:
        pytest.skip(f"a process may have {hard} files open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1_500), hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1_100)]
    yield
    for descriptor in opened:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("crowded")
def test_a_process_with_many_files_open_is_nudged(database: str) -> None:
    bell, listener = _Bell(), Listener(Place(database))
    listener.add(7, bell.ring)
    bell.wait()
    with psycopg.connect(database, autocommit=True) as connection:
        for _ in range(2):
            connection.execute("SELECT perdure.nudge_workers('{7}')")
            bell.wait()
    listener.close()


def test_a_listener_goes_on_after_whatever_befalls_it(database: str, caplog: pytest.LogCaptureFixture) -> None:
    bell, listener, failures = _Bell(), Listener(Place(database)), iter([RuntimeError("what nobody has thought of")])

    def ring() -> None:
        for failure in failures:
            raise failure
        bell.ring()

    listener.add(7, ring)
    bell.wait()
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SELECT perdure.nudge_workers('{7}')")
    bell.wait()
    listener.close()
    assert "what nobody has thought of" in caplog.text


def test_an_owner_that_goes_on_as_another_member_hears_only_what_is_for_that_one(database: str) -> None:
    store, before, after = open_store(database), _Bell(), _Bell()
    old = store.admin.try_own("here", 1, "b", 1)
    store.admin.listen(before.ring)
    before.wait()
    new = store.admin.try_own("here", 1, "b", 1)
    store.admin.listen(after.ring)
    after.wait()
    assert old != new
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("SELECT perdure.nudge_workers(%s)", ([old, new],))
    after.wait()
    store.admin.close()
    assert before.is_silent
