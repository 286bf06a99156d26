"""What reading the code of a workflow finds, and what it must not take for a finding."""

import ast
import asyncio
import datetime as dt
import gc
import inspect
import itertools
import os
import random
import subprocess
import sys
import threading
import time as clock
import uuid
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from random import choice
from textwrap import dedent
from typing import Any
from uuid import uuid4

import pytest

from perdure.activities import activity
from perdure.languages.python.scan import FUNCTIONS, Finding, _nodes_of, findings
from perdure.workflows import saga, workflow

now = datetime.now


@activity
async def step(name: str) -> None:
    datetime.now()
    open(name).close()


async def also(name: str) -> None: ...


async def looks_it_up(name: str) -> None:
    await step(f"{name} {datetime.now()}")


def calls(target: Any) -> list[str]:
    return [found.call for found in findings(target)]


def one(target: Any) -> Finding:
    (found,) = findings(target)
    return found


# found


def test_a_finding_tells_the_place_the_call_and_the_line_to_write() -> None:
    async def looking() -> None:
        datetime.now()

    first = looking.__code__.co_firstlineno

    assert str(one(looking)) == (
        f"{__file__}:{first + 1}: datetime.now() in a workflow: it asks the machine's clock, "
        "whose answer replay does not repeat; write workflow.now()"
    )


def test_the_clocks_of_datetime_are_found_under_any_name() -> None:
    async def looking() -> None:
        datetime.utcnow()
        datetime.now(dt.timezone.utc)  # noqa: UP017
        dt.datetime.today()
        date.today()
        dt.date.today()
        now()

    assert calls(looking) == [
        "datetime.utcnow()",
        "datetime.now(...)",
        "dt.datetime.today()",
        "date.today()",
        "dt.date.today()",
        "now()",
    ]


def test_modules_imported_inside_are_known() -> None:
    async def looking() -> None:
        import datetime as d
        from datetime import datetime as moment

        d.datetime.now()
        moment.now()

    assert calls(looking) == ["d.datetime.now()", "moment.now()"]


def test_modules_that_nobody_has_loaded_are_known_by_name() -> None:
    async def looking() -> None:
        import httpx as client  # type: ignore[import-not-found]
        from requests import get  # type: ignore[import-untyped]

        client.get("x")
        get("x")

    assert calls(looking) == ["client.get(...)", "get(...)"]


EARLY = """
from time import time, sleep, perf_counter as tick
from random import random, randint, seed
from uuid import uuid4
from os import urandom, getenv
import secrets, time as clock

async def looking():
    time(), tick(), clock.time()
    sleep(1)
    random(), randint(1, 2), seed(3)
    uuid4()
    urandom(4), secrets.token_hex(), getenv("HOME")
"""


def test_names_imported_before_they_could_be_replaced_are_found(tmp_path: Path) -> None:
    """In a process of its own, where nothing is replaced yet."""
    (tmp_path / "early.py").write_text(EARLY)
    program = (
        "import early; from perdure.languages.python.scan import findings\n"
        "for each in findings(early.looking): print(each.call, '|', each.instead)"
    )

    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)

    assert done.stderr == ""
    shown = [line.split(" | ") for line in done.stdout.splitlines()]
    assert [call for call, _ in shown] == [
        "time()",
        "tick()",
        "sleep(...)",
        "random()",
        "seed(...)",
        "urandom(...)",
        "secrets.token_hex()",
        "getenv(...)",
    ]
    assert shown[0][1] == "write import time, and time.time()"
    assert shown[2][1] == "write await asyncio.sleep(...)"


