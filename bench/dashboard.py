"""Pages of the dashboard for runs with long histories: from the request to the last byte, over a socket."""

import http.client
import time
from statistics import median

import msgspec

from bench.figures import Figure, Setting
from bench.programs import fan_out, sequence
from bench.replay import kept, recorded
from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.stores.base import Stored
from perdure.stores.open import open_store
from perdure.web.app import dashboard
from perdure.web.server import Served, bound

LIMIT_S = 0.3
ROWS = 50


def measure(setting: Setting) -> list[Figure]:
    steps, rounds = setting.pick((5_000, 9), (2_000, 3), (20, 1))
    store = open_store(f"sqlite:///{setting.folder / 'dashboard.db'}")
    store.admin.try_own("here", 1, "bench", 1)
    try:
        short = recorded(sequence(3), "short")
        told = _told(recorded(sequence(3), "told"), 2 * steps)
        runs = [recorded(sequence(steps), "sequence"), recorded(fan_out(steps), "fan-out"), told, *[short] * ROWS]
        for key, stored in enumerate(runs, 1):
            row = msgspec.structs.replace(stored.run, key=key)
            row.id = stored.run.id if stored is not short else f"short-{key}"
            kept(store, msgspec.structs.replace(stored, run=row))
        with Served(dashboard(store), bound("127.0.0.1", 0)) as served:
            pages = {
                f"page of a run of {2 * steps:,} events, one after the other": "/runs/sequence",
                f"  of {2 * steps:,} events side by side": "/runs/fan-out",
                "  its crowd opened": "/runs/fan-out?crowd=0:1",
                "  its events, 100 of them": "/runs/fan-out/events?from=5001",
                f"page of a run of {2 * steps:,} signals": "/runs/told",
                "  its messages, 100 of them": "/runs/told/messages?from=101",
                f"list of {ROWS} runs with their shapes": "/runs",
            }
            return [
                Figure(what, median(_asked(served.port, path) for _ in range(rounds)), "s", None, LIMIT_S)
                for what, path in pages.items()
            ]
    finally:
        store.admin.close()


def _told(stored: Stored, count: int) -> Stored:
    """The same run with so many signals before its end."""
    first, *rest = wire.decode_history(stored.history)
    signals = [ev.SignalReceived(first.at, f"name-{n % 5}", ev.Payload(b'["text"]'), f"id-{n}") for n in range(count)]
    stored.run.seq += count
    return msgspec.structs.replace(stored, history=[wire.encode([first, *signals, *rest])])


def _asked(port: int, path: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    began = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    ended = time.perf_counter()
    connection.close()
    assert answer.status == 200 and body, f"{path}: {answer.status}"
    return ended - began
