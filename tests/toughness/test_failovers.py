"""Another server takes the place of the one that is lost."""

import signal
from collections.abc import Iterator

import pytest

from perdure.stores.postgres.schema import migrate
from tests.postgres.server import Missing, Server
from tests.toughness.load import Load, engines

DATABASE = "tough"


@pytest.fixture
def primary() -> Iterator[Server]:
    try:
        made = Server()
    except Missing as missing:
        pytest.skip(str(missing))
    with made as server:
        server.ask(f"CREATE DATABASE {DATABASE}")
        migrate(server.address(DATABASE))
        yield server


def either(one: Server, other: Server) -> str:
    """The address of whichever of them takes writes."""
    hosts = f"127.0.0.1:{one.port},127.0.0.1:{other.port}"
    return f"postgresql://perdure@{hosts}/{DATABASE}?target_session_attrs=read-write"


def test_a_standby_that_has_all_takes_over_and_nothing_is_lost_or_doubled(primary: Server) -> None:
    with Server(of=primary) as standby:
        primary.ask("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        primary.ask("SELECT pg_reload_conf()")
        while primary.ask("SELECT sync_state FROM pg_stat_replication") != [("sync",)]:
            pass
        with engines(either(primary, standby)) as both:
            load = Load(both, "failover")
            load.when(0.4)
            primary.stop(signal.SIGKILL)
            standby.promote()

            load.demand_exact()