def test_threads_processes_files_and_the_machine_are_found() -> None:
    async def reaching() -> None:
        threading.Thread(target=print).start()
        await asyncio.to_thread(print)
        asyncio.get_running_loop().run_in_executor(None, print)
        subprocess.run(["true"])
        os.system("true")
        open("x")  # noqa: SIM115
        os.path.exists("x")
        os.getenv("HOME")
        os.environ["HOME"]
        os.environ.get("HOME")
        os.getpid()
        Path("x").exists()
        path = Path("x")
        path.read_text()
        Path.cwd()
        uuid.getnode()
        clock.sleep(1)
        input()
        sys.stdin.readline()

    assert calls(reaching) == [
        "threading.Thread(...)",
        "asyncio.to_thread(...)",
        "asyncio.get_running_loop().run_in_executor(...)",
        "subprocess.run(...)",
        "os.system(...)",
        "open(...)",
        "os.path.exists(...)",
        "os.getenv(...)",
        "os.environ['HOME']",
        "os.environ.get(...)",
        "os.getpid()",
        "Path('x').exists()",
        "path.read_text()",
        "Path.cwd()",
        "uuid.getnode()",
        "clock.sleep(...)",
        "input()",
        "sys.stdin.readline()",
    ]


def test_the_order_of_a_set_is_found_where_it_decides_the_order_of_steps() -> None:
    names = {"a", "b"}

    async def fan_out(given: list[str]) -> None:
        for name in {"a", "b"}:
            await step(name)
        await asyncio.gather(*(step(name) for name in set(given)))
        await asyncio.gather(*{also(name) for name in given})
        several = set(given) | {"c"}
        for name in several:
            await step(name)
        left = frozenset(given)
        for name in left:
            await step(name)
        _ = [await step(name) for name in {each.upper() for each in given}]

    assert [found.instead for found in findings(fan_out)] == ["write sorted(...)"] * 6
    assert names


# followed


def helper() -> datetime:
    return deeper()


def deeper() -> datetime:
    return datetime.now()


def unused() -> datetime:
    return datetime.now()


def circular(n: int) -> int:
    return circular(n - 1) if n else deeper().year


def test_functions_that_are_called_are_read_too() -> None:
    async def through() -> None:
        helper()

    assert one(through).line == deeper.__code__.co_firstlineno + 1


def test_functions_that_undo_are_read_too() -> None:
    async def looking() -> None:
        async with saga() as undo:
            undo(looks_it_up, "x")
            undo(step, "y")

    assert calls(looking) == ["datetime.now()"]


def test_functions_that_call_each_other_in_a_circle_are_read_once() -> None:
    async def through() -> None:
        circular(3)

    assert len(findings(through)) == 1


def test_functions_of_installed_packages_are_not_followed() -> None:
    async def through() -> None:
        pytest.importorskip("x")
        uuid.uuid4()

    assert findings(through) == []


def test_all_methods_of_a_class_are_read() -> None:
    class Base:
        def inherited(self) -> datetime:
            return datetime.now()

    @workflow
    class Several(Base):
        @workflow.run
        async def go(self) -> None:
            self.helped()

        def helped(self) -> int:
            return os.getpid()

        @staticmethod
        def fixed() -> date:
            return date.today()

        @property
        def when(self) -> datetime:
            return datetime.utcnow()

    expected = {"datetime.now()", "os.getpid()", "date.today()", "datetime.utcnow()"}

    assert set(calls(Several)) == set(calls(Several.go)) == expected  # type: ignore[arg-type]


def test_a_definition_a_function_and_code_nested_in_it_are_read() -> None:
    async def outer() -> None:
        def inner() -> datetime:
            return datetime.now()

        asyncio.get_running_loop().call_later(1, lambda: date.today())
        inner()

    assert calls(outer) == calls(workflow(outer)) == ["datetime.now()", "date.today()"]


def test_code_without_source_is_read_by_the_names_it_loads() -> None:
    space: dict[str, Any] = {"datetime": datetime, "workflow": workflow, "os": os, "helper": helper}
    exec(
        dedent(
            """
            async def typed():
                datetime.now()
                workflow.side_effect(lambda: datetime.now())
                workflow.side_effect(datetime.now)
                [os.getpid() for _ in range(3)]
                helper()
            """
        ),
        space,
    )

    found = findings(space["typed"])

    assert [each.call for each in found] == ["datetime.now", "os.getpid", "datetime.now()"]
    assert [each.line for each in found[:2]] == [3, 6]


