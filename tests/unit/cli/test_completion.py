"""What a shell is offered."""

from typing import Any

import click
import pytest
from click.shell_completion import ShellComplete

from perdure.cli.main import cli
from tests.unit.cli.conftest import Perdure

pytestmark = pytest.mark.usefixtures("perdure")


def offered(*words: str) -> list[str]:
    """Completions of the last word."""
    shell = ShellComplete(cli, {}, "perdure", "_PERDURE_COMPLETE")
    return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]


def test_commands(perdure: Perdure) -> None:
    assert offered("re") == ["result", "retry", "replay"]


@pytest.mark.parametrize("command", ["show", "result", "cancel", "terminate", "retry"])
def test_ids_of_runs_newest_first(command) -> None:
    assert offered(command, "order-481") == ["order-48112", "order-48111"]


def test_the_newest_run(perdure: Perdure) -> None:
    assert offered("show", "@") == ["@last"]


def test_states_after_a_comma() -> None:
    assert offered("list", "--state", "failed,c") == [
        "failed,completed",
        "failed,cancelled",
        "failed,continued-as-new",
        "failed,closed",
    ]


def test_options() -> None:
    assert offered("result", "--ti") == ["--timeout"]


def test_a_database_that_is_not_there_offers_nothing_and_says_nothing(monkeypatch, capsys) -> None:
    monkeypatch.setenv("PERDURE_DB", "sqlite:////nowhere/none.db")

    assert offered("show", "o") == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_its_script(perdure: Perdure, shell) -> None:
    said = perdure("completion", shell)

    assert said.code == 0
    assert f"_PERDURE_COMPLETE={shell}_complete" in said.out


def test_no_command_is_left_without_a_parser() -> None:
    context = click.Context(cli)
    commands: list[Any] = [cli.get_command(context, name) for name in cli.list_commands(context)]

    assert all(isinstance(command, click.Command) for command in commands)
