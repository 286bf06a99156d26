"""A server of PostgreSQL as the place of a storm: it is stopped and killed as planned, a standby takes its place, and some reach
it by a network that fails."""

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg

from tests.chaos.engine import FAULT
from tests.chaos.places import EMPTY, Driver
from tests.chaos.plan import Blow
from tests.chaos.processes import EDITION, Process
from tests.postgres.server import Server, free_port

NETWORKS = (("engine-1", "engine-2", "worker-1"), ("engine-3", "client-1"))
"""Who goes by which; the others reach the server without any."""
SETTINGS = {"deadlock_timeout": "200ms"}
STOPS = {"restart server": signal.SIGINT, "crash server": signal.SIGQUIT, "kill server": signal.SIGKILL}
NO_DATABASE = 5
"""What the command says that finds none."""
BEGIN_SECONDS = 120.0
"""So long after its birth a process may still be about to begin."""
TIDY_MEMBERS = "SELECT count(DISTINCT pid) FROM perdure.members WHERE alive"
"""An engine that takes tasks of its own queue is two members."""
OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


STANDBY = ("synchronous_standby_names = 'standby'", "RESET synchronous_standby_names")
"""Which nobody loses anything by: a commit is at the standby as well before it is told of."""
IN_STEP = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"


class Cluster:
    """A server of the tests' own, and a standby of it if the plan is to `fail over`. It listens to the storm until `close`."""

    def __init__(self, folder: Path, plan: Sequence[Blow]) -> None:
        fails_over = any(blow.kind == "fail over" for blow in plan)
        self.name = f"server: of its own, with fsync{', and a standby' if fails_over else ''}"
        self.engines = 4
        self.back: list[float] = []
        self._outages: list[tuple[float, float]] = []
        self._down_since: float | None = None
        self._logs: list[str] = []
        self._server = Server(SETTINGS)
        self._server.start()
        self._server.ask("CREATE DATABASE storm")
        self._server.ask("CREATE TABLE public.vault (of text, k integer)", "storm")
        self._standby: Server | None = None
        if fails_over:
            self._follow(None)
        self._servers = [self._server.port, *([self._standby.port] if self._standby else [])]
        self.address = self._address(self._servers)
        self._networks: list[Process] = []
        self._ports = [[free_port() for _ in self._servers] for _ in NETWORKS]
        for number, ports in enumerate(self._ports):
            ways = [f"{port}={server}" for port, server in zip(ports, self._servers, strict=True)]
            command = ["tests.chaos.network", *ways]
            made = Process(f"network-{number}", "network", command, folder / f"network-{number}.log", {EDITION: "1"})
            self._networks.append(made)
        while not all(network.is_ready() for network in self._networks):
            time.sleep(0.02)

    def _address(self, ports: Sequence[int]) -> str:
        """Of whichever of them takes writes."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        return f"postgresql://perdure@{hosts}/storm{'?target_session_attrs=read-write' if len(ports) > 1 else ''}"

    def address_for(self, process: str) -> str:
        for ports, names in zip(self._ports, NETWORKS, strict=True):
            if process in names:
                return self._address(ports)
        return self.address

    def _follow(self, port: int | None) -> None:
        """Give the server a standby that has all it has; at a port, if addresses name it already."""
        self._standby = Server(SETTINGS, of=self._server, port=port)
        self._standby.start()
        self._server.ask(f"ALTER SYSTEM SET {STANDBY[0]}")
        self._server.ask("SELECT pg_reload_conf()")

    def _fail_over(self) -> None:
        """The standby takes the place of the server that was killed, and gets one in its turn."""
        dead, new = self._server, self._standby
        assert new is not None
        new.promote()
        self._server, self._standby = new, None
        # Until that is there, nobody waits for it: what was written in between is lost with the server, which lives.
        new.ask(f"ALTER SYSTEM {STANDBY[1]}")
        new.ask("SELECT pg_reload_conf()")
        self._is_back()
        self._logs.append(dead.log)
        dead.__exit__(None, None, None)
        self._follow(dead.port)

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
            case "fail over":
                if self._standby is None or not self._server.ask(IN_STEP):
                    return False
                self._goes_down(blow, driver, signal.SIGKILL)
                driver.after(blow.seconds, self._fail_over)
            case _:
                self._goes_down(blow, driver, STOPS[blow.kind])
                driver.after(blow.seconds, self._start)
        return True

    def _goes_down(self, blow: Blow, driver: Driver, how: signal.Signals) -> None:
        self._down_since = time.time()
        driver.troubled(blow.seconds)
        self._server.stop(how)

    def _start(self) -> None:
        self._server.start()
        self._is_back()

    def _is_back(self) -> None:
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
            (kept / "server.log").write_text("\n".join([*self._logs, self._server.log]))
        for server in (self._standby, self._server):
            if server is not None:
                server.__exit__(None, None, None)
