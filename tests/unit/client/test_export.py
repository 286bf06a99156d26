"""A run as a document: exact, legible, and refused when it is damaged."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from perdure import Engine, activity, errors, workflow
from perdure.client.cast import nobody
from perdure.client.description import describe
from perdure.client.export import ExportedRun, exported, read_export
from perdure.client.redaction import redacted, without_values
from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.messages import Mail
from perdure.kernel.project import AttemptRow, HistoryRow, RunRow
from perdure.stores.base import Batch, BlobRow, RunFilter, Store, Stored
from perdure.stores.open import open_store
from tests.unit.cli import corpus

AT = datetime(2026, 11, 25, tzinfo=UTC)


@pytest.fixture
def store() -> Iterator[Store]:
    """A run of each kind."""
    store = open_store("memory://")
    store.admin.try_own(corpus.MEMBER.host, corpus.MEMBER.pid, corpus.MEMBER.build, corpus.NOW)
    corpus.fill(store)
    yield store
    store.admin.close()


def all_of(store: Store) -> list[Stored]:
    found = [store.views.stored(row.key) for row in store.views.search(RunFilter())]
    return [stored for stored in found if stored is not None]


def one(store: Store, id: str) -> ExportedRun:
    row = store.views.row(id)
    stored = None if row is None else store.views.stored(row.key)
    assert stored is not None
    return exported(store.views, stored, AT)


def odd(store: Store, *events: ev.HistoryEvent, blobs: dict[bytes, bytes] | None = None) -> ExportedRun:
    """A run made of these events, as it lies in a store."""
    row = RunRow(1000, "odd", b"r" * 16, "order", 1, "", "b", 1, None, None, len(events))
    history = HistoryRow(1000, 1, wire.encode(events))
    rows = [BlobRow(1000, digest, data) for digest, data in (blobs or {}).items()]
    store.journal.commit(Batch(created=[row], history=[history], blobs=rows))
    return one(store, "odd")


@pytest.mark.parametrize("lines", [True, False], ids=["a line for each event", "one line"])
def test_what_is_read_back_is_what_was_in_the_store(store: Store, lines: bool) -> None:
    for stored in all_of(store):
        run = exported(store.views, stored, AT)

        back = read_export(run.to_json(lines))

        assert back == run
        assert b"".join(event.wire for event in back.events) == b"".join(
            bytes(raw) for row in stored.history for raw in msgspec.msgpack.decode(row, type=list[msgspec.Raw])
        )
        assert (back.stored().run, back.stored().attempts) == (stored.run, stored.attempts)
        assert [mail.message for mail in back.stored().mail] == [mail.message for mail in stored.mail]


def test_a_run_is_described_elsewhere_as_it_was_at_home(store: Store) -> None:
    for stored in all_of(store):
        back = read_export(exported(store.views, stored, AT).to_json())
        members = {row.id: row for row in back.members}

        there = describe(back.stored(), lambda ids, members=members: members, back.finder(), corpus.NOW)

        blob = lambda digest, key=stored.run.key: store.views.blob(key, digest)  # noqa: E731
        assert there == describe(stored, store.views.members, blob, corpus.NOW)


def test_it_is_written_for_people_and_for_tools_that_compare_lines(store: Store) -> None:
    text = one(store, "order-48390").to_json().decode()

    lines = text.splitlines()
    assert lines[:4] == ["{", '"format": "perdure.run",', '"version": 1,', '"redacted": false,']
    assert sum('"type": "ActivityScheduled"' in line for line in lines) == 3
    events = json.loads(text)["events"]
    assert events[2]["type"] == "ActivityCompleted" and events[2]["result"] is True
    assert [event["seq"] for event in events] == list(range(1, 12))


@pytest.mark.parametrize(
    "data",
    [
        b'"\\ud800 half a character"',
        '"Grüße, 日本"'.encode(),
        b'{"n": 1e999}',
        b"not json at all \xff",
        b"[" * 100_000,
        b"",
        b'{"n": 10000000000000000000000000000000001}',
    ],
    ids=lambda data: repr(data[:16]),
)
def test_values_survive_byte_for_byte_whatever_they_are(store: Store, data: bytes) -> None:
    run = odd(store, ev.RunStarted(1, "order", ev.Payload(data), b"r" * 16, "b"))

    for lines in (True, False):
        (started,) = wire.decode_history(read_export(run.to_json(lines)).stored().history)
        assert isinstance(started, ev.RunStarted)
        assert started.input.data == data


def test_large_values_stand_apart_once(store: Store) -> None:
    data = json.dumps("x" * 100_000).encode()
    import hashlib

    digest = hashlib.sha256(data).digest()
    input = ev.Payload(digest, ref=True)
    run = odd(store, ev.RunStarted(1, "order", input, b"r" * 16, "b"), blobs={digest: data})

    text = run.to_json()

    assert json.loads(text)["events"][0]["input"] == {"blob": digest.hex()}
    assert len(text) < 1.5 * len(data)
    back = read_export(text)
    assert back.finder()(digest) == data
    spoiled = msgspec.structs.replace(back.blobs[0], data=b"other")
    assert msgspec.structs.replace(back, blobs=[spoiled]).finder()(digest) is None


@activity
async def double(n: int) -> int:
    return 2 * n


@workflow
async def doubled(n: int) -> int:
    return await double(n)


@workflow
async def other() -> None: ...


def test_only_what_belongs_to_the_run_goes_with_it() -> None:
    with Engine("memory://", [doubled, double, other]) as engine:
        engine.run(doubled(2), id="a").wait()
        run = engine.handle("a").export().wait()
        without = engine.handle("a").export(redact=True).wait()

    assert [definition.name for definition in run.definitions] == ["double", "doubled"]
    assert json.loads(bytes(run.definitions[1].parameters))["names"] == ["n"]
    (member,) = run.members
    assert member.host
    assert without.redacted and without.members[0].host == "(redacted)"


def damaged(document: bytes, **changes: Any) -> bytes:
    return json.dumps({**json.loads(document), **changes}).encode()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda data: b"", "x.json is empty"),
        (lambda data: b"  \n", "x.json is empty"),
        (lambda data: data[: len(data) // 2], r"x.json is cut off after [\d,]+ bytes: it is no whole JSON document"),
        (lambda data: b"order: 1", "x.json is no JSON: JSON is malformed"),
        (lambda data: data + b"}", "x.json is no JSON"),
        (lambda data: b"\xff\xfe" + data, "x.json is no JSON"),
        (lambda data: data.replace(b"process_order", b"\xff\xff"), "is no export: it is not UTF-8|x.json is no JSON"),
        (lambda data: b"[]", 'x.json is no exported run: its "format" should be "perdure.run"'),
        (lambda data: b'{"name": "left-pad"}', 'x.json is no exported run: its "format" should be "perdure.run"'),
        (lambda data: damaged(data, version=2), "x.json is of version 2 of the format, .*reads up to 1; upgrade"),
        (lambda data: damaged(data, version=2, run="new"), "x.json is of version 2 of the format"),
        (lambda data: damaged(data, run={}), r"x.json is damaged: .*`key` - at `\$.run`"),
        (lambda data: damaged(data, events=[{"wire": "!"}]), r"x.json is damaged: .*at `\$.events\[0\].wire`"),
        (lambda data: damaged(data, events=[{"wire": "/w=="}]), "x.json: an event or a message in it cannot be read"),
        (lambda data: damaged(data, mail=[{"wire": "/w=="}]), "x.json: an event or a message in it cannot be read"),
        (lambda data: damaged(data, events=json.loads(data)["events"][:-1]), "it should hold 11 events, and holds 10"),
    ],
)
def test_what_is_no_export_is_said_to_be_what_it_is(store: Store, spoil: Any, said: str) -> None:
    document = one(store, "order-48390").to_json()

    with pytest.raises(errors.ExportUnreadable, match=said):
        read_export(spoil(document), "x.json")


def test_fields_of_later_versions_are_passed_over(store: Store) -> None:
    run = one(store, "order-48390")

    assert read_export(damaged(run.to_json(), later={"a": 1})) == run


SECRETS = ("acct-7", "7f3a", "parcel-9", "sku-1", "503 from stock", "asking stock", "slow answer")


def test_what_is_redacted_has_no_values_left(store: Store) -> None:
    whole = one(store, "order-48390")
    assert [secret for secret in SECRETS if not found(secret, whole)] == []

    run = redacted(whole)

    assert [secret for secret in SECRETS if found(secret, run)] == []
    assert found("shop.errors.StockServiceDown", run) and found("payments.py", run), "what went wrong where stays"
    assert run.redacted and read_export(run.to_json()) == run and redacted(run) is run


def found(text: str, run: ExportedRun) -> bool:
    """Whether it stands anywhere in the document, in words or in bytes."""
    parts = [each.wire for each in run.events] + [each.wire for each in run.mail]
    parts += [row.detail or b"" for row in run.attempts] + [run.to_json()]
    return any(text.encode() in part for part in parts)


@pytest.mark.parametrize("kind", [*get_args(ev.HistoryEvent), *get_args(Mail), wire.AttemptDetail])
def test_no_kind_of_event_keeps_a_value_when_it_is_redacted(kind: Any) -> None:
    event = kind(**{name: secret(hint, kind, name) for name, hint in get_type_hints(kind).items()})

    assert b"SECRET" not in wire.encode(without_values(event))


def secret(hint: Any, kind: Any, name: str) -> Any:
    """A value of the type, with a secret wherever the user's own may stand."""
    failure = ev.Failure("shop.Declined", "SECRET", '  File "a.py", line 3, in b\n    call\nDeclined: SECRET')
    log = ev.LogRecord(1, 20, "shop", "SECRET")
    choices: dict[Any, Any] = {
        ev.Payload: ev.Payload(b'"SECRET"', "secret", meta={"key": b"SECRET"}),
        ev.Failure: msgspec.structs.replace(failure, cause=failure, leaves=(failure,)),
        ev.Logs: ev.Logs((log,)),
        str: "SECRET" if name == "reason" and kind is not ev.ActivityFailed else "",
        int: 0,
        bool: False,
        bytes: b"",
    }
    for each in (hint, *get_args(hint)):
        if each in choices:
            return choices[each]
    return None


