"""`perdure doctor`: is the database sound, is the disk honest, does anybody work, does anything stand still."""

import errno
import os
import platform
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click

from perdure.cli.lines import wrap_line
from perdure.cli.options import Command, Settings, options
from perdure.cli.problems import ERROR, OK
from perdure.cli.sizes import size
from perdure.cli.times import took
from perdure.cli.tokens import Line

FSYNCS = 20
SLOW_FSYNC_S = 0.03
IMPOSSIBLE_FSYNC_S = 0.00002
OLDEST_SQLITE = (3, 35, 0)


class Finding(NamedTuple):
    """One line of the report. `level`: ok, warning or broken; `remedy` is the next command."""

    check: str
    level: str
    text: str
    remedy: str = ""

    @property
    def line(self) -> Line:
        icon, style = {"ok": ("✓", "completed"), "warning": ("!", "retrying"), "broken": ("✗", "failed")}[self.level]
        remedy: Line = [(f"   → {self.remedy}", "hint")] if self.remedy else []
        return [(f"{icon} ", style), (self.text, ""), *remedy]


@click.command(cls=Command)
@options(json=True)
@click.pass_obj
def doctor(settings: Settings) -> int:
    """Check versions, the database, the disk, the engine and what stands still. Exit code 1 if something is broken.

    Example: perdure doctor --db sqlite:///orders.db
    """
    from perdure.cli import database, output

    findings: list[Finding] = []
    where = database.find(settings)
    for finding in _findings(settings, where):
        findings.append(finding)
        if not settings.json:
            for line in wrap_line(finding.line, settings.width) if sys.stdout.isatty() else [finding.line]:
                settings.write(line)
    if settings.json:
        chosen = output.fields(settings.json, Finding._fields)
        output.write_json([output.selected(finding._asdict(), chosen) for finding in findings])
    broken = sum(finding.level == "broken" for finding in findings)
    warnings = sum(finding.level == "warning" for finding in findings)
    if broken or warnings:
        settings.narrate([(f"{broken} broken, {warnings} to look at", "dim")])
    return ERROR if broken else OK


def _findings(settings: Settings, where: Any) -> Iterator[Finding]:
    yield _versions()
    if where.path is None:
        from perdure.cli.doctor_postgres import server

        fit = True
        for finding in server(where):
            fit &= finding.check not in ("server", "schema") or finding.level != "broken"
            yield finding
        if fit:
            yield from _opened(settings, where)
        return
    if not where.path.is_file():
        yield Finding("database", "broken", f"database {where.shown} does not exist (chosen by {where.chosen_by})",
                      "name it with --db, or perdure migrate creates it")  # fmt: skip
        return
    yield _disk(where.path)
    fit = True
    for finding in (*_file(where.path), *_schema(where.path)):
        fit &= finding.check not in ("file", "schema") or finding.level == "ok"
        yield finding
        if not fit:
            return
    yield from _opened(settings, where)


def _opened(settings: Settings, where: Any) -> Iterator[Finding]:
    from perdure.cli import database

    try:
        with database.opened(settings) as client:
            yield from _store(client, where)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        first = str(error).strip().splitlines() or [type(error).__name__]
        yield Finding("open", "broken", f"cannot be read: {first[0]}", "perdure list --debug  shows where")


def _versions() -> Finding:
    from perdure.cli.version import perdure_version

    text = f"python {platform.python_version()}, perdure {perdure_version()}, sqlite {sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        return Finding("versions", "broken", text, f"SQLite {oldest} or newer is needed: use another Python build")
    return Finding("versions", "ok", text)


