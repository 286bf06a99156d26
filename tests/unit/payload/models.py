"""Classes of every kind that payloads carry."""

import dataclasses
import enum
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Generic, NamedTuple, Required, TypedDict, TypeVar

import attrs
import msgspec
import pydantic

T = TypeVar("T")


class Color(enum.Enum):
    RED = "r"
    BLUE = "b"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Line:
    sku: str
    qty: int = 1


@dataclasses.dataclass
class Order:
    id: str
    lines: list[Line] = dataclasses.field(default_factory=list)
    prices: dict[str, float] = dataclasses.field(default_factory=dict)
    note: str | None = None


@dataclasses.dataclass
class RushOrder(Order):
    hours: int = 1


@dataclasses.dataclass
class Noted:
    """Has a place for anything, and a field that `==` does not see."""

    id: str
    meta: dict[str, Any] = dataclasses.field(default_factory=dict)
    weight: float | None = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass
class Doubled:
    x: int
    y: int = dataclasses.field(init=False)
    constant: ClassVar[int] = 5

    def __post_init__(self) -> None:
        self.y = self.x * 2


@dataclasses.dataclass
class Picky:
    x: int

    def __post_init__(self) -> None:
        if self.x < 0:
            raise KeyError("no shelf below the ground")


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    x: int
    labels: frozenset[str] = frozenset()


@dataclasses.dataclass
class Node:
    value: int
    next: "Node | None" = None
    children: "list[Node]" = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Box(Generic[T]):
    item: T


class Pair(NamedTuple):
    left: int
    right: str = "x"


class Address(TypedDict, total=False):
    street: Required[str]
    number: int


@attrs.define
class Parcel:
    weight: float
    labels: set[str] = attrs.field(factory=set)


@attrs.define
class Private:
    _secret: int


class Cat(msgspec.Struct, tag=True, rename="camel", omit_defaults=True):
    full_name: str
    best_friends: set[str] = msgspec.field(default_factory=set)
    lives: int = 9


class Dog(msgspec.Struct, tag=True):
    name: str


class Customer(pydantic.BaseModel):
    name: str
    tags: set[str] = set()
    since: datetime | None = None
    balance: Decimal = Decimal(0)
    friend: "Customer | None" = None
    nick: str = pydantic.Field(default="", alias="nickName")


class Secret(pydantic.BaseModel):
    password: pydantic.SecretStr


class Hidden(pydantic.BaseModel):
    token: str = pydantic.Field(exclude=True)


class Numbers(pydantic.RootModel[list[int]]):
    pass


class Socket:
    """Nobody can encode it."""


@dataclasses.dataclass
class Connection:
    socket: Socket
