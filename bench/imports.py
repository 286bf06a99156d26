"""How long `import perdure` takes, in interpreters of their own, from bytecode as an installed package has it."""

import os
import subprocess
import sys
import tempfile
from statistics import median

from bench.figures import Figure, Setting

NAMES = "from perdure import Engine, Retry, activity, workflow"
STANDARD = "import asyncio, contextvars, logging, sqlite3, threading"


def measure(setting: Setting) -> list[Figure]:
    rounds = setting.pick(15, 5, 1)
    with tempfile.TemporaryDirectory() as bytecode:
        # An environment that forbids bytecode would have every import compile its source.
        surroundings = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": bytecode}
        _milliseconds(NAMES, surroundings)
        programs = ("import perdure", NAMES, STANDARD)
        took = [[_milliseconds(code, surroundings) for code in programs] for _ in range(rounds)]
    bare, names, standard = (median(column) for column in zip(*took, strict=True))
    return [
        Figure("import perdure", bare, "ms", None, 120.0),
        Figure("  with Engine, activity, workflow (floor: the standard library)", names, "ms", standard, 200.0),
    ]


def _milliseconds(code: str, surroundings: dict[str, str]) -> float:
    program = f"import time; began = time.perf_counter(); {code}; print((time.perf_counter() - began) * 1e3)"
    ended = subprocess.run(
        [sys.executable, "-c", program], env=surroundings, capture_output=True, text=True, check=True
    )
    return float(ended.stdout)
