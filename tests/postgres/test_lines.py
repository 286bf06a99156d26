"""What is left of a call when it does not come to its end."""

import itertools
import select
import socket
import time
from types import SimpleNamespace
from typing import Any

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
    """Each part would be in time; and none is there any more when there is no time left to wait for it."""
    line = Line(Place(database), patience=60.0)
    line.open()
    clock = itertools.count(0, 50)  # each look at it costs 50 s
    asker = line._asker
    assert asker is not None
    asker._readable, asker._both = (_Trickles(each) for each in (asker._readable, asker._both))  # type: ignore[assignment]
    monkeypatch.setattr(asking.time, "monotonic", lambda: next(clock))

    with pytest.raises(psycopg.OperationalError, match="not answered in time"):
        line.ask("SELECT repeat('x', 100000) FROM generate_series(1, 500)")
    line.close()


class _Trickles:
    """There is a part for whoever waits. A server that is ahead of whoever reads would have one for those as well who do not."""

    def __init__(self, poll: Any) -> None:
        self._poll = poll

    def poll(self, milliseconds: float) -> Any:
        return self._poll.poll(60_000) if milliseconds else []


class _Slow:
    """What comes through a slow network: each wait for it costs almost all patience."""

    def __init__(self, poll: Any, clock: list[float], seconds: float) -> None:
        self._poll, self._clock, self._seconds = poll, clock, seconds

    def poll(self, milliseconds: float) -> Any:
        self._clock[0] += self._seconds
        return self._poll.poll(60_000)


def test_a_question_that_takes_longer_to_send_than_the_patience_is_answered(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Line(Place(database), patience=60.0)
    line.open()
    clock = [0.0]
    monkeypatch.setattr(asking.time, "monotonic", lambda: clock[0])
    asker = line._asker
    assert asker is not None
    asker._readable, asker._both = (_Slow(each, clock, 50.0) for each in (asker._readable, asker._both))  # type: ignore[assignment]

    assert line.ask("SELECT length(%b), repeat('x', 100000)", ("x" * 100_000,))[0][0] == 100_000
    assert clock[0] >= 50.0
    assert line.ask("SELECT 1") == [(1,)]
    line.close()


def test_nobody_waits_longer_for_a_server_that_is_silent_than_its_patience() -> None:
    """What it has been sent lies in a socket that nobody reads."""
    here, there = socket.socketpair()
    there.setblocking(False)
    asker = Asker.__new__(Asker)
    poll = select.poll()
    poll.register(here, select.POLLIN)
    asker._server = SimpleNamespace(socket=here.fileno())  # type: ignore[assignment]
    here.sendall(b"question")
    asker.wait_for(0.3)
    began = time.monotonic()
    with pytest.raises(psycopg.OperationalError, match="not answered in time"):
        asker._wait(poll)
    assert time.monotonic() - began >= 0.3


def test_what_the_network_still_takes_is_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    left = iter([900, 800, 700, 600, 500, 400, 300, 200, 100])
    clock = [0.0]
    asker = Asker.__new__(Asker)
    monkeypatch.setattr(asker, "_unsent", lambda: next(left, 100))
    monkeypatch.setattr(asking.time, "monotonic", lambda: clock[0])
    asker.wait_for(60.0)

    with pytest.raises(psycopg.OperationalError, match="not answered in time"):
        asker._wait(_Silent(clock))  # type: ignore[arg-type]
    assert 140.0 < clock[0] < 200.0  # nine looks of 10 s in which it goes on, and then 60 s without


class _Silent:
    def __init__(self, clock: list[float]) -> None:
        self._clock = clock

    def poll(self, milliseconds: float) -> list[Any]:
        self._clock[0] += milliseconds / 1e3
        return []


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
