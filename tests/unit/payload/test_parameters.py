"""Arguments go to bytes and come back; what does not fit the signature is refused with advice."""

import functools
import math
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.errors import DefinitionError, InvalidArguments, PayloadNotDecodable, PayloadNotEncodable
from perdure.payload import Parameters, ValueType
from tests.unit.payload.models import Customer, Line, Numbers, Order, RushOrder, Socket

if TYPE_CHECKING:
    from decimal import Decimal


def of(fn: Callable[..., Any], **options: Any) -> Parameters:
    return Parameters.of(fn, owner="activity charge (shop.py:12)", **options)


def charge(amount: float, account: str, *, mode: Literal["a", "b"] = "a") -> None: ...
def ship(order: Order, weight: float | None = None) -> None: ...
def greet(customers: list[Customer], numbers: Numbers) -> None: ...
def nothing() -> None: ...
def untyped(a, b=2): ...
def positional(a: int, /, b: int = 2) -> None: ...
def rest(a: int, *more: int) -> None: ...
def rest_and_named(a: int, *more: int, b: int = 2) -> None: ...
def extra(a: int, **others: str) -> None: ...
def everything(a: int, /, b: int, c: int = 3, *more: int, d: int, e: int = 5, **others: str) -> None: ...


@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "data"),
    [
        (charge, (10.5, "x"), {}, b'[10.5,"x","a"]'),
        (charge, (10, "x"), {}, b'[10.0,"x","a"]'),
        (charge, (10.0,), {"mode": "b", "account": "x"}, b'[10.0,"x","b"]'),
        (ship, (Order("1", [Line("a")]),), {}, b'[{"id":"1","lines":[{"sku":"a","qty":1}],"prices":{},"note":null},null]'),
        (nothing, (), {}, b"[]"),
        (untyped, (1,), {}, b"[1,2]"),
        (untyped, ({"x": [1, None]}, "null"), {}, b'[{"x":[1,null]},"null"]'),
        (positional, (1,), {"b": 3}, b"[1,3]"),
        (rest, (1,), {}, b'{"a":1}'),
        (rest, (1, 2, 3), {}, b'{"a":1,"more":[2,3]}'),
        (rest_and_named, (1, 2, 3), {"b": 4}, b'{"a":1,"b":4,"more":[2,3]}'),
        (extra, (1,), {"z": "p", "y": "q"}, b'{"a":1,"z":"p","y":"q"}'),
        (everything, (1, 2), {"d": 4}, b'{"b":2,"a":1,"c":3,"d":4,"e":5}'),
    ],
)  # fmt: skip
def test_the_bytes_are_all_arguments_in_the_order_of_the_signature(fn, args, kwargs, data):
    encoded = of(fn).encode(args, kwargs)

    assert msgspec.json.decode(encoded) == msgspec.json.decode(data)
    if data.startswith(b"["):
        assert encoded == data


@pytest.mark.parametrize(
    ("fn", "args", "kwargs", "back"),
    [
        (charge, (10, "x"), {}, ((10.0, "x"), {"mode": "a"})),
        (ship, (Order("1", [Line("a")]), 2), {}, ((Order("1", [Line("a")]), 2.0), {})),
        (nothing, (), {}, ((), {})),
        (positional, (1,), {}, ((1, 2), {})),
        (rest, (1, 2, 3), {}, ((1, 2, 3), {})),
        (rest_and_named, (1, 2), {"b": 4}, ((1, 2), {"b": 4})),
        (extra, (), {"a": 1, "z": "p"}, ((1,), {"z": "p"})),
        (everything, (1, 2, 3, 9, 8), {"d": 4, "z": "p"}, ((1, 2, 3, 9, 8), {"d": 4, "e": 5, "z": "p"})),
    ],
)
def test_a_call_comes_back_with_its_defaults(fn, args, kwargs, back):
    parameters = of(fn)

    assert parameters.decode(parameters.encode(args, kwargs)) == back
    fn(*back[0], **back[1])


