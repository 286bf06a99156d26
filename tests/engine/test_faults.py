"""A failed, an ambiguous and a refused commit at each n: programs are evicted, nothing is lost, nothing is done again."""

import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from perdure import Client, Engine, EngineNotRunning, RunBlocked, errors
from perdure.runtime.outage import CLOSING_TRIES
from perdure.runtime.world import World
from perdure.stores.base import Fault, Faults, Store
from perdure.stores.memory import MemoryStore, Shelf
from perdure.stores.sqlite.store import SqliteStore
from perdure.testing import FaultAt, FaultWhere
from tests.crash import evidence, scenarios
from tests.crash.places import new_database
from tests.crash.scenarios import SCENARIOS, STORM, Scenario

Opener = Callable[[Faults | None], Store]
MOST = 200
"""A scenario has fewer commits, unless it does not come to its end."""


def commits(scenario: Scenario, place: str) -> range:
    """Each one in memory. What SQLite does at a fault is the same at each commit, and a codec changes what is written, not when:
    for these every second one is enough, which is each kind of commit by turns. With PERDURE_SOAK=1, each one."""
    each = os.environ.get("PERDURE_SOAK") or (place == "memory" and scenario.codec is None)
    return range(1, MOST, 1 if each else 2)


@pytest.fixture(params=["memory", "sqlite"])
def place(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def fresh(place: str, tmp_path: Path) -> Callable[[], Opener]:
    """Makes places for runs, each with a way to open its store again and again."""
    places = iter(range(MOST))

    def new_place() -> Opener:
        if place == "memory":
            shelf = Shelf()
            return lambda faults=None: MemoryStore(shelf=shelf, faults=faults)
        path = new_database(tmp_path / f"{next(places)}.db")
        return lambda faults=None: SqliteStore(path, faults)

    return new_place


def prepared(opener: Opener, scenario: Scenario) -> None:
    scenarios.ledger.open(None)
    if scenario.prepare is not None:
        with Client(opener(None)) as client:
            scenario.prepare(client)


def life(
    opener: Opener, scenario: Scenario, faults: Faults | None = None, having: Sequence[Any] = scenarios.ALL
) -> None:
    """One engine, from its start until the scenario has ended. Runs that the store's refusal has blocked are released."""
    slots = scenario.slots
    options = {"concurrency": slots, "threads": slots, "queues": scenario.queues, "codec": scenario.codec}
    with Engine(opener(faults), having, **options) as engine:
        while True:
            try:
                return scenario.drive(engine)
            except RunBlocked as blocked:
                assert f"run {blocked.id!r} is blocked" in str(blocked)
                assert ": the database refuses what the run does: " in str(blocked)
                engine.handle(blocked.id).retry().wait()


def outcome(opener: Opener, scenario: Scenario) -> tuple[dict[str, list[str]], list[str]]:
    """The essence of each run's history, and what the check of the store finds."""
    with Client(opener(None), codec=scenario.codec) as client:
        found = evidence.histories(client, scenario)
        problems = client.store.admin.check()
    return {id: evidence.essence(history, scenario.in_order) for id, history in found.items()}, problems


def engaged(opener: Opener, scenario: Scenario) -> list[Any]:
    """The definitions that have taken part."""
    with Client(opener(None), codec=scenario.codec) as client:
        return evidence.named(client, scenarios.ALL)


def deeds() -> Counter[str]:
    """How often each activity step was done, whatever the run's number; a side effect may be made again until recorded."""
    steps = [line.partition(":")[2] for line in scenarios.ledger.lines]
    return Counter(step for step in steps if step not in ("coin", "again"))


@pytest.mark.parametrize("fault", ["refused", "in-doubt-applied", "in-doubt-lost", "unavailable"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_commit_that_fails_changes_nothing_and_no_activity_runs_again(
    name: str, fault: Fault, fresh: Callable[[], Opener], place: str
):
    scenario = SCENARIOS[name]
    undisturbed = fresh()
    prepared(undisturbed, scenario)
    life(undisturbed, scenario)
    expected, expected_deeds, having = outcome(undisturbed, scenario), deeds(), engaged(undisturbed, scenario)

    n = 0
    for n in commits(scenario, place):
        opener, plan = fresh(), FaultAt(n, fault)
        prepared(opener, scenario)
        life(opener, scenario, plan, having)
        if not plan.reached:
            break

        assert outcome(opener, scenario) == expected, f"commit {n}"
        assert deeds() == expected_deeds, f"commit {n}"
    assert 2 < n < MOST


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_full_disk_stops_the_engine_and_a_later_one_goes_on(name: str, fresh: Callable[[], Opener], place: str):
    scenario = SCENARIOS[name]
    undisturbed = fresh()
    prepared(undisturbed, scenario)
    life(undisturbed, scenario)
    expected, having = outcome(undisturbed, scenario), engaged(undisturbed, scenario)

    n = 0
    for n in commits(scenario, place):
        opener, plan = fresh(), FaultAt(n, "full")
        prepared(opener, scenario)
        try:
            life(opener, scenario, plan, having)
        except EngineNotRunning as stopped:
            assert str(stopped) == "the engine has stopped: full by a fault the test asked for"
            assert isinstance(stopped.__cause__, errors.StoreFull)
            life(opener, scenario, having=having)
        if not plan.reached:
            break

        assert outcome(opener, scenario) == expected, f"commit {n}"
    assert 2 < n < MOST


@pytest.mark.parametrize("seed", range(6))
def test_in_a_storm_of_faults_every_run_ends_as_in_calm_weather(seed: int, fresh: Callable[[], Opener]):
    weather = random.Random(seed)
    faults: list[Fault] = ["unavailable", "in-doubt-lost", "in-doubt-applied"]
    scenario = STORM
    calm, stormy = fresh(), fresh()
    prepared(calm, scenario)
    life(calm, scenario)
    expected, expected_deeds = outcome(calm, scenario), deeds()

    prepared(stormy, scenario)
    life(stormy, scenario, lambda moment, batch: weather.choice(faults) if weather.random() < 0.4 else None)

    assert outcome(stormy, scenario) == expected
    assert deeds() == expected_deeds


class Impatient(World):
    """Pauses take no time, and are counted."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


def test_a_store_that_takes_nothing_for_long_stops_the_engine_and_whoever_waits_is_told():
    plan = FaultWhere("unavailable", lambda batch: True)
    world = Impatient()
    engine = Engine(MemoryStore(faults=plan), scenarios.ALL, world=world)
    with engine, pytest.raises(EngineNotRunning) as stopped:
        engine.run(scenarios.sequence("a")).wait()

    assert str(stopped.value) == (
        "the engine has stopped: unavailable by a fault the test asked for; given up after 60 tries"
    )
    assert len(world.pauses) == 60
    assert max(world.pauses) == 2.0


def test_an_engine_that_lost_its_lock_stops_and_writes_nothing_more():
    shelf = Shelf()
    with Engine(MemoryStore(shelf=shelf), scenarios.ALL) as engine:
        engine.run(scenarios.sequence("a"), id="a").wait()
        shelf.owner = 0
        with pytest.raises(EngineNotRunning) as stopped:
            engine.run(scenarios.sequence("b"), id="b").wait()

    assert str(stopped.value) == (
        "the engine has stopped: this handle does not own the store; nothing is lost. Mend that, then start it again"
    )
    assert [row.id for row in shelf.runs.values()] == ["a"]


class Patient(World):
    """The first pause lasts until the engine is being closed; all are counted."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.reached = threading.Event()
        self.closing = threading.Event()

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.reached.set()
        assert self.closing.wait(300)


def test_an_engine_that_is_closed_does_not_wait_long_for_a_store_that_takes_nothing():
    world = Patient()
    engine = Engine(MemoryStore(faults=FaultWhere("unavailable", lambda batch: True)), scenarios.ALL, world=world)
    told: list[BaseException] = []

    def ask() -> None:
        try:
            engine.run(scenarios.sequence("a")).wait()
        except EngineNotRunning as error:
            told.append(error)

    with engine:
        world.closing = engine._member._closing
        asking = threading.Thread(target=ask)
        asking.start()
        assert world.reached.wait(300)
    asking.join(300)

    assert len(world.pauses) == CLOSING_TRIES
    assert "given up after 3 tries" in str(told[0])
