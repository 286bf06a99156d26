"""What lies on the disk: rows that cannot be read raise what is documented, and nothing that can be read breaks the fold."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel import wire
from perdure.kernel.run import Run, evolve
from tests.fuzz.effort import bad_bytes, fuzz

RECORDED = json.loads((Path(__file__).parents[1] / "histories" / "python-3.11.json").read_text())
HISTORIES: list[list[ev.HistoryEvent]] = [msgspec.convert(each, list[ev.HistoryEvent]) for each in RECORDED.values()]
EVENTS = sorted({wire.encode([event]) for history in HISTORIES for event in history})

FAILURE = ev.Failure("ValueError", "no", "Traceback ...", cause=ev.Failure("KeyError", "x"), retry_after_ns=5)
PAYLOAD = ev.Payload(b'{"a": 1}', "zip")
READERS: dict[str, tuple[Callable[[bytes], Any], list[Any]]] = {
    "events": (wire.decode_events, HISTORIES),
    "mail": (
        wire.decode_mail,
        [
            msg.Start("w", PAYLOAD, b"r" * 16),
            msg.Signal("s", PAYLOAD, "r"),
            msg.Cancel("why"),
            msg.AttemptEnded("0:1", 1, 2, 3, failure=FAILURE),
        ],
    ),
    "detail": (
        wire.decode_detail,
        [wire.AttemptDetail(FAILURE, ev.Logs((ev.LogRecord(1, 20, "l", "t"),)), "b", PAYLOAD)],
    ),
    "block": (wire.decode_block, [ev.Block("bug", "b", "m", "h", at=5, failure=FAILURE)]),
    "task": (wire.decode_task, [wire.Task("x", b"r" * 16, "w", PAYLOAD, 5, 6, 7, 8, PAYLOAD, "q")]),
    "chunks": (wire.decode_chunks, [[wire.Chunk(1, PAYLOAD), wire.Chunk(2, PAYLOAD)]]),
    "failure": (wire.decode_failure, [FAILURE]),
    "payload": (wire.decode_payload, [PAYLOAD]),
}


@pytest.mark.parametrize("what", READERS)
@given(st.data())
@fuzz(60)
def test_a_row_is_read_or_refused_and_what_is_read_is_written_as_it_is(what: str, data: st.DataObject) -> None:
    read, seeds = READERS[what]
    row = data.draw(bad_bytes(st.sampled_from(seeds).map(wire.encode)))

    try:
        found = read(row)
    except msgspec.MsgspecError:
        return
    assert read(wire.encode(found)) == found


def folded(history: list[ev.HistoryEvent]) -> Run:
    run = Run(1, "x", 1)
    for event in history:
        evolve(run, event)
    run.recount()
    return run


OPENED = ev.TaskOpened(1, "0:1", "title", {}, remind_ns=1)


@pytest.mark.parametrize("ns", [0, -1])
def test_reminders_that_come_at_once_and_for_ever_are_none(ns: int) -> None:
    run = folded([*HISTORIES[0][:1], msgspec.structs.replace(OPENED, remind_ns=ns)])

    assert run.people.open["0:1"].remind_at is None


def test_a_form_that_is_nested_without_end_is_refused() -> None:
    good = wire.encode([msgspec.structs.replace(OPENED, form={"a": None})])
    deep = good.replace(b"\x81\xa1a\xc0", b"\x81\xa1a" + b"\x91" * 100_000 + b"\xc0")

    with pytest.raises(msgspec.DecodeError, match="nested too deeply"):
        wire.decode_events(deep)


@given(st.data())
@fuzz(300)
def test_events_that_can_be_read_can_be_folded_whatever_they_say(data: st.DataObject) -> None:
    row = data.draw(bad_bytes(st.sampled_from(HISTORIES).map(wire.encode)))

    try:
        history = wire.decode_history([row])
    except msgspec.MsgspecError:
        return
    folded(history)


@given(st.data())
@fuzz(200)
def test_events_in_any_order_can_be_folded(data: st.DataObject) -> None:
    history = list(data.draw(st.sampled_from(HISTORIES)))
    places = st.integers(0, max(len(history) - 1, 0))
    for _ in range(data.draw(st.integers(1, 4))):
        one, other = data.draw(places), data.draw(places)
        match data.draw(st.integers(0, 3)):
            case 0:
                del history[one : other + 1]
            case 1 if history:
                history[one % len(history)] = history[other % len(history)]
            case 2:
                history[one:one] = history[other : other + 3]
            case _:
                history[one:one] = wire.decode_events(data.draw(st.sampled_from(EVENTS)))

    folded(history)
