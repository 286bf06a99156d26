"""Runs benchmarks and prints their table: `python -m bench [NAME ...] [--quick] [--json] [--dir FOLDER]`."""

import argparse
import importlib
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.figures import Figure, Setting, as_json, table

NAMES = (
    "throughput",
    "latency",
    "sequential",
    "fan_out",
    "children",
    "queues",
    "streams",
    "messages",
    "processes",
    "replay",
    "checking",
    "memory",
    "sleeping",
    "disk",
    "idle",
    "imports",
    "dashboard",
    "postgres",
    "takeover",
)
ROOT = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 if a benchmark failed, which is not a target that does not hold."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which; all if none is named: {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="small sizes: a first impression in 20 s")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--dir", type=Path, default=ROOT, help="databases are made in a folder there (default: here)")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    wishes = parser.parse_args(arguments)
    unknown = [name for name in wishes.names if name not in NAMES]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are: {', '.join(NAMES)}")
    names = wishes.names or NAMES
    if wishes.here:
        with tempfile.TemporaryDirectory(prefix=".bench-", dir=wishes.dir) as folder:
            print(as_json(measured(names[0], Setting(Path(folder), "quick" if wishes.quick else "full"))))
        return 0
    heading = circumstances()
    found = [apart(name, wishes.quick, wishes.dir) for name in names]
    figures = [figure for of_one in found for figure in of_one]
    print(as_json(figures) if wishes.json else f"{heading}\n\n{table(figures)}")
    return 0 if all(found) else 1


def circumstances() -> str:
    """What a reader of the figures has to know about where they come from."""
    load, processors = os.getloadavg()[0], os.cpu_count() or 1
    busy = "; other programs are busy here, so times are too high" if load > processors / 2 else ""
    return (
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {platform.system()} on "
        f"{platform.machine()}, {processors} processors, load {load:.1f} before{busy}"
    )


def measured(name: str, setting: Setting) -> list[Figure]:
    return importlib.import_module(f"bench.{name}").measure(setting)


def apart(name: str, quick: bool, folder: Path) -> list[Figure]:
    """Measure in a fresh process: memory, caches and garbage of one benchmark are not the next one's. Nothing if it
    failed."""
    print(f"{name} ...", end="", file=sys.stderr, flush=True)
    began = time.monotonic()
    command = [sys.executable, "-m", "bench", name, "--here", "--dir", str(folder), *(["--quick"] if quick else [])]
    ended = subprocess.run(command, stdout=subprocess.PIPE, cwd=ROOT, check=False)
    print(f" {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    if ended.returncode:
        print(f"benchmark {name} failed, see above; its lines are missing from the table", file=sys.stderr)
        return []
    return msgspec.json.decode(ended.stdout, type=list[Figure])


if __name__ == "__main__":
    sys.exit(main())
