"""The entry: help, versions, and how things that go wrong are told."""

import subprocess
import sys

import pytest

from perdure.cli.main import COMMANDS, EVERYDAY, cli
from tests.unit.cli.conftest import Perdure


def test_help_shows_everyday_commands_with_an_example_each_and_names_all(perdure: Perdure) -> None:
    said = perdure("--help")

    assert said.code == 0
    for name, entry in COMMANDS.items():
        assert f"\n  {name}" in said.out and entry.summary in said.out
    assert said.out.count("  $ perdure ") == EVERYDAY
    assert "Exit codes: 0 ok" in said.out


def test_without_a_command_there_is_help(perdure: Perdure) -> None:
    assert perdure() == perdure("--help")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_its_options(perdure: Perdure, name) -> None:
    said = perdure(name, "--help")

    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"Usage: perdure {name} [OPTIONS]")
    assert "--db URL" in said.out


def test_help_imports_neither_rich_nor_the_engine() -> None:
    program = (
        "import sys\n"
        "from perdure.cli.main import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    loaded = set(done.stderr.split())
    assert "perdure.cli.main" in loaded
    assert loaded.isdisjoint({"rich", "perdure.engine", "perdure.client", "perdure.runtime", "asyncio", "msgspec"})
    assert loaded.isdisjoint({f"perdure.cli.{entry.module}" for entry in COMMANDS.values()})


def test_a_slip_in_a_command_is_answered_with_the_command_that_was_meant(perdure: Perdure) -> None:
    assert perdure("lsit", "--state", "failed") == (
        2,
        "",
        "error: there is no command 'lsit'\n  hint: did you mean  perdure list --state failed\n",
    )


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["logs", "order-1"], "show order-1 --logs"),
        (["history", "order-1"], "show order-1 --events"),
        (["members"], "doctor"),
    ],
)
def test_what_other_programs_call_it_is_answered_with_the_command(
    perdure: Perdure, words: list[str], meant: str
) -> None:
    said = perdure(*words)

    assert (said.code, said.err.splitlines()[-1]) == (2, f"  hint: did you mean  perdure {meant}")


@pytest.mark.parametrize("command", ["list", "migrate", "doctor"])
def test_a_driver_that_is_missing_is_named_with_what_installs_it(command: str) -> None:
    program = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from perdure.cli.main import main\n"
        f"sys.argv = ['perdure', {command!r}, '--db', 'postgresql://h/x']\n"
        "sys.exit(main())\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 5
    assert done.stderr == (
        "error: PostgreSQL needs a driver that is not installed here: pip install 'perdure[postgres]'\n"
    )


def test_an_unlike_command_is_answered_with_all_of_them(perdure: Perdure) -> None:
    said = perdure("frobnicate")

    assert said.code == 2
    assert f"  commands: {', '.join(COMMANDS)}\n" in said.err


def test_a_slip_in_an_option_is_answered_with_the_option_that_was_meant(perdure: Perdure) -> None:
    assert perdure("list", "--stat", "failed") == (
        2,
        "",
        "error: there is no option --stat\n  hint: did you mean  --state\n",
    )


def test_a_number_below_zero_that_is_no_option_is_told_where_to_stand(perdure: Perdure) -> None:
    assert perdure("signal", "loan-7", "raise_by", "-50") == (
        2,
        "",
        "error: there is no option -5\n"
        "  hint: a value that begins with - comes after --, and so does what follows it:  -- -5\n",
    )


@pytest.mark.parametrize(
    "arguments", [["show"], ["show", "a", "b"], ["list", "--limit", "0"], ["list", "--color", "x"]]
)
def test_wrong_usage_names_the_help_of_the_command(perdure: Perdure, arguments) -> None:
    said = perdure(*arguments)

    assert said.code == 2
    assert said.err.splitlines()[-1] == f"  hint: perdure {arguments[0]} --help"


def test_a_database_that_does_not_exist_is_not_made(perdure: Perdure, tmp_path) -> None:
    said = perdure("list", "--db", str(tmp_path / "none.db"))

    assert (said.code, said.out) == (5, "")
    assert "does not exist\n" in said.err and "chosen by --db" in said.err
    assert not (tmp_path / "none.db").exists()


def test_a_file_that_is_no_database_is_said_to_be_none(perdure: Perdure, tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("buy milk")

    said = perdure("list", "--db", str(tmp_path / "notes.txt"))

    assert said.code == 5
    assert "no SQLite database" in said.err


def test_verbose_says_which_database_and_why(perdure: Perdure) -> None:
    assert "(by PERDURE_DB)" in perdure("list", "-v", "-q").err


def test_debug_shows_where_an_error_came_from(perdure: Perdure, tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("buy milk")

    said = perdure("list", "--debug", "--db", str(tmp_path / "notes.txt"))

    assert "Traceback (most recent call last)" in said.err
    assert said.err.splitlines()[-1].startswith("error: ")


def test_no_colour_codes_where_there_is_no_terminal_unless_asked_for(perdure: Perdure) -> None:
    for command in (["list"], ["show", "order-48213"], ["show", "etl", "--events"], ["result", "etl"], ["doctor"]):
        assert "\x1b" not in "".join(perdure(*command)[1:])
    assert "\x1b[31m" in perdure("show", "etl", "--color", "always").out


def test_colours_follow_the_environment(perdure: Perdure, monkeypatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" in perdure("show", "etl").out

    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in perdure("show", "etl").out


def test_version_names_what_runs(perdure: Perdure) -> None:
    said = perdure("version", "--json")

    assert said.code == 0
    assert f'"python": "{sys.version.split()[0]}"' in said.out
    assert perdure("--version").out.startswith("perdure ")


def test_every_exit_code_is_a_whole_number_for_any_error() -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["list", "--after", "yesterday"])

    assert ended.value.code == 2


def test_it_runs_as_a_module_too() -> None:
    done = subprocess.run([sys.executable, "-m", "perdure", "--version"], capture_output=True, text=True, check=True)

    assert done.stdout.startswith("perdure ")
