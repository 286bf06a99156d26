"""A pooler that gives each transaction another connection stands between engines and their server."""

import pytest

from tests.postgres.pooler import OwnPooler, PgBouncer
from tests.postgres.server import Missing, Server
from tests.toughness.load import Load, engines


def test_whatever_connection_a_transaction_gets_nothing_was_kept_in_another(server: Server, database: str) -> None:
    with OwnPooler(server, database) as pooler:
        with engines(pooler.address()) as both:
            load = Load(both, database, runs=20)
            load.demand_exact()

        states = pooler.session_states()
    prepared, _, *others = zip(*states, strict=True)
    assert len(states) >= 3
    assert set(prepared) == {0}
    assert {number for each in others for number in each} == {0}


@pytest.mark.parametrize("spoil", ["repeatable read", "serializable"])
def test_a_pooler_before_a_database_of_another_isolation(server: Server, database: str, spoil: str) -> None:
    server.ask(f"ALTER DATABASE {database} SET default_transaction_isolation = '{spoil}'")
    with OwnPooler(server, database) as pooler, engines(pooler.address()) as both:
        Load(both, database, runs=15, steps=3).demand_exact()


def test_pgbouncer_in_transaction_mode(server: Server, database: str) -> None:
    try:
        bouncer = PgBouncer(server, database)
    except Missing as missing:
        pytest.skip(str(missing))
    with bouncer, engines(bouncer.address()) as both:
        load = Load(both, database)
        load.when(0.3)
        server.restart()
        load.demand_exact()
