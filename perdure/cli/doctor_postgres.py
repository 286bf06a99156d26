"""What `perdure doctor` asks a PostgreSQL server: is it new enough and honest, how far is it, what does it hold, who takes part."""

import time
from collections.abc import Iterator
from typing import Any

from perdure.cli.doctor import Finding
from perdure.cli.sizes import size
from perdure.cli.times import took

OLDEST_SERVER = 150_000
PINGS = 20
SLOW_COMMIT_S = 0.03
FEW_CONNECTIONS = 10
CLOCKS_AGREE_S = 1.0
DEAD_ROWS = 10_000
BEHIND_BYTES = 16 << 20

_SETTINGS = "SELECT name, setting FROM pg_settings WHERE name = ANY (%s)"
_USED = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
_LONGEST = (
    "SELECT pid, state, extract(epoch FROM now() - xact_start) FROM pg_stat_activity "
    "WHERE datname = current_database() AND xact_start < now() - interval '10 minutes' ORDER BY xact_start LIMIT 1"
)
_DEAD = (
    "SELECT relname, n_live_tup, n_dead_tup FROM pg_stat_user_tables WHERE schemaname = 'perdure' "
    "AND n_dead_tup > greatest(%s, n_live_tup) ORDER BY n_dead_tup DESC LIMIT 1"
)
_ENGINES = (
    "SELECT count(*), count(DISTINCT build), (array_agg(host || ':' || pid ORDER BY id))[:6] FROM perdure.members JOIN perdure.beats ON member = id "
    "WHERE alive AND NOT serves AND perdure.is_seen(seen_at, lease)"
)
_BEHIND = "SELECT coalesce(pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), 0)::bigint"
_SIZE = (
    "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'perdure' AND c.relkind = 'r'"
)


def server(where: Any) -> Iterator[Finding]:
    """Findings named "server" and "schema" that are broken end the report."""
    from perdure.errors import StoreError
    from perdure.stores.postgres import schema
    from perdure.stores.postgres.place import Place
    from perdure.stores.postgres.trouble import told_to_people

    known = schema.schema()
    try:
        place = Place(where.address)
        with told_to_people(place.shown), place.unhurried() as connection:
            yield _version(connection, place)
            yield from _honest(connection)
            yield _clock(connection)
            yield _standby(connection) if _reads_only(connection) else _distance(connection)
            found = schema.version_of(connection)
            schema.demand_known(place, found, known)
            yield _schema(found, known[-1].number)
            if found.number:
                yield from _content(connection)
    except StoreError as error:
        yield Finding("server", "broken", str(error), "name it with --db, or PERDURE_DB")


def _version(connection: Any, place: Any) -> Finding:
    from perdure.stores.postgres import schema

    number = connection.info.server_version
    text = f"PostgreSQL {number // 10_000}.{number % 10_000} at {place.shown}"
    if number < OLDEST_SERVER:
        return Finding("server", "broken", text, "PostgreSQL 15 or newer is needed")
    encoding = schema.encoding_of(connection)
    if encoding != schema.ENCODING:
        return Finding("server", "broken", f"{text}: the encoding of the database is {encoding}, which does not hold every text",
                       "make another one: createdb --encoding=UTF8 --template=template0")  # fmt: skip
    return Finding("server", "ok", text)


def _honest(connection: Any) -> Iterator[Finding]:
    """Settings that make a commit less than durable, and what is short."""
    names = ["fsync", "full_page_writes", "synchronous_commit", "max_connections", "default_transaction_isolation"]
    found = dict(connection.execute(_SETTINGS, (names,)).fetchall())
    weak = [name for name in ("fsync", "full_page_writes") if found.get(name) != "on"]
    if weak:
        yield Finding("durability", "broken", f"{' and '.join(weak)} off: a crash of that machine destroys the database",
                      f"ALTER SYSTEM SET {weak[0]} = on")  # fmt: skip
    elif found.get("synchronous_commit") == "off":
        yield Finding("durability", "broken", "synchronous_commit is off: the last steps are lost when the server crashes",
                      "set it to on for this database")  # fmt: skip
    else:
        waits = found.get("synchronous_commit")
        yield Finding("durability", "ok", f"fsync on, full_page_writes on, synchronous_commit {waits}")
    most, used = int(found.get("max_connections", "0")), connection.execute(_USED).fetchone()[0]
    text = f"{used} of {most} connections are in use"
    if most - used < FEW_CONNECTIONS:
        yield Finding("connections", "warning", text, "raise max_connections, or put a pooler before the server")
    else:
        yield Finding("connections", "ok", text)


