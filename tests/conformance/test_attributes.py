"""Searchable attributes, against every store."""

import msgspec
import pytest

from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.attributes import Attribute, Choice, Kind, Wanted
from perdure.kernel.project import HistoryRow
from perdure.kernel.run import Status
from perdure.kernel.terms import RunTerms
from perdure.stores import base
from tests.conformance.rows import mail, run, start

REGION = Attribute("region", Kind.TEXT, ("eu",))
TAGS = Attribute("tags", Kind.TEXTS, ("red", "blue"))
AMOUNT = Attribute("amount", Kind.WHOLE, (10,))


def found(store: base.Store, *wanted: Wanted) -> list[int]:
    return [row.key for row in store.views.search(base.RunFilter(attributes=wanted))]


def equal(name: str, kind: Kind, value: object) -> Wanted:
    return Wanted(name, (Choice((kind,), value, value),))  # type: ignore[arg-type]


def test_attributes_are_read_back_by_run_and_name(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2), run(4), run(6)], attributes=[(2, REGION), (2, TAGS), (4, AMOUNT)]))

    assert store.views.attributes([2, 4, 6, 8]) == {2: {"region": REGION, "tags": TAGS}, 4: {"amount": AMOUNT}}


def test_a_later_attribute_takes_the_place_of_the_one_of_its_name(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2)], attributes=[(2, TAGS), (2, REGION)]))

    fewer, gone = Attribute("tags", Kind.TEXTS, ("red",)), Attribute("region", Kind.GONE)
    store.journal.commit(base.Batch(updated=[run(2)], attributes=[(2, AMOUNT), (2, fewer), (2, gone)]))

    assert store.views.attributes([2]) == {2: {"amount": AMOUNT, "tags": fewer}}


def test_of_several_changes_in_one_batch_the_last_one_counts(store: base.Store) -> None:
    gone = Attribute("region", Kind.GONE)
    store.journal.commit(
        base.Batch(created=[run(2), run(4)], attributes=[(2, gone), (2, REGION), (4, REGION), (4, gone)])
    )

    assert store.views.attributes([2, 4]) == {2: {"region": REGION}}


@pytest.fixture
def priced(store: base.Store) -> base.Store:
    """Runs 2 to 12 with an amount of so many: even ones of each pair whole numbers, the others floats."""
    attributes = [
        (key, Attribute("amount", Kind.WHOLE if key % 4 else Kind.FLOAT, (key if key % 4 else float(key),)))
        for key in range(2, 14, 2)
    ]
    store.journal.commit(base.Batch(created=[run(key) for key in range(2, 16, 2)], attributes=attributes))
    return store


@pytest.mark.parametrize(
    ("choice", "keys"),
    [
        (Choice((Kind.WHOLE, Kind.FLOAT)), [12, 10, 8, 6, 4, 2]),
        (Choice((Kind.WHOLE,)), [10, 6, 2]),
        (Choice((Kind.WHOLE, Kind.FLOAT), 6), [12, 10, 8, 6]),
        (Choice((Kind.WHOLE, Kind.FLOAT), 6, None, above=True), [12, 10, 8]),
        (Choice((Kind.WHOLE, Kind.FLOAT), None, 6), [6, 4, 2]),
        (Choice((Kind.WHOLE, Kind.FLOAT), None, 6, below=True), [4, 2]),
        (Choice((Kind.FLOAT,), 4.0, 8.0), [8, 4]),
        (Choice((Kind.FLOAT,), 4.0, 8.0, True, True), []),
        (Choice((Kind.WHOLE, Kind.FLOAT), 5.5, 8.5), [8, 6]),
        (Choice((Kind.WHOLE, Kind.FLOAT), 5.5, 6.0, above=True), [6]),
        (Choice((Kind.WHOLE, Kind.FLOAT), -6.5, 2.5, True, True), [2]),
        (Choice((Kind.WHOLE, Kind.FLOAT), -(2**63), 2**63 - 1), [12, 10, 8, 6, 4, 2]),
        (Choice((Kind.WHOLE, Kind.FLOAT), -1e300, 1e300), [12, 10, 8, 6, 4, 2]),
        (Choice((Kind.WHOLE, Kind.FLOAT), 2**53 + 1), []),
        (Choice((Kind.TEXT,), "4", "4"), []),
        (Choice((), 4, 4), []),
    ],
)
def test_values_are_compared_within_their_types(priced: base.Store, choice: Choice, keys: list[int]) -> None:
    wanted = Wanted("amount", (choice,))

    assert found(priced, wanted) == keys
    assert priced.views.count(base.RunFilter(attributes=(wanted,))) == len(keys)
    assert found(priced, Wanted("other", (choice,))) == []


