"""What a run says of itself: attributes by which it is found, and a memo for people."""

import enum
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from perdure import Between, Client, DefinitionError, Engine, Retry, RunBlocked, RunFailed, activity, workflow
from perdure.testing import TestEngine

DAY = datetime(2026, 11, 22, 14, tzinfo=timezone(timedelta(hours=1)))
ALL_TYPES: dict[str, Any] = {
    "region": "eu",
    "amount": 10,
    "weight": 1.5,
    "urgent": True,
    "day": DAY,
    "tags": ["red", "blue"],
}


@activity
async def nothing() -> None: ...


@workflow
async def order() -> dict[str, Any]:
    return workflow.info().attributes


@workflow
async def changes(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    workflow.set_attributes(first)
    workflow.set_memo({"at": "first", "keep": [1, {"a": None}]})
    await nothing()
    workflow.set_attributes(second)
    workflow.set_memo({"at": "second", "gone": None})
    await nothing()
    return sorted(workflow.info().attributes)


@workflow
async def sets(attributes: Any) -> None:
    workflow.set_attributes(attributes)


@workflow
async def many_by_many(count: int) -> None:
    for n in range(count):
        workflow.set_attributes({f"n{n}": n})
        await nothing()


@workflow
async def notes(memo: Any) -> None:
    workflow.set_memo(memo)


@workflow
async def fails_first() -> str:
    workflow.set_attributes({"seen": workflow.info().attempt})
    await nothing()
    if workflow.info().attempt == 1:
        raise ValueError("once")
    return str(workflow.info().attributes["region"])


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@workflow
async def tries_bad_ones() -> list[str]:
    """What is wrong raises where it stands, before anything of it holds."""
    said: list[str] = []
    workflow.set_attributes({"kept": 1})
    for bad in (
        {"new": 1, "wrong": object()},
        {"when": datetime(2026, 1, 1)},
        {"x": float("nan")},
        {"bad name": 1},
        [],
    ):
        try:
            workflow.set_attributes(bad)  # type: ignore[arg-type]
        except DefinitionError as error:
            said.append(str(error).partition(" (object)")[0][:50])
    for worse in ({"x": object()}, {"x": "y" * 40_000}, "Ada", {"x": float("inf")}):
        try:
            workflow.set_memo(worse)  # type: ignore[arg-type]
        except DefinitionError as error:
            said.append(str(error)[:40])
    await nothing()
    return said + sorted(workflow.info().attributes)


@workflow
async def is_alike() -> list[str]:
    """Whether it asks before a wait or after it, in one process or after a replay, it is told the same."""
    workflow.set_attributes({"colour": Colour.RED, "level": Level.HIGH, "tags": [Colour.RED]})
    said = [type(value).__name__ for value in workflow.info().attributes.values()]
    await nothing()
    return said + [type(value).__name__ for value in workflow.info().attributes.values()]


ALL = [order, changes, sets, many_by_many, notes, fails_first, tries_bad_ones, is_alike, nothing]


async def ids(runs: Any, **conditions: Any) -> list[str]:
    return [row.id for row in await runs.list(attributes=conditions)]


async def test_attributes_of_every_type_are_shown_and_searched(tmp_path: Path):
    async with Engine(f"sqlite:///{tmp_path}/runs.db", ALL) as engine, Client(engine.store) as client:
        for runs, id in ((engine, "a"), (client, "b")):
            await runs.start("order", id=id, attributes=ALL_TYPES)
            seen = await engine.handle(id).result()

            assert seen == {**ALL_TYPES, "day": "2026-11-22T13:00:00Z"}
            assert (await engine.handle(id).describe()).attributes == ALL_TYPES
        await engine.run(order(), id="c")

        for name, value in ALL_TYPES.items():
            assert await ids(client, **{name: value}) == ["b", "a"]
        assert [row.attributes for row in await engine.list()] == [{}, ALL_TYPES, ALL_TYPES]
        assert await engine.count(attributes={"region": "eu", "urgent": True}) == 2
        assert await ids(engine, tags="red") == ["b", "a"]
        assert await ids(engine, tags=["red", "green"]) == []
        assert await ids(engine, region="us") == await ids(engine, other="eu") == []


async def test_values_of_other_types_do_not_fit():
    async with TestEngine(ALL) as engine:
        for id, value in {"text": "1", "whole": 1, "float": 1.0, "truth": True}.items():
            await engine.run(order(), id=id, attributes={"n": value})

        assert await ids(engine, n="1") == ["text"]
        assert await ids(engine, n=1) == ["whole"]
        assert await ids(engine, n=1.0) == ["float"]
        assert await ids(engine, n=True) == ["truth"]
        assert await ids(engine, n=Between(0, 9)) == ["whole"]


async def test_ranges_include_their_bounds():
    async with TestEngine(ALL) as engine:
        for n in range(5):
            await engine.run(order(), id=str(n), attributes={"n": n, "at": DAY + timedelta(days=n), "word": "abcde"[n]})

        assert await ids(engine, n=Between(1, 3)) == ["3", "2", "1"]
        assert await ids(engine, n=Between(high=1)) == ["1", "0"]
        assert await ids(engine, at=Between(DAY + timedelta(days=3))) == ["4", "3"]
        assert await ids(engine, word=Between("b", "c")) == ["2", "1"]


async def test_a_workflow_changes_its_attributes_and_its_memo():
    async with TestEngine(ALL) as engine:
        handle = await engine.start(
            changes({"stage": "packing", "amount": 5}, {"stage": "sent", "region": None}),
            attributes={"region": "eu"},
            memo={"customer": "Ada", "gone": 1},
        )
        names = await handle.result()

        described = await handle.describe()
        assert names == ["amount", "stage"]
        assert described.attributes == {"stage": "sent", "amount": 5}
        assert described.memo == {"customer": "Ada", "at": "second", "keep": [1, {"a": None}]}
        assert await ids(engine, stage="sent", amount=5) == [handle.id]
        assert await ids(engine, stage="packing") == await ids(engine, region="eu") == []


async def test_what_a_workflow_sets_is_recorded_and_replay_asks_for_the_same():
    async with TestEngine(ALL) as engine:
        handle = await engine.start(changes({"a": 1}, {"b": 2}))
        await handle.result()
        history = await handle.history()

    assert [event["type"] for event in history] == [
        "RunStarted",
        "AttributesSet",
        "MemoSet",
        "ActivityScheduled",
        "ActivityCompleted",
        "AttributesSet",
        "MemoSet",
        "ActivityScheduled",
        "ActivityCompleted",
        "RunCompleted",
    ]
    assert json.loads(json.dumps(history))[1]["attributes"] == [{"name": "a", "value": 1}]


async def test_code_that_sets_other_names_than_were_recorded_blocks_its_run(tmp_path: Path):
    def version(name: str) -> list[Any]:
        @workflow
        async def staged() -> str:
            workflow.set_attributes({name: 1})
            await workflow.sleep(0.01 if name == "new" else 3600)
            return name

        return [staged]

    address = f"sqlite:///{tmp_path}/runs.db"
    async with Engine(address, version("old")) as engine:
        await engine.start("staged", id="a")
    async with Engine(address, version("new")) as engine:
        await engine.handle("a").cancel()
        with pytest.raises(RunBlocked) as blocked:
            await engine.handle("a").result()

    assert "recorded: attributes old [0:1]" in str(blocked.value)
    assert "produced: attributes new [0:1]" in str(blocked.value)


async def test_the_next_attempt_has_the_attributes_and_the_memo_of_the_start():
    async with TestEngine(ALL) as engine:
        start = {"attributes": {"region": "eu"}, "memo": {"customer": "Ada"}, "retry": Retry(initial=0)}
        assert await engine.run(fails_first(), id="a", **start) == "eu"

        runs = [
            await engine.handle("a", run_id=row.run_id).describe()
            for row in await engine.list(attributes={"region": "eu"})
        ]
        assert [(run.attempt, run.attributes["seen"], run.memo) for run in runs] == [
            (2, 2, {"customer": "Ada"}),
            (1, 1, {"customer": "Ada"}),
        ]


async def test_a_delayed_run_is_found_and_described_before_it_begins():
    async with TestEngine(ALL) as engine:
        handle = await engine.start(order(), attributes={"region": "eu"}, memo={"a": 1}, start_delay="1 day")

        assert await ids(engine, region="eu") == [handle.id]
        described = await handle.describe()
        assert (described.attributes, described.memo) == ({"region": "eu"}, {"a": 1})


class Rot13:
    """Not secret, but not plain either."""

    name = "rot13"

    def encode(self, data: bytes) -> bytes:
        return data[::-1]

    def decode(self, data: bytes) -> bytes:
        return data[::-1]


async def test_a_memo_goes_through_the_codec(tmp_path: Path):
    address = f"sqlite:///{tmp_path}/runs.db"
    async with Engine(address, ALL, codec=Rot13()) as engine, Client(address, codec=Rot13()) as client:
        for runs, id in ((engine, "a"), (client, "b")):
            await runs.start("changes", [{"x": 1}, {}], id=id, memo={"customer": "Ada"})
            await engine.handle(id).result()

            described = await client.handle(id).describe()
            assert described.memo["customer"] == "Ada"
            assert described.memo["at"] == "second"
        await engine.run(fails_first(), id="c", retry=2, attributes={"region": "eu"}, memo={"customer": "Ada"})
        assert (await client.handle("c").describe()).memo == {"customer": "Ada"}
    for file in tmp_path.glob("runs.db*"):
        assert b"customer" not in file.read_bytes()


async def test_too_many_attributes_block_the_run_that_sets_them():
    async with TestEngine(ALL, replay_every_step=False) as engine:
        await engine.run(many_by_many(50))
        with pytest.raises(RunBlocked, match="51 attributes; a run has at most 50, keep the rest in its memo"):
            await engine.run(many_by_many(51))


async def test_what_a_workflow_sets_wrongly_raises_where_it_stands_and_nothing_of_it_holds():
    async with TestEngine(ALL) as engine:
        said = await engine.run(tries_bad_ones(), id="a")
        described = await engine.handle("a").describe()
        history = await engine.handle("a").history()

    assert [each.partition(":")[0] for each in said] == ["workflow.set_attributes"] * 5 + ["workflow.set_memo"] * 4 + [
        "kept"
    ]
    assert (described.attributes, described.memo) == ({"kept": 1}, {})
    assert [event["type"] for event in history].count("AttributesSet") == 1


@pytest.mark.parametrize("call", [sets({"x": {"a": 1}}), notes({"x": "y" * 40_000}), sets("eu")])
async def test_what_a_workflow_sets_wrongly_and_does_not_catch_blocks_its_run(call: Any):
    async with TestEngine(ALL) as engine:
        with pytest.raises(RunBlocked) as blocked:
            await engine.run(call)

    assert "DefinitionError: workflow.set_" in str(blocked.value)
    assert "test_notes.py" in str(blocked.value)


async def test_members_of_enums_are_what_they_are_stored_as():
    async with TestEngine(ALL) as engine:
        handle = await engine.start(is_alike())
        said = await handle.result()
        await engine.start(order(), id="a", attributes={"colour": Colour.RED, "level": Level.HIGH})

        assert said == ["str", "int", "list"] * 2
        assert await ids(engine, colour=Colour.RED, level=Between(Level.HIGH, 3)) == ["a", handle.id]


def test_outside_of_a_workflow_setting_checks_and_does_nothing():
    workflow.set_attributes({"region": "eu"})
    workflow.set_memo({"a": 1})

    with pytest.raises(DefinitionError):
        workflow.set_attributes({"region": object()})  # type: ignore[dict-item]


ENDLESS: dict[str, Any] = {}
ENDLESS["again"] = ENDLESS
TYPES = (
    "expected a text, a whole number, a float, True or False, a datetime with a time zone, or a list of texts, found "
)
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no mapping": ({"attributes": ["eu"]}, "a start: attributes are a mapping, as in"),
    "a name with a blank": ({"attributes": {"my region": 1}}, "'my region' (str) is not such a name"),
    "a name that is no text": ({"attributes": {1: 1}}, "and 1 (int) is not such a name"),
    "a value of another type": ({"attributes": {"x": {"a": 1}}}, f"a start: attribute x: {TYPES}{{'a': 1}} (dict)"),
    "nothing": ({"attributes": {"x": None}}, f"a start: attribute x: {TYPES}None"),
    "an empty list": ({"attributes": {"x": []}}, f"a start: attribute x: {TYPES}an empty list"),
    "a list of numbers": ({"attributes": {"x": [1]}}, f"a start: attribute x: {TYPES}[1] (list)"),
    "a time without a zone": (
        {"attributes": {"x": datetime(2026, 1, 1)}},
        "has no time zone; write datetime(..., tzinfo",
    ),
    "no number": ({"attributes": {"x": float("nan")}}, "a start: attribute x: nan is in no order with other numbers"),
    "an infinite number": ({"attributes": {"x": float("-inf")}}, "-inf is in no order with other numbers"),
    "a large number": (
        {"attributes": {"x": 2**63}},
        "a whole number has at most 64 bits with its sign, and this one has 65",
    ),
    "a huge number": ({"attributes": {"x": -(10**5000)}}, "and this one has 16,611"),
    "a long text": ({"attributes": {"x": "y" * 501}}, "a text of 501 characters; at most 500 are searched"),
    "half a character": ({"attributes": {"x": "\ud800"}}, "has half a character in it"),
    "a far moment": (
        {"attributes": {"x": datetime(9999, 1, 1, tzinfo=UTC)}},
        "lies beyond the years that are searched",
    ),
    "an empty name": ({"attributes": {"": 1}}, "'' (str) is not such a name"),
    "a long name": ({"attributes": {"n" * 65: 1}}, "an attribute is named by 1 to 64 letters"),
    "a name of the engine's": (
        {"attributes": {"Perdure.state": 1}},
        "names that begin with 'perdure.' are the engine's own, and 'Perdure.state' does",
    ),
    "an empty list in their place": ({"attributes": []}, "a start: attributes are a mapping, as in"),
    "a list with half a character": ({"attributes": {"x": ["a", "\ud800"]}}, "has half a character in it"),
    "a long list": ({"attributes": {"x": ["y"] * 51}}, "51 texts; at most 50 are allowed"),
    "large ones": (
        {"attributes": {f"n{n}": [f"{m}{'y' * 400}" for m in range(50)] for n in range(2)}},
        "a run has at most 32,768, keep the rest in its memo",
    ),
    "too many": ({"attributes": {f"n{n}": n for n in range(51)}}, "a start: 51 attributes; a run has at most 50"),
    "a memo that is none": ({"memo": "Ada"}, "a start: a memo is a mapping, as in"),
    "a memo without JSON": ({"memo": {"x": object()}}, "a start: the memo"),
    "a memo with a key that is no text": ({"memo": {(1, 2): 3}}, "a start: the memo"),
    "a memo with no number": (
        {"memo": {"x": [{"y": float("nan")}]}},
        "a start: the memo['x'][0]['y']: nan (float) has no JSON form",
    ),
    "a memo with half a character": ({"memo": {"x": "\ud800"}}, "has half a character in it"),
    "a memo that contains itself": ({"memo": ENDLESS}, "nested too deeply, or contains itself"),
    "a large memo": ({"memo": {"x": "y" * 40_000}}, "bytes; at most 32,768 are kept"),
}


