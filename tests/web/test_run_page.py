"""The page of a run: what is wrong comes first, then the timeline, and beside it what was chosen."""

import html
import re
from typing import Any

import pytest

from perdure.attributes import attributes_of
from perdure.kernel import events as ev
from perdure.stores.base import Store
from tests.unit.cli import corpus
from tests.web.conftest import Web
from tests.web.test_listing import OF_STATE


def text(page: str) -> str:
    """What a reader sees, in one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def part(page: str, id: str) -> str:
    """The text of an element with an id, up to the next part of the page."""
    return text(re.split(r'id="(?:head|now|timeline|inspector)"', page.split(f'id="{id}"', 1)[1])[0])


@pytest.mark.parametrize("state, id", OF_STATE.items())
def test_a_run_in_every_state_has_a_page_that_says_so(web: Web, state: str, id: str) -> None:
    answer = web.get(f"/runs/{id}")

    assert answer.status == 200
    assert state.capitalize() in part(answer.text, "head")


def test_the_head_has_the_facts_of_the_run(web: Web) -> None:
    head = part(web.get("/runs/order-48390").text, "head")

    assert "Completed process_order order-48390" in head
    assert "Took 19.6s" in head
    assert "History 11 events" in head
    assert "Build 9c1e2d4" in head


def test_a_failed_run_shows_its_error_with_the_causes_and_the_traceback(web: Web) -> None:
    now = part(web.get("/runs/etl-2026-11-22").text, "now")

    assert "ActivityFailed shop/gateway.py:31 activity load_facts failed" in now
    assert "First failing step: load_facts" in now
    assert "caused by RecordTooLarge : record 8,112 has 70,000 bytes" in now
    assert "caused by ValueError : column 17 has 70,112 characters" in now
    assert 'File "/srv/shop/payments.py", line 88 , in charge_card' in now


def test_a_blocked_run_shows_what_history_and_code_say_and_what_to_do(web: Web) -> None:
    now = part(web.get("/runs/order-47110").text, "now")

    assert "Blocked · divergence workflows/order.py:54" in now
    assert "history says activity charge_card [0:2]" in now
    assert "the code says activity send_email [0:2]" in now
    assert "guard the change with" in now
    assert "perdure retry order-47110" in now


def test_a_retrying_run_counts_down_to_its_next_attempt_and_tells_the_last_error(web: Web) -> None:
    now = part(web.get("/runs/order-48213").text, "now")

    assert "Retrying · next in 12s charge_card attempt 4 of 10 failed · CardGatewayTimeout: no answer in 15 s" in now
    assert "Timer · in 44m timer of 6h · fires Nov 24 15:15:30" in now


def test_a_held_run_says_what_holds_it(web: Web) -> None:
    now = part(web.get("/runs/order-48300").text, "now")

    assert "Held by a bug charge_card TypeError: charge() got an unexpected argument 'x'" in now
    assert "perdure retry order-48300" in now


def test_a_run_that_works_says_on_what(web: Web) -> None:
    now = part(web.get("/runs/order-48391").text, "now")

    assert "Running · 4.3s charge_card" in now
    assert "Waits for a slot · 4.3s reserve_inventory" in now


def test_without_an_engine_that_comes_first(empty: Store) -> None:
    corpus.waiting().write(empty)
    empty.admin.close()

    from perdure.stores.open import open_store

    reader = open_store(empty.address)
    page = Web(reader).get("/runs/onboard-acme-77").text
    reader.admin.close()

    assert "No engine No engine holds this database" in part(page, "now")


def test_a_run_that_has_ended_waits_for_nothing(web: Web) -> None:
    page = web.get("/runs/order-48390").text

    assert re.search(r'<section class="now" id="now"[^>]* hidden>', page)


def test_values_of_the_run_stand_beside_it(web: Web) -> None:
    values = part(web.get("/runs/order-48390").text, "inspector")

    assert "Input" in values
    assert '"account" : "acct-7"' in values
    assert 'Result "Order successful. Txn: 7f3a"' in values


def test_the_timeline_has_a_row_for_each_step_with_what_it_took(web: Web) -> None:
    timeline = part(web.get("/runs/order-48390").text, "timeline")

    assert "reserve_inventory ×2 activity, completed, 2 attempts, 5.6s 5.6s 2nd try" in timeline
    assert "timer 10s timer, completed, 10.0s" in timeline
    assert "5 steps in 4 rows" in timeline


def test_side_effects_are_shown_when_they_are_asked_for(web: Web) -> None:
    without = part(web.get("/runs/order-48390").text, "timeline")
    with_them = part(web.get("/runs/order-48390?details=1").text, "timeline")

    assert "Show side effects and patches (1)" in without
    assert "side effect side effect, completed" in with_them


def test_a_chosen_step_shows_its_attempts_values_and_logs(web: Web) -> None:
    step = part(web.get("/runs/order-48390?step=0:2").text, "inspector")

    assert "reserve_inventory Activity · completed" in step
    assert "2 completed 2.9s 1 StockServiceDown: 503 from stock 1.7s" in step
    assert '"item" : "sku-1"' in step
    assert '"reservation" : 17' in step
    assert "INFO asking stock" in step
    assert "WARNING slow answer second line" in step
    assert "3 more records were not kept" in step


def test_a_chosen_attempt_shows_its_own_error_and_worker(empty: Store) -> None:
    corpus.completed().write(empty)
    step = part(Web(empty).get("/runs/order-48390?step=0:2&attempt=1").text, "inspector")

    assert "Error StockServiceDown : 503 from stock Traceback of StockServiceDown" in step
    assert "Attempt 1" in step
    assert "Worker member 7" in step


def test_a_step_that_is_not_there_is_told(web: Web) -> None:
    assert "This run has no step 0:99" in part(web.get("/runs/order-48390?step=0:99").text, "inspector")


def test_many_calls_side_by_side_are_one_row_until_it_is_opened(web: Web) -> None:
    closed = part(web.get("/runs/score-77").text, "timeline")
    opened = part(web.get("/runs/score-77?crowd=0:2").text, "timeline")

    assert "score_line_items 1,000 1 failed 1,000 calls, completed" in closed
    assert "one cell per call" not in closed
    assert "1,000 calls · one cell per call" in opened
    assert "Completed 999 1.9s 3.3s Failed 1 2.7s 2.7s" in opened
    assert "Failures first [840] ValueError: line 400 has no price" in opened


def test_calls_of_a_crowd_are_paged_with_what_failed_first(web: Web) -> None:
    first = part(web.get("/runs/score-77?crowd=0:2").text, "timeline")
    second = part(web.get("/runs/score-77?crowd=0:2&calls=25").text, "timeline")

    assert "1 to 25 of 1,000 failed [840] ValueError" in first.replace("[840] failed", "failed [840]")
    assert "26 to 50 of 1,000" in second


def test_a_call_of_a_crowd_is_found_by_its_number(web: Web) -> None:
    step = part(web.get("/runs/score-77?crowd=0:2&call=840").text, "inspector")

    assert "score_line_items Activity · failed" in step
    assert "ValueError : line 400 has no price" in step


def test_a_loop_is_one_row_for_each_kind_of_step(web: Web) -> None:
    timeline = part(web.get("/runs/poll-3").text, "timeline")

    assert "120 steps in 2 rows" in timeline
    assert "fetch_mail ×60" in timeline


def test_of_many_rows_the_first_the_last_and_the_loud_ones_are_shown(empty: Store) -> None:
    many_rows().write(empty)
    timeline = part(Web(empty).get("/runs/busy").text, "timeline")

    assert "step_0 " in timeline
    assert "step_299 " in timeline
    assert "step_150 ×1 activity, failed" in timeline.replace("step_150 activity", "step_150 ×1 activity")
    assert "step_30 " not in timeline
    assert "130 more rows" in timeline


def test_rows_that_were_left_out_can_be_paged_to(empty: Store) -> None:
    many_rows().write(empty)
    page = Web(empty).get("/runs/busy?from=20").text
    timeline = part(page, "timeline")

    assert "20 more rows" in timeline
    assert "step_20 " in timeline
    assert "step_119 " in timeline
    assert "step_120 " not in timeline
    assert "180 more rows" in timeline


def many_rows() -> corpus.Story:
    """300 steps of different names, one of which has failed."""
    story = corpus.Story(200, "busy", "busy", 400)
    for number in range(300):
        if number == 150:
            step = story.schedule(number, "step_150")
            why = corpus.failure("ValueError", "no")
            story.tell(number, ev.ActivityFailed(story.ns(number + 0.5), step, why, story.ns(number), 1, 7))
        else:
            story.activity(number, 0.5, f"step_{number}")
    story.tell(301, ev.RunCompleted(story.ns(301), corpus.payload(None)))
    return story


@pytest.mark.parametrize("query", ["attempt=x", "from=-1", "calls=1.5", "call=99999999999999"])
def test_a_number_that_is_none_is_told(web: Web, query: str) -> None:
    assert web.get(f"/runs/order-48390?{query}").status == 400


def test_an_unknown_run_is_not_found_and_near_ones_are_named(web: Web) -> None:
    answer = web.get("/runs/order-4839")

    assert answer.status == 404
    assert "There is no such run" in answer.text
    assert 'href="/runs/order-48390"' in answer.text
    assert 'href="/runs?id=order-4839"' in answer.text


def test_an_unknown_run_of_an_empty_database_is_told_that_it_is_empty(empty: Store) -> None:
    assert "The database holds no runs yet" in Web(empty).get("/runs/order-1").text


def test_an_unknown_page_is_not_found(web: Web) -> None:
    answer = web.get("/dashboards")

    assert answer.status == 404
    assert "There is nothing here" in answer.text


def test_data_of_a_run_are_its_description(web: Web) -> None:
    run = web.get("/runs/order-48390.json").json()

    assert (run["id"], run["status"], run["events"]) == ("order-48390", "completed", 11)
    assert run["steps"][1]["attempts"][0]["error"]["type"] == "shop.errors.StockServiceDown"


def test_data_of_a_step_are_that_step(web: Web) -> None:
    step = web.get("/runs/order-48390.json?step=0:2").json()

    assert (step["name"], step["result"]) == ("reserve_inventory", {"reservation": 17})
    assert web.get("/runs/order-48390.json?step=0:99").status == 404


def test_data_of_an_unknown_run_are_an_error(web: Web) -> None:
    answer = web.get("/runs/nobody.json")

    assert answer.status == 404
    assert answer.json()["error"]["status"] == 404


def test_a_certain_run_of_an_id_has_an_address_of_its_own(web: Web) -> None:
    run_id = web.get("/runs/order-48390.json").json()["run_id"]

    assert web.get(f"/runs/order-48390/{run_id}").status == 200
    assert web.get(f"/runs/order-48390/{run_id}.json").json()["run_id"] == run_id
    assert web.get(f"/runs/order-48390/{'0' * 32}").status == 404


def test_an_earlier_run_of_an_id_says_that_there_is_a_newer_one(empty: Store) -> None:
    import msgspec

    from perdure.stores.base import Batch

    corpus.completed(2, "order-1").write(empty)
    second = corpus.retrying(4, "order-1")
    second.run.run_id = b"\2" * 16
    row = msgspec.structs.replace(second.row(), run_id=b"\2" * 16)
    empty.journal.commit(Batch(followed=[(2, 4)], created=[row], history=second.history))
    web = Web(empty)
    first = web.get("/runs.json?state=completed").json()["runs"][0]

    newest = web.get("/runs/order-1").text
    earlier = web.get(f"/runs/order-1/{first['run_id']}").text

    assert "Runs of this id" in newest
    assert "there is a newer run of this id" not in newest
    assert "there is a newer run of this id" in earlier
    assert f"/runs/order-1/{first['run_id']}/events" in earlier


def test_a_large_value_is_read_only_when_it_is_looked_at(empty: Store) -> None:
    import hashlib

    from perdure.stores.base import Batch, BlobRow

    data = b'"' + b"x" * 100_000 + b'"'
    digest = hashlib.sha256(data).digest()
    story = corpus.Story(2, "large", "large", 10)
    step = story.schedule(1, "load")
    story.tell(2, ev.ActivityCompleted(story.ns(2), step, ev.Payload(digest, ref=True), story.ns(1), 1, 7))
    story.write(empty)
    empty.journal.commit(Batch(blobs=[BlobRow(2, digest, data)]))
    web = Web(empty)

    page, step_page = web.get("/runs/large").text, web.get("/runs/large?step=0:1").text
    events = web.get("/runs/large/events").text

    assert "xxxx" not in page
    assert "xxxx" in step_page
    assert "99,400 more characters" in step_page
    assert f"sha256:{digest.hex()}" in events
    assert web.get("/runs/large.json").json()["steps"][0]["result"] == "x" * 100_000


def test_a_damaged_history_is_told_on_a_page_and_not_by_a_traceback(empty: Store) -> None:
    story = corpus.completed()
    story.history[0].events = b"\x91\xc1"
    story.write(empty)
    web = Web(empty)

    page, listed = web.get("/runs/order-48390"), web.get("/runs")

    assert page.status == 500
    assert "What the database holds is damaged" in page.text
    assert "perdure doctor" in page.text
    assert listed.status == 200


def test_a_database_that_does_not_answer_is_told(empty: Store) -> None:
    web = Web(empty)
    empty.admin.close()

    answer = web.get("/runs")

    assert answer.status == 503
    assert "The database does not answer" in answer.text


def test_a_run_that_took_too_long_says_which_limit_has_run_out(empty: Store) -> None:
    story = corpus.Story(2, "slow-1", "slow", 60)
    story.tell(50, ev.RunTimedOut(story.ns(50), "run", 50 * corpus.SECOND))
    story.write(empty)
    web = Web(empty)

    page = web.get("/runs/slow-1").text

    assert "Timed out slow slow-1" in part(page, "head")
    assert "Timed out it has taken longer than its run_timeout of 50 s" in part(page, "now")
    assert "slow-1" in web.get("/runs?state=timed out").text


def queued_for_gpu(store: Store) -> None:
    """A run with a step that waits in a queue."""
    story = corpus.Story(2, "resize-1", "resize_all", 60)
    terms = ev.Terms(queue="gpu")
    story.tell(1, ev.ActivityScheduled(story.ns(1), story.id(), "resize", corpus.payload(None), terms=terms))
    story.write(store)


def test_a_step_in_a_queue_that_nobody_serves_says_so_and_what_to_start(empty: Store) -> None:
    queued_for_gpu(empty)

    page = Web(empty).get("/runs/resize-1").text

    assert "No worker · 59.0s resize of queue gpu knows this activity" in part(page, "now")
    assert "perdure worker MODULE --queue gpu" in part(page, "now")
    assert "on queue gpu" in part(page, "timeline")


def test_a_step_in_a_queue_waits_for_its_workers(empty: Store) -> None:
    queued_for_gpu(empty)
    empty.tasks.join("gpu-1", 17, "9c1e2d4", corpus.NOW, ["gpu"], ["resize"])

    page = Web(empty).get("/runs/resize-1").text

    assert "In a queue · 59.0s resize gpu: its workers have other things to do first" in part(page, "now")
    assert "1 worker of gpu" in text(page)


class Reversed:
    """A codec that anybody can read in a mirror."""

    name = "reversed"

    def encode(self, data: bytes) -> bytes:
        return data[::-1]

    def decode(self, data: bytes) -> bytes:
        return data[::-1]


def test_values_that_a_codec_has_written_are_shown_through_it(empty: Store) -> None:
    story = corpus.Story(2, "secret", "secret", 60)
    story.tell(9, ev.RunCompleted(story.ns(9), ev.Payload(b'"nepo"'[::-1].replace(b"nepo", b"open"), "reversed")))
    story.write(empty)

    without = part(Web(empty).get("/runs/secret").text, "inspector")
    with_it = part(Web(empty, codec=Reversed()).get("/runs/secret").text, "inspector")

    assert '"base64"' in without
    assert 'Result "nepo"' in with_it


def test_attributes_and_the_memo_stand_beside_the_timeline(empty: Store) -> None:
    noted: dict[str, Any] = {"attributes": {"region": "eu", "tags": ["red", "blue"]}, "memo": {"customer": "Ada"}}
    story = corpus.Story(2, "noted", "order", 60, **noted)
    story.tell(1, ev.AttributesSet(story.ns(1), "0:1", attributes_of({"amount": 7}, "a test")))
    story.tell(2, ev.MemoSet(story.ns(2), "0:2", corpus.payload({"note": "a present"})))
    story.write(empty)
    corpus.completed(4, "plain").write(empty)
    web = Web(empty)

    page = web.get("/runs/noted").text
    values = part(page, "inspector")
    assert 'Attributes region eu tags ["red", "blue"] amount 7' in values
    assert re.search(r'Memo \{ ?"customer" ?: "Ada" ?, "note" ?: "a present" ?\}', values)
    assert 'href="/runs?attr=region%3Deu"' in page
    assert "Attributes" not in part(web.get("/runs/plain").text, "inspector")
    assert "Memo" not in part(web.get("/runs/plain").text, "inspector")
    assert web.get("/runs/noted.json").json()["memo"] == {"customer": "Ada", "note": "a present"}


def test_a_run_that_is_tried_again_says_which_attempt_it_is(empty: Store) -> None:
    from perdure.kernel.policy import RetryPolicy
    from perdure.kernel.terms import RunTerms

    story = corpus.Story(2, "again-1", "again", 60)
    story.history.clear()
    story.run.seq = 0
    terms = RunTerms(request_id="req-7", run_timeout_ns=90 * corpus.SECOND, retry=RetryPolicy(max_attempts=3))
    story.tell(0, ev.RunStarted(story.begin, "again", corpus.payload(None), b"\1" * 16, "9c1e2d4", terms))
    story.write(empty)

    head = part(Web(empty).get("/runs/again-1").text, "head")

    assert "Attempt 1 of 3" in head
    assert "Time limit 1m30s" in head
    assert "Request req-7" in head


def test_a_step_that_tells_how_far_it_has_come_is_quoted(empty: Store) -> None:
    story = corpus.Story(2, "render-1", "render_all", 60)
    step = story.schedule(1, "render")
    story.tell(5, ev.AttemptBeat(story.ns(5), step, 1, 7, corpus.payload({"done": 3, "of": 10})))
    story.write(empty)
    web = Web(empty)

    now = part(web.get("/runs/render-1").text, "now")
    step_page = part(web.get("/runs/render-1?step=0:1").text, "inspector")

    assert 'render on member 7 · says {"done": 3, "of": 10}' in now
    assert 'Heartbeat { "done" : 3 , "of" : 10 }' in step_page
