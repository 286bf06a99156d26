"""Bytes that are read for years."""

from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel import wire
from perdure.kernel.attributes import Attribute
from perdure.kernel.family import ChildTerms, Left
from perdure.kernel.policy import RetryPolicy
from perdure.kernel.terms import Chain, Parent, RunTerms

int64 = st.integers(-(2**63), 2**63 - 1)
texts = st.text(max_size=20)
payloads = st.builds(
    ev.Payload,
    st.binary(max_size=30),
    texts,
    st.booleans(),
    st.none() | st.dictionaries(texts, st.binary(max_size=5), max_size=2),
)
failures = st.recursive(
    st.builds(ev.Failure, texts, texts),
    lambda inner: st.builds(
        ev.Failure,
        texts,
        texts,
        texts,
        st.none() | inner,
        st.booleans(),
        st.booleans(),
        st.none() | int64,
        texts,
        st.lists(inner, max_size=2).map(tuple),
    ),
    max_leaves=4,
)
logs = st.builds(
    ev.Logs,
    st.lists(st.builds(ev.LogRecord, int64, st.integers(0, 50), texts, texts), max_size=3).map(tuple),
    st.integers(0, 9),
)
policies = st.builds(
    RetryPolicy, int64, st.floats(0, 9), int64, st.integers(0, 9), st.floats(0, 1), st.tuples(texts), texts, texts
)
terms = st.builds(ev.Terms, texts, st.none() | int64, st.none() | int64, st.none() | int64, st.booleans())
_FIELDS = {
    int: int64,
    str: texts,
    bool: st.booleans(),
    bytes: st.binary(max_size=16),
    ev.Payload: payloads,
    ev.Failure: failures,
    ev.Logs: logs,
    RetryPolicy: policies,
    ev.Terms: terms,
    RunTerms: st.deferred(lambda: of(RunTerms)),
    Attribute: st.builds(
        Attribute, texts, st.integers(0, 6), st.lists(texts | int64 | st.booleans(), max_size=2).map(tuple)
    ),
    Chain: st.deferred(lambda: of(Chain)),
    Parent: st.deferred(lambda: of(Parent)),
    ChildTerms: st.deferred(lambda: of(ChildTerms)),
    tuple[Left, ...]: st.lists(st.builds(Left, texts, int64), max_size=2).map(tuple),
    msg.Signal: st.deferred(lambda: of(msg.Signal)),
    msg.Update: st.deferred(lambda: of(msg.Update)),
    tuple[msg.Signal | msg.Update, ...]: st.lists(
        st.deferred(lambda: of(msg.Signal)) | st.deferred(lambda: of(msg.Update)), max_size=2
    ).map(tuple),
    tuple[Attribute, ...]: st.lists(st.deferred(lambda: _FIELDS[Attribute]), max_size=2).map(tuple),
    tuple[str, ...]: st.lists(texts, max_size=2).map(tuple),
    dict[str, Any]: st.dictionaries(texts, texts | st.booleans() | st.lists(texts, max_size=2), max_size=3),
    type(None): st.none(),
}


def of(struct: type) -> st.SearchStrategy:
    """Any value of a struct, by the types of its fields."""
    hints = get_type_hints(struct)
    fields = [hints[name] for name in struct.__struct_fields__]
    kinds = [(hint,) if hint in _FIELDS else get_args(hint) for hint in fields]
    return st.builds(struct, *[st.one_of([_FIELDS[kind] for kind in alternatives]) for alternatives in kinds])


history_events = st.one_of([of(kind) for kind in get_args(ev.HistoryEvent)])
mails = st.one_of([of(kind) for kind in get_args(msg.Mail)])


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(history_events, max_size=8))
def test_events_come_back_as_they_went(events):
    assert wire.decode_events(wire.encode(events)) == events


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(history_events, max_size=3), max_size=3))
def test_the_rows_of_a_history_are_one_list(rows):
    assert wire.decode_history([wire.encode(row) for row in rows]) == [event for row in rows for event in row]


@given(mails)
def test_mail_comes_back_as_it_went(mail):
    assert wire.decode_mail(wire.encode(mail)) == mail


@given(st.builds(wire.AttemptDetail, st.none() | failures, st.none() | logs, texts))
def test_the_detail_of_an_attempt_comes_back_as_it_went(detail):
    assert wire.decode_detail(wire.encode(detail)) == detail


