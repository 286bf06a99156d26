"""What a workflow is given: `--input JSON | @file | -` and `--arg name=value`, as arguments of a call."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perdure.cli.problems import USAGE, Problem, guess


def parse(input: str | None, args: Sequence[str], names: Sequence[str] | None, texts: frozenset[str] = frozenset()) -> (
    tuple[tuple[Any, ...], dict[str, Any]]
):  # fmt: skip
    """Positional and named arguments.

    An object is named arguments, an array positional ones, anything else the one argument; an object for a workflow
    with a single parameter of another name is that parameter. `names` are the parameters, None if unknown; `texts`
    those whose values stay text though they look like JSON.

    Raises:
        Problem: the input is not JSON, or an --arg is not name=value.
    """
    positional: tuple[Any, ...] = ()
    named: dict[str, Any] = {}
    if input is not None:
        value = _json(*_read(input))
        if isinstance(value, dict) and not (names is not None and len(names) == 1 and names[0] not in value and value):
            named.update(value)
        elif isinstance(value, list):
            positional = tuple(value)
        else:
            positional = (value,)
    named |= named_values(args, "--arg", texts)
    if names is not None:
        demand_names(named, names)
    return positional, named


def named_values(args: Sequence[str], option: str, texts: frozenset[str] = frozenset()) -> dict[str, Any]:
    """What was given as name=value, value by value JSON if it is that.

    Raises:
        Problem: one is not name=value.
    """
    named: dict[str, Any] = {}
    for arg in args:
        name, equals, text = arg.partition("=")
        if not equals or not name.strip():
            raise Problem(f"{option} {arg!r} is not name=value", USAGE, [], f"write  {option} amount=10")
        named[name.strip()] = text if name.strip() in texts else _value(text)
    return named


def json_given(input: str, option: str) -> Any:
    """What was given as JSON, @file, or - for standard input.

    Raises:
        Problem: it is no JSON, or cannot be read.
    """
    text, source = _read(input, option)
    return _json(text, option if source == "--input" else source, f"{option} '{{\"amount\": 10}}'")


def _read(input: str, option: str = "--input") -> tuple[str, str]:
    """The text of an input, and where it came from."""
    try:
        if input == "-":
            return sys.stdin.read(), "standard input"
        if input.startswith("@"):
            return Path(input[1:]).read_text("utf-8"), input[1:]
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(f"{option} {input} cannot be read", USAGE, [str(error)]) from error
    return input, "--input"


def _json(text: str, source: str, hint: str = """--input '{"amount": 10}'  or  --arg amount=10""") -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise Problem(
            f"{source} is not JSON: {why}",
            USAGE,
            [text.strip().splitlines()[0][:120]] if text.strip() else ["it is empty"],
            hint,
        ) from error


def _value(text: str) -> Any:
    """JSON if it is JSON, else the text itself."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def demand_names(named: Mapping[str, Any], names: Sequence[str], lead: str = "--arg ") -> None:
    """Refuse a name that no parameter has.

    Raises:
        Problem: there is one.
    """
    for name in named:
        if name not in names:
            meant = guess(name, names)
            raise Problem(
                f"there is no argument {name!r}",
                USAGE,
                [f"it takes: {', '.join(names)}" if names else "it takes no arguments"],
                f"did you mean  {lead}{meant}=..." if meant else "",
            )
