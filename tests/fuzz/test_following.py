"""Who reads a stream from anywhere: by a client, on a command line. Each gets what is there from that offset on, in order, or is told
what is wrong with what was asked."""

import contextlib
import datetime as dt
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from perdure import Client, Engine, activity, errors, stream, workflow
from perdure.cli import problems
from perdure.cli.main import cli
from perdure.cli.options import Settings
from perdure.kernel.limits import STREAM_PAGE_BYTES
from tests.fuzz.effort import fuzz, odd_texts

LARGE = "x" * (STREAM_PAGE_BYTES // 3)
HELD: dict[str, list[Any]] = {
    "few": [1, "zwei", None, {"a": [1.5]}],
    "many": list(range(700)),
    "large": [f"{n} {LARGE}" for n in range(5)],
    "odd \U0001f600 'name' --x": ["\0", "\u2028", ""],
    "none": [],
}
"""What the streams of the run hold; nothing was written to the last one."""


@activity
async def writes(name: str) -> None:
    """In pieces of one, two, three chunks."""
    to, pieces = stream(name), 1
    left = list(HELD[name])
    while left:
        for value in left[:pieces]:
            await to.write(value)
        del left[:pieces]
        pieces = pieces % 3 + 1


@workflow
async def shows() -> None:
    for value in HELD["few"]:
        stream("few").write(value)
    for name in HELD:
        if name != "few":
            await writes(name)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    address = f"sqlite:///{tmp_path_factory.mktemp('streams') / 'runs.db'}"
    with Engine(address, [shows, writes]) as engine:
        engine.run(shows(), id="shown").wait()
    return address


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Client]:
    with Client(address) as client:
        yield client


names = st.one_of(st.sampled_from(sorted(HELD)), st.sampled_from(sorted(HELD)), odd_texts)
offsets = st.one_of(
    st.integers(0, 800),
    st.integers(0, 5),
    st.integers(),
    st.sampled_from([2**63 - 1, 2**63, 2**64, -1, 10**400, True, None, "0", 1.0, float("nan"), b"1"]),
)


@given(names, offsets, st.booleans(), st.sampled_from([None, None, int, str, list[int]]))
@example("few", 2**63 - 1, True, None)
@example("many", 2**63, False, None)
@fuzz(150)
def test_a_client_gets_what_is_there_from_an_offset_on(
    client: Client, name: str, offset: Any, follow: bool, kind: Any
) -> None:
    read: list[tuple[int, Any]] = []
    typed: dict[str, Any] = {} if kind is None else {"type": kind}
    try:
        for chunk in client.handle("shown").stream(name, from_offset=offset, follow=follow, **typed):
            read.append((chunk.offset, chunk.value))
    except errors.DefinitionError as refused:
        assert str(refused)
        assert name not in HELD or type(offset) is not int or not 0 <= offset < 2**63
        assert read == []
        return
    except errors.PayloadNotDecodable as refused:
        assert kind is not None
        assert "offset " in str(refused)
        return
    assert read == list(enumerate(HELD.get(name, [])))[offset:]


@pytest.fixture
def typed(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Types a line; its exit code, and what was written for programs and for people."""
    monkeypatch.setenv("PERDURE_DB", address)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)

    def call(line: list[str]) -> tuple[Any, str, str]:
        out, told = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(told), pytest.raises(SystemExit) as ended:
            cli.main(line, obj=Settings(lambda: dt.datetime.now(dt.UTC)))
        return ended.value.code, out.getvalue(), told.getvalue()

    return call


@given(names, st.one_of(offsets.map(str), odd_texts), st.sets(st.sampled_from(["--json", "--raw", "--follow"])))
@example("many", str(2**63), {"--json"})
@example("many", "9" * 5_000, {"--follow"})
@example("few", "\u0663", {"--json"})
@fuzz(100)
def test_a_command_line_gets_the_same(typed: Any, name: str, offset: str, options: set[str]) -> None:
    name, offset = name.replace("\0", ""), offset.replace("\0", "")
    line = ["stream", "shown", *sorted(options), f"--from={offset}", "--", name]

    code, out, told = typed(line)

    assert code in (problems.OK, problems.USAGE, problems.NOT_FOUND), (line, code, told)
    assert "Traceback" not in told
    if code != problems.OK:
        assert told
    elif "--json" in options:
        chunks = [json.loads(each) for each in out.splitlines()] if "--follow" in options else json.loads(out)
        held = list(enumerate(HELD.get(name, [])))[int(offset) :]
        assert [(each["offset"], each["value"]) for each in chunks] == held
