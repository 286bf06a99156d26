"""Time and chance of the run in workflow code, and what they were everywhere else."""

import asyncio
import copy
import inspect
import math
import pickle
import random
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from random import choice, gauss, randint
from typing import Any
from uuid import uuid4

import pytest
from workflow_driver import RUN_ID, START, Driver

from perdure.languages.python.machine import PythonLanguage
from perdure.workflows import workflow


async def _nothing() -> None: ...


PythonLanguage(workflow(_nothing), {})  # so that all is installed


def in_workflow(ask: Callable[[], Any]) -> Any:
    answers: list[Any] = []

    async def asking() -> None:
        answers.append(ask())

    Driver(workflow(asking)).start().result  # noqa: B018  raises if it did not complete
    return answers[0]


# time


def test_time_is_that_of_the_event_and_moves_with_the_events() -> None:
    seen: list[Any] = []

    async def looking() -> None:
        for _ in range(2):
            seen.append((time.time_ns(), time.monotonic(), time.perf_counter_ns()))
            await asyncio.sleep(60)

    driver = Driver(workflow(looking)).start()
    driver.wake()

    assert seen == [(START, 0.0, 0), (START + 60_000_000_000, 60.0, 60_000_000_000)]


def test_monotonic_time_is_the_loops() -> None:
    assert in_workflow(lambda: time.monotonic() == asyncio.get_running_loop().time())


def test_forms_of_the_time_default_to_the_runs() -> None:
    seconds = START // 10**9

    seen = in_workflow(lambda: (time.gmtime(), time.localtime(), time.ctime(), time.asctime(), time.strftime("%s")))

    assert seen == (
        time.gmtime(seconds),
        time.localtime(seconds),
        time.ctime(seconds),
        time.asctime(time.localtime(seconds)),
        str(seconds),
    )


def test_forms_of_another_time_are_of_that() -> None:
    seen = in_workflow(lambda: (time.gmtime(0), time.ctime(0), time.strftime("%Y", time.gmtime(0))))

    assert seen == (time.gmtime(0), time.ctime(0), "1970")


def test_elsewhere_clocks_tick() -> None:
    before = time.perf_counter_ns()
    in_workflow(lambda: None)

    assert time.perf_counter_ns() > before
    assert abs(time.time() * 1e9 - time.time_ns()) < 60e9
    assert time.time_ns() > START + 10**15


def test_another_thread_keeps_its_time_and_chance_while_one_is_in_a_turn() -> None:
    inside, done = threading.Event(), threading.Event()
    seen: list[Any] = []

    def other() -> None:
        inside.wait()
        random.seed(7)
        seen.extend([time.time_ns(), random.random()])
        done.set()

    def turn() -> None:
        inside.set()
        while not done.is_set():
            pass

    thread = threading.Thread(target=other)
    thread.start()
    in_workflow(turn)
    thread.join()

    assert seen[0] > START + 10**15
    assert seen[1] == random.Random(7).random()


def test_a_side_effect_has_the_real_time() -> None:
    async def looking() -> int:
        return workflow.side_effect(time.time_ns)

    assert Driver(workflow(looking)).start().result > START + 10**15


# chance


def test_the_functions_of_random_draw_from_the_runs_generator() -> None:
    seen = in_workflow(lambda: (random.random(), random.randint(1, 1_000), random.sample(range(99), 3), random.gauss()))

    mine = random.Random(int.from_bytes(RUN_ID, "big"))
    assert seen == (mine.random(), mine.randint(1, 1_000), mine.sample(range(99), 3), mine.gauss())


def test_so_do_those_that_were_imported_by_name_before() -> None:
    seen = in_workflow(lambda: (randint(1, 1_000), choice("abc"), gauss(), gauss()))

    mine = random.Random(int.from_bytes(RUN_ID, "big"))
    assert seen == (mine.randint(1, 1_000), mine.choice("abc"), mine.gauss(), mine.gauss())


def test_they_share_one_generator_with_workflow_random() -> None:
    first, second = in_workflow(lambda: (workflow.random().random(), random.random()))

    mine = random.Random(int.from_bytes(RUN_ID, "big"))
    assert [first, second] == [mine.random(), mine.random()]


