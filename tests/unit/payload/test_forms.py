"""Forms: checked by their type where the code is, by their published schema where it is not."""

import enum
import json
import time
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pydantic
import pytest

from perdure.errors import AnswerMisfit, DefinitionError
from perdure.payload.fitting import wrong_in
from perdure.payload.forms import Form, fields_of, outgrown


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


@dataclass
class Term:
    months: int
    rate: float


@dataclass
class Decision:
    approved: bool
    note: str = ""
    limit: float | None = None
    mood: Mood | None = None
    terms: list[Term] = field(default_factory=list)
    on: date | None = None
    kind: Literal["a", "b"] = "a"
    more: dict[str, int] = field(default_factory=dict)


class Yes(msgspec.Struct, tag=True):
    limit: int


class No(msgspec.Struct, tag=True):
    why: str


DECISION = Form(Decision, "task 'Approve'")


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ({"approved": True}, []),
        ({"approved": False, "limit": 3, "mood": "good", "terms": [{"months": 3, "rate": 2}], "kind": "b"}, []),
        ({"approved": True, "on": "2026-01-02", "more": {"x": 1}, "limit": None}, []),
        ({}, ["field approved: expected true or false, found nothing"]),
        ({"approved": 1}, ["field approved: expected true or false, found 1 (int)"]),
        ({"approved": True, "note": None}, ["field note: expected a text, found None"]),
        ({"approved": True, "aproved": True}, ["there is no field aproved; did you mean approved?"]),
        ({"approved": True, "mood": "so so"}, ['field mood: expected null or one of "bad", "good", found \'so so\' (str)']),
        ({"approved": True, "limit": True}, ["field limit: expected null or a number, found True (bool)"]),
        ({"approved": True, "terms": [{"months": 1.5, "rate": 1}]}, ["field terms[0].months: expected a whole number, found 1.5 (float)"]),
        ({"approved": True, "kind": "c"}, ['field kind: expected one of "a", "b", found \'c\' (str)']),
        ({"approved": True, "more": {"x": "y"}}, ["field more.x: expected a whole number, found 'y' (str)"]),
        ([True], ["expected an object with approved, note, limit, mood, terms, on, kind, more, found [True] (list)"]),
        ("yes", ["expected an object with approved, note, limit, mood, terms, on, kind, more, found 'yes' (str)"]),
    ],
)  # fmt: skip
def test_a_schema_tells_field_by_field_what_is_wrong(answer: Any, wrong: list[str]) -> None:
    def sort(text: str) -> str:  # in which order msgspec names the members of a union is its affair
        return " ".join(sorted(text.replace(",", "").split()))

    assert [sort(str(each)) for each in wrong_in(DECISION.schema, answer)] == [sort(each) for each in wrong]


@pytest.mark.parametrize(
    "answer", [{"approved": True}, {"approved": 1}, {"approved": True, "terms": [{"months": "x", "rate": 1}]}, 7]
)
def test_type_and_schema_agree(answer: Any) -> None:
    try:
        DECISION.decode(json.dumps(answer).encode())
        fits = True
    except AnswerMisfit:
        fits = False

    assert fits == (not wrong_in(DECISION.schema, answer))


def test_a_misfit_of_the_type_names_the_field() -> None:
    with pytest.raises(
        AnswerMisfit,
        match=r"the answer to task 'Approve' does not fit its form: field approved: expected bool, found 1",
    ):
        DECISION.decode(b'{"approved": 1}')


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (bool, [True], ["true", 1, None]),
        (None, [None], [False, {}]),
        (int, [3], [3.5, True]),
        (float, [3, 3.5], [True, "3"]),
        (tuple[int, str], [[1, "a"]], [["a", 1]]),
        (Yes | No, [{"type": "Yes", "limit": 1}, {"type": "No", "why": ""}], [{"type": "Maybe"}, {"type": "Yes", "limit": ""}]),
        (Any, [1, None, {}], []),
    ],
)  # fmt: skip
def test_answers_of_many_types(hint: Any, good: list[Any], bad: list[Any]) -> None:
    schema = Form(hint, "task 'x'").schema

    assert [wrong_in(schema, each) for each in good] == [[] for _ in good]
    assert [bool(wrong_in(schema, each)) for each in bad] == [True for _ in bad]