def _disk(path: Path) -> Finding:
    """How long a write takes to be on the disk, measured beside the database."""
    times = []
    probe = path.with_name(f".{path.name}.fsync-{os.getpid()}")
    try:
        with open(probe, "xb", buffering=0) as file:
            for _ in range(FSYNCS):
                file.write(b"\0" * 4096)
                begin = time.perf_counter()
                os.fsync(file.fileno())
                times.append(time.perf_counter() - begin)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return Finding("disk", "broken", f"nothing can be written beside the database: {error.strerror}",
                       "free space there" if full else f"check the permissions of {path.parent}")  # fmt: skip
    finally:
        probe.unlink(missing_ok=True)
    times.sort()
    text = f"fsync p50 {_fine(times[len(times) // 2])}, slowest of {FSYNCS} {_fine(times[-1])}"
    if times[len(times) // 2] > SLOW_FSYNC_S:
        return Finding("disk", "warning", text, "each step waits for the disk: a faster disk makes faster runs")
    if times[len(times) // 2] < IMPOSSIBLE_FSYNC_S:
        return Finding("disk", "warning", f"{text}: no disk is that fast", "a memory file system forgets at power loss")
    return Finding("disk", "ok", text)


def _fine(seconds: float) -> str:
    return f"{seconds * 1000:.2f}ms" if seconds < 0.1 else took(seconds)


def _file(path: Path) -> Iterator[Finding]:
    """What SQLite says of the file, on a connection that cannot write."""
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=1)
        try:
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            page = connection.execute("PRAGMA page_size").fetchone()[0]
            free = connection.execute("PRAGMA freelist_count").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as error:
        yield Finding("file", "broken", f"{path} is no sound SQLite file: {error}", "restore it from a backup")
        return
    level = "ok" if mode == "wal" else "broken"
    remedy = "" if mode == "wal" else "open it once with an engine: it switches to WAL"
    yield Finding("journal", level, f"journal {mode}; the engine commits with synchronous=FULL", remedy)
    yield Finding("file", "ok", f"{path}: {size(pages * page)}, {size(free * page)} of it free")


def _schema(path: Path) -> Iterator[Finding]:
    """Whether this version of Perdure can read it."""
    from perdure.errors import StoreError
    from perdure.stores.sqlite import migrations, opening

    newest = migrations.schema()[-1].number
    try:
        found = opening.version(str(path))
    except StoreError as error:
        yield Finding("schema", "broken", str(error))
        return
    if found < newest:
        what = f"schema {found} of {newest}: an older version of Perdure has written it" if found else "it is empty"
        yield Finding("schema", "warning", what, "perdure migrate  brings it up to date, and so does an engine")
    elif found > newest:
        yield Finding("schema", "broken", f"schema {found}, written by a newer Perdure; this one knows {newest}",
                      "upgrade Perdure")  # fmt: skip
    else:
        yield Finding("schema", "ok", f"schema {found} of {newest}")


def _store(client: Any, where: Any) -> Iterator[Finding]:
    store = client.store
    begin = time.perf_counter()
    problems = store.admin.check()
    if problems:
        for problem in problems:
            yield Finding("check", "broken", problem, "restore a backup; keep this file for a report")
    else:
        yield Finding("check", "ok", f"deep check found nothing wrong ({took(time.perf_counter() - begin)})")
    yield from _owner(store)
    yield from _queues(store)
    yield from _standing(store)
    yield from _pinned(store)
    yield from _changes(store)
    yield _clock(store)


def _owner(store: Any) -> Iterator[Finding]:
    from perdure.cli.tokens import OPEN

    owners = store.views.owners()
    if owners and store.membership is not None:
        return  # several have it, and were told already
    for owner in owners:
        age = took(time.time() - owner.started_at / 1e9)
        yield Finding("engine", "ok", f"engine {owner.host}:{owner.pid} holds it, for {age}, build {owner.build[:12]}")
        return
    count = _count(store, *OPEN)
    if count:
        runs = "1 run is" if count == 1 else f"{count:,} runs are"
        yield Finding("engine", "warning", f"no engine holds it, and {runs} open", "start your program")
    else:
        yield Finding("engine", "ok", "no engine holds it; no run is open")


def _count(store: Any, *states: str) -> int:
    from perdure.kernel.run import Status
    from perdure.stores.base import RunFilter

    return int(store.views.count(RunFilter(statuses=tuple(int(Status.named(state)) for state in states))))


def _standing(store: Any) -> Iterator[Finding]:
    """Runs that wait for a person."""
    still = False
    for state, level in (("blocked", "warning"), ("quarantined", "broken"), ("held", "warning")):
        count = _count(store, state)
        if count:
            still = True
            runs = "1 run is" if count == 1 else f"{count:,} runs are"
            yield Finding(state, level, f"{runs} {state}", f"perdure list --state {state}")
    if not still:
        yield Finding("runs", "ok", "no run is blocked, held or quarantined")


def _changes(store: Any) -> Iterator[Finding]:
    """Changes for which some open runs have a mark (`patched`), and how many of the same workflow have none."""
    from perdure.client.checking import marks_of_open_runs

    for workflow, open_runs, marks in marks_of_open_runs(store.views):
        for change, marked in marks.items():
            without = open_runs - marked
            runs = "1 open run has" if without == 1 else f"{without:,} open runs have"
            text = (
                f"change {change!r} of {workflow}: {runs} not passed it, or went the old way; {marked:,} go the new way"
            )
            yield Finding("change", "ok", text, "perdure check MODULE  tells which need the old way" if without else "")


def _pinned(store: Any) -> Iterator[Finding]:
    """Builds that have open runs which no other build may go on with."""
    there = sorted({owner.build for owner in store.views.owners()})
    for row in store.admin.builds():
        if not row.pinned or not row.open:
            continue
        runs = "1 open run is" if row.open == 1 else f"{row.open:,} open runs are"
        if row.build in there:
            yield Finding("pinned", "ok", f"{runs} pinned to build {row.build}, which an engine has")
        elif not there:
            yield Finding("pinned", "ok", f"{runs} pinned to build {row.build}")
        else:
            said = f"{runs} pinned to build {row.build}, and the engine has {', '.join(there)}"
            yield Finding("pinned", "warning", said, "start an engine with that code, or perdure move RUN")


def _queues(store: Any) -> Iterator[Finding]:
    """Queues whose tasks nobody takes, since no worker serves them, or none there has the code."""
    workers = store.views.workers()
    serve: dict[str, set[str]] = {}
    for worker in workers:
        for queue in worker.queues:
            serve.setdefault(queue, set()).update(worker.names)
    left: dict[str, list[Any]] = {}
    for row in store.views.backlog():
        if row.waiting and row.name not in serve.get(row.queue, ()):
            left.setdefault(row.queue, []).append(row)
    for queue, rows in left.items():
        count = sum(row.waiting for row in rows)
        tasks = "1 task waits" if count == 1 else f"{count:,} tasks wait"
        names = ", ".join(row.name for row in rows)
        why = f"no worker there has the code of {names}" if queue in serve else f"no worker serves it ({names})"
        yield Finding(
            "queue", "warning", f"queue {queue}: {tasks}, and {why}", f"perdure worker MODULE --queue {queue}"
        )
    if workers and not left:
        said = "1 worker serves" if len(workers) == 1 else f"{len(workers):,} workers serve"
        yield Finding("queues", "ok", f"{said} {', '.join(sorted(serve))}")


def _clock(store: Any) -> Finding:
    """Whether the clock went back behind what is recorded."""
    from perdure.stores.base import RunFilter

    newest = store.views.search(RunFilter(limit=1))
    ahead = newest[0].started_at / 1e9 - time.time() if newest else 0.0
    if ahead > 1:
        return Finding("clock", "broken", f"the newest run started {took(ahead)} in the future: the clock went back",
                       "check NTP; timers fire late until the clock has caught up")  # fmt: skip
    return Finding("clock", "ok", f"clock {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}")
