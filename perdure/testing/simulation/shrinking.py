"""A plan that breaks a promise becomes smaller as long as it breaks it, and is written as a test."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from perdure.testing.simulation.life import Found
from perdure.testing.simulation.plan import Disturbance, Plan, Wish, Word
from perdure.testing.simulation.values import words_for

Spec = list[Any]

MOST_TRIES = 3_000
"""Lives that are tried, at most."""

LINE = 110

_SIMPLE_ACT: Spec = ["act", "work", 1]
_SIMPLEST = {
    "slots": (4, 4),
    "cached_runs": 100,
    "awake_runs": 100,
    "forgetful": False,
    "shaky": False,
    "early": False,
    "unsteady": 0,
    "stormy": False,
}
"""Options of a plan that disturb least."""

_SIMPLE_WISH = {"at": 0.0, "by_mail": False, "nudged": True, "end_at": 10.0, "terminate": False}


class Shrunk(msgspec.Struct):
    """The smallest plan that was found, and what came out of it."""

    plan: Plan
    found: Found


def shrink(plan: Plan, found: Found, live: Callable[[Plan], Found]) -> Shrunk:
    """The smallest plan whose life breaks the same promise."""
    smallest = Shrunk(plan, found)
    tries = 0
    seen = {msgspec.json.encode(plan)}
    progress = True
    while progress:
        progress = False
        for candidate in _smaller(smallest.plan):
            key = msgspec.json.encode(candidate)
            if key in seen:
                continue
            if tries == MOST_TRIES:
                return smallest
            seen.add(key)
            tries += 1
            found = live(candidate)
            if _sort(found) == _sort(smallest.found):
                smallest = Shrunk(candidate, found)
                progress = True
                break
    return smallest


def _sort(found: Found) -> object:
    """What is broken: the promise, and whether that needs a disturbance; or the error that the engine raises."""
    raised = re.match(r"the engine raised \w+", found.violation)
    numbers = re.findall(r"\(([\d, ]+)\)(?:;|$)", found.violation)
    return bool(found.violation), found.undisturbed, raised[0] if raised else sorted(set(numbers))


def _smaller(plan: Plan) -> Iterator[Plan]:
    """The plan with one thing less, or simpler; what takes away most comes first."""
    for fewer in _structures(plan):
        yield fewer
        if len(fewer.disturbances) == 1:  # there are fewer commits now
            for disturbances in _earlier(fewer.disturbances[0]):
                yield msgspec.structs.replace(fewer, disturbances=disturbances)
    if plan.members:
        yield msgspec.structs.replace(plan, members=plan.members - 1)
    for name, simple in _SIMPLEST.items():
        if getattr(plan, name) != simple:
            yield msgspec.structs.replace(plan, **{name: simple})
    if plan.retention is not None and not plan.strikes:
        yield msgspec.structs.replace(plan, retention=None)
    for n in range(len(plan.strikes)):
        yield msgspec.structs.replace(plan, strikes=_put(plan.strikes, n, ()))
    for n in range(len(plan.codes) - 1):
        yield msgspec.structs.replace(plan, codes=_put(plan.codes, n, ()))
    for n, each in enumerate(plan.disturbances):
        for earlier in _earlier(each):
            yield msgspec.structs.replace(plan, disturbances=_put(plan.disturbances, n, earlier))
        if each.how != "after":
            simple_how = (msgspec.structs.replace(each, how="after"),)
            yield msgspec.structs.replace(plan, disturbances=_put(plan.disturbances, n, simple_how))
        if each.clock:
            simple_clock = (msgspec.structs.replace(each, clock=0.0),)
            yield msgspec.structs.replace(plan, disturbances=_put(plan.disturbances, n, simple_clock))


def _structures(plan: Plan) -> Iterator[Plan]:
    if len(plan.wishes) > 1:
        for n in range(len(plan.wishes)):
            yield msgspec.structs.replace(plan, wishes=_put(plan.wishes, n, ()))
    for n in range(len(plan.disturbances)):
        yield msgspec.structs.replace(plan, disturbances=_put(plan.disturbances, n, ()))
        sooner = tuple(msgspec.structs.replace(each, at=each.at - 1) for each in plan.disturbances[n + 1 :])
        yield msgspec.structs.replace(plan, disturbances=(*plan.disturbances[:n], *sooner))  # it has cost a commit
    for n, wish in enumerate(plan.wishes):
        for simpler in _simpler_wishes(wish):
            wishes = _put(plan.wishes, n, (simpler,))
            yield msgspec.structs.replace(plan, wishes=tuple(_alike(other, simpler) for other in wishes))


def _alike(wish: Wish, other: Wish) -> Wish:
    """Who wishes for the same id again wishes for the same."""
    return msgspec.structs.replace(wish, spec=other.spec) if wish.id == other.id else wish


def _earlier(disturbance: Disturbance) -> Iterator[tuple[Disturbance]]:
    for at in range(1, disturbance.at):
        yield (msgspec.structs.replace(disturbance, at=at),)


def _simpler_wishes(wish: Wish) -> Iterator[Wish]:
    if wish.workflow == "Desk":
        for n, word in enumerate(wish.words):
            spec = wish.spec if word.wrong else ["desk", wish.spec[1] - 1]
            yield msgspec.structs.replace(wish, spec=spec, words=_put(wish.words, n, ()))
    elif wish.spec[0] == "for ever":
        yield msgspec.structs.replace(wish, spec=wish.spec[1], end_at=None, terminate=False)
        for inner in _simpler_specs(wish.spec[1]):
            yield _with(wish, ["for ever", inner])
    else:
        for spec in _simpler_specs(wish.spec):
            yield _with(wish, spec)
    for name, simple in _SIMPLE_WISH.items():
        if getattr(wish, name) not in (simple, None):
            yield msgspec.structs.replace(wish, **{name: simple})
    for n in range(len(wish.visits)):
        yield msgspec.structs.replace(wish, visits=_put(wish.visits, n, ()))
    for n in range(len(wish.deeds)):
        yield msgspec.structs.replace(wish, deeds=_put(wish.deeds, n, ()))
    for n, word in enumerate(wish.words):
        simple_word = Word(word.n, 0.0, False, wrong=word.wrong)
        if word != simple_word:
            yield msgspec.structs.replace(wish, words=_put(wish.words, n, (simple_word,)))


def _with(wish: Wish, spec: Spec) -> Wish:
    return msgspec.structs.replace(wish, spec=spec, words=wish.words[: words_for(spec)])


def _simpler_specs(spec: Spec) -> Iterator[Spec]:
    """Another program in its place, or the same kind with less in it."""
    if spec != _SIMPLE_ACT:
        yield _SIMPLE_ACT
    for part in spec[1:]:
        if _is_spec(part):
            yield part
        elif isinstance(part, list):
            yield from (each for each in part if _is_spec(each))
    for n, part in enumerate(spec[1:], 1):
        for smaller in _smaller_parts(part):
            yield [*spec[:n], smaller, *spec[n + 1 :]]


def _smaller_parts(part: Any) -> Iterator[Any]:
    if _is_spec(part):
        yield from _simpler_specs(part)
    elif isinstance(part, list):
        for n, each in enumerate(part):
            if len(part) > 1:
                yield [*part[:n], *part[n + 1 :]]
            if _is_spec(each):
                for simpler in _simpler_specs(each):
                    yield [*part[:n], simpler, *part[n + 1 :]]
    elif type(part) is int and part > 1:
        yield part - 1
    elif type(part) is float and part > 1:
        yield 1.0


def _is_spec(part: Any) -> bool:
    return isinstance(part, list) and bool(part) and isinstance(part[0], str)


def _put(parts: tuple[Any, ...], n: int, instead: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*parts[:n], *instead, *parts[n + 1 :])


# as a test


def as_test(name: str, plan: Plan, violation: str, store: str) -> str:
    """A test to be kept, as source."""
    opened = {"memory": "", "sqlite": ", in_a_file"}[store]
    said = f"    # {violation.splitlines()[0]}"[:LINE]
    return f'def test_{name}() -> None:\n{said}\n    plan = {_written(plan, 4)}\n\n    assert simulate(plan{opened}).violation == ""'


def _written(value: Any, indent: int) -> str:
    """A literal, one part in a line where it is long."""
    if isinstance(value, msgspec.Struct):
        fields = msgspec.structs.fields(value)
        told = [(each.name, getattr(value, each.name)) for each in fields if getattr(value, each.name) != each.default]
        opening, closing = f"{type(value).__name__}(", ")"
        parts = [(f"{name}=", part) for name, part in told]
    elif isinstance(value, (tuple, list)):
        opening, closing = ("(", ")") if isinstance(value, tuple) else ("[", "]")
        parts = [("", part) for part in value]
    else:
        return f'"{value}"' if isinstance(value, str) and value.isprintable() and '"' not in value else repr(value)
    line = opening + ", ".join(name + _written(part, 0) for name, part in parts)
    line += ",)" if isinstance(value, tuple) and len(parts) == 1 else closing
    if "\n" not in line and len(line) + indent <= LINE:
        return line
    inner = " " * (indent + 4)
    lines = "".join(f"{inner}{name}{_written(part, indent + 4)},\n" for name, part in parts)
    return f"{opening}\n{lines}{' ' * indent}{closing}"
