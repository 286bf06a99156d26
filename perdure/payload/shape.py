"""What a type is made of, as far as it matters for the checks of its values."""

import dataclasses
import typing
from typing import Any

import msgspec
import msgspec.inspect as nodes

from perdure.payload.encoder import is_pydantic
from perdure.payload.misfit import Misfit, type_text

_NO_KEYS = (
    nodes.ListType,
    nodes.TupleType,
    nodes.VarTupleType,
    nodes.SetType,
    nodes.FrozenSetType,
    nodes.CollectionType,
    nodes.DictType,
    nodes.StructType,
    nodes.DataclassType,
    nodes.NamedTupleType,
    nodes.TypedDictType,
    nodes.NoneType,
    nodes.BoolType,
    nodes.CustomType,
)


class Shape:
    """The parts of a type.

    `open`: it has a place for anything. `sets`: it has sets. `partial`: it has dataclasses that may be without their
    defaults. `loose` is either: equal values may be written differently. `numeric`: it has floats or Decimals, for which an int may be given.
    `comparable`: if what came back is equal to what was given, then it is the same; classes with an `__eq__` of their own
    may say so of things that differ.

    Raises:
        Misfit: a part has no JSON form.
    """

    __slots__ = ("_seen", "comparable", "numeric", "open", "partial", "sets")

    def __init__(self, node: nodes.Type) -> None:
        self.open = False
        self.sets = False
        self.partial = False
        self.numeric = False
        self.comparable = True
        self._seen: set[int] = set()
        self._look(node, "")

    @classmethod
    def of(cls, hint: Any) -> "Shape":
        return cls(nodes.type_info(hint))

    @property
    def loose(self) -> bool:
        return self.sets or self.partial

    def _look(self, node: nodes.Type, path: str) -> None:
        if id(node) in self._seen:
            return
        self._seen.add(id(node))
        match node:
            case nodes.CustomType():
                self._look_at_class(node.cls, path)
            case nodes.AnyType() | nodes.RawType():
                self.open = True
            case nodes.SetType() | nodes.FrozenSetType():
                self.sets = True
            case nodes.FloatType() | nodes.DecimalType():
                self.numeric = True
            case nodes.DictType():
                self._look_at_key(node.key_type, path)
            case nodes.StructType() | nodes.DataclassType():
                self._look_at_fields(typing.get_origin(node.cls) or node.cls, path)
        for name in node.__struct_fields__:
            part = getattr(node, name)
            for item in part if isinstance(part, tuple) else (part,):
                if isinstance(item, nodes.Type):
                    self._look(item, path)
                elif isinstance(item, nodes.Field):
                    self._look(item.type, f"{path}.{item.name}")

    def _look_at_class(self, kind: type, path: str) -> None:
        if kind is object:
            self.open = True
        elif is_pydantic(kind):
            self.comparable = False
            self.numeric = True
        elif kind is not msgspec.UnsetType:
            raise Misfit(f"{type_text(kind)} has no JSON form", path)

    def _look_at_fields(self, kind: type, path: str) -> None:
        self.comparable = self.comparable and _compares_fields(kind)
        self.partial = self.partial or _leaves_defaults_to_the_class(kind)
        for field in getattr(kind, "__attrs_attrs__", ()):
            if field.name.startswith("_"):
                raise Misfit("attrs keeps it private and it would not be written; rename it", f"{path}.{field.name}")

    def _look_at_key(self, node: nodes.Type, path: str) -> None:
        for key in node.types if isinstance(node, nodes.UnionType) else (node,):
            if isinstance(key, _NO_KEYS):
                raise Misfit(
                    "the keys of a dict must be texts, numbers, or what is written as one (date, UUID, ...)", path
                )


def _leaves_defaults_to_the_class(kind: type) -> bool:
    if not dataclasses.is_dataclass(kind) or "__slots__" in vars(kind):
        return False
    return any(field.default is not dataclasses.MISSING for field in dataclasses.fields(kind))


def _compares_fields(kind: type) -> bool:
    """Whether `==` of a class compares all of its fields."""
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_config__.eq and kind.__eq__ is msgspec.Struct.__eq__
    if dataclasses.is_dataclass(kind) and not all(field.compare for field in dataclasses.fields(kind)):
        return False
    if not all(field.eq is True for field in getattr(kind, "__attrs_attrs__", ())):
        return False
    code = getattr(vars(kind).get("__eq__"), "__code__", None)
    return code is not None and code.co_filename.startswith("<")  # it was generated, not written by hand
