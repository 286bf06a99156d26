"""`perdure init`: the beginning of a project: a workflow, an activity, their tests, and what to do next."""

import re
import sys
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import click

from perdure.cli.options import Command, Settings, options
from perdure.cli.problems import ERROR, OK, REFUSED, Problem

NEXT = (
    "perdure run workflows.py:welcome --id welcome-ada --arg to=ada@example.com",
    "perdure show welcome-ada",
    "pytest",
)


class Part(NamedTuple):
    """A file of the scaffold. `needed`: without it there is nothing to run; others may be there already, and are kept."""

    source: str
    target: str
    purpose: str
    needed: bool = False


PARTS = (
    Part("workflows.py", "workflows.py", "a workflow, and an activity it calls", True),
    Part("test_workflows.py", "test_workflows.py", "tests: three days in milliseconds", True),
    Part("pyproject.toml", "pyproject.toml", "what it needs, and where its database is"),
    Part("README.md", "README.md", "what to do next"),
    Part("gitignore", ".gitignore", "keeps the database out of git"),
)


@click.command(cls=Command)
@click.argument("folder", default=".", metavar="[DIR]")
@options(quiet="Names of files only.")
@click.pass_obj
def init(settings: Settings, folder: str) -> int:
    """Begin a project in DIR: a workflow, an activity and their tests, ready to run.

    No file is ever overwritten. A pyproject.toml, README.md or .gitignore that is there stays as it is.

    Example: perdure init shop
    """
    place = Path(folder)
    in_the_way = [part.target for part in PARTS if part.needed and (place / part.target).exists()]
    if in_the_way:
        raise Problem(
            f"{' and '.join(in_the_way)} {'is' if len(in_the_way) == 1 else 'are'} in the way",
            REFUSED,
            [f"in {place.resolve()}; nothing was written"],
            f"begin in a folder of its own:  perdure init {place / 'NAME'}",
        )
    try:
        place.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            _tell(settings, place, part, written=_write(place, part))
    except OSError as error:
        raise Problem(f"{error.filename or folder} cannot be written", ERROR, [error.strerror or str(error)]) from error
    if not settings.quiet:
        settings.narrate("")
        settings.narrate([("next", "bold")])
        for command in ([] if folder == "." else [f"cd {folder}"]) + list(NEXT):
            settings.narrate(f"  {command}")
    return OK


def _write(place: Path, part: Part) -> bool:
    """Write one file; false if it is there already."""
    text = (resources.files("perdure.cli") / "scaffold" / part.source).read_text("utf-8")
    try:
        with (place / part.target).open("x", encoding="utf-8") as file:
            file.write(text.replace("{name}", project_name(place)))
    except FileExistsError:
        return False
    return True


def _tell(settings: Settings, place: Path, part: Part, written: bool) -> None:
    path = str(place / part.target)
    cells = max(len(each.target) for each in PARTS) - len(part.target) + 2
    if settings.quiet or not sys.stdout.isatty():
        if written:
            click.echo(path)
        elif not settings.quiet:
            settings.narrate([(f"{path} was there already, and is kept", "dim")])
    elif written:
        settings.write([("✓ ", "completed"), (path, ""), (f"{' ' * cells}{part.purpose}", "dim")])
    else:
        settings.write([("· ", "dim"), (path, ""), (f"{' ' * cells}was there already, and is kept", "dim")])


def project_name(place: Path) -> str:
    """The name of the folder, as one a package may have."""
    name = re.sub(r"[^a-z0-9]+", "-", place.resolve().name.lower()).strip("-")
    return name or "workflows"
