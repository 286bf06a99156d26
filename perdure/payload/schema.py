"""JSON schemas of type hints, for clients that do not have the code."""

from collections.abc import Sequence
from typing import Any

import msgspec

from perdure.payload.encoder import is_pydantic


def described(hints: Sequence[Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A schema for each hint, {} for what none can describe, and the components they refer to."""
    schemas: list[dict[str, Any]] = []
    components: dict[str, Any] = {}
    try:
        found, components = msgspec.json.schema_components(hints, schema_hook=_of_class)
        schemas = list(found)
    except Exception:  # noqa: BLE001  whatever a class of the user's raises
        if len(hints) == 1:
            return [{}], {}
        for hint in hints:
            (schema,), parts = described([hint])
            schemas.append(schema)
            components.update(parts)
    return schemas, components


def _of_class(kind: Any) -> dict[str, Any]:
    return kind.model_json_schema() if is_pydantic(kind) else {}


def _is_float(value: int) -> bool:
    try:
        return float(value) == value
    except OverflowError:
        return False


def fitted(value: Any, schema: dict[str, Any], components: dict[str, Any]) -> Any:
    """A JSON value with floats where the schema says number and the value has an int.

    So the same arguments give the same bytes, whether or not the client knows the types.
    """
    options = [_dereferenced(option, components) for option in schema.get("anyOf") or [schema]]
    kinds = {option.get("type") for option in options}
    if type(value) is int and "number" in kinds and "integer" not in kinds and _is_float(value):
        return float(value)
    if isinstance(value, list):
        items = [option["items"] for option in options if isinstance(option.get("items"), dict)]
        return [fitted(item, items[0], components) for item in value] if len(items) == 1 else value
    if isinstance(value, dict):
        objects = [option for option in options if option.get("type") == "object"]
        return _fitted_object(value, objects[0], components) if len(objects) == 1 else value
    return value


def _fitted_object(value: dict[str, Any], schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    named = schema.get("properties", {})
    others = schema.get("additionalProperties")
    others = others if isinstance(others, dict) else {}
    return {key: fitted(item, named.get(key, others), components) for key, item in value.items()}


def _dereferenced(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return components.get(name, {}) if name else schema
