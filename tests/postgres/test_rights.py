"""What each of the roles may, and what becomes of engines whose rights are taken from them."""

import threading
from collections.abc import Iterator

import psycopg
import pytest

from perdure import Engine, errors, stream, workflow
from perdure.stores.base import RunFilter
from perdure.stores.open import open_store
from perdure.stores.postgres import schema
from perdure.stores.postgres.lines import CALL_SECONDS, LOOK_SECONDS, Lines
from perdure.stores.postgres.place import Place
from perdure.stores.pruning import Prune
from tests.web.conftest import Web


@workflow
async def chat(prompt: str) -> str:
    stream("log").write(f"asked {prompt}")
    return prompt


@pytest.fixture
def owner(database: str) -> "Iterator[psycopg.Connection[tuple[object, ...]]]":
    """Of a database with a user for each role: `a_reader` and so on."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(schema.roles().replace("\\set ON_ERROR_STOP on\n", "").encode())
        for name in ("engine", "reader"):
            connection.execute(f"DROP ROLE IF EXISTS a_{name}".encode())
            connection.execute(f"CREATE ROLE a_{name} LOGIN IN ROLE perdure_{name}".encode())
        yield connection


def as_(database: str, user: str) -> str:
    return database.replace("//perdure@", f"//a_{user}@")


@pytest.mark.usefixtures("owner")
def test_a_reader_sees_every_page_of_the_dashboard(database: str) -> None:
    with Engine(database, [chat]) as engine:
        assert engine.run(chat("how"), id="chat-1").wait() == "how"
        store = open_store(as_(database, "reader"), create=False, migrate=False)
        try:
            (run,) = store.views.search(RunFilter(id_prefix="chat"))
            page = store.streams.page(run.key, "log", 0, 1_000)
            assert (page.head, len(page.rows)) == (1, 1)
            web = Web(store)
            for path in (
                "/runs",
                "/runs?state=completed",
                "/runs.json",
                "/runs/chat-1",
                "/runs/chat-1.json",
                "/live?page=/runs",
            ):
                answer = web.get(path)
                assert answer.status == 200, (path, answer.text)
                assert "permission denied" not in answer.text
            assert "asked how" in web.get("/runs/chat-1?tab=streams").text + web.get("/runs/chat-1").text
        finally:
            store.admin.close()


def test_an_owner_whose_rights_are_taken_waits_for_them_and_everybody_else_is_told(
    database: str, owner: "psycopg.Connection[tuple[object, ...]]"
) -> None:
    store = open_store(as_(database, "engine"), create=False, migrate=False)
    assert store.admin.try_own("here", 1, "b", 1) is not None
    store.admin.listen(lambda: None)
    owner.execute("REVOKE DELETE ON perdure.replies, perdure.runs FROM perdure_engine")
    owner.execute("REVOKE UPDATE ON perdure.runs FROM perdure_engine")
    owner.execute("REVOKE SELECT ON perdure.definitions FROM perdure_engine")
    calls = (
        lambda: store.admin.tidy(1),
        lambda: store.admin.prune(Prune(1, 0, 10)),
        lambda: store.views.definitions(),
    )
    for call in calls:
        with pytest.raises(errors.StoreUnreachable, match=r"permission denied .* `perdure migrate --roles` names"):
            call()
    told: list[type[BaseException]] = []

    def ask() -> None:
        for call in calls:
            try:
                call()
            except errors.StoreError as error:
                told.append(type(error))

    elsewhere = threading.Thread(target=ask)
    elsewhere.start()
    elsewhere.join()
    store.admin.close()
    assert told == [errors.StoreReadOnly] * len(calls)


def test_an_owner_waits_for_no_answer_longer_than_it_may_be_silent(database: str) -> None:
    lines = Lines(Place(database))
    with lines.use() as line:
        assert line.patience == LOOK_SECONDS
    lines.serve(threading.get_ident(), 2.0)
    with lines.use() as line:
        assert line.patience == 2.0 < CALL_SECONDS
    lines.serve(threading.get_ident() + 1, 2.0)
    with lines.use() as line:
        assert line.patience == LOOK_SECONDS
    lines.close()


def test_what_has_expired_goes_a_part_at_a_time(database: str, owner: "psycopg.Connection[tuple[object, ...]]") -> None:
    owner.execute(
        "INSERT INTO perdure.replies (request, code, error, expires_at) SELECT n::text, '', '', 1 FROM generate_series(1, 10001) n"
    )
    store = open_store(database)
    left = []
    for _ in range(2):
        store.admin.tidy(2)
        left.append(owner.execute("SELECT count(*)::int FROM perdure.replies").fetchone())
    store.admin.close()
    assert left == [(1,), (0,)]