def _clock(connection: Any) -> Finding:
    """Engines and workers go by the server's clock; where the machine's shows another time, logs and other programs do not."""
    began = time.perf_counter()
    server_s = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()[0]
    took_s = time.perf_counter() - began
    ahead_s = time.time() - took_s / 2 - server_s
    if abs(ahead_s) <= max(CLOCKS_AGREE_S, took_s):
        return Finding("clock", "ok", "the clock of this machine agrees with the server's")
    which = "ahead of" if ahead_s > 0 else "behind"
    return Finding("clock", "warning", f"the clock of this machine is {took(abs(ahead_s))} {which} the server's, which counts",
                   "let NTP set the clocks of all machines")  # fmt: skip


def _reads_only(connection: Any) -> bool:
    return bool(connection.execute("SELECT pg_is_in_recovery()").fetchone()[0])


def _standby(connection: Any) -> Finding:
    """It is asked for no commit, as it takes none; what tells how far it is behind is how much of what has come is not shown yet."""
    behind = connection.execute(_BEHIND).fetchone()[0]
    text = "a standby: runs are seen here, and started, steered and moved on its primary"
    if behind > BEHIND_BYTES:
        return Finding("standby", "warning", f"{text}; it has {size(int(behind))} still to show",
                       "a long query here holds it up: max_standby_streaming_delay")  # fmt: skip
    return Finding("standby", "ok", text)


def _distance(connection: Any) -> Finding:
    """How long a question takes, and a commit."""
    asked, committed = [], []
    for _ in range(PINGS):
        begin = time.perf_counter()
        connection.execute("SELECT 1").fetchone()
        asked.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        connection.execute("SELECT pg_logical_emit_message(true, 'perdure', '')")  # writes to the log, and nothing else
        committed.append(time.perf_counter() - begin)
    asked.sort()
    committed.sort()
    text = f"a question takes {_fine(asked[PINGS // 2])}, a commit p50 {_fine(committed[PINGS // 2])}, slowest {_fine(committed[-1])}"
    if committed[PINGS // 2] > SLOW_COMMIT_S:
        return Finding("commit", "warning", text, "each step waits for a commit: a nearer server makes faster runs")
    return Finding("commit", "ok", text)


def _fine(seconds: float) -> str:
    return f"{seconds * 1000:.2f}ms" if seconds < 0.1 else took(seconds)


def _schema(found: Any, newest: int) -> Finding:
    number = found.number
    if not number:
        return Finding("schema", "broken", "the database has no schema of Perdure",
                       "perdure migrate  makes it, and so does an engine")  # fmt: skip
    if number < newest:
        has = "an older version of Perdure has made it" if found.files == number else "a migration is not at its end"
        return Finding("schema", "warning", f"schema {number} of {newest}: {has}",
                       "perdure migrate  brings it up to date, and so does an engine")  # fmt: skip
    if number > newest:
        return Finding("schema", "ok", f"schema {number}, of a newer Perdure; it serves this one, which knows {newest}")
    return Finding("schema", "ok", f"schema {number} of {newest}")


def _content(connection: Any) -> Iterator[Finding]:
    from perdure.stores.postgres import schema

    for name in schema.invalid_indexes(connection):
        yield Finding("indexes", "warning", f"the index perdure.{name} is invalid: a build of it was broken off",
                      f"REINDEX INDEX CONCURRENTLY perdure.{name}")  # fmt: skip
    yield Finding("size", "ok", f"tables and indexes: {size(connection.execute(_SIZE).fetchone()[0])}")
    engines, builds, names = connection.execute(_ENGINES).fetchone()
    if engines:
        said = "1 engine takes" if engines == 1 else f"{engines} engines take"
        code = "" if builds == 1 else f", with {builds} builds of the code"
        more = f" and {engines - 5} more" if engines > 5 else ""
        yield Finding("engine", "ok", f"{said} part{code}: {', '.join(names[:5])}{more}")
    dead = connection.execute(_DEAD, (DEAD_ROWS,)).fetchone()
    if dead is not None:
        yield Finding("bloat", "warning", f"{dead[0]}: {dead[2]:,} dead rows beside {dead[1]:,}",
                      "see that autovacuum is on and keeps up; a transaction that stays open stops it")  # fmt: skip
    longest = connection.execute(_LONGEST).fetchone()
    if longest is not None:
        pid, state, seconds = longest
        yield Finding("transactions", "warning", f"a transaction is open for {took(float(seconds))} (backend {pid}, {state}): "
                      "dead rows cannot be cleaned up meanwhile", f"SELECT pg_terminate_backend({pid})")  # fmt: skip
