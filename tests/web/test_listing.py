"""The list of runs: what each row says, what the address selects, pages, numbers, and what an empty list teaches."""

import html
import re
from typing import Any

import pytest

from perdure.kernel.run import Status
from perdure.stores.base import DefinitionRow, Store
from perdure.stores.memory import MemoryStore, Shelf
from tests.unit.cli import corpus
from tests.web.conftest import Web

OF_STATE = {
    "completed": "order-48390",
    "retrying": "order-48213",
    "held": "order-48300",
    "blocked": "order-47110",
    "failed": "etl-2026-11-22",
    "waiting": "onboard-acme-77",
    "cancelled": "order-48111",
    "terminated": "order-48112",
    "running": "order-48391",
    "queued": "ship-20931",
}


def rows(page: str) -> dict[str, str]:
    """The text of each row by the id of its run."""
    found = re.findall(r'<tr id="run-\d+".*?</tr>', page, re.DOTALL)
    texts = [" ".join(html.unescape(re.sub(r"<[^>]*>", " ", row)).split()) for row in found]
    ids = [html.unescape(re.search(r'data-row href="[^"]*" title="([^"]*)"', row)[1]) for row in found]  # type: ignore[index]
    return dict(zip(ids, texts, strict=True))


def ids(page: str) -> list[str]:
    return list(rows(page))


def test_the_front_door_leads_to_the_list(web: Web) -> None:
    answer = web.get("/")

    assert (answer.status, answer.headers["location"]) == (307, "/runs")


def test_the_newest_run_comes_first(web: Web) -> None:
    assert ids(web.get("/runs").text)[:2] == ["ship-20931", "poll-3"]


@pytest.mark.parametrize("state, id", OF_STATE.items())
def test_a_run_in_each_state_says_so_in_a_word(web: Web, state: str, id: str) -> None:
    row = rows(web.get("/runs").text)[id]

    assert row.startswith(state.capitalize())


@pytest.mark.parametrize("state, id", OF_STATE.items())
def test_the_state_in_the_address_selects_runs(web: Web, state: str, id: str) -> None:
    page = web.get(f"/runs?state={state}").text

    assert id in ids(page)
    assert all(row.startswith(state.capitalize()) for row in rows(page).values())


def test_several_states_are_joined_by_commas(web: Web) -> None:
    assert set(ids(web.get("/runs?state=held,blocked").text)) == {"order-48300", "order-47110"}


def test_a_row_says_what_its_run_does_now(web: Web) -> None:
    shown = rows(web.get("/runs").text)

    assert "charge_card 4/10 next attempt in 12s" in shown["order-48213"]
    assert "timer due in 3d" in shown["onboard-acme-77"]
    assert "waits for its turn" in shown["ship-20931"]
    assert "charge_card held by a bug" in shown["order-48300"]


def test_a_row_says_how_its_run_ended(web: Web) -> None:
    shown = rows(web.get("/runs").text)

    assert "ActivityFailed activity load_facts failed" in shown["etl-2026-11-22"]
    assert '"Order successful. Txn: 7f3a"' in shown["order-48390"]
    assert "stuck in test" in shown["order-48112"]


def test_without_an_engine_runs_that_wait_say_that_nobody_will_wake_them(empty: Store) -> None:
    corpus.retrying().write(empty)
    empty.admin.close()

    from perdure.stores.open import open_store

    reader = open_store(empty.address)
    page = Web(reader).get("/runs").text
    reader.admin.close()

    assert "no engine holds the database" in rows(page)["order-48213"]
    assert "Open runs sleep until one starts" in page


def test_the_address_selects_by_workflow_and_by_the_beginning_of_the_id(web: Web) -> None:
    assert ids(web.get("/runs?workflow=nightly_warehouse").text) == ["etl-2026-11-22"]
    assert set(ids(web.get("/runs?id=order-481").text)) == {"order-48111", "order-48112"}
    assert ids(web.get("/runs?id=order-481&state=cancelled").text) == ["order-48111"]


def test_the_form_keeps_what_was_asked(web: Web) -> None:
    page = web.get("/runs?id=order-&workflow=process_order&state=held").text

    assert 'value="order-"' in page
    assert '<option value="process_order" selected>' in page
    assert '<input type="hidden" name="state" value="held">' in page


