"""Where the database of a storm lies, and what can befall it there. A file of SQLite is here, a server of PostgreSQL in `cluster.py`."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from sqlite3 import connect
from typing import Protocol

from perdure.errors import StoreError
from tests.chaos.disk import Disk, cap_files
from tests.chaos.plan import Blow
from tests.chaos.processes import Process

EMPTY = ("mail", "tasks", "human", "workers")
"""Tables of what is not over yet."""


class Driver(Protocol):
    """What a place may ask of the storm."""

    def owner(self) -> Process | None: ...
    def victims(self, whom: str) -> list[Process]: ...
    def other(self, kind: str, command: list[str]) -> None: ...
    def troubled(self, seconds: float) -> None: ...
    def after(self, seconds: float, deed: Callable[[], object]) -> None: ...


class Place(Protocol):
    """`address` is the driver's own; after `settle` it is what is looked at. `engines`: how many there are."""

    name: str
    address: str
    engines: int
    back: list[float]
    """When a server took connections again."""

    def address_for(self, process: str) -> str: ...

    def spoil(self, blow: Blow, driver: Driver) -> bool:
        """Do it, if it can be done here."""
        ...

    def excuses(self, process: Process, code: int | None, troubled: bool) -> bool:
        """Whether one may have ended by itself, by what has befallen the database. `troubled`: something has of late."""
        ...

    def answers(self) -> bool:
        """Whether it is worth asking now."""
        ...

    def is_tidy(self) -> bool:
        """Whether nothing waits for the death of somebody to be noticed."""
        ...

    def log_bytes(self) -> int: ...

    def settle(self) -> None:
        """Nobody of the storm is there any more: make the database ready to be looked at."""
        ...

    def left(self) -> Iterator[str]:
        """What is there and should not be, when everything is over."""
        ...

    def vault(self) -> Counter[tuple[str, int]]:
        """What activities have entered in the transactions of their results, and how often it is there."""
        ...

    def close(self, kept: Path | None) -> None:
        """What is to be kept goes to that folder."""
        ...


class File:
    """One file, on a small disk of its own if somebody is to fill it."""

    def __init__(self, folder: Path, plan: Sequence[Blow], seconds: float) -> None:
        fills = any(blow.kind == "fill disk" for blow in plan)
        self.disk = Disk(folder / "disk", (256 << 20) + int(seconds * (1 << 20)) if fills else None)
        self.name = f"disk: {self.disk.name}"
        self.path = folder / "disk" / "runs.db"
        self.address = f"sqlite:///{self.path}"
        self.engines = 3
        self.back: list[float] = []
        self._database = folder / "database"

    def address_for(self, process: str) -> str:
        return self.address

    def spoil(self, blow: Blow, driver: Driver) -> bool:
        """The disk, the file, or somebody else who uses it, once it is there."""
        try:
            driver.owner()
        except StoreError:
            return False
        match blow.kind:
            case "fill disk":
                if not self.disk.can_be_filled:
                    return False
                self.disk.fill()
                driver.troubled(blow.seconds)
                driver.after(blow.seconds, self.disk.empty)
            case "cap files":
                owner = driver.victims("owner")
                size = self.disk.size("runs.db-wal")
                if not owner or not cap_files(owner[0].pid, max(size, 4096)):
                    return False
                driver.troubled(blow.seconds)
                driver.after(blow.seconds, lambda: cap_files(owner[0].pid, None))
            case _:
                if blow.kind == "hold lock":
                    driver.troubled(blow.seconds)
                driver.other(blow.kind, ["tests.chaos.bystanders", blow.kind, str(self.path), str(blow.seconds)])
        return True

    def excuses(self, process: Process, code: int | None, troubled: bool) -> bool:
        return troubled

    def answers(self) -> bool:
        return True

    def is_tidy(self) -> bool:
        return True

    def log_bytes(self) -> int:
        return self.disk.size("runs.db-wal")

    def settle(self) -> None:
        self._database.mkdir()
        for path in self.disk.folder.glob("runs.db*"):
            shutil.copy(path, self._database)
        self.address = f"sqlite:///{self._database / 'runs.db'}"

    def left(self) -> Iterator[str]:
        with closing(connect(f"file:{self._database / 'runs.db'}?mode=ro", uri=True)) as connection:
            for table in (*EMPTY, "human_people"):
                (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
                if count:
                    yield f"{count} rows are left in {table}"
        yield from (f"{path.name} is left" for path in self._database.glob("runs.db-worker-*"))

    def vault(self) -> Counter[tuple[str, int]]:
        return Counter()

    def close(self, kept: Path | None) -> None:
        self.disk.close()
