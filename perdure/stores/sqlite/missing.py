"""What to say of a database that is not there, and which ones are."""

import difflib
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from perdure import errors
from perdure.stores.sqlite.migrations import APPLICATION_ID

_SUFFIXES = (".db", ".sqlite", ".sqlite3")
_NAMED = 5


def databases_in(folder: str) -> list[str]:
    """The names of Perdure's databases in a folder, at most five."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(_SUFFIXES))
    except OSError:
        return []
    found: list[str] = []
    for name in names:
        if len(found) < _NAMED and _is_ours(os.path.join(folder, name)):
            found.append(name)
    return found


def _is_ours(path: str) -> bool:
    """By SQLite, since a file that this process opens by itself loses the locks of the process when it is closed; without
    a look at its log, and without making one."""
    try:
        with closing(sqlite3.connect(f"{Path(path).as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            return connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    except sqlite3.Error:
        return False


def not_found(path: str, what: str = "there is no such database") -> errors.StoreNotFound:
    """The error of somebody who wants to use a database that nobody has made."""
    folder, name = os.path.split(path)
    others = databases_in(folder)
    close = difflib.get_close_matches(name, others, 1)
    if close or len(others) == 1:
        advice = f"did you mean {(close or others)[0]}?"
    else:
        advice = f"in its folder are: {', '.join(others)}." if others else "it may have another name, or be elsewhere."
    return errors.StoreNotFound(
        f"{path}: {what}; {advice} An engine makes it when it starts, and so do `perdure migrate` and "
        "Client(..., create=True)"
    )
