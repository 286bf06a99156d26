"""Makes calls in workflow code, for real, and tells what came of each: rows in, answers out, as JSON.

In a process of its own, so that what is imported before the first engine is made is imported before anything is replaced.
"""

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "unit" / "languages" / "python")]

MODULE = """
import asyncio, contextvars, gc, glob, http.client, importlib, logging, multiprocessing, os, platform, queue, random, secrets
import shutil, socket, sqlite3, subprocess, sys, tempfile, threading, time, traceback, urllib.request, uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timezone
from pathlib import Path
from zoneinfo import ZoneInfo
from perdure import workflow
{imports}

@workflow
async def tried() -> str:
    return repr({call})

def here() -> str:
    return repr({call})
"""


def main() -> None:
    rows: list[dict[str, str]] = json.load(sys.stdin)
    sys.path.insert(0, str(Path.cwd() / "rows"))
    Path("rows").mkdir()
    for n, row in enumerate(rows):
        text = MODULE.format(**row)
        if "await" in row["call"]:
            text = text.replace("def here", "async def here")
        Path(f"rows/row_{n}.py").write_text(text)
    modules = [importlib.import_module(f"row_{n}") for n in range(len(rows))]
    json.dump([tried(module) for module in modules], sys.__stdout__)


def tried(module: Any) -> dict[str, Any]:
    from perdure.languages.python.scan import findings

    sys.stdout = sys.stderr
    answers = []
    for _ in range(2):
        answers.append(in_workflow(module.tried))
        time.sleep(0.002)
    try:
        elsewhere = module.here()
    except BaseException as error:  # noqa: BLE001
        elsewhere = repr(error)
    found = findings(module.tried)
    sys.stdout = sys.__stdout__
    return {
        "refused": answers[0].get("refused"),
        "answers": [answer.get("answer") for answer in answers],
        "elsewhere": elsewhere if isinstance(elsewhere, str) else "",
        "found": [str(finding) for finding in found],
    }


def in_workflow(definition: Any) -> dict[str, str]:
    from workflow_driver import Driver

    from perdure.kernel.program import ProgramBlocked

    driver = Driver(definition)
    try:
        driver.start()
        while driver.run.is_open:
            driver.wake()
    except ProgramBlocked as blocked:
        assert blocked.failure is not None, blocked.message
        assert blocked.failure.type == "perdure.errors.NotDeterministic", blocked.message
        return {"refused": blocked.message}
    driver.program.close()
    return {"answer": driver.result}


if __name__ == "__main__":
    main()
