"""The list of runs: which were asked for, their rows, how many there are, and what has changed since."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from perdure.client.cast import nobody
from perdure.client.conditions import conditions_in
from perdure.client.description import describe
from perdure.client.summary import RunSummary, statuses_of, summaries_of
from perdure.errors import DefinitionError, StoreError
from perdure.kernel.project import RunRow
from perdure.kernel.run import Status
from perdure.stores.base import DefinitionRow, RunFilter
from perdure.web import addresses
from perdure.web.drawing import Shape, drawn_strip
from perdure.web.looks import TABS, Tab, look
from perdure.web.pages import Part, Place, changed, engine_part, seen_by, version
from perdure.web.strip import strip
from perdure.web.tags import Tag, tags

PAGE = 50
COUNTED = 10_000
"""Runs on a page; and up to how many they are counted exactly."""

SHAPED_EVENTS = 200
"""Longer histories are not read for the sake of a picture of 120 pixels."""

TAGS = 2
"""Attributes of a run that its row has room for; the others are told when one points at it."""

AGAIN_MS = 2_000
FRESH = 99
"""New runs are counted up to here."""


KEY_DIGITS = 18
"""No store has keys of more."""


class Wanted(NamedTuple):
    """What the address asks for. `before` goes on after a page."""

    states: tuple[str, ...] = ()
    workflow: str = ""
    prefix: str = ""
    before: int | None = None
    attributes: tuple[str, ...] = ()

    def filter(self, states: Sequence[str] | None = None, limit: int = PAGE) -> RunFilter:
        chosen = self.states if states is None else states
        return RunFilter(
            statuses=statuses_of(tuple(chosen)) if chosen else (),
            workflow=self.workflow or None,
            id_prefix=self.prefix or None,
            attributes=conditions_in(self.attributes, "attr"),
            before_key=self.before,
            limit=limit,
        )

    def path(self, **other: Any) -> str:
        """The address of the same list but for what is given; the first page of it."""
        asked = {"state": self.states, "workflow": self.workflow, "id": self.prefix, "attr": self.attributes} | other
        return addresses.list_path(**asked)

    @property
    def is_narrow(self) -> bool:
        return bool(self.states or self.workflow or self.prefix or self.attributes)


class TabView(NamedTuple):
    word: str
    path: str
    many: str
    is_chosen: bool
    hue: str


class Doing(NamedTuple):
    """What a run does, or how it ended: a thing, and what is to be said about it."""

    what: str = ""
    detail: str = ""
    until: datetime | None = None
    is_result: bool = False


class RowView(NamedTuple):
    key: int
    run: RunSummary
    is_newest: bool
    doing: Doing
    svg: Markup
    tags: Sequence[Tag]
    further_tags: Sequence[Tag]


def wanted(request: Request) -> Wanted:
    """Raises HTTPException if the address makes no sense."""
    query = request.query_params
    states = tuple(word.strip() for word in query.get("state", "").split(",") if word.strip())
    attributes = tuple(text.strip() for text in query.getlist("attr") if text.strip())
    before = query.get("before", "")
    workflow, prefix = query.get("workflow", "").strip(), query.get("id", "").strip()
    try:
        statuses_of(states)
        conditions_in(attributes, "attr")
    except DefinitionError as error:
        raise HTTPException(400, str(error)) from error
    if before and not _is_key(before):
        raise HTTPException(400, f"before={before[:40]!r} is no place in the list; take the links below it")
    return Wanted(states, workflow, prefix, int(before) if before else None, attributes)


def _is_key(text: str) -> bool:
    return text.isdecimal() and len(text) <= KEY_DIGITS


def page(place: Place, request: Request) -> Response:
    asked = wanted(request)
    rows = place.views.search(asked.filter(limit=PAGE + 1))
    shown, more = rows[:PAGE], len(rows) > PAGE
    given = {name: request.query_params.getlist(name) for name in request.query_params}
    query = {**given, "view": "runs", "keys": ",".join(str(row.key) for row in shown)}
    frame = place.frame("/live" + addresses.with_query(query), AGAIN_MS)
    owned = bool(frame.owners)
    known = {row.name for row in frame.workflows} | {row.workflow for row in shown} | {asked.workflow}
    counts = _counts(place, asked)
    return place.page(
        "runs.html",
        frame,
        title="Runs",
        asked=asked,
        tabs=_tabs_part(place, asked, counts),
        total=_total(place, asked, counts),
        parts=_row_parts(place, asked, shown, owned),
        workflows=sorted(known - {""}),
        older=asked.path(before=str(shown[-1].key)) if more else "",
        everything="" if shown or not asked.is_narrow else _many(place.views.count(RunFilter(), COUNTED + 1)),
        example=_example(frame.workflows, asked.workflow),
    )


def data(place: Place, request: Request) -> Response:
    """The same as JSON: the structs of `Client.list`."""
    asked = wanted(request)
    rows = place.views.search(asked.filter(limit=PAGE + 1))
    count = place.views.count(asked.filter(), COUNTED + 1)
    older = asked.path(before=str(rows[PAGE - 1].key)) if len(rows) > PAGE else None
    return JSONResponse(
        {
            "runs": [msgspec.to_builtins(run) for run in summaries_of(place.views, rows[:PAGE])],
            "count": min(count, COUNTED),
            "count_is_exact": count <= COUNTED,
            "next": None if older is None else addresses.as_json(older),
        }
    )


def live(place: Place, request: Request) -> Response:
    """What has changed of the rows that are shown, and how many new ones there are."""
    asked = wanted(request)
    query, seen = request.query_params, seen_by(request)
    keys = [int(key) for key in query.get("keys", "").split(",") if _is_key(key)][:PAGE]
    owners = place.views.owners()
    rows = place.views.rows_by_key(keys)
    parts = [engine_part(place, owners)]
    parts += _row_parts(place, asked, list(rows.values()), bool(owners))
    if query.get("counts"):
        parts.append(_tabs_part(place, asked, _counts(place, asked)))
    newest = max(keys, default=0)
    fresh = [] if asked.before is not None else place.views.search(asked.filter(limit=FRESH + 1))
    return JSONResponse(
        {"parts": changed(parts, seen), "fresh": sum(row.key > newest for row in fresh), "again_ms": AGAIN_MS}
    )


def _counts(place: Place, asked: Wanted) -> dict[str, int]:
    """How many runs each tab has, by its word."""
    return {tab.word: place.views.count(asked.filter(tab.states), COUNTED + 1) for tab in TABS}


def _total(place: Place, asked: Wanted, counts: dict[str, int]) -> str:
    for tab in TABS:
        if set(tab.states) == set(asked.states):
            return _many(counts[tab.word])
    return _many(place.views.count(asked.filter(), COUNTED + 1))


def _many(count: int) -> str:
    return f"{COUNTED:,}+" if count > COUNTED else f"{count:,}"


def _tabs_part(place: Place, asked: Wanted, counts: dict[str, int]) -> Part:
    tabs = [_tab_view(tab, asked, counts[tab.word]) for tab in TABS]
    return Part("tabs", version(counts), lambda: place.draw("_tabs.html", tabs=tabs, version=version(counts)))


def _tab_view(tab: Tab, asked: Wanted, count: int) -> TabView:
    is_chosen = set(tab.states) == set(asked.states)
    return TabView(tab.word, asked.path(state=tab.states), _many(count), is_chosen, tab.hue if count else "")


def _row_parts(place: Place, asked: Wanted, rows: Sequence[RunRow], owned: bool) -> list[Part]:
    runs = summaries_of(place.views, rows)
    return [_row_part(place, asked, row, run, owned) for row, run in zip(rows, runs, strict=True)]


def _row_part(place: Place, asked: Wanted, row: RunRow, run: RunSummary, owned: bool) -> Part:
    looks_like = version(row.status, row.note, row.closed_at, row.wake_at, row.seq, row.followed_by, owned)

    def draw() -> Markup:
        shape, found = drawn_strip(_shape(place, row)), tags(run.attributes, asked.attributes)
        view = RowView(row.key, run, row.followed_by == 0, _doing(run, owned), shape, found[:TAGS], found[TAGS:])
        return place.draw("_row.html", row=view, version=looks_like)

    return Part(f"run-{row.key}", looks_like, draw)


def _shape(place: Place, row: RunRow) -> list[Shape]:
    """The run in a few segments; of a long one only its state."""
    whole = [Shape(f"whole-{look(Status(row.status).word).hue}", 0, 100)]
    if row.seq > SHAPED_EVENTS or not row.seq:
        return whole
    stored = place.views.stored(row.key)
    try:
        found = [] if stored is None else strip(describe(stored, nobody, _unread, place.now_ns(), place.coder))
    except (msgspec.MsgspecError, StoreError):
        return whole  # a damaged history is told on its own page
    return [Shape(*segment) for segment in found]


def _unread(digest: bytes) -> bytes:
    return b"null"


def _doing(run: RunSummary, owned: bool) -> Doing:
    """The note of a run, made of what it waits for if it waits."""
    late, at = ("", run.wake_at) if owned else ("no engine holds the database", None)
    match run.status:
        case "queued":
            return Doing("", late or ("begins" if at else "waits for its turn"), at)
        case "retrying":
            return Doing(run.note, late or "next attempt", at)
        case "waiting":
            return Doing(run.note, late or ("due" if at else ""), at)
        case "completed":
            return Doing(run.note, is_result=True)
        case "failed" | "timed out" | "blocked" | "quarantined":
            name, colon, message = run.note.partition(": ")
            return Doing(name, message) if colon and " " not in name else Doing("", run.note)
        case "cancelled" | "terminated":
            return Doing("", run.note)
        case _:
            return Doing(run.note, late)


def _example(workflows: Sequence[DefinitionRow], chosen: str) -> str:
    """A command that starts a run, of a workflow that the engine knows."""
    definition = next((row for row in workflows if not chosen or row.name == chosen), None)
    if definition is None:
        return ""
    known = msgspec.json.decode(definition.parameters)
    arguments = [f"--arg {name}=…" for name in known.get("names", ())[: known.get("required", 0)]]
    return " ".join(["perdure start", definition.name, *arguments])
