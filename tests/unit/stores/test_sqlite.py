"""What is SQLite's alone: the file, its owner, its clients, its faults."""

import contextlib
import multiprocessing
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from perdure import errors
from perdure.kernel.events import Payload
from perdure.kernel.messages import Cancel, Start
from perdure.kernel.project import HistoryRow, RunRow
from perdure.stores import base
from perdure.stores.sqlite import hints, lines, opening, rows
from perdure.stores.sqlite.admin import SqliteAdmin
from perdure.stores.sqlite.journal import writes_of
from perdure.stores.sqlite.lock import OwnerLock
from perdure.stores.sqlite.store import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "runs.db")


@pytest.fixture
def store(path: str) -> Iterator[SqliteStore]:
    store = SqliteStore(path)
    assert store.admin.try_own("here", os.getpid(), "build", 1) == 1
    yield store
    store.admin.close()


def run(key: int, id: str = "", status: int = 1) -> RunRow:
    return RunRow(key, id or f"run-{key}", b"r" * 16, "order", status, "", "build", 1, None, None, 1)


def letter() -> base.MailRow:
    return base.MailRow(0, 0, Start("order", Payload(b"[1]"), b"r"))


@contextlib.contextmanager
def child(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process running `code`; it is killed in the end, and stands still after `print("ready")` and `wait()`."""
    prelude = "import sys\nfrom perdure.stores.sqlite.store import SqliteStore\ndef wait(): print('ready', flush=True); sys.stdin.read()\n"
    process = subprocess.Popen(
        [sys.executable, "-c", prelude + code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


OWN = """
store = SqliteStore(sys.argv[1])
assert store.admin.try_own("there", 1, "build", 1)
"""


def test_the_address_is_absolute(path: str, store: SqliteStore) -> None:
    assert store.address == f"sqlite:///{path}"


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: str) -> None:
    Path(path).write_text("orders: 1, 2, 3 and so on")

    with pytest.raises(errors.StoreCorrupt, match="is no SQLite database"):
        SqliteStore(path)

    assert Path(path).read_text() == "orders: 1, 2, 3 and so on"


def test_another_applications_database_is_refused_and_left_alone(path: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
    before = Path(path).read_bytes()

    with pytest.raises(errors.StoreCorrupt, match="of another application"):
        SqliteStore(path)

    assert Path(path).read_bytes() == before
    assert os.listdir(os.path.dirname(path)) == ["runs.db"]


def test_a_newer_schema_is_refused(path: str) -> None:
    SqliteStore(path).admin.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")

    with pytest.raises(errors.SchemaTooNew, match=r"schema 99; this one knows \d+\); upgrade Perdure"):
        SqliteStore(path)


def test_damage_inside_the_file_is_a_clear_error(path: str) -> None:
    store = SqliteStore(path)
    store.admin.try_own("here", 1, "b", 1)
    store.journal.commit(base.Batch(created=[run(2 * n) for n in range(1, 2_000)]))
    store.admin.close()
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (os.path.getsize(path) - 4096))

    with pytest.raises(errors.StoreCorrupt, match="damaged"):
        damaged = SqliteStore(path)
        damaged.views.search(base.RunFilter())


@pytest.mark.parametrize(
    ("name", "advice"), [("", "is a folder"), ("no/such/runs.db", "does not exist; create it first")]
)
def test_a_path_that_cannot_be_a_file_is_refused(tmp_path: Path, name: str, advice: str) -> None:
    with pytest.raises(errors.StoreUnreachable, match=advice):
        SqliteStore(str(tmp_path / name))


AS_NOBODY = """
import os
from perdure import errors
if os.geteuid() == 0:
    os.setgid(65534); os.setuid(65534)
try:
    SqliteStore(sys.argv[1])
except errors.StoreError as error:
    print(type(error).__name__, str(error))
"""


@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "expected"),
    [
        (0o555, 0o666, "StoreReadOnly"),
        (0o777, 0o444, "StoreReadOnly"),
        (0o777, 0o000, "StoreUnreachable"),
        (0o555, None, "StoreReadOnly"),
    ],
)
def test_missing_rights_are_named(folder_mode: int, file_mode: int | None, expected: str) -> None:
    with contextlib.ExitStack() as stack:
        import tempfile

        folder = stack.enter_context(tempfile.TemporaryDirectory())
        database = os.path.join(folder, "runs.db")
        if file_mode is not None:
            SqliteStore(database).admin.close()
            os.chmod(database, file_mode)
        os.chmod(folder, folder_mode)
        stack.callback(os.chmod, folder, stat.S_IRWXU)

        with child(AS_NOBODY, database) as process:
            said = process.communicate()[0]

    assert said.startswith(expected), said


def test_processes_that_create_the_schema_together_all_succeed(path: str) -> None:
    with contextlib.ExitStack() as stack:
        code = "sys.stdin.readline()\nSqliteStore(sys.argv[1]).post.send\nprint('ready')"
        processes = [stack.enter_context(child(code, path)) for _ in range(6)]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()

        for process in processes:
            ready(process)


def test_a_killed_owner_is_succeeded_at_once(path: str) -> None:
    standby = SqliteStore(path)
    with child(OWN + "marker = store.marking.marker(); marker.enter(6); wait()", path) as owner:
        ready(owner)
        assert standby.admin.try_own("here", 1, "b", 2) is None
        (found,) = standby.views.owners()
        assert found.host == "there"

        owner.send_signal(signal.SIGKILL)
        owner.wait()

    assert not standby.views.owners()
    assert standby.admin.try_own("here", 1, "b", 2) == 2
    assert standby.marking.marker().left_by_the_dead() == 6
    standby.admin.close()


def test_programs_an_owner_started_do_not_keep_the_lock(path: str) -> None:
    code = (
        OWN
        + "import subprocess; subprocess.Popen(['sleep', '30'], close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL); wait()"
    )
    standby = SqliteStore(path)
    with child(code, path) as owner:
        ready(owner)
        owner.kill()
        owner.wait()

        assert standby.admin.try_own("here", 1, "b", 2) == 2
    standby.admin.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_neither_holds_nor_releases_the_lock(path: str, store: SqliteStore) -> None:
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(30,))
    process.start()
    try:
        other = SqliteStore(path)
        assert other.admin.try_own("here", 1, "b", 2) is None

        store.admin.close()

        assert other.admin.try_own("here", 1, "b", 2) == 2
        other.admin.close()
    finally:
        process.kill()
        process.join()


def test_asking_for_the_owner_does_not_keep_one_out(path: str) -> None:
    lock, asker = OwnerLock(path), OwnerLock(path)
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            asker.is_taken()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        taken = []
        for _ in range(300):
            taken.append(lock.try_take())
            lock.release()
    finally:
        done.set()
        thread.join()

    assert all(taken)


def test_nudges_reach_the_owner_from_another_process(path: str, store: SqliteStore) -> None:
    nudged = threading.Event()
    store.admin.listen(nudged.set)

    with child("SqliteStore(sys.argv[1]).post.nudge(); wait()", path) as client:
        ready(client)
        assert nudged.wait(300)


def test_many_nudges_at_once_never_block(path: str, store: SqliteStore) -> None:
    calm = threading.Event()
    store.admin.listen(lambda: calm.wait(300) and None)

    started = time.monotonic()
    for _ in range(5_000):
        store.post.nudge()
    calm.set()

    assert time.monotonic() - started < 200


def test_a_nudge_without_a_listener_is_nothing(store: SqliteStore) -> None:
    store.post.nudge()


def test_a_socket_left_by_a_dead_owner_is_replaced(path: str, store: SqliteStore) -> None:
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    dead.bind(hints.socket_path(os.path.realpath(path)))
    dead.close()
    nudged = threading.Event()

    store.admin.listen(nudged.set)
    store.post.nudge()

    assert nudged.wait(300)
    store.admin.close()
    assert not os.path.exists(hints.socket_path(os.path.realpath(path)))


def test_where_there_can_be_no_socket_there_are_no_hints(path: str, store: SqliteStore) -> None:
    taken = hints.socket_path(os.path.realpath(path))
    os.mkdir(taken)
    try:
        store.admin.listen(lambda: None)
        store.post.nudge()
        store.admin.close()
    finally:
        os.rmdir(taken)


def test_a_full_disk_refuses_whole_and_room_mends_it(path: str) -> None:
    store = SqliteStore(path, max_pages=40)
    store.admin.try_own("here", 1, "b", 1)
    big = base.Batch(created=[run(2)], history=[HistoryRow(2, 1, b"x" * 200_000)])

    with pytest.raises(base.StoreFull, match="Free space"):
        store.journal.commit(big)
    with pytest.raises(errors.StoreFull, match="Free space"):
        for n in range(100_000):
            store.post.send(base.MailRow(0, n, Cancel("x" * 5_000)))
    assert store.work.last_key() == 0
    store.admin.close()

    roomy = SqliteStore(path)
    roomy.admin.try_own("here", 1, "b", 1)
    roomy.journal.commit(big)
    assert roomy.admin.check()[0].startswith("run 'run-2': its history cannot be read")
    roomy.admin.close()


@pytest.mark.parametrize(
    "row",
    [run(2, "\ud800"), msgspec.structs.replace(run(2), seq=2**64), msgspec.structs.replace(run(2), note=object())],
    ids=["half a character", "too large a number", "no value at all"],
)
def test_values_sqlite_cannot_hold_refuse_the_batch(store: SqliteStore, row: RunRow) -> None:
    with pytest.raises(base.CommitRefused):
        store.journal.commit(base.Batch(created=[run(4), row]))

    assert store.work.last_key() == 0
    store.journal.commit(base.Batch(created=[run(4)]))


def test_locked_is_a_delay_or_a_plain_sentence(path: str, store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "BUSY_SECONDS", 0.05)
    hurried = SqliteStore(path)
    store.admin.close()
    hurried.admin.try_own("here", 1, "b", 1)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as browser:
        browser.execute("BEGIN IMMEDIATE")

        with pytest.raises(base.StoreUnavailable):
            hurried.journal.commit(base.Batch(created=[run(2)]))
        with pytest.raises(errors.StoreUnreachable, match="another program has kept the database locked"):
            hurried.post.send(base.MailRow(0, 2, Cancel()))
        assert hurried.views.search(base.RunFilter()) == []

    hurried.journal.commit(base.Batch(created=[run(2)]))
    hurried.admin.close()


def test_clients_and_the_owner_write_at_the_same_time(path: str, store: SqliteStore) -> None:
    code = """
from perdure.kernel.events import Payload
from perdure.kernel.messages import Start
from perdure.kernel.project import RunRow
from perdure.stores.base import MailRow
store = SqliteStore(sys.argv[1])
for n in range(40):
    row = RunRow(0, f"shared-{n}", b"r", "order", 0, "", "", 1, None, None, 0)
    store.post.submit(row, MailRow(0, 0, Start("order", Payload(b"1"), b"r")))
print("ready")
"""
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(child(code, path)) for _ in range(3)]
        for n in range(1, 200):
            store.journal.commit(base.Batch(created=[run(2_000_000 + 2 * n)]))
        for process in processes:
            ready(process)

    submitted = store.views.search(base.RunFilter(id_prefix="shared-", limit=1_000))
    assert len(submitted) == len(store.work.poll(0, 1_000).mail) == 40
    assert all(row.key % 2 for row in submitted)


def test_views_are_read_from_many_threads_while_the_owner_writes(store: SqliteStore) -> None:
    troubles: list[BaseException] = []

    def read() -> None:
        try:
            while not done.is_set():
                found = store.views.search(base.RunFilter(limit=10_000))
                stored = store.views.stored(found[0].key) if found else None
                assert stored is None or len(stored.history) == 1
        except BaseException as error:  # noqa: BLE001 - reported below
            troubles.append(error)

    done = threading.Event()
    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for n in range(1, 100):
        store.journal.commit(base.Batch(created=[run(2 * n)], history=[HistoryRow(2 * n, 1, b"x")]))
    done.set()
    for thread in threads:
        thread.join()

    assert troubles == []


def test_a_closed_store_says_so(store: SqliteStore) -> None:
    store.admin.close()

    for call in (
        lambda: store.views.row("a"),
        lambda: store.post.submit(run(0), letter()),
        lambda: store.work.running(),
    ):
        with pytest.raises(errors.StoreUnreachable, match="was closed; open it again"):
            call()


def test_closing_from_another_thread_stops_the_owner_cleanly(store: SqliteStore) -> None:
    threading.Timer(0.05, store.admin.close).start()

    with pytest.raises(base.OwnershipLost):
        for n in range(1, 1_000_000):
            store.journal.commit(base.Batch(created=[run(2 * n)]))


class Stuck:
    """A part that cannot be closed."""

    def close(self) -> None:
        raise RuntimeError("stuck")


def test_a_store_that_does_not_close_as_it_should_lets_its_lock_go(path: str) -> None:
    lock, parts = OwnerLock(f"{path}-owner"), [Stuck() for _ in range(6)]
    admin = SqliteAdmin(path, lock, *parts)  # type: ignore[arg-type]
    assert lock.try_take()

    with pytest.raises(RuntimeError, match="stuck"):
        admin.close()

    assert not lock.held


def test_nothing_is_left_beside_the_file_but_owner_and_turn(tmp_path: Path, store: SqliteStore) -> None:
    store.marking.marker()
    store.post.submit(run(0), letter())
    store.views.row("a")

    store.admin.close()

    assert sorted(os.listdir(tmp_path)) == ["runs.db", "runs.db-owner", "runs.db-turn"]


def test_a_commit_of_a_thousand_runs_takes_few_statements(path: str, store: SqliteStore) -> None:
    keys = range(2, 2_002, 2)
    store.journal.commit(base.Batch(created=[run(key) for key in keys[:500]]))
    line = lines.Line(opening.Place(path))
    with line.use() as connection:
        statements: list[str] = []
        connection.set_trace_callback(statements.append)
        batch = base.Batch(
            created=[run(key) for key in keys[500:]],
            updated=[run(key) for key in keys[:500]],
            history=[HistoryRow(key, 1, b"x") for key in keys],
        )
        for one in writes_of(batch):
            rows.write(connection, one.sql, one.rows)
    line.close()

    assert len(statements) <= 5


def test_an_idle_owners_poll_reads_only_indexes(path: str, store: SqliteStore) -> None:
    from perdure.stores.sqlite.polling import _ALL

    with contextlib.closing(sqlite3.connect(path)) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {_ALL.poll}", (1, 1, 1))]

    assert any("runs_by_wake_at" in line for line in plan)
    assert not any(line.startswith("SCAN runs") for line in plan)


def test_an_idle_workers_look_is_one_statement_that_reads_only_indexes(path: str, store: SqliteStore) -> None:
    from perdure.stores.sqlite.tasks import _LOOK, _about

    with contextlib.closing(sqlite3.connect(path)) as connection:
        sql, values = _about(f"EXPLAIN QUERY PLAN {_LOOK}", ["a", "b"], 1, 1)
        plan = [row[3] for row in connection.execute(sql, values)]

    for index in ("tasks_waiting", "tasks_taken", "members_owning"):
        assert any(index in line for line in plan)
    assert not any(line.startswith(("SCAN tasks", "SCAN workers")) for line in plan)


def test_a_three_step_workflow_takes_at_most_1600_bytes(path: str, store: SqliteStore) -> None:
    count = 2_000
    for seq in (1, 3, 5, 7):
        batch = base.Batch(history=[HistoryRow(2 * n, seq, os.urandom(130)) for n in range(1, count + 1)])
        summaries = [run(2 * n, f"bench-{n:06}", 1 if seq < 7 else 7) for n in range(1, count + 1)]
        batch.created, batch.updated = (summaries, []) if seq == 1 else ([], summaries)
        store.journal.commit(batch)

    store.admin.close()

    assert os.path.getsize(path) / count <= 1_600
