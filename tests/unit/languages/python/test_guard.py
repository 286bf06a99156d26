"""Threads in workflow code, and interrupts: they come where they should, and nowhere else."""

import asyncio
import io
import logging
import pdb
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from workflow_driver import Driver

from perdure.kernel.program import ProgramBlocked, RunInfo
from perdure.languages.python import guard
from perdure.languages.python.guard import Watch, WorkflowInterrupted
from perdure.workflows import workflow

RUN: Any = SimpleNamespace(info=RunInfo("run-1", bytes(16), "w", 0))
"""A loop, as far as the guard looks at it."""


def here() -> int:
    return threading.get_ident()


def strike_self(watch: Watch, at: float = 1_000.0) -> None:
    """Two ticks, the second one long after the first: the thread that calls this is interrupted."""
    watch.tick(0.0)
    watch.tick(at)


@contextmanager
def ticking(limit_s: float = 0.0, pause: float = 0.0) -> Iterator[Watch]:
    """A watchdog that ticks as fast as it can, on a thread of its own; each tick is a second later."""
    watch = Watch(limit_s)
    ended = threading.Event()

    def tick() -> None:
        now = 0.0
        while not (ended.wait(pause) if pause else ended.is_set()):
            now += 1.0
            watch.tick(now)

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        ended.set()
        thread.join()


# in and out


def test_what_is_called_is_in_workflow_code_and_gives_its_answer() -> None:
    answer = guard.run(RUN, lambda n: (n, guard.loop_here()), 5)

    assert answer == (5, RUN)
    assert guard.loop_here() is None
    assert here() not in guard.stretches


def test_an_exception_leaves_nothing_behind() -> None:
    with pytest.raises(ZeroDivisionError):
        guard.run(RUN, lambda: 1 / 0)

    assert here() not in guard.stretches


def test_a_turn_within_a_turn_comes_back_to_the_outer_one() -> None:
    other: Any = SimpleNamespace(info=RUN.info)

    seen = guard.run(RUN, lambda: (guard.run(other, guard.loop_here), guard.loop_here()))

    assert seen == (other, RUN)


def test_outside_is_no_workflow_code_and_has_no_running_loop() -> None:
    async def with_loop() -> list[Any]:
        loop: Any = asyncio.get_running_loop()
        seen: list[Any] = []

        def look(word: str, *, mark: str) -> str:
            seen.extend([guard.loop_here(), asyncio._get_running_loop()])
            return word + mark

        def act() -> None:
            seen.append(guard.outside(look, ("left",), {"mark": "!"}))
            seen.extend([guard.loop_here() is loop, asyncio._get_running_loop() is loop])

        guard.run(loop, act)
        return seen

    assert asyncio.run(with_loop()) == [None, None, "left!", True, True]


def test_what_raises_outside_raises_inside_again() -> None:
    def act() -> Any:
        with pytest.raises(ZeroDivisionError):
            guard.outside(lambda: 1 / 0, (), {})
        return guard.loop_here()

    assert guard.run(RUN, act) is RUN
    asyncio._set_running_loop(None)


# interrupts


def test_who_stays_too_long_is_interrupted() -> None:
    watch = Watch(2.0)
    log: list[Any] = []

    def act() -> None:
        watch.tick(0.0)
        log.append(watch.tick(1.9))
        watch.tick(2.0)
        log.append("went on")

    with pytest.raises(WorkflowInterrupted):
        guard.run(RUN, act)
    assert log == [[]]


def test_the_watchdog_tells_whose_code_it_has_interrupted() -> None:
    inside, told = threading.Event(), threading.Event()
    watch = Watch(2.0)

    def wait_for_the_interrupt() -> None:
        inside.set()
        while not told.is_set():
            pass

    def engine() -> None:
        with pytest.raises(WorkflowInterrupted):
            guard.run(RUN, wait_for_the_interrupt)

    thread = threading.Thread(target=engine)
    thread.start()
    inside.wait()
    watch.tick(0.0)
    struck = watch.tick(3.0)
    told.set()
    thread.join()

    assert struck == [RUN.info]


def test_who_comes_and_goes_is_not_interrupted_however_often_it_comes() -> None:
    watch = Watch(2.0)

    struck = [guard.run(RUN, watch.tick, float(second)) for second in range(10)]

    assert struck == [[]] * 10


