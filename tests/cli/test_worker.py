"""`perdure worker` in processes of its own: killed, frozen, stopped, beside others, without a database that answers."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from perdure import Client, Engine
from perdure.runtime.world import World
from tests.cli import farm
from tests.cli.conftest import HERE, PATIENCE_S, PERDURE, Place, wait_for

FARM = str(HERE / "farm.py")


class Leaping(World):
    """A clock that can jump ahead, so that nobody has to wait until a lease is over."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class Farm:
    """Workers of the queue "gpu", and the database they share."""

    def __init__(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place = place
        self.address = place.env["PERDURE_DB"]
        place.env[farm.FOLDER] = str(place.folder)
        monkeypatch.setenv(farm.FOLDER, str(place.folder))

    def worker(self, *options: str, queue: str = "gpu") -> "subprocess.Popen[str]":
        """Start a worker; it has joined when this returns."""
        return self.begun(FARM, "--queue", queue, *options)

    def begun(self, *arguments: str) -> "subprocess.Popen[str]":
        process = self.place.begin(*PERDURE, "worker", *arguments)
        process.told = []  # type: ignore[attr-defined]
        _hear(process, "perdure worker")
        return process

    def engine(self, **options: object) -> Engine:
        return Engine(self.address, farm.ALL, **options)  # type: ignore[arg-type]

    def ledger(self) -> Counter[str]:
        return Counter(self.place.ledger())

    def await_note(self, text: str) -> None:
        wait_for(lambda: self.ledger()[text], text)

    def open(self, gate: str) -> None:
        (self.place.folder / gate).touch()


def _hear(process: "subprocess.Popen[str]", text: str) -> None:
    """Wait for a line that holds the text; what its threads tell comes in any order."""
    assert process.stderr is not None
    told: list[str] = process.told  # type: ignore[attr-defined]
    while not any(text in line for line in told):
        told.append(process.stderr.readline())
        assert told[-1], f"it has ended without a word of {text!r}: {told}"


def _end(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for its end: the exit code, and what else it has told."""
    _, told = process.communicate(timeout=PATIENCE_S)
    return process.returncode, told


def _members(engine: Engine) -> list[int]:
    return [row.member for row in engine.store.views.workers()]


@pytest.fixture
def here(place: Place, monkeypatch: pytest.MonkeyPatch) -> Farm:
    return Farm(place, monkeypatch)


def test_a_worker_says_what_it_serves_and_does_it(here: Farm):
    with here.engine() as engine:
        worker = here.worker()

        assert engine.run(farm.both(7)).wait() == [7, 7]

    _hear(worker, "queues: gpu  activities: paint, paint_with_a_break, wait_at_gate, in_thread")


def test_what_a_killed_worker_was_doing_is_done_again_by_another_within_seconds(here: Farm):
    with here.engine() as engine:
        first = here.worker()
        handle = engine.start(farm.patient(), id="r").wait()
        here.await_note("wait-1")
        wait_for(lambda: handle.describe().wait().steps[0].heartbeat_details, "the details of the heartbeat")
        second = here.worker()

        first.kill()
        here.await_note("wait-2")
        here.open("gate-2")

        assert handle.result().wait() == "attempt 2, told: attempt 1 was here"
        attempts = handle.describe().wait().steps[0].attempts
        assert [attempt.state for attempt in attempts] == ["lost", "completed"]
        assert second.poll() is None
    assert here.ledger() == {"wait-1": 1, "wait-2": 1}


def test_a_worker_killed_in_the_middle_of_a_fan_out_costs_what_it_had_in_hand_and_nothing_else(here: Farm):
    with here.engine() as engine:
        doomed, other = here.worker("--slots", "5"), here.worker("--slots", "5")
        handle = engine.start(farm.many(400), id="r").wait()
        wait_for(lambda: sum(here.ledger().values()) > 100, "a hundred tasks")

        doomed.kill()

        assert handle.result().wait() == 400
        steps = handle.describe().wait().steps
        lost = sum(attempt.state == "lost" for step in steps for attempt in step.attempts)
        assert other.poll() is None
    again = sum(here.ledger().values()) - 400
    assert set(here.ledger()) == {f"paint-{n}" for n in range(400)}
    assert max(here.ledger().values()) <= 2
    assert again <= lost <= 10


def test_what_a_frozen_worker_brings_is_refused_when_it_wakes_up_and_it_joins_again(here: Farm):
    world = Leaping()
    with here.engine(world=world) as engine:
        frozen = here.worker()
        handle = engine.start(farm.patient(), id="r").wait()
        here.await_note("wait-1")
        (before,) = _members(engine)
        frozen.send_signal(signal.SIGSTOP)
        try:
            polls = _polled(engine)
            wait_for(lambda: polls(2), "two polls of the owner")
            world.ahead += 11
            wait_for(lambda: not _members(engine), "the burial")
            here.worker()
            here.await_note("wait-2")
            here.open("gate-1")
        finally:
            frozen.send_signal(signal.SIGCONT)

        wait_for(lambda: len(_members(engine)) == 2, "the second joining")
        assert handle.describe().wait().steps[0].state == "running"
        here.open("gate-2")

        assert (handle.result().wait() or "").startswith("attempt 2")
        assert max(_members(engine)) > before
        frozen.terminate()
        code, told = _end(frozen)
    assert code == 0
    assert "this worker was silent for too long and taken for dead; what it runs is given up" in told


def _polled(engine: Engine) -> Callable[[int], bool]:
    """Whether the owner has looked so many times since now."""
    poll, seen = engine.store.work.poll, []

    def counted(*args: object, **kwargs: object) -> object:
        seen.append(True)
        return poll(*args, **kwargs)  # type: ignore[arg-type]

    engine.store.work.poll = counted  # type: ignore[method-assign, assignment]
    return lambda count: len(seen) >= count


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_told_to_end_finishes_what_it_does_and_takes_nothing_more(here: Farm, number: int):
    with here.engine() as engine:
        worker = here.worker()
        running = engine.start(farm.patient(), id="running").wait()
        here.await_note("wait-1")

        worker.send_signal(number)
        _hear(worker, "ending; what runs has 30s to finish")
        waiting = engine.start(farm.one(1), id="waiting").wait()
        here.open("gate-1")
        code, _ = _end(worker)

        assert code == 0
        assert running.result().wait() == "attempt 1, told: None"
        assert waiting.describe().wait().steps[0].state == "scheduled"
        assert _members(engine) == []
    assert here.ledger() == {"wait-1": 1}


def test_what_is_not_finished_in_time_is_given_back(here: Farm):
    with here.engine() as engine:
        worker = here.worker("--drain", "0s")
        handle = engine.start(farm.patient(), id="r").wait()
        here.await_note("wait-1")

        worker.terminate()
        code, _ = _end(worker)
        here.worker()
        here.open("gate-2")

        assert code == 0
        assert handle.result().wait() == "attempt 2, told: attempt 1 was here"


def test_a_worker_that_is_to_work_once_ends_when_nothing_waits(here: Farm):
    with here.engine() as engine:
        handles = [engine.start(farm.one(n), id=f"r-{n}").wait() for n in range(3)]
        ended = here.place.perdure("worker", FARM, "--queue", "gpu", "--once")

        assert ended.returncode == 0, ended.stderr
        assert [handle.result().wait() for handle in handles] == [0, 1, 2]
        assert _members(engine) == []


def test_a_worker_without_the_code_leaves_the_task_and_says_so(here: Farm):
    (here.place.folder / "other.py").write_text(
        "from perdure import activity\n\n@activity(queue='gpu')\nasync def other() -> None: ...\n"
    )
    with here.engine() as engine:
        engine.start(farm.one(1), id="r").wait()
        worker = here.begun("other.py", "--queue", "gpu")

        _hear(worker, "tasks of activity 'paint' wait in gpu, and this worker was not given its code")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["nowhere", "--queue", "gpu"], 4, "nowhere"),
        (["broken.py", "--queue", "gpu"], 1, "ZeroDivisionError"),
        ([FARM, "--queue", ""], 2, "a queue is named by a text"),
        ([FARM, "--once"], 2, "--once is for queues"),
        ([FARM, "--queue", "gpu", "--drain", "soon"], 2, "soon"),
        (["empty.py", "--queue", "gpu"], 2, "no activity"),
        ([], 2, "MODULE"),
    ],
)
def test_a_worker_that_cannot_work_says_why_and_makes_no_database(
    here: Farm, arguments: list[str], code: int, told: str
):
    (here.place.folder / "broken.py").write_text("1 / 0\n")
    (here.place.folder / "empty.py").write_text("")

    ended = here.place.perdure("worker", *arguments)

    assert told in ended.stderr
    assert ended.returncode == code
    assert not (here.place.folder / "runs.db").exists()


def test_workers_outlive_the_death_of_the_owner_and_its_successor_goes_on(here: Farm):
    owner = here.begun(FARM)
    workers = [here.worker("--slots", "3") for _ in range(2)]
    with Client(here.address) as client:
        handle = client.start("many_with_a_break", [300, 100], id="r").wait()
        wait_for(lambda: sum(here.ledger().values()) > 50, "fifty tasks")
        owner.kill()
        _end(owner)
        reached = sum(here.ledger().values())
        here.open("gate")
        here.begun(FARM)

        assert handle.result().wait() == 300
        assert reached < 300
        assert client.store.admin.check() == []
    assert [worker.poll() for worker in workers] == [None, None]
    assert here.ledger() == {f"paint-{n}": 1 for n in range(300)}


def test_a_worker_without_a_queue_is_an_engine_that_owns_or_stands_by(here: Farm):
    owner = here.begun(FARM)
    _hear(owner, "owns it")
    second = here.begun(FARM)
    here.worker()
    with Client(here.address) as client:
        _hear(second, "stands by, another engine owns it")
        handle = client.start("patient", [], id="r").wait()
        here.await_note("wait-1")

        owner.kill()
        here.open("gate-1")

        assert handle.result().wait() == "attempt 1, told: None"
        (seen,) = client.store.views.owners()
        assert seen.pid == second.pid
        second.terminate()
    assert _end(second)[0] == 0


@contextlib.contextmanager
def _locked(address: str, release: threading.Event) -> Iterator[None]:
    """Another program writes to the database, and takes its time."""
    path = address.removeprefix("sqlite:///")
    began = threading.Event()

    def hold() -> None:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        began.set()
        release.wait(PATIENCE_S)
        connection.execute("ROLLBACK")
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert began.wait(PATIENCE_S)
    try:
        yield
    finally:
        release.set()
        thread.join()


def test_while_another_program_keeps_the_database_locked_everybody_waits_and_nothing_is_lost(here: Farm):
    release = threading.Event()
    with here.engine() as engine:
        worker = here.worker()
        handle = engine.start(farm.patient(), id="r").wait()
        here.await_note("wait-1")

        with _locked(here.address, release):
            here.open("gate-1")
            started = engine.start(farm.one(5))
            wait_for((here.place.folder / "gate-1.passed").exists, "the end of what the worker does")

        assert started.wait().result().wait() == 5
        assert handle.result().wait() == "attempt 1, told: None"
        assert worker.poll() is None
    assert here.ledger() == {"wait-1": 1, "paint-5": 1}


def test_nothing_is_left_behind_in_the_folder_by_workers_however_they_end(here: Farm):
    with here.engine() as engine:
        killed, ended = here.worker(), here.worker()
        wait_for(lambda: len(_members(engine)) == 2, "two workers")

        killed.kill()
        ended.terminate()

        assert _end(ended)[0] == 0
        wait_for(lambda: not _members(engine), "the burial")
    assert not [name for name in os.listdir(here.place.folder) if "worker" in name]
