"""Exports taken back into a database: as they were, all or none, and nothing moves before somebody says so."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from perdure import Client, Engine, Retry, RunBlocked, Worker, activity, sleep, stream, task, workflow
from perdure.client.export import ExportedRun, read_export
from perdure.client.importing import import_runs
from perdure.client.redaction import redacted
from perdure.errors import ExportUnreadable, RunExists, RunFailed
from tests.engine.clocks import Later

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


@workflow
async def with_a_child(delay: float) -> str:
    return await order(3600).with_options(id="child", start_delay=delay)


ALL: list[Any] = [order, sending, failing, with_a_child, note, far]


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
    left(here, order, 3600)
    assert taken_in(there, exports(here)) == ["o blocked imported"]
    with Engine(there, ALL, world=Later()) as engine:
        with pytest.raises(RunBlocked, match=r"imported from an export of .* where it was waiting"):
            engine.handle("o").result().wait()
        assert done == ["first"]
        engine.handle("o").retry().wait()
        assert engine.handle("o").result().wait() == "end"

    assert done == ["first", "end"]


def test_an_open_run_goes_on_at_once_if_that_is_asked_for_while_an_engine_runs(here: str, there: str):
    left(here, order, 3600)
    with Engine(there, ALL, world=Later()) as engine:
        taken_in(there, exports(here), running=True)
        while engine.handle("o").describe().wait().status == "blocked":
            pass
        assert engine.handle("o").result().wait() == "end"


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
        assert engine.handle("o").result().wait() == "sent"
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
        assert engine.handle("o").result().wait() == "end"


def test_the_same_import_made_again_changes_nothing(here: str, there: str):
    left(here, order, 3600)
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


@activity(retry=Retry(initial=0.001, max_attempts=2))
async def speak(words: list[str]) -> None:
    for word in words:
        await stream("tokens").write(word)
    if activity.info().attempt == 1:
        raise ConnectionError("the line went dead")
    await stream("tokens").close()


@workflow
async def telling(words: list[str], pause: float) -> None:
    stream("log").write({"words": len(words)})
    await speak(words)
    stream("log").write("spoken")
    stream("empty").close()
    await sleep(pause)
    stream("log").write("done")


TELLING: list[Any] = [telling, speak]


def chunks_of(address: str, id: str) -> list[tuple[Any, ...]]:
    with Client(address) as client:
        handle = client.handle(id)
        return [
            (info, [(c.offset, c.value, c.step, c.attempt, c.at) for c in handle.stream(info.name, follow=False)])
            for info in handle.streams().wait()
        ]


def begun(address: str, *arguments: Any, status: str) -> None:
    with Engine(address, TELLING) as engine:
        engine.start(telling(*arguments), id="t").wait()
        while engine.handle("t").describe().wait().status != status:
            pass


@pytest.mark.parametrize(("pause", "status"), [(0, "completed"), (3600, "waiting")])
@pytest.mark.parametrize("lines", [True, False], ids=["many lines", "one line"])
def test_a_run_brings_its_streams_along(here: str, there: str, pause: float, status: str, lines: bool):
    begun(here, ["once", "upon", "ä time"], pause, status=status)
    with Client(here) as client:
        document = client.handle("t").export().wait().to_json(lines)

    taken_in(there, [("t.json", read_export(document))])

    assert chunks_of(there, "t") == chunks_of(here, "t")
    assert [info.name for info, _ in chunks_of(there, "t")] == ["log", "tokens", "empty"]
    assert facts(exports(there)[0][1])["chunks"] == facts(exports(here)[0][1])["chunks"]


def test_an_imported_run_writes_on_where_its_streams_ended_and_what_is_closed_stays_closed(here: str, there: str):
    begun(here, ["once"], 3600, status="waiting")
    before = dict(chunks_of(here, "t"))
    taken_in(there, exports(here), running=True)
    with Engine(there, TELLING, world=Later()) as engine:
        engine.handle("t").result().wait()

    after = {info.name: (info.closed, [value for _, value, *_ in chunks]) for info, chunks in chunks_of(there, "t")}
    assert after["log"] == (True, [{"words": 1}, "spoken", "done"])
    assert after["tokens"] == (True, ["once", "once"])
    assert {info.name: info.closed for info in before} == {"log": False, "tokens": True, "empty": True}


def test_the_chunks_of_a_document_are_legible(here: str):
    begun(here, ["once", "upon"], 0, status="completed")

    document = json.loads(exports(here)[0][1].to_json())

    assert [(each["name"], each["chunks"]) for each in document["streams"]] == [("log", 3), ("tokens", 4), ("empty", 0)]
    assert [value for each in document["chunks"] for value in each["values"] if each["stream"] == "log"] == [
        {"words": 2},
        "spoken",
        "done",
    ]


@pytest.mark.parametrize("memory", [True, False], ids=["memory", "sqlite"])
def test_streams_that_are_not_whole_are_refused_and_nothing_is_half_imported(here: str, tmp_path: Path, memory: bool):
    begun(here, ["once", "upon"], 0, status="completed")
    left(here, order, 3600, id="o")
    there = f"memory://{tmp_path}" if memory else f"sqlite:///{tmp_path}/to.db"
    (_, other), (_, run) = exports(here)
    parts = list(run.chunks)
    stranger = msgspec.structs.replace(parts[0], stream="unknown")
    garbled = msgspec.structs.replace(parts[-1], wire=b"\xc1")
    with Engine(there, []) as engine:
        for chunks, words in (
            (parts[:-1], r"the stream '\w+' should hold \d chunks, and holds \d; .* export the run again"),
            ((), "the stream 'log' should hold 3 chunks, and holds 0"),
            (parts[1:], "chunks of the stream 'log' are missing before offset 1, or out of order"),
            ([stranger, *parts], "chunks of the stream 'unknown'"),
            ([*parts[:-1], garbled], "are damaged"),
        ):
            broken = msgspec.structs.replace(run, chunks=chunks)
            with pytest.raises(ExportUnreadable, match=words):
                import_runs(engine.store, [("o.json", other), ("t.json", broken)])
        assert engine.count().wait() == 0
        assert engine.store.admin.check() == []
        import_runs(engine.store, [("o.json", other), ("t.json", run)])
        assert engine.count().wait() == 2


def test_a_snapshot_of_a_run_that_goes_on_writing_is_whole(here: str, there: str):
    with Engine(here, TELLING) as engine:
        for n in range(10):
            engine.start(telling([str(k) for k in range(200)], 0), id=f"t{n}").wait()
        snapshots = [engine.handle(f"t{n}").export().wait() for _ in range(3) for n in range(10)]
        for n in range(10):
            engine.handle(f"t{n}").result().wait()

    with Client(there) as client:
        for number, run in enumerate(snapshots):
            import_runs(client.store, [(f"{number}.json", msgspec.structs.replace(run, run=renamed(run, number)))])
        assert client.store.admin.check() == []


def renamed(run: ExportedRun, number: int) -> Any:
    return msgspec.structs.replace(run.run, id=f"{run.id}-{number}", run_id=number.to_bytes(16, "big"))


@pytest.mark.parametrize(("delay", "status"), [(0, "waiting"), (3600, "queued")])
def test_relatives_that_are_open_stay_where_they_can_reach_each_other(here: str, there: str, delay: float, status: str):
    """Also a child that has not begun, whose start alone says whose child it is."""
    with Engine(here, ALL) as engine:
        engine.start(with_a_child(delay), id="p").wait()
        while [run.status for run in engine.list(parent="p").wait()] != [status]:
            pass

    for id, kin in (("p", "the parent of runs that are open"), ("child", "the child of 'p'")):
        with pytest.raises(ExportUnreadable, match=f"is open, and {kin}, which it could not reach from here"):
            taken_in(there, exports(here, id))
