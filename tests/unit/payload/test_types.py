"""Values of every type go to bytes and come back as they were, or are refused."""

import collections
import datetime as dt
import math
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType, Optional

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.errors import DefinitionError, PayloadNotDecodable, PayloadNotEncodable
from perdure.payload import ValueType
from tests.unit.payload.models import (
    Address,
    Box,
    Cat,
    Color,
    Connection,
    Customer,
    Dog,
    Doubled,
    Hidden,
    Level,
    Line,
    Node,
    Noted,
    Numbers,
    Order,
    Pair,
    Parcel,
    Picky,
    Point,
    Private,
    Rights,
    RushOrder,
    Secret,
    Socket,
)

NOON = dt.datetime(2024, 5, 6, 12, 0, 0, 123456, tzinfo=dt.UTC)
KEY = uuid.UUID(int=7)


def named(part: Any) -> str | None:
    """A test's id that is the same in every process."""
    return getattr(part, "__name__", None)


def of(hint: Any) -> ValueType:
    return ValueType.of(hint, owner="activity a")


def there_and_back(hint: Any, value: Any) -> Any:
    kind = of(hint)
    return kind.decode(kind.encode(value))


EACH = [
    (None, None),
    (bool, True),
    (int, -5),
    (int, 2**64 + 1),
    (int, -(10**100)),
    (float, 0.1),
    (str, "naïve\0\n語"),
    (bytes, b"\x00\xff"),
    (dt.datetime, NOON),
    (dt.datetime, NOON.replace(tzinfo=None)),
    (dt.datetime, NOON.astimezone(dt.timezone(dt.timedelta(hours=-3, minutes=-30)))),
    (dt.date, NOON.date()),
    (dt.time, NOON.time()),
    (dt.timedelta, dt.timedelta(days=-3, microseconds=1)),
    (Decimal, Decimal("1.10")),
    (uuid.UUID, KEY),
    (Color, Color.RED),
    (Level, Level.HIGH),
    (Rights, Rights.READ | Rights.WRITE),
    (Literal["a", 2, None], 2),
    (list[dt.date], [NOON.date()]),
    (set[uuid.UUID], {KEY, uuid.UUID(int=1)}),
    (set[Color], {Color.RED, Color.BLUE}),
    (set[int | str | None], {1, "1", None}),
    (set[frozenset[int]], {frozenset({1, 2}), frozenset({3})}),
    (set[Point], {Point(1, frozenset("ab")), Point(2)}),
    (frozenset[Decimal], frozenset({Decimal(1), Decimal("2.5")})),
    (tuple[int, str], (1, "a")),
    (tuple[Color, ...], (Color.RED,)),
    (tuple[()], ()),
    (dict[str, bytes], {"a": b"b"}),
    (dict[int, str], {1: "a", 10: "b"}),
    (dict[uuid.UUID, dt.date], {KEY: NOON.date()}),
    (dict[Color, int], {Color.RED: 1}),
    (Order, Order("1", [Line("a"), Line("b", 2)], {"a": 2.5})),
    (Noted, Noted("1", {"a": [1, {"b": None}]}, 2.5)),
    (Doubled, Doubled(4)),
    (Point, Point(1, frozenset("xyz"))),
    (Node, Node(1, Node(2), [Node(3)])),
    (Box[set[int]], Box({3, 1})),
    (Pair, Pair(1)),
    (Address, {"street": "Main", "number": 5}),
    (Parcel, Parcel(2.5, {"a", "b"})),
    (Cat, Cat("Tom", {"Butch", "Meathead"})),
    (Cat | Dog, Dog("Spike")),
    (Customer, Customer(name="Ada", tags={"a", "b"}, since=NOON, friend=Customer(name="Bob"), nickName="Ad")),
    (Numbers, Numbers([1, 2])),
    (int | str, "a"),
    (float | int, 3),
    (NewType("UserId", int), 5),
    (Annotated[int, msgspec.Meta(gt=0)], 5),
    (object, [1, "a"]),
]


