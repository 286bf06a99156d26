"""`perdure.start(...)`, from SQL alone: what it writes is what a client in Python writes, and what cannot be is refused with advice."""

import unicodedata
from typing import Any

import msgspec
import psycopg
import pytest

from perdure import Client, Engine, activity, workflow
from perdure.kernel.limits import (
    ATTRIBUTE_CHARS,
    ATTRIBUTE_NAME_CHARS,
    ATTRIBUTES,
    ATTRIBUTES_BYTES,
    ID_CHARS,
    MEMO_BYTES,
    PAYLOAD_MAX_BYTES,
)
from perdure.kernel.messages import Start
from perdure.stores.postgres.store import PostgresStore


@activity
async def charge(number: int, account: str) -> str:
    return f"charged {number} to {account}"


@workflow
async def order(number: int, account: str = "cash") -> str:
    return await charge(number, account)


@workflow
async def many(*numbers: int) -> int:
    return sum(numbers)


def start(connection: Any, arguments: str, **values: Any) -> Any:
    """The first row of `SELECT perdure.start(...)`."""
    return connection.execute(f"SELECT perdure.start({arguments})", values).fetchone()[0]


def queued(address: str, id: str) -> tuple[Start, Any]:
    """What lies in the mailbox of a run that nobody has begun, and the attributes by which it is found."""
    store = PostgresStore(address)
    row = store.views.row(id)
    assert row is not None
    stored = store.views.stored(row.key)
    assert stored is not None
    message = stored.mail[0].message
    assert isinstance(message, Start)
    found = store.views.attributes([row.key])
    store.admin.close()
    return message, found.get(row.key)


def test_a_run_is_started_by_psql_and_comes_to_its_end(database: str):
    with Engine(database, [order, charge, many]) as engine, psycopg.connect(database) as connection:
        engine.run(many(1, 2)).wait()  # it has published what it knows
        made = start(connection, "'order', '[7, \"visa\"]'")
        named = start(connection, "workflow => 'order', id => 'order-8', arguments => '{\"number\": 8}'")
        summed = start(connection, "'many', '[1, 2, 3]'")
        before = engine.list(workflow="order").wait()
        connection.commit()

        assert before == [] and named == "order-8"
        assert engine.handle(made, order).result().wait() == "charged 7 to visa"
        assert engine.handle(named, order).result().wait() == "charged 8 to cash"
        assert engine.handle(summed, many).result().wait() == 6


def test_a_trigger_starts_a_run_for_each_row(database: str):
    with Engine(database, [order, charge]) as engine, psycopg.connect(database, autocommit=True) as connection:
        connection.execute(b"""
            CREATE TABLE orders (number integer, account text);
            CREATE FUNCTION ordered() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                PERFORM perdure.start('order', jsonb_build_array(NEW.number, NEW.account), id => 'order-' || NEW.number);
                RETURN NEW;
            END $$;
            CREATE TRIGGER ordered AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION ordered();
        """)
        connection.execute("INSERT INTO orders VALUES (1, 'visa'), (2, 'cash')")
        with pytest.raises(psycopg.errors.UniqueViolation, match="order-2"):
            connection.execute("INSERT INTO orders VALUES (3, 'visa'), (2, 'visa')")

        results = [engine.handle(f"order-{number}", order).result().wait() for number in (1, 2)]
        assert results == ["charged 1 to visa", "charged 2 to cash"]
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (2,)
        assert engine.count().wait() == 2


