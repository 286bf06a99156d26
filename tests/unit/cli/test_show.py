"""`perdure show`: which run is meant, and its forms."""

import json

import pytest

from perdure.stores.base import Store
from tests.unit.cli import corpus
from tests.unit.cli.conftest import Perdure
from tests.unit.cli.drawing import drawn


def test_the_picture_is_the_same_in_a_pipe_but_for_colours_and_length(perdure: Perdure) -> None:
    assert "\n" + perdure("show", "order-48390").out == drawn(corpus.completed(), width=100)


def test_texts_are_not_cut_in_a_pipe(perdure: Perdure) -> None:
    said = perdure("show", "order-47110")

    assert (
        "blocked (divergence): the code at hand goes another way than the history of this run  workflows/order.py:54\n"
        in said.out
    )


@pytest.mark.parametrize("word", ["etl-2026-11-22", "etl", "e"])
def test_a_run_is_named_by_its_id_or_a_beginning_that_only_it_has(perdure: Perdure, word) -> None:
    assert "nightly_warehouse  etl-2026-11-22" in perdure("show", word).out


def test_the_newest_run_has_a_name_of_its_own(perdure: Perdure) -> None:
    said = perdure("show", "@last")

    assert "ship_order  ship-20931" in said.out
    assert said.err == "@last is ship-20931\n"


def test_an_id_can_come_from_standard_input(perdure: Perdure) -> None:
    assert "score_all  score-77" in perdure("show", "-", stdin="score-77\n").out


def test_two_ids_on_standard_input_are_one_too_many(perdure: Perdure) -> None:
    said = perdure("show", "-", stdin="score-77\netl\n")

    assert (said.code, said.err) == (2, "error: standard input holds 2 ids, one is needed\n")


def test_a_beginning_that_several_share_lists_them(perdure: Perdure) -> None:
    assert perdure("show", "order-481") == (
        4,
        "",
        "error: 'order-481' is the beginning of several ids\n"
        "  order-48112, order-48111\n"
        "  hint: type a few more characters\n",
    )


def test_an_unknown_run_is_answered_with_the_one_that_was_probably_meant(perdure: Perdure) -> None:
    said = perdure("show", "oder-48300")

    assert said.code == 4
    assert said.err.splitlines()[0] == "error: there is no run 'oder-48300'"
    assert said.err.splitlines()[-1] == "  hint: did you mean  order-48300"


def test_events_are_numbered_and_timed_from_the_start(perdure: Perdure) -> None:
    assert perdure("show", "order-48390", "--events").out.splitlines()[1:] == [
        ' 1      +0ms  RunStarted          process_order  input={"amount": 10, "account": "acct-7"}',
        ' 2     +10ms  ActivityScheduled   0:1 validate_order  input={"order": "order-48390"}',
        " 3     +0.8s  ActivityCompleted   0:1  result=true",
        ' 4     +0.8s  ActivityScheduled   0:2 reserve_inventory  input={"item": "sku-1"}',
        ' 5     +6.4s  ActivityCompleted   0:2  result={"reservation": 17}  attempt=2',
        ' 6     +6.4s  SideEffectRecorded  0:3  value="7f3a"',
        " 7     +6.4s  TimerStarted        0:4  due_at=+16.4s",
        " 8    +16.4s  TimerFired          0:4",
        ' 9    +16.4s  ActivityScheduled   0:5 ship  input={"reservation": 17}',
        '10    +19.5s  ActivityCompleted   0:5  result="parcel-9"',
        '11    +19.6s  RunCompleted        result="Order successful. Txn: 7f3a"',
    ]


def test_a_failure_among_the_events_is_one_line(perdure: Perdure) -> None:
    last = perdure("show", "etl", "--events").out.splitlines()[-1]

    assert last.split(None, 2)[2] == "RunFailed           ActivityFailed: activity load_facts failed"


def test_logs_are_in_order_of_time_with_the_step_and_attempt_they_came_from(perdure: Perdure) -> None:
    assert perdure("show", "order-48390", "--logs").out.splitlines()[1:] == [
        "   +3.6s  INFO      reserve_inventory ×2  asking stock",
        "   +4.1s  WARNING   reserve_inventory ×2  slow answer",
        "                                          second line",
        "3 more records were not kept: the bound of an attempt is reached",
    ]


def test_a_run_that_logged_nothing_says_so(perdure: Perdure) -> None:
    assert perdure("show", "etl", "--logs").out.splitlines()[1:] == ["nothing was logged in the attempts that are kept"]


