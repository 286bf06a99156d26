"""What a workflow is given on the command line."""

import io
import sys
from pathlib import Path

import pytest

from perdure.cli.arguments import parse
from perdure.cli.problems import USAGE, Problem

NAMES = ["amount", "account"]


def test_an_object_is_arguments_by_name_and_an_array_by_position() -> None:
    assert parse('{"amount": 10, "account": "a"}', [], NAMES) == ((), {"amount": 10, "account": "a"})
    assert parse('[10, "a"]', [], NAMES) == ((10, "a"), {})


def test_any_other_value_is_the_one_argument() -> None:
    assert parse("7", [], ["n"]) == ((7,), {})


def test_an_object_for_a_single_parameter_of_another_name_is_that_parameter() -> None:
    assert parse('{"amount": 10}', [], ["order"]) == (({"amount": 10},), {})
    assert parse('{"order": 10}', [], ["order"]) == ((), {"order": 10})


def test_an_arg_is_json_if_it_is_json_else_text() -> None:
    assert parse(None, ["amount=10", "account=acct-7"], NAMES) == ((), {"amount": 10, "account": "acct-7"})


def test_an_arg_for_a_text_parameter_stays_text() -> None:
    assert parse(None, ["account=007"], NAMES, frozenset({"account"})) == ((), {"account": "007"})


def test_input_comes_from_a_file_or_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.json").write_text("[1, 2]")
    monkeypatch.setattr(sys, "stdin", io.StringIO("[3]"))

    assert parse(f"@{tmp_path / 'in.json'}", [], None) == ((1, 2), {})
    assert parse("-", [], None) == ((3,), {})


@pytest.mark.parametrize(
    ("input", "args", "message"),
    [
        ("{amount: 10}", [], "--input is not JSON"),
        ("@nowhere.json", [], "--input @nowhere.json cannot be read"),
        (None, ["amount"], "--arg 'amount' is not name=value"),
        (None, ["amuont=1"], "there is no argument 'amuont'"),
    ],
)
def test_what_cannot_be_read_is_a_usage_error(input, args, message) -> None:
    with pytest.raises(Problem, match=message) as raised:
        parse(input, args, NAMES)

    assert raised.value.exit == USAGE


def test_a_wrong_name_is_answered_with_the_one_that_was_meant() -> None:
    with pytest.raises(Problem) as raised:
        parse(None, ["amuont=1"], NAMES)

    assert raised.value.hint == "did you mean  --arg amount=..."
    assert raised.value.facts == ["it takes: amount, account"]
