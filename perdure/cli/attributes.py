"""Attributes as they are typed: `--attr region=eu` of a start, `--attr 'amount>100'` of a filter."""

import json
from typing import Any

from perdure.cli.problems import USAGE, Problem


def given(texts: tuple[str, ...]) -> dict[str, Any]:
    """Attributes of a start. A value is JSON if it is (10, 1.5, true, ["a", "b"]), else a moment with its time zone
    (2026-11-22T14:00Z), else text.

    Raises:
        Problem: one is not name=value.
    """
    attributes: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise Problem(f"--attr {text!r} is not name=value", USAGE, [], "write  --attr region=eu")
        attributes[name.strip()] = _value(value)
    return attributes


def _value(text: str) -> Any:
    from perdure.client.conditions import moment_in

    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        moment = moment_in(text)
        return text if moment is None or moment.tzinfo is None else moment
    return value if value is None or isinstance(value, str | int | float | list) else text


def conditions(texts: tuple[str, ...]) -> tuple[Any, ...]:
    """What runs must have.

    Raises:
        Problem: one is no condition.
    """
    from perdure.client.conditions import conditions_in
    from perdure.errors import DefinitionError

    try:
        return conditions_in(texts, "--attr")
    except DefinitionError as error:
        raise Problem(str(error), USAGE) from error
