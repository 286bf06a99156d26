"""Attributes as they are typed."""

import json
from datetime import UTC, datetime

import pytest

from perdure.attributes import attributes_of
from perdure.cli.attributes import conditions, given
from perdure.cli.problems import Problem
from perdure.kernel.attributes import fits
from tests.unit.cli.conftest import Perdure


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("n=10", 10),
        ("n=-1.5", -1.5),
        ("n=true", True),
        ("n=eu", "eu"),
        ('n="10"', "10"),
        ('n=["a", "b"]', ["a", "b"]),
        ("n=2026-11-22T14:00Z", datetime(2026, 11, 22, 14, tzinfo=UTC)),
        ("n=2026-11-22", "2026-11-22"),
        ("n=a=b", "a=b"),
        ("n=", ""),
        ('n={"a": 1}', '{"a": 1}'),
    ],
)
def test_values_of_a_start_have_the_type_they_look_like(text: str, value: object) -> None:
    assert given((text,)) == {"n": value}


NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "fit", "unfit"),
    [
        (100, ["=100", ">99.5", ">=100", "<101", "<=100", "=99..101", "=..100", "=1,100"], [">100", "=99", "=eu", "=101.."]),
        (100.5, ["=100.5", ">100", "<101", "=100..101"], ["=100", "<100.5"]),
        ("100", ["=100", "=7,100"], [">99", "=99..101"]),
        ("eu", ["=eu", "=us,eu", "=a..f", ">=eu", "<f"], ["=EU", "=us", ">eu", "<eu", "=f..z"]),
        (["red", "blue"], ["=red", "=blue", "=green,red"], ["=green", "=red blue"]),
        (True, ["=true"], ["=false", "=1", ">0"]),
        (NOON, ["=2026-11-22", "=2026-11-22T12:00Z", "=2026-11-22T13:00+01:00", "=2026-11-01..2026-11-22"],
         ["=2026-11-21", "=2026-11-22T12:00:01Z"]),
        (NOON, [">2026-11-21", ">=2026-11-22", "<2026-11-23", "<=2026-11-22", ">2026-11-22T11:59Z", "=2026-11-22.."],
         [">2026-11-22", "<2026-11-22", "<=2026-11-21", "<2026-11-22T12:00Z", "=..2026-11-21"]),
        ("2026-11-22", ["=2026-11-22", "=2026-11-01..2026-11-30", ">2026-11-21"], ["=2026-11-23", "<2026-11-22"]),
    ],
)  # fmt: skip
def test_a_condition_fits_what_it_may_mean(value: object, fit: list[str], unfit: list[str]) -> None:
    (stored,) = attributes_of({"n": value}, "a test")

    def holds(condition: str) -> bool:
        return fits(conditions((f"n{condition}",))[0], stored)

    assert [condition for condition in fit if not holds(condition)] == []
    assert [condition for condition in unfit if holds(condition)] == []


@pytest.mark.parametrize(
    "text",
    [
        "region",
        "=eu",
        "region=",
        "my region=eu",
        "1st=2",
        "n=..",
        "n=a,",
        "n=2..1",
        "n=1..b",
        "n=\ud800",
        "n=" + "1," * 100 + "1",
    ],
)
def test_what_is_no_condition_is_a_usage_error(text: str) -> None:
    with pytest.raises(Problem) as problem:
        conditions((text,))

    assert problem.value.exit == 2


def test_runs_are_started_listed_counted_and_shown_by_attributes(perdure: Perdure, unowned) -> None:
    for n, region in enumerate(("eu", "us", "eu")):
        options = ("--attr", f"region={region}", "--attr", f"amount={n * 100}", "--memo", 'customer={"name": "Ada"}')
        perdure("start", "process_order", "--id", f"order-{n}", "--input", "[1]", *options)

    assert perdure("list", "-q", "--attr", "region=eu").out.split() == ["order-2", "order-0"]
    assert perdure("list", "-q", "--attr", "region=eu", "--attr", "amount>100").out.split() == ["order-2"]
    assert perdure("count", "--attr", "region=us,eu").out.strip() == "3"
    described = json.loads(perdure("show", "order-1", "--json=attributes,memo").out)
    assert described == {"attributes": {"region": "us", "amount": 100}, "memo": {"customer": {"name": "Ada"}}}
    assert 'attributes {"region": "us", "amount": 100}' in perdure("show", "order-1").out
    assert 'memo {"customer": {"name": "Ada"}}' in perdure("show", "order-1").out


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("start", "process_order", "--attr", "region"), "--attr 'region' is not name=value"),
        (("start", "process_order", "--attr", "x=null"), "a start: attribute x: expected a text, a whole number"),
        (("start", "process_order", "--memo", "customer"), "--memo 'customer' is not name=value"),
        (("list", "--attr", "region"), "--attr: 'region' is no condition"),
        (("count", "--attr", "my region=eu"), "'my region' (str) is not such a name"),
    ],
)
def test_a_slip_in_an_attribute_is_a_usage_error(
    perdure: Perdure, unowned, arguments: tuple[str, ...], error: str
) -> None:
    said = perdure(*arguments)

    assert said.code == 2
    assert error in said.err
