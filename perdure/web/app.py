"""From addresses to pages. `/runs/ID.json` is the data of `/runs/ID`, and so everywhere.

/runs                      the list                     ?state=failed,held &workflow= &id=PREFIX &before=
/runs/ID                   the newest run of an id      ?step= &attempt= &crowd= &calls= &from= &details=
/runs/ID/RUN_ID            a certain run of it
/runs/ID[/RUN_ID]/events   its history                  ?from=
/runs/ID[/RUN_ID]/logs     what its attempts logged     ?from=
/runs/ID[/RUN_ID]/messages what was said to it         ?from=
/live                      parts of a page that differ from what was seen
"""

import difflib
import time
from collections.abc import Callable, Iterable
from typing import Any

from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from perdure.errors import PerdureError, StoreCorrupt, StoreError
from perdure.payload import Coder, PayloadCodec
from perdure.stores.base import RunFilter, Store
from perdure.web import addresses, listing, runpage
from perdure.web.guards import Guarded, RawPaths
from perdure.web.pages import STATIC, Place

Page = Callable[[Place, Request], Response]

RUN = "/runs/{id}"
CERTAIN = "/runs/{id}/{run_id:run_id}"
PAGES: tuple[tuple[str, Page, Page], ...] = (
    ("/runs", listing.page, listing.data),
    (f"{RUN}/events", runpage.events_page, runpage.events_data),
    (f"{RUN}/logs", runpage.logs_page, runpage.logs_data),
    (f"{RUN}/messages", runpage.messages_page, runpage.messages_data),
    (f"{CERTAIN}/events", runpage.events_page, runpage.events_data),
    (f"{CERTAIN}/logs", runpage.logs_page, runpage.logs_data),
    (f"{CERTAIN}/messages", runpage.messages_page, runpage.messages_data),
    (CERTAIN, runpage.page, runpage.data),
    (RUN, runpage.page, runpage.data),
)
"""Each page with its data."""

GUESSED_AMONG = 200


class RunIds(Convertor[str]):
    """The number of a run in a path."""

    regex = "[0-9a-f]{32}"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("run_id", RunIds())


def dashboard(
    store: Store,
    *,
    names: Iterable[str] = (),
    exposed: bool = False,
    codec: PayloadCodec | None = None,
    now: Callable[[], int] = time.time_ns,
) -> Starlette:
    """The dashboard of a database, which it only reads.

    Args:
        store: is not closed with it.
        names: by which the dashboard is reached, beside those of this machine.
        exposed: it is reached by other machines, too, by whatever number this one has.
        codec: reads values that one has written; without it these are shown as base64.
        now: the time everything shown is relative to, in nanoseconds since the epoch.
    """
    place = Place(store, now, Coder(codec))
    routes: list[BaseRoute] = [Route("/", lambda request: RedirectResponse("/runs"))]
    for path, page, data in PAGES:
        for pattern, answer in ((f"{path}.json", data), (path, page)):
            routes.append(Route(pattern, _route(place, answer)))
    routes.append(Route("/live", _route(place, _live)))
    routes.append(Mount("/static", Assets(directory=STATIC)))
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guarded, names=tuple(names), exposed=exposed), Middleware(RawPaths)],
        exception_handlers={HTTPException: _told(place), StoreError: _told(place), PerdureError: _told(place)},
    )


class Assets(StaticFiles):
    """Style sheet, scripts and fonts. Their addresses change when they do, so a browser may keep them."""

    def file_response(self, full_path: Any, stat_result: Any, scope: Scope, status_code: int = 200) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def _route(place: Place, page: Page) -> Callable[[Request], Response]:
    """A plain function: it reads a database, so it is run beside the event loop."""
    return lambda request: page(place, request)


def _live(place: Place, request: Request) -> Response:
    return runpage.live(place, request) if "run" in request.query_params else listing.live(place, request)


def _told(place: Place) -> Callable[[Request, Exception], Response]:
    """What went wrong, as a page or, where data were asked for, as data."""

    def told(request: Request, error: Exception) -> Response:
        status, title, text = _words(error)
        if request.url.path.endswith(".json") or request.url.path == "/live":
            return JSONResponse({"error": {"status": status, "title": title, "message": text}}, status)
        id = request.path_params.get("id")
        meant = addresses.id_of(id) if id is not None and status == 404 else None
        return _page(place, status, title, text, meant)

    return told


def _words(error: Exception) -> tuple[int, str, str]:
    if isinstance(error, HTTPException):
        title = {404: "There is nothing here", 400: "This address makes no sense"}.get(error.status_code, "Refused")
        return error.status_code, title, str(error.detail)
    if isinstance(error, StoreCorrupt):
        return 500, "What the database holds is damaged", str(error)
    return 503, "The database does not answer", str(error)


def _page(place: Place, status: int, title: str, text: str, meant: str | None) -> Response:
    """A page that says where to go on, as far as the database can still tell."""
    near: list[str] = []
    total = 0
    if meant is not None:
        title, text = "There is no such run", ""
        near, total = _near(place, meant), place.views.count(RunFilter(), listing.COUNTED + 1)
    frame = place.frame() if status < 500 else None
    return place.page(
        "error.html", frame, status, title=title, text=text, code=status, meant=meant, near=near, total=total,
        address=place.store.address,
    )  # fmt: skip


def _near(place: Place, id: str) -> list[str]:
    """Ids that were perhaps meant: those that begin so, then those that look alike."""
    begin = place.views.prefixed(id[: max(len(id) - 1, 1)], 5) if id else []
    known = [row.id for row in place.views.search(RunFilter(limit=GUESSED_AMONG))]
    return list(dict.fromkeys([*begin, *difflib.get_close_matches(id, known, 5, 0.6)]))[:6]