def within(hint: Any) -> Any:
    return Optional[hint]  # noqa: UP045  `|` does not take every kind of hint


@pytest.mark.parametrize(("hint", "value"), EACH, ids=named)
def test_a_value_comes_back_as_it_was(hint, value):
    back = there_and_back(hint, value)

    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(("hint", "value"), EACH, ids=named)
def test_it_comes_back_from_inside_others_too(hint, value):
    inside: Any = dict[str, tuple[list[within(hint)], within(hint)]]  # pyright: ignore[reportInvalidTypeForm]
    whole = {"a": ([value, None], value), "b": ([], None)}

    assert there_and_back(inside, whole) == whole


@pytest.mark.parametrize(("hint", "value"), EACH, ids=named)
def test_its_schema_is_json(hint, value):
    assert isinstance(msgspec.json.decode(msgspec.json.encode(of(hint).schema())), dict)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_any_gives_back_what_json_holds(value):
    assert there_and_back(Any, value) == value


@given(st.sets(st.integers() | st.text() | st.tuples(st.integers())))
def test_a_set_has_one_form_whatever_its_order(elements):
    backwards: set[Any] = set()
    backwards.update(reversed([*elements]))

    assert of(Any).encode(elements) == of(Any).encode(backwards)


@given(st.integers(-(2**53), 2**53))
def test_a_whole_number_has_one_form_as_a_float(number):
    assert of(float).encode(number) == of(float).encode(float(number))


def test_sets_have_the_same_form_in_every_process():
    program = (
        "from typing import Any; from perdure.payload import ValueType\n"
        "from tests.unit.payload.models import *\n"
        "of = lambda hint, value: print(ValueType.of(hint, owner='x').encode(value))\n"
        "of(Any, {'a': {'x', 'y', 'z'}, 'b': [frozenset({('p', 1), ('q', 2), None})]})\n"
        "of(Parcel, Parcel(1, {'x', 'y', 'z'})); of(Cat, Cat('Tom', {'x', 'y', 'z'}))\n"
        "of(Customer, Customer(name='Ada', tags={'x', 'y', 'z'}, friend=Customer(name='Bob', tags={'x', 'y', 'z'})))\n"
    )

    said = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(said) == 1
    assert b'["x","y","z"]' in said.pop()


def test_a_default_that_was_not_written_is_written_from_then_on():
    partial = of(Order).decode(b'{"id":"1","lines":[{"sku":"a"}]}')

    assert of(Order).encode(partial) == of(Order).encode(Order("1", [Line("a")]))
    assert of(Any).encode([partial]) == of(Any).encode([Order("1", [Line("a")])])


def test_the_order_of_a_dict_is_kept():
    assert list(there_and_back(dict[str, int], {"b": 1, "a": 2})) == ["b", "a"]
    assert of(Any).encode({"b": {2, 1}, "a": 2}) == b'{"b":[1,2],"a":2}'


def test_any_gives_back_a_dict_for_a_dataclass_a_list_for_a_tuple_and_a_text_for_a_date():
    assert there_and_back(Any, [Line("a"), (1, 2), {3}, NOON.date(), KEY, Color.RED]) == [
        {"sku": "a", "qty": 1},
        [1, 2],
        [3],
        "2024-05-06",
        str(KEY),
        "r",
    ]


def test_the_json_form_of_a_value_may_be_given_for_it():
    given = {"id": "1", "lines": [{"sku": "a"}]}

    assert there_and_back(Order, given) == Order("1", [Line("a")])
    assert of(Order).encode(given) == of(Order).encode(Order("1", [Line("a")]))
    assert there_and_back(dt.date, "2024-05-06") == NOON.date()
    assert there_and_back(set[Color], ["b", "r"]) == {Color.RED, Color.BLUE}
    assert there_and_back(dict[int, str], {"1": "a"}) == {1: "a"}
    assert there_and_back(Cat, {"type": "Cat", "fullName": "Tom"}) == Cat("Tom")