NOTED: dict[str, Any] = {"region": "eu", "amount": 100, "urgent": True, "tags": ["red", "blue"], "weight": 1.5}


def noted(store: Store, **others: Any) -> Web:
    """Three runs with attributes: one has those above, another one some."""
    corpus.Story(2, "a", "order", 60, attributes=NOTED | others).write(store)
    corpus.Story(4, "b", "order", 50, attributes={"region": "us", "amount": 7}).write(store)
    corpus.Story(6, "c", "order", 40).write(store)
    return Web(store)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("attr=region=eu", ["a"]),
        ("attr=amount>=7", ["b", "a"]),
        ("attr=amount%3C50&attr=region=us", ["b"]),
        ("attr=region=eu,us&attr=amount=..99", ["b"]),
        ("attr=tags=blue", ["a"]),
        ("attr=&attr= ", ["c", "b", "a"]),
        ("attr=region=eu&state=failed", []),
    ],
)
def test_the_address_selects_by_attributes(empty: Store, query: str, found: list[str]) -> None:
    web = noted(empty)

    assert ids(web.get(f"/runs?{query}").text) == found
    assert [run["id"] for run in web.get(f"/runs.json?{query}").json()["runs"]] == found


def test_a_row_shows_attributes_each_a_way_to_the_runs_that_have_the_same(empty: Store) -> None:
    web = noted(empty)
    page = web.get("/runs?attr=amount>1").text

    assert "order amount 100 region eu +3" in rows(page)["a"]
    assert 'title="tags = ["red", "blue"]\nurgent = true\nweight = 1.5"' in html.unescape(page)
    paths = [html.unescape(path) for path in re.findall(r'class="tag" href="([^"]*)"', page)]
    assert [ids(web.get(path).text) for path in paths] == [["b"], ["b"], ["a"], ["a"]]
    assert all("attr=amount%3E1&" in path for path in paths)


def test_the_form_keeps_conditions_and_has_room_for_one_more(empty: Store) -> None:
    page = noted(empty).get("/runs?attr=region=eu&attr=amount>1&state=running").text

    values = re.findall(r'name="attr" value="([^"]*)"', page)
    assert [html.unescape(value) for value in values] == ["region=eu", "amount>1", ""]
    tabs = re.findall(r'<a href="(/runs[^"]*)"[^>]*>\w[\w ]*? <span class="n num', page)
    assert all("attr=region%3Deu&attr=amount%3E1" in html.unescape(tab) for tab in tabs) and tabs


def test_a_filter_by_attributes_that_fits_nothing_says_so(empty: Store) -> None:
    page = noted(empty).get("/runs?attr=region=asia&attr=amount>1").text

    assert "0 of 3 runs with region=asia and amount>1." in " ".join(html.unescape(re.sub("<[^>]*>", "", page)).split())


def test_data_have_the_attributes_of_the_runs(empty: Store) -> None:
    found = noted(empty).get("/runs.json").json()["runs"]

    assert [run["attributes"] for run in found] == [{}, {"region": "us", "amount": 7}, NOTED]


def test_tabs_count_runs_by_state_within_the_other_conditions(web: Web) -> None:
    page = web.get("/runs?workflow=process_order").text
    counts = dict(re.findall(r"<a href=\"/runs[^>]*>(\w[\w ]*?) <span class=\"n num[^>]*>([\d,+]+)</span></a>", page))

    assert counts == {
        "All": "7", "Running": "1", "Waiting": "0", "Needs attention": "3", "Failed": "0", "Completed": "1", "Stopped": "2"
    }  # fmt: skip


@pytest.mark.parametrize(
    "query", ["state=flying", "before=yesterday", "state=failed,flying", "attr=region", "attr=a b=1", "attr=n=2..1"]
)
def test_an_address_that_makes_no_sense_is_told(web: Web, query: str) -> None:
    answer = web.get(f"/runs?{query}")

    assert answer.status == 400
    assert "makes no sense" in answer.text


