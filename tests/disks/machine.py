"""A machine with a disk: the real store on it, the power failing at steps that can be chosen, and what has to be there then.

Whatever was acknowledged, to the owner or to a client, must be in the database when the power is back; whatever was not may
be there whole, or not at all. That is looked at before anybody goes on: by the content of all tables, and by `check`.
"""

import contextlib
import hashlib
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from perdure import errors
from perdure.stores.base import Faults, Store
from perdure.stores.sqlite.store import SqliteStore
from perdure.testing.simulation.checks import Violation
from perdure.testing.simulation.life import Opener
from perdure.testing.simulation.world import Crash, SimulatedWorld
from tests.disks.disk import FATES, Disk, Fates
from tests.disks.vfs import OK, What

NAME = "runs.db"
_MARKER = f"{NAME}-turn"
_TRIES = 50


def content_of(folder: Path) -> str:
    """All tables of a database, in short. SQLite recovers it first, if need be."""
    path = folder / NAME
    if not path.exists():
        return "no database"
    digest = hashlib.sha256()
    connection = sqlite3.connect(path)
    try:
        for name, sql in connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall():
            digest.update(f"{name} {sql}".encode())
            if sql is not None and sql.startswith("CREATE TABLE"):
                for row in connection.execute(f"SELECT * FROM {name}"):
                    digest.update(repr(row).encode())
    except sqlite3.DatabaseError as error:
        return f"damaged: {error}"
    finally:
        connection.close()
    return digest.hexdigest()[:16]


def content_in(files: Mapping[str, bytes]) -> str:
    """The same of files that are not in a folder yet."""
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        return content_of(Path(folder))


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


class Weather(NamedTuple):
    """What befalls a machine. `cuts`: at which steps, counted over all its life, the power fails. `fate`: what becomes then of
    what was not synced; None lets chance decide. `honest`: whether a sync does what it says. `trouble` is that of a disk,
    asked unless the machine itself looks; `seconds` how long it takes for something, on the simulated clock. `guest` is there
    from when the first owner begins."""

    seed: int = 0
    cuts: frozenset[int] = frozenset()
    fate: Fates | None = None
    honest: bool = True
    trouble: Callable[[What, str], int] = lambda what, name: OK
    seconds: Callable[[What], float] = lambda what: 0.0
    guest: "Callable[[Machine, SimulatedWorld], None]" = lambda machine, world: None


class Machine:
    """It goes on in a new folder whenever the power is back."""

    def __init__(self, folder: Path, weather: Weather = Weather(), files: Mapping[str, bytes] | None = None) -> None:
        self._folder = folder
        self._weather = weather
        self._chance = Random(f"machine {weather.seed}")
        self.acknowledged = [0]
        """After how many steps of the disk somebody was told that what he wanted is durable."""
        self._perhaps: list[int] = []
        self._watching = contextlib.ExitStack()
        self._stores: list[SqliteStore] = []
        self._outside: SqliteStore | None = None
        self._looks = False
        self.world: SimulatedWorld | None = None
        self.steps = 0
        self.generation = 0
        self.failures = 0
        """How often the power has failed."""
        self.problems: list[str] = []
        """What the check of the database finds at last."""
        self.refused = 0
        """How often somebody was told that the database cannot be used."""
        self.disk = self._disk(files or {})

    def _disk(self, files: Mapping[str, bytes]) -> Disk:
        self.generation += 1
        self.acknowledged = [0]
        self._perhaps = []
        disk = Disk(
            self._folder / str(self.generation),
            files,
            self._chance,
            self._is_cut,
            lambda what, name: OK if self._looks else self._weather.trouble(what, name),
            self._wait,
            self._weather.honest,
        )
        self._watching.enter_context(disk.watching)
        return disk

    def _is_cut(self) -> bool:
        self.steps += 1
        return self.steps in self._weather.cuts

    def _wait(self, what: What, seconds: float) -> None:
        if self.world is not None:
            self.world.stall(seconds + self._weather.seconds(what))

    def open(self, faults: Faults | None) -> Store:
        """A store for an owner; or, without faults, for all who are outside."""
        if faults is None:
            return _OutsidersStore(self, self._of_outsiders)  # type: ignore[return-value]
        world = getattr(faults, "__self__", None)
        if self.world is None and world is not None:
            self.world = world
            self._weather.guest(self, world)
        return _OwnersStore(self, faults)  # type: ignore[return-value]

    def new(self, faults: Faults | None = None) -> SqliteStore:
        store = SqliteStore(str(self.disk.folder / NAME), faults)
        self._stores.append(store)
        return store

    def _of_outsiders(self) -> SqliteStore:
        if self._outside is None or not self.disk.power:
            self._outside = self.again(lambda: self._outside or self.new())
        return self._outside

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """It is only the machine itself that wants to know something."""
        looks, self._looks = self._looks, True
        try:
            yield
        finally:
            self._looks = looks

    # calls of the store

    def for_owner(self, call: Callable[[], Any]) -> Any:
        """Whatever it comes to, an owner whose power has failed is dead."""
        try:
            return self._noted(call)
        finally:
            if not self.disk.power:
                raise Crash  # instead of what the failure has made of it

    def again(self, call: Callable[[], Any]) -> Any:
        """Who is told that the database does not answer asks again, when the power is back, not knowing whether he was heard the
        first time. So does the next engine after one that could not begin."""
        for _ in range(_TRIES):
            self.boot()
            try:
                answer = self._noted(call)
            except errors.StoreError:
                self.refused += 1
            else:
                if self.disk.power:
                    return answer
        raise Violation(f"no answer after {_TRIES} times")

    def check(self) -> list[str]:
        with self._looking():
            return self.again(lambda: self._of_outsiders().admin.check())

    def _noted(self, call: Callable[[], Any]) -> Any:
        before = len(self.disk.steps)
        try:
            answer = call()
        except BaseException:
            self._perhaps.append(len(self.disk.steps))
            raise
        if self.disk.power and len(self.disk.steps) > before:
            self.was_durable()
        return answer

    def was_durable(self) -> None:
        """Somebody was told so just now."""
        self.acknowledged.append(len(self.disk.steps))
        self._perhaps.clear()

    # the power

    def possible(self, steps: int) -> set[int]:
        """If the power fails after so many steps: after how many there was what may be found then. It is what was acknowledged
        last, or what was on its way."""
        since = max(n for n in self.acknowledged if n <= steps)
        synced = (n for n, step in enumerate(self.disk.steps[since:steps], since) if step.what == "sync")
        return {since, *synced, steps}

    def boot(self) -> None:
        """If the power has failed: it is back. What is found must be what was acknowledged.

        Raises:
            Violation: it is not."""
        while not self.disk.power:
            self.failures += 1
            self._close_all()
            where = self._restored()
            with self._looking(), contextlib.suppress(errors.StoreError):  # if the power fails again
                self._outside = self._noted(self.new)
                problems = self._outside.admin.check()
                if problems:
                    raise Violation(f"{where}, and check finds {problems} (4)")

    def _restored(self) -> str:
        """Go on with what is left. Gives a line about it."""
        possible = self.possible(len(self.disk.steps)).union(self._perhaps)
        allowed = {content_in(self.disk.seen_at(n)) for n in possible}
        fate = self._weather.fate or self._chance.choice(FATES)
        left = self.disk.platter.left(self._chance, fate)
        marker = self.disk.folder / _MARKER
        if marker.exists() and self._chance.random() < 0.5:
            left[_MARKER] = marker.read_bytes()
        where = f"the power fails at step {self.steps}; of what was not synced, there is {fate}"
        if self.world is not None:
            self.world.say("power", where)
        self.disk = self._disk(left)
        found = content_in(left)
        if found not in allowed:
            raise Violation(f"{where}; found is {found}, and what was acknowledged is {sorted(allowed)} (1)")
        return where

    def _close_all(self) -> None:
        for store in self._stores:
            store.admin.close()
        self._stores.clear()
        self._outside = None

    def close(self) -> None:
        with contextlib.suppress(Violation):  # which has been told
            self.problems = self.check()
        self._close_all()
        self._watching.close()


