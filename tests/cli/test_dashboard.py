"""`perdure dashboard` in a process of its own: it shows a database and changes nothing in it."""

import http.client
import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perdure import Client
from tests.cli.conftest import PATIENCE_S, PERDURE, Place

Dashboard = Callable[..., "tuple[subprocess.Popen[str], int]"]


@pytest.fixture
def served(place: Place) -> Iterator[Dashboard]:
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> "tuple[subprocess.Popen[str], int]":
        process = place.begin(*PERDURE, "dashboard", "--port", "0", *options)
        started.append(process)
        assert process.stderr is not None
        said = ""
        while not (port := re.search(r"http://[^ :]+:(\d+)", said)):
            line = process.stderr.readline()
            assert line, said
            said += line
        return process, int(port[1])

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)


def asked(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_it_shows_runs_without_an_engine_and_ends_by_a_signal(place: Place, served: Dashboard) -> None:
    with Client(place.env["PERDURE_DB"], create=True) as client:
        client.start("talk", ["hello"], id="t-1").wait()

    process, port = served()

    status, body = asked(port, "/runs.json")
    assert status == 200 and [run["id"] for run in json.loads(body)["runs"]] == ["t-1"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0


def test_behind_a_proxy_it_answers_to_the_name_that_it_is_given(place: Place, served: Dashboard) -> None:
    place.perdure("migrate")

    _, port = served("--name", "runs.example.com")

    assert asked(port, "/runs", "runs.example.com")[0] == 200
    assert asked(port, "/runs", "other.example.com")[0] == 403


def test_a_database_that_is_not_there_is_told_and_not_made(place: Place) -> None:
    done = place.perdure("dashboard", "--port", "0")

    assert done.returncode == 5 and "does not exist" in done.stderr
    assert not Path(place.folder / "runs.db").exists()


def test_other_machines_are_let_in_only_by_whoever_says_so(place: Place) -> None:
    place.perdure("migrate")

    done = place.perdure("dashboard", "--host", "0.0.0.0")

    assert done.returncode == 7 and "--expose" in done.stderr
