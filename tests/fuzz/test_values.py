"""Values of users: whatever bytes come for a type, and whatever value is to become bytes."""

import dataclasses
import enum
import json
import uuid
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal, NamedTuple, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from perdure.errors import InvalidArguments, PayloadNotDecodable, PayloadNotEncodable
from perdure.payload import Parameters, ValueType, encode_untyped
from tests.fuzz.effort import bad_bytes, fuzz, odd_texts


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Line:
    item: str
    amount: Decimal = Decimal(1)
    tags: list[str] = dataclasses.field(default_factory=list)


class Order(msgspec.Struct):
    id: uuid.UUID
    lines: list[Line]
    at: datetime | None = None


class Place(NamedTuple):
    x: float
    y: float = 0.0


class Options(TypedDict, total=False):
    wait: timedelta
    color: Color


class Paid(pydantic.BaseModel):
    cents: int
    by: str = "card"


HINTS: dict[str, Any] = {
    str(hint): hint
    for hint in [
        *(None, bool, int, float, str, bytes, Decimal, datetime, date, time, timedelta, uuid.UUID, Color, Any),
        *(Literal["a", 1], list[int], tuple[int, str], tuple[float, ...], set[int], frozenset[str], dict[str, int]),
        *(
            dict[int, float],
            dict[date, str],
            int | None,
            int | str,
            float | list[Any],
            Line,
            Order,
            Place,
            Options,
            Paid,
        ),
        *(list[Line], dict[str, Paid], Line | None),
    ]
}
SEEDS = [
    *("null", "true", "0", "-1", "1.5", "1e400", '"a"', '"YQ=="', '"12.50"', '"2026-11-30T10:00:00Z"', '"2026-11-30"'),
    *(
        '"10:00:00"',
        '"P1DT2H"',
        '"12345678-1234-5678-1234-567812345678"',
        '"red"',
        "[1,2]",
        '[1,"a"]',
        '["a"]',
        '{"a":1}',
    ),
    *('{"1":1.5}', '{"2026-01-01":"a"}', '{"item":"a","amount":"1","tags":["x"]}', '{"cents":5,"by":"x"}', "[1.0,2.0]"),
    '{"id":"12345678-1234-5678-1234-567812345678","lines":[{"item":"a","amount":"2","tags":[]}],"at":null}',
    '{"wait":"P1D","color":"blue"}',
]
json_bytes = bad_bytes(st.sampled_from(SEEDS).map(str.encode))
plain_values = st.recursive(
    st.one_of(
        *(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.sampled_from([10**400, -(10**400), 2**63, 2**64]),
            odd_texts,
            st.binary(max_size=9),
            st.decimals(),
        ),
        *(
            st.datetimes(),
            st.dates(),
            st.times(),
            st.timedeltas(),
            st.uuids(),
            st.sampled_from(Color),
            st.complex_numbers(),
        ),
        st.builds(object),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(odd_texts, st.integers(), st.floats(), st.none()), inner, max_size=3),
        st.tuples(inner, inner),
        st.builds(Line, item=inner, amount=inner),
    ),
    max_leaves=6,
)


def same(one: Any, other: Any) -> bool:
    return one == other or (one != one and other != other)


@pytest.mark.parametrize("hint", HINTS)
@given(json_bytes)
@example(b"[" * 100_000)
@example(b'"\xed\xa0\x80"')
@example(b"\xff")
@example(b"")
@fuzz(15)
def test_bytes_are_a_value_of_the_type_or_refused(hint: str, data: bytes) -> None:
    kind = ValueType.of(HINTS[hint], owner="fuzz")

    try:
        value = kind.decode(data)
    except PayloadNotDecodable:
        return
    try:
        again = kind.encode(value)
    except PayloadNotEncodable as refused:  # JSON can say more than is written: 1e400 for a float, say
        assert "no JSON form" in str(refused) or "too" in str(refused) or "chang" in str(refused), refused
        return
    assert same(kind.decode(again), value)


@pytest.mark.parametrize("hint", HINTS)
@given(plain_values)
@fuzz(15)
def test_a_value_becomes_bytes_that_give_it_back_or_is_refused(hint: str, value: Any) -> None:
    kind = ValueType.of(HINTS[hint], owner="fuzz")

    try:
        data = kind.encode(value)
    except PayloadNotEncodable as refused:
        assert len(str(refused)) < 3_000
        return
    json.loads(data)
    back = kind.decode(data)
    if type(value) is HINTS[hint]:  # else its JSON form was given for it
        assert back == value
    assert kind.encode(back) == data


def order(first: int, line: Line, *, at: datetime | None = None, **more: str) -> None: ...
def rest(first: int, *others: float) -> None: ...
def bare() -> None: ...


@pytest.mark.parametrize("fn", [order, rest, bare], ids=lambda each: each.__name__)
@given(
    bad_bytes(
        st.sampled_from(
            [
                b'[1,{"item":"a"}]',
                b'{"first":1,"line":{"item":"b"},"at":null,"x":"y"}',
                b"[]",
                b'{"first":1,"others":[1.5]}',
            ]
        )
    )
)
@example(b"[" * 100_000)
@example(b"null")
@fuzz(60)
def test_bytes_are_arguments_or_refused(fn: Callable[..., Any], data: bytes) -> None:
    parameters = Parameters.of(fn, owner="fuzz")

    try:
        args, kwargs = parameters.decode(data)
    except PayloadNotDecodable:
        return
    assert parameters.decode(parameters.encode(args, kwargs)) == (args, kwargs)


@pytest.mark.parametrize("fn", [order, rest, bare], ids=lambda each: each.__name__)
@given(
    st.lists(plain_values, max_size=3),
    st.dictionaries(st.one_of(odd_texts, st.sampled_from(["first", "line"])), plain_values, max_size=3),
)
@example([1, 10**400], {})
@fuzz(40)
def test_arguments_fit_or_are_refused_with_and_without_the_code(
    fn: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]
) -> None:
    parameters = Parameters.of(fn, owner="fuzz")
    for encode in (
        lambda: parameters.encode(tuple(args), kwargs),
        lambda: encode_untyped(parameters.published(), args, kwargs, owner="fuzz"),
        lambda: encode_untyped(None, args, kwargs, owner="fuzz"),
    ):
        try:
            data = encode()
        except (InvalidArguments, PayloadNotEncodable):
            continue
        json.loads(data)
