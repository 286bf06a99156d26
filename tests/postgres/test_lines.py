"""What is left of a call when it does not come to its end."""

import psycopg
import pytest

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
