"""`perdure list`."""

import json
from typing import Any

import pytest

from perdure.cli.lines import line_width, plain
from perdure.cli.listing import DETAILS, layout
from perdure.cli.options import Settings
from perdure.kernel.run import Status
from perdure.stores.base import RunFilter
from tests.unit.cli.conftest import Perdure, corpus_time
from tests.unit.cli.drawing import text


def ids(out: str) -> list[str]:
    return [line.split("\t")[1] for line in out.splitlines()[1:]]


def laid_out(store: Any, monkeypatch: pytest.MonkeyPatch, width: int, limit: int = 100) -> list[Any]:
    monkeypatch.setenv("COLUMNS", str(width))
    rows = store.views.search(RunFilter(limit=limit))
    table = [(Status(row.status).name.lower(), row, row.note, "14:31:30") for row in rows]
    return layout(Settings(corpus_time), table, corpus_time())


def test_a_pipe_gets_columns_between_tabs_whole_and_with_times_in_utc(perdure: Perdure) -> None:
    said = perdure("list", "--state", "blocked,retrying")

    assert said == (
        0,
        "STATE\tRUN\tWORKFLOW\tDOING NOW\tSTARTED\tAGE\n"
        "blocked\torder-47110\tprocess_order\tthe code at hand goes another way than the history of this run\t"
        "2026-11-24T12:31:30.000Z\t2h\n"
        "retrying\torder-48213\tprocess_order\tcharge_card 4/10 in 12s\t2026-11-24T09:15:30.000Z\t5h16m\n",
        "",
    )


def test_what_a_run_does_now_says_what_it_waits_for(perdure: Perdure, store) -> None:
    doing = {line.split("\t")[1]: line.split("\t")[3] for line in perdure("list").out.splitlines()}

    assert doing["ship-20931"] == "waits for its turn"
    assert doing["poll-3"] == "timer due"
    assert doing["onboard-acme-77"] == "timer 3d left"
    assert doing["order-48300"] == "charge_card held by a bug"


def test_what_no_engine_does_says_so(perdure: Perdure, unowned) -> None:
    doing = {line.split("\t")[1]: line.split("\t")[3] for line in perdure("list").out.splitlines()}

    assert doing["ship-20931"] == "no engine holds this database"
    assert doing["poll-3"] == "timer due, no engine"


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--state", "failed,held"], ["etl-2026-11-22", "order-48300"]),
        (["--state", "closed", "--workflow", "process_order"], ["order-48112", "order-48111", "order-48390"]),
        (["--since", "10m", "--state", "closed"], ["order-48112", "order-48111", "score-77", "order-48390"]),
        (["order-483"], ["order-48391", "order-48300", "order-48390"]),
    ],
)
def test_filters_hold_all_at_once(perdure: Perdure, arguments, found) -> None:
    assert ids(perdure("list", *arguments).out) == found


def test_pages_follow_each_other_by_their_cursor(perdure: Perdure) -> None:
    first = perdure("list", "--limit", "5")
    cursor = first.err.split("--after ")[1].strip()
    second = perdure("list", "--limit", "10", "--after", cursor)

    assert first.err == f"5 of 12 · next page: --after {cursor}\n"
    assert ids(first.out) + ids(second.out) == ids(perdure("list").out)
    assert second.err == ""


def test_quiet_is_ids_alone_for_other_commands_to_read(perdure: Perdure) -> None:
    assert perdure("list", "-q", "--state", "failed") == (0, "etl-2026-11-22\n", "")


def test_json_has_stable_field_names(perdure: Perdure) -> None:
    (run,) = json.loads(perdure("list", "--json", "--state", "failed").out)

    assert " ".join(run) == ("id run_id workflow status note build started_at closed_at duration wake_at events")
    assert run["id"] == "etl-2026-11-22"
    assert run["status"] == "failed"
    assert run["started_at"] == "2026-11-24T14:15:14.000000Z"
    assert run["duration"] == 250.0


