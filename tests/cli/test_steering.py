"""Commands in one process, the engine in another."""

import json
import subprocess

from tests.cli.conftest import PATIENCE_S, PERDURE, Place, wait_for
from tests.unit.cli import corpus


def test_a_run_started_from_outside_is_run_by_the_engine(place: Place) -> None:
    place.engine()
    place.open_gate()

    started = place.perdure("start", "order", "--id", "order-1", "--arg", "amount=3")
    result = place.perdure("result", "order-1", "--timeout", "5m")

    assert (started.returncode, started.stdout, started.stderr) == (0, "order-1\n", "")
    assert (result.returncode, result.stdout, result.stderr) == (0, '"order of 3"\n', "")


def test_a_start_that_waits_ends_like_result(place: Place) -> None:
    place.engine()

    done = place.perdure("start", "declines", "--id", "order-1", "--arg", "amount=3", "--wait")

    assert done.returncode == 3
    assert "ValueError: 3 is too much" in done.stderr


def test_arguments_are_refused_by_the_engine_before_a_run_exists(place: Place) -> None:
    place.engine()

    done = place.perdure("start", "order", "--id", "order-1", "--arg", "amount=much")

    assert done.returncode == 2
    assert "argument amount: expected int, found 'much' (str)" in done.stderr
    assert place.perdure("list", "-q").stdout == ""


def test_a_cancelled_run_cleans_up(place: Place) -> None:
    place.engine()
    place.perdure("start", "careful", "--id", "order-1", "--arg", "amount=3")
    place.wait_at_gate()

    cancelled = place.perdure("cancel", "order-1", "--reason", "test data")
    result = place.perdure("result", "order-1", "--timeout", "5m")
    again = place.perdure("cancel", "order-1")

    assert cancelled.stdout == "order-1\tdone\tcancellation requested\n"
    assert (result.returncode, result.stderr.splitlines()[:2]) == (
        3,
        ["error: run order-1 was cancelled", "  reason: test data"],
    )
    assert place.ledger() == ["refunded"]
    assert (again.returncode, again.stdout) == (0, "order-1\talready\tis cancelled already\n")


def test_a_terminated_run_does_not(place: Place) -> None:
    place.engine()
    place.perdure("start", "careful", "--id", "order-1", "--arg", "amount=3")
    place.wait_at_gate()

    terminated = place.perdure("terminate", "order-1", "--reason", "stuck")

    assert terminated.stdout == "order-1\tdone\tterminated\n"
    assert place.perdure("list", "--json=id,state,note").stdout == (
        '[{"id": "order-1", "state": "terminated", "note": "stuck"}]\n'
    )
    assert place.ledger() == []


def test_retry_makes_the_next_attempt_come_at_once(place: Place) -> None:
    place.engine()
    place.perdure("start", "asks", "--id", "ask-1")
    wait_for(lambda: "retrying" in place.perdure("list", "--json=state").stdout, "the first failure")
    waiting = place.perdure("result", "ask-1", "--timeout", "0.5s")
    (place.folder / "mended").touch()

    retried = place.perdure("retry", "ask-1")
    result = place.perdure("result", "ask-1", "--timeout", "5m")

    assert "is still retrying after 0.5s" in waiting.stderr
    assert retried.stdout == "ask-1\tdone\treleased\n"
    assert (result.returncode, result.stdout) == (0, '"answered"\n')


def test_runs_found_by_one_command_are_released_by_another(place: Place) -> None:
    place.engine()
    for id in ("bug-1", "bug-2"):
        place.perdure("start", "uses_a_bug", "--id", id, "--wait")
    (place.folder / "mended").touch()

    held = place.perdure("list", "-q", "--state", "held")
    retried = place.perdure("retry", "-", "--yes", "-q", input=held.stdout)

    assert held.stdout == "bug-2\nbug-1\n"
    assert retried.stdout == held.stdout
    assert [place.perdure("result", id, "--timeout", "5m").stdout for id in ("bug-1", "bug-2")] == ['"mended"\n'] * 2


def test_a_run_is_followed_as_lines_of_json_while_it_moves(place: Place) -> None:
    place.engine()
    place.perdure("start", "order", "--id", "order-1", "--arg", "amount=3")
    follower = place.begin(*PERDURE, "show", "order-1", "--follow", "--json=seq,type,name")
    assert follower.stdout is not None
    seen = [json.loads(follower.stdout.readline()) for _ in range(4)]
    place.open_gate()

    rest, told = follower.communicate(timeout=PATIENCE_S)
    seen += [json.loads(line) for line in rest.splitlines()]

    assert (follower.returncode, told) == (0, "")
    assert [event["seq"] for event in seen] == list(range(1, 9))
    assert [event["type"] for event in seen][-2:] == ["ActivityCompleted", "RunCompleted"]
    assert seen[1] == {"seq": 2, "type": "ActivityScheduled", "name": "note"}


def test_an_interrupted_follower_leaves_the_run_alone(place: Place) -> None:
    import signal

    place.engine()
    place.perdure("start", "order", "--id", "order-1", "--arg", "amount=3")
    follower = place.begin(*PERDURE, "show", "order-1", "--follow")
    assert follower.stdout is not None
    follower.stdout.readline()
    follower.send_signal(signal.SIGINT)

    _, told = follower.communicate(timeout=PATIENCE_S)

    assert follower.returncode == 130
    assert told == "order-1 goes on; watch it again:  perdure show order-1 --follow\n"
    assert place.perdure("list", "--json=state").stdout == '[{"state": "running"}]\n'


def test_a_reader_that_has_seen_enough_is_no_error(place: Place) -> None:
    from perdure.stores.base import Batch
    from perdure.stores.open import open_store

    store = open_store(place.env["PERDURE_DB"])
    store.admin.try_own("here", 1, "build", corpus.NOW)
    stories = [corpus.Story(key, f"order-{key:05}", "process_order", 100) for key in range(2, 3_000, 2)]
    rows = [story.row() for story in stories]
    store.journal.commit(Batch(created=rows, history=[row for story in stories for row in story.history]))
    store.admin.close()
    command = f"set -o pipefail; {PERDURE[0]} -m perdure.cli.main list --limit 5000 | head -1"

    done = subprocess.run(["bash", "-c", command], cwd=place.folder, env=place.env, capture_output=True, text=True,
                          timeout=PATIENCE_S, check=False)  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "STATE\tRUN\tWORKFLOW\tDOING NOW\tSTARTED\tAGE\n"
