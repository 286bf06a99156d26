"""The server goes, and comes back: the engines go on, and nobody has to start them again."""

import signal

import pytest

from tests.postgres.server import Server
from tests.toughness.load import Load, engines


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
def test_a_restart_of_the_server_loses_and_doubles_nothing(server: Server, database: str, how: signal.Signals) -> None:
    with engines(server.address(database)) as both:
        load = Load(both, database)
        for part in (0.1, 0.3, 0.6):
            load.when(part)
            server.restart(how)

        load.demand_exact()
        assert all(engine.owns for engine in both)
