"""`perdure cancel`, `terminate` and `retry`, on a database that no engine holds: what is asked for waits as mail."""

import json

import pytest

from perdure.kernel import messages as msg
from perdure.stores.open import open_store
from tests.unit.cli.conftest import Perdure

pytestmark = pytest.mark.usefixtures("unowned")


def mail(address: str) -> dict[str, msg.Mail]:
    """What waits for the runs by their ids, but for the start of the queued one."""
    store = open_store(address)
    letters = {}
    for id in store.views.prefixed("", 100):
        row = store.views.row(id)
        stored = None if row is None else store.views.stored(row.key)
        for letter in () if stored is None else stored.mail:
            if not isinstance(letter.message, msg.Start):
                letters[id] = letter.message
    store.admin.close()
    return letters


def test_cancelling_one_run_needs_no_question(perdure: Perdure, address) -> None:
    said = perdure("cancel", "order-48391", "--reason", "test data")

    assert said == (0, "order-48391\tdone\tcancellation requested; takes effect when an engine starts\n", "")
    assert mail(address) == {"order-48391": msg.Cancel("test data")}


@pytest.mark.parametrize(("verb", "letter"), [("terminate", msg.Terminate("")), ("retry", msg.Retry())])
def test_the_other_verbs_send_their_own_letter(perdure: Perdure, address, verb, letter) -> None:
    assert perdure(verb, "order-47110").code == 0
    assert mail(address) == {"order-47110": letter}


@pytest.mark.parametrize("verb", ["cancel", "terminate"])
def test_a_run_that_has_ended_is_no_error(perdure: Perdure, address, verb) -> None:
    assert perdure(verb, "order-48111") == (0, "order-48111\talready\tis cancelled already\n", "")
    assert mail(address) == {}


def test_retrying_a_run_that_failed_for_good_is_an_error(perdure: Perdure) -> None:
    said = perdure("retry", "etl")

    assert said.code == 1
    assert said.out == "etl-2026-11-22\tfailed\tis failed, which is final; start it afresh under another id\n"


def test_retrying_a_run_that_only_waits_says_that_there_is_nothing_to_release(perdure: Perdure, address) -> None:
    assert perdure("retry", "onboard").out == "onboard-acme-77\talready\tis waiting: there is nothing to release\n"
    assert mail(address) == {}


def test_several_runs_without_a_person_to_ask_need_yes(perdure: Perdure, address) -> None:
    said = perdure("cancel", "order-48391", "order-47110", "poll-3", "score-77")

    assert said == (
        7,
        "",
        "  4 runs: order-48391 order-47110 poll-3 … and 1 more\n"
        "error: 4 runs, and nobody to ask\n"
        "  hint: add --yes, or look first with --dry-run\n",
    )
    assert mail(address) == {}


def test_several_runs_are_told_one_by_one_and_summed_up(perdure: Perdure, address) -> None:
    said = perdure("retry", "order-47110", "order-48300", "etl", "order-48390", "--yes")

    assert said.code == 1
    assert said.out == (
        "order-47110\tdone\trelease requested; takes effect when an engine starts\n"
        "order-48300\tdone\trelease requested; takes effect when an engine starts\n"
        "etl-2026-11-22\tfailed\tis failed, which is final; start it afresh under another id\n"
        "order-48390\talready\tis completed already\n"
    )
    assert said.err == "retry: 2 done, 1 already so, 1 failed\n"
    assert set(mail(address)) == {"order-47110", "order-48300"}


def test_ids_come_from_standard_input_and_count_once(perdure: Perdure, address) -> None:
    said = perdure("retry", "-", "order-47110", "--yes", stdin=perdure("list", "-q", "--state", "blocked,held").out)

    assert said.code == 0
    assert set(mail(address)) == {"order-47110", "order-48300"}


def test_nothing_on_standard_input_is_nothing_to_do(perdure: Perdure) -> None:
    assert perdure("retry", "-", stdin="") == (0, "", "no runs given, nothing done\n")


def test_one_id_that_is_wrong_stops_everything_before_it_begins(perdure: Perdure, address) -> None:
    assert perdure("cancel", "order-48391", "nonesuch", "--yes").code == 4
    assert mail(address) == {}


def test_a_dry_run_does_nothing_and_says_what_would_be_done(perdure: Perdure, address) -> None:
    said = perdure("terminate", "order-48391", "poll-3", "--dry-run", "--json")

    assert said.err == "would terminate 2 runs: order-48391 poll-3\n"
    assert [(run["id"], run["kind"]) for run in json.loads(said.out)] == [("order-48391", "would"), ("poll-3", "would")]
    assert mail(address) == {}


def test_json_tells_what_became_of_each(perdure: Perdure) -> None:
    said = perdure("cancel", "order-48391", "order-48111", "--yes", "--json=id,kind")

    assert json.loads(said.out) == [{"id": "order-48391", "kind": "done"}, {"id": "order-48111", "kind": "already"}]


def test_quiet_is_the_ids_that_were_changed(perdure: Perdure) -> None:
    assert perdure("cancel", "order-48391", "order-48111", "--yes", "-q").out == "order-48391\n"