class _Part:
    """A store, or a part of one, whose calls are a machine's. `here` gives it now, `ask` makes a call of it."""

    def __init__(self, machine: Machine, here: Callable[[], Any], ask: Callable[[Callable[[], Any]], Any]) -> None:
        self._machine = machine
        self._here = here
        self._ask = ask

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._here(), name)
        if callable(value):
            return self._call(name)
        if type(value).__module__.startswith("perdure.stores.sqlite"):
            return _Part(self._machine, lambda: getattr(self._here(), name), self._ask)
        return value

    def _call(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            answer = self._ask(lambda: getattr(self._here(), name)(*arguments, **named))
            if name == "settle" and answer:
                self._machine.was_durable()
            return answer

        return call


class _Admin(_Part):
    try_own: Callable[..., int | None]
    check: Callable[[], list[str]]
    close: Callable[[], None]


class _OutsidersStore(_Part):
    """That of all who do not own; it is closed with the machine."""

    def __init__(self, machine: Machine, here: Callable[[], SqliteStore]) -> None:
        super().__init__(machine, here, machine.again)
        self.admin = _Admin(machine, lambda: here().admin, machine.again)
        self.admin.close = lambda: None
        self.admin.check = machine.check


class _OwnersStore(_Part):
    """That of one owner, who dies with the power."""

    def __init__(self, machine: Machine, faults: Faults) -> None:
        super().__init__(machine, self._opened, machine.for_owner)
        self._faults = faults
        self._generation = 0
        self._store: SqliteStore | None = None
        self.admin = _Admin(machine, lambda: self._opened().admin, machine.for_owner)
        self.admin.try_own = self._try_own
        self.admin.close = self._close

    def _opened(self) -> SqliteStore:
        if self._store is None or self._generation != self._machine.generation or not self._machine.disk.power:
            raise Crash
        return self._store

    def _try_own(self, *about: Any) -> int | None:
        """What a process begins with. If it comes to nothing, that of the next one."""

        def begin() -> int | None:
            self._close()
            self._store = self._machine.new(self._faults)
            self._generation = self._machine.generation
            return self._store.admin.try_own(*about)

        return self._machine.again(begin)

    def _close(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.admin.close()


@contextmanager
def machine_in(weather: Weather = Weather(), files: Mapping[str, bytes] | None = None) -> Iterator[Machine]:
    """A machine that is new, with these files on its disk, and gone afterwards."""
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        machine = Machine(Path(folder), weather, files)
        try:
            yield machine
        finally:
            machine.close()


class Stores:
    """Where a simulation keeps its runs: for `life.simulate`. The first one it asks for has good weather, if its plan has
    disturbances: that is the life that is compared."""

    def __init__(self, weather: Weather, calm_first: bool = False) -> None:
        self._weather = weather
        self._calm = calm_first
        self.machine: Machine | None = None

    @contextmanager
    def __call__(self) -> Iterator[Opener]:
        weather, self._calm = (Weather() if self._calm else self._weather), False
        with machine_in(weather) as machine:
            self.machine = machine
            yield machine.open