def test_a_subclass_of_a_plain_type_becomes_the_plain_type():
    class Euros(float): ...

    class Name(str): ...

    assert there_and_back(list[float], [Euros(2.5)]) == [2.5]
    assert there_and_back(dict[str, str], {Name("a"): Name("b")}) == {"a": "b"}
    assert there_and_back(Any, collections.Counter("aab")) == {"a": 2, "b": 1}


REFUSED = [
    (int, "1", "expected int, found '1' (str)"),
    (int, 1.0, "expected int, found 1.0 (float)"),
    (int, True, "expected int, found True (bool)"),
    (float, False, "expected float, found False (bool)"),
    (float, "1", "expected float, found '1' (str)"),
    (str, 1, "expected str, found 1 (int)"),
    (str, b"a", "expected str, found b'a' (bytes)"),
    (str, KEY, f"expected str, found {KEY!r} (UUID)"),
    (str, Color.RED, "expected str, found <Color.RED: 'r'> (Color)"),
    (bytes, "abcd", "expected bytes, found 'abcd' (str); encode it"),
    (None, 5, "expected None, found 5 (int)"),
    (int, None, "expected int, found None"),
    (int, Socket, "expected int, found <class 'tests.unit.payload.models.Socket'> (type)"),
    (list[int], {1}, "expected list, found {1} (set)"),
    (tuple[int, int], (1,), "expected list of length 2, found (1,) (tuple)"),
    (Annotated[int, msgspec.Meta(gt=0)], 0, "expected int >= 1, found 0 (int)"),
    (Literal["a", "b"], "c", "Invalid enum value 'c'; expected Literal['a', 'b'], found 'c' (str)"),
    (Order, Order(KEY), f".id: expected str, found {KEY!r} (UUID)"),  # pyright: ignore[reportArgumentType]
    (Order, Order("1", [Line("a", "2")]), ".lines[0].qty: expected int, found '2' (str)"),  # pyright: ignore[reportArgumentType]
    (Order, Order("1", prices={"a": 1, "b": "x"}), ".prices['b']: expected float, found 'x' (str)"),  # pyright: ignore[reportArgumentType]
    (dict[str, dict[int, int]], {"a": {1: 1}, "b": {"x": 1}}, "['b']: expected int as a key, found 'x' (str)"),
    (Order, RushOrder("1"), "expected Order, found RushOrder("),
    (Order, Line("1"), "Object missing required field id; expected Order, found Line("),
    (Order, {"id": "1", "lines": [{"sku": "a", "qtty": 5}]}, "['lines'][0]: 'qtty' is not known here"),
    (Address, {"street": "Main", "nr": 5}, "'nr' is not known here and would be lost"),
    (Customer, {"name": 5}, "name: Input should be a valid string, found 5 (int); expected Customer"),
    (set[int], {1j}, "expected set[int], found {1j} (set)"),
    (list[tuple], [1], "[0]: expected list, found 1 (int)"),
    (set[int], [1, 1], "2 elements would come back as 1"),
]


@pytest.mark.parametrize(("hint", "value", "message"), REFUSED, ids=named)
def test_a_value_of_another_type_is_refused_with_its_place(hint, value, message):
    with pytest.raises(PayloadNotEncodable) as refused:
        of(hint).encode(value)

    place = "" if message.startswith((".", "[")) else ": "
    assert f"activity a: the result{place}{message}" in str(refused.value)


