"""The network between an engine and its server breaks: what was written is found by looking, and nothing waits for ever."""

import time

import pytest

from tests.postgres.proxy import Proxy, Side
from tests.postgres.server import Server
from tests.toughness.load import Load, engines

LOST_EACH = 4


@pytest.mark.parametrize("side", ["request", "answer"])
@pytest.mark.parametrize("call", ["perdure.commit", "perdure.poll", "perdure.own"])
def test_a_call_that_is_lost_or_its_answer_loses_and_doubles_nothing(
    server: Server, database: str, call: str, side: Side
) -> None:
    with Proxy(server.port) as proxy, engines(proxy.address(database), count=1) as one:
        for _ in range(LOST_EACH):
            proxy.lose(f"{call}(", side)
        load = Load(one, database, runs=15, steps=5)

        load.demand_exact()
        if call != "perdure.own":  # which is asked for rarely
            for _ in range(LOST_EACH):
                assert proxy.lost.acquire(timeout=60)


def test_all_connections_are_cut_again_and_again(server: Server, database: str) -> None:
    with Proxy(server.port) as proxy, engines(proxy.address(database)) as both:
        load = Load(both, database)
        for percent in range(5, 95, 10):
            load.when(percent / 100)
            proxy.cut()

        load.demand_exact()


def test_what_is_swallowed_is_not_waited_for_longer_than_an_engine_may_be_silent(server: Server, database: str) -> None:
    with Proxy(server.port) as proxy, engines(proxy.address(database), count=1, lease="3s") as one:
        load = Load(one, database, runs=20, steps=8)
        load.when(0.2)
        proxy.swallow()
        time.sleep(2.5)  # longer than a call of an engine with that lease may take: 1.8 s
        proxy.flow()

        load.demand_exact()  # also of commits that come to the server when their engine has looked for them in vain


def test_a_slow_network_is_only_slow(server: Server, database: str) -> None:
    with Proxy(server.port) as proxy, engines(proxy.address(database), count=1) as one:
        proxy.delay_seconds = 0.02
        load = Load(one, database, runs=10, steps=3)

        load.demand_exact()