def test_one_of_several_choices_is_enough_and_all_conditions_hold(store: base.Store) -> None:
    us = Attribute("region", Kind.TEXT, ("us",))
    store.journal.commit(
        base.Batch(
            created=[run(2), run(4, status=Status.FAILED), run(6)], attributes=[(2, REGION), (4, us), (4, AMOUNT)]
        )
    )

    either = Wanted("region", (Choice((Kind.TEXT,), "eu", "eu"), Choice((Kind.TEXT,), "us", "us")))
    assert found(store, either) == [4, 2]
    assert found(store, either, equal("amount", Kind.WHOLE, 10)) == [4]
    assert found(store, Wanted("region", ())) == []
    failed = base.RunFilter(statuses=(Status.FAILED,), attributes=(either,))
    assert [row.key for row in store.views.search(failed)] == [4]


def test_of_a_list_each_text_is_found(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2)], attributes=[(2, TAGS)]))

    assert found(store, equal("tags", Kind.TEXTS, "red"), equal("tags", Kind.TEXTS, "blue")) == [2]
    assert found(store, equal("tags", Kind.TEXTS, "green")) == []


def test_a_queued_run_is_found_by_what_it_is_started_with(store: base.Store) -> None:
    letter = mail(0, msgspec.structs.replace(start(), terms=RunTerms(attributes=(REGION, TAGS))))

    key = store.post.submit(run(0, "a", Status.QUEUED), letter).key

    assert found(store, equal("region", Kind.TEXT, "eu")) == [key]
    store.journal.commit(base.Batch(withdrawn=[key]))
    assert found(store, equal("region", Kind.TEXT, "eu")) == []
    assert store.views.attributes([key]) == {}


STARTED = ev.RunStarted(1, "w", ev.Payload(b"1"), b"r", "b", RunTerms(attributes=(REGION, TAGS)))
SET = ev.AttributesSet(2, "0:1", (AMOUNT, Attribute("region", Kind.GONE)))


@pytest.mark.parametrize(
    ("noted", "problems"),
    [
        ([TAGS, AMOUNT], []),
        ([TAGS], ["run 'run-2': lists find it by other attributes than its history has (amount)"]),
        ([TAGS, AMOUNT, REGION], ["run 'run-2': lists find it by other attributes than its history has (region)"]),
    ],
)
def test_a_check_finds_attributes_that_are_not_those_of_the_history(
    store: base.Store, noted: list[Attribute], problems: list[str]
) -> None:
    history = HistoryRow(2, 1, wire.encode([STARTED, SET]))
    rows = [(2, each) for each in noted]
    store.journal.commit(base.Batch(created=[run(2, seq=2)], history=[history], attributes=rows))

    assert store.admin.check() == problems


def test_an_attempt_that_follows_a_run_has_attributes_of_its_own(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2, "a")], attributes=[(2, REGION), (2, AMOUNT)]))

    follower = run(4, "a", Status.QUEUED)
    store.journal.commit(
        base.Batch(
            updated=[run(2, "a", Status.FAILED)], followed=[(2, 4)], created=[follower], attributes=[(4, REGION)]
        )
    )

    assert found(store, equal("region", Kind.TEXT, "eu")) == [4, 2]
    assert found(store, equal("amount", Kind.WHOLE, 10)) == [2]


def test_a_batch_that_is_refused_changes_no_attributes(store: base.Store) -> None:
    store.journal.commit(base.Batch(created=[run(2)], attributes=[(2, REGION)]))

    with pytest.raises(base.CommitRefused):
        store.journal.commit(
            base.Batch(created=[run(2)], attributes=[(2, AMOUNT), (2, Attribute("region", Kind.GONE))])
        )

    assert store.views.attributes([2]) == {2: {"region": REGION}}
