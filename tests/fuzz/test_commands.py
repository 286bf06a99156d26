"""What is typed behind `perdure`: each line ends with an exit code of its own, and never in a traceback."""

import contextlib
import io
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from perdure.cli import problems
from perdure.cli.main import cli
from perdure.cli.options import Settings
from perdure.stores.base import RunFilter, Store
from tests.fuzz.effort import fuzz, odd_texts
from tests.unit.cli import corpus

CODES = {value for name, value in vars(problems).items() if name.isupper() and isinstance(value, int)}
READING = {
    "list": [
        "--status",
        "--attr",
        "--workflow",
        "--id",
        "--since",
        "--limit",
        "--parent",
        "--root",
        "--before",
        "--json",
    ],
    "show": ["--json", "--run-id", "--events", "--logs", "--step", "--from", "--limit"],
    "count": ["--attr", "--status", "--json", "--since"],
    "result": ["--json", "--timeout", "--run-id"],
    "stream": ["--from", "--json", "--name", "--timeout"],
    "export": ["--output", "--redact", "--attr"],
    "task": ["list", "show", "--assignee", "--run", "--json", "--limit"],
    "builds": ["--json"],
}
VALUES = [
    "0",
    "-1",
    "1",
    "9" * 30,
    "9" * 5_000,
    "1e5",
    "0:1",
    "failed",
    "nope",
    "amount>5",
    "a=1..2",
    "5m",
    "-",
    "--",
    "@",
    "@/nope",
]
VALUES += ["order-", "order-48391/0:1", "*", "%", "_", "'", '"', "0" * 32]


@pytest.fixture
def typed(folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Types a line; its exit code and what was written."""
    monkeypatch.setenv("PERDURE_DB", f"sqlite:///{folder / 'runs.db'}")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(folder)

    def call(line: list[str], input: str) -> tuple[Any, str]:
        out = io.StringIO()
        monkeypatch.setattr(sys, "stdin", io.StringIO(input))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), pytest.raises(SystemExit) as ended:
            cli.main(line, obj=Settings(lambda: datetime.fromtimestamp(corpus.NOW / 1e9, UTC)))
        return ended.value.code, out.getvalue()

    return call


@given(st.data())
@example(None)
@fuzz(100)
def test_every_line_ends_with_a_code_that_is_documented(typed: Any, store: Store, data: Any) -> None:
    ids = [row.id for row in store.views.search(RunFilter())]
    for line, input in KEPT if data is None else [(data.draw(lines(ids)), data.draw(odd_texts))]:
        code, said = typed(line, input)

        assert code in CODES, (line, code, said)
        if code == 0 and "--json" in line and said.strip().startswith(("{", "[")):
            for each in said.splitlines()[:1]:
                json.loads(each) if each.endswith(("}", "]")) and len(each) > 1 else None


@st.composite
def lines(draw: Any, ids: list[str]) -> list[str]:
    command = draw(st.sampled_from(sorted(READING)))
    values = st.one_of(st.sampled_from(VALUES), st.sampled_from(ids), odd_texts)
    words = draw(st.lists(st.one_of(st.sampled_from(READING[command]), values), max_size=5))
    # Nothing here may wait or write: the output of an export is standard output, which has to be named.
    line = [command, *[word.replace("\0", "") for word in words if word not in ("--follow", "-f", "--output", "-o")]]
    return line if command != "result" else [*line, "--timeout", "0"]


KEPT: list[tuple[list[str], str]] = [
    (["list", "--limit", "9" * 5_000], ""),
    (["list", "--since", "9" * 400 + "s"], ""),
    (["list", "--attr", "a=" + "9" * 5_000], ""),
    (["show", "\ud800"], ""),
    (["show", "-"], "[" * 100_000),
]
"""What was found once."""
