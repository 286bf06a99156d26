"""What changes while a page is looked at: only parts that differ from what was seen are sent."""

import re
from html import unescape

from perdure.kernel import events as ev
from perdure.stores.base import Batch, Store
from tests.unit.cli import corpus
from tests.web.conftest import Web


def live(page: str) -> str:
    return unescape(re.search(r'data-live="([^"]*)"', page)[1])  # type: ignore[index]


def seen(page: str) -> str:
    tags = re.findall(r"<[^>]*data-part[^>]*>", page)
    pairs = [(re.search(r' id="([^"]*)"', tag)[1], re.search(r'data-v="([^"]*)"', tag)[1]) for tag in tags]  # type: ignore[index]
    return "&seen=" + ",".join(f"{id}:{version}" for id, version in pairs)


def again(web: Web, page: str) -> dict[str, object]:
    """What the script of a page is told."""
    return web.get(live(page) + seen(page)).json()


def test_of_a_list_in_which_nothing_happened_nothing_is_sent(web: Web) -> None:
    page = web.get("/runs").text

    assert again(web, page) == {"parts": {}, "fresh": 0, "again_ms": 2_000}


def test_of_a_run_to_which_nothing_happened_nothing_is_sent(web: Web) -> None:
    page = web.get("/runs/order-48213").text

    assert again(web, page) == {"parts": {}, "fresh": 0, "again_ms": 1_000}


def test_a_run_that_moved_is_sent_and_the_others_are_not(empty: Store) -> None:
    story = corpus.waiting(14)
    story.write(empty)
    corpus.retrying(4).write(empty)
    web = Web(empty)
    page = web.get("/runs").text
    story.tell(0, ev.RunTerminated(story.ns(1), "enough"))
    empty.journal.commit(Batch(updated=[story.row()], history=[story.history[-1]]))

    found = web.get(live(page) + seen(page)).json()

    assert list(found["parts"]) == ["run-14"]
    assert "Terminated" in found["parts"]["run-14"]


def test_new_runs_are_counted_and_do_not_push_the_others(empty: Store) -> None:
    corpus.retrying(4).write(empty)
    web = Web(empty)
    page = web.get("/runs").text
    corpus.completed(6).write(empty)
    corpus.waiting(8).write(empty)

    found = web.get(live(page) + seen(page)).json()

    assert (found["fresh"], list(found["parts"])) == (2, [])


def test_only_new_runs_that_meet_the_conditions_are_counted(empty: Store) -> None:
    corpus.retrying(4).write(empty)
    web = Web(empty)
    page = web.get("/runs?state=retrying").text
    corpus.completed(6).write(empty)

    assert again(web, page)["fresh"] == 0


def test_numbers_of_the_tabs_are_sent_when_they_are_asked_for(empty: Store) -> None:
    corpus.retrying(4).write(empty)
    web = Web(empty)
    page = web.get("/runs").text
    corpus.completed(6).write(empty)

    found = web.get(live(page) + "&counts=1" + seen(page)).json()

    assert list(found["parts"]) == ["tabs"]


def test_all_parts_of_a_run_change_together(empty: Store) -> None:
    story = corpus.waiting(14)
    story.write(empty)
    web = Web(empty)
    page = web.get("/runs/onboard-acme-77").text
    story.tell(0, ev.RunTerminated(story.ns(1), "enough"))
    empty.journal.commit(Batch(updated=[story.row()], history=[story.history[-1]]))

    found = web.get(live(page) + seen(page)).json()

    assert set(found["parts"]) == {"head", "now", "timeline", "inspector"}
    assert found["again_ms"] == 0, "it has ended: there is nothing more to ask for"


def test_an_attempt_that_changes_changes_its_run(empty: Store) -> None:
    story = corpus.retrying(4)
    story.write(empty)
    web = Web(empty)
    page = web.get("/runs/order-48213").text
    attempt = next(iter(story.attempts.values()))
    attempt.ended_at = story.ns(17)
    empty.journal.commit(Batch(attempts=[attempt]))

    assert set(again(web, page)["parts"]) == {"head", "now", "timeline", "inspector"}  # type: ignore[call-overload]


def test_an_engine_that_lets_go_is_told_on_every_page(empty: Store) -> None:
    from perdure.stores.open import open_store

    corpus.waiting(14).write(empty)
    page, listed = Web(empty).get("/runs/onboard-acme-77").text, Web(empty).get("/runs").text
    empty.admin.close()
    reader = open_store(empty.address)
    web = Web(reader)

    of_run, of_list = web.get(live(page) + seen(page)).json(), web.get(live(listed) + seen(listed)).json()
    reader.admin.close()

    assert "No engine" in of_run["parts"]["engine"]
    assert "No engine" in of_list["parts"]["engine"]


def test_a_run_that_has_ended_is_not_asked_for_again(web: Web) -> None:
    page = web.get("/runs/order-48390").text

    assert 'data-again="0"' in page


def test_what_was_chosen_is_kept(web: Web) -> None:
    page = web.get("/runs/order-48213?step=0:2").text

    found = web.get(live(page) + "&seen=").json()

    assert "charge_card" in found["parts"]["inspector"]


def test_of_a_run_that_is_gone_an_error_is_told(web: Web) -> None:
    assert web.get("/live?run=nobody&seen=").status == 404
