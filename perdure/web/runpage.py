"""One run: its timeline with what was chosen in it, its events, its logs; as pages, as data, and as parts that change."""

from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

import msgspec
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from perdure.client.crowds import grouped
from perdure.client.description import AttemptView, Blob, RunDescription, StepView, describe, history_entries, shown
from perdure.client.family import RunLink
from perdure.client.kin import stuck_below
from perdure.client.known import heard_by
from perdure.durations import took
from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.notes import MESSAGE
from perdure.kernel.project import RunRow
from perdure.stores.base import MemberRow, RunFilter, Stored, WorkerRow
from perdure.stores.health import told_as_damage
from perdure.web import addresses, crowd, inspector, messages, records, streams
from perdure.web.markup import since, when
from perdure.web.pages import Part, Place, changed, engine_part, seen_by, version
from perdure.web.reasons import CARDS, Scene, reasons, trouble
from perdure.web.timeline import HIDDEN_KINDS, timeline

AGAIN_MS = 1_000
RUNS_OF_AN_ID = 200
"""Among so many runs whose ids begin with one, the others of that id are sought."""


class Chosen(NamedTuple):
    """What the address says about a run's page. `start` is the first row that is shown, of a crowd `offset` the first
    call, `call` a call of it by its number."""

    step: str = ""
    attempt: int = 0
    crowd: str = ""
    offset: int = 0
    call: int | None = None
    start: int | None = None
    details: bool = False

    def query(self) -> dict[str, Any]:
        """What links within the page keep."""
        return {
            "crowd": self.crowd or None,
            "calls": self.offset or None,
            "from": self.start,
            "details": 1 if self.details else None,
        }


def chosen(request: Request) -> Chosen:
    """Raises HTTPException if a number is none."""
    query = request.query_params
    return Chosen(
        step=query.get("step", ""),
        attempt=_number(query, "attempt") or 0,
        crowd=query.get("crowd", ""),
        offset=_number(query, "calls") or 0,
        call=_number(query, "call"),
        start=_number(query, "from"),
        details=bool(query.get("details")),
    )


def _number(query: Any, name: str) -> int | None:
    text = query.get(name)
    if text is None or text == "":
        return None
    if not text.isdecimal() or len(text) > 12:
        raise HTTPException(400, f"{name}={text[:40]!r} is no number")
    return int(text)


