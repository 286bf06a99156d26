"""What all pages have: templates, the frame around them, and the parts that may change while they are looked at."""

import hashlib
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from perdure.client.moments import moment
from perdure.durations import took
from perdure.payload import PLAIN, Coder
from perdure.stores.base import DefinitionRow, MemberRow, Store, WorkerRow
from perdure.web import addresses, looks, markup

HERE = Path(__file__).parent
STATIC = HERE / "static"


class Part(NamedTuple):
    """An element of a page with an id. `version` differs if it would look different; drawing it may be dear."""

    id: str
    version: str
    draw: Callable[[], Markup]


class Frame(NamedTuple):
    """What is around every page. `again_ms`: how long a script waits before it asks for what has changed."""

    address: str
    owners: list[MemberRow]
    workflows: list[DefinitionRow]
    assets: str
    live: str = ""
    again_ms: int = 0

    @property
    def kind(self) -> str:
        return self.address.partition("://")[0]

    @property
    def name(self) -> str:
        """The last part of the address, by which people know the database."""
        return self.address.rstrip("/").rpartition("/")[2] or self.kind


class Place:
    """The database that is shown. `now` gives the time that everything shown is relative to, in nanoseconds; `coder`
    reads values that a codec has written."""

    def __init__(self, store: Store, now: Callable[[], int], coder: Coder = PLAIN) -> None:
        self.store = store
        self.coder = coder
        self.views = store.views
        self.now_ns = now
        self._assets = _fingerprint(STATIC)
        self._templates = _templates()

    def workers(self) -> list[WorkerRow]:
        """Those that serve queues, without what changes while they live."""
        return [WorkerRow(row.member, row.queues, row.names) for row in self.views.workers()]

    def now(self) -> datetime:
        return moment(self.now_ns())

    def frame(self, live: str = "", again_ms: int = 0) -> Frame:
        known = sorted((row for row in self.views.definitions() if row.kind == "workflow"), key=_name)
        return Frame(self.store.address, self.views.owners(), known, self._assets, live, again_ms)

    def draw(self, template: str, **context: Any) -> Markup:
        """A template as HTML that may stand in another one."""
        return Markup(self._templates.get_template(template).render(now=self.now(), **context))

    def page(self, template: str, frame: Frame | None, status: int = 200, **context: Any) -> Response:
        """A whole page. Without a frame it says nothing of the database, which may not answer."""
        engine = None if frame is None else engine_part(self, frame.owners)
        return HTMLResponse(self.draw(template, frame=frame, engine=engine, **context), status)


def _name(row: DefinitionRow) -> str:
    return row.name


def _templates() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    templates.globals.update(
        look=looks.look,
        kinds=looks.KINDS,
        event_hue=looks.event_hue,
        run_path=addresses.run_path,
        list_path=addresses.list_path,
        as_json=addresses.as_json,
        when=markup.when,
        since=markup.since,
        until=markup.until,
        pretty=markup.pretty,
        flat=markup.flat,
        copyable=markup.copyable,
        traceback=markup.traceback,
        took=took,
    )
    templates.filters["n"] = lambda number: f"{number:,}"
    templates.filters["last_name"] = lambda type: type.rpartition(".")[2]
    return templates


def _fingerprint(folder: Path) -> str:
    """Of all assets: part of their addresses, so that a browser may keep them for good."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def version(*values: object) -> str:
    """A short text that differs if one of the values does."""
    return format(zlib.crc32(repr(values).encode("utf-8", "replace")), "x")


def engine_part(place: Place, owners: list[MemberRow]) -> Part:
    """Who moves the runs, and who serves queues; the same on every page."""
    workers = place.workers()
    sight = version(owners, workers)
    builds = Counter(owner.build for owner in owners)
    queues = sorted({queue for worker in workers for queue in worker.queues})
    return Part(
        "engine",
        sight,
        lambda: place.draw("_engine.html", owners=owners, builds=builds, workers=workers, queues=queues, version=sight),
    )


def changed(parts: Iterable[Part], seen: Mapping[str, str]) -> dict[str, str]:
    """Those of the parts that look different from what was seen, by their ids."""
    return {part.id: str(part.draw()) for part in parts if seen.get(part.id) != part.version}


def seen_by(request: Request) -> dict[str, str]:
    """What a script says of the parts it shows: seen=engine:1f,run-12:a9."""
    pairs = (entry.rpartition(":") for entry in request.query_params.get("seen", "").split(",") if entry)
    return {id: version for id, _, version in pairs}
