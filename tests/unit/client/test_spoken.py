"""What a person is told of what was said to a run, and of what it shows."""

import msgspec

from perdure.client.description import RunDescription, describe
from perdure.client.lanes import lanes
from perdure.client.moments import moment
from perdure.kernel import events as ev
from perdure.kernel.messages import Query, Signal, Update
from perdure.stores.base import MailRow
from tests.unit.cli import corpus


def told(story: corpus.Story) -> RunDescription:
    return describe(story.stored(), lambda ids: {7: corpus.MEMBER}, lambda digest: None, corpus.NOW)


def test_messages_come_in_their_order_with_what_became_of_each() -> None:
    run = told(corpus.talking())

    assert [(each.kind, each.name, each.state) for each in run.messages] == [
        ("signal", "note", "received"),
        ("signal", "note", "received"),
        ("update", "raise_by", "completed"),
        ("update", "set_limit", "failed"),
        ("signal", "note", "received"),
        ("update", "set_limit", "accepted"),
        ("signal", "decide", "in the mail"),
    ]


def test_a_message_has_its_arguments_its_sender_s_id_and_its_times() -> None:
    story = corpus.talking()
    raised = told(story).messages[2]

    assert (raised.name, raised.id, raised.input, raised.result) == ("raise_by", "7f3a0c1e2d4b5a69", [50], 150)
    assert (raised.received_at, raised.ended_at) == (moment(story.ns(60)), moment(story.ns(68)))
    assert told(story).messages[0].id == "mail-20"


def test_an_update_that_failed_tells_its_error() -> None:
    failed = told(corpus.talking()).messages[3]

    assert failed.error is not None
    assert (failed.state, failed.error.type, failed.error.message) == (
        "failed", "shop.errors.TooLow", "9 is less than 150",
    )  # fmt: skip


def test_an_update_without_an_answer_is_told_so_when_its_run_has_ended() -> None:
    story = corpus.talking()
    story.tell(290, ev.RunCompleted(story.ns(290), corpus.payload("done")))

    run = told(story)

    assert [each.state for each in run.messages if each.id == "limit-2"] == ["no answer"]
    assert "in the mail" not in {each.state for each in run.messages}


def test_of_the_mail_only_what_people_say_is_told() -> None:
    story = corpus.talking()
    story.mail = [
        MailRow(1, story.run.key, Query("state", corpus.payload([]))),
        MailRow(2, story.run.key, Update("late-1", "raise_by", corpus.payload([1]))),
        MailRow(3, story.run.key, Signal("note", corpus.payload(["x"]), "r-1")),
    ]

    waiting = [each for each in told(story).messages if each.state == "in the mail"]

    assert [(each.kind, each.name, each.id, each.input) for each in waiting] == [
        ("update", "raise_by", "late-1", [1]), ("signal", "note", "r-1", ["x"]),
    ]  # fmt: skip
    assert all(each.received_at is None for each in waiting)


def test_the_newest_of_what_is_published_under_a_name_is_told_with_its_time() -> None:
    story = corpus.talking()
    run = told(story)

    assert {name: shown.value for name, shown in run.published.items()} == {
        "stage": "waiting for a decision", "progress": 0.4,
    }  # fmt: skip
    assert run.published["stage"].at == moment(story.ns(201))


def test_the_description_has_a_json_form_with_them() -> None:
    told_as_json = msgspec.to_builtins(told(corpus.talking()))

    assert told_as_json["messages"][2]["result"] == 150
    assert told_as_json["published"]["progress"]["value"] == 0.4


def test_a_lane_is_a_name_and_says_what_is_still_to_come() -> None:
    rows = lanes(told(corpus.talking()).messages)

    assert [(lane.kind, lane.name, len(lane.messages), lane.state) for lane in rows] == [
        ("signal", "note", 3, "received"),
        ("update", "raise_by", 1, "completed"),
        ("update", "set_limit", 2, "accepted"),
        ("signal", "decide", 1, "in the mail"),
    ]


def test_answers_to_updates_that_nobody_knows_are_passed_over() -> None:
    story = corpus.Story(30, "odd", "Loan", 300)
    history = [ev.UpdateCompleted(story.ns(1), "who", corpus.payload(1))]

    from perdure.client.spoken import Spoken

    spoken = Spoken(lambda payload: None)
    for event in history:
        spoken.tell(event)

    assert spoken.messages([], None) == []