NAN, INF = math.nan, math.inf
CHANGED = [
    (float, NAN, "nan (float) has no JSON form; leave it out, or pass None or a text"),
    (float, INF, "inf (float) has no JSON form"),
    (float | None, NAN, "nan (float) has no JSON form"),
    (int | None, NAN, "nan (float) has no JSON form"),
    (Any, [-INF], "[0]: -inf (float) has no JSON form"),
    (Any, {"a": (1, {NAN})}, "['a'][1]: nan (float) has no JSON form"),
    (Noted, Noted("1", weight=NAN), ".weight: nan (float) has no JSON form"),
    (Noted, Noted("1", {"a": NAN}), ".meta['a']: nan (float) has no JSON form"),
    (Order, Order("1", prices={"a": NAN}), ".prices['a']: nan (float) has no JSON form"),
    (Any, {1: "a"}, "the key 1 (int) would come back as a text; say so with a hint such as dict[int, ...]"),
    (Any, {"a": ({Color.RED: 1},)}, "['a'][0]: the key <Color.RED: 'r'> (Color) would come back as a text"),
    (dict, {NOON.date(): 1}, "the key datetime.date(2024, 5, 6) (date) would come back as a text"),
    (float, 2**53 + 1, "9007199254740993 (int) would come back as 9007199254740992.0 (float)"),
    (Hidden, Hidden(token="x"), "cannot be dumped as JSON: it cannot be read again: token: Field required"),
    (Secret, Secret(password="hidden"), "cannot be dumped as JSON: its field password"),  # pyright: ignore[reportArgumentType]
    (dt.datetime, NOON.replace(tzinfo=dt.timezone(dt.timedelta(seconds=3208))), "would come back as datetime.datetime"),
]


@pytest.mark.parametrize(("hint", "value", "message"), CHANGED, ids=named)
def test_what_would_come_back_changed_is_refused(hint, value, message):
    with pytest.raises(PayloadNotEncodable) as refused:
        of(hint).encode(value)

    assert message in str(refused.value)


def test_a_field_that_a_class_sets_itself_is_compared():
    altered = Doubled(1)
    altered.y = 7

    with pytest.raises(PayloadNotEncodable, match=r"\.y: 7 \(int\) would come back as 2 \(int\)"):
        of(Doubled).encode(altered)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["a\ud800"], "[0]: 'a\\ud800' (str) has half a character in it"),
        ({"a\ud800": 1}, "'a\\ud800' (str) cannot be a key"),
        ({(1, 2): 1}, "(1, 2) (tuple) cannot be a key; use texts or numbers"),
        ([10**5000], "[0]: an int of 16,610 bits is too large"),
        ([1, {"a": range(3)}], "[1]['a']: range(0, 3) (range) has no JSON form; what works: None, bool, int"),
        (Order("1", [Socket()]), ".lines[0]: <tests.unit.payload.models.Socket object"),  # pyright: ignore[reportArgumentType]
        ({1, 1j}, "1j (complex) has no JSON form"),
        ({(1j,)}, "[0]: 1j (complex) has no JSON form"),
    ],
)
def test_what_has_no_json_form_is_named_with_its_place(value, message):
    with pytest.raises(PayloadNotEncodable) as refused:
        of(Any).encode(value)

    assert message in str(refused.value)


def test_a_value_whose_repr_fails_is_refused_all_the_same():
    class Mute:
        def __repr__(self) -> str:
            raise OSError

    with pytest.raises(PayloadNotEncodable, match=r"\(its repr raises OSError\)"):
        of(Any).encode(Mute())


def cycle_of_lists() -> Any:
    cycle: list[Any] = []
    cycle.append((cycle, {1}))
    return cycle


def cycle_of_nodes() -> Any:
    node = Node(1)
    node.next = node
    return node


def deep() -> Any:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    return value


@pytest.mark.parametrize("hint", [Any, list, Node])
@pytest.mark.parametrize("make", [cycle_of_lists, cycle_of_nodes, deep])
def test_a_value_that_contains_itself_or_has_no_end_is_refused(hint, make):
    with pytest.raises(PayloadNotEncodable) as refused:
        of(hint).encode(make())

    assert len(str(refused.value)) < 1_000


def test_bytes_nested_too_deeply_are_refused():
    with pytest.raises(PayloadNotDecodable, match="nested too deeply"):
        of(Any).decode(b"[" * 100_000 + b"]" * 100_000)


