"""The locks by which a SQLite database's owner knows that the process of a worker is gone."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.stores import base
from perdure.stores.sqlite import hints
from perdure.stores.sqlite.lines import Line, Readers
from perdure.stores.sqlite.lock import OwnerLock
from perdure.stores.sqlite.opening import Place
from perdure.stores.sqlite.store import SqliteStore
from perdure.stores.sqlite.tasks import SqliteTasks

JOIN = """
import sys
from perdure.stores.sqlite.store import SqliteStore
store = SqliteStore(sys.argv[1])
member = store.tasks.join("here", 1, "b", 1, ["gpu"], ["render"])
store.tasks.listen(member, lambda: None)
print(member, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(str(tmp_path / "runs.db"))
    assert store.admin.try_own("here", os.getpid(), "build", 1) == 1
    yield store
    store.admin.close()


def join(store: base.Store) -> int:
    return store.tasks.join("here", 1, "b", 1, ["gpu"], ["render"])


def files(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if "worker" in name)


def test_a_process_that_was_killed_is_known_to_be_gone_at_once(tmp_path: Path, store: SqliteStore):
    command = [sys.executable, "-c", JOIN, str(tmp_path / "runs.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        member = int(process.stdout.readline())
        before = store.tasks.dead([member])

        process.send_signal(signal.SIGKILL)
        process.wait()

    assert before == []
    assert store.tasks.dead([member]) == [member]


def test_nothing_is_left_of_one_that_was_buried(tmp_path: Path, store: SqliteStore):
    command = [sys.executable, "-c", JOIN, str(tmp_path / "runs.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        member = int(process.stdout.readline())
        process.kill()
    socket = hints.worker_socket_path(str(tmp_path / "runs.db"), member)
    assert os.path.exists(socket)
    assert files(tmp_path) == [f"runs.db-worker-{member}"]

    store.tasks.bury(member)

    assert not os.path.exists(socket)
    assert files(tmp_path) == []
    assert store.tasks.dead([member]) == []


def test_one_that_lives_is_not_gone_wherever_it_lives(tmp_path: Path, store: SqliteStore):
    other = SqliteStore(str(tmp_path / "runs.db"))
    members = [join(store), join(other)]

    assert store.tasks.dead(members) == []
    other.admin.close()
    assert store.tasks.dead(members) == members[1:]


def test_one_that_leaves_takes_its_file_along(tmp_path: Path, store: SqliteStore):
    member = join(store)

    store.tasks.leave(member)

    assert files(tmp_path) == []
    assert store.tasks.dead([member]) == []


def test_of_one_whose_file_was_deleted_nobody_can_tell(tmp_path: Path, store: SqliteStore):
    member = join(store)
    os.unlink(tmp_path / f"runs.db-worker-{member}")

    assert store.tasks.dead([member]) == []
    store.tasks.leave(member)


def test_a_worker_whose_file_cannot_be_made_works_all_the_same(tmp_path: Path, store: SqliteStore):
    (tmp_path / "runs.db-worker-2").mkdir()

    member = join(store)

    assert member == 2
    assert store.tasks.dead([member]) == []
    store.tasks.leave(member)
    assert store.views.workers() == []


def test_a_join_that_fails_leaves_no_file(tmp_path: Path, store: SqliteStore):
    with pytest.raises(TypeError):
        store.tasks.join("here", 1, "b", 1, [object()], [])  # type: ignore[list-item]

    assert files(tmp_path) == []
    assert store.views.workers() == []


def test_a_child_of_a_worker_does_not_keep_it_alive(tmp_path: Path, store: SqliteStore):
    other = SqliteStore(str(tmp_path / "runs.db"))
    member = join(other)
    began, say_began = os.pipe()
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        os.close(tell)
        os.write(say_began, b"!")
        os.read(told, 1)
        os._exit(0)
    os.read(began, 1)

    other.admin.close()

    assert store.tasks.dead([member]) == [member]
    os.close(tell)
    os.waitpid(child, 0)


def test_a_store_that_does_not_close_as_it_should_says_all_the_same_that_its_workers_are_gone(tmp_path: Path):
    class Stuck(Line):
        def close(self) -> None:
            raise RuntimeError("stuck")

    path = str(tmp_path / "runs.db")
    place = Place(path)
    tasks = SqliteTasks(path, Stuck(place), Readers(place))
    member = tasks.join("here", 1, "b", 1, ["gpu"], ["render"])

    with pytest.raises(RuntimeError, match="stuck"):
        tasks.close()

    assert SqliteStore(path).tasks.dead([member]) == [member]


def test_a_worker_that_leaves_while_the_owner_looks_has_not_died(
    tmp_path: Path, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
):
    worker = SqliteStore(str(tmp_path / "runs.db"))
    member = join(worker)
    look = OwnerLock.is_taken

    def leaves_first(lock: OwnerLock) -> bool:
        worker.tasks.leave(member)
        return look(lock)

    monkeypatch.setattr(OwnerLock, "is_taken", leaves_first)

    assert store.tasks.dead([member]) == []
    worker.admin.close()


def test_what_is_left_of_a_worker_that_died_while_it_joined_goes_when_somebody_owns(tmp_path: Path):
    left = tmp_path / "runs.db-worker-77"
    other = tmp_path / "runs.db-worker-list"
    left.touch()
    other.touch()
    worker, owner = SqliteStore(str(tmp_path / "runs.db")), SqliteStore(str(tmp_path / "runs.db"))
    living = join(worker)

    assert owner.admin.try_own("here", os.getpid(), "build", 1) is not None

    assert files(tmp_path) == [f"runs.db-worker-{living}", other.name]
    owner.admin.close()
    worker.admin.close()
