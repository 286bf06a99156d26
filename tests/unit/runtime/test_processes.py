"""The pool of processes by itself: what its children do, and what becomes of it when they die."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure.activities import activity
from perdure.errors import DefinitionError
from perdure.runtime.child_places import Place, place_of
from perdure.runtime.nursery import Patience
from perdure.runtime.processes import Processes
from tests.unit.runtime import errands
from tests.unit.runtime.errands import Try, eventually, is_alive

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def shared() -> Iterator[Processes]:
    """For tests that leave it as it was."""
    pool = Processes()
    yield pool
    pool.close()


@pytest.fixture
def pool() -> Iterator[Processes]:
    """One that has little patience with attempts that nobody wants."""
    pool = Processes(Patience(grace=0.05, closing=0.05))
    yield pool
    pool.close()


def tried(pool: Processes, definition: Any, *args: Any, **options: Any) -> Try:
    attempt = Try(definition, *args, **options)
    pool.run(attempt)
    return attempt


# attempts


def test_an_attempt_runs_in_another_process_with_its_arguments(shared: Processes) -> None:
    assert tried(shared, errands.echo, "a ü").result() == "a ü"
    assert tried(shared, errands.pid).result() != os.getpid()


def test_a_process_is_used_again(shared: Processes) -> None:
    assert tried(shared, errands.pid).result() == tried(shared, errands.pid).result()


def test_attempts_at_the_same_time_have_a_process_each(pool: Processes) -> None:
    attempts = [tried(pool, errands.hang) for _ in range(3)]
    pids = [attempt.wait_for_beat() for attempt in attempts]

    assert len({payload.data for payload in pids if payload is not None}) == 3


def test_an_attempt_knows_itself_and_has_the_main_thread(shared: Processes) -> None:
    assert tried(shared, errands.tell).result() == ["id", "tell", "a-token", "MainThread", "False"]


def test_large_arguments_and_results_cross(shared: Processes) -> None:
    text = "y" * 3_000_000

    assert tried(shared, errands.echo, text).result() == text


def test_a_result_above_the_limit_is_refused_where_it_is_made(shared: Processes) -> None:
    failure = tried(shared, errands.swell, 2_000, max_bytes=1_024).failure()

    assert failure.code == "payload-too-large"
    assert failure.message.startswith("the result of activity swell: 2,002 bytes are more than the limit of 1,024")


def test_what_an_attempt_raises_comes_with_its_traceback_and_its_cause(shared: Processes) -> None:
    failure = tried(shared, errands.refuse, "x").failure()

    assert (failure.type, failure.message, failure.is_bug) == ("LookupError", "not here", False)
    assert 'raise LookupError("not here")' in failure.traceback
    assert "child_main" not in failure.traceback
    assert failure.cause is not None and failure.cause.type == "KeyError"


def test_an_attempt_that_exits_fails_and_its_process_stays(shared: Processes) -> None:
    before = tried(shared, errands.pid).result()
    failure = tried(shared, errands.quit).failure()

    assert (failure.type, failure.message) == ("SystemExit", "enough")
    assert tried(shared, errands.pid).result() == before


def test_a_result_of_another_type_is_a_bug(shared: Processes) -> None:
    failure = tried(shared, errands.return_nonsense).failure()

    assert failure.is_bug
    assert "expected int, found 'seven'" in failure.message


def test_an_attempt_may_be_completed_elsewhere(shared: Processes) -> None:
    ended = tried(shared, errands.complete_elsewhere).wait()

    assert (ended.result, ended.failure) == (None, None)


def test_log_records_come_up_to_the_bound(shared: Processes) -> None:
    attempt = tried(shared, errands.log_much, 250)
    dropped = attempt.wait().dropped

    assert (len(attempt.records), dropped) == (200, 50)
    assert (attempt.records[7].logger, attempt.records[7].text) == ("app", "line 7")


def test_a_child_has_the_arguments_of_its_parent(shared: Processes) -> None:
    assert tried(shared, errands.arguments).result() == sys.argv


# cancellation


def test_an_attempt_learns_that_nobody_wants_it_and_its_process_stays(shared: Processes) -> None:
    attempt = tried(shared, errands.listen)
    attempt.wait_for_beat()
    shared.cancel(attempt)

    assert attempt.result() == "stopped"
    assert tried(shared, errands.tell).result()[-1] == "False"


def test_an_attempt_that_does_not_end_is_killed_after_the_grace(pool: Processes) -> None:
    attempt = tried(pool, errands.hang)
    details = attempt.wait_for_beat()
    pool.cancel(attempt)

    assert attempt.failure().message == "cancelled and killed, since it did not end"
    assert details is not None and not is_alive(int(details.data))
    assert tried(pool, errands.echo, "next").result() == "next"


def test_a_program_that_an_attempt_has_started_dies_with_it(pool: Processes) -> None:
    attempt = tried(pool, errands.hang_with_a_program)
    details = attempt.wait_for_beat()
    pool.cancel(attempt)
    attempt.wait()

    assert details is not None
    assert eventually(lambda: not is_alive(int(details.data)))


def test_an_attempt_that_waits_for_a_process_is_cancelled_without_one(pool: Processes) -> None:
    attempt = tried(pool, errands.pid)
    pool.cancel(attempt)

    ended = attempt.wait()
    assert ended.result is not None or (
        ended.failure is not None and ended.failure.message == "cancelled before it began"
    )


# crashes


@pytest.mark.parametrize(
    ("definition", "argument", "how"),
    [
        (errands.leave, 0, "ended with exit status 0"),
        (errands.leave, 7, "ended with exit status 7"),
        (errands.leave_by, signal.SIGABRT, "was killed by SIGABRT"),
        (
            errands.leave_by,
            signal.SIGKILL,
            "was killed by SIGKILL (sent by somebody, or by the system when it ran out of memory)",
        ),
        pytest.param(
            errands.leave_by,
            37,
            "was killed by signal 37",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="no name"),
        ),
    ],
)
def test_a_crash_fails_the_attempt_with_how_it_was(pool: Processes, definition: Any, argument: int, how: str) -> None:
    failure = tried(pool, definition, int(argument)).failure()

    assert (failure.type, failure.code, failure.is_bug) == ("perdure.errors.ActivityCrashed", "activity-crashed", False)
    assert failure.message == (f"the process in which this attempt ran {how}; whether the step took effect is unknown")


def test_a_crash_in_c_is_told_with_the_line_it_happened_in(pool: Processes) -> None:
    failure = tried(pool, errands.touch_nothing).failure()

    assert "was killed by SIGSEGV" in failure.message
    assert failure.traceback.startswith("Fatal Python error: Segmentation fault")
    assert "errands.py" in failure.traceback
    assert "child_main" not in failure.traceback


def test_what_was_logged_before_a_crash_is_there(pool: Processes) -> None:
    attempt = tried(pool, errands.leave, 3)
    attempt.wait()

    assert [record.text for record in attempt.records] == ["about to leave"]


def test_those_beside_a_crash_go_on(shared: Processes) -> None:
    beside = tried(shared, errands.listen)
    details = beside.wait_for_beat()
    for _ in range(3):
        tried(shared, errands.leave, 1).wait()
    shared.cancel(beside)

    assert beside.result() == "stopped"
    assert details is not None and details.data == b'{"at":1}'


def test_a_process_that_was_copied_by_its_attempt_is_known_to_be_dead(pool: Processes) -> None:
    attempt = tried(pool, errands.crash_beside_a_fork)
    details = attempt.wait_for_beat()

    assert "SIGKILL" in attempt.failure().message
    assert details is not None and eventually(lambda: not is_alive(int(details.data)))


def test_one_that_writes_into_the_wrong_descriptor_hurts_itself_only(pool: Processes) -> None:
    failure = tried(pool, errands.garble).failure()

    assert "wrote to a descriptor that belongs to the engine, and was killed" in failure.message
    assert tried(pool, errands.echo, "next").result() == "next"


def test_one_that_talks_without_end_leaves_room_for_others(pool: Processes) -> None:
    talker = tried(pool, errands.beat_for_ever)
    talker.wait_for_beat()

    assert tried(pool, errands.echo, "next").result() == "next"


def test_signals_to_stop_are_for_the_parent(shared: Processes) -> None:
    assert tried(shared, errands.ignore_signals).result() == "still here"


# starting


def test_a_module_that_is_not_there_is_a_bug_of_the_attempt(shared: Processes) -> None:
    attempt = Try(errands.pid)
    attempt.place = Place("not_there_at_all", "pid")
    shared.run(attempt)

    failure = attempt.failure()
    assert (failure.type, failure.is_bug) == ("ModuleNotFoundError", True)


def test_an_activity_that_is_gone_is_a_bug_of_the_attempt(shared: Processes) -> None:
    attempt = Try(errands.pid)
    attempt.place = Place(errands.__name__, "no_such_thing")
    shared.run(attempt)

    assert attempt.failure().is_bug
    assert attempt.failure().message.startswith(
        "no_such_thing in tests.unit.runtime.errands was an activity when the engine was entered, and is now None"
    )


def test_an_interpreter_that_does_not_come_up_fails_the_attempt(
    pool: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    failure = tried(pool, errands.pid).failure()

    assert failure.type == "perdure.errors.ProcessNotStarted"
    assert failure.message == (
        "no process could be started for this attempt: it ended with exit status 1 before it was ready; "
        "what it wrote to standard error says why"
    )


def test_an_interpreter_that_is_not_there_fails_the_attempt(pool: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")

    assert "No such file or directory: '/no/such/python'" in tried(pool, errands.pid).failure().message


def test_arguments_that_no_process_can_have_fail_the_attempt_and_not_the_pool(
    pool: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sys, "argv", ["a\0b"])
        failure = tried(pool, errands.pid).failure()

    assert failure.message == "no process could be started for this attempt: embedded null byte"
    assert tried(pool, errands.echo, "next").result() == "next"


def test_a_process_that_is_never_ready_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sleeper = tmp_path / "sleeper"
    sleeper.write_text("#!/bin/sh\nexec sleep 600\n")
    sleeper.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(sleeper))
    pool = Processes(Patience(starting=0.05))

    failure = tried(pool, errands.pid).failure()
    pool.close()

    assert failure.message.endswith("it was not ready within 0.05 s, and was killed")


# the end


def test_idle_processes_end_after_a_while() -> None:
    pool = Processes(Patience(idle=0.01))
    pid = tried(pool, errands.pid).result()

    assert eventually(lambda: not is_alive(pid))
    assert tried(pool, errands.pid).result() != pid
    pool.close()


def test_an_idle_process_ends_in_good_order(tmp_path: Path) -> None:
    pool = Processes(Patience(closing=errands.SECONDS))
    tried(pool, errands.leave_a_note, str(tmp_path / "note")).wait()
    pool.close()

    assert (tmp_path / "note").read_text() == "the process has ended in good order"


def test_closing_ends_all_processes(pool: Processes) -> None:
    busy = tried(pool, errands.hang)
    details = busy.wait_for_beat()
    idle = tried(pool, errands.pid).result()
    pool.close()

    assert busy.failure().message == "cancelled and killed, since it did not end"
    assert details is not None and not is_alive(int(details.data)) and not is_alive(idle)


def test_a_closed_pool_says_so_to_an_attempt(pool: Processes) -> None:
    pool.close()

    assert tried(pool, errands.pid).failure().message.endswith("the engine is being closed")


def test_closing_while_processes_start_leaves_none(pool: Processes) -> None:
    attempts = [tried(pool, errands.pid) for _ in range(3)]
    pool.close()

    assert all(attempt.wait() for attempt in attempts)
    assert errands.children() == set()


def test_a_pool_leaves_no_descriptors_and_no_processes() -> None:
    def use() -> None:
        pool = Processes()
        tried(pool, errands.leave, 1).wait()
        tried(pool, errands.pid).result()
        pool.close()

    use()
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        use()

    assert len(os.listdir("/dev/fd")) <= before


PARENT = """
import sys
from perdure.runtime.nursery import Patience
from perdure.runtime.processes import Processes
from tests.unit.runtime import errands
from tests.unit.runtime.errands import Try
pool = Processes()
for definition in (errands.{0}, errands.pid):
    attempt = Try(definition)
    pool.run(attempt)
    print(attempt.wait_for_beat().data.decode() if attempt._definition.name != "pid" else attempt.result(), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("busy_with", ["hang", "hang_with_a_program", "compute_in_c"])
def test_a_parent_that_is_killed_leaves_nobody_behind(busy_with: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(busy_with)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert parent.stdout is not None
    pids = [int(parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    parent.wait()
    parent.communicate()

    assert eventually(lambda: not any(map(is_alive, pids)))


# places


def test_an_activity_is_found_by_its_module_and_its_name_there() -> None:
    assert place_of(errands.pid) == Place("tests.unit.runtime.errands", "pid")


renamed = activity(runs_in="process", name="other")(errands.echo.fn)


def test_an_activity_that_another_process_would_not_find_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"looks for it as echo in .*errands, and something else is there"):
        place_of(renamed)


def test_a_function_inside_another_is_refused() -> None:
    def inner() -> None: ...

    with pytest.raises(DefinitionError, match="must be found by another process; move it to the top level of a module"):
        activity(runs_in="process")(inner)
    with pytest.raises(DefinitionError, match="must be found by another process"):
        activity(runs_in="process", name="it")(lambda: None)


async def on_a_loop() -> None: ...


@pytest.mark.parametrize("runs_in", ["process", "thread"])
def test_an_async_def_runs_on_the_loop_only(runs_in: Any) -> None:
    with pytest.raises(
        DefinitionError, match=f"is an async def, which runs on the loop: leave runs_in='{runs_in}' out"
    ):
        activity(runs_in=runs_in)(on_a_loop)


def plain() -> None: ...


def test_another_place_to_run_in_is_refused() -> None:
    wrong: Callable[..., Any] = activity
    with pytest.raises(DefinitionError, match='runs_in must be "thread" or "process", not \'fork\''):
        wrong(runs_in="fork")(plain)
