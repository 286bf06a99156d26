"""What a person is told about a run, derived from events and attempts alone."""

import json
from datetime import UTC, datetime

import msgspec
import pytest

from perdure.client.description import RunDescription, describe, history_entries, shown
from perdure.client.moments import moment
from perdure.kernel import events as ev
from perdure.stores.base import Stored
from tests.unit.cli import corpus

MEMBERS = {7: corpus.MEMBER}


def told(story: corpus.Story | Stored, blobs: dict[bytes, bytes] | None = None) -> RunDescription:
    stored = story if isinstance(story, Stored) else story.stored()
    return describe(stored, lambda ids: MEMBERS, (blobs or {}).get, corpus.NOW)


def test_a_completed_run_tells_its_input_result_and_times() -> None:
    run = told(corpus.completed())

    assert (run.status, run.workflow) == ("completed", "process_order")
    assert run.input == {"amount": 10, "account": "acct-7"}
    assert run.result == "Order successful. Txn: 7f3a"
    assert run.duration == pytest.approx(19.6)
    assert run.started_at is not None and run.started_at.tzinfo is UTC
    assert run.closed_at is not None and (run.closed_at - run.started_at).total_seconds() == pytest.approx(19.6)
    assert run.error is None and run.block is None


def test_steps_come_in_the_order_they_were_asked_for() -> None:
    run = told(corpus.completed())

    assert [(step.kind, step.name) for step in run.steps] == [
        ("activity", "validate_order"),
        ("activity", "reserve_inventory"),
        ("side effect", "side effect"),
        ("timer", "timer"),
        ("activity", "ship"),
    ]


def test_a_step_done_at_once_has_an_attempt_though_no_row_was_written() -> None:
    step = told(corpus.completed()).steps[0]

    (attempt,) = step.attempts
    assert (attempt.number, attempt.state, attempt.worker) == (1, "completed", "shop-1:4711")
    assert attempt.ended_at == step.ended_at
    assert (step.attempts_total, step.result) == (1, True)


def test_every_attempt_of_a_retried_step_is_told_with_its_error_and_logs() -> None:
    step = told(corpus.completed()).steps[1]

    assert [(a.number, a.state) for a in step.attempts] == [(1, "failed"), (2, "completed")]
    assert step.attempts[0].error is not None
    assert step.attempts[0].error.type == "shop.errors.StockServiceDown"
    assert [(record.level, record.text) for record in step.attempts[1].logs] == [
        ("INFO", "asking stock"),
        ("WARNING", "slow answer\nsecond line"),
    ]
    assert step.attempts[1].logs_dropped == 3
    assert step.error is None


def test_a_retrying_step_says_when_it_is_tried_again_and_why() -> None:
    run = told(corpus.retrying())

    step = run.steps[1]
    assert (step.state, step.attempts_total, step.max_attempts) == ("retrying", 4, 10)
    assert step.retry_at == moment(corpus.NOW + 12 * corpus.SECOND)
    assert step.error is not None and step.error.message == "no answer in 15 s"
    assert run.wake_at == step.retry_at


def test_what_undoes_a_step_is_told_apart_and_the_row_says_why_nothing_but_a_person_helps() -> None:
    run = told(corpus.undoing())

    assert [step.name for step in run.steps if step.compensation] == ["cancel_flight", "cancel_hotel"]
    assert (run.status, run.note) == ("held", "cancel_hotel held: ConnectionError: the desk is closed")
    assert run.block is not None
    assert run.block.kind == "held"
    assert run.block.hint == "put right what stops it, then: perdure retry trip-9"


def test_a_held_step_keeps_its_bug() -> None:
    step = told(corpus.held()).steps[1]

    assert step.state == "held"
    assert step.attempts[0].state == "held"
    assert step.error is not None and step.error.is_bug


def test_a_blocked_run_names_what_was_recorded_and_what_was_produced() -> None:
    run = told(corpus.blocked())

    assert run.status == "blocked"
    assert run.block is not None
    assert run.block.recorded == "activity charge_card [0:2]"
    assert run.block.produced == "activity send_email [0:2]"
    assert run.block.source == "shop/workflows/order.py:54"


def test_a_failure_keeps_its_chain_of_causes() -> None:
    run = told(corpus.failed())

    assert run.error is not None and run.error.cause is not None and run.error.cause.cause is not None
    assert run.error.cause.cause.type == "ValueError"
    assert run.steps[1].state == "failed"
    assert "payments.py" in run.error.traceback