def test_a_run_takes_nothing_from_the_generator_of_the_process() -> None:
    random.seed(5)
    expected = [random.gauss(), random.random(), random.gauss()]

    random.seed(5)
    seen = [random.gauss()]
    in_workflow(lambda: (random.random(), random.seed(1), gauss(), random.setstate(random.getstate())))
    seen += [random.random(), random.gauss()]

    assert seen == expected


def test_seeding_in_a_workflow_seeds_the_run() -> None:
    assert in_workflow(lambda: (random.seed(3), random.random())[1]) == random.Random(3).random()


def test_a_generator_made_without_a_seed_is_seeded_by_the_run() -> None:
    first, second = (in_workflow(lambda: [random.Random().random(), random.Random().random()]) for _ in range(2))

    assert first == second
    assert first[0] != first[1]
    assert random.Random().random() != random.Random().random()


def test_uuids_are_the_same_in_each_replay_and_different_from_each_other() -> None:
    first, second = (in_workflow(lambda: [uuid.uuid4(), uuid4(), uuid.uuid1(), uuid.uuid1()]) for _ in range(2))

    assert first == second
    assert len(set(first)) == 4
    assert [each.version for each in first] == [4, 4, 1, 1]
    assert uuid.uuid4() != uuid.uuid4()


def test_a_uuid1_has_the_runs_time_and_what_it_is_given() -> None:
    made = in_workflow(lambda: uuid.uuid1(node=5, clock_seq=77))

    assert (made.node, made.clock_seq) == (5, 77)
    assert made.time == START // 100 + 0x01B21DD213814000


def test_a_module_imported_in_a_turn_takes_nothing_from_the_run(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "lucky_module.py").write_text("import random, time\nluck, when = random.random(), time.time_ns()\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    seen = in_workflow(lambda: (__import__("lucky_module"), random.random())[1])

    assert seen == random.Random(int.from_bytes(RUN_ID, "big")).random()
    assert sys.modules["lucky_module"].luck != seen
    assert sys.modules["lucky_module"].when > START + 10**15


# what they look like


@pytest.mark.parametrize("function", [time.time, time.strftime, random.random, random.getrandbits, random.seed])
def test_a_replaced_function_is_pickled_by_its_name(function: Any) -> None:
    assert pickle.loads(pickle.dumps(function)) is function
    assert copy.deepcopy(function) is function


def test_it_has_the_name_text_and_signature_of_the_original() -> None:
    assert (time.time.__name__, time.time.__module__) == ("time", "time")
    assert "floating" in (time.time.__doc__ or "")
    assert str(inspect.signature(random.seed)) == "(a=None, version=2)"
    assert str(inspect.signature(uuid.uuid1)) == "(node=None, clock_seq=None)"
    assert repr(time.time) == "<function time.time, in workflows the run's own>"


def test_on_a_class_it_is_no_method_either() -> None:
    class Stopwatch:
        clock = time.perf_counter
        wall: Callable[[], float] = time.time

    watch = Stopwatch()

    assert math.isfinite(watch.clock())
    assert watch.wall() > START / 1e9


def test_bound_functions_of_random_can_be_pickled() -> None:
    again = pickle.loads(pickle.dumps(random.randint))

    assert again(4, 4) == 4
    assert type(again.__self__) is random.Random


def test_arguments_that_do_not_fit_are_refused_as_ever() -> None:
    with pytest.raises(TypeError):
        time.gmtime("x")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        random.getrandbits()  # type: ignore[call-arg]


def test_to_import_perdure_replaces_nothing() -> None:
    import subprocess

    program = (
        "import time, random, uuid, sys\n"
        "before = (time.time, random.random, type(random._inst), uuid.uuid4.__code__)\n"
        "import perdure, perdure.languages.python.machine; perdure.workflow, perdure.Engine\n"
        "print(before == (time.time, random.random, type(random._inst), uuid.uuid4.__code__))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.stdout == "True\n", done.stderr


def test_all_is_installed_once() -> None:
    before = (time.time, uuid.uuid4.__code__, random.Random.seed)

    PythonLanguage(workflow(_nothing), {})

    assert before == (time.time, uuid.uuid4.__code__, random.Random.seed)
