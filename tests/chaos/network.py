"""A network of the storm: passes on what comes to its ports. SIGSTOP swallows, SIGUSR1 cuts all connections.

Run as `python -m tests.chaos.network PORT=SERVER_PORT ...`; it is ready when it says so.
"""

import os
import signal
import sys
from contextlib import ExitStack

from tests.postgres.proxy import Proxy


def main(*ways: str) -> int:
    with ExitStack() as open_ways:
        proxies: list[Proxy] = []
        for way in ways:
            at, _, server = way.partition("=")
            proxies.append(open_ways.enter_context(Proxy(int(server), int(at))))
        signal.signal(signal.SIGUSR1, lambda *_: [proxy.cut() for proxy in proxies])
        print(f"ready {os.getpid()}", flush=True)
        while True:
            signal.pause()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
