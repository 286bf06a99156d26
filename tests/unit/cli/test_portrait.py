"""A run as a picture: what a person should read, character by character, without colours."""

import msgspec
import pytest

from perdure.cli.lines import line_width
from perdure.cli.portrait import View, block_facts, error_lines, portrait, source_of
from perdure.cli.tokens import STATES, TOKENS
from perdure.client.description import BlockView, ErrorView
from perdure.client.family import RunLink
from perdure.kernel import events as ev
from tests.unit.cli import corpus
from tests.unit.cli.conftest import corpus_time
from tests.unit.cli.drawing import drawn, text, told

WHOLE_CORPUS = [tell() for tell in (*corpus.STORIES, corpus.queued)]


def test_a_completed_run_shows_its_steps_on_one_axis_and_its_result() -> None:
    assert (
        drawn(corpus.completed())
        == """
✓ completed  process_order  order-48390   19.6s · build 9c1e2d4 · 11 events
input {"amount": 10, "account": "acct-7"}
                                 0s                                                  19.6s
✓ validate_order           0.8s  ██
✓ reserve_inventory ×2     5.6s    xxxxx╌╌╌█████████
✓ timer 10.0s             10.0s                    ░░░░░░░░░░░░░░░░░░░░░░░░░░░░░○
✓ ship                     3.1s                                                 ██████████
result "Order successful. Txn: 7f3a"
"""
    )


def test_attempts_are_blocks_joined_by_their_back_off_and_the_idle_hours_are_folded() -> None:
    assert (
        drawn(corpus.retrying())
        == """
↻ retrying  process_order  order-48213   5h16m · build 9c1e2d4 · 5 events
input {"amount": 42, "account": "acct-9"}
                             0s                                  ⋯5h12m⋯ 5h16m
✓ validate_order       0.8s  █                                              ╎
↻ charge_card 4/10    5h16m  xxx╌╌╌╌╌╌╌╌╌╌╌xxx╌╌╌╌╌╌╌╌╌╌╌xxxx╌╌╌╌╌╌╌╌╌╌╌xxx╌╌│ next in 12s
◔ timer 6h            5h16m  ░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░│ 44m left
CardGatewayTimeout: no answer in 15 s  shop/gateway.py:31 · charge_card, 4 attempts
"""
    )


def test_a_held_attempt_says_which_bug_and_the_command_that_goes_on() -> None:
    assert drawn(corpus.held()).endswith(
        """
TypeError: charge() got an unexpected argument 'x'  shop/gateway.py:31 · charge_card, 1
    attempt
the attempt waits for mended code  → perdure retry order-48300
"""
    )


def test_what_undoes_a_step_has_a_sign_and_one_that_is_held_says_what_to_do() -> None:
    assert (
        drawn(corpus.undoing())
        == """
⚑ held  book_trip  trip-9   1m · build 9c1e2d4 · 9 events
                            0s                                         ⋯31.0s⋯ 1m
◔ timer 1h              1m  ░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░│ 59m left
✓ book_hotel          2.0s  ███                                                ╎
✓ book_flight         3.0s     ██████                                          ╎
✓ ↶ cancel_flight     2.0s            ████                                     ╎
⚑ ↶ cancel_hotel     51.0s                 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx╌╌│ held
held: compensation cancel_hotel failed after 1 attempt: ConnectionError: the desk is
    closed
  ConnectionError: the desk is closed  shop/gateway.py:31
  → put right what stops it, then: perdure retry trip-9
"""
    )
    assert "\n? < cancel_hotel     51.0s" in drawn(corpus.undoing(), ascii=True)


def test_a_blocked_run_shows_what_history_and_code_say_and_the_way_out() -> None:
    assert drawn(corpus.blocked(), width=100).endswith(
        """
blocked (divergence): the code at hand goes another way than the history of this run
    workflows/order.py:54
  history:  activity charge_card [0:2]    code:  activity send_email [0:2]
  → guard the change with  if workflow.patched("send-before-charge"):  and start the mended code
"""
    )


def test_a_failed_run_shows_the_chain_of_causes_with_the_lines_they_were_raised_at() -> None:
    assert drawn(corpus.failed()).endswith(
        """
ActivityFailed: activity load_facts failed  shop/gateway.py:31
  caused by RecordTooLarge: record 8,112 has 70,000 bytes, the limit is 65,536
    shop/gateway.py:31
  caused by ValueError: column 17 has 70,112 characters  shop/gateway.py:31
"""
    )