@pytest.mark.parametrize("what", BAD)
def test_notes_that_cannot_be_are_refused_before_anything_happens(what: str):
    options, message = BAD[what]
    with Engine("memory://", ALL) as engine:
        with pytest.raises(DefinitionError) as refused:
            engine.start(order(), **options).wait()

        assert message in str(refused.value)
        assert engine.count().wait() == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Between(), "Between takes one or two bounds of one type"),
        (lambda: Between(1, "b"), "not Between(1, 'b')"),
        (lambda: Between(1, 2.0), "not Between(1, 2.0)"),
        (lambda: Between(2, 1), "nothing lies in Between(2, 1): the lower bound comes first"),
        (lambda: Between(True), "not Between(True, None)"),
        (lambda: Between(datetime(2026, 1, 1)), "has no time zone"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused(make: Any, message: str):
    with pytest.raises(DefinitionError) as refused:
        make()

    assert message in str(refused.value)


MANY = {f"n{n}": [str(m) for m in range(50)] for n in range(5)}


def test_a_search_for_what_cannot_be_is_refused():
    with Engine("memory://", ALL) as engine:
        for conditions in ({"x": object()}, {"not a name": 1}, ["x"], [], MANY):
            with pytest.raises(DefinitionError):
                engine.list(attributes=conditions)  # type: ignore[arg-type]
            with pytest.raises(DefinitionError):
                engine.count(attributes=conditions)  # type: ignore[arg-type]


def test_a_redacted_export_has_no_values_of_attributes_and_memos():
    from perdure.client.redaction import without_values
    from perdure.kernel import events as ev
    from perdure.kernel import wire
    from perdure.kernel.attributes import Attribute, Kind
    from perdure.kernel.terms import RunTerms

    secret = Attribute("name", Kind.TEXTS, ("secret",))
    events = [
        ev.RunStarted(1, "w", ev.Payload(b"[]"), b"r", "b", RunTerms(attributes=(secret,)), ev.Payload(b'"secret"')),
        ev.AttributesSet(2, "0:1", (secret,)),
        ev.MemoSet(3, "0:2", ev.Payload(b'"secret"')),
    ]

    assert b"secret" not in wire.encode(without_values(events))


async def test_a_failed_run_keeps_what_it_is_found_by():
    async with TestEngine(ALL) as engine:
        with pytest.raises(RunFailed):
            await engine.run(fails_first(), id="a", attributes={"region": "eu"})

        assert await ids(engine, seen=1, region="eu") == ["a"]
