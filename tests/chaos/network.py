"""A network of the storm: passes on what comes to its port. SIGSTOP swallows, SIGUSR1 cuts all connections.

Run as `python -m tests.chaos.network PORT SERVER_PORT`; it is ready when it says so.
"""

import os
import signal
import sys

from tests.postgres.proxy import Proxy


def main(at: str, port: str) -> int:
    with Proxy(int(port), int(at)) as proxy:
        signal.signal(signal.SIGUSR1, lambda *_: proxy.cut())
        print(f"ready {os.getpid()}", flush=True)
        while True:
            signal.pause()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