@given(st.builds(ev.Block, texts, texts, texts, texts, st.none() | failures, texts, texts, texts, int64, st.booleans()))
def test_a_block_comes_back_as_it_went(block):
    assert wire.decode_block(wire.encode(block)) == block


TAGS = {
    1: "RunStarted",
    2: "ActivityScheduled",
    3: "ActivityCompleted",
    4: "ActivityFailed",
    5: "ActivityCancelled",
    6: "TimerStarted",
    7: "TimerFired",
    8: "TimerCancelled",
    9: "SideEffectRecorded",
    10: "PatchMarked",
    11: "CancelRequested",
    12: "RunCompleted",
    13: "RunFailed",
    14: "RunCancelled",
    15: "RunTerminated",
    16: "RunTimedOut",
    17: "AttributesSet",
    18: "MemoSet",
    24: "ChildScheduled",
    25: "ChildStarted",
    26: "ChildStartFailed",
    27: "ChildCompleted",
    28: "ChildFailed",
    29: "ChildCancelRequested",
    30: "ExternalCancelRequested",
    31: "ExternalSignalSent",
    32: "ExternalAnswered",
    33: "RunContinuedAsNew",
    40: "StreamWritten",
    45: "RunMoved",
    34: "TaskOpened",
    35: "TaskClaimed",
    36: "TaskReleased",
    37: "TaskCompleted",
    38: "TaskReminded",
    39: "TaskWithdrawn",
    50: "TaskExpired",
}


def test_tags_of_events_never_change():
    tags = {kind.__struct_config__.tag: kind.__name__ for kind in get_args(ev.HistoryEvent)}

    assert {tag: tags.get(tag) for tag in TAGS} == TAGS


def test_tags_of_mail_never_change():
    tags = {kind.__struct_config__.tag: kind.__name__ for kind in get_args(msg.Mail)}

    assert {n: tags.get(n) for n in (*range(1, 6), *range(12, 15), *range(20, 23), 27)} == {
        1: "Start",
        2: "AttemptEnded",
        3: "Cancel",
        4: "Terminate",
        5: "Retry",
        12: "ChildAnswered",
        13: "ChildEnded",
        14: "ExternalReplied",
        27: "Move",
        20: "ClaimTask",
        21: "ReleaseTask",
        22: "CompleteTask",
    }


FIRST_VERSION = bytes.fromhex(
    "94960101a663686172676594c4035b315da0c2c0c4026964a162980202a3303a31a370617994c4025b5da0c2c0c0c007"
    "970303a3303a3194c4046e756c6ca0c2c0020107930c0494c4046e756c6ca0c2c0"
)


def test_a_history_written_by_the_first_version_is_still_read():
    assert wire.decode_events(FIRST_VERSION) == [
        ev.RunStarted(1, "charge", ev.Payload(b"[1]"), b"id", "b"),
        ev.ActivityScheduled(2, "0:1", "pay", ev.Payload(b"[]"), None, None, 7),
        ev.ActivityCompleted(3, "0:1", ev.Payload(b"null"), 2, 1, 7),
        ev.RunCompleted(4, ev.Payload(b"null")),
    ]


def test_a_field_that_an_older_version_did_not_write_has_its_default():
    (event,) = wire.decode_events(msgspec.msgpack.encode([[2, 5, "0:1", "pay", [b"[]"]]]))

    assert event == ev.ActivityScheduled(5, "0:1", "pay", ev.Payload(b"[]"))


def test_a_field_that_a_newer_version_added_is_passed_over():
    (event,) = wire.decode_events(msgspec.msgpack.encode([[7, 5, "0:1", "new"]]))

    assert event == ev.TimerFired(5, "0:1")


@pytest.mark.parametrize("damaged", [b"", b"\xc1", b"\x91\x92\x63\x01", b"\x91\x92\x01\x01", b"\x00"])
def test_damaged_bytes_raise_and_never_become_an_event(damaged):
    with pytest.raises(msgspec.MsgspecError):
        wire.decode_events(damaged)


def test_every_event_that_is_not_history_is_status():
    assert set(get_args(ev.StatusEvent)) == ev.STATUS
    assert set(get_args(ev.HistoryEvent)) == ev.DELIVERED | ev.MATCHED | ev.IMPOSED | ev.NOTED
    assert not ev.DELIVERED & ev.MATCHED
