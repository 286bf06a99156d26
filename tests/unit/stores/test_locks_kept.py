"""A process may have a database open several times, and look for others beside it: none of that costs it SQLite's locks.

Without them the next program that closes the database takes itself for the last one and deletes the log, and what the
process commits from then on is lost. Locks belong to processes, so this needs two.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from perdure import Client
from perdure.errors import RunNotFound

SECOND_LOOK = {
    "another client": "Client(address).close()",
    "a database that is not there": "Client(address.replace('runs.db', 'rums.db'))",
    "its version": "version(address.removeprefix('sqlite:///'))",
}

HOLDER = """
import contextlib, sys
from perdure import Client
from perdure.errors import StoreNotFound
from perdure.stores.sqlite.opening import version

address = sys.argv[1]
client = Client(address)
client.start("order", [], id="order-0").wait()
with contextlib.suppress(StoreNotFound):
    {look}
print("looked", flush=True)
sys.stdin.readline()
client.start("order", [], id="order-1").wait()
print("started", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("look", SECOND_LOOK)
def test_what_a_process_commits_is_kept_although_it_has_looked_twice(look: str, tmp_path: Path):
    address = f"sqlite:///{tmp_path}/runs.db"
    Client(address, create=True).close()
    program = HOLDER.format(look=SECOND_LOOK[look])
    command = [sys.executable, "-c", program, address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None and holder.stdout is not None
        assert holder.stdout.readline() == "looked\n"
        with Client(address) as other:
            other.count().wait()
        holder.stdin.write("\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == "started\n"

        with Client(address) as witness:
            try:
                assert witness.handle("order-1").describe().wait().status == "queued"
            except RunNotFound:
                pytest.fail("a start that was accepted is lost")
            finally:
                holder.stdin.close()
