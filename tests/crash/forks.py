"""Processes to be killed: a server that has imported everything, has one thread, and forks a child for each life.

Run as `python -m tests.crash.forks`. It reads a line of JSON for each life, and answers with the child's exit status.
"""

import gc
import importlib
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Lives:
    """The server, seen from the test. `hash_seed` is that of all its children."""

    def __init__(self, hash_seed: int) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.forks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
            text=True,
        )

    def live(self, scenario: str, address: str, ledger: str, at: int, having: Sequence[str] = ()) -> int:
        """One life, killed at the crash point of that number (0: none). Its exit status, -9 if it was killed. `having`: the names
        of its engine's definitions; without them, all that there are."""
        stdin, stdout = self._server.stdin, self._server.stdout
        assert stdin is not None and stdout is not None
        job = {"scenario": scenario, "address": address, "ledger": ledger, "at": at, "having": having}
        stdin.write(json.dumps(job) + "\n")
        stdin.flush()
        return int(stdout.readline())

    def close(self) -> None:
        self._server.communicate()


def live(job: dict[str, Any]) -> None:
    from perdure import Engine
    from perdure.testing import KillingWorld, open_store
    from perdure.workflows import definitions_of
    from tests.crash import corpus, scenarios

    scenarios.ledger.open(job["ledger"])
    world = KillingWorld(job["at"])
    store = open_store(job["address"], world.faults)
    scenario = corpus.NAMED[job["scenario"]]
    slots, queues, codec = scenario.slots, scenario.queues, scenario.codec
    options = {"concurrency": slots, "threads": slots, "queues": queues, "codec": codec}
    known = [each for kind in definitions_of(corpus.ALL) for each in kind.values()]
    definitions = [each for each in known if each.name in job["having"]] or known
    with Engine(store, definitions, **options, world=world) as engine:
        scenario.drive(engine)


def read_once() -> None:
    """Read the code of all workflows and the schema, for all children."""
    from perdure import Engine
    from perdure.stores.sqlite import migrations
    from tests.crash import corpus

    Engine("memory://", corpus.ALL)
    migrations.schema()


def main() -> None:
    for module in ("perdure.stores.sqlite.store", "perdure.runtime.processes", "perdure.testing.killing"):
        importlib.import_module(module)  # once, for all children
    read_once()
    gc.freeze()  # the collector of a child would write to all memory that it shares with this process, which is copied then
    for line in sys.stdin:
        child = os.fork()
        if not child:
            status = 1
            try:
                live(json.loads(line))
                status = 0
            except BaseException:  # noqa: BLE001  it must not go on as a server
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
