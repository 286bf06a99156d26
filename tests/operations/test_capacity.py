"""What docs/postgresql.md reckons about larger machines is what the simulation says."""

import pytest

from bench.capacity import Costs, simulate


@pytest.mark.parametrize("members", [1, 2, 4, 8, 16])
def test_another_member_helps_while_the_server_has_time(members: int) -> None:
    before, after = simulate(members, 32, 1_000), simulate(2 * members, 32, 1_000)

    assert before.limit == "members"
    assert after.per_second > 1.8 * before.per_second


def test_processors_of_the_server_are_a_limit_and_more_of_them_move_it() -> None:
    few, many = simulate(64, 4, 100), simulate(64, 8, 100)

    assert few.limit == "processors of the server"
    assert many.per_second > 1.8 * few.per_second


def test_the_log_is_a_limit_that_no_member_moves() -> None:
    some, more = simulate(64, 64, 1_000), simulate(128, 64, 1_000)

    assert some.limit == more.limit == "log"
    assert more.per_second < 1.1 * some.per_second <= 1.1 * Costs().disk / Costs().log


def test_nothing_is_faster_than_what_the_page_says_is_its_bound() -> None:
    costs = Costs()
    for members in (1, 8, 64):
        for cores in (2, 32):
            found = simulate(members, cores, 1_000, costs)
            assert found.per_second <= min(members / costs.member, cores / costs.server, costs.disk / costs.log)
