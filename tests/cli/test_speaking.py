"""Signals, queries and updates from the command line, to runs of an engine in another process."""

import json
import sys

import pytest

from tests.cli.conftest import HERE, Place


@pytest.fixture
def talking(place: Place) -> Place:
    """An engine that has a loan and a campaign, which wait for what is said to them."""
    process = place.begin(sys.executable, str(HERE / "engine.py"), "talks")
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    place.perdure("start", "Loan", "--id", "loan-7", "--arg", "amount=100")
    place.perdure("start", "campaign", "--id", "ann", "--arg", "address=ann@example.org")
    return place


def test_a_run_is_told_asked_and_changed_and_ends_by_what_it_was_told(talking: Place) -> None:
    asked = talking.perdure("query", "loan-7", "state", "unit=USD")
    raised = talking.perdure("update", "loan-7", "raise_by", "50")
    told = talking.perdure("signal", "loan-7", "decide", "approved=true", "by=maria")
    ended = talking.perdure("result", "loan-7", "--timeout", "5m")
    afterwards = talking.perdure("query", "loan-7", "state", "--json=amount")

    assert (asked.returncode, asked.stdout) == (0, '{"amount": 100, "unit": "USD"}\n')
    assert (raised.returncode, raised.stdout, raised.stderr) == (0, "150\n", "")
    assert (told.returncode, told.stdout, told.stderr) == (0, "✓ loan-7  decide: received\n", "")
    assert ended.stdout == '"True by maria: 150"\n'
    assert afterwards.stdout == '{"amount": 150}\n'


def test_a_channel_is_told_its_value(talking: Place) -> None:
    talking.perdure("signal", "ann", "reply", "yes, please")

    assert talking.perdure("result", "ann", "--timeout", "5m").stdout == '"yes, please"\n'


def test_a_request_made_twice_is_taken_once(talking: Place) -> None:
    first, again = (talking.perdure("update", "loan-7", "raise_by", "50", "--request-id", "r-1") for _ in range(2))

    assert (first.stdout, again.stdout) == ("150\n", "150\n")
    assert json.loads(talking.perdure("query", "loan-7", "state").stdout)["amount"] == 150


def test_an_update_may_be_waited_for_until_it_is_accepted_or_for_some_time(talking: Place) -> None:
    accepted = talking.perdure("update", "loan-7", "slow", "--wait", "accepted", "--request-id", "r-1")
    too_long = talking.perdure("update", "loan-7", "slow", "--timeout", "0s", "--request-id", "r-2")

    assert (accepted.returncode, accepted.stdout) == (0, "r-1\n")
    assert accepted.stderr == "accepted; its answer:  perdure show loan-7 --messages\n"
    assert (too_long.returncode, too_long.stdout) == (124, "")
    assert "update slow is accepted and has no answer yet\n  its id: r-2\n" in too_long.stderr
    shown = talking.perdure("show", "loan-7", "--messages").stdout
    assert shown.count("no answer yet") == 2


@pytest.mark.parametrize(
    ("words", "code", "err"),
    [
        (("update", "loan-7", "raise_by", "more=-5"), 1, "is rejected by run 'loan-7': ValueError: -5 is not more\n"),
        (("update", "loan-7", "raise_by", "much"), 2, "argument more: expected int, found 'much'"),
        (("signal", "loan-7", "decid", "1"), 4, "  hint: did you mean  perdure signal loan-7 decide\n"),
        (("signal", "ann", "repl", "1"), 4, "  it hears: reply\n"),
        (("query", "loan-7", "raise_by"), 4, "  hint: perdure update loan-7 raise_by\n"),
        (("signal", "loan-7", "decide", "approved=perhaps"), 2, "expected bool, found 'perhaps'"),
    ],
)
def test_what_cannot_be_taken_is_refused_and_leaves_nothing(
    talking: Place, words: tuple[str, ...], code: int, err: str
) -> None:
    said = talking.perdure(*words)

    assert (said.returncode, said.stdout) == (code, "")
    assert err in said.stderr
    assert json.loads(talking.perdure("show", words[1], "--json=messages").stdout) == {"messages": []}


def test_a_run_that_has_ended_takes_no_more(talking: Place) -> None:
    talking.perdure("terminate", "loan-7")

    for kind, *words in (("signal", "decide", "approved=true"), ("update", "raise_by", "5")):
        said = talking.perdure(kind, "loan-7", *words)
        assert (said.returncode, said.stderr) == (1, "error: run 'loan-7' is terminated already\n")


def test_lists_and_pictures_say_that_a_run_waits_for_a_message(talking: Place) -> None:
    listed = talking.perdure("list", "--json=id,note").stdout
    shown = talking.perdure("show", "loan-7").stdout

    assert {run["note"] for run in json.loads(listed)} == {"waits for a message"}
    assert shown.endswith(
        'published  stage "waits for a decision"\nwaits for a message: decide  → perdure signal loan-7 decide\n'
    )


def test_a_signal_begins_a_run_that_hears_it_first_unless_one_is_open(talking: Place) -> None:
    words = ("signal", "ben", "reply", "hello", "--start", "campaign", "--start-arg", "address=ben@example.org")
    begun = talking.perdure(*words, "--request-id", "r")
    again = talking.perdure(*words, "--request-id", "r")
    to_the_open_one = talking.perdure("signal", "ann", "reply", "yes", "--start", "campaign", "--start-input", '["x"]')

    assert (begun.returncode, begun.stdout) == (0, "✓ ben  reply: received\n")
    assert (again.returncode, to_the_open_one.returncode) == (0, 0)
    assert talking.perdure("result", "ben", "--timeout", "5m").stdout == '"hello"\n'
    assert talking.perdure("result", "ann", "--timeout", "5m").stdout == '"yes"\n'
    assert len(json.loads(talking.perdure("list", "--json=id").stdout)) == 3


def test_an_update_begins_a_run_that_answers_it(talking: Place) -> None:
    words = ("update", "loan-8", "raise_by", "more=5", "--start", "Loan", "--start-arg", "amount=100")

    assert talking.perdure(*words).stdout == "105\n"
    assert talking.perdure(*words).stdout == "110\n"


@pytest.mark.parametrize(
    ("words", "code", "err"),
    [
        (("signal", "new", "reply", "x", "--start", "campain"), 4, "did you mean  perdure start campaign"),
        (("signal", "new", "repl", "x", "--start", "campaign", "--start-input", '["a"]'), 4, "it hears: reply"),
        (("signal", "new", "reply", "x", "--start", "campaign"), 2, "missing: address"),
        (("signal", "new", "reply", "x", "--start-arg", "address=a"), 2, "arguments of a workflow need one"),
        (
            ("signal", "loan-7", "reply", "x", "--start", "campaign", "--start-input", '["a"]'),
            1,
            "run of workflow Loan",
        ),
    ],
)
def test_a_run_that_cannot_hear_what_it_begins_with_does_not_begin(
    talking: Place, words: tuple[str, ...], code: int, err: str
) -> None:
    said = talking.perdure(*words)

    assert (said.returncode, said.stdout) == (code, "")
    assert err in said.stderr
    assert len(json.loads(talking.perdure("list", "--json=id").stdout)) == 2
