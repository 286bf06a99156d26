"""What is left of a call when it does not come to its end."""

import itertools
import time

import psycopg
import pytest

from perdure.stores.postgres import asking, lines
from perdure.stores.postgres.asking import Asker
from perdure.stores.postgres.lines import Line
from perdure.stores.postgres.place import Place


def test_who_is_interrupted_while_it_waits_does_not_leave_the_answer_to_the_next_one(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line(Place(database))

    def interrupted(self: Asker) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Asker, "_answer", interrupted)
        line.ask("SELECT 1")

    assert line.ask("SELECT 2") == [(2,)]
    line.close()


def test_batches_that_drop_the_same_expired_replies_do_not_wait_for_each_other(database: str) -> None:
    with psycopg.connect(database) as one, psycopg.connect(database) as other:
        one.execute("INSERT INTO perdure.replies VALUES ('r', '', '', 1, NULL)")
        one.commit()
        other.execute("SET lock_timeout = '1s'")
        for connection in (one, other):
            connection.execute("SELECT perdure.end_rest('{\"replies\": []}', 5)")

        one.commit()
        assert other.execute("SELECT * FROM perdure.replies").fetchall() == []


def test_a_call_has_one_end_to_its_patience_however_many_parts_its_answer_comes_in(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part would be in time."""
    line = Line(Place(database), patience=60.0)
    line.open()
    clock = itertools.count(0, 25)  # each look at it costs 25 s
    monkeypatch.setattr(asking.time, "monotonic", lambda: next(clock))

    with pytest.raises(psycopg.OperationalError, match="not answered in time"):
        line.ask("SELECT repeat('x', 100000) FROM generate_series(1, 500)")
    line.close()


@pytest.mark.parametrize("anew", [True, False])
def test_one_statement_that_is_cancelled_does_not_make_all_later_ones_dearer(
    database: str, monkeypatch: pytest.MonkeyPatch, anew: bool
) -> None:
    line = Line(Place(database))
    asked: list[str] = []
    for name in ("ask", "ask_within"):
        real = getattr(Asker, name)
        monkeypatch.setattr(
            Asker, name, lambda *given, real=real, name=name: (asked.append(name), real(*given))[1], raising=True
        )
    cancelled = "SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(60)"
    with pytest.raises(psycopg.errors.QueryCanceled):
        line.ask(cancelled)
    line.ask("SELECT 1")
    if anew:
        line.close()
    else:
        monkeypatch.setattr(lines, "time", Later())
    line.ask("SELECT 1")

    assert asked[-2:] == ["ask_within", "ask"]
    line.close()


class Later:
    def monotonic(self) -> float:
        return time.monotonic() + lines.EXPLICIT_SECONDS


def test_a_call_that_says_its_transaction_ends_with_its_client(database: str) -> None:
    line = Line(Place(database))
    with pytest.raises(psycopg.errors.QueryCanceled):
        line.ask("SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(60)")

    assert line.ask("SELECT current_setting('idle_in_transaction_session_timeout')") == [("6s",)]
    line.close()
