"""The driver: keeps the processes there, strikes them as planned, and looks at what can be seen meanwhile."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from perdure import Client
from perdure.errors import StoreError
from perdure.kernel.run import Status
from tests.chaos.places import Place
from tests.chaos.plan import Blow
from tests.chaos.processes import EDITION, ROOT, Process, left_of
from tests.chaos.progress import Progress
from tests.chaos.roles import GUESTS
from tests.chaos.workflows import BANK
from tests.chaos.world import BOOKS

OPEN = [status.word for status in Status if status < Status.COMPLETED]
LOOK_SECONDS = 0.02
MEASURE_SECONDS = 2.0
FAULT_ECHO_SECONDS = 25.0
"""So long after a disk was full, or a lock was kept, a process may end by it: others wait for ten seconds first."""
STOP_SECONDS = 120.0
QUIET_SECONDS = 600.0


@dataclass
class Death:
    """An end of a process that could have had attempts in hand, or a freeze of one longer than its lease."""

    at: float
    pid: int
    how: str
    role: str


@dataclass
class Seen:
    """What the driver has seen."""

    blows: Counter[str] = field(default_factory=Counter)
    deaths: list[Death] = field(default_factory=list)
    widowed: list[tuple[float, bool]] = field(default_factory=list)
    """When an owner was killed, and whether another engine stood by."""
    problems: list[str] = field(default_factory=list)
    closed: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    """Of runs that had ended: their status, and the number of their events."""
    gone: list[Process] = field(default_factory=list)
    frozen_pids: set[int] = field(default_factory=set)
    seconds: float = 0.0
    log_bytes: int = 0
    """The largest that SQLite's log has been."""
    back: list[float] = field(default_factory=list)
    """When a server has come back."""