def test_json_fields_are_selected_even_from_inside_of_a_run(perdure: Perdure) -> None:
    said = perdure("list", "--state", "failed", "--json=id,state,error.cause.type")

    assert json.loads(said.out) == [
        {"id": "etl-2026-11-22", "state": "failed", "error": {"cause": {"type": "warehouse.RecordTooLarge"}}}
    ]


def test_every_detail_can_be_selected(perdure: Perdure) -> None:
    (run,) = json.loads(perdure("list", "--state", "failed", f"--json={','.join(DETAILS)}").out)

    assert tuple(run) == DETAILS


def test_times_take_the_form_asked_for(perdure: Perdure) -> None:
    started = [perdure("list", "--state", "failed", "--time", form).out.split("\t")[-2] for form in ("rel", "raw")]

    assert started == ["16m16s ago", "1795529714.000000"]


@pytest.mark.parametrize(
    ("arguments", "code", "error", "hint"),
    [
        (["--state", "faild"], 2, "there is no state 'faild'", "did you mean  --state failed"),
        (["--workflow", "proces_order"], 4, "no run of a workflow 'proces_order'",
         "did you mean  --workflow process_order"),
        (["--since", "yesterday"], 2, "--since 'yesterday' is no age and no time",
         "write 90s, 24h, 7d or 2026-11-22T14:00"),
        (["--after", "abc"], 2, "--after 'abc' is no cursor", "take it from the last line of the page before"),
        (["--json=idd"], 2, "there is no field 'idd'", "did you mean  --json=id"),
    ],
)  # fmt: skip
def test_a_filter_that_makes_no_sense_is_answered_with_one_that_does(
    perdure: Perdure, arguments, code, error, hint
) -> None:
    said = perdure("list", *arguments)

    assert said.code == code
    assert said.err.splitlines()[0] == f"error: {error}"
    assert said.err.splitlines()[-1] == f"  hint: {hint}"


def test_nothing_found_says_how_many_there_are_without_the_filter(perdure: Perdure) -> None:
    said = perdure("list", "no-such-prefix")

    assert (said.code, said.out) == (0, "STATE\tRUN\tWORKFLOW\tDOING NOW\tSTARTED\tAGE\n")
    assert said.err == "no run fits; without the filter there are 12\n"


def test_columns_are_as_wide_as_they_need(store, monkeypatch) -> None:
    assert (
        text(laid_out(store, monkeypatch, 100, limit=4))
        == """
STATE         RUN          WORKFLOW       DOING NOW             STARTED   AGE
◌ queued      ship-20931   ship_order                           14:31:30  3m40s
◔ waiting     poll-3       poll_mailbox   timer                 14:31:30  2h02m
▶ running     order-48391  process_order  reserve_inventory +1  14:31:30  5.0s
■ terminated  order-48112  process_order  stuck in test         14:31:30  20.0s
"""
    )


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 160])
def test_no_row_is_wider_than_the_terminal(store, monkeypatch, width) -> None:
    assert all(line_width(line) <= width for line in laid_out(store, monkeypatch, width))


@pytest.mark.parametrize(
    ("width", "heads"),
    [
        (100, ["STATE", "RUN", "WORKFLOW", "DOING NOW", "STARTED", "AGE"]),
        (80, ["STATE", "RUN", "WORKFLOW", "DOING NOW", "AGE"]),
        (72, ["STATE", "RUN", "WORKFLOW", "DOING NOW"]),
        (48, ["STATE", "RUN", "DOING NOW"]),
    ],
)
def test_narrow_terminals_lose_the_columns_that_say_least(store, monkeypatch, width, heads) -> None:
    head = plain(laid_out(store, monkeypatch, width)[0]).replace("DOING NOW", "DOING_NOW").split()

    assert [word.replace("_", " ") for word in head] == heads
