"""A client process of the storm: all roles at once, each in a thread.

Run as `python -m tests.chaos.client NAME ADDRESS DIARY PAUSE`. SIGTERM says that the storm is over: it finishes its jobs and ends.
"""

import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from tests.chaos.caller import Caller, Diary, Stopped, all_read
from tests.chaos.roles import GUESTS, ON_SERVERS, ROLES, work

TIDY_SECONDS = 300.0
"""How long after the storm a job may take; one that has not come to its end then is told of."""


def main(name: str, address: str, path: str, pause: str) -> int:
    diary = Diary(Path(path))
    over, left = threading.Event(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    print(f"ready {os.getpid()}", flush=True)
    others = [
        threading.Thread(target=_play, args=(name, role, address, diary, over, left, float(pause)))
        for role in ROLES
        if role != "answer" and (role not in ON_SERVERS or address.startswith("postgresql:"))
    ]
    people_over = threading.Event()
    people = threading.Thread(target=_play, args=(name, "answer", address, diary, people_over, left, float(pause)))
    for thread in (*others, people):
        thread.daemon = True
        thread.start()
    while not over.wait(0.5):
        pass
    patience = threading.Timer(TIDY_SECONDS, left.set)
    patience.daemon = True
    patience.start()
    for thread in others:
        thread.join()
    diary.note("tidy", name=name)
    _wait_for_others(Path(path).parent)
    people_over.set()
    people.join()
    return 0


def _wait_for_others(folder: Path) -> None:
    """Whoever answers goes on until nobody asks any more."""
    end = time.monotonic() + TIDY_SECONDS
    while time.monotonic() < end:
        tidy = {line["name"] for line in all_read(folder) if line["kind"] == "tidy"}
        if len(tidy) >= GUESTS:
            return
        time.sleep(0.3)


def _play(
    name: str,
    role: str,
    address: str,
    diary: Diary,
    over: threading.Event,
    left: threading.Event,
    pause: float,
) -> None:
    try:
        work(Caller(name, role, address, diary, over, left), pause)
    except Stopped:
        diary.note("unexpected", role=role, error="a job has not come to its end after the storm")
    except BaseException:  # noqa: BLE001  it is told, and looked at afterwards
        diary.note("unexpected", role=role, error=traceback.format_exc())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
