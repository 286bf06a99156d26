"""What the storm does, and when: drawn from a seed before anything begins, so that a plan can be made again.

Whom a blow strikes is drawn, too, as a share of those who are there at that moment. What the processes are doing just then
is theirs, so a plan repeats the weather, and not every wave.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """`least` and `most`: how long it lasts, in seconds; nothing is a moment. `weight`: how often beside the others."""

    what: str
    weight: float
    least: float = 0.0
    most: float = 0.0


KINDS = {
    "kill owner": Kind("SIGKILL to the engine that owns", 5),
    "kill standby": Kind("SIGKILL to an engine that stands by", 2),
    "kill worker": Kind("SIGKILL to a worker of queues", 4),
    "kill client": Kind("SIGKILL to a client", 3),
    "kill all": Kind("SIGKILL to every process at once", 0.7),
    "stop owner": Kind("SIGTERM to the engine that owns", 2),
    "stop standby": Kind("SIGTERM to an engine that stands by", 0.7),
    "stop worker": Kind("SIGTERM to a worker", 1.5),
    "freeze owner": Kind("SIGSTOP to the owner, SIGCONT later", 2, 0.1, 4),
    "freeze standby": Kind("SIGSTOP to a standby, SIGCONT later", 0.7, 0.1, 8),
    "freeze worker": Kind("SIGSTOP to a worker, SIGCONT within its lease", 1.5, 0.1, 1.5),
    "bury worker": Kind("SIGSTOP to a worker, SIGCONT after its lease: then it writes what nobody wants", 2, 4, 7),
    "freeze client": Kind("SIGSTOP to a client, SIGCONT later", 1, 0.2, 4),
    "fill disk": Kind("no byte is free where the database lies", 1.5, 0.5, 3),
    "cap files": Kind("the owner's files may not grow: writes fail as I/O errors", 1, 0.3, 2),
    "hold lock": Kind("somebody keeps the write lock of the database", 0.6, 1, 15),
    "read long": Kind("a reader keeps its snapshot, so that the log cannot be emptied", 0.6, 5, 12),
    "back up": Kind("a copy is taken while all goes on, and checked", 1),
    "look": Kind("`perdure doctor`, `list`, `check` from a shell", 1),
}

SERVER_KINDS = {
    "kill engine": Kind("SIGKILL to an engine", 6),
    "kill worker": KINDS["kill worker"],
    "kill client": KINDS["kill client"],
    "kill all": KINDS["kill all"],
    "stop engine": Kind("SIGTERM to an engine, which hands over", 2.5),
    "stop worker": KINDS["stop worker"],
    "freeze engine": Kind("SIGSTOP to an engine, SIGCONT within its lease", 1.5, 0.1, 1.5),
    "bury engine": Kind("SIGSTOP to an engine, SIGCONT after its lease: others have its runs then", 2.5, 4, 9),
    "freeze worker": KINDS["freeze worker"],
    "bury worker": KINDS["bury worker"],
    "freeze client": KINDS["freeze client"],
    "restart server": Kind("the server throws everybody out, ends, and is started again", 2.5, 0.1, 7),
    "crash server": Kind("the server ends without a checkpoint, and is started again", 2, 0.1, 4),
    "kill server": Kind("SIGKILL to the server, which is started again", 2, 0.1, 4),
    "fail over": Kind("SIGKILL to the server, and its standby takes its place", 1, 0.1, 4),
    "end sessions": Kind("the server ends every session", 2),
    "cut network": Kind("the connections of some are reset", 2),
    "freeze network": Kind("nothing passes to and from some, and nobody is told", 2.5, 0.3, 9),
    "hold table": Kind("somebody has a lock on the table of runs", 1, 0.3, 4),
    "look": KINDS["look"],
}
"""Of a storm over PostgreSQL."""

LASTING = (
    "fill disk",
    "hold lock",
    "cap files",
    "restart server",
    "crash server",
    "kill server",
    "fail over",
    "hold table",
)
"""Of these one is there at a time; else hardly anything would move meanwhile."""


@dataclass(frozen=True)
class Blow:
    """`share`: whom it strikes, of those who are there, 0 the first, below 1 the last."""

    at: float
    kind: str
    seconds: float
    share: float


def draw(
    seed: int,
    seconds: float,
    pace: float = 1.3,
    names: Sequence[str] | None = None,
    kinds: Mapping[str, Kind] = KINDS,
) -> list[Blow]:
    """The blows of a storm of so many seconds; `pace`: of the seconds between two, the mean; `names`: of `kinds`, else all."""
    chance = random.Random(f"chaos {seed}")
    names = tuple(kinds) if names is None else names
    weights = [kinds[name].weight for name in names]
    blows: list[Blow] = []
    at, busy_until = min(1.5, seconds / 4), 0.0
    while True:
        at += chance.expovariate(1 / pace)
        if at >= seconds:
            return blows
        name = chance.choices(names, weights)[0]
        kind = kinds[name]
        lasts = round(chance.uniform(kind.least, min(kind.most, max(seconds / 3, kind.least))), 2) if kind.most else 0.0
        share = chance.random()
        if name in LASTING:
            if at < busy_until:
                continue
            busy_until = at + lasts + 2
        blows.append(Blow(round(at, 2), name, lasts, share))
