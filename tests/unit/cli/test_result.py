"""`perdure result`: wait, then print the result or why there is none."""

import pytest

from tests.unit.cli.conftest import Perdure


def test_the_result_is_json_on_standard_output_and_nothing_else(perdure: Perdure) -> None:
    assert perdure("result", "order-48390") == (0, '"Order successful. Txn: 7f3a"\n', "")


def test_a_failed_run_has_its_causes_and_the_command_to_look_closer(perdure: Perdure) -> None:
    assert perdure("result", "etl") == (
        3,
        "",
        "error: run etl-2026-11-22 failed\n"
        "  ActivityFailed: activity load_facts failed  shop/gateway.py:31\n"
        "    caused by RecordTooLarge: record 8,112 has 70,000 bytes, the limit is 65,536  shop/gateway.py:31\n"
        "    caused by ValueError: column 17 has 70,112 characters  shop/gateway.py:31\n"
        "  hint: perdure show etl-2026-11-22\n",
    )


def test_a_blocked_run_ends_the_wait_with_both_sides_and_the_way_out(perdure: Perdure) -> None:
    assert perdure("result", "order-47110") == (
        3,
        "",
        "error: run order-47110 is blocked (divergence): the code at hand goes another way than the history of this run\n"
        "  history:  activity charge_card [0:2]    code:  activity send_email [0:2]\n"
        "  at shop/workflows/order.py:54\n"
        '  hint: guard the change with  if workflow.patched("send-before-charge"):  and start the mended code\n',
    )


def test_a_run_that_is_held_with_nothing_else_under_way_ends_the_wait(perdure: Perdure) -> None:
    assert perdure("result", "order-48300") == (
        3,
        "",
        "error: run order-48300 is held by a bug in activity charge_card\n"
        "  TypeError: charge() got an unexpected argument 'x'  shop/gateway.py:31\n"
        "  hint: mend it and start it again, or: perdure retry order-48300\n",
    )


@pytest.mark.parametrize(
    ("id", "error", "reason"),
    [
        ("order-48111", "run order-48111 was cancelled", "test data"),
        ("order-48112", "run order-48112 was terminated", "stuck in test"),
    ],
)
def test_a_run_that_was_ended_has_the_reason_given(perdure: Perdure, id, error, reason) -> None:
    said = perdure("result", id)

    assert said.code == 3
    assert said.err == f"error: {error}\n  reason: {reason}\n  hint: perdure show {id}\n"


def test_a_wait_that_takes_too_long_ends_with_its_own_code(perdure: Perdure) -> None:
    assert perdure("result", "order-48213", "--timeout", "0") == (
        124,
        "",
        "error: run order-48213 is still retrying after 0ms\n  hint: perdure show order-48213 --follow\n",
    )


def test_a_wait_without_an_engine_says_that_nothing_moves(perdure: Perdure, unowned) -> None:
    said = perdure("result", "order-48213", "--timeout", "1ms")

    assert said.err.startswith("no engine holds this database; order-48213 sleeps until one starts\n")


def test_a_hint_names_the_database_that_was_named(perdure: Perdure, address) -> None:
    assert f"  hint: perdure show etl-2026-11-22 --db {address}\n" in perdure("result", "etl", "--db", address).err


def test_a_timeout_that_is_no_duration_is_refused(perdure: Perdure) -> None:
    assert perdure("result", "etl", "--timeout", "soon") == (
        2,
        "",
        "error: --timeout 'soon' is no duration\n  hint: write 30s, 5m or 1h30m\n",
    )
