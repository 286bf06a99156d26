"""`perdure run` in processes that are killed, interrupted and started again."""

import shlex
import signal
from pathlib import Path

from tests.cli.conftest import PATIENCE_S, PERDURE, SHOP, Place

BUG = """
from perdure import workflow

@workflow
async def answer(n: int) -> int:
    return n.{name}
"""


def test_a_run_prints_its_id_for_people_and_its_result_for_programs(place: Place) -> None:
    place.open_gate()

    done = place.perdure("run", f"{SHOP}:order", "--id", "order-1", "--arg", "amount=3")

    assert (done.returncode, done.stdout, done.stderr) == (0, '"order of 3"\n', "order-1\n")


def test_a_run_that_was_killed_goes_on_by_its_id_and_repeats_nothing(place: Place) -> None:
    first = place.begin(*PERDURE, "run", f"{SHOP}:order", "--id", "order-1", "--arg", "amount=3")
    place.wait_at_gate()
    first.kill()
    first.wait()
    place.open_gate()

    done = place.perdure("run", f"{SHOP}:order", "--id", "order-1")

    assert (done.returncode, done.stdout) == (0, '"order of 3"\n')
    assert place.ledger() == ["charged", "shipped"]


def test_an_interrupted_run_says_how_to_go_on_and_does(place: Place) -> None:
    first = place.begin(*PERDURE, "run", f"{SHOP}:order", "--id", "order-1", "--arg", "amount=3")
    place.wait_at_gate()
    first.send_signal(signal.SIGINT)
    _, told = first.communicate(timeout=PATIENCE_S)
    place.open_gate()
    command = shlex.split(told.splitlines()[-1].partition("Go on with:")[2])

    done = place.perdure(*command[1:])

    assert first.returncode == 130
    assert command == ["perdure", "run", f"{SHOP}:order", "--id", "order-1"]
    assert (done.returncode, done.stdout) == (0, '"order of 3"\n')
    assert place.ledger() == ["charged", "shipped"]


def test_a_run_that_is_over_gives_its_result_again(place: Place) -> None:
    place.open_gate()
    place.perdure("run", f"{SHOP}:order", "--id", "order-1", "--arg", "amount=3")

    again = place.perdure("run", f"{SHOP}:order", "--id", "order-1")

    assert (again.returncode, again.stdout) == (0, '"order of 3"\n')
    assert place.ledger() == ["charged", "shipped"]


def test_other_arguments_for_an_id_that_exists_are_refused(place: Place) -> None:
    place.open_gate()
    place.perdure("run", f"{SHOP}:order", "--id", "order-1", "--arg", "amount=3")

    other = place.perdure("run", f"{SHOP}:order", "--id", "order-1", "--arg", "amount=4")
    another = place.perdure("run", f"{SHOP}:careful", "--id", "order-1")

    assert (other.returncode, another.returncode) == (1, 1)
    assert "with other arguments" in other.stderr
    assert another.stderr.startswith("error: the id 'order-1' belongs to a run of workflow order")


def test_a_run_that_fails_says_why_and_exits_with_3(place: Place) -> None:
    done = place.perdure("run", f"{SHOP}:declines", "--id", "order-1", "--arg", "amount=3")

    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.splitlines()[:3] == [
        "order-1",
        "error: run order-1 failed",
        f"  ValueError: 3 is too much  cli/shop.py:{line_of('is too much')}",
    ]


def line_of(text: str) -> int:
    """The number of the line of shop.py in which a text stands."""
    return next(n for n, line in enumerate(Path(SHOP).read_text().splitlines(), 1) if text in line)


def test_a_bug_in_an_activity_ends_the_wait_and_mended_code_goes_on(place: Place) -> None:
    first = place.perdure("run", f"{SHOP}:uses_a_bug", "--id", "bug-1")
    (place.folder / "mended").touch()
    retried = place.perdure("retry", "bug-1")
    second = place.perdure("run", f"{SHOP}:uses_a_bug", "--id", "bug-1")

    assert first.returncode == 3
    assert first.stderr.splitlines()[1:] == [
        "error: run bug-1 is held by a bug in activity buggy",
        f"  NameError: name 'gateway' is not defined  cli/shop.py:{line_of('raise NameError')}",
        "  hint: mend it and start it again, or: perdure retry bug-1",
    ]
    assert retried.stdout == "bug-1\tdone\trelease requested; takes effect when an engine starts\n"
    assert (second.returncode, second.stdout) == (0, '"mended"\n')


def test_a_bug_in_a_workflow_ends_the_wait_and_mended_code_goes_on(place: Place) -> None:
    module = place.folder / "flow.py"
    module.write_text(BUG.format(name="numer"))
    first = place.perdure("run", "flow.py:answer", "--id", "bug-1", "--arg", "n=42")
    module.write_text(BUG.format(name="numerator"))
    second = place.perdure("run", "flow.py:answer", "--id", "bug-1")

    assert first.returncode == 3
    assert first.stderr.splitlines()[1].startswith("error: run bug-1 is blocked (bug): AttributeError: 'int' object")
    assert (second.returncode, second.stdout) == (0, "42\n")


def test_a_run_on_a_database_that_an_engine_holds_is_run_by_that_one(place: Place) -> None:
    engine = place.engine()
    place.open_gate()

    done = place.perdure("run", f"{SHOP}:order", "--id", "order-1", "--arg", "amount=3")

    assert (done.returncode, done.stdout) == (0, '"order of 3"\n')
    assert f":{engine.pid} holds this database and runs it\n" in done.stderr


def test_wrong_arguments_name_the_signature_and_start_nothing(place: Place) -> None:
    done = place.perdure("run", f"{SHOP}:order", "--id", "order-1", "--arg", "amount=much")

    assert done.returncode == 2
    assert "argument amount: expected int, found 'much' (str)" in done.stderr
    assert place.perdure("list", "-q").stdout == ""
