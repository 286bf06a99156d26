"""What examples/deploy/ has: the files are well formed, their commands exist, and their SQL does what they say."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import click
import psycopg
import pytest
import yaml

from perdure import Engine
from perdure.cli.main import cli
from perdure.cli.options import Settings
from perdure.durations import duration_ns
from tests.postgres.server import Server, programs

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "examples" / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))

SERVICE_KEYS = {
    "build", "cap_drop", "command", "depends_on", "deploy", "environment", "healthcheck", "image", "ports", "read_only",
    "restart", "security_opt", "shm_size", "stop_grace_period", "stop_signal", "tmpfs", "volumes",
}  # fmt: skip
CONDITIONS = {"service_started": None, "service_healthy": "healthcheck", "service_completed_successfully": None}
UNIT_KEYS = {
    "Unit": {"Description", "Wants", "After", "StartLimitIntervalSec"},
    "Service": {
        "Type", "User", "WorkingDirectory", "EnvironmentFile", "ExecStart", "Restart", "RestartSec", "KillMode", "KillSignal",
        "TimeoutStopSec", "TimeoutStartSec", "NoNewPrivileges", "ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices",
        "ProtectKernelTunables", "ProtectKernelModules", "ProtectControlGroups", "RestrictSUIDSGID", "RestrictRealtime",
        "RestrictAddressFamilies", "LockPersonality", "CapabilityBoundingSet", "UMask", "LimitNOFILE",
    },
    "Install": {"WantedBy"},
}  # fmt: skip


def read(unit: Path) -> ConfigParser:
    parser = ConfigParser(interpolation=None, strict=True, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(unit.read_text())
    return parser


def commands() -> Iterator[list[str]]:
    """Every call of `perdure` in these files, without the path of the program."""
    for service in SERVICES.values():
        words = service.get("command", [])
        lines = re.findall(r"perdure [a-z][^;|]*", words[2]) if words[:1] == ["sh"] else [shlex.join(words)]
        yield from (shlex.split(line) for line in lines if line.startswith("perdure"))
    for unit in UNITS:
        words = shlex.split(read(unit)["Service"]["ExecStart"])
        yield ["perdure", *words[1:]]
    (image,) = re.findall(r"^CMD (\[.*\])$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    yield yaml.safe_load(image)


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_commands_are_understood(words: list[str]) -> None:
    command = cli.get_command(click.Context(cli), words[1])

    assert command is not None
    command.make_context(words[1], words[2:], parent=click.Context(cli, obj=Settings()))


def test_services_have_only_what_compose_knows_and_name_what_there_is() -> None:
    assert set(COMPOSE) <= {"name", "services", "volumes", "x-perdure"}
    for name, service in SERVICES.items():
        assert set(service) <= SERVICE_KEYS, name
        for other, wish in service.get("depends_on", {}).items():
            assert CONDITIONS[wish["condition"]] is None or CONDITIONS[wish["condition"]] in SERVICES[other]
        for volume in service.get("volumes", []):
            place = volume.partition(":")[0]
            assert (DEPLOY / place).exists() if place.startswith("./") else place in COMPOSE["volumes"]


@pytest.mark.skipif(
    shutil.which("docker") is None
    or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode != 0,
    reason="docker compose is not installed here",
)
def test_compose_itself_takes_the_file() -> None:
    done = subprocess.run(
        ["docker", "compose", "--env-file", "/dev/null", "config", "--quiet"], cwd=DEPLOY, capture_output=True, text=True,
        env={**os.environ, **dict.fromkeys(variables(), "x")},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr


def variables() -> set[str]:
    return set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))


def test_every_variable_is_in_the_file_to_copy() -> None:
    assert variables() == set(re.findall(r"^(\w+)=$", (DEPLOY / "env.example").read_text(), re.MULTILINE))


def test_whoever_stops_an_engine_is_more_patient_than_the_engine() -> None:
    engine = SERVICES["engine"]
    words = engine["command"]
    assert duration_ns(engine["stop_grace_period"]) > duration_ns(words[words.index("--drain") + 1])

    service = read(DEPLOY / "systemd" / "perdure-engine@.service")["Service"]
    words = shlex.split(service["ExecStart"])
    assert duration_ns(service["TimeoutStopSec"]) > duration_ns(words[words.index("--drain") + 1])


def test_no_password_is_among_arguments_or_written_down() -> None:
    files = [path for path in DEPLOY.rglob("*") if path.is_file() and "__pycache__" not in path.parts]

    assert len(files) >= 8
    for path in files:
        text = path.read_text()
        assert re.findall(r"://\w+:[^@\s]*@", text) == [], path
        assert re.findall(r"^\w*PASSWORD=.+$", text, re.MULTILINE) == [], path


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_have_known_sections_and_keys(unit: Path) -> None:
    found = read(unit)

    for section in found.sections():
        assert set(found[section]) <= UNIT_KEYS[section]
    assert found["Service"]["ExecStart"].startswith("/")
    assert (found["Service"]["Type"] == "oneshot") == ("Install" not in found)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """With another program in place of one that is not installed here."""
    for unit in UNITS:
        text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE)
        (tmp_path / unit.name.replace("@.", "@1.")).write_text(text)

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, tmp_path.iterdir())], capture_output=True, text=True
    )

    assert [line for line in done.stderr.splitlines() if "perdure-" in line] == []


def test_its_users_may_do_what_they_are_for(server: Server, database: str) -> None:
    """The scripts of the folder, as the containers run them: the users first, then the migration."""
    if not (programs() / "psql").exists():
        pytest.skip("this PostgreSQL came without psql")
    env = {
        **os.environ, "PATH": f"{programs()}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PERDURE_DB": database,
        "POSTGRES_USER": "perdure", "POSTGRES_DB": database.rpartition("/")[2],
        "ENGINE_PASSWORD": "one'", "READER_PASSWORD": "two",
    }  # fmt: skip
    server.ask("DROP ROLE IF EXISTS engine, reader")
    migration = SERVICES["migrate"]["command"]
    migration = [*migration[:2], migration[2].replace("$$", "$").replace("perdure ", "python -m perdure ")]
    for command in (["sh", str(DEPLOY / "users.sh")], migration):
        done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    from examples.deploy import shop

    with Engine(database.replace("//perdure@", "//engine@"), [shop.process, shop.charge, shop.ship]) as engine:
        assert engine.run(shop.process("7"), id="order-7").wait() == ["receipt of 7", "parcel of 7"]
    with psycopg.connect(database.replace("//perdure@", "//reader@")) as reader:
        assert reader.execute("SELECT id FROM perdure.runs").fetchall() == [("order-7",)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("DELETE FROM perdure.runs")