@pytest.mark.parametrize(
    ("hint", "data", "message"),
    [
        (int, b'"1"', "expected int, found '1' (str)"),
        (Order, b'{"id":"1","lines":[{"sku":"a"},{"sku":2}]}', ".lines[1].sku: expected str, found 2 (int)"),
        (Order, b'{"lines":[]}', "Object missing required field id; expected Order, found {'lines': []} (dict)"),
        (list[Customer], b'[{"name":"a"},{"name":5}]', "[1]: name: Input should be a valid string, found 5 (int)"),
        (int, b"{", "expected int as JSON, found b'{'"),
        (int, b"", "expected int as JSON, found b''"),
        (str, b'"\xff"', "expected str as JSON, found b'\"\\xff\"'"),
        (Picky, b'{"x":-1}', "making a Picky of it raised KeyError: 'no shelf below the ground'"),
    ],
)
def test_bytes_that_do_not_fit_say_where_and_what_was_found(hint, data, message):
    with pytest.raises(PayloadNotDecodable) as refused:
        of(hint).decode(data)

    place = "" if message.startswith((".", "[")) else ": "
    assert f"activity a: the result{place}{message}" in str(refused.value)


def test_an_exception_of_the_class_is_the_cause():
    with pytest.raises(PayloadNotDecodable) as refused:
        of(Picky).decode(b'{"x":-1}')

    assert isinstance(refused.value.__cause__, KeyError)


@given(st.dictionaries(st.text(), st.integers(), min_size=1, max_size=30), st.data())
def test_the_key_of_a_wrong_item_is_found_among_many(items, data):
    guilty = data.draw(st.sampled_from(sorted(items)))
    wrong = msgspec.json.encode({**items, guilty: "no number"})

    with pytest.raises(PayloadNotDecodable) as refused:
        of(dict[str, int]).decode(wrong)

    assert f"the result[{guilty!r}]: expected int, found 'no number' (str)" in str(refused.value)


def test_a_field_that_the_class_no_longer_has_is_ignored():
    assert of(Line).decode(b'{"sku":"a","qty":2,"color":"red"}') == Line("a", 2)


@pytest.mark.parametrize(
    ("hint", "message"),
    [
        (Socket, "the result: Socket has no JSON form; what works: None, bool, int, float, str, bytes, Decimal"),
        (list[Socket], "the result in list[Socket]: Socket has no JSON form"),
        (dict[str, Connection], "the result.socket in dict[str, Connection]: Socket has no JSON form"),
        (Callable[[], int], "Callable has no JSON form"),
        (Iterator[int], "Iterator has no JSON form"),
        (collections.OrderedDict, "OrderedDict has no JSON form"),
        (complex, "complex has no JSON form"),
        (Private, "the result._secret in Private: attrs keeps it private and it would not be written; rename it"),
        (dict[tuple[int, int], str], "the keys of a dict must be texts, numbers"),
        (Line | Order, "make them msgspec.Struct classes with tag=True, or one dataclass with optional fields"),
        (dt.date | str, "in JSON all of them are texts; use one of them"),
        (Customer | int, "a pydantic model may be joined with None only"),
        ("Order", "Type ''Order'' is not supported"),
    ],
    ids=named,
)
def test_a_type_that_nobody_can_encode_is_refused_when_it_is_defined(hint, message):
    with pytest.raises(DefinitionError) as refused:
        of(hint)

    assert message in str(refused.value)
    assert str(refused.value).startswith("activity a: the result")


def test_a_hint_that_cannot_be_hashed_is_compiled_all_the_same():
    assert there_and_back(Annotated[int, ["not", "hashable"]], 5) == 5


def test_the_schema_names_the_classes_it_refers_to():
    schema = of(list[Line]).schema()

    assert schema["items"] == {"$ref": "#/$defs/Line"}
    assert schema["$defs"]["Line"]["properties"]["sku"] == {"type": "string"}


def test_importing_payloads_is_cheap_and_does_not_load_pydantic():
    program = (
        "import sys, perdure.kernel.events; before = set(sys.modules); import perdure.payload\n"
        "print([name for name in set(sys.modules) - before if not name.startswith('perdure')])\n"
        "print('pydantic' in sys.modules, 'attrs' in sys.modules)"
    )

    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert said.splitlines()[1] == "False False"
