"""What `perdure show` and `perdure doctor` say of queues, of attempts that others complete, and of heartbeats."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from perdure import Engine, Worker, activity, workflow
from tests.unit.cli.conftest import Perdure

_go_on = Event()


@activity(queue="gpu")
async def train(model: str) -> str:
    while model == "slow" and not _go_on.is_set():
        await asyncio.sleep(0.01)
    return model


@activity
async def ask() -> str:
    activity.complete_later()


@activity
def climb() -> str:
    activity.heartbeat({"height": 8_611})
    _go_on.wait(300)
    return "down"


@workflow
async def far(model: str) -> str:
    return await train(model)


@workflow
async def asked() -> str:
    return await ask()


@workflow
async def climbed() -> str:
    return await climb()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    _go_on.clear()
    with Engine(f"sqlite:///{tmp_path}/q.db", [far, asked, climbed, train, ask, climb]) as engine:
        yield engine
        _go_on.set()


def queues(out: str) -> list[dict[str, Any]]:
    return [finding for finding in json.loads(out) if finding["check"] in ("queue", "queues")]


def eventually_shown(perdure: Perdure, tmp_path: Path, id: str, text: str) -> bool:
    """The engine begins the attempt in its own time."""
    address = f"sqlite:///{tmp_path}/q.db"
    until = time.monotonic() + 300
    while text not in perdure("show", id, "--db", address).out:
        if time.monotonic() > until:
            return False
    return True


def told(perdure: Perdure, tmp_path: Path, *command: str) -> str:
    return perdure(*command, "--db", f"sqlite:///{tmp_path}/q.db").out


def test_a_step_that_no_worker_has_taken_says_for_whom_it_waits(
    engine: Engine, perdure: Perdure, tmp_path: Path
) -> None:
    engine.start(far("tiny"), id="r").wait()

    assert eventually_shown(perdure, tmp_path, "r", "│ waits for a worker of gpu\n")
    assert "no worker of queue gpu knows train  → perdure worker MODULE --queue gpu\n" in told(
        perdure, tmp_path, "show", "r"
    )
    assert "\tno worker of queue gpu for train\t" in told(perdure, tmp_path, "list")


def test_nothing_is_missed_where_a_worker_serves_the_queue(engine: Engine, perdure: Perdure, tmp_path: Path) -> None:
    with Worker(f"sqlite:///{tmp_path}/q.db", [train], queues=["gpu"], concurrency=1):
        engine.start(far("slow"), id="first").wait()
        assert eventually_shown(perdure, tmp_path, "first", "▶ train")
        engine.start(far("tiny"), id="r").wait()

        assert eventually_shown(perdure, tmp_path, "r", "│ waits for a worker of gpu\n")
        assert "no worker" not in told(perdure, tmp_path, "show", "r") + told(perdure, tmp_path, "list")
        _go_on.set()


def test_a_step_that_others_complete_says_so(engine: Engine, perdure: Perdure, tmp_path: Path) -> None:
    engine.start(asked(), id="r").wait()

    assert eventually_shown(perdure, tmp_path, "r", "│ waits for its token\n")


def test_a_step_under_way_tells_what_its_latest_heartbeat_said(
    engine: Engine, perdure: Perdure, tmp_path: Path
) -> None:
    engine.start(climbed(), id="r").wait()

    assert eventually_shown(perdure, tmp_path, "r", '│ says {"height": 8611}\n')


def test_doctor_names_a_queue_that_nobody_serves_and_who_would(
    engine: Engine, perdure: Perdure, tmp_path: Path
) -> None:
    for id in ("r", "s"):
        engine.start(far("tiny"), id=id).wait()

    (found,) = queues(perdure("doctor", "--json", "--db", f"sqlite:///{tmp_path}/q.db").out)
    assert found["level"] == "warning"
    assert found["text"] == "queue gpu: 2 tasks wait, and no worker serves it (train)"
    assert found["remedy"] == "perdure worker MODULE --queue gpu"


def test_doctor_tells_apart_a_worker_that_lacks_the_code(engine: Engine, perdure: Perdure, tmp_path: Path) -> None:
    engine.start(far("tiny"), id="r").wait()
    address = f"sqlite:///{tmp_path}/q.db"
    with Worker(address, [ask], queues=["gpu"]):
        (found,) = queues(perdure("doctor", "--json", "--db", address).out)

    assert found["text"] == "queue gpu: 1 task waits, and no worker there has the code of train"


def test_doctor_counts_the_workers_when_all_is_well(engine: Engine, perdure: Perdure, tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/q.db"
    with Worker(address, [train], queues=["gpu", "cpu"]):
        (found,) = queues(perdure("doctor", "--json", "--db", address).out)

    assert (found["level"], found["text"]) == ("ok", "1 worker serves cpu, gpu")
