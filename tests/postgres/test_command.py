"""The command line on a database of a server."""

import json
import os
import socket
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from perdure import Client, Engine, workflow
from perdure.cli.main import cli
from perdure.cli.options import Settings
from perdure.stores.postgres.store import PostgresStore
from tests.postgres.pooler import OwnPooler, PgBouncer
from tests.postgres.server import Missing, Server

Perdure = Callable[..., tuple[int, str, str]]


@workflow
async def greet(name: str) -> str:
    return f"hello {name}"


@pytest.fixture
def perdure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Perdure:
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(list(arguments), obj=Settings())
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return call


@pytest.fixture
def bare(database: str) -> str:
    """A database without a schema."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP SCHEMA perdure CASCADE")
    return database


def test_a_schema_is_checked_printed_and_made(perdure: Perdure, bare: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = perdure("list", "--db", bare)
    assert code == 5 and "has no schema of Perdure" in err
    monkeypatch.setenv("PERDURE_DB", bare)
    assert perdure("migrate", "--check")[:2] == (1, "pending\t0001_first\n")
    script = perdure("migrate", "--sql")[1]
    assert "CREATE TABLE perdure.runs" in script and "CREATE OR REPLACE FUNCTION perdure.commit" in script
    code, out, _ = perdure("migrate", "--json=from,to,migrations")
    steps = [{"number": 1, "name": "0001_first", "state": "applied"}]
    assert (code, json.loads(out)) == (0, {"from": 0, "to": 1, "migrations": steps})
    code, out, err = perdure("migrate")
    assert (code, out) == (0, "") and "has schema 1: nothing to do" in err
    assert perdure("list")[0] == 0


@pytest.mark.parametrize("kind", [OwnPooler, PgBouncer])
def test_a_pooler_may_stand_between(perdure: Perdure, server: Server, bare: str, kind: Any) -> None:
    try:
        pooler = kind(server, bare.rpartition("/")[2])
    except Missing as missing:
        pytest.skip(str(missing))
    with pooler:
        for expected, arguments in (
            (1, ["migrate", "--check"]),
            (0, ["migrate"]),
            (0, ["migrate", "--check"]),
            (0, ["doctor"]),
        ):
            code, out, err = perdure(*arguments, "--db", pooler.address())
            assert code == expected, out + err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("migrate", "--to", "1"), "--to is for databases in files"),
        (("migrate", "--check", "--roles"), "--check and --roles exclude each other"),
        (("migrate", "--roles", "--db", "sqlite:///x.db"), "a file has no roles"),
    ],
)
def test_what_makes_no_sense_is_refused(perdure: Perdure, database: str, arguments: tuple[str, ...], said: str) -> None:
    last = () if "--db" in arguments else ("--db", database)
    code, _, err = perdure(*arguments, *last)
    assert code == 2 and said in err


def test_runs_are_listed_and_shown_and_no_password_is(perdure: Perdure, database: str) -> None:
    secret = database.replace("//perdure@", "//perdure:hush@")
    with Engine(secret, [greet]) as engine:
        assert engine.run(greet("Ann"), id="hello-1").wait() == "hello Ann"
        assert "hush" not in repr(engine)
        code, out, err = perdure("list", "--db", secret, "--verbose")
        assert code == 0 and "hello-1" in out and "hush" not in out + err
        code, out, _ = perdure("show", "hello-1", "--db", secret, "--json=id,state")
        assert (code, json.loads(out)) == (0, {"id": "hello-1", "state": "completed"})
        code, _, err = perdure("show", "hello-2", "--db", secret)
        assert code == 4 and "hush" not in err


def test_doctor_looks_at_the_server(perdure: Perdure, database: str, bare: str) -> None:
    code, out, _ = perdure("doctor", "--json", "--db", bare)
    findings = {each["check"]: each for each in json.loads(out)}
    assert code == 1 and findings["schema"]["level"] == "broken"
    with Engine(database, [greet]) as engine:
        engine.run(greet("Ann"), id="hello-1").wait()
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("ALTER ROLE perdure SET synchronous_commit = off")
            try:
                code, out, _ = perdure("doctor", "--json", "--db", database)
            finally:
                connection.execute("ALTER ROLE perdure RESET synchronous_commit")
        findings = {each["check"]: each for each in json.loads(out)}
        assert code == 1 and "the last steps are lost" in findings["durability"]["text"]
        assert findings["engine"]["text"] == f"1 engine takes part: {socket.gethostname()}:{os.getpid()}"
    code, out, _ = perdure("doctor", "--json", "--db", "postgresql://me:hush@127.0.0.1:1/x")
    findings = {each["check"]: each for each in json.loads(out)}
    assert code == 1 and "does not answer" in findings["server"]["text"] and "hush" not in out


@pytest.mark.parametrize(
    ("version", "level", "said"),
    [
        ("number = 0, files = 1", "broken", "the database has no schema of Perdure"),
        ("number = 3, files = 3", "ok", "schema 3, of a newer Perdure; it serves this one, which knows 1"),
        ("number = 3, files = 3, serves = 2", "broken", "serves code of schema 2 and newer; this one knows 1"),
    ],
)
def test_doctor_tells_a_schema_of_another_version(
    perdure: Perdure, database: str, version: str, level: str, said: str
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"UPDATE perdure.version SET {version}".encode())
    findings = json.loads(perdure("doctor", "--json", "--db", database)[1])
    assert any(each["level"] == level and said in each["text"] for each in findings), findings


def test_doctor_names_what_ails_a_database(perdure: Perdure, database: str, server: Server) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'perdure.runs_by_root'::regclass")
    findings = {each["check"]: each for each in json.loads(perdure("doctor", "--json", "--db", database)[1])}
    assert (
        findings["indexes"]["level"] == "warning" and "perdure.runs_by_root is invalid" in findings["indexes"]["text"]
    )
    server.ask("CREATE DATABASE in_latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    code, out, _ = perdure("doctor", "--json", "--db", server.address("in_latin"))
    findings = {each["check"]: each for each in json.loads(out)}
    assert code == 1 and "the encoding of the database is LATIN1" in findings["server"]["text"]


def test_roles_may_do_what_they_are_for_and_no_more(perdure: Perdure, database: str, server: Server) -> None:
    script = perdure("migrate", "--roles", "--db", database)[1]
    users = {"engine": "perdure_engine", "client": "perdure_client", "reader": "perdure_reader"}
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(script.replace("\\set ON_ERROR_STOP on\n", "").encode())
        for user, role in users.items():
            connection.execute(f"DROP ROLE IF EXISTS a_{user}".encode())
            connection.execute(f"CREATE ROLE a_{user} LOGIN IN ROLE {role}".encode())
    as_ = {user: database.replace("//perdure@", f"//a_{user}@") for user in users}
    with Engine(as_["engine"], [greet]) as engine, Client(as_["client"]) as client:
        assert client.run(greet("Ann"), id="hello-1").wait() == "hello Ann"
        assert engine.run(greet("Bob"), id="hello-2").wait() == "hello Bob"
        assert "hello-2" in perdure("list", "--db", as_["reader"])[1]
        assert perdure("doctor", "--db", as_["reader"])[0] in (0, 1)
    for user, statement in (
        ("reader", "INSERT INTO perdure.mail (run, kind, body, reply_to) VALUES (1, 1, '', '')"),
        ("reader", "SELECT * FROM perdure.secret"),
        ("reader", "SELECT perdure.nudge('{}')"),
        ("client", "DELETE FROM perdure.history"),
        ("client", "UPDATE perdure.runs SET status = 7"),
        ("client", "SELECT perdure.hand_over(1, 0)"),
        ("engine", "DROP TABLE perdure.replies"),
        ("engine", "UPDATE perdure.secret SET value = ''"),
    ):
        with psycopg.connect(as_[user]) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())


def test_the_builds_of_all_engines_that_are_there_are_an_engines(perdure: Perdure, database: str) -> None:
    with Engine(database, [greet], build="old") as old, Engine(database, [greet], build="new"):
        assert old.run(greet("Ada")).wait() == "hello Ada"
        code, out, _ = perdure("builds", "--json=build,owner,drained", "--db", database)

    assert code == 0
    assert {each["build"]: (each["owner"], each["drained"]) for each in json.loads(out)} == {
        "old": (True, False),
        "new": (True, False),
    }


def test_an_engine_that_was_not_seen_for_long_takes_no_part(perdure: Perdure, database: str) -> None:
    with Engine(database, [greet]) as engine:
        engine.run(greet("Ada")).wait()
    left = PostgresStore(database)
    left.admin.try_own("there", 1, "b", 0)
    left.admin.close()
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE perdure.beats SET seen_at = now() - interval '1 hour'")
    code, out, err = perdure("doctor", "--db", database)

    assert code == 0 and "part" not in out + err
