"""Events and logs of a run, a page at a time."""

import pytest

from perdure.stores.base import Store
from perdure.web.records import paged
from tests.unit.cli import corpus
from tests.web.conftest import Web
from tests.web.test_run_page import text


def test_events_are_shown_with_their_number_what_they_are_about_and_their_values(web: Web) -> None:
    page = text(web.get("/runs/order-48390/events").text)

    assert '1 14:29:55.000 RunStarted process_order input={"amount": 10, "account": "acct-7"}' in page
    assert 'ActivityCompleted reserve_inventory result={"reservation": 17} attempt=2' in page
    assert "1 to 11 of 11 events" in page


def test_a_long_history_is_paged(empty: Store) -> None:
    corpus.loop(count=60).write(empty)
    web = Web(empty)

    first, last = web.get("/runs/poll-3/events").text, web.get("/runs/poll-3/events?from=201").text

    assert "1 to 100 of 240 events" in text(first)
    assert "/runs/poll-3/events?from=101" in first
    assert "201 to 240 of 240 events" in text(last)
    assert 'id="e240"' in last


def test_data_of_events_go_on_where_a_page_ends(empty: Store) -> None:
    corpus.loop(count=60).write(empty)
    web = Web(empty)

    seen: list[int] = []
    address = "/runs/poll-3/events.json"
    while address:
        found = web.get(address).json()
        seen += [event["seq"] for event in found["events"]]
        address = found["next"]

    assert seen == list(range(1, 241))


def test_logs_of_all_attempts_are_in_order_of_time(web: Web) -> None:
    page = text(web.get("/runs/order-48213/logs").text)

    assert page.index("try 1") < page.index("try 2") < page.index("try 4")
    assert "charge_card ×4" in page


def test_records_that_were_not_kept_are_counted(web: Web) -> None:
    assert "3 more records were not kept" in text(web.get("/runs/order-48390/logs").text)


def test_a_run_without_logs_says_what_would_be_there(web: Web) -> None:
    assert "Nothing was logged" in web.get("/runs/score-77/logs").text


def test_data_of_logs_name_step_and_attempt(web: Web) -> None:
    found = web.get("/runs/order-48213/logs.json").json()

    assert found["total"] == 4
    first = found["records"][0]
    assert (first["step"], first["attempt"], first["level"], first["text"]) == ("charge_card", 1, "INFO", "try 1")


@pytest.mark.parametrize(
    "first, total, expected",
    [(1, 0, (1, 0, None, None)), (1, 5, (1, 5, None, None)), (1, 25, (1, 10, None, 11)), (11, 25, (11, 20, 1, 21)),
     (21, 25, (21, 25, 11, None)), (5, 25, (5, 14, 1, 15)), (99, 25, (25, 25, 15, None))],
)  # fmt: skip
def test_pages_meet(first: int, total: int, expected: tuple[int, int, int | None, int | None]) -> None:
    page = paged(first, total, 10)

    assert (page.first, page.last, page.before, page.after) == expected
