"""The demo: `make demo`. Processes orders.jsonl while engines are killed, then proves that nothing is lost or doubled."""

import argparse
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from examples.orders.model import read_orders
from examples.orders.processes import ROOT, Child, ChildFailed
from examples.orders.progress import Progress
from examples.orders.proof import Books, prove
from examples.orders.report import Report, print_report
from examples.orders.shop import Shop
from perdure import Client


@dataclass
class Kill:
    """One planned SIGKILL, due when so many orders are done."""

    due: int
    with_standby: bool
    victim: int = 0
    died_at: float = 0.0
    recovery_seconds: float | None = None


def plan_kills(kills: int, orders: int) -> list[Kill]:
    """Kills spread evenly over the work; every second one finds a standby waiting."""
    return [Kill(orders * (n + 1) // (kills + 1), with_standby=n % 2 == 1) for n in range(kills)]


class Demo:
    """Owns the processes: one payment service, one working engine, at times a second one that stands by."""

    def __init__(self, directory: Path, orders: int | None, kills: int) -> None:
        self.directory = directory
        self.database = f"sqlite:///{directory / 'orders.db'}"
        self.orders = read_orders(orders)
        self.kills = plan_kills(kills, len(self.orders))
        self._in_flight = max(4, len(self.orders) // 12)
        self._env = {"ORDERS_SHOP": str(directory / "shop.db")}
        self._children: list[Child] = []
        self._standby: Child | None = None

    is_shared = False

    @property
    def shown(self) -> str | None:
        """The address of the runs as people would write it, if they are still there afterwards."""
        database = os.path.relpath(self.directory / "orders.db")
        return f"sqlite:///{database}" if not database.startswith("..") else self.database

    def run(self, progress: Progress, limit_seconds: float) -> Report:
        """Process all orders; kill as planned.

        Raises:
            ChildFailed: a process ended that nobody killed, or all took too long.
        """
        Shop(self._env["ORDERS_SHOP"]).fill(self.orders)
        ledger = self.directory / "payments.db"
        payments = self._start("payments", ["--ledger", str(ledger)])
        self._env["ORDERS_PAYMENT_PORT"] = payments.said()
        books = Books(ledger, self.directory / "shop.db")
        started = time.monotonic()
        self._begin_engines()
        with Client(self.database) as client:
            while (done := self._completed(client)) < len(self.orders):
                self._check(payments, time.monotonic() - started, limit_seconds)
                self._note_recovery(books, progress)
                progress.update(done, books.retries(), sum(kill.died_at > 0 for kill in self.kills))
                self._kill_if_due(done, progress)
                time.sleep(0.05)
            seconds = time.monotonic() - started
            self._note_recovery(books, progress)
            progress.update(done, books.retries(), sum(kill.died_at > 0 for kill in self.kills))
            self._end_engines()
            checks = prove(self.orders, books, client.count().wait(), self._completed(client))
        return Report(len(self.orders), seconds, self.kills, checks, books.figures(), self.is_shared)

    def _begin_engines(self) -> None:
        self._engine = self._start_engine()
        self._engine.said()

    def _end_engines(self) -> None:
        if self._engine.exit_code(timeout=15) != 0:
            raise ChildFailed(f"{self._engine.name} should have ended with exit code 0", self._engine)

    def stop(self) -> None:
        """End all processes, whatever they do."""
        for child in self._children:
            child.kill()

    def _completed(self, client: Client) -> int:
        return client.count(status="completed").wait()

    def _start(self, module: str, arguments: list[str]) -> Child:
        name = f"{module}-{len(self._children)}"
        log = self.directory / f"{name}.log"
        child = Child(name, f"examples.orders.{module}", arguments, log, self._env)
        self._children.append(child)
        return child

    def _start_engine(self) -> Child:
        orders, in_flight = str(len(self.orders)), str(self._in_flight)
        return self._start("engine", ["--db", self.database, "--orders", orders, "--in-flight", in_flight])

    def _check(self, payments: Child, seconds: float, limit_seconds: float) -> None:
        if payments.exit_code() is not None:
            raise ChildFailed("the payment service ended by itself", payments)
        for child in self._working():
            if child.exit_code() not in (None, 0):
                raise ChildFailed(f"{child.name} ended by itself with exit code {child.exit_code()}", child)
        if seconds > limit_seconds:
            raise ChildFailed(f"not done after {limit_seconds:g} s", self._working()[0])

    def _working(self) -> list[Child]:
        """The engines that are at work, or stand by."""
        return [self._engine] if self._standby is None else [self._engine, self._standby]

    def _note_recovery(self, books: Books, progress: Progress) -> None:
        """Of the last kill: how long until somebody else went on."""
        kill = next((kill for kill in reversed(self.kills) if kill.died_at), None)
        if kill is None or kill.recovery_seconds is not None:
            return
        alive_at = self._recovered_at(books, kill)
        if alive_at is not None:
            kill.recovery_seconds = alive_at - kill.died_at
            self._say_recovery(kill, progress)

    def _recovered_at(self, books: Books, kill: Kill) -> float | None:
        return books.first_sign_of_life(kill.died_at, kill.victim)

    def _say_recovery(self, kill: Kill, progress: Progress) -> None:
        progress.say(f"↻ {self._engine.name} went on {kill.recovery_seconds:.2f} s later")

    def _kill_if_due(self, done: int, progress: Progress) -> None:
        """The next kill waits for its moment, for the last victim's successor, and for the standby it wants."""
        number = next((n for n, kill in enumerate(self.kills) if not kill.died_at), None)
        recovering = any(kill.died_at and kill.recovery_seconds is None for kill in self.kills)
        if number is None or recovering or not self._engine.is_ready:
            return
        kill = self.kills[number]
        if kill.with_standby and self._standby is None:
            self._standby = self._start_engine()  # only now, when the engine at work surely owns the database
        if done < kill.due or (self._standby is not None and not self._standby.is_ready):
            return
        self._kill(kill, self._engine)
        how = "a standby is waiting" if self._standby else "starting it anew"
        progress.say(f"✗ {self._engine.name} killed (SIGKILL, process {kill.victim}) at {done} orders; {how}")
        self._engine, self._standby = self._standby or self._start_engine(), None

    def _kill(self, kill: Kill, engine: Child) -> None:
        kill.victim = engine.pid
        kill.died_at = engine.kill()


@contextmanager
def fresh_directory(directory: Path) -> Iterator[Path]:
    """The demo's directory without the files of an earlier demo, and for this demo alone."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"error: another demo is running in {directory}\nhint: choose another --dir") from None
        for pattern in ("orders.db*", "payments.db*", "shop.db*", "*.log"):
            for path in directory.glob(pattern):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        yield directory


def main() -> int:
    parser = argparse.ArgumentParser(description="Process orders while engines are killed, and prove that all is well.")
    parser.add_argument("--orders", type=int, default=None, help="how many, by default all of orders.jsonl")
    parser.add_argument(
        "--kills", type=int, help="how often to kill an engine, by default 5 times, in PostgreSQL 3 times"
    )
    parser.add_argument("--dir", type=Path, default=ROOT / ".demo", help="where to put the databases and logs")
    parser.add_argument("--limit", type=float, default=120, help="give up after so many seconds")
    parser.add_argument(
        "--store", choices=("sqlite", "postgres"), default="sqlite", help="postgres: three engines on a server"
    )
    parser.add_argument(
        "--db", help="with --store postgres: an empty database of yours; without it a server is started"
    )
    options = parser.parse_args()
    if options.db and options.store != "postgres":
        parser.error("--db goes with --store postgres")
    kills = options.kills if options.kills is not None else 3 if options.store == "postgres" else 5
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with fresh_directory(options.dir.resolve()) as directory, ExitStack() as stack:
        if options.store == "postgres":
            from examples.orders.shared import shared_demo

            demo = stack.enter_context(shared_demo(directory, options.orders, kills, options.db))
        else:
            demo = Demo(directory, options.orders, kills)
        try:
            with Progress(len(demo.orders)) as progress:
                report = demo.run(progress, options.limit)
        except ChildFailed as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("stopped; the databases are left as they are", file=sys.stderr)
            return 130
        finally:
            demo.stop()
        print_report(report, demo.shown)
        return 0 if report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