def test_the_blocks_of_a_redacted_run_keep_what_names_no_value(store: Store) -> None:
    diverged = redacted(one(store, "order-47110"))

    block = wire.decode_block(diverged.run.block or b"")
    assert block.kind == "divergence"
    assert "history" in block.message and block.recorded


def test_a_run_that_nobody_has_taken_yet_brings_its_arguments(store: Store) -> None:
    run = one(store, "ship-20931")

    back = read_export(run.to_json())

    assert back.events == []
    assert describe(back.stored(), nobody, back.finder(), corpus.NOW).input is not None


HARMLESS = {
    RunRow: "key id run_id workflow status build started_at closed_at wake_at seq open_tail strikes followed_by chain "
    "request expires_at parent root pinned",
    AttemptRow: "run step attempt state member started_at ended_at retry_at counted",
}
LOOKED_AT = {RunRow: "note block", AttemptRow: "detail"}


@pytest.mark.parametrize("kind", HARMLESS, ids=lambda kind: kind.__name__)
def test_whoever_adds_a_field_to_a_row_decides_whether_it_is_redacted(kind: Any) -> None:
    """What may hold a value of the user's goes into `redaction.py` and LOOKED_AT, everything else into HARMLESS."""
    assert set(kind.__struct_fields__) == {*HARMLESS[kind].split(), *LOOKED_AT[kind].split()}