@pytest.mark.parametrize(
    ("fn", "data", "back"),
    [
        (charge, b'[10,"x"]', ((10.0, "x"), {"mode": "a"})),
        (charge, b'[10,"x","b"]', ((10.0, "x"), {"mode": "b"})),
        (charge, b'{"account":"x","amount":10}', ((10.0, "x"), {"mode": "a"})),
        (ship, b'{"order":{"id":"1","lines":[{"sku":"a"}]}}', ((Order("1", [Line("a")]), None), {})),
        (nothing, b"{}", ((), {})),
        (positional, b'{"a":1}', ((1, 2), {})),
        (rest, b"[1,2,3]", ((1, 2, 3), {})),
        (rest, b"[1]", ((1,), {})),
        (rest_and_named, b"[1,2,3]", ((1, 2, 3), {"b": 2})),
        (extra, b"[1]", ((1,), {})),
        (everything, b'{"a":1,"b":2,"d":4,"more":[],"z":"p"}', ((1, 2, 3), {"d": 4, "e": 5, "z": "p"})),
    ],
)
def test_arguments_are_read_by_position_and_by_name(fn, data, back):
    assert of(fn).decode(data) == back


@given(st.integers(), st.text(), st.integers() | st.none())
def test_exact_arguments_have_the_same_form_as_checked_ones(number, text, optional):
    def exact(a: int, b: str, c: int | None) -> None: ...

    parameters = of(exact)

    data = parameters.encode((number, text, optional), {})
    assert data == parameters.encode((number,), {"b": text, "c": optional})
    assert data == msgspec.json.encode([number, text, optional])
    assert parameters.decode(data) == ((number, text, optional), {})


REFUSED = [
    (charge, ("10", "x"), {}, "argument amount: expected float, found '10' (str)"),
    (charge, (True, "x"), {}, "argument amount: expected float, found True (bool)"),
    (charge, (10, None), {}, "argument account: expected str, found None"),
    (charge, (10, Socket()), {}, "argument account: expected str, found <tests.unit.payload.models.Socket"),
    (charge, (10, "x"), {"mode": "c"}, "argument mode: Invalid enum value 'c'; expected Literal['a', 'b']"),
    (charge, (), {}, "missing: amount, account"),
    (charge, (10,), {}, "missing: account"),
    (charge, (10, "x", "a"), {}, "expected at most 2 by position, found 3 arguments; surplus from 'a' (str) on"),
    (charge, (10, "x"), {"amount": 5}, "amount is given by position and by name; leave one out"),
    (charge, (10,), {"acount": "x"}, "there is no parameter acount; did you mean account?"),
    (charge, (10, "x"), {"whatever": 1}, "there is no parameter whatever; the signature"),
    (nothing, (1,), {}, "expected none by position, found 1 arguments; surplus from 1 (int) on"),
    (positional, (), {"a": 1}, "a can be given by position only"),
    (rest, (1, "2"), {}, "argument more[0]: expected int, found '2' (str)"),
    (rest, (1,), {"more": 2}, "more can be given by position only"),
    (extra, (1,), {"z": 5}, "argument others['z']: expected str, found 5 (int)"),
    (everything, (1, 2), {"d": 4, "a": 5}, "a is given by position and by name"),
    (ship, (5,), {}, "argument order: expected Order, found 5 (int)"),
    (ship, (RushOrder("1"),), {}, "argument order: expected Order, found RushOrder("),
    (ship, (Order("1", [Line("a", "2")]),), {}, "argument order.lines[0].qty: expected int, found '2' (str)"),  # pyright: ignore[reportArgumentType]
    (ship, (Order(uuid.UUID(int=1)),), {}, "argument order.id: expected str, found UUID("),  # pyright: ignore[reportArgumentType]
]  # fmt: skip


@pytest.mark.parametrize(("fn", "args", "kwargs", "message"), REFUSED)
def test_arguments_that_do_not_fit_are_refused(fn, args, kwargs, message):
    with pytest.raises(InvalidArguments) as refused:
        of(fn).encode(args, kwargs)

    assert f"activity charge (shop.py:12): {message}" in str(refused.value)
    assert "; the signature is (" in str(refused.value)