def test_what_it_writes_is_what_a_client_writes(database: str):
    attributes: dict[str, Any] = {
        "customer": "Ada ü",
        "size": 3,
        "large": -(2**40),
        "share": 0.25,
        "express": True,
        "gift": False,
        "tags": ["b", "a", "b"],
        "longest": "x" * 500,
    }
    with Client(PostgresStore(database)) as client:
        options: Any = {"attributes": attributes, "memo": {"note": "x"}, "request_id": "r-1", "start_delay": "1h"}
        client.start(
            "order", [1, "visa"], id="by-client", id_conflict="fail", id_reuse="reject_duplicate", **options
        ).wait()
        client.start("order", [1, "visa"], id="bare", id_conflict="fail", id_reuse="reject_duplicate").wait()
    with psycopg.connect(database) as connection:
        start(
            connection,
            "'order', '[1, \"visa\"]', 'by-sql', 'r-1', attributes => %(attributes)s, memo => %(memo)s, start_delay => '1 hour'",
            attributes=msgspec.json.encode(attributes).decode(),
            memo='{"note":"x"}',
        )
        start(connection, "'order', '[1, \"visa\"]', 'bare-by-sql'")

    for one, other in (("by-client", "by-sql"), ("bare", "bare-by-sql")):
        (theirs, by_theirs), (ours, by_ours) = queued(database, one), queued(database, other)
        assert same(ours) == same(theirs)
        assert by_ours == by_theirs
    with Client(database) as client:
        rows = client.list(attributes={"express": True, "size": 3, "tags": ["b"]}).wait()
        assert {row.id for row in rows} == {"by-client", "by-sql"}


def same(start: Start) -> Start:
    """Without what is drawn, blanks in JSON, and the order of attributes."""
    input = msgspec.structs.replace(start.input, data=msgspec.json.encode(msgspec.json.decode(start.input.data)))
    memo = None if start.memo is None else msgspec.json.decode(start.memo.data)
    terms = start.terms
    if terms is not None:
        terms = msgspec.structs.replace(terms, attributes=tuple(sorted(terms.attributes, key=lambda each: each.name)))
    return msgspec.structs.replace(start, run_id=b"", input=input, terms=terms, memo=memo)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "state", "said"),
    [
        ("'ordr'", "42704", "no engine knows a workflow 'ordr'"),
        ("NULL", "42704", "without a name"),
        ("'order'", "22023", "missing: number"),
        ("'order', '[1, \"a\", 3]'", "22023", "too much: 3"),
        ("'order', '{\"number\": 1, \"acount\": 2}'", "22023", "too much: acount"),
        ("'order', '7'", "22023", "a list by position or an object by name"),
        ("'order', NULL", "22023", "an object by name, not NULL"),
        ("'order', '[1]', ' x'", "22023", "an id is a text"),
        ("'order', '[1]', 'a' || chr(8203)", "22023", "an id is a text"),
        ("'order', '[1]', request_id => 'a' || chr(160)", "22023", "a request_id is a text"),
        ("'order', '[1]', start_delay => '-1 hour'", "22023", "an interval from now on"),
        ("'order', '[1]', attributes => '{\"a\": 99999999999999999999}'", "22023", "too large a number"),
        ("'order', '[1]', attributes => '{\"a\": 1.5e400}'", "22023", "too large a number"),
        ("'order', '[1]', id_conflict => 'maybe'", "22023", "id_conflict is fail"),
        ("'order', '[1]', id_reuse => NULL", "22023", "id_reuse is reject"),
        ("'order', '[1]', attributes => '{\"a b\": 1}'", "22023", "the name of an attribute"),
        ("'order', '[1]', attributes => '{\"a\": {}}'", "22023", "the attribute a cannot be"),
        ("'order', '[1]', repeat('x', 201)", "22023", "1 to 200 printable"),
        ("'order', jsonb_build_array(repeat('x', 16777216))", "22023", "more than 16 MiB"),
        ("'order', '[1]', memo => jsonb_build_object('a', repeat('x', 32768))", "22023", "at most 32 KiB"),
        ("'order', '[1]', memo => '[]'", "22023", "a memo is an object"),
        ("'order', '[1]', attributes => jsonb_build_object('a', repeat('x', 501))", "22023", "at most 500"),
        ("'order', '[1]', attributes => jsonb_build_object('a', ARRAY[repeat('x', 501)])", "22023", "at most 500"),
    ],
)
def test_what_cannot_be_is_refused(database: str, arguments: str, state: str, said: str):
    with Engine(database, [order, charge]) as engine, psycopg.connect(database) as connection:
        engine.run(order(0)).wait()

        with pytest.raises(psycopg.Error, match=said) as refused:
            start(connection, arguments)
        assert refused.value.sqlstate == state