def test_a_thousand_parallel_steps_are_one_row_with_an_area_and_their_failures() -> None:
    assert (
        drawn(corpus.fan_out())
        == """
✓ completed  score_all  score-77   33.0s · build 9c1e2d4 · 2,006 events
input {"lines": 1000}
                                               0s                                    33.0s
✓ load_lines                             0.5s  █
✓ score_line_items ×1,000 · 1 failed    25.1s   ▂▅▇▇█▇▇█▇▆▆▆▇▇▇▇▆▆▇▇▇▇▇▇█▇▇▇▇▅▃▂▁ p95 3.3s
✓ store_scores                           2.0s                                      ███
ValueError: line 400 has no price  shop/gateway.py:31 · score_line_items, 1 attempt
result {"scored": 999}
"""
    )


def test_a_fan_out_under_way_says_how_many_are_open() -> None:
    assert "▶ score_line_items ×1,000 · 20 open" in drawn(corpus.fan_out(open=True))


def test_a_long_loop_is_one_row_of_each_kind() -> None:
    rows = drawn(corpus.loop()).splitlines()

    assert [row[:34] for row in rows[3:5]] == [
        "✓ fetch_mail ×60 in sequence      ",
        "◔ timer ×60 in sequence · 1 open  ",
    ]


def test_gaps_between_the_steps_of_a_long_wait_are_folded_and_the_next_timer_counted_down() -> None:
    assert (
        drawn(corpus.waiting())
        == """
◔ waiting  customer_onboarding  onboard-acme-77   4d · build 9c1e2d4 · 8 events
input {"customer": "acme"}
                           0s          ⋯2d⋯                                ⋯2d⋯ 4d
✓ create_account     1.3s  ████████████ ╎                                       ╎
✓ timer 2d             2d              ░░░○                                     ╎
✓ send_reminder      4.0s               ╎ █████████████████████████████████████ ╎
◔ timer 5d             2d               ╎                                      ░░│ 3d left
"""
    )


def test_a_cancelled_run_gives_the_reason() -> None:
    assert drawn(corpus.cancelled()).endswith("\ncancelled: test data\n")


def test_a_step_without_a_slot_says_so() -> None:
    assert drawn(corpus.running()).endswith("│ no slot yet\n")


def test_a_queued_run_has_its_input_and_no_axis() -> None:
    assert (
        drawn(corpus.queued())
        == """
◌ queued  ship_order  ship-20931   3m40s · 0 events
input ["parcel-9"]
"""
    )


@pytest.mark.parametrize("tell", [corpus.retrying, corpus.queued, corpus.running, corpus.held])
def test_an_open_run_without_an_engine_says_that_it_sleeps(tell) -> None:
    assert "no engine holds this database: the run sleeps until one starts  → start your program" in drawn(
        tell(), owned=False
    )


@pytest.mark.parametrize("tell", [corpus.completed, corpus.terminated, corpus.blocked])
def test_a_run_that_no_engine_would_move_does_not_ask_for_one(tell) -> None:
    assert "no engine" not in drawn(tell(), owned=False)


@pytest.mark.parametrize("width", [24, 40, 60, 100, 200])
def test_nothing_is_wider_than_the_terminal(width) -> None:
    for story in WHOLE_CORPUS:
        run = told(story)
        for line in portrait(run, View(width, corpus_time(), owned=False)):
            assert line_width(line) <= width, (run.id, text([line]))


def test_a_narrow_terminal_wraps_what_to_do_and_leaves_out_lesser_facts() -> None:
    assert (
        drawn(corpus.blocked(), width=50)
        == """
⚑ blocked  process_order  order-47110   2h
input {"amount": 3}
                           0s              ⋯2h⋯ 2h
✓ validate_order     0.8s  █████                ╎
✓ charge_card        2.0s        ██████████████ ╎
blocked (divergence): the code at hand goes
    another way than the history of this run
    workflows/order.py:54
  history:  activity charge_card [0:2]    code:
    activity send_email [0:2]
  → guard the change with  if
    workflow.patched("send-before-charge"):  and
    start the mended code
"""
    )