def test_a_step_that_timed_out_says_so() -> None:
    story = corpus.Story(2, "slow-1", "slow", 60)
    step = story.schedule(0, "crawl")
    why = corpus.failure("perdure.errors.ActivityTimedOut", "no end after 5 s")
    story.fail(5, step, 1, 0, why)
    story.tell(5, ev.ActivityFailed(story.ns(5), step, why, story.ns(0), 1, 7, "timeout"))

    view = told(story).steps[0]

    assert (view.state, view.attempts[0].state) == ("timed out", "timed out")


def test_an_attempt_whose_process_died_is_lost() -> None:
    story = corpus.Story(2, "lost-1", "any", 60)
    step = story.schedule(0, "crawl")
    story.fail(5, step, 1, 0, ev.Failure("perdure.errors.AttemptLost", "gone", code="attempt-lost"), again=70)

    view = told(story).steps[0]

    assert (view.state, view.attempts[0].state) == ("retrying", "lost")


def test_an_attempt_in_flight_is_running_and_one_without_a_slot_is_scheduled() -> None:
    run = told(corpus.running())

    assert [(step.name, step.state) for step in run.steps[1:]] == [
        ("charge_card", "running"),
        ("reserve_inventory", "scheduled"),
    ]
    assert run.steps[1].attempts[0].ended_at is None
    assert run.steps[2].attempts == []


def test_a_released_step_waits_for_a_slot() -> None:
    story = corpus.held()
    story.tell(60, ev.AttemptReleased(story.ns(60), "0:2", 1))

    step = told(story).steps[1]

    assert (step.state, step.attempts[0].state) == ("scheduled", "failed")


def test_what_a_terminated_run_left_open_is_cancelled() -> None:
    run = told(corpus.terminated())

    assert (run.status, run.reason) == ("terminated", "stuck in test")
    assert [(step.kind, step.state) for step in run.steps] == [("activity", "cancelled"), ("timer", "cancelled")]
    assert all(step.ended_at == run.closed_at for step in run.steps)


def test_a_cancelled_run_tells_who_asked_and_what_cleanup_ran() -> None:
    run = told(corpus.cancelled())

    assert (run.status, run.cancel_requested, run.reason) == ("cancelled", True, "test data")
    assert [(step.name, step.state) for step in run.steps] == [("charge_card", "cancelled"), ("refund", "completed")]


def test_a_queued_run_shows_the_input_that_sleeps_in_its_mail() -> None:
    run = told(corpus.queued())

    assert (run.status, run.input, run.steps) == ("queued", ["parcel-9"], [])


def test_a_waiting_run_shows_its_timer() -> None:
    run = told(corpus.waiting())

    timer = run.steps[-1]
    assert (run.status, timer.kind, timer.state) == ("waiting", "timer", "waiting")
    assert timer.due_at == run.wake_at


def test_the_description_becomes_json_as_it_is() -> None:
    plain = msgspec.to_builtins(told(corpus.completed()))

    assert json.loads(json.dumps(plain)) == plain
    assert plain["started_at"].endswith("Z")
    assert plain["steps"][1]["attempts"][0]["error"]["type"] == "shop.errors.StockServiceDown"


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (ev.Payload(b'{"a": 1}'), {"a": 1}),
        (ev.Payload(b""), None),
        (ev.Payload(b"\xff"), {"encoding": "damaged JSON", "base64": "/w=="}),
        (ev.Payload(b"\x00\x01", "proto"), {"encoding": "proto", "base64": "AAE="}),
        (ev.Payload(b"here", ref=True), [1]),
        (ev.Payload(b"gone", ref=True), {"missing": "sha256:676f6e65"}),
    ],
)
def test_payloads_are_shown_whatever_they_hold(payload: ev.Payload, value: object) -> None:
    assert shown(payload, {b"here": b"[1]"}.get) == value


def test_history_entries_are_numbered_and_json() -> None:
    entries = history_entries(corpus.completed().stored())

    assert [entry["seq"] for entry in entries] == list(range(1, len(entries) + 1))
    assert entries[0]["type"] == "RunStarted"
    assert entries[0]["run_id"] == corpus.completed().run.run_id.hex()
    assert entries[0]["input"] == {"amount": 10, "account": "acct-7"}
    assert entries[1]["at"] == "2026-11-24T14:29:55.010000Z"
    assert json.loads(json.dumps(entries)) == entries


def test_moments_are_exact_to_the_microsecond() -> None:
    assert moment(1_795_530_690_123_456_789) == datetime(2026, 11, 24, 14, 31, 30, 123_456, UTC)


def test_a_thousand_steps_are_described_in_one_pass() -> None:
    run = told(corpus.fan_out())

    assert len(run.steps) == 1_002
    assert sum(step.state == "failed" for step in run.steps) == 1
