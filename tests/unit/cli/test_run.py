"""`perdure run`: what it makes of a workflow, and that its wait has an end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure import Engine, EngineNotRunning, activity, sleep, workflow
from perdure.cli.database import Connection
from perdure.cli.options import Settings
from perdure.cli.problems import UNREACHABLE, Problem, of_error
from perdure.cli.run import recorded, rests, watch
from perdure.cli.start import signature
from perdure.stores.base import Batch, Store
from perdure.stores.faults import Fault, Moment
from perdure.stores.open import open_store


@activity
async def add(a: int, b: int) -> int:
    return a + b


@activity
async def buggy() -> None:
    raise NotImplementedError("soon")


@workflow
async def total(first: int, second: int = 5, label: str = "sum") -> str:
    return f"{label}: {await add(first, second)}"


@workflow
class Held:
    @workflow.run
    async def run(self, name: str) -> None:
        await buggy()


@workflow
async def patient() -> None:
    await sleep("1h")


@workflow
async def free(*numbers: int, **named: int) -> int:
    return 0


class FullDisk:
    """Says that there is no room any more, once it was told to."""

    def __init__(self) -> None:
        self.is_full = False

    def __call__(self, moment: Moment, batch: Batch) -> Fault | None:
        return "full" if self.is_full and moment == "before" else None


@pytest.fixture
def disk() -> FullDisk:
    return FullDisk()


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'runs.db'}"


@pytest.fixture
def opened(address: str, disk: FullDisk) -> Store:
    return open_store(address, disk)


@pytest.fixture
def engine(opened: Store) -> Iterator[Engine]:
    with Engine(opened, [total, Held, patient, add, buggy]) as engine:
        yield engine


@pytest.fixture
def connection(address: str) -> Iterator[Connection]:
    connection = Connection(address)
    yield connection
    connection.close()


def test_a_wait_ends_with_its_run(engine: Engine) -> None:
    engine.start(total(1), id="sum-1").wait()

    assert rests(engine, "sum-1", 600)


def test_a_wait_ends_at_a_run_that_is_held(engine: Engine) -> None:
    engine.start(Held.run("x"), id="held-1").wait()

    assert rests(engine, "held-1", 600)


def test_a_wait_that_takes_too_long_says_no(engine: Engine) -> None:
    engine.start(patient(), id="patient-1").wait()

    assert not rests(engine, "patient-1", 0.01)


def test_a_full_disk_ends_the_wait_with_the_fault(opened: Store, disk: FullDisk, connection: Connection) -> None:
    @activity
    async def fill_the_disk() -> None:
        disk.is_full = True

    @workflow
    async def unlucky() -> None:
        await fill_the_disk()

    with Engine(opened, [unlucky, fill_the_disk]) as engine:
        engine.start(unlucky(), id="unlucky-1").wait()

        with pytest.raises(EngineNotRunning) as raised:
            watch(Settings(), engine, connection, "unlucky-1")

    problem = of_error(raised.value)
    assert problem.exit == UNREACHABLE
    assert problem.message.startswith("the engine has stopped: full")


def test_the_parameters_of_a_function_and_which_of_them_are_text() -> None:
    assert signature(total.parameters.published()) == (["first", "second", "label"], frozenset({"label"}))


def test_the_parameters_of_a_class_are_those_of_its_run_method() -> None:
    assert signature(Held.run.parameters.published()) == (["name"], frozenset({"name"}))


def test_free_parameters_are_not_checked_by_name() -> None:
    assert signature(free.parameters.published()) == (None, frozenset())


def test_a_run_is_resumed_with_the_arguments_it_was_started_with(engine: Engine) -> None:
    engine.run(total(1, label="all"), id="sum-1").wait()

    call = recorded(engine.store, total, "sum-1")

    assert engine.run(call, id="sum-1").wait() == "all: 6"


def test_an_id_without_a_run_has_no_arguments(engine: Engine) -> None:
    assert recorded(engine.store, total, "nonesuch") is None


def test_an_id_of_another_workflow_is_refused(engine: Engine) -> None:
    engine.run(total(1), id="sum-1").wait()

    with pytest.raises(Problem, match="the id 'sum-1' belongs to a run of workflow total, and this start is of Held"):
        recorded(engine.store, Held.run, "sum-1")
