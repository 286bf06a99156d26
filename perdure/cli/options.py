"""What every command can be told: the database, colours, times, the form of its output."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

import click

from perdure.cli.lines import painted
from perdure.cli.tokens import Line

ALL = "*"


class Settings:
    """The answers to the common options, and the two streams: stdout for data, stderr for narration.

    `clock` gives the time everything shown is relative to.
    """

    def __init__(self, clock: Callable[[], datetime] | None = None) -> None:
        self.now = clock or _now
        self.db: str | None = None
        self.db_option = "--db"
        self.color = "auto"
        self.ascii = False
        self.utc = False
        self.time = ""
        self.debug = False
        self.verbose = False
        self.quiet = False
        self.json: str | None = None

    def colored(self, stream: TextIO) -> bool:
        """Whether to write colour codes to a stream."""
        import os

        if self.color != "auto":
            return self.color == "always"
        if os.environ.get("NO_COLOR"):
            return False
        if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
            return True
        return stream.isatty() and os.environ.get("TERM") != "dumb"

    def lively(self, stream: TextIO) -> bool:
        """Whether a picture can be redrawn there."""
        import os

        return stream.isatty() and os.environ.get("TERM") != "dumb"

    def plain_signs(self, stream: TextIO) -> bool:
        """Whether only ASCII may be written: asked for, or all the stream can take."""
        encoding = (getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "")
        return self.ascii or not encoding.startswith("utf")

    def write(self, line: Line) -> None:
        """A line of data."""
        _write(sys.stdout, painted(line, self.colored(sys.stdout), self.plain_signs(sys.stdout)))

    def narrate(self, line: Line | str) -> None:
        """A line for the person who watches."""
        pieces = [(line, "")] if isinstance(line, str) else line
        _write(sys.stderr, painted(pieces, self.colored(sys.stderr), self.plain_signs(sys.stderr)))

    @property
    def width(self) -> int:
        """Cells of the terminal; 100 if there is none."""
        import os

        if os.environ.get("COLUMNS", "").isdecimal():
            return max(int(os.environ["COLUMNS"]), 20)
        for stream in (sys.stdout, sys.stderr):
            try:
                return max(os.get_terminal_size(stream.fileno()).columns, 20)
            except (OSError, ValueError):
                pass
        return 100


def _now() -> datetime:
    return datetime.now(UTC)


def _write(stream: TextIO, text: str) -> None:
    stream.write(text + "\n")
    stream.flush()


class Command(click.Command):
    """A command in which `--json` may stand without a value anywhere, and `--status` is `--state`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, [_spelled(arg) for arg in args[:end]] + args[end:])


def _spelled(arg: str) -> str:
    """The option as it is documented."""
    if arg == "--json":
        return f"--json={ALL}"
    if arg == "--status" or arg.startswith("--status="):
        return arg.replace("--status", "--state", 1)
    return arg


def _store(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value is not None and value is not False:
        setattr(ctx.find_object(Settings), str(param.name), value)


def _option(*names: str, **attributes: Any) -> Callable[[Any], Any]:
    return click.option(*names, expose_value=False, callback=_store, **attributes)


_COMMON = (
    _option(
        "--db",
        metavar="URL",
        help="Database, like sqlite:///orders.db or postgresql://host/name (or PERDURE_DB, or pyproject.toml).",
    ),
    _option("--color", type=click.Choice(["auto", "always", "never"]), help="Colours; NO_COLOR and FORCE_COLOR count."),
    _option("--ascii", is_flag=True, help="No signs beyond ASCII."),
    _option("-v", "--verbose", is_flag=True, help="Say which database is used."),
    _option("--debug", is_flag=True, help="Show tracebacks of errors."),
)
_TIMES = (
    _option("--utc", is_flag=True, help="Times in UTC."),
    _option("--time", type=click.Choice(["rel", "iso", "raw"]), help="Form of times."),
)
_JSON = _option("--json", metavar="[=FIELDS]", help="JSON; --json=NAME,NAME selects fields.")


CODEC = click.option("--codec", metavar="MODULE:NAME", help="What Engine(codec=...) is given, or makes it.")
"""For commands that show values to code."""


def options(json: bool = False, quiet: str = "", times: bool = False) -> Callable[[Any], Any]:
    """The options every command has, and the kinds asked for; `quiet` says what is left then."""

    def decorate(function: Any) -> Any:
        only = [_option("-q", "--quiet", is_flag=True, help=quiet)] if quiet else []
        wanted = [*([_JSON] if json else []), *only, *(_TIMES if times else ()), *_COMMON]
        for option in reversed(wanted):
            function = option(function)
        return function

    return decorate
