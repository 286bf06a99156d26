"""Who takes tasks, what waits for them, and what nobody ends."""

import msgspec


class WorkerRow(msgspec.Struct):
    """A process that takes tasks now: of these queues, and of the activities it knows. `beat` grows while it lives."""

    member: int
    queues: tuple[str, ...]
    names: tuple[str, ...]
    beat: int = 0
    build: str = ""


class BacklogRow(msgspec.Struct):
    """Tasks of one activity in one queue: how many nobody has taken, and how many are with a worker."""

    queue: str
    name: str
    waiting: int
    taken: int


class Own(msgspec.Struct, frozen=True):
    """The code of a member for runs: it knows these workflows, in this build. In `queue` it takes tasks of such runs only, and of those
    that are pinned none of another build."""

    queue: str
    build: str
    workflows: tuple[str, ...]


class Want(msgspec.Struct, frozen=True):
    """Activities of which a worker would take so many tasks more."""

    names: tuple[str, ...]
    limit: int
    own: Own | None = None


class Orphan(msgspec.Struct):
    """A task that its worker cannot bring to an end any more."""

    run: int
    step: str
    attempt: int
    member: int
    claimed_at: int
    details: bytes | None = None