def test_who_is_not_in_workflow_code_is_not_interrupted() -> None:
    watch = Watch(0.0)

    guard.run(RUN, lambda: None)

    assert watch.tick(0.0) == watch.tick(100.0) == []


def test_an_interrupt_that_is_swallowed_voids_the_turn_all_the_same_and_tells_the_place() -> None:
    def act() -> str:
        with suppress(WorkflowInterrupted):
            strike_self(Watch(2.0))
        return "done"

    with pytest.raises(WorkflowInterrupted) as caught:
        guard.run(RUN, act)

    assert str(caught.value) == f"{__file__}:{strike_self.__code__.co_firstlineno + 3}"


def test_another_exception_made_of_the_interrupt_does_not_hide_it() -> None:
    def act() -> None:
        try:
            strike_self(Watch(2.0))
        except WorkflowInterrupted:
            raise ValueError("what happened?") from None

    with pytest.raises(WorkflowInterrupted):
        guard.run(RUN, act)


def test_a_side_effect_is_not_interrupted_but_its_time_counts() -> None:
    watch = Watch(2.0)
    log: list[Any] = []

    def act() -> None:
        watch.tick(0.0)
        guard.outside(lambda: log.append(watch.tick(100.0)), (), {})
        log.append(watch.tick(101.0))
        log.append("went on")

    with pytest.raises(WorkflowInterrupted):
        guard.run(RUN, act)
    assert log == [[]]
    asyncio._set_running_loop(None)


def test_no_side_effect_is_begun_once_the_turn_is_void() -> None:
    log: list[str] = []

    def act() -> None:
        try:
            strike_self(Watch(2.0))
        except WorkflowInterrupted:
            guard.outside(log.append, ("begun",), {})

    with pytest.raises(WorkflowInterrupted):
        guard.run(RUN, act)
    assert log == []


def test_while_a_module_is_imported_it_is_spared_ten_times_as_long(tmp_path: Any, monkeypatch: Any) -> None:
    (tmp_path / "imported_late.py").write_text("import test_guard_watch\nseen = test_guard_watch.look()\n")
    watch = Watch(2.0)
    look = SimpleNamespace(look=lambda: (watch.tick(0.0), watch.tick(19.9)))
    monkeypatch.setitem(sys.modules, "test_guard_watch", look)
    monkeypatch.syspath_prepend(str(tmp_path))

    guard.run(RUN, __import__, "imported_late")

    assert sys.modules["imported_late"].seen == ([], [])


def test_in_the_middle_of_a_log_record_it_is_spared_and_then_it_is_not() -> None:
    watch = Watch(2.0)
    log: list[Any] = []

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            watch.tick(0.0)
            log.append(watch.tick(10.0))
            watch.tick(20.0)
            log.append("went on")

    with pytest.raises(WorkflowInterrupted):
        guard.run(RUN, Slow().handle, logging.makeLogRecord({}))
    assert log == [[]]


def test_in_a_debugger_it_may_stay(monkeypatch: Any) -> None:
    watch = Watch(2.0)
    log: list[Any] = []

    class Slow(pdb.Pdb):
        def precmd(self, line: str) -> str:
            watch.tick(0.0)
            log.append(watch.tick(1_000.0))
            return line

    debugger = Slow(stdin=io.StringIO("continue\n"), stdout=io.StringIO(), nosigint=True, readrc=False)
    before = sys.gettrace()
    guard.run(RUN, debugger.set_trace)
    sys.settrace(before)

    assert log
    assert not any(log)


def swallow() -> None:
    while True:
        try:  # noqa: SIM105
            sum(range(100))
        except BaseException:  # noqa: BLE001, S110
            pass


def swallow_twice() -> None:
    while True:
        try:
            while True:
                try:
                    len("a")
                except BaseException:  # noqa: BLE001
                    len("b")
        except BaseException:  # noqa: BLE001
            continue


def swallow_and_begin_again() -> None:
    try:
        swallow_twice()
    except BaseException:  # noqa: BLE001
        swallow()


class Shrug:
    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> bool:
        return True


def shrug() -> None:
    while True:
        with Shrug():
            while True:
                pass


def only_jump() -> None:
    while True:
        try:
            while True:
                pass
        except BaseException:  # noqa: BLE001, S110
            pass