class Subject:
    """The run that was asked for, read and described once."""

    def __init__(self, place: Place, row: RunRow, stored: Stored, owners: list[MemberRow], asked: Chosen) -> None:
        self.place = place
        self.row = row
        self.stored = stored
        self.owners = owners
        self.asked = asked

    @cached_property
    def run(self) -> RunDescription:
        with told_as_damage(self.row.id):
            return self.describe(self._apart)

    def _apart(self, digest: bytes) -> bytes:
        """Values that are kept apart are large: they are read when their step is looked at."""
        return b'{"kept apart": "sha256:%s"}' % digest.hex().encode()

    def describe(self, blob: Blob) -> RunDescription:
        place = self.place
        return describe(self.stored, place.views.members, blob, place.now_ns(), place.coder)

    def whole(self, digest: bytes) -> bytes | None:
        return self.place.views.blob(self.row.key, digest)

    @cached_property
    def version(self) -> str:
        """Differs as soon as anything does that is shown of the run."""
        attempts = [(a.step, a.attempt, a.state, a.ended_at, a.retry_at, a.detail) for a in self.stored.attempts]
        tasks = [(task.step, task.attempt, task.member) for task in self.stored.tasks]
        mail = [mail.id for mail in self.stored.mail]
        return version(self.row, attempts, tasks, mail, self.owners, self.workers, self.stuck)

    @cached_property
    def stuck(self) -> list[RunRow]:
        return stuck_below(self.place.views, self.row)

    @cached_property
    def workers(self) -> list[WorkerRow]:
        return self.place.workers()

    def scene(self) -> Scene:
        served = {(queue, name) for worker in self.workers for queue in worker.queues for name in worker.names}
        hears = None
        if self.run.note == MESSAGE:
            heard = heard_by(self.place.views.definitions(), self.row.workflow)
            hears = None if heard is None else heard.names("signal")
        return Scene(bool(self.owners), frozenset(served), tuple(hears or ()), tuple(self.stuck))

    @cached_property
    def step(self) -> StepView | None:
        """The step that is looked at."""
        key = self.asked.step
        if self.asked.call is not None and self.asked.crowd:
            row = crowd.row_of(grouped(self.run.steps), self.asked.crowd)
            if row is not None and self.asked.call < len(row.steps):
                return row.steps[self.asked.call]
        return next((step for step in self.run.steps if step.id == key), None) if key else None

    @cached_property
    def attempt(self) -> AttemptView | None:
        if self.step is None or not self.step.attempts:
            return None
        kept = {attempt.number: attempt for attempt in self.step.attempts}
        return kept.get(self.asked.attempt, self.step.attempts[-1])

    def path(self, tab: str = "", **query: Any) -> str:
        """The address of this run, or of another tab of it."""
        certain = self.row.run_id.hex() if self.row.followed_by else ""
        return addresses.run_path(self.row.id, certain, tab, **query)

    def link(self, **query: Any) -> str:
        """The address of this page but for what is given."""
        return self.path(**(self.asked.query() | query))

    def payload(self, value: Any, find: Callable[[ev.HistoryEvent], ev.Payload | None]) -> Any:
        """The value, read in full if it is kept apart."""
        if not (isinstance(value, dict) and value.keys() in ({"kept apart"}, {"encoding", "base64"})):
            return value
        for event in wire.decode_history(self.stored.history):
            payload = find(event)
            if payload is not None:
                return shown(payload, self.whole, self.place.coder)
        return value


def subject(place: Place, request: Request) -> Subject:
    """The run whose page was asked for.

    Raises:
        HTTPException: there is none.
    """
    path = request.path_params
    return found(place, addresses.id_of(path["id"]), path.get("run_id", ""), chosen(request))


def found(place: Place, id: str, run_id: str, asked: Chosen) -> Subject:
    """The newest run of an id, or a certain one.

    Raises:
        HTTPException: there is none.
    """
    row = place.views.row_of(id, bytes.fromhex(run_id)) if run_id else place.views.row(id)
    stored = None if row is None else place.views.stored(row.key)
    if stored is None:
        raise HTTPException(404, id)
    return Subject(place, stored.run, stored, place.views.owners(), asked)


def page(place: Place, request: Request) -> Response:
    """The timeline, with what was chosen beside it."""
    about = subject(place, request)
    frame = place.frame(_live(about, request), 0 if about.row.closed_at is not None else AGAIN_MS)
    return place.page("run.html", frame, title=about.row.id, about=about, run=about.run, parts=_drawn(_parts(about)))


def data(place: Place, request: Request) -> Response:
    """The description of the run, or of one step of it, with all values."""
    about = subject(place, request)
    with told_as_damage(about.row.id):
        run = about.describe(about.whole)
    step = next((step for step in run.steps if step.id == about.asked.step), None)
    if about.asked.step and step is None:
        raise HTTPException(404, f"run {about.row.id} has no step {about.asked.step}")
    return JSONResponse(msgspec.to_builtins(run if step is None else step))


def live(place: Place, request: Request) -> Response:
    """The parts of the page, if anything about the run has changed."""
    query, seen = request.query_params, seen_by(request)
    about = found(place, query.get("run", ""), query.get("run_id", ""), chosen(request))
    parts = [engine_part(place, about.owners), *_parts(about)]
    again_ms = 0 if about.row.closed_at is not None else AGAIN_MS
    return JSONResponse({"parts": changed(parts, seen), "fresh": 0, "again_ms": again_ms})