def test_of_a_blocked_run_it_is_told_which_attempts_have_not_ended() -> None:
    story = corpus.blocked()
    story.schedule(3.5, "ship_it")

    told = drawn(story, width=200)

    assert "  not ended:  attempt 1 of ship_it [0:3], in " in told
    assert ": other code gets the run after that" in told
    assert "not ended" not in drawn(corpus.blocked(), width=200)


def test_ascii_has_a_sign_for_everything_and_failed_attempts_differ_from_others() -> None:
    assert (
        drawn(corpus.retrying(), width=80, ascii=True)
        == """
! retrying  process_order  order-48213   5h16m - build 9c1e2d4 - 5 events
input {"amount": 42, "account": "acct-9"}
                             0s                        ~5h12m~ 5h16m
* validate_order       0.8s  #                                    :
! charge_card 4/10    5h16m  xx---------xxx--------xxx--------xxx--| next in 12s
~ timer 6h            5h16m  ......................................| 44m left
CardGatewayTimeout: no answer in 15 s  shop/gateway.py:31 - charge_card, 4
    attempts
"""
    )


def test_ascii_is_ascii_for_the_whole_corpus() -> None:
    for story in WHOLE_CORPUS:
        assert drawn(story, ascii=True, owned=False).isascii()


def test_a_low_screen_keeps_what_is_open_or_went_wrong_and_says_what_it_left_out() -> None:
    story = corpus.Story(30, "long-1", "long", 500)
    for number in range(8):
        story.activity(number * 10, 5, f"step_{number}")
    story.schedule(80, "last")

    rows = drawn(story, height=10).splitlines()

    assert len(rows) <= 11
    assert any(row.startswith("▶ last") for row in rows)
    assert rows[-1] == "  … 3 more completed rows: --all shows them"


def test_all_shows_every_row() -> None:
    story = corpus.Story(30, "long-1", "long", 5_000)
    for number in range(80):
        story.activity(number * 10, 5, f"step_{number}")

    assert "more completed rows" in drawn(story)
    assert "step_40" in drawn(story, all=True)


def test_side_effects_are_rows_only_with_details() -> None:
    assert "side effect" not in drawn(corpus.completed())
    assert "✓ side effect" in drawn(corpus.completed(), details=True)


def test_the_same_error_of_many_steps_is_told_once() -> None:
    story = corpus.Story(30, "many-1", "many", 20)
    steps = [story.schedule(0.1, "call") for _ in range(12)]
    for step in steps:
        story.fail(1, step, 1, 0.1, corpus.failure("OSError", "no route to host"), again=30)

    picture = drawn(story)

    assert picture.count("OSError: no route to host") == 1
    assert "OSError: no route to host  shop/gateway.py:31 · 12 steps call\n" in picture
    assert "↻ call ×12 · 12 retrying" in picture


def test_an_error_does_not_repeat_its_cause() -> None:
    cause = ErrorView("shop.Declined", "no money")
    error = ErrorView("perdure.errors.ActivityFailed", "activity charge failed after 2 attempts: Declined: no money",
                      cause=cause)  # fmt: skip

    assert text(error_lines(error)).splitlines()[1:] == [
        "ActivityFailed: activity charge failed after 2 attempts",
        "  caused by Declined: no money",
    ]


def test_exceptions_of_a_group_stand_below_it() -> None:
    group = ErrorView("ExceptionGroup", "2 failed", leaves=[ErrorView("ValueError", "a"), ErrorView("OSError", "b")])

    assert text(error_lines(group)).splitlines()[1:] == [
        "ExceptionGroup: 2 failed",
        "  | ValueError: a",
        "  | OSError: b",
    ]


def test_the_place_of_an_error_is_the_users_own_line_not_that_of_a_library() -> None:
    trace = (
        '  File "/srv/app/shop/pay.py", line 12, in charge\n'
        '  File "/usr/lib/python3.12/json/decoder.py", line 355, in raw_decode\n'
        '  File "/venv/lib/python3.12/site-packages/httpx/_client.py", line 9, in send\n'
    )

    assert source_of(ErrorView("ValueError", "", trace)) == "shop/pay.py:12"


def test_an_error_raised_in_libraries_only_has_their_innermost_line() -> None:
    trace = '  File "/usr/lib/python3.12/json/decoder.py", line 355, in raw_decode\n'

    assert source_of(ErrorView("ValueError", "", trace)) == "json/decoder.py:355"


