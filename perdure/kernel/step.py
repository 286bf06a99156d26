"""A step of a run: an activity that has no outcome yet, and where its attempts stand.

    ready ──slot──► flying ──AttemptEnded──► (resolved) | waiting | held
      ▲  └──queue─► out ─────┘   └─deferred─► out ──token──► as above
      └──AttemptReleased── waiting, held

*ready*: wants a slot; *flying*: an attempt runs in the owner's process; *out*: an attempt is somebody else's affair, a
worker's (its task is in a queue, taken or not) or that of whoever has its token; *waiting*: for the next attempt; *held*:
until somebody mends or releases it.
"""

import enum

from perdure.kernel import events as ev
from perdure.kernel.limits import END_OF_TIME
from perdure.kernel.policy import DEFAULT_RETRY, RetryPolicy

OUT = -1
"""As `Step.member`: the attempt is a task in a queue; which worker has it is known to the store alone."""


class Place(enum.Enum):
    """Where a step stands. A ready one counts as flying: it keeps its run awake."""

    FLYING = 0
    WAITING = 1
    HELD = 2
    OUT = 3


class Step:
    """An activity that has no outcome yet.

    `attempt` is the number of the latest attempt, 0 before the first; `member` who runs it, 0 nobody, `OUT` a worker of
    its queue; `started_at` when that attempt began; `counted` how many attempts count against the policy (held ones do
    not); `losses` how many attempts in a row were lost with their process (after a restart: at least that). With `member`
    0 the step wants a slot unless `retry_at` (waiting) or `held`. `rows` tells whether attempts of it have rows of their
    own.

    Deadlines, each None while there is none: `expires_at` of the whole step (schedule to close), `start_by` of an attempt
    that is not begun (schedule to start), `close_by` of one that is deferred. `failure` is the latest attempt's, `details`
    those of the latest heartbeat, `logs` those of a deferred attempt.
    """

    __slots__ = (
        "attempt",
        "close_by",
        "counted",
        "deferred",
        "details",
        "expires_at",
        "failure",
        "held",
        "id",
        "input",
        "logs",
        "losses",
        "member",
        "name",
        "retry",
        "retry_at",
        "rows",
        "scheduled_at",
        "start_by",
        "started_at",
        "terms",
        "timeout_ns",
    )

    def __init__(self, scheduled: ev.ActivityScheduled) -> None:
        self.id = scheduled.id
        self.name = scheduled.name
        self.input = scheduled.input
        self.timeout_ns = scheduled.timeout_ns
        self.retry: RetryPolicy = scheduled.retry or DEFAULT_RETRY
        self.scheduled_at = scheduled.at
        self.started_at = scheduled.at
        self.member = scheduled.claimed_by
        self.attempt = 1 if scheduled.claimed_by else 0
        self.counted = 0
        self.losses = 0
        self.retry_at: int | None = None
        self.held: str | None = None
        self.rows = False
        self.terms = scheduled.terms
        self.deferred = False
        self.failure: ev.Failure | None = None
        self.details: ev.Payload | None = None
        self.logs: ev.Logs | None = None
        self.expires_at: int | None = None
        self.start_by: int | None = None
        self.close_by: int | None = None
        if scheduled.terms is not None:
            self._accept(scheduled.terms, scheduled.at)

    def _accept(self, terms: ev.Terms, at: int) -> None:
        if terms.schedule_to_close_ns is not None:
            self.expires_at = min(at + terms.schedule_to_close_ns, END_OF_TIME)
        self.ready(at)

    def ready(self, at: int) -> None:
        """The next attempt may begin: it wants a slot, or is in its queue from now on."""
        terms = self.terms
        if terms is None or self.member > 0:
            return
        if terms.queue:
            self.member = OUT
            self.attempt += 1
            self.started_at = at
        if terms.schedule_to_start_ns is not None:
            self.start_by = min(at + terms.schedule_to_start_ns, END_OF_TIME)

    @property
    def queue(self) -> str:
        return "" if self.terms is None else self.terms.queue

    @property
    def compensates(self) -> bool:
        return self.terms is not None and self.terms.compensates

    @property
    def heartbeat_ns(self) -> int | None:
        return None if self.terms is None else self.terms.heartbeat_ns

    @property
    def wants_slot(self) -> bool:
        return self.member == 0 and self.retry_at is None and self.held is None

    @property
    def place(self) -> Place:
        if self.held is not None:
            return Place.HELD
        if self.retry_at is not None:
            return Place.WAITING
        return Place.OUT if self.deferred or self.member == OUT else Place.FLYING

    def deadlines(self) -> list[int]:
        """All that the clock will do to the step."""
        return [at for at in (self.retry_at, self.expires_at, self.start_by, self.close_by) if at is not None]