def _live(about: Subject, request: Request) -> str:
    query = {**dict(request.query_params), "run": about.row.id, "run_id": about.row.run_id.hex()}
    return "/live" + addresses.with_query(query)


def _drawn(parts: list[Part]) -> dict[str, Markup]:
    return {part.id: part.draw() for part in parts}


def _parts(about: Subject) -> list[Part]:
    """All parts differ together, since they show one state, but for streams, which grow beside it."""
    draws = {"head": _head, "now": _now, "timeline": _timeline, "inspector": inspector.drawn}
    parts = [Part(id, about.version, lambda draw=draw: draw(about)) for id, draw in draws.items()]
    return [*parts, streams.part(about)]


class Fact(NamedTuple):
    label: str
    value: Markup | str


FACTS: tuple[tuple[str, Callable[[RunDescription, datetime], Markup | str]], ...] = (
    ("Started", lambda run, now: when(run.started_at)),
    ("Took", lambda run, now: "" if run.closed_at is None else took(run.duration)),
    ("Running for", lambda run, now: since(run.started_at, now) if run.closed_at is None else ""),
    ("Ended", lambda run, now: when(run.closed_at)),
    ("History", lambda run, now: f"{run.events:,} events" if run.events != 1 else "1 event"),
    ("Steps", lambda run, now: f"{len(run.steps):,}"),
    ("Build", lambda run, now: Markup('<span class="mono">{}</span>').format(run.build[:12]) if run.build else ""),
    (
        "Pinned to build",
        lambda run, now: Markup('<span class="mono">{}</span>').format(run.pinned[:12]) if run.pinned else "",
    ),
    ("Run id", lambda run, now: Markup('<span class="mono" title="{}">{}</span>').format(run.run_id, run.run_id[:8])),
    ("Attempt", lambda run, now: _attempt(run)),
    ("Time limit", lambda run, now: took(run.run_timeout) if run.run_timeout else ""),
    ("Ends at the latest", lambda run, now: when(run.expires_at) if run.closed_at is None else ""),
    ("Child of", lambda run, now: _relative(run.parent)),
    ("First ancestor", lambda run, now: _relative(run.root) if run.root != run.parent else ""),
    ("Request", lambda run, now: run.request_id),
    ("Cancellation", lambda run, now: "requested" if run.cancel_requested and run.closed_at is None else ""),
    ("Reason", lambda run, now: run.reason),
)
"""What stands below the name of a run; empty ones are left out. A new fact is one line here."""


def _relative(other: RunLink | None) -> Markup | str:
    return "" if other is None else inspector.link(other.id, other.run_id)


def _attempt(run: RunDescription) -> Markup:
    """Which of the runs that continue each other it is, with the ways to those before and after it."""
    if run.max_attempts == 1 and run.attempt == 1:
        return Markup("")
    most = f" of {run.max_attempts}" if run.max_attempts else ""
    ways = (("before", run.previous_run_id), ("after", run.next_run_id))
    links = [
        Markup(' <a class="link" href="{}">{}</a>').format(addresses.run_path(run.id, other), word)
        for word, other in ways
        if other is not None
    ]
    return Markup("{}{}").format(run.attempt, most) + Markup("").join(links)


def _facts(run: RunDescription, now: datetime) -> list[Fact]:
    facts = [Fact(label, value(run, now)) for label, value in FACTS]
    return [fact for fact in facts if fact.value]


def _head(about: Subject, tab: str = "timeline") -> Markup:
    run, now = about.run, about.place.now()
    other = about.place.views.search(RunFilter(id_prefix=run.id, limit=RUNS_OF_AN_ID))
    runs = [row for row in other if row.id == run.id]
    return about.place.draw(
        "_head.html",
        about=about,
        run=run,
        version=about.version,
        tab=tab,
        facts=_facts(run, now),
        runs=runs if len(runs) > 1 else [],
        retrying=run.status == "running" and any(step.state == "retrying" for step in run.steps),
    )


