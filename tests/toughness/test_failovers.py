"""Another server takes the place of the one that is lost."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from perdure import Client, Worker
from perdure.stores.postgres.migrating import migrate
from tests.postgres.proxy import Proxy
from tests.postgres.server import Missing, Server
from tests.toughness.load import ELSEWHERE, WAIT_SECONDS, Load, engines, posted

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
        kept = held_back(standby)
        load.when(0.6)
        primary.stop(signal.SIGKILL)
        promote_at(standby, kept)

        load.demand_done()
        assert standby.ask(DOUBTFUL, DATABASE) == []


def test_members_and_workers_of_which_a_standby_has_never_heard_are_not_taken_for_those_that_join_then(
    primary: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Its sequences give the numbers again that they have got from the other server."""
    with (
        Server(of=primary) as standby,
        Proxy(primary.port) as proxy,
        Client(primary.address(DATABASE)) as client,
        ExitStack() as taking_part,
    ):
        load = Load([client], "unheard", runs=10, flow=posted)
        wait_for(primary, standby)
        kept = held_back(standby)
        taking_part.enter_context(engines(proxy.address(DATABASE), count=1, lease="60s"))
        taking_part.enter_context(Worker(proxy.address(DATABASE), ELSEWHERE, queues=["books"]))
        load.when(0.3)
        primary.stop(signal.SIGKILL)
        promote_at(standby, kept)
        taking_part.enter_context(engines(standby.address(DATABASE), count=1, lease="60s"))
        taking_part.enter_context(Worker(standby.address(DATABASE), ELSEWHERE, queues=["books"]))
        proxy.lead_to(standby.port)

        with Client(standby.address(DATABASE)) as other:
            for n in range(10):
                assert other.handle(f"unheard-{n}").result(timeout=WAIT_SECONDS).wait() == 18
        assert len(load.entries()) == load.size
        assert standby.ask(DOUBTFUL, DATABASE) == []
        while 0 in (found_out := (said(caplog, "begins anew as another member"), said(caplog, "is given up"))):
            time.sleep(0.01)  # by the next beat
        assert found_out == (1, 1)  # and those who have joined since are as they were


def said(caplog: pytest.LogCaptureFixture, what: str) -> int:
    """How often it was."""
    return sum(what in each for each in list(caplog.messages))


def held_back(standby: Server) -> str:
    """From now on it gets no further, though what comes is kept beside it. How far it is."""
    standby.ask("SELECT pg_wal_replay_pause()")
    return standby.ask("SELECT pg_last_wal_replay_lsn()")[0][0]


def promote_at(standby: Server, kept: str) -> None:
    """What it has received but not replayed is thrown away, as if it had never come."""
    standby.settings["recovery_target_lsn"] = kept
    standby.settings["recovery_target_action"] = "promote"
    standby.restart(signal.SIGQUIT)


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
