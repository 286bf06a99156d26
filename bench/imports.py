"""How long `import perdure` takes, in interpreters of their own."""

import subprocess
import sys
from statistics import median

from bench.figures import Figure, Setting

NAMES = "from perdure import Engine, Retry, activity, workflow"
STANDARD = "import asyncio, contextvars, logging, sqlite3, threading"


def measure(setting: Setting) -> list[Figure]:
    rounds = setting.pick(15, 5, 1)
    took = [[_milliseconds(code) for code in ("import perdure", NAMES, STANDARD)] for _ in range(rounds)]
    bare, names, standard = (median(column) for column in zip(*took, strict=True))
    return [
        Figure("import perdure", bare, "ms", None, 120.0),
        Figure("  with Engine, activity, workflow (floor: the standard library)", names, "ms", standard, 200.0),
    ]


def _milliseconds(code: str) -> float:
    program = f"import time; began = time.perf_counter(); {code}; print((time.perf_counter() - began) * 1e3)"
    return float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
