"""What a workflow must not call. docs/determinism.md has the whole list, and its test tries each."""

import asyncio
import gc
import linecache
import logging
import os
import socket
import subprocess
import sys
import threading
import traceback
import weakref
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from workflow_driver import Driver

from perdure.errors import NotDeterministic
from perdure.kernel.program import ProgramBlocked
from perdure.languages.python import guard, refused
from perdure.languages.python.machine import PythonLanguage
from perdure.workflows import workflow


async def _nothing() -> None: ...


PythonLanguage(workflow(_nothing), {})  # so that all is installed


def in_workflow(act: Callable[[], Any]) -> Driver:
    async def acting() -> None:
        act()

    return Driver(workflow(acting)).start()


def refusal(act: Callable[[], Any]) -> str:
    with pytest.raises(ProgramBlocked) as blocked:
        in_workflow(act)
    assert blocked.value.failure is not None
    assert blocked.value.failure.type.endswith("NotDeterministic")
    return blocked.value.message


def passes(act: Callable[[], Any]) -> None:
    in_workflow(act).result  # noqa: B018  raises if it did not complete


# refused


def test_a_refusal_names_the_call_says_why_and_what_to_write() -> None:
    message = refusal(lambda: open("rates.csv"))  # noqa: SIM115

    assert message == (
        "NotDeterministic: open('rates.csv') cannot be called in a workflow: what is there may be different when the "
        "workflow is replayed; do it in an activity and await that; "
        "for a quick look write workflow.side_effect(lambda: ...)"
    )


def test_the_run_is_blocked_at_the_line_of_the_call() -> None:
    async def reading() -> None:
        open("rates.csv")  # noqa: SIM115

    with pytest.raises(ProgramBlocked) as blocked:
        Driver(workflow(reading)).start()

    assert blocked.value.source == f"{__file__}:{reading.__code__.co_firstlineno + 1}"


def test_sleeping_says_how_to_sleep() -> None:
    import time

    assert refusal(lambda: time.sleep(5)).endswith(
        "it would stop every run of this engine; write await asyncio.sleep(5)"
    )


def test_nothing_has_happened_when_a_call_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "made"

    refusal(lambda: path.write_text("x"))
    refusal(lambda: subprocess.run(["touch", str(path)]))
    refusal(lambda: os.system(f"touch {path}"))

    assert not path.exists()


def test_a_long_argument_is_cut() -> None:
    message = refusal(lambda: os.listdir("x" * 1_000))

    assert len(message) < 400
    assert "os.listdir('xxx" in message


@pytest.mark.parametrize("argument", [Path("here") / "there", b"here/there"])
def test_paths_are_shown_as_text(argument: Any) -> None:
    assert "open('here/there')" in refusal(lambda: open(argument))  # noqa: SIM115


def test_on_its_way_out_too_a_workflow_reaches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "farewell"
    seen: list[str] = []

    async def leaving() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            try:
                path.write_text("bye")
            except NotDeterministic:
                seen.append("refused")

    Driver(workflow(leaving)).start().program.close()

    assert seen == ["refused"]
    assert not path.exists()


# allowed


def test_other_threads_do_as_they_like_while_one_is_in_a_turn(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    inside, done = threading.Event(), threading.Event()
    seen: list[Any] = []

    def other() -> None:
        inside.wait()
        try:
            seen.append((tmp_path / "file").read_text())
            socket.socket().close()
            helper = threading.Thread(target=seen.append, args=("helped",))
            helper.start()
            helper.join()
        except BaseException as error:  # noqa: BLE001
            seen.append(error)
        done.set()

    def turn() -> None:
        inside.set()
        while not done.is_set():
            pass

    thread = threading.Thread(target=other)
    thread.start()
    passes(turn)
    thread.join()

    assert seen == ["text", "helped"]


def test_after_a_turn_its_thread_does_as_it_likes(tmp_path: Path) -> None:
    passes(lambda: None)

    (tmp_path / "file").write_text("text")
    assert (tmp_path / "file").read_text() == "text"


def test_a_side_effect_may_do_what_a_workflow_may_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")

    async def looking() -> str:
        return workflow.side_effect((tmp_path / "file").read_text)

    assert Driver(workflow(looking)).start().result == "text"


def test_a_module_may_be_imported_late_and_do_what_it_likes_then(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "late_module.py").write_text(f"text = open({__file__!r}).read()\nimport os; secret = os.urandom(4)\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    passes(lambda: __import__("late_module"))

    assert sys.modules["late_module"].text == Path(__file__).read_text()


def test_what_an_imported_module_gives_is_guarded_again(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "late_reader.py").write_text(f"def read(): return open({__file__!r}).read()\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert "open(" in refusal(lambda: __import__("late_reader").read())


def test_a_traceback_may_show_its_lines() -> None:
    seen: list[str] = []

    def fail() -> None:
        linecache.clearcache()
        try:
            raise ValueError
        except ValueError:
            seen.append(traceback.format_exc())

    passes(fail)

    assert "raise ValueError" in seen[0]


def test_time_zones_may_be_loaded() -> None:
    zoneinfo.ZoneInfo.clear_cache()

    passes(lambda: zoneinfo.ZoneInfo("Europe/Berlin"))


def test_a_log_handler_may_open_its_file(tmp_path: Path) -> None:
    handler = logging.FileHandler(tmp_path / "log", delay=True)

    passes(lambda: handler.handle(logging.makeLogRecord({"msg": "hello"})))
    handler.close()

    assert (tmp_path / "log").read_text() == "hello\n"


def test_finalizers_of_others_that_the_collector_runs_in_a_turn_do_their_work(tmp_path: Path) -> None:
    class Holder:
        pass

    class Tidy(Holder):
        def __del__(self) -> None:
            (tmp_path / "by del").write_text("done")

    for make in (Tidy, Holder):
        garbage: Any = make()
        garbage.itself = garbage
        if make is Holder:
            weakref.finalize(garbage, (tmp_path / "by finalize").write_text, "done")
        del garbage

    passes(gc.collect)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["by del", "by finalize"]


def test_a_descriptor_that_is_open_already_may_become_a_file(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "file", os.O_CREAT | os.O_RDONLY)

    passes(lambda: os.fdopen(descriptor).close())


def test_a_child_of_a_fork_knows_nothing_of_its_parents_threads() -> None:
    mine, other = threading.get_ident(), -1
    loop: Any = SimpleNamespace()

    def act() -> set[int]:
        guard.stretches[other] = guard.Stretch(loop)
        refused._forget_other_threads()
        return set(guard.stretches)

    assert guard.run(loop, act) == {mine}