def test_ids_have_the_characters_that_python_prints(database: str):
    """But for those that Unicode has given to nobody yet, of which each version of Python knows fewer."""
    texts = [chr(code) for code in range(1, 0x110000) if unicodedata.category(chr(code)) not in ("Cn", "Cs")]
    asked = "SELECT c FROM unnest(%s::text[]) AS c WHERE perdure.is_printable(c)"
    with psycopg.connect(database) as connection:
        found = [text for (text,) in connection.execute(asked, (texts,)).fetchall()]

    assert found == [text for text in texts if text.isprintable()]


def test_a_delay_without_an_end_is_no_error(database: str):
    with psycopg.connect(database) as connection:
        start(connection, "'order', '[1]', 'late', start_delay => '1000 years'")
        assert connection.execute("SELECT wake_at FROM perdure.runs").fetchall() == [(2**63 - 1,)]


def test_the_bounds_in_sql_are_those_of_the_kernel():
    assert (ID_CHARS, PAYLOAD_MAX_BYTES, MEMO_BYTES) == (200, 16_777_216, 32_768)
    assert (ATTRIBUTES, ATTRIBUTE_CHARS, ATTRIBUTES_BYTES, ATTRIBUTE_NAME_CHARS) == (50, 500, 32_768, 64)


def test_ids_are_given_by_the_same_rules(database: str):
    with Engine(database, [order, charge, many]) as engine, psycopg.connect(database, autocommit=True) as connection:
        engine.run(order(1), id="done").wait()
        engine.start(many(), id="other", start_delay="1h").wait()
        open_ = "'order', '[1]', 'open', start_delay => '1 hour'"
        start(connection, open_)

        for taken, said in (
            ("'order', '[1]', 'done'", "has ended"),
            (open_, "is open"),
            ("'order', '[1]', 'other', id_conflict => 'use_existing'", "of workflow many"),
        ):
            with pytest.raises(psycopg.errors.UniqueViolation, match=said):
                start(connection, taken)
        assert start(connection, open_ + ", id_conflict => 'use_existing'") == "open"
        assert start(connection, "'order', '[2]', 'done', id_reuse => 'allow_duplicate'") == "done"
        assert engine.handle("done", order).result().wait() == "charged 2 to cash"
        for _ in range(2):
            assert start(connection, "'order', '[3]', 'again', request_id => 'r'") == "again"
        assert engine.count(workflow="order").wait() == 4


def test_before_any_engine_was_there_a_name_is_taken_as_it_is(database: str):
    with psycopg.connect(database) as connection:
        id = start(connection, "'order', '[5]'")

    with Engine(database, [order, charge]) as engine:
        assert engine.handle(id, order).result().wait() == "charged 5 to cash"


def test_a_database_in_which_backslashes_are_escapes_makes_no_difference(database: str):
    with psycopg.connect(database) as connection:
        connection.execute("SET standard_conforming_strings = off; SET escape_string_warning = off")
        connection.execute(
            "SELECT perdure.start('order', '[1]', 'escaped', 'r-1', memo => '{}', attributes => '{\"a\": 1}')"
        )
        connection.execute("SET standard_conforming_strings = on")
        connection.execute(
            "SELECT perdure.start('order', '[1]', 'plain', 'r-1', memo => '{}', attributes => '{\"a\": 1}')"
        )

    (one, _), (other, _) = queued(database, "escaped"), queued(database, "plain")
    assert msgspec.structs.replace(one, run_id=b"") == msgspec.structs.replace(other, run_id=b"")