def test_the_json_form_of_a_pydantic_model_is_an_argument():
    anna = {"name": "Anna", "nickName": "A", "tags": ["x"], "since": "2026-01-01T00:00:00Z", "friend": {"name": "Bo"}}

    (customers, numbers), _ = of(greet).decode(of(greet).encode(([anna], [1, 2]), {}))

    assert customers == [Customer.model_validate(anna)]
    assert numbers == Numbers([1, 2])


@pytest.mark.parametrize(
    ("customer", "place"),
    [
        ({"name": "Anna", "tag": []}, "customers[0]: 'tag'"),
        ({"name": "Anna", "nick": "A"}, "customers[0]: 'nick'"),
        ({"name": "Anna", "friend": {"name": "Bo", "age": 5}}, "customers[0]['friend']: 'age'"),
    ],
    ids=["unknown", "has-an-alias", "nested"],
)
def test_a_key_that_a_pydantic_model_would_drop_is_refused(customer, place):
    with pytest.raises(InvalidArguments) as refused:
        of(greet).encode(([customer], [1]), {})

    assert f"argument {place} is not known here and would be lost" in str(refused.value)


def test_the_signature_is_shown_as_it_is_written():
    with pytest.raises(InvalidArguments) as refused:
        of(charge).encode((), {})

    shown = "the signature is (amount: float, account: str, *, mode: Literal['a', 'b'] = 'a')"
    assert str(refused.value).endswith(shown)


def test_a_python_that_called_the_function_would_have_said_type_error():
    with pytest.raises(TypeError):
        of(charge).encode((), {})


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((math.nan, "x"), "argument amount: nan (float) has no JSON form; leave it out, or pass None or a text"),
        ((math.inf, "x"), "argument amount: inf (float) has no JSON form"),
        ((1.0, "\ud800"), "argument account: '\\ud800' (str) has half a character in it"),
        ((2**53 + 1, "x"), "argument amount: 9007199254740993 (int) would come back as 9007199254740992.0 (float)"),
    ],
    ids=["nan", "inf", "surrogate", "large"],
)
def test_a_value_that_json_would_change_is_not_encodable(args, message):
    with pytest.raises(PayloadNotEncodable) as refused:
        of(charge).encode(args, {})

    assert message in str(refused.value)


def test_nan_is_not_taken_for_none():
    with pytest.raises(PayloadNotEncodable, match="argument a: nan"):
        of(untyped).encode((math.nan,), {})
    with pytest.raises(PayloadNotEncodable, match="argument weight: nan"):
        of(ship).encode((Order("1"), math.nan), {})


@pytest.mark.parametrize(
    ("fn", "data", "message"),
    [
        (charge, b'["10","x"]', "argument amount: expected float, found '10' (str)"),
        (charge, b'{"amount":10,"account":5}', "argument account: expected str, found 5 (int)"),
        (charge, b"[10]", "missing: account"),
        (charge, b'[10,"x","a",1]', "expected at most 3 arguments, found 4"),
        (charge, b'{"amount":10,"acount":"x"}', "missing: account"),
        (charge, b'{"amount":10,"account":"x","mood":"a"}', "there is no parameter mood; did you mean mode?"),
        (ship, b'[{"id":"1","lines":[{}]}]', "argument order.lines[0]: Object missing required field sku; found {} (dict)"),
        (rest, b'[1,2,"3"]', "argument more[1]: expected int, found '3' (str)"),
        (charge, b"5", "expected arguments as a JSON array or object, found b'5'"),
        (charge, b"", "expected arguments as a JSON array or object, found b''"),
        (charge, b"[", "expected arguments as a JSON array or object, found b'['"),
        (charge, b'["\xff","x"]', "argument amount: expected float as JSON, found"),
        (charge, b'[1,"\xff"]', "argument account: expected str as JSON, found b'\"\\xff\"'"),
        (charge, b"[" * 100_000, "expected arguments as a JSON array or object"),
    ],
)  # fmt: skip
def test_bytes_that_do_not_fit_the_signature_say_why(fn, data, message):
    with pytest.raises(PayloadNotDecodable) as refused:
        of(fn).decode(data)

    assert f"activity charge (shop.py:12): {message}" in str(refused.value)
    assert "; the signature is (" in str(refused.value)


