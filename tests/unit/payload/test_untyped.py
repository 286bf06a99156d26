"""Arguments of a client that does not have the code."""

import math
from typing import Any

import pytest

from perdure.errors import InvalidArguments, PayloadNotEncodable
from perdure.payload import Parameters, encode_untyped
from tests.unit.payload.models import Line, Order


def process(amount: float, order: Order, note: str = "none", *, urgent: bool = False) -> None: ...
def keep(first: int, second: Any = Order("1"), third: Any = object) -> None: ...
def several(first: int, *rest: float, **others: float) -> None: ...
def nothing() -> None: ...


PROCESS = Parameters.of(process, owner="w")
SEVERAL = Parameters.of(several, owner="w")
ORDER = {"id": "1", "prices": {"a": 1}}


def encode(parameters: Parameters | None, *args: Any, **kwargs: Any) -> bytes:
    published = None if parameters is None else parameters.published()
    return encode_untyped(published, args, kwargs, owner="workflow process")


def test_without_what_was_published_it_is_an_array_or_an_object():
    assert encode(None, 1, "a") == b'[1,"a"]'
    assert encode(None, amount=1) == b'{"amount":1}'
    assert encode(None) == b"[]"
    with pytest.raises(InvalidArguments, match="by position and by name; its parameters are not known here"):
        encode(None, 1, amount=1)


def test_with_what_was_published_it_is_all_arguments_in_order():
    assert encode(PROCESS, 10, order={"id": "1"}) == b'[10.0,{"id":"1"},"none",false]'
    assert encode(PROCESS, urgent=True, order={"id": "1"}, amount=10) == b'[10.0,{"id":"1"},"none",true]'


def test_the_bytes_are_those_that_the_code_would_give():
    whole = {"id": "1", "lines": [{"sku": "a", "qty": 2}], "prices": {"a": 1}, "note": None}

    assert encode(PROCESS, 10, whole) == PROCESS.encode((10, Order("1", [Line("a", 2)], {"a": 1})), {})
    assert encode(SEVERAL, 1, 2, 3, x=4) == SEVERAL.encode((1, 2, 3), {"x": 4})
    assert encode(Parameters.of(nothing, owner="w")) == b"[]"


def test_what_is_encoded_is_read_by_the_code():
    args, kwargs = PROCESS.decode(encode(PROCESS, 10, ORDER, urgent=True))

    assert args == (10.0, Order("1", [], {"a": 1.0}), "none")
    assert kwargs == {"urgent": True}
    assert SEVERAL.decode(encode(SEVERAL, 1, 2, x=4)) == ((1, 2.0), {"x": 4.0})


def test_a_gap_without_a_published_default_makes_it_an_object():
    published = {"names": ["a", "b", "c"], "required": 1, "schema": {}}

    assert encode_untyped(published, (1,), {"c": 3}, owner="w") == b'{"a":1,"c":3}'
    assert encode_untyped(published, (1,), {"b": 3}, owner="w") == b"[1,3]"


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, "expected amount, order, note, urgent; missing: amount, order"),
        ((1,), {"oder": {}}, "there is no parameter oder; did you mean order?; it takes amount, order, note, urgent"),
        ((1, {}), {"amount": 1}, "amount is given by position and by name; leave one out"),
        (
            (1, {}, "", True, 5),
            {},
            "expected at most 4 arguments (amount, order, note, urgent), found 5; surplus from 5",
        ),
    ],
)
def test_names_and_number_are_checked_against_what_was_published(args, kwargs, message):
    with pytest.raises(InvalidArguments) as refused:
        encode(PROCESS, *args, **kwargs)

    assert f"workflow process: {message}" in str(refused.value)


def test_a_workflow_without_parameters_takes_none():
    with pytest.raises(InvalidArguments, match="there is no parameter x; it takes none"):
        encode(Parameters.of(nothing, owner="w"), x=1)
    with pytest.raises(InvalidArguments, match="expected no arguments, found 1"):
        encode(Parameters.of(nothing, owner="w"), 1)


def test_values_are_those_of_json():
    with pytest.raises(PayloadNotEncodable, match=r"workflow process: arguments\[0\]: nan \(float\) has no JSON form"):
        encode(PROCESS, math.nan, ORDER)
    with pytest.raises(PayloadNotEncodable, match=r"arguments\['x'\]\[0\]: range\(0, 3\) \(range\) has no JSON form"):
        encode(None, x=[range(3)])
