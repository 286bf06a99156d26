"""What an administrator may set for a database, and what becomes of engines then."""

import pytest

from tests.postgres.server import Server
from tests.toughness.load import Load, engines

SETTINGS = {
    "repeatable read": "default_transaction_isolation = 'repeatable read'",
    "serializable": "default_transaction_isolation = 'serializable'",
    "statements may take no time": "statement_timeout = '1ms'",
    "locks may not be waited for": "lock_timeout = '1ms'",
    "transactions may not be idle": "idle_in_transaction_session_timeout = '1ms'",
    "sessions may not be idle": "idle_session_timeout = '20ms'",
    "nothing is written synchronously": "synchronous_commit = off",
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_an_odd_database_does_as_well(server: Server, database: str, setting: str) -> None:
    server.ask(f"ALTER DATABASE {database} SET {SETTINGS[setting]}")
    with engines(server.address(database)) as both:
        Load(both, database, runs=15, steps=3).demand_exact()


def test_a_database_that_may_only_be_read_for_a_while_is_waited_for(server: Server, database: str) -> None:
    with engines(server.address(database)) as both:
        load = Load(both, database)
        load.when(0.2)
        server.ask(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
        server.ask(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
        server.ask("SELECT pg_sleep(1)")
        server.ask(f"ALTER DATABASE {database} RESET default_transaction_read_only")

        load.demand_exact()
