"""From what is typed to a workflow."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.cli.loading import load
from perdure.cli.problems import ERROR, NOT_FOUND, USAGE, Problem

SHOP = """
from perdure import workflow

@workflow
async def process_order(amount: float) -> float:
    return amount

@workflow(name="refund-v2")
async def refund(amount: float) -> float:
    return amount
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working folder, with modules of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("cli_shop")]:
        del sys.modules[name]


def test_a_module_of_the_working_folder_is_found(folder: Path) -> None:
    (folder / "cli_shop_a.py").write_text(SHOP)

    module, workflow = load("cli_shop_a:process_order")

    assert (module.__name__, workflow.name) == ("cli_shop_a", "process_order")


def test_a_file_in_a_package_is_imported_as_part_of_it(folder: Path) -> None:
    (folder / "cli_shop_b").mkdir()
    (folder / "cli_shop_b" / "__init__.py").write_text("")
    (folder / "cli_shop_b" / "flows.py").write_text(SHOP)

    module, _ = load("cli_shop_b/flows.py:process_order")

    assert module.__name__ == "cli_shop_b.flows"


def test_a_workflow_is_found_by_its_variable_and_by_its_name(folder: Path) -> None:
    (folder / "cli_shop_c.py").write_text(SHOP)

    assert load("cli_shop_c.py:refund")[1] is load("cli_shop_c.py:refund-v2")[1]


def test_the_only_workflow_needs_no_name(folder: Path) -> None:
    (folder / "cli_shop_d.py").write_text(SHOP.partition("@workflow(name")[0])

    assert load("cli_shop_d.py")[1].name == "process_order"


@pytest.mark.parametrize(
    ("target", "exit", "message", "hint"),
    [
        ("cli_shop_e.py", USAGE, "cli_shop_e.py has 2 workflows", "perdure run cli_shop_e.py:process_order"),
        ("cli_shop_e.py:proces_order", NOT_FOUND, "has no workflow 'proces_order'",
         "did you mean  perdure run cli_shop_e.py:process_order"),
        ("cli_shop_f.py", NOT_FOUND, "there is no file cli_shop_f.py", ""),
        ("cli_shop_ee", NOT_FOUND, "there is no module 'cli_shop_ee'", "did you mean  perdure run cli_shop_e:WORKFLOW"),
        (":order", USAGE, "names no module", "write  perdure run shop.workflows:process_order"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_answered_with_what_is(folder: Path, target, exit, message, hint) -> None:
    (folder / "cli_shop_e.py").write_text(SHOP)

    with pytest.raises(Problem, match=message) as raised:
        load(target)

    assert (raised.value.exit, raised.value.hint) == (exit, hint)


REFUSED = "import perdure; perdure.Retry(initial='2h')\n"
"""By a line of ours, which is not the one to be mended."""


@pytest.mark.parametrize("text", ["def f(:\n", "import no_such_thing_anywhere\n", "1 / 0\n", REFUSED])
def test_an_import_that_fails_names_the_line(folder: Path, text) -> None:
    (folder / "cli_shop_g.py").write_text(text)

    with pytest.raises(Problem, match="importing cli_shop_g failed") as raised:
        load("cli_shop_g.py")

    assert raised.value.exit == ERROR
    assert raised.value.facts[0].endswith("cli_shop_g.py:1")


def test_a_script_that_ends_the_process_when_it_is_imported_is_told_how_not_to(folder: Path) -> None:
    (folder / "cli_shop_h.py").write_text("raise SystemExit(2)\n")

    with pytest.raises(Problem, match="importing cli_shop_h ended the process") as raised:
        load("cli_shop_h.py")

    assert (raised.value.exit, raised.value.facts) == (ERROR, ["SystemExit: 2"])
    assert 'if __name__ == "__main__":' in raised.value.hint


def test_a_file_that_is_called_like_a_module_of_python_is_not_taken_for_it(folder: Path) -> None:
    (folder / "types.py").write_text(SHOP)

    with pytest.raises(Problem, match=r"types\.py cannot be imported: 'types' is the name of another module") as raised:
        load("types.py:process_order")

    assert raised.value.hint == "rename the file"


def test_an_activity_is_said_to_be_one(folder: Path) -> None:
    (folder / "cli_shop_i.py").write_text(SHOP + "\nfrom perdure import activity\n@activity\ndef charge(): ...\n")

    with pytest.raises(Problem, match="charge is an activity") as raised:
        load("cli_shop_i.py:charge")

    assert raised.value.hint == "run a workflow that awaits it"
