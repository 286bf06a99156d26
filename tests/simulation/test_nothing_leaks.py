"""The same lives again and again, in one process: it has as many objects, threads and files afterwards as after the first."""

import gc
import os
import threading
from collections import Counter
from pathlib import Path

import pytest

from perdure.runtime.actors import Actor
from perdure.testing.simulation.cluster import Cluster
from perdure.testing.simulation.life import in_a_file, simulate
from perdure.testing.simulation.plan import plan_of

ROUNDS = 100 if "PERDURE_SOAK" in os.environ else 2
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
    return Counter(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds if kind.__module__.startswith("perdure."))


def files() -> Counter[str]:
    """What is open, and how often."""
    return Counter(filter(None, map(_target, os.listdir(FILES)))) if FILES.is_dir() else Counter()


def _target(name: str) -> str:
    try:
        os.fstat(int(name))
        return os.readlink(FILES / name) if (FILES / name).is_symlink() else name
    except OSError:  # it was open to list them
        return ""


def test_lives_leave_no_objects_no_threads_and_no_files_behind() -> None:
    live()  # what is made once is made now
    objects_before, threads_before, files_before = objects(), set(threading.enumerate()), files()

    for _ in range(ROUNDS):
        live()

    assert objects() - objects_before == {}
    assert set(threading.enumerate()) - threads_before == set()
    assert files() - files_before == {}


def test_an_object_that_stays_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Actor] = []
    made = Actor.__init__

    def remembered(self: Actor, *args: object, **options: object) -> None:
        made(self, *args, **options)  # type: ignore[arg-type]
        kept.append(self)

    before = objects()
    monkeypatch.setattr(Actor, "__init__", remembered)
    simulate(plan_of(0, "sequence"))

    assert (objects() - before)["perdure.runtime.actors.Actor"] == len(kept) > 0


@pytest.mark.skipif(not FILES.is_dir(), reason="the system does not show what a process has open")
def test_a_file_that_stays_open_would_show(tmp_path: Path) -> None:
    before = files()

    with open(tmp_path / "open", "w"):
        assert sum((files() - before).values()) == 1
    assert files() - before == {}
