"""`perdure stream`: which streams a run has, and what was written to one."""

import json

import pytest

from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.streams import chunk_rows
from perdure.stores.base import Batch, Store
from tests.unit.cli.conftest import Perdure

ID = "order-48390"
AT = 1_700_000_000_000_000_000


@pytest.fixture(autouse=True)
def written(store: Store) -> None:
    """The workflow has written to "log", two attempts of a step to "tokens"; the run has ended."""
    row = store.views.row(ID)
    assert row is not None

    def rows(stream: str, *values: str, step: str = "", attempt: int = 0):
        made = [wire.Chunk(AT, ev.Payload(value.encode())) for value in values]
        return chunk_rows(row.key, stream, made, False, step, attempt)

    tokens = [
        *rows("tokens", '"All "', step="0:1", attempt=1),
        *rows("tokens", '"All "', '"is\\u001b[2J"', step="0:1", attempt=2),
    ]
    store.journal.commit(Batch(chunks=[*rows("log", '"begins"', '{"n":1}', "2.5"), *tokens]))


def test_without_a_name_the_streams_of_a_run_are_listed(perdure: Perdure) -> None:
    assert perdure("stream", ID) == (
        0,
        "log             3 chunks     18 B  closed\n"
        "tokens          3 chunks     25 B  closed\n",
        "",
    )  # fmt: skip


def test_the_list_as_json_has_numbers(perdure: Perdure) -> None:
    assert json.loads(perdure("stream", ID, "--json=name,chunks,closed").out) == [
        {"name": "log", "chunks": 3, "closed": True},
        {"name": "tokens", "chunks": 3, "closed": True},
    ]


def test_a_chunk_is_a_line_texts_as_they_are_the_rest_as_json(perdure: Perdure) -> None:
    assert perdure("stream", ID, "log") == (0, 'begins\n{"n": 1}\n2.5\n', "")
    assert perdure("stream", ID, "log", "--from", "2") == (0, "2.5\n", "")


def test_a_further_attempt_is_told_beside_the_chunks_and_control_characters_do_not_come_through(
    perdure: Perdure,
) -> None:
    said = perdure("stream", ID, "tokens")

    assert said.out.splitlines()[:2] == ["All", "All"]
    assert "\x1b" not in said.out
    assert said.err == "attempt 2 of [0:1] begins anew\n"


def test_raw_is_the_texts_one_after_the_other(perdure: Perdure) -> None:
    assert perdure("stream", ID, "tokens", "--raw", "--from", "1").out.startswith("All is")


def test_json_has_all_of_a_chunk_and_ndjson_whoever_follows(perdure: Perdure) -> None:
    whole = json.loads(perdure("stream", ID, "tokens", "--json").out)
    lines = perdure("stream", ID, "tokens", "--follow", "--json=offset,attempt", "--from", "1").out.splitlines()

    assert whole[0] == {"offset": 0, "value": "All ", "attempt": 1, "at": "2023-11-14T22:13:20Z", "step": "0:1"}
    assert [json.loads(line) for line in lines] == [{"offset": 1, "attempt": 2}, {"offset": 2, "attempt": 2}]


def test_a_stream_that_is_not_there_is_told_with_those_that_are(perdure: Perdure) -> None:
    assert perdure("stream", ID, "token") == (
        4,
        "",
        f"error: run {ID} has no stream 'token'\n  it has: log, tokens\n  hint: did you mean  perdure stream {ID} tokens\n",
    )
    assert perdure("stream", ID, "nothing", "--follow") == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--follow"], "which stream?"),
        (["log", "--raw", "--json"], "--raw is texts alone"),
        (["log", "--from", "-1"], "-1 is not in the range"),
        (["x" * 101, "--follow"], "a stream has a name of 1 to 100 printable characters"),
    ],
)
def test_what_makes_no_sense_is_refused(perdure: Perdure, arguments: list[str], said: str) -> None:
    answer = perdure("stream", ID, *arguments)

    assert answer.code in (1, 2)
    assert said in answer.err


def test_a_run_without_streams_says_so(perdure: Perdure) -> None:
    assert perdure("stream", "order-48112").err == "order-48112 has written to no stream\n"
