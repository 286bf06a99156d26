"""An engine of the storm: owns the database, or a part of its runs, or stands by. SIGTERM lets it go; a fault ends it with the exit code 3.

Run as `python -m tests.chaos.engine ADDRESS`.
"""

import logging
import os
import signal
import sys
import threading

from perdure import Engine
from perdure.errors import EngineNotRunning, StoreError
from tests.chaos import workflows

LEASE = "3s"
FAULT = 3
BUILD = f"edition {workflows.EDITION}"


def main(address: str) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    try:
        with Engine(address, [workflows], lease=LEASE, drain="2s", processes=1, build=BUILD) as engine:
            print(f"ready {os.getpid()}", flush=True)
            while not told.wait(0.2):
                engine.demand_running()
    except (EngineNotRunning, StoreError) as fault:
        logging.getLogger("chaos").warning("ends by a fault: %s", fault)
        return FAULT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