def test_pages_follow_each_other_without_gaps_and_without_repeating(empty: Store) -> None:
    for number in range(1, 121):
        corpus.completed(2 * number, f"run-{number}").write(empty)
    web = Web(empty)
    seen: list[str] = []
    address: str | None = "/runs"
    pages = 0
    while address:
        page = web.get(address).text
        seen += ids(page)
        older = re.search(r'rel="next" href="([^"]*)"', page)
        address = html.unescape(older[1]) if older else None
        pages += 1

    assert seen == [f"run-{number}" for number in range(120, 0, -1)]
    assert pages == 3


def test_a_page_keeps_its_conditions_when_one_goes_on(empty: Store) -> None:
    for number in range(1, 61):
        corpus.completed(2 * number, f"run-{number}").write(empty)
    page = Web(empty).get("/runs?state=completed&id=run-").text

    (older,) = re.findall(r'rel="next" href="([^"]*)"', page)
    assert html.unescape(older) == "/runs?state=completed&id=run-&before=22"


def test_data_are_the_structs_of_the_client(web: Web) -> None:
    answer = web.get("/runs.json?state=failed")

    found = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert (found["count"], found["count_is_exact"], found["next"]) == (1, True, None)
    (run,) = found["runs"]
    assert (run["id"], run["status"], run["workflow"]) == ("etl-2026-11-22", "failed", "nightly_warehouse")


def test_data_go_on_where_a_page_ends(empty: Store) -> None:
    for number in range(1, 61):
        corpus.completed(2 * number, f"run-{number}").write(empty)
    web = Web(empty)

    first = web.get("/runs.json").json()
    second = web.get(first["next"]).json()

    assert (len(first["runs"]), len(second["runs"]), second["next"]) == (50, 10, None)
    assert first["count"] == 60


def test_numbers_are_exact_up_to_ten_thousand(empty: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from perdure.web import listing

    monkeypatch.setattr(listing, "COUNTED", 3)
    for number in range(1, 5):
        corpus.completed(2 * number, f"run-{number}").write(empty)
    web = Web(empty)

    assert "3+ in all" in web.get("/runs").text
    found = web.get("/runs.json").json()
    assert (found["count"], found["count_is_exact"]) == (3, False)


def test_an_empty_list_teaches_how_to_start_a_run(empty: Store) -> None:
    page = Web(empty).get("/runs").text

    assert "No runs yet" in page
    assert "perdure dev shop.py" in page


def test_an_empty_list_names_a_workflow_that_the_engine_knows_with_its_arguments(empty: Store) -> None:
    empty.admin.publish(
        [DefinitionRow("workflow", "process_order", b'{"names":["amount","account","note"],"required":2,"schema":{}}')]
    )
    page = Web(empty).get("/runs").text

    assert "perdure start process_order --arg amount=… --arg account=…" in html.unescape(page)
    assert 'href="/runs?workflow=process_order"' in page


def test_a_filter_that_fits_nothing_tells_how_many_runs_there_are_without_it(web: Web) -> None:
    page = web.get("/runs?state=failed&workflow=ship_order").text

    text = " ".join(re.sub(r"<[^>]*>", "", page).split())
    assert "Nothing matches this filter" in text
    assert "0 of 12 runs are failed of workflow ship_order." in text


def test_a_page_beyond_the_last_leads_back(web: Web) -> None:
    assert "No older runs" in web.get("/runs?before=1").text


def test_states_are_all_there() -> None:
    assert set(OF_STATE) | {"quarantined", "timed out", "continued as new"} >= {status.word for status in Status}


def test_many_engines_are_counted_and_named_as_far_as_there_is_room() -> None:
    shelf = Shelf(shared=True)
    for number in range(5):
        MemoryStore(shelf=shelf).admin.try_own(f"host-{number}", number, f"build-{number // 4}", 1)

    page = Web(MemoryStore(shelf=shelf)).get("/runs").text
    (part,) = re.findall(r'<div class="engine".*?</div>', page, re.DOTALL)
    text = " ".join(re.sub(r"<[^>]*>", " ", part).split())

    assert text == "5 engines host-0:0 host-1:1 host-2:2 and 2 more build build-0 ×4 build build-1 ×1"
    assert 'title="host-3:3, host-4:4"' in part
