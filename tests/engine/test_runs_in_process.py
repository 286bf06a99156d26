"""Activities with runs_in="process", from the workflow that calls them to the process that dies under them."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from perdure import Engine, RunCancelled, RunFailed, Worker, errors
from perdure.testing import TestEngine
from tests.engine import apart, deeds
from tests.engine.deeds import marks
from tests.unit.runtime.errands import eventually, is_alive

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(deeds.MARKS, str(tmp_path / "marks"))


def test_an_activity_runs_in_a_process_that_is_used_again():
    with Engine("memory://", apart.ALL) as engine:
        pids = {engine.run(apart.where()).wait() for _ in range(3)}

    assert len(pids) == 1
    assert not is_alive(pids.pop())


@pytest.mark.parametrize("how", ["exit", "kill", "fault"])
def test_a_crash_costs_an_attempt_and_the_next_one_has_another_process(how: str):
    told = {
        "exit": "ended with exit status 5",
        "kill": "was killed by SIGKILL (sent by somebody, or by the system when it ran out of memory)",
        "fault": "was killed by SIGSEGV",
    }
    with Engine("memory://", apart.ALL) as engine:
        handle = engine.start(apart.crashes_once(how)).wait()
        attempt, _ = handle.result().wait()
        (step,) = handle.describe().wait().steps

    assert attempt == 2
    assert [each.state for each in step.attempts] == ["failed", "completed"]
    assert step.attempts[0].error is not None
    assert step.attempts[0].error.type == "perdure.errors.ActivityCrashed"
    assert step.attempts[0].error.message == (
        f"the process in which this attempt ran {told[how]}; whether the step took effect is unknown"
    )
    assert [record.text for each in step.attempts for record in each.logs] == ["attempt 1", "attempt 2"]


def test_an_activity_that_always_crashes_fails_with_the_crash():
    with Engine("memory://", apart.ALL) as engine, pytest.raises(RunFailed) as failed:
        engine.run(apart.crashes_always(), id="c").wait()

    assert str(failed.value).startswith(
        "run 'c' failed: ActivityFailed: activity crash_always failed after 3 attempts: ActivityCrashed: "
        "the process in which this attempt ran ended with exit status 1"
    )


def test_processes_that_cannot_be_started_use_up_the_attempts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with Engine("memory://", apart.ALL) as engine, pytest.raises(RunFailed) as failed:
        engine.run(apart.crashes_always()).wait()

    assert "activity crash_always failed after 3 attempts: ProcessNotStarted: no process could be started" in str(
        failed.value
    )


def test_of_an_activity_that_may_run_once_the_outcome_is_unknown_after_a_crash():
    with Engine("memory://", apart.ALL) as engine, pytest.raises(RunFailed, match="OutcomeUnknown"):
        engine.run(apart.crashes_only_once()).wait()


def test_those_beside_a_crash_are_not_hurt():
    with Engine("memory://", apart.ALL, processes=3) as engine:
        handle = engine.start(apart.crash_among_others(20)).wait()
        results = handle.result().wait()
        steps = handle.describe().wait().steps

    assert results == ["2", *(str(number) * 2 for number in range(20))]
    assert sorted(len(step.attempts) for step in steps) == [1] * 20 + [2]


def test_no_more_processes_run_than_are_allowed():
    with Engine("memory://", apart.ALL, processes=1) as engine:
        handles = [engine.start(apart.where()).wait() for _ in range(5)]
        pids = {handle.result().wait() for handle in handles}

    assert len(pids) == 1


def test_large_arguments_and_results_cross(tmp_path: Path):
    with Engine(f"sqlite:///{tmp_path}/runs.db", apart.ALL) as engine:
        assert engine.run(apart.doubled("x" * 300_000)).wait() == 1_200_000


def test_an_attempt_over_its_time_is_killed():
    with Engine("memory://", apart.ALL, grace="10ms") as engine:
        engine.run(apart.where()).wait()  # the process is there, so that the time runs for the attempt
        with pytest.raises(RunFailed, match="ActivityTimedOut: activity oversleep failed after 1 attempt"):
            engine.run(apart.oversleeps()).wait()

        assert all(eventually(lambda pid=int(pid): not is_alive(pid)) for pid in marks())


def test_a_cancelled_attempt_is_told_and_killed_if_it_does_not_end():
    with Engine("memory://", apart.ALL, grace="10ms") as engine:
        handle = engine.start(apart.hangs()).wait()
        assert eventually(marks)
        handle.cancel().wait()
        with pytest.raises(RunCancelled):
            handle.result().wait()

        assert eventually(lambda: not is_alive(int(marks()[0])))
        assert engine.run(apart.doubled("a")).wait() == 4


def test_a_cancelled_attempt_may_end_by_itself():
    with Engine("memory://", apart.ALL) as engine:
        handle = engine.start(apart.waits_politely()).wait()
        assert eventually(marks)
        handle.cancel().wait()

        assert eventually(lambda: marks() == ["waits", "was told"])


def test_what_a_heartbeat_carried_outlives_the_process():
    with Engine("memory://", apart.ALL) as engine:
        assert engine.run(apart.counts_up()).wait() == [3, 2]


def test_an_attempt_knows_itself():
    with Engine("memory://", apart.ALL) as engine:
        assert engine.run(apart.describes(), id="d").wait() == ("d", "describe", 1, None)


def test_a_bug_holds_the_attempt_with_its_log():
    with Engine("memory://", apart.ALL) as engine:
        handle = engine.start(apart.misspells()).wait()

        def is_held() -> bool:
            return handle.describe().wait().status == "held"

        assert eventually(is_held)
        (attempt,) = handle.describe().wait().steps[0].attempts

    assert attempt.error is not None and attempt.error.message == "a bug"
    assert [record.text for record in attempt.logs] == ["here it comes"]


def test_an_engine_that_is_closed_leaves_no_process():
    with Engine("memory://", apart.ALL, drain=0) as engine:
        engine.start(apart.hangs()).wait()
        assert eventually(marks)

    assert not is_alive(int(marks()[0]))


def test_two_engines_in_a_process_have_processes_of_their_own():
    with Engine("memory://", apart.ALL) as one:
        first = one.run(apart.where()).wait()
        with Engine("memory://", apart.ALL) as another:
            second = another.run(apart.where()).wait()

        assert first != second
        assert one.run(apart.where()).wait() == first
        assert not is_alive(second)


def test_workers_of_queues_have_them_too(tmp_path: Path):
    address, large = f"sqlite:///{tmp_path}/runs.db", "x" * 100_000
    with Engine(address, apart.ALL) as engine, Worker(address, [apart.crunch], queues=["crunching"]):
        assert engine.run(apart.crunches(large)).wait() == [large, "crunching", "was here"]


async def test_an_engine_on_a_loop_has_them_too():
    async with Engine("memory://", apart.ALL) as engine:
        assert await asyncio.gather(*(engine.run(apart.doubled("a" * n)) for n in range(5))) == [0, 4, 8, 12, 16]


def test_in_a_test_engine_they_run_in_threads_and_their_calls_are_heard():
    with TestEngine(apart.ALL) as engine:
        assert engine.run(apart.doubled("ab")).wait() == 8
        assert [call.arguments for call in engine.calls(apart.double)] == [{"text": "ab"}, {"text": "abab"}]


@pytest.mark.parametrize("processes", [0, -1, 1.5, True])
def test_a_number_of_processes_that_is_none_is_refused(processes: int):
    with pytest.raises(errors.DefinitionError, match="processes must be a whole number from 1 on"):
        Engine("memory://", apart.ALL, processes=processes)


SCRIPT = """
import os
from perdure import Engine, activity, workflow