@pytest.mark.parametrize("stubborn", [swallow, swallow_twice, swallow_and_begin_again, shrug, only_jump])
def test_who_swallows_its_interrupts_for_ever_is_stopped(stubborn: Callable[[], None]) -> None:
    before = sys.gettrace()

    with ticking(limit_s=1.0, pause=0.005), pytest.raises(WorkflowInterrupted):
        guard.run(RUN, stubborn)

    assert sys.gettrace() is before
    assert guard.run(RUN, lambda: list(range(3))) == [0, 1, 2]


def test_a_workflow_that_loops_is_stuck_at_its_line_and_another_one_runs_on_the_same_thread() -> None:
    async def looping() -> None:
        while True:
            pass

    async def quick() -> int:
        return 7

    with ticking(limit_s=1.0, pause=0.005), pytest.raises(ProgramBlocked) as blocked:
        Driver(workflow(looping)).start()

    assert blocked.value.kind == "stuck"
    first = looping.__code__.co_firstlineno
    assert blocked.value.source in (f"{__file__}:{first + 1}", f"{__file__}:{first + 2}")
    assert Driver(workflow(quick)).start().result == 7


def test_one_that_does_not_end_when_it_is_let_go_is_interrupted_too() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            while True:
                pass

    driver = Driver(workflow(stubborn)).start()
    with ticking(limit_s=1.0, pause=0.005):
        driver.program.close()

    assert here() not in guard.stretches


# and nowhere else


def outside_of_it() -> int:
    """Engine code: with as many places at which an interrupt could come up as fit."""
    return sum(len(str(n)) for n in range(10))


@pytest.fixture
def eager_threads() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def ending_in_a_wait(to: int) -> None:
    """Its last step lets other threads run and looks for no interrupt after it: one that came meanwhile is still due."""
    for _ in iter(partial(select.select, (), (), (), to * 1e-6), ([], [], [])):
        pass


def counting(to: int) -> int:
    return sum(len(str(n)) for n in range(to))


def swallowing(to: int) -> int:
    total = 0
    for n in range(to):
        try:
            total += len(str(n))
        except BaseException:  # noqa: BLE001
            total -= 1
    return total


ANOTHER_TRACES = """
import sys, threading
from types import SimpleNamespace
from perdure.languages.python import guard

def look(event, args):  # while this waits, its thread is setting a trace function, and on Python 3.11 no other one can
    if event == "sys.settrace" and threading.current_thread() is other:
        tracing.set()
        absorbed.wait(10)

def struck():
    guard.stretches[threading.get_ident()].struck = "there"
    sys.settrace(guard._interrupt_at_line)
    other.start()
    tracing.wait()

tracing, absorbed = threading.Event(), threading.Event()
other = threading.Thread(target=sys.settrace, args=(None,))
sys.addaudithook(look)
try:
    guard.run(SimpleNamespace(info=None), struck)
except guard.WorkflowInterrupted:
    print("interrupted,", sys.gettrace())
absorbed.set()
other.join()
"""


def test_a_thread_that_sets_its_trace_function_at_the_same_time_does_not_matter() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ANOTHER_TRACES], capture_output=True, text=True, timeout=600, check=False
    )

    assert (ended.stdout, ended.stderr) == ("interrupted, None\n", "")


@pytest.mark.usefixtures("eager_threads")
@pytest.mark.parametrize("watchdogs", [1, 2])
def test_no_interrupt_ever_comes_up_outside_of_workflow_code(watchdogs: int) -> None:
    found: list[Any] = []
    struck: list[int] = []

    def engine() -> None:
        try:
            for n in range(100_000):
                try:
                    guard.run(RUN, (swallowing, counting, ending_in_a_wait)[n % 3], n % 400)
                except WorkflowInterrupted:
                    struck.append(n)
                assert outside_of_it() == 10
                assert sys.gettrace() is None
                if len(struck) >= 500:
                    return
        except BaseException as error:  # noqa: BLE001
            found.append(error)

    with ticking(), ticking() if watchdogs == 2 else ticking(limit_s=1e9, pause=1.0):
        engines = [threading.Thread(target=engine) for _ in range(2)]
        for thread in engines:
            thread.start()
        for thread in engines:
            thread.join()

    assert found == []
    assert len(struck) >= 500
    assert guard.stretches == {}
