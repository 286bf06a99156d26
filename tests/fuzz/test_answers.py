"""What people answer, by a client in the engine's process, by one elsewhere, and on a command line: it fits the form and is the
answer, or it is refused, and the task is open as it was. Nothing is half done, and nobody sees a traceback."""

import contextlib
import datetime as dt
import decimal
import io
import json
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from perdure import Client, Engine, errors, task, workflow
from perdure.cli import problems
from perdure.cli.main import cli
from perdure.cli.options import Settings
from tests.fuzz.effort import fuzz, odd_texts


@dataclass
class Line:
    what: str
    count: int = 1
    price: decimal.Decimal = decimal.Decimal(0)


@dataclass
class Decision:
    approved: bool
    limit: float = 0.0
    note: str = ""
    until: dt.date | None = None
    how: Literal["at once", "later"] = "later"
    lines: list[Line] = field(default_factory=list)
    more: dict[str, int | str] = field(default_factory=dict)


class Bounded(msgspec.Struct, forbid_unknown_fields=True):
    share: float
    codes: tuple[int, str]
    proof: bytes = b""


FORMS: dict[str, tuple[Any, Any]] = {
    "decision": (Decision, {"approved": True}),
    "bounded": (Bounded, {"share": 0.5, "codes": [1, "a"]}),
    "number": (int, 5),
    "text": (str, "yes"),
    "list": (list[Line], []),
    "nothing": (None, None),
    "anything": (Any, {"a": 1}),
    "time": (dt.datetime, "2026-01-01T00:00:00Z"),
    "id": (uuid.UUID, "00000000-0000-0000-0000-000000000000"),
}
"""Each form, and an answer that fits."""


@workflow
async def asks(kind: str) -> str:
    form, _ = FORMS[kind]
    answer = await task("What is it?", form=form)
    assert form is Any or form is None or isinstance(answer, getattr(form, "__origin__", form))
    return kind


class Desk:
    """An engine whose runs ask, and a client that has only its database."""

    def __init__(self, engine: Engine, client: Client) -> None:
        self.engine = engine
        self.client = client
        self._open: dict[str, str] = {}
        self._asked = 0

    def asked(self, kind: str) -> str:
        """A run that waits for the answer to such a form."""
        if kind not in self._open:
            self._asked += 1
            handle = self.engine.start(asks(kind), id=f"{kind}-{self._asked}").wait()
            while not self.engine.tasks.list(run=handle.id).wait():
                pass
            self._open[kind] = handle.id
        return self._open[kind]

    def answered(self, kind: str) -> None:
        """The run of such a form has its answer, and comes to its end with it."""
        assert self.engine.handle(self._open.pop(kind)).result(timeout=600).wait() == kind

    def demand_open(self, kind: str, id: str, events: int) -> None:
        """The task is as it was, and whoever answers it well is heard."""
        (found,) = self.client.tasks.list(run=id).wait()
        assert found.claimed_by is None
        assert self.client.handle(id).describe().wait().events == events
        self.client.tasks.complete(id, FORMS[kind][1], by="ann").wait()
        self.answered(kind)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('answers') / 'runs.db'}"


@pytest.fixture(scope="module")
def desk(address: str) -> Iterator[Desk]:
    with Engine(address, [asks]) as engine, Client(address) as client:
        yield Desk(engine, client)


numbers = st.one_of(
    st.integers(), st.floats(), st.sampled_from([2**63, -(2**63) - 1, 10**400, 1e308, -0.0, float("nan"), float("inf")])
)
plain = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, odd_texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(odd_texts, inner, max_size=4)),
    max_leaves=8,
)


class Nested(NamedTuple):
    """A value in so many lists, which nobody could print."""

    depth: int

    def made(self) -> Any:
        value: Any = 1
        for _ in range(self.depth):
            value = [value]
        return value


def made(answer: Any) -> Any:
    if isinstance(answer, Nested):
        return answer.made()
    return {name: made(value) for name, value in answer.items()} if isinstance(answer, dict) else answer


odd_values: st.SearchStrategy[Any] = st.one_of(
    st.binary(max_size=20),
    st.dates(),
    st.datetimes(),
    st.decimals(),
    st.sets(st.integers(), max_size=3),
    st.builds(object),
    st.sampled_from([Nested(50), Nested(3_000), Nested(100_000), "x" * 100_000, {1: 2}, {None: 1}, Line("x"), asks]),
)
KEYS = [
    "approved",
    "limit",
    "note",
    "until",
    "how",
    "lines",
    "more",
    "what",
    "count",
    "share",
    "codes",
    "proof",
    "typo",
]


