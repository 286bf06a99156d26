"""The power fails at any moment: what was acknowledged is there, nothing is half there, and runs come to the same end.

With PERDURE_SOAK=1 everything is tried, and not only some of it.
"""

from collections.abc import Iterator
from random import Random

import pytest

from perdure.stores.sqlite import opening
from perdure.testing.simulation.plan import HOWS, Disturbance, How, plan_of
from tests.disks import vfs
from tests.disks.disk import FATES, Fates, Platter
from tests.disks.lives import PLAN, SOAK, lived, stormy
from tests.disks.machine import Machine, Weather, content_in, content_of
from tests.disks.vfs import What

pytestmark = pytest.mark.skipif(not vfs.is_possible(), reason="this Python hides its SQLite")

LIVES = 300 if SOAK else 4
"""Random ones, of each kind; `python -m tests.disks --lives 10000` is for more."""


@pytest.fixture(autouse=True, scope="module")
def checkpoints() -> Iterator[None]:
    """The log goes into the file so often that the power fails in that, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "CHECKPOINT_PAGES", 40)
        yield


@pytest.fixture(scope="module")
def calm() -> Iterator[Machine]:
    """A machine that has lived through it all without a failure, and remembers each step."""
    found, machine = lived(PLAN, Weather())
    assert found.violation == ""
    assert machine.steps > 200
    return machine


@pytest.mark.parametrize("fate", FATES)
def test_after_each_step_there_is_what_was_acknowledged_and_nothing_by_halves(fate: Fates, calm: Machine):
    chance = Random(fate)
    platter = Platter({})
    contents: dict[int, str] = {}
    wrong: list[int] = []
    for n, step in enumerate(calm.disk.steps, 1):
        platter.do(step)
        if not SOAK and n % len(FATES) != FATES.index(fate):
            continue
        for position in calm.possible(n) - contents.keys():
            contents[position] = content_in(calm.disk.seen_at(position))
        if content_in(platter.left(chance, fate)) not in {contents[position] for position in calm.possible(n)}:
            wrong.append(n)

    assert wrong == []
    assert len(set(contents.values())) > 15


def test_wherever_the_power_fails_the_outcome_is_the_same(calm: Machine):
    wrong: list[str] = []
    for n in range(1, calm.steps, 1 if SOAK else 23):
        found, machine = lived(PLAN, Weather(n, frozenset([n])))
        assert machine.failures == 1
        if found.violation:
            wrong.append(f"step {n}: {found.violation}")

    assert wrong == []


def test_nobody_sees_what_a_power_failure_could_take_back():
    """Neither while it is written, nor when only the sync is missing."""
    machines: list[Machine] = []
    looks: list[bool] = []

    def look(what: What) -> float:
        if machines and (what == "sync" or (what == "write" and machines[0].steps % 8 == 0)):
            disk = machines[0].disk
            seen = content_of(disk.folder)
            if "is locked" not in seen:  # while a database is made or closed
                looks.append(seen == content_in(disk.platter.left(Random(0), "nothing")))
        return 0.0

    found, _ = lived(PLAN, Weather(seconds=look, guest=lambda machine, world: machines.append(machine)))

    assert found.violation == ""
    assert len(looks) > 30
    assert all(looks)


@pytest.mark.parametrize("workload", ["random", "everything", "families"])
def test_lives_in_which_the_power_fails_again_and_again_come_to_the_same_end(workload: str):
    wrong: list[str] = []
    failures = 0
    for seed in range(LIVES):
        found, machine = lived(plan_of(seed, workload).calm(), stormy(seed))
        failures += machine.failures
        if found.violation:
            wrong.append(f"seed {seed}: {found.violation}")

    assert wrong == []
    assert failures > LIVES


@pytest.mark.parametrize("how", HOWS)
def test_nor_does_it_matter_what_else_befalls_the_commit_before(how: How):
    wrong: list[str] = []
    for seed in range(LIVES // 4):
        plan = plan_of(seed, disturbances=(Disturbance(3 + seed, how),))
        found, _ = lived(plan, stormy(seed))
        if found.violation:
            wrong.append(f"seed {seed}: {found.violation}")

    assert wrong == []


# who never finds anything may be blind: these are caught


FAILS_LATE = Weather(0, frozenset([250, 300]), "nothing")


def is_found(weather: Weather) -> bool:
    return any(lived(PLAN, weather._replace(seed=seed))[0].violation for seed in range(3))


def test_in_such_weather_nothing_is_wrong():
    assert not is_found(FAILS_LATE)


def test_a_disk_that_lies_about_having_written_is_found_out():
    assert is_found(FAILS_LATE._replace(honest=False))


@pytest.mark.parametrize("careless", ["OFF", "NORMAL"])
def test_a_database_that_does_not_wait_for_the_disk_is_found_out(careless: str, monkeypatch: pytest.MonkeyPatch):
    writing = opening.Place.writing

    def not_waiting(self: opening.Place, owns: bool):
        connection = writing(self, owns)
        connection.execute(f"PRAGMA synchronous = {careless}")
        return connection

    monkeypatch.setattr(opening.Place, "writing", not_waiting)

    assert is_found(FAILS_LATE)


def test_an_engine_that_answers_before_it_commits_is_found_out(monkeypatch: pytest.MonkeyPatch):
    from perdure.stores.sqlite.journal import SqliteJournal

    monkeypatch.setattr(SqliteJournal, "_make_durable", lambda self, connection: connection.execute("ROLLBACK"))

    assert is_found(FAILS_LATE)