def _now(about: Subject) -> Markup:
    found = reasons(about.run, about.scene())
    return about.place.draw(
        "_now.html",
        about=about,
        run=about.run,
        version=about.version,
        trouble=trouble(about.run),
        cards=found[:CARDS],
        further=found[CARDS:],
    )


def _timeline(about: Subject) -> Markup:
    run, asked = about.run, about.asked
    drawn = timeline(run, asked.start, asked.details, about.step.id if about.step is not None else "")
    opened = None
    if asked.crowd:
        row = crowd.row_of(grouped([s for s in run.steps if asked.details or s.kind not in HIDDEN_KINDS]), asked.crowd)
        opened = None if row is None else crowd.opened(row, asked.offset)
    return about.place.draw(
        "_timeline.html", about=about, run=run, version=about.version, timeline=drawn, opened=opened
    )


def events_page(place: Place, request: Request) -> Response:
    about = subject(place, request)
    page, events = _events(about, request)
    frame = place.frame()
    return place.page(
        "events.html", frame, title=f"{about.row.id} · events", about=about, run=about.run, page=page, events=events,
        head=_head(about, "events"),
    )  # fmt: skip


def _events(about: Subject, request: Request) -> tuple[records.Page, list[records.Event]]:
    page = records.paged(about.asked.start or 1, about.row.seq, records.EVENTS)
    with told_as_damage(about.row.id):
        return page, records.events(about.stored, about._apart, about.place.coder, page)


def events_data(place: Place, request: Request) -> Response:
    about = subject(place, request)
    page = records.paged(about.asked.start or 1, about.row.seq, records.EVENTS)
    entries = history_entries(about.stored, about.whole, place.coder, first=page.first, limit=records.EVENTS)
    more = None if page.after is None else addresses.as_json(about.path("events", **{"from": page.after}))
    return JSONResponse({"events": entries, "total": page.total, "next": more})


def logs_page(place: Place, request: Request) -> Response:
    about = subject(place, request)
    found = records.logs(about.run)
    page = records.paged(about.asked.start or 1, len(found), records.LOGS)
    return place.page(
        "logs.html", place.frame(), title=f"{about.row.id} · logs", about=about, run=about.run, page=page,
        records=found[page.first - 1 : page.last], dropped=records.dropped(about.run), head=_head(about, "logs"),
    )  # fmt: skip


def logs_data(place: Place, request: Request) -> Response:
    about = subject(place, request)
    found = records.logs(about.run)
    page = records.paged(about.asked.start or 1, len(found), records.LOGS)
    more = None if page.after is None else addresses.as_json(about.path("logs", **{"from": page.after}))
    entries = [
        {"step_id": each.step_id, "step": each.step, "attempt": each.attempt, **msgspec.to_builtins(each.record)}
        for each in found[page.first - 1 : page.last]
    ]
    return JSONResponse({"records": entries, "total": page.total, "dropped": records.dropped(about.run), "next": more})


def messages_page(place: Place, request: Request) -> Response:
    about = subject(place, request)
    found = about.run.messages
    page = records.paged(about.asked.start or 1, len(found), messages.PAGE)
    return place.page(
        "messages.html", place.frame(), title=f"{about.row.id} · messages", about=about, run=about.run, page=page,
        said=messages.said(found, page), head=_head(about, "messages"),
    )  # fmt: skip


def messages_data(place: Place, request: Request) -> Response:
    about = subject(place, request)
    with told_as_damage(about.row.id):
        found = about.describe(about.whole).messages
    page = records.paged(about.asked.start or 1, len(found), messages.PAGE)
    more = None if page.after is None else addresses.as_json(about.path("messages", **{"from": page.after}))
    entries = msgspec.to_builtins(found[page.first - 1 : page.last])
    return JSONResponse({"messages": entries, "total": page.total, "next": more})
