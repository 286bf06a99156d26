"""The timeline: an axis that seldom changes, rows that can be looked at, bars where they belong."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.client.axis import Clockwork
from perdure.client.cast import nobody
from perdure.client.description import RunDescription, describe
from perdure.stores.base import Stored
from perdure.web.strip import SEGMENTS, strip
from perdure.web.timeline import Hidden, Line, Scale, stepped, timeline
from tests.unit.cli import corpus


def described(story: Any) -> RunDescription:
    stored = story if isinstance(story, Stored) else story.stored()
    return describe(stored, nobody, lambda digest: None, corpus.NOW)


def scale_of(story: Any) -> Scale:
    run = described(story)
    return Scale(run, Clockwork(run))


@given(st.floats(0.001, 1e8))
def test_the_reach_of_an_open_axis_changes_only_by_steps_of_a_quarter(seconds: float) -> None:
    reach = stepped(seconds)

    assert seconds * 0.999 <= reach <= seconds * 1.2501
    assert stepped(reach) == pytest.approx(reach)


@pytest.mark.parametrize("story", [corpus.retrying, corpus.waiting, corpus.running, corpus.loop, corpus.blocked])
def test_of_an_open_run_the_line_of_now_leaves_room_for_the_future(story: Any) -> None:
    scale = scale_of(story())

    assert 60 <= scale.now <= 92.1
    assert scale.rate > 0


def test_of_a_run_that_has_ended_the_axis_ends_with_it() -> None:
    scale = scale_of(corpus.completed())

    assert (scale.now, scale.rate) == (100, 0)


def test_days_in_which_nothing_ran_are_folded_and_named() -> None:
    drawn = timeline(described(corpus.waiting()), None, False)

    assert [gap.text for gap in drawn.gaps] == ["2d", "2d"]
    assert all(gap.w <= 7.1 for gap in drawn.gaps)


@pytest.mark.parametrize("story", [*corpus.STORIES, corpus.queued])
def test_ticks_are_in_order_and_apart(story: Any) -> None:
    ticks = timeline(described(story()), None, False).ticks

    places = [tick.x for tick in ticks]
    assert places == sorted(places)
    assert all(later - earlier >= 3.9 for earlier, later in pairwise(places))
    assert len(ticks) <= 14
    texts = [tick.text for tick in ticks]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("story", [*corpus.STORIES, corpus.queued])
def test_every_bar_lies_within_the_track(story: Any) -> None:
    import re

    drawn = timeline(described(story()), None, True)

    for line in drawn.rows:
        assert isinstance(line, Line)
        for x, width in re.findall(r'<rect[^>]* x="([\d.]+)%"[^>]* width="([\d.]+)%"', line.svg):
            assert 0 <= float(x) <= 100
            assert float(x) + float(width) <= 100.01


def test_a_retried_step_has_a_block_for_each_attempt_and_dots_between() -> None:
    (line,) = [row for row in timeline(described(corpus.retrying()), None, False).rows if row.name == "charge_card"]  # type: ignore[union-attr]

    assert line.svg.count('class="b-fail"') == 4  # type: ignore[union-attr]
    assert line.svg.count('class="b-back"') == 1  # type: ignore[union-attr]
    assert line.svg.count('class="b-ghost"') == 1  # type: ignore[union-attr]


def test_of_many_attempts_the_first_and_the_last_are_drawn() -> None:
    story = corpus.Story(2, "stubborn", "stubborn", 10_000)
    step = story.schedule(1, "try_hard")
    for number in range(1, 41):
        story.fail(number * 100, step, number, number * 100 - 10, corpus.failure("OSError", "no"), number * 100 + 90)
        story.start(number * 100 + 90, step, number + 1)

    (line,) = timeline(described(story), None, False).rows

    assert isinstance(line, Line)
    assert line.svg.count("<rect") <= 8
    assert [chip.text for chip in line.chips] == ["×41"]


def test_a_crowd_is_drawn_by_a_few_paths_however_many_calls_it_has() -> None:
    rows = timeline(described(corpus.fan_out()), None, False).rows
    (line,) = [row for row in rows if isinstance(row, Line) and row.is_crowd]

    assert line.svg.count("<path") <= 4
    assert len(line.svg) < 6_000


def test_a_sequence_is_drawn_by_a_bounded_number_of_blocks() -> None:
    rows = timeline(described(corpus.loop(count=500)), None, False).rows

    assert all(isinstance(row, Line) and row.svg.count("<rect") <= 60 for row in rows)


def test_rows_that_are_left_out_are_counted_where_they_would_stand() -> None:
    from tests.web.test_run_page import many_rows

    rows = timeline(described(many_rows()), None, False).rows

    hidden = [row for row in rows if isinstance(row, Hidden)]
    assert sum(row.many for row in hidden) + len(rows) - len(hidden) == 300
    assert hidden[0] == Hidden(130, 20)


def test_the_row_of_the_chosen_step_is_never_left_out() -> None:
    from tests.web.test_run_page import many_rows

    rows = timeline(described(many_rows()), None, False, "0:61").rows

    assert "step_60" in [row.name for row in rows if isinstance(row, Line)]


@pytest.mark.parametrize("story", [*corpus.STORIES, corpus.queued])
def test_the_shape_of_a_run_is_a_dozen_segments_at_most(story: Any) -> None:
    segments = strip(described(story()))

    assert len(segments) <= SEGMENTS
    assert all(each.x >= 0 and each.x + each.w <= 100.1 for each in segments)
    assert all(a.x + a.w <= b.x + 0.1 for a, b in pairwise(segments))


def test_a_failure_is_not_lost_in_the_shape_of_a_run() -> None:
    kinds = [segment.kind for segment in strip(described(corpus.fan_out()))]

    assert "fail" in kinds
