"""A server of PostgreSQL as the place of a storm: it is stopped and killed as planned, and some reach it by a network that fails."""

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg

from tests.chaos.engine import FAULT
from tests.chaos.places import EMPTY, Driver
from tests.chaos.plan import Blow
from tests.chaos.processes import EDITION, Process
from tests.postgres.server import Server, free_port

NETWORKS = (("engine-1", "engine-2", "worker-1"), ("engine-3", "client-1"))
"""Who goes by which; the others reach the server without any."""
STOPS = {"restart server": signal.SIGINT, "crash server": signal.SIGQUIT, "kill server": signal.SIGKILL}
NO_DATABASE = 5
"""What the command says that finds none."""
BEGIN_SECONDS = 120.0
"""So long after its birth a process may still be about to begin."""
TIDY_MEMBERS = "SELECT count(DISTINCT pid) FROM perdure.members WHERE alive"
"""An engine that takes tasks of its own queue is two members."""
OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


class Cluster:
    """A server of the tests' own. It listens to the storm until `close`."""

    def __init__(self, folder: Path) -> None:
        self.name = "server: of its own, with fsync"
        self.engines = 4
        self.back: list[float] = []
        self._outages: list[tuple[float, float]] = []
        self._down_since: float | None = None
        self._server = Server({"deadlock_timeout": "200ms"})
        self._server.start()
        self._server.ask("CREATE DATABASE storm")
        self._server.ask("CREATE TABLE public.vault (of text, k integer)", "storm")
        self.address = self._server.address("storm")
        self._networks: list[Process] = []
        self._ports = [free_port() for _ in NETWORKS]
        for number, port in enumerate(self._ports):
            command = ["tests.chaos.network", str(port), str(self._server.port)]
            made = Process(f"network-{number}", "network", command, folder / f"network-{number}.log", {EDITION: "1"})
            self._networks.append(made)
        while not all(network.is_ready() for network in self._networks):
            time.sleep(0.02)

    def address_for(self, process: str) -> str:
        for port, names in zip(self._ports, NETWORKS, strict=True):
            if process in names:
                return f"postgresql://perdure@127.0.0.1:{port}/storm"
        return self.address

    def spoil(self, blow: Blow, driver: Driver) -> bool:
        network = self._networks[int(blow.share * len(self._networks))]
        if self._down_since is not None:
            return False
        match blow.kind:
            case "end sessions":
                self._server.ask(OTHERS)
                self._outages.append((time.time(), time.time()))
                driver.troubled(0)
            case "cut network":
                if network.frozen:
                    return False
                os.kill(network.pid, signal.SIGUSR1)
                self._outages.append((time.time(), time.time()))
            case "freeze network":
                if network.frozen:
                    return False
                network.freeze(time.time() + blow.seconds)
                self._outages.append((time.time(), time.time() + blow.seconds))
                driver.after(blow.seconds, network.thaw)
            case "hold table":
                driver.troubled(blow.seconds)
                driver.other(blow.kind, ["tests.chaos.bystanders", blow.kind, self.address, str(blow.seconds)])
            case _:
                self._down_since = time.time()
                driver.troubled(blow.seconds)
                self._server.stop(STOPS[blow.kind])
                driver.after(blow.seconds, self._start)
        return True

    def _start(self) -> None:
        self._server.start()
        assert self._down_since is not None
        self.back.append(time.time())
        self._outages.append((self._down_since, self.back[-1]))
        self._down_since = None

    def answers(self) -> bool:
        return self._down_since is None

    def excuses(self, process: Process, code: int | None, troubled: bool) -> bool:
        """One that finds no database when it begins says so, and ends. Nobody else may end."""
        born, now = process.born_at, time.time()
        if code not in (FAULT, NO_DATABASE) or now > born + BEGIN_SECONDS or process.is_ready():
            return False
        return self._down_since is not None or any(begin <= now and end >= born for begin, end in self._outages)

    def is_tidy(self) -> bool:
        """Whether all that were killed were declared dead."""
        try:
            ((alive,),) = self._server.ask(TIDY_MEMBERS, "storm")
        except psycopg.Error:
            return False
        return alive <= self.engines + 2

    def log_bytes(self) -> int:
        return 0

    def settle(self) -> None:
        pass

    def left(self) -> Iterator[str]:
        for table in EMPTY:
            ((count,),) = self._server.ask(f"SELECT count(*) FROM perdure.{table}", "storm")
            if count:
                yield f"{count} rows are left in {table}"
        for id, pid, serves in self._server.ask("SELECT id, pid, serves FROM perdure.members WHERE alive", "storm"):
            if pid != os.getpid():
                yield f"member {id} (process {pid}, {'a worker' if serves else 'an engine'}) is not told to have gone"

    def vault(self) -> Counter[tuple[str, int]]:
        return Counter((str(of), int(k)) for of, k in self._server.ask("SELECT of, k FROM public.vault", "storm"))

    def close(self, kept: Path | None) -> None:
        for network in self._networks:
            network.kill()
        self._server.stop()
        if kept is not None:
            shutil.copytree(self._server.data, kept / "database", dirs_exist_ok=True)
        if kept is not None:
            (kept / "server.log").write_text(self._server.log)
        self._server.__exit__(None, None, None)
