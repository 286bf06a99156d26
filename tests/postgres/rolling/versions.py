"""This version of Perdure and one that comes after it: a copy with a newer schema, other functions, and code that calls them."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import perdure

APP = Path(__file__).with_name("parcels.py")
PACKAGE = Path(perdure.__file__).parent

MORE = """\
-- serves: 1
-- Each table but one gets a column, and so does what functions make of its rows.
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'perdure' AND tablename NOT IN ('version', 'replies') LOOP
        EXECUTE format('ALTER TABLE perdure.%I ADD COLUMN later integer NOT NULL DEFAULT 7', name);
    END LOOP;
END $$;
CREATE TABLE perdure.marks (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mark text NOT NULL);
"""
INDEX = "-- serves: 1\nCREATE INDEX CONCURRENTLY IF NOT EXISTS replies_by_code ON perdure.replies (code);\n"
LAST = "-- serves: 1\nALTER TABLE perdure.marks ADD COLUMN later integer NOT NULL DEFAULT 7;\n"
ALONE = "-- serves: 5\nALTER TABLE perdure.marks DROP COLUMN later;\n"
FILES = ["0002_more", "0003_index", "0004_last"]


class Version:
    """One whose package lies in a folder. `name` is what its engines call themselves."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder

    def start(self, database: str, *arguments: str) -> "subprocess.Popen[str]":
        environment = {**os.environ, "PERDURE_DB": database, "VERSION": self.name, "PYTHONPATH": str(self.folder)}
        return subprocess.Popen(
            [sys.executable, "-m", "perdure", *arguments], cwd=self.folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def call(self, database: str, *arguments: str) -> tuple[int, str, str]:
        """Of a command: its exit code, and what it says."""
        process = self.start(database, *arguments)
        out, err = process.communicate()
        return process.returncode, out, err

    @contextmanager
    def engine(self, database: str) -> "Iterator[subprocess.Popen[str]]":
        """A process that moves runs, and is ended as by a deploy."""
        process = self.start(database, "worker", str(APP))
        assert process.stderr is not None
        try:
            assert "takes part" in process.stderr.readline()
            yield process
            process.terminate()
            assert process.wait() == 0, process.communicate()[1]
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()


THIS = Version("this", PACKAGE.parent)


def next_version(folder: Path) -> Version:
    """It serves this one."""
    package = folder / "perdure"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    postgres = package / "stores" / "postgres"
    for name, script in (("0002_more", MORE), ("0003_index.online", INDEX), ("0004_last", LAST)):
        (postgres / "schema" / f"{name}.sql").write_text(script)
    routines = postgres / "routines" / "commit.sql"
    text = routines.read_text()
    names, types = _parameters(text)
    second = ", ".join(f"{name} {kind}" for name, kind in zip(names, types, strict=True))
    text += f"""
CREATE OR REPLACE FUNCTION perdure.commit({second}, marked text) RETURNS void
LANGUAGE plpgsql SET search_path = perdure, pg_temp AS $$
BEGIN
    INSERT INTO marks (mark) VALUES (marked);
    PERFORM commit({", ".join(names)});
END $$;
"""
    begins = text.index("BEGIN\n    DELETE FROM mail WHERE id = ANY (read);")
    mark = "BEGIN\n    INSERT INTO marks (mark) VALUES ('read');"
    routines.write_text(text[:begins] + mark + text[begins:].removeprefix("BEGIN"))
    journal = postgres / "journal.py"
    journal.write_text(journal.read_text().replace('%t::jsonb)"', "%t::jsonb, 'next')\""))
    return Version("next", folder)


def unserving(version: Version, folder: Path) -> Version:
    """One later, which does not serve this one any more."""
    shutil.copytree(version.folder, folder, dirs_exist_ok=True)
    (folder / "perdure" / "stores" / "postgres" / "schema" / "0005_alone.sql").write_text(ALONE)
    return Version("later", folder)


def _parameters(routines: str) -> tuple[list[str], list[str]]:
    head = re.search(r"FUNCTION perdure\.commit\((.*?)\) RETURNS", routines, re.DOTALL)
    assert head is not None
    pairs = [each.split() for each in head[1].split(",")]
    return [name for name, _ in pairs], [kind for _, kind in pairs]
