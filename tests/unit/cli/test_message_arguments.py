"""What a message brings, as it is typed."""

from dataclasses import dataclass
from typing import Any

import pytest

from perdure.cli.message_arguments import spoken
from perdure.cli.problems import USAGE, Problem
from perdure.payload import Parameters


@dataclass
class Decision:
    approved: bool
    by: str = "nobody"


def note(text: str, weight: int = 1) -> None: ...


def decide(decision: Decision) -> None: ...


def perhaps(decision: Decision | None = None) -> None: ...


def anything(**fields: Any) -> None: ...


def nothing() -> None: ...


def published(fn: Any) -> dict[str, Any]:
    return Parameters.of(fn, owner="it").published()


@pytest.mark.parametrize(
    ("fn", "args", "expected"),
    [
        (note, [], ((), {})),
        (note, ["hello"], (("hello",), {})),
        (note, ["10", "3"], (("10", 3), {})),
        (note, ["text=10", "weight=3"], ((), {"text": "10", "weight": 3})),
        (note, ["hello", "weight=3"], (("hello",), {"weight": 3})),
        (note, ["a b=c"], (("a b=c",), {})),
        (note, ["text=a=b"], ((), {"text": "a=b"})),
        (decide, ["approved=true", "by=7"], (({"approved": True, "by": "7"},), {})),
        (decide, ['{"approved": false}'], (({"approved": False},), {})),
        (decide, ['decision={"approved": true}'], ((), {"decision": {"approved": True}})),
        (perhaps, ["approved=true"], (({"approved": True},), {})),
        (anything, ["approved=true", "by=ann"], ((), {"approved": True, "by": "ann"})),
        (None, ["1", "true", "text", '"1"'], ((1, True, "text", "1"), {})),
        (None, ["amount=1"], ((), {"amount": 1})),
    ],
)
def test_arguments_are_what_the_parameters_make_of_them(fn: Any, args: list[str], expected: Any) -> None:
    assert spoken(None, args, None if fn is None else published(fn)) == expected


@pytest.mark.parametrize(
    ("input", "expected"),
    [
        ('{"approved": true}', (({"approved": True},), {})),
        ('{"decision": {"approved": true}}', ((), {"decision": {"approved": True}})),
        ("[1, 2]", ((1, 2), {})),
        ("5", ((5,), {})),
    ],
)
def test_an_input_is_read_as_that_of_a_start(input: str, expected: Any) -> None:
    assert spoken(input, (), published(decide)) == expected


@pytest.mark.parametrize(
    ("fn", "input", "args", "message", "facts", "hint"),
    [
        (decide, None, ["aproved=true"], "there is no argument 'aproved'", ["it takes: approved, by"], "approved=..."),
        (note, None, ["txt=a"], "there is no argument 'txt'", ["it takes: text, weight"], "did you mean  text=..."),
        (nothing, None, ["a=1"], "there is no argument 'a'", ["it takes no arguments"], ""),
        (note, "[1]", ["2"], "arguments are given by --input and beside it", ["2"], "leave one out"),
    ],
)
def test_what_makes_no_sense_is_told_with_what_would(
    fn: Any, input: str | None, args: list[str], message: str, facts: list[str], hint: str
) -> None:
    with pytest.raises(Problem) as told:
        spoken(input, args, published(fn))

    assert (told.value.exit, told.value.message, told.value.facts) == (USAGE, message, facts)
    assert told.value.hint.endswith(hint)
