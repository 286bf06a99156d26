"""Ids of runs as segments of a path, and back. An id may hold any printable character, a path may not."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote, unquote, urlencode

_ESCAPE = "~"
_JSON = ".json"


def segment(id: str) -> str:
    """The id as one segment of a path.

    "." and ".." mean other things there even when they are escaped, so they get a sign before them; what begins with
    that sign gets one more. An id that ends like the address of data must not be taken for it.
    """
    if id in (".", "..") or id.startswith(_ESCAPE):
        id = _ESCAPE + id
    quoted = quote(id, safe="")
    return quoted[: -len(_JSON)] + "%2Ejson" if quoted.endswith(_JSON) else quoted


def id_of(segment: str) -> str:
    """The id of a segment, as it stands in the path."""
    return unquote(segment).removeprefix(_ESCAPE)


def run_path(id: str, run_id: str = "", tab: str = "", **query: object) -> str:
    """The page of a run: of the newest of its id, or of a certain one."""
    parts = ["/runs", segment(id), *([run_id] if run_id else []), *([tab] if tab else [])]
    return "/".join(parts) + with_query({name: str(value) for name, value in query.items() if value is not None})


def list_path(**query: "str | Sequence[str] | None") -> str:
    """The list of runs that fit. Several conditions on attributes are several times in the address."""
    given = {
        name: value if isinstance(value, str) or name == "attr" else ",".join(value)
        for name, value in query.items()
        if value
    }
    return "/runs" + with_query(given)


def with_query(query: Mapping[str, "str | Sequence[str]"]) -> str:
    return "?" + urlencode(query, doseq=True, quote_via=quote) if query else ""


def as_json(path: str) -> str:
    """The address of the same page's data."""
    page, mark, query = path.partition("?")
    return page + _JSON + mark + query
