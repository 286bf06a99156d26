"""Where in a value msgspec found a fault: its message read, its `[...]` made the key that is meant."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from perdure.payload.encoder import ENCODER
from perdure.payload.misfit import at_key
from perdure.payload.parts import fields

_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]|(\[\.\.\.\])")
_MESSAGE = re.compile(r"(?P<problem>.*?)(?: - at (?:`(?P<key>key)` in )?`\$(?P<path>[^`]*)`)?", re.DOTALL)
_EXPECTED = re.compile(r"Expected (.+?)(?:, got .+)?")
_WORDS = {"null": "None", "array": "list", "object": "dict"}


class Fault(NamedTuple):
    """Either `problem` or `expected` says it; `found` is the JSON value there, or the key; `steps` lead to it."""

    path: str
    problem: str
    expected: str
    found: Any
    steps: list[str | int]
    is_key: bool


def located(error: msgspec.ValidationError, decode: Callable[[bytes], Any], data: bytes) -> Fault:
    """The fault that decoding these bytes gave."""
    message = str(error)
    parsed = _MESSAGE.fullmatch(message)
    assert parsed is not None
    here = tree = msgspec.json.decode(data)
    steps: list[str | int] = []
    path = ""
    for name, index, _ in _STEP.findall(parsed["path"] or ""):
        step = name or (int(index) if index else _guilty_key(here, tree, decode, message))
        path += f".{name}" if name else at_key(step)
        steps.append(step)
        try:
            here = here[step]
        except (LookupError, TypeError):
            break
    if parsed["key"]:
        here = _guilty_key(here, tree, decode, message)
    problem = re.sub("`(.+?)`", lambda quoted: _named(quoted[1]), parsed["problem"])
    match = _EXPECTED.fullmatch(problem)
    if match is None:
        return Fault(path, problem, "", here, steps, bool(parsed["key"]))
    return Fault(path, "", match[1], here, steps, bool(parsed["key"]))


def _named(kinds: str) -> str:
    """msgspec's names of types as Python has them."""
    return " | ".join(_WORDS.get(kind, kind) for kind in kinds.split(" | "))


def _guilty_key(here: Any, tree: Any, decode: Callable[[bytes], Any], message: str) -> str:
    """Which key of a dict is at fault, found by halving it: the message is the same as long as that key is in."""
    items = list(here.items()) if isinstance(here, dict) else []
    while len(items) > 1:
        half = items[: len(items) // 2]
        here.clear()
        here.update(half)
        try:
            decode(ENCODER.encode(tree))
            fails = False
        except Exception as error:  # noqa: BLE001  a class may raise anything when it is made
            fails = str(error) == message
        items = half if fails else items[len(half) :]
    if not items:
        return "..."
    here.clear()
    here.update(items)
    return items[0][0]


def follow(value: Any, steps: list[str | int], otherwise: Any) -> Any:
    """The part of a Python value to which the steps in its JSON form lead."""
    for step in steps:
        if isinstance(value, dict):
            if step not in value:
                return otherwise
            value = value[step]
        elif isinstance(step, int):
            if not isinstance(value, list | tuple) or step >= len(value):
                return otherwise
            value = value[step]
        else:
            names = [field.name for field in fields(type(value)) if field.durable == step]
            if not names or not hasattr(value, names[0]):
                return otherwise
            value = getattr(value, names[0])
    return value
