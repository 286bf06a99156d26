"""What docs/postgresql.md says of backups: engines go on with what is restored, and nothing in the database is doubled."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure import Client, Engine, errors
from perdure.stores.postgres.store import PostgresStore
from tests.operations.archiving import archive_of, archived, archiving, backed_up, restored
from tests.operations.shipments import ALL, begun, deeds, sent, shipment, until, weighed, weighing
from tests.postgres.server import Missing, Server, programs

LEASE = "3s"


@pytest.fixture
def primary() -> Iterator[Server]:
    try:
        made = archiving()
    except Missing as missing:
        pytest.skip(str(missing))
    deeds.clear()
    weighed.clear()
    with made as server:
        yield server
    weighed.set()


def problems(address: str) -> list[str]:
    store = PostgresStore(address, create=False, migrate=False)
    try:
        return store.admin.check()
    finally:
        store.admin.close()


def test_a_restore_to_a_point_in_time_goes_on_from_there(primary: Server) -> None:
    done, waiting, late = (["done-1", "done-2"], ["open-1", "open-2", "open-3"], ["late-1", "late-2"])
    with Engine(primary.address(), ALL, lease=LEASE) as engine:
        sent(begun(engine, done[:1]))
        before = begun(engine, waiting[:2])
        backup = backed_up(primary)
        sent(begun(engine, done[1:]))
        before |= begun(engine, waiting[2:])
        engine.start(weighing("heavy"), id="heavy").wait()
        until(lambda: "heavy/weight" in deeds)
        [(then,)] = primary.ask("SELECT clock_timestamp()::text")
        sent(before | begun(engine, late))
        archived(primary)
        deeds_before = {entry: list(keys) for entry, keys in deeds.items()}
        weighed.set()
        primary.stop()

    with restored(backup, archive_of(primary), then) as server:
        with Engine(server.address(), ALL, lease=LEASE) as engine:
            for name in done:
                assert engine.handle(name).result().wait() == [f"{name}/paid", f"{name}/sent"]
            for name in late:
                with pytest.raises(errors.RunNotFound):
                    engine.handle(name).describe().wait()
            sent({name: engine.handle(name, shipment) for name in waiting})
            heavy = engine.handle("heavy")
            assert heavy.result().wait() == "heavy/weight"
            [step] = heavy.describe().wait().steps
            assert [attempt.state for attempt in step.attempts] == ["lost", "completed"]
        assert problems(server.address()) == []

    again = {entry: keys[len(deeds_before.get(entry, [])) :] for entry, keys in deeds.items()}
    repeated = {entry for entry, keys in again.items() if keys}
    assert repeated == {*(f"{name}/sent" for name in waiting), "heavy/weight"}
    assert all(len(keys) == 2 and len(set(keys)) == 1 for keys in map(deeds.__getitem__, repeated))


def test_a_dump_of_the_schema_is_restored_on_another_server(server: Server, database: str, tmp_path: Path) -> None:
    """On which there are no roles that have rights here."""
    if not (programs() / "pg_dump").exists():
        pytest.skip("this PostgreSQL came without pg_dump")
    deeds.clear()
    role = f"reads_{database.rpartition('/')[2]}"
    server.ask(f"CREATE ROLE {role}")
    with Engine(database, ALL, lease=LEASE) as engine:
        sent(begun(engine, ["done-3"]))
        begun(engine, ["open-4", "open-5"])
        server.ask(f"GRANT USAGE ON SCHEMA perdure TO {role}", database.rpartition("/")[2])
        dump = tmp_path / "perdure.dump"
        ask("pg_dump", "--format=custom", "--schema=perdure", f"--file={dump}", database)
    with Server() as other:
        other.ask("CREATE DATABASE copy")
        copy = other.address("copy")
        options = ("--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction", f"--dbname={copy}")
        ask("pg_restore", *options, str(dump))
        with Engine(copy, ALL, lease=LEASE) as engine:
            assert engine.handle("done-3").result().wait() == ["done-3/paid", "done-3/sent"]
            sent({name: engine.handle(name, shipment) for name in ("open-4", "open-5")})
        assert problems(copy) == []
    with Client(database) as client:
        assert client.handle("open-4").describe().wait().status == "waiting"
    assert {entry: len(keys) for entry, keys in deeds.items()} == dict.fromkeys(deeds, 1)


def ask(program: str, *arguments: str) -> None:
    done = subprocess.run([programs() / program, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
