"""Another server takes the place of the one that is lost."""

import os
import signal
from collections.abc import Iterator

import pytest

from perdure.stores.postgres.migrating import migrate
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


@pytest.mark.skipif(not os.environ.get("PERDURE_SOAK"), reason="takes a lease: set PERDURE_SOAK=1")
def test_a_standby_that_lacks_the_last_commits_takes_over_and_the_runs_go_on_from_what_it_has(primary: Server) -> None:
    with Server(of=primary) as standby, engines(either(primary, standby)) as both:
        load = Load(both, "behind")
        load.when(0.2)
        wait_for(primary, standby)
        standby.ask("SELECT pg_wal_replay_pause()")
        kept = standby.ask("SELECT pg_last_wal_replay_lsn()")[0][0]
        load.when(0.6)
        primary.stop(signal.SIGKILL)
        # What it has received but not replayed is thrown away, as if it had never come.
        standby.settings["recovery_target_lsn"] = kept
        standby.settings["recovery_target_action"] = "promote"
        standby.restart(signal.SIGQUIT)

        load.demand_done()
        assert standby.ask(DOUBTFUL, DATABASE) == []


def wait_for(primary: Server, standby: Server) -> None:
    """Until all runs are at the standby, which are begun before anything is booked."""
    lsn = primary.ask("SELECT pg_current_wal_lsn()")[0][0]
    while not standby.ask(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'")[0][0]:
        pass


DOUBTFUL = """
SELECT r.id FROM perdure.runs r
WHERE (SELECT max(h.seq) FROM perdure.history h WHERE h.run = r.key) > r.seq
   OR (SELECT min(h.seq) FROM perdure.history h WHERE h.run = r.key) <> 1
"""
