"""`perdure start`: a run through the database."""

import json

import msgspec
import pytest

from perdure import workflow
from perdure.stores.base import DefinitionRow
from tests.unit.cli.conftest import Perdure


@workflow
async def process_order(amount: float, account: str) -> None: ...


@pytest.fixture
def published(store) -> None:
    """An engine has said what it knows, and is gone."""
    parameters = msgspec.json.encode(process_order.parameters.published())
    store.admin.publish([DefinitionRow("workflow", "process_order", parameters)])
    store.admin.close()


def shown(perdure: Perdure, id: str) -> dict:
    return json.loads(perdure("show", id, "--json=status,workflow,input").out)


def test_a_start_prints_the_id_and_says_that_nothing_moves_yet(perdure: Perdure, unowned) -> None:
    said = perdure("start", "process_order", "--id", "order-1", "--input", '[10, "acct-7"]')

    assert said == (0, "order-1\n", "no engine holds this database; the run waits until one starts\n")
    assert shown(perdure, "order-1") == {"status": "queued", "workflow": "process_order", "input": [10, "acct-7"]}


def test_without_an_id_one_is_made_from_the_name(perdure: Perdure, unowned) -> None:
    assert perdure("start", "process_order", "--input", "[]").out.startswith("process_order-")


def test_json_gives_id_and_workflow(perdure: Perdure, unowned) -> None:
    said = perdure("start", "process_order", "--id", "order-1", "--json")

    assert json.loads(said.out).keys() == {"id", "run_id", "workflow"}


def test_the_same_start_again_attaches(perdure: Perdure, unowned) -> None:
    first = perdure("start", "process_order", "--id", "order-1", "--input", "[1]")

    assert perdure("start", "process_order", "--id", "order-1", "--input", "[1]") == first


def test_the_id_of_another_start_is_refused(perdure: Perdure, unowned) -> None:
    perdure("start", "process_order", "--id", "order-1", "--input", "[1]")

    said = perdure("start", "process_order", "--id", "order-1", "--input", "[2]")

    assert said.code == 1
    assert "belongs to a run of process_order with other arguments" in said.err


@pytest.mark.usefixtures("published")
def test_text_parameters_stay_text(perdure: Perdure) -> None:
    perdure("start", "process_order", "--id", "order-1", "--arg", "amount=10", "--arg", "account=007")

    assert "007" in str(shown(perdure, "order-1")["input"])


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("arguments", "code", "error", "hint"),
    [
        (["proces_order"], 4, "there is no workflow 'proces_order'", "did you mean  perdure start process_order"),
        (["shop.py:process_order"], 4, "there is no workflow 'shop.py:process_order'", "did you mean  perdure start process_order"),
        (["process_order", "--arg", "amuont=1"], 2, "there is no argument 'amuont'",
         "did you mean  --arg amount=..."),
    ],
)  # fmt: skip
def test_a_slip_is_answered_with_what_the_engine_knows(perdure: Perdure, arguments, code, error, hint) -> None:
    said = perdure("start", *arguments)

    assert said.code == code
    assert said.err.splitlines()[0] == f"error: {error}"
    assert said.err.splitlines()[-1] == f"  hint: {hint}"


@pytest.mark.usefixtures("published")
def test_missing_arguments_are_found_before_anything_is_sent(perdure: Perdure) -> None:
    said = perdure("start", "process_order", "--id", "order-1", "--arg", "amount=1")

    assert said.code == 2
    assert "missing: account" in said.err
    assert perdure("list", "order-1", "-q").out == ""


@pytest.mark.parametrize("timeout", ["1ms", "0"])
def test_waiting_for_a_run_that_nobody_moves_ends_by_its_timeout(perdure: Perdure, unowned, timeout: str) -> None:
    said = perdure("start", "process_order", "--id", "order-1", "--input", "[]", "--wait", "--timeout", timeout)

    assert said.code == 124
    assert said.err.splitlines()[:2] == ["order-1", "no engine holds this database; order-1 sleeps until one starts"]


