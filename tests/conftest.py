"""Where tests keep their files: in memory, if there is room. A process that is killed loses nothing there either, and a commit
does not wait for a disk; `pytest --basetemp=FOLDER` says otherwise.

And that Ctrl-C is heard by the processes that tests start, also where whoever started the tests does not hear it (a shell
lets what it runs in the background ignore it, and so do the children of that).

And that no process which tests start compiles the house anew, where Python was told to keep nothing of what it compiles
(`PYTHONDONTWRITEBYTECODE`, as containers often are): that is two thirds of its start. What tests write and import is kept
nowhere then, as was wished.

And that the collector of cycles passes over what belongs to the tests themselves, and over what those before have left:
eleven thousand tests are so many objects that each of its rounds, of which some make many, would take half a second and more.

And that properties are tested with the same cases everywhere, however slow the machine is, as Hypothesis does by itself where
`CI` is set. Other cases are looked for by `make soak` and `make fuzz`.
"""

import compileall
import gc
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

MEMORY = Path("/dev/shm")
ROOM_BYTES = 4 << 30

HOUSE = Path(__file__).resolve().parents[1]

_made = pytest.StashKey[Path]()

settings.register_profile(
    "anywhere",
    deadline=None,
    derandomize=not os.environ.get("PERDURE_SOAK"),
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("anywhere")


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(config, "workerinput"):
        return  # a worker has what its controller has made, and a part of its folder
    if sys.dont_write_bytecode:
        for room in ("perdure", "examples", "tests"):  # pytest compiles tests by itself
            compileall.compile_dir(HOUSE / room, quiet=2, rx=re.compile(r"/test_[^/]*$"))
    if config.option.basetemp is not None:
        return
    if not (MEMORY.is_dir() and os.access(MEMORY, os.W_OK)):
        return
    for left in MEMORY.glob("perdure-tests-*"):  # by a run of tests that was killed
        if not Path("/proc", left.name.rpartition("-")[2]).exists():
            shutil.rmtree(left, ignore_errors=True)
    if shutil.disk_usage(MEMORY).free >= ROOM_BYTES:
        config.stash[_made] = MEMORY / f"perdure-tests-{os.getpid()}"
        config.option.basetemp = str(config.stash[_made])


@pytest.fixture(autouse=True, scope="module")
def _passed_over_by_the_collector() -> None:
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    if _made in config.stash:
        shutil.rmtree(config.stash[_made], ignore_errors=True)