class Storm:
    def __init__(
        self, folder: Path, plan: Sequence[Blow], seconds: float, progress: Progress, place: Place, pause: float = 0.1
    ) -> None:
        self.folder = folder
        self.plan = list(plan)
        self.seconds = seconds
        self._pause = pause
        self.progress = progress
        self.place = place
        self.address = place.address
        self.seen = Seen(back=place.back)
        self._env = {BOOKS: str(folder / "books.jsonl"), "PYTHONHASHSEED": "random"}
        self._processes: list[Process] = []
        self._others: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._due: list[tuple[float, Callable[[], object]]] = []
        self._leaving: list[tuple[float, Process]] = []
        self._rebirths: list[tuple[float, str]] = []
        self._edition = 1
        self._closing = False
        self._troubled_until = 0.0
        self._lives = Counter[str]()
        self._next_measure = 0.0

    # who is there

    def begin(self) -> None:
        """All at once; whichever engine is first makes the database."""
        engines = [f"engine-{n}" for n in range(1, self.place.engines + 1)]
        for name in (*engines, "worker-1", "worker-2", *(f"client-{n}" for n in range(GUESTS))):
            self._bear(name)
            time.sleep(0.05)

    def _bear(self, name: str) -> None:
        role = name.partition("-")[0]
        self._lives[name] += 1
        address = self.place.address_for(name)
        command = {
            "engine": ["tests.chaos.engine", address],
            "worker": [
                *["perdure", "worker", "tests.chaos.workflows", "--queue", BANK, "--db", address],
                *["--drain", "2s", "--threads", "16", "--quiet"],
            ],
            "client": ["tests.chaos.client", name, address, str(self.folder / f"{name}.jsonl"), str(self._pause)],
        }[role]
        env = {**self._env, EDITION: str(self._edition)}
        process = Process(name, role, command, self.folder / f"{name}.log", env)
        self._processes.append(process)

    def owner(self) -> Process | None:
        """The engine that owns, as the database says."""
        with Client(self.address) as client:
            found = {owner.pid for owner in client.store.views.owners()[:1]}
        return next((each for each in self._processes if each.pid in found), None)

    def _of(self, role: str) -> list[Process]:
        return [each for each in self._processes if each.role == role and not each.frozen and not each.doomed]

    # the storm

    def rage(self) -> None:
        started = time.monotonic()
        for blow in self.plan:
            self._edition = 1 if blow.at < self.seconds / 2 else 2
            self._until(started + blow.at)
            self._strike(blow)
        self._until(started + self.seconds)
        self.seen.seconds = time.monotonic() - started

    def _until(self, moment: float) -> None:
        while True:
            now = time.monotonic()
            self._tend(now)
            if now >= moment:
                return
            time.sleep(LOOK_SECONDS)

    def _tend(self, now: float) -> None:
        """What is due: a thaw, a birth, a look."""
        for due in [each for each in self._due if each[0] <= now]:
            self._due.remove(due)
            due[1]()
        for birth in [each for each in self._rebirths if each[0] <= now]:
            self._rebirths.remove(birth)
            self._bear(birth[1])
        for process in list(self._processes):
            if process.exit_code() is not None:
                self._bury(process, now)
        self._leaving = [each for each in self._leaving if each[1] in self._processes]
        for _, process in [each for each in self._leaving if each[0] <= now]:
            self.seen.problems.append(f"{process.name} has not ended {STOP_SECONDS:g} s after SIGTERM")
            process.kill()
        for kind, other in list(self._others):
            if other.poll() is not None:
                self._others.remove((kind, other))
                self._hear(kind, other)
        if now >= self._next_measure:
            self._next_measure = now + MEASURE_SECONDS
            self._look()

    def _bury(self, process: Process, now: float, again: bool = True) -> None:
        """One has ended: was that to be? Another one comes in its place."""
        self._processes.remove(process)
        self.seen.gone.append(process)
        code = process.exit_code()
        how = process.doomed or "fault"
        self.seen.deaths.append(Death(time.time(), process.pid, how, process.role))
        expected = {"killed": code == -9, "stopped": code in (0, -9, -15), "fault": False}[how]
        excused = self.place.excuses(process, code, now < self._troubled_until)
        if not expected and not excused:
            self.seen.problems.append(
                f"{process.name} (process {process.pid}) has ended by itself, with exit code {code}"
            )
        if again:
            self._rebirths.append((now + 0.1, process.name))

    def _look(self) -> None:
        """How large everybody is, how far it all is, and which runs have ended how."""
        for process in self._processes:
            process.measure()
        self.seen.log_bytes = max(self.seen.log_bytes, self.place.log_bytes())
        if not self.place.answers():
            return
        try:
            with Client(self.address) as client:
                for row in client.list(status=["completed", "failed", "cancelled"], limit=30).wait():
                    self.seen.closed.setdefault((row.id, row.run_id), (row.status, row.events))
                ended = client.count(status="completed").wait()
        except StoreError:
            return
        killed = sum(death.how == "killed" for death in self.seen.deaths)
        self.progress.update(ended, self.seen.blows, killed)

    # blows

    def _strike(self, blow: Blow) -> None:
        """If there is somebody to be struck, and it can be done here."""
        verb, _, whom = blow.kind.partition(" ")
        if whom in ("owner", "standby", "engine", "worker", "client"):
            victims = self.victims(whom)
            if not victims:
                return
            self._hit(verb, victims[int(blow.share * len(victims))], blow)
        elif blow.kind == "kill all":
            self.troubled(5)
            for process in [each for each in self._processes if not each.doomed]:
                self._kill(process, is_owner=False)
            self.seen.widowed.append((time.time(), False))
        elif not self._spoil(blow):
            return
        self.seen.blows[blow.kind] += 1
        self.progress.struck(blow)

    def victims(self, whom: str) -> list[Process]:
        if whom in ("engine", "worker", "client"):
            return self._of(whom)
        try:
            owner = self.owner()
        except StoreError:
            return []
        engines = self._of("engine")
        return [each for each in engines if (each is owner) == (whom == "owner")]

    def _hit(self, verb: str, victim: Process, blow: Blow) -> None:
        if verb == "kill":
            self._kill(victim, is_owner=blow.kind == "kill owner")
        elif verb == "stop":
            victim.stop()
            self._leaving.append((time.monotonic() + STOP_SECONDS, victim))
        else:
            victim.freeze(time.time() + blow.seconds)
            self.seen.frozen_pids.add(victim.pid)
            if verb == "bury":
                self.seen.deaths.append(Death(time.time(), victim.pid, "buried", victim.role))
            self.after(blow.seconds, victim.thaw)

    def _kill(self, victim: Process, is_owner: bool) -> None:
        stands_by = any(each is not victim for each in self._of("engine"))
        died_at = victim.kill()
        if is_owner:
            self.seen.widowed.append((died_at, stands_by))

    def _spoil(self, blow: Blow) -> bool:
        if blow.kind != "look":
            return self.place.spoil(blow, self)
        try:
            there = self.place.answers() and self.owner() is not None
        except StoreError:
            there = False
        if not there:
            return False
        for arguments in (["doctor"], ["list", "--limit", "5"], ["count"]):
            self.other("look", ["perdure", *arguments, "--db", self.address])
        self.other("look", ["perdure", "check", "tests.chaos.workflows", "--against", self.address])
        return True

    def other(self, kind: str, command: list[str]) -> None:
        log = (self.folder / "bystanders.log").open("ab")
        with log:
            made = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, EDITION: "2"},
            )
        self._others.append((kind, made))

    def _hear(self, kind: str, other: subprocess.Popen[bytes]) -> None:
        if other.returncode and time.monotonic() > self._troubled_until:
            self.seen.problems.append(f"{kind}: {' '.join(map(str, other.args))} has ended with {other.returncode}")

    def troubled(self, seconds: float) -> None:
        self._troubled_until = max(self._troubled_until, time.monotonic() + seconds + FAULT_ECHO_SECONDS)

    def after(self, seconds: float, deed: Callable[[], object]) -> None:
        self._due.append((time.monotonic() + seconds, deed))

    # after it

    def calm(self) -> None:
        """Let everything come to its end: what is frozen goes on, clients finish their jobs, runs end, engines are closed."""
        while self._due or self._rebirths or self._others or self._leaving:
            self._until(time.monotonic() + 0.1)
        self._edition = 2
        for process in [each for each in self._of("engine") if each.edition == 1]:
            process.stop()
        end = time.monotonic() + QUIET_SECONDS
        while any(each.role == "client" for each in self._processes) and time.monotonic() < end:
            for process in self._of("client"):
                if process.is_ready():
                    process.stop()
            self._tend_quietly()
        with Client(self.address) as client:
            while time.monotonic() < end and (self._open(client) or not self.place.is_tidy()):
                self._tend_quietly()
        self._look()
        self._closing = True
        for process in self._processes:
            process.measure()
            process.stop()
        while self._processes and time.monotonic() < end + STOP_SECONDS:
            self._tend_quietly()
        self.seen.problems += [f"{each.name} has not ended after the storm" for each in self._processes]
        sessions = {each.pid for each in self.seen.gone}
        self.seen.problems += [f"process {pid} was left by a process that is gone" for pid in left_of(sessions)]

    def _tend_quietly(self) -> None:
        now = time.monotonic()
        for process in list(self._processes):
            if process.exit_code() is not None:
                self._bury(process, now, again=process.role != "client" and not self._closing)
        for birth in list(self._rebirths):
            self._rebirths.remove(birth)
            self._bear(birth[1])
        time.sleep(0.05)

    def _open(self, client: Client) -> int:
        try:
            return client.count(status=OPEN).wait()
        except StoreError:
            return 1

    def close(self) -> None:
        """End everybody, whatever they do."""
        for process in self._processes:
            process.kill()
        for _, other in self._others:
            other.kill()
            other.wait()
