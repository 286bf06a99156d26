"""The files of a schema: SQL, numbered 0001, 0002 and so on, the n-th of which brings schema n - 1 to n."""

from collections.abc import Callable
from importlib.resources.abc import Traversable
from typing import Protocol, TypeVar


class Numbered(Protocol):
    """What is read of a file."""

    @property
    def number(self) -> int: ...

    @property
    def name(self) -> str: ...


M = TypeVar("M", bound=Numbered)


def numbered(folder: Traversable, read: Callable[[int, Traversable], M]) -> list[M]:
    """What `read` makes of the number and the file of each migration in a folder, in order.

    Raises:
        ValueError: their numbers are not 1, 2, 3 and so on.
    """
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    found = [read(_number(file.name), file) for file in files]
    if not found or [each.number for each in found] != list(range(1, len(found) + 1)):
        names = ", ".join(each.name for each in found) or "none"
        raise ValueError(f"migrations are numbered 0001, 0002 and so on, without gaps, and found are: {names}")
    return found


def _number(name: str) -> int:
    digits = name.partition("_")[0]
    return int(digits) if digits.isdecimal() else 0