def test_there_is_a_limit_to_what_is_read(tmp_path: Path, monkeypatch: Any) -> None:
    many = FUNCTIONS + 50
    lines = [f"def f{n}(): return f{n + 1}()" for n in range(many)] + [f"def f{many}(): return open('x')"]
    (tmp_path / "long_chain.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(tmp_path))

    module: Any = __import__("long_chain")

    assert findings(module.f0) == []
    assert len(findings(module.f200)) == 1


def test_a_file_that_has_changed_since_does_no_harm(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "changing.py"
    path.write_text("import os\nasync def w():\n    os.getpid()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    module: Any = __import__("changing")

    path.write_text("what is this (\n")

    assert calls(module.w) == ["os.getpid"]


# not taken for a finding


def test_activities_may_do_everything() -> None:
    async def calling() -> None:
        await step("x")

    assert findings(calling) == []


def test_what_is_recorded_is_left_alone() -> None:
    async def recording() -> None:
        def look() -> datetime:
            return datetime.now()

        workflow.side_effect(lambda: datetime.now())
        workflow.side_effect(datetime.now)
        workflow.side_effect(os.getenv, "HOME")
        workflow.side_effect(look)

    assert findings(recording) == []


def test_what_is_given_to_a_recorded_function_is_not() -> None:
    async def recording() -> None:
        workflow.side_effect(print, os.getpid())

    assert calls(recording) == ["os.getpid()"]


def test_names_that_only_look_alike_are_left_alone() -> None:
    class Clock:
        def now(self) -> int:
            return 0

        time = today = now

    async def looking(datetime: Clock, time: Callable[[], int]) -> None:
        datetime.now()
        datetime.today()
        time()
        open = print
        open("x")
        for os in [Clock()]:  # noqa: F402
            os.time()
        [date.today() for date in [Clock()]]
        (lambda input: input())(print)

        def nested(subprocess: Any) -> None:
            subprocess.run([])

    assert findings(looking) == []


def test_what_the_engine_makes_deterministic_is_left_alone() -> None:
    async def fine() -> None:
        clock.time()
        random.random()
        choice("abc")
        uuid.uuid4()
        uuid4()
        workflow.now()
        workflow.random().random()
        await asyncio.sleep(1)

    assert findings(fine) == []


def test_harmless_relatives_are_left_alone() -> None:
    async def fine(names: set[str]) -> None:
        os.path.join("a", "b")
        Path("a") / "b"
        datetime.fromisoformat("2024-01-01")
        date(2024, 1, 1)
        threading.Lock()
        assert "x" in {"x", "y"}
        for name in {"a", "b"}:
            print(name)
        for name in sorted({"a", "b"}):
            await step(name)
        for number in {1, 2, 3}:
            await step(str(number))
        sum(len(name) for name in set("ab"))
        list(itertools.chain([1]))

    assert findings(fine) == []


def test_names_made_of_themselves_do_no_harm(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "turning_round.py").write_text(
        dedent(
            """
            async def turning(n):
                while n:
                    first = second()
                    second = first()
                    first.now()
                    names = names | other
                    other = names | other
                    for each in names:
                        await each
            """
        )
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    module: Any = __import__("turning_round")

    assert findings(module.turning) == []


def test_a_parser_that_loses_count_is_asked_again() -> None:
    async def looking() -> None:
        datetime.now()

    def parse_within(phase: str, info: dict[str, int]) -> None:  # as a destructor does that formats a traceback
        callers = [frame.frame.f_code for frame in inspect.stack(0)]
        if ast.parse.__code__ in callers and not parsed:
            parsed.append(phase)
            ast.parse("1 + 1")

    parsed: list[str] = []
    thresholds = gc.get_threshold()
    _nodes_of.cache_clear()
    gc.callbacks.append(parse_within)
    gc.set_threshold(100)
    try:
        found = calls(looking)
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(parse_within)

    assert parsed == ["start"]
    assert found == ["datetime.now()"]
