"""How many statements the server sees of whoever has nothing to do: counted in its log, not at the calls of a store, of which one may
cost several. Nobody sleeps here: the clock is moved by whoever would wait."""

import re
from collections import Counter
from collections.abc import Iterator

import psycopg
import pytest

from perdure.stores.postgres.store import PostgresStore
from tests.postgres.server import Server
from tests.unit.runtime.test_idle import Bench, Letterbox, owner_of
from tests.unit.runtime.test_idle import Clock as StandingClock

SECONDS = 60

_LOGGED = re.compile(r"LOG:  (?:statement|execute [^:]*): (.*)")
_NAMED = re.compile(r"perdure\.\w+")


class Counting:
    """A database whose server writes down each statement."""

    def __init__(self, server: Server, address: str) -> None:
        self.address = address
        self._server = server
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(f'ALTER DATABASE "{connection.info.dbname}" SET log_statement = "all"')
        self._read = len(server.log)

    def asked(self) -> Counter[str]:
        """Since this was asked last, by what they call or read first."""
        log, begin = self._server.log, self._read
        self._read = len(log)
        found = [line[1] for line in _LOGGED.finditer(log[begin:])]
        return Counter(named[0] if (named := _NAMED.search(each)) else each for each in found)


@pytest.fixture
def counting(server: Server, database: str) -> Iterator[Counting]:
    counting = Counting(server, database)
    yield counting
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{connection.info.dbname}" RESET log_statement')


def test_an_idle_worker_asks_one_statement_a_second_also_when_it_tells_that_it_lives(
    counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PostgresStore(counting.address)
    monkeypatch.setattr(store.tasks, "listen", lambda *about: None)  # whose connection is made whenever it is made
    assert store.admin.try_own("here", 1, "b", 1) is not None
    bench = Bench(store)
    bench.wait(2)
    counting.asked()

    bench.wait(SECONDS)

    asked = counting.asked()
    assert asked.total() <= SECONDS + 1, asked
    assert asked == {"perdure.beat": SECONDS / 3, "perdure.look": asked.total() - SECONDS / 3}
    bench.leave()
    store.admin.close()


def test_an_idle_engine_asks_one_statement_a_second(counting: Counting) -> None:
    store, clock = PostgresStore(counting.address), StandingClock()
    owner = owner_of(store, clock, Letterbox(clock))
    owner.round()
    counting.asked()

    end = clock.seconds + SECONDS
    while clock.seconds < end:
        owner.round()

    asked = counting.asked()
    assert asked.pop("perdure.tidy") == 1
    assert asked.keys() == {"perdure.poll"} and asked.total() <= SECONDS, asked
    owner.let_go()
    store.admin.close()