class Special(Exception): ...

@activity(runs_in="process")
def square(number: int) -> int:
    return number * number

@activity(runs_in="process", retry=1)
def fail() -> None:
    raise Special("from the script")

@workflow
async def work() -> str:
    try:
        await fail()
    except Exception as error:
        return f"{await square(7)} {error.is_a(Special)} {error.type}"

"""
RUN = """
with Engine("memory://", [work, square, fail]) as engine:
    handle = engine.start(work()).wait()
    try:
        print(handle.result().wait())
    except Exception as error:
        print(type(error).__name__)
    print(*(attempt.error.message for step in handle.describe().wait().steps for attempt in step.attempts if attempt.error))
"""


def ran(*arguments: str, input: str | None = None, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], input=input, capture_output=True, text=True, cwd=cwd, timeout=300, check=False
    )


def guarded(run: str) -> str:
    return 'if __name__ == "__main__":' + run.replace("\n", "\n    ")


def test_activities_of_a_script_are_found(tmp_path: Path):
    (tmp_path / "script.py").write_text(SCRIPT + guarded(RUN))

    shown = ran(str(tmp_path / "script.py"))

    assert (shown.stdout, shown.stderr) == ("49 True __main__.Special\nfrom the script\n", "")


def test_activities_of_a_module_that_is_run_are_found(tmp_path: Path):
    (tmp_path / "program.py").write_text(SCRIPT + guarded(RUN))

    shown = ran("-m", "program", cwd=tmp_path)

    assert (shown.stdout, shown.stderr) == ("49 True program.Special\nfrom the script\n", "")


@pytest.mark.parametrize("how", [("script.py",), ("-m", "script")])
def test_a_script_without_a_guard_is_told_what_to_write(tmp_path: Path, how: tuple[str, ...]):
    (tmp_path / "script.py").write_text(SCRIPT + RUN)

    shown = ran(*how, cwd=tmp_path)

    assert shown.stdout.splitlines()[0] == "RunBlocked"
    assert 'put what starts the program under: if __name__ == "__main__":' in shown.stdout


def test_activities_that_were_typed_in_are_refused():
    shown = ran("-", input=SCRIPT + RUN)

    assert shown.returncode == 1
    assert "DefinitionError: activity square" in shown.stderr
    assert "cannot read" in shown.stderr and "move it to a module of its own" in shown.stderr
