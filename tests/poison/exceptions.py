"""Exceptions that are poison for whoever wants to know what they say: each is made anew for each run."""

import asyncio
from collections.abc import Callable
from typing import Any, Never

MANY = 20_000


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class Alone(Exception):
    """Is equal to nothing, and in no set."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not comparable")

    def __hash__(self) -> int:
        raise RuntimeError("not hashable")

    def __bool__(self) -> bool:
        raise RuntimeError("neither true nor false")

    def __len__(self) -> int:
        raise RuntimeError("no length")


class NotPicklable(Exception):
    def __reduce__(self) -> Never:
        raise RuntimeError("cannot be pickled")


class ExitsWhenAsked(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class EndlessWhenAsked(Exception):
    def __str__(self) -> str:
        while True:
            pass


class OddText(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]


class ClosedToAll(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")


class NoCause(Exception):
    @property
    def __cause__(self) -> Never:  # type: ignore[override]
        raise RuntimeError("no cause")


class Nameless(Exception):
    pass


Nameless.__qualname__ = "half \ud800 a name"
Nameless.__module__ = None  # type: ignore[assignment]


class _Closed(type):
    """Its classes say nothing about themselves."""

    def __getattribute__(cls, name: str) -> Any:
        if name in ("__module__", "__qualname__", "__name__", "__mro__"):
            raise RuntimeError(f"no {name}")
        return super().__getattribute__(name)


class OfAClosedClass(Exception, metaclass=_Closed):
    pass


def cyclic_causes() -> BaseException:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def cyclic_contexts() -> BaseException:
    first, second = ValueError("first"), ValueError("second")
    first.__context__, second.__context__ = second, first
    return first


def long_chain() -> BaseException:
    error = ValueError("first")
    for _ in range(MANY):
        later = ValueError("later")
        later.__cause__, error = error, later
    return error


def deep_group() -> BaseException:
    group: Exception = ValueError("in the depths")
    for _ in range(1_000):
        group = ExceptionGroup("one of many", [group])
    return group


def wide_group() -> BaseException:
    return ExceptionGroup("wide", [ValueError("leaf")] * MANY)


def group_of_itself() -> BaseException:
    """Each leaf has the group for a cause: told leaf by leaf it would be 20 x 20 x 20 ... leaves."""
    group = ExceptionGroup("again", [ValueError(str(n)) for n in range(20)])
    for leaf in group.exceptions:
        leaf.__cause__ = leaf.__context__ = group
    return group


def doubled_group() -> BaseException:
    """60 groups, and 2 to the power of 60 ways to the leaf."""
    group: Exception = ValueError("leaf")
    for _ in range(60):
        group = ExceptionGroup("twice", [group, group])
    return group


def holds_itself() -> BaseException:
    error = ValueError()
    error.args = (error,)
    return error


def with_odd_notes() -> BaseException:
    error = ValueError("noted")
    error.__notes__ = 5  # type: ignore[assignment]
    return error


def _no_message() -> BaseException:
    return ValueError(lambda: None)


Making = tuple[Callable[[], BaseException], str]
"""How it is made, and what the reader of the failure finds."""

EXCEPTIONS: dict[str, Making] = {
    "whose text raises": (Mute, "Mute: (its text cannot be made: RuntimeError)"),
    "whose text exits": (ExitsWhenAsked, "ExitsWhenAsked: (its text cannot be made: SystemExit)"),
    "whose text is no text": (OddText, "OddText: (its text cannot be made: TypeError)"),
    "that cannot be compared": (Alone, "Alone"),
    "that cannot be pickled": (NotPicklable, "NotPicklable"),
    "that holds what cannot be pickled": (_no_message, "ValueError: <function"),
    "that answers nothing": (ClosedToAll, "ClosedToAll: (what it says cannot be told: RuntimeError)"),
    "whose cause raises": (NoCause, "NoCause: (what it says cannot be told: RuntimeError)"),
    "whose class has half a name": (Nameless, r"half \ud800 a name"),
    "whose class tells nothing": (OfAClosedClass, "OfAClosedClass"),
    "that is its cause's cause": (cyclic_causes, "ValueError: first"),
    "that is its context's context": (cyclic_contexts, "ValueError: first"),
    "with causes without end": (long_chain, "ValueError: later"),
    "in groups 1,000 deep": (deep_group, "ExceptionGroup: one of many (1 sub-exception)"),
    "in a group of twenty thousand": (wide_group, "ExceptionGroup: wide (20000 sub-exceptions)"),
    "in a group that is its cause": (group_of_itself, "ExceptionGroup: again (20 sub-exceptions)"),
    "in groups that are in groups twice": (doubled_group, "ExceptionGroup: twice (2 sub-exceptions)"),
    "that holds itself": (holds_itself, "ValueError: (its text cannot be made: RecursionError)"),
    "with notes that are none": (with_odd_notes, "ValueError: noted"),
    "with a message of 10 MB": (lambda: ValueError("x" * 10_000_000), "ValueError: xxxxxxxx"),
    "with half a character": (lambda: ValueError("a\ud800b"), r"ValueError: a\ud800b"),
    "with what terminals obey": (lambda: ValueError("nul\0 and \x1b[31mred"), "ValueError: nul"),
    "that is no Exception": (lambda: BaseException("base"), "BaseException: base"),
    "that exits": (lambda: SystemExit(3), "SystemExit: 3"),
    "that closes generators": (GeneratorExit, "GeneratorExit"),
    "that says it was cancelled": (asyncio.CancelledError, "CancelledError"),
    "that ends iterations": (lambda: StopAsyncIteration(5), "StopAsyncIteration: 5"),
    "of exits in a group": (
        lambda: BaseExceptionGroup("ends", [SystemExit(1), GeneratorExit()]),
        "BaseExceptionGroup: ends (2 sub-exceptions)",
    ),
    "for want of memory": (MemoryError, "MemoryError"),
}
