"""What lives leave behind in their process: `python -m tests.simulation.leftovers ROUNDS` lives some again and again, and prints
what there is more of afterwards than after the first time, as JSON. In a process of its own, since threads and objects of other
tests come and go."""

import gc
import json
import os
import sys
import threading
from collections import Counter
from pathlib import Path

from perdure.testing.simulation.cluster import Cluster
from perdure.testing.simulation.life import in_a_file, simulate
from perdure.testing.simulation.plan import plan_of

WORKLOADS = ("everything", "families", "queues", "signals to chains", "updates", "transfers")
FILES = Path("/dev/fd")
"""Where the system shows which files a process has open, if it does."""


def live() -> None:
    """A few lives of all kinds: in memory and in a file, of one owner and of several, most of them disturbed."""
    for seed, workload in enumerate(WORKLOADS):
        simulate(plan_of(seed, workload))
        Cluster(plan_of(seed, workload, members=3)).live()
    simulate(plan_of(0, "everything"), in_a_file)


def objects() -> Counter[str]:
    """How many there are of each class of ours. Structs without references are not among those that the collector knows; what
    holds them is."""
    gc.collect()
    kinds = (type(each) for each in gc.get_objects())
    names = ((str(kind.__module__), kind.__qualname__) for kind in kinds)
    return Counter(f"{module}.{name}" for module, name in names if module.startswith("perdure."))


def threads() -> Counter[str]:
    return Counter(thread.name for thread in threading.enumerate())


def files() -> Counter[str]:
    """What is open, and how often."""
    return Counter(filter(None, map(_target, os.listdir(FILES)))) if FILES.is_dir() else Counter()


def _target(name: str) -> str:
    try:
        os.fstat(int(name))
        return os.readlink(FILES / name) if (FILES / name).is_symlink() else name
    except OSError:  # it was open to list them
        return ""


def left_after(rounds: int) -> dict[str, int]:
    """By name, what was not there before."""
    live()  # what is made once is made now
    before = objects(), threads(), files()
    for _ in range(rounds):
        live()
    after = objects(), threads(), files()
    return {name: count for now, then in zip(after, before, strict=True) for name, count in (now - then).items()}


if __name__ == "__main__":
    print(json.dumps(left_after(int(sys.argv[1]))))