class Leaf(msgspec.Struct, tag=True):
    inner: "Leaf | Branch | None" = None
    size: int = 0


class Branch(msgspec.Struct, tag=True):
    inner: "Leaf | Branch | None" = None
    size: int = 0


def nested(depth: int, innermost: Any = None) -> Any:
    value = innermost
    for n in range(depth):
        value = {"type": ("Leaf", "Branch")[n % 2], "inner": value, "size": n}
    return value


class Left(pydantic.BaseModel):
    inner: "Left | Right | None" = None
    size: int = 0


class Right(pydantic.BaseModel):
    inner: "Left | Right | None" = None
    size: int = 0
    more: int = 0


def test_a_union_in_a_union_takes_no_time_that_doubles_with_each() -> None:
    tagged, untagged = Form(Leaf | Branch, "task 'x'").schema, Form(Left, "task 'x'").schema
    began = time.monotonic()

    assert wrong_in(tagged, nested(100)) == []
    (wrong,) = wrong_in(tagged, nested(50, 7))
    value: Any = {"size": "x"}
    for _ in range(100):
        value = {"inner": value}
    wrong_in(untagged, value)

    assert wrong.field == ".".join(["inner"] * 50)
    assert time.monotonic() - began < 5


class Bounded(msgspec.Struct):
    share: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    above: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.5
    code: Annotated[str, msgspec.Meta(min_length=2, max_length=3)] = "ab"
    sign: Annotated[str, msgspec.Meta(pattern="^[A-Z]+$")] = "A"
    pair: tuple[int, str] = (1, "a")
    some: Annotated[list[int], msgspec.Meta(min_length=1)] = msgspec.field(default_factory=lambda: [1])
    on: date = date(2026, 1, 1)
    wait: timedelta = timedelta()
    price: Decimal = Decimal(1)
    key: UUID = UUID(int=0)
    raw: bytes = b""


@pytest.mark.parametrize(
    ("field", "good", "bad", "expected"),
    [
        ("share", [0, 100], [-1, 101], "a whole number of 0 to 100"),
        ("above", [0.1], [0, 1], "a number more than 0 less than 1"),
        ("code", ["ab", "abc"], ["a", "abcd"], "a text of 2 to 3 characters"),
        ("sign", ["AB"], ["ab", ""], "a text that matches ^[A-Z]+$"),
        ("pair", [[1, "a"]], [[1], [1, "a", 2]], "a list of a whole number and a text"),
        ("some", [[1]], [[]], "a list of 1 or more items, each a whole number"),
        ("on", ["2026-02-28"], ["2026-02-30", "soon", ""], "a date such as 2026-11-29"),
        ("wait", ["P2D", "PT5M"], ["2 days", ""], "a duration such as P2D"),
        ("price", ["1.50"], ["cheap", ""], "a decimal number as a text"),
        ("key", ["00000000-0000-0000-0000-000000000001"], ["1", ""], "a UUID"),
        ("raw", ["YWJj", ""], ["###", "YWJ"], "bytes in base64"),
    ],
)
def test_bounds_and_formats_are_checked_without_the_code_and_agree_with_it(
    field: str, good: list[Any], bad: list[Any], expected: str
) -> None:
    form = Form(Bounded, "task 'x'")

    for value in good:
        assert wrong_in(form.schema, {field: value}) == []
        form.decode(json.dumps({field: value}).encode())
    for value in bad:
        (wrong,) = wrong_in(form.schema, {field: value})
        assert (wrong.field, wrong.expected) == (field, expected)
        with pytest.raises(AnswerMisfit):
            form.decode(json.dumps({field: value}).encode())