def test_self_is_left_out_of_a_method():
    class Shop:
        async def run(self: "NeverDefined", amount: int) -> None: ...  # noqa: F821  # pyright: ignore[reportUndefinedVariable]

    parameters = of(Shop.run, skip=1)

    assert parameters.encode((5,), {}) == b"[5]"
    assert parameters.published()["names"] == ["amount"]


def test_a_wrapped_function_has_the_parameters_of_the_one_inside():
    @functools.wraps(charge)
    def wrapped(*args, **kwargs): ...

    assert of(wrapped).encode((1, "x"), {}) == b'[1.0,"x","a"]'


def only_for_type_checkers(a: int, price: "Decimal") -> "Decimal": ...
def wrong_default(a: int = None) -> None: ...  # noqa: RUF013  # pyright: ignore[reportArgumentType]
def wrong_nested_default(order: Order = Order("1", [5])) -> None: ...  # pyright: ignore[reportArgumentType]
def takes_a_socket(socket: Socket) -> None: ...
def takes_sockets(*sockets: Socket) -> None: ...


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (only_for_type_checkers, "the type hint 'Decimal' of parameter price cannot be resolved (name 'Decimal' is not "
                                 "defined); define or import the type at the top of the module"),
        (wrong_default, "the default of parameter a: expected int, found None; write int | None"),
        (wrong_nested_default, "the default of parameter order.lines[0]: expected dict, found 5 (int)"),
        (takes_a_socket, "parameter socket: Socket has no JSON form; what works: None, bool, int, float, str"),
        (takes_sockets, "parameter sockets in list[Socket]: Socket has no JSON form"),
    ],
)  # fmt: skip
def test_a_signature_that_cannot_work_is_refused_when_it_is_defined(fn, message):
    with pytest.raises(DefinitionError) as refused:
        of(fn)

    assert f"activity charge (shop.py:12): {message}" in str(refused.value)


def test_what_is_published_tells_names_defaults_and_types():
    published = of(ship).published()

    assert published["names"] == ["order", "weight"]
    assert published["required"] == 1
    assert published["schema"]["required"] == ["order"]
    assert published["schema"]["properties"]["order"] == {"$ref": "#/$defs/Order"}
    assert published["schema"]["properties"]["weight"]["default"] is None
    assert published["schema"]["$defs"]["Line"]["properties"]["sku"] == {"type": "string"}
    assert msgspec.json.decode(msgspec.json.encode(published)) == published


def test_what_is_published_of_parameters_without_hints_has_no_types():
    assert of(untyped).published() == {
        "names": ["a", "b"],
        "required": 1,
        "schema": {"type": "object", "properties": {"a": {}, "b": {"default": 2}}, "required": ["a"]},
    }


def result(fn: Callable[..., Any]) -> ValueType:
    return ValueType.result_of(fn, owner="workflow w")


async def gives_order() -> Order: ...  # pyright: ignore[reportReturnType]
async def gives_something(): ...
def gives_nothing() -> None: ...


def test_the_result_has_the_type_of_the_return_annotation():
    assert result(gives_order).decode(b'{"id":"1"}') == Order("1")
    assert result(gives_something).decode(b'{"id":"1"}') == {"id": "1"}
    with pytest.raises(PayloadNotEncodable, match=r"workflow w: the result: expected None, found 5 \(int\)"):
        result(gives_nothing).encode(5)


@pytest.mark.parametrize("fn", [lambda: 1, functools.partial(gives_order), math.floor, uuid.uuid4, print, "x".upper])
def test_the_result_of_what_has_no_annotation_is_anything(fn):
    assert result(fn).decode(result(fn).encode([1, "a"])) == [1, "a"]


def test_the_result_of_a_class_is_one_of_its_values():
    kind = result(Order)

    assert kind.decode(kind.encode(Order("1"))) == Order("1")


def test_a_return_annotation_that_cannot_be_resolved_is_refused():
    with pytest.raises(DefinitionError, match="the type hint 'Decimal' of the result cannot be resolved"):
        result(only_for_type_checkers)
