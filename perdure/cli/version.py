"""`perdure version`."""

import click

from perdure.cli.options import Command, Settings, options
from perdure.cli.output import fields, selected, write_json

FIELDS = ("perdure", "python", "sqlite", "platform")


@click.command(cls=Command)
@options(json=True)
@click.pass_obj
def version(settings: Settings) -> None:
    """Versions of Perdure, Python and SQLite."""
    import platform
    import sqlite3
    from importlib.metadata import version as installed

    values = (installed("perdure"), platform.python_version(), sqlite3.sqlite_version, platform.platform(terse=True))
    record = dict(zip(FIELDS, values, strict=True))
    if settings.json:
        write_json(selected(record, fields(settings.json, FIELDS)))
        return
    settings.write([(f"perdure {record['perdure']}", "bold"), (f"  python {record['python']}", ""),
                    (f"  sqlite {record['sqlite']}  {record['platform']}", "dim")])  # fmt: skip