def test_what_is_wrong_in_a_member_of_a_union_is_told_where_it_is() -> None:
    def told(hint: Any, answer: Any) -> list[str]:
        return [str(each) for each in wrong_in(Form(hint, "task 'x'").schema, answer)]

    assert told(Yes | No, {"type": "Maybe"}) == ['field type: expected one of "No", "Yes", found \'Maybe\' (str)']
    assert told(Yes | No, {"limit": 1}) == ['field type: expected one of "No", "Yes", found nothing']
    assert told(Yes | None, {"type": "Yes", "limit": "1"}) == ["field limit: expected a whole number, found '1' (str)"]
    assert told(tuple[int, str] | None, ["a", "b"]) == ["field [0]: expected a whole number, found 'a' (str)"]


def test_the_schema_of_a_pydantic_model_is_used_too() -> None:
    class Address(pydantic.BaseModel):
        city: str

    class Person(pydantic.BaseModel):
        name: str
        address: Address | None = None

    form = Form(Person, "task 'x'")

    assert wrong_in(form.schema, {"name": "Ada", "address": {"city": "Paris"}}) == []
    assert [str(each) for each in wrong_in(form.schema, {"address": {"city": 7}})] == [
        "field name: expected a text, found nothing",
        "field address.city: expected a text, found 7 (int)",
    ]


def test_fields_are_told_in_words() -> None:
    told = {each.name: (each.expected, each.required) for each in fields_of(DECISION.schema)}

    assert told["approved"] == ("true or false", True)
    assert told["note"] == ("a text", False)
    assert told["terms"] == ("a list, each an object with months, rate", False)
    assert fields_of(Form(bool, "task 'x'").schema) == []


def test_a_form_that_has_no_json_form_is_refused() -> None:
    with pytest.raises(DefinitionError, match="task 'x': the form"):
        Form(object.__class__, "task 'x'")


def test_a_form_whose_schema_is_huge_is_refused() -> None:
    huge = msgspec.defstruct("Huge", [(f"field_{n}", int) for n in range(5_000)])

    with pytest.raises(DefinitionError, match=r"the JSON schema of its form has .* bytes; at most 32,768 are kept"):
        Form(huge, "task 'x'")


def form_of(**fields: Any) -> dict[str, Any]:
    """The schema of a form with these fields; a pair is a type and a default."""
    named = [(name, *of) if isinstance(of, tuple) else (name, of) for name, of in fields.items()]
    return Form(msgspec.defstruct("Answer", named, kw_only=True), "task").schema


@pytest.mark.parametrize(
    ("asked", "read", "why"),
    [
        (form_of(ok=bool), form_of(ok=bool), []),
        (form_of(ok=bool), form_of(ok=bool, why=(str, "")), []),
        (form_of(ok=bool), form_of(ok=bool | None), []),
        (form_of(ok=int), form_of(ok=float), []),
        (form_of(ok=Literal["a"]), form_of(ok=Literal["a", "b"]), []),
        (form_of(ok=Literal["a"]), form_of(ok=str), []),
        (form_of(ok=bool, why=str), form_of(ok=bool), []),
        (form_of(ok=bool), Form(Any, "task").schema, []),
        (form_of(ok=bool), form_of(approved=bool), ["approved is required, and not asked for"]),
        (form_of(ok=bool), form_of(ok=str), ["ok is to be a text, and was true or false"]),
        (form_of(ok=bool | None), form_of(ok=bool), ["ok is to be true or false, and was true or false or null"]),
        (form_of(ok=str), form_of(ok=Literal["a"]), ['ok is to be one of "a", and was a text']),
        (Form(bool, "task").schema, Form(str, "task").schema, ["asked is true or false, read is a text"]),
        (Form(bool, "task").schema, form_of(ok=bool), ["asked is true or false, read is an object with ok"]),
    ],
)
def test_an_answer_to_what_is_asked_fits_what_is_read_or_it_is_said_why_not(
    asked: dict[str, Any], read: dict[str, Any], why: list[str]
) -> None:
    assert outgrown(asked, read) == why