def test_a_block_by_a_bug_tells_the_bug_once() -> None:
    failure = ErrorView("NameError", "name 'x' is not defined", '  File "/srv/shop/flow.py", line 3, in f\n')
    block = BlockView("bug", "NameError: name 'x' is not defined", failure=failure)

    assert block_facts(block) == ["NameError: name 'x' is not defined"]


def test_a_block_by_divergence_tells_both_sides_once() -> None:
    message = "the code does not do what the history has after event 3: recorded a, produced b"

    assert block_facts(BlockView("divergence", message, recorded="a", produced="b")) == [
        "the code does not do what the history has after event 3",
        "history:  a    code:  b",
    ]


def test_names_from_workflows_cannot_move_the_cursor() -> None:
    story = corpus.Story(30, "evil-1", "evil\x1b[2Jflow", 10, {"x": "\x1b]0;pwned\x07"})
    story.activity(0.1, 1, "st\nep\x1b[31m")

    assert "\x1b" not in drawn(story) and "\x07" not in drawn(story)
    assert "✓ st ep [31m" in drawn(story)


def test_every_state_has_a_sign_of_its_own_but_those_that_wait_for_a_person() -> None:
    signs = [TOKENS[state].icon for state in STATES if state not in ("blocked", "quarantined")]

    assert len(set(signs)) == len(signs)


def test_messages_are_marks_on_the_axis_and_the_newest_have_a_line_each() -> None:
    assert (
        drawn(corpus.talking(), width=80)
        == """
◔ waiting  Loan  loan-7   5m · build 9c1e2d4 · 16 events
input [100]
                         0s               ⋯55.0s⋯                     ⋯3m52s⋯ 5m
◆ note ×3                                   ◆╎                                ◆
⌂ raise_by                                   ╎⌂────────────────────────────── ╎
⌂ set_limit ×2                               ╎                               ⌂⌂─
✓ book             3.0s         ████████████ ╎                                ╎
✓ book             8.0s                      ╎███████████████████████████████ ╎
2 earlier messages: perdure show loan-7 --messages
⌂ raise_by       +1m  50  → 150  after 8.0s
⌂ set_limit      +2m  {"amount": 9, "by": "maria"}  → TooLow: 9 is less than 150
◆ note           +3m  "third"
⌂ set_limit   +3m20s  {"amount": 900}  no answer yet
◆ decide              {"approved": true}  in the mail, not taken yet
published  stage "waiting for a decision" · progress 0.4
waits for a message  → perdure signal loan-7 NAME
"""
    )


def test_a_long_message_leaves_room_for_what_became_of_it() -> None:
    story = corpus.Story(30, "loan-7", "Loan", 300)
    story.tell(1, ev.UpdateAccepted(story.ns(1), "a", "set_limit", corpus.payload(["x" * 500])))
    story.tell(2, ev.UpdateFailed(story.ns(2), "a", corpus.failure("ValueError", "too long")))

    (said,) = [line for line in drawn(story, width=80).splitlines() if "ValueError" in line]

    assert len(said) == 80
    assert said.endswith("…  → ValueError: too long  after 1.0s")


def test_many_names_of_messages_have_not_a_row_each() -> None:
    story = corpus.Story(30, "loan-7", "Loan", 300)
    for number in range(40):
        story.tell(number, ev.SignalReceived(story.ns(number), f"name-{number}", corpus.payload([])))

    shown = drawn(story, width=80)

    assert "  … messages of 34 more names\n" in shown
    assert "35 earlier messages: perdure show loan-7 --messages\n" in shown
    assert len(shown.splitlines()) < 20


def test_children_are_rows_with_their_ids_and_bars_like_those_of_attempts() -> None:
    assert (
        drawn(corpus.parental(), width=80)
        == """
◔ waiting  score_batch  batch-3   4m · build 9c1e2d4 · 6 events
input {"day": "2026-11-24"}
                                0s                                            4m
✓ score_one batch-3-1    58.0s  ████████████
✗ score_one batch-3-2    1m18s  xxxxxxxxxxxxxxxx
▶ score_one batch-3-3    3m58s  ▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓│
"""
    )


def test_a_child_says_whose_it_is() -> None:
    run = told(corpus.talking())
    child = msgspec.structs.replace(run, parent=RunLink("batch-3", "0a" * 16))

    assert "\nchild of: perdure show batch-3 --run-id 0a0a0a0a\n" in text(portrait(child, View(80, corpus_time())))
