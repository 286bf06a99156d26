"""Exports taken back into a database: as they were, all or none, and nothing moves before somebody says so."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from perdure import Client, Engine, RunBlocked, Worker, activity, sleep, task, workflow
from perdure.client.export import ExportedRun, read_export
from perdure.client.importing import import_runs
from perdure.client.redaction import redacted
from perdure.errors import ExportUnreadable, RunExists, RunFailed

done: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    done.clear()


@pytest.fixture
def here(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/here.db"


@pytest.fixture
def there(tmp_path: Path) -> str:
    """Another database, which is made."""
    address = f"sqlite:///{tmp_path}/there.db"
    with Engine(address, ALL):
        pass
    return address


@activity
async def note(what: str) -> str:
    done.append(what)
    return what


@activity(queue="far")
async def far(what: str) -> str:
    done.append(what)
    return what


@workflow
async def order(pause: float, size: int = 1) -> str:
    workflow.set_attributes({"stage": "paid"})
    await note("first" * size)
    await sleep(pause)
    return await note("end")


@workflow
async def sending() -> str:
    return await far("sent")


@workflow(retry=2)
async def failing() -> None:
    raise ValueError("no")


ALL: list[Any] = [order, sending, failing, note, far]


def exports(address: str, *ids: str) -> list[tuple[str, ExportedRun]]:
    """Runs of a database, by way of their documents."""
    with Client(address) as client:
        rows = [row for row in client.list().wait() if not ids or row.id in ids]
        documents = [client.handle(row.id, run_id=row.run_id).export().wait().to_json() for row in rows]
    return [(f"{n}.json", read_export(document)) for n, document in enumerate(documents)]


def taken_in(address: str, runs: list[tuple[str, ExportedRun]], **options: Any) -> list[str]:
    with Client(address) as client:
        imported = import_runs(client.store, runs, **options)
        assert client.store.admin.check() == []
    return [f"{each.id} {each.status} {each.fate}" for each in imported]


def left(address: str, code: Any, *arguments: Any, id: str = "o", status: str = "waiting") -> None:
    with Engine(address, ALL) as engine:
        engine.start(code(*arguments), id=id).wait()
        while engine.handle(id).describe().wait().status != status:
            pass


def facts(run: ExportedRun) -> Any:
    """All of a document but when it was made, where, and which number the run has in its database."""
    document = json.loads(run.to_json())
    del document["exported_at"], document["members"], document["run"]["key"]
    for attempt in document["attempts"]:
        del attempt["run"]
    return document


def test_a_run_that_has_ended_comes_as_it_was(here: str, there: str):
    with Engine(here, ALL) as engine:
        engine.run(order(0, 50_000), id="o", attributes={"region": "eu"}, memo={"for": "Ada"}).wait()
    runs = exports(here)

    assert taken_in(there, runs) == ["o completed imported"]
    assert facts(exports(there)[0][1]) == facts(runs[0][1])
    with Client(there) as client:
        assert client.handle("o").result().wait() == "end"
        assert [row.id for row in client.list(attributes={"stage": "paid", "region": "eu"}).wait()] == ["o"]


def test_an_open_run_is_blocked_until_somebody_lets_it_go_on_and_then_does_nothing_twice(here: str, there: str):
    left(here, order, 0.1)
    assert taken_in(there, exports(here)) == ["o blocked imported"]
    with Engine(there, ALL) as engine:
        with pytest.raises(RunBlocked, match=r"imported from an export of .* where it was waiting"):
            engine.handle("o").result().wait()
        assert done == ["first"]
        engine.handle("o").retry().wait()
        assert engine.handle("o").result(timeout=20).wait() == "end"

    assert done == ["first", "end"]


def test_an_open_run_goes_on_at_once_if_that_is_asked_for_while_an_engine_runs(here: str, there: str):
    left(here, order, 0.1)
    with Engine(there, ALL) as engine:
        taken_in(there, exports(here), running=True)
        while engine.handle("o").describe().wait().status == "blocked":
            pass
        assert engine.handle("o").result(timeout=20).wait() == "end"


def test_a_blocked_document_exported_again_is_the_same(here: str, there: str, tmp_path: Path):
    left(here, order, 3600)
    taken_in(there, exports(here))
    third = f"sqlite:///{tmp_path}/third.db"
    with Engine(third, ALL):
        pass
    second = exports(there)
    taken_in(third, second)
    before, after = facts(second[0][1]), facts(exports(third)[0][1])
    for document in (before, after):  # when, and where from, it was imported
        del document["block"], document["run"]["block"], document["run"]["note"], document["summary"]["note"]

    assert after == before


def test_what_a_worker_had_is_lost_and_made_again_after_the_release(here: str, there: str):
    left(here, sending)
    taken_in(there, exports(here))
    with Engine(there, ALL) as engine, Worker(there, ALL, queues=["far"]):
        with pytest.raises(RunBlocked):
            engine.handle("o").result().wait()
        assert done == []
        engine.handle("o").retry().wait()
        assert engine.handle("o").result(timeout=20).wait() == "sent"
        attempts = engine.handle("o").describe().wait().steps[0].attempts

    assert done == ["sent"]
    assert len(attempts) == 2
    assert "lost" in str(attempts[0].error)


def test_a_run_that_has_not_begun_begins_after_its_release(here: str, there: str):
    with Client(here, create=True) as client:
        client.start("order", [0], id="o", attributes={"region": "eu"}).wait()
    assert taken_in(there, exports(here)) == ["o blocked imported"]
    with Engine(there, ALL) as engine:
        assert [row.id for row in engine.list(attributes={"region": "eu"}).wait()] == ["o"]
        with pytest.raises(RunBlocked):
            engine.handle("o").result().wait()
        engine.handle("o").retry().wait()
        assert engine.handle("o").result(timeout=20).wait() == "end"


def test_the_same_import_made_again_changes_nothing(here: str, there: str):
    left(here, order, 0.1)
    runs = exports(here)
    taken_in(there, runs)
    before = facts(exports(there)[0][1])

    assert taken_in(there, runs, running=True) == ["o blocked there"]
    assert facts(exports(there)[0][1]) == before


def test_an_id_that_another_run_has_refuses_all(here: str, there: str):
    for id in ("a", "b"):
        left(here, order, 3600, id=id)
    left(there, order, 3600, id="b")
    with pytest.raises(RunExists, match=r"the id 'b' belongs to another run .* so nothing was imported; .*--new-ids"):
        taken_in(there, exports(here))
    assert [run.id for _, run in exports(there)] == ["b"]

    fates = taken_in(there, exports(here), new_ids=True)
    assert [fate.partition("~")[0] for fate in fates] == ["a", "b"]
    assert len(exports(there)) == 3


def test_runs_of_one_id_come_in_their_order(here: str, there: str):
    with Engine(here, ALL) as engine, pytest.raises(RunFailed):
        engine.run(failing(), id="f").wait()
    runs = exports(here)
    assert taken_in(there, runs) == ["f failed imported"] * 2

    assert [facts(run) | {"run": None} for _, run in exports(there)] == [facts(run) | {"run": None} for _, run in runs]
    with Client(there) as client:
        newest = client.handle("f").describe().wait()
        assert (newest.attempt, newest.previous_run_id) == (2, runs[1][1].run.run_id.hex())


def test_a_copy_replays_with_the_code_at_hand(here: str, there: str):
    from perdure.client.checking import Checks
    from perdure.stores.open import open_store

    left(here, order, 3600)
    taken_in(there, exports(here))
    store = open_store(there, create=False, migrate=False)
    with Checks(ALL, store) as checks:
        report = checks.all()
    store.admin.close()

    assert (report.open, report.stuck) == (1, 0)


def test_what_is_redacted_or_contradicts_itself_is_refused(here: str, there: str):
    left(here, order, 3600)
    (name, run), *_ = exports(here)
    ended = msgspec.structs.replace(run, run=msgspec.structs.replace(run.run, status=7))
    headless = msgspec.structs.replace(run, events=run.events[1:])
    for broken, words in (
        (redacted(run), "is redacted"),
        (ended, "its summary says that it is completed, and its history says otherwise"),
        (headless, "does not begin with RunStarted"),
        (msgspec.structs.replace(run, events=[], mail=[]), "neither a history nor a start"),
    ):
        with pytest.raises(ExportUnreadable, match=words):
            taken_in(there, [(name, broken)])

    assert exports(there) == []


def test_an_import_does_not_disturb_the_engine_that_owns_the_database(here: str, there: str):
    left(here, order, 3600, id="o-0")
    with Engine(here, ALL) as engine:
        for n in range(1, 20):
            engine.run(order(0), id=f"o-{n}").wait()
    with Engine(there, ALL) as engine:
        answers = [engine.run(order(0.05), id=f"live-{n}") for n in range(10)]
        taken_in(there, exports(here))
        assert [answer.wait() for answer in answers] == ["end"] * 10
        assert engine.count().wait() == 30


@workflow
async def asking() -> str:
    return await task("Say something", form=str, assignees=["ann"])


def test_a_human_task_comes_with_its_run_and_is_answered_where_it_has_come_to(tmp_path: Path):
    here, there = f"sqlite:///{tmp_path}/here.db", f"sqlite:///{tmp_path}/there.db"
    for address in (here, there):
        with Engine(address, [asking]) as engine:
            if address == here:
                engine.start(asking(), id="asked").wait()
                engine.tasks.claim("asked", by="ann").wait()
    with Client(there) as client:
        import_runs(client.store, exports(here))

        (found,) = client.tasks.list(assignee="ann").wait()
        assert (found.id, found.claimed_by) == ("asked/0:1", "ann")
        assert client.store.admin.check() == []
    with Engine(there, [asking]) as engine:
        engine.tasks.complete("asked", "hello", by="ann").wait()
        engine.handle("asked").retry().wait()

        assert engine.handle("asked").result().wait() == "hello"