def test_policies_for_an_id_are_written_with_hyphens(perdure: Perdure, unowned) -> None:
    perdure("start", "process_order", "--id", "order-1", "--input", "[1]")

    attached = perdure("start", "process_order", "--id", "order-1", "--input", "[2]", "--id-conflict", "use-existing")
    refused = perdure("start", "process_order", "--id", "order-1", "--input", "[1]", "--id-conflict", "fail")

    assert attached.code == 0
    assert refused.code == 1
    assert "belongs to a run that is queued" in refused.err


def test_the_same_request_made_again_prints_the_run_it_has_made(perdure: Perdure, unowned) -> None:
    request = (
        "start",
        "process_order",
        "--id",
        "order-1",
        "--id-conflict",
        "fail",
        "--request-id",
        "r",
        "--json=run_id",
    )

    first = perdure(*request)

    assert perdure(*request) == first
    assert len(json.loads(first.out)["run_id"]) == 32


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("--id-conflict", "terminate", 'id_conflict is one of "use_existing", "fail", "terminate_existing"'),
        ("--id-reuse", "fail", 'id_reuse is one of "allow_duplicate"'),
        ("--request-id", "", "request_id is a text of 1 to 200 printable characters"),
    ],
)
def test_an_option_of_a_start_that_makes_no_sense_is_a_usage_error(
    perdure: Perdure, unowned, option: str, value: str, error: str
) -> None:
    said = perdure("start", "process_order", option, value)

    assert said.code == 2
    assert error in said.err


def test_an_earlier_run_of_an_id_is_shown_by_the_beginning_of_its_run_id(perdure: Perdure, unowned) -> None:
    options = ("--id", "order-1", "--input", "[1]", "--id-conflict", "terminate-existing", "--json=run_id")
    first, second = (json.loads(perdure("start", "process_order", *options).out)["run_id"] for _ in range(2))

    newest = perdure("show", "order-1", "--json=run_id")
    certain = perdure("show", "order-1", "--run-id", second[:6], "--json=run_id")
    none = perdure("show", "order-1", "--run-id", "zz")

    assert json.loads(newest.out) == {"run_id": first}
    assert json.loads(certain.out) == {"run_id": second}
    assert none.code == 4
    assert f"run ids, the newest first: {second[:8]}, {first[:8]}" in none.err


def test_a_delayed_start_is_listed_with_its_time(perdure: Perdure, unowned) -> None:
    perdure("start", "process_order", "--id", "order-1", "--input", "[1]", "--delay", "3d")

    described = json.loads(perdure("show", "order-1", "--json=status,wake_at,started_at").out)

    assert described["status"] == "queued"
    assert described["wake_at"] > described["started_at"]
    assert "\tstarts in " in perdure("list").out
    assert "starts in " in perdure("show", "order-1").out


def test_times_and_attempts_of_a_run_are_options(perdure: Perdure, unowned) -> None:
    options = ("--run-timeout", "1h", "--execution-timeout", "90m", "--retry", "3")
    perdure("start", "process_order", "--id", "order-1", "--input", "[1]", *options)

    described = json.loads(perdure("show", "order-1", "--json=run_timeout,execution_timeout,max_attempts,attempt").out)

    assert described == {"run_timeout": 3600.0, "execution_timeout": 5400.0, "max_attempts": 3, "attempt": 1}


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("--delay", "soon", "a start: start_delay: 'soon' is not a duration"),
        ("--run-timeout", "0s", "a start: run_timeout must be longer than nothing, not '0s'"),
    ],
)
def test_a_time_that_makes_no_sense_is_a_usage_error(
    perdure: Perdure, unowned, option: str, value: str, error: str
) -> None:
    said = perdure("start", "process_order", option, value)

    assert said.code == 2
    assert error in said.err