def test_json_is_the_whole_description_under_stable_names(perdure: Perdure) -> None:
    run = json.loads(perdure("show", "order-48213", "--json").out)

    assert run["status"] == "retrying"
    assert " ".join(run) == (
        "id run_id workflow status note build started_at closed_at duration wake_at events "
        "input result error block cancel_requested reason steps attempt max_attempts "
        "first_run_id previous_run_id next_run_id request_id run_timeout execution_timeout expires_at "
        "attributes memo parent root children pinned messages published"
    )
    assert " ".join(run["steps"][1]) == (
        "id kind name state scheduled_at started_at ended_at due_at retry_at input result error "
        "attempts attempts_total max_attempts compensation queue heartbeat_details task"
    )
    assert " ".join(run["steps"][1]["attempts"][0]) == (
        "number state worker started_at ended_at error logs logs_dropped"
    )
    assert " ".join(run["steps"][1]["error"]) == "type message traceback code is_bug cause leaves"


def test_json_of_steps_is_selected_through_the_list(perdure: Perdure) -> None:
    said = perdure("show", "order-48213", "--json=state,steps.name")

    assert json.loads(said.out) == {
        "state": "retrying",
        "steps": [{"name": "validate_order"}, {"name": "charge_card"}, {"name": "timer"}],
    }


def test_json_of_events_and_logs_is_a_list(perdure: Perdure) -> None:
    events = json.loads(perdure("show", "order-48390", "--events", "--json=seq,type").out)
    logs = json.loads(perdure("show", "order-48390", "--logs", "--json=step,attempt,text").out)

    assert events[0] == {"seq": 1, "type": "RunStarted"}
    assert logs[0] == {"step": "reserve_inventory", "attempt": 2, "text": "asking stock"}


def test_following_a_run_that_has_ended_gives_its_events_as_lines_of_json(perdure: Perdure) -> None:
    said = perdure("show", "etl", "--follow", "--json=seq,type")

    assert said.code == 3
    assert [json.loads(line) for line in said.out.splitlines()][-1] == {"seq": 6, "type": "RunFailed"}


def test_following_the_logs_gives_each_record_once(perdure: Perdure) -> None:
    said = perdure("show", "order-48390", "--follow", "--logs")

    assert said.code == 0
    assert [json.loads(line)["text"] for line in said.out.splitlines()] == ["asking stock", "slow answer\nsecond line"]


@pytest.mark.parametrize(("id", "state"), [("order-47110", "blocked"), ("order-48300", "held")])
def test_following_ends_where_only_a_person_can_go_on(perdure: Perdure, id, state) -> None:
    said = perdure("show", id, "--follow")

    assert said.code == 3
    assert said.err == f"{id} is {state}; it does not go on by itself:  perdure show {id}\n"


def test_all_messages_have_a_line_each(perdure: Perdure, store: Store) -> None:
    corpus.talking().write(store)

    said = perdure("show", "loan-7", "--messages")

    lines = said.out.splitlines()
    assert lines[1:3] == ['◆ note        +20.0s  "first"', '◆ note        +21.0s  "second"']
    assert len(lines) == 8
    assert json.loads(perdure("show", "loan-7", "--messages", "--json=name,state").out)[2] == {
        "name": "raise_by", "state": "completed",
    }  # fmt: skip


def test_a_run_that_was_told_nothing_says_so(perdure: Perdure) -> None:
    assert perdure("show", "order-48390", "--messages").out.endswith("\nnothing was said to it\n")


def test_messages_among_the_events_have_their_names_and_so_have_the_answers(perdure: Perdure, store: Store) -> None:
    corpus.talking().write(store)

    lines = perdure("show", "loan-7", "--events").out.splitlines()

    words = [" ".join(line.split()[1:]) for line in lines]
    assert '+20.0s SignalReceived note input=["first"] request_id="mail-20"' in words
    assert "+1m UpdateAccepted 7f3a0c1e2d4b5a69 raise_by input=[50]" in words
    assert "+1m08s UpdateCompleted 7f3a0c1e2d4b5a69 raise_by result=150" in words
    assert "+2m UpdateFailed limit-1 set_limit TooLow: 9 is less than 150" in words
    assert "+3m20s Published 0:4 progress value=0.4" in words


def test_messages_and_published_values_are_selected_as_json(perdure: Perdure, store: Store) -> None:
    corpus.talking().write(store)

    said = json.loads(perdure("show", "loan-7", "--json=messages.name,published.progress.value").out)

    assert said["published"] == {"progress": {"value": 0.4}}
    assert said["messages"][-1] == {"name": "decide"}
