"""`perdure version`."""

import click

from perdure.cli.options import Command, Settings, options
from perdure.cli.output import fields, selected, write_json

UNKNOWN = "(not installed)"


def perdure_version() -> str:
    """The version of the installed package; a bare checkout has none."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("perdure")
    except PackageNotFoundError:
        return UNKNOWN


FIELDS = ("perdure", "python", "sqlite", "platform")


@click.command(cls=Command)
@options(json=True)
@click.pass_obj
def version(settings: Settings) -> None:
    """Versions of Perdure, Python and SQLite."""
    import platform
    import sqlite3

    values = (perdure_version(), platform.python_version(), sqlite3.sqlite_version, platform.platform(terse=True))
    record: dict[str, str] = dict(zip(FIELDS, values, strict=True))
    if settings.json:
        write_json(selected(record, fields(settings.json, FIELDS)))
        return
    settings.write([(f"perdure {record['perdure']}", "bold"), (f"  python {record['python']}", ""),
                    (f"  sqlite {record['sqlite']}  {record['platform']}", "dim")])  # fmt: skip