@st.composite
def answers(draw: Any) -> Any:
    """Any value; or one that is nearly what is asked for, with a field that is odd."""
    good = draw(st.sampled_from([good for _, good in FORMS.values()]))
    match draw(st.integers(0, 3)):
        case 0 | 1 if isinstance(good, dict):
            value = st.one_of(plain, plain, odd_values)
            return {**good, **draw(st.dictionaries(st.sampled_from(KEYS), value, min_size=1, max_size=2))}
        case 2:
            return draw(odd_values)
        case _:
            return draw(st.one_of(plain, st.just(good)))


names = st.one_of(st.just("ann"), st.just("ann"), odd_texts, st.none(), st.integers())


@given(st.sampled_from(sorted(FORMS)), answers(), names, st.booleans())
@example("anything", Nested(100_000), "ann", True)
@example("anything", "a\ud800", "ann", False)
@example("decision", {"approved": True, "more": {"a\ud800": 1}}, "ann", False)
@example("number", 10**400, "ann", False)
@fuzz(150)
def test_an_answer_is_taken_or_refused_and_then_the_task_is_as_it_was(
    desk: Desk, kind: str, answer: Any, by: Any, elsewhere: bool
) -> None:
    id = desk.asked(kind)
    before = desk.client.handle(id).describe().wait().events
    tasks = desk.client.tasks if elsewhere else desk.engine.tasks

    try:
        tasks.complete(id, made(answer), by=by).wait()
    except errors.PerdureError as refused:
        assert str(refused)
        desk.demand_open(kind, id, before)
    else:
        desk.answered(kind)


@given(st.sampled_from(sorted(FORMS)), names, st.one_of(st.none(), names), st.one_of(st.just(()), st.lists(names)))
@fuzz(40)
def test_whoever_answers_has_a_name_or_is_refused(desk: Desk, kind: str, by: Any, request: Any, groups: Any) -> None:
    id = desk.asked(kind)
    before = desk.client.handle(id).describe().wait().events

    try:
        answer = FORMS[kind][1]
        desk.client.tasks.complete(id, answer, by=by, request_id=request, groups=groups).wait()
    except errors.PerdureError:
        desk.demand_open(kind, id, before)
    else:
        desk.answered(kind)


@pytest.fixture
def typed(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Types a line; its exit code and what was written."""
    monkeypatch.setenv("PERDURE_DB", address)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)

    def call(line: list[str], input: str) -> tuple[Any, str]:
        out = io.StringIO()
        monkeypatch.setattr(sys, "stdin", io.StringIO(input))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), pytest.raises(SystemExit) as ended:
            cli.main(line, obj=Settings(lambda: dt.datetime.now(dt.UTC)))
        return ended.value.code, out.getvalue()

    return call


spoken = st.one_of(
    odd_texts, plain.map(json.dumps), st.sampled_from(["-", "@nope", "@", "@/", "[" * 100_000, "1" * 5_000])
)


@st.composite
def options(draw: Any) -> list[str]:
    """How an answer is typed."""
    if draw(st.booleans()):
        return ["--json-value", draw(spoken), *draw(st.sampled_from([[], [], ["--field", "approved=true"]]))]
    fields = draw(st.lists(st.tuples(st.one_of(st.sampled_from(KEYS), odd_texts), spoken), max_size=3))
    given = [word for name, text in fields for word in ("--field", draw(st.sampled_from([f"{name}={text}", name])))]
    return [*given, *draw(st.sampled_from([[], [], ["--field", "approved=true"], ["--json"]]))]


@given(st.sampled_from(sorted(FORMS)), options(), st.one_of(st.just("ann"), odd_texts), spoken)
@example("anything", ["--json-value", "-"], "ann", "[" * 100_000)
@example("anything", ["--json-value", '"\\ud800"'], "ann", "")
@example("anything", ["--json-value", "1" * 5_000], "ann", "")
@fuzz(100)
def test_what_is_typed_is_taken_or_refused_with_a_code_that_says_which(
    desk: Desk, typed: Any, kind: str, options: list[str], by: str, input: str
) -> None:
    id = desk.asked(kind)
    before = desk.client.handle(id).describe().wait().events
    line = [word.replace("\0", "") for word in ["task", "complete", id, "--by", by, *options]]

    code, said = typed(line, input)

    assert code in (problems.OK, problems.USAGE), (line, code, said)
    assert "Traceback" not in said
    if code == problems.OK:
        desk.answered(kind)
    else:
        desk.demand_open(kind, id, before)
