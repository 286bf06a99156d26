"""Who may ask, what may be asked, and what a browser may load with the answer."""

import ipaddress
from collections.abc import Iterable
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
LOOPBACK = ("localhost", "127.0.0.1", "::1")
READING = ("GET", "HEAD")


class Guarded:
    """Lets reading requests through that were made to one of our own names, and gives each answer its headers.

    A page of a foreign site whose name was made to mean this machine (DNS rebinding) sends the foreign name as Host.
    `exposed`: a number of the network, which no such site can have as its name, will do as well.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str], exposed: bool = False) -> None:
        self._app = app
        self._names = {name.lower() for name in (*LOOPBACK, *names)}
        self._exposed = exposed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        host = Headers(scope=scope).get("host", "")
        if not self._is_ours(host):
            refusal = PlainTextResponse(
                f"This dashboard does not answer to the name {host!r}. It was asked for by another name than its own, "
                "as a foreign page would; open it as the command line shows it.\n",
                403,
            )
            await refusal(scope, receive, guarded)
        elif scope["method"] not in READING:
            refusal = PlainTextResponse(
                "This dashboard only reads. To steer runs use the command line: perdure cancel, terminate, retry.\n",
                405,
                {"Allow": ", ".join(READING)},
            )
            await refusal(scope, receive, guarded)
        else:
            await self._app(scope, receive, guarded)

    def _is_ours(self, host: str) -> bool:
        name = host_name(host)
        return name in self._names or (self._exposed and _is_number(name))


def host_name(host: str) -> str:
    """The name in a Host header, without its port and without the brackets of a number of IPv6."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


ASCII = "".join(map(chr, range(33, 127)))


class RawPaths:
    """Routes by the path as it was sent, so that a slash within an id (%2F) is none between segments."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = scope.get("raw_path")
        if raw is not None:
            path = raw.partition(b"?")[0].decode("ascii", "replace")
            query: bytes = scope.get("query_string", b"")
            if not query.isascii():  # such bytes may not stand there, but some servers let them through
                query = quote(query, safe=ASCII).encode()
            scope = {**scope, "path": path, "query_string": query}
        await self._app(scope, receive, send)
