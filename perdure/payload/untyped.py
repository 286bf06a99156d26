"""Arguments as bytes where the code is not at hand, by what its engine published."""

from collections.abc import Mapping, Sequence
from typing import Any

from perdure.errors import InvalidArguments, PayloadNotEncodable
from perdure.payload.codec import codec_of
from perdure.payload.misfit import Misfit, did_you_mean, shown
from perdure.payload.schema import fitted


def encode_untyped(
    published: Mapping[str, Any] | None, args: Sequence[Any], kwargs: Mapping[str, Any], *, owner: str
) -> bytes:
    """Arguments as JSON, in the form `Parameters.encode` gives them, as far as what was published tells it.

    Args:
        published: what `Parameters.published` gave; None if nothing is known, then they are not checked.
        args: by position.
        kwargs: by name.
        owner: says in messages whose arguments they are.

    Raises:
        InvalidArguments: a name or the number of arguments is wrong.
        PayloadNotEncodable: a value has no JSON form.
    """
    if published is None:
        if args and kwargs:
            raise InvalidArguments(
                f"{owner}: found arguments by position and by name; its parameters are not known here, so that they "
                "cannot be put in order: give all of them by name"
            )
        return _encoded(dict(kwargs) if kwargs else list(args), owner)
    names: list[str] = published["names"]
    schema: dict[str, Any] = published.get("schema", {})
    described: dict[str, Any] = schema.get("properties", {})
    components: dict[str, Any] = schema.get("$defs", {})
    rest = next((name for name in described if name not in names), "")
    given = _bound(names, rest, "additionalProperties" in schema, args, kwargs, owner)
    missing = [name for name in schema.get("required", names[: published["required"]]) if name not in given]
    if missing:
        raise InvalidArguments(f"{owner}: expected {', '.join(names)}; missing: {', '.join(missing)}")
    for name in names:
        if name not in given and "default" in described.get(name, {}):
            given[name] = described[name]["default"]
    values = {name: given.pop(name) for name in [*names, rest] if name in given} | given
    others = schema.get("additionalProperties", {})
    values = {name: fitted(value, described.get(name, others), components) for name, value in values.items()}
    if rest or "additionalProperties" in schema or list(values) != names[: len(values)]:
        return _encoded(values, owner)
    return _encoded(list(values.values()), owner)


def _bound(
    names: list[str], rest: str, takes_others: bool, args: Sequence[Any], kwargs: Mapping[str, Any], owner: str
) -> dict[str, Any]:
    """Arguments by name; those beyond the parameters in a list under the name `rest`, if there is one."""
    if len(args) > len(names) and not rest:
        surplus = shown(args[len(names)])
        takes = f"at most {len(names)} arguments ({', '.join(names)})" if names else "no arguments"
        raise InvalidArguments(f"{owner}: expected {takes}, found {len(args)}; surplus from {surplus} on")
    given: dict[str, Any] = dict(zip(names, args, strict=False))
    if len(args) > len(names):
        given[rest] = list(args[len(names) :])
    for name, value in kwargs.items():
        if name in given:
            raise InvalidArguments(f"{owner}: {name} is given by position and by name; leave one out")
        if name not in names and not takes_others:
            takes = f"it takes {', '.join(names)}" if names else "it takes none"
            raise InvalidArguments(f"{owner}: there is no parameter {name}{did_you_mean(name, names)}; {takes}")
        given[name] = value
    return given


def _encoded(values: Any, owner: str) -> bytes:
    try:
        return codec_of(Any, owner, "the arguments").encode(values)
    except Misfit as misfit:
        raise PayloadNotEncodable(f"{owner}: arguments{misfit.path}: {misfit.problem}") from None
