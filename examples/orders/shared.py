"""The demo with PostgreSQL: several engines share the orders, and each kill leaves its work to the others."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from examples.orders.demo import Demo, Kill
from examples.orders.processes import Child, ChildFailed
from examples.orders.progress import Progress
from examples.orders.proof import Books
from perdure import Client

if TYPE_CHECKING:
    from tests.postgres.server import Server

ENGINES = 3
LEASE = "3s"
"""How long an engine may be silent until the others take it for dead; 10 s unless one says otherwise."""


class SharedDemo(Demo):
    """One payment service, and three engines at work. A killed one is replaced by a new one, as a platform would. A `server` of the
    demo's own is stopped once without a warning, too."""

    def __init__(
        self, directory: Path, orders: int | None, kills: int, database: str, server: "Server | None" = None
    ) -> None:
        super().__init__(directory, orders, kills)
        self.database = database
        self._server = server
        self._restart_at = len(self.orders) // 2
        self._in_flight = max(4, self._in_flight // 4)
        self._engines: list[Child] = []
        self._begun = 0
        for kill in self.kills:
            kill.with_standby = True

    is_shared = True

    @property
    def shown(self) -> str | None:
        return self.database if self._server is None else None

    def _begin_engines(self) -> None:
        with Client(self.database, create=True) as client:
            if client.count().wait():
                raise SystemExit("error: there are runs in that database already\nhint: name an empty one")
        self._engines = [self._start_engine() for _ in range(ENGINES)]
        for engine in self._engines:
            engine.said()

    def _start_engine(self) -> Child:
        """Each begins with other orders, so that all have some of their own."""
        part = f"{self._begun % ENGINES}/{ENGINES}"
        self._begun += 1
        arguments = ["--db", self.database, "--orders", str(len(self.orders)), "--in-flight", str(self._in_flight)]
        return self._start("engine", [*arguments, "--part", part, "--lease", LEASE])

    def _working(self) -> list[Child]:
        return self._engines

    def _kill_if_due(self, done: int, progress: Progress) -> None:
        if self._server is not None and self._restart_at <= done < len(self.orders):
            self._server.restart(signal.SIGQUIT)
            self._restart_at = len(self.orders)
            progress.say(f"✗ PostgreSQL stopped at {done} orders without writing a checkpoint, and started again")
        number = next((n for n, kill in enumerate(self.kills) if not kill.died_at), None)
        recovering = any(kill.died_at and kill.recovery_seconds is None for kill in self.kills)
        if number is None or recovering or done < self.kills[number].due:
            return
        if not all(engine.is_ready for engine in self._engines):
            return
        place = number % ENGINES
        self._kill(self.kills[number], self._engines[place])
        progress.say(
            f"✗ {self._engines[place].name} killed (SIGKILL, process {self.kills[number].victim}) at {done} orders; "
            f"{ENGINES - 1} others are at work, and a new one comes"
        )
        self._engines[place] = self._start_engine()

    def _recovered_at(self, books: Books, kill: Kill) -> float | None:
        """What the dead one was at somebody else goes on with; or it was at nothing."""
        return books.taken_over(kill.died_at, kill.victim)

    def _say_recovery(self, kill: Kill, progress: Progress) -> None:
        progress.say(f"↻ others went on with its orders {kill.recovery_seconds:.2f} s later")

    def _end_engines(self) -> None:
        for engine in self._engines:
            if engine.exit_code(timeout=30) != 0:
                raise ChildFailed(f"{engine.name} should have ended with exit code 0", engine)


@contextmanager
def shared_demo(directory: Path, orders: int | None, kills: int, database: str | None) -> Iterator[SharedDemo]:
    """On an empty database, or else on a server that is started for it."""
    if database is not None:
        yield SharedDemo(directory, orders, kills, database)
        return
    from tests.postgres.server import Missing, Server

    try:
        server = Server()
    except Missing as missing:
        raise SystemExit(f"error: {missing}\nhint: name a database of yours with --db") from None
    with server:
        yield SharedDemo(directory, orders, kills, server.address(), server)
